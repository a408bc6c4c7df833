//! Modules of a request's own: `require` loads each anew in every request.

use super::REQUEST;
use super::site::Site;

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
    let site = Site::just_written(REQUEST, &[("m.lua", "return 'old'"), ("page.plua", "<?= (require('m')) ?>")]);
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
