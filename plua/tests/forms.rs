//! Request bodies, forms and uploads, as pages see them.

// A test fails by panicking, in its own functions too.
#![allow(clippy::unwrap_used)]

mod site;

use std::fs;
use std::io::{self, Read};

use site::{Seen, Sent, Site};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=XX";

/// Shows what parsePost returns, keys sorted, arrays in brackets.
const SHOW: &str = "<? local f, keys = parsePost(), {} for k in pairs(f) do keys[#keys + 1] = k end table.sort(keys)
for _, k in ipairs(keys) do
  local v = f[k]
  if type(v) == 'table' then v = '[' .. table.concat(v, '|') .. ']' end
  echo(k, '=', v, ';')
end ?>";

/// A body of parts: what follows `form-data`, and the content.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, content) in parts {
        body.extend_from_slice(b"--XX\r\nContent-Disposition: form-data");
        body.extend_from_slice(disposition.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

fn posted(content_type: &str, body: impl AsRef<[u8]>) -> Seen {
    Site::new("", &[("page.plua", SHOW)]).post("page.plua", content_type, body)
}

/// A body that stops with an error of the server's.
fn failing(bytes: &'static [u8], kind: io::ErrorKind) -> Box<dyn Read + Send> {
    struct Failing(io::ErrorKind);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }
    Box::new(bytes.chain(Failing(kind)))
}

#[test]
fn a_posted_form_is_decoded_like_a_query() {
    for (body, expected) in [
        (&b"a=1&b=x+y%21"[..], "a=1;b=x y!;"),
        (b"a=1&a&a=3", "a=[1||3];"),
        (b"a+b==c&%zz=%4", "%zz=%4;a b==c;"),
        (b"&&a[]=1&", "a[]=1;"),
        (b"a=x%00y", "a=x\0y;"),
        (b"", ""),
    ] {
        assert_eq!(posted(URLENCODED, body).text(), expected);
    }
    assert_eq!(posted("Application/X-WWW-Form-Urlencoded ; charset=utf-8", "a=1").text(), "a=1;");
}

#[test]
fn more_than_50_values_of_one_name_are_all_there() {
    for count in [51, 60, 120] {
        let body = (1..=count).map(|n| format!("a={n}")).collect::<Vec<_>>().join("&");
        let site = Site::new("", &[("page.plua", "<? local a = parsePost().a echo(#a, ' ', a[1], ' ', a[#a]) ?>")]);
        assert_eq!(site.post("page.plua", URLENCODED, body).text(), format!("{count} 1 {count}"));
    }
}

#[test]
fn a_form_of_many_names_has_them_all_or_goes_over_the_memory_limit() {
    let body = (1..=100_000).map(|n| format!("name{n}={n}")).collect::<Vec<_>>().join("&");
    let page = "<? local f, n = parsePost(), 0 for _ in pairs(f) do n = n + 1 end echo(n, ' ', f.name77777) ?>";
    let site = Site::new("pLuaFields 100000", &[("page.plua", page)]);
    assert_eq!(site.post("page.plua", URLENCODED, &body).text(), "100000 77777");

    let site = Site::new("pLuaFields 100000\npLuaMemoryLimit 2000", &[("page.plua", page)]);
    let seen = site.post("page.plua", URLENCODED, &body);
    assert_eq!(seen.status, 500);
    assert!(seen.log.concat().starts_with("Memory limit"), "{:?}", seen.log);
    assert_eq!(site.post("page.plua", URLENCODED, "name77777=a").text(), "1 a");
}

#[test]
fn what_is_no_posted_form_is_an_empty_table_and_leaves_the_body() {
    let page = "<? echo(next(parsePost()), ' ', (getRequestBody())) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for content_type in ["application/json", "text/plain", "", "multipart/form-data", "multipart/form-data; boundary="]
    {
        assert_eq!(site.post("page.plua", content_type, "a=1").text(), "nil a=1", "{content_type}");
    }
    let sent = |method, content_type| Sent { method, content_type, body: Box::new(&b"a=1"[..]), ..Sent::default() };
    assert_eq!(site.send("page.plua", sent("POST", None)).text(), "nil a=1");
    assert_eq!(site.send("page.plua", sent("PUT", Some("text/plain"))).text(), "nil a=1");
}

