//! Pages made of several files and several buffers: captures, includes, layouts, and what runs around each page.

mod site;

use std::fs;
use std::time::{Duration, Instant};

use site::{Site, page};

/// Lua that ends with this answer, which must be that text.
fn assert_pages(cases: &[(&str, &str)]) {
    for (code, expected) in cases {
        let seen = page(code);
        assert_eq!((seen.text().as_str(), seen.status), (*expected, 200), "{code} {:?}", seen.log);
        assert_eq!(seen.log, [""; 0], "{code}");
    }
}

#[test]
fn capture_gives_what_a_function_puts_out_and_captures_nest() {
    assert_pages(&[
        ("a<? local s = capture(function(x, y) ?>b<?= x, y ?>c<? end, 1, nil) ?>d[<?= s ?>]", "ad[b1nilc]"),
        ("<? local s = capture(function() echo(1) local t = capture(echo, 2) echo(3, t) end) ?>-<?= s ?>", "-132"),
        ("<?= capture(function() end) == '' ?>", "true"),
        ("<?= capture(echo, 'a\\0b') == 'a\\0b' ?>", "true"),
        ("a<?= capture(echo, 'b') ?>c<?= capture(echo, 'd'), capture(echo, 'e') ?>f", "abcdef"),
        ("<? local function f() echo('f') return 'r' end ?>a<?= f() ?>b<?& f() ?>c", "afrbfrc"),
        ("<?= select(2, pcall(capture)) ?>", "bad argument #1 to 'capture' (function expected, got no value)"),
    ]);
}

#[test]
fn an_error_in_a_capture_goes_on_to_whoever_catches_it_there_and_nothing_of_the_capture_is_put_out() {
    let failing = "capture(function() echo('lost') capture(function() echo('lost') error('x', 0) end) end)";
    for caught in [
        format!("local _, e = pcall(function() {failing} end) echo(e)"),
        format!("local _, e = xpcall(function() {failing} end, function(e) return e end) echo(e)"),
        format!("local _, e = coroutine.resume(coroutine.create(function() {failing} end)) echo(e)"),
    ] {
        assert_pages(&[(&format!("a<? {caught} ?>b"), "axb")]);
        assert_pages(&[(&format!("<?= capture(function() echo('a') {caught} echo('b') end) ?>c"), "axbc")]);
        assert_pages(&[(&format!("<? ob_start() echo('a') {caught} ?>b<?= ob_get_level() ?>"), "axb1")]);
    }
    let seen = page("a\n<? capture(function()\necho('b')\nerror('broken') end) ?>");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].starts_with("Run-time error: broken at "), "{:?}", seen.log);
    assert!(seen.log[0].contains("page.plua:4"), "{:?}", seen.log);
    assert!(!seen.text().contains("engine") && seen.log[0].contains("main page at "), "{:?}", seen.log);
}

#[test]
fn output_buffers_do_what_php_hands_expect() {
    assert_pages(&[
        ("a<? ob_start() ?>b<? local s = ob_get_clean() ?>c<?= s ?>", "acb"),
        ("<? ob_start() ?>b<?= ob_get_contents() ?><? ob_end_flush() ?>c", "bbc"),
        ("a<? ob_start() ?>b<? ob_end_clean() ?>c", "ac"),
        ("<? ob_start() ob_start() echo(ob_get_level()) ob_end_flush() echo(ob_get_level()) ob_end_flush() ?>", "21"),
        (
            "<?= ob_get_level(), ob_get_contents(), ob_get_clean(), ob_end_flush(), ob_end_clean() ?>",
            "0falsefalsefalsefalse",
        ),
        ("a<? ob_start() ?>b<? ob_start() ?>c", "abc"),
        ("a<? ob_start() ?>b<? capture(function() ob_start() echo(1) end) ?>c", "abc"),
        ("a<?= capture(function() while ob_end_clean() do end ob_start() echo('b') end) ?>c", "abc"),
        ("a<? ob_start() ?>b<? pcall(error) ?>c<?= ob_get_level() ?>", "abc1"),
    ]);
}

