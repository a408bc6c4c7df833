//! The harness itself, with static files: what it sends, reads back, and holds against the error log.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use common::{Connection, Mpm, Response, Setup, httpd};

const DENIED: &str = "<Location /no>\nRequire all denied\n</Location>";

fn still() -> Setup {
    httpd().without_plua().pages(&[("a.txt", "hello"), ("sub/b.txt", "below")])
}

/// What a run that must fail said.
fn failure(run: impl FnOnce()) -> String {
    let problem = catch_unwind(AssertUnwindSafe(run)).expect_err("the run passed");
    problem.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn files_come_back_with_status_headers_and_body() {
    still().run(|server| {
        let answer = server.get("/a.txt");
        assert_eq!((answer.status, answer.reason.as_str()), (200, "OK"));
        assert_eq!(answer.header("content-length"), Some("5"));
        assert_eq!(answer.body, b"hello");
        assert!(answer.complete);
        assert_eq!(server.get("/sub/b.txt").text(), "below");
        assert_eq!(server.get("/missing").status, 404);
        let head = server.request("HEAD", "/a.txt", &[], b"");
        assert_eq!((head.header("Content-Length"), head.body.len()), (Some("5"), 0));
    });
}

#[test]
fn repeated_headers_keep_their_order() {
    still().lines("Header add X-Note one\nHeader add X-Note two").run(|server| {
        assert_eq!(server.get("/a.txt").all("x-note"), ["one", "two"]);
    });
}

#[test]
fn one_connection_carries_several_requests() {
    still().run(|server| {
        let mut connection = server.connect();
        assert_eq!(connection.request("GET", "/a.txt", &[], b"").text(), "hello");
        assert_eq!(connection.request("GET", "/missing", &[], b"").status, 404);
        assert_eq!(connection.request("GET", "/sub/b.txt", &[("Connection", "close")], b"").text(), "below");
        assert!(connection.rest().is_empty());
    });
}

/// What the client makes of an answer of these bytes, after which the connection is closed.
fn read(answer: &'static str) -> Response {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = thread::spawn(move || listener.accept().unwrap().0.write_all(answer.as_bytes()).unwrap());
    let response = Connection::open(port).response("GET");
    sender.join().unwrap();
    response
}

#[test]
fn a_body_is_read_to_its_end_and_a_cut_one_is_seen() {
    let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\na;note=x\r\n, good day\r\n0\r\nX-Sum: 1\r\n\r\n";
    let response = read(chunked);
    assert_eq!((response.text().as_str(), response.complete), ("hello, good day", true));

    let cut = |answer| (read(answer).text(), read(answer).complete);
    assert_eq!(cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), ("hello".into(), false));
    assert_eq!(cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), ("hel".into(), false));
    assert_eq!(cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), ("hel".into(), false));
    assert_eq!(cut("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello"), ("hel".into(), true));
    assert_eq!(cut("HTTP/1.1 200 OK\r\n\r\nall of it"), ("all of it".into(), true));
}

#[test]
fn raw_bytes_are_sent_as_they_are() {
    still().run(|server| {
        let answer = server.raw(b"GET /a.txt HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"\r\n\r\nhello"));
        assert!(server.raw(b"nonsense\r\n\r\n").starts_with(b"HTTP/1.1 400 "));
    });
}

#[test]
fn virtual_hosts_are_chosen_by_name_under_every_mpm() {
    let hosts = "<VirtualHost *:${PORT}>\nServerName one.test\n</VirtualHost>\n<VirtualHost *:${PORT}>\n\
        ServerName two.test\nHeader set X-Host two\n</VirtualHost>";
    for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
        still().mpm(mpm).children(2, 2).lines(hosts).run(|server| {
            assert_eq!(server.get_from("one.test", "/a.txt").header("X-Host"), None);
            assert_eq!(server.get_from("two.test", "/a.txt").header("X-Host"), Some("two"));
        });
    }
}

#[test]
fn several_threads_may_ask_at_once() {
    still().run(|server| {
        let server = &*server;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(server.get("/a.txt").body, b"hello"));
            }
        });
    });
}

#[test]
fn an_unannounced_error_in_the_log_fails_the_test() {
    let said = failure(|| {
        still().lines(DENIED).run(|server| assert_eq!(server.get("/no").status, 403));
    });
    assert!(said.starts_with("not announced with server.expect():") && said.contains("AH01630"), "{said}");
}

#[test]
fn an_announced_error_must_come_and_then_passes() {
    still().lines(DENIED).run(|server| {
        server.expect("AH01630");
        assert_eq!(server.get("/no").status, 403);
        assert!(server.wait_for_log("AH01630").contains("client denied"));
    });
    let said = failure(|| still().run(|server| server.expect("AH01630")));
    assert_eq!(said, "announced but never logged: AH01630");
}

#[test]
fn a_crashed_child_fails_the_test() {
    let said = failure(|| {
        still().run(|server| {
            let child = server.httpd().children()[0].to_string();
            assert!(std::process::Command::new("kill").args(["-SEGV", &child]).status().unwrap().success());
            server.wait_for_log("AH00052");
        });
    });
    assert!(said.contains("exit signal Segmentation fault"), "{said}");
}

#[test]
fn a_refused_configuration_is_an_answer() {
    let Some((status, output)) = still().lines("Nonsense").check() else {
        return;
    };
    assert_eq!(status, 1);
    assert!(output.contains("Invalid command 'Nonsense'"), "{output}");
}
