//! Failing pages: what visitor and administrator are told, and what holds afterwards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Site, page};

/// The log entry of a page, with the folder's name taken out.
fn logged(site: &Site, name: &str) -> String {
    let seen = site.get(name);
    assert_eq!(seen.log.len(), 1, "{:?}", seen.log);
    seen.log[0].replace(&*site.folder.path().to_string_lossy(), "")
}

#[test]
fn a_failed_page_is_a_500_with_its_report_and_nothing_of_the_half_page() {
    let site = Site::new("", &[("page.plua", "<b>half</b>\n<?\nlocal t = nil\nheader('X', 'y')\nt.x = 1 ?>")]);
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.content_type.as_str(), &seen.headers), (500, "text/html; charset=UTF-8", &vec![]));
    assert!(seen.text().contains("<mark>    5 | t.x = 1 ?&gt;</mark>"), "{}", seen.text());
    assert!(
        seen.text().contains("attempt to index local &#x27;t&#x27;")
            || seen.text().contains("attempt to index local 't'")
            || seen.text().contains("attempt to index a nil value (local 't')"),
        "{}",
        seen.text()
    );
    assert!(!seen.text().contains("half</b>"), "{}", seen.text());
    let log = logged(&site, "page.plua");
    assert!(log.starts_with("Run-time error: attempt to index"), "{log}");
    assert!(log.contains(" at /page.plua:5 | t.x = 1 ?> | in main page at /page.plua:5"), "{log}");
}

#[test]
fn with_errors_hidden_the_server_makes_the_page_and_the_log_has_the_report() {
    let site = Site::new(
        "pLuaError 0",
        &[("page.plua", "x<? error('secret') ?>"), ("show.plua", "<? showErrors(true) error('seen') ?>")],
    );
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.text().as_str()), (500, ""));
    assert!(seen.log[0].contains("secret"));
    assert!(site.get("show.plua").text().contains("seen"));
}

#[test]
fn a_page_of_php_is_told_what_it_is() {
    for (text, line) in [
        ("<?php echo 'a'; ?>", 1),
        ("a\n<?PHP\n$a = 1;\n?>", 2),
        ("<?= 1 ?>\n\n<?php if ($a) { ?>b<?php } ?>", 3),
        ("a<?php", 1),
    ] {
        let log = logged(&Site::new("", &[("page.plua", text)]), "page.plua");
        let message = format!(
            "Compiler error: a tag of PHP's: mod_plua runs Lua, in tags that begin with <? or <?lua at /page.plua:{line} "
        );
        assert!(log.starts_with(&message), "{log}");
    }
    // What is wrong before it is Lua's, and what compiles is Lua.
    let log = logged(&Site::new("", &[("page.plua", "<? x = = 1 ?>\n<?php a ?>")]), "page.plua");
    assert!(log.contains("unexpected symbol near '='"), "{log}");
    assert_eq!(page("<?php = 1 ?><?= php ?>").text(), "1");
    let text = Site::new("pLuaShortHand Off", &[("page.plua", "<?php a ?>")]).get("page.plua").text();
    assert_eq!(text, "<?php a ?>");
}

