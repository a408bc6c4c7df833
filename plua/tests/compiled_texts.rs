//! Pages that are made of texts (`plua.compile`), and what running code knows of its file.

mod site;

use site::{Site, page};

const CONFIGURATIONS: [&str; 4] = [
    "pLuaStates 1",
    "pLuaStates 1\npLuaSandbox On",
    "pLuaStates 1\npLuaGlobals request",
    "pLuaStates 1\npLuaAutoEscape On",
];

#[test]
fn a_text_becomes_a_function_that_runs_as_a_page_does() {
    let code = "<? who = '<ann>'
        local f = plua.compile('Hello <?& name or who ?>!<? shown = (shown or 0) + 1 return shown, ... ?>')
        local a = f() local b, c = f({ name = 'bob' }) local text = capture(f, { name = 'eve' }) ?>
        <?= a, b, c == nil and 'nil' or type(c), #text, shown, name == nil ?>";
    for configuration in CONFIGURATIONS {
        let site = Site::new(configuration, &[("page.plua", code)]);
        for shown in 1..=2 {
            let seen = site.get("page.plua");
            let shown = if configuration.contains("Globals") || configuration.contains("Sandbox") {
                0
            } else {
                3 * (shown - 1)
            };
            let [one, two, three] = [1, 2, 3].map(|more| {
                if configuration.lines().count() == 1 || configuration.ends_with("Escape On") {
                    shown + more
                } else {
                    more
                }
            });
            let expected =
                format!("Hello &lt;ann&gt;!Hello bob!        {one}{two}table{}{three}true", "Hello eve!".len());
            assert_eq!(seen.text(), expected, "{configuration}: {:?}", seen.log);
        }
    }
}

#[test]
fn the_same_text_is_the_same_function_until_the_name_is_another() {
    let code = "<? local f = plua.compile('a<?= n ?>') ?><?= f == plua.compile('a<?= n ?>'), f == plua.compile('b'), \
                f == plua.compile('a<?= n ?>', 'x') ?><? for i = 1, 100 do plua.compile(('x'):rep(1e5) .. i) end ?>\
                <?= f == plua.compile('a<?= n ?>') ?>";
    for configuration in CONFIGURATIONS {
        let site = Site::new(configuration, &[("page.plua", code)]);
        assert_eq!(site.get("page.plua").text(), "truefalsefalsefalse", "{configuration}");
    }
}

#[test]
fn what_is_wrong_with_a_text_names_it_and_its_line() {
    let value = |code: &str| page(&format!("<? {code} ?>")).text();
    assert_eq!(
        value("echo(plua.compile('a\\n<? x = = 1 ?>', 'mail.plua'))"),
        "nilmail.plua:2: unexpected symbol near '='"
    );
    assert_eq!(value("echo(select(2, plua.compile('<? if ?>')))").split(": ").next(), Some("text:1"));
    assert_eq!(value("echo(select(2, plua.compile('<?php echo 1 ?>')):match('PHP'))"), "PHP");
    assert_eq!(value("echo(pcall(plua.compile('a\\n\\n<? error(\"no\") ?>', 'mail')))"), "a\n\nfalsemail:3: no");
    let seen = page("a\n<? plua.compile('b\\n<? local t = nil ?><?= t.x ?>', 'mail')() ?>");
    assert!(
        seen.status == 500 && seen.log[0].contains(" at mail:2") && seen.log[0].contains("page.plua:2"),
        "{:?}",
        seen.log
    );
    for (code, problem) in [
        ("plua.compile()", "bad argument #1 to 'plua.compile' (string expected, got no value)"),
        ("plua.compile('', 5)", "bad argument #2 to 'plua.compile' (string expected, got number)"),
        ("plua.compile('')(5)", "(table expected, got number)"),
    ] {
        assert!(page(&format!("<? {code} ?>")).log[0].contains(problem), "{code}");
    }
}

#[test]
fn limits_and_exit_hold_in_a_compiled_text() {
    let site =
        Site::new("pLuaTimeout 0.3", &[("page.plua", "<? plua.compile('<? while true do end ?>', 'endless')() ?>")]);
    let seen = site.get("page.plua");
    assert!(
        seen.status == 500 && seen.log[0].starts_with("Time limit: ") && seen.log[0].contains("endless:1"),
        "{:?}",
        seen.log
    );
    assert_eq!(page("a<? pcall(plua.compile('b<? exit() ?>c')) ?>d").text(), "ab");
    let text =
        page("<? local text = ('x<?= 1 ?>'):rep(20000) local f = plua.compile(text) ?><?= #capture(f) ?>").text();
    assert_eq!(text, "40000");
}

/// One that a module has kept sees the globals of the request that calls it.
#[test]
fn a_kept_function_of_a_text_sees_the_globals_of_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    std::fs::write(&init, "kept = {} function keep(text) kept.f = kept.f or plua.compile(text) return kept.f end")
        .unwrap();
    for configuration in ["", "pLuaGlobals request"] {
        let configuration = format!("pLuaStates 1\n{configuration}\npLuaInit {}", init.display());
        let site = Site::new(&configuration, &[("page.plua", "<? who = parseGet().who keep('[<?= who ?>]')() ?>")]);
        assert_eq!(["a", "b"].map(|who| site.get(&format!("page.plua?who={who}")).text()), ["[a]", "[b]"]);
    }
}

#[test]
fn code_knows_its_file_and_includes_what_is_beside_it() {
    let site = Site::new(
        "",
        &[
            (
                "page.plua",
                "<?= plua.thisFile():match('[^/]*$') ?> <? include('parts/outer.plua') ?><?= require('parts.m')() ?> \
                <?= tostring(plua.compile('<? local file = plua.thisFile() return file ?>')()), (function() local f = plua.thisFile() return #f end)() > 10 ?>",
            ),
            ("parts/outer.plua", "<?= plua.thisFile():match('[^/]*/[^/]*$') ?> <? include('inner.plua') ?>"),
            ("parts/inner.plua", "inner "),
            ("parts/m.lua", "return function() local file = plua.thisFile() return file:match('[^/]*$') end"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "page.plua parts/outer.plua inner m.lua niltrue");
    }
}
