//! Hosts and their pools of states: what they share, what they never see of each other, and who waits for whom.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::thread;
use std::time::Duration;

use common::{Server, Setup, httpd};

/// Counts the requests its state has seen, in a global.
const COUNT: (&str, &str) = ("count.plua", "<? n = (n or 0) + 1 ?><?= n ?>");

/// A virtual host at a port, `PORT` or `PORT2`, with lines of its own.
fn host(port: &str, name: &str, lines: &str) -> String {
    format!("<VirtualHost *:${{{port}}}>\nServerName {name}\n{lines}\n</VirtualHost>\n")
}

fn counting(lines: &str) -> Setup {
    httpd().further_ports(1).lines(&format!("pLuaStates 1\n{lines}")).pages(&[COUNT])
}

/// What the counter says at a port, 1 or 2, to a host of this name.
fn count(server: &Server, port: usize, name: &str) -> u32 {
    let headers = [("Host", name), ("Connection", "close")];
    server.connect_to(port).request("GET", "/count.plua", &headers, b"").text().parse().unwrap()
}

#[test]
fn hosts_never_see_each_others_globals_modules_or_pages() {
    let lines = ["one", "two"]
        .map(|name| host("PORT", &format!("{name}.test"), &format!("DocumentRoot ${{DOCROOT}}/{name}")))
        .concat();
    let page = "<? owner = owner or getEnv().ServerName local m = require('m') include('part.plua') ?><?= owner, m ?>";
    let mut setup = httpd().lines(&format!("pLuaStates 1\n{lines}"));
    for name in ["one", "two"] {
        setup = setup
            .file(&format!("{name}/page.plua"), page)
            .file(&format!("{name}/part.plua"), format!("part of {name}, "))
            .file(&format!("{name}/m.lua"), format!("m = ' with {name}' return m"))
            .file(&format!("{name}/same.plua"), name)
            .file(&format!("{name}/string.plua"), format!("<? function string.mark() return '{name}' end ?>"))
            .file(&format!("{name}/marked.plua"), "<?= string.mark and string.mark() ?>");
    }
    setup.run(|server| {
        // The folders are made once httpd runs.
        server.expect("AH00112: Warning: DocumentRoot");
        for _ in 0..3 {
            for name in ["one", "two"] {
                let get = |path| server.get_from(&format!("{name}.test"), path).text();
                assert_eq!(get("/page.plua"), format!("part of {name}, {name}.test with {name}"));
                assert_eq!(get("/same.plua"), name);
            }
        }
        server.get_from("one.test", "/string.plua");
        assert_eq!(server.get_from("one.test", "/marked.plua").text(), "one");
        assert_eq!(server.get_from("two.test", "/marked.plua").text(), "nil");
    });
}

#[test]
fn hosts_of_one_name_at_two_ports_share_their_states() {
    let lines = host("PORT", "one.test", "") + &host("PORT2", "ONE.test", "") + &host("PORT2", "two.test", "");
    counting(&lines).run(|server| {
        let seen = [(1, "one.test"), (2, "one.test"), (2, "two.test"), (1, "one.test"), (2, "two.test")];
        assert_eq!(seen.map(|(port, name)| count(server, port, name)), [1, 2, 1, 3, 2]);
    });
}

#[test]
fn a_directive_that_shapes_the_states_parts_hosts_of_one_name_and_others_do_not() {
    for shaping in ["pLuaStates 2", "pLuaRuns 7", "pLuaFiles 7", "pLuaMemoryLimit 100000", "pLuaIgnoreLibrary debug"] {
        let lines = host("PORT", "one.test", "") + &host("PORT2", "one.test", shaping);
        counting(&lines).run(|server| {
            assert_eq!([1, 2, 1].map(|port| count(server, port, "one.test")), [1, 1, 2], "{shaping}");
        });
    }
    let lines = host("PORT", "one.test", "") + &host("PORT2", "one.test", "pLuaGlobals request");
    counting(&lines).run(|server| {
        assert_eq!([1, 2, 1, 2].map(|port| count(server, port, "one.test")), [1, 1, 2, 1]);
    });
    let other = "pLuaTimeout 20\npLuaStateWait 1\npLuaLogLevel 2\npLuaError 0\npLuaRaw .lua";
    let lines = host("PORT", "one.test", "") + &host("PORT2", "one.test", other);
    counting(&lines).run(|server| {
        assert_eq!([1, 2, 1].map(|port| count(server, port, "one.test")), [1, 2, 3]);
    });
}

#[test]
fn one_visitors_session_is_never_seen_by_another_where_globals_are_the_requests_own() {
    let pages = [
        (
            "session.lua",
            "local session = {}\nreturn { set = function(k, v) session[k] = v end, get = function(k) return session[k] end }",
        ),
        (
            "model/user.lua",
            "local session = require 'session'\nname = nil\nreturn { greet = function() return session.get('user') end }",
        ),
        (
            "login.plua",
            "<? local session, user = require('session'), require('model.user')\n\
             local before = { session.get('user'), name, string.owner }\n\
             name = parseGet().user session.set('user', name) string.owner = name\n\
             sleep(0.002) include('greeting.plua') ?><?= #before ?>",
        ),
        ("greeting.plua", "<?= require('model.user').greet(), ',', name, ',', string.owner, ',' ?>"),
        ("look.plua", "<?= require('session').get('user'), name, string.owner, package.loaded['model.user'] ?>"),
    ];
    httpd().lines("pLuaGlobals request\npLuaStates 2\npLuaStateWait 20").pages(&pages).run(|server| {
        let server = &*server;
        thread::scope(|scope| {
            for visitor in 0..6 {
                scope.spawn(move || {
                    for visit in 0..40 {
                        let user = format!("{visitor}-{visit}");
                        let seen = server.get(&format!("/login.plua?user={user}")).text();
                        assert_eq!(seen, format!("{user},{user},{user},0"));
                        assert_eq!(server.get("/look.plua").text(), "nilnilnilnil");
                    }
                });
            }
        });
    });
}

