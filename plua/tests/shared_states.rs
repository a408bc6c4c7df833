//! States that serve others while pages wait in them: each page sees what it sees alone, and states are few.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
// Lua 5.1 cannot yield where a page waits: there each waits in its thread.
#![cfg(not(feature = "lua51"))]

mod site;

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use site::{Seen, Site, Waiting};

/// What a page does and what must come of it. `@` is who does it, `!` a wait.
const STEPS: [(&str, &str); 24] = [
    ("<? seen = '@' ! echo('g', seen, _G.seen) ?>", "g@@"),
    ("<? ! echo(capture(function() echo('a@') ! echo('b@') end)) ?>", "a@b@"),
    ("<? ob_start() echo('o@') ! local text = ob_get_clean() ! echo(text) ?>", "o@"),
    ("<? block('title', 'T@') ! echo(content('title')) ?>", "T@"),
    ("<? startBlock('b') ?>block@<? ! endBlock() ! echo(content('b')) ?>", "block@"),
    ("<? include('part.plua', { v = '@' }) ?>", "@:@"),
    ("<? v = 'global@' ! include('part.plua') ?>", "global@:global@"),
    ("<? include_once('once.plua') ! include_once('once.plua') ?>", "once"),
    ("<?= render('part.plua', { v = 'r@' }) ?>", "r@:r@"),
    ("<? plua.ctx.who = '@' ! echo(plua.ctx.who) ?>", "@"),
    ("<? local f = plua.compile('<? ! ?><?= w ?>', 'a text') echo(f({ w = 'c@' })) ?>", "c@"),
    ("<? w = 'd@' local f = plua.compile('<? ! ?><?= w ?>', 'a text') ! f() ?>", "d@"),
    ("<? l = 'l@' (loadstring or load)('! echo(l)')() ?>", "l@"),
    ("<? m = 'm@' ! require('module')() ?>", "m@"),
    ("<? echo(plua.wait(plua.spawn(function() ! return 's@' end))) ?>", "s@"),
    ("<? echo(table.concat({ plua.parallel(function() ! return 'p@' end, function() ! return 'q@' end) })) ?>", "p@q@"),
    ("<? coroutine.wrap(function() ! echo('y@') end)() ?>", "y@"),
    ("<?= select(2, pcall(function() ! error('e@', 0) end)) ?>", "e@"),
    ("<? local f = io.open('part.plua') ! echo(f:read(3), '@') f:close() ?>", "<?=@"),
    ("<? header('X-Who', 'h@') ! ?>", ""),
    ("<? plua.atEnd(function() echo('end@') end) ! ?>", ""),
    (
        "<? getmetatable('').__index.shout = function(s) return s .. ' shouts @' end ?><? ! ?><?= ('x'):shout() ?>",
        "x shouts @",
    ),
    (
        "<? math.randomseed(@) local one = math.random(1e6) math.randomseed(@) ! echo(one == math.random(1e6)) ?>",
        "true",
    ),
    ("<? local n = #tostring(function() end) ! collectgarbage() echo(n > 0) ?>", "true"),
];

/// What those see that run in all ways of a page's end.
const ENDS: [(&str, &str); 4] =
    [("", ""), ("<? layout('layout.plua') ?>", ""), ("<? exit() ?>never", ""), ("<? ! error('failed @') ?>", "failed")];

const FILES: [(&str, &str); 4] = [
    ("part.plua", "<?= v ?>:<? sleep(0.001) ?><?= v ?>"),
    ("once.plua", "<? sleep(0.001) ?>once"),
    ("layout.plua", "[<? sleep(0.001) ?><?= content() ?>]"),
    ("module.lua", "sleep(0.001) return function() sleep(0.001) echo(m or 'none') end"),
];

