//! Restarts and lost processes while visitors ask, and what becomes of every single request.
//!
//! `PLUA_RESTART_SECONDS=60` restarts for a minute instead of a few seconds; `make test-restarts` does so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::env;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::traffic::{Tally, Visitor, under_load};
use common::wait::until;
use common::{Mpm, Response, Server, Setup, httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const VISITORS: usize = 8;

/// Without short tags, so that they are the same while a configuration without those holds.
const PAGES: &[(&str, &str)] = &[
    ("steady.plua", "<?lua sleep(0.003) ?>steady <?lua= parseGet().q ?>"),
    ("outer.plua", "outer <?lua include('inner.plua') ?> <?lua= parseGet().q ?>"),
    ("inner.plua", "inner <?lua= 6 * 7 ?>"),
    ("large.plua", "<?lua for i = 1, 20000 do ?>0123456789<?lua end ?><?lua= parseGet().q ?>"),
    ("pieces.plua", "<?lua for i = 1, 5 do echo(i) flush() sleep(0.002) end ?> <?lua= parseGet().q ?>"),
];

/// Asks for the pages in turn; every byte must be right.
fn visit(visitor: &mut Visitor, number: usize, count: usize) {
    visit_or(visitor, number, count, |_| false);
}

/// Asks for the pages in turn; every byte must be right, or the answer one of those allowed.
fn visit_or(visitor: &mut Visitor, number: usize, count: usize, is_allowed: impl Fn(&Response) -> bool) {
    let q = format!("{number}-{count}");
    let (page, body) = match count % 4 {
        0 => ("steady", format!("steady {q}")),
        1 => ("outer", format!("outer inner 42 {q}")),
        2 => ("large", "0123456789".repeat(20_000) + &q),
        _ => ("pieces", format!("12345 {q}")),
    };
    visitor.expect(&format!("/{page}.plua?q={q}"), |answer| {
        answer.status == 200 && answer.text() == body || is_allowed(answer)
    });
}

/// What visitors see of a page that the server's stop ended before any of it was sent.
fn is_told_of_the_stop(answer: &Response) -> bool {
    answer.status == 503 && answer.text().contains("The server stops")
}

fn seconds() -> u64 {
    env::var("PLUA_RESTART_SECONDS").map_or(5, |seconds| seconds.parse().unwrap())
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

/// Sends httpd a signal every second while visitors ask.
fn restarted_every_second(server: &mut Server, signal: Signal) -> Tally {
    let parent = pid(server.httpd().pid());
    let visit = |visitor: &mut Visitor, number, count| {
        visit_or(visitor, number, count, |answer| signal == Signal::SIGHUP && is_told_of_the_stop(answer));
    };
    let (tally, ()) = under_load(server.httpd().port(), VISITORS, visit, || {
        for _ in 0..seconds() {
            // The pause that the name tells of; after the last restart the new children serve for as long.
            thread::sleep(Duration::from_secs(1));
            kill(parent, signal).unwrap();
        }
        thread::sleep(Duration::from_secs(1));
    });
    assert!(server.httpd().is_running());
    assert!(tally.sent > 10 * VISITORS, "{tally}");
    assert_eq!((tally.wrong, tally.sent), (0, tally.answered + tally.lost), "{tally}");
    tally
}

fn setup(mpm: Mpm, processes: u32, threads: u32) -> Setup {
    httpd().mpm(mpm).children(processes, threads).pages(PAGES).lines("pLuaTimeout 20\nListenBacklog 511")
}

fn no_request_is_lost_on_graceful(what: &str, setup: Setup) {
    setup.run(|server| {
        let tally = restarted_every_second(server, Signal::SIGUSR1);
        tally.tell(&format!("{what}, graceful restarts every second for {} s", seconds()));
        assert_eq!(tally.lost, 0, "{tally}");
    });
}

#[test]
fn graceful_restarts_every_second_lose_no_request_of_threads() {
    no_request_is_lost_on_graceful("event MPM", setup(Mpm::Event, 2, 10));
}

#[test]
fn graceful_restarts_every_second_lose_no_request_of_processes() {
    no_request_is_lost_on_graceful("prefork MPM", setup(Mpm::Prefork, 8, 1));
}

#[test]
fn hard_restarts_every_second_lose_only_what_was_in_hand_and_the_server_goes_on() {
    setup(Mpm::Event, 2, 10).run(|server| {
        // A child that is told to end while its threads are busy may be hurried.
        server.tolerate("AH00045:");
        // Of httpd's own children of the event MPM that are cut off under load, one in a few hundred crashes while it
        // ends, without our module as well.
        server.tolerate("exit signal Segmentation fault");
        // A thread that still has a connection may find that the child's listener is gone.
        server.tolerate("apr_pollset_add failure");
        let tally = restarted_every_second(server, Signal::SIGHUP);
        tally.tell(&format!("event MPM, hard restarts every second for {} s", seconds()));
        assert!(tally.lost <= seconds() as usize * VISITORS, "{tally}");
        assert_eq!(server.get("/steady.plua?q=1").text(), "steady 1");
    });
}

/// Kills one child after the other while visitors ask.
fn killed_children_lose_only_what_they_had(what: &str, setup: Setup) {
    setup.run(|server| {
        server.tolerate("AH10392: children are killed successively");
        let mut killed = 0;
        let port = server.httpd().port();
        let (tally, ()) = under_load(port, VISITORS, visit, || {
            let end = Instant::now() + Duration::from_secs(4);
            while Instant::now() < end {
                // For as long a child lives.
                thread::sleep(Duration::from_millis(400));
                let children = server.httpd().children();
                // httpd waits a moment before it starts another one when several have ended so.
                let Some(victim) = children.get(killed % children.len().max(1)).copied() else { continue };
                kill(pid(victim), Signal::SIGKILL).unwrap();
                killed += 1;
            }
        });
        tally.tell(&format!("{what}, {killed} children killed with KILL"));
        assert!(tally.sent > 10 * VISITORS && killed > 0, "{tally}");
        // Each visitor has one request under way.
        assert!(tally.lost <= killed * VISITORS, "{tally}, {killed} killed");
        assert_eq!((tally.wrong, tally.sent), (0, tally.answered + tally.lost), "{tally}");
        assert!(server.httpd().is_running());
        for q in 0..20 {
            assert_eq!(server.get(&format!("/steady.plua?q={q}")).text(), format!("steady {q}"));
        }
    });
}

#[test]
fn a_killed_child_of_threads_loses_only_what_it_had_in_hand() {
    killed_children_lose_only_what_they_had("event MPM of 3 children", setup(Mpm::Event, 3, 10));
}

#[test]
fn a_killed_child_without_threads_loses_only_its_one_request() {
    setup(Mpm::Prefork, 8, 1).run(|server| {
        server.tolerate("AH10392: children are killed successively");
        let mut killed = 0;
        let port = server.httpd().port();
        let (tally, ()) = under_load(port, VISITORS, visit, || {
            for _ in 0..10 {
                // For as long a child lives.
                thread::sleep(Duration::from_millis(300));
                if let Some(victim) = server.httpd().children().first() {
                    kill(pid(*victim), Signal::SIGKILL).unwrap();
                    killed += 1;
                }
            }
        });
        tally.tell(&format!("prefork MPM of 8 children, {killed} killed with KILL"));
        assert!(tally.lost <= killed, "{tally}, {killed} killed");
        assert_eq!((tally.wrong, tally.sent), (0, tally.answered + tally.lost), "{tally}");
        assert!(server.httpd().is_running());
    });
}

/// Kilobytes of a process's memory that are of no file.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_prepared_for_the_children_goes_with_its_configuration() {
    // As large as the code that a configuration read has compiled, if it stayed.
    const MOST_KILOBYTES: u64 = 500;
    let hosts: String = (0..5).map(|n| format!("<VirtualHost *>\nServerName host{n}\n</VirtualHost>\n")).collect();
    httpd().mpm(Mpm::Event).children(1, 2).pages(PAGES).lines(&hosts).run(|server| {
        let parent = server.httpd().pid();
        let mut restart = || {
            server.httpd().graceful().unwrap();
            assert_eq!(server.get("/steady.plua?q=1").text(), "steady 1");
            memory(parent)
        };
        // The first ones bring malloc to its size.
        let before = (0..5).map(|_| restart()).max().unwrap();
        let after = (0..10).map(|_| restart()).max().unwrap();
        assert!(after < before + MOST_KILOBYTES, "{before} KB, then {after} KB");
    });
}

/// What `httpd -k graceful` says, which `apachectl graceful` runs: its success and its words.
fn ask_for_graceful(server: &mut Server) -> (bool, String) {
    let httpd = server.httpd();
    let installation = private_httpd::Installation::find().unwrap();
    let run = Command::new(installation.program())
        .args(["-k", "graceful", "-f"])
        .arg(httpd.root().join("httpd.conf"))
        .output()
        .unwrap();
    let words = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (run.status.success(), words)
}

#[test]
fn a_wrong_configuration_is_refused_at_the_reload_and_the_old_one_goes_on() {
    const LINES: &str = "<Files *.plua>\nSetHandler plua\n</Files>\n";
    httpd().children(2, 10).pages(PAGES).pages(&[("tags.plua", "<?= 1 ?>")]).run(|server| {
        let before = server.httpd().children();
        let parent = server.httpd().pid();
        let (tally, ()) = under_load(server.httpd().port(), VISITORS, visit, || {
            for wrong in [
                "pLuaStates many",
                "pLuaTimeout -1",
                "<VirtualHost *>\npLuaMultiDomain 0\n</VirtualHost>",
                "pLuaNone 1",
            ] {
                server.httpd().configure(&format!("{LINES}pLuaShortHand 0\n{wrong}\n")).unwrap();
                let (accepted, words) = ask_for_graceful(server);
                let directive = wrong.split_whitespace().find(|word| word.starts_with("pLua")).unwrap();
                assert!(!accepted && words.contains("Syntax error on line") && words.contains(directive), "{words}");
                // A restart, which is not to come, would have come by then.
                thread::sleep(Duration::from_millis(200));
                assert_eq!(server.get("/tags.plua").text(), "1", "the old configuration holds");
            }
            assert_eq!((server.httpd().pid(), server.httpd().children()), (parent, before));
            server.httpd().configure(&format!("{LINES}pLuaShortHand 0\n")).unwrap();
            let (accepted, words) = ask_for_graceful(server);
            assert!(accepted, "{words}");
            let patience = Duration::from_secs(10);
            until("the right configuration holds", patience, || server.get("/tags.plua").text() == "<?= 1 ?>");
            server.httpd().configure(LINES).unwrap();
            assert!(ask_for_graceful(server).0);
            until("the first configuration is back", patience, || server.get("/tags.plua").text() == "1");
        });
        tally.tell("wrong configurations at the reload");
        assert_eq!((tally.wrong, tally.lost, tally.sent), (0, 0, tally.answered), "{tally}");
    });
}

/// Pages that go on for longer than a server may take to stop, each after it has said that it runs.
const LONG: &[(&str, &str)] = &[
    ("loop.plua", "runs<? flush() while true do end ?>"),
    ("caught.plua", "runs<? flush() while true do pcall(function() while true do end end) end ?>"),
    ("coroutine.plua", "runs<? flush() while true do coroutine.wrap(function() for i = 1, 1e6 do end end)() end ?>"),
    ("sleep.plua", "runs<? flush() sleep(60) ?>"),
    ("command.plua", "runs<? flush() os.execute('sleep 60') ?>"),
    ("reading.plua", "runs<? flush() io.popen('sleep 60'):read('*a') ?>"),
    ("pipe.plua", "runs<? flush() io.open('fifo'):read('*a') ?>"),
    ("body.plua", "runs<? flush() getRequestBody() ?>"),
    ("sending.plua", "runs<? flush() local x = ('x'):rep(1e6) while true do echo(x) flush() end ?>"),
];

/// A server whose threads all are in such pages, asked by clients that wait.
fn with_long_pages(mpm: Mpm, lines: &str, then: impl Fn(&mut Server)) {
    httpd().mpm(mpm).children(1, 12).lines(lines).pages(LONG).pages(PAGES).run(|server| {
        // Nobody writes to it.
        nix::unistd::mkfifo(&server.docroot().join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        server.tolerate("AH00045: child process");
        let asked: Vec<_> = LONG
            .iter()
            .map(|(page, _)| {
                let mut connection = server.connect();
                if *page == "body.plua" {
                    // It runs when its body is there, which is waited for once it is asked for.
                    connection.send(b"POST /body.plua HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n");
                    connection.send(b"Expect: 100-continue\r\n\r\n");
                    connection.until(b"100 Continue\r\n\r\n");
                    connection.send(b"bod");
                } else {
                    connection.send(format!("GET /{page} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
                    connection.until(b"runs");
                }
                connection
            })
            .collect();
        let begun = Instant::now();
        then(server);
        let took = begun.elapsed();
        // The first of httpd's own measures against children that do not stop comes after three seconds.
        assert!(took < Duration::from_millis(2900), "{took:?}");
        drop(asked);
        let log = server.error_log();
        assert!(!log.contains("AH00045"), "{log}");
        assert!(log.contains("[plua:notice]") && log.contains("Server stop: The server stops"), "{log}");
    });
}

/// With and without limits of the pages' own.
const LIMITS: [&str; 2] = ["", "pLuaTimeout 50\npLuaMemoryLimit 100000\npLuaOutputLimit 1000000000"];

#[test]
fn a_hard_restart_waits_for_no_page() {
    for mpm in [Mpm::Event, Mpm::Worker] {
        for lines in LIMITS {
            with_long_pages(mpm, lines, |server| {
                server.httpd().restart().unwrap();
                assert_eq!(server.get("/steady.plua?q=1").text(), "steady 1");
            });
        }
    }
}

#[test]
fn a_stop_waits_for_no_page() {
    for mpm in [Mpm::Event, Mpm::Worker] {
        for lines in LIMITS {
            with_long_pages(mpm, lines, |server| {
                kill(pid(server.httpd().pid()), Signal::SIGTERM).unwrap();
                until("httpd ends", Duration::from_secs(15), || !server.httpd().is_running());
            });
        }
    }
}

#[test]
fn a_graceful_restart_lets_pages_go_on() {
    let slow = "runs<? flush() for i = 1, 1000 do local f = io.open('go') if f then f:close() break end sleep(0.01) end ?>, done";
    httpd().pages(&[("slow.plua", slow)]).pages(PAGES).run(|server| {
        let mut connection = server.connect();
        connection.send(b"GET /slow.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.until(b"runs\r\n");
        server.httpd().graceful().unwrap();
        assert_eq!(server.get("/steady.plua?q=1").text(), "steady 1");
        server.put("go", "");
        connection.until(b", done\r\n0\r\n\r\n");
    });
}
