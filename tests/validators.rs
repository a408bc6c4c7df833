//! Versions of pages and files that clients know again: 304 and 412, parts of files, and lengths that pages give.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use common::traffic::Visitor;
use common::{Response, Server, httpd, with_httpd};

/// A page that says which version it is, by the query's tag and date; asked with `flush` it sends its text in two pieces.
const PAGE: (&str, &str) = (
    "page.plua",
    "<? local q = parseGet() header('Cache-Control', 'max-age=1') if q.tag then header('ETag', q.tag) end \
     if q.date then header('Last-Modified', q.date) end if q.status then setReturnCode(tonumber(q.status)) end ?>one \
     <? if q.flush then flush() end ?>two",
);

const BEFORE: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn ask(server: &Server, method: &str, query: &str, headers: &[(&str, &str)]) -> Response {
    server.request(method, &format!("/page.plua?{query}"), headers, b"")
}

fn tag() -> String {
    "tag=%22x%22".to_owned()
}

fn date() -> String {
    format!("date={}", DATE.replace(' ', "%20"))
}

#[test]
fn a_page_that_tells_its_version_is_answered_by_httpds_rules() {
    with_httpd("", &[PAGE], |server| {
        for flush in ["", "&flush=1"] {
            for (version, headers, status) in [
                (tag(), vec![], 200),
                (tag(), vec![("If-None-Match", "\"x\"")], 304),
                (tag(), vec![("If-None-Match", "W/\"x\"")], 304),
                (tag(), vec![("If-None-Match", "\"a\", \"x\"")], 304),
                (tag(), vec![("If-None-Match", "*")], 304),
                (tag(), vec![("If-None-Match", "\"y\"")], 200),
                (tag(), vec![("If-Match", "\"x\"")], 200),
                (tag(), vec![("If-Match", "\"y\"")], 412),
                (tag(), vec![("If-Match", "*")], 200),
                (date(), vec![("If-Modified-Since", DATE)], 304),
                (date(), vec![("If-Modified-Since", BEFORE)], 200),
                (date(), vec![("If-Unmodified-Since", BEFORE)], 412),
                (date(), vec![("If-Unmodified-Since", DATE)], 200),
                (format!("{}&{}", tag(), date()), vec![("If-None-Match", "\"y\""), ("If-Modified-Since", DATE)], 200),
                // Versions are of answers that succeed.
                (format!("{}&status=404", tag()), vec![("If-None-Match", "\"x\"")], 404),
                // A page that tells none is not asked.
                ("a=1".to_owned(), vec![("If-None-Match", "*")], 200),
                ("a=1".to_owned(), vec![("If-Match", "\"x\"")], 200),
                ("a=1".to_owned(), vec![("If-Modified-Since", DATE)], 200),
            ] {
                let answer = ask(server, "GET", &format!("{version}{flush}"), &headers);
                let what = format!("{version}{flush} {headers:?}: {answer:?}");
                assert_eq!(answer.status, status, "{what}");
                match status {
                    304 => {
                        assert!(answer.body.is_empty(), "{what}");
                        assert_eq!(answer.header("Cache-Control"), Some("max-age=1"), "{what}");
                        assert_eq!(answer.header("ETag").is_some(), version == tag(), "{what}");
                        assert_eq!(answer.header("Content-Type"), None, "{what}");
                    }
                    412 => assert!(
                        answer.text().contains("Precondition Failed") && !answer.text().contains("one"),
                        "{what}"
                    ),
                    _ => assert_eq!(answer.text(), "one two", "{what}"),
                }
            }
        }
    });
}

#[test]
fn a_head_request_has_the_conditions_of_get_and_other_methods_have_none() {
    with_httpd("", &[PAGE], |server| {
        let changed = [("If-None-Match", "\"x\"")];
        assert_eq!(ask(server, "HEAD", &tag(), &changed).status, 304);
        assert_eq!(ask(server, "HEAD", &tag(), &[("If-Match", "\"y\"")]).status, 412);
        for method in ["POST", "PUT", "DELETE"] {
            // What they ask for is done: an answer that says otherwise would be wrong.
            assert_eq!(ask(server, method, &tag(), &changed).text(), "one two", "{method}");
            assert_eq!(ask(server, method, &tag(), &[("If-Match", "\"y\"")]).text(), "one two", "{method}");
        }
    });
}

