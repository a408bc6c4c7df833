//! `plua check`: what it warns of in files that compile, and how that is told and switched off.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use std::path::Path;
use std::process::Command;

use command::Folder;

/// The warnings of a page, each as `line name message`.
fn warnings(files: &[(&str, &str)]) -> Vec<String> {
    let said = Folder::new(files).plua(&["check", "--format", "json", "."]);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let of = |one: &serde_json::Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        let file = text("file").trim_start_matches("./").to_owned();
        let file = if file == "a.plua" { String::new() } else { format!("{file}:") };
        format!("{file}{} {}: {}", one["line"], text("name"), text("message"))
    };
    found.as_array().unwrap().iter().filter(|one| one["level"] == "warning").map(of).collect()
}

fn of_page(page: &str) -> Vec<String> {
    warnings(&[("a.plua", page)])
}

#[test]
fn a_local_that_nobody_reads_is_told_but_not_what_has_to_be_there() {
    assert_eq!(
        of_page(
            "<? local a, b, c = 1, 2, 3 ?>\n<?= b ?>\n<? local function f() return f end\nlocal _ = 1\nfor i, v in ipairs{} do end \
             ?><? local x x = 1 ?>\n<? local d = 1 local function g(p) return d end echo(g()) ?>"
        ),
        [
            "1 unused: the local 'c' is never read",
            "3 unused: the local 'f' is never read",
            "5 unused: the local 'x' is never read",
        ]
    );
}

#[test]
fn a_global_is_told_where_a_local_would_do() {
    let files = [
        (
            "a.plua",
            "<? title = 'x' count = (count or 0) + 1 temp = 5\nfunction row() end include 'head.plua' ?><?= temp ?>",
        ),
        ("b.plua", "<? include('row.plua', { item = 1 }) function setup() config = 1 end ?>"),
        ("head.plua", "<?= title ?>"),
        ("row.plua", "<?= item ?>"),
        ("c.plua", "<? x = 1 include(x .. '.plua') ?>"),
        ("lib/m.lua", "local m = {}\nfunction m.f() total = 1 return total end\nreturn m"),
    ];
    let told = "is a global that nothing else reads: write local before it";
    assert_eq!(
        warnings(&files),
        [
            format!("1 global: 'temp' {told}"),
            format!("b.plua:1 global: 'config' {told}"),
            format!("lib/m.lua:2 global: 'total' {told}"),
        ]
    );
}

#[test]
fn a_function_that_is_not_there_is_told_with_the_nearest_name() {
    let files = [
        (
            "a.plua",
            "<? ecko(1)\nplua.fetsch('x')\nfile.exist('a')\nlocal x = plua.session.id or plua.shared.cart\nredner(x) ?>",
        ),
        ("b.plua", "<? function render_row() end renderrow() own() json.encode(1) string.trim('x') ?>"),
        ("lib.lua", "function own() end string.trim = own json = require 'cjson' echo(json.null)"),
    ];
    assert_eq!(
        warnings(&files),
        [
            "1 unknown: there is no function 'ecko'; did you mean echo?",
            "2 unknown: there is no plua.fetsch; did you mean plua.fetch?",
            "3 unknown: there is no file.exist; did you mean file.exists?",
            "5 unknown: there is no function 'redner'; did you mean render?",
            "b.plua:1 unknown: there is no function 'renderrow'; did you mean render_row?",
        ]
    );
}

