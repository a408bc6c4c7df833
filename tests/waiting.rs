//! Pages that wait: on the event MPM without a thread, elsewhere in their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Mpm, Server, httpd};

const PAGES: &[(&str, &str)] = &[
    ("steady.plua", "<?= 'steady ', plua.get('q') ?>"),
    ("sleep.plua", "<? local n = plua.get('n') sleep(1) ?><?= n, ' slept' ?>"),
    ("nap.plua", "<? sleep(0.1) ?>rested"),
    ("parts.plua", "a<? flush() sleep(0.1) ?>b<? flush() sleep(0.1) ?>c"),
    ("fails.plua", "<? sleep(0.1) error('after') ?>"),
    ("threads.plua", "<?= plua.parallel(function() sleep(0.2) return 1 end, function() sleep(0.1) return 2 end) ?>"),
    ("gone.plua", "<? for i = 1, 100 do echo(('x'):rep(10000)) flush() sleep(0.05) end ?>"),
];

/// Whatever `requests` answer that are sent at one time, and how long all of them took.
fn at_once(server: &Server, paths: &[String]) -> (Vec<String>, Duration) {
    let begun = Instant::now();
    let answers = thread::scope(|scope| {
        let requests: Vec<_> = paths.iter().map(|path| scope.spawn(|| server.get(path).text())).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    (answers, begun.elapsed())
}

fn numbered(count: usize) -> (Vec<String>, Vec<String>) {
    (0..count).map(|number| (format!("/sleep.plua?n={number}"), format!("{number} slept"))).unzip()
}

#[test]
fn many_more_pages_wait_than_there_are_threads() {
    let lines = "pLuaStates 100\nAsyncRequestWorkerFactor 100";
    httpd().mpm(Mpm::Event).children(1, 4).lines(lines).pages(PAGES).run(|server| {
        let (paths, wanted) = numbered(60);
        let (answers, took) = at_once(server, &paths);
        assert_eq!(answers, wanted);
        // In four threads it would take fifteen.
        assert!(took < Duration::from_secs(6), "{took:?}");
    });
}

#[test]
fn a_page_is_the_same_wherever_it_waits() {
    let same = |mpm: Mpm| {
        for mode in ["", "pLuaGlobals request\n", "pLuaSandbox On\n"] {
            for limits in ["", "pLuaTimeout 5\npLuaMemoryLimit 10000\npLuaOutputLimit 100000\n"] {
                httpd().mpm(mpm).lines(&format!("pLuaError 0\n{mode}{limits}")).pages(PAGES).run(|server| {
                    server.expect("Run-time error: after");
                    for _ in 0..2 {
                        assert_eq!(server.get("/nap.plua").text(), "rested");
                        assert_eq!(server.get("/parts.plua").text(), "abc");
                        assert_eq!(server.get("/threads.plua").text(), "12");
                        assert_eq!(server.get("/fails.plua").status, 500);
                        assert_eq!(server.get("/steady.plua?q=1").text(), "steady 1");
                    }
                });
            }
        }
    };
    thread::scope(|scope| {
        for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
            scope.spawn(move || same(mpm));
        }
    });
}

#[test]
fn requests_on_one_connection_wait_one_after_the_other() {
    httpd().mpm(Mpm::Event).pages(PAGES).run(|server| {
        let mut connection = server.connect();
        for _ in 0..2 {
            connection.send(b"GET /threads.plua HTTP/1.1\r\nHost: localhost\r\n\r\nGET /parts.plua HTTP/1.1\r\nHost: localhost\r\n\r\nGET /steady.plua?q=2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.until(b"12");
            connection.until(b"c\r\n0\r\n\r\n");
            connection.until(b"steady 2");
        }
    });
}

#[test]
fn a_page_may_wait_only_so_long_and_httpds_own_time_is_not_counted() {
    let lines = "Timeout 1\npLuaError 0\npLuaWaitLimit 2.5\npLuaTimeout 1";
    let pages = [
        ("long.plua", "<? sleep(2) ?>long"),
        ("longer.plua", "<? pcall(sleep, 60) ?>longer"),
        ("twice.plua", "<? sleep(1.5) pcall(sleep, 60) ?>"),
    ];
    httpd().mpm(Mpm::Event).lines(lines).pages(&pages).run(|server| {
        server.expect("Time limit: The page waited longer than pLuaWaitLimit allows");
        assert_eq!(server.get("/long.plua").text(), "long");
        for path in ["/longer.plua", "/twice.plua"] {
            let begun = Instant::now();
            assert_eq!(server.get(path).status, 500);
            assert!(begun.elapsed() > Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(5), "{path}");
        }
    });
}

#[test]
fn beyond_so_many_pages_wait_in_their_threads() {
    httpd().mpm(Mpm::Event).children(1, 8).lines("pLuaStates 20\npLuaParked 2").pages(PAGES).run(|server| {
        let (paths, wanted) = numbered(6);
        assert_eq!(at_once(server, &paths).0, wanted);
    });
}

#[test]
fn a_graceful_restart_lets_waiting_pages_end_and_a_hard_one_cuts_them_off() {
    let pages = [("wait.plua", "begun<? flush() sleep(2) ?>, done"), ("steady.plua", "steady")];
    httpd().mpm(Mpm::Event).lines("KeepAlive Off").pages(&pages).run(|server| {
        let mut connection = server.connect();
        connection.send(b"GET /wait.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.until(b"begun\r\n");
        server.httpd().graceful().unwrap();
        assert_eq!(server.get("/steady.plua").text(), "steady");
        connection.until(b", done\r\n0\r\n\r\n");
        let mut connection = server.connect();
        connection.send(b"GET /wait.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.until(b"begun\r\n");
        let begun = Instant::now();
        // A thread that still has a connection may find that the child's listener is gone.
        server.tolerate("apr_pollset_add failure");
        server.httpd().restart().unwrap();
        assert_eq!(server.get("/steady.plua").text(), "steady");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    });
}

#[test]
fn visitors_who_leave_do_no_harm() {
    httpd().mpm(Mpm::Event).children(1, 4).lines("pLuaStates 40").pages(PAGES).run(|server| {
        for _ in 0..20 {
            let mut connection = server.connect();
            connection.send(b"GET /gone.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.until(b"xxx");
        }
        let (paths, wanted) = numbered(10);
        assert_eq!(at_once(server, &paths).0, wanted);
    });
}

#[test]
fn more_streams_of_events_are_open_than_there_are_threads() {
    let page = "<? local events = plua.events() for i = 1, 5 do events:send(i) events:wait(0.2) end ?>";
    let lines = "pLuaStates 100\nAsyncRequestWorkerFactor 100";
    httpd().mpm(Mpm::Event).children(1, 4).lines(lines).pages(&[("live.plua", page)]).run(|server| {
        let (answers, took) = at_once(server, &vec!["/live.plua".to_string(); 40]);
        let stream: String = (1..=5).map(|event| format!("data: {event}\n\n")).collect();
        assert!(answers.iter().all(|answer| *answer == stream), "{answers:?}");
        // In four threads it would take ten seconds.
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn a_visitor_who_leaves_ends_a_page_that_has_asked_for_that_while_it_waits() {
    let pages = [
        ("leave.plua", "begun<? plua.onAbort(function() left = true end) flush() sleep(50) ?>"),
        (
            "quiet.plua",
            "begun<? plua.onAbort() flush() plua.parallel(function() sleep(50) end, function() sleep(50) end) ?>",
        ),
        ("after.plua", "<? plua.onAbort(function() error('not called') end) sleep(0.05) ?>after"),
        ("steady.plua", "<?= left and 'left' or 'steady' ?>"),
    ];
    // The one state is free for the next only when its page has ended.
    let lines = "pLuaStates 1\npLuaStateWait 20";
    httpd().mpm(Mpm::Event).lines(lines).pages(&pages).run(|server| {
        for (page, wanted) in [("quiet", "steady"), ("leave", "left")] {
            let mut connection = server.connect();
            connection.send(format!("GET /{page}.plua HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
            connection.until(b"begun\r\n");
            // What follows on the connection is no reason to end the page.
            connection.send(b"GET /steady.plua HTTP/1.1\r\n");
            drop(connection);
            let begun = Instant::now();
            assert_eq!(server.get("/steady.plua").text(), wanted);
            assert!(begun.elapsed() < Duration::from_secs(10), "{page}: {:?}", begun.elapsed());
        }
        assert_eq!(server.get("/after.plua").text(), "after");
    });
}

#[test]
fn one_state_is_enough_for_all_that_wait_where_requests_have_globals_of_their_own() {
    let limits = "pLuaStates 1\nAsyncRequestWorkerFactor 100\npLuaTimeout 5\npLuaMemoryLimit 20000\n";
    for mode in ["pLuaGlobals page", "pLuaGlobals request", "pLuaSandbox On"] {
        httpd().mpm(Mpm::Event).children(1, 4).lines(&format!("{limits}{mode}")).pages(PAGES).run(|server| {
            let (paths, wanted) = numbered(60);
            let (answers, took) = at_once(server, &paths);
            assert_eq!(answers, wanted, "{mode}");
            assert!(took < Duration::from_secs(6), "{mode}: {took:?}");
            // Those who leave while they wait leave the state to others.
            for _ in 0..20 {
                let mut connection = server.connect();
                connection.send(b"GET /gone.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
                connection.until(b"xxx");
            }
            let (paths, wanted) = numbered(10);
            assert_eq!(at_once(server, &paths).0, wanted, "{mode}");
        });
    }
}

#[test]
fn a_graceful_restart_lets_pages_end_that_wait_in_one_state() {
    let lines = "pLuaGlobals page\npLuaStates 1\nKeepAlive Off\nAsyncRequestWorkerFactor 100";
    let pages = [("wait.plua", "<?= 'begun' ?><? flush() sleep(2) ?>, done"), ("steady.plua", "steady")];
    httpd().mpm(Mpm::Event).children(1, 4).lines(lines).pages(&pages).run(|server| {
        let mut waiting: Vec<_> = (0..20).map(|_| server.connect()).collect();
        for connection in &mut waiting {
            connection.send(b"GET /wait.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.until(b"begun\r\n");
        }
        server.httpd().graceful().unwrap();
        assert_eq!(server.get("/steady.plua").text(), "steady");
        for mut connection in waiting {
            connection.until(b", done\r\n0\r\n\r\n");
        }
    });
}

#[test]
fn work_goes_on_without_its_request_and_tells_the_log_what_failed() {
    let pages = [
        (
            "after.plua",
            "<? plua.after(0.1, function(name) sleep(0.05) error('after ' .. name) end, plua.get('name')) ?>begun",
        ),
        (
            "every.plua",
            "<? local n = 0 plua.every(0.1, function() n = n + 1 if n == 3 then error('every three') end sleep(0.01) end) ?>begun",
        ),
        ("steady.plua", "steady"),
    ];
    thread::scope(|scope| {
        for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
            scope.spawn(move || {
                for mode in ["persistent", "page", "request"] {
                    let lines = format!("pLuaGlobals {mode}\npLuaTimeout 5");
                    httpd().mpm(mpm).lines(&lines).pages(&pages).run(|server| {
                        server.expect("after.plua:1");
                        server.expect("every.plua:1");
                        assert_eq!(server.get("/after.plua?name=Ada").text(), "begun");
                        assert_eq!(server.get("/every.plua").text(), "begun");
                        server.wait_for_log("after Ada");
                        server.wait_for_log("every three");
                        assert_eq!(server.get("/steady.plua").text(), "steady");
                        // What is repeated does not keep a child from ending.
                        server.httpd().graceful().unwrap();
                        assert_eq!(server.get("/steady.plua").text(), "steady");
                    });
                }
            });
        }
    });
}
