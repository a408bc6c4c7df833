//! Request bodies through the real httpd: transfer codings, limits, clients that leave, and large uploads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Connection, Response, Server, httpd, with_httpd};

/// Shows the fields of a form, keys sorted.
const FORM: &str = "<? local f, keys = parsePost(), {} for k in pairs(f) do keys[#keys + 1] = k end table.sort(keys)
for _, k in ipairs(keys) do
  local v = f[k]
  if type(v) == 'table' then v = table.concat(v, '|') end
  echo(k, '=', v, ';')
end ?>";

/// Shows method, size and body.
const BODY: &str = "<? local body, size = getRequestBody() echo(getEnv()['Request-Method'], ' ', size, ' ', body) ?>";

const PAGES: &[(&str, &str)] = &[("form.plua", FORM), ("body.plua", BODY), ("unread.plua", "unread")];

const PARTS: &str = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
    --XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\nda\0ta\r\n--XX--\r\n";

const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");
const URLENCODED: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

fn chunked(body: &str, step: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for piece in body.as_bytes().chunks(step) {
        coded.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        coded.extend_from_slice(piece);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

#[test]
fn forms_reach_the_page_with_every_method_as_often_as_it_asks() {
    let again =
        "<? local files, a, b = uploads(), parsePost(), parsePost() echo(#files, a.a, b.a, plua.post('a'), b.f[2]) ?>";
    let pages = [("form.plua", FORM), ("again.plua", again)];
    with_httpd("", &pages, |server| {
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            assert_eq!(server.request(method, "/form.plua", &[URLENCODED], b"a=1&a=2").text(), "a=1|2;", "{method}");
            let seen = server.request(method, "/again.plua", &[MULTIPART], PARTS.as_bytes());
            assert_eq!(seen.text(), "1111da\0ta", "{method}");
        }
        assert_eq!(server.get("/form.plua").text(), "");
    });
}

#[test]
fn forms_come_in_sized_and_chunked() {
    with_httpd("", PAGES, |server| {
        assert_eq!(server.post_form("/form.plua", "a=1&b=x+y").text(), "a=1;b=x y;");
        assert_eq!(server.request("POST", "/form.plua", &[MULTIPART], PARTS.as_bytes()).text(), "a=1;f=x.bin|da\0ta;");
        for step in [1, 50, 1000] {
            let form = chunked("a=1&b=x+y", step);
            let seen = server.request("POST", "/form.plua", &[URLENCODED, CHUNKED], &form);
            assert_eq!(seen.text(), "a=1;b=x y;");
            let seen = server.request("POST", "/form.plua", &[MULTIPART, CHUNKED], &chunked(PARTS, step));
            assert_eq!(seen.text(), "a=1;f=x.bin|da\0ta;");
        }
        let large = format!("a={}", "x".repeat(1_000_000));
        let seen = server.request("POST", "/form.plua", &[URLENCODED, CHUNKED], &chunked(&large, 9000));
        assert_eq!(seen.body.len(), large.len() + 1);
    });
}

#[test]
fn forms_without_type_or_content_are_empty() {
    with_httpd("", PAGES, |server| {
        assert_eq!(server.request("POST", "/form.plua", &[], b"a=1").text(), "");
        assert_eq!(server.request("POST", "/form.plua", &[], b"").text(), "");
        assert_eq!(server.request("POST", "/form.plua", &[URLENCODED], b"").text(), "");
        assert_eq!(server.request("POST", "/form.plua", &[URLENCODED, ("Content-Length", "0")], b"").text(), "");
        assert_eq!(server.request("POST", "/body.plua", &[("Content-Length", "0")], b"").text(), "POST 0 ");
    });
}

#[test]
fn every_method_may_have_a_body() {
    with_httpd("", PAGES, |server| {
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            assert_eq!(server.request(method, "/body.plua", &[], b"12\0").text(), format!("{method} 3 12\0"));
            let seen = server.request(method, "/body.plua", &[CHUNKED], &chunked("hello", 2));
            assert_eq!(seen.text(), format!("{method} 5 hello"));
        }
        assert_eq!(server.get("/body.plua").text(), "GET nil nil");
        let seen = server.request("HEAD", "/body.plua", &[], b"12");
        assert_eq!((seen.status, seen.header("Content-Length")), (200, Some("9")));
    });
}

