//! Sessions on a Redis in httpd: servers that have it in common serve the same visitors, whatever becomes of any of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
#![allow(clippy::print_stderr, reason = "the figures are for those who ask for them")]

mod common;
mod redis_server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::traffic::{Tally, Visitor, under_load};
use common::wait::{self, until};
use common::{Mpm, Setup, httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis_server::Redis;

/// A page that counts a visitor's clicks.
const CLICK: (&str, &str) = (
    "click.plua",
    "<? local s = plua.session s.clicks = (s.clicks or 0) + 1 setContentType('text/plain') ?><?= s.clicks ?>",
);

/// A page that tells how many there were.
const SHOW: (&str, &str) = ("show.plua", "<?= tostring(plua.session.clicks) ?>");

/// A page that keeps the session for longer than it may.
const HOLDS: (&str, &str) = ("holds.plua", "<? plua.session:lock() echo('held') flush() sleep(100) ?>");

const MPMS: [(Mpm, u32, u32); 2] = [(Mpm::Event, 2, 5), (Mpm::Prefork, 6, 1)];

fn setup((mpm, processes, threads): (Mpm, u32, u32), address: &str) -> Setup {
    let lines = format!("pLuaShared visitors {address}\npLuaSession visitors\npLuaWaitLimit 200");
    httpd().mpm(mpm).children(processes, threads).lines(&lines).pages(&[CLICK, SHOW, HOLDS])
}

/// Clicks in several tabs, until `during` is over.
fn clicks(port: u16, cookie: &str, during: impl FnOnce()) -> Tally {
    let visit = |visitor: &mut Visitor, _, _| match visitor.ask("GET", "/click.plua", &[("Cookie", cookie)], b"") {
        Some(answer) if answer.status != 200 => visitor.wrong("/click.plua", &answer),
        _ => {}
    };
    under_load(port, 3, visit, during).0
}

#[test]
fn two_servers_serve_one_session_in_turn_and_at_once() {
    let Some(redis) = Redis::start(&[]) else { return };
    for mpm in MPMS {
        setup(mpm, &redis.address()).run(|one| {
            setup(mpm, &redis.address()).run(|other| {
                let cookie = one.get("/click.plua").cookie();
                for n in 2..=20 {
                    let server = if n % 2 == 0 { &*other } else { &*one };
                    assert_eq!(server.get_as("x", "/click.plua", &cookie).text(), n.to_string());
                }
                let ports = [one.httpd().port(), other.httpd().port()];
                let (first, second) = thread::scope(|scope| {
                    // The pause is the load.
                    let first = scope.spawn(|| clicks(ports[0], &cookie, || thread::sleep(Duration::from_millis(700))));
                    let second = clicks(ports[1], &cookie, || other.httpd().graceful().unwrap());
                    (first.join().unwrap(), second)
                });
                first.tell("clicks at one server");
                second.tell("clicks at the other, restarted meanwhile");
                assert_eq!((first.wrong, first.lost, second.wrong, second.lost), (0, 0, 0, 0), "{first} {second}");
                let all = (20 + first.answered + second.answered).to_string();
                let seen = [&*one, &*other].map(|server| server.get_as("x", "/show.plua", &cookie).text());
                assert_eq!(seen, [all.as_str(), &all]);
            });
        });
    }
}

#[test]
fn a_killed_process_holds_its_visitors_session_for_half_a_minute_and_no_longer() {
    let Some(redis) = Redis::start(&[]) else { return };
    setup((Mpm::Event, 1, 5), &redis.address()).run(|one| {
        setup((Mpm::Event, 1, 5), &redis.address()).run(|other| {
            let cookie = one.get("/click.plua").cookie();
            let mut holds = one.connect();
            holds.send(format!("GET /holds.plua HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n").as_bytes());
            until("it is held", Duration::from_secs(10), || redis.command(&["keys", "*:l{*"]).contains(":l{"));
            for child in one.httpd().children() {
                kill(Pid::from_raw(i32::try_from(child).unwrap()), Signal::SIGKILL).unwrap();
            }
            let killed = Instant::now();
            other.expect("plua.session: another request of the same visitor has held the session for 10 seconds");
            assert_eq!(other.get_as("x", "/click.plua", &cookie).status, 503);
            // Who only reads waits for nobody.
            assert_eq!(other.get_as("x", "/show.plua", &cookie).text(), "1");
            until("it is free", Duration::from_secs(60), || other.get_as("x", "/click.plua", &cookie).text() == "2");
            assert!((10..35).contains(&killed.elapsed().as_secs()), "{:?}", killed.elapsed());
        });
    });
}

#[test]
fn a_redis_that_is_ended_and_started_under_load_loses_no_click() {
    const VISITORS: usize = 4;
    for (mpm, end) in MPMS.into_iter().zip([Redis::stop, Redis::kill]) {
        let kept = ["--appendonly", "yes", "--appendfsync", "always", "--requirepass", "secret"];
        let Some(mut redis) = Redis::start(&kept) else { return };
        let address = redis.address().replace("redis://", "redis://:secret@");
        let told: Vec<AtomicU64> = (0..VISITORS).map(|_| AtomicU64::new(1)).collect();
        let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        setup(mpm, &address).run(|server| {
            server.tolerate("plua.session: redis://127.0.0.1:");
            // A lock whose owner was not told that he has it ends by its time.
            server.tolerate("plua.session: another request of the same visitor has held the session for 10 seconds");
            let cookies: Vec<String> = (0..VISITORS).map(|_| server.get("/click.plua").cookie()).collect();
            let (tally, ()) = under_load(
                server.httpd().port(),
                VISITORS,
                |visitor, number, _| match visitor.ask("GET", "/click.plua", &[("Cookie", &cookies[number])], b"") {
                    Some(answer) if answer.status == 200 => {
                        told[number].store(answer.text().parse().unwrap(), Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(answer) if answer.status == 503 => {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(answer) => visitor.wrong("/click.plua", &answer),
                    None => {}
                },
                || {
                    for _ in 0..3 {
                        let before = done.load(Ordering::SeqCst);
                        until("clicks are counted", Duration::from_secs(60), || {
                            done.load(Ordering::SeqCst) > before + 50
                        });
                        let before = failed.load(Ordering::SeqCst);
                        end(&mut redis);
                        until("pages are told", Duration::from_secs(60), || failed.load(Ordering::SeqCst) > before);
                        redis.start_again();
                    }
                    let before = done.load(Ordering::SeqCst);
                    until("clicks are counted again", Duration::from_secs(60), || {
                        done.load(Ordering::SeqCst) > before + 50
                    });
                },
            );
            tally.tell("clicks while a Redis is ended and started again");
            let failed = failed.load(Ordering::SeqCst);
            eprintln!("{} counted, {failed} told that it was gone", done.load(Ordering::SeqCst));
            assert_eq!((tally.wrong, tally.lost), (0, 0), "{tally}");
            for (cookie, told) in cookies.iter().zip(&told) {
                let seen: u64 = server.get_as("x", "/show.plua", cookie).text().parse().unwrap();
                let told = told.load(Ordering::SeqCst);
                // One that failed may have been counted.
                assert!((told..=told + failed).contains(&seen), "{told} and {seen}");
            }
            assert!(!server.error_log().contains("secret"));
        });
    }
}
