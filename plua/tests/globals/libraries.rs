//! Libraries of a request's own: what a page does to them, and to the settings of its state, ends with its request.

use std::fs;

use super::site::Site;
use super::{REQUEST, after, twice};

#[test]
fn a_library_changed_by_one_request_is_whole_in_the_next() {
    for (first, second, expected) in [
        (
            "string.format = nil function string.shout(s) return s .. '!' end",
            "<?= string.shout, ('%d'):format(1), ('a').shout ?>",
            "nil1nil",
        ),
        ("getmetatable('').__index = function() return 'evil' end", "<?= ('a').x, ('a'):upper() ?>", "nilA"),
        ("getmetatable('').__index.upper = nil", "<?= ('a'):upper(), string.upper('b') ?>", "AB"),
        (
            "getmetatable('').__call = function() return 'evil' end",
            "<?= (pcall(function() return ('a')() end)) ?>",
            "false",
        ),
        ("setmetatable(getmetatable(''), { __index = { kept = 'evil' } })", "<?= getmetatable('').kept ?>", "nil"),
        (
            "math.kept = 'evil' table.insert = nil os.time = nil io.open = nil",
            "<?= math.kept, table.insert and os.time and io.open and 1 ?>",
            "nil1",
        ),
        (
            "file.exists = nil json.encode = nil coroutine.wrap = nil",
            "<?= file.exists and json.encode and coroutine.wrap and 1 ?>",
            "1",
        ),
        (
            "pcall(function() getmetatable(io.stdout).__index.write = nil end) \
             pcall(function() io.stdout.__index.write = nil end) pcall(function() io.stdout.__index = nil end)",
            "<?= type(io.stdout.write) ?>",
            "function",
        ),
        (
            "local m = getmetatable('') setmetatable(m, { __newindex = function(_, _, strings) \
             strings.upper = function() return 'evil' end end }) m.__index = nil",
            "<?= string.upper('a'), ('b'):upper() ?>",
            "AB",
        ),
        ("getmetatable(json.array({})).__index = { kept = 'evil' }", "<?= json.array({}).kept ?>", "nil"),
        ("getmetatable(json.decode('[]')).kept = 'evil'", "<?= getmetatable(json.array({})).kept ?>", "nil"),
        ("getmetatable(getEnv()).__index = function() return 'evil' end", "<?= getEnv().none ?>", "nil"),
        (
            "local d = dbopen('sqlite3', ':memory:') pcall(function() getmetatable(d).__index.run = nil end) \
             pcall(function() d.__index.query = nil end) d.run = nil d.query = 1",
            "<? local d = dbopen('sqlite3', ':memory:') ?><?= getmetatable(d), type(d.run), type(d.query) ?>",
            "falsefunctionfunction",
        ),
        (
            "package.loaded.string = { kept = 'evil' } package.loaded.mine = 1",
            "<?= require('string').kept, package.loaded.mine ?>",
            "nilnil",
        ),
        (
            "package.path = '/evil/?.lua' package.preload.mine = function() return 'evil' end",
            "<?= package.path:find('evil'), pcall(require, 'mine') and 1 ?>",
            "nilfalse",
        ),
        (
            "(package.loaders or package.searchers)[1] = function() return function() return 'evil' end end",
            "<?= pcall(require, 'mine') and 1 ?>",
            "false",
        ),
        (
            "package.preload.mine = coroutine.wrap(function() return { 'evil' } end) require('mine')",
            "<?= pcall(require, 'mine') and 1 ?>",
            "false",
        ),
        ("__plua.kept = 'evil' __plua.echo = nil __plua.put = nil", "<?= __plua.kept ?>.", "nil."),
        (
            "package.loaders = nil package.searchers = nil package.config = 'evil'",
            "<?= (require('string')) == string, #package.config > 4 ?>",
            "truetrue",
        ),
        (
            "local list = package.loaders or package.searchers for _, name in ipairs({ 'table.new', 'string.buffer' }) do \
             for position = 1, #list do local load = list[position](name) if type(load) == 'function' then load('session') end end end",
            "<?= package.loaded.session ?>",
            "nil",
        ),
        ("pcall(setmetatable, __plua, { __index = { kept = 'evil' } })", "<?= __plua.kept ?>", "nil"),
        ("local d = debug d.getinfo = nil d.sethook = nil", "<?= type(debug.getinfo) ?>", "function"),
        (
            "local same = setmetatable({ kept = 'evil' }, { __eq = function() return true end, __index = string }) \
             string, _G._G, print = same, same, same getmetatable('').__index = same",
            "<?= string.kept, _G.kept, type(print), ('a').kept ?>",
            "nilnilfunctionnil",
        ),
        (
            "for name in pairs(string) do string[name] = 'evil' end for name in next, io do io[name] = nil end",
            "<?= string.format('%d', 1), ('a'):upper(), type(io.open) ?>",
            "1Afunction",
        ),
    ] {
        assert_eq!(after(first, second), expected, "{first}");
    }
}

