//! Stores on a real Redis, started here: pages find in them what they find in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;
mod site;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis_server::Redis;
use site::{Site, wait};

/// A page that runs the Lua it is sent with the store `cart`, and says how it ended.
const RUN: (&str, &str) = (
    "run.plua",
    "<? local function show(...) for i = 1, select('#', ...) do local v = select(i, ...) echo(type(v), ' ', tostring(v), '; ') end end
    local run = assert((loadstring or load)('local cart, show = ... ' .. getRequestBody()))
    local fine, problem = pcall(run, plua.shared.cart, show)
    if not fine then echo('error: ', tostring(problem):gsub('^.-:%d+: ', '')) end ?>",
);

fn site(place: &str) -> Site {
    Site::new(&format!("pLuaShared cart {place}\npLuaShared cache {place}\npLuaTimeout 60"), &[RUN])
}

fn run(site: &Site, code: &str) -> String {
    let seen = site.post("run.plua", "text/plain", code);
    assert!(seen.status == 200 && seen.log.is_empty(), "{code}: {} {:?}", seen.status, seen.log);
    seen.text()
}

/// Both kinds, empty.
fn both() -> Option<(Redis, Site, Site)> {
    let redis = Redis::start(&[])?;
    let on_redis = site(&redis.address());
    Some((redis, on_redis, site("4M")))
}

