//! Pages that try to get around a limit: each ends, is reported with its limit and line, and the next page works.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::time::{Duration, Instant};

use site::{Seen, Site, at_once};

const LUAJIT: bool = cfg!(feature = "luajit");

/// What the second line of a page comes to under these limits; the page after it must be served.
fn attempt(configuration: &str, code: &str) -> Seen {
    let site = Site::new(
        &format!("pLuaStates 1\n{configuration}"),
        &[
            ("page.plua", &format!("half\n<? {code} ?>")),
            ("part.plua", "part"),
            ("endless.lua", "while true do end"),
            ("itself.plua", "<? include('itself.plua') ?>"),
            ("next.plua", "<? local t = {} for i = 1, 1000 do t[i] = i .. '' end ?>fine"),
        ],
    );
    let started = Instant::now();
    let seen = site.get("page.plua");
    assert!(started.elapsed() < Duration::from_secs(20), "{code} took {:?}", started.elapsed());
    assert_eq!(site.get("next.plua").text(), "fine", "after {code}");
    seen
}

fn assert_ends(configuration: &str, limit: &str, code: &str) {
    let seen = attempt(configuration, code);
    assert_eq!(seen.status, 500, "{code}: {:?}", seen.log);
    let log = seen.log.concat();
    assert!(log.starts_with(limit), "{code}: {log:?}");
    assert!(log.contains("page.plua"), "{code}: {log:?}");
}

fn assert_ends_at_its_line(configuration: &str, limit: &str, code: &str) {
    assert_ends(configuration, limit, code);
    let log = attempt(configuration, code).log.concat();
    assert!(log.contains("page.plua:2") || log.contains("part.plua:1"), "{code}: {log:?}");
}

#[test]
fn nothing_in_lua_outlives_the_time_limit() {
    let codes = [
        "for i = 1, 1e18 do end",
        "local n = 0 while true do n = n + 1 end",
        "repeat pcall(error) until false",
        "while true do pcall(function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end) while true do end",
        "xpcall(error, function() while true do end end)",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "local function nest() coroutine.wrap(nest)() end while true do pcall(nest) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
        "local t = setmetatable({}, { __concat = function() while true do end end }) return t .. t",
        "local t = setmetatable({}, { __tostring = function() while true do end end }) echo(t)",
        "local t = setmetatable({}, { __call = function(t) return t() end }) t()",
        "local t = {} t.__index = t setmetatable(t, { __index = function(t, k) return t[k] end }) while true do pcall(function() return t.x end) end",
        "local t = {} for i = 1, 1000 do t[i] = i end while true do pcall(table.sort, t, function() return true end) end",
        "while true do (loadstring or load)('return 1')() end",
        "while true do (loadstring or load)('x = 1') end",
        "local s = ('x'):rep(1000) while true do s:upper():lower():reverse() end",
        "while true do ('x'):rep(1e6) end",
        "while true do string.format('%99d', 1) end",
        "while true do table.concat({ 'a', 'b', 'c' }) end",
        "while true do sleep(0.01) end",
        "sleep(1e9)",
        "while true do pcall(sleep, 1) end",
        "while true do include('part.plua') ob_start() ob_end_clean() end",
        "while true do capture(function() echo('x') end) end",
        "while true do pcall(require, 'endless') end",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "while true do collectgarbage() end",
        "local s = ('<'):rep(3e4) while true do escapeHtml(s) end",
        "local s = ('<'):rep(3e4) while true do ob_start() ?><?& s ?><? ob_end_clean() end",
        "while true do passwordVerify('a', passwordHash('a')) end",
        "while true do json.decode(('['):rep(100) .. (']'):rep(100)) end",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "load(function() while true do end end)",
        "load(function() while true do end end) while true do end",
        "pcall(load, function() while true do pcall(error) end end)",
        "while true do load(function() error('x') end) end",
        "while true do load(load) load(function() return 1 end) end",
        "coroutine.wrap(function() load(function() coroutine.yield() end) end)() load(function() while true do end end)",
        "load(function() while true do end end) while true do end",
    ];
    let ends = |code: &str| assert_ends("pLuaTimeout 0.2", "Time limit: ", code);
    at_once(&codes, |code| ends(code));
    // With the processors to themselves: with little time left a long search is refused in other words.
    for code in [
        "for word in (('a '):rep(1e6)):gmatch('%a') do while true do end end",
        "(('a '):rep(1e6)):gsub('%a', function() while true do end end)",
        "local t = setmetatable({ ('x'):rep(1e6), ('y'):rep(1e6) }, { __index = table.concat }); \
         (('ab'):rep(1e5)):gsub('%a', t)",
        "(('a 1000000 '):rep(2e4)):gsub('(%a) (%d+) ', string.rep)",
    ] {
        ends(code);
    }
    if !cfg!(feature = "lua51") {
        ends("::again:: pcall(error) goto again");
    }
    if LUAJIT {
        for code in [
            "local b = require('string.buffer').new() while true do b:put('x'):reset() end",
            "jit.off() while true do end",
            "jit.opt.start('hotloop=1') while true do pcall(function() for i = 1, 100 do end end) end",
        ] {
            ends(code);
        }
    }
}