fn page(number: usize, steps: &[(usize, u32)], has_own_modules: bool) -> (String, String) {
    let (mut page, mut wanted) = (String::new(), String::new());
    for (step, milliseconds) in steps {
        let (does, gives) = STEPS[*step];
        let wait = format!("sleep({})", f64::from(*milliseconds) / 1000.0);
        page.push_str(&does.replace('@', &number.to_string()).replace('!', &wait));
        let gives = if does.contains("module") && !has_own_modules { "none" } else { gives };
        wanted.push_str(&gives.replace('@', &number.to_string()));
    }
    (page, wanted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_one_state_do_what_they_do_alone(
        pages in prop::collection::vec((prop::collection::vec((0..STEPS.len(), 0..4u32), 1..6), 0..ENDS.len()), 1..8),
        choices in prop::collection::vec(0..1000usize, 1..40),
        mode in prop::sample::select(vec!["pLuaGlobals page", "pLuaGlobals request", "pLuaSandbox On"]),
        limits in prop::sample::select(vec!["", "pLuaMemoryLimit 20000\npLuaTimeout 20\npLuaOutputLimit 1000\n"]),
        states in 1..3u32,
    ) {
        let mut files: Vec<(String, String)> = FILES.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let mut wanted = Vec::new();
        for (number, (steps, end)) in pages.iter().enumerate() {
            let mut done = HashSet::new();
            let fits = |step: usize| mode == "pLuaGlobals request" || !STEPS[step].0.contains("getmetatable");
            let steps: Vec<_> = steps.iter().copied().filter(|(step, _)| fits(*step) && done.insert(*step)).collect();
            let (mut text, mut shown) = page(number, &steps, mode != "pLuaGlobals page");
            text.push_str(&ENDS[*end].0.replace('@', &number.to_string()).replace('!', "sleep(0.001)"));
            let ends: String = steps.iter().filter(|(step, _)| STEPS[*step].0.contains("atEnd")).map(|_| format!("end{number}")).collect();
            match *end {
                1 => shown = format!("[{shown}]{ends}"),
                3 => shown = "failed".into(),
                _ => shown.push_str(&ends),
            }
            files.push((format!("{number}.plua"), text));
            wanted.push(shown);
        }
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let site = Site::new(&format!("pLuaStates {states}\n{mode}\n{limits}"), &files);
        let urls: Vec<_> = (0..pages.len()).map(|number| format!("{number}.plua")).collect();
        let mut choices = choices.iter().cycle();
        for _ in 0..2 {
            let seen = site.get_interleaved(&urls, |many| choices.next().unwrap() % many);
            for (number, (seen, wanted)) in seen.iter().zip(&wanted).enumerate() {
                let text = &files[FILES.len() + number].1;
                if wanted == "failed" {
                    prop_assert_eq!(seen.status, 500, "{}", text);
                    prop_assert!(seen.log.len() == 1 && seen.log[0].contains(&format!("failed {number}")), "{}: {:?}", text, seen.log);
                    continue;
                }
                prop_assert_eq!((seen.text(), seen.log.join("\n")), (wanted.clone(), String::new()), "{}: {} {}", mode, number, text);
                let header = text.contains("X-Who").then(|| format!("h{number}"));
                let seen_header = seen.headers.iter().find(|(name, _)| name == "X-Who").map(|(_, value)| value.clone());
                prop_assert_eq!(seen_header, header);
            }
        }
    }
}

const MODES: [&str; 3] = ["pLuaGlobals page", "pLuaGlobals request", "pLuaSandbox On"];

/// A host with one state, so that pages can only wait together where they share it.
fn one_state(mode: &str, configuration: &str, pages: &[(&str, &str)]) -> Site {
    Site::new(&format!("pLuaStates 1\npLuaStateWait 1\n{mode}\n{configuration}"), pages)
}

fn is_fine(seen: &Seen, text: &str) {
    assert_eq!((seen.status, seen.text().as_str(), seen.log.join("\n").as_str()), (200, text, ""));
}

#[test]
fn hundreds_of_pages_wait_in_one_state_which_serves_others() {
    for mode in MODES {
        let site =
            one_state(mode, "", &[("wait.plua", "<?= 'in' ?><? flush() sleep(0.3) ?> out"), ("plain.plua", "plain")]);
        let waiting: Vec<Waiting> = (0..300).map(|_| site.send_parking("wait.plua").waits()).collect();
        assert!(waiting.iter().all(|page| page.seen().text() == "in"), "{mode}");
        is_fine(&site.get("plain.plua"), "plain");
        for page in waiting {
            is_fine(&page.until_it_ends(), "in out");
        }
    }
}

#[test]
fn modules_are_the_states_under_globals_of_the_page() {
    let site = one_state(
        "pLuaGlobals page",
        "",
        &[
            ("count.lua", "local n = 0 visitors = 'kept' return function() n = n + 1 return n end"),
            (
                "page.plua",
                "<?= mine, visitors, require('count')(), visitors ?><? mine, visitors = 1, 2 sleep(0) ?><?= mine, visitors ?>",
            ),
            ("names.plua", "<?= rawget(_G, 'echo'), type(echo), _G._G == _G, getmetatable(_G), type(_G.string.rep) ?>"),
        ],
    );
    // A module that was written just before counts as changed.
    thread::sleep(Duration::from_millis(30));
    is_fine(&site.get("page.plua"), "nilnil1kept12");
    is_fine(&site.get("page.plua"), "nilkept2kept12");
    is_fine(&site.get("names.plua"), "nilfunctiontruefalsefunction");
}

#[test]
fn a_text_compiled_once_for_all_pages_sees_the_globals_of_the_page_that_runs_it() {
    let site = one_state(
        "pLuaGlobals page",
        "",
        &[
            ("text.lua", "return plua.compile('<?= who ?>,<? sleep(0.001) ?><?= who ?>', 'text')"),
            ("page.plua", "<? who = plua.get('who') require('text')() ?>"),
        ],
    );
    let urls: Vec<_> = (0..20).map(|who| format!("page.plua?who={who}")).collect();
    for (who, seen) in site.get_interleaved(&urls, |many| many - 1).iter().enumerate() {
        is_fine(seen, &format!("{who},{who}"));
    }
}

#[test]
fn a_page_is_charged_with_the_memory_that_it_took_and_no_other() {
    const HOLDS: &str = "<? local held = {} for i = 1, tonumber(plua.get('kb')) do held[i] = string.rep(i .. '.', 256) end \
                         sleep(0.05) ?><?= #held ?>";
    for mode in MODES {
        let site = one_state(mode, "pLuaMemoryLimit 8000", &[("holds.plua", HOLDS)]);
        // Each takes most of what one page may have, all of them many times as much.
        let waiting: Vec<Waiting> = (0..8).map(|_| site.send_parking("holds.plua?kb=3500").waits()).collect();
        let over = site.send_parking("holds.plua?kb=30000").ended();
        assert_eq!(over.status, 500, "{mode}");
        assert!(over.log[0].contains("Memory limit"), "{mode}: {:?}", over.log);
        // The state of that one takes no new page, and those that wait in it end well.
        is_fine(&site.get("holds.plua?kb=1"), "1");
        for page in waiting {
            is_fine(&page.until_it_ends(), "3500");
        }
    }
}

#[test]
fn a_page_that_waits_often_is_not_charged_with_its_garbage() {
    const MAKES_GARBAGE: &str = "<? for i = 1, 100 do local text = string.rep(i .. '.', 300000) sleep(0) end ?>fine";
    for mode in MODES {
        let site = one_state(mode, "pLuaMemoryLimit 8000", &[("page.plua", MAKES_GARBAGE)]);
        let urls = ["page.plua"; 5];
        for seen in site.get_interleaved(&urls, |many| many / 2) {
            is_fine(&seen, "fine");
        }
    }
}

#[test]
fn a_state_that_takes_no_more_pages_ends_with_the_last_that_waits_in_it() {
    for mode in MODES {
        for (limits, why) in [
            ("pLuaRuns 3", "<?= 'a' ?>"),
            ("pLuaTimeout 0.5", "<? pcall(function() while true do end end) ?>"),
            ("pLuaMemoryLimit 1000", "<? pcall(string.rep, 'x', 1e8) ?>"),
        ] {
            let site = one_state(
                mode,
                limits,
                &[("wait.plua", "<? who = plua.get('n') sleep(0.02) ?><?= who ?>"), ("ends.plua", why)],
            );
            for round in 0..5 {
                let urls: Vec<_> = (0..4).map(|n| format!("wait.plua?n={n}")).collect();
                let waiting: Vec<_> = urls.iter().map(|url| site.send_parking(url).waits()).collect();
                let ends = site.send_parking("ends.plua").ended();
                assert_eq!(ends.status == 200, why == "<?= 'a' ?>", "{mode} {limits} {round}: {:?}", ends.log);
                for (n, page) in waiting.into_iter().enumerate() {
                    is_fine(&page.until_it_ends(), &n.to_string());
                }
            }
        }
    }
}

#[test]
fn a_page_whose_request_goes_leaves_nothing() {
    for mode in MODES {
        let site = one_state(
            mode,
            "",
            &[
                ("wait.plua", "<? local text = string.rep(tostring(plua.get('n')), 100000) sleep(30) ?><?= #text ?>"),
                ("held.plua", "<? collectgarbage() collectgarbage() ?><?= math.floor(collectgarbage('count')) ?>"),
            ],
        );
        let held = || site.get("held.plua").text().parse::<u32>().unwrap();
        // Tables grow by doubling.
        for n in 0..300 {
            drop(site.send_parking(&format!("wait.plua?n={n}")).waits());
        }
        let before = held();
        for n in 0..1000 {
            drop(site.send_parking(&format!("wait.plua?n={n}")).waits());
        }
        let after = held();
        assert!(after < before + 100, "{mode}: {before} and {after} KB");
    }
}

#[test]
fn a_page_that_changes_what_is_one_for_all_keeps_its_state_while_it_waits() {
    for change in [
        "math.randomseed(7)",
        "collectgarbage('stop')",
        "io.output('/dev/null')",
        "getmetatable(json.array({})).__index = { a = 1 }",
        "getmetatable('').__index = { upper = function() return 'mine' end }",
    ] {
        let page = format!("<? {change} sleep(0.05) ?>fine");
        let site =
            one_state("pLuaGlobals request", "", &[("page.plua", &page), ("plain.plua", "<?= ('a'):upper() ?>")]);
        let waiting = site.send_parking("page.plua").waits();
        // No state is free for this one.
        let place = site.send_parking("plain.plua").waits();
        assert!(!place.page.is_ready(), "{change}");
        is_fine(&waiting.until_it_ends(), "fine");
        place.page.wait();
        is_fine(&place.go_on().ended(), "A");
    }
}