#[test]
fn what_is_open_at_the_end_is_put_out_in_order_and_a_failed_page_throws_it_all_away() {
    for code in ["ob_start() echo(2) ob_start() echo(3) exit()", "echo(2) capture(function() echo(3) exit() end)"] {
        for _ in 0..2 {
            assert_pages(&[(&format!("1<? {code} ?>4"), "123")]);
        }
    }
    let site = Site::new(
        "pLuaStates 1\npLuaError 0",
        &[("fails.plua", "a<? ob_start() ?>b<? capture(function() error('x') end) ?>"), ("next.plua", "c")],
    );
    assert_eq!((site.get("fails.plua").status, site.get("fails.plua").text().as_str()), (500, ""));
    assert_eq!(site.get("next.plua").text(), "c");
}

#[test]
fn flush_sends_only_what_no_buffer_holds_back() {
    let seen = page("a<? ob_start() ?>b<? flush() ob_end_clean() ?>c");
    assert_eq!((seen.text().as_str(), seen.flushes), ("ac", 1));
}

#[test]
fn an_included_file_sees_the_variables_it_is_given_before_the_globals() {
    let site = Site::new(
        "",
        &[
            (
                "page.plua",
                "<? who = 'G' include('p.plua', { who = 'V', n = 1 }) include('p.plua') ?>|<?= made, n, f(), who ?>",
            ),
            ("p.plua", "[<?= who ?>,<?= n ?>]<? if n then n = 2 made = 'M' function f() return n end end ?>"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "[V,1][G,nil]|Mnil2G");
    }
}

#[test]
fn each_call_of_a_file_keeps_its_own_variables_when_it_includes_itself() {
    let tree =
        "(<?= n ?><? if n > 0 then include('tree.plua', { n = n - 1 }) include('tree.plua', { n = n - 1 }) end ?>";
    let site = Site::new(
        "",
        &[
            ("page.plua", "<? fs = {} include('tree.plua', { n = 2 }) for _, f in ipairs(fs) do echo(f()) end ?>"),
            ("tree.plua", &format!("{tree}<? fs[#fs + 1] = function() return n end ?><?= n ?>)")),
        ],
    );
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "(2(1(00)(00)1)(1(00)(00)1)2)0010012");
    }
}

#[test]
fn what_a_call_was_given_is_freed_when_it_is_over() {
    let kept = "<? local big = {} weak = setmetatable({ big }, { __mode = 'v' }) include('p.plua', { big = big }) ?>";
    let site = Site::new(
        "pLuaStates 1",
        &[("page.plua", kept), ("p.plua", "<?= big ~= nil ?>"), ("after.plua", "<? collectgarbage() ?><?= weak[1] ?>")],
    );
    assert_eq!(site.get("page.plua").text(), "true");
    assert_eq!(site.get("after.plua").text(), "nil");
}

#[test]
fn equal_names_in_different_folders_are_different_files_and_a_changed_one_is_read_again() {
    let site = Site::new("pLuaStates 1", &[]);
    let moment = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for folder in ["a", "b"] {
        let head = format!("{folder}/head.plua");
        site.write(&head, folder);
        fs::File::options().write(true).open(site.path(&head)).unwrap().set_modified(moment).unwrap();
        site.write(&format!("{folder}/page.plua"), "<?= include('head.plua') ?>");
    }
    assert_eq!((site.get("a/page.plua").text(), site.get("b/page.plua").text()), ("atrue".into(), "btrue".into()));
    site.write("a/head.plua", "changed");
    assert_eq!(site.get("a/page.plua").text(), "changedtrue");
}

