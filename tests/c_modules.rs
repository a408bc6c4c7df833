//! C modules such as LuaSQL in pages of a real httpd, alone and beside mod_lua.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::path::Path;
use std::thread;

use common::{Mpm, Server, Setup, httpd};

const SQLITE: &str = "<? local connection = require('luasql.sqlite3').sqlite3():connect(':memory:')\n\
    connection:execute('create table t (n integer, name text)')\n\
    for i = 1, 3 do connection:execute((\"insert into t values (%d, 'name %d')\"):format(i, i * tonumber(parseGet().n))) end\n\
    local cursor = connection:execute('select name from t order by n desc')\n\
    local name = cursor:fetch()\n\
    while name do ?><?= name ?>;<? name = cursor:fetch() end\n\
    cursor:close() connection:close() ?>";

const FOLDER: &str = "<? local names = {}\n\
    for name in require('lfs').dir('.') do if name:find('^%a') then names[#names + 1] = name end end\n\
    table.sort(names) ?><?= table.concat(names, ' ') ?>";

/// Whether the machine has the C modules for the Lua of this build; Debian has them for 5.1, which LuaJIT takes too.
fn is_installed() -> bool {
    let version = if cfg!(feature = "lua54") { "5.4" } else { "5.1" };
    let folder = format!("/usr/lib/{}-linux-gnu/lua/{version}", std::env::consts::ARCH);
    let found = Path::new(&folder).join("luasql/sqlite3.so").exists() && Path::new(&folder).join("lfs.so").exists();
    assert!(found || std::env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "no luasql.sqlite3 and lfs in {folder}");
    found
}

fn pages() -> Setup {
    httpd().pages(&[("db/sqlite.plua", SQLITE), ("db/folder.plua", FOLDER), ("plain.plua", "<?= 1 + 1 ?>")])
}

/// Asks for all pages from several threads at once.
fn modules_work(server: &Server) {
    thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                for request in 0..25 {
                    let n = client * 100 + request;
                    let answer = server.get(&format!("/db/sqlite.plua?n={n}"));
                    assert_eq!(answer.text(), format!("name {};name {};name {n};", 3 * n, 2 * n));
                    assert_eq!(server.get("/db/folder.plua").text(), "folder.plua sqlite.plua");
                    assert_eq!(server.get("/plain.plua").text(), "2");
                }
            });
        }
    });
}

fn modules_work_before_and_after_a_graceful_restart(setup: Setup) {
    if !is_installed() {
        return;
    }
    setup.run(|server| {
        modules_work(server);
        server.httpd().graceful().unwrap();
        modules_work(server);
        server.httpd().restart().unwrap();
        modules_work(server);
    });
}

#[test]
fn threads_of_one_child_use_luasql_and_lfs() {
    modules_work_before_and_after_a_graceful_restart(pages());
}

#[test]
fn processes_use_luasql_and_lfs() {
    modules_work_before_and_after_a_graceful_restart(pages().mpm(Mpm::Prefork).children(4, 1));
}

/// C modules that the tests' machine has, and what a page does with each.
const LIBRARIES: &[(&str, &str, &str)] = &[
    ("cjson", "require('cjson').encode{ 1, 'two' }", "[1,\"two\"]"),
    ("lpeg", "require('lpeg').match(require('lpeg').C(require('lpeg').R'az'^1), 'abc1')", "abc"),
    ("lfs", "require('lfs').attributes('/', 'mode')", "directory"),
    ("posix", "require('posix').getpid('pid') > 0", "true"),
    ("socket/core", "require('socket').bind('127.0.0.1', 0) ~= nil", "true"),
    ("curl", "type(require('curl').new and require('curl').new() or require('curl').easy_init())", "userdata"),
    ("luasql/sqlite3", "require('luasql.sqlite3').sqlite3():connect(':memory:'):escape([[it's]])", "it''s"),
];

/// Beside another module with a Lua of its own: both serve their pages, and C modules call ours.
fn c_modules_work_beside(setup: Setup, has_mod_lua: bool) {
    if !is_installed() {
        return;
    }
    let script = "function handle(r) r.content_type = 'text/plain'; r:puts('from ' .. _VERSION) return apache2.OK end";
    let mut setup = setup.children(1, 8).pages(&[("page.lua", script)]);
    if has_mod_lua {
        setup = setup.lines("<Files page.lua>\nSetHandler lua-script\n</Files>");
    }
    setup.run(|server| {
        let version = if cfg!(feature = "lua54") { "5.4" } else { "5.1" };
        let folder = format!("/usr/lib/{}-linux-gnu/lua/{version}", std::env::consts::ARCH);
        for (file, code, expected) in LIBRARIES {
            if Path::new(&format!("{folder}/{file}.so")).exists() {
                server.put("library.plua", format!("<? local seen = {code} echo(seen) ?>"));
                assert_eq!(server.get("/library.plua").text(), *expected, "{file}");
            }
        }
        modules_work(server);
        if has_mod_lua {
            for _ in 0..10 {
                assert!(server.get("/page.lua").text().starts_with("from Lua 5."));
            }
        }
        server.httpd().graceful().unwrap();
        modules_work(server);
        server.httpd().restart().unwrap();
        modules_work(server);
        if has_mod_lua {
            assert!(server.get("/page.lua").text().starts_with("from Lua 5."));
        }
    });
}

#[test]
fn every_library_works_alone() {
    c_modules_work_beside(pages(), false);
}

#[test]
fn c_modules_work_where_mod_lua_was_loaded_before() {
    c_modules_work_beside(pages().module_before("lua"), true);
}

#[test]
fn c_modules_work_where_mod_lua_was_loaded_after() {
    c_modules_work_beside(pages().module("lua"), true);
}

#[test]
fn c_modules_work_in_processes_with_mod_lua() {
    c_modules_work_beside(pages().module("lua").mpm(Mpm::Prefork), true);
}

/// Debian's mod_security2 is linked with liblua5.1, whose functions have the names of ours.
#[test]
fn c_modules_work_beside_mod_security2() {
    c_modules_work_beside(pages().module("unique_id").module("security2"), false);
    c_modules_work_beside(pages().module("unique_id").module("security2").module("lua"), true);
}

#[test]
fn a_library_for_yet_another_lua_names_the_module_that_brought_one() {
    let other = if cfg!(feature = "lua54") { "5.1" } else { "5.4" };
    let file = format!("/usr/lib/{}-linux-gnu/lua/{other}/lfs.so", std::env::consts::ARCH);
    if !is_installed() || !Path::new(&file).exists() {
        return;
    }
    let page = format!("<?= select(2, package.loadlib('{file}', 'luaopen_lfs')) ?>");
    httpd().module("lua").pages(&[("other.plua", &page)]).run(|server| {
        let said = server.get("/other.plua").text();
        assert!(said.contains("which this Lua does not have; another Lua ("), "{said}");
        assert!(said.contains(") is in this process, brought by mod_lua"), "{said}");
    });
}