#[test]
fn libraries_are_listed_by_every_way_of_listing() {
    let count = "local function count(list, ...) local n = 0 for _ in list(...) do n = n + 1 end return n end ";
    for library in ["io", "string", "math", "os", "table", "coroutine", "file", "json", "plua", "package.loaded", "_G"]
    {
        let page = format!(
            "<? {count} local n = 0 for name, value in next, {library} do n = n + 1 assert({library}[name] == value) end \
             assert(n == count(pairs, {library}), 'as many by pairs') assert(next({library}) ~= nil) ?><?= n > 1 ?>"
        );
        assert_eq!(twice("", &page), "true", "{library}");
    }
    assert_eq!(
        twice("", "<?= next({}), (next({ 5 })), next({ 5 }, 1), (pcall(next)), (pcall(next, {}, 'x')) ?>"),
        "nil1nilfalsefalse"
    );
    if cfg!(not(feature = "lua54")) {
        assert_eq!(twice("", "<?= table.foreach(io, function(name) return type(name) end) ?>"), "string");
    }
}

#[test]
fn a_library_can_be_listed_given_a_metatable_and_is_the_same_by_every_name() {
    let site = Site::new(
        REQUEST,
        &[
            (
                "page.plua",
                "<? local names = {} for name in pairs(string) do names[name] = true end ?>\
                 <?= names.rep, names.SHA256, require('string') == string, package.loaded.string == _G.string ?>\
                 <?= getmetatable(math), setmetatable(math, { __index = function() return 'M' end }) == math ?>\
                 <?= math.none, type(math.floor), getmetatable(math) ~= nil ?>",
            ),
            ("after.plua", "<?= math.none, getmetatable(math), type(math.floor), require('math') == math ?>"),
            ("stays.plua", "<? string = false ?><?= string, ('a'):rep(2) ?>"),
        ],
    );
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "truetruetruetrueniltrueMfunctiontrue");
        assert_eq!(site.get("stays.plua").text(), "falseaa");
        assert_eq!(site.get("after.plua").text(), "nilnilfunctiontrue");
    }
}

#[test]
fn methods_that_a_request_adds_to_strings_are_there_until_it_ends() {
    let site = Site::new(
        REQUEST,
        &[
            (
                "add.plua",
                "<? function string.shout(s) return s .. '!' end getmetatable('').__mod = string.format ?><?= ('a'):shout(), '%d' % 1 ?>",
            ),
            ("use.plua", "<?= ('a').shout, string.shout, ('a'):rep(2), getmetatable('').__mod ~= string.format ?>"),
        ],
    );
    for _ in 0..3 {
        assert_eq!(site.get("add.plua").text(), "a!1");
        assert_eq!(site.get("use.plua").text(), "nilnilaatrue");
    }
}

