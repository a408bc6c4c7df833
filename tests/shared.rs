//! Stores of the configuration in httpd: all its processes find the same in them, over restarts and lost processes, and no other
//! host does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::traffic::under_load;
use common::wait::until;
use common::{Mpm, Server, httpd, virtual_host, with_httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A page that counts, and tells which process has.
const COUNT: (&str, &str) =
    ("count.plua", "<? setContentType('text/plain') ?><?= plua.shared.cart:incr(plua.get('key', 'n'), 1, 0) ?>");

/// A page that says what is under a key.
const SHOW: (&str, &str) = ("show.plua", "<?= tostring(plua.shared.cart:get(plua.get('key', 'n'))) ?>");

const MPMS: [(Mpm, u32, u32); 2] = [(Mpm::Event, 2, 10), (Mpm::Prefork, 6, 1)];

fn count(server: &Server, host: &str) -> String {
    server.get_from(host, "/count.plua").text()
}

#[test]
fn all_processes_find_the_same_and_a_restart_of_either_kind_keeps_it() {
    for (mpm, processes, threads) in MPMS {
        let lines = "pLuaShared cart 1M";
        httpd().mpm(mpm).children(processes, threads).lines(lines).pages(&[COUNT, SHOW]).run(|server| {
            let (tally, ()) = under_load(
                server.httpd().port(),
                8,
                |visitor, _, _| visitor.expect("/count.plua", |answer| answer.status == 200),
                || {
                    server.httpd().graceful().unwrap();
                    server.httpd().graceful().unwrap();
                },
            );
            assert_eq!((tally.wrong, tally.lost), (0, 0), "{tally}");
            assert_eq!(server.get("/show.plua").text(), tally.answered.to_string());
            // httpd closes connections that it is about to keep.
            server.tolerate("apr_pollset_add failure");
            server.httpd().restart().unwrap();
            assert_eq!(server.get("/show.plua").text(), tally.answered.to_string());
        });
    }
}

#[test]
fn a_store_of_another_size_begins_empty_and_one_that_is_declared_no_more_is_gone() {
    httpd().mpm(Mpm::Event).children(1, 3).pages(&[COUNT]).lines("pLuaShared cart 1M").run(|server| {
        let parent = server.httpd().pid();
        let maps = || std::fs::read_to_string(format!("/proc/{parent}/maps")).unwrap();
        let stores = || maps().lines().filter(|line| line.contains("/dev/zero")).count();
        let with = |server: &mut Server, lines: &str| {
            let lines = format!("<FilesMatch \"\\.plua$\">\nSetHandler plua\n</FilesMatch>\n{lines}\n");
            server.httpd().configure(&lines).unwrap();
            server.httpd().graceful().unwrap();
        };
        assert_eq!([count(server, "x"), count(server, "x")], ["1", "2"]);
        let before = stores();
        with(server, "pLuaShared cart 2M");
        assert_eq!(count(server, "x"), "1");
        assert_eq!(stores(), before, "the parent has the old one still");
        with(server, "");
        assert_eq!(stores(), before - 1);
        assert_eq!(server.get("/count.plua").status, 500);
        server.expect("the host has no store 'cart'");
        with(server, "pLuaShared cart 2M");
        assert_eq!(count(server, "x"), "1");
    });
}

#[test]
fn hosts_have_their_own_and_what_the_server_declares_but_a_sandbox_only_its_own() {
    let host = |name: &str, lines: &str| virtual_host("PORT", name, lines);
    let lines = [
        "pLuaShared all 1M\n".to_owned(),
        host("one.test", "pLuaShared cart 1M"),
        host("two.test", "pLuaShared cart 1M"),
        host("none.test", ""),
        host("three.test", "pLuaShared cart 1M\npLuaSandbox On"),
        host("four.test", "pLuaShared cart 1M\npLuaSandbox On"),
    ]
    .concat();
    let all = (
        "all.plua",
        "<? local ok, n = pcall(function() return plua.shared.all:incr('n', 1, 0) end) ?><?= ok and n or 'none' ?>",
    );
    with_httpd(&lines, &[COUNT, all], |server| {
        for name in ["one.test", "two.test", "three.test", "four.test"] {
            assert_eq!([count(server, name), count(server, name)], ["1", "2"], "{name}");
        }
        let all = |name: &str| server.get_from(name, "/all.plua").text();
        assert_eq!([all("one.test"), all("two.test"), all("none.test")], ["1", "2", "3"]);
        assert_eq!([all("three.test"), all("four.test")], ["none", "none"]);
        assert_eq!(server.get_from("none.test", "/count.plua").status, 500);
        server.expect("the host has no store 'cart'");
    });
}

#[test]
fn hosts_of_one_name_share_their_store_and_give_it_one_size() {
    let lines = |size: &str| {
        format!(
            "<VirtualHost *:${{PORT}}>\nServerName one.test\npLuaShared cart 1M\n</VirtualHost>\n\
             <VirtualHost *:${{PORT2}}>\nServerName ONE.test\npLuaShared cart {size}\n</VirtualHost>\n"
        )
    };
    httpd().further_ports(1).lines(&lines("1M")).pages(&[COUNT]).run(|server| {
        let headers = [("Host", "one.test"), ("Connection", "close")];
        let count = |port| server.connect_to(port).request("GET", "/count.plua", &headers, b"").text();
        assert_eq!([count(1), count(2), count(1)], ["1", "2", "3"]);
    });
}

#[test]
fn a_store_that_is_wrong_stops_the_start_with_a_sentence() {
    for (lines, reason) in [
        ("pLuaShared cart", "pLuaShared: 'cart' is not a name and a size, such as: sessions 10M"),
        ("pLuaShared cart 10", "pLuaShared: '10' is no size of a store: give a whole number with K, M or G"),
        ("pLuaShared 1cart 10M", "pLuaShared: '1cart' is no name"),
        ("pLuaShared cart 1M\npLuaShared cart 2M", "pLuaShared: 'cart' is declared twice here"),
        ("<Directory />\npLuaShared cart 1M\n</Directory>", "pLuaShared not allowed in <Directory> context"),
    ] {
        let Some((status, output)) = httpd().lines(lines).check() else { return };
        assert!(status == 1 && output.contains(reason), "{lines}: {output}");
    }
}

#[test]
fn hosts_of_one_name_that_give_a_store_two_sizes_stop_the_start() {
    let host = |name: &str, lines: &str| virtual_host("PORT", name, lines);
    let lines = host("one.test", "pLuaShared cart 1M") + &host("ONE.test", "pLuaShared cart 2M");
    // Read by itself each line is fine.
    let Some((0, _)) = httpd().lines(&lines).check() else { return };
    let problem = catch_unwind(|| httpd().lines(&lines).run(|_| {})).unwrap_err();
    let problem = problem.downcast_ref::<String>().unwrap();
    assert!(problem.contains("server one.test: another host of that name gives 'cart' another size"), "{problem}");
}

/// Kills processes that write, one after the other, and looks for every value of which a visitor was told.
fn killed_processes_lose_no_value(mpm: Mpm, processes: u32, threads: u32, kills: u64) {
    const VISITORS: usize = 6;
    let put = (
        "put.plua",
        "<? local key, n = plua.get('key'), plua.get('n') \
        plua.shared.cart:set(key, n .. ('x'):rep(n % 700)) for i = 1, 20 do plua.shared.cart:set(key .. 'b' .. i, ('y'):rep(i * n % 900)) end \
        plua.shared.cart:incr(key .. 'c', 1, 0) ?>done",
    );
    let told: Vec<AtomicU64> = (0..VISITORS).map(|_| AtomicU64::new(0)).collect();
    let lines = "pLuaShared cart 4M\nListenBacklog 511";
    httpd().mpm(mpm).children(processes, threads).lines(lines).pages(&[put, SHOW]).run(|server| {
        server.tolerate("AH10392: children are killed successively");
        let (tally, ()) = under_load(
            server.httpd().port(),
            VISITORS,
            |visitor, number, turn| {
                let n = turn as u64 + 1;
                let answer = visitor.get(&format!("/put.plua?key=k{number}&n={n}"));
                if answer.is_some_and(|answer| answer.status == 200 && answer.text() == "done") {
                    told[number].store(n, Ordering::SeqCst);
                }
            },
            || {
                for turn in 0..kills {
                    let all = || told.iter().map(|told| told.load(Ordering::SeqCst)).sum::<u64>();
                    let before = all();
                    until("visitors are answered", Duration::from_secs(30), || all() > before + 3);
                    let children = server.httpd().children();
                    if let Some(victim) = children.get(turn as usize % children.len().max(1)) {
                        let _ = kill(Pid::from_raw(i32::try_from(*victim).unwrap()), Signal::SIGKILL);
                    }
                }
            },
        );
        tally.tell(&format!("{kills} processes killed while they write to a store"));
        for (number, told) in told.iter().enumerate() {
            let told = told.load(Ordering::SeqCst);
            let seen = server.get(&format!("/show.plua?key=k{number}")).text();
            let n: u64 = seen.trim_end_matches('x').parse().unwrap_or_else(|_| panic!("{seen:?}"));
            // A request that was cut off may have been done.
            assert!(n >= told && seen == format!("{n}{}", "x".repeat(n as usize % 700)), "told {told}, found {seen:?}");
            let counted: u64 = server.get(&format!("/show.plua?key=k{number}c")).text().parse().unwrap();
            assert!(counted <= n + tally.repeated as u64, "{counted} of {n}");
        }
    });
}

#[test]
fn processes_of_threads_that_are_killed_lose_no_value() {
    killed_processes_lose_no_value(Mpm::Event, 3, 5, 30);
}

#[test]
fn processes_without_threads_that_are_killed_lose_no_value() {
    killed_processes_lose_no_value(Mpm::Prefork, 6, 1, 60);
}