#[test]
fn a_syntax_error_names_the_pages_own_line_whatever_the_length_of_its_path() {
    let name = format!("{}/page.plua", "a-long-folder-name/".repeat(12));
    for (text, line, message) in [
        ("one\ntwo <? x = = 1 ?>\nthree", 2, "unexpected symbol near '='"),
        ("<? if true then ?>\n\n", 3, "'end' expected (to close 'if' at line 1) near '<eof>'"),
        ("a<? for i = 1, 3 ?>x", 1, "'do' expected near '?>'"),
        ("a<? if b ?>x<? end ?>", 1, "'then' expected near '?>'"),
        ("a<? while true ?><?= 1 ?>", 1, "'do' expected near '?>'"),
        ("a<? b = ?>x", 1, "unexpected symbol near '?>'"),
        ("<? for k, v in pairs(t) ?>x", 1, "'do' expected near '?>'"),
        ("<? while f() ?><?= 1 ?>", 1, "'do' expected near '?>'"),
        ("<? if f(x) ?>x<? end ?>", 1, "'then' expected near '?>'"),
        ("<? local ?>x", 1, "<name> expected near '?>'"),
        ("<? x =\n?>\n\n<p>\n<? y() ?>", 2, "unexpected symbol near '?>' (the tag begins at line 1)"),
        ("<? x = ?>\n\n\n<?= 1 ?>", 1, "unexpected symbol near '?>'"),
        ("<p>\n<? x = {\n 1,\n ?>x<? y() ?>", 4, "unexpected symbol near '?>' (the tag begins at line 2)"),
        ("<? f( ?><?= 1 ?>", 1, "unexpected symbol near '?>'"),
        ("<? x = 'a' .. ?>\n<? y = = 1 ?>", 2, "unexpected symbol near '='"),
        ("a<? y = 1 ?>\n<?= 1 + ?>b", 2, "unexpected symbol near '?>'"),
        ("<?= f(1 ?>b", 1, "')' expected near '?>'"),
        ("a\n<?= f(1,\n 2 ?>b<? if x then ?>c", 3, "')' expected near '?>'"),
        ("<?= local ?>b", 1, "unexpected symbol near 'local'"),
        ("<?= a b ?>c", 1, "'?>' expected near 'b'"),
        ("<?= (a b) ?>c", 1, "')' expected near 'b'"),
        ("<?= function() ?>", 1, "'end' expected near '?>'"),
        ("<? x =", 1, "unexpected symbol near '<eof>'"),
        ("<?= 1 +", 1, "unexpected symbol near '<eof>'"),
        ("<?= 'a\n?>", 1, "unfinished string"),
        ("\r\n\r\n<? end ?>", 3, "'<eof>' expected near 'end'"),
    ] {
        let site = Site::new("", &[(&name, text)]);
        let log = logged(&site, &name);
        assert!(log.starts_with("Compiler error: "), "{log}");
        assert!(log.contains(&format!("/page.plua:{line}")), "{log}");
        // LuaJIT and 5.4 word "near <eof>" differently.
        let plain = |text: &str| text.replace(['\'', '<', '>'], "");
        assert!(plain(&log).contains(&plain(message)), "{log}");
    }
}

#[test]
fn every_kind_of_error_object_is_an_error_with_a_place() {
    for (code, message) in [
        ("error({})", "error object is a table without __tostring"),
        ("error()", "error without a message (nil)"),
        ("error(nil)", "error without a message (nil)"),
        ("error(setmetatable({}, {__tostring = function() return 'custom' end}))", "custom"),
        ("error(setmetatable({}, {__tostring = function() error('no') end}))", "error object whose __tostring fails"),
        ("error('x:1: y')", "x:1: y"),
        ("error('plain', 0)", "plain"),
        ("error('MOD_PLUA_EXIT')", "MOD_PLUA_EXIT"),
        ("echo(setmetatable({}, {__tostring = function() error('inside') end}))", "inside"),
        (
            "local t = setmetatable({}, {__tostring = function() return io.stdout end}) ?><?& t ?><?",
            "'__tostring' must return a string",
        ),
        // 5.1 does not get that far: it cannot yield out of a protected call.
        ("coroutine.yield()", "attempt to yield"),
        ("require('nowhere')", "module 'nowhere' not found"),
    ] {
        let site = Site::new("", &[("page.plua", &format!("\n\n<?\n{code} ?>"))]);
        let log = logged(&site, "page.plua");
        assert!(log.contains(message) && log.contains("/page.plua:4"), "{code}: {log}");
        assert_eq!(site.get("page.plua").status, 500);
    }
}

