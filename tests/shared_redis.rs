//! Stores on a Redis in httpd: all its processes and other servers find the same in them, whatever becomes of the Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
#![allow(clippy::print_stderr, reason = "the figures are for those who ask for them")]

mod common;
mod redis_server;

use std::panic::catch_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::traffic::under_load;
use common::wait::{self, until};
use common::{Mpm, Server, httpd, with_httpd};
use redis_server::Redis;
use tempfile::TempDir;

/// A page that counts.
const COUNT: (&str, &str) = (
    "count.plua",
    "<? setContentType('text/plain') ?><?= ('%d'):format(plua.shared.cart:incr(plua.get('key', 'n'), 1, 0)) ?>",
);

/// A page that says what is under a key.
const SHOW: (&str, &str) = ("show.plua", "<?= tostring(plua.shared.cart:get(plua.get('key', 'n'))) ?>");

fn count(server: &Server, host: &str) -> String {
    server.get_from(host, "/count.plua").text()
}

#[test]
fn all_processes_of_two_servers_count_together_over_restarts() {
    let Some(redis) = Redis::start(&[]) else { return };
    let lines = format!("pLuaShared cart {}", redis.address());
    for (mpm, processes, threads) in [(Mpm::Event, 2, 10), (Mpm::Prefork, 8, 1)] {
        redis.command(&["flushall"]);
        let setup = || httpd().mpm(mpm).children(processes, threads).lines(&lines).pages(&[COUNT, SHOW]);
        setup().run(|one| {
            setup().run(|other| {
                let ports = [one.httpd().port(), other.httpd().port()];
                let visit = |visitor: &mut common::traffic::Visitor, _, _| {
                    visitor.expect("/count.plua", |answer| answer.status == 200);
                };
                let (first, second) = thread::scope(|scope| {
                    // The pause is the load.
                    let pause = || thread::sleep(Duration::from_millis(500));
                    let second = scope.spawn(move || under_load(ports[1], 4, visit, pause).0);
                    (under_load(ports[0], 4, visit, || one.httpd().graceful().unwrap()).0, second.join().unwrap())
                });
                assert_eq!((first.wrong, first.lost, second.wrong, second.lost), (0, 0, 0, 0), "{first} {second}");
                let all = (first.answered + second.answered).to_string();
                // httpd closes connections that it is about to keep.
                one.tolerate("apr_pollset_add failure");
                one.httpd().restart().unwrap();
                assert_eq!([one.get("/show.plua").text(), other.get("/show.plua").text()], [all.as_str(), &all]);
            });
        });
    }
}

