//! Pages over HTTP/2 and TLS, and under every way httpd spreads requests over processes and threads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::io::Read;
use std::process::{Command, Output, Stdio};

use common::tls::{certificate, tls};
use common::{Mpm, Server, Setup, httpd};
use tempfile::TempDir;

/// A page that sends its first piece and then waits until the test has put `go` beside it, or ten seconds.
const TWO_PIECES: &str = "first.<? flush() for i = 1, 1000 do local f = io.open('go') if f then f:close() break end \
    sleep(0.01) end ?>second.";

/// The pages every protocol and every MPM serves.
const PAGES: &[(&str, &str)] = &[
    ("hello.plua", "Hello <?= getEnv()['Request-Method'], ' ', parseGet().n ?>"),
    ("long.plua", "<? for i = 1, 20000 do echo('line ', i, '\\n') end ?>"),
    ("pieces.plua", TWO_PIECES),
    ("broken.plua", "first.<? flush() error('late') ?>"),
    ("failed.plua", "<? error('early') ?>"),
    ("scheme.plua", "<? local e = getEnv() ?><?= e.REQUEST_SCHEME, ' ', e.SERVER_PROTOCOL, ' ', e.Host ?>"),
];

fn site() -> Setup {
    httpd().pages(PAGES)
}

/// A curl of so many seconds at most that shows no progress.
fn curl(arguments: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--insecure", "--max-time", "20"]).args(arguments);
    curl
}

/// The body curl got, and after it what `--write-out` is to tell.
fn fetch(arguments: &[&str], url: &str, tell: &str) -> String {
    let Output { stdout, stderr, .. } =
        curl(arguments).args(["--show-error", "--write-out", tell, url]).output().unwrap();
    String::from_utf8(stdout).unwrap() + &String::from_utf8_lossy(&stderr)
}

const PRIOR: &[&str] = &["--http2-prior-knowledge"];

fn h2c() -> Setup {
    site().module("http2").lines("Protocols h2c http/1.1")
}

#[test]
fn pages_work_over_http2() {
    h2c().run(|server| {
        server.expect("early at ");
        let tell = " %{http_version} %{http_code} %header{content-length}";
        let get = |path: &str, tell| fetch(PRIOR, &server.url(path), tell);
        assert_eq!(get("/hello.plua?n=1", tell), "Hello GET 1 2 200 11");
        assert!(get("/missing.plua", tell).contains(" 2 404 "));
        assert!(get("/failed.plua", tell).contains("early"));
        assert_eq!(get("/scheme.plua", ""), format!("http HTTP/2.0 {}", &server.url("")[7..]));
        let long = get("/long.plua", "");
        assert!(long.starts_with("line 1\n") && long.ends_with("line 20000\n") && long.lines().count() == 20_000);
        let head = fetch(&["--http2-prior-knowledge", "--head"], &server.url("/long.plua"), "");
        assert!(head.contains(&format!("content-length: {}", long.len())), "{head}");
        let posted = fetch(&["--http2-prior-knowledge", "--request", "POST"], &server.url("/hello.plua?n=2"), "");
        assert_eq!(posted, "Hello POST 2");
    });
}

#[test]
fn a_flushed_piece_arrives_over_http2_before_the_page_ends() {
    h2c().run(|server| {
        let mut curl =
            curl(PRIOR).args(["--no-buffer", &server.url("/pieces.plua")]).stdout(Stdio::piped()).spawn().unwrap();
        let mut pieces = curl.stdout.take().unwrap();
        let mut first = [0; 6];
        pieces.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"first.");
        server.put("go", "");
        let mut rest = String::new();
        pieces.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "second.");
        assert!(curl.wait().unwrap().success());
    });
}

#[test]
fn a_page_that_fails_after_a_flush_resets_its_http2_stream_alone() {
    h2c().run(|server| {
        server.expect("late at ");
        let output = curl(PRIOR).args(["--show-error", &server.url("/broken.plua")]).output().unwrap();
        // The reset may overtake what was flushed before it.
        assert!(b"first.".starts_with(&output.stdout[..]));
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(problem.contains("HTTP/2 stream") && problem.contains("not closed cleanly"), "{problem}");
        assert_eq!(fetch(PRIOR, &server.url("/hello.plua?n=3"), ""), "Hello GET 3");
    });
}

#[test]
fn a_hidden_failure_shows_its_number_over_http2() {
    h2c().lines("pLuaError 0").run(|server| {
        server.expect("early at ");
        let text = fetch(PRIOR, &server.url("/failed.plua"), "");
        let number = text.split_once("Incident <strong>").and_then(|(_, rest)| rest.get(..8)).unwrap();
        assert!(server.wait_for_log("early at ").contains(&format!("incident {number}: ")), "{text}");
    });
}