#[test]
fn a_connection_goes_on_after_304_and_412() {
    with_httpd("", &[PAGE], |server| {
        let mut connection = server.connect();
        for path in ["/page.plua?tag=%22x%22", "/page.plua?tag=%22x%22&flush=1"] {
            for (name, value, status) in [("If-None-Match", "\"x\"", 304), ("If-Match", "\"y\"", 412), ("X", "", 200)] {
                assert_eq!(connection.request("GET", path, &[(name, value)], b"").status, status, "{path} {name}");
            }
        }
    });
}

#[test]
fn error_pages_and_parts_of_pages_have_no_conditions() {
    let lines = "ErrorDocument 404 /page.plua?tag=%22x%22\n<Files *.shtml>\nOptions +Includes\n\
        SetOutputFilter INCLUDES\n</Files>";
    let pages = [PAGE, ("page.shtml", "[<!--#include virtual=\"/page.plua?tag=%22x%22\" -->]")];
    httpd().module("include").lines(lines).pages(&pages).run(|server| {
        let headers = [("If-None-Match", "\"x\"")];
        let answer = server.request("GET", "/missing", &headers, b"");
        assert_eq!((answer.status, answer.text().as_str()), (404, "one two"));
        assert_eq!(server.request("GET", "/page.shtml", &headers, b"").text(), "[one two]");
    });
}

#[test]
fn the_tags_that_compressing_filters_make_are_known_again() {
    for (module, filter, coding, suffix) in
        [("deflate", "DEFLATE", "gzip", "-gzip"), ("brotli", "BROTLI_COMPRESS", "br", "-br")]
    {
        let lines = format!("SetOutputFilter {filter}");
        // mod_deflate leaves small ones alone.
        let page = PAGE.1.replace("two", "<?= ('two '):rep(100) ?>");
        httpd().module("filter").module(module).lines(&lines).pages(&[("page.plua", &page)]).run(|server| {
            for flush in ["", "&flush=1"] {
                for (given, sent) in [("%22x%22", format!("\"x{suffix}\"")), ("W/%22x%22", format!("W/\"x{suffix}\""))]
                {
                    let query = format!("tag={given}{flush}");
                    let accepts = ("Accept-Encoding", coding);
                    let first = ask(server, "GET", &query, &[accepts]);
                    assert_eq!((first.status, first.header("ETag")), (200, Some(sent.as_str())), "{query}");
                    let again = ask(server, "GET", &query, &[accepts, ("If-None-Match", &sent)]);
                    assert_eq!((again.status, again.header("ETag")), (304, Some(sent.as_str())), "{query}");
                    let one_of = format!("\"a{suffix}\", {sent}");
                    assert_eq!(ask(server, "GET", &query, &[accepts, ("If-None-Match", &one_of)]).status, 304);
                    let other = format!("\"y{suffix}\"");
                    assert_eq!(ask(server, "GET", &query, &[accepts, ("If-None-Match", &other)]).status, 200);
                    assert_eq!(ask(server, "GET", &query, &[accepts, ("If-Match", &other)]).status, 412);
                    // Only a strong tag is a match there (RFC 9110, 13.1.1).
                    let strong = if given.starts_with('W') { 412 } else { 200 };
                    assert_eq!(ask(server, "GET", &query, &[accepts, ("If-Match", &sent)]).status, strong);
                }
            }
        });
    }
}

/// Bytes of a file of that size.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|number| (number % 251) as u8).collect()
}

const SEND: (&str, &str) = ("send.plua", "<? setContentType('application/pdf') assert(file.send(parseGet().f)) ?>\n");

/// Sizes around what is put into the output where more is put out.
const SIZES: [usize; 5] = [1, 1000, 1 << 20, (1 << 20) + 1, 5_000_001];

