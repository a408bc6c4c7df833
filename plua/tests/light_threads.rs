//! Light threads: functions of a page that go on while others wait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::time::{Duration, Instant};

use site::Site;

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

/// What each of these pages answers, in every mode, also when the state has run it before.
fn answers(cases: &[(&str, &str)]) {
    for mode in MODES {
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[]);
        for turn in 1..=2 {
            for (page, wanted) in cases {
                site.write("page.plua", page);
                let seen = site.get("page.plua");
                assert_eq!((seen.text().as_str(), seen.status), (*wanted, 200), "{mode}{turn}: {page}: {:?}", seen.log);
                assert_eq!(seen.log, [""; 0], "{mode}{page}");
            }
        }
    }
}

#[test]
fn functions_run_side_by_side_and_give_their_results_in_order() {
    answers(&[
        (
            "<?= plua.parallel(function() sleep(0.03) return 'a' end, function() sleep(0.01) return 'b', 'c' end) ?>",
            "ab",
        ),
        ("<? local a, b, c = plua.parallel(function() end, function() return false end) ?><?= tostring(a), tostring(b), c == nil ?>", "nilfalsetrue"),
        ("<?= select('#', plua.parallel()) ?>", "0"),
        (
            "<? local order = {} plua.parallel(function() sleep(0.03) order[#order + 1] = 1 end,
                function() sleep(0.01) order[#order + 1] = 2 end, function() order[#order + 1] = 3 end) ?><?= table.concat(order) ?>",
            "321",
        ),
    ]);
}

#[test]
fn waits_of_light_threads_pass_at_the_same_time() {
    let page = "<? local threads = {} for i = 1, 20 do threads[i] = function() sleep(0.1) return i end end
        local sum = 0 for _, n in ipairs({ plua.parallel(unpack(threads)) }) do sum = sum + n end echo(sum) ?>";
    let site = Site::new("", &[("page.plua", &page.replace("unpack", "(unpack or table.unpack)"))]);
    let begun = Instant::now();
    assert_eq!(site.get("page.plua").text(), "210");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn a_thread_that_is_spawned_takes_arguments_and_is_waited_for() {
    answers(&[
        ("<? local t = plua.spawn(function(a, b) sleep(0.01) return a, nil, b end, 1, 2) echo('main ', plua.wait(t)) ?>", "main 1nil2"),
        ("<? local t = plua.spawn(function() return 1 end) echo(plua.wait(t), plua.wait(t)) ?>", "11"),
        ("<? local t = plua.spawn(function() sleep(0.05) end) echo(plua.wait(t, 0.001)) plua.wait(t) echo(' ended') ?>", "niltimeout ended"),
        ("<? plua.spawn(function() sleep(0.02) echo('late') end) echo('first ') ?>", "first late"),
        (
            "<? local t = plua.spawn(function() local u = plua.spawn(function() sleep(0.01) return 'inner' end) return plua.wait(u) end)
                echo(plua.wait(t)) ?>",
            "inner",
        ),
        ("<? local t = plua.spawn(function() sleep(5) echo('never') end) sleep(0.001) echo(plua.kill(t), plua.kill(t)) ?>", "truefalse"),
        ("<? local t = plua.spawn(function() echo('never') end) echo(plua.kill(t)) ?>", "true"),
    ]);
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn an_error_in_a_thread_is_one_of_the_call_that_waits_for_it_and_the_others_are_ended() {
    answers(&[
        (
            "<?= pcall(plua.parallel, function() sleep(0.01) error('broken', 0) end, function() sleep(5) end) ?>",
            "falsebroken",
        ),
        (
            "<? local t = plua.spawn(function() error({}) end) echo(pcall(plua.wait, t)) ?>",
            "falseerror object is a table without __tostring",
        ),
        ("<? local t = plua.spawn(function() error('x', 0) end) sleep(0) echo(pcall(plua.wait, t)) ?>", "falsex"),
        (
            "<? echo(pcall(plua.wait, 1)) ?>",
            "falsebad argument #1 to 'plua.wait' (a light thread expected, got number)",
        ),
        ("<? echo(pcall(plua.spawn)) ?>", "falsebad argument #1 to 'plua.spawn' (function expected, got nil)"),
        (
            "<? local ok, problem = pcall(plua.parallel, 1) echo(problem) ?>",
            "bad argument #1 to 'plua.parallel' (function expected, got number)",
        ),
        (
            "<? local t t = plua.spawn(function() return pcall(plua.wait, t) end) echo(plua.wait(t)) ?>",
            "falseplua.wait: a light thread cannot wait for itself",
        ),
    ]);
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn a_thread_that_fails_and_that_nobody_waits_for_is_reported() {
    for mode in MODES {
        let site = Site::new(
            &format!("pLuaError 0\n{mode}"),
            &[("page.plua", "whole<?\n plua.spawn(function()\n error('alone') end) ?>")],
        );
        let seen = site.get("page.plua");
        assert_eq!((seen.status, seen.text().as_str()), (200, "whole"), "{mode}");
        assert_eq!(seen.log.len(), 1, "{mode}{:?}", seen.log);
        assert!(
            seen.log[0].starts_with("Run-time error: alone at ") && seen.log[0].contains("page.plua:3"),
            "{:?}",
            seen.log
        );
    }
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn what_ends_the_page_ends_its_threads() {
    for mode in MODES {
        let site = Site::new(&format!("pLuaStates 1\npLuaTimeout 5\n{mode}"), &[]);
        for (page, body) in [
            ("<? plua.spawn(function() sleep(0.01) exit() end) echo('a') sleep(4) echo('b') ?>", "a"),
            ("<? plua.spawn(function() sleep(4) echo('b') end) echo('a') exit() ?>", "a"),
            (
                "<? plua.parallel(function() sleep(0.001) pcall(exit) echo('no') end, function() sleep(4) end) echo('no') ?>",
                "",
            ),
        ] {
            site.write("page.plua", page);
            let begun = Instant::now();
            let seen = site.get("page.plua");
            assert_eq!((seen.text().as_str(), seen.log.len()), (body, 0), "{mode}{page} {:?}", seen.log);
            assert!(begun.elapsed() < Duration::from_secs(2), "{mode}{page}");
        }
        site.write("page.plua", "<? plua.spawn(function() sleep(4) end) error('main') ?>");
        let seen = site.get("page.plua");
        assert!(seen.status == 500 && seen.log.len() == 1 && seen.log[0].contains("main"), "{mode}{:?}", seen.log);
        site.write("page.plua", "<? echo(plua.parallel(function() sleep(0) return 'fine' end)) ?>");
        assert_eq!(site.get("page.plua").text(), "fine", "{mode}");
    }
}

#[test]
fn limits_hold_in_light_threads() {
    let endless = "while true do pcall(function() while true do end end) end";
    for mode in MODES {
        let site = Site::new(&format!("pLuaTimeout 1\npLuaMemoryLimit 8000\npLuaOutputLimit 100\n{mode}"), &[]);
        for (code, report) in [
            (endless, "Time limit: "),
            ("sleep(60)", "Time limit: "),
            ("plua.channel():receive(60)", "Time limit: "),
            ("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "Memory limit: "),
            ("while true do echo(('x'):rep(1000)) end", "Output limit: "),
        ] {
            site.write(
                "page.plua",
                format!("<? plua.parallel(function() sleep(0.01) {code} end, function() sleep(0.02) end) ?>"),
            );
            let begun = Instant::now();
            let seen = site.get("page.plua");
            assert_eq!(seen.status, 500, "{mode}{code}");
            assert!(seen.log[0].starts_with(report), "{mode}{code}: {:?}", seen.log);
            assert!(begun.elapsed() < Duration::from_secs(5), "{mode}{code}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn what_one_thread_has_open_is_not_seen_by_another() {
    answers(&[
        (
            "<? local caught = {}
                plua.parallel(function() caught[1] = capture(function() echo('a') sleep(0.02) echo('b') end) end,
                    function() caught[2] = capture(function() echo('c') sleep(0.01) echo('d') end) end,
                    function() sleep(0.005) echo('page ') end)
                echo(caught[1], ' ', caught[2]) ?>",
            "page ab cd",
        ),
        (
            "<? local text = capture(function() plua.spawn(function() echo('thread ') end) sleep(0.001) echo('inside') end) echo('[', text, ']') ?>",
            "thread [inside]",
        ),
        (
            "<? plua.parallel(function() ob_start() echo('x') sleep(0.02) echo(ob_get_level(), ob_get_clean()) end,
                function() sleep(0.01) echo(ob_get_level()) end) ?>",
            "01x",
        ),
        (
            "<? plua.parallel(function() startBlock('a') echo('in a') sleep(0.01) endBlock() end, function() block('b', 'in b') end)
                echo(content('a'), ' ', content('b')) ?>",
            "in a in b",
        ),
    ]);
}

#[test]
fn pages_wait_inside_what_is_written_in_c_and_in_coroutines_of_their_own() {
    answers(&[
        ("<?= (('abc'):gsub('.', function(c) sleep(0.001) return c:upper() end)) ?>", "ABC"),
        (
            "<? local t = { 3, 1, 2 } table.sort(t, function(a, b) sleep(0.0001) return a < b end) echo(t[1], t[2], t[3]) ?>",
            "123",
        ),
        (
            "<? local co = coroutine.wrap(function(a) sleep(0.001) local b = coroutine.yield(a + 1) sleep(0.001) return b * 2 end) echo(co(1), co(5)) ?>",
            "210",
        ),
        (
            "<? local co = coroutine.create(function() sleep(0.001) error('in', 0) end) echo(coroutine.resume(co)) ?>",
            "falsein",
        ),
        ("<? echo(pcall(function() sleep(0.001) error('x', 0) end)) ?>", "falsex"),
        ("<? echo(tostring((coroutine.running())) == tostring((coroutine.running()))) ?>", "true"),
        ("<? echo(pcall(coroutine.yield, 1)) ?>", "falseattempt to yield from outside a coroutine"),
        (
            "<? echo(plua.parallel(function() return select(2, pcall(coroutine.yield, 1)) end)) ?>",
            "attempt to yield from outside a coroutine",
        ),
        (
            "<? local n = 0 plua.parallel(function() string.gsub('ab', '.', function() sleep(0.01) n = n + 1 end) end, function() sleep(0.005) n = n + 10 end) echo(n) ?>",
            "12",
        ),
        (
            "<? local m = setmetatable({}, { __index = function(_, k) sleep(0.001) return k .. '!' end }) echo(m.a) ?>",
            "a!",
        ),
        (
            "<? for i in (function() local i = 0 return function() sleep(0.001) i = i + 1 if i < 4 then return i end end end)() do echo(i) end ?>",
            "123",
        ),
    ]);
    if !cfg!(feature = "lua51") {
        answers(&[(
            "<? echo(coroutine.isyieldable(), coroutine.wrap(function() return coroutine.isyieldable() end)()) ?>",
            "falsetrue",
        )]);
    }
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn semaphores_let_so_many_through() {
    answers(&[
        (
            "<? local s, inside, most = plua.semaphore(2), 0, 0
                local function work() s:wait() inside = inside + 1 most = math.max(most, inside) sleep(0.01) inside = inside - 1 s:post() end
                plua.parallel(work, work, work, work, work) echo(most, s:count()) ?>",
            "22",
        ),
        ("<? local s = plua.semaphore() echo(s:wait(0.001)) s:post(3) echo(s:count(), s:wait(), s:count()) ?>", "niltimeout3true2"),
        ("<? local s = plua.semaphore() plua.spawn(function() sleep(0.01) s:post() end) echo(s:wait(5)) ?>", "true"),
        ("<? local s = plua.semaphore() echo(pcall(s.wait, s)) ?>", "falsesemaphore:wait: nothing is left that could end this wait"),
        ("<? echo(pcall(plua.semaphore, -1)) ?>", "falsebad argument #1 to 'plua.semaphore' (a whole number from 0 on expected)"),
        ("<? local s = plua.semaphore() echo(pcall(s.wait)) ?>", "falsecall wait with a colon, on what plua.semaphore has made"),
    ]);
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn channels_hand_values_over_in_order() {
    answers(&[
        (
            "<? local c = plua.channel() plua.parallel(function() for i = 1, 3 do c:send(i) end c:close() end,
                function() while true do local v, why = c:receive() if not v then echo(why) break end echo(v) end end) ?>",
            "123closed",
        ),
        ("<? local c = plua.channel(2) echo(c:send('a'), c:send('b'), c:receive(), c:receive()) ?>", "truetrueab"),
        ("<? local c = plua.channel() echo(c:send(1, 0.001)) echo(c:receive(0.001)) ?>", "niltimeoutniltimeout"),
        ("<? local c = plua.channel(1) c:close() echo(c:send(1)) echo(c:receive()) ?>", "nilclosednilclosed"),
        (
            "<? local c = plua.channel() local t = plua.spawn(function() return c:send(1) end) sleep(0) c:close() echo(plua.wait(t)) ?>",
            "nilclosed",
        ),
        (
            "<? local c = plua.channel() local t = plua.spawn(function() return c:receive() end) sleep(0) c:send(false) echo(plua.wait(t)) ?>",
            "false",
        ),
        ("<? echo(pcall(plua.channel().send, plua.channel())) ?>", "falsebad argument #1 to 'send' (a value expected, got nil)"),
    ]);
}

#[test]
fn what_is_kept_of_another_request_does_no_harm() {
    let site = Site::new("pLuaStates 1", &[]);
    site.write(
        "keep.plua",
        "<? c, s, t = plua.channel(), plua.semaphore(), plua.spawn(function() c:receive(5) end) sleep(0) exit() ?>",
    );
    site.write("use.plua", "<? s:post() echo(s:count(), ' ', c:send(1, 0.001) or 'none', ' ', pcall(plua.wait, t)) ?>");
    site.get("keep.plua");
    let seen = site.get("use.plua");
    assert_eq!(seen.text(), "1 none falseplua.wait: the light thread is of another request");
}

#[test]
fn a_page_has_so_many_light_threads_at_one_time() {
    let site = Site::new(
        "",
        &[(
            "page.plua",
            "<? local n = 0 for i = 1, 2000 do local ok, why = pcall(plua.spawn, function() n = n + 1 end)
        if not ok then echo(why:match('at most %d+'), ' ') break end end sleep(0.01) echo(n > 39) ?>",
        )],
    );
    let text = site.get("page.plua").text();
    assert!(text.starts_with("at most ") && text.ends_with(" true"), "{text}");
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a thread that waits runs the others inside itself")]
fn a_wait_that_is_over_is_nothing_to_those_that_come_later() {
    answers(&[
        // It has given up waiting for the thread, and that one's end does not cut its sleep short.
        (
            "<? local t = plua.spawn(function() sleep(0.02) end) plua.wait(t, 0.001) local b = plua.spawn(function() sleep(0.05) return 'slept' end)
                local order = {} plua.parallel(function() plua.wait(b) order[1] = order[1] or 'b' end, function() sleep(0.2) order[1] = order[1] or 'c' end) echo(order[1]) ?>",
            "b",
        ),
        (
            "<? local ended = {} local t = plua.spawn(function() sleep(0.02) ended[1] = true end) plua.wait(t, 0.001)
                local s = plua.semaphore() echo(s:wait(0.06)) echo(#ended) ?>",
            "niltimeout1",
        ),
        // One that was ended takes nothing from those that wait behind it.
        (
            "<? local s = plua.semaphore() local one = plua.spawn(function() s:wait() end) local two = plua.spawn(function() s:wait() return 'two' end)
                sleep(0) plua.kill(one) s:post() echo(plua.wait(two), s:count()) ?>",
            "two0",
        ),
        (
            "<? local c = plua.channel() local one = plua.spawn(function() c:receive() end) local two = plua.spawn(function() return c:receive() end)
                sleep(0) plua.kill(one) c:send('value') echo(plua.wait(two)) ?>",
            "value",
        ),
        (
            "<? local c = plua.channel() local one = plua.spawn(function() c:send('one') end) plua.spawn(function() c:send('two') end)
                sleep(0) plua.kill(one) echo(c:receive(), c:receive(0.001) or 'none') ?>",
            "twonone",
        ),
        (
            "<? local c = plua.channel(1) c:send('a') local t = plua.spawn(function() return c:send('b', 0.001) end) sleep(0.02) echo(plua.wait(t)) echo(c:receive(), c:receive(0.001) or 'none') ?>",
            "niltimeoutanone",
        ),
        (
            "<? local c = plua.channel(1) c:send('a') plua.spawn(function() c:send('b') end) sleep(0) echo(c:receive(), c:receive()) ?>",
            "ab",
        ),
        // A wait that was an error does not make it one that a post meets.
        (
            "<? local s = plua.semaphore() pcall(s.wait, s) local t = plua.spawn(function() s:post() end) sleep(0.01) echo(s:count()) ?>",
            "1",
        ),
    ]);
}
