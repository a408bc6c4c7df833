//! What a page makes of its response: headers, status, pieces sent early, errors.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use common::{Server, httpd, with_httpd};

/// Lua that waits until the test has put `file` beside the page, or ten seconds.
const WAIT: &str = "local function wait(file) for i = 1, 1000 do local f = io.open(file) if f then f:close() return end \
    sleep(0.01) end end";

#[test]
fn headers_and_status_can_be_set_after_output() {
    let page = "text<? header('X-One', 1) header('x-one', 'two') header('X-Gone', 'a') header('X-Gone', nil) \
        setReturnCode(201) setContentType('text/plain; charset=utf-8') ?> more";
    with_httpd("", &[("page.plua", page), ("type.plua", "<? header('content-type', 'text/css') ?>")], |server| {
        let answer = server.get("/page.plua");
        assert_eq!((answer.status, answer.reason.as_str(), answer.text().as_str()), (201, "Created", "text more"));
        assert_eq!(answer.all("X-One"), ["two"]);
        assert_eq!(answer.header("X-Gone"), None);
        assert_eq!(answer.all("Content-Type"), ["text/plain; charset=utf-8"]);
        assert_eq!(server.get("/type.plua").all("Content-Type"), ["text/css; charset=UTF-8"]);
    });
}

/// A page of the type that its query names.
const TYPED: (&str, &str) = ("typed.plua", "<? setContentType(parseGet().t) ?>Zo\u{eb}");

/// The `Content-Type` of a page that gives none, and of others for these types.
fn types(server: &Server, folder: &str, given: &[&str]) -> Vec<String> {
    let paths = given.iter().map(|given| format!("{folder}/typed.plua?t={}", given.replace(' ', "%20")));
    let content_type = |path: String| server.get(&path).all("Content-Type").join(" and ");
    [format!("{folder}/page.plua")].into_iter().chain(paths).map(content_type).collect()
}

const GIVEN: &[&str] = &[
    "text/html",
    "TEXT/plain",
    "text/xml",
    "text/css; charset=latin1",
    "text/html; Charset=latin1",
    "application/json",
    "image/png",
    "application/xml",
];

#[test]
fn text_whose_page_names_no_charset_is_utf_8_and_other_types_stay_as_they_are() {
    let lines = "AddType text/plain .plua";
    with_httpd(lines, &[("page.plua", "Zo\u{eb}"), TYPED, ("flushed.plua", "a<? flush() ?>b")], |server| {
        assert_eq!(
            types(server, "", GIVEN),
            [
                "text/html; charset=UTF-8",
                "text/html; charset=UTF-8",
                "TEXT/plain; charset=UTF-8",
                "text/xml; charset=UTF-8",
                "text/css; charset=latin1",
                "text/html; Charset=latin1",
                "application/json",
                "image/png",
                "application/xml",
            ]
        );
        assert_eq!(server.get("/flushed.plua").all("Content-Type"), ["text/html; charset=UTF-8"]);
        assert_eq!(server.get("/page.plua").body, "Zo\u{eb}".as_bytes());
    });
}

#[test]
fn the_charset_is_plua_charset_or_else_httpds_or_else_utf_8() {
    let pages = [("page.plua", ""), TYPED];
    let pages: Vec<(String, &str)> = ["", "httpd/", "off/", "own/", "none/", "both/", "inner/httpd/"]
        .iter()
        .flat_map(|folder| pages.map(|(name, page)| (format!("{folder}{name}"), page)))
        .collect();
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, page)| (name.as_str(), *page)).collect();
    let folder = |name: &str, lines: &str| format!("<Directory ${{DOCROOT}}/{name}>\n{lines}\n</Directory>\n");
    let lines = folder("httpd", "AddDefaultCharset iso-8859-15")
        + &folder("off", "AddDefaultCharset Off")
        + &folder("own", "pLuaCharset KOI8-R")
        + &folder("none", "pLuaCharset None\nAddDefaultCharset iso-8859-15")
        + &folder("both", "AddDefaultCharset iso-8859-15\npLuaCharset windows-1252")
        + &folder("inner", "pLuaCharset none")
        + &folder("inner/httpd", "pLuaCharset utf-8");
    with_httpd(&lines, &pages, |server| {
        for (folder, expected) in [
            ("", ["text/html; charset=UTF-8", "text/css; charset=UTF-8"]),
            // httpd gives its charset to these two types only.
            ("/httpd", ["text/html; charset=iso-8859-15", "text/css"]),
            ("/off", ["text/html", "text/css"]),
            ("/own", ["text/html; charset=KOI8-R", "text/css; charset=KOI8-R"]),
            ("/none", ["text/html", "text/css"]),
            ("/both", ["text/html; charset=windows-1252", "text/css; charset=windows-1252"]),
            ("/inner/httpd", ["text/html; charset=utf-8", "text/css; charset=utf-8"]),
        ] {
            assert_eq!(types(server, folder, &["text/css"]), expected, "{folder}");
            assert_eq!(types(server, folder, &["text/html; charset=own"])[1], "text/html; charset=own", "{folder}");
            assert_eq!(types(server, folder, &["application/json"])[1], "application/json", "{folder}");
        }
    });
}