#[test]
fn a_file_and_nothing_else_is_sent_as_httpd_sends_files_at_any_size() {
    for lines in ["", "EnableSendfile On"] {
        let mut setup = httpd().lines(lines).pages(&[SEND]);
        for size in SIZES {
            setup = setup.file(&format!("{size}.bin"), bytes(size));
        }
        setup.run(|server| {
            for size in SIZES {
                let (path, all) = (format!("/send.plua?f={size}.bin"), bytes(size));
                let ask = |headers: &[(&str, &str)]| server.request("GET", &path, headers, b"");
                let whole = ask(&[]);
                // What httpd says of the same file.
                let plain = server.get(&format!("/{size}.bin"));
                assert!(whole.status == 200 && whole.body == all, "{size}");
                assert_eq!(whole.header("Content-Type"), Some("application/pdf"));
                for name in ["Content-Length", "Last-Modified", "Accept-Ranges"] {
                    assert!(whole.header(name).is_some() && whole.header(name) == plain.header(name), "{size} {name}");
                }
                assert_eq!(whole.header("Transfer-Encoding"), None);
                let tag = whole.header("ETag").unwrap();
                // One made within a second of the file's change is weak, and so is httpd's own.
                assert_eq!(tag.trim_start_matches("W/"), plain.header("ETag").unwrap().trim_start_matches("W/"));
                assert_eq!(ask(&[("If-None-Match", tag)]).status, 304, "{size}");
                assert_eq!(ask(&[("If-Modified-Since", whole.header("Last-Modified").unwrap())]).status, 304, "{size}");
                assert_eq!(ask(&[("If-Match", "\"other\"")]).status, 412, "{size}");

                let head = server.request("HEAD", &path, &[], b"");
                assert_eq!(head.header("Content-Length"), Some(size.to_string().as_str()));
                for name in ["ETag", "Last-Modified", "Accept-Ranges"] {
                    assert!(head.header(name).is_some(), "{name}");
                }

                let first = ask(&[("Range", "bytes=0-0")]);
                assert_eq!((first.status, first.body.as_slice()), (206, &all[..1]), "{size}");
                assert_eq!(first.header("Content-Range"), Some(format!("bytes 0-0/{size}").as_str()));
                assert_eq!(ask(&[("Range", "bytes=9999999-")]).status, 416);
                assert_eq!(ask(&[("Range", "bytes=0-0"), ("If-Range", "\"other\"")]).status, 200);
                if size > 1000 {
                    let middle = ask(&[("Range", "bytes=500-1500000")]);
                    let end = size.min(1_500_001);
                    assert!(middle.status == 206 && middle.body == all[500..end], "{size}");
                    let tail = ask(&[("Range", "bytes=-700")]);
                    assert!(tail.status == 206 && tail.body == all[size - 700..], "{size}");
                    let several = ask(&[("Range", "bytes=0-1,5-6")]);
                    assert!(
                        several.status == 206
                            && several.header("Content-Type").unwrap().starts_with("multipart/byteranges")
                    );
                }
            }
        });
    }
}

#[test]
fn what_the_page_says_of_the_files_version_counts_and_file_etag_is_httpds() {
    let pages = [
        (
            "own.plua",
            "<? header('ETag', '\"mine\"') header('Last-Modified', 'Sun, 06 Nov 1994 08:49:37 GMT') file.send('f') ?>",
        ),
        ("none.plua", "<? file.send('f') header('ETag', nil) header('Last-Modified', nil) ?>"),
        ("late.plua", "<? file.send('f') setReturnCode(404) header('X-Late', '1') ?>"),
        ("plain/page.plua", "<? file.send('../f') ?>"),
        ("f", "text"),
    ];
    with_httpd("<Directory ${DOCROOT}/plain>\nFileETag None\n</Directory>", &pages, |server| {
        let own = server.get("/own.plua");
        assert_eq!((own.header("ETag"), own.header("Last-Modified")), (Some("\"mine\""), Some(DATE)));
        assert_eq!(server.request("GET", "/own.plua", &[("If-None-Match", "\"mine\"")], b"").status, 304);
        let none = server.get("/none.plua");
        assert_eq!((none.header("ETag"), none.header("Last-Modified"), none.text().as_str()), (None, None, "text"));
        let late = server.get("/late.plua");
        assert_eq!((late.status, late.header("X-Late"), late.header("ETag")), (404, Some("1"), None));
        let plain = server.get("/plain/page.plua");
        assert!(plain.header("ETag").is_none() && plain.header("Last-Modified").is_some());
    });
}

