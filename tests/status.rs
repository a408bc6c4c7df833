//! What the server counts of its pages: the status page, for people and for programs, and the notes for its log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Mpm, Server, httpd, virtual_host, with_httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const STATUS: &str = "<Location /plua-status>\nSetHandler plua-status\n</Location>\n";

/// The status as JSON.
fn status(server: &Server) -> Value {
    let answer = server.get("/plua-status?json");
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    serde_json::from_str(&answer.text()).unwrap()
}

/// A number of the only host.
fn count(server: &Server, name: &str) -> f64 {
    number(&status(server)["hosts"][0], name)
}

fn number(host: &Value, name: &str) -> f64 {
    host[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {host}"))
}

/// Waits until a number of the only host is that.
fn until_count(server: &Server, name: &str, expected: f64) {
    common::wait::until(&format!("{name} is {expected}"), Duration::from_secs(20), || count(server, name) == expected);
}

/// The process that answers, as its page tells.
const PROCESS: (&str, &str) = ("process.plua", "<? local file = io.open('/proc/self/stat') ?><?= file:read('*n') ?>");

#[test]
fn pages_are_counted_over_all_processes_also_those_that_were_killed_or_replaced() {
    let hello = ("hello.plua", "hello");
    let setup = httpd().children(3, 5).pages(&[hello, PROCESS, ("bad.plua", "<? error('no') ?>")]).lines(STATUS);
    setup.lines("pLuaError 0").run(|server| {
        for _ in 0..40 {
            assert_eq!(server.get("/hello.plua").text(), "hello");
        }
        assert_eq!(count(server, "requests_total"), 40.0);
        server.httpd().graceful().unwrap();
        assert_eq!(count(server, "requests_total"), 40.0, "right after a graceful restart");
        server.expect("bad.plua");
        assert_eq!(server.get("/bad.plua").status, 500);
        assert_eq!((count(server, "requests_total"), count(server, "errors_total")), (41.0, 1.0));
        assert_eq!(status(server)["hosts"][0]["errors"]["runtime"], 1);
        let process: i32 = server.get("/process.plua").text().parse().unwrap();
        server.tolerate("exit signal Killed");
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
        common::wait::until("the killed process is gone", Duration::from_secs(20), || {
            !fs::exists(format!("/proc/{process}")).unwrap()
        });
        assert_eq!(count(server, "requests_total"), 42.0);
        for _ in 0..20 {
            server.get("/hello.plua");
        }
        assert_eq!(count(server, "requests_total"), 62.0);
        let all = status(server);
        assert!(number(&all["hosts"][0], "request_seconds_total") > 0.0);
        assert!(number(&all["hosts"][0], "lua_bytes") > 100_000.0);
        assert!(number(&all["hosts"][0], "states_made_total") >= number(&all["hosts"][0], "states"));
        assert!(number(&all["hosts"][0], "files_compiled_total") >= 3.0);
        assert!(number(&all["hosts"][0], "compile_seconds_total") > 0.0);
    });
}

#[test]
fn prefork_counts_as_well() {
    httpd().mpm(Mpm::Prefork).children(4, 1).pages(&[("hello.plua", "hello")]).lines(STATUS).run(|server| {
        for _ in 0..30 {
            server.get("/hello.plua");
        }
        assert_eq!(count(server, "requests_total"), 30.0);
        assert_eq!(count(server, "states_busy"), 0.0);
    });
}

#[test]
fn what_happens_now_is_told_busy_in_line_and_parked() {
    let pages = [
        (
            "busy.plua",
            "<? local file = io.open(plua.get('go')); while not file do file = io.open(plua.get('go')) end ?>done",
        ),
        ("parked.plua", "<? sleep(tonumber(plua.get('for'))) ?>slept"),
    ];
    let lines = format!("{STATUS}pLuaStates 2\npLuaStateWait 60\npLuaGlobals request\n");
    with_httpd(&lines, &pages, |server| {
        let server = &*server;
        let go = server.docroot().join("go");
        let busy = format!("/busy.plua?go={}", go.display());
        thread::scope(|scope| {
            let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| server.get(&busy).text())).collect();
            until_count(server, "states_busy", 2.0);
            until_count(server, "requests_waiting", 1.0);
            fs::write(&go, "").unwrap();
            for page in asked {
                assert_eq!(page.join().unwrap(), "done");
            }
            until_count(server, "states_busy", 0.0);
            assert_eq!(count(server, "requests_waiting"), 0.0);
            // Where httpd lets pages wait without a thread, they are told apart from those that have one.
            let parked = scope.spawn(|| server.get("/parked.plua?for=2").text());
            common::wait::until("a page waits", Duration::from_secs(20), || {
                let host = &status(server)["hosts"][0];
                number(host, "pages_parked") + number(host, "states_busy") == 1.0
            });
            assert_eq!(parked.join().unwrap(), "slept");
            until_count(server, "pages_parked", 0.0);
        });
        let slowest = &status(server)["hosts"][0]["slowest_pages"][0];
        assert!(slowest["page"].as_str().unwrap().ends_with("/parked.plua"), "{slowest}");
        assert!(slowest["seconds"].as_f64().unwrap() >= 2.0, "{slowest}");
    });
}

