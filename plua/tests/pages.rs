//! Pages and what must come of them: the page functions and the state they run in.

mod site;

use site::{Site, page};

#[test]
fn a_page_puts_out_its_text_and_what_its_code_echoes() {
    let seen = page("<ul>\n<? for i = 1, 3 do ?>\n<li><?= i ?></li>\n<? end ?>\n</ul>\n");
    assert_eq!((seen.status, seen.content_type.as_str()), (200, "text/html"));
    assert_eq!(seen.text(), "<ul>\n<li>1</li>\n<li>2</li>\n<li>3</li>\n</ul>\n");
    assert_eq!(page("").text(), "");
}

#[test]
fn values_are_escaped_alike_in_compiled_loops() {
    let values = "local values = { 'plain', '<b>', 5, '\\'', true, '', 'K\u{f6}ln & \\255', 0.5 }";
    let shown = ["plain", "&lt;b&gt;", "5", "&#x27;", "true", "", "K\u{f6}ln &amp; \u{fffd}", "0.5"];
    let source = format!("<? {values} for i = 0, 799 do ?><?& values[i % 8 + 1] ?>,<? end ?>");
    let seen = page(&source);
    assert_eq!(String::from_utf8_lossy(&seen.body), (shown.join(",") + ",").repeat(100));
}

