//! Limits and left-out libraries in their plain cases.

mod site;

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use site::wait::until;
use site::{Sent, Site, at_once};

#[test]
fn a_page_over_its_time_limit_is_stopped_and_the_next_one_works() {
    let codes = [
        "while true do end",
        "for i = 1, math.huge do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error) end",
        "repeat until false",
        "while true do coroutine.wrap(function() local x = 1 end)() end",
        "local function f() return f() end f()",
        "while true do include('part.plua') end",
        "sleep(30)",
        "coroutine.wrap(function() while true do end end)()",
        "pcall(debug.sethook, function() while true do end end, 'l') while true do end",
        "xpcall(function() while true do end end, function() while true do end end)",
    ];
    at_once(&codes, |code| {
        let site = Site::new(
            "pLuaStates 1\npLuaTimeout 0.3",
            &[("page.plua", &format!("half\n<? {code} ?>")), ("part.plua", "x"), ("next.plua", "fine")],
        );
        let started = Instant::now();
        let seen = site.get("page.plua");
        assert!(started.elapsed() < Duration::from_secs(10), "{code}");
        assert_eq!(seen.status, 500, "{code}");
        assert!(seen.log[0].starts_with("Time limit: The script took too long"), "{code}: {:?}", seen.log);
        assert!(seen.log[0].contains("page.plua:2") || seen.log[0].contains("part.plua:1"), "{code}: {:?}", seen.log);
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
    });
}

#[test]
fn a_page_that_catches_its_time_limit_as_the_last_it_does_has_failed_too() {
    for code in ["load(function() while true do end end)", "pcall(function() while true do end end)"] {
        let site = Site::new("pLuaTimeout 0.2\npLuaError 0", &[("page.plua", &format!("half<? {code} ?>"))]);
        let seen = site.get("page.plua");
        assert_eq!((seen.status, seen.text().contains("half")), (500, false), "{code}");
        assert!(seen.log[0].starts_with("Time limit: The script took too long"), "{code}: {:?}", seen.log);
    }
}

/// What a reader gives is put together before Lua has it; a page cannot tell.
#[test]
fn load_takes_readers_as_lua_does() {
    let page = "<? local function reader(...)
            local pieces, at = { ... }, 0
            return function() at = at + 1 return pieces[at] end
        end
        local function shown(...) return type((...)) .. tostring((select(2, ...))) end ?>
        <?= load(reader('ret', 'urn ', '6 * 7'))() ?> <?= load(reader('return 1', '', '0'))() ?>
        <?= shown(load(reader({}))) ?> <?= shown(load(reader('x = = 1'))) ?>
        <?= shown(load(function() error('oh', 0) end)) ?> <?= shown(load(reader('error()'), '=named')) ?>
        <?= shown(pcall(load(reader('error(\"x\")'), '=named'))) ?> <?= load(reader())() == nil ?>";
    let expected = "42 1 nilreader function must return a string nil[string \"=(load)\"]:1: unexpected symbol near '=' \
                    niloh functionnil booleannamed:1: x true";
    for configuration in ["", "pLuaSandbox On", "pLuaGlobals request"] {
        let text = Site::new(configuration, &[("page.plua", page)]).get("page.plua").text();
        let text = text.replace("(load):1:", "[string \"=(load)\"]:1:");
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{configuration}");
    }
}