#[test]
fn limits_that_struck_and_requests_without_a_state_are_told_by_their_kind() {
    let pages = [
        ("long.plua", "<? while true do end ?>"),
        ("large.plua", "<? local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end ?>"),
        ("wrong.plua", "<? if ?>"),
    ];
    let lines =
        format!("{STATUS}pLuaTimeout 0.5\npLuaMemoryLimit 4000\npLuaError 0\npLuaStates 1\npLuaStateWait 0.1\n");
    with_httpd(&lines, &pages, |server| {
        for (page, line) in
            [("/long.plua", "Time limit"), ("/large.plua", "Memory limit"), ("/wrong.plua", "Compiler error")]
        {
            server.expect(line);
            assert_eq!(server.get(page).status, 500, "{page}");
        }
        server.expect("No free state");
        thread::scope(|scope| {
            let long = scope.spawn(|| server.get("/long.plua").status);
            until_count(server, "states_busy", 1.0);
            assert_eq!(server.get("/long.plua").status, 503);
            assert_eq!(long.join().unwrap(), 500);
        });
        let host = &status(server)["hosts"][0];
        let expected = serde_json::json!({ "time_limit": 2, "memory_limit": 1, "compile": 1, "no_state": 1 });
        assert_eq!(host["errors"], expected);
        assert_eq!(number(host, "requests_refused_total"), 1.0);
        let html = server.get("/plua-status").text();
        for title in ["Time limit", "Memory limit", "Compiler error", "No free state"] {
            assert!(html.contains(title), "{title} is not on the page");
        }
    });
}

#[test]
fn each_host_has_its_numbers_and_a_sandboxed_one_sees_no_other() {
    let lines = [
        virtual_host("PORT", "one.test", STATUS),
        virtual_host("PORT", "two.test", &format!("{STATUS}pLuaSandbox On")),
    ];
    with_httpd(&lines.concat(), &[("hello.plua", "hello")], |server| {
        for _ in 0..3 {
            server.get_from("one.test", "/hello.plua");
        }
        server.get_from("two.test", "/hello.plua");
        let of =
            |host: &str| -> Value { serde_json::from_str(&server.get_from(host, "/plua-status?json").text()).unwrap() };
        let counted = |all: &Value, name: &str| {
            let host = all["hosts"].as_array().unwrap().iter().find(|host| host["name"] == name).cloned();
            host.map(|host| number(&host, "requests_total"))
        };
        let all = of("one.test");
        assert_eq!((counted(&all, "one.test"), counted(&all, "two.test")), (Some(3.0), Some(1.0)));
        let own = of("two.test");
        assert_eq!((counted(&own, "one.test"), counted(&own, "two.test")), (None, Some(1.0)));
        let reset = |host: &str| server.request("POST", "/plua-status/reset-cache", &[("Host", host)], b"").status;
        assert_eq!(reset("one.test"), 200);
        server.expect("PL3301: plua-status/reset-cache is not for a host with pLuaSandbox On");
        assert_eq!(reset("two.test"), 403);
    });
}

