//! Work that goes on without its request: plua.after and plua.every.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::thread;
use std::time::Duration;

use site::Site;
use site::wait::until;

const MODES: [&str; 4] = ["pLuaGlobals persistent", "pLuaGlobals page", "pLuaGlobals request", "pLuaSandbox On"];

/// What a page of this text gives, and then what its timers write into a file, once that is so long.
fn written(configuration: &str, page: &str, length: usize) -> (Site, String) {
    let site = Site::new(configuration, &[("page.plua", page), ("part.plua", "<? note('part ', who) ?>")]);
    site.write_before(
        "page.plua",
        format!(
            "<? function note(...) local f = assert(io.open('{}', 'a')) f:write(...) f:write('\\n') f:close() end ?>{page}",
            site.path("notes").display()
        ),
    );
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.log.join("\n")), (200, String::new()), "{configuration}: {}", seen.text());
    let read = || fs::read_to_string(site.path("notes")).unwrap_or_default();
    until("the timers have run", Duration::from_secs(10), || read().lines().count() >= length);
    let notes = read();
    (site, notes)
}

fn nothing_is_logged(site: &Site) {
    assert_eq!(site.background.lock().log.join("\n"), "");
}

#[test]
fn a_function_runs_after_its_request_with_what_it_sees_there() {
    for mode in MODES {
        let page = "<? who = 'Ada' local mine = 'local' \
                    plua.after(0.05, function(a, b, ...) who = who .. '!' \
                      note(who, ' ', mine, ' ', tostring(a), ' ', tostring(b), ' ', select('#', ...)) include('part.plua') \
                      echo('nobody sees this') header('X-A', 'b') end, 1, nil, 3) ?>done";
        for states in ["pLuaStates 1", "pLuaStates 5\npLuaMemoryLimit 20000\npLuaTimeout 5"] {
            let (site, notes) = written(&format!("{mode}\n{states}"), page, 2);
            assert_eq!(notes, "Ada! local 1 nil 1\npart Ada!\n", "{mode}");
            nothing_is_logged(&site);
        }
    }
}

#[test]
fn timers_of_one_request_share_its_globals_and_no_other_request_sees_them() {
    for mode in &MODES[1..] {
        let page = "<? count = (count or 0) + 1 \
                    for i = 1, 5 do plua.after(i / 50, function() count = count + 1 sleep(0.01) if i == 5 then note(count) end end) end \
                    ?><?= count ?>";
        let (site, notes) = written(&format!("{mode}\npLuaStates 1"), page, 1);
        assert_eq!(notes, "6\n", "{mode}");
        assert_eq!(site.get("page.plua").text(), "1", "{mode}");
        nothing_is_logged(&site);
    }
}

#[test]
fn a_function_is_repeated_until_it_is_taken_back() {
    for mode in MODES {
        let page = "<? local n = 0 local timer timer = plua.every(0.1, function() n = n + 1 sleep(0.01) note(n) \
                    if n == 3 then note(tostring(timer:cancel()), tostring(timer:cancel())) end end) ?>";
        let (site, notes) = written(&format!("{mode}\npLuaStates 1"), page, 4);
        assert_eq!(notes, "1\n2\n3\ntruefalse\n", "{mode}");
        // It would have run twice more.
        thread::sleep(Duration::from_millis(250));
        assert_eq!(fs::read_to_string(site.path("notes")).unwrap(), notes, "{mode}");
        nothing_is_logged(&site);
    }
}

#[test]
fn a_failure_is_logged_with_its_line_and_a_repeated_function_goes_on() {
    for mode in MODES {
        let page = "<? local n = 0\n plua.every(0.1, function() n = n + 1 note(n)\n if n < 3 then error('failed ' .. n) end end) ?>";
        let (site, _) = written(&format!("{mode}\npLuaStates 1"), page, 4);
        let log = site.background.lock().log.clone();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[0].contains("failed 1") && log[0].contains("page.plua:3"), "{log:?}");
    }
}