#[test]
fn a_pattern_that_would_outlast_the_time_limit_is_stopped_by_it_alone() {
    let slow = "string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40))";
    // Whichever comes first.
    let (steps, time) = (" steps (pLuaPatternLimit)", " would take longer than the page may (pLuaTimeout)");
    for (code, limits, logs) in [
        (slow.to_string(), "", [steps, time]),
        (slow.replace("find", "match"), "", [steps, time]),
        (slow.replace("find", "gsub").replace("a'))", "a'), '')"), "", [steps, time]),
        (format!("pcall(function() {slow} end) while true do end"), "", ["The script took too long"; 2]),
        (format!("while true do pcall(function() {slow} end) end"), "", ["The script took too long"; 2]),
        // The directive's own bound leaves the page more than its time.
        (slow.to_string(), "\npLuaPatternLimit 1000000000", [time; 2]),
    ] {
        let site = Site::new(
            &format!("pLuaStates 1\npLuaTimeout 0.5{limits}"),
            &[("page.plua", &format!("a\n<?lua {code} ?>")), ("next.plua", "<?= ('a  b'):gsub(' +', '-') ?>")],
        );
        let started = Instant::now();
        let seen = site.get("page.plua");
        assert!(started.elapsed() < Duration::from_secs(4), "{code}: {:?}", started.elapsed());
        assert!(seen.status == 500 && logs.iter().any(|log| seen.log[0].contains(log)), "{code}: {:?}", seen.log);
        assert!(seen.log[0].contains("page.plua:2"), "{code}: {:?}", seen.log);
        assert_eq!(site.get("next.plua").text(), "a-b1");
    }
    // Said explicitly, there is none: this one ends by itself, after some million steps.
    let long = "<?= string.find(('a'):rep(300), '.-.-b') ?>";
    let answer = |limits| Site::new(limits, &[("page.plua", long)]).get("page.plua").text();
    assert_eq!(answer("pLuaTimeout 30\npLuaPatternLimit 0"), "nil");
    assert_eq!(answer("pLuaTimeout 30"), "nil");
    assert!(answer("pLuaTimeout 30\npLuaPatternLimit 1000000").contains("takes more than 1000000 steps"));
}

#[test]
fn the_log_says_by_how_much_a_page_overran() {
    // PUC Lua is compiled without optimization in a test.
    let length = if cfg!(feature = "luajit") { 350 } else { 280 };
    let slow = format!("string.find(('a'):rep({length}), '.-.-.-b')");
    let site = Site::new(
        "pLuaTimeout 0.1\npLuaPatternLimit 0",
        &[("page.plua", &format!("<? {slow} while true do end ?>")), ("loop.plua", "<? while true do end ?>")],
    );
    let seen = site.get("page.plua");
    let (limit, over) = seen.log[0].split_once(" It ended ").unwrap_or_default();
    assert_eq!(limit, "Time limit: The script took too long to execute (timed out)!", "{:?}", seen.log);
    let seconds: f64 = over.split_once(" s after its time was over.").unwrap().0.parse().unwrap();
    assert!((0.5..60.0).contains(&seconds), "{seconds}");
    assert!(!site.get("loop.plua").log[0].contains("It ended"));
}

#[test]
fn a_folder_s_shorter_time_limit_is_kept_after_and_beside_pages_of_the_server_s_longer_one() {
    let site = Site::new(
        "pLuaStates 2\npLuaTimeout 3600",
        &[("fine.plua", "fine"), ("slow.plua", "<? sleep(1) ?>slow"), ("loop.plua", "<? while true do end ?>")],
    );
    thread::scope(|scope| {
        let slow = scope.spawn(|| site.get("slow.plua"));
        for _ in 0..2 {
            assert_eq!(site.get("fine.plua").text(), "fine");
            let started = Instant::now();
            let seen = site.send("loop.plua", Sent { directory: "pLuaTimeout 0.3", ..Sent::default() });
            assert!(started.elapsed() < Duration::from_secs(10));
            assert_eq!(seen.status, 500);
        }
        assert_eq!(slow.join().unwrap().text(), "slow");
    });
}

#[test]
fn a_page_in_time_is_not_disturbed() {
    let site =
        Site::new("pLuaTimeout 20", &[("page.plua", "<? local n = 0 for i = 1, 3e6 do n = n + 1 end ?><?= n ?>")]);
    assert_eq!(site.get("page.plua").text(), "3000000");
}

#[test]
fn a_page_over_its_memory_limit_ends_and_the_next_one_works() {
    for code in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "local s = ('x'):rep(1e9)",
        "while true do echo('0123456789') end",
        "g = {} for i = 1, 1e9 do g[i] = 'key' .. i end",
    ] {
        let site = Site::new(
            "pLuaStates 1\npLuaMemoryLimit 8000",
            &[("page.plua", &format!("\n<? {code} ?>")), ("next.plua", "fine")],
        );
        let seen = site.get("page.plua");
        assert_eq!(seen.status, 500, "{code}");
        assert!(seen.log[0].starts_with("Memory limit: Memory limit reached!"), "{code}: {:?}", seen.log);
        assert!(seen.log[0].contains("/page.plua"), "{code}: {:?}", seen.log);
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
    }
}

