//! The bounds of page functions, by their table: none runs long beyond a page's time or holds much beyond its memory, whatever it
//! is given.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::env;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use plua::language::functions::{self, FUNCTIONS};
use site::{Sent, Site, at_once, memory};

/// Bytes of the long texts that functions are given where their time is looked at. Without optimization there is a tenth of the
/// work in the same time.
const LONG_IN_TIME: usize = if cfg!(debug_assertions) { 480_000 } else { 4_800_000 };

/// The same where it is their memory.
const LONG_IN_MEMORY: usize = 2_400_000;

/// What a parameter of that name is given, in Lua; `S` is the length of what is long.
fn values(function: &str, parameter: &str) -> Vec<&'static str> {
    const TEXTS: [&str; 7] = [
        "('x'):rep(S)",
        "('<'):rep(S)",
        "('a,'):rep(S / 2)",
        "('%41'):rep(S / 3)",
        "'[' .. ('1,'):rep(S / 2) .. '1]'",
        "'return ' .. ('a and '):rep(S / 6) .. 'a'",
        "'<? ' .. ('x = x or 1 '):rep(S / 10) .. '?>'",
    ];
    const TABLES: [&str; 4] = [
        "(function() local t = {} for _ = 1, 60 do t = { t, t } end return t end)()",
        "(function() local key, t = ('k'):rep(S / 4), {} for _ = 1, 60 do t = { [key] = t } end return t end)()",
        "(function() local t = {} for i = 1, S / 40 do t[i] = 'value' .. i end return t end)()",
        "(function() local t = {} for i = 1, S / 80 do t['name' .. i] = i end return t end)()",
    ];
    match parameter {
        "seconds" | "status" | "count" | "bytes" => vec!["0", "1", "1e9", "-1", "1048576"],
        "algorithm" => vec!["'sha512'"],
        "append" | "raw" | "show" => vec!["true"],
        "function" => vec!["function() end"],
        "options" if function == "passwordHash" => {
            vec!["{}", "{ memory = 262144, passes = 16 }", "{ memory = 8, passes = 16, lanes = 1 }"]
        }
        "options" => vec!["{ nested = true }", "{}"],
        "hash" => vec![
            "'$2y$16$abcdefghijklmnopqrstuuWQ6Z0zTfqYBVvZcZVKkGRh4G4GQ5xDe'",
            "'$argon2id$v=19$m=262144,t=16,p=1$c29tZXNhbHRzYWx0$RdescudvJCsgt3ub+b2dWRWJTmaaJObG'",
            "('x'):rep(S)",
        ],
        "vars" | "table" => TABLES.to_vec(),
        "value" | "name" => TEXTS.into_iter().chain(TABLES).collect(),
        _ => TEXTS.to_vec(),
    }
}

/// The names of a function's parameters, those in brackets among them.
fn parameters(signature: &str) -> Vec<&str> {
    functions::parameters(signature).into_iter().map(|(name, _)| name).collect()
}

/// The arguments of all calls of a function: each parameter with each of its values, beside the others with their first.
fn calls(function: &str, signature: &str) -> Vec<String> {
    let parameters = parameters(signature);
    let mut calls = vec![String::new()];
    for chosen in 0..parameters.len() {
        for value in values(function, parameters[chosen]) {
            let arguments = parameters.iter().enumerate().map(|(position, name)| match position == chosen {
                true => value.to_string(),
                false => match *name {
                    "name" | "value" | "path" | "text" | "file" | "key" => "'x'".to_string(),
                    name => values(function, name)[0].to_string(),
                },
            });
            calls.push(arguments.collect::<Vec<_>>().join(", "));
        }
    }
    calls
}

/// What a visitor sends to functions of the body.
fn bodies(function: &str, long: usize) -> Vec<(&'static str, Vec<u8>)> {
    let of_body = ["parsePost", "plua.post", "plua.postAll", "uploads", "getRequestBody", "plua.bodyPieces", "getJson"];
    if !of_body.contains(&function) {
        return vec![("text/plain", Vec::new())];
    }
    let head = "--X\r\nContent-Disposition: form-data; name=\"x\"";
    vec![
        ("application/x-www-form-urlencoded", "x=%41&".repeat(long / 6).into_bytes()),
        ("application/json", format!("[{}1]", "\"a\",".repeat(long / 4)).into_bytes()),
        (
            "multipart/form-data; boundary=X",
            format!("{head}\r\n\r\n{0}\r\n{head}; filename=\"f\"\r\n\r\n{0}\r\n--X--\r\n", "x".repeat(long))
                .into_bytes(),
        ),
    ]
}

