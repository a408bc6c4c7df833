//! Globals and modules of a request's own: what one request leaves behind, no other ever meets.

mod site;

use std::fs;

use site::Site;

const REQUEST: &str = "pLuaGlobals request\npLuaStates 1";

/// What the second of two requests to one state puts out, after the first ran this code.
fn after(first: &str, second: &str) -> String {
    let site = Site::new(REQUEST, &[("first.plua", &format!("<? {first} ?>")), ("second.plua", second)]);
    let seen = site.get("first.plua");
    assert_eq!((seen.status, seen.log.as_slice()), (200, &[] as &[String]), "{first}: {}", seen.text());
    let seen = site.get("second.plua");
    assert_eq!((seen.status, seen.log.as_slice()), (200, &[] as &[String]), "{first}: {}", seen.text());
    seen.text()
}

#[test]
fn a_global_ends_with_its_request() {
    assert_eq!(
        after("session = 'Ada' _G.user = 'Ada' rawset(_G, 'name', 'Ada')", "<?= session, user, name ?>"),
        "nilnilnil"
    );
    assert_eq!(
        after("function echo() end _G.print = nil pairs = 1", "<? print('a') echo('b', type(pairs)) ?>"),
        "abfunction"
    );
    assert_eq!(after("_ENV = nil", "<?= 'b' ?>"), "b");
    assert_eq!(after("setmetatable(_G, { __index = function() return 'mine' end })", "<?= other ?>"), "nil");
}

#[test]
fn by_default_globals_live_as_long_as_their_state() {
    for configuration in ["pLuaStates 1", "pLuaStates 1\npLuaGlobals persistent"] {
        let site = Site::new(configuration, &[("page.plua", "<? n = (n or 0) + 1 ?><?= n ?>")]);
        assert_eq!([(); 3].map(|()| site.get("page.plua").text()), ["1", "2", "3"]);
    }
}

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
fn every_file_of_a_request_shares_its_globals() {
    let site = Site::new(
        &format!("{REQUEST}\npLuaPrepend top.plua\npLuaAppend end.plua"),
        &[
            ("top.plua", "<? seen = { 'top' } ?>"),
            ("end.plua", "<?= table.concat(seen, ',') ?>"),
            ("note.plua", "<? seen[#seen + 1] = who or 'part' ; given = who ?>"),
            (
                "page.plua",
                "<? include('note.plua') include('note.plua', { who = 'vars' }) render('note.plua') \
                 seen[#seen + 1] = given or 'none' include_once('once.plua') layout('layout.plua'); \
                 (loadstring or load)('seen[#seen + 1] = \"load\"')() ?>",
            ),
            ("once.plua", "<? coroutine.wrap(function() (function() seen[#seen + 1] = 'nested' end)() end)() ?>"),
            ("layout.plua", "<? seen[#seen + 1] = 'layout' ?>"),
        ],
    );
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "top,part,vars,part,none,nested,load,layout");
    }
}

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

/// What a page puts out in a request of its own, twice: what the first does is undone before the second.
fn twice(configuration: &str, page: &str) -> String {
    let site = Site::new(&format!("{REQUEST}\n{configuration}"), &[("page.plua", page)]);
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.log.as_slice()), (200, &[] as &[String]), "{page}: {}", seen.text());
    assert_eq!(site.get("page.plua").text(), seen.text(), "{page}");
    seen.text()
}

