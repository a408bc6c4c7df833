//! Light threads that wait at any time: each does what it does alone, whatever the others have open meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]
// Lua 5.1 runs a thread inside the one that waits, and no thread goes on before those that it holds.
#![cfg(not(feature = "lua51"))]

mod site;

use proptest::prelude::*;
use site::Site;

/// What a thread does, in a code of its own and with what must come of it. `@` is who does it, and `!` a wait.
const STEPS: [(&str, &str); 9] = [
    ("capture(function() echo('a@') ! echo('b@') end)", "a@b@"),
    ("capture(function() echo(capture(function() ! echo('in@') ! end), 'out@') ! end)", "in@out@"),
    ("(function() ob_start() echo('o@') ! return ob_get_clean() end)()", "o@"),
    ("capture(function() ! include('part.plua', { v = '@' }) ! end)", "@:@"),
    ("render('part.plua', { v = 'r@' })", "r@:r@"),
    ("select(2, pcall(function() ! error('e@', 0) end))", "e@"),
    ("coroutine.wrap(function() ! coroutine.yield('y@') end)()", "y@"),
    ("(string.gsub('x', 'x', function() ! return 'g@' end))", "g@"),
    ("plua.wait(plua.spawn(function() ! return capture(function() ! echo('s@') end) end))", "s@"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn threads_do_what_they_do_alone(
        threads in prop::collection::vec(prop::collection::vec((0..STEPS.len(), 0..4u32), 1..6), 1..6),
        mode in prop::sample::select(vec!["", "pLuaGlobals request\n", "pLuaSandbox On\n"]),
    ) {
        let mut page = String::from("<? local results = { plua.parallel(");
        let mut wanted = Vec::new();
        for (number, steps) in threads.iter().enumerate() {
            let (mut code, mut all) = (Vec::new(), Vec::new());
            for (step, milliseconds) in steps {
                let wait = format!("sleep({})", f64::from(*milliseconds) / 1000.0);
                let (does, gives) = STEPS[*step];
                code.push(does.replace('@', &number.to_string()).replace('!', &wait));
                all.push(gives.replace('@', &number.to_string()));
            }
            page.push_str(if number == 0 { "" } else { ", " });
            page.push_str(&format!("function() return table.concat({{ {} }}, ',') end", code.join(", ")));
            wanted.push(all.join(","));
        }
        page.push_str(") } echo(table.concat(results, ';')) ?>");
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[("page.plua", &page), ("part.plua", "<?= v ?>:<? sleep(0.001) ?><?= v ?>")]);
        for _ in 0..2 {
            let seen = site.get("page.plua");
            prop_assert_eq!((seen.text(), seen.log.join("\n")), (wanted.join(";"), String::new()), "{}", page);
        }
    }
}