#[test]
fn appended_headers_are_all_sent() {
    let page = "<? for _, cookie in ipairs{'a=1', 'b=2; Path=/', 'c=3'} do header('Set-Cookie', cookie, true) end ?>";
    with_httpd("", &[("page.plua", page)], |server| {
        assert_eq!(server.get("/page.plua").all("Set-Cookie"), ["a=1", "b=2; Path=/", "c=3"]);
    });
}

#[test]
fn no_line_break_gets_into_the_head() {
    let calls = [
        "header('X-A', 'b\\r\\nX-Injected: 1')",
        "header('X-A', 'b\\nX-Injected: 1')",
        "header('X-A\\r\\nX-Injected', '1')",
        "header('X-Injected: 1\\r\\nX', 'a', true)",
        "setContentType('text/html\\r\\nX-Injected: 1')",
        "header('Transfer-Encoding', 'chunked')",
    ];
    with_httpd("", &[], |server| {
        for (number, call) in calls.iter().enumerate() {
            server.expect(&format!("{number}.plua:1"));
            server.put(&format!("{number}.plua"), format!("<? {call} ?>"));
            let answer = server.get(&format!("/{number}.plua"));
            assert_eq!((answer.status, answer.header("X-Injected")), (500, None), "{call}");
            assert!(answer.complete);
        }
    });
}

#[test]
fn any_status_a_page_may_send_is_sent() {
    let page = "body<? setReturnCode(tonumber(parseGet().status)) ?>";
    with_httpd(
        "",
        &[("status.plua", page), ("kept.plua", "<? setReturnCode(404) setReturnCode(0) ?>kept")],
        |server| {
            for status in [200, 201, 202, 299, 301, 399, 400, 404, 418, 499, 500, 503, 599] {
                let answer = server.get(&format!("/status.plua?status={status}"));
                assert_eq!((answer.status, answer.text().as_str()), (status, "body"));
            }
            let answer = server.get("/kept.plua");
            assert_eq!((answer.status, answer.text().as_str()), (404, "kept"));
            assert_eq!(server.get("/status.plua?status=0").status, 200);
            server.expect("a status is a whole number from 200 to 599");
            for status in ["100", "199", "600", "-1", "200.5"] {
                assert_eq!(server.get(&format!("/status.plua?status={status}")).status, 500, "{status}");
            }
        },
    );
}

#[test]
fn a_status_without_body_has_none_and_the_connection_goes_on() {
    let page = "body<? header('X-Sent', 'yes') setReturnCode(tonumber(parseGet().status)) ?>";
    let flushed = "body<? setReturnCode(204) flush() ?>more";
    with_httpd("", &[("page.plua", page), ("flushed.plua", flushed), ("next.plua", "next")], |server| {
        let mut connection = server.connect();
        for path in ["/page.plua?status=204", "/page.plua?status=304", "/flushed.plua"] {
            let answer = connection.request("GET", path, &[], b"");
            assert!([204, 304].contains(&answer.status), "{path} {}", answer.status);
            assert_eq!(answer.header("Transfer-Encoding"), None, "{path}");
            // A body would be read as the start of this answer.
            assert_eq!(connection.request("GET", "/next.plua", &[], b"").text(), "next", "{path}");
        }
        assert_eq!(server.get("/page.plua?status=304").header("X-Sent"), Some("yes"));
    });
}