#[test]
fn a_form_is_read_whatever_the_method() {
    let site = Site::new("", &[("page.plua", SHOW)]);
    let parts = multipart(&[("; name=a", b"1"), ("; name=f; filename=x", b"data")]);
    for method in ["POST", "PUT", "PATCH", "DELETE", "REPORT", "GET"] {
        for (content_type, body, shown) in
            [(URLENCODED, b"a=1&b=2".to_vec(), "a=1;b=2;"), (MULTIPART, parts.clone(), "a=1;f=[x|data];")]
        {
            let body = Box::new(io::Cursor::new(body));
            let sent = Sent { method, content_type: Some(content_type), body, ..Sent::default() };
            assert_eq!(site.send("page.plua", sent).text(), shown, "{method}");
        }
        let sent = Sent { method, content_type: Some(URLENCODED), ..Sent::default() };
        assert_eq!(site.send("page.plua", sent).text(), "", "{method}");
    }
}

#[test]
fn a_form_is_handed_out_as_often_as_one_asks_and_its_body_stays() {
    let page = "<? local a, b = parsePost(), parsePost() a.x = 2
echo(b.x, a ~= b, parsePost().x, ' ', (getRequestBody()), (getRequestBody())) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    assert_eq!(site.post("page.plua", URLENCODED, "x=1").text(), "1true1 x=1x=1");
}