#[test]
fn a_limit_ends_a_function_and_its_repetition_and_no_other() {
    for mode in MODES {
        let page = "<? plua.every(0.1, function() note('loops') while true do end end) \
                    plua.every(0.1, function() note('other') end) ?>";
        let (site, notes) = written(&format!("{mode}\npLuaStates 1\npLuaTimeout 0.2"), page, 6);
        assert_eq!(notes.matches("loops").count(), 1, "{mode}: {notes}");
        let log = site.background.lock().log.clone();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].starts_with("Time limit") && log[0].contains("page.plua:1"), "{log:?}");
    }
}

#[test]
fn a_state_that_takes_no_more_pages_goes_on_with_its_timers() {
    for mode in MODES {
        let page = "<? plua.after(0.3, function() note('after') end) ?>";
        let site = Site::new(&format!("{mode}\npLuaStates 1\npLuaRuns 1"), &[("plain.plua", "plain")]);
        drop(site);
        let (site, notes) = written(&format!("{mode}\npLuaStates 1\npLuaRuns 1"), page, 1);
        assert_eq!(notes, "after\n", "{mode}");
        nothing_is_logged(&site);
    }
}

#[test]
fn the_file_of_plua_init_can_begin_them() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let (init, notes) = (folder.path().join("init.lua"), folder.path().join("notes"));
        let begin = format!(
            "plua.after(0.05, function() local f = io.open('{}', 'w') f:write('begun\\n') f:close() end)",
            notes.display()
        );
        fs::write(&init, begin).unwrap();
        let site = Site::new(&format!("{mode}\npLuaStates 1\npLuaInit {}", init.display()), &[("page.plua", "a")]);
        assert_eq!(site.get("page.plua").text(), "a");
        until("it has run", Duration::from_secs(10), || {
            fs::read_to_string(&notes).is_ok_and(|notes| notes == "begun\n")
        });
        nothing_is_logged(&site);
    }
}

#[test]
fn what_is_asked_for_wrongly_is_an_error_at_the_pages_line() {
    for (call, problem) in [
        ("plua.after('x', print)", "bad argument #1 to 'plua.after' (number expected, got string)"),
        ("plua.after(-1, print)", "bad argument #1 to 'plua.after' (seconds from 0 to 31536000 expected)"),
        ("plua.after(0/0, print)", "bad argument #1 to 'plua.after' (seconds from 0 to 31536000 expected)"),
        ("plua.every(0, print)", "bad argument #1 to 'plua.every' (seconds from 0.1 to 31536000 expected)"),
        ("plua.every(1)", "bad argument #2 to 'plua.every' (function expected, got nil)"),
        ("plua.after(1, print).cancel()", "call cancel with a colon, on what plua.after or plua.every has given"),
        ("for i = 1, 1001 do plua.after(100, print) end", "plua.after: a state has at most 1000 timers at one time"),
    ] {
        let log = site::page(&format!("\n<? {call} ?>")).log;
        let begins = format!("Run-time error: {problem} at ");
        assert!(log.len() == 1 && log[0].starts_with(&begins) && log[0].contains("page.plua:2"), "{call}: {log:?}");
    }
}

#[test]
fn a_threads_own_state_has_none() {
    let site = Site::new("pLuaStates 0", &[("page.plua", "<?= pcall(plua.after, 1, print) ?>")]);
    assert_eq!(site.get("page.plua").text(), "falseplua.after: a thread's own state has no timers (pLuaStates 0)");
}

#[test]
fn nothing_of_them_is_left_when_the_engine_ends() {
    for mode in MODES {
        let page = "<? plua.every(0.1, function() note('runs') sleep(100) end) plua.after(100, function() end) ?>";
        let (site, _) = written(&format!("{mode}\npLuaStates 1"), page, 1);
        drop(site);
    }
}
