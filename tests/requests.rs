//! Requests that reach a page, and those httpd answers itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Response, httpd, with_httpd};

/// The method, as the page sees it.
const METHOD: (&str, &str) = ("method.plua", "<?= getEnv()['Request-Method'] ?>");

/// All that getEnv tells, one `name=value` a line.
const ENVIRONMENT: (&str, &str) =
    ("env.plua", "<? for name, value in pairs(getEnv()) do echo(name, '=', value, '\\n') end ?>");

fn environment(answer: &Response) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect()
}

#[test]
fn a_page_is_one_response_with_its_length_and_type() {
    with_httpd("", &[("hello.plua", "Hello <?= 'world' ?>!\n")], |server| {
        let answer = server.get("/hello.plua");
        assert_eq!((answer.status, answer.reason.as_str(), answer.text().as_str()), (200, "OK", "Hello world!\n"));
        assert_eq!(answer.header("Content-Length"), Some("13"));
        assert_eq!(answer.header("Content-Type"), Some("text/html; charset=UTF-8"));
        assert_eq!(answer.header("Transfer-Encoding"), None);
        assert!(answer.complete);
    });
}

#[test]
fn a_connection_carries_page_after_page_whatever_became_of_the_body_sent_to_it() {
    with_httpd("", &[METHOD, ("n.plua", "<?= parseGet().n ?>")], |server| {
        let mut connection = server.connect();
        for number in 0..20 {
            assert_eq!(connection.request("GET", &format!("/n.plua?n={number}"), &[], b"").text(), number.to_string());
        }
        let large = vec![b'x'; 100_000];
        assert_eq!(connection.request("POST", "/method.plua", &[], &large).text(), "POST");
        let chunked = [("Transfer-Encoding", "chunked")];
        assert_eq!(connection.request("PUT", "/method.plua", &chunked, b"3\r\nabc\r\n0\r\n\r\n").text(), "PUT");
        assert_eq!(connection.request("GET", "/n.plua?n=last", &[], b"").text(), "last");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    with_httpd("", &[("n.plua", "<?= parseGet().n ?>")], |server| {
        let mut connection = server.connect();
        let requests: String =
            (0..10).map(|number| format!("GET /n.plua?n={number} HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
        connection.send(requests.as_bytes());
        for number in 0..10 {
            assert_eq!(connection.response("GET").text(), number.to_string());
        }
    });
}

#[test]
fn head_runs_the_page_and_sends_its_head_alone() {
    let pages =
        [("page.plua", "<? ran = getEnv()['Request-Method'] header('X-Ran', ran) ?>12345"), ("ran.plua", "<?= ran ?>")];
    with_httpd("pLuaStates 1", &pages, |server| {
        let mut connection = server.connect();
        let answer = connection.request("HEAD", "/page.plua", &[], b"");
        assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("5")));
        assert_eq!(answer.header("X-Ran"), Some("HEAD"));
        // A body would be read as the start of this answer.
        assert_eq!(connection.request("GET", "/ran.plua", &[], b"").text(), "HEAD");
    });
}

#[test]
fn every_method_httpd_knows_reaches_the_page_and_an_unknown_one_is_told_which() {
    with_httpd("", &[METHOD], |server| {
        let known = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "MKCOL", "REPORT", "MERGE"];
        for method in known {
            let answer = server.request(method, "/method.plua", &[], b"");
            assert_eq!((answer.status, answer.text().as_str()), (200, method));
        }
        let answer = server.request("BREW", "/method.plua", &[], b"");
        assert_eq!(answer.status, 405);
        let allowed: Vec<&str> = answer.header("Allow").unwrap().split(',').map(str::trim).collect();
        for method in known.iter().chain(&["HEAD"]) {
            assert!(allowed.contains(method), "{method} in {allowed:?}");
        }
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len(), "{allowed:?}");
    });
}

#[test]
fn trace_is_httpds_to_answer() {
    with_httpd("TraceEnable On", &[METHOD], |server| {
        let answer = server.request("TRACE", "/method.plua", &[], b"");
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("message/http")));
        assert!(answer.text().starts_with("TRACE /method.plua HTTP/1.1\r\n"), "{}", answer.text());
    });
}

