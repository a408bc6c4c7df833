//! Pages that ask other servers: here one another, in the same httpd, without a thread while they wait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::tls::{certificate, tls};
use common::wait::until;
use common::{Mpm, httpd};

const SLOW: (&str, &str) = ("slow.plua", "<? sleep(0.3) ?>slow <?= plua.get('n') ?>");
const ASK: (&str, &str) = (
    "ask.plua",
    "<? local r = assert(plua.fetch('http://127.0.0.1:' .. plua.get('port') .. '/slow.plua', { query = { n = plua.get('n') } }))
        ?><?= r.status, ' ', r.body ?>",
);
const TALK: (&str, &str) = (
    "talk.plua",
    "<? local s = assert(plua.connect('localhost:' .. plua.get('port')))
        s:send('GET /slow.plua?n=1 HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n')
        s:receiveUntil('\\r\\n\\r\\n')() ?><?= s:receive('*a') ?>",
);

#[test]
fn pages_ask_one_another_without_a_thread_while_they_wait() {
    let lines = "pLuaStates 100\nAsyncRequestWorkerFactor 100";
    httpd().mpm(Mpm::Event).children(1, 4).lines(lines).pages(&[SLOW, ASK, TALK]).run(|server| {
        let port = server.httpd().port();
        for _ in 0..2 {
            let (begun, server) = (Instant::now(), &*server);
            thread::scope(|scope| {
                for number in 0..20 {
                    scope.spawn(move || {
                        let answer = server.get(&format!("/ask.plua?n={number}&port={port}")).text();
                        assert_eq!(answer, format!("200 slow {number}"));
                    });
                }
            });
            // Four threads that wait for pages which need a thread would wait for ever.
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
        assert_eq!(server.get(&format!("/talk.plua?port={port}")).text(), "slow 1");
    });
}

#[test]
fn pages_ask_wherever_they_run() {
    for (mpm, processes, threads) in [(Mpm::Prefork, 4, 1), (Mpm::Worker, 1, 4), (Mpm::Event, 1, 4)] {
        for mode in ["", "pLuaGlobals request\n", "pLuaSandbox On\npLuaConnect 127.0.0.1 ::1\n"] {
            let lines = format!("{mode}KeepAlive Off\npLuaTimeout 20\npLuaMemoryLimit 20000");
            httpd().mpm(mpm).children(processes, threads).lines(&lines).pages(&[SLOW, ASK, TALK]).run(|server| {
                let port = server.httpd().port();
                for _ in 0..2 {
                    assert_eq!(server.get(&format!("/ask.plua?n=1&port={port}")).text(), "200 slow 1", "{lines}");
                    assert_eq!(server.get(&format!("/talk.plua?port={port}")).text(), "slow 1", "{lines}");
                }
            });
        }
    }
}

#[test]
fn http2_is_spoken_with_servers_that_know_it() {
    let certificate = certificate();
    let page = "<? for _ = 1, 2 do
            local r = assert(plua.fetch('https://localhost:' .. plua.get('port') .. '/slow.plua?n=2', { verify = false }))
            echo(r.version, r.body, ' ')
        end
        echo(#plua.parallel(function()
            return plua.fetch('https://localhost:' .. plua.get('port') .. '/large.plua', { verify = false }).body end)) ?>";
    let large = ("large.plua", "<? for i = 1, 100 do echo(('x'):rep(10000)) end ?>");
    httpd()
        .mpm(Mpm::Event)
        .module("ssl")
        .module("http2")
        .further_ports(1)
        .lines("Protocols h2 http/1.1")
        .lines(&tls(certificate.path()))
        .pages(&[SLOW, large, ("page.plua", page)])
        .run(|server| {
            let port = server.httpd().ports()[1];
            assert_eq!(server.get(&format!("/page.plua?port={port}")).text(), "2slow 2 2slow 2 1000000");
        });
}

#[test]
fn pages_send_piece_by_piece_without_a_thread_and_for_as_long_as_they_may_wait() {
    // Reads what it is sent, and answers at the end of a body with how long that was; never where its path is `/silent`.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || {
                let (mut connection, mut come) = (connection.unwrap(), Vec::new());
                while !come.ends_with(b"\r\n0\r\n\r\n") {
                    let mut piece = [0; 4096];
                    match connection.read(&mut piece) {
                        Ok(count) if count > 0 => come.extend_from_slice(&piece[..count]),
                        _ => return,
                    }
                }
                let pieces = come.windows(5).filter(|bytes| *bytes == b"piece").count();
                if come.starts_with(b"POST /silent") {
                    let _ = connection.read_to_end(&mut Vec::new());
                }
                let _ = write!(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{pieces}");
            });
        }
    });
    let page = format!(
        "<? local n = 0
            local r = assert(plua.fetch('http://{address}/' .. plua.get('to'), {{ body = function()
                sleep(0.2) n = n + 1 return n < 4 and 'piece' or nil end }})) ?><?= r.body ?>"
    );
    let lines = "pLuaStates 100\nAsyncRequestWorkerFactor 100\npLuaWaitLimit 3";
    for mode in ["", "pLuaGlobals page\n"] {
        let lines = format!("{mode}{lines}");
        httpd().mpm(Mpm::Event).children(1, 4).lines(&lines).pages(&[("page.plua", &page)]).run(|server| {
            server.expect("Time limit: The page waited longer than pLuaWaitLimit allows");
            let (begun, shared) = (Instant::now(), &*server);
            thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(move || assert_eq!(shared.get("/page.plua?to=x").text(), "3"));
                }
            });
            // Four threads would have had them wait four seconds.
            assert!(begun.elapsed() < Duration::from_millis(3500), "{:?}", begun.elapsed());
            let begun = Instant::now();
            assert_eq!(server.get("/page.plua?to=silent").status, 500);
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        });
    }
}

#[test]
fn what_pages_ask_for_ends_when_their_visitors_leave_or_the_server_ends() {
    // Hears what is asked, never answers, and counts those that hang up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let (come, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (come.clone(), gone.clone());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (come, gone) = (counts.0.clone(), counts.1.clone());
            thread::spawn(move || {
                come.fetch_add(1, Ordering::SeqCst);
                let _ = connection.unwrap().read_to_end(&mut Vec::new());
                gone.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let pages = [
        ("fetch.plua", format!("<? plua.onAbort() plua.fetch('http://{silent}/') ?>")),
        ("socket.plua", format!("<? plua.onAbort() local s = plua.connect('{silent}') s:send('x') s:receive() ?>")),
        ("steady.plua", "steady".to_owned()),
    ];
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, page)| (*name, page.as_str())).collect();
    httpd().mpm(Mpm::Event).children(1, 4).lines("pLuaStates 100\nAsyncRequestWorkerFactor 100").pages(&pages).run(
        |server| {
            let mut connections = Vec::new();
            for number in 0..20 {
                let page = if number % 2 == 0 { "fetch" } else { "socket" };
                let mut connection = server.connect();
                connection.send(format!("GET /{page}.plua HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
                connections.push(connection);
            }
            let bound = Duration::from_secs(10);
            until("all have asked", bound, || come.load(Ordering::SeqCst) == 20);
            connections.truncate(10);
            until("those whose visitors have left hang up", bound, || gone.load(Ordering::SeqCst) == 10);
            assert_eq!(server.get("/steady.plua").text(), "steady");
            server.httpd().restart().unwrap();
            until("all have hung up", bound, || gone.load(Ordering::SeqCst) == 20);
            assert_eq!(server.get("/steady.plua").text(), "steady");
        },
    );
}