#[test]
fn hosts_have_their_own_keys_and_those_that_the_server_declares_but_a_sandbox_only_its_own() {
    let Some(redis) = Redis::start(&[]) else { return };
    let address = redis.address();
    let host =
        |name: &str, lines: &str| format!("<VirtualHost *:${{PORT}}>\nServerName {name}\n{lines}\n</VirtualHost>\n");
    let lines = [
        format!("pLuaShared all {address}\n"),
        host("one.test", &format!("pLuaShared cart {address}")),
        host("two.test", &format!("pLuaShared cart {address}")),
        host("three.test", &format!("pLuaShared cart {address}\npLuaSandbox On")),
    ]
    .concat();
    let all = (
        "all.plua",
        "<? local ok, n = pcall(function() return plua.shared.all:incr('n', 1, 0) end) ?><?= ok and ('%d'):format(n) or 'none' ?>",
    );
    with_httpd(&lines, &[COUNT, all], |server| {
        for name in ["one.test", "two.test", "three.test"] {
            assert_eq!([count(server, name), count(server, name)], ["1", "2"], "{name}");
        }
        let all = |name: &str| server.get_from(name, "/all.plua").text();
        assert_eq!([all("one.test"), all("two.test"), all("three.test")], ["1", "2", "none"]);
        let mut keys: Vec<String> = redis.command(&["keys", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        assert_eq!(keys, ["plua::all::n", "plua:one.test:cart::n", "plua:three.test:cart::n", "plua:two.test:cart::n"]);
        // One process has one connection for all its hosts.
        let clients = redis.command(&["client", "list", "type", "normal"]);
        assert!(clients.lines().filter(|line| !line.contains("cmd=client")).count() <= server.httpd().children().len());
    });
}

#[test]
fn a_wrong_address_stops_the_start_with_a_sentence_and_without_the_password() {
    for (lines, reason) in [
        ("pLuaShared cart redis://:secret@host:x", "pLuaShared: store 'cart': 'x' is no port of 'host'"),
        ("pLuaShared cart http://:secret@host", "pLuaShared: store 'cart': a Redis is redis://"),
        (
            "pLuaShared cart redis://secret@host",
            "pLuaShared: store 'cart': before the @ stand user:password or :password",
        ),
        ("pLuaShared redis://:secret@host", "pLuaShared: 'redis://...' is not a name and a size"),
    ] {
        let Some((status, output)) = httpd().lines(lines).check() else { return };
        assert!(status == 1 && output.contains(reason) && !output.contains("secret"), "{lines}: {output}");
    }
    let host = |lines| format!("<VirtualHost *:${{PORT}}>\nServerName {lines}\n</VirtualHost>\n");
    let lines =
        host("one.test\npLuaShared cart redis://:secret@one") + &host("ONE.test\npLuaShared cart redis://:secret@two");
    let problem = catch_unwind(|| httpd().lines(&lines).run(|_| {})).unwrap_err();
    let problem = problem.downcast_ref::<String>().unwrap();
    let reason = "server one.test: another host of that name gives 'cart' another size or server";
    assert!(problem.contains(reason) && !problem.contains("secret"), "{problem}");
}

#[test]
fn a_server_that_is_not_there_fails_the_pages_that_ask_it_and_no_others() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lines = format!("pLuaShared cart redis://me:secret@127.0.0.1:{port}/2");
    with_httpd(&lines, &[COUNT, ("other.plua", "other")], |server| {
        assert_eq!(server.get("/other.plua").text(), "other");
        server.expect(&format!("plua.shared.cart: redis://127.0.0.1:{port}: connect: connection refused"));
        let seen = server.get("/count.plua");
        assert_eq!(seen.status, 500);
        assert!(!seen.text().contains("secret") && !server.error_log().contains("secret"));
    });
}

#[test]
fn pages_that_wait_for_a_redis_leave_the_threads_to_others() {
    if plua::LUA == "Lua 5.1" {
        return;
    }
    let Some(redis) = Redis::start(&[]) else { return };
    let lines = format!("pLuaShared cart {}\npLuaStates 100\nAsyncRequestWorkerFactor 100", redis.address());
    let other = ("other.plua", "other");
    httpd().mpm(Mpm::Event).children(1, 4).lines(&lines).pages(&[COUNT, SHOW, other]).run(|server| {
        assert_eq!(count(server, "x"), "1");
        redis.pause();
        let server = &*server;
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..20).map(|_| scope.spawn(move || count(server, "x"))).collect();
            // Of four threads, with more pages than that in wait.
            for _ in 0..50 {
                assert_eq!(server.get("/other.plua").text(), "other");
            }
            redis.go_on();
            let mut seen: Vec<u32> = waiting.into_iter().map(|page| page.join().unwrap().parse().unwrap()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (2..22).collect::<Vec<_>>());
        });
    });
}