#[test]
fn an_include_of_a_long_path_or_without_a_name_and_a_hidden_failure_just_answer() {
    let long = format!("{}/{}.plua", "d".repeat(200), "f".repeat(200));
    let site = Site::new(
        "pLuaError 0",
        &[
            (&long, "long"),
            ("page.plua", &format!("<?= include('{long}') ?>")),
            ("empty.plua", "<?= include(''), include('\\0'), include(('x'):rep(5000)) ?>"),
            ("hidden.plua", "a<?= include('fails.plua') ?>b"),
            ("fails.plua", "<? error('x') ?>"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "longtrue");
    assert_eq!(site.get("empty.plua").text(), "falsefalsefalse");
    let hidden = site.get("hidden.plua");
    assert_eq!((hidden.text().as_str(), hidden.status, hidden.log.len()), ("afalseb", 200, 1));
}

#[test]
fn include_gives_what_the_file_returns_after_true() {
    let site = Site::new(
        "pLuaRaw .lua",
        &[
            (
                "page.plua",
                "<? local ok, t, more = include('data.lua') ?><?= ok, t.a, more ?><?= include('text.plua') ?>",
            ),
            ("data.lua", "return { a = 'A' }, 'more'"),
            ("text.plua", "text"),
            ("none.plua", "<?= select('#', include('none')), select('#', include('fails.lua')) ?>"),
            ("fails.lua", "showErrors(false) error('x')"),
            ("nils.plua", "<?= include('nils.lua') ?>,<?= include('nil.lua') ?>"),
            ("nils.lua", "return nil, 'between', nil"),
            ("nil.lua", "return nil"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "trueAmoretexttrue");
    assert_eq!(site.get("none.plua").text(), "11");
    assert_eq!(site.get("nils.plua").text(), "truenilbetweennil,truenil");
}

#[test]
fn a_file_that_was_a_page_of_its_own_before_is_still_known_by_all_its_names_when_it_is_included() {
    let page = "<? include('p.plua') ?>,<?= include_once('./p.plua') ?>";
    let site = Site::new("", &[("p.plua", "p"), ("page.plua", page)]);
    assert_eq!(site.get("p.plua").text(), "p");
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "p,true");
    }
}

#[test]
fn include_once_runs_a_file_once_in_a_request_whatever_it_is_called() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            (
                "page.plua",
                "<?= include_once('p.plua') ?>,<?= include_once('./sub/../p.plua') ?>,<?= include('p.plua') ?>,\
                 <?= include_once('none') ?>,<? include('q.plua') include_once('q.plua') ?>",
            ),
            ("p.plua", "p"),
            ("q.plua", "q"),
            ("sub/x", ""),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "ptrue,true,ptrue,false,q");
    }
}