#[test]
fn nothing_in_lua_outlives_the_memory_limit() {
    for code in [
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} while true do t[#t + 1] = function() return t end end",
        "local s = 'x' while true do s = s .. s end",
        "('x'):rep(1e9)",
        "local t = {} for i = 1, 1e9 do t[i] = 'key' .. i end",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "local t = {} for i = 1, 1e6 do t[i] = 'x' end while true do table.concat(t, ('y'):rep(1000)) end",
        "while true do echo('0123456789') end",
        "while true do ob_start() echo('0123456789') end",
        "local t = {} while true do t[#t + 1] = escapeHtml(('<'):rep(1000) .. #t) end",
        "local n = 0 while true do n = n + 1 ?><?& ('<'):rep(3e4) .. n ?><? end",
        "local s = ('<'):rep(6e6) ?><?& s ?><?",
        "local t = {} while true do t[#t + 1] = json.decode('[1,2,3,{\"a\":[]}]') end",
        "local t = {} while true do table.insert(t, 1, ('x'):rep(10000) .. #t) end",
        "collectgarbage('stop') local t = {} while true do t[#t + 1] = {} end",
        "string.explode(('a,'):rep(3e6), ',')",
    ] {
        assert_ends("pLuaMemoryLimit 8000\npLuaTimeout 4", "Memory limit: Memory limit reached!", code);
    }
    if LUAJIT {
        for code in [
            "local b = require('string.buffer').new() while true do b:put('0123456789') end",
            "require('table.new')(1e8, 0)",
            "local t = {} while true do t[#t + 1] = load('return 1') end",
        ] {
            assert_ends("pLuaMemoryLimit 8000\npLuaTimeout 4", "Memory limit: Memory limit reached!", code);
        }
    }
}

#[test]
fn a_page_that_catches_the_memory_limit_ends_all_the_same() {
    for code in [
        "local t = {} pcall(function() while true do t[#t + 1] = {} end end) echo('caught')",
        "pcall(string.rep, 'x', 1e9) echo('caught')",
        "while true do pcall(string.rep, 'x', 1e9) end",
        "while true do local t = {} pcall(function() while true do t[#t + 1] = {} end end) end",
        "local t = {} xpcall(function() while true do t[#t + 1] = {} end end, function() while true do end end)",
        "local t = {} while true do coroutine.wrap(function() while true do t[#t + 1] = {} end end)() end",
        "local t = {} while true do coroutine.resume(coroutine.create(function() while true do t[#t + 1] = {} end end)) end",
        // An included file that fails lets the page go on, but for a limit.
        "if included then local t = {} while true do t[#t + 1] = {} end end included = true include('page.plua') echo('on')",
    ] {
        assert_ends("pLuaMemoryLimit 8000\npLuaTimeout 4", "Memory limit: Memory limit reached!", code);
    }
    // PUC Lua's calls are gone once an allocation failed.
    if LUAJIT {
        assert_ends_at_its_line(
            "pLuaMemoryLimit 8000",
            "Memory limit: Memory limit reached!",
            "local t = {} while true do t[#t + 1] = {} end",
        );
    }
}

#[test]
fn garbage_is_collected_before_a_page_is_over_its_memory_limit() {
    if !LUAJIT {
        return;
    }
    for code in [
        "for i = 1, 1e5 do local s = ('x'):rep(100) .. i end",
        "collectgarbage('stop') for i = 1, 1e6 do local t = { i } end",
    ] {
        assert_eq!(attempt("pLuaMemoryLimit 2000\npLuaTimeout 4", code).status, 200, "{code}");
    }
}

