//! The host that docs/security.md recommends for authors who are not trusted, beside one for authors who are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Response, Server, httpd};
use tempfile::TempDir;

/// The host of the manual, in a folder of this test's, beside a free host that comes first.
fn with_members(pages: &[(&str, &str)], test: impl FnOnce(&mut Server, &Path)) {
    let members = folder();
    for (name, page) in pages {
        fs::write(members.path().join("htdocs").join(name), page).unwrap();
    }
    let manual = include_str!("../docs/security.md");
    let host = manual.split("```apache\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let host = host
        .replace("*:80", "*:${PORT}")
        .replace("/srv/members", members.path().to_str().unwrap())
        // Reached sooner, and the second one long before the first.
        .replace("pLuaTimeout 10", "pLuaTimeout 3")
        .replace("pLuaPatternLimit 10000000", "pLuaPatternLimit 100000");
    let free = "<VirtualHost *:${PORT}>\nServerName free.example\n</VirtualHost>\n";
    httpd().lines(free).lines(&host).run(|server| test(server, members.path()));
}

/// A folder as the manual's host has it, which httpd's account may read, and write where members may.
fn folder() -> TempDir {
    let members = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(members.path(), 0o755);
    for (name, mode) in [("htdocs", 0o755), ("data", 0o777), ("uploads", 0o777)] {
        fs::create_dir(members.path().join(name)).unwrap();
        allow(&members.path().join(name), mode);
    }
    fs::write(members.path().join("secret"), "of the administrator's").unwrap();
    members
}

fn members(server: &Server, path: &str) -> Response {
    server.get_from("members.example", path)
}

#[test]
fn an_ordinary_site_works_on_the_recommended_host() {
    let pages = [
        ("index.plua", "<? count = (count or 0) + 1 ?><h1><?= include('part.plua') and count ?></h1>"),
        ("part.plua", "<p>part</p>"),
        ("lib.lua", "return { greet = function(name) return ('Hello, %s'):format(name) end }"),
        ("module.plua", "<?= require('lib').greet(parseGet().name) ?>"),
        (
            "data.plua",
            "<? local f = assert(io.open('../data/log', 'a')) f:write('x') f:close() ?><?= file.stat('../data/log').size ?>",
        ),
        (
            "base.plua",
            "<? local db = assert(dbopen('sqlite3', '../data/base')) db:run('create table if not exists t (a)') ?>\
                       <?= db:run('insert into t values (?)', 1) ?>",
        ),
        (
            "safe.plua",
            "<?= pcall(error, 'x') and '' or 'caught' ?> <?= xpcall(error, debug.traceback) and '' or 'traced' ?>",
        ),
    ];
    with_members(&pages, |server, _| {
        for (path, body) in [
            ("/", "<h1><p>part</p>1</h1>"),
            ("/", "<h1><p>part</p>1</h1>"),
            ("/module.plua?name=me", "Hello, me"),
            ("/data.plua", "1"),
            ("/data.plua", "2"),
            ("/base.plua", "1"),
            ("/safe.plua", "caught traced"),
        ] {
            let answer = members(server, path);
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{path}");
        }
    });
}

#[test]
fn a_page_of_the_recommended_host_does_not_get_out_of_it_and_one_beside_it_may() {
    let ways = [
        "io.open('../secret')",
        "io.open('/etc/passwd')",
        "io.open('../data/../../secret', 'w')",
        "io.open('link')",
        "io.lines('../secret')",
        "include('../secret')",
        "render('/etc/passwd')",
        "dofile('../secret')",
        "loadfile('/etc/passwd')",
        "file.exists('../secret')",
        "file.send('/etc/passwd')",
        "file.rename('../secret', 'mine')",
        "file.unlink('../secret')",
        "os.remove('../secret')",
        "os.rename('../secret', 'mine')",
        "dbopen('sqlite3', '/tmp/escaped.db')",
        "os.execute and os.execute('true')",
        "io.popen and io.popen('true')",
        "pcall(require, 'ffi')",
        "package.loadlib and package.loadlib('/lib/x86_64-linux-gnu/libc.so.6', 'system')",
        "load('\\27LJ')",
        "string.dump and string.dump(print)",
        "debug.getregistry and debug.getregistry()",
        "newproxy and newproxy(true)",
    ];
    let rows: String =
        ways.iter().map(|way| format!("try({:?}, function() return {way} end)\n", way.replace('\\', "/"))).collect();
    let page = format!(
        "<? local function try(name, way) local ok, got = pcall(way) if ok and got then echo(name, ' gave ', got, '\\n') end end\n{rows}?>tried"
    );
    with_members(&[("page.plua", &page)], |server, members_folder| {
        std::os::unix::fs::symlink("/etc/passwd", members_folder.join("htdocs/link")).unwrap();
        assert_eq!(members(server, "/page.plua").text(), "tried");
        assert!(members_folder.join("secret").exists());
        server.put("page.plua", "<?= type(debug.getinfo), type(os.execute), io.open('/etc/passwd') and 'open' ?>");
        assert_eq!(server.get_from("free.example", "/page.plua").text(), "functionfunctionopen");
    });
}

#[test]
fn a_page_over_a_limit_of_the_recommended_host_ends_and_the_next_visitor_is_served() {
    let pages = [
        ("time.plua", "<? while true do pcall(function() while true do end end) end ?>"),
        ("memory.plua", "<? local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end ?>"),
        ("output.plua", "<? local row = ('x'):rep(1e5) while true do pcall(echo, row) end ?>"),
        ("pattern.plua", "<?= string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40)) ?>"),
        ("next.plua", "fine"),
    ];
    with_members(&pages, |server, _| {
        for (page, words) in [
            ("/time.plua", "took too long"),
            ("/memory.plua", "Memory limit"),
            ("/output.plua", "Output limit"),
            ("/pattern.plua", "pLuaPatternLimit"),
        ] {
            server.expect(words);
            let answer = members(server, page);
            assert_eq!(answer.status, 500, "{page}");
            assert!(!answer.text().contains("plua"), "the visitor sees no report: {}", answer.text());
            assert_eq!(members(server, "/next.plua").text(), "fine", "after {page}");
        }
    });
}
