//! What pages are told of the address they were asked by, however httpd came to run them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use common::{Server, Setup, httpd, with_httpd};

/// A row of the manual's table, without what it says of itself.
const TELLING: &str = "<? local e = getEnv() local function cell(value) return value and value ~= '' and '`' .. value .. '`' or '' end
local fields, shown = parseGet(), {} for name, value in pairs(fields) do shown[#shown + 1] = name .. '=' .. value end
?><?= cell(e.URI), ' | ', cell(e.REQUEST_URI), ' | ', cell(e['Path-Info']), ' | ', cell(table.concat(shown, '&')), ' | ',
cell(e.REDIRECT_URL), ' | ', cell(e.REDIRECT_QUERY_STRING), ' | ', cell(e.REDIRECT_STATUS) ?>";

/// How httpd comes to run a page, as the manual says it, and what is asked for.
const WAYS: &[(&str, &str)] = &[
    ("the page itself", "/front.plua/cart?x=1"),
    ("`DirectoryIndex index.plua`", "/index/?x=1"),
    ("`FallbackResource /front.plua`", "/fallback/cart?x=1"),
    ("`RewriteRule ^/server/(.*) /front.plua/$1` in server or host", "/server/cart?x=1"),
    ("`RewriteRule ^(.*) /front.plua/$1` in `.htaccess` or `<Directory>`", "/folder/cart?x=1"),
    ("`ErrorDocument 404 /front.plua?y=2`", "/missing/cart?x=1"),
    ("`<!--#include virtual=\"/front.plua?y=2\" -->`", "/part.shtml?x=1"),
];

fn site() -> Setup {
    let lines = "RewriteEngine On\nRewriteRule ^/server/(.*) /front.plua/$1\nErrorDocument 404 /front.plua?y=2\n\
        <Directory ${DOCROOT}/fallback>\nFallbackResource /front.plua\n</Directory>\n\
        <Directory ${DOCROOT}/folder>\nAllowOverride FileInfo\nOptions FollowSymLinks\n</Directory>\n\
        <Files *.shtml>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Files>";
    let pages = [
        ("front.plua", TELLING),
        ("index/index.plua", TELLING),
        ("fallback/other.html", ""),
        ("folder/.htaccess", "RewriteEngine On\nRewriteRule ^(.*) /front.plua/$1"),
        ("part.shtml", "<!--#include virtual=\"/front.plua?y=2\" -->"),
    ];
    httpd().module("rewrite").module("include").lines(lines).pages(&pages)
}

#[test]
fn the_manuals_table_of_addresses_is_what_pages_are_told() {
    let manual = include_str!("../docs/functions.md");
    site().run(|server| {
        let row =
            |(way, asked): &(&str, &str)| format!("| {way} | `{asked}` | {} |", server.get(asked).text().trim_end());
        let rows: Vec<String> = WAYS.iter().map(row).collect();
        let table = manual.split("| How httpd comes to the page |").nth(1).unwrap_or_default().lines().skip(2);
        let table: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        assert_eq!(table, rows, "the manual should say\n{}", rows.join("\n"));
    });
}

#[test]
fn what_the_client_sent_is_told_whatever_httpd_made_of_it() {
    let page =
        "<? local e = getEnv() ?><?= e['Unparsed-URI'], ' ', e.REQUEST_URI, ' ', e.Request:match('%S+ (%S+)') ?>";
    site().file("front.plua", page).file("index/index.plua", page).run(|server| {
        for (_, asked) in WAYS {
            let asked = asked.replace("cart", "ca%72t");
            assert_eq!(server.get(&asked).text(), format!("{asked} {asked} {asked}"));
        }
    });
}

#[test]
fn the_status_of_an_error_page_is_the_errors_unless_the_page_sets_one() {
    let page = "<? local s = getEnv().REDIRECT_QUERY_STRING if s then setReturnCode(tonumber(s)) end ?>error page";
    let lines = "ErrorDocument 404 /error.plua\nErrorDocument 500 /error.plua\npLuaError 0";
    let pages = [
        ("error.plua", page),
        ("moved.plua", "<? redirect('/there') ?>"),
        ("failing.plua", "<? error('broken') ?>"),
        ("raised.plua", "<? httpError(404) ?>"),
    ];
    with_httpd(lines, &pages, |server| {
        let seen = |path: &str| {
            let answer = server.get(path);
            assert_eq!(answer.text(), "error page", "{path}");
            answer.status
        };
        assert_eq!(seen("/missing"), 404);
        for status in [200, 404, 410, 500, 503] {
            assert_eq!(seen(&format!("/missing?{status}")), status);
        }
        // 0 leaves it as it is.
        assert_eq!(seen("/missing?0"), 404);
        server.expect("broken at ");
        assert_eq!(seen("/failing.plua"), 500);
        assert_eq!(seen("/failing.plua?200"), 200);
        assert_eq!(seen("/raised.plua?200"), 200);
    });
    with_httpd("ErrorDocument 404 /moved.plua", &pages, |server| {
        let answer = server.get("/missing");
        assert_eq!((answer.status, answer.header("Location")), (302, Some("/there")));
    });
}

#[test]
fn an_error_page_for_a_missing_page_can_be_a_whole_site() {
    let front = "<? local path = getEnv().REDIRECT_URL if path == '/known' then setReturnCode(200) echo('known') \
        else echo('unknown ', getEnv().REDIRECT_REQUEST_METHOD) end ?>";
    with_httpd("ErrorDocument 404 /front.plua", &[("front.plua", front)], |server: &mut Server| {
        let get = |method: &str, path: &str| {
            let answer = server.request(method, path, &[], b"");
            (answer.status, answer.text())
        };
        assert_eq!(get("GET", "/known"), (200, "known".into()));
        assert_eq!(get("POST", "/other"), (404, "unknown POST".into()));
        let answer = server.request("HEAD", "/known", &[], b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    });
}
