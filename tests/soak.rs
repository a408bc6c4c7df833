//! Mixed visitors, millions of them: what httpd's children hold must stay what it was. `make soak` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test panics; this one tells figures"
)]

mod common;

use std::env;
use std::fs;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Connection, Response, Server, httpd};

const CLIENTS: usize = 16;
/// Requests before those that count: until about as many each state and each of malloc's arenas have had their largest
/// pages.
const WARM_UP: usize = 200_000;
/// Looks taken at the children, evenly over the requests.
const SAMPLES: usize = 40;
/// How much more memory the last quarter may take than the second, in kilobytes and as a share.
const ROOM: u64 = 2048;
const SHARE: f64 = 0.05;

const LINES: &str = "pLuaTimeout 2\npLuaMemoryLimit 8192\npLuaOutputLimit 2048\npLuaPatternLimit 1000000\n\
    pLuaFields 100\npLuaUploads 4\npLuaUploadSize 512\nLimitRequestBody 4000000\n\
    MaxKeepAliveRequests 500\nKeepAliveTimeout 60\nListenBacklog 511";

const PAGES: &[(&str, &str)] = &[
    ("hello.plua", "<h1><?= 'Hello' ?></h1>\n"),
    ("include.plua", "<? for i = 1, 5 do row = i include('parts/row.plua') end ?>"),
    ("parts/row.plua", "<li><?= row ?>, <?& '<' ?></li>\n"),
    ("form.plua", "<? local form = parsePost() ?><?& form.name ?>: <?= #form.text ?>"),
    (
        "upload.plua",
        "<? for _, file in ipairs(uploads()) do echo(file.name, ' ', file.size, ' ', #assert(file:read()), ';') end ?>",
    ),
    (
        "json.plua",
        "<? local value = assert(getJson()) value.list[#value.list + 1] = 'more' echo(json.encode(value)) ?>",
    ),
    ("error.plua", "before <? local t = nil; t.field = 1 ?>"),
    (
        "cookies.plua",
        "<? setCookie { name = 'seen', value = getCookies().id, httpOnly = true } ?><?= getCookie('id') ?>",
    ),
    (
        "sqlite.plua",
        "<? local db = assert(dbopen('sqlite3', ':memory:')) assert(db:run('CREATE TABLE t (a, b)'))\n\
         for i = 1, 10 do assert(db:run('INSERT INTO t VALUES (?, ?)', i, ('x'):rep(i))) end\n\
         for row in assert(db:rows('SELECT b FROM t WHERE a > ? ORDER BY a', 7)) do echo(row.b, ' ') end ?>",
    ),
    ("flush.plua", "<? for i = 1, 5 do echo(i, ' ') flush() end ?>"),
    ("forever.plua", "<? while true do end ?>"),
    ("layout.plua", "<? layout('parts/frame.plua') ?><?= capture(function() echo('caught') end):upper() ?>"),
    ("parts/frame.plua", "[<?= content() ?>]"),
    ("greedy.plua", "<? local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e6) .. i end ?>"),
    ("flood.plua", "<? for i = 1, 1e6 do echo(('x'):rep(1000)) end ?>"),
    ("steps.plua", "<? local s = ('a'):rep(40) echo(s:find(('a?'):rep(40) .. s)) ?>"),
    ("large.plua", "<? for i = 1, 24 do echo(('0123456789abcdef'):rep(4096)) flush() end ?>"),
];

const MULTIPART: &str = "--b\r\nContent-Disposition: form-data; name=\"one\"; filename=\"one.txt\"\r\n\r\n";

/// What one kind of request must be answered.
struct Case {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
    /// All of the body, or none where httpd makes it.
    answer: Option<String>,
    /// Of 10,000 requests, how many are of this kind.
    weight: usize,
}