/// Sends a page for each call of a function, and gives each to `seen` when it has ended.
fn each_call(
    (function, signature): (&str, &str),
    configuration: &str,
    long: usize,
    times: usize,
    mut ended: impl FnMut(&str),
) {
    let configuration = format!("pLuaStates 1\npLuaFields 1000000\npLuaShared cache 4M\n{configuration}");
    let site = Site::new(&configuration, &[]);
    let cookies = format!("x={}", "a=b; ".repeat(10_000));
    let query = format!("page.plua?{}", "x=%41&".repeat(10_000));
    for arguments in calls(function, signature) {
        for (content_type, body) in bodies(function, long) {
            site.write_before(
                "page.plua",
                format!(
                    "<? local S = {long} local function pack(...) return {{ n = select('#', ...), ... }} end \
                     local given = pack({arguments}) \
                     for _ = 1, {times} do pcall({function}, (unpack or table.unpack)(given, 1, given.n)) end ?>"
                ),
            );
            let sent = Sent {
                method: "POST",
                content_type: Some(content_type),
                body: Box::new(io::Cursor::new(body)),
                headers: vec![("Cookie".to_string(), cookies.clone())],
                ..Sent::default()
            };
            site.send(&query, sent);
            ended(&format!("{function}({arguments}) with {content_type}"));
        }
    }
}

/// Held by the test that measures work, which a page does less of before its limit where others have the processors, and by the one
/// that keeps them busy.
static ALONE: Mutex<()> = Mutex::new(());

/// Functions that are tried here: those of databases have tests of their own.
fn tried() -> impl Iterator<Item = (&'static str, &'static str)> {
    FUNCTIONS.iter().filter(|function| function.name != "dbopen").map(|function| (function.name, function.signature))
}

/// Processor time of this thread, which does not depend on what else the machine does.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn the_names_of_parameters_are_read_from_signatures() {
    assert_eq!(parameters("hmac(algorithm, key, text [, raw]) -> string"), ["algorithm", "key", "text", "raw"]);
    assert_eq!(parameters("content([name [, default]]) -> string"), ["name", "default"]);
    assert_eq!(parameters("block(name, function or text)"), ["name", "function"]);
    assert!(parameters("exit()").is_empty());
}

#[test]
fn no_page_function_works_long_beyond_the_time_limit() {
    const LIMIT: Duration = Duration::from_millis(100);
    let _alone = ALONE.lock();
    // The work of one usual password, which nothing ends, depends on how this was built.
    let before = worked();
    assert_eq!(site::page("<? passwordHash('x') ?>fine").text(), "fine");
    let password = worked() - before;
    let mut before = worked();
    for (function, signature) in tried() {
        let beyond = if function.starts_with("password") { password * 3 } else { Duration::from_millis(200) };
        each_call((function, signature), "pLuaTimeout 0.1", LONG_IN_TIME, 1, |call| {
            let took = worked() - before;
            assert!(took < LIMIT + beyond, "{call} worked {took:?}");
            before = worked();
        });
    }
}

/// Names the function whose memory a process of this test is to measure.
const FUNCTION: &str = "PLUA_TEST_FUNCTION";

#[test]
fn no_page_function_holds_much_beyond_the_memory_limit() {
    const LIMIT: usize = 8192;
    const BEYOND: usize = 32 << 10;
    let Ok(name) = env::var(FUNCTION) else {
        let _alone = ALONE.lock();
        // Each in a process of its own: what one has freed the next would take again.
        at_once(&tried().collect::<Vec<_>>(), |(function, _)| {
            let own = env::current_exe().unwrap();
            let test = ["--exact", "no_page_function_holds_much_beyond_the_memory_limit"];
            let ran = Command::new(own).args(test).env(FUNCTION, function).output().unwrap();
            assert!(ran.status.success(), "{function}: {}", String::from_utf8_lossy(&ran.stdout));
        });
        return;
    };
    let (function, signature) = tried().find(|(function, _)| *function == name).unwrap();
    let keeps = ["header", "setCookie", "setContentType", "block", "plua.atEnd"].contains(&function);
    let configuration = format!("pLuaTimeout 5\npLuaUploadSize 8192\npLuaMemoryLimit {LIMIT}");
    // The first page brings in all that a process has once.
    assert_eq!(Site::new(&configuration, &[("page.plua", "fine")]).get("page.plua").text(), "fine");
    let forget_peak = || fs::write("/proc/self/clear_refs", "5").unwrap();
    forget_peak();
    let mut before = memory("VmRSS");
    each_call((function, signature), &configuration, LONG_IN_MEMORY, if keeps { 40 } else { 1 }, |call| {
        let more = memory("VmHWM").saturating_sub(before);
        assert!(more < LIMIT + BEYOND, "{call} took {more} KB");
        forget_peak();
        before = memory("VmRSS");
    });
}
