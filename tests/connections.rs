//! Ten thousand connections kept open at once, and more requests than threads or states.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and tells its figures")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::traffic::visits;
use common::{Server, httpd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const CONNECTIONS: usize = 10_000;

/// Files this process and the server have open beside the connections.
const OTHER_FILES: usize = 200;

/// Raises this process's limit of open files, which httpd inherits, and says how many connections it allows.
fn connections_allowed() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let allowed = CONNECTIONS.min(hard as usize - OTHER_FILES);
    if allowed < CONNECTIONS {
        eprintln!("the system allows {hard} open files: {allowed} connections instead of {CONNECTIONS}");
    }
    allowed
}

/// Resident memory of a process in kilobytes.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Asks on a kept connection: whether the answer is whole and right, or none if the server had closed it.
fn ask(stream: &mut TcpStream) -> Option<bool> {
    let mut answer = Vec::new();
    stream.write_all(b"GET /page.plua HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    while !answer.ends_with(b"kept") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => answer.extend_from_slice(&bytes[..count]),
            _ if answer.is_empty() => return None,
            _ => return Some(false),
        }
    }
    Some(answer.starts_with(b"HTTP/1.1 200") && !answer.windows(17).any(|part| part == b"Connection: close"))
}

/// Opens so many connections with a request on each; how many answers were right.
fn open(port: u16, count: usize) -> (Vec<TcpStream>, usize) {
    let (mut streams, mut right) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let mut stream = connect(port);
        right += usize::from(ask(&mut stream) == Some(true));
        streams.push(stream);
    }
    (streams, right)
}

/// Asks on each; how many answers were right, and how many were only had on a new connection: while all of its threads
/// are busy, the event MPM closes some that are idle.
fn ask_again(port: u16, streams: &mut [TcpStream]) -> (usize, usize) {
    let (mut right, mut repeated) = (0, 0);
    for stream in streams {
        let answer = ask(stream).or_else(|| {
            repeated += 1;
            *stream = connect(port);
            ask(stream)
        });
        right += usize::from(answer == Some(true));
    }
    (right, repeated)
}

/// Does it on four threads and adds up.
fn opened(port: u16, count: usize) -> (Vec<TcpStream>, usize) {
    thread::scope(|scope| {
        let parts: Vec<_> = (0..4).map(|_| scope.spawn(|| open(port, count / 4))).collect();
        let (mut streams, mut right) = (Vec::new(), 0);
        for part in parts {
            let (some, so_many) = part.join().unwrap();
            streams.extend(some);
            right += so_many;
        }
        (streams, right)
    })
}

#[test]
fn ten_thousand_connections_are_kept_and_pages_served_on_each() {
    let wanted = connections_allowed();
    let lines = "KeepAliveTimeout 300\nMaxKeepAliveRequests 0\nListenBacklog 511\nAsyncRequestWorkerFactor 1000";
    let setup = httpd().children(1, 25).lines(lines).pages(&[("page.plua", "<?= 'kept' ?>")]);
    setup.change(private_httpd::Configuration::without_access_log).run(|server| {
        let port = server.httpd().port();
        let child = server.httpd().children()[0];
        // So that what is measured is connections, not the first requests.
        drop(opened(port, 200));
        let before = memory(child);
        let started = Instant::now();
        let (mut streams, first) = opened(port, wanted);
        let opened = started.elapsed();
        let grown = memory(child).saturating_sub(before);
        let asked = Instant::now();
        let (again, repeated) = thread::scope(|scope| {
            let parts = streams.chunks_mut(wanted.div_ceil(4)).map(|part| scope.spawn(move || ask_again(port, part)));
            let parts: Vec<_> = parts.collect();
            let parts = parts.into_iter().map(|part| part.join().unwrap());
            parts.fold((0, 0), |(right, repeated), part| (right + part.0, repeated + part.1))
        });
        eprintln!(
            "{} connections in one child: {first} right answers in {opened:?}, {again} on the kept ones in {:?}, \
             {repeated} of them asked again, {:.1} KB of the child's memory each",
            streams.len(),
            asked.elapsed(),
            grown as f64 / streams.len() as f64
        );
        assert_eq!((first, again), (streams.len(), streams.len()));
        assert!(repeated < streams.len() / 5, "{repeated} were not kept");
        assert!(grown < 64 * streams.len() as u64, "{grown} KB more");
        assert_eq!(server.get("/page.plua").text(), "kept", "a newcomer is served");
        assert_eq!(server.httpd().children(), [child]);
    });
}

/// Asks so many times at once and counts the answers by status.
fn at_once(server: &Server, count: usize, path: &str) -> (usize, usize) {
    thread::scope(|scope| {
        let asking: Vec<_> = (0..count).map(|_| scope.spawn(|| server.get(path))).collect();
        let (mut served, mut refused) = (0, 0);
        for asked in asking {
            let answer = asked.join().unwrap();
            match answer.status {
                200 => {
                    assert_eq!(answer.text(), "done");
                    served += 1;
                }
                503 => {
                    assert_eq!(answer.header("Retry-After"), Some("1"));
                    refused += 1;
                }
                other => unreachable!("status {other}"),
            }
        }
        (served, refused)
    })
}

#[test]
fn more_requests_than_threads_wait_their_turn_and_none_is_lost() {
    let setup = httpd().children(1, 5).lines("ListenBacklog 511").pages(&[("page.plua", "<? sleep(0.05) ?>done")]);
    setup.run(|server| {
        let (served, refused) = at_once(server, 100, "/page.plua");
        eprintln!("100 requests at once for 5 threads: {served} served, {refused} refused, 0 lost");
        assert_eq!((served, refused), (100, 0));
    });
}

#[test]
fn more_requests_than_states_are_503_with_a_time_to_come_again_and_then_all_is_as_before() {
    let lines = "pLuaError 0\npLuaStates 2\npLuaStateWait 0.2";
    let pages = &[("page.plua", "<? sleep(1) ?>done"), ("short.plua", "done")];
    httpd().children(1, 25).lines(lines).pages(pages).run(|server| {
        server.expect("all 2 states were busy for 0.2 s (pLuaStates, pLuaStateWait)");
        for _ in 0..2 {
            let (served, refused) = at_once(server, 20, "/page.plua");
            eprintln!("20 requests at once for 2 states: {served} served, {refused} refused with 503, 0 lost");
            assert_eq!((served, refused), (2, 18));
        }
        let tally = visits(server.httpd().port(), 4, 100, |visitor, _, _| {
            visitor.expect("/short.plua", |answer| answer.status == 200 && answer.text() == "done");
        });
        tally.tell("after states were exhausted");
        assert_eq!((tally.wrong, tally.lost, tally.sent), (0, 0, tally.answered), "{tally}");
    });
}