#[test]
fn render_gives_a_file_as_a_string_and_raises_what_is_wrong_with_it() {
    let site = Site::new(
        "",
        &[
            ("page.plua", "a<? local s = render('p.plua', { x = 'X' }) ?>b<?= s ?>"),
            ("p.plua", "<<?= x ?>>"),
            (
                "caught.plua",
                "<?= select(2, pcall(render, 'none')) ?>|<? local _, e = pcall(render, 'bad.plua') ?><?= e ?>|\n\
                 <? include('fails.plua') ?>",
            ),
            ("bad.plua", "\n\n<? x = = ?>"),
            ("fails.plua", "lost\n<? error('broken') ?>"),
            ("uncaught.plua", "\n<? render('bad.plua') ?>"),
            ("runs.plua", "\n<? render('fails.plua') ?>"),
            ("missing.plua", "\n<? render('none') ?>"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "ab<X>");
    let caught = site.get("caught.plua");
    assert!(caught.text().starts_with("render: there is no file 'none'|"), "{}", caught.text());
    assert!(caught.text().contains("/bad.plua:3: "), "{}", caught.text());
    assert!(caught.log[0].starts_with("Run-time error: broken at "), "{:?}", caught.log);
    for (name, kind, place) in [
        ("uncaught.plua", "Compiler error: ", "bad.plua:3"),
        ("runs.plua", "Run-time error: broken", "fails.plua:2"),
        ("missing.plua", "Run-time error: render: there is no file 'none'", "missing.plua:2"),
    ] {
        let seen = site.get(name);
        assert_eq!((seen.status, seen.log.len()), (500, 1), "{name}");
        assert!(seen.log[0].starts_with(kind), "{name}: {:?}", seen.log);
        let at = seen.log[0].split(" at ").nth(1).unwrap();
        assert!(at.split(' ').next().unwrap().contains(place), "{name}: {:?}", seen.log);
        assert!(seen.log[0].contains(&format!("{name}:2")), "{name}: {:?}", seen.log);
    }
}

#[test]
fn bad_arguments_of_the_composing_functions_are_errors_at_their_line() {
    for (call, message) in [
        ("include()", "bad argument #1 to 'include' (string expected, got no value)"),
        ("include_once('x', 1)", "bad argument #2 to 'include_once' (table expected, got number)"),
        ("render({})", "bad argument #1 to 'render' (string expected, got table)"),
        ("layout(1)", "bad argument #1 to 'layout' (string expected, got number)"),
        ("layout('none')", "layout: there is no file 'none'"),
        ("block()", "bad argument #1 to 'block' (string expected, got no value)"),
        ("block('x')", "bad argument #2 to 'block' (function or string expected, got no value)"),
        ("startBlock()", "bad argument #1 to 'startBlock' (string expected, got no value)"),
        ("endBlock()", "endBlock: no block was started here"),
    ] {
        let text = page(&format!("a\n<? local ok, err = pcall(function()\n{call} end) echo(err) ?>")).text();
        assert!(text.ends_with(&format!("page.plua:3: {message}")), "{call}: {text}");
    }
}

#[test]
fn a_layout_puts_the_page_and_its_blocks_where_it_wants_them() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            (
                "page.plua",
                "<? layout('l.plua', { site = 'S' }) ?>text<? block('title', function() ?>T<?= 1 ?><? end) ?>\
                 <? startBlock('side') ?>side<? endBlock() block('plain', 'P') ?>.",
            ),
            (
                "l.plua",
                "<<?= content('title') ?>-<?= site ?>|<?= content() ?>|<?= content('side') ?><?= content('plain') ?>|\
                 <?= content('none'), content('none', 'D'), content('none', false) ?>>",
            ),
            ("bare.plua", "<?= content() ?>bare<?= content('title') ?>"),
            ("none.plua", "<? layout('l.plua') layout(nil) ?>none"),
            ("open.plua", "<? layout('inner.plua') ob_start() ?>open"),
            (
                "inner.plua",
                "<? layout('sub/outer.plua') block('title', '[' .. content('title') .. ']') ?>i<?= content() ?>i",
            ),
            ("sub/outer.plua", "o<?= content('title') ?><?= content() ?>o<? include('beside.plua') ?>"),
            ("sub/beside.plua", "!"),
            ("exit.plua", "<? layout('l.plua') startBlock('x') ?>left<? exit() ?>"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "<T1-S|text.|sideP|Dfalse>");
        assert_eq!(site.get("bare.plua").text(), "bare");
        assert_eq!(site.get("none.plua").text(), "none");
        assert_eq!(site.get("open.plua").text(), "o[]iopenio!");
        assert_eq!(site.get("exit.plua").text(), "left");
    }
}