#[test]
fn every_function_does_on_a_redis_what_it_does_in_memory() {
    let Some((_redis, on_redis, in_memory)) = both() else { return };
    let numbers =
        "for _, n in ipairs{ 0, -0.0, 1, -1, 0.1, 2^53, 2^63, -2^63, 1e308, 1e308 * 10, -1e308 * 10, 5e-324, 1/3 } do
        cart:set('k', n) local v = cart:get('k') show(v, v == n, 1 / v == 1 / n, math.type and math.type(v)) end
        cart:set('k', 0/0) local v = cart:get('k') show(v ~= v)";
    let sums = "local n = { 1, -1, 0.5, 2^53, -0.0, 1e308, 3, 4294967295, -4294967296, 0x7fffffff }
        if math.type then n[#n + 1] = math.maxinteger n[#n + 1] = math.mininteger n[#n + 1] = 2.0 end
        for _, a in ipairs(n) do for _, b in ipairs(n) do
            cart:delete('n') show(cart:incr('n', a), cart:incr('n', a, b), cart:incr('n', b), cart:get('n')) end end";
    for code in [
        numbers,
        sums,
        "for _, v in ipairs{ true, false, '', 'x', ('\\0\\255x'):rep(100), plua.json.null } do cart:set('k', v) show(cart:get('k') == v) end",
        "for _, n in ipairs{ 1, 65534, 65535, 65536, 65537, 900000 } do cart:set('k', ('y'):rep(n)) show(#cart:get('k')) \
            cart:push('l' .. n, ('z'):rep(n)) show(#cart:pop('l' .. n), cart:len('l' .. n)) end",
        "cart:set('t', { 1, 'two', { x = { y = true } }, plua.json.null, [2.5] = 'half', [false] = 'no', array = plua.json.array{} })
            local v = cart:get('t') show(v[1], v[2], v[3].x.y, v[4] == plua.json.null, v[2.5], v[false], #v, json.encode(v.array))",
        "cart:set('k', 1) cart:set('k', nil) show(cart:get('k'), cart:delete('k'))",
        "show(cart:add('k', 1), cart:add('k', 2), cart:get('k'), cart:replace('k', 3), cart:replace('j', 3), cart:get('k'), cart:get('j'), cart:delete('k'), cart:delete('k'))",
        "cart:set('a', 1, 0.2) cart:set('b', 1) cart:set('c', 1, 100) cart:add('d', 1, 0.2) cart:incr('e', 1, 0, 0.2) cart:incr('c', 1)
            show(cart:expire('b', 0.2), cart:expire('c', 0), cart:expire('x', 1), cart:expire('x'), cart:ttl('x'), cart:ttl('c'))
            show(cart:ttl('a') <= 0.2, cart:ttl('b') <= 0.2, cart:ttl('d') <= 0.2, cart:ttl('e') <= 0.2)
            cart:push('f', 1) cart:expire('f', 0.2) cart:push('f', 2) show(cart:ttl('f') <= 0.2) cart:replace('a', 2)
            sleep(0.4)
            show(cart:get('a'), cart:get('b'), cart:get('c'), cart:get('d'), cart:get('e'), cart:len('f'), #cart:keys(), cart:add('d', 2))",
        "cart:set('k', 1, 1e300) show(cart:ttl('k') > 1e9) cart:set('k', 1, math.huge) show(cart:ttl('k')) cart:set('k', 1, 0) show(cart:ttl('k'))",
        "cart:set('n', 1, 100) cart:incr('n', 0.5) show(cart:ttl('n') <= 100, cart:get('n'))",
        "show(cart:push('l', 1), cart:push('l', { two = 2 }), cart:unshift('l', 'zero'), cart:len('l'))
            show(cart:shift('l'), cart:pop('l').two, cart:pop('l'), cart:pop('l'), cart:shift('l'), cart:len('l'), #cart:keys())",
        "cart:push('l', 1) cart:set('l', 2) show(cart:get('l')) cart:push('m', 1) show(cart:add('m', 1), cart:replace('m', 3), cart:get('m'))",
        "for i = 1, 3000 do cart:set('key' .. i, i) end local seen, count = {}, 0
            for _, key in ipairs(cart:keys(1e9)) do seen[key] = true end for _ in pairs(seen) do count = count + 1 end
            show(#cart:keys(), #cart:keys(7), #cart:keys(1e9), count) cart:clear() show(#cart:keys(), cart:get('key1'))",
        "for _, key in ipairs{ '', '*', 'a?b', '[x]', '{}', '{a}b', 'a:b', '\\0\\255', ('k'):rep(1024), 'line\\nline', 12 } do
            show(cart:get(key), cart:add(key, key), cart:get(key) == key) end
            local all = cart:keys() table.sort(all) for _, key in ipairs(all) do show(#key, key:sub(1, 10)) end",
        // Refusals.
        "cart:set(('k'):rep(1025), 1)",
        "cart:set('k', { a = { 1, { b = print } } })",
        "cart:set('k', print)",
        "cart:set('k', 1, -1)",
        "cart:get()",
        "cart.get('k')",
        "cart:set('k', 'x') cart:incr('k', 1)",
        "cart:set('k', ('x'):rep(8)) cart:incr('k', 1)",
        "cart:set('k', true) cart:incr('k', 1)",
        "cart:set('k', {}) cart:incr('k', 1)",
        "cart:set('k', 'x') cart:push('k', 1)",
        "cart:set('k', 1) cart:pop('k')",
        "cart:set('k', 1) cart:len('k')",
        "cart:push('k', 1) cart:get('k')",
        "cart:push('k', 1) cart:incr('k', 1)",
        "cart:push('k', ('x'):rep(70000)) cart:get('k')",
    ] {
        for site in [&on_redis, &in_memory] {
            run(site, "cart:clear()");
        }
        let (seen, wanted) = (run(&on_redis, code), run(&in_memory, code));
        assert!(!wanted.is_empty());
        assert_eq!(seen, wanted, "{code}");
    }
}

/// Lua that does something with one of few keys.
fn act() -> impl Strategy<Value = String> {
    let key = || "[abc]";
    let seconds = || prop_oneof![Just("nil"), Just("0"), Just("1000"), Just("3e9")];
    let value = || {
        prop_oneof![
            any::<i32>().prop_map(|number| number.to_string()),
            any::<f64>()
                .prop_filter("a number Lua reads", |number| number.is_finite())
                .prop_map(|number| format!("{number:e}")),
            Just("2^63".to_owned()),
            Just("-0.0".to_owned()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            "[a-z]{0,12}".prop_map(|text| format!("'{text}\\0\\200'")),
            Just("{ 1, x = 'y' }".to_owned()),
        ]
    };
    let number = || {
        prop_oneof![
            any::<i32>().prop_map(|number| number.to_string()),
            Just("0.25".to_owned()),
            Just("9007199254740993".to_owned())
        ]
    };
    prop_oneof![
        (prop_oneof![Just("set"), Just("add"), Just("replace")], key(), value(), seconds())
            .prop_map(|(name, key, value, seconds)| format!("cart:{name}('{key}', {value}, {seconds})")),
        (prop_oneof![Just("get"), Just("delete"), Just("len"), Just("pop"), Just("shift")], key())
            .prop_map(|(name, key)| format!("cart:{name}('{key}')")),
        key().prop_map(|key| format!("math.floor(math.min(cart:ttl('{key}') or -1, 1e9) / 700)")),
        (key(), number(), prop_oneof![Just("nil".to_owned()), number()], seconds())
            .prop_map(|(key, by, initial, seconds)| format!("cart:incr('{key}', {by}, {initial}, {seconds})")),
        (key(), seconds()).prop_map(|(key, seconds)| format!("cart:expire('{key}', {seconds})")),
        (prop_oneof![Just("push"), Just("unshift")], key(), value())
            .prop_map(|(name, key, value)| format!("cart:{name}('{key}', {value})")),
        Just("table.concat((function() local all = cart:keys() table.sort(all) return all end)(), ',')".to_owned()),
    ]
}

#[test]
fn any_acts_come_to_the_same() {
    let Some((_redis, on_redis, in_memory)) = both() else { return };
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let acts = proptest::collection::vec(act(), 1..40);
    let done = runner.run(&acts, |acts| {
        // Tables are told by what is in them.
        let shown = "cart:clear() local function told(v) return type(v) == 'table' and json.encode(v) or v end ";
        let step = |act: &String| {
            format!(
                "do local fine, v = pcall(function() return {act} end) \
                show(fine, fine and told(v) or tostring(v):gsub('^.-:%d+: ', '')) end "
            )
        };
        let code = shown.to_owned() + &acts.iter().map(step).collect::<String>();
        prop_assert_eq!(run(&on_redis, &code), run(&in_memory, &code));
        Ok(())
    });
    if let Err(problem) = done {
        panic!("{problem}");
    }
}

#[test]
fn sites_and_plua_cache_have_keys_of_their_own_there() {
    let Some(redis) = Redis::start(&[]) else { return };
    let place = redis.address();
    let page = "<?= plua.shared.cart:incr('n', 1, 0), #plua.shared.cart:keys(), plua.cache('n', 60, function() return 'made' end) ?>";
    let configuration = format!("pLuaShared cart {place}\npLuaShared cache {place}");
    let mut site = Site::new(&configuration, &[("page.plua", page)]);
    let host = site.host.clone();
    let mut count = |root: &[u8]| {
        site.host = host.site(root);
        site.get("page.plua").text().replace(".0", "")
    };
    assert_eq!([count(b"/one"), count(b"/t w:o"), count(b"/one")], ["11made", "11made", "21made"]);
    site.host = host;
    assert_eq!(site.get("page.plua").text().replace(".0", ""), "11made");
    let mut keys: Vec<String> = redis.command(&["keys", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    let wanted = [
        "plua::cache:%00plua.cache:vn",
        "plua::cache:/one%00plua.cache:vn",
        "plua::cache:/t%20w%3ao%00plua.cache:vn",
        "plua::cart:/one:n",
        "plua::cart:/t%20w%3ao:n",
        "plua::cart::n",
    ];
    assert_eq!(keys, wanted);
    // Nothing else is cleared, and what is no value of a page's is not taken for one.
    assert_eq!(redis.command(&["set", "mine", "1"]), "OK");
    assert_eq!(redis.command(&["set", "plua::cart::odd", "1"]), "OK");
    site.write_before("odd.plua", "<?= select(2, pcall(plua.shared.cart.get, plua.shared.cart, 'odd')) ?>");
    assert_eq!(site.get("odd.plua").text(), "plua.shared.cart: 'odd': what is there was not put by a page");
    site.write_before("clear.plua", "<? plua.shared.cart:clear() ?>");
    assert_eq!(site.get("clear.plua").status, 200);
    assert_eq!(redis.command(&["dbsize"]), "6");
}

#[test]
fn a_store_on_a_redis_tells_what_the_server_tells() {
    let Some(redis) = Redis::start(&["--maxmemory", "20mb", "--maxmemory-policy", "noeviction"]) else { return };
    let site = site(&redis.address());
    let code = "cart:set('a', 1) cart:get('a') cart:get('b') local info = cart:info()
        show(info.size == 20 * 1024 * 1024, info.used > 100000, info.largest == 64 * 1024 * 1024, info.entries == 1, info.evictions == 0,
            info.hits >= 1, info.misses >= 1)";
    assert_eq!(run(&site, code), "boolean true; ".repeat(7));
    // A full server that throws nothing away says so.
    let full = run(&site, "for i = 1, 100 do cart:set('k' .. i, ('x'):rep(1000000)) end");
    assert!(full.contains("plua.shared.cart: ") && full.contains("the server says: OOM command not allowed"), "{full}");
    let large = run(&site, "cart:set('k', ('x'):rep(64 * 1024 * 1024))");
    assert!(large.contains("'k': key and value take 67108865 bytes, and there is room for 67108864"), "{large}");
}

#[test]
fn a_page_has_what_is_on_a_redis_in_the_memory_it_is_allowed() {
    let Some(redis) = Redis::start(&[]) else { return };
    let place = redis.address();
    let all =
        run(&site(&place), "cart:set('k', ('x'):rep(5000000)) cart:push('l', ('x'):rep(5000000)) cart:push('l', 1)");
    assert_eq!(all, "");
    for code in ["cart:get('k')", "cart:shift('l')"] {
        let page = format!("<? local cart = plua.shared.cart for i = 1, 2 do {code} end ?>");
        let small = Site::new(&format!("pLuaShared cart {place}\npLuaMemoryLimit 2000"), &[("page.plua", &page)]);
        let seen = small.get("page.plua");
        assert!(seen.status == 500 && seen.log.concat().contains("Memory limit"), "{code}: {:?}", seen.log);
    }
    // What waits for the server counts as well.
    let many = "<? local text = ('x'):rep(300000) for i = 1, 40 do plua.spawn(function() plua.shared.cart:set('k' .. i, text) end) end ?>";
    let small = Site::new(&format!("pLuaShared cart {place}\npLuaMemoryLimit 3000"), &[("page.plua", many)]);
    redis.pause();
    let seen = small.get("page.plua");
    redis.go_on();
    assert!(seen.status == 500 && seen.log.concat().contains("Memory limit"), "{:?}", seen.log);
    // What there was no room for has stayed.
    assert_eq!(run(&site(&place), "show(cart:len('l'), #cart:shift('l'))"), "number 2; number 5000000; ");
}

#[test]
fn a_sandbox_reaches_no_redis_of_the_server_and_needs_no_leave_to_connect_for_its_own() {
    let Some(redis) = Redis::start(&[]) else { return };
    let page =
        "<? echo(plua.shared.mine:incr('n', 1, 0)) echo(' ', (pcall(function() return plua.shared.cart end))) ?>";
    let server = site::given(&format!("pLuaShared cart {}", redis.address()));
    let host =
        server.merged(&site::given(&format!("pLuaSandbox On\npLuaConnect none\npLuaShared mine {}", redis.address())));
    let site = Site::with_settings(host, &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text().replace(".0", ""), "1 false");
}