#[test]
fn echo_shows_every_kind_of_value() {
    for (code, shown) in [
        (r#"echo("a\0b", 1, 1.5, -1, 0.1, 1/3, true, nil, false)"#, "a\0b11.5-10.10.33333333333333truenilfalse"),
        ("print('x', 'y')", "xy"),
        ("echo()", ""),
        ("echo(nil)", "nil"),
        ("echo(setmetatable({}, {__tostring = function() return 'mine' end}))", "mine"),
    ] {
        assert_eq!(page(&format!("<? {code} ?>")).text(), shown, "{code}");
    }
    assert_eq!(page("A<?=1,2,\"x\"?>B<?= (function() return 3, nil end)() ?>").text(), "A12xB3nil");
    assert_eq!(page("<?& '<a href=\"x\">', nil, 5 ?>").text(), "&lt;a href=&quot;x&quot;&gt;nil5");
}

#[test]
fn no_kind_of_value_shows_where_it_is_in_memory() {
    for (value, shown) in [
        ("{}", "table"),
        ("setmetatable({}, { __name = 'Mine' })", "table"),
        ("setmetatable({}, { __index = string })", "table"),
        ("function() end", "function"),
        ("print", "function"),
        ("coroutine.create(print)", "thread"),
        ("io.stderr", "file"),
        ("(function() local f = io.tmpfile() f:close() return f end)()", "closed file"),
    ] {
        let code = format!("<? local v = {value} ?><?= v ?>|<?& v ?>|<? echo(v) ?>|<? print(v, v) ?>");
        assert_eq!(page(&code).text(), format!("{shown}|{shown}|{shown}|{shown}{shown}"), "{value}");
    }
}

#[test]
#[cfg(feature = "luajit")]
fn what_ffi_gives_shows_its_type_and_no_address() {
    let code = "<? local ffi = require 'ffi' ?>\
        <?= ffi.new('int[3]'), ' ', ffi.cast('void *', 4096), ' ', ffi.typeof('int'), ' ', ffi.C ?>";
    assert_eq!(page(code).text(), "cdata<int [3]> cdata<void *> ctype<int> userdata");
}

#[test]
fn a_number_looks_the_same_in_compiled_loops() {
    let text = page(
        "<? local values = { 0, -0.0, 7, -7, 0.5, 2147483647, 2147483648, -2147483648, -2147483649, 4294967297, 2^53, 1/0 }
        local shown = {}
        for i = 1, 200 do for j = 1, #values do ?><?= values[j] * 1 ?> <? end end ?>|<?
        for j = 1, #values do
            local value = values[j] * 1
            shown[j] = (value == 2^53 and '9007199254740992' or tostring(value):gsub('%.0$', '')) .. ' '
        end ?><?= table.concat(shown):rep(200) ?>",
    )
    .text();
    let (echoed, expected) = text.split_once('|').unwrap();
    assert_eq!(echoed, expected);
}

#[test]
fn text_does_not_depend_on_what_the_page_makes_of_echo() {
    assert_eq!(page("<? local echo = 5; print = nil ?>a<?= 1 ?>").text(), "a1");
}

#[test]
fn auto_escape_makes_the_plain_echo_tag_escape() {
    let site = Site::new("pLuaAutoEscape On", &[("page.plua", "<?= '<' ?><?! '<' ?>")]);
    assert_eq!(site.get("page.plua").text(), "&lt;<");
}

#[test]
fn exit_ends_the_page_from_everywhere_and_nothing_catches_it() {
    for code in [
        "exit()",
        "pcall(exit)",
        "pcall(pcall, exit)",
        "xpcall(exit, function() echo('caught') end)",
        "while true do pcall(exit) end",
        "coroutine.resume(coroutine.create(exit))",
        "coroutine.wrap(function() pcall(exit) echo('on') end)()",
        "pcall(function() pcall(exit) echo('on') end)",
        "table.sort({3,2,1}, function(a, b) exit() end)",
        "load(function() exit() end)",
        "os.exit(3)",
        "include('exit.plua')",
    ] {
        let site = Site::new("", &[("page.plua", &format!("A<? {code} ?>B")), ("exit.plua", "I<? exit() ?>J")]);
        for _ in 0..3 {
            let seen = site.get("page.plua");
            assert_eq!(seen.text(), if code.starts_with("include") { "AI" } else { "A" }, "{code}");
            assert_eq!((seen.status, seen.log.len()), (200, 0), "{code} {:?}", seen.log);
        }
    }
}

#[test]
fn globals_persist_in_a_state_and_counts_go_on() {
    let site = Site::new("pLuaStates 1\npLuaRuns 3", &[("page.plua", "<? x = (x or 0) + 1 ?><?= x ?>")]);
    let seen: Vec<_> = (0..5).map(|_| site.get("page.plua").text()).collect();
    assert_eq!(seen, ["1", "2", "3", "1", "2"]);
}

#[test]
fn a_function_with_text_kept_in_a_global_writes_into_the_request_that_calls_it() {
    let pages = [("define.plua", "<? function box(t) ?>[<?= t ?>]<? end ?>made"), ("use.plua", "<? box('now') ?>")];
    let site = Site::new("pLuaStates 1", &pages);
    assert_eq!(site.get("define.plua").text(), "made");
    assert_eq!(site.get("use.plua").text(), "[now]");
    assert_eq!(site.get("use.plua").text(), "[now]");
}

#[test]
fn a_changed_page_is_served_changed() {
    let site = Site::just_written("", &[("page.plua", "one")]);
    assert_eq!(site.get("page.plua").text(), "one");
    site.write("page.plua", "two");
    assert_eq!(site.get("page.plua").text(), "two");
    std::fs::remove_file(site.path("page.plua")).unwrap();
    assert_eq!(site.get("page.plua").status, 404);
}

#[test]
fn more_pages_than_pluafiles_still_work() {
    let site = Site::new("pLuaFiles 2", &[]);
    for name in 0..5 {
        site.write(&format!("{name}.plua"), format!("page {name}"));
    }
    for round in 0..3 {
        for name in 0..5 {
            assert_eq!(site.get(&format!("{name}.plua")).text(), format!("page {name}"), "round {round}");
        }
    }
}

#[cfg(feature = "luajit")]
#[test]
fn a_page_that_is_asked_for_again_and_again_stays_loaded_while_others_come_and_go() {
    let site = Site::new("pLuaFiles 32", &[("often.plua", "<? function f() end ?><?= f ?>")]);
    let first = site.get("often.plua").text();
    for name in 0..50 {
        site.write(&format!("{name}.plua"), "once");
        assert_eq!(site.get(&format!("{name}.plua")).text(), "once");
        assert_eq!(site.get("often.plua").text(), first, "its function is made once, when it is loaded");
    }
}

#[test]
fn status_and_headers_can_be_set_after_output() {
    let seen = page(
        "text<? setReturnCode(404) header('X-One', 1) header('x-one', 'two') header('X-More', 'a') \
         header('X-More', 'b', true) header('X-Gone', 'a') header('X-Gone', nil) setContentType('text/plain') \
         header('content-type', 'text/css') setReturnCode(0) ?>",
    );
    assert_eq!((seen.status, seen.content_type.as_str(), seen.text().as_str()), (404, "text/css", "text"));
    let expected = [("x-one", "two"), ("X-More", "a"), ("X-More", "b")].map(|(n, v)| (n.to_string(), v.to_string()));
    assert_eq!(seen.headers, expected);
}

#[test]
fn what_cannot_be_a_header_or_a_status_is_a_lua_error_at_its_line() {
    for (call, message) in [
        (
            "header('X', 'a\\nb')",
            "bad argument #2 to 'header' (a header's value holds no line break and no other control character)",
        ),
        (
            "header('X', 'a\\0b')",
            "bad argument #2 to 'header' (a header's value holds no line break and no other control character)",
        ),
        ("header('X\\r\\nY', 'a')", "bad argument #1 to 'header' (a header's name is letters, digits and hyphens)"),
        ("header()", "bad argument #1 to 'header' (string expected, got no value)"),
        ("header('X', {})", "bad argument #2 to 'header' (string expected, got table)"),
        (
            "header('Transfer-Encoding', 'chunked')",
            "bad argument #1 to 'header' (Transfer-Encoding belongs to the server)",
        ),
        (
            "setContentType('a\\rb')",
            "bad argument #1 to 'setContentType' (a header's value holds no line break and no other control character)",
        ),
        (
            "header('X', 'a\\1b')",
            "bad argument #2 to 'header' (a header's value holds no line break and no other control character)",
        ),
        ("header('connection', 'close')", "bad argument #1 to 'header' (Connection belongs to the server)"),
        ("header('Trailer', 'X')", "bad argument #1 to 'header' (Trailer belongs to the server)"),
        ("header('Upgrade', nil)", "bad argument #1 to 'header' (Upgrade belongs to the server)"),
        ("header('X', ('x'):rep(64001))", "bad argument #2 to 'header' (no more than 64000 bytes expected)"),
        (
            "for i = 1, 9 do header('X' .. i, ('x'):rep(8000)) end",
            "the headers of a response take no more than 64000 bytes together",
        ),
        (
            "for i = 1, 9 do setCookie('c' .. i, ('x'):rep(8000)) end",
            "the headers of a response take no more than 64000 bytes together",
        ),
        (
            "setReturnCode(100)",
            "bad argument #1 to 'setReturnCode' (a status is a whole number from 200 to 599, or 0 to leave it)",
        ),
        ("setContentType(5)", "bad argument #1 to 'setContentType' (string expected, got number)"),
        ("setReturnCode('x')", "bad argument #1 to 'setReturnCode' (number expected, got string)"),
        ("httpError(-1)", "bad argument #1 to 'httpError' (the server has pages for statuses from 300 to 599)"),
        ("httpError()", "bad argument #1 to 'httpError' (number expected, got no value)"),
        ("showErrors(1)", "bad argument #1 to 'showErrors' (boolean expected, got number)"),
        ("sleep('long')", "bad argument #1 to 'sleep' (number expected, got string)"),
    ] {
        let seen = page(&format!("a\n<? local ok, err = pcall(function()\n{call} end) echo(err) ?>"));
        let text = seen.text();
        assert!(text.ends_with(&format!("page.plua:3: {message}")), "{call}: {text}");
    }
    assert_eq!(page("<? setReturnCode('503') ?>x").status, 503);
}

#[test]
fn a_header_that_is_set_again_takes_no_more_room_and_has_no_blanks_around_its_value() {
    let seen = page("<? for i = 1, 9 do header('X', i .. ('x'):rep(8000)) end header('x', ' \\t a b ') ?>");
    assert_eq!(seen.headers, [("x".to_string(), "a b".to_string())], "{:?}", seen.log);
}

#[test]
fn http_error_leaves_the_response_to_the_server_and_the_page_goes_on() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            ("page.plua", "out<? httpError(404) httpError(302) header('Location', '/else') reached = true ?>"),
            ("after.plua", "<?= reached ?>"),
        ],
    );
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.text().as_str()), (302, ""));
    assert_eq!(seen.headers, [("Location".to_string(), "/else".to_string())]);
    assert_eq!(site.get("after.plua").text(), "true");
}

