//! Calls of Lua's own functions that would take for ever: the time limit ends them, and what they give stays the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::time::{Duration, Instant};

use mlua::Lua;
use site::Site;

const LUAJIT: bool = cfg!(feature = "luajit");
const LUA54: bool = cfg!(feature = "lua54");

/// A list of 30 elements whose length Lua takes to be 2^29.
const SPARSE: &str = "local t = {} for i = 29, 0, -1 do t[2 ^ i] = 1 end";

#[test]
fn no_call_of_a_library_function_outlives_the_time_limit() {
    let mut endless = vec![
        format!("{SPARSE} table.insert(t, 1, 1)"),
        format!("{SPARSE} table.remove(t, 1)"),
        format!("{SPARSE} pcall(table.insert, t, 1, 1)"),
    ];
    if LUA54 {
        let huge =
            "local huge = math.tointeger(2 ^ 60) local t = setmetatable({}, { __len = function() return huge end })";
        endless.extend(
            [
                "table.move({}, 1, 2 ^ 60, 2)",
                "table.move({}, 1, '1152921504606846976', 2)",
                "table.move({}, -(2 ^ 60), 5, 10, {})",
                &format!("{huge} table.insert(t, 1, 1)"),
                &format!("{huge} table.remove(t, 1)"),
                &format!("{huge} getmetatable(t).__index = io.lines('/dev/zero', 0) table.concat(t)"),
                &format!("{huge} getmetatable(t).__index = io.lines('/dev/zero', 0) table.concat(t, '', -5)"),
                "local most = math.tointeger(2 ^ 30) table.sort(setmetatable({}, \
                 { __len = function() return most end, __index = rawlen, __newindex = rawequal }))",
            ]
            .map(str::to_string),
        );
    } else {
        endless.extend(["table.insert({}, -2^31, 1)", "table.insert({ 1, 2 }, '-2000000000', 1)"].map(str::to_string));
    }
    for code in &endless {
        let site = Site::new("pLuaStates 1\npLuaTimeout 0.3", &[("page.plua", &format!("half\n<? {code} ?>"))]);
        site.write("next.plua", "fine");
        let started = Instant::now();
        let seen = site.get("page.plua");
        assert!(started.elapsed() < Duration::from_secs(10), "{code} took {:?}", started.elapsed());
        assert!(seen.log.concat().starts_with("Time limit: "), "{code}: {:?}", seen.log);
        assert!(seen.log.concat().contains("page.plua:2"), "{code}: {:?}", seen.log);
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
    }
}

#[test]
fn an_error_of_such_a_function_is_at_the_line_that_called_it() {
    for code in [
        "table.insert({}, {}, 1)",
        "table.concat({ {} })",
        "table.remove(1, 1)",
        "string.rep('x', 'x')",
        "table.sort(5)",
    ] {
        let log = Site::new("", &[("page.plua", &format!("\n<? {code} ?>"))]).get("page.plua").log.concat();
        assert!(log.contains("page.plua:2") && !log.contains("plua:1") && !log.contains(" plua:"), "{code}: {log}");
    }
}

#[test]
fn calls_of_absurd_numbers_end_at_once() {
    for code in [
        "pcall(string.rep, '', 2 ^ 60)",
        "pcall(string.rep, '', 2 ^ 31 - 1)",
        "pcall(string.rep, '', 2 ^ 31 - 1, '')",
        "pcall(table.insert, {}, 2 ^ 31, 1)",
        "pcall(table.insert, {}, 2 ^ 63, 1)",
        "pcall(table.insert, {}, -2 ^ 63, 1)",
        "pcall(table.insert, {}, 0 / 0, 1)",
        "pcall(table.insert, {}, 1 / 0, 1)",
        "pcall(table.concat, {}, '', 1, 2 ^ 31 - 1)",
        "pcall(table.concat, {}, '', -2 ^ 31, 2 ^ 31 - 1)",
        "pcall(unpack or table.unpack, {}, 1, 1e7)",
        "pcall(unpack or table.unpack, {}, -2 ^ 31, 2 ^ 31 - 1)",
        "pcall(string.format, '%99999d', 1)",
        "pcall(select, -1)",
        "pcall(string.byte, ('x'):rep(1e6), 1, -1)",
        "if table.foreachi then local t = {} for i = 29, 0, -1 do t[2 ^ i] = 1 end \
         for _ = 1, 20 do pcall(table.foreachi, t, tostring) end end",
        "if string.pack then pcall(string.pack, ('c0'):rep(1e5)) pcall(string.unpack, ('c0'):rep(1e5), '') end",
    ] {
        let site = Site::new("pLuaTimeout 5\npLuaMemoryLimit 64000", &[("page.plua", &format!("<? {code} ?>fine"))]);
        let started = Instant::now();
        assert_eq!(site.get("page.plua").text(), "fine", "{code}");
        assert!(started.elapsed() < Duration::from_secs(20), "{code} took {:?}", started.elapsed());
    }
}