#[test]
fn http_error_hands_over_to_httpds_page() {
    let lines = "ErrorDocument 404 \"nothing here\"\nErrorDocument 410 /gone.plua";
    let pages = [
        ("page.plua", "half<? header('X-Own', 'kept') httpError(tonumber(parseGet().status)) ?>page"),
        ("gone.plua", "gone: <?= getEnv().REDIRECT_STATUS ?>"),
        ("away.plua", "<? header('Location', '/there?a=b') httpError(302) ?>"),
        ("move.plua", "<? header('Location', 'http://example.org/') setReturnCode(302) ?>own"),
    ];
    with_httpd(lines, &pages, |server| {
        let answer = server.get("/page.plua?status=404");
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.header("X-Own")),
            (404, "nothing here", Some("kept"))
        );
        let answer = server.get("/page.plua?status=410");
        assert_eq!((answer.status, answer.text().as_str()), (410, "gone: 410"));
        let answer = server.get("/page.plua?status=403");
        assert!(answer.status == 403 && answer.text().contains("Forbidden") && !answer.text().contains("half"));
        let answer = server.get("/page.plua?status=418");
        assert_eq!(answer.status, 418);
        let answer = server.get("/away.plua");
        assert_eq!(answer.status, 302);
        assert!(answer.header("Location").unwrap().ends_with("/there?a=b"), "{answer:?}");
        let answer = server.get("/move.plua");
        assert_eq!((answer.status, answer.header("Location")), (302, Some("http://example.org/")));
        assert_eq!(answer.text(), "own");
        server.expect("the server has pages for statuses from 300 to 599");
        for status in ["-1", "200", "0", "1000"] {
            let answer = server.get(&format!("/page.plua?status={status}"));
            assert_eq!(answer.status, 500, "{status}");
        }
    });
}

/// A page that sets what clients need of an error, and what was of the body it does not send.
const REFUSING: &str = "unsent<? header('WWW-Authenticate', 'Bearer realm=\"a\"') header('WWW-Authenticate', 'Basic realm=\"b\"', true) \
    header('Retry-After', 30) header('Allow', 'GET, HEAD') header('Access-Control-Allow-Origin', '*') \
    header('Cache-Control', 'no-store') setCookie('a', '1') setCookie('b', '2') header('X-Gone', '1') header('X-Gone', nil) \
    setContentType('application/pdf') header('Content-Encoding', 'gzip') header('Content-Disposition', 'attachment') \
    header('Content-Language', 'fr') header('ETag', '\"x\"') header('Last-Modified', 'Sun, 06 Nov 1994 08:49:37 GMT') \
    header('Content-Length', 99) httpError(tonumber(parseGet().status)) ?>";

#[test]
fn http_error_keeps_the_headers_that_the_page_has_set_but_those_of_its_body() {
    let pages = [("page.plua", REFUSING), ("error.plua", "own <? header('Cache-Control', 'private') ?>")];
    let lines = "ErrorDocument 410 /error.plua\nErrorDocument 429 \"text 429\"";
    with_httpd(lines, &pages, |server| {
        for (status, text) in [
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (405, "Not Allowed"),
            (410, "own"),
            (418, "<h1>"),
            (429, "text 429"),
            (503, "Service Unavailable"),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = server.request(method, &format!("/page.plua?status={status}"), &[], b"");
                assert_eq!(answer.status, status, "{answer:?}");
                assert!(method == "HEAD" || answer.text().contains(text), "{answer:?}");
                assert!(!answer.text().contains("unsent"), "{answer:?}");
                assert_eq!(
                    answer.all("WWW-Authenticate"),
                    ["Bearer realm=\"a\"", "Basic realm=\"b\""],
                    "{status} {method}"
                );
                assert_eq!(answer.all("Retry-After"), ["30"], "{status} {method}");
                assert_eq!(answer.all("Allow"), ["GET, HEAD"], "{status} {method}");
                assert_eq!(answer.all("Access-Control-Allow-Origin"), ["*"], "{status} {method}");
                // A page of its own for the error replaces what it sets itself.
                assert_eq!(
                    answer.all("Cache-Control"),
                    [if status == 410 { "private" } else { "no-store" }],
                    "{status}"
                );
                assert_eq!(answer.all("Set-Cookie").len(), 2, "{answer:?}");
                assert!(answer.header("Content-Type").unwrap().starts_with("text/html"), "{answer:?}");
                for of_body in
                    ["Content-Encoding", "Content-Disposition", "Content-Language", "ETag", "Last-Modified", "X-Gone"]
                {
                    assert_eq!(answer.header(of_body), None, "{status} {method}");
                }
                assert_ne!(answer.header("Content-Length"), Some("99"));
            }
        }
    });
}

#[test]
fn an_unfulfilled_condition_keeps_the_headers_that_the_page_has_set() {
    let page = "<? header('ETag', '\"x\"') header('Vary', 'Cookie') setCookie('a', '1') ?>page";
    with_httpd("", &[("page.plua", page)], |server| {
        let answer = server.request("GET", "/page.plua", &[("If-Match", "\"y\"")], b"");
        assert_eq!((answer.status, answer.header("Vary"), answer.all("Set-Cookie").len()), (412, Some("Cookie"), 1));
    });
}

