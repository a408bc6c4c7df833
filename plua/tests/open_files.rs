//! Files that pages open with Lua's own functions: how many, how long, and what they wait for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use site::wait::until;
use site::{Seen, Site, at_once};

/// Files of a folder that this process has open.
fn open_in(folder: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(folder)).count()
}

/// What a page of this code puts out; an error is its message.
fn shown(configuration: &str, code: &str) -> String {
    let site = Site::new(configuration, &[("page.plua", &format!("<? {code} ?>")), ("file", "one\ntwo\n")]);
    told(&site.get("page.plua"))
}

fn told(seen: &Seen) -> String {
    match seen.log.as_slice() {
        [] => seen.text(),
        log => log.join("\n"),
    }
}

/// Held by tests that time commands, and by those that read for long: before it runs a command the C library locks every
/// file of the process in turn, so that it waits for whoever reads one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_page_has_a_hundred_files_open_and_no_more() {
    for globals in ["persistent", "request"] {
        for (open, refusal) in [
            ("io.open('file')", "file: Too many open files24"),
            ("io.open('new', 'w')", "new: Too many open files24"),
            ("io.tmpfile()", "Too many open files24"),
            ("io.popen('true')", "true: Too many open files24"),
        ] {
            let code = format!(
                "all = {{}} for i = 1, 1000 do \
                 local file, problem, number = {open} if not file then echo(#all, problem, number) break end \
                 all[i] = file end"
            );
            assert_eq!(shown(&format!("pLuaGlobals {globals}"), &code), format!("100{refusal}"), "{globals}: {open}");
        }
        for open in ["io.lines('file')", "io.input('file')", "io.output('new')"] {
            let code = format!("all = {{}} for i = 1, 1000 do all[i] = {open} end");
            let log = shown(&format!("pLuaGlobals {globals}"), &code);
            assert!(log.contains(": Too many open files at /") && log.contains("page.plua:1"), "{open}: {log}");
        }
    }
}

#[test]
fn files_that_are_closed_or_forgotten_make_room_for_others() {
    for code in [
        "for i = 1, 1000 do assert(io.open('file')) end",
        "for i = 1, 1000 do assert(io.open('file')):close() end",
        "local kept = {} for i = 1, 1000 do kept[i] = assert(io.open('file')) kept[i]:close() end",
        "for i = 1, 1000 do for line in io.lines('file') do end end",
        "for i = 1, 1000 do io.lines('file')() end",
        "for i = 1, 1000 do io.input('file') io.output('new') end",
        "for i = 1, 300 do assert(io.popen('true', 'r')) end",
        "collectgarbage('stop') for i = 1, 1000 do assert(io.open('file')) end",
        "for i = 1, 1000 do coroutine.wrap(function() assert(io.open('file')) end)() end",
    ] {
        assert_eq!(shown("", &format!("{code} echo('fine')")), "fine", "{code}");
    }
}

#[test]
fn what_a_page_leaves_open_is_closed_when_its_request_ends() {
    let open = "for i = 1, 20 do f[i] = io.open('written' .. i, 'w') f[i]:write('text') end io.lines('file')()";
    for configuration in ["", "pLuaGlobals request", "pLuaTimeout 0.3", "pLuaMemoryLimit 8000"] {
        for end in ["", "exit()", "error('no')", "while true do end", "local s = 'x' while true do s = s .. s end"] {
            if end.starts_with("while") && !configuration.starts_with("pLuaTimeout")
                || end.starts_with("local") && !configuration.starts_with("pLuaMemory")
            {
                continue;
            }
            let site = Site::new(
                configuration,
                &[("file", "one\ntwo\n"), ("page.plua", &format!("<? f = {{}} {open} {end} ?>"))],
            );
            site.get("page.plua");
            assert_eq!(open_in(site.folder.path()), 0, "{configuration}: {end}");
            for i in 1..=20 {
                assert_eq!(fs::read(site.path(&format!("written{i}"))).unwrap(), b"text", "{configuration}: {end}");
            }
        }
    }
}

#[test]
fn a_file_kept_in_a_global_is_closed_for_the_next_request() {
    let site =
        Site::new("pLuaStates 1", &[("file", ""), ("page.plua", "<? f = f or io.open('file') ?><?= f:read() ?>")]);
    assert_eq!(site.get("page.plua").text(), "nil");
    assert!(told(&site.get("page.plua")).contains("attempt to use a closed file"));
}