#[test]
fn a_stack_overflow_names_the_page() {
    // LuaJIT calls no handler when the stack overflows in compiled code, so the line is not always known.
    let site =
        Site::new("", &[("page.plua", "<? local function f() return 1 + f() end f() ?>"), ("next.plua", "fine")]);
    let log = logged(&site, "page.plua");
    assert!(log.starts_with("Depth limit: ") && log.contains("stack overflow"), "{log}");
    assert!(log.contains("/page.plua") && log.len() < 500, "{log}");
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn the_traceback_names_the_functions_that_led_there() {
    let site = Site::new(
        "",
        &[(
            "page.plua",
            "<?\nfunction total(cart)\n  local sum = 0\n  sum = sum + cart.price\n  return sum\nend ?>\n\n<? local s = total({}) ?>",
        )],
    );
    let log = logged(&site, "page.plua");
    assert!(log.contains("at /page.plua:4 | sum = sum + cart.price | in function "), "{log}");
    assert!(log.contains("total' at /page.plua:4 | in main page at /page.plua:8"), "{log}");
}

#[test]
fn a_failed_include_is_reported_in_place_with_its_chain_and_the_outer_page_goes_on() {
    let pages = [
        ("page.plua", "<p>top</p>\n<?= include('parts/menu.plua') ?>end"),
        ("parts/menu.plua", "menu\n\n<? include('item.plua') ?>"),
        ("parts/item.plua", "<i>item</i><?\nerror('broken item') ?>"),
        ("syntax.plua", "a<? include('bad.plua') ?>b"),
        ("bad.plua", "\n<? for ?>"),
    ];
    let site = Site::new("", &pages);
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 200);
    let text = seen.text();
    assert!(text.starts_with("<p>top</p>\nmenu\n\n<i>item</i><div"), "{text}");
    assert!(text.ends_with("</div>\ntrueend"), "{text}");
    let log = logged(&site, "page.plua");
    assert!(
        log.contains(
            "broken item at /parts/item.plua:2 | error('broken item') ?> | in file at /parts/item.plua:2 \
                      | in file at /parts/menu.plua:3 | in main page at /page.plua:2"
        ),
        "{log}"
    );
    let log = logged(&site, "syntax.plua");
    assert!(log.contains(" at /bad.plua:2 | <? for ?> | in main page at /syntax.plua:1"), "{log}");
    let hidden = Site::new("pLuaError 0", &pages);
    assert_eq!(hidden.get("syntax.plua").text(), "ab");
    assert_eq!(hidden.get("syntax.plua").log.len(), 1);
}

#[test]
fn an_error_that_a_file_lays_to_whatever_called_it_names_no_line_of_the_engine() {
    let site = Site::new(
        "",
        &[
            ("page.plua", "\n<? include('part.plua') ?>"),
            ("part.plua", "<? error('needs\\na name', 2) ?>"),
            ("capture.plua", "<? capture(function() error('broken', 2) end) ?>"),
        ],
    );
    let log = logged(&site, "page.plua");
    assert!(log.starts_with("Run-time error: needs\na name at /part.plua:1 "), "{log}");
    let log = logged(&site, "capture.plua");
    assert!(log.starts_with("Run-time error: broken at /capture.plua:1 "), "{log}");
}

#[test]
fn include_finds_files_beside_the_page_then_beside_the_including_file_and_says_false_for_none() {
    let site = Site::new(
        "pLuaRaw .lua",
        &[
            (
                "page.plua",
                "<?= include('sub/a.plua'), include('none'), include('sub'), include('x.lua'), include('t.html') ?>",
            ),
            ("sub/a.plua", "a<? include('b.plua') g = 1 ?>"),
            ("sub/b.plua", "b(sub)"),
            ("x.lua", "#!x\necho(g)"),
            ("t.html", "<?= 'html' ?>"),
            ("loop.plua", "<? n = (n or 0) + 1 if not include('loop.plua') then deep = deep or n end ?>"),
            ("deep.plua", "<?= deep ?>"),
        ],
    );
    let seen = site.get("page.plua");
    assert_eq!(seen.text(), "ab(sub)1htmltruefalsefalsetruetrue");
    site.write("b.plua", "b(top)");
    assert!(site.get("page.plua").text().starts_with("ab(top)"));
    let absolute = site.path("sub/b.plua");
    site.write("abs.plua", format!("<? include('{}') ?>", absolute.display()));
    assert_eq!(site.get("abs.plua").text(), "b(sub)");
    let looped = site.get("loop.plua");
    assert_eq!(looped.status, 500);
    assert!(
        looped.log[0].contains("include is nested more than 100 deep") || looped.log[0].contains("stack overflow"),
        "{:?}",
        looped.log[0]
    );
    assert_eq!(page("<? include() ?>").status, 500);
}