#[test]
fn flush_sends_what_is_there_and_fixes_the_head() {
    let seen = page("one<? flush() setReturnCode(500) header('X', 'y') ?>two<? flush() flush() ?>three");
    assert_eq!((seen.status, seen.text().as_str(), seen.flushes), (200, "onetwothree", 3));
    assert_eq!(seen.headers, []);
}

#[test]
fn the_query_is_a_table_with_arrays_for_repeated_names() {
    let site = Site::new(
        "",
        &[(
            "page.plua",
            "<? for k, v in pairs(parseGet()) do if type(v) == 'table' then v = '{' .. table.concat(v, ',') .. '}' end \
         lines = lines or {} lines[#lines + 1] = k .. '=' .. v end table.sort(lines) ?><?= table.concat(lines, ';') ?>",
        )],
    );
    assert_eq!(site.get("page.plua?b=2&a=1&b=3&c&a+b=%00x&b=").text(), "a b=\0x;a=1;b={2,3,};c=");
    assert_eq!(page("<?= next(parseGet()) == nil ?>").text(), "true");
    let fields: String = (0..5000).map(|n| format!("f{n}={n}&r=x&")).collect();
    let site = Site::new("", &[("n.plua", "<? local g = parseGet() ?><?= g.f4999, ' ', #g.r ?>")]);
    assert_eq!(site.get(&format!("n.plua?{fields}")).text(), "4999 5000");
}