#[test]
fn path_info_reaches_the_page_unless_it_is_switched_off() {
    let lines = "<Directory ${DOCROOT}/strict>\nAcceptPathInfo Off\n</Directory>";
    let pages = [("page.plua", "[<?= getEnv()['Path-Info'] ?>]"), ("strict/page.plua", "strict")];
    with_httpd(lines, &pages, |server| {
        assert_eq!(server.get("/page.plua").text(), "[]");
        assert_eq!(server.get("/page.plua/a%20b/c?x=/y").text(), "[/a b/c]");
        assert_eq!(server.get("/strict/page.plua").text(), "strict");
        assert_eq!(server.get("/strict/page.plua/more").status, 404);
    });
}

#[test]
fn what_is_no_page_is_httpds_to_answer() {
    httpd().module("autoindex").pages(&[("sub/text.txt", "text"), ("folder.plua/text.txt", "text")]).run(|server| {
        server.expect("AH01276: Cannot serve directory");
        assert_eq!(server.get("/missing.plua").status, 404);
        assert_eq!(server.get("/sub/").status, 403);
        assert_eq!(server.get("/folder.plua/").status, 403);
        assert_eq!(server.get("/sub/text.txt").header("Content-Type"), Some("text/plain"));
    });
    with_httpd("", &[("sub/text.txt", "text")], |server| assert_eq!(server.get("/sub/").status, 404));
}