#[test]
fn nothing_in_lua_outlives_the_output_limit() {
    for code in [
        "while true do echo('0123456789') end",
        "while true do print('0123456789') end",
        "while true do pcall(echo, ('x'):rep(1000)) end",
        "while true do pcall(function() while true do echo('x') end end) end",
        "xpcall(function() while true do echo('x') end end, function() while true do echo('x') end end)",
        "while true do coroutine.wrap(function() while true do echo('x') end end)() end",
        "while true do ?>text<? end",
        "while true do ?><?= 'value' ?><? end",
        "while true do ?><?& '<b>' ?><? end",
        "while true do include('part.plua') end",
        "while true do ob_start() echo('0123456789') end",
        "ob_start() while true do echo('0123456789') end",
        "capture(function() while true do echo('0123456789') end end)",
        "while true do startBlock('b' ) echo('0123456789') end",
        "echo(('x'):rep(2e5))",
        "local e = echo for i = 1, 2 do ob_start() e(('x'):rep(6e4)) end for i = 1, 2 do ob_end_flush() end",
    ] {
        assert_ends("pLuaOutputLimit 100\npLuaTimeout 4", "Output limit: The page puts out more", code);
    }
    let seen = attempt("pLuaOutputLimit 100", "for i = 1, 100 do echo(('x'):rep(1000)) end echo(('x'):rep(2395))");
    assert_eq!((seen.status, seen.body.len()), (200, 102_400));
    assert_eq!(
        attempt("pLuaOutputLimit 100", "for i = 1, 100 do echo(('x'):rep(1000)) end echo(('x'):rep(2396))").status,
        500
    );
}

#[test]
fn what_is_flushed_counts_as_output_and_is_cut_off_at_the_limit() {
    for code in [
        "while true do echo(('x'):rep(1000)) flush() end",
        "while true do pcall(function() while true do echo(('x'):rep(1000)) flush() end end) end",
        "flush() file.send('large.bin')",
        "flush() for i = 1, 30 do file.send('small.bin') flush() end",
    ] {
        let site = Site::new(
            "pLuaStates 1\npLuaOutputLimit 100\npLuaTimeout 4",
            &[("page.plua", &format!("half\n<? {code} ?>")), ("next.plua", "fine")],
        );
        site.write("large.bin", vec![b'x'; 3 << 20]);
        site.write("small.bin", vec![b'x'; 5000]);
        let seen = site.get("page.plua");
        assert!(seen.aborted && seen.body.len() <= 102_400, "{code}: {} bytes", seen.body.len());
        let log = seen.log.concat();
        assert!(log.starts_with("Output limit: ") && log.contains("page.plua:2"), "{code}: {log}");
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
    }
}

#[test]
fn captured_output_that_is_thrown_away_does_not_count() {
    let code = "for i = 1, 100 do ob_start() echo(('x'):rep(5e4)) ob_end_clean() capture(function() echo(('x'):rep(5e4)) end) end";
    assert_eq!(attempt("pLuaOutputLimit 100", code).status, 200);
}

#[test]
fn a_pattern_of_exponential_time_is_an_error_at_its_line() {
    let (subject, pattern) = ("('a'):rep(30)", "('a?'):rep(30) .. ('a'):rep(30)");
    for code in [
        format!("string.find({subject}, {pattern})"),
        format!("string.match({subject}, {pattern})"),
        format!("for word in string.gmatch({subject}, {pattern}) do end"),
        format!("string.gsub({subject}, {pattern}, '')"),
        format!("local s = {subject} s:gsub({pattern}, function() end)"),
        format!("local s = {subject} s:match({pattern})"),
        "local s = ('a'):rep(3000) s:find('.-.-.-b')".into(),
        "local s = ('('):rep(1e5) s:find('%b()')".into(),
        "local s = ('a'):rep(1e5) .. 'b' s:find('(a*)%1c')".into(),
    ] {
        let seen = attempt("pLuaPatternLimit 1000000", &code);
        let log = seen.log.concat();
        assert!(log.starts_with("Pattern limit: ") && log.contains("page.plua:2"), "{code}: {log}");
        assert!(log.contains("pLuaPatternLimit"), "{code}: {log}");
        assert_eq!(seen.status, 500, "{code}");
    }
    let caught = format!("local fine, problem = pcall(string.find, {subject}, {pattern}) echo(tostring(fine))");
    assert_eq!(attempt("pLuaPatternLimit 1000000", &caught).text(), "half\nfalse");
}