#[test]
fn the_fields_of_a_form_with_files_are_there_before_and_after_its_uploads() {
    let page = "<? local before = parseGet().first and parsePost()
local u = uploads() assert(u[1]:save('kept.txt')) assert(#uploads() == 1)
for _, form in ipairs { parsePost(), parsePost(), before or parsePost() } do
  echo(form.text, '|', form.f[1], '|', form.f[2], '|', #form.f, ' ')
end echo(u[1]:read(), plua.post('text')) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    let body = multipart(&[("; name=text", b"typed"), ("; name=f; filename=x", b"data")]);
    for method in ["POST", "PUT"] {
        for url in ["page.plua", "page.plua?first"] {
            let body = Box::new(io::Cursor::new(body.clone()));
            let sent = Sent { method, content_type: Some(MULTIPART), body, ..Sent::default() };
            let seen = site.send(url, sent);
            assert_eq!(seen.text(), format!("{}datatyped", "typed|x|data|2 ".repeat(3)), "{:?}", seen.log);
        }
    }
}

#[test]
fn names_of_a_form_in_parts_count_as_its_text_does() {
    let name = "n".repeat(60_000);
    for part in [format!("; name={name}"), format!("; name=f; filename={name}")] {
        let body = multipart(&vec![(part.as_str(), &b"x"[..]); 20]);
        let site = Site::new("pLuaUploadSize 1000", &[("page.plua", "<? parsePost() ?>read")]);
        let sent = Sent { content_type: Some(MULTIPART), body: Box::new(io::Cursor::new(body)), ..Sent::default() };
        let seen = site.send("page.plua", sent);
        assert_eq!(seen.status, 413, "{:?}", seen.log);
        assert!(seen.log[0].contains("pLuaUploadSize"), "{:?}", seen.log);
    }
}

#[test]
fn query_and_form_of_one_request_are_two_tables_and_work_in_coroutines() {
    let page = "<? coroutine.wrap(function() echo(parseGet().a, parsePost().a, parseGet().a) end)() ?>";
    assert_eq!(Site::new("", &[("page.plua", page)]).post("page.plua?a=1", URLENCODED, "a=2").text(), "121");
}

#[test]
fn fields_up_to_the_limit_are_all_there_and_one_more_is_413() {
    let body = |count| (1..=count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
    let site =
        Site::new("", &[("page.plua", "<? local n = 0 for _ in pairs(parsePost()) do n = n + 1 end echo(n) ?>")]);
    assert_eq!(site.post("page.plua", URLENCODED, body(10_000)).text(), "10000");
    let seen = site.post("page.plua", URLENCODED, body(10_001));
    assert_eq!(seen.status, 413);
    assert!(
        seen.log[0].starts_with("Request too large: the form has more than 10000 fields (pLuaFields)"),
        "{:?}",
        seen.log
    );
    assert!(seen.log[0].contains("page.plua:1"), "{:?}", seen.log);

    let site = Site::new("pLuaFields 2", &[("page.plua", SHOW), ("get.plua", "\n<? parseGet() ?>ok")]);
    assert_eq!(site.get("get.plua?a=1&a=2").text(), "\nok");
    let seen = site.get("get.plua?a=1&a=2&a=3");
    assert_eq!(seen.status, 413);
    assert!(seen.log[0].contains("the query has more than 2 fields (pLuaFields) at "), "{:?}", seen.log);
    assert!(seen.text().contains("get.plua:<strong>2</strong>"), "{}", seen.text());
    let parts = [("; name=a", &b"1"[..]), ("; name=b; filename=x", b"2"), ("; name=c", b"3")];
    assert_eq!(site.post("page.plua", MULTIPART, multipart(&parts[..2])).status, 200);
    assert_eq!(site.post("page.plua", MULTIPART, multipart(&parts)).status, 413);
}

#[test]
fn multipart_fields_are_strings_and_files_are_names_and_contents() {
    for (parts, expected) in [
        (&[("; name=\"a\"", &b"1"[..]), ("; name=\"b\"", b"%41 +\r\n")][..], "a=1;b=%41 +\r\n;"),
        (&[("; name=\"f\"; filename=\"x.txt\"", b"data")], "f=[x.txt|data];"),
        (&[("; name=\"f\"; filename=\"\"", b"")], "f=;"),
        (&[("; name=\"f\"; filename=\"e.txt\"", b"")], "f=[e.txt|];"),
        (&[("; name=f; filename=1", b"a"), ("; name=f; filename=2", b"b")], "f=[1|a|2|b];"),
        (&[("; name=f", b"text"), ("; name=f; filename=2", b"b")], "f=[text|2|b];"),
        (&[("; name=\"\"", b"1"), ("; name=a", b"2")], "a=2;"),
        (&[("; filename=\"C:\\dir\\\u{fc}.txt\"; name=\"f\"", b"1")], "f=[\u{fc}.txt|1];"),
        (&[("; name=\"a\\\"%22\"", b"1")], "a\\\"%22=1;"),
        (&[("; name=a", b"1\0\xff2"), ("; name=b", b"3")], "a=1\0\u{fffd}2;b=3;"),
        (&[("; name=a", b"1\r\n--X\r\n-XX\r\nx--XX--")], "a=1\r\n--X\r\n-XX\r\nx--XX--;"),
        (&[("; name=\"a; filename=b\"", b"1")], "a; filename=b=1;"),
        (&[("; filename=\"x; name=y\"; NAME=a", b"1")], "a=[x; name=y|1];"),
    ] {
        assert_eq!(posted(MULTIPART, multipart(parts)).text(), expected);
    }
    let long = "n".repeat(300);
    let part = format!("; name=\"{long}\"; filename=\"{long}\"");
    assert_eq!(posted(MULTIPART, multipart(&[(&part, b"1")])).text(), format!("{long}=[{long}|1];"));
    let mut many = vec![("; name=a", &b"v"[..]); 49];
    many.push(("; name=a; filename=x", b"data"));
    assert_eq!(posted(MULTIPART, multipart(&many)).text(), format!("a=[{}x|data];", "v|".repeat(49)));
}

#[test]
fn every_way_to_write_a_boundary_and_headers_is_understood() {
    let body = multipart(&[("; name=a", b"1")]);
    for content_type in [
        "multipart/form-data; boundary=\"XX\"",
        "multipart/form-data;boundary=XX",
        "Multipart/Form-Data; charset=utf-8; Boundary=XX ; x=y",
    ] {
        assert_eq!(posted(content_type, &body).text(), "a=1;", "{content_type}");
    }
    let long = "b".repeat(300);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(posted(&format!("multipart/form-data; boundary={long}"), body.replace("XX", &long)).text(), "a=1;");
    let other = body.replace("Content-Disposition: form-data", "X: y\r\nCONTENT-disposition:form-data ");
    assert_eq!(posted(MULTIPART, format!("preamble\r\n{other}epilogue")).text(), "a=1;");
}

#[test]
fn a_multipart_body_without_its_boundary_is_empty_and_a_cut_or_broken_one_is_400() {
    let body = String::from_utf8(multipart(&[("; name=a", b"1"), ("; name=b", b"2")])).unwrap();
    for content_type in ["multipart/form-data; boundary=YY", "multipart/form-data; boundary=X"] {
        assert_eq!(posted(content_type, &body).text(), "", "{content_type}");
    }
    assert_eq!(posted(MULTIPART, body.replace('\r', "")).text(), "");
    assert_eq!(posted(MULTIPART, "").text(), "");
    for broken in [
        body.replacen("=a\r\n\r\n", "=a\r\n", 1),
        body.replacen("1\r\n", "1\r\n--XXX\r\n", 1),
        body.replacen("=a", "=a\0", 1),
    ] {
        let seen = posted(MULTIPART, broken);
        assert_eq!(seen.status, 400);
        assert!(seen.log[0].contains("Bad request: the request's form is not well formed: "), "{:?}", seen.log);
    }
    for cut in (5..body.len() - 4).filter(|cut| body.is_char_boundary(*cut)) {
        let seen = posted(MULTIPART, &body[..cut]);
        if seen.status == 400 {
            assert!(seen.log[0].contains("Bad request: the request's form is not whole: it ends"), "{:?}", seen.log);
        } else {
            // Too short for its first boundary to be one.
            assert!(seen.status == 200 && seen.text().is_empty() && cut < 6, "{cut}: {}", seen.text());
        }
    }
}

#[test]
fn the_body_is_given_with_its_size_as_often_as_asked_for() {
    let page = "<? local a, n = getRequestBody() local b = getRequestBody() echo(a == b, n == #a, n, a) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        let sent = Sent { method, content_type: None, body: Box::new(&b"x\0\xff"[..]), ..Sent::default() };
        assert_eq!(site.send("page.plua", sent).body, b"truetrue3x\0\xff", "{method}");
    }
}

#[test]
fn an_empty_body_is_an_empty_string_and_a_request_that_has_none_gets_nil() {
    let page = "<? echo(select('#', getRequestBody()), ' ', getRequestBody()) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for (method, expected) in
        [("POST", "2 0"), ("PUT", "2 0"), ("PATCH", "2 0"), ("GET", "1 nil"), ("DELETE", "1 nil"), ("HEAD", "1 nil")]
    {
        let seen = site.send("page.plua", Sent { method, ..Sent::default() });
        assert_eq!(seen.text(), expected, "{method}");
    }
    let page = "<? echo(next(parsePost()), getRequestBody()) ?>";
    assert_eq!(Site::new("", &[("page.plua", page)]).post("page.plua", URLENCODED, "").text(), "nil0");
}

#[test]
fn a_json_body_is_one_value_for_any_method_and_type_as_often_as_asked_for() {
    let page = "<? local raw = getRequestBody() local v, w = getJson(), getJson()
echo(select('#', getJson()), ' ', v.a[2], ' ', w.b == json.null, ' ', v ~= w, ' ', #raw) ?>";
    let site = Site::new("", &[("page.plua", page), ("echo.plua", "<? echo(getJson()) ?>")]);
    let body = r#"{"a": [1, "x"], "b": null}"#;
    for (method, content_type) in
        [("POST", Some("application/json; charset=utf-8")), ("PUT", None), ("DELETE", Some("text/plain"))]
    {
        let sent = Sent { method, content_type, body: Box::new(body.as_bytes()), ..Sent::default() };
        assert_eq!(site.send("page.plua", sent).text(), "1 x true true 26", "{method}");
    }
    for (body, shown) in [("false", "false"), ("\"a\\u0000b\"", "a\0b")] {
        assert_eq!(site.post("echo.plua", "application/json", body).text(), shown);
    }
    let large = format!("[{}1]", "0,".repeat(200_000));
    let site = Site::new("", &[("page.plua", "<? echo(#getJson()) ?>")]);
    assert_eq!(site.post("page.plua", "application/json", large).text(), "200001");
}

#[test]
fn a_form_may_be_asked_for_as_json_and_stays_a_form() {
    let page = "<? echo((getJson()), ' ', parsePost().a, ' ', select(2, getJson())) ?>";
    let seen = Site::new("", &[("page.plua", page)]).post("page.plua", URLENCODED, "a=1");
    assert_eq!(seen.text(), "nil 1 expected value at line 1 column 1");
}

#[test]
fn a_body_that_is_no_json_is_nil_and_a_message_with_line_and_column() {
    let site = Site::new("", &[("page.plua", "<? echo(getJson()) ?>")]);
    let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
    for (body, shown) in [
        ("{\n\"a\": tru}".to_string(), "nilexpected ident at line 2 column 9"),
        ("[1] 2".to_string(), "niltrailing characters at line 1 column 5"),
        (" ".to_string(), "nilEOF while parsing a value at line 1 column 1"),
        (String::new(), "nilthe request has no body"),
        (nested(128), "nilrecursion limit exceeded at line 1 column 128"),
        (nested(100), "table"),
    ] {
        let text = site.post("page.plua", "application/json", &body).text();
        assert!(text.starts_with(shown), "{body}: {text}");
    }
    assert_eq!(site.get("page.plua").text(), "nilthe request has no body");
}

#[test]
fn the_body_goes_to_a_file_that_it_replaces() {
    let page = "<? echo(getRequestBody('out.txt'), ' ', select('#', getRequestBody('out.txt'))) ?>";
    let site = Site::new("", &[("sub/page.plua", page), ("sub/out.txt", "a longer file"), ("no.plua", "")]);
    assert_eq!(site.post("sub/page.plua", "", "HI").text(), "2 1");
    assert_eq!(fs::read(site.path("sub/out.txt")).unwrap(), b"HI");
    assert_eq!(site.post("sub/page.plua", "", "").text(), "0 1");
    assert_eq!(fs::read(site.path("sub/out.txt")).unwrap(), b"");
    let large = vec![b'x'; 3_000_000];
    assert_eq!(site.post("sub/page.plua", "", &large).text(), "3000000 1");
    assert_eq!(fs::read(site.path("sub/out.txt")).unwrap(), large);
    site.write("no.plua", "<? echo(getRequestBody('no/such/folder'), getRequestBody('.')) ?>");
    assert_eq!(site.post("no.plua", "", "HI").text(), "falsefalse");
    site.write("no.plua", "\n<? getRequestBody('a\\0b') ?>");
    let seen = site.post("no.plua", "", "HI");
    assert!(seen.log[0].contains("bad argument #1 to 'getRequestBody' (a path is not empty"), "{:?}", seen.log);
    site.write("no.plua", "<? echo(getRequestBody('new.txt')) ?>");
    assert_eq!(site.get("no.plua").text(), "nil");
    assert!(!site.path("new.txt").exists());
}

#[test]
fn a_body_larger_than_memory_allows_is_kept_in_a_file_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let page =
        "<? local a, n = getRequestBody() echo(n, ' ', #a, ' ', a:sub(1, 3), a:sub(-3), a == getRequestBody()) ?>";
    let site = Site::new(&format!("pLuaUploadFolder {}", folder.path().display()), &[("page.plua", page)]);
    for size in [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_001] {
        let body = "abcdefg".repeat(size / 7 + 1);
        let end = &body[size - 3..size];
        assert_eq!(site.post("page.plua", "", &body[..size]).text(), format!("{size} {size} abc{end}true"));
    }
    let site = Site::new("pLuaUploadFolder /nowhere/at/all", &[("page.plua", page)]);
    assert_eq!(site.post("page.plua", "", vec![b'x'; 200_000]).status, 200);
    let seen = site.post("page.plua", "", vec![b'x'; 300_000]);
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].contains("/nowhere/at/all (pLuaUploadFolder): No such file"), "{:?}", seen.log);
}

