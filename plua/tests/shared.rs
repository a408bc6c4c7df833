//! Stores that outlive requests: what pages put under a key they find there later, in whatever state they run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::thread;

use site::{Seen, Site};

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

fn seen(configuration: &str, code: &str) -> Seen {
    let page = format!("<? local cart = plua.shared.cart {code} ?>");
    Site::new(&format!("pLuaShared cart 1M\n{configuration}"), &[("page.plua", &page)]).get("page.plua")
}

/// What a page puts out that has the store `cart`.
fn text(code: &str) -> String {
    let seen = seen("", code);
    assert!(seen.log.is_empty(), "{code}: {:?}", seen.log);
    seen.text()
}

/// What an error says that a page catches.
fn refusal(code: &str) -> String {
    text(&format!("echo(select(2, pcall(function() {code} end)))"))
}

#[test]
fn values_of_every_kind_come_back_as_they_were_put() {
    let same =
        |value: &str| text(&format!("cart:set('k', {value}) local v = cart:get('k') echo(v == {value}, ' ', type(v))"));
    for (value, kind) in [
        ("true", "boolean"),
        ("false", "boolean"),
        ("12", "number"),
        ("-0.1", "number"),
        ("2^53", "number"),
        ("1e308 * 10", "number"),
        ("''", "string"),
        ("('\\0\\255x'):rep(100)", "string"),
        ("('long'):rep(100000)", "string"),
        ("plua.json.null", "userdata"),
    ] {
        assert_eq!(same(value), format!("true {kind}"), "{value}");
    }
    assert_eq!(text("cart:set('k', -0.0) echo(1 / cart:get('k'))"), text("echo(-1 / 0)"));
    assert_eq!(text("cart:set('k', 0 / 0) local v = cart:get('k') echo(v ~= v)"), "true");
    assert_eq!(text("cart:set('k', { -0.0 }) echo(1 / cart:get('k')[1])"), text("echo(-1 / 0)"));
    assert_eq!(text("cart:set('k', 1) cart:set('k', nil) echo(tostring(cart:get('k')))"), "nil");
}

#[test]
#[cfg(feature = "lua54")]
fn integers_of_64_bits_stay_such() {
    let code = "cart:set('k', math.maxinteger) echo(cart:get('k') == math.maxinteger, math.type(cart:get('k'))) \
        cart:set('k', 1.0) echo(math.type(cart:get('k'))) \
        echo(cart:incr('n', 1, math.maxinteger) == math.mininteger, math.type(cart:incr('n', 0.5)))";
    assert_eq!(text(code), "trueintegerfloattruefloat");
}