#[test]
fn an_unreadable_page_is_forbidden_also_when_it_was_served_before() {
    with_httpd("", &[("page.plua", "readable"), ("never.plua", "secret")], |server| {
        server.expect("page.plua: Permission denied");
        server.expect("never.plua: Permission denied");
        let allow = |name, mode| {
            fs::set_permissions(server.docroot().join(name), Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(server.get("/page.plua").text(), "readable");
        allow("page.plua", 0);
        allow("never.plua", 0);
        for page in ["/page.plua", "/never.plua"] {
            let answer = server.get(page);
            assert_eq!(answer.status, 403);
            assert!(!answer.text().contains("secret") && !answer.text().contains("readable"));
        }
        allow("page.plua", 0o644);
        assert_eq!(server.get("/page.plua").text(), "readable");
    });
}

#[test]
fn empty_and_binary_pages_are_served_and_broken_ones_refused() {
    let junk: Vec<u8> = (0..=255).rev().chain(*b"\r\n\0]]]===]<b>?>").collect();
    let expected = junk.clone();
    httpd()
        .pages(&[("empty.plua", ""), ("only-tags.plua", "<??><? ?>")])
        .file("junk.plua", junk)
        .file("code.plua", *b"<? \x1bLJ\x02\0\xff ?>")
        .run(|server| {
            server.expect("code.plua:1");
            for page in ["/empty.plua", "/only-tags.plua"] {
                let answer = server.get(page);
                assert_eq!((answer.status, answer.body.len(), answer.header("Content-Length")), (200, 0, Some("0")));
            }
            assert_eq!(server.get("/junk.plua").body, expected);
            assert_eq!(server.get("/code.plua").status, 500);
        });
}

#[test]
fn a_page_over_64_mb_is_refused_with_a_sentence() {
    with_httpd("", &[], |server| {
        server.expect("67108865 bytes are more than the 67108864 a page may have | in page ");
        File::create(server.docroot().join("large.plua")).unwrap().set_len((64 << 20) + 1).unwrap();
        assert_eq!(server.get("/large.plua").status, 500);
        assert!(server.wait_for_log("67108865 bytes").contains("/large.plua"));
    });
}

#[test]
fn httpd_finds_the_page_of_a_folder_and_any_file_may_be_a_page() {
    let lines = "<Files *.page>\nSetHandler PLUA\n</Files>\n<Location /bare>\nSetHandler plua\n</Location>";
    let pages =
        [("index.plua", "top"), ("sub/index.plua", "<?= 'sub' ?>"), ("a.page", "<?= 1 ?>"), ("bare", "<?= 2 ?>")];
    with_httpd(lines, &pages, |server| {
        assert_eq!(server.get("/").text(), "top");
        assert_eq!(server.get("/sub/").text(), "sub");
        assert_eq!(server.get("/sub").status, 301);
        assert_eq!(server.get("/a.page").text(), "1");
        assert_eq!(server.get("/bare").text(), "2");
    });
}

#[test]
fn a_page_can_be_part_of_a_server_side_include() {
    let lines = "AddOutputFilter INCLUDES .shtml\n<Directory ${DOCROOT}>\nOptions +Includes\n</Directory>\n\
        <Files filtered.plua>\nSetOutputFilter INCLUDES\n</Files>";
    let include = "<a><!--#include virtual=\"/part.plua?n=7\" --></a><!--#include virtual=\"/part.plua?n=8\" -->";
    httpd()
        .module("include")
        .lines(lines)
        .pages(&[("page.shtml", include), ("filtered.plua", include), ("part.plua", "<?= parseGet().n ?>")])
        .run(|server| {
            assert_eq!(server.get("/page.shtml").text(), "<a>7</a>8");
            assert_eq!(server.get("/filtered.plua").text(), "<a>7</a>8");
        });
}

#[test]
fn a_page_that_includes_a_page_through_httpd_waits_for_no_state_of_its_own_host() {
    httpd()
        .module("include")
        .lines("pLuaStates 1\npLuaStateWait 0.3\n<Files outer.plua>\nSetOutputFilter INCLUDES\nOptions +Includes\n</Files>")
        .pages(&[
            ("outer.plua", "[<!--#include virtual=\"/count.plua\" -->]"),
            ("count.plua", "<? n = (n or 0) + 1 ?><?= n ?>"),
        ])
        .run(|server| {
            // The state made for the inner page is one too many afterwards, and does not stay.
            let seen = ["/outer.plua", "/count.plua", "/outer.plua", "/count.plua"].map(|path| server.get(path).text());
            assert_eq!(seen, ["[1]", "1", "[1]", "2"]);
        });
}

#[test]
fn a_page_goes_on_in_its_own_folder_after_httpd_ran_another_inside_it() {
    let outer = "<!--#include virtual=\"/sub/inner.plua\" -->, <? flush() ?><?= io.open('note.txt'):read('*a') ?>";
    httpd()
        .module("include")
        .lines("<Files outer.plua>\nSetOutputFilter INCLUDES\nOptions +Includes\n</Files>")
        .pages(&[("outer.plua", outer), ("note.txt", "outer"), ("sub/note.txt", "inner")])
        .pages(&[("sub/inner.plua", "<?= io.open('note.txt'):read('*a') ?>")])
        .run(|server| assert_eq!(server.get("/outer.plua").text(), "inner, outer"));
}

#[test]
fn a_page_as_error_document_keeps_the_error_and_knows_it() {
    let lines =
        "ErrorDocument 404 /error.plua\nErrorDocument 403 /error.plua\n<Location /no>\nRequire all denied\n</Location>";
    let page = "<? local e = getEnv() ?><?= e.REDIRECT_STATUS, ' ', e.REDIRECT_URL ?>";
    with_httpd(lines, &[("error.plua", page)], |server| {
        server.expect("AH01630");
        for (path, status) in [("/gone.html", 404), ("/gone.plua", 404), ("/no", 403)] {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.text()), (status, format!("{status} {path}")));
        }
    });
}

#[test]
fn rewritten_addresses_reach_the_page_with_the_new_query() {
    let lines = "RewriteEngine On\nRewriteRule ^/item/([0-9]+)$ /item.plua?id=$1 [QSA]";
    let page = "<? local g, e = parseGet(), getEnv() ?><?= g.id, ' ', g.x, ' ', e['Unparsed-URI'] ?>";
    httpd().module("rewrite").lines(lines).pages(&[("item.plua", page)]).run(|server| {
        assert_eq!(server.get("/item/42?x=y").text(), "42 y /item/42?x=y");
        assert_eq!(server.get("/item/none").status, 404);
    });
}

/// What gzip makes of compressed bytes.
fn decompressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(bytes).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

