//! Time zone and locale of a host: `os.date` and `os.time` follow `pLuaTimeZone` everywhere, and the process stays as it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::thread;

use site::{Site, page};

/// Noon in Berlin on the first of July and of January 2024.
const SUMMER: i64 = 1_719_828_000;
const WINTER: i64 = 1_704_106_800;

#[test]
fn dates_and_times_are_the_hosts_wherever_code_runs() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    let shown = format!("os.date('%H:%M %Z', {SUMMER})");
    fs::write(&init, format!("at_start = {shown} function from_init() return {shown} end")).unwrap();
    let page = format!(
        "<?= at_start, '|', from_init(), '|', {shown}, '|', os.date('%H %Z', {WINTER}), '|', \
         coroutine.wrap(function() return {shown} end)(), '|', require('lib'), '|', os.date('!%H %Z', {SUMMER}), '|', \
         os.time {{ year = 2024, month = 7, day = 1 }} == {SUMMER}, os.date('*t', {WINTER}).isdst, os.date('*t', {SUMMER}).isdst ?>"
    );
    let pages = [("page.plua", page.as_str()), ("lib.lua", &format!("return {shown}"))];
    for mode in ["", "pLuaGlobals request", "pLuaSandbox On", "pLuaTimeout 5\npLuaMemoryLimit 5000\npLuaOutputLimit 10"]
    {
        let site = Site::new(&format!("{mode}\npLuaTimeZone Europe/Berlin\npLuaInit {}", init.display()), &pages);
        for _ in 0..2 {
            let seen = site.get("page.plua");
            let times = ["12:00 CEST", "12:00 CEST", "12:00 CEST", "12 CET", "12:00 CEST", "12:00 CEST", "10 GMT"];
            assert_eq!(seen.text(), format!("{}|truefalsetrue", times.join("|")), "{mode}: {:?}", seen.log);
        }
    }
}

#[test]
fn hosts_of_one_process_have_their_own_at_the_same_time() {
    let page = format!(
        "<? for i = 1, 200 do assert(os.date('%H', {SUMMER}) == os.date('%H', {SUMMER})) end ?><?= os.date('%H:%M', {SUMMER}) ?>"
    );
    let expected =
        [("Europe/Berlin", "12:00"), ("America/New_York", "06:00"), ("Asia/Kolkata", "15:30"), ("UTC", "10:00")];
    let sites = expected.map(|(zone, _)| Site::new(&format!("pLuaTimeZone {zone}"), &[("page.plua", &page)]));
    let process = Site::new("", &[("page.plua", &page)]);
    let before = process.get("page.plua").text();
    thread::scope(|scope| {
        for (site, (zone, shown)) in sites.iter().zip(expected) {
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(site.get("page.plua").text(), shown, "{zone}");
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(process.get("page.plua").text(), before);
        }
    });
}

#[test]
fn what_is_left_out_stays_left_out() {
    let site =
        Site::new("pLuaTimeZone UTC\npLuaIgnoreLibrary os.date", &[("page.plua", "<?= os.date, type(os.time) ?>")]);
    assert_eq!(site.get("page.plua").text(), "nilfunction");
    let site = Site::new("pLuaTimeZone UTC\npLuaIgnoreLibrary os", &[("page.plua", "<?= os ?>")]);
    assert_eq!(site.get("page.plua").text(), "nil");
}

#[test]
fn a_time_too_far_away_is_told_as_lua_does() {
    let page = "<? local d, m = pcall(os.date, '%c', 1e15) local t, n = pcall(os.time, { year = 99999, month = 1, day = 1 }) ?>\
                <?= d, ' ', m, ' ', t, ' ', n ?>";
    let seen = Site::new("pLuaTimeZone Europe/Berlin", &[("page.plua", page)]).get("page.plua").text();
    if cfg!(feature = "lua54") {
        assert!(seen.contains("date result cannot be represented in this installation"), "{seen}");
        assert!(seen.contains("time result cannot be represented in this installation"), "{seen}");
    } else {
        assert_eq!(seen, "true nil true nil");
    }
}

#[test]
fn a_long_format_ends_with_the_memory_limit() {
    let page = "<? local f = ('%A %B '):rep(200000) echo(#os.date(f, 0)) ?>";
    let site = Site::new("pLuaTimeZone Europe/Berlin", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text(), (200_000 * "Thursday January ".len()).to_string());
    let site =
        Site::new("pLuaTimeZone Europe/Berlin\npLuaMemoryLimit 3000", &[("page.plua", page), ("next.plua", "next")]);
    let seen = site.get("page.plua");
    assert!(seen.status == 500 && seen.log[0].starts_with("Memory limit"), "{:?}", seen.log);
    assert_eq!(site.get("next.plua").text(), "next");
}

#[test]
fn the_locale_is_c_and_no_page_changes_it() {
    for mode in ["", "pLuaGlobals request", "pLuaSandbox On", "pLuaTimeZone Europe/Berlin"] {
        let code = "<?= os.setlocale(), os.setlocale(nil, 'time'), os.setlocale('C'), os.setlocale('POSIX'), \
                    os.setlocale(''), os.setlocale('C', 'numeric'), ' ', os.setlocale('de_DE.UTF-8'), os.setlocale('xx', 'time'), ' ', \
                    os.setlocale() ?>";
        assert_eq!(Site::new(mode, &[("page.plua", code)]).get("page.plua").text(), "CCCCCC nilnil C", "{mode}");
    }
    let seen = page("\n<? os.setlocale('C', 'no category') ?>");
    assert!(seen.log[0].contains("bad argument #2 to 'setlocale' (invalid option 'no category')"), "{:?}", seen.log);
    assert!(seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
}