#[test]
fn each_state_of_a_host_allows_its_page_as_much_memory_as_the_first() {
    let holding = |kilobytes: u32| {
        format!("<? local t, text = {{}}, ('x'):rep(1020) for i = 1, {kilobytes} do t[i] = text .. i end ?>fine")
    };
    let site = Site::new(
        "pLuaStates 1\npLuaRuns 1\npLuaMemoryLimit 2000",
        &[("less.plua", &holding(1700)), ("more.plua", &holding(2000))],
    );
    for _ in 0..3 {
        assert_eq!(site.get("less.plua").text(), "fine");
        assert_eq!(site.get("more.plua").status, 500);
    }
}

#[test]
fn memory_kept_in_globals_does_not_fail_later_pages() {
    let site = Site::new(
        "pLuaStates 1\npLuaMemoryLimit 8000",
        &[
            ("page.plua", "<? pcall(function() g = {} for i = 1, 1e9 do g[i] = 'key' .. i end end) ?>"),
            ("next.plua", "<? local s = ('x'):rep(1e6) ?>fine"),
        ],
    );
    site.get("page.plua");
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn ignored_libraries_are_absent_and_others_present() {
    let site = Site::new(
        "pLuaIgnoreLibrary os,io ffi",
        &[
            (
                "page.plua",
                "<?= type(os), type(io), type(string), (pcall(require, 'os')), (pcall(require, 'ffi')), (pcall(require, 'io')) ?>",
            ),
            (
                "code.plua",
                "<? local f = load('return 1 + 1') echo(f(), load('x = ') == nil, load(string.dump(f)) == nil) ?>",
            ),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "nilniltablefalsefalsefalse");
    if cfg!(not(feature = "lua51")) {
        assert_eq!(site.get("code.plua").text(), "2truetrue");
    }
    let site = Site::new(
        "pLuaIgnoreLibrary package string",
        &[("page.plua", "<?= type(require), type(package), type(string.rep), type(string) ?>")],
    );
    assert_eq!(site.get("page.plua").text(), "nilnilniltable");
    let site = Site::new("", &[("page.plua", "<?= type(os.time), type(io.open), type(debug.traceback) ?>")]);
    assert_eq!(site.get("page.plua").text(), "functionfunctionfunction");
}

#[test]
fn a_request_that_finds_no_free_state_waits_in_turn_and_then_gets_503() {
    let slow = "<? io.open('started', 'w'):close() while not io.open('go') do sleep(0.01) end ?>slow";
    let site = Site::new("pLuaStates 1\npLuaStateWait 0.5", &[("slow.plua", slow), ("page.plua", "fine")]);
    site.get("page.plua");
    thread::scope(|scope| {
        let slow = scope.spawn(|| site.get("slow.plua"));
        until("the slow page has the state", Duration::from_secs(20), || site.path("started").exists());
        let refused = site.get("page.plua");
        assert_eq!(refused.status, 503);
        assert_eq!(refused.headers, [("Retry-After".to_string(), "1".to_string())]);
        assert!(refused.log[0].contains("all 1 states were busy for 0.5 s"), "{:?}", refused.log);
        let patient = scope.spawn(|| site.get("page.plua").text());
        // Time for it to come into the queue, which nobody sees from outside.
        thread::sleep(Duration::from_millis(50));
        site.write("go", "");
        assert_eq!(patient.join().unwrap(), "fine", "a state that comes free is handed on");
        assert_eq!(slow.join().unwrap().text(), "slow");
    });
}

#[test]
fn no_waiting_request_is_forgotten_while_states_come_and_go() {
    // A state that nobody hands on would make all others wait to the end.
    let site = Site::new("pLuaStates 2\npLuaRuns 20\npLuaStateWait 60", &[("page.plua", "fine")]);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..500).for_each(|_| assert_eq!(site.get("page.plua").text(), "fine")));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn with_pluastates_0_each_thread_has_its_own_state() {
    let site = Site::new("pLuaStates 0", &[("page.plua", "<? n = (n or 0) + 1 ?><?= n ?>")]);
    for _ in 0..2 {
        thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(site.get("page.plua").text(), "1");
                assert_eq!(site.get("page.plua").text(), "2");
            });
        });
    }
}