#[test]
fn httpds_filters_compress_a_page_and_serve_parts_of_it() {
    let page = "<? for i = 1, 1000 do echo('line ', i, '\\n') end ?>";
    httpd()
        .module("filter")
        .module("deflate")
        .lines("<Files long.plua>\nSetOutputFilter DEFLATE\n</Files>")
        .pages(&[("long.plua", page), ("plain.plua", page)])
        .run(|server| {
            let plain = server.get("/plain.plua");
            assert_eq!(server.get("/long.plua").body, plain.body);
            let small = server.request("GET", "/long.plua", &[("Accept-Encoding", "gzip")], b"");
            assert_eq!(small.header("Content-Encoding"), Some("gzip"));
            assert!(small.complete && small.body.len() < plain.body.len() / 2);
            assert_eq!(decompressed(&small.body), plain.body);

            let part = server.request("GET", "/plain.plua", &[("Range", "bytes=7-12")], b"");
            assert_eq!((part.status, part.text().as_str()), (206, "line 2"));
            let length = plain.body.len();
            assert_eq!(part.header("Content-Range"), Some(format!("bytes 7-12/{length}").as_str()));
        });
}

#[test]
fn the_environment_has_every_documented_key() {
    let lines = "SetEnv FROM_CONFIGURATION yes\nSetEnvIf Request_URI . MATCHED=1\npLuaIgnoreLibrary \"os debug\"";
    with_httpd(lines, &[ENVIRONMENT], |server| {
        let headers = [
            ("authorization", "Basic dTpw"),
            ("x-lower-case", "a"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("URI", "/forged"),
            ("Remote-Address", "192.0.2.1"),
        ];
        let answer = server.request("GET", "/env.plua/more/?q=1%20", &headers, b"");
        let seen = environment(&answer);
        let docroot = server.docroot().to_string_lossy().into_owned();
        let file = format!("{docroot}/env.plua");
        for (name, value) in [
            ("Request-Method", "GET"),
            ("URI", "/env.plua/more/"),
            ("Unparsed-URI", "/env.plua/more/?q=1%20"),
            ("Request", "GET /env.plua/more/?q=1%20 HTTP/1.1"),
            ("Path-Info", "/more/"),
            ("Filename", &file),
            ("Working-Directory", &docroot),
            ("ServerName", "localhost"),
            ("Remote-Address", "127.0.0.1"),
            ("Clock-Offset", "0"),
            ("pLua-States", "50"),
            ("pLua-Runs", "1000"),
            ("pLua-Files", "50"),
            ("pLua-Memory-Limit", "0"),
            ("pLua-Sessions", "1"),
            ("pLua-Disabled-Libraries", "debug os"),
            ("Host", "localhost"),
            ("Authorization", "Basic dTpw"),
            ("X-Lower-Case", "a"),
            ("X-Twice", "1, 2"),
            ("FROM_CONFIGURATION", "yes"),
            ("MATCHED", "1"),
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/env.plua"),
            ("PATH_INFO", "/more/"),
            ("QUERY_STRING", "q=1%20"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SCRIPT_FILENAME", &file),
            ("DOCUMENT_ROOT", &docroot),
            ("HTTP_X_LOWER_CASE", "a"),
        ] {
            assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(seen["Server-Banner"].starts_with("Apache/2.4."), "{}", seen["Server-Banner"]);
        assert!(seen["Server-Banner"].contains(&seen["Server-Version"]));
        assert!(["5.1", "5.4"].contains(&seen["Lua-Version"].as_str()));
        assert!(seen["pLua-Version"].parse::<u32>().unwrap() >= 52);
        assert_ne!(seen["pLua-UID"], "");
        for address in ["pLua-Handle", "Lua-State"] {
            assert!(seen[address].starts_with("0x"), "{address}");
        }
        let received = seen["Request-Time"].parse::<f64>().unwrap() / 1e6;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - received).abs() < 60.0, "{received} at {now}");
    });
}

/// The names in the first column of a table of the manual, or how they begin.
fn documented(heading: &str) -> Vec<String> {
    let manual = include_str!("../docs/functions.md");
    let (_, table) = manual.split_once(&format!("| {heading} | Value |\n|---|---|\n")).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    names.map(|name| if name.starts_with("HTTP_") { "HTTP_" } else { name }.to_string()).collect()
}

#[test]
fn the_manual_names_whatever_the_environment_holds() {
    let (keys, variables) = (documented("Key of `getEnv`"), documented("Variable"));
    let page = "<? local headers = plua.requestHeaders() for name in pairs(getEnv()) do \
                if not headers[name] then echo(name, '\\n') end end ?>";
    let lines = "<Location /page.plua>\nAuthType Basic\nAuthName x\nAuthUserFile ${DOCROOT}/users\nRequire valid-user\n</Location>";
    let modules = ["auth_basic", "authn_core", "authn_file", "authz_user"];
    let setup = modules.into_iter().fold(httpd(), |setup, module| setup.module(module)).lines(lines);
    // The name is u, and the password.
    setup.pages(&[("page.plua", page)]).file("users", "u:{SHA}UeaYkqtJ34XGIwzMV/jh0WBsrMw=\n").run(|server| {
        let headers = [("Content-Type", "text/plain"), ("Authorization", "Basic dTp1")];
        let seen = server.request("POST", "/page.plua/more?a=1", &headers, b"body");
        assert_eq!(seen.status, 200);
        let text = seen.text();
        let begin = |name: &str| if name.starts_with("HTTP_") { "HTTP_" } else { name }.to_string();
        let seen: BTreeSet<String> = text.lines().map(begin).collect();
        let documented: BTreeSet<String> = keys.into_iter().chain(variables).collect();
        // These take lookups that are off, or are not in every environment.
        let unsure = ["REMOTE_HOST", "REMOTE_IDENT", "LD_LIBRARY_PATH", "SERVER_ADMIN"].map(str::to_string).into();
        assert_eq!(&seen - &unsure, &documented - &unsure);
    });
}

#[test]
fn a_host_header_of_any_spelling_is_found() {
    with_httpd(
        "",
        &[("host.plua", "<? local e = getEnv() ?><?= e.Host, ' ', e.host, ' ', e['user-AGENT'] ?>")],
        |server| {
            let answer =
                server.raw(b"GET /host.plua HTTP/1.1\r\nhOST: Here\r\nuser-agent: me\r\nConnection: close\r\n\r\n");
            assert!(answer.ends_with(b"\r\n\r\nHere Here me"), "{}", String::from_utf8_lossy(&answer));
        },
    );
}

#[test]
fn a_variable_of_the_configuration_hides_a_header_of_its_name() {
    let page = "<? local e = getEnv() ?><?= e.Host, ' ', e['X-Own'] ?>";
    with_httpd("SetEnv Host configured", &[("page.plua", page)], |server| {
        assert_eq!(server.request("GET", "/page.plua", &[("X-Own", "sent")], b"").text(), "configured sent");
    });
}

#[test]
fn behind_a_proxy_the_remote_address_is_the_clients() {
    let lines = "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1";
    httpd().module("remoteip").lines(lines).pages(&[ENVIRONMENT]).run(|server| {
        let seen = environment(&server.request("GET", "/env.plua", &[("X-Forwarded-For", "192.0.2.7")], b""));
        assert_eq!((seen["Remote-Address"].as_str(), seen["REMOTE_ADDR"].as_str()), ("192.0.2.7", "192.0.2.7"));
    });
}

#[test]
fn the_query_is_a_table_of_decoded_fields() {
    let page =
        "<? local g = parseGet() ?><?= g['a b'], '|', g.x, '|', #g.n, g.n[1], g.n[2], '|', g.none, '|', g.flag ?>";
    with_httpd("", &[("get.plua", page)], |server| {
        assert_eq!(server.get("/get.plua?a+b=c%2Bd&x=%C3%A9+1%00&n=1&n=2&flag").text(), "c+d|é 1\0|212|nil|");
        assert_eq!(server.request("POST", "/get.plua?x=1&n=1&n=2", &[], b"x=9").text(), "nil|1|212|nil|nil");
    });
}