#[test]
fn the_environment_holds_headers_variables_and_the_documented_keys() {
    let names = [
        ("Host", "test"),
        ("host", "test"),
        ("X-Twice", "1, 2"),
        ("REQUEST_METHOD", "GET"),
        ("Request-Method", "GET"),
        ("URI", "/page.plua"),
        ("Path-Info", ""),
        ("ServerName", "test"),
        ("Request-Time", "1795210914560700"),
        ("Clock-Offset", "0"),
        ("pLua-Version", "53"),
        ("pLua-States", "50"),
        ("pLua-Runs", "1000"),
        ("pLua-Files", "50"),
        ("pLua-Memory-Limit", "0"),
        ("pLua-Sessions", "1"),
        ("pLua-Disabled-Libraries", ""),
    ];
    for (name, value) in names {
        assert_eq!(page(&format!("<?= getEnv()['{name}'] ?>")).text(), value, "{name}");
    }
    let folder = page("<? local e = getEnv() echo(e.Filename:sub(#e['Working-Directory'] + 1)) ?>");
    assert_eq!(folder.text(), "/page.plua");
    for name in [
        "Unparsed-URI",
        "Request",
        "Remote-Address",
        "Server-Banner",
        "Server-Version",
        "Lua-Version",
        "pLua-Handle",
        "Lua-State",
    ] {
        assert_eq!(page(&format!("<?= type(getEnv()['{name}']) ?>")).text(), "string", "{name}");
    }
    assert_eq!(page("<?= type(getEnv()['pLua-UID']), tostring(getEnv().nothing) ?>").text(), "numbernil");
}

#[test]
fn request_headers_are_those_the_visitor_sent_and_nothing_else() {
    let page = "<? local h, names = plua.requestHeaders(), {} for name, value in pairs(h) do names[#names + 1] = name .. '=' .. value end \
        table.sort(names) ?><?= table.concat(names, '|'), ' ', h.host, h['x-TWICE'], ' ', h.none, ' ', h ~= plua.requestHeaders() ?>";
    for mode in ["", "pLuaGlobals request", "pLuaSandbox On"] {
        let site = Site::new(mode, &[("page.plua", page)]);
        let seen = site.get_with("page.plua", &[("request-method", "FORGED"), ("URI", "forged"), ("accept", "\u{e4}")]);
        let listed = "Accept=\u{e4}|Host=test|Request-Method=FORGED|Uri=forged|X-Twice=1, 2";
        assert_eq!(seen.text(), format!("{listed} test1, 2 nil true"), "{mode}: {:?}", seen.log);
    }
    let forged = "<? local e = getEnv() ?><?= e['Request-Method'], ' ', e.URI ?>";
    let seen =
        Site::new("", &[("page.plua", forged)]).get_with("page.plua", &[("request-method", "FORGED"), ("URI", "x")]);
    assert_eq!(seen.text(), "GET /page.plua");
}

