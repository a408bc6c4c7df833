//! What pages cannot reach: libraries and functions left out, files outside their folders, and what a sandbox holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

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

/// The start of a function in this Lua's bytecode, as `string.dump` would give it.
fn bytecode() -> Vec<u8> {
    Lua::new().load("return 'ran'").into_function().unwrap().dump(true)
}

#[test]
fn bytecode_is_loaded_by_nothing_where_something_is_left_out() {
    for configuration in [
        "pLuaIgnoreLibrary ffi",
        "pLuaSandbox On",
        "pLuaSandbox On\npLuaGlobals persistent",
        "pLuaBaseDir /",
        "pLuaBaseDir /\npLuaGlobals request",
    ] {
        let site = Site::new(configuration, &[]);
        site.write("compiled.lua", bytecode());
        site.write("text.lua", "#!lua\nreturn 'text'");
        for code in [
            "local f = io.open('compiled.lua', 'rb') local s = f:read('*a') f:close() echo((load(s)))",
            "local f = io.open('compiled.lua', 'rb') local s = f:read('*a') f:close() echo((load(s, 'x', 'b')))",
            "local f = io.open('compiled.lua', 'rb') local s = f:read('*a') f:close() echo((loadstring or load)(s) or nil)",
            "local f = io.open('compiled.lua', 'rb') local s = f:read('*a') f:close() \
             echo((load(function() local piece = s:sub(1, 1) s = s:sub(2) return piece end)))",
            "local f = io.open('compiled.lua', 'rb') local s = f:read('*a') f:close() \
             echo((load(function() local piece = s s = nil return piece end)))",
            "echo((loadfile('compiled.lua')))",
            "echo((loadfile('compiled.lua', 'b')))",
            "echo(pcall(dofile, 'compiled.lua') and 'ran' or nil)",
            "echo(pcall(require, 'compiled') and 'ran' or nil)",
        ] {
            site.write("page.plua", format!("<? {code} ?>"));
            let seen = site.get("page.plua");
            assert!(
                seen.text() == "nil" || seen.text().starts_with("nilbytecode"),
                "{configuration}, {code}: {}",
                seen.text()
            );
        }
        site.write(
            "page.plua",
            "<? echo(require('text'), dofile('text.lua'), loadfile('text.lua')(), load('return 1')()) ?>",
        );
        assert_eq!(site.get("page.plua").text(), "texttexttext1", "{configuration}");
        site.write("page.plua", "<? echo(select(2, pcall(require, 'none'))) ?>");
        let text = site.get("page.plua").text();
        assert!(text.contains("module 'none' not found") && text.contains("no file '"), "{text}");
    }
    let free = Site::new("", &[("page.plua", "<? echo((require('compiled'))) ?>")]);
    free.write("compiled.lua", bytecode());
    assert_eq!(free.get("page.plua").text(), "ran");
}

