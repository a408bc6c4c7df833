//! Pages that wait without a thread: thousands that sleep, others beside them, and streams of events.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use private_httpd::Httpd;

use crate::server::{Built, plua, started};
use crate::wrk::{self, CONNECTIONS, Load};

/// Clients that wait, where the figures are of thousands.
const WAITING: u32 = 5000;

/// Room that so many need; two descriptors each on the server's side, and one on ours.
const ROOM: &str = "AsyncRequestWorkerFactor 500\nListenBacklog 8192\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60\nTimeout 120\n\
     pLuaGlobals page\npLuaStates 200\npLuaParked 20000\npLuaWaitLimit 0\npLuaTimeout 30";

/// Time in which streams begin, before their events count.
const SETTLING: Duration = Duration::from_secs(4);

/// Measures everything, `seconds` for each figure, and returns the table in Markdown.
///
/// # Errors
/// A sentence when a server does not start or answers wrongly, or the machine gives too few descriptors.
pub fn measure(built: &Built, docroot: &Path, seconds: u32) -> Result<String, String> {
    descriptors(2 * u64::from(WAITING) + 2000)?;
    for source in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/waiting")).map_err(|error| error.to_string())? {
        let source = source.map_err(|error| error.to_string())?;
        fs::copy(source.path(), docroot.join(source.file_name())).map_err(|error| error.to_string())?;
    }
    let mut text = String::from("| Load, one child of 25 threads | Figure |\n|---|---|\n");
    let server = start(built, docroot)?;
    let Load { requests_per_second, median, p99, .. } =
        wrk::load(&address(&server, "second.plua"), seconds.max(10), WAITING, None)?;
    let _ = writeln!(
        text,
        "| {WAITING} clients, page `sleep(1)` | {requests_per_second:.0} requests/s, median {:.2} s, p99 {:.2} s |",
        median.as_secs_f64(),
        p99.as_secs_f64()
    );
    drop(server);

    let server = start(built, docroot)?;
    wrk::load(&address(&server, "hello.plua"), 2, CONNECTIONS, None)?;
    let alone = wrk::load(&address(&server, "hello.plua"), seconds, CONNECTIONS, None)?;
    let before = resident(&server)?;
    let waiting = open(&server, "/minute.plua", WAITING)?;
    thread::sleep(Duration::from_secs(2));
    let each = (resident(&server)? - before) / f64::from(WAITING);
    let _ = writeln!(text, "| {WAITING} pages that wait | {each:.0} KB each |");
    let beside = wrk::load(&address(&server, "hello.plua"), seconds, CONNECTIONS, None)?;
    drop(waiting);
    let _ = writeln!(
        text,
        "| hello beside them | {:.2} of its requests alone, p99 {:.1} ms (alone {:.1} ms) |",
        beside.requests_per_second / alone.requests_per_second,
        beside.p99.as_secs_f64() * 1e3,
        alone.p99.as_secs_f64() * 1e3
    );
    drop(server);

    let server = start(built, docroot)?;
    let mut late = streams(&server, Duration::from_secs(seconds.max(5).into()))?;
    late.sort_by(f64::total_cmp);
    let at = |part: f64| late.get((late.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN) * 1e3;
    let _ = writeln!(
        text,
        "| {WAITING} streams, an event a second each | {} events, late by {:.1} ms (median), {:.1} ms (p99) |",
        late.len(),
        at(0.5),
        at(0.99)
    );
    Ok(text)
}

fn start(built: &Built, docroot: &Path) -> Result<Httpd, String> {
    started(plua(built, docroot)?.body(ROOM))
}

fn address(server: &Httpd, page: &str) -> String {
    format!("http://127.0.0.1:{}/{page}", server.port())
}

/// Lets this process, and the servers it starts, have so many descriptors.
fn descriptors(wanted: u64) -> Result<(), String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    if hard < wanted {
        return Err(format!("{wanted} descriptors are needed and {hard} allowed: ulimit -Hn"));
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| error.to_string())
}

/// Memory of the serving child, in KB.
fn resident(server: &Httpd) -> Result<f64, String> {
    let child = server.children().first().copied().ok_or("httpd has no child")?;
    let status = fs::read_to_string(format!("/proc/{child}/status")).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).ok_or("no VmRSS".to_owned())
}

/// So many connections that have asked for a page, a hundred at one time.
fn open(server: &Httpd, path: &str, many: u32) -> Result<Vec<TcpStream>, String> {
    let open = || {
        let mut connection = TcpStream::connect(("127.0.0.1", server.port()))?;
        connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        connection.set_nonblocking(true)?;
        Ok(connection)
    };
    (0..many)
        .map(|number| {
            if number % 100 == 99 {
                thread::sleep(Duration::from_millis(10));
            }
            open().map_err(|error: std::io::Error| error.to_string())
        })
        .collect()
}

/// How late events came after the time they were due, in seconds, when all streams have settled.
fn streams(server: &Httpd, time: Duration) -> Result<Vec<f64>, String> {
    let mut streams = open(server, "/stream.plua", WAITING)?;
    let told = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
    for (number, stream) in streams.iter().enumerate() {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        told.add(stream.as_fd(), event).map_err(|error| error.to_string())?;
    }
    let settled = Instant::now() + SETTLING;
    let mut late = Vec::new();
    let mut events = vec![EpollEvent::empty(); 512];
    let mut bytes = [0; 4096];
    while Instant::now() < settled + time {
        let many = told.wait(&mut events, EpollTimeout::from(500u16)).map_err(|error| error.to_string())?;
        for event in &events[..many] {
            let length = streams[event.data() as usize].read(&mut bytes).map_err(|error| error.to_string())?;
            if length == 0 {
                return Err("a stream was closed".into());
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs_f64();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let due = text.rsplit_once("data: ").and_then(|(_, rest)| rest.lines().next()?.parse::<f64>().ok());
            if let Some(due) = due.filter(|_| Instant::now() > settled) {
                late.push(now - due);
            }
        }
    }
    Ok(late)
}
