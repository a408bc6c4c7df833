//! Functions of Lua's that call back from C: what each takes of the C stack is counted, or so little that Lua's own bound on such
//! calls is enough; and a page that tries again after a refusal comes no deeper.

#![cfg(feature = "luajit")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use mlua::{Lua, Table};
use site::Site;

/// What a function may take of the stack for each call without being counted, in bytes. LuaJIT allows 200 of them in a
/// coroutine, and the fourth coroutine is looked at: under a megabyte, half of the stack that a thread must have.
const LITTLE: usize = 1000;

/// Calls every function of Lua's library in several ways with something that calls it again, 48 times, and reports the bytes of
/// stack for each call with the function's name. What opens files or waits calls nothing back, and `load` calls its readers in Lua.
const WALK: &str = r#"
    local address, report = ...
    if jit then jit.off() end
    local TIMES = 48
    local SKIPPED = { io = true, os = true, print = true, load = true, loadstring = true, loadfile = true, dofile = true }
    local depth, first, lowest, call, number = 0, nil, nil, nil, 0
    local function again()
        local here = address()
        first, lowest = first or here, math.min(lowest or here, here)
        depth = depth + 1
        if depth < TIMES then pcall(call) end
        return 1
    end
    local function text() again() return "x" end
    local object = setmetatable({}, {
        __index = again, __newindex = again, __call = again, __tostring = text, __len = function() again() return 2 end,
        __eq = again, __lt = again, __le = again, __concat = text, __unm = again, __add = again,
        __pairs = function() again() return next, {}, nil end, __ipairs = function() again() return next, {}, nil end,
    })
    local function module_name()
        number = number + 1
        package.preload["again" .. number] = again
        return "again" .. number
    end
    local WAYS = {
        function() return again end, function() return again, again end, function() return again, again, again end,
        function() return object end, function() return object, object end, function() return object, 1, 2 end,
        function() return object, again end, function() return "x", ".", again end, function() return "x", ".", object end,
        function() return "%s%s", object, object end, function() return "%s%s%s%s%s%s%s", 1, 2, 3, 4, 5, 6, object end,
        function() return { 3, 2, 1 }, again end, function() return { object, object, object } end,
        function() return { object, object }, object end, function() return { 1, 2 }, object, 1, 2 end,
        function() return coroutine.create(again) end, function() return coroutine.create(again), object end,
        module_name, function() return module_name(), again end, function() return object, {} end, function() return {}, object end,
    }
    local function try(name, run)
        for _, way in ipairs(WAYS) do
            depth, first, lowest = 0, nil, nil
            function call() return run(way()) end
            local result = select(2, pcall(call))
            -- What coroutine.wrap gives, and the like.
            if type(result) == "function" and result ~= again then
                depth, first, lowest = 0, nil, nil
                function call() return run(way())() end
                pcall(call)
            end
            report(name, depth > 1 and (first - lowest) / (depth - 1) or 0)
        end
    end
    for library, functions in pairs(package.loaded) do
        if not SKIPPED[library] and type(functions) == "table" then
            for name, run in pairs(functions) do
                if type(run) == "function" and not (library == "_G" and SKIPPED[name]) then try(library .. "." .. name, run) end
            end
        end
    end
"#;

#[test]
fn every_function_that_calls_back_with_much_of_the_stack_is_counted() {
    let lua = Lua::new();
    let looks = Arc::new(AtomicUsize::new(0));
    let native = lua.create_table().unwrap();
    let own = looks.clone();
    let look = lua.create_function(move |_, ()| {
        own.fetch_add(1, SeqCst);
        Ok(false)
    });
    native.raw_set("is_stack_half_used", look.unwrap()).unwrap();
    let stubs: (mlua::Function, mlua::Function, Table) = lua
        .load(
            "return function(_, ...) return ... end, function() end, { getinfo = function() return {} end, \
               getlocal = function() return 'x' end, getmetatable = function() end }",
        )
        .eval()
        .unwrap();
    let threads: Table = lua.load("return { token = {}, bases = {}, pass_on = function() end }").eval().unwrap();
    lua.load(include_str!("../src/limits/nesting.lua"))
        .call::<()>((native, stubs.0, stubs.1, stubs.2, lua.create_table().unwrap(), threads))
        .unwrap();
    let address = lua
        .create_function(|_, ()| {
            let here = 0u8;
            Ok(&raw const here as usize as f64)
        })
        .unwrap();
    let (found, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of_found, of_counted, before) = (found.clone(), counted.clone(), AtomicUsize::new(0));
    let report = lua
        .create_function(move |_, (name, bytes): (String, f64)| {
            let is_counted = looks.load(SeqCst) > before.swap(looks.load(SeqCst), SeqCst);
            assert!(bytes < LITTLE as f64 || is_counted, "{name} takes {bytes} bytes of the stack and is not counted");
            of_found.fetch_add(usize::from(bytes > 0.0), SeqCst);
            of_counted.fetch_add(usize::from(bytes > 0.0 && is_counted), SeqCst);
            Ok(())
        })
        .unwrap();
    lua.load(WALK).call::<()>((address, report)).unwrap();
    // gsub twice, format, sort, resume, wrap and require at least.
    let (found, counted) = (found.load(SeqCst), counted.load(SeqCst));
    assert!(found >= 6 && counted >= 5, "{found} found, {counted} counted");
}

#[test]
fn a_page_that_tries_again_after_a_refusal_comes_no_deeper() {
    // Each level catches the refusal of the next one and goes on in several ways.
    let page = "<? local tries = 0 \
        local function deeper(...) \
            tries = tries + 1 \
            if tries > 20000 then return 'x' end \
            pcall(string.gsub, 'x', '.', deeper) \
            pcall(string.format, '%s', setmetatable({}, { __tostring = deeper })) \
            pcall(table.sort, { 2, 1 }, deeper) \
            pcall(coroutine.wrap(deeper)) \
            return 'x' \
        end \
        deeper() ?>fine";
    let run = move || {
        let site = Site::new("", &[("page.plua", page)]);
        site.get("page.plua").text()
    };
    // The least stack that a thread must have, and httpd's own.
    for size in [2 << 20, 8 << 20] {
        let shown = thread::Builder::new().stack_size(size).spawn(run).unwrap().join().unwrap();
        assert_eq!(shown, "fine", "{size} bytes");
    }
}