#[test]
fn what_is_wrong_with_a_layout_or_a_block_is_reported_at_its_own_line() {
    let site = Site::new(
        "",
        &[
            ("page.plua", "<? layout('l.plua') ?>text"),
            ("l.plua", "\n\n<?= content() .. nil ?>"),
            ("bad.plua", "<? layout('syntax.plua') ?>"),
            ("syntax.plua", "\n<? x = = ?>"),
            ("open.plua", "\n<? startBlock('t') ?>x"),
            ("inlayout.plua", "<? layout('open.plua') ?>x"),
            ("loop.plua", "<? layout('loop.plua') ?>x"),
        ],
    );
    for (name, message, place) in [
        ("page.plua", "attempt to concatenate", "l.plua:3"),
        ("bad.plua", "Compiler error", "syntax.plua:2"),
        ("open.plua", "block 't' is still open at the end of the page: endBlock() is missing", "open.plua:2"),
        ("inlayout.plua", "block 't' is still open", "open.plua:2"),
        ("loop.plua", "layouts are nested more than 100 deep", ""),
    ] {
        let seen = site.get(name);
        assert_eq!(seen.status, 500, "{name}");
        assert!(seen.log[0].contains(message) && seen.log[0].contains(place), "{name}: {:?}", seen.log);
    }
}

#[test]
fn modules_beside_the_page_are_found_from_any_thread_and_before_others() {
    let site = Site::new(
        "",
        &[
            ("a/page.plua", "<?= (require('mine')), (require('sub.deep')) ?>"),
            ("a/mine.lua", "return 'a'"),
            ("a/sub/deep.lua", "return 'deep'"),
            ("path.plua", "<?= package.path:sub(1, 8) ?>"),
            ("broken.plua", "<?= select(2, pcall(require, 'wrong')) ?>|<?= package.path:sub(1, 8) ?>"),
            ("wrong.lua", "x = = 1"),
        ],
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(site.get("a/page.plua").text(), "adeep"));
        }
    });
    assert_eq!(site.get("path.plua").text(), "./?.lua;");
    let broken = site.get("broken.plua").text();
    assert!(broken.contains("wrong.lua:1: ") && broken.ends_with("|./?.lua;"), "{broken}");
}

#[test]
#[cfg(feature = "luajit")]
fn modules_beside_the_page_are_found_where_the_thread_is_elsewhere() {
    let elsewhere = "<? local ffi = require('ffi') ffi.cdef('int chdir(const char *)') ffi.C.chdir('/') ?>";
    let page = format!("{elsewhere}<?= io.open('mine.lua') == nil, require('mine') ?>");
    let site = Site::new("", &[("page.plua", &page), ("mine.lua", "return 'm'")]);
    assert_eq!(site.get("page.plua").text(), "truem");
}

