//! Globals and modules of a request's own: what one request leaves behind, no other ever meets.

mod debug;
mod libraries;
mod modules;
#[path = "../site/mod.rs"]
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

/// What a page puts out in a request of its own, twice: what the first does is undone before the second.
fn twice(configuration: &str, page: &str) -> String {
    let site = Site::new(&format!("{REQUEST}\n{configuration}"), &[("page.plua", page)]);
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.log.as_slice()), (200, &[] as &[String]), "{page}: {}", seen.text());
    assert_eq!(site.get("page.plua").text(), seen.text(), "{page}");
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