#[test]
fn many_threads_share_few_states_without_a_wrong_byte() {
    let site = Site::new("pLuaStates 3\npLuaRuns 50", &[]);
    for page in 0..20 {
        site.write(&format!("{page}.plua"), format!("<? local q = parseGet().q ?>page {page} q <?= q ?>"));
    }
    thread::scope(|scope| {
        for client in 0..8 {
            let site = &site;
            scope.spawn(move || {
                for turn in 0..400 {
                    let page = (client * 7 + turn) % 20;
                    let seen = site.get(&format!("{page}.plua?q={client}-{turn}"));
                    assert_eq!(seen.text(), format!("page {page} q {client}-{turn}"));
                }
            });
        }
    });
}

#[test]
fn a_finalizer_that_calls_page_functions_does_not_hold_the_page() {
    if cfg!(not(feature = "luajit")) {
        return;
    }
    let site = Site::new(
        "pLuaTimeout 20",
        &[(
            "page.plua",
            "<? local ffi = require('ffi') \
             for i = 1, 3000 do ffi.gc(ffi.new('int[1]'), function() pcall(clock) echo('x') end) end \
             for i = 1, 3000 do getEnv() end ob_start() collectgarbage() collectgarbage() ob_end_clean() ?>",
        )],
    );
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").status, 200);
    }
}

#[test]
fn a_page_keeps_its_place_when_what_runs_before_it_fills_the_cache() {
    let site = Site::new(
        "pLuaFiles 1",
        &[("before.plua", "<? include('other.plua') ?>"), ("other.plua", "o"), ("page.plua", "p")],
    );
    let before = format!("pLuaFiles 1\npLuaPrepend {}", site.path("before.plua").display());
    let site = Site::new(&before, &[("page.plua", "p"), ("other.plua", "o")]).keeping(site);
    for _ in 0..3 {
        assert_eq!(site.get("page.plua").text(), "op");
    }
}

#[test]
fn a_form_of_many_empty_parts_is_refused() {
    let site = Site::new("pLuaFields 100", &[("page.plua", "<? parsePost() ?>fine")]);
    let body = |part: &str| part.repeat(100_000) + "--X--";
    for (part, status) in [("--X\r\n\r\n\r\n", 413), ("--X\r\nX: y\r\n\r\n\r\n", 413), ("--X\r\n", 400)] {
        assert_eq!(site.post("page.plua", "multipart/form-data; boundary=X", body(part)).status, status, "{part:?}");
    }
}

#[test]
fn a_body_larger_than_pluauploadsize_is_not_one_string() {
    let site = Site::new("pLuaUploadSize 1", &[("page.plua", "<?= #getRequestBody() ?>")]);
    assert_eq!(site.post("page.plua", "text/plain", "x".repeat(1024)).text(), "1024");
    assert_eq!(site.post("page.plua", "text/plain", "x".repeat(1025)).status, 413);
}