#[test]
fn what_the_visitor_sent_is_followed_to_where_it_is_put_out() {
    for sent in [
        "<?= plua.get('a') ?>",
        "<?= parseGet().a ?>",
        "<? local q = parsePost() ?><?= q['a'] ?>",
        "<? local a = plua.post('a') or 'none' local b = ('Hi ' .. a):upper() ?><?= 'x', b ?>",
        "<? name = getCookie('name') ?><?= name ?>",
        "<? for k, v in pairs(parseGet()) do ?><?= v ?><? end ?>",
        "<? echo(getEnv().URI) ?>",
        "<? local get = plua.get print(get('a')) ?>",
        "<? local a = '' if plua.get('a') then a = plua.get('a') else a = 'none' end ?><?= a ?>",
        "<?= string.format('%s', plua.get('a')) ?>",
        "<?= (plua.get('a'):match('.+')) ?>",
        "<? local t = { plua.get('a') } ?><?= table.concat(t, ', ') ?>",
        "<? setContentType('text/html') ?><?= plua.get('a') ?>",
    ] {
        let said = of_page(sent);
        assert_eq!(said.iter().filter(|warning| warning.contains("unescaped")).count(), 1, "{sent}: {said:?}");
    }
    for harmless in [
        "<?& plua.get('a') ?><?! plua.get('a') ?>",
        "<?= escapeHtml(plua.get('a')) ?><?= tonumber(plua.get('a')) ?><?= #plua.get('a') ?>",
        "<? local a = plua.get('a') a = escapeHtml(a) ?><?= a ?>",
        "<? local a = plua.get('a') if a then a = escapeHtml(a) end ?><?= a ?>",
        "<? setContentType('text/plain') ?><?= plua.get('a') ?>",
        "<?= getEnv()['Request-Time'], getEnv()['pLua-States'] ?>",
        "<?= plua.get('a') == 'x' and 'selected' ?>",
        "<?= plua.get('a'):match('^%w+$') ?>",
        "<?= plua.get('a'):gsub('[<>&\"]', '') ?>",
        "<? local a = plua.get('a') local b = find(a) ?><?= b.name ?><? function find() return {} end ?>",
        "<?= json.encode(parseGet()) ?>",
    ] {
        assert_eq!(of_page(harmless), Vec::<String>::new(), "{harmless}");
    }
    let folder = Folder::new(&[("a.plua", "<?= plua.get('a') ?>")]);
    let said = folder.plua(&["check", "-d", "pLuaAutoEscape On", "a.plua"]);
    assert_eq!(said.all(), (Some(0), "1 file, 0 failed\n", ""));
}

#[test]
fn a_variable_that_hides_a_page_function_is_told() {
    let files = [
        (
            "a.plua",
            "<? local header = 'x'\nlocal print, out = print, plua.echo\nfunction layout() end out(header, print) ?>",
        ),
        ("m.lua", "local function block() end return block"),
        ("n.lua", "local function f(echo) return echo end\necho(f(1))"),
    ];
    assert_eq!(
        warnings(&files),
        [
            "1 shadows: the local 'header' hides the page function header()",
            "3 shadows: the function 'layout' hides the page function layout()",
            "n.lua:1 shadows: the local 'echo' hides the page function echo()",
        ]
    );
}

#[test]
fn what_stands_behind_the_end_of_a_page_is_told() {
    assert_eq!(
        of_page("<? if plua.get('a') then exit() end ?>\n<? exit() ?>\n\n<p>text"),
        ["4 unreachable: nothing behind exit() is ever run or put out"]
    );
    assert_eq!(of_page("a<? return ?>\n"), Vec::<String>::new());
    assert_eq!(of_page("a<? return ?>\nb"), ["2 unreachable: nothing behind return is ever run or put out"]);
    assert_eq!(
        of_page("<? local function f() error('x')\nprint(1) end f() ?>"),
        ["2 unreachable: nothing behind error() is ever run or put out"]
    );
}

#[test]
fn a_file_that_is_included_and_not_there_is_told() {
    let files = [
        ("a.plua", "<? include 'parts/head.plua' ?>\n<? render('nowhere.plua') layout('parts/../parts/head.plua') ?>"),
        ("parts/head.plua", "<? include 'a.plua' include 'foot.plua' include '/no/such.plua' ?>"),
        ("parts/foot.plua", ""),
    ];
    let missing = |name: &str| {
        format!("missing-file: there is no file '{name}' beside this one, nor beside a page that includes it")
    };
    assert_eq!(
        warnings(&files),
        [format!("2 {}", missing("nowhere.plua")), format!("parts/head.plua:1 {}", missing("/no/such.plua"))]
    );
}

