//! Pages that fail when a part of them has been put out: nobody takes the half for the whole, through whatever filter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::process::Command;
use std::thread;

use common::tls::{certificate, tls};
use common::{Connection, Mpm, Server, Setup, httpd};

/// Each page puts out two pieces; all but one end before they are whole.
const PAGES: &[(&str, &str)] = &[
    ("whole.plua", "<p>first</p>\n<? flush() ?><p>second</p>\n<? flush() ?><p>end</p>\n"),
    ("failed.plua", "<p>first</p>\n<? flush() ?><p>second</p>\n<? flush() error('late') ?><p>end</p>\n"),
    ("stopped.plua", "<p>first</p>\n<? flush() ?><p>second</p>\n<? flush() while true do end ?><p>end</p>\n"),
    ("large.plua", "<? echo(('<p>0123456789</p>\\n'):rep(20000)) flush() error('late') ?><p>end</p>\n"),
];

/// The pages that do not come to their end.
const HALVES: [&str; 3] = ["/failed.plua", "/stopped.plua", "/large.plua"];

fn site() -> Setup {
    httpd().lines("pLuaTimeout 0.5\nKeepAliveTimeout 60").pages(PAGES)
}

/// A request of HTTP/1.1, which keeps the connection, or of 1.0.
fn ask(connection: &mut Connection, path: &str, version: &str, headers: &str) -> common::Response {
    connection.send(format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
    connection.response("GET")
}

/// Asserts that the client of a page that fails in the middle is told so, in whatever version of HTTP it asks.
fn assert_halves_are_told(server: &Server, what: &str, headers: &str) {
    server.expect("late at ");
    server.expect("took too long");
    for version in ["1.1", "1.0"] {
        let whole = ask(&mut server.connect(), "/whole.plua", version, &format!("{headers}Connection: close\r\n"));
        assert_eq!((whole.status, whole.complete), (200, true), "{what}, HTTP/{version}");
        let is_told = |path: &str, connection: &str| {
            let answer = ask(&mut server.connect(), path, version, &format!("{headers}{connection}"));
            let told = answer.status == 500 || !answer.complete;
            assert!(told, "{what}: HTTP/{version} {connection:?} {path}: {answer:?}");
            let text = answer.text();
            if answer.status == 500 {
                assert!(answer.complete, "{what}, HTTP/{version} {path}: {text}");
                assert!(text.contains("<h1>Internal Server Error</h1>") && !text.contains("first"), "{what}: {text}");
            }
            assert!(!text.contains("end</p>"), "{what}: {text}");
        };
        // At once, for those that are stopped wait for that.
        thread::scope(|scope| {
            for path in HALVES {
                for connection in ["", "Connection: close\r\n"] {
                    scope.spawn(move || is_told(path, connection));
                }
            }
        });
    }
}

const SED: &str = "<Directory ${DOCROOT}>\nSetOutputFilter Sed\nOutputSed s/first/1st/\n</Directory>";

/// Filters by name, with the modules they need, lines that put every page through them, and headers of the request.
const FILTERS: &[(&str, &[&str], &str, &str)] = &[
    ("none", &[], "", ""),
    ("deflate", &["filter", "deflate"], "SetOutputFilter DEFLATE", "Accept-Encoding: gzip\r\n"),
    ("inflate", &["filter", "deflate"], "SetOutputFilter DEFLATE;INFLATE", "Accept-Encoding: gzip\r\n"),
    ("brotli", &["filter", "brotli"], "SetOutputFilter BROTLI_COMPRESS", "Accept-Encoding: br\r\n"),
    ("substitute", &["substitute"], "SetOutputFilter SUBSTITUTE\nSubstitute s/first/1st/", ""),
    ("sed", &["sed"], SED, ""),
    ("buffer", &["buffer"], "SetOutputFilter BUFFER", ""),
    ("xml2enc", &["xml2enc"], "SetOutputFilter xml2enc", ""),
    ("proxy_html", &["xml2enc", "proxy", "proxy_html"], "SetOutputFilter proxy-html\nProxyHTMLEnable On", ""),
    ("include", &["include"], "SetOutputFilter INCLUDES\n<Directory ${DOCROOT}>\nOptions +Includes\n</Directory>", ""),
    ("ratelimit", &["ratelimit"], "SetOutputFilter RATE_LIMIT\nSetEnv rate-limit 4096", ""),
    ("bucketeer", &["bucketeer"], "SetOutputFilter BUCKETEER", ""),
    ("case", &["case_filter"], "CaseFilter On", ""),
    ("charset", &["charset_lite"], "CharsetSourceEnc utf-8\nCharsetDefault utf-16", ""),
    ("data", &["data"], "SetOutputFilter DATA", ""),
    ("external", &["ext_filter"], "ExtFilterDefine cat mode=output cmd=/bin/cat\nSetOutputFilter cat", ""),
    (
        "filter",
        &["filter", "deflate"],
        "FilterDeclare squeeze\nFilterProvider squeeze DEFLATE \"%{Content_Type} =~ /html/\"\nFilterChain squeeze",
        "Accept-Encoding: gzip\r\n",
    ),
    ("lua", &["lua"], "LuaOutputFilter again ${DOCROOT}/filter.lua again\nSetOutputFilter again", ""),
    (
        "security",
        &["unique_id", "security2"],
        "SecRuleEngine On\nSecResponseBodyAccess On\nSecResponseBodyMimeType text/html\nSecStatusEngine Off\n\
         SecRule RESPONSE_BODY \"@contains nothing\" \"id:1,phase:4,deny\"",
        "",
    ),
    (
        "several",
        &["sed", "buffer", "filter", "deflate"],
        "<Directory ${DOCROOT}>\nSetOutputFilter Sed;BUFFER;DEFLATE\nOutputSed s/a/b/\n</Directory>",
        "Accept-Encoding: gzip\r\n",
    ),
];

/// An output filter in Lua that passes each piece on, upper case.
const FILTER_IN_LUA: &str = "function again(r)\n  coroutine.yield()\n  while bucket do coroutine.yield(bucket:upper()) end\n\
    coroutine.yield('')\nend\n";

#[test]
fn a_half_page_is_told_from_a_whole_one_through_every_filter() {
    let is_told = |(name, modules, lines, headers): &(&str, &[&str], &str, &str)| {
        let setup = modules.iter().fold(site(), |setup, module| setup.module(module));
        setup.lines(lines).file("filter.lua", FILTER_IN_LUA).run(|server| {
            for remark in ["ModSecurity", "xml2enc", "AH01422"] {
                server.tolerate(remark);
            }
            assert_halves_are_told(server, name, headers);
            assert_eq!(server.get("/whole.plua").status, 200, "{name}");
        });
    };
    // Four servers at a time.
    thread::scope(|scope| {
        for filters in FILTERS.chunks(FILTERS.len().div_ceil(4)) {
            scope.spawn(move || filters.iter().for_each(is_told));
        }
    });
}

#[test]
fn no_mpm_sends_half_a_page_as_a_whole_one() {
    for mpm in [Mpm::Worker, Mpm::Prefork] {
        site().mpm(mpm).children(2, 4).run(|server| assert_halves_are_told(server, "no filter", ""));
    }
}

#[test]
fn the_pieces_that_were_flushed_reach_a_client_before_its_connection_is_cut() {
    site().run(|server| {
        server.expect("late at ");
        for version in ["1.1", "1.0"] {
            let answer = ask(&mut server.connect(), "/failed.plua", version, "");
            assert_eq!((answer.status, answer.complete), (200, false), "{version}");
            assert_eq!(answer.text(), "<p>first</p>\n<p>second</p>\n", "{version}");
        }
    });
}

#[test]
fn a_response_that_httpd_does_not_chunk_is_cut_as_well() {
    let lines = "<Location />\nSetEnv nokeepalive 1\nSetEnv force-response-1.0 1\nSetEnv downgrade-1.0 1\n</Location>";
    site().lines(lines).run(|server| assert_halves_are_told(server, "forced to 1.0", ""));
    site().lines("KeepAlive Off").run(|server| assert_halves_are_told(server, "no keepalive", ""));
}

/// mod_security2, which holds a response until it is whole.
fn holding() -> Setup {
    let (_, modules, lines, _) = FILTERS.iter().find(|(name, ..)| *name == "security").unwrap();
    modules.iter().fold(site(), |setup, module| setup.module(module)).lines(lines)
}

#[test]
fn the_head_of_a_page_that_fails_late_is_one_answer() {
    for (setup, status) in [(site(), 200), (holding(), 500)] {
        setup.run(|server| {
            server.tolerate("ModSecurity");
            server.expect("late at ");
            let mut connection = server.connect();
            connection.send(b"HEAD /failed.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(connection.response("HEAD").status, status);
            connection.send(b"GET /whole.plua HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            // Kept, or closed without a byte of a second answer.
            let rest = connection.rest();
            assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&rest));
        });
    }
}

#[test]
fn a_page_that_fails_late_behind_a_filter_that_holds_it_gets_the_servers_error_page() {
    let pages = [("sorry.plua", "sorry: <?= getEnv().REDIRECT_STATUS ?>")];
    holding().lines("ErrorDocument 500 /sorry.plua\npLuaError 0").pages(&pages).run(|server| {
        server.tolerate("ModSecurity");
        server.expect("late at ");
        let answer = server.get("/failed.plua");
        assert_eq!((answer.status, answer.text().as_str()), (500, "sorry: 500"));
        assert_eq!(server.get("/whole.plua").status, 200);
    });
}

#[test]
fn no_cache_keeps_half_a_page() {
    let disk = "CacheRoot ${ROOT}/cache\nCacheEnable disk /";
    let memory = "CacheEnable socache /\nCacheSocache shmcb:${ROOT}/shared(8000000)";
    for (name, modules, lines) in
        [("disk", ["cache", "cache_disk"], disk), ("socache", ["cache", "cache_socache"], memory)]
    {
        for quick in ["On", "Off"] {
            for filter in ["", SED] {
                let header = "<? runs = (runs or 0) + 1 header('Cache-Control', 'max-age=60') \
                    header('X-Run', runs) ?>";
                let kept = format!("{header}kept\n");
                let half = "<? header('Cache-Control', 'max-age=60') halves = (halves or 0) + 1 \
                    if parseGet().length then header('Content-Length', 24) end ?><p>first</p>\n<? flush() \
                    if halves % 2 == 1 then error('late') end ?><p>end</p>\n";
                let setup = modules.iter().fold(site(), |setup, module| setup.module(module));
                let setup = setup.module("sed").module("socache_shmcb");
                let setup = setup.lines(&format!("pLuaStates 1\n{lines}\nCacheQuickHandler {quick}\n{filter}"));
                setup.file("kept.plua", kept).file("half.plua", half).run(|server| {
                    let what = format!("{name}, quick handler {quick}, {filter}");
                    let root = server.httpd().root().join("cache");
                    std::fs::create_dir(&root).unwrap();
                    std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
                    // What is whole is kept.
                    let runs = [(); 3].map(|()| server.get("/kept.plua").header("X-Run").map(str::to_owned));
                    assert_eq!(runs[1], runs[2], "{what}");
                    server.expect("late at ");
                    for path in ["/half.plua", "/half.plua?length=1"] {
                        let first = server.get(path);
                        assert!(first.status == 500 || !first.complete, "{what}: {first:?}");
                        let second = server.get(path);
                        assert_eq!((second.status, second.complete), (200, true), "{what}");
                        assert!(second.text().ends_with("<p>end</p>\n"), "{what}: {}", second.text());
                    }
                });
            }
        }
    }
}

#[test]
fn a_client_over_tls_is_told_as_well() {
    let certificate = certificate();
    site().module("ssl").further_ports(1).lines(&tls(certificate.path())).run(|server| {
        server.expect("late at ");
        let port = server.httpd().ports()[1];
        for (version, path, fine) in [
            ("--http1.1", "whole.plua", true),
            ("--http1.0", "whole.plua", true),
            ("--http1.1", "failed.plua", false),
            ("--http1.0", "failed.plua", false),
        ] {
            let url = format!("https://127.0.0.1:{port}/{path}");
            let output = Command::new("curl").args(["-sSk", "--no-alpn", "--max-time", "20", version, &url]).output();
            let output = output.unwrap();
            assert_eq!(output.status.success(), fine, "{version} {path}: {output:?}");
        }
    });
}

#[test]
fn a_part_that_fails_late_is_told_of_by_the_page_that_includes_it_and_no_cache_keeps_that() {
    let lines = "CacheRoot ${ROOT}/cache\nCacheEnable disk /\n<Files *.shtml>\nOptions +Includes\n\
        SetOutputFilter INCLUDES\nHeader set Cache-Control max-age=60\nHeader set ETag '\"1\"'\n</Files>\nSSIErrorMsg broken";
    let pages = [
        ("whole.shtml", "[<!--#include virtual=\"/whole.plua\" -->]"),
        ("failed.shtml", "[<!--#include virtual=\"/failed.plua\" -->]"),
    ];
    site().module("include").module("cache").module("cache_disk").lines(lines).pages(&pages).run(|server| {
        server.expect("late at ");
        server.expect("unable to include");
        let root = server.httpd().root().join("cache");
        std::fs::create_dir(&root).unwrap();
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        for _ in 0..2 {
            let answer = server.get("/failed.shtml");
            assert!(answer.text().contains("broken"), "{}", answer.text());
        }
        assert_eq!(server.error_log().matches("late at ").count(), 2, "the second one is not from the cache");
        assert!(server.get("/whole.shtml").text().ends_with("<p>end</p>\n]"));
    });
}
