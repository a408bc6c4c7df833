//! Included files that are taken to be unchanged for a while (pLuaRevalidate), and where that must not be seen.

mod site;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use site::wait::until;
use site::{Sent, Site};

/// One state, which believes for longer than a test takes.
const LONG: &str = "pLuaStates 1\npLuaRevalidate 1000\n";

/// Asks until the page answers this.
fn assert_becomes(site: &Site, name: &str, expected: &str) {
    until(&format!("{name} answers {expected}"), Duration::from_secs(20), || site.get(name).text() == expected);
}

#[test]
fn a_file_is_taken_to_be_unchanged_for_the_time_and_looked_at_after_it() {
    let pages = [("page.plua", "<?= include('p.plua'), render('p.plua') ?>"), ("p.plua", "old")];
    let believing = Site::just_written(LONG, &pages);
    let soon = Site::just_written("pLuaStates 1\npLuaRevalidate 0.2", &pages);
    for site in [&believing, &soon] {
        assert_eq!(site.get("page.plua").text(), "oldtrueold");
        site.write("p.plua", "newer");
    }
    assert_eq!(believing.get("page.plua").text(), "oldtrueold");
    assert_becomes(&soon, "page.plua", "newertruenewer");
    for site in [&believing, &soon] {
        site.write("page.plua", "<?= include('p.plua') ?>");
        fs::remove_file(site.path("p.plua")).unwrap();
    }
    assert_eq!(believing.get("page.plua").text(), "oldtrue");
    assert_becomes(&soon, "page.plua", "false");
}

#[test]
fn without_a_time_each_inclusion_looks_at_its_file() {
    let site = Site::just_written(
        "pLuaStates 1\npLuaRevalidate 0",
        &[
            (
                "page.plua",
                "<? include('p.plua') local f = io.open('p.plua', 'w') f:write('newer') f:close() include('p.plua') ?>",
            ),
            ("p.plua", "old"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "oldnewer");
}

#[test]
fn files_of_layouts_and_around_pages_are_believed_too() {
    let site = Site::just_written(
        &format!("{LONG}pLuaPrepend top.plua\npLuaAppend end.plua"),
        &[
            ("page.plua", "<? layout('l.plua') ?>p"),
            ("l.plua", "(<?= content() ?>)"),
            ("top.plua", "t"),
            ("end.plua", "e"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "(tp)e");
        for name in ["l.plua", "top.plua", "end.plua"] {
            site.write(name, "changed");
        }
    }
}

#[test]
fn a_name_leads_to_each_folders_own_file() {
    let site = Site::just_written(LONG, &[]);
    for folder in ["a", "b"] {
        site.write(&format!("{folder}/head.plua"), folder);
        site.write(&format!("{folder}/page.plua"), "<?= include('head.plua') ?>");
    }
    for _ in 0..3 {
        assert_eq!((site.get("a/page.plua").text(), site.get("b/page.plua").text()), ("atrue".into(), "btrue".into()));
    }
}

#[test]
fn a_file_is_read_as_the_directory_of_the_page_says() {
    let site =
        Site::just_written(LONG, &[("page.plua", "<? include('p.plua') ?>"), ("p.plua", "<?= '<' ?><?lua echo(1) ?>")]);
    for _ in 0..3 {
        for (directory, expected) in
            [("", "<1"), ("pLuaAutoEscape On", "&lt;1"), ("pLuaShortHand Off", "<? include('p.plua') ?>")]
        {
            let seen = site.send("page.plua", Sent { directory, ..Sent::default() });
            assert_eq!(seen.text(), expected, "{directory}");
        }
    }
    let site = Site::just_written(LONG, &[("page.plua", "<? include('p.lua') ?>"), ("p.lua", "echo(1)")]);
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "echo(1)");
        let seen = site.send("page.plua", Sent { directory: "pLuaRaw .lua", ..Sent::default() });
        assert_eq!(seen.text(), "1");
    }
}

#[test]
fn include_once_knows_a_file_by_all_its_names_in_each_request_anew() {
    let site = Site::just_written(
        LONG,
        &[
            (
                "page.plua",
                "<?= include_once('p.plua') ?>,<?= include_once('./sub/../p.plua') ?>,<?= include_once('l.plua') ?>",
            ),
            ("other.plua", "<?= include('l.plua') ?>,<?= include_once('p.plua') ?>,<?= include('p.plua') ?>"),
            ("rendered.plua", "<?= render('./p.plua') ?>,<?= include_once('p.plua') ?>"),
            ("p.plua", "p"),
            ("sub/x", ""),
        ],
    );
    std::os::unix::fs::symlink(site.path("p.plua"), site.path("l.plua")).unwrap();
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "ptrue,true,true");
        assert_eq!(site.get("other.plua").text(), "ptrue,true,ptrue");
        assert_eq!(site.get("rendered.plua").text(), "p,true");
    }
}