/// Ways out of Lua that others have found, or might. Each leaves `escaped` true if it works.
const ESCAPES: &[&str] = &[
    "escaped = debug.getregistry ~= nil",
    "for name in pairs(debug) do if name ~= 'traceback' then escaped = true end end",
    "escaped = package.loaded.debug ~= debug or rawget(package.loaded._G.debug, 'getupvalue') ~= nil",
    "escaped = string.dump ~= nil or ('').dump ~= nil",
    "escaped = pcall(require, 'ffi') or package.loaded.ffi ~= nil or package.preload.ffi ~= nil or ffi ~= nil",
    "for _, name in ipairs{'jit.util', 'jit.profile', 'jit.opt', 'string.buffer'} do \
     escaped = escaped or pcall(require, name) or package.loaded[name] or package.preload[name] end",
    "escaped = jit and (jit.util or jit.attach or jit.opt or jit.profile) and true or false",
    "escaped = io.popen ~= nil or os.execute ~= nil or os.getenv ~= nil or os.setlocale('en_US.UTF-8') ~= nil",
    "escaped = package.loadlib ~= nil or newproxy ~= nil or io.stderr ~= nil or warn ~= nil",
    "package.cpath = '/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/x86_64-linux-gnu/lua/5.4/?.so;./?.so' \
     escaped = pcall(require, 'lfs') or pcall(require, 'cjson')",
    "local searchers = package.searchers or package.loaders escaped = searchers[3] ~= nil or searchers[4] ~= nil",
    // A searcher and a preloaded module are the page's own functions and no more.
    "local searchers = package.searchers or package.loaders \
     table.insert(searchers, 1, function(name) return function() return name end end) \
     escaped = type(require('ffi')) ~= 'string' table.remove(searchers, 1) package.loaded.ffi = nil",
    // Files that are the system's, and SQL that opens some.
    "escaped = io.open('/proc/self/mem') or io.open('/proc/self/environ') or io.open('/dev/fd/0') \
     or pcall(file.stat, '/proc/self/maps') or pcall(include, '/dev/stdin')",
    // What a text says is read in another way by each database; SQLite itself has the last word.
    "local db = dbopen('sqlite3', ':memory:') db:run(\"/*!0'*/attach 'x.db' as x--'\") \
     escaped = db:run('create table x.t (a)') ~= nil or file.exists('x.db')",
    "local db = dbopen('sqlite3', ':memory:') escaped = db:query('pragma hard_heap_limit = 100000000') ~= nil \
     or db:query(\"pragma temp_store_directory = '/tmp'\") ~= nil",
    "local db = dbopen('sqlite3', ':memory:') escaped = db:run(\"attach 'x.db' as x\") \
     or db:run('/* */ create table a (b); ATTACH ? as x', 'x.db') or file.exists('x.db')",
    "escaped = dbopen('x/../../../../../../tmp/evil', 'x') or dbopen('../x', 'x')",
    // Metatables that all strings, files, arrays and handles share.
    "escaped = type(getmetatable('')) == 'table'",
    "escaped = pcall(setmetatable, '', {})",
    "escaped = type(getmetatable(io.tmpfile())) == 'table'",
    "escaped = io.tmpfile().__index ~= nil or io.tmpfile().__metatable ~= nil",
    "escaped = type(getmetatable(json.array())) == 'table' or type(getmetatable(json.decode('[]'))) == 'table'",
    "escaped = type(getmetatable(json.null)) == 'table'",
    "escaped = type(getmetatable(dbopen('sqlite3', ':memory:'))) == 'table'",
    "local db = dbopen('sqlite3', ':memory:') for _, held in pairs(db) do \
     escaped = escaped or type(getmetatable(held)) == 'table' end",
    "local db = dbopen('sqlite3', ':memory:') escaped = db.__index ~= nil",
    "local one, other = getmetatable(getEnv()), getmetatable(getEnv()) escaped = one == other",
    // Environments of functions that are not the page's.
    "if getfenv then for _, run in ipairs{echo, print, io.open, io.lines, string.gsub, require, pcall, include, 0} do \
     escaped = escaped or getfenv(run) ~= _G end end",
    "if setfenv then for _, run in ipairs{echo, print, io.open, io.lines, string.gsub, require, pcall, include} do \
     escaped = escaped or pcall(setfenv, run, {}) end end",
    "if getfenv then for level = 1, 30 do pcall(function() \
     string.gsub('a', 'a', function() escaped = escaped or getfenv(level) ~= _G end) end) end end",
    "local pcall, setfenv, string, echo, type = pcall, setfenv, string, echo, type \
     if setfenv then for level = 1, 30 do pcall(function() pcall(setfenv, level, {}) \
     pcall(string.gsub, 'a', 'a', function() if level > 1 then setfenv(level, {}) end end) end) end \
     escaped = type(echo) ~= 'function' end",
    "if getfenv then for _, level in ipairs{-1, 1e9, 2^53, 0/0, 1/0, '1', 'x', {}, false} do \
     local ok, found = pcall(getfenv, level) escaped = escaped or ok and found ~= _G end end",
    "if setfenv then pcall(capture, setfenv, 1, {}) pcall(capture, module, 'o') pcall(module, 'm') xpcall(module, type, 'n') \
     escaped = capture(function() echo('x') end) ~= 'x' end",
    // What compiled pages are called with.
    "local slot = __plua for name, value in pairs(slot) do escaped = escaped or type(value) ~= 'function' end",
    "escaped = pcall(function() return #__plua.out:ref() end)",
    // Coroutines and protected calls around the engine's functions.
    "for _, run in ipairs{include, render, capture, pcall, xpcall, getEnv, dbopen, load} do \
     pcall(coroutine.wrap(run)) pcall(coroutine.resume, coroutine.create(run), coroutine.yield) end escaped = false",
    "local thread = coroutine.create(function() capture(function() coroutine.yield(1) end) end) \
     coroutine.resume(thread) echo('') coroutine.resume(thread) escaped = ob_get_level() ~= 0",
    "for _, level in ipairs{-1, 0, 3, 1e9, 2^53, 1/0, 0/0} do pcall(error, 'x', level) pcall(debug.traceback, 'x', level) end \
     escaped = false",
    "local kept if _VERSION == 'Lua 5.4' then load([[local f = ... local x <close> = setmetatable({}, \
     {__close = function(_, e) f(e) end}) pcall(exit)]]) end escaped = false",
    "escaped = collectgarbage and (pcall(collectgarbage, 'stop') or pcall(collectgarbage, 'setpause', 1000) \
     or pcall(collectgarbage, 'generational') or type(collectgarbage('count')) ~= 'number')",
    // A handler, a message and a name that attack what reports them.
    "local bad = setmetatable({}, {__tostring = function() error('again') end}) pcall(error, bad) \
     xpcall(error, function() error(bad) end, bad) escaped = false",
    "local f = load('return debug.traceback()', '=plua') escaped = type(f()) ~= 'string'",
    "local t = setmetatable({}, {__index = function(t, k) return t[k] end}) escaped = pcall(function() return t.x end)",
    "local function f() return 1 + f() end escaped = pcall(f) or pcall(include, f) or pcall(capture, f)",
    "local function f() return capture(f) end escaped = pcall(f) or ob_get_level() ~= 0",
];