#[test]
fn package_paths_are_put_first_and_relative_ones_start_at_the_page() {
    let modules = tempfile::tempdir().unwrap();
    fs::write(modules.path().join("shared.lua"), "return 'shared'").unwrap();
    let configuration =
        format!("pLuaPackagePath lib/?.lua;{}/?.lua\npLuaPackageCPath c/?.so", modules.path().display());
    let site = Site::new(
        &configuration,
        &[
            ("page.plua", "<?= (require('shared')), (require('mine')), package.cpath:sub(1, 7) ?>"),
            ("lib/mine.lua", "return 'lib'"),
            ("mine.lua", "return 'beside'"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "sharedlibc/?.so;");
}

#[test]
fn the_init_file_runs_once_in_each_state_before_its_first_page() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    let configuration = format!("pLuaInit {}\npLuaRuns 2\npLuaStates 1", init.display());
    fs::write(&init, "#!lua\ncount = (count or 0) + 1 echo('lost') ok = pcall(getEnv)").unwrap();
    let site = Site::new(&configuration, &[("page.plua", "<? seen = (seen or 0) + 1 ?><?= count, seen, ok ?>")]);
    let seen: Vec<_> = (0..3).map(|_| site.get("page.plua").text()).collect();
    assert_eq!(seen, ["11false", "12false", "11false"]);
}

#[test]
fn a_state_whose_init_file_fails_is_not_used_and_the_request_is_500() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    for (code, message) in [
        ("\n\nerror('broken')", "Run-time error: broken at "),
        ("\n\nx = = 1", "Compiler error: "),
        ("\n\nwhile true do end", "Time limit: "),
        ("\n\nos.execute('sleep 30')", "Time limit: "),
    ] {
        let started = Instant::now();
        fs::write(&init, code).unwrap();
        let configuration = format!("pLuaInit {}\npLuaStates 1\npLuaTimeout 0.3", init.display());
        let site = Site::new(&configuration, &[("page.plua", "page")]);
        for _ in 0..2 {
            let seen = site.get("page.plua");
            assert_eq!((seen.status, seen.log.len()), (500, 1), "{code}");
            assert_eq!(seen.headers, []);
            assert!(seen.log[0].starts_with(message) && seen.log[0].contains("init.lua:3"), "{:?}", seen.log);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{code}");
        fs::write(&init, "").unwrap();
        assert_eq!(site.get("page.plua").text(), "page");
    }
    fs::remove_file(&init).unwrap();
    let site = Site::new(&format!("pLuaInit {}", init.display()), &[("page.plua", "page")]);
    let seen = site.get("page.plua");
    assert!(seen.status == 500 && seen.log[0].contains("init.lua: No such file"), "{:?}", seen.log);
}

#[test]
fn files_run_before_and_after_each_page_and_the_last_one_not_after_exit() {
    let site = Site::new(
        "pLuaPrepend top.plua\npLuaAppend sub/end.plua",
        &[
            ("top.plua", "<? user = 'U' if stop then exit() end ?>T"),
            ("sub/end.plua", "E"),
            ("page.plua", "<?= user ?>"),
            ("exit.plua", "x<? exit() ?>"),
            ("laid.plua", "<? layout('l.plua') ?>page"),
            ("l.plua", "(<?= content() ?>)"),
            ("fails.plua", "<? stop = false error('x') ?>"),
        ],
    );
    for (name, expected) in [("page.plua", "TUE"), ("exit.plua", "Tx"), ("laid.plua", "(Tpage)E")] {
        assert_eq!(site.get(name).text(), expected, "{name}");
    }
    let seen = site.get("fails.plua");
    assert!(seen.status == 500 && seen.log[0].contains("fails.plua:1"), "{:?}", seen.log);
    site.write("top.plua", "\n<? error('top') ?>");
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].contains("top.plua:2"), "{:?}", seen.log);
    let site = Site::new("pLuaPrepend none.plua", &[("page.plua", "x")]);
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].contains("pLuaPrepend: there is no file 'none.plua'"), "{:?}", seen.log);
}

#[test]
fn a_loop_of_eight_thousand_texts_and_echoes_compiles() {
    let text = format!("<? for i = 1, 1 do ?>{}<? end ?>", "a<?= i ?>".repeat(8000));
    assert_eq!(page(&text).text(), "a1".repeat(8000));
}

#[test]
fn the_layout_in_the_manual_works_as_it_stands() {
    let manual = include_str!("../../docs/pages.md");
    let code = |name: &str| {
        let (_, rest) = manual.split_once(&format!("`{name}`:\n\n```html\n")).unwrap();
        rest.split("```").next().unwrap()
    };
    let site = Site::new("", &[("hello.plua", code("hello.plua")), ("layout.plua", code("layout.plua"))]);
    assert_eq!(
        site.get("hello.plua").text(),
        "<!DOCTYPE html>\n<title>Hello - Example</title>\n<main><p>Hello, world.</p>\n</main>\n\
         <aside><p>Beside it.</p>\n</aside>\n"
    );
}

#[test]
fn an_included_file_shares_globals_and_no_locals_and_may_lie_above_the_page() {
    let site = Site::new(
        "",
        &[
            ("sub/page.plua", "<? local own, shared = 1 shared_too = 2 include('../part.plua') ?><?= theirs, given ?>"),
            ("part.plua", "<?= own, shared_too ?><? local theirs = 3 given = 4 ?>"),
        ],
    );
    assert_eq!(site.get("sub/page.plua").text(), "nil2nil4");
}
