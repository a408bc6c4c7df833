//! C modules of the system, as a page would `require` them.

#![allow(clippy::unwrap_used, reason = "a test reports by its panic")]

use std::path::Path;
use std::process::Command;

use mlua::{Lua, LuaOptions, StdLib};
use plua::limits::time_limit::Watchdog;
use plua::state::own_code::OwnCode;

const VERSION: &str = if cfg!(feature = "lua54") { "5.4" } else { "5.1" };

fn state() -> Lua {
    // SAFETY: the chunks below are the tests' own.
    let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::default()) };
    let limit = Watchdog::start().unwrap().limit(&lua);
    plua::state::c_modules::install(&lua, &limit.handle(), &OwnCode::default()).unwrap();
    lua
}

fn module_file(version: &str, package: &str, module: &str) -> String {
    let file = format!("/usr/lib/{}-linux-gnu/lua/{version}/{module}.so", std::env::consts::ARCH);
    assert!(Path::new(&file).exists(), "{file} is missing: install the Debian package {package}");
    file
}

fn run(lua: &Lua, chunk: &str) -> String {
    lua.load(chunk).eval().unwrap()
}

#[test]
fn a_database_module_creates_a_table_inserts_and_reads() {
    module_file(VERSION, "lua-sql-sqlite3", "luasql/sqlite3");
    let rows = run(
        &state(),
        r#"
        local database = require "luasql.sqlite3".sqlite3():connect(":memory:")
        database:execute "CREATE TABLE fruit (name TEXT, price INTEGER)"
        assert(database:execute "INSERT INTO fruit VALUES ('apple', 3)" == 1)
        assert(database:execute "INSERT INTO fruit VALUES ('pear', 4)" == 1)
        local cursor, rows = database:execute "SELECT name, price FROM fruit ORDER BY name", {}
        local row = cursor:fetch({}, "a")
        while row do
          rows[#rows + 1] = row.name .. "=" .. row.price
          row = cursor:fetch(row, "a")
        end
        return table.concat(rows, " ")
        "#,
    );
    assert_eq!(rows, "apple=3 pear=4");
}

#[test]
fn errors_raised_by_a_c_module_reach_pcall() {
    module_file(VERSION, "lua-sql-sqlite3", "luasql/sqlite3");
    let message = run(
        &state(),
        r#"
        local environment = require "luasql.sqlite3".sqlite3()
        environment:close()
        return select(2, pcall(environment.connect, environment, ":memory:"))
        "#,
    );
    assert!(message.contains("environment is closed"), "{message}");
}

#[test]
fn file_json_and_pattern_modules_work_and_so_do_their_lua_parts() {
    module_file(VERSION, "lua-filesystem", "lfs");
    module_file(VERSION, "lua-cjson", "cjson");
    module_file(VERSION, "lua-lpeg", "lpeg");
    let lua = state();
    assert_eq!(run(&lua, r#"return (require "lfs".attributes("/", "mode"))"#), "directory");
    assert_eq!(run(&lua, r#"return require "cjson".encode { 1, "two", true }"#), r#"[1,"two",true]"#);
    assert_eq!(run(&lua, r#"return require "re".match("key=value", "{ [a-z]+ } '='")"#), "key");
}

#[test]
fn states_on_many_threads_open_c_modules_at_once() {
    module_file(VERSION, "lua-sql-sqlite3", "luasql/sqlite3");
    module_file(VERSION, "lua-filesystem", "lfs");
    let chunk = r#"
        local database = require "luasql.sqlite3".sqlite3():connect(":memory:")
        database:execute "CREATE TABLE number (value INTEGER)"
        for value = 1, 100 do
          database:execute("INSERT INTO number VALUES (" .. value .. ")")
        end
        local cursor = database:execute "SELECT sum(value) FROM number"
        return ("%d %s"):format(cursor:fetch(), (require "lfs".attributes("/", "mode")))
    "#;
    let threads: Vec<_> =
        (0..8).map(|_| std::thread::spawn(|| (0..5).map(|_| run(&state(), chunk)).collect::<Vec<_>>())).collect();
    for thread in threads {
        let answers = thread.join().unwrap();
        assert!(answers.iter().all(|answer| answer == "5050 directory"), "{answers:?}");
    }
}

#[test]
fn a_missing_module_is_reported_as_lua_does_with_every_place_searched() {
    let message = run(&state(), r#"return select(2, pcall(require, "no.such"))"#);
    let library = format!("no file '/usr/lib/{}-linux-gnu/lua/{VERSION}/no/such.so'", std::env::consts::ARCH);
    assert!(message.contains("module 'no.such' not found:"), "{message}");
    assert!(message.contains(&format!("no file '/usr/share/lua/{VERSION}/no/such/init.lua'")), "{message}");
    assert!(message.contains(&library), "{message}");
}

#[test]
fn the_pages_own_folder_is_searched_before_the_distributions_and_no_place_twice() {
    let lua = state();
    for (path, distribution) in [("path", "/usr/share/"), ("cpath", "/usr/lib/")] {
        let path = run(&lua, &format!("return package.{path}"));
        let places: Vec<&str> = path.split(';').collect();
        let position = |start: &str| places.iter().position(|place| place.starts_with(start)).unwrap();
        assert!(position("./?.") < position(distribution), "{path}");
        assert!(places.iter().enumerate().all(|(at, place)| !places[..at].contains(place)), "{path}");
    }
}

#[test]
fn a_library_built_for_another_lua_is_an_error() {
    let other = if VERSION == "5.1" { "5.4" } else { "5.1" };
    let file = module_file(other, "lua-filesystem", "lfs");
    let lua = state();
    let message = run(&lua, &format!("return (select(2, package.loadlib('{file}', 'luaopen_lfs')))"));
    assert!(message.contains("undefined symbol: lua"), "{message}");
    let message = run(&lua, &format!("package.cpath = '{file}' return select(2, pcall(require, 'lfs'))"));
    assert!(message.contains("error loading module 'lfs'") && message.contains("undefined symbol: lua"), "{message}");
}

#[test]
fn next_to_another_lua_c_modules_work_with_this_one() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "beside_lua_5_3", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{}: {said}", child.status);
}

#[test]
#[ignore = "needs a process of its own: next_to_another_lua_c_modules_work_with_this_one starts it"]
fn beside_lua_5_3() {
    module_file(VERSION, "lua-sql-sqlite3", "luasql/sqlite3");
    let file = module_file(VERSION, "lua-filesystem", "lfs");
    // SAFETY: liblua5.3 runs no code when it is loaded.
    let library = unsafe { libc::dlopen(c"liblua5.3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    assert!(!library.is_null(), "liblua5.3.so.0 is missing: install the Debian package liblua5.3-0");
    let lua = state();
    for lua in [&lua, &state()] {
        assert_eq!(run(lua, r#"return (require "lfs".attributes("/", "mode"))"#), "directory");
        assert_eq!(
            run(lua, r#"return require "luasql.sqlite3".sqlite3():connect(":memory:"):escape("it's")"#),
            "it''s"
        );
        let error = run(lua, r#"return select(2, pcall(require "lfs".attributes, {}))"#);
        assert!(error.contains("bad argument #1"), "{error}");
    }
    let loaded = run(&lua, &format!("return type(package.loadlib('{file}', 'luaopen_lfs'))"));
    assert_eq!(loaded, "function");
    assert_eq!(run(&lua, &format!("return tostring(package.loadlib('{file}', '*'))")), "true");
    let absent = run(&lua, &format!("return table.concat({{ select(2, package.loadlib('{file}', 'absent')) }}, ' ')"));
    assert!(absent.ends_with("undefined symbol: absent init"), "{absent}");
    let message = run(&lua, r#"return select(2, pcall(require, "lfs.part"))"#);
    assert!(message.contains("no module 'lfs.part' in file '") && message.contains("lfs.so'"), "{message}");
    let message = run(&lua, r#"return select(2, pcall(require, "no.such"))"#);
    assert!(message.contains("module 'no.such' not found:"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.so"), "no library").unwrap();
    let code = format!("package.cpath = '{}/?.so' return select(2, pcall(require, 'text'))", folder.path().display());
    let message = run(&lua, &code);
    assert!(message.starts_with("error loading module 'text' from file '"), "{message}");
    // A library for yet another Lua.
    let other = module_file(if VERSION == "5.1" { "5.4" } else { "5.1" }, "lua-filesystem", "lfs");
    let message = run(&lua, &format!("return (select(2, package.loadlib('{other}', 'luaopen_lfs')))"));
    let is_named =
        message.contains("which this Lua does not have; another Lua (") || message.contains("undefined symbol");
    assert!(is_named, "{message}");
}