fn cases() -> Vec<Case> {
    let get = |path, answer: &str, weight| Case {
        method: "GET",
        path,
        headers: &[],
        body: Vec::new(),
        status: 200,
        answer: Some(answer.to_owned()),
        weight,
    };
    let post = |path, kind: &'static [(&'static str, &'static str)], body: Vec<u8>, answer: String, weight| Case {
        method: "POST",
        headers: kind,
        body,
        answer: Some(answer),
        ..get(path, "", weight)
    };
    let fails = |path, weight| Case { status: 500, answer: None, ..get(path, "", weight) };
    let rows: String = (1..=5).map(|row| format!("<li>{row}, &lt;</li>\n")).collect();
    let file = vec![b'u'; 300_000];
    let upload = [MULTIPART.as_bytes(), &file, b"\r\n--b--\r\n"].concat();
    let form = format!("name=%3CAda%3E&text={}", "t".repeat(2000));
    vec![
        get("/hello.plua", "<h1>Hello</h1>\n", 3884),
        get("/include.plua?a=1&b=2", &rows, 1500),
        post(
            "/form.plua",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            form.into_bytes(),
            "&lt;Ada&gt;: 2000".into(),
            1000,
        ),
        post(
            "/upload.plua",
            &[("Content-Type", "multipart/form-data; boundary=b")],
            upload,
            "one.txt 300000 300000;".into(),
            300,
        ),
        post(
            "/json.plua",
            &[],
            br#"{"list":[1,{"a":null}]}"#.to_vec(),
            r#"{"list":[1,{"a":null},"more"]}"#.into(),
            800,
        ),
        Case { headers: &[("Cookie", "id=%20a")], ..get("/cookies.plua", "%20a", 800) },
        get("/sqlite.plua", "xxxxxxxx xxxxxxxxx xxxxxxxxxx ", 500),
        get("/flush.plua", "1 2 3 4 5 ", 400),
        get("/layout.plua", "[CAUGHT]", 600),
        fails("/error.plua", 80),
        fails("/greedy.plua", 15),
        fails("/flood.plua", 10),
        fails("/steps.plua", 10),
        fails("/forever.plua", 1),
        Case { status: 404, ..fails("/missing.plua", 100) },
    ]
}

/// What the children of httpd hold together.
struct Sample {
    requests: usize,
    seconds: f64,
    resident: u64,
    proportional: u64,
    files: usize,
    threads: usize,
}

fn look(children: &[u32], requests: usize, start: Instant) -> Sample {
    let mut sample =
        Sample { requests, seconds: start.elapsed().as_secs_f64(), resident: 0, proportional: 0, files: 0, threads: 0 };
    for child in children {
        let memory = fs::read_to_string(format!("/proc/{child}/smaps_rollup")).unwrap();
        let kilobytes = |name: &str| -> u64 {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let entries = |folder: &str| fs::read_dir(format!("/proc/{child}/{folder}")).unwrap().count();
        sample.resident += kilobytes("Rss:");
        sample.proportional += kilobytes("Pss:");
        sample.files += entries("fd");
        sample.threads += entries("task");
    }
    sample
}

/// A visitor who asks from request to request on one connection, as long as the server keeps it.
struct Visitor {
    port: u16,
    connection: Option<Connection>,
}

impl Visitor {
    fn ask(&mut self, case: &Case) {
        let connection = self.connection.get_or_insert_with(|| Connection::open(self.port));
        let answer: Response = connection.request(case.method, case.path, case.headers, &case.body);
        assert_eq!(answer.status, case.status, "{}: {}", case.path, answer.text());
        assert!(answer.complete, "{} was cut off", case.path);
        if let Some(expected) = &case.answer {
            assert_eq!(answer.text(), *expected, "{}", case.path);
        }
        if answer.header("Connection").is_some_and(|word| word.eq_ignore_ascii_case("close")) {
            self.connection = None;
        }
    }

    /// Asks for much, takes the first bytes and goes.
    fn leave_early(&self) {
        let mut connection = Connection::open(self.port);
        connection.send(b"GET /large.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.until(b"0123");
    }
}

/// Sends requests until `total` are sent by all; which kind comes when is the same in each run.
fn visit(port: u16, client: usize, sent: &AtomicUsize, total: usize, schedule: &[&Case]) {
    let mut visitor = Visitor { port, connection: None };
    // Has no divisor in common with the length of the schedule: so many requests hold all kinds, well mixed.
    let mut place = client * 617;
    while sent.fetch_add(1, Ordering::Relaxed) < total {
        place = (place + 6_151) % schedule.len();
        visitor.ask(schedule[place]);
        if place.is_multiple_of(200) {
            visitor.leave_early();
        }
    }
}

fn soak(server: &mut Server, total: usize) -> Vec<Sample> {
    for text in [
        "attempt to index",
        "Memory limit reached!",
        "took too long to execute",
        "than pLuaOutputLimit",
        "(pLuaPatternLimit)",
    ] {
        server.expect(text);
    }
    let port = server.httpd().port();
    let children = server.httpd().children();
    let (cases, sent) = (cases(), AtomicUsize::new(0));
    let schedule: Vec<&Case> = cases.iter().flat_map(|case| iter::repeat_n(case, case.weight)).collect();
    assert_eq!(schedule.len(), 10_000);
    let start = Instant::now();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (schedule, sent) = (&schedule, &sent);
                scope.spawn(move || visit(port, client, sent, WARM_UP + total, schedule))
            })
            .collect();
        while samples.len() < SAMPLES {
            // How often it is looked whether a sample is due.
            thread::sleep(Duration::from_millis(20));
            let requests = sent.load(Ordering::Relaxed);
            if requests < WARM_UP + total && clients.iter().any(|client| client.is_finished()) {
                // It failed, and the others need not go on.
                sent.store(WARM_UP + total, Ordering::Relaxed);
                break;
            }
            if requests >= WARM_UP + total * (samples.len() + 1) / SAMPLES {
                samples.push(look(&children, (requests - WARM_UP).min(total), start));
            }
        }
    });
    assert_eq!(server.httpd().children(), children, "a child ended");
    samples
}

