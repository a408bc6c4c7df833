//! What looks below Lua's surface, `debug`, hooks and environments: it does not lead out of a request either.

#[cfg(feature = "lua54")]
use std::fs;

use super::site::Site;
use super::{REQUEST, after, twice};

#[test]
fn a_hook_ends_with_the_request_that_set_it_also_where_globals_stay() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            ("hooks.plua", "<? hits = 0 debug.sethook(function() hits = hits + 1 end, 'l') ?>"),
            ("page.plua", "<? local before = hits\nlocal a = 1\nlocal b = 2 ?>\n<?= hits - before ?>"),
        ],
    );
    site.get("hooks.plua");
    assert_eq!(site.get("page.plua").text(), "0");
}

#[test]
fn what_debug_offers_does_not_reach_the_next_request() {
    for (first, second, expected) in [
        ("pcall(debug.setmetatable, 'a', { __index = function() return 'evil' end })", "<?= ('a').x ?>", "nil"),
        (
            "pcall(debug.setmetatable, 1, { __index = function() return 'evil' end })",
            "<?= pcall(function() return (1).x end) and 1 ?>",
            "false",
        ),
        ("debug.getmetatable('').__index = function() return 'evil' end", "<?= ('a').x ?>", "nil"),
        (
            "local m = debug.getmetatable(_G) if m then m.__index = function() return 'evil' end end",
            "<?= kept ?>",
            "nil",
        ),
        (
            "local m = debug.getmetatable(package.loaded) if m then m.__index = function() return 'evil' end end",
            "<?= package.loaded.kept ?>",
            "nil",
        ),
        (
            "for i = 1, 20 do debug.setupvalue(echo, i, nil) debug.setupvalue(include, i, nil) end",
            "<? echo('a') ?><?= include('none') ?>",
            "afalse",
        ),
        (
            "for i = 1, 20 do local _, v = debug.getupvalue(echo, i) if type(v) == 'table' then v.kept = 'evil' end end",
            "<?= __plua.kept ?>",
            "nil",
        ),
        (
            "local r = debug.getregistry if r then for _, v in pairs(r()) do if type(v) == 'table' then v.kept = 1 end end end",
            "<?= string.kept, kept ?>",
            "nilnil",
        ),
        ("pcall(debug.sethook, function() kept = 'evil' echo('evil') end, 'l')", "\n<?= kept ?>", "\nnil"),
        (
            "local copy = function() return 'evil' end for l = 1, 30 do if not debug.getinfo(l, 'S') then break end \
             local source = debug.getinfo(l, 'S').source for n = 1, 30 do local name, value = debug.getlocal(l, n) \
             if not name then break end if source == '=plua' then error('reached ' .. name) end end end",
            "<?= (debug.getlocal(1, 1)) ?>",
            "__plua",
        ),
        (
            "for k in pairs(dbopen('sqlite3', ':memory:')) do pcall(rawset, k, 'kept', 'evil') end",
            "<? local kept for k in pairs(dbopen('sqlite3', ':memory:')) do kept = kept or type(k) == 'table' and k.kept end echo(kept) ?>",
            "false",
        ),
        (
            "for l = 1, 30 do local i = debug.getinfo(l, 'f') if not i then break end for n = 1, 20 do local _, v = debug.getupvalue(i.func or echo, n) if type(v) == 'table' and v ~= _G then v.kept = 'evil' end end end",
            "<?= kept, string.kept, __plua.kept ?>",
            "nilnilnil",
        ),
    ] {
        assert_eq!(after(first, second), expected, "{first}");
    }
}

#[test]
fn debug_does_as_in_lua_what_keeps_to_the_request() {
    for (page, shown) in [
        ("<? debug.sethook() debug.sethook(nil) debug.sethook(coroutine.create(print)) ?>fine", "fine"),
        (
            "<? local m = { __metatable = 'locked' } local t = setmetatable({}, m) ?>\
             <?= getmetatable(t), debug.getmetatable(t) == m, debug.getmetatable({}), debug.getmetatable(1) ?>",
            "lockedtruenilnil",
        ),
        (
            "<? local t = setmetatable({}, { __metatable = 'locked' }) debug.setmetatable(t, nil) ?>\
             <?= debug.getmetatable(t), (pcall(setmetatable, t, {})), debug.getmetatable('').__index == string ?>",
            "niltruetrue",
        ),
        ("<?= debug.getmetatable(_G), debug.getmetatable(io), debug.getmetatable(io.stdout) ?>", "nilnilnil"),
        (
            "<? local d = dbopen('sqlite3', ':memory:') ?><?= debug.getmetatable(d), debug.getmetatable(__plua) ?>",
            "nilnil",
        ),
    ] {
        assert_eq!(twice("", page), shown, "{page}");
    }
    let site = Site::new(REQUEST, &[("page.plua", "\n<? debug.sethook(print, 'l') ?>")]);
    let log = site.get("page.plua").log;
    assert!(log[0].contains("none can be set (pLuaGlobals request)") && log[0].contains("page.plua:2"), "{log:?}");
}