#[test]
fn a_client_that_waits_is_told_to_go_on_before_the_page_runs() {
    with_httpd("", PAGES, |server| {
        let head = |page| {
            let head = format!("POST /{page} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
            let mut connection = server.connect();
            connection.send(head.as_bytes());
            let first = connection.one_response("POST");
            (connection, first)
        };
        for (page, shown) in [("body.plua", "POST 3 abc"), ("unread.plua", "unread")] {
            let (mut connection, first) = head(page);
            assert_eq!(first.status, 100);
            connection.send(b"abc");
            assert_eq!(connection.one_response("POST").text(), shown);
        }
    });
}

#[test]
fn what_limit_request_body_refuses_is_413_sized_and_chunked() {
    with_httpd("LimitRequestBody 1000", PAGES, |server| {
        server.expect("Request too large: the request's body is larger than the server allows (LimitRequestBody)");
        let body = "x".repeat(1001);
        assert_eq!(server.request("POST", "/body.plua", &[], &body.as_bytes()[..1000]).status, 200);
        for path in ["/body.plua", "/form.plua"] {
            let sized = server.request("POST", path, &[URLENCODED], body.as_bytes());
            let coded = server.request("POST", path, &[URLENCODED, CHUNKED], &chunked(&body, 300));
            for seen in [sized, coded] {
                assert_eq!(seen.status, 413);
                assert!(seen.text().contains("Request too large"), "{}", seen.text());
                // httpd's own answer does not come first.
                assert!(seen.text().starts_with("<!DOCTYPE html>\n"), "{}", seen.text());
            }
        }
        server.put("catch.plua", "<? echo(pcall(getRequestBody)) setReturnCode(422) ?>");
        let seen = server.request("POST", "/catch.plua", &[CHUNKED], &chunked(&body, 300));
        assert_eq!(seen.status, 422);
        assert!(seen.text().starts_with("falsethe request's body is larger"), "{}", seen.text());
    });
}

#[test]
fn a_body_that_stops_or_is_badly_coded_is_400_and_the_server_goes_on() {
    with_httpd("", PAGES, |server| {
        server.expect("Bad request: the request's body is broken, or the client left before its end");
        let head = "POST /body.plua HTTP/1.1\r\nHost: a\r\n";
        for rest in ["Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n"] {
            let answer = String::from_utf8_lossy(&server.raw(format!("{head}{rest}").as_bytes())).into_owned();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(answer.contains("Connection: close"), "{answer}");
        }
        // Gone without waiting for an answer.
        drop({
            let mut connection = server.connect();
            connection.send(format!("{head}Content-Length: 10\r\n\r\n12345").as_bytes());
            connection
        });
        server.wait_for_log("Bad request: ");
        assert_eq!(server.request("POST", "/body.plua", &[], b"12").text(), "POST 2 12");
    });
}

#[test]
fn a_silent_client_is_given_up_after_the_servers_timeout_although_the_page_is_over_its_time_limit() {
    httpd().lines("Timeout 2\npLuaTimeout 1").run(|server| {
        server.put("body.plua", "<? getRequestBody() ?>");
        server.put("next.plua", "fine");
        server.expect("body.plua");
        let mut connection = server.connect();
        let started = Instant::now();
        connection.send(b"POST /body.plua HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
        assert!([408, 500].contains(&connection.response("POST").status));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(server.get("/next.plua").text(), "fine");
    });
}

#[test]
fn a_body_that_mod_reqtimeout_cuts_off_is_408() {
    let pages = [
        ("caught.plua", "<? local ok, why = pcall(getRequestBody) header('X-Why', why) setReturnCode(400) ?>mine"),
        PAGES[0],
        PAGES[1],
    ];
    httpd().module("reqtimeout").lines("RequestReadTimeout body=1").pages(&pages).run(|server| {
        server.expect("Request timeout: the request's body is not whole: the client stopped sending it");
        for (page, header) in
            [("body", ""), ("form", "Content-Type: application/x-www-form-urlencoded\r\n"), ("caught", "")]
        {
            let mut connection = server.connect();
            connection.send(
                format!("POST /{page}.plua HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 100\r\n\r\na=").as_bytes(),
            );
            let answer = connection.response("POST");
            match page {
                "caught" => assert_eq!((answer.status, answer.text().as_str()), (400, "mine")),
                _ => assert_eq!(answer.status, 408, "{}", answer.text()),
            }
            assert_eq!(answer.header("Connection"), Some("close"), "{page}");
        }
    });
}

#[test]
fn a_body_the_page_does_not_read_leaves_the_connection_usable() {
    with_httpd("", PAGES, |server| {
        let mut connection = server.connect();
        let body = vec![b'x'; 50_000];
        for _ in 0..3 {
            assert_eq!(connection.request("POST", "/unread.plua", &[], &body).text(), "unread");
            let coded = chunked("hello", 2);
            assert_eq!(connection.request("POST", "/unread.plua", &[CHUNKED], &coded).text(), "unread");
            assert_eq!(connection.request("PUT", "/body.plua", &[], b"12").text(), "PUT 2 12");
            assert_eq!(connection.request("GET", "/body.plua", &[], b"").text(), "GET nil nil");
        }
    });
}

#[test]
fn an_included_page_does_not_take_the_body_of_the_request() {
    let pages = [("main.shtml", "[<!--#include virtual=\"/body.plua\" -->]"), PAGES[1]];
    let setup = httpd()
        .module("include")
        .lines("AddOutputFilter INCLUDES .shtml\n<Directory ${DOCROOT}>\nOptions +Includes\n</Directory>");
    setup.pages(&pages).run(|server| {
        assert_eq!(server.request("GET", "/main.shtml", &[], b"").text(), "[GET nil nil]");
        assert_eq!(server.request("POST", "/main.shtml", &[], b"12").text(), "[GET nil nil]");
    });
}

#[test]
fn uploads_come_in_through_http2() {
    let has_http2 = Command::new("curl").arg("--version").output();
    if !has_http2.is_ok_and(|run| String::from_utf8_lossy(&run.stdout).contains("HTTP2")) {
        return;
    }
    let page = "<? local u = uploads()[1] echo(u.name, ' ', u.size, ' ', u:read():sub(-4)) ?>";
    let setup = httpd().module("http2").lines("Protocols h2c http/1.1").pages(&[("page.plua", page)]).pages(PAGES);
    setup.run(|server| {
        server.put("large.bin", [vec![b'x'; 2_000_000], b"last".to_vec()].concat());
        let curl = |arguments: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["-sS", "--max-time", "30", "--http2-prior-knowledge"]).args(arguments);
            let run = command.output().unwrap();
            String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
        };
        let file = format!("f=@{}", server.docroot().join("large.bin").display());
        assert_eq!(curl(&["-F", &file, &server.url("/page.plua")]), "large.bin 2000004 last");
        assert_eq!(curl(&["-d", "a=1", &server.url("/form.plua")]), "a=1;");
        assert_eq!(curl(&["-X", "PUT", "-H", "Content-Length:", "-d", "abc", &server.url("/body.plua")]), "PUT 3 abc");
    });
}