#[test]
fn a_page_in_pieces_asked_for_its_head_has_no_body_over_http2() {
    h2c().pages(&[("often.plua", "<? header('X-Page', 'often') for i = 1, 3 do echo(i) flush() end ?>end")]).run(
        |server| {
            let head = fetch(&["--http2-prior-knowledge", "--head"], &server.url("/often.plua"), "%{http_code}");
            assert!(head.contains("x-page: often") && head.ends_with("200"), "{head}");
            assert_eq!(fetch(PRIOR, &server.url("/often.plua"), ""), "123end");
        },
    );
}

/// A site that speaks HTTP/1.1 and 2 over TLS, with the certificate of this folder.
fn https(certificate: &TempDir) -> Setup {
    site().module("ssl").module("http2").further_ports(1).lines("Protocols h2 http/1.1").lines(&tls(certificate.path()))
}

fn secure(server: &mut Server, path: &str) -> String {
    format!("https://127.0.0.1:{}{path}", server.httpd().ports()[1])
}

#[test]
fn pages_work_over_tls_with_http_1_and_2() {
    let certificate = certificate();
    let page = "<? local e = getEnv() ?><?= e.HTTPS, ' ', e.SSL_PROTOCOL ?>";
    https(&certificate).pages(&[("tls.plua", page)]).run(|server| {
        for (version, number, protocol) in [("--http1.1", "1.1", "HTTP/1.1"), ("--http2", "2", "HTTP/2.0")] {
            let mut get = |path: &str, tell: &str| fetch(&[version], &secure(server, path), tell);
            assert_eq!(get("/hello.plua?n=1", " %{http_version}"), format!("Hello GET 1 {number}"));
            assert!(get("/scheme.plua", "").starts_with(&format!("https {protocol} 127.0.0.1:")));
            assert!(get("/tls.plua", "").starts_with("on TLSv1."));
            assert!(get("/long.plua", "").ends_with("line 20000\n"));
        }
        assert_eq!(server.get("/tls.plua").text(), "nil nil");
    });
}

#[test]
fn one_http2_connection_carries_page_after_page() {
    let certificate = certificate();
    https(&certificate).run(|server| {
        let urls: Vec<String> = (0..20).map(|n| secure(server, &format!("/hello.plua?n={n}"))).collect();
        let output = curl(&["--http2", "--write-out", " %{num_connects}\n"]).args(&urls).output().unwrap();
        let expected: String = (0..20).map(|n| format!("Hello GET {n} {}\n", u32::from(n == 0))).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    });
}

#[test]
fn pages_asked_for_at_once_over_http2_all_come() {
    let certificate = certificate();
    https(&certificate).run(|server| {
        let urls: Vec<String> = (0..50).map(|n| secure(server, &format!("/hello.plua?n={n};"))).collect();
        let output = curl(&["--http2", "--parallel", "--parallel-max", "10"]).args(&urls).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut answers: Vec<&str> = text.split_terminator(';').collect();
        let mut expected: Vec<String> = (0..50).map(|n| format!("Hello GET {n}")).collect();
        answers.sort_unstable();
        expected.sort_unstable();
        assert_eq!(answers, expected);
    });
}

#[test]
fn a_client_that_asks_before_sending_its_body_gets_an_answer() {
    site().run(|server| {
        let headers = [("Expect", "100-continue"), ("Content-Length", "5"), ("Host", "localhost")];
        let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut connection = server.connect();
        connection.send(format!("POST /hello.plua?n=1 HTTP/1.1\r\n{head}\r\n").as_bytes());
        let mut answer = connection.one_response("POST");
        if answer.status == 100 {
            connection.send(b"body!");
            answer = connection.response("POST");
        }
        assert_eq!((answer.status, answer.text().as_str()), (200, "Hello POST 1"));
    });
}

#[test]
fn every_mpm_serves_pages() {
    for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
        site().mpm(mpm).children(2, 4).run(|server| {
            server.expect("early at ");
            server.expect("late at ");
            let mut connection = server.connect();
            for number in 0..10 {
                let answer = connection.request("GET", &format!("/hello.plua?n={number}"), &[], b"");
                assert_eq!(answer.text(), format!("Hello GET {number}"), "{mpm:?}");
            }
            drop(connection);
            assert_eq!(server.get("/long.plua").text().lines().count(), 20_000, "{mpm:?}");
            assert_eq!(server.get("/failed.plua").status, 500, "{mpm:?}");
            let broken = server.get("/broken.plua");
            assert_eq!((broken.text().as_str(), broken.complete), ("first.", false), "{mpm:?}");

            let mut connection = server.connect();
            connection.send(b"GET /pieces.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.until(b"first.\r\n");
            server.put("go", "");
            connection.until(b"second.\r\n0\r\n\r\n");
            drop(connection);

            let server = &*server;
            std::thread::scope(|scope| {
                for client in 0..4 {
                    scope.spawn(move || {
                        for number in 0..25 {
                            let text = server.get(&format!("/hello.plua?n={client}.{number}")).text();
                            assert_eq!(text, format!("Hello GET {client}.{number}"), "{mpm:?}");
                        }
                    });
                }
            });
        });
    }
}