#[test]
fn a_page_that_fails_after_bytes_are_out_is_cut_off() {
    let seen = page("one<? flush() error('late') ?>");
    assert!(seen.aborted);
    assert_eq!((seen.text().as_str(), seen.log.len()), ("one", 1));
}

#[test]
fn a_status_the_page_chose_stays_and_the_next_page_is_unaffected() {
    let site =
        Site::new("pLuaStates 1", &[("page.plua", "<? setReturnCode(403) error('no') ?>"), ("next.plua", "fine")]);
    assert_eq!(site.get("page.plua").status, 403);
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn errors_leave_nothing_behind_in_a_state() {
    let site = Site::new("pLuaStates 1\npLuaRuns 0", &[("page.plua", "<? error('again') ?>"), ("next.plua", "fine")]);
    for _ in 0..3000 {
        assert_eq!(site.get("page.plua").status, 500);
    }
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn binary_junk_is_a_report_or_text() {
    for junk in [&b"\x1bLJ\x02\x00\xff\xfe"[..], b"\0\0\0", b"\xff<?\xff?>", b"<?\0\0?>", b"\x1bLua<?="] {
        let site = Site::new("pLuaRaw .lua", &[]);
        site.write("page.plua", junk);
        site.write("page.lua", junk);
        for name in ["page.plua", "page.lua"] {
            let seen = site.get(name);
            assert!(
                seen.text().as_bytes() == junk || seen.status == 500 || seen.log.is_empty(),
                "{name} {junk:?} {seen:?}"
            );
        }
        assert_eq!(site.get("page.lua").status, 500, "{junk:?}");
    }
}

#[test]
fn a_traceback_that_a_page_makes_shows_its_own_calls_and_what_they_called() {
    let page = "<?
local function f() local t = debug.traceback('msg') return t end
local function g() local t = f() return t end ?>
<?= g() ?>
<?= select(2, xpcall(function() error('x') end, debug.traceback)) ?>
<? pcall(function() include('part.plua') end) ?>
<?= capture(function() echo((debug.traceback())) end) ?>
<? local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) ?><?= debug.traceback(co, 'm') ?>
<?= debug.traceback({}) ~= nil, #debug.traceback('', 100), debug.traceback('x', 2) ?>";
    let main = "page.plua:N: in main chunk";
    for configuration in ["", "pLuaSandbox On", "pLuaGlobals request", "pLuaPrepend part.plua"] {
        let site = Site::new(
            configuration,
            &[("page.plua", page), ("part.plua", "<? local t = debug.traceback() ?><?= t ?>")],
        );
        // A second one is called by Rust, where the first was by the state's own code.
        let texts = [(); 2].map(|()| {
            let text = site.get("page.plua").text().replace(&format!("{}/", site.folder.path().display()), "");
            let mut shown = String::new();
            for (number, piece) in text.split(':').enumerate() {
                let digits = piece.len() - piece.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
                let piece = if number > 0 && digits > 0 { format!("N{}", &piece[digits..]) } else { piece.to_string() };
                shown += if number > 0 { ":" } else { "" };
                shown += &piece;
            }
            shown.replace("\n\t", "|").replace("<page.plua:N>", "<page>")
        });
        for text in texts {
            for expected in [
                format!("msg\nstack traceback:|page.plua:N: in function 'f'|page.plua:N: in function 'g'|{main}"),
                format!(
                    "page.plua:N: x\nstack traceback:|[C]: in function 'error'|page.plua:N: in function <page>|[C]: in function 'xpcall'|{main}"
                ),
                format!(
                    "stack traceback:|part.plua:N: in main chunk|[C]: in function 'include'|page.plua:N: in function <page>|[C]: in function 'pcall'|{main}"
                ),
                format!("stack traceback:|page.plua:N: in function <page>|[C]: in function 'capture'|{main}"),
                "m\nstack traceback:|[C]: in function 'yield'|page.plua:N: in function <page>".to_string(),
                "true17x\nstack traceback:".to_string(),
            ] {
                let names =
                    |text: &str| text.replace("upvalue 'f'", "function 'f'").replace("local 'g'", "function 'g'");
                assert!(names(&text).contains(&expected), "{configuration}: {expected}\n{text}");
            }
            assert!(!text.contains("plua:N: in function 'step'") && !text.contains("|plua:"), "{text}");
        }
    }
}

#[test]
fn a_traceback_from_a_level_that_is_none_is_empty() {
    for level in ["-1", "1000", "1e9", "2^53", "1/0", "-1/0", "0/0", "1.5"] {
        let shown = page(&format!("<? local t = debug.traceback('x', {level}) ?><?= t ?>")).text();
        assert_eq!(shown, "x\nstack traceback:", "{level}");
    }
}

#[test]
fn a_long_traceback_has_both_ends() {
    let text = page("<? local function f(n) if n == 0 then return debug.traceback() end local t = f(n - 1) return t end ?><?= f(100) ?>").text();
    assert_eq!((text.lines().count(), text.matches("...").count()), (24, 1), "{text}");
}

#[test]
fn reports_of_endless_names_and_messages_are_short_and_soon_there() {
    let chain = "for i = 2, 60 do lines[i] = 'local function f' .. i .. '() local x = f' .. i - 1 .. '() return x end' end \
        lines[61] = 'f60()' (loadstring or load)(table.concat(lines, '\\n'), '@' .. ('y'):rep(4e6))() ?>";
    let pages = [
        ("message.plua", "<? error(('\\255'):rep(2e7), 0) ?>".to_owned()),
        ("include.plua", "<? for i = 1, 20 do include('message.plua') end error(('a'):rep(2e7)) ?>".to_owned()),
        (
            "place.plua",
            "<? (loadstring or load)(\"error('...' .. ('x'):rep(2e6), 0)\", '@' .. ('x'):rep(2e6))() ?>".to_owned(),
        ),
        ("calls.plua", format!("<? local lines = {{ 'local function f1() error(1) end' }} {chain}")),
        ("stopped.plua", format!("<? local lines = {{ 'local function f1() while true do end end' }} {chain}")),
    ];
    let site = Site::new("pLuaTimeout 5", &pages.each_ref().map(|(name, page)| (*name, page.as_str())));
    for (name, _) in &pages {
        let started = std::time::Instant::now();
        let seen = site.get(name);
        let (taken, longest) = (started.elapsed(), seen.log.iter().map(String::len).max());
        assert_eq!(seen.status, 500, "{name}");
        assert!(
            taken.as_secs() < 30 && longest.is_some_and(|bytes| bytes < 1_000_000),
            "{name}: {taken:?} {longest:?}"
        );
    }
}

#[test]
fn paths_longer_than_the_system_takes_are_refused_and_not_repeated_whole() {
    let page = "<? local name = ('x'):rep(2e6) for _, run in ipairs{ include, render, layout, getRequestBody,
        function(name) return assert(dbopen('sqlite3', name)) end } do
        local ok, problem = pcall(run, name) echo(tostring(ok), ' ', #problem < 10000 and 'short' or #problem, ', ') end
        startBlock(name) ?>";
    let site = Site::new("pLuaSandbox On\npLuaBaseDir /srv", &[("page.plua", page)]);
    let seen = site.post("page.plua", "text/plain", "some");
    assert_eq!((seen.status, seen.log.len()), (500, 1));
    assert!(seen.log[0].len() < 100_000, "{}", seen.log[0].len());
    let site = Site::new("pLuaSandbox On\npLuaBaseDir /srv", &[("page.plua", &page.replace("startBlock(name)", ""))]);
    let seen = site.post("page.plua", "text/plain", "some");
    assert_eq!(seen.text(), "false short, ".repeat(5));
}

/// What a report shows in place of a value that is secret.
const HIDDEN: &str = "(hidden)";

/// The names and values of a part of a report, as text.
fn facts(report: &str, title: &str) -> Vec<(String, String)> {
    let Some((_, part)) = report.split_once(&format!("<summary>{title} <small>")) else { return Vec::new() };
    let (part, _) = part.split_once("</details>").unwrap();
    let plain = |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let pair = |pair: &str| {
        let (name, value) = pair.split_once("</dt><dd>").unwrap();
        (plain(name), plain(value.split_once("</dd>").unwrap().0))
    };
    part.split("<dt>").skip(1).map(pair).collect()
}

/// Asserts that a part of a report has these facts, in this order, whatever else it has.
#[track_caller]
fn assert_facts(report: &str, title: &str, expected: &[(&str, &str)]) {
    let mut found = facts(report, title).into_iter();
    for (name, value) in expected {
        let same =
            |(its_name, its_value): &(String, String)| (its_name.as_str(), its_value.as_str()) == (*name, *value);
        assert!(found.any(|fact| same(&fact)), "{name} = {value} is not in {:?}", facts(report, title));
    }
}

const WITH_LOCALS: &str = "<?
local outside, count, unused = 1, 'hidden by the one inside', 3
local function item(name, count, password)
  local user = { name = 'Ada', token = 'abc', [1] = true }
  local shown = setmetatable({}, {
    __tostring = function() error('called') end,
    __index = function() error('called') end,
    __len = function() error('called') end,
  })
  local query = 'a=1&secret=abc'
  local name = '<b>\"' .. name .. '\"'
  local nothing
  do local gone = 1 end
  for i = 1, 2 do
    error('stop' .. outside)
  end
  return user, shown, query, nothing
end
item('x', 2, 'hunter2') ?>";

#[test]
fn a_report_shows_the_local_variables_of_the_function_that_failed_and_no_secrets() {
    for mode in ["", "pLuaGlobals request", "pLuaGlobals page", "pLuaSandbox On\npLuaTimeout 30"] {
        let site = Site::new(mode, &[("page.plua", WITH_LOCALS)]);
        let report = site.get("page.plua").text();
        let expected = [
            ("name", r#""<b>\"x\"""#),
            ("count", "2"),
            ("password", HIDDEN),
            ("shown", "table of 0 entries"),
            ("query", &format!("{HIDDEN}, 14 bytes")),
            ("nothing", "nil"),
            ("i", "1"),
            ("outside", "1"),
        ];
        assert_facts(&report, "Local variables", &expected);
        let found = facts(&report, "Local variables");
        let user = &found.iter().find(|(name, _)| name == "user").unwrap().1;
        assert!(user.starts_with("table of 3 entries {"), "{user}");
        assert!(user.contains("name = \"Ada\"") && user.contains(&format!("token = {HIDDEN}")), "{user}");
        assert_eq!(found.len(), expected.len() + 1, "{mode}: {found:?}");
        assert!(!report.contains("hunter2") && !report.contains("called at"), "{report}");
    }
}

#[test]
fn reports_that_nobody_sees_have_no_variables_and_neither_has_the_log() {
    let pages = [
        ("page.plua", "<? local seen = 'in a variable' error('x') ?>"),
        ("hides.plua", "<? showErrors(false) local seen = 'in a variable' error('x') ?>"),
    ];
    let hidden = Site::new("pLuaError 0", &pages);
    let seen = hidden.get("page.plua");
    assert!(
        seen.text().is_empty()
            && !seen.log.concat().replace("local seen = 'in a variable'", "").contains("in a variable")
    );
    assert_eq!(Site::new("", &pages).get("hides.plua").text(), "");
}

#[test]
fn variables_are_shown_wherever_a_function_fails() {
    let fails = "<? local mark = 'here' error('x') ?>";
    for (name, text) in [
        ("included", "<? include('fails.plua') ?>"),
        ("rendered", "<? echo(render('fails.plua')) ?>"),
        ("module", "<? package.path = './?.lua' require('module') ?>"),
        ("captured", "<? capture(function() local mark = 'here' error('x') end) ?>"),
        ("at its end", "<? plua.atEnd(function() local mark = 'here' error('x') end) ?>"),
        ("thread", "<? plua.spawn(function() local mark = 'here' error('x') end) ?>"),
        ("operator", "<? local mark = 'here' local t = {} t = t + 1 ?>"),
        ("native", "<? local mark = 'here' header() ?>"),
        ("object", "<? local mark = 'here' error({}) ?>"),
    ] {
        for mode in ["", "pLuaGlobals request"] {
            let pages = [("page.plua", text), ("fails.plua", fails), ("module.lua", "local mark = 'here' error('x')")];
            let report = Site::new(mode, &pages).get("page.plua").text();
            let is_shown =
                report.contains("<dt>mark</dt><dd>\"here\"</dd>") || report.contains("<div>mark = \"here\"</div>");
            // Lua's own `require` has lost the module's calls when it raises the error again, and so has a thread of Lua 5.1.
            let has_lost = name == "module" && mode.is_empty() || name == "thread" && cfg!(feature = "lua51");
            assert!(is_shown || has_lost, "{name} {mode}: {report}");
        }
    }
}

#[test]
fn variables_of_any_number_and_size_leave_a_report_short_and_soon_there() {
    let many: String = (0..150).map(|number| format!("local v{number} = big ")).collect();
    let page = format!(
        "<? local big = {{}} for i = 1, 1000 do big[i] = {{ ('x'):rep(1000), big, i }} end {many} error('x') ?>"
    );
    let site = Site::new("", &[("page.plua", &page)]);
    let started = std::time::Instant::now();
    let report = site.get("page.plua").text();
    assert!(facts(&report, "Local variables").len() == 60 && report.len() < 100_000, "{}", report.len());
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_report_shows_the_request_without_cookies_and_secrets() {
    let page = "<? local post = parsePost() error('x') ?>";
    let site = Site::new("", &[("page.plua", page)]);
    let body = "user=%3CAda%3E&newPassword=hunter2&csrf=abc&note=hello";
    let headers = [
        ("Cookie", "a=hunter2"),
        ("authorization", "Basic hunter2"),
        ("X-Api-Key", "hunter2"),
        ("Accept", "*/*"),
        ("Referer", "http://a/b?token=hunter2&c=d"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let seen = site.send(
        "page.plua?n=1&pin=hunter2",
        site::Sent {
            method: "POST",
            content_type: Some("application/x-www-form-urlencoded"),
            body: Box::new(std::io::Cursor::new(body.as_bytes().to_vec())),
            headers,
            ..site::Sent::default()
        },
    );
    let report = seen.text();
    assert!(!report.contains("hunter2"), "{report}");
    assert_facts(
        &report,
        "Request",
        &[("Method", "POST"), ("Status", "500"), ("Virtual host", "test"), ("Body", "54 bytes")],
    );
    let expected = [
        ("Cookie", HIDDEN),
        ("authorization", HIDDEN),
        ("X-Api-Key", HIDDEN),
        ("Accept", "*/*"),
        ("Referer", "http://a/b?token=(hidden)&c=d"),
    ];
    assert_facts(&report, "Headers", &expected);
    assert_facts(&report, "Form", &[("user", "<Ada>"), ("newPassword", HIDDEN), ("csrf", HIDDEN), ("note", "hello")]);
}

#[test]
fn a_report_tells_through_which_files_the_failing_one_was_included() {
    let pages = [
        ("page.plua", "\n<? include('parts/list.plua') ?>"),
        ("parts/list.plua", "\n\n<? local function row() include('row.plua') end\nrow() ?>"),
        ("parts/row.plua", "<? error('x') ?>"),
    ];
    let site = Site::new("", &pages);
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 200);
    // The part is reported in its place, and the calls tell the way there.
    let way = seen.log[0].replace(&*site.folder.path().to_string_lossy(), "");
    assert!(way.ends_with("in file at /parts/row.plua:1 | in function 'row' at /parts/list.plua:3 | in file at /parts/list.plua:4 | in main page at /page.plua:2"), "{way}");
    let pages = [("page.plua", "\n<? echo(render('list.plua')) ?>"), ("list.plua", "\n\n<? error('x') ?>")];
    let site = Site::new("", &pages);
    let report = site.get("page.plua").text().replace(&*site.folder.path().to_string_lossy(), "");
    assert!(
        report.contains("<li>/page.plua:<strong>2</strong></li><li>/list.plua:<strong>3</strong></li>"),
        "{report}"
    );
}