#[test]
fn only_this_machine_and_those_whom_a_require_lets_in_see_the_status() {
    let places = "<Location /open>\nSetHandler plua-status\nRequire all granted\n</Location>\n\
                  <Location /named>\nSetHandler plua-status\nRequire ip 192.0.2.0/24\n</Location>\n\
                  <Location /local>\nSetHandler plua-status\nRequire local\n</Location>\n\
                  RemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.1\n";
    httpd().module("remoteip").module("authz_host").lines(places).run(|server| {
        let from = |path: &str, headers: &[(&str, &str)]| server.request("GET", path, headers, b"").status;
        assert_eq!(from("/open", &[]), 200);
        server.expect("plua-status is for clients on this machine");
        assert_eq!(from("/open", &[("X-Client", "192.0.2.1")]), 403);
        assert_eq!(from("/open", &[("X-Forwarded-For", "192.0.2.1")]), 403, "a proxy of this machine passes it on");
        assert_eq!(from("/local", &[]), 200);
        assert_eq!(from("/local", &[("Forwarded", "for=192.0.2.1")]), 403, "not even by Require local");
        assert_eq!(from("/named", &[("X-Client", "192.0.2.1")]), 200);
        server.tolerate("client denied by server configuration");
        assert_eq!(from("/named", &[("X-Client", "198.51.100.1")]), 403);
        let reset = |path: &str, headers: &[(&str, &str)]| server.request("POST", path, headers, b"").status;
        assert_eq!(reset("/open/reset-cache", &[("X-Client", "192.0.2.1")]), 403);
        assert_eq!(reset("/named/reset-cache", &[("X-Client", "192.0.2.1")]), 200);
    });
}

#[test]
fn the_cache_is_reset_on_demand_in_all_processes() {
    let setup = httpd().children(2, 5).lines(STATUS).lines("pLuaRevalidate 3600");
    let pages = [("page.plua", "<? include('part.plua') ?>"), ("part.plua", "old"), PROCESS];
    setup.pages(&pages).run(|server| {
        for _ in 0..20 {
            assert_eq!(server.get("/page.plua").text(), "old");
        }
        let made = count(server, "files_compiled_total");
        server.put("part.plua", "new");
        let reset = |headers: &[(&str, &str)]| server.request("POST", "/plua-status/reset-cache", headers, b"");
        assert_eq!(reset(&[]).status, 200);
        for _ in 0..20 {
            assert_eq!(server.get("/page.plua").text(), "new");
        }
        assert!(count(server, "files_compiled_total") >= made + 2.0);
        assert_eq!(status(server)["cache_resets"], 1);
        // A browser goes back, and another site's page cannot send it there.
        let back = reset(&[("Accept", "text/html")]);
        assert_eq!((back.status, back.header("Location")), (303, Some("/plua-status")));
        server.expect("asked for by a page of another site");
        assert_eq!(reset(&[("Origin", "http://other.test")]).status, 403);
        let host = server.url("").replace("http://", "");
        assert_eq!(reset(&[("Host", &host), ("Origin", &format!("http://{host}"))]).status, 200);
        assert_eq!(status(server)["cache_resets"], 3);
        for (method, path, status) in [
            ("GET", "/plua-status/reset-cache", 405),
            ("POST", "/plua-status", 405),
            ("GET", "/plua-status/other", 404),
            ("PUT", "/plua-status", 404),
        ] {
            assert_eq!(server.request(method, path, &[], b"").status, status, "{method} {path}");
        }
    });
}

#[test]
fn the_page_is_for_people_and_hides_nothing_in_a_name() {
    with_httpd(STATUS, &[("a<b>&c.plua", "hello")], |server| {
        assert_eq!(server.get("/a%3Cb%3E&c.plua").text(), "hello");
        let answer = server.get("/plua-status?refresh=7");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        let html = answer.text();
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
        assert!(html.contains("a&lt;b&gt;&amp;c.plua") && html.contains("content=\"7\"") && html.contains("<svg"));
        assert!(!html.contains("http://") && !html.contains("https://"), "it asks nobody else");
        assert!(server.get("/plua-status?refresh=0").text().contains("<h1>"));
        assert_eq!(server.request("HEAD", "/plua-status", &[], b"").status, 200);
    });
}