#[test]
fn known_escapes_fail_in_a_sandbox() {
    for globals in ["request", "persistent"] {
        let configuration = format!("pLuaSandbox On\npLuaStates 1\npLuaGlobals {globals}");
        let site = Site::new(&configuration, &[("after.plua", "<? echo('fine ', ('x'):upper()) ?><?= 1 ?>")]);
        for escape in ESCAPES {
            site.write("page.plua", format!("<? local escaped {escape} ?><?= escaped and 'escaped' or 'held' ?>"));
            let seen = site.get("page.plua");
            let told = (seen.text(), seen.log.len());
            assert_eq!(told, ("held".to_string(), 0), "{globals}: {escape}: {:?}", seen.log);
            assert_eq!(site.get("after.plua").text(), "fine X1", "{globals}: {escape}");
        }
    }
}

#[test]
fn most_of_the_same_works_where_pages_are_free() {
    let site = Site::new("", &[]);
    let works = |escape: &&&str| {
        site.write("page.plua", format!("<? local escaped {escape} ?><?= escaped and 'escaped' or 'held' ?>"));
        site.get("page.plua").text() == "escaped"
    };
    let count = ESCAPES.iter().filter(works).count();
    assert!(count >= 10, "only {count} tell a sandbox from a free page");
}

#[test]
fn what_a_page_makes_of_luas_functions_does_not_reach_the_engine() {
    let poison = "<? hits = {} local error = error \
        local function hook(name) return function(...) hits[#hits + 1] = name error('hooked ' .. name, 0) end end \
        local pairs, type = pairs, type \
        local all = { json = json, file = file } \
        for name, library in pairs(package.loaded) do all[name] = library end \
        for name, library in pairs(all) do if type(library) == 'table' then \
          for field, value in pairs(library) do \
            if type(value) == 'function' and field ~= 'traceback' then kept = kept or {} \
              kept[name .. '.' .. field] = value library[field] = hook(name .. '.' .. field) end end end end ?>";
    let probe = "<?# echo, escapes, files, blocks and errors, through what the poison left ?>\n\
        text<?= 1, true, nil ?><?& '<' ?><? local k = kept \
        k['_G.echo']('a', 1, {}) k['_G.include']('part.plua', { x = 1 }) k['_G.include_once']('part.plua') \
        k['_G.echo'](k['_G.render']('part.plua')) k['_G.echo'](k['_G.capture'](function() k['_G.ob_start']() end)) \
        k['_G.layout']('layout.plua') k['_G.block']('b', 'c') k['_G.startBlock']('d') k['_G.endBlock']() \
        k['_G.getEnv']().host = nil k['_G.echo'](k['_G.getEnv']().HOST) k['_G.include']('broken.plua') \
        k['_G.parseGet']() k['_G.parsePost']() k['_G.uploads']() k['json.encode'](k['json.decode']('[1]')) \
        k['_G.pcall'](k['_G.error'], k['_G.setmetatable']({}, {__tostring = function() return 'x' end})) \
        k['_G.xpcall'](function() local x = nil + 1 end, function(m) return m end) k['_G.load'](function() return nil end) \
        k['file.exists']('x') k['file.send']('part.plua') k['_G.getCookie']('x') k['_G.require']('module') \
        local db = k['_G.dbopen']('sqlite3', ':memory:') db:run('create table t (a)') db:run('insert into t values (1)') \
        for row in db:rows('select a from t') do k['_G.echo'](row.a) end db:query('select 1') db:close() \
        ?>|<?= #hits, ' ', hits[1] or '' ?>";
    for more in ["", "pLuaSandbox On", "pLuaBaseDir /"] {
        // The poison is to be met, so it has to last.
        let configuration = format!("pLuaStates 1\npLuaGlobals persistent\n{more}");
        let site = Site::new(
            &configuration,
            &[
                ("poison.plua", poison),
                ("page.plua", probe),
                ("part.plua", "(<?= x ?>)"),
                ("broken.plua", "<? local x = nil + 1 ?>"),
                ("layout.plua", "<?= content() ?>"),
                ("module.lua", "return 5"),
                ("fails.plua", "<? kept['_G.error']({}) ?>"),
            ],
        );
        site.write("layout.plua", "L<? __content = kept['_G.content'] ?><?= __content() ?>");
        assert_eq!(site.get("poison.plua").status, 200);
        let seen = site.get("page.plua");
        assert_eq!(seen.status, 200, "{configuration}: {:?}", seen.log);
        assert!(seen.text().ends_with("|0 "), "{configuration}: {}", seen.text());
        let seen = site.get("fails.plua");
        assert!(seen.log[0].contains("error object is a table"), "{:?}", seen.log);
    }
}