/// Ends a Redis and starts it again while visitors put values, and looks for every one of which a visitor was told.
fn a_redis_that_is_ended_loses_no_value(end: impl Fn(&mut Redis), mpm: Mpm, processes: u32, threads: u32) {
    const VISITORS: usize = 6;
    let kept = ["--appendonly", "yes", "--appendfsync", "always", "--requirepass", "secret"];
    let Some(mut redis) = Redis::start(&kept) else { return };
    let put = (
        "put.plua",
        "<? local key, n = plua.get('key'), plua.get('n') local cart = plua.shared.cart
        local fine, problem = pcall(function() cart:set(key, n .. ('x'):rep(n % 700)) cart:incr(key .. 'c', 1, 0) end) ?><?= fine and 'done' or problem ?>",
    );
    let told: Vec<AtomicU64> = (0..VISITORS).map(|_| AtomicU64::new(0)).collect();
    let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let lines = format!("pLuaShared cart {}", redis.address().replace("redis://", "redis://:secret@"));
    httpd().mpm(mpm).children(processes, threads).lines(&lines).pages(&[put, SHOW]).run(|server| {
        let (tally, ()) = under_load(
            server.httpd().port(),
            VISITORS,
            |visitor, number, turn| {
                let n = turn as u64 + 1;
                let path = format!("/put.plua?key=k{number}&n={n}");
                let Some(answer) = visitor.get(&path) else { return };
                match answer.text().as_str() {
                    "done" => {
                        told[number].store(n, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    why if why.contains(": plua.shared.cart: redis://127.0.0.1:") => {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => visitor.wrong(&path, &answer),
                }
            },
            || {
                for _ in 0..3 {
                    let before = done.load(Ordering::SeqCst);
                    until("values are put", Duration::from_secs(60), || done.load(Ordering::SeqCst) > before + 50);
                    let before = failed.load(Ordering::SeqCst);
                    end(&mut redis);
                    until("pages are told", Duration::from_secs(60), || failed.load(Ordering::SeqCst) > before);
                    redis.start_again();
                }
                let before = done.load(Ordering::SeqCst);
                until("values are put again", Duration::from_secs(60), || done.load(Ordering::SeqCst) > before + 50);
            },
        );
        assert_eq!((tally.wrong, tally.lost), (0, 0), "{tally}");
        tally.tell("a Redis ended and started again while pages write to it");
        eprintln!("{} put, {} told that it was gone", done.load(Ordering::SeqCst), failed.load(Ordering::SeqCst));
        for (number, told) in told.iter().enumerate() {
            let told = told.load(Ordering::SeqCst);
            let seen = server.get(&format!("/show.plua?key=k{number}")).text();
            let n: u64 = seen.trim_end_matches('x').parse().unwrap_or_else(|_| panic!("{seen:?}"));
            // One that failed may have been done.
            assert!(n >= told && seen == format!("{n}{}", "x".repeat(n as usize % 700)), "told {told}, found {seen:?}");
        }
        let counted: f64 = (0..VISITORS)
            .map(|number| server.get(&format!("/show.plua?key=k{number}c")).text().parse::<f64>().unwrap())
            .sum();
        let (done, failed) = (done.load(Ordering::SeqCst) as f64, failed.load(Ordering::SeqCst) as f64);
        assert!((done..=done + failed).contains(&counted), "{counted} counted, {done} done, {failed} failed");
        assert!(!server.error_log().contains("secret"));
    });
}

#[test]
fn a_redis_that_is_stopped_and_started_under_load_loses_no_value() {
    a_redis_that_is_ended_loses_no_value(Redis::stop, Mpm::Event, 2, 5);
}

#[test]
fn a_redis_that_is_killed_and_started_under_load_loses_no_value() {
    a_redis_that_is_ended_loses_no_value(Redis::kill, Mpm::Prefork, 8, 1);
}

/// A certificate for localhost and its key, made now, valid for a day.
fn certificate() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let all = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(folder.path(), all(0o755)).unwrap();
    std::fs::set_permissions(folder.path().join("certificate.pem"), all(0o644)).unwrap();
    folder
}

#[test]
fn a_redis_is_spoken_with_by_tls_if_the_system_trusts_it() {
    let folder = certificate();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let tls = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate];
    let Some(redis) = Redis::start(&[&tls[..], &["--tls-auth-clients", "no", "--requirepass", "secret"]].concat())
    else {
        return;
    };
    let setup = |host: &str| {
        let lines = format!("pLuaShared cart rediss://:secret@{host}:{}", redis.port());
        httpd().lines(&lines).pages(&[COUNT])
    };
    let trusting = certificate.clone();
    let trusts =
        move |configuration: private_httpd::Configuration| configuration.environment("SSL_CERT_FILE", trusting);
    setup("localhost").change(trusts.clone()).run(|server| {
        assert_eq!([count(server, "x"), count(server, "x")], ["1", "2"]);
    });
    // Of another name, and of one that the system does not know.
    let refused = |server: &mut Server, host: &str| {
        server.expect(&format!("plua.shared.cart: rediss://{host}:{}: TLS: invalid peer certificate", redis.port()));
        assert_eq!(server.get("/count.plua").status, 500);
    };
    setup("127.0.0.1").change(trusts).run(|server| refused(server, "127.0.0.1"));
    setup("localhost").run(|server| refused(server, "localhost"));
    // Without TLS there is nothing to speak with.
    let lines = format!("pLuaShared cart redis://:secret@localhost:{}", redis.port());
    httpd().lines(&lines).pages(&[COUNT]).run(|server| {
        server.expect(&format!("plua.shared.cart: redis://localhost:{}: ", redis.port()));
        let begun = Instant::now();
        assert_eq!(server.get("/count.plua").status, 500);
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
}