#[test]
fn clocks_tell_seconds_and_nanoseconds() {
    assert_eq!(
        page("<? local t = compileTime() ?><?= t.seconds, ' ', t.nanoseconds ?>").text(),
        "1795210914 560700000"
    );
    assert_eq!(
        page("<? local c = clock() ?><?= math.abs(c.seconds - os.time()) < 3, c.nanoseconds < 1e9 ?>").text(),
        "truetrue"
    );
}

#[test]
fn sleep_waits_for_fractions_of_a_second_and_one_when_negative() {
    let started = std::time::Instant::now();
    assert_eq!(page("a<? sleep(0.2) ?>b").text(), "ab");
    assert!(started.elapsed().as_millis() >= 200);
    let started = std::time::Instant::now();
    assert_eq!(page("a<? sleep(-5) ?>b").text(), "ab");
    assert!((1000..4000).contains(&started.elapsed().as_millis()));
}

#[test]
fn raw_files_are_plain_lua_and_everything_works_in_coroutines() {
    let site = Site::new(
        "pLuaRaw .lua",
        &[
            ("raw.lua", "#!/usr/bin/lua\necho('<? not a tag ?>')\nreturn"),
            ("only.lua", "#!/usr/bin/lua"),
            ("fails.lua", "#!/usr/bin/lua\nerror('here')"),
            (
                "co.plua",
                "<? coroutine.wrap(function() echo(type(parseGet()), type(getEnv())) header('X', 'y') include('raw.lua') end)() ?>",
            ),
        ],
    );
    assert_eq!(site.get("raw.lua").text(), "<? not a tag ?>");
    assert_eq!((site.get("only.lua").status, site.get("only.lua").text().as_str()), (200, ""));
    assert!(site.get("fails.lua").log[0].contains("fails.lua:2"), "{:?}", site.get("fails.lua").log);
    assert_eq!(site.get("co.plua").text(), "tabletable<? not a tag ?>");
}

#[test]
fn a_page_over_64_mb_is_refused_with_a_sentence() {
    let site = Site::new("", &[("page.plua", "")]);
    std::fs::File::options().write(true).open(site.path("page.plua")).unwrap().set_len((64 << 20) + 1).unwrap();
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].contains("67108865 bytes are more than the 67108864 a page may have"), "{:?}", seen.log);
}

#[test]
fn pages_run_in_their_own_folder() {
    let first = "<?= io.open('note'):read('*a') ?>";
    let files = [
        ("a/page.plua", first),
        ("a/note", "of a"),
        ("a/code.lua", "return 'of a'"),
        ("b/page.plua", ""),
        ("b/note", "of b"),
        ("b/code.lua", "return 'of b'"),
    ];
    let calls = [
        "echo(io.open('note'):read('*a'))",
        "echo(io.lines('note')())",
        "echo(io.input('note'):read('*a'))",
        "io.output('made') io.close(io.output()) echo(file.exists('made') and 'of b')",
        "echo(io.popen('cat note'):read('*a'))",
        "os.execute('cp note copy') echo(file.exists('copy') and 'of b')",
        "os.remove('copy') echo(file.exists('copy') or 'of b')",
        "os.rename('made', 'named') echo(file.exists('named') and 'of b')",
        "echo(loadfile('code.lua')())",
        "echo(dofile('code.lua'))",
        "echo((require('code')))",
        "echo(package.searchpath and not package.searchpath('named', './?') or 'of b')",
        "echo(io.open(require('lfs').currentdir() .. '/note'):read('*a'))",
        // The state has code in C now, which may go where it likes whenever it is called.
        "require('lfs').chdir('/') echo('of b')",
        "echo(io.open(require('lfs').currentdir() .. '/note'):read('*a'))",
    ];
    for configuration in ["pLuaStates 1", "pLuaStates 1\npLuaTimeout 20"] {
        let site = Site::new(configuration, &files);
        for code in calls {
            site.write("b/page.plua", format!("<? package.loaded.code = nil {code} ?>"));
            // The one thread of both goes there first.
            assert_eq!(site.get("a/page.plua").text(), "of a");
            assert_eq!(site.get("b/page.plua").text(), "of b", "{configuration}: {code}");
        }
    }
}