#[test]
fn a_flushed_piece_arrives_before_the_page_ends() {
    let page = format!("first.<? {WAIT} flush() header('X-Late', '1') wait('go') ?>second.");
    with_httpd("", &[("page.plua", &page)], |server| {
        let mut connection = server.connect();
        connection.send(b"GET /page.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = String::from_utf8(connection.until(b"\r\n\r\n")).unwrap();
        assert!(head.contains("Transfer-Encoding: chunked\r\n") && !head.contains("Content-Length"), "{head}");
        assert_eq!(connection.until(b"first.\r\n"), b"6\r\nfirst.\r\n");
        server.put("go", "");
        assert_eq!(connection.until(b"0\r\n\r\n"), b"7\r\nsecond.\r\n0\r\n\r\n");
        assert!(!head.contains("X-Late"));
        assert_eq!(connection.request("GET", "/page.plua", &[], b"").text(), "first.second.");
    });
}

#[test]
fn a_page_that_fails_after_a_flush_leaves_a_visibly_broken_transfer() {
    let page = "first<? flush() ?>second<? flush()\nerror('late') ?>";
    with_httpd("", &[("page.plua", page), ("next.plua", "next")], |server| {
        server.expect("late at ");
        let answer = server.get("/page.plua");
        assert_eq!((answer.status, answer.text().as_str(), answer.complete), (200, "firstsecond", false));
        let mut connection = server.connect();
        connection.send(b"GET /page.plua HTTP/1.0\r\n\r\n");
        assert!(connection.rest().ends_with(b"firstsecond"));
        assert_eq!(server.get("/next.plua").text(), "next");
    });
}

#[test]
fn a_failed_page_is_a_500_whose_report_visitor_and_log_share() {
    let page = "<p>half</p>\n<?\nlocal t = nil\nheader('X-Own', 'lost')\nt.x = '<b>' ?>";
    with_httpd("", &[("sub/page.plua", page), ("syntax.plua", "one\n<? if ?>")], |server| {
        let answer = server.get("/sub/page.plua");
        assert_eq!((answer.status, answer.header("Content-Type")), (500, Some("text/html; charset=UTF-8")));
        let text = answer.text();
        let place = format!("{}/sub/page.plua:<strong>5</strong>", server.docroot().display());
        assert!(text.contains("Run-time error") && text.contains(&place) && text.contains("&lt;b&gt;"), "{text}");
        assert!(!text.contains("half</p>") && answer.header("X-Own").is_none(), "{text}");
        assert!(answer.complete);
        server.expect("sub/page.plua:5");
        let line = server.wait_for_log("sub/page.plua:5");
        assert!(line.contains("[plua:error]") && line.contains("[client 127.0.0.1:"), "{line}");
        server.expect("syntax.plua:2");
        assert_eq!(server.get("/syntax.plua").status, 500);
        assert!(server.wait_for_log("syntax.plua:2").contains("Compiler error"));
    });
}

#[test]
fn with_errors_hidden_httpd_makes_the_page_and_the_log_has_the_report() {
    let pages = [
        ("page.plua", "half<? error('secret') ?>"),
        ("chosen.plua", "<? setReturnCode(403) error('secret') ?>"),
        ("shown.plua", "<? showErrors(true) error('told') ?>"),
        ("own/page.plua", "<? error('secret') ?>"),
        ("own/error.plua", "sorry: <?= getEnv().REDIRECT_STATUS ?>"),
    ];
    let lines = "pLuaError 0\n<Location /own>\nErrorDocument 500 /own/error.plua\n</Location>";
    with_httpd(lines, &pages, |server| {
        for path in ["page.plua:1", "chosen.plua:1", "shown.plua:1", "own/page.plua:1"] {
            server.expect(path);
        }
        let answer = server.get("/page.plua");
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("Internal Server Error"), "{}", answer.text());
        assert!(!answer.text().contains("secret") && !answer.text().contains("half"), "{}", answer.text());
        assert_eq!(server.get("/chosen.plua").status, 403);
        assert!(server.get("/shown.plua").text().contains("told"));
        let answer = server.get("/own/page.plua");
        assert_eq!((answer.status, answer.text().as_str()), (500, "sorry: 500"));
        assert!(server.wait_for_log("own/page.plua:1").contains("secret"));
    });
}

#[test]
fn an_error_page_that_fails_leaves_httpds_own() {
    let pages = [("page.plua", "<? error('first') ?>"), ("error.plua", "<? error('second') ?>")];
    with_httpd("pLuaError 0\nErrorDocument 500 /error.plua", &pages, |server| {
        server.expect("first at ");
        server.expect("second at ");
        let answer = server.get("/page.plua");
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("Internal Server Error"), "{}", answer.text());
    });
}