/// Sends a body of so many megabytes between two texts.
fn send_large(server: &Server, page: &str, header: &str, before: &str, megabytes: u64, after: &str) -> Response {
    let mut connection: Connection = server.connect();
    let length = before.len() as u64 + megabytes * 1_048_576 + after.len() as u64;
    connection.send(format!("POST {page} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{header}\r\n").as_bytes());
    connection.send(before.as_bytes());
    let piece = vec![b'x'; 1_048_576];
    for _ in 0..megabytes {
        connection.send(&piece);
    }
    connection.send(after.as_bytes());
    connection.response("POST")
}

#[test]
fn uploads_of_300_megabytes_need_little_memory() {
    let peak = "echo(' ', io.open('/proc/self/status'):read('*a'):match('VmHWM:%s*(%d+)'))";
    let upload = format!("<? local u = uploads()[1] u:save('saved.bin') echo(u.size) {peak} ?>");
    let body = format!("<? echo(getRequestBody('body.bin')) {peak} ?>");
    httpd().children(1, 5).lines("pLuaUploadSize 0").run(|server| {
        server.put("upload.plua", upload);
        server.put("body.plua", body);
        // The pages write into the document root, as whoever httpd's children run as.
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(server.docroot(), everyone).unwrap();
        let before = "--XX\r\nContent-Disposition: form-data; name=f; filename=x.bin\r\n\r\n";
        let header = format!("{}: {}\r\n", MULTIPART.0, MULTIPART.1);
        for seen in [
            send_large(server, "/upload.plua", &header, before, 300, "\r\n--XX--\r\n"),
            send_large(server, "/body.plua", "", "", 300, ""),
        ] {
            let text = seen.text();
            let (size, peak) = text.split_once(' ').unwrap();
            assert_eq!(size, "314572800");
            assert!(peak.parse::<u64>().unwrap() < 60_000, "{peak} KB");
        }
        for name in ["saved.bin", "body.bin"] {
            assert_eq!(fs::metadata(server.docroot().join(name)).unwrap().len(), 314_572_800);
        }
    });
}