/// Some ways of calling the functions, each shown with its results or its error.
const CALLS: &str = r##"
    local shown = {}
    local function show(...)
        local values = { ... }
        for i = 1, select("#", ...) do values[i] = tostring(values[i]):gsub("^.-:%d+: ", ""):gsub("to '[^']*'", "") end
        shown[#shown + 1] = table.concat(values, ",")
    end
    local function numbers(n) local t = {} for i = 1, n do t[i] = i end return t end
    local function listed(t) return #t .. ":" .. tostring(t[1]) .. tostring(t[2]) .. tostring(t[#t]) end
    for _, arguments in ipairs({ { 1, "new" }, { "new" }, { 0, "new" }, { -3, "new" }, { 3, "new" }, { 4, "new" }, { 9, "new" },
                                 { "2", "new" }, { {}, "new" }, { "x", "new" }, {}, { 1, 2, 3 } }) do
        local t = { "a", "b", "c" }
        show(pcall(table.insert, t, (unpack or table.unpack)(arguments)))
        show(t[-3], t[-2], t[-1], t[0], t[1], t[2], t[3], t[4], t[9])
    end
    show(pcall(table.insert, 1, 1, 1)) show(pcall(table.insert, {}, 1, nil))
    for _, n in ipairs({ 10, 150000 }) do
        local t = numbers(n)
        table.insert(t, 1, "first") show(listed(t)) table.insert(t, 2, nil) show(t[1], t[2], t[3], t[n + 2])
        t = numbers(n) show(table.remove(t, 1), listed(t)) show(table.remove(t), listed(t)) show(table.remove(t, #t), listed(t))
        show(pcall(table.remove, t, #t + 1)) show(listed(t)) show(table.remove({}))
        show(#table.concat(numbers(n), ";"))
    end
    show(pcall(table.insert, numbers(150000), 1, 2, 3))
    show(pcall(table.remove, { 1 }, 7)) show(pcall(table.remove, { 1 }, "x"))
    show(pcall(string.rep, "", 5)) show(pcall(string.rep, "ab", 3)) show(pcall(string.rep, "", "x"))
    show(pcall(table.concat, { 1, {}, 3 })) show(pcall(table.concat, { 1, 2, 3 }, "-", 2, 3)) show(pcall(table.concat, 1))
    show(pcall(table.sort, { 1, "x", 2 })) show(pcall(table.sort, 5)) show(pcall(table.sort, {}, 5))
    for _, n in ipairs({ 200, 2001, 5000 }) do
        local t, words, mixed = {}, {}, {}
        for i = 1, n do t[i] = (i * 7919) % 10007 - 0.5 words[i] = "w" .. t[i] mixed[i] = i % 2 == 0 and i or "x" end
        table.sort(t) table.sort(words) show(table.concat(t, " ")) show(table.concat(words, " "))
        table.sort(t, function(one, other) return one > other end) show(table.concat(t, " "))
        show((pcall(table.sort, mixed)))
    end
"##;

const CALLS_OF_54: &str = r##"
    if table.move then
        local n = 250000
        local t = numbers(n) show(table.move(t, 1, n, 3) == t, t[1], t[2], t[3], t[n], t[n + 2])
        t = numbers(n) table.move(t, 3, n, 1) show(t[1], t[2], t[n - 2], t[n])
        t = table.move(numbers(n), 1, n, 5, {}) show(t[4], t[5], t[n + 4])
        t = numbers(n) table.move(t, 1, n, 200001) show(t[200000], t[200001], t[n + 200000])
        show(pcall(table.move, {}, 1, 2, 3, 4)) show(pcall(table.move, {}, "x")) show(pcall(table.move, {}, 1, 1e6))
    end
    if math.type then
        local log = {}
        local t = setmetatable({}, { __len = function() return 250001 end, __index = function(_, i) return i % 7 end })
        show(#table.concat(t), #table.concat(t, ", ", -5), #table.concat(t, "", 3, 200004), pcall(table.concat, t, {}, 1, 9))
        show(pcall(table.move, {}, 1, math.maxinteger, 2)) show(pcall(table.move, {}, math.mininteger, 5, 2))
        show(pcall(table.insert, {}, math.mininteger, 2)) show(pcall(table.insert, {}, 1.5, 2))
        show(pcall(string.rep, "", math.maxinteger))
    end
"##;

#[test]
fn under_limits_the_functions_give_what_luas_own_give() {
    let code = format!("{CALLS}{CALLS_OF_54} return table.concat(shown, '\\n')");
    let expected: String = Lua::new()
        .load(if LUA54 {
            code.replace("show(pcall(string.rep, \"\", math.maxinteger))", "show(true, '')")
        } else {
            code.clone()
        })
        .eval()
        .unwrap();
    let page = format!("<? local function calls() {code} end echo(calls()) ?>");
    let seen = Site::new("pLuaTimeout 60", &[("page.plua", &page)]).get("page.plua");
    assert_eq!(seen.status, 200, "{:?}", seen.log);
    for (own, expected) in seen.text().lines().zip(expected.lines()) {
        assert_eq!(own, expected);
    }
    assert_eq!(seen.text().len(), expected.len());
}

/// Writes a list that Lua's quicksort takes longest for, found by answering its questions as late as can be
/// (McIlroy, A Killer Adversary for Quicksort).
const WORST: &str = "<?
    local n, solid, candidate, values, places = 5000, 0, 0, {}, {}
    local gas = n + 1
    for i = 1, n do values[i], places[i] = gas, i end
    table.sort(places, function(one, other)
        if values[one] == gas and values[other] == gas then
            if one == candidate then values[one] = solid else values[other] = solid end
            solid = solid + 1
        end
        if values[one] == gas then candidate = one elseif values[other] == gas then candidate = other end
        return values[one] < values[other]
    end)
    echo('return { ', table.concat(values, ', '), ' }') ?>";

#[test]
fn a_list_made_to_be_sorted_slowly_is_not_under_a_time_limit() {
    // Lua 5.4 chooses at random once it sees such a list.
    if LUA54 {
        return;
    }
    let worst = Site::new("", &[("page.plua", WORST)]).get("page.plua").text();
    let sorted = |configuration: &str| {
        let page = "<? local t = dofile('LIST') local before = os.clock() table.sort(t) local took = os.clock() - before \
                    for i = 2, #t do assert(t[i - 1] <= t[i]) end ?><?= took ?>";
        let site = Site::new(configuration, &[("list.lua", &worst)]);
        site.write("page.plua", page.replace("LIST", &site.path("list.lua").to_string_lossy()));
        site.get("page.plua").text().parse::<f64>().unwrap()
    };
    let (without, with) = (sorted(""), sorted("pLuaTimeout 60"));
    assert!(with < without / 3.0, "{with} s under a limit, {without} s without one");
}

#[test]
fn long_texts_in_the_worst_order_are_sorted_in_time() {
    if LUA54 {
        return;
    }
    let worst =
        WORST.replace("n, solid, candidate, values, places = 5000", "n, solid, candidate, values, places = 2000");
    let list = Site::new("", &[("page.plua", &worst)]).get("page.plua").text();
    // The most that are sorted by Lua's own; quicksort would compare 20 GB of them.
    let page = "<? local t, same = dofile('LIST'), ('x'):rep(10000) \
        for i = 1, #t do t[i] = same .. ('%05d'):format(t[i]) end \
        local before = os.clock() table.sort(t) local took = os.clock() - before \
        for i = 2, #t do assert(t[i - 1] <= t[i]) end ?><?= took ?>";
    let site = Site::new("pLuaTimeout 600", &[("list.lua", &list)]);
    site.write("page.plua", page.replace("LIST", &site.path("list.lua").to_string_lossy()));
    let seen = site.get("page.plua");
    let took: f64 = seen.text().parse().unwrap_or_else(|_| panic!("{:?}", seen.log));
    assert!(took < 1.0, "{took} s");
}

#[test]
fn a_comparison_written_in_c_sorts_as_one_of_luas_own() {
    let page = "<? local t = { 3, 1, 2 } \
        for _ = 1, 2 do pcall(table.sort, t, rawequal) end \
        table.sort(t) echo(table.concat(t, ','), (('a-b'):gsub('%a', string.upper)), \
        (('a-b'):gsub('%a', setmetatable({}, { __index = function(_, key) return key .. key end })))) ?>";
    assert_eq!(site::page(page).text(), "1,2,3A-Baa-bb");
}

#[test]
fn random_numbers_are_not_foretold_by_the_page_before() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            ("seeding.plua", "<? math.randomseed(42) ?><?= math.random(1e9), ' ', math.random(1e9) ?>"),
            ("page.plua", "<?= math.random(1e9), ' ', math.random(1e9) ?>"),
        ],
    );
    let seeded = site.get("seeding.plua").text();
    let first = site.get("page.plua").text();
    assert_eq!(site.get("seeding.plua").text(), seeded, "what a page seeds holds for its request");
    let second = site.get("page.plua").text();
    assert_ne!(first, second);
    let another = Site::new("", &[("page.plua", "<?= math.random(1e9), ' ', math.random(1e9) ?>")]);
    assert_ne!(another.get("page.plua").text(), first, "states begin with different seeds");
    assert!(LUAJIT || !seeded.is_empty());
}

#[test]
fn a_search_under_the_pattern_limit_begins_where_luas_own_begins() {
    let code = "local found, subject = {}, ('abcabc'):rep(200) \
        for _, start in ipairs({ 0, -1, -2, 1, 2, 3, 5, 6, 7, 8, 1.5, -0.5, '2', '2.0', '2147483648', 2^31 - 1, 2^31, -2^31, -2^31 - 1, \
                                 2^32, 2^32 + 2, 2^53, -2^53, 2^63, -2^63, 2^64, 1e300, 0/0, 1/0, -1/0, {}, true }) do \
            for _, pattern in ipairs({ 'bcabca', 'b.', '^c', 'x', '', '()' }) do \
                for _, run in ipairs({ function() return string.find(subject, pattern, start, true) end, \
                                       function() return string.find(subject, pattern, start) end, \
                                       function() return string.match(subject, pattern, start) end }) do \
                    local fine, first, last = pcall(run) \
                    if not fine then first = first:sub(-28) end \
                    found[#found + 1] = tostring(start) .. ' ' .. pattern .. ': ' .. tostring(first) .. ' ' .. tostring(last) \
                end \
            end \
        end \
        return table.concat(found, '\\n')";
    let expected: String = Lua::new().load(code).eval().unwrap();
    let page = format!("<? local function search() {code} end echo(search()) ?>");
    let expected: Vec<_> = expected.lines().filter(|line| !line.starts_with("table: ")).collect();
    // Of those limits, one lets Lua's own search at once and one has every search counted first.
    for limit in ["100000000", "3000"] {
        let seen = Site::new(&format!("pLuaPatternLimit {limit}"), &[("page.plua", &page)]).get("page.plua");
        assert_eq!(seen.status, 200, "{:?}", seen.log);
        let text = seen.text();
        let own: Vec<_> = text.lines().filter(|line| !line.starts_with("table: ")).collect();
        assert_eq!(own, expected, "{limit}");
    }
}

/// Checks `table.sort` against a list that insertion has sorted, to the bits of each number. A list of numbers only is
/// told apart from one that Lua's own sort must do by nothing a page can see.
const SORTED: &str = r##"
    local function exact(number) return string.format("%.17g", number) end
    local function inserted(list)
        local sorted = {}
        for i = 1, #list do
            local at = i
            while at > 1 and list[i] < sorted[at - 1] do sorted[at] = sorted[at - 1] at = at - 1 end
            sorted[at] = list[i]
        end
        return sorted
    end
    local function check(what, list)
        local expected, length = inserted(list), #list
        assert(select("#", table.sort(list)) == 0)
        assert(#list == length, what)
        for i = 1, length do
            if exact(list[i]) ~= exact(expected[i]) then error(what .. " of " .. length .. " differs at " .. i) end
        end
    end
    local kinds = {
        random = function() return math.random() - 0.5 end,
        whole = function() return math.random(-1000, 1000) end,
        -- What is too small becomes a zero; 0 is added since no order is promised for 0 and -0.
        large = function() return (math.random() - 0.5) * 2 ^ math.random(-1070, 1020) + 0 end,
        beyond_32_bits = function() return 2 ^ 31 + math.random(0, 5) - 2 ^ 32 * math.random(0, 1) end,
        equal = function() return 7 end,
        few = function(i) return i % 3 end,
        rising = function(i) return i end,
        falling = function(i) return -i end,
        pipe = function(i, n) return i < n / 2 and i or n - i end,
        infinite = function(i) return i % 3 == 0 and 1 / 0 or i % 3 == 1 and -1 / 0 or math.random() end,
    }
    for _, n in ipairs({ 0, 1, 2, 15, 16, 17, 33, 100, 257, 1000, 2000, 2001 }) do
        for kind, number in pairs(kinds) do
            if n <= 257 or kind ~= "equal" then
                local list = {}
                for i = 1, n do list[i] = number(i, n) end
                check(kind, list)
            end
        end
    end
    local zeros, negative = {}, 0
    for i = 1, 100 do
        -- Lua 5.1 takes the constants 0 and -0 for one.
        local zero = 0.0 * i
        zeros[i] = i % 3 == 0 and -zero or zero
    end
    table.sort(zeros)
    for i = 1, 100 do negative = negative + (1 / zeros[i] < 0 and 1 or 0) end
    assert(#zeros == 100 and negative == 33, "zeros keep their signs")
    local hashed = {}
    for i = 100, 1, -1 do hashed[i] = i * 7919 % 101 end
    check("a list made from its end", hashed)
    local proxied = setmetatable({}, {})
    for i = 1, 40 do proxied[i] = i * 7919 % 41 end
    check("a list with a metatable", proxied)
    local descending = {}
    for i = 1, 100 do descending[i] = i end
    table.sort(descending, function(one, other) return one > other end)
    assert(descending[1] == 100 and descending[100] == 1)
    local beside = { word = "kept", [-1] = "kept", [2.5] = "kept" }
    for i = 1, 20 do beside[i] = 21 - i end
    table.sort(beside, nil)
    assert(beside[1] == 1 and beside[20] == 20 and beside.word == "kept" and beside[-1] == "kept" and beside[2.5] == "kept")
"##;

#[test]
fn a_list_of_numbers_is_sorted_to_the_bit() {
    let page = format!("<? {SORTED} ?>sorted");
    // The second time it is compiled.
    let site = Site::new("pLuaStates 1", &[("page.plua", &page)]);
    for _ in 0..2 {
        let seen = site.get("page.plua");
        assert_eq!(seen.text(), "sorted", "{:?}", seen.log);
    }
}

#[test]
fn a_list_that_is_not_of_numbers_only_is_sorted_by_luas_own_sort() {
    let code = r#"
        local shown = {}
        local function show(list)
            local fine, problem = pcall(table.sort, list)
            if not fine then shown[#shown + 1] = tostring(problem):gsub("^.-:%d+: ", "") return end
            local elements = {}
            for i = 1, #list do elements[i] = type(list[i]) .. " " .. string.format(type(list[i]) == "number" and "%.17g" or "%s", list[i]) end
            shown[#shown + 1] = table.concat(elements, ",")
        end
        for _, n in ipairs({ 16, 40, 2000 }) do
            for place = 1, n, n / 8 do
                for _, odd in ipairs({ -1 / (1 / 0), 0 / 0, "5", "word", false, {} }) do
                    local list = {}
                    for i = 1, n do list[i] = i * 7919 % 11 - 5 end
                    list[place - place % 1] = odd
                    show(list)
                end
            end
            local words = {}
            for i = 1, n do words[i] = "w" .. i * 7919 % 101 end
            show(words)
            local hollow = {}
            for i = 1, n do hollow[i] = n - i end
            hollow[n / 2] = nil
            show(hollow)
        end
        return table.concat(shown, "\n")"#;
    let expected: String = Lua::new().load(code).eval().unwrap();
    let page = format!("<? local function sorted() {code} end echo(sorted()) ?>");
    let site = Site::new("pLuaStates 1", &[("page.plua", &page)]);
    for _ in 0..2 {
        let text = site.get("page.plua").text();
        // Lua 5.4 chooses at random within long lists of no clear order.
        for (own, expected) in text.lines().zip(expected.lines()).filter(|(_, expected)| !LUA54 || expected.len() < 999)
        {
            assert_eq!(own, expected);
        }
        assert_eq!(text.lines().count(), expected.lines().count());
    }
}

#[test]
fn an_element_that_cannot_be_compared_is_an_error_at_the_line_of_the_page() {
    for odd in ["'word'", "{}", "true"] {
        let page = format!("\n<? local t = {{}} for i = 1, 100 do t[i] = -i end t[50] = {odd}\ntable.sort(t) ?>");
        let log = Site::new("", &[("page.plua", &page)]).get("page.plua").log.concat();
        assert!(log.contains("page.plua:3") && log.contains("attempt to compare"), "{odd}: {log}");
    }
}