fn table(samples: &[Sample]) {
    println!("\n| Requests | Seconds | RSS KB | PSS KB | Files | Threads |\n|---:|---:|---:|---:|---:|---:|");
    for Sample { requests, seconds, resident, proportional, files, threads } in samples {
        println!("| {requests} | {seconds:.0} | {resident} | {proportional} | {files} | {threads} |");
    }
}

fn mean(samples: &[Sample], figure: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(figure).sum::<u64>() / samples.len() as u64
}

#[test]
#[ignore = "takes minutes: make soak"]
fn mixed_visitors_leave_nothing_behind() {
    let total = env::var("PLUA_SOAK_REQUESTS").map_or(2_000_000, |number| number.parse().unwrap());
    let mut samples = Vec::new();
    httpd()
        .lines(LINES)
        .children(2, 25)
        .change(private_httpd::Configuration::without_access_log)
        // Each arena keeps what its largest pages took. With one for every thread it takes millions of requests until each
        // has had those, and a leak would be lost among them.
        .change(|configuration| configuration.environment("MALLOC_ARENA_MAX", "2"))
        .pages(PAGES)
        .run(|server| {
            samples = soak(server, total);
            table(&samples);
        });
    if samples.is_empty() {
        return;
    }
    let quarter = samples.len() / 4;
    let (second, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    for (what, figure) in [("RSS", (|s| s.resident) as fn(&Sample) -> u64), ("PSS", |s| s.proportional)] {
        let (before, after) = (mean(second, figure), mean(last, figure));
        println!("{what}: {before} KB in the second quarter, {after} KB in the last");
        assert!(after as f64 <= before as f64 * (1.0 + SHARE) + ROOM as f64, "{what} grew from {before} to {after} KB");
    }
    for (what, figure) in [("files", (|s| s.files) as fn(&Sample) -> usize), ("threads", |s| s.threads)] {
        let most = |samples: &[Sample]| samples.iter().map(figure).max().unwrap_or(0);
        let (before, after) = (most(second), most(last));
        println!("{what}: at most {before} in the second quarter, {after} in the last");
        // A visitor more may be between two connections, or a file more on its way, when they are counted.
        assert!(after <= before + CLIENTS, "{what} grew from {before} to {after}");
    }
}