#[test]
fn a_body_the_server_refuses_is_an_error_at_the_pages_line_with_the_right_status() {
    for (kind, status, message) in [
        (io::ErrorKind::FileTooLarge, 413, "Request too large: the request's body is larger than the server allows"),
        (io::ErrorKind::UnexpectedEof, 400, "Bad request: the request's body is not whole: the client left"),
        (io::ErrorKind::TimedOut, 408, "Request timeout: the request's body is not whole: the client stopped"),
        (
            io::ErrorKind::InvalidData,
            400,
            "Bad request: the request's body is broken, or the client left before its end",
        ),
    ] {
        let pages = [
            ("page.plua", "\n\n<? parsePost() ?>"),
            ("body.plua", "\n\n<? getRequestBody('f') ?>"),
            ("json.plua", "\n\n<? getJson() ?>"),
        ];
        let site = Site::new("", &pages);
        for (name, _) in pages {
            let body = failing(b"a=1&b", kind);
            let seen =
                site.send(name, Sent { method: "POST", content_type: Some(URLENCODED), body, ..Sent::default() });
            assert_eq!(seen.status, status);
            assert!(seen.log[0].starts_with(message) && seen.log[0].contains(&format!("{name}:3")), "{:?}", seen.log);
        }
        assert!(!site.path("f").exists());
    }
}