#[test]
fn a_file_that_is_not_there_or_broken_is_looked_at_again_at_once() {
    let site = Site::just_written(
        LONG,
        &[
            ("page.plua", "<?= include('p.plua') ?>"),
            ("deep.plua", "<? include('sub/part.plua') ?>"),
            ("sub/part.plua", "<? include('beside.plua') ?>"),
            ("sub/beside.plua", "beside"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "false");
    site.write("p.plua", "<? x = = ?>");
    for _ in 0..2 {
        let broken = site.get("page.plua");
        assert!(broken.text().ends_with("false") && broken.log[0].contains("p.plua:1"), "{:?}", broken.log);
    }
    site.write("p.plua", "fine");
    assert_eq!(site.get("page.plua").text(), "finetrue");
    // What lies beside the including file counts only while the page's own folder has none.
    assert_eq!(site.get("deep.plua").text(), "beside");
    site.write("beside.plua", "page's");
    assert_eq!(site.get("deep.plua").text(), "page's");
}

#[test]
fn a_file_that_fails_is_reported_the_same_each_time() {
    let site = Site::just_written(
        LONG,
        &[
            ("page.plua", "a\n<? include('fails.plua') ?>b"),
            ("fails.plua", "<? capture(function() echo('lost')\nlocal x = nil .. 'x' end) ?>"),
            ("object.plua", "<? include('throws.plua') include('through.plua') ?>"),
            ("throws.plua", "<? error(setmetatable({}, { __tostring = function() return 'told' end })) ?>"),
            ("through.plua", "\n<? include('throws.plua') ?>"),
        ],
    );
    let first = [site.get("page.plua"), site.get("object.plua")];
    assert!(first[0].log[0].contains("fails.plua:2") && first[0].log[0].contains("page.plua:2"), "{:?}", first[0].log);
    assert!(first[0].text().starts_with("a\n<") && !first[0].text().contains("lost<"), "{}", first[0].text());
    assert_eq!((first[0].log.len(), first[1].log.len()), (1, 2));
    for _ in 0..100 {
        for (name, first) in ["page.plua", "object.plua"].iter().zip(&first) {
            let seen = site.get(name);
            assert_eq!((&seen.log, seen.text()), (&first.log, first.text()));
        }
    }
}

#[test]
fn files_that_others_pushed_out_are_loaded_again() {
    let page = "<? for i = 1, 5 do include('p' .. i .. '.plua') end ?>";
    let site = Site::just_written(
        &format!("{LONG}pLuaFiles 2"),
        &[("page.plua", page), ("one.plua", "<? include('p1.plua') ?>")],
    );
    for i in 1..=5 {
        site.write(&format!("p{i}.plua"), i.to_string());
    }
    for _ in 0..100 {
        assert_eq!((site.get("page.plua").text(), site.get("one.plua").text()), ("12345".into(), "1".into()));
    }
}

#[test]
fn the_next_request_does_not_run_what_came_with_the_one_before() {
    let pages = [("page.plua", "<? path = path or uploads()[1].path ?><?= pcall(include, path) ?>")];
    for within in [false, true] {
        let site = Site::just_written(LONG, &pages);
        let site = match within {
            true => {
                let folder = format!("{LONG}pLuaBaseDir {}", site.folder.path().display());
                Site::just_written(&folder, &[]).in_folder(site.folder)
            }
            false => site,
        };
        let body = "--B\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\nmine\r\n--B--\r\n";
        let seen = site.post("page.plua", "multipart/form-data; boundary=B", body);
        assert_eq!(seen.text(), "minetruetrue", "{:?}", seen.log);
        let next = site.get("page.plua").text();
        assert!(if within { next.contains("not within pLuaBaseDir") } else { next == "truefalse" }, "{next}");
    }
}

#[test]
fn a_path_outside_the_folders_is_refused_each_time() {
    let outside = Site::just_written("", &[("secret.plua", "secret")]);
    let site = Site::just_written(LONG, &[("page.plua", "<?= pcall(include, 'l.plua') ?>")]);
    std::os::unix::fs::symlink(outside.path("secret.plua"), site.path("l.plua")).unwrap();
    let site =
        Site::just_written(&format!("{LONG}pLuaBaseDir {}", site.folder.path().display()), &[]).in_folder(site.folder);
    for _ in 0..3 {
        let text = site.get("page.plua").text();
        assert!(text.contains("not within pLuaBaseDir") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_file_that_is_not_looked_at_sees_the_globals_of_the_request() {
    let site = Site::just_written(
        &format!("{LONG}pLuaGlobals request"),
        &[
            ("page.plua", "<? who = parseGet().who include('p.plua') include('p.plua', { who = 'V' }) ?>"),
            ("p.plua", "<?= who ?><? who = 'left' ?>"),
        ],
    );
    for who in ["a", "b", "c"] {
        assert_eq!(site.get(&format!("page.plua?who={who}")).text(), format!("{who}V"));
    }
}

#[test]
fn pages_with_more_names_than_are_kept_in_mind_work_and_take_no_more_memory() {
    let page = "<? for f = 1, 10 do for i = 1, 200 do include('s' .. ('/'):rep(i) .. f .. '.plua') end end\n\
                collectgarbage() collectgarbage() ?> <?= math.floor(collectgarbage('count')) ?>";
    let site = Site::just_written(LONG, &[("page.plua", page)]);
    for f in 1..=10 {
        site.write(&format!("s/{f}.plua"), "x");
    }
    let sizes: Vec<i64> = (0..6)
        .map(|_| {
            let text = site.get("page.plua").text();
            let (put_out, size) = text.split_once(' ').unwrap();
            assert_eq!(put_out, "x".repeat(2000));
            size.parse().unwrap()
        })
        .collect();
    // What LuaJIT has compiled of the loops counts as well, and comes when it likes, 230 KB at a time.
    assert!(sizes[5] - sizes[1] < 800, "{sizes:?} kilobytes");
}

#[test]
fn loops_of_includes_give_the_same_once_they_are_compiled() {
    let page = "<? for i = 1, 20 do n = i include('parts/' .. i .. '.plua') end ?>";
    let site = Site::just_written(LONG, &[("page.plua", page)]);
    for i in 1..=20 {
        site.write(&format!("parts/{i}.plua"), "<?= n ?><? if n == 7 and parseGet().fail then error('x') end ?>,");
    }
    let expected: String = (1..=20).map(|i| format!("{i},")).collect();
    for _ in 0..200 {
        assert_eq!(site.get("page.plua").text(), expected);
    }
    let failed = site.get("page.plua?fail");
    assert!(failed.text().ends_with("8,9,10,11,12,13,14,15,16,17,18,19,20,"), "{}", failed.text());
    assert!(failed.log[0].contains("parts/7.plua:1") && failed.log[0].contains("page.plua:1"), "{:?}", failed.log);
    assert_eq!(site.get("page.plua").text(), expected);
}

#[test]
fn a_loop_of_includes_is_stopped_by_the_time_limit() {
    let site = Site::just_written(
        &format!("{LONG}pLuaTimeout 0.3"),
        &[("page.plua", "<? while true do include('p.plua') end ?>"), ("p.plua", "<? x = 1 ?>")],
    );
    let started = Instant::now();
    let seen = site.get("page.plua");
    assert!(seen.status == 500 && seen.log[0].starts_with("Time limit: "), "{:?}", seen.log);
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// Pages and modules of a shop: `cart` needs `price`, and `page.plua` only `cart`.
const SHOP: [(&str, &str); 4] = [
    ("page.plua", "<? cart = cart or require('cart') visits = (visits or 0) + 1 ?><?= cart.total(), ' ', visits ?>"),
    ("cart.lua", "local price = require('price') return { total = function() return price.of(2) end }"),
    ("price.lua", "return { of = function(n) return n * 10 end }"),
    ("plain.plua", "<? visits = (visits or 0) + 1 ?><?= visits ?>"),
];
const NEW_PRICE: &str = "return { of = function(n) return n * 100 end }";

#[test]
fn a_changed_module_is_seen_by_the_next_request_with_all_that_depends_on_it() {
    for configuration in ["", "pLuaIgnoreLibrary debug ffi", "pLuaSandbox On\npLuaGlobals persistent", "pLuaBaseDir /"]
    {
        let site = Site::just_written(&format!("pLuaStates 1\n{configuration}"), &SHOP);
        assert_eq!(site.get("page.plua").text(), "20 1", "{configuration}");
        // The modules were written just before they were read, so once they may be read again: the times of files tell
        // that much apart.
        thread::sleep(Duration::from_millis(50));
        site.get("page.plua");
        let visits: u32 = site.get("plain.plua").text().parse().unwrap();
        site.write("other.lua", "");
        assert_eq!(site.get("plain.plua").text(), (visits + 1).to_string());
        // Other files leave the state alone. The module was changed just before it was read, so once it may be read again.
        site.write("price.lua", NEW_PRICE);
        assert_eq!(site.get("page.plua").text(), "200 1", "{configuration}");
        thread::sleep(Duration::from_millis(50));
        site.get("page.plua");
        let before = site.get("page.plua").text();
        assert!(site.get("page.plua").text() > before && before.starts_with("200 "), "{before}");
    }
}

#[test]
fn every_state_sees_a_changed_module_at_once() {
    let slow = "<? local m = require('m') sleep(0.3) ?><?= m ?>";
    let site = Site::just_written("pLuaStates 8", &[("page.plua", slow), ("m.lua", "return 'old'")]);
    let ask = || {
        thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| site.get("page.plua").text())).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
        })
    };
    assert_eq!(ask(), ["old"; 8]);
    site.write("m.lua", "return 'new'");
    assert_eq!(ask(), ["new"; 8]);
}

#[test]
fn a_module_is_taken_to_be_unchanged_for_the_time() {
    let pages = [("page.plua", "<? local m = require('m') ?><?= m ?>"), ("m.lua", "return 'old'")];
    let (believing, soon) =
        (Site::just_written(LONG, &pages), Site::just_written("pLuaStates 1\npLuaRevalidate 0.2", &pages));
    for site in [&believing, &soon] {
        assert_eq!(site.get("page.plua").text(), "old");
        site.write("m.lua", "return 'newer'");
    }
    assert_becomes(&soon, "page.plua", "newer");
    assert_eq!(believing.get("page.plua").text(), "old");
}

#[test]
fn a_module_that_failed_or_is_gone_works_again_when_it_is_mended() {
    let page = "<? local fine, m = pcall(require, 'm') ?><?= fine and m or 'failed' ?>";
    let site = Site::just_written("pLuaStates 1", &[("page.plua", page), ("m.lua", "error('broken')")]);
    assert_eq!(site.get("page.plua").text(), "failed");
    for (module, shown) in [("return 1", "1"), ("return = ", "failed"), ("return 2", "2"), ("", "true")] {
        site.write("m.lua", module);
        assert_eq!(site.get("page.plua").text(), shown, "{module}");
    }
    fs::remove_file(site.path("m.lua")).unwrap();
    assert_eq!(site.get("page.plua").text(), "failed");
    site.write("m.lua", "return 3");
    assert_eq!(site.get("page.plua").text(), "3");
}

#[test]
fn a_changed_module_of_pluainit_makes_states_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("init.lua"), "shop = require('shop')").unwrap();
    fs::write(path("shop.lua"), "return 'old'").unwrap();
    for configuration in ["", "pLuaGlobals request"] {
        fs::write(path("shop.lua"), "return 'old'").unwrap();
        let configuration = format!("pLuaStates 1\n{configuration}\npLuaInit {}", path("init.lua").display());
        let site = Site::just_written(&configuration, &[("page.plua", "<?= shop ?>")]);
        assert_eq!(site.get("page.plua").text(), "old", "{configuration}");
        fs::write(path("shop.lua"), "return 'new'").unwrap();
        assert_eq!(site.get("page.plua").text(), "new", "{configuration}");
    }
}