#[test]
fn files_of_the_init_file_stay_open() {
    let folder = tempfile::tempdir().unwrap();
    let (init, log, other) = (folder.path().join("init.lua"), folder.path().join("log"), folder.path().join("other"));
    fs::write(&init, format!("log = io.open('{}', 'a') io.output('{}')", log.display(), other.display())).unwrap();
    let page = "<? io.open('file') log:write('x') log:flush() io.write('y') io.output('file') io.write('z') ?>";
    let site = Site::new(&format!("pLuaStates 1\npLuaInit {}", init.display()), &[("page.plua", page), ("file", "")]);
    for _ in 0..3 {
        assert_eq!(told(&site.get("page.plua")), "");
    }
    assert_eq!((fs::read_to_string(log).unwrap(), open_in(folder.path())), ("xxx".to_string(), 2));
    drop(site);
    assert_eq!(fs::read_to_string(other).unwrap(), "yyy");
}

#[test]
fn default_input_and_output_are_those_of_the_process_in_each_request() {
    for configuration in ["pLuaStates 1", "pLuaStates 1\npLuaGlobals request"] {
        let ask = "<?= io.input() == io.stdin, io.output() == io.stdout ?>";
        let site = Site::new(
            configuration,
            &[
                ("page.plua", "<? io.input('file') io.output('new') io.input():close() ?>"),
                ("ask.plua", ask),
                ("file", ""),
            ],
        );
        for _ in 0..2 {
            assert_eq!(told(&site.get("page.plua")), "");
            assert_eq!(told(&site.get("ask.plua")), "truetrue");
        }
    }
}

#[test]
fn files_do_what_they_do_in_lua() {
    for (code, text) in [
        ("for line in io.lines('file') do echo(line, ';') end", "one;two;"),
        (
            "local next = coroutine.wrap(function() for l in io.lines('file') do coroutine.yield(l) end end) echo(next(), next())",
            "onetwo",
        ),
        (
            "local f = io.open('file') for line in f:lines() do echo(line) end echo(io.type(f)) f:close() echo(io.type(f))",
            "onetwofileclosed file",
        ),
        ("io.input('file') echo(io.read(), io.read('*a')) io.input():close()", "onetwo\n"),
        ("io.input('file') for line in io.lines() do echo(line) end", "onetwo"),
        ("echo(io.open('none'))", "nilnone: No such file or directory2"),
        ("echo(select('#', io.open('file')), (pcall(io.lines, 'none')))", "1false"),
        ("local f = io.tmpfile() f:write('x') f:seek('set') echo(f:read('*a'))", "x"),
        ("echo(io.popen('echo hello'):read('*l'))", "hello"),
        ("local p = io.popen('cat > new', 'w') p:write('x') p:close() echo(io.open('new'):read('*a'))", "x"),
    ] {
        for configuration in ["", "pLuaTimeout 20", "pLuaGlobals request"] {
            assert_eq!(shown(configuration, code), text, "{configuration}: {code}");
        }
    }
    for (code, message) in [
        ("io.open()", "bad argument #1 to 'open' (string expected, got no value)"),
        ("io.open({})", "bad argument #1 to 'open' (string expected, got table)"),
        ("io.popen()", "Run-time error: bad argument #1 to 'popen' (string expected, got no value)"),
        ("io.popen({})", "Run-time error: bad argument #1 to 'popen' (string expected, got table)"),
        ("io.lines('none')", "No such file or directory"),
        ("io.input('none')", "none"),
    ] {
        let log = shown("", code);
        assert!(log.contains(message) && log.contains("page.plua:1") && !log.contains("plua:0"), "{code}: {log}");
    }
}

/// Nothing here waits as long as the commands sleep, on a slow machine under load neither.
const SOON: Duration = Duration::from_secs(60);