#[test]
fn a_warning_is_switched_off_in_its_line_in_the_folder_or_for_once() {
    let page =
        "<? local a = 1 -- plua: ignore unused ?>\n<? local b = 1 -- plua: ignore global ?>\n<? c = 1 helper() ?>";
    let folder = Folder::new(&[("site/a.plua", page)]);
    let names = |arguments: &[&str]| {
        let said = folder.plua(&[&["check", "--format", "github"], arguments].concat());
        let names =
            |line: &str| line.split_once("title=").and_then(|(_, rest)| rest.split("::").next().map(str::to_owned));
        (said.status, said.out.lines().filter_map(names).collect::<Vec<_>>())
    };
    let all = || ["unused", "global", "unknown"].map(str::to_owned).to_vec();
    assert_eq!(names(&["site"]), (Some(0), all()));
    assert_eq!(names(&["--strict", "site"]), (Some(1), all()));
    assert_eq!(names(&["--ignore", "unused", "--ignore", "global", "site"]), (Some(0), vec!["unknown".to_owned()]));
    std::fs::write(folder.path("plua.toml"), "[check]\nignore = [\"unused\"]\nglobals = [\"c\", \"helper\"]\n")
        .unwrap();
    assert_eq!(names(&["--strict", "site"]), (Some(0), Vec::new()));
    assert_eq!(names(&["site/a.plua"]), (Some(0), Vec::new()));
    for (text, expected) in [
        ("[check]\nignore = [\"unusd\"]", "plua.toml: there is no warning 'unusd': plua check --help lists them"),
        ("[check]\nignored = []", "unknown field `ignored`"),
        ("[check", "TOML parse error at line 1"),
    ] {
        std::fs::write(folder.path("plua.toml"), text).unwrap();
        let said = folder.plua(&["check", "site"]);
        assert!(said.status == Some(1) && said.err.contains(expected), "{text}: {}", said.err);
    }
}

#[test]
fn a_person_sees_the_line_and_what_it_is_called() {
    let folder = Folder::new(&[("a.plua", "<ul>\n<? local x = 1 ?>\n"), ("b.plua", "<? if ?>")]);
    let said = folder.plua(&["check", "a.plua"]);
    assert_eq!(
        said.all(),
        (
            Some(0),
            "1 file, 0 failed, 1 warning\n",
            "Warning: the local 'x' is never read (unused)\n  --> a.plua:2\n>     2 | <? local x = 1 ?>\n"
        )
    );
    let said = folder.plua(&["check", "--format", "github", "a.plua", "b.plua"]);
    assert_eq!(said.status, Some(1));
    assert!(said.out.contains("::error file=b.plua,line=1,title=compile::unexpected symbol near "), "{}", said.out);
    assert!(said.out.ends_with("\n2 files, 1 failed, 1 warning\n"), "{}", said.out);
}

#[test]
fn a_forge_gets_a_log_with_a_rule_for_each_result() {
    let folder = Folder::new(&[("a b.plua", "<? local x = 1 goto done ::done:: ?>"), ("b.plua", "<? if ?>")]);
    let said = folder.plua(&["check", "--format", "sarif", "."]);
    assert_eq!((said.status, said.err.as_str()), (Some(1), ""));
    let log: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules: Vec<_> =
        run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| rule["id"].clone()).collect();
    let results = run["results"].as_array().unwrap();
    assert!(results.iter().all(|result| rules.contains(&result["ruleId"])), "{said:?}", said = said.out);
    let places: Vec<_> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            (
                result["level"].as_str().unwrap(),
                place["artifactLocation"]["uri"].as_str().unwrap().trim_start_matches("./"),
            )
        })
        .collect();
    assert!(places.contains(&("warning", "a%20b.plua")) && places.contains(&("error", "b.plua")), "{places:?}");
}

#[test]
fn there_is_no_false_alarm_in_our_own_pages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // The files that are there by git: a visitor's own are his.
    let listed =
        Command::new("git").args(["ls-files", "examples", "benches/pages"]).current_dir(root).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pages: Vec<&str> = listed.lines().filter(|name| name.ends_with(".plua")).collect();
    assert!(pages.len() > 20, "{pages:?}");
    let said = Command::new(env!("CARGO_BIN_EXE_plua")).arg("check").args(&pages).current_dir(root).output().unwrap();
    let (out, err) = (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    let warned: Vec<&str> = err.lines().filter(|line| line.starts_with("Warning")).collect();
    assert_eq!((warned, out), (vec![], format!("{} files, 0 failed\n", pages.len())), "{err}");
}

#[test]
fn the_manual_has_a_row_for_each_warning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manual = std::fs::read_to_string(root.join("docs/command.md")).unwrap();
    let rows: Vec<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    let log = Folder::new(&[("a.plua", "")]).plua(&["check", "--format", "sarif", "a.plua"]).out;
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let names: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(rows, names[..rows.len()]);
    assert_eq!(names[rows.len()..], ["compile", "read", "dialect"]);
}