#[test]
fn a_page_can_catch_a_refused_body_and_answer_itself() {
    let page = "<? local ok, m = pcall(parsePost) local ok2, m2 = pcall(getRequestBody) echo(ok, ok2, m == m2)
if parseGet().again then error(m, 0) end
if parseGet().other then error('other') end ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for (url, status) in [("page.plua", 200), ("page.plua?again", 413), ("page.plua?other", 500)] {
        let body = failing(b"a=1", io::ErrorKind::FileTooLarge);
        assert_eq!(
            site.send(url, Sent { method: "POST", content_type: Some(URLENCODED), body, ..Sent::default() }).status,
            status
        );
    }
    // What one request was refused does not rub off on the next.
    assert_eq!(site.post("page.plua?other", URLENCODED, "").status, 500);
}

#[test]
fn uploads_tell_of_each_file_and_are_gone_after_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<? for _, u in ipairs(uploads()) do
echo(u.field, '|', u.name, '|', u.type, '|', u.size, '|', u:read(), '|', io.open(u.path):read('*a'), ';') end
kept = kept or uploads()[1]
if parseGet().fail then error('x') end ?>";
    let configuration = format!("pLuaStates 1\npLuaUploadFolder {}", folder.path().display());
    let site = Site::new(
        &configuration,
        &[("page.plua", page), ("kept.plua", "<? echo(kept:read()) echo(kept:save('x')) ?>")],
    );
    let parts = [
        ("; name=f; filename=\"../../etc/x.txt\"\r\nContent-Type: text/plain", &b"data\0"[..]),
        ("; name=t", b"text"),
        ("; name=f; filename=\"C:\\a\\b.txt\"", b""),
        ("; name=g; filename=\"a/..\"", b"1"),
        ("; name=g; filename=\"\"", b""),
    ];
    let expected = "f|x.txt|text/plain|5|data\0|data\0;f|b.txt||0||;g|||1|1|1;";
    let seen = site.post("page.plua", MULTIPART, multipart(&parts));
    assert_eq!(seen.text(), expected, "{:?}", seen.log);
    assert_eq!(site.post("page.plua?fail", MULTIPART, multipart(&parts)).status, 500);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let gone = "no file of this request: uploads go with the request they came with";
    assert_eq!(site.get("kept.plua").text(), format!("nil{gone}nil{gone}"));
    let seen = site.post("page.plua", MULTIPART, multipart(&[("; name=f; filename=\"a\0b\"", b"1")]));
    assert_eq!(seen.status, 400, "{:?}", seen.log);
    assert_eq!(site.post("page.plua", MULTIPART, &multipart(&parts)[..300]).status, 400);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_saved_upload_is_where_the_page_wants_it_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<? local u = uploads()[1]