#[test]
fn a_hook_that_is_taken_away_need_not_be_there() {
    let page = "<? debug.sethook() debug.sethook(coroutine.create(print)) ?>fine";
    for configuration in ["", "pLuaTimeout 5", "pLuaMemoryLimit 10000"] {
        assert_eq!(Site::new(configuration, &[("page.plua", page)]).get("page.plua").text(), "fine", "{configuration}");
    }
}

#[test]
#[cfg(not(feature = "lua54"))]
fn environments_never_lead_to_the_states_own_globals() {
    let leads = "<? local set = function(t) if type(t) == 'table' then t.kept = 'evil' end end \
        set(getfenv(0)) set(getfenv(print)) set(getfenv(echo)) set(getfenv(include)) set(getfenv(string.rep)) \
        for i = 1, 20 do local ok, e = pcall(getfenv, i) if not ok then break end set(e) end \
        local d = debug.getfenv set(d(echo)) set(d(print)) set(d(string.rep)) set(d(io.stdout)) set(d(require)) \
        set(d(coroutine.create(function() end))) set(getfenv(require)) set(getfenv(loadstring('return 1'))) \
        set(getfenv(load(function() end))) set(getfenv(load(function() end, 'n', 't', nil))) \
        pcall(setfenv, 0, { kept = 'evil' }) pcall(setfenv, echo, {}) pcall(setfenv, string.rep, {}) \
        for i = 2, 20 do pcall(setfenv, i, _G) end pcall(debug.setfenv, echo, {}) \
        coroutine.wrap(function() pcall(debug.setfenv, coroutine.running(), { kept = 'evil' }) end)() \
        pcall(debug.setfenv, coroutine.running(), { kept = 'evil' }) ?><?= kept ?>";
    let site = Site::new(
        REQUEST,
        &[
            ("first.plua", leads),
            (
                "second.plua",
                "<?= kept, getfenv(0).kept, getfenv(1) == _G, getfenv(0) == _G, loadstring('return kept')() ?>",
            ),
            (
                "own.plua",
                "<? local f = setfenv(function() return x end, { x = 'X' }) setfenv(1, { echo = echo, y = 'Y' }) echo(f(), y) ?>",
            ),
        ],
    );
    let seen = site.get("first.plua");
    assert_eq!(seen.text(), "evil", "{:?}", seen.log);
    assert_eq!(site.get("second.plua").text(), "nilniltruetruenil");
    assert_eq!(site.get("own.plua").text(), "XY");
}

#[test]
#[cfg(feature = "lua54")]
fn environments_never_lead_to_the_states_own_globals() {
    let leads = "<? local function visit(f) for i = 1, 20 do local n, v = debug.getupvalue(f, i) \
        if type(v) == 'table' then v.kept = 'evil' end pcall(debug.setupvalue, f, i, {}) \
        pcall(debug.upvaluejoin, f, i, function() return leads end, 1) end end \
        for _, f in pairs(_G) do if type(f) == 'function' then visit(f) end end visit(from_init) \
        load('kept = 1')() _ENV = { echo = echo, kept = 'evil' } echo(kept) ?>";
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(&init, "function from_init() return state_global end").unwrap();
    let site = Site::new(
        &format!("{REQUEST}\npLuaInit {}", init.display()),
        &[("first.plua", leads), ("second.plua", "<?= kept, from_init(), load('return kept')(), _ENV == _G ?>")],
    );
    let seen = site.get("first.plua");
    assert_eq!(seen.text(), "evil", "{:?}", seen.log);
    assert_eq!(site.get("second.plua").text(), "nilnilniltrue");
}
