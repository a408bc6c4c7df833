//! Clients that mean harm, against the real httpd: whatever they send, the next visitor is served by the same child.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::time::{Duration, Instant};

use common::{Server, httpd};

/// Shows the child that serves it.
const PLAIN: (&str, &str) = ("plain.plua", "plain <?= io.open('/proc/self/stat'):read('*l'):match('^%d+') ?>");

/// Shows how many fields a form has.
const COUNT: (&str, &str) = ("count.plua", "<? local n = 0 for _ in pairs(parsePost()) do n = n + 1 end echo(n) ?>");

const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");

/// Runs `attack`, and then asks for a plain page of the child that was there before.
fn attacked(lines: &str, pages: &[(&str, &str)], attack: impl FnOnce(&Server)) {
    httpd().children(1, 5).lines(lines).pages(&[PLAIN, COUNT]).pages(pages).run(|server| {
        let before = server.get("/plain.plua").text();
        attack(server);
        assert_eq!(server.get("/plain.plua").text(), before);
        assert!(before.len() > "plain ".len());
    });
}

/// The statuses of all answers to these bytes, and all that was answered.
fn answers(server: &Server, bytes: impl AsRef<[u8]>) -> (Vec<u16>, String) {
    let text = String::from_utf8_lossy(&server.raw(bytes.as_ref())).into_owned();
    let heads = text.split("HTTP/1.1 ").skip(1);
    (heads.map(|answer| answer[..3].parse().unwrap()).collect(), text)
}

fn part(disposition: &str, content: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data{disposition}\r\n\r\n{content}\r\n")
}

#[test]
fn what_a_visitor_sends_never_splits_the_head_of_an_answer() {
    let calls = [
        "header('X-A', v)",
        "header(v, '1')",
        "header('X-A', v, true)",
        "setContentType(v)",
        "redirect(v)",
        "setCookie('a', v)",
        "setCookie(v, 'a')",
        "setCookie('a', 'b', 0, v)",
        "setCookie{name = 'a', value = v, raw = true}",
        "setCookie{name = 'a', value = 'b', path = v}",
        "setCookie{name = 'a', value = 'b', domain = v}",
    ];
    attacked("", &[("encoded.plua", "<? setCookie{name = 'a', value = parseGet().v} ?>")], |server| {
        for (number, call) in calls.iter().enumerate() {
            server.expect(&format!("{number}.plua:1"));
            server.put(&format!("{number}.plua"), format!("<? local v = parseGet().v {call} ?>"));
            for value in
                ["a%0d%0aX-Injected:%201", "a%0aX-Injected:%201", "a%0dX-Injected:%201", "a%00", "%0d%0a%0d%0ahi"]
            {
                let answer = server.get(&format!("/{number}.plua?v={value}"));
                assert_eq!((answer.status, answer.header("X-Injected")), (500, None), "{call} {value}");
                assert!(answer.complete && answer.header("Set-Cookie").is_none(), "{call} {value}");
            }
        }
        let answer = server.get("/encoded.plua?v=a%0d%0aX-Injected:%201");
        assert_eq!((answer.status, answer.header("X-Injected")), (200, None));
        assert!(answer.header("Set-Cookie").unwrap().starts_with("a=a%0D%0A"), "{answer:?}");
    });
}