#[test]
fn settings_of_the_whole_state_are_as_before_when_the_request_has_ended() {
    assert_eq!(
        after(
            "local name = os.tmpname() io.output(name) io.write('x') os.remove(name)",
            "<?= io.output() == io.stdout ?>"
        ),
        "true"
    );
    assert_eq!(after("collectgarbage('setpause', 1000)", "<?= collectgarbage('setpause', 200) ?>"), "200");
    if cfg!(feature = "luajit") {
        let profile =
            "local ok, p = pcall(require, 'jit.profile') if ok then p.start('l', function() kept = 1 end) end";
        assert_eq!(after(profile, "<? for i = 1, 100000 do local x = i end ?><?= kept ?>"), "nil");
        let buffer = "local b = require('string.buffer') b.new = nil \
            for _, v in ipairs({ b, require('ffi'), jit.opt, __plua }) do local m = getmetatable(v) \
            if type(m) == 'table' then m.kept = 'evil' end pcall(function() v.kept = 'evil' end) end";
        let second = "<?= type(require('string.buffer').new), require('ffi').kept, jit.opt.kept, __plua.kept ?>";
        assert_eq!(after(buffer, second), "functionnilnilnil");
        assert_eq!(after("jit.off()", "<?= (jit.status()) ?>"), "true");
        assert_eq!(
            after(
                "if jit.attach then jit.attach(function() evil = 1 end, 'bc') end",
                "<?= load('return 1')(), evil ?>"
            ),
            "1nil"
        );
    }
}

#[cfg(not(feature = "lua54"))]
#[test]
fn newproxy_makes_userdata_with_every_metamethod_but_finalizers() {
    let code = "<? local p = newproxy(true) local m = getmetatable(p)
        m.__index = function(_, name) return name .. '!' end m.__len = function() return 7 end m.__gc = error
        m.__call = function(_, n) return n * 2 end m.__add = function(a, b) return type(a) .. type(b) end
        local q = newproxy(p) ?>
        <?= p.a, #p, p(3), p + 1, 1 + p, q.b, type(newproxy()), type(newproxy(false)), getmetatable(newproxy()) == nil ?>
        <?= m.__index ~= nil, m.__gc == error, getmetatable(q) == m, getmetatable(m) ?>
        <?= pcall(newproxy, 5) ?>";
    for configuration in ["", "pLuaGlobals request"] {
        let text = Site::new(configuration, &[("page.plua", code)]).get("page.plua").text();
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            words[..2],
            ["a!76userdatanumbernumberuserdatab!userdatauserdatatrue", "truetruetruefalse"],
            "{text}"
        );
        assert!(text.contains("falsebad argument #1 to 'newproxy'"), "{text}");
    }
}

#[test]
fn what_writes_into_metatables_writes_into_none_that_serves_the_next_request() {
    if cfg!(feature = "lua54") {
        return;
    }
    for configuration in ["pLuaSandbox On\npLuaStates 1", "pLuaGlobals request\npLuaStates 1"] {
        let site = Site::new(
            configuration,
            &[
                (
                    "page.plua",
                    "<? for _, own in ipairs({ _G, string, package.loaded, plua, math }) do \
                        leaked = true \
                        echo(pcall(package.seeall, own) and 'taken' or 'refused', ' ') \
                     end \
                     local own = {} package.seeall(own) echo(own.leaked, own.string == string) ?>",
                ),
                ("after.plua", "<?= leaked, string.leaked, math.leaked, package.loaded.leaked, ('').leaked ?>"),
            ],
        );
        for _ in 0..2 {
            assert_eq!(site.get("page.plua").text(), "refused refused refused refused refused truetrue");
            assert_eq!(site.get("after.plua").text(), "nilnilnilnilnil", "{configuration}");
        }
    }
}

#[test]
fn a_state_in_a_sandbox_that_is_not_what_it_was_is_given_up_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    // What no page can do, the administrator's file does for one.
    fs::write(&init, "local library = string function change() library.changed = true end").unwrap();
    let site = Site::new(
        &format!("pLuaSandbox On\npLuaStates 1\npLuaInit {}", init.display()),
        &[("page.plua", "<?= getEnv()['Lua-State'] ?>"), ("change.plua", "<? change() ?>")],
    );
    let first = site.get("page.plua");
    assert_eq!((site.get("page.plua").text(), first.log.as_slice()), (first.text(), &[][..]));
    let mut log = site.get("change.plua").log;
    // Some of what is looked at is looked at in turn.
    for _ in 0..20 {
        log.extend(site.get("page.plua").log);
    }
    assert!(log.len() == 1 && log[0].contains("is given up") && log[0].contains("the library string"), "{log:?}");
    assert_ne!(site.get("page.plua").text(), first.text());
}
