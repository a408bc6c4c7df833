//! Sessions in httpd: all its processes have the same, over restarts and lost processes, and no other host has them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::traffic::under_load;
use common::wait::until;
use common::{Mpm, httpd, virtual_host, with_httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A page that counts a visitor's clicks.
const CLICK: (&str, &str) = (
    "click.plua",
    "<? local s = plua.session s.clicks = (s.clicks or 0) + 1 setContentType('text/plain') ?><?= s.clicks ?>",
);

/// A page that tells how many there were.
const SHOW: (&str, &str) = ("show.plua", "<?= tostring(plua.session.clicks) ?>");

const MPMS: [(Mpm, u32, u32); 2] = [(Mpm::Event, 3, 5), (Mpm::Prefork, 6, 1)];

#[test]
fn clicks_of_many_tabs_are_counted_over_all_processes_and_restarts() {
    for (mpm, processes, threads) in MPMS {
        httpd().mpm(mpm).children(processes, threads).pages(&[CLICK, SHOW]).run(|server| {
            let cookie = server.get("/click.plua").cookie();
            let (tally, ()) = under_load(
                server.httpd().port(),
                4,
                |visitor, _, _| match visitor.ask("GET", "/click.plua", &[("Cookie", &cookie)], b"") {
                    Some(answer) if answer.status != 200 => visitor.wrong("/click.plua", &answer),
                    _ => {}
                },
                || {
                    server.httpd().graceful().unwrap();
                    server.httpd().graceful().unwrap();
                },
            );
            tally.tell("clicks in four tabs");
            assert_eq!((tally.wrong, tally.lost), (0, 0), "{tally}");
            let clicks = || server.get_as("x", "/show.plua", &cookie).text();
            assert_eq!(clicks(), (tally.answered + 1).to_string());
            // httpd's own words where a connection ends with its process.
            server.tolerate("apr_pollset_add failure");
            server.httpd().restart().unwrap();
            assert_eq!(server.get_as("x", "/show.plua", &cookie).text(), (tally.answered + 1).to_string());
        });
    }
}

#[test]
fn killed_processes_lose_no_click_and_hold_no_session() {
    const VISITORS: usize = 4;
    for (mpm, processes, threads) in MPMS {
        let told: Vec<AtomicU64> = (0..VISITORS).map(|_| AtomicU64::new(0)).collect();
        httpd().mpm(mpm).children(processes, threads).lines("ListenBacklog 511").pages(&[CLICK, SHOW]).run(|server| {
            server.tolerate("AH10392: children are killed successively");
            let cookies: Vec<String> = (0..VISITORS).map(|_| server.get("/click.plua").cookie()).collect();
            let (tally, ()) = under_load(
                server.httpd().port(),
                // Two tabs of each.
                2 * VISITORS,
                |visitor, number, _| {
                    let cookie = &cookies[number % VISITORS];
                    match visitor.ask("GET", "/click.plua", &[("Cookie", cookie)], b"") {
                        Some(answer) if answer.status == 200 => {
                            told[number % VISITORS].fetch_max(answer.text().parse().unwrap(), Ordering::SeqCst);
                        }
                        // A session that is held by a killed process would be told of by 503.
                        Some(answer) => visitor.wrong("/click.plua", &answer),
                        None => {}
                    }
                },
                || {
                    for turn in 0..20_usize {
                        let all = || told.iter().map(|told| told.load(Ordering::SeqCst)).sum::<u64>();
                        let before = all();
                        until("visitors are answered", Duration::from_secs(30), || all() > before + 8);
                        let children = server.httpd().children();
                        if let Some(victim) = children.get(turn % children.len().max(1)) {
                            let _ = kill(Pid::from_raw(i32::try_from(*victim).unwrap()), Signal::SIGKILL);
                        }
                    }
                },
            );
            tally.tell("20 processes killed while they count clicks");
            assert_eq!(tally.wrong, 0, "{tally}");
            for (cookie, told) in cookies.iter().zip(&told) {
                let seen: u64 = server.get_as("x", "/show.plua", cookie).text().parse().unwrap();
                let told = told.load(Ordering::SeqCst);
                // A request that was cut off may have counted.
                assert!((told..=told + tally.repeated as u64 + tally.lost as u64).contains(&seen), "{told} and {seen}");
            }
        });
    }
}

#[test]
fn a_session_of_one_host_is_none_of_another() {
    let host = |name: &str, lines: &str| virtual_host("PORT", name, lines);
    let lines = [
        "pLuaShared visitors 1M\n".to_owned(),
        host("one.test", ""),
        host("two.test", ""),
        host("three.test", "pLuaSession visitors"),
        host("four.test", "pLuaSession visitors"),
        host("five.test", "pLuaSandbox On"),
        host("six.test", "pLuaSandbox On\npLuaShared own 1M\npLuaSession own"),
    ]
    .concat();
    with_httpd(&lines, &[CLICK, SHOW], |server| {
        let hosts = ["one.test", "two.test", "three.test", "four.test", "five.test", "six.test"];
        for host in hosts {
            let cookie = server.get_from(host, "/click.plua").cookie();
            for other in hosts {
                let seen = server.get_as(other, "/show.plua", &cookie).text();
                assert_eq!(seen, if other == host { "1" } else { "nil" }, "{host} and {other}");
            }
        }
    });
}

#[test]
fn a_sandboxed_host_keeps_sessions_in_no_store_of_the_servers() {
    let lines = "pLuaShared visitors 1M\n<VirtualHost *:${PORT}>\nServerName one.test\npLuaSandbox On\npLuaSession visitors\n</VirtualHost>\n";
    let problem = std::panic::catch_unwind(|| httpd().lines(lines).run(|_| {}));
    let Err(problem) = problem else { return };
    let problem = problem.downcast_ref::<String>().unwrap();
    assert!(
        problem.contains("sessions are to be kept in 'visitors' (pLuaSession), which the host has not"),
        "{problem}"
    );
}

#[test]
fn on_tls_the_cookie_is_the_hosts_alone() {
    // A server before this one speaks TLS: so its ServerName says.
    let lines = "<VirtualHost *:${PORT}>\nServerName https://one.test\n</VirtualHost>\n\
                 <VirtualHost *:${PORT}>\nServerName https://two.test\npLuaSessionCookie shop /shop/\n</VirtualHost>\n";
    with_httpd(lines, &[CLICK, SHOW], |server| {
        let answer = server.get_from("one.test", "/click.plua");
        let set = answer.header("Set-Cookie").unwrap();
        assert!(set.starts_with("__Host-plua_session="), "{set}");
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
        assert_eq!(server.get_as("one.test", "/show.plua", &answer.cookie()).text(), "1");
        // One that another host of the domain could have set is none.
        let plain = answer.cookie().replace("__Host-", "");
        assert_eq!(server.get_as("one.test", "/show.plua", &plain).text(), "nil");
        let answer = server.get_from("two.test", "/click.plua");
        let set = answer.header("Set-Cookie").unwrap();
        assert!(set.starts_with("shop=") && set.ends_with("; Path=/shop/; HttpOnly; SameSite=Lax; Secure"), "{set}");
    });
}

#[test]
fn no_cache_before_the_page_gives_a_session_to_another() {
    let disk = "CacheRoot ${ROOT}/cache\nCacheEnable disk /\nCacheDefaultExpire 60\nCacheIgnoreNoLastMod On";
    httpd().module("cache").module("cache_disk").module("deflate").lines(disk).pages(&[CLICK, SHOW]).run(|server| {
        let ada = server.get("/click.plua").cookie();
        let bob = server.get("/click.plua").cookie();
        assert_ne!(ada, bob);
        assert_eq!(server.get_as("x", "/click.plua", &ada).text(), "2");
        assert_eq!(server.get_as("x", "/show.plua", &ada).text(), "2");
        assert_eq!(server.get_as("x", "/show.plua", &bob).text(), "1");
        let answer = server.request(
            "GET",
            "/show.plua",
            &[("Host", "x"), ("Cookie", &ada), ("Accept-Encoding", "gzip"), ("Connection", "close")],
            b"",
        );
        assert_eq!(answer.header("Cache-Control"), Some("private, no-cache"));
    });
}

#[test]
fn a_failed_page_and_an_error_document_send_the_cookie_too() {
    let fails = ("fails.plua", "<? plua.session.clicks = 7 error('on purpose') ?>");
    let refuses = ("refuses.plua", "<? plua.session.clicks = 8 httpError(403) ?>");
    for lines in ["", "pLuaError Off"] {
        with_httpd(lines, &[fails, refuses, SHOW], |server| {
            server.expect("on purpose");
            for (page, status, clicks) in [("/fails.plua", 500, "7"), ("/refuses.plua", 403, "8")] {
                let answer = server.get(page);
                assert_eq!(answer.status, status);
                assert_eq!(server.get_as("x", "/show.plua", &answer.cookie()).text(), clicks, "{lines}");
            }
        });
    }
}
