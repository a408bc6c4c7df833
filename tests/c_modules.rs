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

/// With mod_lua in the process both modules serve their pages, and a C module is refused with the reason.
fn both_modules_serve(setup: Setup) {
    if !is_installed() {
        return;
    }
    let script = "function handle(r) r.content_type = 'text/plain'; r:puts('from ' .. _VERSION) return apache2.OK end";
    let setup = setup
        .children(1, 8)
        .pages(&[("page.lua", script)])
        .lines("<Files page.lua>\nSetHandler lua-script\n</Files>\nErrorDocument 500 refused\npLuaError 0\n");
    setup.run(|server| {
        server.expect("C modules cannot be loaded: another Lua");
        let ask = |server: &Server| {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            assert!(server.get("/page.lua").text().starts_with("from Lua 5."));
                            assert_eq!(server.get("/plain.plua").text(), "2");
                            for page in ["/db/sqlite.plua?n=1", "/db/folder.plua"] {
                                let answer = server.get(page);
                                assert_eq!((answer.status, answer.text().as_str()), (500, "refused"));
                            }
                        }
                    });
                }
            });
        };
        ask(server);
        let line = server.wait_for_log("C modules cannot be loaded");
        assert!(line.contains("take out the module that brings it, such as mod_lua"), "{line}");
        server.httpd().graceful().unwrap();
        ask(server);
    });
}

#[test]
fn mod_lua_loaded_before_keeps_working_and_c_modules_are_refused() {
    both_modules_serve(pages().module_before("lua"));
}

#[test]
fn mod_lua_loaded_after_keeps_working_and_c_modules_are_refused() {
    both_modules_serve(pages().module("lua"));
}

#[test]
fn processes_with_mod_lua_refuse_c_modules_and_do_not_crash() {
    both_modules_serve(pages().module("lua").mpm(Mpm::Prefork));
}
