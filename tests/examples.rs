//! The site in `examples/`, served by a real httpd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::path::Path;

use common::{Mpm, Response, Server, Setup, httpd};

/// The files of the site. Whoever tries the examples may have put others beside them, which are his.
const FILES: [&str; 24] = [
    "blocks.plua",
    "counter.plua",
    "environment.plua",
    "error.plua",
    "form.plua",
    "index.plua",
    "kept.plua",
    "live.js",
    "live.plua",
    "missing.plua",
    "parts/footer.plua",
    "parts/header.plua",
    "parts/layout.plua",
    "parts/order.plua",
    "parts/source.plua",
    "parts/total.plua",
    "requests.plua",
    "session.plua",
    "shared.plua",
    "table.plua",
    "waiting.plua",
    "together.js",
    "together.plua",
    "style.css",
];

/// The site as the document root: copied, for the account that httpd runs as may not read a checkout.
fn site() -> Setup {
    site_of(httpd().lines("pLuaShared examples 1M\npLuaShared cache 1M"))
}

fn site_of(setup: Setup) -> Setup {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    FILES.iter().fold(setup, |setup, name| setup.file(name, fs::read(examples.join(name)).unwrap()))
}

/// The pages one can ask for, without the parts they share.
fn pages(server: &Server) -> Vec<String> {
    let names = fs::read_dir(server.docroot()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".plua")).collect()
}

/// Announces the log entry of the file that `error.plua` includes.
fn expect_failing_include(server: &Server) {
    server.expect("/parts/total.plua:5 |");
}

fn count(page: &Response) -> u32 {
    let text = page.text();
    let (_, rest) = text.split_once("<p class=\"count\">").unwrap();
    rest.split('<').next().unwrap().parse().unwrap()
}

#[test]
fn every_page_is_whole_html_with_its_own_source_below() {
    site().run(|server| {
        expect_failing_include(server);
        let pages = pages(server);
        assert!(pages.len() >= 7, "{pages:?}");
        for name in &pages {
            let page = server.get(&format!("/{name}"));
            let status = if name == "missing.plua" { 404 } else { 200 };
            assert_eq!(page.status, status, "{name}");
            assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"), "{name}");
            let text = page.text();
            assert!(text.starts_with("<!DOCTYPE html>\n"), "{name}: {text}");
            assert!(text.trim_end().ends_with("</html>"), "{name}: {text}");
            assert!(text.contains(&format!("Source of <code>{name}</code>")), "{name}: {text}");
            let head = ["include &quot;parts/header.plua&quot;", "layout(&quot;parts/layout.plua&quot;"];
            assert!(head.iter().any(|head| text.contains(head)), "{name}: {text}");
            assert!(text.contains(&format!("<a href=\"{name}\" aria-current=\"page\">")), "{name}: {text}");
        }
        assert_eq!(server.get("/style.css").status, 200);
        assert!(server.get("/").text().contains("Source of <code>index.plua</code>"));
    });
}

#[test]
fn every_link_leads_to_a_file_of_the_site() {
    site().run(|server| {
        expect_failing_include(server);
        for name in pages(server) {
            let text = server.get(&format!("/{name}")).text();
            for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split(['"', '?']).next()) {
                assert!(link == "data:," || server.docroot().join(link).is_file(), "{name} links to {link}");
            }
        }
    });
}

#[test]
fn no_page_sends_what_a_visitor_typed_as_html() {
    site().run(|server| {
        expect_failing_include(server);
        for name in pages(server) {
            for field in ["name", "sort", "language", "%3Cscript%3E"] {
                let typed = "%3Cscript%3Ealert(1)%3C/script%3E%22%27";
                let query = format!("{field}={typed}&{field}={typed}");
                let headers = [("User-Agent", "<script>"), ("X-Note", "\"><script>")];
                let text = server.request("GET", &format!("/{name}?{query}"), &headers, b"").text();
                let text = ["live", "together"]
                    .iter()
                    .fold(text, |text, name| text.replace(&format!("<script src=\"{name}.js\"></script>"), ""));
                assert!(!text.to_lowercase().contains("<script"), "{name}: {text}");
            }
        }
        let greeting = server.get("/form.plua?name=%3Cscript%3E&x=1&x=2").text();
        assert!(greeting.contains("Hello, &lt;script&gt;!"), "{greeting}");
        assert!(greeting.contains("value=\"&lt;script&gt;\""), "{greeting}");
        assert!(greeting.contains("<td>x</td><td>1, 2</td>"), "{greeting}");
        let chosen = server.get("/form.plua?language=Lua&language=C").text();
        assert!(chosen.contains("value=\"C\" checked>") && chosen.contains("value=\"Rust\">"), "{chosen}");
    });
}