#[test]
fn prometheus_own_parser_reads_the_metrics() {
    let lines = [virtual_host("PORT", "one.test", STATUS), virtual_host("PORT", "two.test", "")];
    with_httpd(&lines.concat(), &[("hello.plua", "hello")], |server| {
        for _ in 0..5 {
            server.get_from("two.test", "/hello.plua");
        }
        let answer = server.get("/plua-status?metrics");
        assert!(answer.header("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"));
        let script = "import sys, json\n\
            from prometheus_client.parser import text_string_to_metric_families as parse\n\
            samples = [(s.name, s.labels, s.value, f.type) for f in parse(sys.stdin.read()) for s in f.samples]\n\
            print(json.dumps(samples))";
        let mut python = Command::new("/usr/bin/python3");
        let python = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(answer.text().as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "python3-prometheus-client does not read it, or is not installed");
        let samples: Vec<(String, Value, f64, String)> = serde_json::from_slice(&output.stdout).unwrap();
        let find = |name: &str, host: &str| {
            samples
                .iter()
                .find(|sample| sample.0 == name && sample.1["host"] == host)
                .map(|sample| (sample.2, &*sample.3))
        };
        assert_eq!(find("plua_requests_total", "two.test"), Some((5.0, "counter")));
        assert_eq!(find("plua_requests_total", "one.test"), Some((0.0, "counter")));
        assert_eq!(find("plua_states_busy", "two.test"), Some((0.0, "gauge")));
        let kinds = samples.iter().filter(|sample| sample.0 == "plua_errors_total" && sample.1["host"] == "one.test");
        assert!(kinds.count() > 10);
        assert!(samples.iter().any(|sample| sample.0 == "plua_info" && sample.1["lua"] != ""));
    });
}

#[test]
fn mod_status_has_a_part_of_it_and_mod_info_our_directives() {
    let lines = "<Location /server-status>\nSetHandler server-status\n</Location>\n\
                 <Location /server-info>\nSetHandler server-info\n</Location>\npLuaStates 7\n";
    let setup = httpd().module("status").module("info").lines(lines).pages(&[("hello.plua", "hello")]);
    setup.run(|server| {
        for _ in 0..3 {
            server.get("/hello.plua");
        }
        let html = server.get("/server-status").text();
        assert!(html.contains("<h2>mod_plua</h2>") && html.contains("<svg"), "{html}");
        let lines = server.get("/server-status?auto").text();
        assert!(lines.lines().any(|line| line == "PluaRequestsTotal: 3"), "{lines}");
        let info = server.get("/server-info").text();
        assert!(info.contains("mod_plua.c") && info.contains("pLuaStates") && info.contains("<i>7</i>"));
    });
}

#[test]
fn formats_of_the_log_name_what_a_page_has_taken() {
    let format = "LogFormat \"%U %{plua-time}n %{plua-cpu}n %{plua-memory}n %{plua-state}n %{plua-cache}n\" plua\n\
                  CustomLog ${ROOT}/plua.log plua\n";
    let pages = [
        ("hello.plua", "hello"),
        ("wait.plua", "<? sleep(0.3) ?>waited"),
        ("work.plua", "<? local ends = os.clock() + 0.1 while os.clock() < ends do end ?>worked"),
        ("plain.txt", "text"),
    ];
    httpd().module("log_config").lines(format).pages(&pages).run(|server| {
        for path in ["/hello.plua", "/hello.plua", "/wait.plua", "/work.plua", "/plain.txt"] {
            assert_eq!(server.get(path).status, 200);
        }
        let log = server.docroot().parent().unwrap().join("plua.log");
        let mut lines = Vec::new();
        common::wait::until("all requests are logged", Duration::from_secs(20), || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            lines = text.lines().map(str::to_owned).collect();
            lines.len() == 5
        });
        let fields: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let of = |path: &str| fields.iter().filter(|fields| fields[0] == path).collect::<Vec<_>>();
        let value = |text: &str| text.parse::<f64>().unwrap();
        let hello = of("/hello.plua");
        // A request is logged when its answer is out, which the next one does not wait for.
        let mut origins = [hello[0][5], hello[1][5]];
        origins.sort_unstable();
        assert_eq!(origins, ["compiled", "state"]);
        assert!(value(hello[0][3]) > 100_000.0 && value(hello[0][4]) >= 1.0);
        let waited = of("/wait.plua")[0];
        assert!(value(waited[1]) >= 0.3 && value(waited[2]) < 0.2, "{waited:?}");
        let worked = of("/work.plua")[0];
        assert!(value(worked[2]) >= 0.05 && value(worked[1]) >= 0.1, "{worked:?}");
        assert_eq!(of("/plain.txt")[0][1..], ["-"; 5]);
    });
}

