//! What pages cannot reach: libraries and functions left out, files outside their folders, and what a sandbox holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::collections::BTreeSet;

use mlua::{Lua, LuaOptions, StdLib};
use plua::settings::library_functions;
use site::Site;

/// Every function a page could reach by name in the Lua of this build.
const SURVEY: &str = r#"
    local names = {}
    local function note(library, functions)
      for name, value in pairs(functions) do
        if type(value) == "function" then names[#names + 1] = library .. name end
      end
    end
    note("", _G)
    for name, library in pairs(package.loaded) do
      if name ~= "_G" and type(library) == "table" and not name:find("%.") then note(name .. ".", library) end
    end
    for name in pairs(package.preload) do
      local ok, library = pcall(require, name)
      if type(library) == "table" and not name:find("%.") then note(name .. ".", library) end
      names[#names + 1] = name:find("%.") and name or nil
    end
    for name in pairs(package.loaded) do names[#names + 1] = name:find("%.") and name or nil end
    return names
"#;

#[test]
fn the_table_has_every_function_of_this_lua_and_no_other() {
    // SAFETY: the code that runs is the one above.
    let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new()) };
    let found: BTreeSet<String> =
        lua.load(SURVEY).call::<Vec<String>>(()).unwrap().into_iter().filter(|name| name != "print").collect();
    let listed: BTreeSet<String> = library_functions().map(str::to_string).collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&found).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:?}, invented {invented:?}");
}

/// A site whose one page is this code.
fn site(configuration: &str, code: &str) -> Site {
    Site::new(configuration, &[("page.plua", &format!("<? {code} ?>"))])
}

/// What a page of this code puts out; an error is its message.
fn shown(configuration: &str, code: &str) -> String {
    let seen = site(configuration, code).get("page.plua");
    match seen.log.as_slice() {
        [] => seen.text(),
        log => log.join("\n"),
    }
}

#[test]
fn single_functions_can_be_left_out_and_the_rest_of_their_library_stays() {
    for (ignored, code, text) in [
        ("os.execute io.popen", "echo(os.execute, io.popen, type(os.time), type(io.open))", "nilnilfunctionfunction"),
        ("string.format", "echo(('x').format, string.format, ('x'):upper())", "nilnilX"),
        ("load", "echo(load, type(pcall))", "nilfunction"),
        ("debug.getregistry", "echo(debug.getregistry, require('debug').getregistry)", "nilnil"),
        ("coroutine.wrap", "echo(coroutine.wrap, package.loaded.coroutine.wrap)", "nilnil"),
        ("package.loadlib", "echo(package.loadlib, type(require))", "nilfunction"),
    ] {
        assert_eq!(shown(&format!("pLuaIgnoreLibrary {ignored}"), code), text, "{ignored}");
    }
    if cfg!(feature = "luajit") {
        for (ignored, code) in [
            ("ffi.load", "echo(require('ffi').load)"),
            (
                "jit.util",
                "echo(jit.util, package.loaded['jit.util'], select('#', pcall(require, 'jit.util')) == 2 and not pcall(require, 'jit.util') and nil)",
            ),
            ("table.new", "echo(table.new, not pcall(require, 'table.new') and nil)"),
            ("string.buffer", "echo(string.buffer, not pcall(require, 'string.buffer') and nil)"),
        ] {
            let text = shown(&format!("pLuaIgnoreLibrary {ignored}"), code);
            assert!(text.trim_start_matches("nil").is_empty(), "{ignored}: {text}");
        }
    }
}