echo(u:save('new.txt'), u:save('again.txt'), u:save('old.txt'), u:read(), ' ', (parsePost().f[2]), '\\n')
local ok, message = u:save('no/folder/x') echo(ok, message, '\\n')
echo(select(2, pcall(u.save, u, 'a\\0b')), '\\n', select(2, pcall(u.save)), '\\n', select(2, pcall(u.save, u))) ?>";
    for upload_folder in [folder.path(), std::path::Path::new("/dev/shm")] {
        let configuration = format!("pLuaUploadFolder {}", upload_folder.display());
        let site = Site::new(&configuration, &[("sub/page.plua", page), ("sub/old.txt", "much longer than that")]);
        let seen = site.post("sub/page.plua", MULTIPART, multipart(&[("; name=f; filename=x", b"data")]));
        let text = seen.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "truetruetruedata data", "{:?}", seen.log);
        assert!(lines[1].starts_with("nil") && lines[1].contains("no/folder/x: No such file"), "{text}");
        assert_eq!(lines[2], "bad argument #1 to 'upload:save' (a path is not empty and holds no NUL)");
        assert!(lines[3].ends_with("call save with a colon: file:save()"), "{text}");
        assert!(lines[4].ends_with("bad argument #1 to 'upload:save' (string expected, got nil)"), "{text}");
        for name in ["new.txt", "again.txt", "old.txt"] {
            assert_eq!(fs::read(site.path("sub").join(name)).unwrap(), b"data");
        }
        // Saved as any new file of the page's, not as private as an upload.
        let (saved, plain) = (site.path("sub/new.txt"), site.path("sub/page.plua"));
        assert_eq!(fs::metadata(saved).unwrap().permissions(), fs::metadata(plain).unwrap().permissions());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn too_many_or_too_large_uploads_are_413_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = format!("pLuaUploads 1\npLuaUploadSize 1\npLuaUploadFolder {}", folder.path().display());
    let site = Site::new(&limits, &[("page.plua", "<? uploads() ?>ok"), ("post.plua", "<? parsePost() ?>ok")]);
    let (fits, large) = (vec![b'x'; 1024], vec![b'x'; 1025]);
    for (parts, refusal) in [
        (&[("; name=f; filename=x", fits.as_slice()), ("; name=t", fits.as_slice())][..], ""),
        (&[("; name=f; filename=x", &large)], "an uploaded file is larger than 1 KB (pLuaUploadSize)"),
        (
            &[("; name=f; filename=x", b"1"), ("; name=f; filename=y", b"2")],
            "the form has more than 1 files (pLuaUploads)",
        ),
        (&[("; name=a", &fits), ("; name=b", b"1")], "fields without its files are larger than 1 KB (pLuaUploadSize)"),
    ] {
        for page in ["page.plua", "post.plua"] {
            let seen = site.post(page, MULTIPART, multipart(parts));
            match refusal {
                "" => assert_eq!(seen.text(), "ok"),
                refusal => {
                    assert_eq!(seen.status, 413);
                    assert!(
                        seen.log[0].contains("Request too large: ") && seen.log[0].contains(refusal),
                        "{:?}",
                        seen.log
                    );
                }
            }
        }
    }
    assert_eq!(site.post("post.plua", URLENCODED, &large).status, 413);
    let unlimited = Site::new("pLuaUploadSize 0", &[("page.plua", "<? echo(uploads()[1].size) ?>")]);
    let parts = [("; name=f; filename=x", &[0; 3_000_000][..])];
    assert_eq!(unlimited.post("page.plua", MULTIPART, multipart(&parts)).text(), "3000000");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_body_that_takes_longer_than_the_page_may_is_stopped_with_it() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            // A client that sends a byte now and then.
            std::thread::sleep(std::time::Duration::from_millis(5));
            into[0] = b'x';
            Ok(1)
        }
    }
    let site = Site::new("pLuaTimeout 1", &[("page.plua", "<? pcall(getRequestBody) ?>"), ("ok.plua", "ok")]);
    let seen =
        site.send("page.plua", Sent { method: "POST", content_type: None, body: Box::new(Endless), ..Sent::default() });
    assert!(seen.status == 500 && seen.log[0].starts_with("Time limit: "), "{:?}", seen.log);
    assert_eq!(site.get("ok.plua").text(), "ok");
}