#[test]
fn tables_come_back_with_their_items_fields_and_marks() {
    let code = "
        local t = { 1, 'two', { x = { y = true } }, plua.json.null, [2.5] = 'half', [false] = 'no', [-7] = 'minus',
                    empty = {}, array = plua.json.array{}, ['a\\0b'] = '\\255' }
        cart:set('t', t)
        t[1] = 'changed'
        local v = cart:get('t')
        echo(v[1], v[2], tostring(v[3].x.y), tostring(v[4] == plua.json.null), v[2.5], v[false], v[-7], #v, ' ')
        echo(tostring(v['a\\0b'] == '\\255'), json.encode(v.empty), json.encode(v.array), json.encode({v.array, v.empty}))
        local count = 0 for _ in pairs(v) do count = count + 1 end echo(' ', count)";
    assert_eq!(text(code), "1twotruetruehalfnominus4 true{}[][[],{}] 10");
    let holes = "local t = { 1, nil, 3 } cart:set('t', t) local v = cart:get('t') echo(v[1], tostring(v[2]), v[3])";
    assert_eq!(text(holes), "1nil3");
    assert_eq!(
        text(
            "local t = {} for i = 1, 10000 do t[i] = i end cart:set('t', t) local v = cart:get('t') echo(#v, v[10000])"
        ),
        "1000010000"
    );
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_key_and_the_place_in_the_value() {
    for (code, message) in [
        ("cart:set('k', function() end)", "plua.shared.cart: 'k': a function cannot be stored"),
        (
            "cart:set('k', { a = { 1, { b = print } } })",
            "plua.shared.cart: 'k': a function cannot be stored, at a[2].b",
        ),
        (
            "local t = {} t.me = t cart:set('k', t)",
            "plua.shared.cart: 'k': a table that holds itself cannot be stored, at me",
        ),
        (
            "local t = {} for _ = 1, 101 do t = { t } end cart:set('k', t)",
            "plua.shared.cart: 'k': tables nest more than 100 deep",
        ),
        ("cart:set('k', { [{}] = 1 })", "plua.shared.cart: 'k': a table as a field's name cannot be stored"),
        (
            "cart:set('k', ('x'):rep(1048576))",
            "plua.shared.cart: 'k': key and value take 1118592 bytes, and there is room for 1031680",
        ),
        ("cart:set(('k'):rep(1025), 1)", "the key has more than 1024 bytes"),
        ("cart:set({}, 1)", "bad argument #1 to 'set' (string expected, got table)"),
        ("cart:get()", "bad argument #1 to 'get' (string expected, got nil)"),
        ("cart:add('k')", "bad argument #2 to 'add' (value expected)"),
        ("cart:set('k', 1, -1)", "bad argument #3 to 'set' (seconds from 0 on expected; 0 is for ever)"),
        ("cart:incr('k', 'x')", "bad argument #2 to 'incr' (number expected, got string)"),
        ("cart:set('k', 'x') cart:incr('k', 1)", "plua.shared.cart: 'k': the value is not a number"),
        ("cart:set('k', 'x') cart:push('k', 1)", "plua.shared.cart: 'k': the value is not a list"),
        ("cart:push('k', 1) cart:get('k')", "plua.shared.cart: 'k': the value is a list"),
        ("cart.get('k')", "call get with a colon: plua.shared.NAME:get()"),
        ("cart.x = 1", "plua.shared.cart has functions: plua.shared.cart:set(key, value)"),
        ("rawset(cart, 'get', 1)", "table expected"),
        ("plua.shared.basket:get('k')", "the host has no store 'basket': declare it with pLuaShared"),
        ("plua.shared.x = 1", "stores are declared with pLuaShared"),
        ("plua.shared = {}", "stores are declared with pLuaShared"),
    ] {
        let said = refusal(code);
        assert!(said.contains(message), "{code}: {said}");
        assert!(!said.starts_with("plua:"), "{code} does not tell the page's line: {said}");
    }
}

#[test]
fn add_and_replace_put_a_value_only_where_none_or_one_is() {
    let show = "local function show(...) for i = 1, select('#', ...) do echo(tostring((select(i, ...))), ' ') end end";
    let code = "show(cart:add('k', 1), cart:add('k', 2), cart:get('k'), cart:replace('k', 3), cart:replace('j', 3), cart:get('k'), \
        cart:get('j'), cart:delete('k'), cart:delete('k'))";
    assert_eq!(text(&format!("{show} {code}")), "true false 1 true false 3 nil true false ");
}

#[test]
fn numbers_are_added_to() {
    let code = "echo(tostring(cart:incr('n', 1)), cart:incr('n', 2, 10), cart:incr('n'), cart:incr('n', -3), cart:incr('n', 0.5), cart:get('n'))";
    assert_eq!(text(code), "nil12131010.510.5");
}

#[test]
fn an_entry_is_gone_when_its_time_is_over() {
    let code = "cart:set('a', 1, 0.05) cart:set('b', 1) cart:set('c', 1, 100) cart:add('d', 1, 0.05) cart:incr('e', 1, 0, 0.05)
        cart:expire('b', 0.05) cart:expire('c', 0)
        echo(cart:ttl('a') <= 0.05, cart:ttl('b') > 0, cart:ttl('c') == math.huge, tostring(cart:ttl('x')), tostring(cart:expire('x', 1)), ' ')
        sleep(0.1)
        echo(tostring(cart:get('a')), tostring(cart:get('b')), cart:get('c'), tostring(cart:get('d')), tostring(cart:get('e')), #cart:keys(), cart:add('a', 2))";
    assert_eq!(text(code), "truetruetruenilfalse nilnil1nilnil1true");
}

#[test]
fn lists_are_added_to_and_taken_from_at_both_ends() {
    let code = "echo(cart:push('l', 1), cart:push('l', { two = 2 }), cart:unshift('l', 'zero'), cart:len('l'), ' ')
        echo(cart:shift('l'), cart:pop('l').two, cart:pop('l'), tostring(cart:pop('l')), cart:len('l'), #cart:keys())";
    assert_eq!(text(code), "1233 zero21nil00");
    assert_eq!(
        text(
            "for i = 1, 1000 do cart:push('l', ('x'):rep(i)) end local n = 0 for i = 1, 1000 do n = n + #cart:shift('l') end echo(n)"
        ),
        "500500"
    );
}

#[test]
fn keys_are_listed_and_cleared_and_the_store_tells_of_itself() {
    let code = "for i = 1, 3000 do cart:set('key' .. i, i) end
        local seen, all = {}, cart:keys(1e9) for _, key in ipairs(all) do seen[key] = true end
        local count = 0 for _ in pairs(seen) do count = count + 1 end
        echo(#cart:keys(), ' ', #cart:keys(7), ' ', #all, ' ', count, ' ')
        cart:get('none') cart:get('key1')
        local info = cart:info()
        echo(info.size, ' ', info.entries, ' ', info.used >= 3000 * 128, ' ', info.hits, info.misses, info.evictions, ' ', info.largest > 1000000)
        cart:clear() echo(' ', #cart:keys(), cart:info().entries, cart:info().used)";
    assert_eq!(text(code).replace(".0", ""), "1024 7 3000 3000 1048576 3000 true 110 true 000");
}

#[test]
fn a_full_store_takes_what_fits_and_what_was_not_used_for_longest_makes_room() {
    let code = "for i = 1, 500 do cart:set('kept', 'yes') cart:set('key' .. i, ('x'):rep(10000)) cart:get('kept') end
        echo(cart:get('kept'), tostring(cart:get('key1')), #cart:get('key500'), cart:info().evictions > 300)
        cart:set('large', ('x'):rep(950000)) echo(#cart:get('large'))";
    assert_eq!(text(code), "yesnil10000true950000");
}

#[test]
fn all_states_of_a_host_find_the_same_and_each_has_its_own_store_without_processes() {
    for mode in MODES {
        let pages = [("count.plua", "<?= plua.shared.cart:incr('n', 1, 0) ?>")];
        let site = Site::new(&format!("pLuaShared cart 64K\npLuaRuns 1\n{mode}"), &pages);
        let seen: Vec<String> = (0..3).map(|_| site.get("count.plua").text().replace(".0", "")).collect();
        assert_eq!(seen, ["1", "2", "3"], "{mode}");
        assert_eq!(Site::new("pLuaShared cart 64K", &pages).get("count.plua").text().replace(".0", ""), "1");
    }
}

#[test]
fn many_threads_count_what_each_of_them_adds() {
    let page = "<? local cart = plua.shared.cart for i = 1, 1000 do cart:incr('n', 1, 0) cart:set('k' .. i, ('x'):rep(i)) end ?>";
    let site = Site::new("pLuaShared cart 1M", &[("page.plua", page), ("n.plua", "<?= plua.shared.cart:get('n') ?>")]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(site.get("page.plua").status, 200));
        }
    });
    assert_eq!(site.get("n.plua").text(), "8000");
}

#[test]
fn stores_are_there_after_plua_was_listed_and_nothing_of_a_request_stays_in_them() {
    let page = "<? for name in pairs(plua) do end local cart = plua.shared.cart
        echo(tostring(cart.mark), tostring(plua.shared), tostring(cart), type(cart.get))
        pcall(function() cart.mark = 1 end) pcall(rawset, cart, 'mark', 1) pcall(function() getmetatable(cart).__index.mark = 1 end)
        pcall(function() debug.getmetatable(cart).__index.mark = 1 end) ?>";
    for mode in &MODES[1..] {
        let site = Site::new(&format!("pLuaShared cart 64K\npLuaStates 1\n{mode}"), &[("page.plua", page)]);
        for _ in 0..2 {
            assert_eq!(site.get("page.plua").text(), "nilplua.sharedplua.shared.cartfunction", "{mode}");
        }
    }
}

#[test]
fn a_host_without_stores_says_how_to_have_one() {
    for mode in MODES {
        let site = Site::new(mode, &[("page.plua", "<? plua.shared.cart:get('x') ?>")]);
        let seen = site.get("page.plua");
        assert_eq!(seen.status, 500);
        assert!(
            seen.log[0].contains("the host has no store 'cart': declare it with pLuaShared"),
            "{mode}: {:?}",
            seen.log
        );
    }
}

#[test]
fn sites_of_a_host_have_the_store_each_for_itself() {
    let site = Site::new(
        "pLuaShared cart 64K",
        &[("page.plua", "<?= plua.shared.cart:incr('n', 1, 0), #plua.shared.cart:keys() ?>")],
    );
    let mut site = site;
    let host = site.host.clone();
    let mut count = |root: &[u8]| {
        site.host = host.site(root);
        site.get("page.plua").text()
    };
    assert_eq!([count(b"/one"), count(b"/two"), count(b"/one")], ["11", "11", "21"]);
}

#[test]
fn a_page_has_them_in_memory_and_time_it_is_allowed() {
    let over = |configuration: &str, code: &str| {
        let seen = seen(&format!("pLuaStates 1\n{configuration}"), code);
        assert_eq!(seen.status, 500, "{code}: {:?}", seen.log);
        seen.log.concat()
    };
    let log = over("pLuaTimeout 0.2", "while true do cart:set('k', 1) cart:get('k') end");
    assert!(log.contains("took too long"), "{log}");
    let log = over("pLuaTimeout 0.2", "for i = 1, 4000 do cart:set('k' .. i, i) end while true do cart:keys(1e9) end");
    assert!(log.contains("took too long"), "{log}");
    let log = over(
        "pLuaMemoryLimit 2000",
        "cart:set('k', ('x'):rep(900000)) local all = {} while true do all[#all + 1] = cart:get('k') .. #all end",
    );
    assert!(log.contains("Memory limit"), "{log}");
    let tables = "local t = {} for _ = 1, 60 do t = { t, t } end cart:set('k', t)";
    let log = over("pLuaTimeout 0.5\npLuaMemoryLimit 8000", tables);
    assert!(log.contains("took too long") || log.contains("Memory limit"), "{log}");
}

#[test]
fn a_page_that_replaces_luas_functions_does_not_change_the_stores() {
    let code = "error, type, tostring, next = nil, nil, nil, nil echo(cart:incr('n', 1, 0))";
    assert_eq!(text(code).replace(".0", ""), "1");
    let page = "<? local say = echo type, error, setmetatable = nil, nil, nil say(plua.shared.cart:incr('n', 1, 0)) ?>";
    let site = Site::new("pLuaShared cart 64K", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text().replace(".0", ""), "1");
}

#[test]
fn a_sandbox_reaches_no_store_of_the_server() {
    let page = "<? echo(pcall(function() return plua.shared.mine:incr('n', 1, 0) end)) echo(' ', (pcall(function() return plua.shared.cart end))) ?>";
    let server = site::given("pLuaShared cart 64K\npLuaShared log 64K");
    let host = server.merged(&site::given("pLuaSandbox On\npLuaShared mine 64K"));
    assert_eq!(host.shared().map(|shared| shared.name.as_str()).collect::<Vec<_>>(), ["mine"]);
    let open = server.merged(&site::given("pLuaShared mine 64K"));
    assert_eq!(open.shared().map(|shared| shared.name.as_str()).collect::<Vec<_>>(), ["mine", "cart", "log"]);
    let site = Site::with_settings(host, &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text().replace(".0", ""), "true1 false");
}

#[test]
#[cfg(feature = "luajit")]
fn what_pages_do_most_is_compiled() {
    let code = "
        local util, aborts = require('jit.util'), {}
        jit.attach(function(what, _, run, at)
            local place = what == 'abort' and util.funcinfo(run, at).loc
            if place and place:find('^plua') then aborts[#aborts + 1] = place end
        end, 'trace')
        local x
        for i = 1, 1000 do cart:set('k' .. i % 10, ('x'):rep(i)) end
        for i = 1, 1000 do x = cart:get('k' .. i % 10) end
        for i = 1, 1000 do cart:incr('n', 1, 0) end
        for i = 1, 1000 do x = cart:add('n', i) end
        for i = 1, 1000 do cart:set('m', i, 10) end
        for i = 1, 1000 do x = cart:get('n') end
        echo(x, ' ', #cart:get('k9'), ' ', table.concat(aborts, ' '))";
    assert_eq!(text(code), "1000 999 ");
}