/// All that a page finds without asking for it: every name with its value, tables by what is in them.
const SURROUNDINGS: &str = r#"<? local lines, seen = {}, {}
    local function note(path, value)
      local shown = tostring(value)
      if type(value) == "table" then
        shown = "table"
        if not seen[value] then
          seen[value] = true
          local names = {}
          for name in pairs(value) do names[#names + 1] = name end
          table.sort(names, function(one, other) return tostring(one) < tostring(other) end)
          for _, name in ipairs(names) do note(path .. "." .. tostring(name), value[name]) end
          lines[#lines + 1] = path .. " has " .. tostring(getmetatable(value))
        end
      end
      lines[#lines + 1] = path .. " " .. shown
    end
    note("_G", _G) note("loaded", package.loaded)
    for name, value in pairs{ string = "", number = 1, boolean = true, call = print, file = io.tmpfile(), array = json.array{},
      decoded = json.decode("[]"), null = json.null, handle = dbopen("sqlite3", ":memory:"), page = __plua,
      thread = coroutine.create(print), headers = getEnv() } do
      local metatable = getmetatable(value)
      lines[#lines + 1] = name .. " " .. (type(metatable) == "table" and "table" or tostring(metatable))
      for _, field in ipairs{ "kept", "upper", "write", "run", "query", "put", "__index", "__gc" } do
        local ok, found = pcall(function() return value[field] end)
        -- Made anew for each request.
        if name == "page" then found = type(found) end
        lines[#lines + 1] = name .. "." .. field .. " " .. (ok and tostring(found) or "none")
      end
    end
    local function ask(name, ...) lines[#lines + 1] = name .. " " .. tostring((select(2, pcall(...)))) end
    ask("session", function() return (require("session")) end)
    ask("string", function() return require("string") == string and ("x"):rep(2) end)
    ask("chunk", function() return (loadstring or load)("return kept, _G")() end)
    ask("globals", function() return getfenv == nil or getfenv(0) == _G and getfenv(1) == _G and getfenv(print) == _G end)
    ask("calls", function() return ("x")() end) ask("adds", function() return {} + 1 end)
    ask("output", function() return io.output() == io.stdout and io.input() == io.stdin end)
    ask("buffers", ob_get_level) ask("content", content, "evil") ask("fields", function() return next(parseGet()) end)
    table.sort(lines) ?><?= table.concat(lines, "\n") ?>"#;

/// What a page may do to harm the page after it.
const POISONS: &[&str] = &[
    "kept = 'evil' _G.kept = 'evil' rawset(_G, 'kept', 'evil')",
    "for name in pairs(_G) do if name ~= 'pairs' and name ~= '_G' then _G[name] = nil end end",
    "setmetatable(_G, { __index = function() return 'evil' end, __newindex = function() end })",
    "_G._G = { kept = 'evil' } _G.echo = nil print = function() return 'evil' end",
    "_ENV = { kept = 'evil' }",
    "for name, library in pairs(_G) do if type(library) == 'table' and library ~= _G then library.kept = 'evil' \
     for field in pairs(library) do library[field] = nil end end end",
    "for name, library in pairs(_G) do if type(library) == 'table' then \
     pcall(setmetatable, library, { __index = function() return 'evil' end, __newindex = error, __metatable = 1 }) end end",
    "for name, library in pairs(package.loaded) do if type(library) == 'table' then \
     pcall(rawset, library, 'kept', 'evil') pcall(rawset, library, 'upper', function() return 'evil' end) end end",
    "string.upper = function() return 'evil' end string.kept = 'evil' function string.run() return 'evil' end",
    "string = { kept = 'evil' } package.loaded.string = string table, math, io = nil",
    "setmetatable(string, { __index = function() return 'evil' end }) string.rep = nil",
    "package.loaded.session = 'evil' package.loaded._G = {} package.preload.session = function() return 'evil' end",
    "package.path = '/evil/?.lua' package.loaders, package.searchers, package.loaded, package.preload = nil",
    "table.insert(package.loaders or package.searchers, 1, function() return function() return 'evil' end end) require('session')",
    "local list = package.loaders or package.searchers for _, name in ipairs{'table.new', 'table.clear', 'string'} do \
     local ok, load = pcall(list[1], name) if type(load) == 'function' then load('session') load('evil') end end",
    "require = function() return 'evil' end package.loaded.package = nil package.require = 1",
    "for _, value in ipairs{'', io.tmpfile(), json.array{}, json.decode('[]'), dbopen('sqlite3', ':memory:')} do \
     pcall(function() getmetatable(value).__index = { kept = 'evil' } end) pcall(function() getmetatable(value).kept = 1 end) \
     pcall(setmetatable, value, { __index = { kept = 'evil' } }) pcall(function() value.__index.kept = 'evil' end) \
     pcall(function() value.kept = 'evil' end) pcall(function() value.__gc = print end) end",
    "local array = json.array{} array.kept = 'evil' pcall(rawset, array, 'run', 'evil')",
    "local headers = getEnv() getmetatable(headers).__index = function() return 'evil' end headers.kept = 'evil'",
    "__plua.put, __plua.echo, __plua.escape, __plua.kept = nil, nil, nil, 'evil'",
    "setmetatable(__plua, { __index = { kept = 'evil' }, __newindex = error, __metatable = 1 })",
    "if setfenv then setfenv(1, { kept = 'evil' }) end",
    "if setfenv then pcall(setfenv, 0, { kept = 'evil' }) for level = 0, 20 do pcall(setfenv, level, { kept = 'evil' }) end end",
    "if setfenv then for level = 0, 20 do local ok, found = pcall(getfenv, level) if ok then found.kept = 'evil' end end \
     for _, run in ipairs{print, echo, string.rep, io.open, require, include, load} do getfenv(run).kept = 'evil' end end",
    "local name = os.tmpname() io.output(name) io.input(io.output()) os.remove(name)",
    "ob_start() echo('evil') ob_start() layout('layout.plua') block('evil', 'evil')",
    "include('part.plua', { kept = 'evil' }) local run = render run('part.plua')",
    "require('module') kept = require('module')",
    "local thread = coroutine.wrap(function() kept = 'evil' coroutine.yield() end) thread() thread = nil",
    "coroutine.yield('evil')",
    "kept = 'evil' string.kept = 'evil' error('evil')",
    "kept = 'evil' string.kept = 'evil' exit()",
    "kept = setmetatable({}, { __tostring = function() string.kept = 'evil' error('evil') end }) error(kept)",
];

#[test]
fn what_one_page_poisons_the_next_one_does_not_meet() {
    for configuration in ["pLuaSandbox On", "pLuaSandbox On\npLuaOutputLimit 900\npLuaPatternLimit 9000000"] {
        let site = Site::new(
            &format!("{configuration}\npLuaStates 1"),
            &[
                ("surroundings.plua", SURROUNDINGS),
                ("layout.plua", "<?= content() ?>"),
                ("part.plua", "<? kept = 'evil' string.kept = 'evil' ?>"),
                (
                    "module.lua",
                    "kept = 'evil' string.kept = 'evil' package.loaded.session = 'evil' return { kept = 'evil' }",
                ),
            ],
        );
        let clean = site.get("surroundings.plua");
        assert!(clean.log.is_empty() && clean.text().lines().count() > 200, "{:?} {}", clean.log, clean.text());
        assert!(!clean.text().contains("evil "), "{}", clean.text());
        for poison in POISONS {
            site.write("poison.plua", format!("<? {poison} ?>"));
            let poisoned = site.get("poison.plua").log.concat();
            assert!(!poisoned.contains("is given up"), "{configuration}: {poison}: {poisoned}");
            let seen = site.get("surroundings.plua");
            let (before, after): (BTreeSet<_>, BTreeSet<_>) =
                (clean.text().lines().map(str::to_string).collect(), seen.text().lines().map(str::to_string).collect());
            let changed: Vec<_> = before.symmetric_difference(&after).collect();
            assert!(changed.is_empty() && seen.log.is_empty(), "{configuration}: {poison}: {changed:?} {:?}", seen.log);
        }
    }
}

#[test]
fn what_the_engine_needs_of_a_library_that_pages_do_without_stays() {
    // The many small tables take the memory of what is collected.
    let page = "<? for turn = 1, 5 do collectgarbage() local taken = {} for i = 1, 20000 do taken[i] = { i } end \
                for i = 1, 100 do echo(#capture(function() echo(i, i / 3) end) > 0 and '' or 'x') end end ?>fine";
    for configuration in ["pLuaSandbox On", "pLuaIgnoreLibrary ffi", "pLuaIgnoreLibrary string table io os"] {
        let site = Site::new(&format!("{configuration}\npLuaStates 1"), &[("page.plua", page)]);
        for _ in 0..20 {
            assert_eq!(site.get("page.plua").text(), "fine", "{configuration}");
        }
    }
}

#[test]
fn a_page_opens_files_in_its_folders_and_no_others() {
    for globals in ["persistent", "request"] {
        files_are_those_in_the_folders(globals);
    }
}

fn files_are_those_in_the_folders(globals: &str) {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(outside.path().join("secret.plua"), "secret").unwrap();
    fs::write(outside.path().join("module.lua"), "return 'secret'").unwrap();
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().display().to_string();
    let uploads = tempfile::tempdir().unwrap();
    let configuration = format!(
        "pLuaGlobals {globals}\npLuaBaseDir {folder} /usr/share/zoneinfo\npLuaUploadFolder {}",
        uploads.path().display()
    );
    let site = Site::new(&configuration, &[]).in_folder(base);
    let out = outside.path().display().to_string();
    symlink(outside.path(), site.path("link")).unwrap();
    symlink(outside.path().join("secret"), site.path("secret")).unwrap();
    symlink(outside.path().join("made"), site.path("dangling")).unwrap();
    symlink(outside.path().join("module.lua"), site.path("linked.lua")).unwrap();
    symlink("modules/name.lua", site.path("aliased.lua")).unwrap();
    site.write("inner/part.plua", "part");
    site.write("inner/text", "text");
    site.write("modules/name.lua", "return 'name'");
    symlink("inner/text", site.path("alias")).unwrap();
    let run = |code: &str| {
        site.write("page.plua", format!("<? {} ?>", code.replace("OUT", &out).replace("BASE", &folder)));
        let seen = site.get("page.plua");
        match seen.log.as_slice() {
            [] => seen.text(),
            log => log.join("\n"),
        }
    };
    for (code, text) in [
        ("echo(io.open('inner/text'):read('*a'))", "text"),
        ("echo(io.open('BASE/link/../inner/text') and 'odd' or 'none')", "none"),
        ("echo(io.open('./inner/../inner/text'):read('*a'), io.open('alias'):read('*a'))", "texttext"),
        ("for line in io.lines('inner/text') do echo(line) end", "text"),
        (
            "local f = io.open('new', 'w') f:write('x') f:close() echo(os.rename('new', 'newer'), os.remove('newer'))",
            "truetrue",
        ),
        ("include('inner/part.plua') echo(render('inner/part.plua'))", "partpart"),
        ("package.path = 'modules/?.lua' echo((require('name')))", "name"),
        ("package.path = './?.lua' echo((require('modules.name')), (require('aliased')))", "namename"),
        ("echo(file.exists('inner/text'), file.stat('inner/text').size)", "true4"),
        ("file.send('inner/text')", "text"),
        ("local db = dbopen('sqlite3', 'inner/x.db') echo(db:run('create table if not exists t (a)'))", "0"),
        ("echo(type(dbopen('sqlite3', ':memory:')))", "table"),
        ("echo(io.open('/usr/share/zoneinfo/UTC') and 'zone')", "zone"),
        (
            "io.output('inner/out') io.write('w') io.close() io.output(io.stdout) io.input('inner/out') echo(io.read('*a')) io.input():close() io.input(io.stdin)",
            "w",
        ),
        // A link may be removed and renamed: it is the folder's own entry.
        ("echo(os.rename('dangling', 'other'), os.remove('other'))", "truetrue"),
    ] {
        assert_eq!(run(code), text, "{code}");
    }
    symlink(outside.path().join("made"), site.path("dangling")).unwrap();
    for code in [
        "echo(select(2, io.open('OUT/secret')))",
        "echo(select(2, io.open('link/secret')))",
        "echo(select(2, io.open('secret')))",
        "echo(select(2, io.open('dangling', 'w')))",
        "echo(select(2, io.open('link/made', 'w')))",
        "echo(select(2, io.open('../', 'r')))",
        "echo(select(2, io.open('inner/../../passwd')))",
        "echo(select(2, io.open('/proc/self/environ')))",
        "echo(select(2, io.open('/proc/self/root/etc/passwd')))",
        "echo(select(2, io.open('BASEmore')))",
        "io.lines('OUT/secret')",
        "io.input('OUT/secret')",
        "io.output('OUT/made')",
        "echo(select(2, os.remove('OUT/secret')))",
        "echo(select(2, os.remove('link/secret')))",
        "echo(select(2, os.rename('inner/text', 'OUT/text')))",
        "echo(select(2, os.rename('OUT/secret', 'mine')))",
        "echo(select(2, loadfile('OUT/module.lua')))",
        "dofile('OUT/module.lua')",
        "include('OUT/secret.plua')",
        "include_once('link/secret.plua')",
        "render('OUT/secret.plua')",
        "layout('OUT/secret.plua')",
        "package.path = 'OUT/?.lua' require('module')",
        "package.path = 'link/?.lua' require('module')",
        "package.path = '?.lua' require('linked')",
        "package.path = '?.lua' require('link.module')",
        "package.path = '../?.lua;BASE/../?.lua' require('module')",
        "echo(package.searchpath and select(2, package.searchpath('module', 'OUT/?.lua')) or 'pLuaBaseDir')",
        "echo((package.searchers or package.loaders)[2]('linked'))",
        "echo(select(2, package.loadlib('OUT/module.so', '*')))",
        "echo(select(2, package.loadlib('*', 'system')), ': pLuaBaseDir')",
        "package.cpath = '/usr/lib/x86_64-linux-gnu/lua/5.1/?.so' package.path = '/x/?.lua' require('lfs')",
        "file.exists('OUT/secret')",
        "file.stat('OUT/secret')",
        "file.rename('OUT/secret', 'mine')",
        "file.rename('inner/text', 'link/text')",
        "file.unlink('OUT/secret')",
        "file.send('OUT/secret')",
        "file.send('link/secret')",
        "echo(select(2, dbopen('sqlite3', 'OUT/x.db')))",
        "echo(select(2, dbopen('sqlite3', 'link/x.db')))",
        "echo(select(2, dbopen('sqlite3', 'file:OUT/x.db?mode=rwc')))",
        "echo(select(2, dbopen('sqlite3', 'inner/x.db'):run(\"attach 'OUT/x.db' as x\")))",
        "echo(select(2, dbopen('sqlite3', 'inner/x.db'):run(\"create table a (b);VACUUM main INTO 'OUT/x.db'\")))",
    ] {
        let text = run(code);
        assert!(text.contains("pLuaBaseDir") && !text.contains("echosecret"), "{code}: {text}");
    }
    assert!(!outside.path().join("made").exists() && !outside.path().join("x.db").exists());
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(
        run("echo(select(3, io.open('OUT/secret')), select('#', pcall(io.open)), pcall(io.open, {}) and 1 or 0)"),
        "1320"
    );

    let form = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.txt\"\r\n\r\nup\r\n--x--\r\n";
    for (code, text) in [
        ("local u = uploads()[1] echo(u:save('inner/saved')) echo(io.open('inner/saved'):read('*a'))", "trueup"),
        ("local u = uploads()[1] echo(select(2, u:save('OUT/saved')))", "not within pLuaBaseDir"),
        ("local u = uploads()[1] echo(io.open(u.path):read('*a'), file.rename(u.path, 'inner/renamed'))", "uptrue"),
        (
            "local u = uploads()[1] u:save('inner/saved') echo(select(2, io.open(u.path, 'w')))",
            "not within pLuaBaseDir",
        ),
        ("local u = uploads()[1] u:save('inner/saved') echo(u:save('inner/again'), u:read())", "trueup"),
        (
            "local u = uploads()[1] file.rename(u.path, 'inner/gone') echo(select(2, io.open(u.path, 'w')))",
            "not within pLuaBaseDir",
        ),
        ("echo(select(2, pcall(file.rename, '.', 'inner/x')))", "not within pLuaBaseDir"),
        ("echo(select(2, os.remove('.')))", "not within pLuaBaseDir"),
        ("uploads() echo(pcall(file.stat, 'UPLOADS') or 'not within pLuaBaseDir')", "not within pLuaBaseDir"),
        ("getRequestBody('OUT/body')", "not within pLuaBaseDir"),
        ("getRequestBody('inner/body') echo(file.stat('inner/body').size > 9)", "true"),
    ] {
        let code = code.replace("OUT", &out).replace("UPLOADS", &uploads.path().display().to_string());
        site.write("page.plua", format!("<? {code} ?>"));
        let seen = site.post("page.plua", "multipart/form-data; boundary=x", form);
        assert!(seen.text().contains(text), "{code}: {}", seen.text());
    }
}

#[test]
fn a_finalizer_after_the_request_is_confined_too() {
    // The other Luas have no finalizers in pages.
    if !cfg!(feature = "luajit") {
        return;
    }
    let make = "require('ffi').gc(require('ffi').new('int[1]'), close)";
    let base = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (made, mark) = (outside.path().join("made"), base.path().join("mark"));
    let configuration = format!("pLuaBaseDir {}\npLuaStates 1", base.path().display());
    let site = Site::new(&configuration, &[]).in_folder(base);
    site.write(
        "page.plua",
        format!(
            "<? local function close() local f = io.open('{}', 'w') if f then f:close() end \
             f = io.open('{}', 'w') if f then f:close() end end kept = {make} ?>made",
            mark.display(),
            made.display(),
        ),
    );
    assert_eq!(site.get("page.plua").text(), "made");
    let Site { folder, host, engine, .. } = site;
    drop((host, engine));
    assert!(mark.exists() && !made.exists());
    drop(folder);
}