#[test]
fn a_body_of_any_size_is_read_in_pieces_as_often_as_one_likes() {
    let count = "<? local function count(bytes) local n, all, longest = 0, 0, 0
            for piece in plua.bodyPieces(bytes) do n, all, longest = n + 1, all + #piece, math.max(longest, #piece) end
            return n .. ' ' .. all .. ' ' .. longest end ?><?= count(), ',', count(1000), ',', count(1048576) ?>";
    let site = Site::new("pLuaUploadSize 100\npLuaMemoryLimit 20000", &[("page.plua", count)]);
    for (size, seen) in [
        (0, "0 0 0,0 0 0,0 0 0"),
        (1, "1 1 1,1 1 1,1 1 1"),
        (65_536, "1 65536 65536,66 65536 1000,1 65536 65536"),
        (200_000, "4 200000 65536,200 200000 1000,1 200000 200000"),
        (3_000_000, "46 3000000 65536,3000 3000000 1000,3 3000000 1048576"),
    ] {
        let answer = site.post("page.plua", "text/plain", "x".repeat(size));
        assert_eq!(answer.text(), seen, "{size}: {:?}", answer.log);
    }
    assert_eq!(site.get("page.plua").text(), "0 0 0,0 0 0,0 0 0");
    let whole = "<? local all = {} for piece in plua.bodyPieces(7) do all[#all + 1] = piece end ?>\
                 <?= table.concat(all) == getRequestBody(), parsePost().a, #all ?>";
    let site = Site::new("", &[("page.plua", whole)]);
    assert_eq!(site.post("page.plua", "application/x-www-form-urlencoded", "a=hello+world").text(), "truehello world2");
    for bytes in ["0", "1.5", "'x'", "1048577", "0/0"] {
        let log = Site::new("", &[("page.plua", &format!("<? plua.bodyPieces({bytes}) ?>"))]).get("page.plua").log;
        assert!(log[0].contains("bad argument #1 to 'plua.bodyPieces' (a whole number from 1 to 1048576"), "{log:?}");
    }
}

#[test]
fn the_name_of_a_file_in_parse_post_has_no_folders() {
    let site =
        Site::new("", &[("page.plua", "<? local p = parsePost() for i = 1, 3 do echo(p['f' .. i][1], ';') end ?>")]);
    let part = |number: u32, name: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"f{number}\"; filename=\"{name}\"\r\n\r\nx\r\n")
    };
    let body = format!("{}{}{}--X--", part(1, "../../a.txt"), part(2, "C:\\dir\\b.txt"), part(3, "/etc/.."));
    assert_eq!(site.post("page.plua", "multipart/form-data; boundary=X", body).text(), "a.txt;b.txt;;");
}