#[test]
#[cfg(feature = "luajit")]
fn what_is_called_by_ffi_finds_itself_in_the_pages_folder_too() {
    let declare = "<? local ffi = require('ffi') ffi.cdef('char *getcwd(char *, size_t)') \
                   function here() return ffi.string(ffi.C.getcwd(ffi.new('char[4096]'), 4096)):match('[^/]*$') end ?>";
    for globals in ["persistent", "request"] {
        let configuration = format!("pLuaStates 1\npLuaGlobals {globals}");
        let here = format!("{}<?= here() ?>", if globals == "persistent" { "" } else { declare });
        let pages = [("a/page.plua", "<?= io.open('page.plua') and 'a' ?>"), ("b/declare.plua", declare)];
        let site = Site::new(&configuration, &pages);
        assert_eq!(site.get("a/page.plua").text(), "a");
        assert_eq!(site.get("b/declare.plua").status, 200);
        for folder in ["b", "c"] {
            site.write(&format!("{folder}/page.plua"), &here);
            assert_eq!(site.get(&format!("{folder}/page.plua")).text(), folder);
        }
    }
}

#[test]
fn a_raw_extension_is_compared_exactly_and_only_at_the_end_of_the_name() {
    let pages = [
        ("page.lua", "echo('raw')"),
        ("page.LUA", "text"),
        ("page.lua.plua", "text"),
        ("folder.lua/page.plua", "text"),
    ];
    let site = Site::new("pLuaRaw .lua", &pages);
    for (name, shown) in pages.map(|(name, _)| (name, if name == "page.lua" { "raw" } else { "text" })) {
        assert_eq!(site.get(name).text(), shown, "{name}");
    }
}

#[test]
fn compiled_lua_is_no_page() {
    let site = Site::new("pLuaRaw .lua", &[]);
    let lua = mlua::Lua::new();
    site.write("page.lua", lua.load("echo('ran')").into_function().unwrap().dump(true));
    let seen = site.get("page.lua");
    assert!(seen.status == 500 && seen.log[0].starts_with("Compiler error: "), "{seen:?}");
}

#[test]
fn numbers_have_fourteen_digits_and_whole_ones_all_up_to_two_to_the_53() {
    for (number, shown) in [
        ("1e15 + 0.0", "1000000000000000"),
        ("1e100", "1e+100"),
        ("2.0 ^ 53", "9007199254740992"),
        ("2.0 ^ 54", "1.8014398509482e+16"),
        ("123456789012345.5", "1.2345678901235e+14"),
        ("2147483648", "2147483648"),
        ("1 / 0", "inf"),
        ("-1", "-1"),
    ] {
        assert_eq!(page(&format!("<?= {number} ?>")).text(), shown, "{number}");
    }
}

#[test]
fn what_is_written_to_the_standard_output_goes_into_the_response() {
    for (code, shown) in [
        ("a<? io.write('b', 1, 'c') io.stdout:write('d') io.stdout:flush() io.flush() ?>e", "ab1cde"),
        ("<?= capture(function() io.write('x') io.stdout:write('y') end):upper() ?>", "XY"),
        ("<? io.output():write('a') io.write() io.stdout:write() ?>b", "ab"),
        (
            "<? io.output('file') io.write('hidden') io.stdout:write('a') io.output():write('more') io.close() \
          io.output(io.stdout) io.write('b') echo(io.open('file'):read('*a')) ?>",
            "abhiddenmore",
        ),
        ("<? ob_start() io.write('a') local s = ob_get_clean() ?>b<?= s ?>", "ba"),
        ("<? coroutine.wrap(function() io.write('a\0\\255') end)() ?>", "a\0\u{fffd}"),
    ] {
        let site = Site::new("pLuaStates 1", &[("page.plua", code)]);
        for _ in 0..2 {
            let seen = site.get("page.plua");
            assert_eq!(seen.text(), shown, "{:?}", seen.log);
        }
    }
    assert_eq!(Site::new("pLuaSandbox On", &[("page.plua", "<? io.write('a', 1) ?>b")]).get("page.plua").text(), "a1b");
}

