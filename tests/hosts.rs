//! Hosts and their pools of states: what they share, what they never see of each other, and who waits for whom.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use common::{Server, Setup, httpd, virtual_host as host};

/// Counts the requests its state has seen, in a global.
const COUNT: (&str, &str) = ("count.plua", "<? n = (n or 0) + 1 ?><?= n ?>");

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

/// A host whose sites are folders by the name that is asked for, and which says what its pools do.
fn sites(lines: &str) -> Setup {
    let page = "<? owner = owner or getEnv().HTTP_HOST or getEnv().Host n = (n or 0) + 1 \
        echo(owner, ' ', n, ' ', getEnv().DOCUMENT_ROOT:match('[^/]*$')) ?>";
    let mut setup = httpd().module("vhost_alias").lines(&format!(
        "VirtualDocumentRoot ${{DOCROOT}}/%0\nUseCanonicalName Off\npLuaStates 1\npLuaLogLevel 3\n{lines}"
    ));
    for name in ["a.test", "b.test", "c.test"] {
        setup = setup.file(&format!("{name}/page.plua"), page);
    }
    setup
}

fn asked(server: &Server, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| server.get_from(name, "/page.plua").text()).collect()
}

#[test]
fn sites_by_document_root_share_no_states() {
    sites("").run(|server| {
        let seen = asked(server, &["a.test", "b.test", "A.test", "b.test:80", "c.test", "a.test"]);
        assert_eq!(
            seen,
            [
                "a.test 1 a.test",
                "b.test 1 b.test",
                "a.test 2 a.test",
                "b.test 2 b.test",
                "c.test 1 c.test",
                "a.test 3 a.test"
            ]
        );
        let pool = format!("at {}/b.test made, 1 states at most", server.docroot().display());
        assert_eq!(server.error_log().matches(&pool).count(), 1, "{}", server.error_log());
    });
}

#[test]
fn the_site_not_asked_longest_gives_its_states_to_a_new_one() {
    for states in ["pLuaStates 1", "pLuaStates 0"] {
        let lines = format!("pLuaSites 2\n{states}");
        sites(&lines).children(1, 1).run(|server| {
            let seen = asked(server, &["a.test", "b.test", "a.test", "c.test", "a.test", "b.test"]);
            let counts: Vec<&str> = seen.iter().map(|text| text.split(' ').nth(1).unwrap()).collect();
            assert_eq!(counts, ["1", "1", "2", "1", "3", "1"], "{states}");
        });
    }
}

#[test]
fn the_states_of_threads_are_closed_with_the_site_they_are_of() {
    // Finalizers run when a state is closed.
    let page = "<? local name = getEnv().DOCUMENT_ROOT .. '/closed' local function closed() io.open(name, 'w'):close() end \
        if jit then local ffi = require('ffi') kept = ffi.gc(ffi.new('int[1]'), closed) \
        else kept = debug.setmetatable({}, { __gc = closed }) end ?>kept";
    sites("pLuaSites 1\npLuaStates 0").children(1, 1).file("a.test/keep.plua", page).run(|server| {
        let folder = server.docroot().join("a.test");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(server.get_from("a.test", "/keep.plua").text(), "kept");
        assert!(!folder.join("closed").exists());
        assert_eq!(asked(server, &["b.test"]), ["b.test 1 b.test"]);
        assert!(folder.join("closed").exists());
    });
}

#[test]
fn a_site_whose_states_are_given_away_while_a_page_runs_answers_that_page() {
    let slow = "<? echo(getEnv().Host) flush() for i = 1, 1000 do local f = io.open('go') if f then break end sleep(0.01) end ?>, done";
    sites("pLuaSites 1").file("a.test/slow.plua", slow).run(|server| {
        let mut busy = server.connect();
        busy.send(b"GET /slow.plua HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        busy.until(b"a.test\r\n");
        assert_eq!(asked(server, &["b.test", "c.test"]), ["b.test 1 b.test", "c.test 1 c.test"]);
        server.put("a.test/go", "");
        busy.until(b", done\r\n0\r\n\r\n");
        assert_eq!(asked(server, &["a.test"]), ["a.test 1 a.test"]);
    });
}

#[test]
fn sites_share_one_pool_where_all_hosts_do() {
    sites("pLuaMultiDomain Off").run(|server| {
        assert_eq!(asked(server, &["a.test", "b.test"]), ["a.test 1 a.test", "a.test 2 b.test"]);
    });
}

#[test]
fn any_module_that_gives_a_request_another_document_root_parts_its_states() {
    let script = "function translate(r)\n  if r.uri:find('^/two/') then r:set_document_root(r.document_root .. '/two') end\n  \
        return apache2.DECLINED\nend\n";
    httpd()
        .module("lua")
        .lines("LuaHookTranslateName ${DOCROOT}/translate.lua translate early\npLuaStates 1")
        .pages(&[("translate.lua", script), ("two/count.plua", COUNT.1), COUNT])
        .run(|server| {
            let seen =
                ["/count.plua", "/two/count.plua", "/count.plua", "/two/count.plua"].map(|path| server.get(path));
            // The root of the second is `two`, below which the path is looked for.
            let seen = seen.map(|answer| (answer.status, answer.text()));
            assert_eq!(seen[0], (200, "1".into()));
            assert_eq!(seen[2], (200, "2".into()));
            assert_eq!((seen[1].0, seen[3].0), (404, 404));
            server.put("two/two/count.plua", COUNT.1);
            assert_eq!(
                ["/two/count.plua", "/count.plua", "/two/count.plua"].map(|path| server.get(path).text()),
                ["1", "3", "2"]
            );
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
        // Longer than the others have patience.
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