#[test]
fn under_the_pattern_limit_patterns_give_what_lua_gives() {
    let code = "\
        local s = ('key = value; '):rep(200)
        echo(#s, ' ', (s:gsub('(%w+)%s*=%s*(%w+)', '%2=%1')):sub(1, 20), ' ', select(2, s:gsub('%w', string.upper)), ' ')
        local n = 0 for k, v in s:gmatch('(%w+) = (%w+)') do n = n + #k + #v end
        echo(n, ' ', s:match('^%s*(.-)%s*$') == s:sub(1, -2), ' ')
        echo(table.concat({ s:find('value', 1, true) }, ','), ' ', table.concat({ s:find('value', -8) }, ','), ' ')
        echo(tostring(s:find('nothing', 1, true)), ' ', (12345):rep and '' or ('%d'):format(1), tostring((pcall(string.find, 'a', '['))))";
    let code = code.replace("(12345):rep and '' or ", "");
    let without = attempt("", &code);
    let with = attempt("pLuaPatternLimit 1000000", &code);
    assert_eq!(with.text(), without.text());
    assert!(with.text().contains("2600 value=key; "), "{}", with.text());
    let plain = "echo(tostring(('a'):rep(2e6):find(('a'):rep(1e6) .. 'b', 1, true)))";
    assert_eq!(attempt("pLuaPatternLimit 1000000", plain).text(), "half\nnil");
}

#[test]
fn endless_depth_is_an_error_and_no_crash() {
    for code in [
        "local function f() return 1 + f() end f()",
        "local function f() return 1 + f() end while true do local fine = pcall(f) if not fine then error('deep') end end",
        "local function f() pcall(f) error('deep') end f()",
        "local function f() return (('x'):gsub('x', f)) end f()",
        "local function f() table.sort({ 2, 1 }, f) end f()",
        "local function f() coroutine.wrap(f)() end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] .. '' end return t.x",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) .. '' end echo(t)",
        "local t = {} for i = 1, 1e5 do t = setmetatable({}, { __index = t }) end return t.x.y",
        "assert(load('return ' .. ('('):rep(1e5) .. ('1') .. (')'):rep(1e5)))",
        "assert(load('return ' .. ('{'):rep(1e5)))",
        "assert(load(('do '):rep(1e5)))",
        "assert(load('return ' .. ('not '):rep(1e6) .. '1'))",
        "assert(load('return ' .. ('a..'):rep(1e6) .. '1'))",
        "local t = {} for i = 1, 1e5 do t = { t } end json.encode(t)",
        "assert(json.decode(('['):rep(1e6)))",
        "local t = {} t[1] = t json.encode(t)",
        "local function f() capture(f) end f()",
        "local function f() return render('part.plua') .. f() end f()",
        "local function h() error('again') end xpcall(function() error('once') end, h) error('out')",
        "local function h() xpcall(error, h) end xpcall(error, h) error('out')",
        "unpack = unpack or table.unpack unpack({}, 1, 1e8)",
        "string.char((unpack or table.unpack)({}, 1, 1e6))",
        "local s = ('x'):rep(1e5) s:match(('(x)'):rep(1e4))",
        "s = ('x'):rep(1e5) s:find(('x?'):rep(1e5)) error('deep')",
    ] {
        let seen = attempt("pLuaTimeout 4\npLuaMemoryLimit 64000", code);
        let log = seen.log.concat();
        assert!(seen.status == 500, "{code}: {} {log}", seen.status);
        assert!(log.contains("page.plua"), "{code}: {log}");
    }
    let seen = attempt("pLuaTimeout 4", "include('itself.plua')");
    assert!(seen.log.concat().contains("nested more than 100 deep"), "{:?}", seen.log);
}

#[test]
fn a_search_that_begins_beyond_all_integers_takes_no_longer() {
    for start in ["2^31", "-2^31", "2^32", "2^53", "'2147483648'", "1/0", "-1/0"] {
        let code = format!("string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40), {start}) echo('done')");
        let seen = attempt("pLuaPatternLimit 100000\npLuaTimeout 10", &code);
        let log = seen.log.concat();
        let refused = log.starts_with("Pattern limit: ") || log.contains("(number has no integer representation)");
        assert!(seen.status == 200 || refused, "{start}: {log}");
    }
}