#[test]
fn a_page_that_takes_long_is_told_of_once_with_its_calls_while_it_runs() {
    let pages = [
        (
            "loop.plua",
            "<?\nlocal function turn()\n  local ends = os.time() + 2\n  while os.time() < ends do end\nend\nturn()\n?>done",
        ),
        ("waits.plua", "<?\nsleep(1)\nsleep(0.01)\n?>waited"),
        ("quick.plua", "quick"),
        ("catches.plua", "<? local ends = os.time() + 2 while os.time() < ends do pcall(error, 'x') end ?>caught"),
    ];
    for globals in ["persistent", "page"] {
        let lines = format!("pLuaSlowLog 0.3\npLuaTimeout 20\npLuaGlobals {globals}");
        with_httpd(&lines, &pages, |server| {
            let server = &*server;
            assert_eq!(server.get("/quick.plua").text(), "quick");
            server.expect("loop.plua: takes longer than 0.3 s (pLuaSlowLog): ");
            // Lua 5.4 looks once in a thousand instructions: a page that ends before is told of when it has.
            server.expect(if cfg!(feature = "luajit") {
                "waits.plua: takes longer than 0.3 s"
            } else {
                "waits.plua: took longer"
            });
            server.expect("catches.plua: takes longer than 0.3 s (pLuaSlowLog): ");
            thread::scope(|scope| {
                let page = scope.spawn(|| server.get("/loop.plua").text());
                let line = server.wait_for_log("loop.plua: takes longer");
                assert!(!page.is_finished(), "it is told of while it runs");
                assert!(line.contains("function 'turn' at ") && line.contains("loop.plua:4"), "{line}");
                assert!(line.contains("main page at ") && line.contains("loop.plua:6"), "{line}");
                assert!(line.contains("GET /loop.plua HTTP/1.1"), "{line}");
                assert_eq!(page.join().unwrap(), "done");
            });
            assert_eq!(server.get("/waits.plua").text(), "waited");
            if cfg!(feature = "luajit") {
                let line = server.wait_for_log("waits.plua: takes longer");
                assert!(line.contains("waits.plua:2"), "{line}");
            }
            assert_eq!(server.get("/catches.plua").text(), "caught");
            assert_eq!(server.get("/quick.plua").text(), "quick");
            let told = server.error_log().matches("pLuaSlowLog").count();
            assert_eq!(told, 3, "{}", server.error_log());
        });
    }
}

#[test]
fn what_a_slow_page_reads_is_not_broken_off() {
    let pages = [
        ("reads.plua", "<? local pipe = io.popen('sleep 0.8; echo whole') ?><?= pipe:read('*a') ?>"),
        ("sums.plua", "<? local ends = os.time() + 2 local n = 0 while os.time() < ends do n = n + 1 end ?>summed"),
    ];
    with_httpd("pLuaSlowLog 0.2", &pages, |server| {
        server.expect(if cfg!(feature = "luajit") { "reads.plua: takes longer" } else { "reads.plua: took longer" });
        assert_eq!(server.get("/reads.plua").text(), "whole\n");
        server.expect("sums.plua: takes longer than 0.2 s (pLuaSlowLog)");
        assert_eq!(server.get("/sums.plua").text(), "summed");
    });
}