#[test]
fn what_is_written_gives_what_luas_own_gives_and_takes_no_more() {
    let own = "local function shown(...) return select('#', ...) .. type((...)) end \
        local f = io.tmpfile() io.output(f) local of_default, of_method = shown(io.write('x')), shown(f:write('x')) io.output(io.stdout)";
    let page_text = format!("<? {own} echo(of_default == shown(io.write()), of_method == shown(io.stdout:write())) ?>");
    assert_eq!(page(&page_text).text(), "truetrue");
    for (call, message) in [
        ("io.write('a', {})", "bad argument #2 to 'write' (string expected, got table)"),
        ("io.stdout:write(nil)", "bad argument #1 to 'write' (string expected, got nil)"),
        ("io.tmpfile():write(true)", "bad argument #1 to 'write' (string expected, got boolean)"),
    ] {
        let seen = page(&format!("\n<? {call} ?>"));
        assert!(seen.log[0].contains(message) && seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
    }
}

#[test]
fn a_location_does_not_choose_a_status() {
    let seen = page("<? header('Location', '/there') ?>body");
    assert_eq!((seen.status, seen.text().as_str()), (200, "body"));
    assert_eq!(seen.headers, [("Location".to_string(), "/there".to_string())]);
}

#[test]
fn a_length_that_the_page_gives_must_be_true() {
    let seen = page("<? header('Content-Length', 4) ?>body");
    assert_eq!((seen.status, seen.text().as_str(), seen.headers.len()), (200, "body", 0));
    let seen = page("<? header('Content-Length', 1) ?>body");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].contains("the page gives a Content-Length of 1, but puts out 4 bytes"), "{:?}", seen.log);
}

#[test]
fn each_call_of_get_env_gives_a_table_of_its_own() {
    assert_eq!(
        page("<? local e = getEnv() e.URI = 'mine' e.x = 1 ?><?= getEnv().URI, getEnv().x ?>").text(),
        "/page.plua".to_owned() + "nil"
    );
}

#[test]
fn names_of_a_query_are_text_with_their_case_and_a_semicolon_separates_nothing() {
    let site = Site::new("", &[("page.plua", "<? local g = parseGet() echo(g['1'], g[1], g.a, g.A, g.b) ?>")]);
    assert_eq!(site.get("page.plua?1=one&a=x;b=y&A=z").text(), "onenilx;b=yznil");
}

#[cfg(feature = "luajit")]
#[test]
fn the_loops_of_many_pages_stay_compiled() {
    // `kept` keeps the functions, without which LuaJIT forgets their code.
    let source = "<? local traceinfo, kept, compiled = require('jit.util').traceinfo, {}, 0 \
        for i = 1, 1500 do \
            kept[i] = loadstring('local sum = 0 for i = 1, 200 do sum = sum + i end return sum') \
            kept[i]() \
        end \
        for i = 1, 8000 do if traceinfo(i) then compiled = compiled + 1 end end \
        echo(compiled >= 1500 and 'all' or compiled) ?>";
    assert_eq!(page(source).text(), "all");
}