#[test]
fn head_of_a_page_that_flushes_has_no_body() {
    with_httpd("", &[("page.plua", "one<? flush() ?>two"), ("next.plua", "next")], |server| {
        let mut connection = server.connect();
        assert_eq!(connection.request("HEAD", "/page.plua", &[], b"").status, 200);
        // A body would be read as the start of this answer.
        assert_eq!(connection.request("GET", "/next.plua", &[], b"").text(), "next");
    });
}

/// Asks for an endless page, reads the start of it, and goes away.
fn leave_early(server: &Server, path: &str) {
    let mut connection = server.connect();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    connection.until(b"xxxxx");
}

#[test]
fn a_page_whose_client_is_gone_ends_and_its_state_serves_the_next() {
    let endless = "<? local x = ('x'):rep(8192) while true do rounds = (rounds or 0) + 1 echo(x) flush() end ?>";
    let caught = "<? local x = ('x'):rep(8192) while true do pcall(function() echo(x) flush() end) end ?>";
    let next = "<? local e = getEnv() ?><?= rounds > 0, e['pLua-Sessions'] ?>";
    httpd()
        .lines("pLuaStates 1")
        .pages(&[("endless.plua", endless), ("caught.plua", caught), ("next.plua", next)])
        .run(|server| {
            leave_early(server, "/endless.plua");
            leave_early(server, "/caught.plua");
            assert_eq!(server.get("/next.plua").text(), "true3");
        });
}

#[test]
fn a_large_page_comes_whole() {
    let page = "<? local x = ('0123456789'):rep(1000) for i = 1, 2000 do echo(x) end ?>";
    with_httpd("", &[("page.plua", page)], |server| {
        let answer = server.get("/page.plua");
        assert_eq!((answer.body.len(), answer.complete), (20_000_000, true));
        assert_eq!(answer.header("Content-Length"), Some("20000000"));
        assert!(answer.body.chunks(10).all(|piece| piece == b"0123456789"));
    });
}

#[test]
fn date_and_server_are_httpds_to_say() {
    let page = "<? header('Date', 'never') header('Server', 'mine') header('Content-Length', '4') ?>body";
    with_httpd("", &[("page.plua", page)], |server| {
        let answer = server.get("/page.plua");
        assert_eq!((answer.text().as_str(), answer.all("Content-Length").len()), ("body", 1));
        assert!(answer.all("Date").len() == 1 && answer.header("Date") != Some("never"), "{answer:?}");
        assert!(answer.all("Server").len() == 1 && answer.header("Server") != Some("mine"), "{answer:?}");
    });
}

#[test]
fn a_hint_goes_out_before_the_page_has_done_its_work() {
    let pages = [
        (
            "hint.plua",
            "<? local sent = plua.hint('</style.css>; rel=preload; as=style') header('X-Own', 'x') sleep(0.2) ?><?= sent ?>",
        ),
        ("late.plua", "out<? flush() ?><?= plua.hint('</a>; rel=preload') ?>"),
        ("wrong.plua", "<?= pcall(plua.hint, 'a\\r\\nb') ?>"),
        (
            "many.plua",
            "<? for i = 1, 20 do plua.hint('</a>; rel=preload') end ?><?= pcall(plua.hint, '</a>; rel=preload') ?>",
        ),
    ];
    httpd().pages(&pages).run(|server| {
        let mut connection = server.connect();
        connection.send(b"GET /hint.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.until(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n");
        let answer = connection.response("GET");
        assert_eq!((answer.status, answer.text().as_str(), answer.header("X-Own")), (200, "true", Some("x")));
        assert_eq!(answer.header("Link"), None);
        let old = server.raw(b"GET /hint.plua HTTP/1.0\r\n\r\n");
        assert!(
            old.starts_with(b"HTTP/1.1 200 OK\r\n") && old.ends_with(b"false"),
            "{}",
            String::from_utf8_lossy(&old)
        );
        assert_eq!(server.get("/late.plua").text(), "outfalse");
        assert!(server.get("/wrong.plua").text().contains("no line break and no other control character"));
        let many = server.raw(b"GET /many.plua HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let many = String::from_utf8_lossy(&many).into_owned();
        assert_eq!(many.matches("103 Early Hints").count(), 20, "{many}");
        assert!(many.ends_with("falseplua.hint: a request has no more than 20 hints"), "{many}");
    });
}