#[test]
fn the_table_of_a_request_is_one_for_all_that_runs_for_it_and_gone_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(
        &init,
        "function note(text) local ctx = plua.ctx ctx[#ctx + 1] = text end function noted() return table.concat(plua.ctx, ',') end \
         package.loaded.library = { note = note, plua = require 'plua' } outside, why = pcall(function() return plua.ctx end)",
    )
    .unwrap();
    let pages = [
        ("module.lua", "return function() plua.ctx[#plua.ctx + 1] = 'module' end"),
        ("part.plua", "<? table.insert(plua.ctx, 'part') ?>"),
        (
            "page.plua",
            "<?= #plua.ctx, noted() ?><? note('page') require('library').note('library') require('module')() include('part.plua') \
             include('part.plua', { x = 1 }) coroutine.wrap(function() note('coroutine') end)() \
             plua.atEnd(function() note('end') echo(noted(), ' ', require('library').plua.ctx == plua.ctx) end) \
             if plua.get('how') == 'exit' then exit() elseif plua.get('how') == 'error' then error(noted()) end ?>",
        ),
        ("plain.plua", "<?= outside, why:match('there is no request') ?>"),
        ("next.plua", "<?= next(plua.ctx) ?>"),
        (
            "set.plua",
            "<? plua.ctx = { 'set' } note('more') ?><?= noted(), rawget(plua, 'ctx'), plua.ctx == plua.ctx ?>",
        ),
        (
            "opened.plua",
            "<? plua.echo = nil for _ in pairs(plua) do end note('a') plua.ctx = { 'b' } ?><?= noted(), plua.ctx[1], plua.echo ?>",
        ),
        ("wrong.plua", "\n<? plua.ctx = 1 ?>"),
    ];
    for mode in ["", "pLuaGlobals request", "pLuaSandbox On", "pLuaTimeout 5\npLuaMemoryLimit 10000"] {
        let site = Site::new(&format!("pLuaStates 1\npLuaInit {}\n{mode}", init.display()), &pages);
        let all = "page,library,module,part,part,coroutine";
        for _ in 0..2 {
            assert_eq!(site.get("page.plua").text(), format!("0{all},end true"), "{mode}");
            assert_eq!(site.get("next.plua").text(), "nil", "{mode}");
            assert_eq!(site.get("page.plua?how=exit").text(), format!("0{all},end true"), "{mode}");
            assert!(site.get("page.plua?how=error").log[0].contains(all), "{mode}");
            assert_eq!(site.get("next.plua").text(), "nil", "{mode}");
            assert_eq!(site.get("plain.plua").text(), "falsethere is no request", "{mode}");
            assert_eq!(site.get("set.plua").text(), "set,moreniltrue", "{mode}");
            assert_eq!(site.get("next.plua").text(), "nil", "{mode}");
            let log = site.get("wrong.plua").log;
            assert!(log[0].contains("plua.ctx is a table, got number") && log[0].contains("wrong.plua:2"), "{log:?}");
            let opened = site.get("opened.plua").text();
            // Where globals are the state's, so is what a page takes away.
            assert_eq!(opened, "bbnil", "{mode}");
        }
    }
}

#[test]
fn what_a_page_sets_to_nil_is_gone_for_its_request() {
    for (page, shown) in [
        ("<? file = nil ?><?= type(file) ?>", "nil"),
        ("<? local f = file file = nil ?><?= type(file), type(f.exists) ?>", "nilfunction"),
        ("<? _G.header, print, pairs, string = nil ?><?= header, print, pairs, string ?>", "nilnilnilnil"),
        ("<? header = 'mine' ?><?= header ?><? header = nil ?><?= header ?>", "minenil"),
        ("<? if header then header = nil end ?><?= header ?><? header = 2 ?><?= header ?>", "nil2"),
        ("<? include('none', { x = 1 }) json = nil ?><?= json, plua.json and 1 ?>", "nil1"),
        (
            "<? for name in pairs(_G) do if name ~= '_G' then _G[name] = nil end end ?><?= next, type, header ?>",
            "nilnilnil",
        ),
        ("<? string.format = nil ?><?= string.format, (pcall(function() return ('%d'):format(1) end)) ?>", "nilfalse"),
        ("<? local f = string.format string.format = nil ?><?= string.format, f('%d', 1), ('a'):upper() ?>", "nil1A"),
        ("<? string.trim = 1 string.trim = nil ?><?= string.trim ?>", "nil"),
        ("<? os.time = 1 os.time = nil ?><?= os.time, type(os.date) ?>", "nilfunction"),
        ("<? table.insert, math.huge, io.open = nil ?><?= table.insert, math.huge, io.open ?>", "nilnilnil"),
        (
            "<? file.exists, json.null, plua.echo = nil ?><?= file.exists, json.null, plua.echo, type(plua.get) ?>",
            "nilnilnilfunction",
        ),
        ("<? for name in pairs(math) do math[name] = nil end ?><?= next(math), math.pi ?>", "nilnil"),
        (
            "<? require 'string' package.loaded.string = nil ?><?= package.loaded.string, type(package.loaded.table) ?>",
            "niltable",
        ),
        (
            "<? package.loaded.math, package.preload.x = nil ?><?= package.loaded.math, (pcall(require, 'math')) ?>",
            "nilfalse",
        ),
    ] {
        assert_eq!(twice("", page), shown, "{page}");
    }
}