#[test]
fn whatever_a_page_changes_is_set_right_for_the_next_one_after_many_that_change_nothing() {
    let here = "<? local file = io.open('here') ?><?= file and file:read('*a') ?>";
    for (changing, showing, shown) in [
        ("collectgarbage('setpause', 1000)", "<?= collectgarbage('setpause', 200) ?>", "200"),
        (
            "math.randomseed(42) local _ a = math.random(1e9) b = math.random(1e9)",
            "<?= math.random(1e9) == b ?>",
            "false",
        ),
        ("debug.sethook(function() hits = hits + 1 end, 'l')", "<? hits = 0\nlocal _ = 1 ?><?= hits ?>", "0"),
        ("echo('a') exit()", "<?= pcall(error, 'b') ?>", "falseb"),
        ("pcall(exit)", "<?= pcall(error, 'b') ?>", "falseb"),
        ("echo('a') error('b')", "b", "b"),
        ("coroutine.yield()", "b", "b"),
        ("ob_start() echo('a')", "<?= ob_get_level() ?>", "0"),
        ("echo(('a'):rep(3e6))", "b", "b"),
        ("echo('a') flush()", "b", "b"),
        ("echo('a') flush() echo('b')", "c", "c"),
        ("layout('layout.plua')", "b", "b"),
        ("block('a', 'b')", "<?= content('a', 'none') ?>", "none"),
        ("include('here')", "<?= include_once('here') ?>", "heretrue"),
        ("pcall(capture, error)", "<?= ob_get_level() ?>", "0"),
        ("local _ = io.open('here')", here, "here"),
        ("local _ = io.tmpfile():write('a')", "b", "b"),
        ("io.output(io.tmpfile()) io.write('a')", "<?= io.output() == io.stdout ?>", "true"),
        ("if setfenv then setfenv(0, {}) end", "<?= type(print) ?>", "function"),
        ("__kept = coroutine.wrap(function() echo('a') coroutine.yield() end) __kept()", "b", "b"),
    ] {
        let site = Site::new(
            "pLuaStates 1",
            &[
                ("plain.plua", "plain <?= 1 ?>"),
                ("changing.plua", &format!("<? {changing} ?>")),
                ("elsewhere/showing.plua", showing),
                ("layout.plua", "<l><?= content() ?></l>"),
                ("here", "another"),
                ("elsewhere/here", "here"),
            ],
        );
        let plain = || (0..4).for_each(|_| assert_eq!(site.get("plain.plua").text(), "plain 1", "{changing}"));
        plain();
        site.get("changing.plua");
        assert_eq!(site.get("elsewhere/showing.plua").text(), shown, "{changing}");
        plain();
        site.get("changing.plua");
        plain();
        assert_eq!(site.get("elsewhere/showing.plua").text(), shown, "{changing}");
    }
}

#[test]
fn a_page_is_the_same_by_any_way_it_is_run() {
    let page =
        "<?= 'a' ?>\n<? local function f(n) return n < 2 and n or f(n - 1) + f(n - 2) end ?><?= f(9), 1, nil ?>\n\n";
    let long = format!("{}{page}", "text ".repeat(20_000));
    for (page, length) in [(page, 8), (&long, 100_008)] {
        let site = Site::new(
            "pLuaStates 1",
            &[
                ("page.plua", page),
                ("empty.plua", ""),
                ("other.plua", "<?= ('x'):rep(200) ?>"),
                ("whole.plua", "<? ob_start() ?>"),
            ],
        );
        let first = site.get("page.plua").text();
        assert_eq!(first.len(), length, "{first}");
        for between in ["empty.plua", "other.plua", "whole.plua", "page.plua", "empty.plua", "page.plua", "other.plua"]
        {
            site.get(between);
            assert_eq!(site.get("page.plua").text(), first, "after {between}");
            assert_eq!(site.get("empty.plua").text(), "");
            assert_eq!(site.get("other.plua").text().len(), 200);
        }
    }
}

#[test]
fn a_page_cannot_end_the_function_that_it_is() {
    for code in [
        "end",
        "end, function()",
        "end or function()",
        "end function other()",
        "end) (function()",
        "end return function()",
    ] {
        let seen = page(&format!("a<? {code} ?>b"));
        assert_eq!(seen.status, 500, "{code}");
        assert!(seen.text().contains("expected near"), "{code}: {}", seen.text());
    }
}

#[test]
fn code_at_the_beginning_of_a_page_goes_on_with_nothing() {
    for code in ["- 1", "and f()", "or 1", "..'a'", ", a = 1, 2", "== 1"] {
        let seen = page(&format!("<? {code} ?>b"));
        assert!(seen.status == 500 && seen.text().contains("unexpected symbol near"), "{code}: {}", seen.text());
    }
    assert_eq!(page("<? ; echo('a') ?>b").text(), "ab");
}

#[test]
fn a_page_runs_in_no_coroutine() {
    assert_eq!(page("<?= pcall(coroutine.yield) ?>").text().split(' ').next(), Some("falseattempt"));
    let running = if cfg!(feature = "lua54") { "thread true" } else { "nil nil" };
    assert_eq!(page("<? local t, main = coroutine.running() ?><?= type(t), ' ', main ?>").text(), running);
}

#[test]
fn a_page_that_asks_for_its_arguments_is_told() {
    assert_eq!(page("<?= type((...)), (...) == __plua ?>").text(), "tabletrue");
}