#[test]
fn pages_get_no_finalizer_that_no_limit_could_stop() {
    if !cfg!(feature = "lua54") {
        for code in [
            "local p = newproxy(true) getmetatable(p).__gc = function() while true do end end p = nil collectgarbage()",
            "local p = newproxy(true) rawset(getmetatable(p), '__gc', function() while true do end end) p = nil collectgarbage()",
            "local p = newproxy(newproxy(true)) getmetatable(p).__gc = function() while true do end end p = nil collectgarbage()",
        ] {
            let seen = attempt("pLuaTimeout 20", code);
            assert_eq!((seen.status, seen.log.len()), (200, 0), "{code}: {:?}", seen.log);
        }
    }
    let seen = attempt(
        "pLuaTimeout 20",
        "getmetatable(io.stdout).__gc = function() while true do end end io.open('/dev/null') collectgarbage()",
    );
    assert!(seen.status == 500 && seen.log[0].starts_with("Run-time error"), "{:?}", seen.log);
    let code = "setmetatable({}, { __gc = function() while true do end end }) collectgarbage()";
    let seen = attempt("pLuaTimeout 0.5", code);
    assert_eq!(seen.status == 500, cfg!(feature = "lua54"), "{:?}", seen.log);
}

#[test]
fn what_a_page_says_of_the_collector_ends_with_its_request() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            ("stop.plua", "<? collectgarbage('stop') collectgarbage('setpause', 100000) ?>"),
            (
                "page.plua",
                "<? local most = 0 for i = 1, 2e6 do local t = { i, {}, {} } end ?><?= collectgarbage('count') < 50000 and 'fine' or collectgarbage('count') ?>",
            ),
        ],
    );
    site.get("stop.plua");
    assert_eq!(site.get("page.plua").text(), "fine");
}

#[test]
fn one_call_of_a_c_function_does_not_hold_a_page_long() {
    for code in [
        "io.open('/dev/zero'):read('*a')",
        "io.open('/dev/zero'):read(1e9)",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
        "local s = ('x'):rep(4e6) while true do s:reverse() s:upper() s:byte(-1) end",
        "while true do string.format('%99.99f', 1e300) end",
        "local s = ('a'):rep(1e6) while true do s:find(('a'):rep(1000) .. 'b', 1, true) end",
        "local t = {} for i = 1, 2e5 do t[i] = 'x' end while true do table.concat(t) end",
        "local s = ('x = 1 '):rep(1e5) while true do (loadstring or load)(s) end",
        "local t = {} for i = 1, 2e5 do t[i] = i end while true do next(t, 2e5) local n = #t end",
        "while true do file.send('/dev/zero') end",
        "local s = json.encode(('x'):rep(1e6)) while true do json.decode(s) end",
        "while true do string.SHA512(('x'):rep(1e5)) end",
        "while true do randomBytes(1048576) end",
        "passwordHash('a', { memory = 1048576, passes = 1000 })",
        // PUC Lua looks at the clock every thousand instructions, which is many a sort.
        if LUAJIT {
            "local t = {} for i = 1, 2e5 do t[i] = (i * 7919) % 200003 end while true do table.sort(t) end"
        } else {
            "while true do end"
        },
    ] {
        let started = Instant::now();
        let seen = attempt("pLuaTimeout 0.3\npLuaMemoryLimit 8000\npLuaPatternLimit 1000000", code);
        assert!(started.elapsed() < Duration::from_secs(20), "{code} took {:?}", started.elapsed());
        assert!(seen.status == 500 && seen.log.concat().contains("page.plua"), "{code}: {:?}", seen.log);
    }
}

#[test]
fn a_path_of_megabytes_is_refused_where_memory_is_limited() {
    // PUC Lua needs more memory to make one.
    let length = if cfg!(feature = "luajit") { 4_000_000 } else { 1_500_000 };
    for open in
        ["io.open(s)", "io.lines(s)", "io.output(s)", "os.remove(s)", "os.rename('page.plua', s)", "loadfile(s)"]
    {
        for limits in ["pLuaSandbox On\npLuaMemoryLimit 8192", "pLuaSandbox On"] {
            let code = format!(
                "local s = ('\\255'):rep({length}) local fine, file, why = pcall(function() return {open} end) \
                 echo(fine and tostring(file) or 'nil', ' ', tostring(why or file):sub(-40))"
            );
            let seen = Site::new(limits, &[("page.plua", &format!("<? {code} ?>"))]).get("page.plua");
            assert!(
                seen.text().starts_with("nil ") && seen.text().ends_with("File name too long"),
                "{open}: {:?}",
                seen.log
            );
        }
    }
}