/// A page that waits for what never comes: it ends soon after its time limit, and the next one works. Where Lua looks at
/// the clock every thousand instructions only, it may come to its own end before.
fn assert_ends(code: &str) {
    let site = Site::new(
        "pLuaStates 1\npLuaTimeout 0.4",
        &[("page.plua", &format!("<? {code} ?>")), ("next.plua", "<?= io.open('next.plua') and 'fine' ?>")],
    );
    mkfifo(&site.path("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let started = Instant::now();
    let seen = site.get("page.plua");
    assert!(started.elapsed() < SOON, "{code}: {:?}", started.elapsed());
    let has_failed = told(&seen).starts_with("Time limit: ");
    assert!(has_failed || cfg!(not(feature = "luajit")), "{code}: {:?}", seen.log);
    // The machine's other work may cost a page its 0.4 seconds.
    let mut next = site.get("next.plua").text();
    while next != "fine" && started.elapsed() < SOON {
        next = site.get("next.plua").text();
    }
    assert_eq!(next, "fine", "{code}");
}

#[test]
fn a_named_pipe_without_another_end_holds_a_page_up_to_its_time_limit() {
    let _alone = alone();
    let codes = [
        "io.open('pipe')",
        "io.open('pipe', 'w')",
        "io.lines('pipe')",
        "io.input('pipe')",
        "io.output('pipe')",
        "dofile('pipe')",
        "loadfile('pipe')",
        "io.open('pipe', 'r+'):read('*a')",
        "io.open('pipe', 'r+'):read(1)",
        "for line in io.open('pipe', 'r+'):lines() do end",
        "local f = io.open('pipe', 'r+') f:setvbuf('no') while true do f:write(('x'):rep(1e5)) end",
        "while true do pcall(io.open, 'pipe') end",
    ];
    at_once(&codes, |code| assert_ends(code));
}

#[test]
fn a_read_without_end_is_over_at_the_memory_limit() {
    let _alone = alone();
    for code in [
        "io.open('/dev/zero'):read('*a')",
        "io.open('/dev/urandom'):read('*a')",
        "io.popen('cat /dev/zero 2>/dev/null'):read('*a')",
    ] {
        let log = shown("pLuaMemoryLimit 8000\npLuaTimeout 20", code);
        assert!(log.starts_with("Memory limit: "), "{code}: {log}");
    }
    for file in ["/dev/zero", "/dev/urandom", "/dev/null"] {
        let code = format!(
            "local f = io.open('{file}') f:read('*n') io.open('/dev/null', 'w'):write('x') echo(loadfile('{file}') == nil)"
        );
        let text = shown("pLuaMemoryLimit 8000\npLuaTimeout 20", &code);
        assert_eq!(text, if file == "/dev/null" { "false" } else { "true" }, "{file}");
    }
}

#[test]
fn a_command_runs_no_longer_than_its_page() {
    let _alone = alone();
    for code in [
        "os.execute('sleep 120')",
        "os.execute('sleep 120; true')",
        "os.execute('sleep 120\\0')",
        "os.execute('sleep 120 & sleep 120; true')",
        "io.popen('sleep 120'):read('*a')",
        "io.popen('sleep 120; true'):read('*a')",
        "io.popen('sleep 120'):close()",
        "io.popen('sleep 120; true'):close()",
        "io.popen('yes \"\" 2>/dev/null'):read('*n')",
        "io.popen('yes \"\" 2>/dev/null; true'):read('*n')",
        "io.popen('yes \"\" | cat 2>/dev/null'):read('*n')",
        "io.popen('yes \"\" & true'):read('*n')",
        "for line in io.popen('yes 2>/dev/null'):lines() do end",
        "for i = 1, 10 do p = io.popen('sleep 120; true', 'w') end while true do end",
        "p = io.popen('sleep 120; true', 'w') p:setvbuf('full', 1e6) p:write(('x'):rep(1e5)) while true do end",
    ] {
        assert_ends(code);
    }
}

#[test]
fn a_command_that_was_just_begun_when_the_time_was_over_ends_with_its_page() {
    let _alone = alone();
    for milliseconds in 30..45 {
        let configuration = format!("pLuaStates 1\npLuaTimeout 0.0{milliseconds}");
        let page = "<? for i = 1, 90 do io.popen('sleep 120; true', 'w') end while true do end ?>";
        let site = Site::new(&configuration, &[("page.plua", page)]);
        let started = Instant::now();
        assert_eq!(site.get("page.plua").status, 500);
        drop(site);
        assert!(started.elapsed() < SOON, "{milliseconds}: {:?}", started.elapsed());
    }
}

#[test]
fn a_command_that_a_page_leaves_running_does_not_hold_its_answer_beyond_the_time_limit() {
    let _alone = alone();
    let pages = [
        ("page.plua", "<? io.popen('sleep 120; true') ?>done"),
        ("failed.plua", "<? io.popen('sleep 120') error() ?>"),
    ];
    let is_answered = with_time_to_begin(|limit| {
        let site = Site::new(limit, &pages);
        let started = Instant::now();
        let seen = site.get("page.plua");
        assert_eq!(site.get("failed.plua").status, 500);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        seen.text() == "done"
    });
    assert!(is_answered);
}

#[test]
fn all_that_a_command_has_started_ends_with_its_page() {
    let _alone = alone();
    for command in [
        "sleep 120 2>/dev/null & echo $! > started; wait",
        "(sleep 120 & echo $! > started; wait) > other; true",
        "sleep 120 & echo $! > started",
        "sleep 120 | cat & echo $! > started",
    ] {
        for code in ["io.popen(command):read('*a')", "p = io.popen(command, 'w') while true do end"] {
            let has_begun = with_time_to_begin(|limit| {
                let page = format!("<? command = '{command}' {code} ?>");
                let site = Site::new(&format!("pLuaStates 1\n{limit}"), &[("page.plua", &page)]);
                // Where Lua looks at the clock every thousand instructions only, the page may come to its own end before.
                let has_failed = site.get("page.plua").status == 500;
                assert!(has_failed || cfg!(not(feature = "luajit")), "{code}: {command}");
                let process = fs::read_to_string(site.path("started")).unwrap_or_default();
                if process.is_empty() {
                    return false;
                }
                until(&format!("{code}: {command}: its processes end"), SOON, || {
                    let state = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
                    // One that has ended waits for the system's first process, which may be slow.
                    state.is_empty() || state.contains(") Z ")
                });
                true
            });
            assert!(has_begun, "{code}: {command}");
        }
    }
}

/// Tries with a short time limit whether a page has begun its command before that, then with longer ones.
fn with_time_to_begin(has_begun: impl Fn(&str) -> bool) -> bool {
    ["pLuaTimeout 0.5", "pLuaTimeout 3", "pLuaTimeout 12"].into_iter().any(has_begun)
}

#[test]
fn a_command_of_io_popen_is_the_same_under_a_time_limit_and_without() {
    let _alone = alone();
    for code in [
        "echo(io.popen([[echo 'it''s' \"$0\" $#]]):read('*a'))",
        "echo(io.popen('echo a\\0b; exit'):read('*a'))",
        "echo(io.popen(7 .. '' == '7' and 'echo 7' or ''):read('*a'))",
        "echo(io.popen('printf %s \\\\\\\\; cat', 'w'):close())",
        "echo(io.popen('exit 3'):close())",
        "echo(io.popen('kill -9 $$'):close())",
        "echo(io.popen('none-of-that-name 2>&1'):read('*a'))",
        "echo(pcall(io.popen, 'true', 'x'))",
        "echo(io.popen('cat <<end\\nit is $((1 + 1))\\nend\\n'):read('*a'))",
    ] {
        let (limited, free) = (shown("pLuaTimeout 20", code), shown("", code));
        assert_eq!(limited.replace("/bin/sh", "sh"), free.replace("/bin/sh", "sh"), "{code}");
        assert!(!free.is_empty() && !free.contains("error: "), "{code}: {free}");
    }
}

#[test]
fn a_command_tells_under_a_time_limit_what_it_tells_without() {
    let _alone = alone();
    for code in [
        "echo(os.execute('exit 3'))",
        "echo(os.execute('true'))",
        "echo(os.execute('kill -9 $$'))",
        "echo(os.execute('exit 3\\0; exit 4'))",
        "echo(os.execute())",
        "os.execute('echo x > made') echo(io.open('made'):read('*a'))",
        "os.execute('cat < file > made') echo(io.open('made'):read('*a'))",
        "os.execute('sleep 0.05; echo x > made') echo(io.open('made'):read('*a'))",
    ] {
        let (limited, free) = (shown("pLuaTimeout 20", code), shown("", code));
        assert_eq!(limited, free, "{code}");
        assert!(!free.is_empty() && !free.contains("error"), "{code}: {free}");
    }
}

#[test]
fn temporary_files_of_confined_pages_lie_in_the_upload_folder() {
    let (base, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(base.path().join("temporary")).unwrap();
    let within = format!("pLuaBaseDir {0}\npLuaUploadFolder {0}/temporary", base.path().display());
    let apart = format!("pLuaBaseDir {}\npLuaUploadFolder {}", base.path().display(), outside.path().display());
    let gone = format!("pLuaBaseDir {0}\npLuaUploadFolder {0}/none", base.path().display());
    let name = "local name = os.tmpname() echo(name) local f = io.open(name, 'w') f:write('x') f:close() \
                assert(os.remove(name))";
    let folder = base.path().join("temporary");
    assert!(shown(&within, name).starts_with(&format!("{}/plua-", folder.display())), "{}", shown(&within, name));
    let log = shown(&apart, name);
    assert!(log.contains("pLuaUploadFolder is not within pLuaBaseDir") && log.contains("page.plua:1"), "{log}");
    let file = "local f = assert(io.tmpfile()) f:write('text') f:seek('set') echo(f:read('*a'))";
    for configuration in [&within, &apart] {
        assert_eq!(shown(configuration, file), "text", "{configuration}");
    }
    assert!(shown(&gone, file).contains("no temporary file: "), "{}", shown(&gone, file));
    assert!(fs::read_dir(&folder).unwrap().next().is_none() && fs::read_dir(outside.path()).unwrap().next().is_none());
}

#[test]
fn a_sandbox_has_no_standard_input_and_output() {
    assert_eq!(
        shown("pLuaSandbox On", "echo(io.stdin, io.stdout, io.stderr, io.input(), io.output())"),
        "nilnilnilnilnil"
    );
    for code in ["io.read()", "for line in io.lines() do end"] {
        let log = shown("pLuaSandbox On", code);
        assert!(
            log.contains("no standard input or output in a sandbox") && log.contains("page.plua:1"),
            "{code}: {log}"
        );
    }
    let code = "io.output('new') io.write('x', 1) io.output():close() io.input('new') echo(io.read('*a'), io.type(io.input()))";
    let site = Site::new("pLuaSandbox On\npLuaStates 1", &[("page.plua", &format!("<? {code} ?>"))]);
    for _ in 0..2 {
        assert_eq!(told(&site.get("page.plua")), "x1file");
    }
}

#[test]
fn the_log_gets_a_hundred_reports_of_one_request() {
    let page = "<? for i = 1, 1000 do include('broken.plua') end error('at last') ?>";
    let site = Site::new("pLuaStates 1", &[("page.plua", page), ("broken.plua", "<? error('part') ?>")]);
    for _ in 0..2 {
        let log = site.get("page.plua").log;
        assert_eq!(log.len(), 102);
        assert!(log[99].contains("part") && log[101].contains("at last"), "{log:?}");
        assert_eq!(log[100], "further reports of this request are not logged");
    }
}

#[test]
fn files_are_opened_by_the_modes_of_luas_manual_wherever_something_holds_a_page() {
    let page = "<? local name = 'own.txt' \
        for _, mode in ipairs({ 'w', 'wb', 'w+', 'w+b', 'r', 'rb', 'r+', 'r+b', 'a', 'ab', 'a+', 'a+b' }) do \
            assert(io.open(name, mode)):close() \
        end \
        for _, mode in ipairs({ 'rm', 'rc', 're', 'rx', 'r,ccs=UTF-8', 'rb+', 'r\\0', 'rw', '+r', '' }) do \
            local ok, problem = pcall(io.open, name, mode) \
            if ok or not problem:find(\"bad argument #2 to 'open'\", 1, true) then echo(mode, ' ') end \
        end ?>fine";
    let folder = tempfile::tempdir().unwrap();
    let base = format!("pLuaBaseDir {}", folder.path().display());
    for held in ["pLuaTimeout 60", "pLuaMemoryLimit 64000", "pLuaOutputLimit 1000", "pLuaSandbox On", &base] {
        let folder = if held == base { tempfile::tempdir_in(folder.path()) } else { tempfile::tempdir() };
        let site = Site::new(held, &[]).in_folder(folder.unwrap());
        site.write("page.plua", page);
        let seen = site.get("page.plua");
        assert_eq!(seen.text(), "fine", "{held}: {:?}", seen.log);
    }
}