#[test]
fn the_table_is_sorted_by_the_column_that_is_asked_for() {
    site().run(|server| {
        let first = |path: &str| {
            let text = server.get(path).text();
            text.split("<td>").nth(1).unwrap().split('<').next().unwrap().to_owned()
        };
        assert_eq!(first("/table.plua"), "Mercury");
        assert_eq!(first("/table.plua?sort=name"), "Earth");
        assert_eq!(first("/table.plua?sort=moons"), "Saturn");
        assert_eq!(first("/table.plua?sort=nonsense"), "Mercury");
    });
}

#[test]
fn the_requests_are_answered_by_the_site_itself() {
    site().run(|server| {
        // Where it is here.
        let page = fs::read_to_string(server.docroot().join("requests.plua")).unwrap();
        server.put("requests.plua", page.replace("http://127.0.0.1:8080/", &server.url("/")));
        let text = server.get("/requests.plua").text();
        for (page, status) in [("table.plua", 200), ("blocks.plua", 200), ("missing.plua", 404)] {
            assert!(text.contains(&format!("<tr><th>{page}</th><td>{status}, ")), "{page}: {text}");
        }
    });
}

#[test]
fn a_page_that_waits_for_others_is_answered_when_one_of_them_acts() {
    site().run(|server| {
        assert!(server.get("/together.plua").text().contains("id=\"pressed\">0<"));
        let mut waiting = server.connect();
        waiting.send(b"GET /together.plua?known=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(server.post_form("/together.plua", "").status, 302);
        assert_eq!(waiting.response("GET").text(), "{\"pressed\":1}");
        assert!(server.get("/together.plua").text().contains("id=\"pressed\">1<"));
    });
}

#[test]
fn the_live_page_sends_its_time_as_events() {
    site().run(|server| {
        let mut connection = server.connect();
        connection.send(b"GET /live.plua?stream=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let text = String::from_utf8(connection.until(b"id: 2\n")).unwrap();
        assert!(text.contains("event: time\n") && text.contains("text/event-stream"), "{text}");
    });
}

#[test]
fn the_layout_puts_the_page_and_its_blocks_in_place() {
    site().run(|server| {
        let text = server.get("/blocks.plua").text();
        for part in ["<title>Layout</title>", "<h1>Layout</h1>", "<li>The page runs.", "<em>this came out of <code>"] {
            assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
        }
        let (page, notes) = text.split_once("<aside>\n<h2>Notes</h2>").unwrap();
        assert!(page.contains("<em>this came out of") && !page.contains("blocks see the page's locals"), "{text}");
        assert!(notes.contains("The steps above have 3 lines: blocks see the page's locals."), "{text}");
    });
}

#[test]
fn the_store_counts_for_all_processes_and_the_page_says_how_to_have_one() {
    site().mpm(Mpm::Prefork).children(4, 1).run(|server| {
        let counts: Vec<u32> = (0..6).map(|_| count(&server.get("/shared.plua"))).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
        let text = server.get("/shared.plua").text();
        assert!(
            text.contains("made by an earlier visit") && text.contains("ran 7 times within ten seconds:"),
            "{text}"
        );
    });
    site_of(httpd()).run(|server| {
        let text = server.get("/shared.plua").text();
        assert!(text.contains("<code>pLuaShared examples 1M</code>"), "{text}");
        let text = server.get("/together.plua").text();
        assert!(text.contains("This page needs a store"), "{text}");
    });
}

#[test]
fn the_kept_page_is_made_once_for_all_and_the_page_says_how_to_keep_one() {
    site().mpm(Mpm::Prefork).children(4, 1).run(|server| {
        // What the page puts out before it shows its source.
        let shown = |answer: &Response| answer.text().split("Source of").next().unwrap().to_owned();
        let first = server.get("/kept.plua");
        assert!(shown(&first).contains("Made at") && !shown(&first).contains("you alone"), "{first:?}");
        let again = server.get("/kept.plua");
        assert_eq!((again.header("Age").is_some(), again.text()), (true, first.text()));
        let named = server.request("GET", "/kept.plua", &[("Authorization", "Basic dTpw")], b"");
        assert!(named.header("Age").is_none() && shown(&named).contains("for you alone"), "{named:?}");
    });
    site_of(httpd()).run(|server| {
        assert!(server.get("/kept.plua").text().contains("<code>pLuaShared cache 1M</code>"));
    });
}

#[test]
fn the_session_knows_its_visitor_until_he_leaves_and_no_foreign_form() {
    site().mpm(Mpm::Prefork).children(4, 1).run(|server| {
        let mut cookie = String::new();
        let mut ask = |method: &str, form: &str| {
            let headers = [
                ("Host", "localhost"),
                ("Cookie", cookie.as_str()),
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Connection", "close"),
            ];
            let answer = server.request(method, "/session.plua", &headers, form.as_bytes());
            if let Some(set) = answer.header("Set-Cookie") {
                cookie = set.split(';').next().unwrap().to_string();
            }
            let text = answer.text();
            let token = text.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
            (answer.status, token.unwrap_or_default().to_string(), text)
        };
        let (_, token, _) = ask("GET", "");
        assert_eq!(ask("POST", "csrf=x&action=in&name=Eve").0, 403);
        assert_eq!(ask("POST", &format!("csrf={token}&action=in&name=%3CAda%3E")).0, 303);
        let (_, token, text) = ask("GET", "");
        assert!(text.contains("<p role=\"status\">Welcome, &lt;Ada&gt;.</p>"), "{text}");
        assert!(text.contains("<p>You are &lt;Ada&gt;.</p>"), "{text}");
        for _ in 0..3 {
            assert_eq!(ask("POST", &format!("csrf={token}&action=click")).0, 303);
        }
        let (_, token, text) = ask("GET", "");
        assert!(text.contains("<p class=\"count\">3</p>") && !text.contains("<p role=\"status\">"), "{text}");
        assert_eq!(ask("POST", &format!("csrf={token}&action=out")).0, 303);
        let (_, _, text) = ask("GET", "");
        assert!(text.contains("<p role=\"status\">You are out.</p>"), "{text}");
        assert!(text.contains(">Log in</button>"), "{text}");
    });
}

#[test]
fn the_counter_counts_from_request_to_request() {
    site().run(|server| {
        let counts: Vec<u32> = (0..3).map(|_| count(&server.get("/counter.plua"))).collect();
        assert_eq!(counts, [1, 2, 3]);
    });
}

#[test]
fn a_failing_include_is_reported_in_place_and_a_failing_page_instead_of_itself() {
    site().run(|server| {
        expect_failing_include(server);
        server.expect("the page itself failed, on purpose at ");
        let page = server.get("/error.plua");
        assert_eq!(page.status, 200);
        let text = page.text();
        for part in [
            "Run-time error",
            "attempt to get length of",
            "<mark>    5 |     for i = 1, #items do</mark>",
            "/parts/order.plua:8",
            "in main page at ",
            "The same report is in the server",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        let whole = server.get("/error.plua?whole=1");
        assert_eq!(whole.status, 500);
        assert!(whole.text().contains("the page itself failed, on purpose"));
    });
}

#[test]
fn the_not_found_page_stands_in_for_pages_that_are_missing_and_names_them() {
    site().lines("ErrorDocument 404 /missing.plua").run(|server| {
        let page = server.get("/no%3Cscript%3E.html");
        assert_eq!(page.status, 404);
        assert!(page.text().contains("There is nothing at <code>/no&lt;script&gt;.html</code>"), "{}", page.text());
    });
}

#[test]
fn the_page_in_the_readme_greets() {
    let readme = include_str!("../README.md");
    let page = readme.split("```html\n").nth(1).unwrap().split("```").next().unwrap();
    httpd().pages(&[("hello.plua", page)]).run(|server| {
        let text = server.get("/hello.plua?name=%3CAda%3E").text();
        assert!(text.contains("<h1>Hello, &lt;Ada&gt;!</h1>\n<ul>\n  <li>Line 1</li>\n"), "{text}");
        assert!(server.get("/hello.plua").text().contains("Hello, World!"));
    });
}
