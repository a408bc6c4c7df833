//! The end of a page: what `plua.atEnd` names runs whatever ended it, and buffers of a file before it last beyond it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::time::{Duration, Instant};

use site::{Seen, Sent, Site, at_once};

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

/// A site whose pages leave a line in `log` at their end.
fn site(configuration: &str, pages: &[(&str, &str)]) -> Site {
    let site = Site::new(&format!("pLuaStates 1\n{configuration}"), pages);
    site.write(
        "note.plua",
        "<? plua.atEnd(function() local f = assert(io.open('log', 'a')) f:write(who, ' ') f:close() end) ?>",
    );
    site
}

fn noted(site: &Site) -> String {
    fs::read_to_string(site.path("log")).unwrap_or_default()
}

fn is_fine(seen: &Seen) -> bool {
    seen.status == 200 && seen.log.is_empty()
}

#[test]
fn what_a_page_names_runs_whatever_ends_the_page() {
    let ends = [
        ("end", "", "", 200),
        ("return", "do return end", "", 200),
        ("exit", "exit()", "", 200),
        ("exit_inside", "capture(function() ob_start() pcall(exit) end)", "", 200),
        ("redirect", "redirect('/else')", "", 302),
        ("http_error", "httpError(404)", "", 404),
        ("error", "error('broken')", "Run-time error: broken", 500),
        ("block", "startBlock('x')", "Run-time error: block 'x' is still open", 500),
        ("layout", "layout('broken.plua')", "Run-time error: inside", 500),
        // Lua 5.4 has so large a stack that another limit strikes first.
        (
            "stack",
            "local function f() return f() + 1 end f()",
            if cfg!(feature = "lua54") { "Memory" } else { "Depth" },
            500,
        ),
        ("time", "while true do pcall(function() while true do end end) end", "Time limit: ", 500),
        ("memory", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "Memory limit: ", 500),
        ("held", "t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "Memory limit: ", 500),
        ("output", "while true do echo(('x'):rep(1000)) end", "Output limit: ", 500),
        ("caught", "while true do pcall(echo, ('x'):rep(1000)) end", "Output limit: ", 500),
        ("pattern", "string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40))", "Pattern limit: ", 500),
    ];
    let limits = "pLuaTimeout 2\npLuaMemoryLimit 4000\npLuaOutputLimit 100\npLuaPatternLimit 1000000\n";
    at_once(&MODES, |mode| {
        let site = site(&format!("{limits}{mode}"), &[("broken.plua", "<? error('inside') ?>")]);
        let mut names = String::new();
        for (name, code, report, status) in ends {
            let page = format!("{name}.plua");
            site.write(&page, format!("<? who = '{name}' include('note.plua') {code} ?>"));
            let seen = site.get(&page);
            assert_eq!(seen.status, status, "{mode}{name}: {:?}", seen.log);
            match report {
                "" => assert_eq!(seen.log, [""; 0], "{mode}{name}"),
                _ => assert!(seen.log.len() == 1 && seen.log[0].starts_with(report), "{mode}{name}: {:?}", seen.log),
            }
            names = format!("{names}{name} ");
            assert_eq!(noted(&site), names, "{mode}{:?}", seen.log);
        }
    });
}

#[test]
fn what_a_page_names_runs_when_its_visitor_has_gone_or_saw_half_of_it() {
    let site = site(
        "",
        &[
            (
                "flushed.plua",
                "<? who = 'flushed' include('note.plua') ?>a<? flush() ?>b<? plua.atEnd(function() echo('c') end) ?>",
            ),
            (
                "failed.plua",
                "<? who = 'failed' include('note.plua') ?>a<? flush() plua.atEnd(function() echo('c') flush() echo('d') end) error('x') ?>",
            ),
        ],
    );
    let seen = site.get("flushed.plua");
    assert!(is_fine(&seen) && seen.text() == "abc", "{:?}", seen.log);
    let seen = site.get("failed.plua");
    assert!(seen.aborted && seen.text() == "a", "{}", seen.text());
    assert_eq!(noted(&site), "flushed failed ");
}

#[test]
fn nothing_that_is_named_comes_to_the_visitor_of_a_failed_page() {
    let page = "<? plua.atEnd(function() echo(('late'):upper()) flush() ob_start() echo(('later'):upper()) setContentType('a/b') end) \
        ob_start() echo('half') error('x') ?>";
    for (mode, shown) in [("pLuaError 0", ""), ("pLuaError 1", "Run-time error")] {
        let site = site(mode, &[("page.plua", page), ("next.plua", "next")]);
        let seen = site.get("page.plua");
        assert!(seen.status == 500 && seen.flushes == 0 && !seen.text().contains("LATE"), "{}", seen.text());
        assert!(seen.text().contains(shown), "{}", seen.text());
        assert_eq!(site.get("next.plua").text(), "next");
    }
}

#[test]
fn what_is_put_out_at_the_end_follows_the_page_its_layout_and_the_file_after_it() {
    let site = site(
        "pLuaPrepend top.plua\npLuaAppend end.plua",
        &[
            ("top.plua", "<? plua.atEnd(function() ?>[1]<? end) ?>T"),
            ("end.plua", "E<? plua.atEnd(function() ?>[3]<? plua.atEnd(function() echo('[4]') exit() end) end) ?>"),
            ("page.plua", "<? plua.atEnd(function() echo('[2]') exit() echo('no') end) layout('layout.plua') ?>page"),
            ("exit.plua", "<? plua.atEnd(function() echo('[2]') end) ?>x<? exit() ?>"),
            ("layout.plua", "(<?! content() ?>)"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "(Tpage)E[1][2][3][4]");
        assert_eq!(site.get("exit.plua").text(), "Tx[1][2]");
    }
}

#[test]
fn pages_that_name_nothing_are_not_followed_by_what_the_one_before_them_named() {
    for mode in MODES {
        let site = site(
            mode,
            &[
                ("page.plua", "<? plua.atEnd(function() echo('end') end) ?>"),
                ("fails.plua", "<? plua.atEnd(function() echo('end') end) error('x') ?>"),
                ("plain.plua", "plain"),
            ],
        );
        for _ in 0..3 {
            assert_eq!(site.get("page.plua").text(), "end", "{mode}");
            assert_eq!(site.get("plain.plua").text(), "plain", "{mode}");
            assert_eq!(site.get("fails.plua").status, 500);
            assert_eq!(site.get("plain.plua").text(), "plain", "{mode}");
        }
    }
}

#[test]
fn an_error_at_the_end_is_reported_and_the_page_and_the_other_functions_go_on() {
    let page = "page\n<? plua.atEnd(function() echo(' first')\n error('one') end) \
        plua.atEnd(function() capture(function() echo('lost') error({}) end) end) plua.atEnd(function() echo(' last') end) ?>";
    for mode in MODES {
        let site = site(&format!("pLuaError 0\n{mode}"), &[("page.plua", page), ("shown.plua", page)]);
        let seen = site.get("page.plua");
        assert_eq!((seen.status, seen.text().as_str()), (200, "page\n first last"), "{mode}");
        assert_eq!(seen.log.len(), 2, "{:?}", seen.log);
        assert!(
            seen.log[0].starts_with("Run-time error: one at ") && seen.log[0].contains("page.plua:3"),
            "{:?}",
            seen.log
        );
        assert!(
            seen.log[1].contains("error object is a table") && seen.log[1].contains("page.plua:3"),
            "{:?}",
            seen.log
        );
        let shown = Sent { directory: "pLuaError 1", ..Sent::default() };
        let text = site.send("shown.plua", shown).text();
        assert!(text.starts_with("page\n first<") && text.contains("one") && text.ends_with(" last"), "{text}");
    }
}

#[test]
fn at_the_end_there_is_a_tenth_of_the_time_however_the_page_used_it_up() {
    let page = "<? plua.atEnd(function() ended = true while true do pcall(function() while true do end end) end end) \
        plua.atEnd(function() other = true end) if plua.get('loop') then while true do end end ?>";
    let shown = ("shown.plua", "<?= ended, other ?>");
    at_once(&MODES, |mode| {
        let site = site(&format!("pLuaTimeout 2\n{mode}"), &[("page.plua", page), shown]);
        for (url, logged) in [("page.plua", 1), ("page.plua?loop", 2)] {
            let begun = Instant::now();
            let seen = site.get(url);
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
            assert_eq!(seen.status, 500);
            assert_eq!(seen.log.len(), logged, "{:?}", seen.log);
            assert!(seen.log.iter().all(|line| line.contains("took too long")), "{:?}", seen.log);
            // Such a state is not used again.
            assert_eq!(site.get("shown.plua").text(), "nilnil");
        }
        // A function that is quick has its time although the page had none left.
        site.write("quick.plua", "<? who = 'quick' include('note.plua') while true do end ?>");
        assert_eq!(site.get("quick.plua").status, 500);
        assert_eq!(noted(&site), "quick ");
    });
}

#[test]
fn what_runs_at_the_end_cannot_take_more_memory_or_put_out_more_than_a_page() {
    let grow = "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end";
    for (code, limit, kind) in [
        (grow, "pLuaMemoryLimit 4000", "Memory limit"),
        ("while true do echo(('x'):rep(1000)) end", "pLuaOutputLimit 100", "Output limit"),
        ("local function f() return f() + 1 end f()", "", "Depth limit"),
    ] {
        for (before, logged) in [("", 1), ("error('first')", 2)] {
            let page = format!("<? kept = 'kept' plua.atEnd(function() {code} end) {before} ?>");
            let site = site(limit, &[("page.plua", &page), ("next.plua", "<?= kept ?>")]);
            let seen = site.get("page.plua");
            assert_eq!(seen.status, 500, "{code}");
            assert_eq!(seen.log.len(), logged, "{code} {:?}", seen.log);
            assert_eq!(seen.log[0].starts_with(kind), before.is_empty(), "{code} {:?}", seen.log);
            assert_eq!(site.get("next.plua").text(), "nil", "{code}");
        }
    }
}

#[test]
fn it_takes_a_function_while_a_page_runs_and_nothing_else() {
    for (code, message) in [
        ("plua.atEnd()", "bad argument #1 to 'plua.atEnd' (function expected, got no value)"),
        ("plua.atEnd('x')", "bad argument #1 to 'plua.atEnd' (function expected, got string)"),
    ] {
        let site = Site::new("", &[("page.plua", &format!("\n<? {code} ?>"))]);
        let seen = site.get("page.plua");
        assert!(seen.log[0].contains(message) && seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
    }
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(&init, "fine, message = pcall(plua.atEnd, print)").unwrap();
    for mode in MODES {
        let site = Site::new(&format!("{mode}pLuaInit {}", init.display()), &[("page.plua", "<?= fine, message ?>")]);
        let text = site.get("page.plua").text();
        assert!(text.starts_with("false") && text.contains("there is no request"), "{text}");
    }
}

#[test]
fn a_page_in_a_coroutine_a_module_or_an_include_names_functions_for_the_whole_request() {
    let site = site(
        "",
        &[
            ("lib.lua", "return function(text) plua.atEnd(function() plua.echo(text, ' ') end) end"),
            ("part.plua", "<? require('lib')('part') exit() ?>"),
            ("page.plua", "<? coroutine.wrap(function() require('lib')('coroutine') end)() include('part.plua') ?>"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "coroutine part ");
}

#[test]
fn requests_databases_and_files_are_there_at_the_end() {
    let page = "<? local db = assert(dbopen('sqlite3', 'visits.db')) db:run('CREATE TABLE IF NOT EXISTS v (n)') \
        plua.atEnd(function() db:run('INSERT INTO v VALUES (?)', plua.get('n')) \
        header('X-Count', db:query('SELECT count(*) FROM v')[1][1]) end) if plua.get('n') == '2' then error('x') end ?>";
    let site = site("pLuaError 0", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua?n=1").headers, [("X-Count".to_string(), "1".to_string())]);
    assert_eq!(site.get("page.plua?n=2").status, 500);
    assert_eq!(site.get("page.plua?n=3").headers, [("X-Count".to_string(), "3".to_string())]);
}

#[test]
fn a_buffer_of_the_file_before_the_page_is_there_for_the_file_after_it() {
    for mode in MODES {
        let site = site(
            &format!("pLuaPrepend top.plua\npLuaAppend end.plua\n{mode}"),
            &[
                ("top.plua", "T<? ob_start() ?>"),
                ("end.plua", "<? local page = ob_get_clean() ?>[<?! page ?>]<?= ob_get_level() ?>"),
                ("page.plua", "page"),
                ("own.plua", "p<? ob_start() ?>own<? ob_end_flush() ?>"),
                ("flush.plua", "f<? flush() ?>g"),
                ("laid.plua", "<? layout('outer.plua') ?>p<? ob_start() ?>q"),
                ("outer.plua", "<? layout('layout.plua') ?><<?! content() ?>>"),
                ("layout.plua", "(<?! content() ?>)"),
                ("exit.plua", "x<? exit() ?>y"),
                ("redirect.plua", "x<? redirect('/') ?>y"),
                ("closes.plua", "a<? ob_end_clean() ob_start() ?>b"),
            ],
        );
        for (page, shown) in [
            ("page.plua", "T[page]0"),
            ("own.plua", "T[pown]0"),
            ("flush.plua", "T[fg]0"),
            ("laid.plua", "[(<Tpq>)]0"),
            // As in PHP, whose auto_append_file does not run after exit() either: what was put out is there.
            ("exit.plua", "Tx"),
            ("redirect.plua", "Tx"),
            ("closes.plua", "T[b]0"),
        ] {
            let seen = site.get(page);
            assert!(seen.log.is_empty(), "{:?}", seen.log);
            assert_eq!(seen.text(), shown, "{mode}{page}");
        }
    }
}

#[test]
fn a_function_of_the_file_before_the_page_gets_its_buffer_also_after_exit() {
    let site = site(
        "pLuaPrepend top.plua",
        &[
            (
                "top.plua",
                "<? ob_start() plua.atEnd(function() local page = ob_get_clean() echo('[', page, ']') end) ?>",
            ),
            ("page.plua", "page"),
            ("exit.plua", "x<? exit() ?>y"),
            ("captured.plua", "x<? capture(function() echo('lost') exit() end) ?>y"),
            ("laid.plua", "<? layout('layout.plua') ?>p"),
            ("layout.plua", "(<?! content() ?>)"),
        ],
    );
    for (page, shown) in
        [("page.plua", "[page]"), ("exit.plua", "[x]"), ("captured.plua", "[xlost]"), ("laid.plua", "[(p)]")]
    {
        assert_eq!(site.get(page).text(), shown, "{page}");
    }
}