#[test]
fn tables_of_the_init_file_are_gone_too_when_a_page_takes_them_away() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(
        &init,
        "config = { deep = { 1 } } package.loaded.lib = { x = 1 } package.preload.pre = function() return { 2 } end",
    )
    .unwrap();
    for (page, shown) in [
        ("<? config = nil ?><?= config ?>", "nil"),
        ("<?= config.deep[1] ?><? config = nil ?><?= config ?>", "1nil"),
        ("<? config.deep = nil ?><?= config.deep ?>", "nil"),
        ("<?= require('lib').x ?><? package.loaded.lib = nil ?><?= (pcall(require, 'lib')) ?>", "1false"),
        (
            "<?= type(next(package.preload)), require('pre')[1] ?><? package.preload.pre = nil ?><?= package.preload.pre ?>",
            "string2nil",
        ),
    ] {
        assert_eq!(twice(&format!("pLuaInit {}", init.display()), page), shown, "{page}");
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
fn a_require_that_failed_can_be_repeated_and_is_reported_where_it_failed() {
    let site = Site::new(
        REQUEST,
        &[
            ("fails.lua", "\nif not ready then error('not ready') end return 'loaded'"),
            ("outer.lua", "\n\nlocal fails = require('fails') return fails"),
            ("loop.lua", "return require('loop')"),
            ("page.plua", "<? for _, name in ipairs { 'fails', 'outer' } do for i = 1, 2 do local ok, m = pcall(require, name)
                echo(ok, m:match('fails.lua:2: not ready') and 1, ' ') end end ready = true ?><?= require('outer'), ' ' ?>\
                <? for i = 1, 2 do ?><?= select(2, pcall(require, 'loop')):match('loop or.*') ?>;<? end ?>"),
            ("report.plua", "<? pcall(require, 'outer') ?>\n\n\n<? local function load() require('outer') end load() ?>"),
            ("exit.plua", "a<? package.preload.ends = function() exit() end pcall(require, 'ends') ?>b"),
        ],
    );
    for _ in 0..2 {
        let seen = site.get("page.plua");
        let looped = "loop or previous error loading module 'loop';".repeat(2);
        assert_eq!(seen.text(), format!("{}loaded {looped}", "false1 ".repeat(4)), "{:?}", seen.log);
        let log = site.get("report.plua").log;
        assert!(log[0].starts_with("Run-time error: not ready at ") && log[0].contains("fails.lua:2"), "{log:?}");
        let calls = ["fails.lua:2", "outer.lua:3", "in function 'load' at", "report.plua:4", "main page"];
        assert!(calls.iter().all(|call| log[0].contains(call)), "{log:?}");
        assert_eq!(site.get("exit.plua").text(), "a");
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

#[test]
fn a_chunk_sees_the_requests_globals_unless_it_is_given_others() {
    let site = Site::new(
        REQUEST,
        &[
            ("chunk.lua", "return who"),
            (
                "page.plua",
                "<? who = 'G' local file = getEnv().folder ?><?= load(function() local s = code code = nil return s end) and 1 ?>\
                 <? local compile = loadstring or load ?><?= compile('return who')(), compile('who = \"S\" return _G.who')() ?>\
                 <?= dofile('chunk.lua'), loadfile('chunk.lua')(), compile(string.dump(function() return 1 end))() ?>",
            ),
            ("given.plua", "<? who = 'G' ?><?= load('return who', 'n', 't', { who = 'V' })() ?>"),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "1GSSS1");
    if cfg!(not(feature = "lua51")) {
        assert_eq!(site.get("given.plua").text(), "V");
    }
}

#[test]
fn a_module_that_keeps_a_session_in_a_local_starts_anew_in_each_request() {
    let site = Site::new(
        REQUEST,
        &[
            (
                "session.lua",
                "local M, session = {}, {} function M.set(k, v) session[k] = v end function M.get(k) return session[k] end \
                 runs = (runs or 0) + 1 return M",
            ),
            (
                "model/user.lua",
                "local session = require('session') return { name = function() return session.get('user') end }",
            ),
            (
                "login.plua",
                "<? require('session').set('user', parseGet().user) ?><?= require('model.user').name(), runs ?>",
            ),
            ("page.plua", "<?= require('model.user').name(), runs, require('session') == package.loaded.session ?>"),
        ],
    );
    for _ in 0..3 {
        assert_eq!(site.get("login.plua?user=Ada").text(), "Ada1");
        assert_eq!(site.get("page.plua").text(), "nil1true");
    }
}

#[test]
fn require_behaves_as_lua_has_it() {
    let site = Site::new(
        REQUEST,
        &[
            ("returns.lua", "n = (n or 0) + 1 return false"),
            ("nothing.lua", "nothing = (nothing or 0) + 1 seen = ..."),
            ("sub/init.lua", "return 'init ' .. ..."),
            ("one.lua", "require('two')"),
            ("two.lua", "require('one')"),
            ("sets.lua", "package.loaded[...] = 'set'"),
            ("broken.lua", "\n\nx = = 1"),
            ("fails.lua", "\nerror('inside')"),
            (
                "page.plua",
                "<?= (require('nothing')), (require('nothing')), nothing, seen, (require('sets')), (require('string')) == string ?>",
            ),
            ("path.plua", "<? package.path = './?/init.lua' ?><?= (require('sub')) ?>"),
            ("preload.plua", "<? package.preload.p = function(name) return name .. '!' end ?><?= (require('p')) ?>"),
            ("again.plua", "<? require('nothing') package.loaded.nothing = nil require('nothing') ?><?= nothing ?>"),
            ("loop.plua", "<?= select(2, pcall(require, 'one')) ?>"),
            ("missing.plua", "<?= select(2, pcall(require, 'no.such')) ?>"),
            ("bad.plua", "<?= select(2, pcall(require)), select(2, pcall(require, {})) ?>"),
            ("broken.plua", "\n<? require('broken') ?>"),
            ("fails.plua", "\n<? require('fails') ?>"),
        ],
    );
    let text = |page| site.get(page).text();
    for _ in 0..2 {
        assert_eq!(text("page.plua"), "truetrue1nothingsettrue");
        assert_eq!(text("path.plua"), "init sub");
        assert_eq!(text("preload.plua"), "p!");
        assert_eq!(text("again.plua"), "2");
        assert!(text("loop.plua").contains("loop or previous error loading module 'one'"), "{}", text("loop.plua"));
        let missing = text("missing.plua");
        assert!(missing.contains("module 'no.such' not found:"), "{missing}");
        assert!(missing.contains("no field package.preload['no.such']"), "{missing}");
        assert!(missing.contains(&format!("no file '{}'", site.path("no/such.lua").display())), "{missing}");
        assert!(missing.contains("/no/such.so'"), "{missing}");
        assert_eq!(text("bad.plua").matches("bad argument #1 to 'require'").count(), 2);
    }
    let broken = site.get("broken.plua");
    assert_eq!(broken.status, 500);
    assert!(broken.log[0].contains("broken.lua:3"), "{:?}", broken.log);
    let fails = site.get("fails.plua");
    assert!(fails.log[0].contains("fails.lua:2") && fails.log[0].contains("fails.plua:2"), "{:?}", fails.log);
}

#[test]
fn a_changed_module_is_seen_by_the_next_request() {
    let site = Site::new(REQUEST, &[("m.lua", "return 'old'"), ("page.plua", "<?= (require('m')) ?>")]);
    assert_eq!(site.get("page.plua").text(), "old");
    site.write("m.lua", "return 'changed'");
    assert_eq!(site.get("page.plua").text(), "changed");
}

#[test]
#[cfg(not(feature = "lua54"))]
fn module_makes_modules_of_the_request() {
    let site = Site::new(
        REQUEST,
        &[
            (
                "shop/cart.lua",
                "module(..., package.seeall) items = {} function add(i) items[#items + 1] = i return #items end",
            ),
            (
                "page.plua",
                "<? require('shop.cart') ?><?= shop.cart.add('a'), shop.cart._NAME, shop.cart._PACKAGE, type(shop.cart.print) ?>",
            ),
            ("after.plua", "<?= shop, package.loaded['shop.cart'], rawget(_G, 'items') ?>"),
            ("conflict.plua", "<? shop = 1 ?><?= select(2, pcall(require, 'shop.cart')) ?>"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "1shop.cartshop.function");
        assert_eq!(site.get("after.plua").text(), "nilnilnil");
    }
    assert!(site.get("conflict.plua").text().ends_with("name conflict for module 'shop.cart'"));
}

#[test]
fn what_the_init_file_sets_is_where_every_request_starts() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(folder.path().join("library.lua"), "return { name = 'library', deep = {} }").unwrap();
    fs::write(
        &init,
        "config = { title = 'T' } n = 1 function greet() return 'hello ' .. config.title end library = require('library')\n\
         function late(name) return require(name) end function string.shout(s) return s .. '!' end",
    )
    .unwrap();
    let site = Site::new(
        &format!("{REQUEST}\npLuaInit {}", init.display()),
        &[
            (
                "page.plua",
                "<?= config.title, n, greet(), library.name, require('library') == library, ('a'):shout() ?>\
                 <? config.title = 'changed' n = n + 1 library.name = 'evil' greet = nil string.shout = nil ?>",
            ),
            ("late.plua", "<?= late('m').next() ?>"),
            ("m.lua", "local n = 0 return { next = function() n = n + 1 return n end }"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "T1hello Tlibrarytruea!");
        assert_eq!(site.get("late.plua").text(), "1");
    }
}

#[test]
fn the_globals_can_be_listed_and_given_a_metatable() {
    let strict = "setmetatable(_G, { __newindex = function(_, n) error('undeclared ' .. n, 2) end, \
        __index = function(_, n) error('unknown ' .. n, 2) end })";
    let site = Site::new(
        REQUEST,
        &[
            (
                "list.plua",
                "<? mine = 1 local seen = {} for n, v in pairs(_G) do seen[n] = v end ?>\
                 <?= seen.mine, seen.string == string, seen.echo == echo, seen._G == _G, seen.nothing ?>\
                 <? local n = 0 for name in pairs(package.loaded) do n = n + 1 end ?><?= n > 5, next(_G) ~= nil ?>",
            ),
            (
                "strict.plua",
                &format!(
                    "<?= getmetatable(_G) ?><? {strict} ?><?= type(string.rep), select(2, pcall(function() x = 1 end)), \
                 select(2, pcall(function() return y end)) ?>"
                ),
            ),
            ("after.plua", "<? x = 1 ?><?= x, y ?>"),
        ],
    );
    for _ in 0..2 {
        assert_eq!(site.get("list.plua").text(), "1truetruetrueniltruetrue");
        let strict = site.get("strict.plua").text();
        assert!(
            strict.starts_with("nilfunction") && strict.contains("undeclared x") && strict.contains("unknown y"),
            "{strict}"
        );
        assert_eq!(site.get("after.plua").text(), "1nil");
    }
}

#[test]
fn the_time_limit_holds_in_every_request() {
    let site = Site::new(
        &format!("{REQUEST}\npLuaTimeout 1"),
        &[("page.plua", "page"), ("loops.plua", "<? while true do pcall(function() x = 1 end) end ?>")],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "page");
        assert_eq!(site.get("page.plua").text(), "page");
        assert!(site.get("loops.plua").log[0].starts_with("Time limit: "));
    }
}

#[test]
fn texts_of_a_very_long_page_cannot_be_changed_for_others() {
    let evil =
        "<? if parseGet().evil then __texts[1][1] = 'evil' rawset(__texts[1], 2, 'evil') __texts.kept = 1 end ?>";
    let page = format!("{evil}{}<?= __texts.kept ?>", "a<? ?>".repeat(16_001));
    let site = Site::new(REQUEST, &[("page.plua", &page)]);
    assert_eq!(site.get("page.plua").text(), format!("{}nil", "a".repeat(16_001)));
    assert!(site.get("page.plua?evil=1").text().starts_with("evilevila"));
    assert_eq!(site.get("page.plua").text(), format!("{}nil", "a".repeat(16_001)));
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
fn a_c_module_is_loaded_once_and_each_request_has_its_table() {
    let site = Site::new(
        REQUEST,
        &[(
            "page.plua",
            "<? local lfs = require('lfs') ?><?= type(lfs.attributes), lfs.kept, require('lfs') == lfs ?><? lfs.kept = 'evil' lfs.attributes = nil ?>",
        )],
    );
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "functionniltrue");
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

#[test]
fn what_a_request_held_is_freed_when_it_is_over() {
    let site = Site::new(
        REQUEST,
        &[
            ("large.plua", "<? held = ('x'):rep(4000000) include('part.plua', { a = 1 }) ?>"),
            ("part.plua", "<? kept = ('y'):rep(4000001) ?>"),
            ("after.plua", "<? collectgarbage() collectgarbage() ?><?= collectgarbage('count') < 3000 ?>"),
        ],
    );
    site.get("large.plua");
    assert_eq!(site.get("after.plua").text(), "true");
}

#[test]
fn a_page_that_failed_or_was_stopped_leaves_nothing_either() {
    let site = Site::new(
        &format!("{REQUEST}\npLuaTimeout 1"),
        &[
            ("fails.plua", "<? kept = 1 string.kept = 1 getmetatable('').__index = {} error('x') ?>"),
            ("exits.plua", "<? kept = 1 string.kept = 1 getmetatable('').__index = {} exit() ?>"),
            ("yields.plua", "<? kept = 1 string.kept = 1 getmetatable('').__index = {} coroutine.yield() ?>"),
            ("page.plua", "<?= kept, string.kept, ('a'):upper() ?>"),
        ],
    );
    for name in ["fails.plua", "exits.plua", "yields.plua"] {
        site.get(name);
        assert_eq!(site.get("page.plua").text(), "nilnilA", "{name}");
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