#[test]
fn a_file_larger_than_the_memory_of_a_page_is_not_read() {
    let site = Site::new(
        "pLuaStates 1\npLuaMemoryLimit 8000",
        &[("page.plua", "<? include('large.plua') ?>after"), ("next.plua", "fine")],
    );
    File::create(site.path("large.plua")).unwrap().set_len(40 << 20).unwrap();
    let expected = format!(
        "{}: 41943040 bytes are more than the 8000 KB of pLuaMemoryLimit; make the file smaller or the limit larger",
        site.path("large.plua").display()
    );
    let seen = site.get("page.plua");
    assert!(seen.text().ends_with("after") && seen.log.concat().contains(&expected), "{:?}", seen.log);
    let seen = site.get("large.plua");
    assert!(seen.status == 500 && seen.log.concat().contains(&expected), "{} {:?}", seen.status, seen.log);
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn coroutines_nest_a_thousand_deep_at_most_and_again_in_the_next_request() {
    let page = "<? local deepest, said = 0
        local function go(depth)
            deepest = depth
            local ok, problem = coroutine.resume(coroutine.create(go), depth + 1)
            said = said or not ok and problem
        end
        go(0) ?><?= deepest >= 100 and deepest <= 1000, ' ', said ?>";
    let site = Site::new("pLuaStates 1\npLuaTimeout 30", &[("page.plua", page)]);
    for _ in 0..2 {
        let text = site.get("page.plua").text();
        // PUC Lua has a bound of its own.
        assert!(text.starts_with("true ") && text.contains("stack overflow"), "{text}");
    }
}

/// PUC Lua runs no hook in a coroutine that a hook's error has left.
#[cfg(feature = "lua54")]
#[test]
fn a_coroutine_that_a_limit_has_stopped_is_not_closed() {
    let closing = "local x <close> = setmetatable({}, { __close = function() while true do end end })";
    for code in [
        format!("local run = coroutine.wrap(function() {closing} while true do end end) pcall(run)"),
        format!(
            "local one = coroutine.create(function() {closing} while true do end end) \
             coroutine.resume(one) coroutine.close(one)"
        ),
    ] {
        let site = Site::new(
            "pLuaStates 1\npLuaTimeout 0.5",
            &[("page.plua", &format!("<? {code} ?>")), ("next.plua", "fine")],
        );
        let started = Instant::now();
        assert_eq!(site.get("page.plua").status, 500, "{code}");
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
        assert!(started.elapsed() < Duration::from_secs(10), "{code}");
    }
}

#[test]
fn over_each_limit_the_log_names_it_with_page_and_line_and_the_next_request_is_served() {
    let deep = "Depth limit: ";
    // Limit, code, what the log says, whether the state is gone.
    for (configuration, code, log, destroyed) in [
        ("pLuaTimeout 0.3", "while true do end", "Time limit: The script took too long", true),
        ("pLuaMemoryLimit 8000", "local t = {} while true do t[#t + 1] = {} end", "Memory limit: ", true),
        ("pLuaOutputLimit 10", "while true do echo('0123456789') end", "Output limit: ", true),
        ("pLuaPatternLimit 1000", "string.find(('a'):rep(500), '.-.-b')", "Pattern limit: ", true),
        ("", "local function f() return (('x'):gsub('x', f)) end f()", deep, true),
        ("", "local function f() coroutine.wrap(f)() end f()", deep, true),
        ("", "include('page.plua')", deep, true),
    ] {
        let site = Site::new(
            &format!("pLuaStates 1\n{configuration}"),
            &[
                ("page.plua", &format!("<? kept = 'kept' ?>half\n<? {code} ?>")),
                ("next.plua", "fine <?= tostring(kept) ?>"),
            ],
        );
        let seen = site.get("page.plua");
        assert_eq!(seen.status, 500, "{code}: {:?}", seen.log);
        let said = seen.log.concat();
        // PUC Lua's calls are gone once an allocation failed.
        let has_line = cfg!(feature = "luajit") || !log.starts_with("Memory");
        assert!(
            said.contains(log) && said.contains(if has_line { "page.plua:2" } else { "page.plua" }),
            "{code}: {said}"
        );
        assert_eq!(site.get("next.plua").text(), if destroyed { "fine nil" } else { "fine kept" }, "{code}");
    }
}

#[test]
fn page_functions_heed_the_memory_limit() {
    for code in [
        "ob_start() file.send('large.bin')",
        "file.send('large.bin') capture(function() file.send('large.bin') end)",
        "json.decode('[' .. ('[],'):rep(3e5) .. '1]')",
        "json.decode('[' .. ('{\"a\":\"b\"},'):rep(3e5) .. '1]')",
        "pcall(json.decode, '[' .. ('[],'):rep(3e5) .. '1]') echo('caught')",
        "local t = {} for i = 1, 100 do t[i] = ('x'):rep(1e5) end for i = 1, 1000 do t[i] = t[1] end json.encode(t)",
        "local s = ('x'):rep(4e6) json.encode({ s, s, s })",
        "local t = {} for i = 1, 2e5 do t[i] = true end json.encode({ t, t, t, t, t, t, t, t })",
        "local t = {} for i = 1, 100 do t[i] = ('x'):rep(1e5) end for i = 1, 1000 do t[i] = t[1] end \
         pcall(json.encode, t) echo('caught')",
    ] {
        let site = Site::new(
            "pLuaStates 1\npLuaMemoryLimit 10000\npLuaTimeout 20",
            &[("page.plua", &format!("<? kept = 'kept' ?>half\n<? {code} ?>")), ("next.plua", "<?= tostring(kept) ?>")],
        );
        File::create(site.path("large.bin")).unwrap().set_len(30 << 20).unwrap();
        let seen = site.get("page.plua");
        assert!(seen.status == 500 || seen.aborted, "{code}: {} {:?}", seen.status, seen.log);
        let said = seen.log.concat();
        let place = if cfg!(feature = "luajit") { "page.plua:2" } else { "page.plua" };
        assert!(said.starts_with("Memory limit: ") && said.contains(place), "{code}: {said}");
        assert_eq!(site.get("next.plua").text(), "nil", "{code}");
    }
    for code in [
        "ob_start() echo(file.send('small.bin'))",
        "local s = ('x'):rep(1e6) for i = 1, 20 do echo(#json.encode({ s }), #json.decode('[\"' .. s .. '\"]')[1]) end",
        "for i = 1, 10 do echo(#json.decode('[' .. ('[],'):rep(2e4) .. '1]')) end",
        "local t = {} for i = 1, 1e4 do t[i] = i end for i = 1, 20 do echo(#json.encode(t)) end",
    ] {
        let site = Site::new("pLuaMemoryLimit 10000", &[("page.plua", &format!("<? {code} ?>fine"))]);
        site.write("small.bin", vec![b'x'; 1 << 20]);
        let seen = site.get("page.plua");
        assert!(seen.status == 200 && seen.text().ends_with("fine"), "{code}: {:?}", seen.log);
    }
}

#[test]
fn a_result_of_a_page_function_far_over_the_memory_limit_ends_its_page_alone() {
    let site = Site::new("pLuaMemoryLimit 8192\npLuaAutoEscape On", &[("next.plua", "fine")]);
    for call in
        ["?><?= text ?><?lua", "echo(escapeHtml(text))", "echo(json.encode{ text, text, text, text, text, text })"]
    {
        site.write("page.plua", format!("<?lua local text = ('\"'):rep(3500000) {call} ?>"));
        let seen = site.get("page.plua");
        assert_eq!(seen.status, 500, "{call}: {:?}", seen.log);
        assert!(seen.log.concat().contains("Memory limit"), "{call}: {:?}", seen.log);
        assert_eq!(site.get("next.plua").text(), "fine", "{call}");
    }
}

#[test]
fn a_page_over_its_time_while_it_is_compiled_is_no_page() {
    // Chains of conditions, of which the parser walks each to its end for each of its members.
    let chain = format!("x = {}x ", "x and ".repeat(4000));
    // Lua 5.4 has less to walk.
    let chains = if cfg!(feature = "luajit") { 60 } else { 600 };
    let page = format!("<? {}?>fine", chain.repeat(chains));
    let site = Site::new("pLuaStates 1\npLuaTimeout 0.1", &[("page.plua", &page), ("next.plua", "fine")]);
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 500);
    assert!(seen.log.concat().starts_with("Time limit: "), "{:?}", seen.log);
    site.write("load.plua", format!("<? local part = [[{chain}]] (loadstring or load)(part:rep({chains})) ?>fine"));
    let seen = site.get("load.plua");
    assert!(seen.status == 500 && seen.log.concat().starts_with("Time limit: "), "{:?}", seen.log);
    assert_eq!(site.get("next.plua").text(), "fine");
}

#[test]
fn a_tree_of_coroutines_of_few_steps_each_ends_at_the_time_limit() {
    for start in ["coroutine.resume, coroutine.create(go)", "coroutine.wrap(go)"] {
        let page = format!("<? local function go() for try = 1, 3 do pcall({start}) end end go() go() go() ?>");
        let site = Site::new("pLuaTimeout 1\npLuaMemoryLimit 65536", &[("page.plua", &page)]);
        let started = std::time::Instant::now();
        assert_eq!(site.get("page.plua").status, 500, "{start}");
        assert!(started.elapsed().as_secs() < 30, "{start}: {:?}", started.elapsed());
    }
}