#[test]
fn aliases_share_the_states_of_their_host() {
    let lines = host("PORT", "one.test", "ServerAlias www.one.test *.one.test") + &host("PORT", "two.test", "");
    counting(&lines).run(|server| {
        let seen = ["one.test", "www.one.test", "two.test", "any.one.test", "ONE.TEST:80"];
        assert_eq!(seen.map(|name| count(server, 1, name)), [1, 2, 1, 3, 4]);
    });
}

#[test]
fn each_host_has_its_own_time_zone_and_the_process_keeps_its() {
    // Noon in Berlin, in summer.
    let page = "<?= os.date('%H:%M %Z', 1719828000), ' ', os.time { year = 2024, month = 7, day = 1 } ?>";
    let noons = [
        ("berlin.test", "pLuaTimeZone Europe/Berlin", "12:00 CEST 1719828000"),
        ("york.test", "pLuaTimeZone America/New_York", "06:00 EDT 1719849600"),
        ("process.test", "pLuaTimeZone none", "15:45 +0545 1719814500"),
        ("server.test", "", "19:00 JST 1719802800"),
    ];
    let hosts: String = noons.iter().map(|(name, directive, _)| host("PORT", name, directive)).collect();
    for multi_domain in ["On", "Off"] {
        let lines = format!("pLuaMultiDomain {multi_domain}\npLuaTimeZone Asia/Tokyo\n{hosts}");
        let setup = httpd().change(|configuration| configuration.environment("TZ", "Asia/Kathmandu"));
        setup.children(1, 10).lines(&lines).pages(&[("noon.plua", page)]).run(|server| {
            let server = &*server;
            thread::scope(|scope| {
                for (name, _, shown) in noons {
                    scope.spawn(move || {
                        for _ in 0..20 {
                            assert_eq!(server.get_from(name, "/noon.plua").text(), shown, "{name} {multi_domain}");
                        }
                    });
                }
            });
        });
    }
}

#[test]
fn without_multi_domain_all_hosts_share_one_pool() {
    let lines = host("PORT", "one.test", "") + &host("PORT", "two.test", "");
    counting(&format!("pLuaMultiDomain Off\n{lines}")).run(|server| {
        let seen = [(1, "one.test"), (1, "two.test"), (2, "main.test"), (1, "one.test")];
        assert_eq!(seen.map(|(port, name)| count(server, port, name)), [1, 2, 3, 4]);
    });
}

#[test]
fn a_request_that_finds_no_free_state_in_time_is_told_to_come_again() {
    let slow = "started<? flush() for i = 1, 1000 do local f = io.open('go') if f then f:close() break end \
        sleep(0.01) end ?>.ended";
    let lines = "pLuaStates 1\npLuaStateWait 0.2\n".to_owned()
        + &host("PORT", "one.test", "")
        + &host("PORT", "two.test", "")
        + &host("PORT2", "one.test", "pLuaStateWait 20");
    httpd().further_ports(1).lines(&lines).pages(&[("slow.plua", slow), COUNT]).run(|server| {
        server.expect("all 1 states were busy for 0.2 s (pLuaStates, pLuaStateWait)");
        let mut busy = server.connect();
        busy.send(b"GET /slow.plua HTTP/1.1\r\nHost: one.test\r\n\r\n");
        busy.until(b"started\r\n");
        let answer = server.get_from("one.test", "/count.plua");
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
        assert!(answer.text().contains("Service Unavailable"), "{}", answer.text());
        assert!(server.wait_for_log("all 1 states were busy").contains("/count.plua"));
        assert_eq!(count(server, 1, "two.test"), 1);
        // The same states, with more patience than the others have.
        let mut patient = server.connect_to(2);
        patient.send(b"GET /count.plua HTTP/1.1\r\nHost: one.test\r\n\r\n");
        thread::sleep(Duration::from_millis(400));
        server.put("go", "");
        busy.until(b".ended\r\n0\r\n\r\n");
        assert_eq!(patient.response("GET").text(), "1");
        assert_eq!(count(server, 1, "one.test"), 2);
    });
}

#[test]
fn log_level_2_tells_of_pools_and_3_of_states() {
    let lines = "pLuaRuns 2\n".to_owned()
        + &host("PORT", "none.test", "")
        + &host("PORT", "pools.test", "pLuaLogLevel 2\npLuaStates 7")
        + &host("PORT", "states.test", "pLuaLogLevel 3");
    httpd().lines(&lines).pages(&[COUNT]).run(|server| {
        for name in ["none.test", "pools.test", "states.test"] {
            assert_eq!([(); 5].map(|()| count(server, 1, name)), [1, 2, 1, 2, 1]);
        }
        let log = server.error_log();
        let told =
            |text: &str| log.lines().filter(|line| line.contains("[plua:notice]") && line.contains(text)).count();
        assert_eq!(told("pool of pools.test made, 7 states at most"), 1, "{log}");
        assert_eq!(told("pool of states.test made, 50 states at most"), 1, "{log}");
        assert_eq!(told(" of states.test made"), 4, "{log}");
        assert_eq!(told("none.test") + told(" of pools.test made"), 1, "{log}");
    });
}