#[test]
fn a_file_with_other_output_is_a_part_of_it_in_its_place() {
    let size = (1 << 20) + 5;
    let pages = [
        ("before.plua", "<a><? file.send(parseGet().f) ?>"),
        ("after.plua", "<? local n = file.send(parseGet().f) ?><?= n ?></a>"),
        ("twice.plua", "<? file.send(parseGet().f) file.send('small') file.send(parseGet().f) ?>"),
        ("flushed.plua", "<? file.send(parseGet().f) flush() ?>more"),
        ("nothing.plua", "<? file.send(parseGet().f) flush() ?>"),
        ("captured.plua", "<? local c = capture(file.send, parseGet().f) ?><?= #c ?>"),
        ("buffered.plua", "<? ob_start() file.send(parseGet().f) ?><?= #ob_get_clean() ?>"),
        ("layout.plua", "<? layout('outer.plua') file.send(parseGet().f) ?>"),
        ("outer.plua", "<b><?= content() ?></b>"),
        ("included.plua", "<? include('send.plua') ?>"),
        ("failed.plua", "<? file.send(parseGet().f) error('after it') ?>"),
        ("error.plua", "<? file.send(parseGet().f) httpError(404) ?>"),
        ("exit.plua", "<? file.send(parseGet().f) exit() ?>not"),
        SEND,
        ("small", "small"),
    ];
    httpd().pages(&pages).file("large", bytes(size)).run(|server| {
        server.expect("after it at ");
        for (name, text) in [("small", b"small".to_vec()), ("large", bytes(size))] {
            let get = |page: &str| server.get(&format!("/{page}.plua?f={name}"));
            let length = text.len().to_string();
            for (page, expected) in [
                ("before", [b"<a>", text.as_slice()].concat()),
                ("after", [&text, length.as_bytes(), b"</a>"].concat()),
                ("twice", [&text, b"small".as_slice(), &text].concat()),
                ("flushed", [&text, b"more".as_slice()].concat()),
                ("nothing", text.clone()),
                ("captured", length.clone().into_bytes()),
                ("buffered", length.clone().into_bytes()),
                ("layout", [b"<b>", text.as_slice(), b"</b>"].concat()),
                ("included", text.clone()),
                ("exit", text.clone()),
            ] {
                let answer = get(page);
                assert!(answer.complete && answer.body == expected, "{page} {name}: {} bytes", answer.body.len());
                assert_eq!(answer.header("ETag").is_some(), ["included", "exit"].contains(&page), "{page} {name}");
            }
            assert_eq!(get("failed").status, 500);
            let error = get("error");
            assert!(error.status == 404 && error.text().contains("Not Found"), "{error:?}");
        }
    });
}