#[test]
fn visitors_who_send_no_body_hold_no_state() {
    let body = "<?= #(getRequestBody() or '') ?>";
    let lines = "pLuaStates 1\npLuaStateWait 20\npLuaTimeout 60\nTimeout 30";
    let setup = httpd().children(1, 25).lines(lines).pages(&[PLAIN, ("body.plua", body)]);
    setup.run(|server| {
        server.tolerate("the client left before its end");
        server.tolerate("the client stopped sending it");
        server.get("/plain.plua");
        let silent: Vec<_> = ["POST", "PUT", "GET", "DELETE", "POST", "GET"]
            .into_iter()
            .enumerate()
            .map(|(number, method)| {
                let mut connection = server.connect();
                // Nothing at all, and the most of what is kept in memory and more.
                let begun = if number < 4 { 0 } else { 400_000 };
                let head = format!("{method} /body.plua HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
                connection.send(head.as_bytes());
                connection.send(&vec![b'x'; begun]);
                connection
            })
            .collect();
        server.wait_until_all_is_read();
        let started = Instant::now();
        assert!(server.get("/plain.plua").text().starts_with("plain "));
        assert_eq!(server.request("POST", "/body.plua", &[], b"12345").text(), "5");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        drop(silent);
    });
}

#[test]
fn control_bytes_of_a_visitor_hide_nothing_of_an_entry_in_the_log() {
    let page = "<? error('seen ' .. parseGet().v) ?>";
    attacked("", &[("page.plua", page)], |server| {
        server.expect("seen a^@b^[[31m at ");
        server.expect("page.plua:1");
        assert_eq!(server.get("/page.plua?v=a%00b%1b[31m").status, 500);
    });
}

#[test]
fn headers_that_a_server_makes_are_refused_with_a_sentence() {
    let page = "<? for _, name in ipairs({ 'Connection', 'Trailer', 'Keep-Alive' }) do \
        echo(select(2, pcall(header, name, 'close')):match('%((.*)%)'), ';') end ?>";
    attacked("", &[("page.plua", page)], |server| {
        let expected =
            "Connection belongs to the server;Trailer belongs to the server;Keep-Alive belongs to the server;";
        assert_eq!(server.get("/page.plua").text(), expected);
    });
}

#[test]
fn control_bytes_are_refused_by_httpd_or_are_bytes_to_the_page() {
    let page = "<? local g, e = parseGet(), getEnv() echo('[', g.a, e['X-A'], (getCookie('c')), ']') ?>";
    attacked("", &[("page.plua", page)], |server| {
        for (line, headers, status) in [
            ("/page.plua%00.html", "", 404),
            ("/page.plua%0a", "", 404),
            ("/page.plua%2f..%2f", "", 404),
            ("/page\0.plua", "", 400),
            ("/page.plua?a=\0", "", 400),
            ("/page.plua?a=\x01", "", 400),
            ("/page.plua", "X-A: a\0b\r\n", 400),
            ("/page.plua", "X-A: a\x01b\r\n", 400),
            ("/page.plua", "X-A\0: ab\r\n", 400),
            ("/page.plua", "Cookie: c=\0\r\n", 400),
            ("/page.plua", "Cookie: c=\x7f\r\n", 400),
        ] {
            let request = format!("GET {line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
            let (statuses, text) = answers(server, &request);
            assert_eq!(statuses, [status], "{request:?} {text}");
        }
        assert_eq!(server.get("/page.plua?a=%00%01%1b%ff").body, b"[\0\x01\x1b\xffnilnil]");
        let answer = server.request("GET", "/page.plua", &[("X-A", "\t\u{ff}"), ("Cookie", "c=%00")], b"");
        assert_eq!(answer.text(), "[nil\u{ff}%00]");
    });
}

#[test]
fn control_bytes_in_forms_are_bytes_and_in_headers_of_parts_are_400() {
    let page = "<? for k, v in pairs(parsePost()) do echo('[', k, '|', type(v) == 'table' and v[1] or v, ']') end ?>";
    attacked("", &[("page.plua", page)], |server| {
        server.expect("the request's form is not well formed");
        assert_eq!(server.post_form("/page.plua", "a%00\x01=%0d%0a\0").body, b"[a\0\x01|\r\n\0]");
        for (disposition, shown) in [
            ("; name=\"a\0\"", None),
            ("; name=\"a\x01\"", None),
            ("; name=a; filename=\"b\0.txt\"", None),
            ("; name=a; filename=\"b\rX: y\"", None),
            ("; name=a; filename=\"../b%00\"", Some("[a|b%00]")),
            ("; name=\"a\tb\"", Some("[a\tb|1\0]")),
        ] {
            let body = part(disposition, "1\0") + "--XX--\r\n";
            let answer = server.request("POST", "/page.plua", &[MULTIPART], body.as_bytes());
            match shown {
                Some(shown) => assert_eq!(answer.text(), shown, "{disposition:?}"),
                None => assert_eq!(answer.status, 400, "{disposition:?}"),
            }
        }
    });
}

#[test]
fn names_of_a_megabyte_are_refused_or_kept_whole() {
    let page = "<? for k in pairs(parsePost()) do echo(#k) end ?>";
    attacked("", &[("page.plua", page)], |server| {
        server.expect("the headers of a part are longer than 64 KB");
        server.expect("File name too long");
        let long = "n".repeat(1_000_000);
        for (request, status) in [
            (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
            (format!("GET /page.plua?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
            (format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &long[..8000]), 403),
            (format!("GET /page.plua HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 400),
            (format!("GET /page.plua HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n"), 400),
            (format!("GET /page.plua HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10_000)), 400),
        ] {
            let (statuses, _) = answers(server, &request);
            // httpd may close on what it has not read, which throws its answer away.
            assert!(statuses.is_empty() || statuses == [status], "{} {statuses:?}", &request[..60]);
        }
        assert_eq!(server.post_form("/page.plua", &format!("{long}=1")).text(), "1000000");
        let body = part(&format!("; name={long}"), "1") + "--XX--\r\n";
        assert_eq!(server.request("POST", "/page.plua", &[MULTIPART], body.as_bytes()).status, 400);
        let body = part(&format!("; name={}", &long[..50_000]), "1") + "--XX--\r\n";
        assert_eq!(server.request("POST", "/page.plua", &[MULTIPART], body.as_bytes()).text(), "50000");
    });
}

#[test]
fn a_hundred_thousand_fields_are_413_until_they_are_allowed() {
    let get = ("get.plua", "<? local n = 0 for _ in pairs(parseGet()) do n = n + 1 end echo(n) ?>");
    let fields = (0..100_000).map(|n| format!("k{n}")).collect::<Vec<_>>().join("&");
    let sent = |server: &Server| [server.post_form("/count.plua", &fields), server.get(&format!("/get.plua?{fields}"))];
    attacked("LimitRequestLine 1000000", &[get], |server| {
        server.expect("the form has more than 10000 fields (pLuaFields)");
        server.expect("the query has more than 10000 fields (pLuaFields)");
        assert_eq!(sent(server).map(|answer| answer.status), [413, 413]);
    });
    attacked("LimitRequestLine 1000000\npLuaFields 100000", &[get], |server| {
        assert_eq!(sent(server).map(|answer| answer.text()), ["100000", "100000"]);
    });
}

// Lua 5.1 hashes strings without a seed; there pLuaFields is what bounds the time.
#[cfg(not(feature = "lua51"))]
#[test]
fn names_made_to_collide_take_no_quadratic_time() {
    attacked("pLuaFields 50000", &[], |server| {
        let time = |name: &dyn Fn(String) -> String| {
            let fields = (0..50_000).map(|n| name(format!("{n:05}"))).collect::<Vec<_>>().join("&");
            let started = Instant::now();
            assert_eq!(server.post_form("/count.plua", &fields).text(), "50000");
            started.elapsed()
        };
        let plain = time(&|digits| "x".repeat(59) + &digits);
        // They differ only in bytes that a hash which skips some of a long string does not see.
        let crafted = time(&|digits| {
            let mut name = vec![b'x'; 64];
            for (place, digit) in [37, 38, 40, 41, 43].into_iter().zip(digits.bytes()) {
                name[place] = digit;
            }
            String::from_utf8(name).unwrap()
        });
        assert!(crafted < plain * 10 + Duration::from_secs(1), "plain {plain:?}, crafted {crafted:?}");
    });
}

#[test]
fn json_as_deep_as_a_well_is_an_error_and_no_crash() {
    attacked("", &[("json.plua", "<? echo(select(2, getJson())) ?>")], |server| {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            for body in [open.repeat(200_000), format!("{}1{}", open.repeat(200_000), close.repeat(200_000))] {
                let answer = server.request("POST", "/json.plua", &[], body.as_bytes());
                assert!(answer.text().starts_with("recursion limit exceeded"), "{}", answer.text());
            }
        }
    });
}

#[test]
fn forms_made_to_burst_are_refused() {
    let end = "--XX--\r\n";
    attacked("", &[], |server| {
        server.expect("the form has more than 10000 fields (pLuaFields)");
        server.expect("the form has more than 20 files (pLuaUploads)");
        server.expect("the form has more parts than a form may have fields (pLuaFields)");
        server.expect("the headers of a part are longer than 64 KB");
        server.expect("the request's form is not well formed: failed to read headers");
        server.expect("the request's form is not whole");
        for (what, body, status) in [
            ("many parts", part("; name=a", "").repeat(20_000) + end, 413),
            ("many parts without a name", "--XX\r\nX: y\r\n\r\n\r\n".repeat(100_000) + end, 413),
            ("empty files", part("; name=f; filename=x", "").repeat(10_000) + end, 413),
            ("an endless header", format!("--XX\r\nX: {}", "x".repeat(3_000_000)), 400),
            ("endless headers", format!("--XX\r\n{}", "X: y\r\n".repeat(500_000)), 400),
            ("many headers", format!("--XX\r\n{}\r\n1\r\n{end}", "X: y\r\n".repeat(1000)), 400),
            ("boundaries only", "--XX\r\n".repeat(500_000), 400),
            ("no end", part("; name=a", &"x".repeat(3_000_000)), 400),
            ("no boundary", "x".repeat(3_000_000), 200),
        ] {
            let answer = server.request("POST", "/count.plua", &[MULTIPART], body.as_bytes());
            assert_eq!(answer.status, status, "{what}");
        }
        let inner = "--YY\r\nContent-Disposition: form-data; name=b\r\n\r\n2\r\n--YY--";
        let nested = part("; name=a\r\nContent-Type: multipart/mixed; boundary=YY", inner) + end;
        assert_eq!(server.request("POST", "/count.plua", &[MULTIPART], nested.as_bytes()).text(), "1");
    });
}

#[test]
fn paths_of_visitors_are_decoded_once_and_a_nul_cuts_none() {
    let page = "<? local v = parseGet().v local calls = {exists = file.exists, stat = file.stat, unlink = file.unlink,
        rename = function(v) return file.rename(v, v .. 'x') end, send = file.send, include = include}
        local ok, result = pcall(calls[parseGet().call], v) echo('<', ok, ' ', result, '>') ?>";
    // A report would show what the page has in its variables.
    attacked("pLuaError 0", &[("sub/page.plua", page), ("secret.txt", "secret")], |server| {
        assert_eq!(server.get("/sub/page.plua?call=exists&v=../secret.txt").text(), "<true true>");
        // An included file that cannot be read is reported, one that is not there is not.
        server.expect("File name too long");
        let long = "x".repeat(5000);
        for call in ["exists", "stat", "unlink", "rename", "send", "include"] {
            for (value, refused) in [
                ("../secret.txt%00.html", call != "include"),
                ("%00", call != "include"),
                ("..%252fsecret.txt", false),
                ("%252e%252e/secret.txt", false),
                ("..%5csecret.txt", false),
                ("..%c0%afsecret.txt", false),
                ("/proc/self/none", false),
                ("~root/secret.txt", false),
                ("file:///etc/passwd", false),
                (long.as_str(), false),
            ] {
                let text = server.get(&format!("/sub/page.plua?call={call}&v={value}")).text();
                let text = text.as_str();
                let found = text.contains("secret<") || text.contains("true true") || text.contains("table");
                assert!(!found && text.contains(if refused { "<false " } else { "<true " }), "{call} {value}: {text}");
            }
        }
        for (call, shown) in [("include", "<true false>"), ("send", "<true 0>")] {
            let text = server.get(&format!("/sub/page.plua?call={call}&v=/dev/zero")).text();
            assert!(text.ends_with(shown), "{call}: {text}");
        }
        assert_eq!(server.get("/secret.txt").text(), "secret");
    });
}

#[test]
fn a_request_that_lies_about_its_length_is_one_request_at_most() {
    let count = "<? runs = (runs or 0) + 1 local ok, body = pcall(getRequestBody) echo('run ', runs, ' ', ok) ?>";
    attacked("pLuaStates 1", &[("run.plua", count), ("runs.plua", "<?= runs or 0 ?>")], |server| {
        let smuggled = "GET /run.plua HTTP/1.1\r\nHost: a\r\n\r\n";
        let length = smuggled.len();
        for (headers, body, runs, last) in [
            ("Content-Length: 1000".to_string(), "abc".to_string(), 1, 200),
            ("Content-Length: 3".into(), "abcdef\r\n\r\n".into(), 1, 400),
            ("Content-Length: -1".into(), "abc".into(), 0, 400),
            ("Content-Length: 3x".into(), "abc".into(), 0, 400),
            ("Content-Length: 99999999999999999999".into(), "abc".into(), 0, 400),
            ("Content-Length: 3\r\nContent-Length: 4".into(), "abcd".into(), 0, 400),
            (format!("Content-Length: 0\r\nContent-Length: {length}"), smuggled.into(), 0, 400),
            (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), format!("0\r\n\r\n{smuggled}"), 1, 200),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked".into(), format!("0\r\n\r\n{smuggled}"), 1, 200),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x".into(), format!("0\r\n\r\n{smuggled}"), 0, 400),
            ("Transfer-Encoding: x".into(), format!("0\r\n\r\n{smuggled}"), 0, 400),
            ("Transfer-Encoding : chunked".into(), format!("0\r\n\r\n{smuggled}"), 0, 400),
            ("Transfer-Encoding: chunked".into(), "ffffffffffffffffff\r\nabc".into(), 1, 200),
        ] {
            let before: u32 = server.get("/runs.plua").text().parse().unwrap();
            let (statuses, text) =
                answers(server, format!("POST /run.plua HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}"));
            let after: u32 = server.get("/runs.plua").text().parse().unwrap();
            assert_eq!((after - before, statuses.last()), (runs, Some(&last)), "{headers}: {text}");
        }
    });
}

#[test]
fn a_request_cut_off_anywhere_harms_no_one() {
    let body = part("; name=a; filename=\"x\"", "content") + "--XX--\r\n";
    attacked("", &[], |server| {
        server.expect("Bad request: the request's body is broken");
        let (name, value) = MULTIPART;
        let length = body.len();
        let request = format!(
            "POST /count.plua HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{name}: {value}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        for end in 0..=request.len() {
            let (statuses, _) = answers(server, &request[..end]);
            let whole = end == request.len();
            assert!(
                if whole { statuses == [200] } else { statuses.iter().all(|status| *status >= 400) },
                "{end} {statuses:?}"
            );
            // Gone without waiting for an answer.
            server.connect().send(&request.as_bytes()[..end]);
        }
    });
}