#[test]
fn a_slow_visitor_of_a_large_file_keeps_no_state_and_no_deadline_of_the_page() {
    let lines = "pLuaStates 1\npLuaStateWait 2\npLuaTimeout 1";
    let size = 30_000_000;
    httpd().lines(lines).pages(&[SEND, ("next.plua", "next")]).file("large", bytes(size)).run(|server| {
        let mut slow = server.connect();
        slow.send(b"GET /send.plua?f=large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        slow.until(b"\r\n\r\n");
        for _ in 0..10 {
            assert_eq!(server.get("/next.plua").text(), "next");
            // All in all as long as a page may take.
            thread::sleep(Duration::from_millis(100));
        }
        assert!(slow.rest() == bytes(size));
    });
}

#[test]
fn a_file_is_counted_by_the_output_limit_before_it_is_sent() {
    let pages = [SEND, ("sum.plua", "<? file.send('half') file.send('half') file.send('half') ?>")];
    httpd()
        .lines("pLuaOutputLimit 100")
        .pages(&pages)
        .file("large", bytes(102_401))
        .file("most", bytes(102_400))
        .file("half", bytes(50_000))
        .run(|server| {
            server.expect("more than pLuaOutputLimit allows");
            assert_eq!(server.get("/send.plua?f=most").body, bytes(102_400));
            assert_eq!(server.get("/send.plua?f=large").status, 500);
            assert_eq!(server.get("/sum.plua").status, 500);
        });
}

#[test]
fn a_file_through_filters_and_in_a_sandbox_is_the_same_file() {
    let lines = "SetOutputFilter DEFLATE\npLuaSandbox On\npLuaTimeout 5\npLuaMemoryLimit 3000\npLuaBaseDir ${DOCROOT}";
    let text = "0123456789".repeat(500_000);
    httpd().module("filter").module("deflate").lines(lines).pages(&[SEND, ("large", &text)]).run(|server| {
        let plain = server.get("/send.plua?f=large");
        assert!(plain.text() == text);
        let squeezed = server.request("GET", "/send.plua?f=large", &[("Accept-Encoding", "gzip")], b"");
        assert!(squeezed.complete && squeezed.body.len() < 100_000, "{}", squeezed.body.len());
        let tag = squeezed.header("ETag").unwrap();
        assert!(tag.ends_with("-gzip\""), "{tag}");
        let again =
            server.request("GET", "/send.plua?f=large", &[("Accept-Encoding", "gzip"), ("If-None-Match", tag)], b"");
        assert_eq!((again.status, again.header("ETag")), (304, Some(tag)));
    });
}

#[test]
fn descriptors_of_files_that_were_sent_are_closed() {
    httpd().children(1, 2).lines("MaxKeepAliveRequests 0").pages(&[SEND]).file("large", bytes(3_000_000)).run(
        |server| {
            let child = server.httpd().children()[0];
            let open = || fs::read_dir(format!("/proc/{child}/fd")).unwrap().count();
            let mut visitor = Visitor::new(server.httpd().port());
            let mut get = |headers: &[(&str, &str)]| {
                visitor.ask("GET", "/send.plua?f=large", headers, b"").map(|answer| answer.status)
            };
            assert_eq!(get(&[]), Some(200));
            let before = open();
            for _ in 0..50 {
                assert_eq!(get(&[]), Some(200));
                assert_eq!(get(&[("Range", "bytes=5-9")]), Some(206));
                assert_eq!(get(&[("If-Match", "\"no\"")]), Some(412));
            }
            assert!(open() <= before + 2, "{} descriptors, then {}", before, open());
        },
    );
}

/// The answer to a page that gives a length, and what it says of that: a status, or the text and whether it came whole.
fn with_length(server: &Server, page: &str) -> (u16, String, bool) {
    let answer = server.get(page);
    assert!(answer.header("Transfer-Encoding").is_none() || !answer.complete, "{page}");
    (answer.status, answer.text(), answer.complete)
}

#[test]
fn a_content_length_that_is_true_is_kept_and_another_is_an_error() {
    let wrong =
        |length: u32, total: u32| format!("the page gives a Content-Length of {length}, but puts out {total} bytes");
    let pages = [
        ("true.plua", "<? header('Content-Length', 4) ?>body"),
        ("pieces.plua", "<? header('content-length', '8') ?>body<? flush() ?>more"),
        ("file.plua", "<? header('Content-Length', file.stat('f').size) file.send('f') ?>"),
        ("streamed.plua", "<? header('Content-Length', file.stat('f').size + 1) ?>x<? file.send('f') ?>"),
        ("removed.plua", "<? header('Content-Length', 99) header('Content-Length', nil) ?>body"),
        ("empty.plua", "<? header('Content-Length', 0) ?>"),
        ("low.plua", "<? header('Content-Length', 3) ?>body"),
        ("high.plua", "<? header('Content-Length', 5) ?>body"),
        ("few.plua", "<? header('Content-Length', 9) ?>body<? flush() ?>more"),
        ("many.plua", "<? header('Content-Length', 7) ?>body<? flush() ?>more\n<? flush() ?>"),
        ("caught.plua", "<? header('Content-Length', 5) ?>body<? pcall(function() echo('more') flush() end) ?>"),
        ("word.plua", "\n<? header('Content-Length', 'long') ?>"),
        ("minus.plua", "\n<? header('Content-Length', -1) ?>"),
    ];
    httpd().lines("pLuaError 0").pages(&pages).file("f", bytes(2_000_000)).run(|server| {
        for (page, text) in [("true", "body"), ("pieces", "bodymore"), ("removed", "body"), ("empty", "")] {
            assert_eq!(with_length(server, &format!("/{page}.plua")), (200, text.to_owned(), true), "{page}");
        }
        let pieces = server.get("/pieces.plua");
        assert_eq!((pieces.header("Content-Length"), pieces.header("Transfer-Encoding")), (Some("8"), None));
        assert_eq!(server.get("/file.plua").body.len(), 2_000_000);
        assert_eq!(server.get("/streamed.plua").header("Content-Length"), Some("2000001"));
        for (page, length, total) in [("low", 3, 4), ("high", 5, 4)] {
            server.expect(&wrong(length, total));
            assert_eq!(server.get(&format!("/{page}.plua")).status, 500, "{page}");
        }
        // What is out already stays short of what was said, or is no more than that.
        server.expect(&wrong(9, 8));
        assert_eq!(with_length(server, "/few.plua"), (200, "body".into(), false));
        server.expect(&wrong(7, 9));
        assert_eq!(with_length(server, "/many.plua"), (200, "body".into(), false));
        server.expect(&wrong(5, 8));
        assert_eq!(server.get("/caught.plua").status, 500);
        server.expect("a Content-Length is a whole number of bytes");
        for page in ["word", "minus"] {
            assert_eq!(server.get(&format!("/{page}.plua")).status, 500, "{page}");
            assert!(server.wait_for_log(&format!("{page}.plua:2")).contains("whole number of bytes"));
        }
    });
}

#[test]
fn a_head_request_may_have_a_length_without_the_body() {
    let page =
        "<? header('Content-Length', 4000) if getEnv()['Request-Method'] ~= 'HEAD' then echo(('x'):rep(4000)) end ?>";
    let unmodified = "<? header('Content-Length', 7) setReturnCode(304) ?>";
    with_httpd("", &[("page.plua", page), ("unmodified.plua", unmodified)], |server| {
        assert_eq!(server.get("/page.plua").body.len(), 4000);
        let head = server.request("HEAD", "/page.plua", &[], b"");
        assert_eq!((head.status, head.header("Content-Length")), (200, Some("4000")));
        assert_eq!(server.get("/unmodified.plua").status, 304);
    });
}

#[test]
fn a_length_that_filters_change_is_theirs_to_say() {
    let page = "<? header('Content-Length', 100000) echo(('x'):rep(50000)) flush() echo(('x'):rep(50000)) ?>";
    for (modules, lines) in [
        (vec!["filter", "deflate"], "SetOutputFilter DEFLATE"),
        (vec!["substitute"], "SetOutputFilter SUBSTITUTE\nSubstitute s/x/yy/"),
    ] {
        let setup = modules.iter().fold(httpd(), |setup, module| setup.module(module));
        setup.lines(lines).pages(&[("page.plua", page)]).run(|server| {
            let answer = server.request("GET", "/page.plua", &[("Accept-Encoding", "gzip")], b"");
            assert!(answer.complete && answer.status == 200, "{lines}");
            assert_ne!(answer.body.len(), 100_000, "{lines}");
        });
    }
}

#[test]
fn a_cache_that_asks_again_learns_from_304_that_its_copy_is_good() {
    let page =
        "<? runs = (runs or 0) + 1 header('Cache-Control', 'max-age=60') header('ETag', '\"v1\"') ?>run <?= runs ?>";
    let lines = "CacheRoot ${ROOT}/cache\nCacheEnable disk /page.plua\npLuaStates 1";
    let pages = [("page.plua", page), ("runs.plua", "<?= runs ?>")];
    httpd().module("cache").module("cache_disk").lines(lines).pages(&pages).run(|server| {
        let root = server.httpd().root().join("cache");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(server.get("/page.plua").text(), "run 1");
        assert_eq!(server.get("/page.plua").text(), "run 1");
        assert_eq!(server.get("/runs.plua").text(), "1");
        let again = server.request("GET", "/page.plua", &[("Cache-Control", "max-age=0")], b"");
        assert_eq!((again.status, again.text().as_str()), (200, "run 1"));
        assert_eq!(server.get("/runs.plua").text(), "2", "the page was asked whether the copy is good");
    });
}

/// A page that tells its version before it works, and counts how often it works.
const TOLD: (&str, &str) = (
    "told.plua",
    "<? local q = parseGet() setContentType('text/plain') \
     if q.tag and not plua.etag(q.tag) and not q.on then return end \
     if q.date and not plua.lastModified(tonumber(q.date)) and not q.on then return end \
     worked = (worked or 0) + 1 if q.flush then echo('worked ') flush() end ?>worked",
);

#[test]
fn a_page_that_tells_its_version_first_is_answered_before_it_works() {
    let worked = ("worked.plua", "<?= worked or 0 ?>");
    let lines = "pLuaStates 1";
    httpd().lines(lines).children(1, 5).pages(&[TOLD, worked]).run(|server| {
        let ask = |method: &str, query: &str, headers: &[(&str, &str)]| {
            server.request(method, &format!("/told.plua?{query}"), headers, b"")
        };
        let first = ask("GET", "tag=v1", &[]);
        assert_eq!((first.status, first.header("ETag"), first.text().as_str()), (200, Some("\"v1\""), "worked"));
        for method in ["GET", "HEAD"] {
            for (query, headers, status) in [
                ("tag=v1", ("If-None-Match", "\"v1\""), 304),
                ("tag=v1", ("If-None-Match", "W/\"v1\""), 304),
                ("tag=a%20b", ("If-None-Match", "\"a%20b\""), 304),
                ("tag=v1", ("If-Match", "\"v2\""), 412),
                ("date=784111777", ("If-Modified-Since", DATE), 304),
                ("date=784111777", ("If-Unmodified-Since", BEFORE), 412),
                ("tag=v1&date=784111777", ("If-Modified-Since", DATE), 304),
            ] {
                let answer = ask(method, query, &[headers]);
                assert_eq!((answer.status, answer.text().contains("worked")), (status, false), "{method} {query}");
            }
        }
        assert_eq!(server.get("/worked.plua").text(), "1", "no page has worked for a version that is known");
        // A page that goes on all the same works for nothing: its body is not sent.
        for query in ["tag=v1&on=1", "tag=v1&on=1&flush=1"] {
            let known = ask("GET", query, &[("If-None-Match", "\"v1\"")]);
            assert_eq!((known.status, known.body.len()), (304, 0), "{query}");
            let other = ask("GET", query, &[("If-Match", "\"v2\"")]);
            assert!(other.status == 412 && !other.text().contains("worked"), "{query}: {other:?}");
        }
        assert_eq!(server.get("/worked.plua").text(), "5");
        // What was asked for is done: a POST has no condition.
        assert_eq!(ask("POST", "tag=v1", &[("If-None-Match", "\"v1\"")]).text(), "worked");
        assert_eq!(ask("GET", "tag=v2", &[("If-None-Match", "\"v1\"")]).text(), "worked");
    });
}

#[test]
fn a_page_that_is_part_of_another_tells_its_version_to_nobody() {
    let lines = "<Files *.shtml>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Files>";
    let pages = [TOLD, ("page.shtml", "[<!--#include virtual=\"/told.plua?tag=v1\" -->]")];
    httpd().module("include").lines(lines).pages(&pages).run(|server| {
        let answer = server.request("GET", "/page.shtml", &[("If-None-Match", "\"v1\"")], b"");
        assert_eq!((answer.status, answer.text().as_str(), answer.header("ETag")), (200, "[worked]", None));
    });
}

#[test]
fn a_version_told_first_is_known_again_by_the_tags_of_compressing_filters() {
    let page = ("page.plua", "<? if not plua.etag('v1') then return end ?><?= ('text '):rep(200) ?>");
    httpd().module("filter").module("deflate").lines("SetOutputFilter DEFLATE").pages(&[page]).run(|server| {
        let accepts = ("Accept-Encoding", "gzip");
        let first = server.request("GET", "/page.plua", &[accepts], b"");
        assert_eq!((first.header("ETag"), first.header("Content-Encoding")), (Some("\"v1-gzip\""), Some("gzip")));
        let again = server.request("GET", "/page.plua", &[accepts, ("If-None-Match", "\"v1-gzip\"")], b"");
        assert_eq!((again.status, again.header("ETag")), (304, Some("\"v1-gzip\"")));
    });
}
