//! The number of a failure: what a visitor is shown, in every way a failed page can be answered, finds its entry in the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::time::Duration;

use common::wait::until;
use common::{Server, with_httpd};

/// The number that stands in a text, after the word.
fn number_in(text: &str) -> String {
    let digits = |rest: &str| rest.trim_start_matches("<strong>").chars().take(8).collect::<String>();
    let number = ["Incident ", "incident "].iter().find_map(|word| text.split_once(word)).map(|(_, rest)| digits(rest));
    let number = number.unwrap_or_else(|| panic!("no incident in: {text}"));
    assert!(
        number.len() == 8 && number.chars().all(|digit| digit.is_ascii_digit() || digit.is_ascii_uppercase()),
        "{text}"
    );
    number
}

/// The one entry that a number finds.
fn entry_of(server: &Server, number: &str) -> String {
    let entry = server.wait_for_log(&format!("incident {number}: "));
    assert_eq!(server.error_log().matches(number).count(), 1, "{entry}");
    entry
}

#[test]
fn a_visitor_who_sees_no_report_sees_a_number_that_finds_the_entry() {
    let pages = [
        ("page.plua", "half<? error('secret') ?>"),
        ("syntax.plua", "<? if ?>"),
        ("forbidden.plua", "<? setReturnCode(403) error('secret') ?>"),
    ];
    with_httpd("pLuaError 0", &pages, |server| {
        let mut seen = Vec::new();
        for (path, status, place) in [
            ("/page.plua", 500, "page.plua:1"),
            ("/page.plua", 500, "page.plua:1"),
            ("/syntax.plua", 500, "syntax.plua:1"),
            ("/forbidden.plua", 403, "forbidden.plua:1"),
        ] {
            server.expect(place);
            let answer = server.get(path);
            assert_eq!(answer.status, status);
            let text = answer.text();
            assert!(!text.contains("secret") && !text.contains("page.plua") && !text.contains("half"), "{text}");
            let number = number_in(&text);
            assert!(entry_of(server, &number).contains(place));
            assert!(!seen.contains(&number), "{seen:?}");
            seen.push(number);
        }
        let head = server.request("HEAD", "/page.plua", &[], b"");
        assert_eq!((head.status, head.body.len()), (500, 0));
    });
}

#[test]
fn the_report_of_a_failed_page_has_the_number_of_its_entry() {
    with_httpd("", &[("page.plua", "<? error('shown') ?>")], |server| {
        server.expect("page.plua:1");
        let text = server.get("/page.plua").text();
        assert!(entry_of(server, &number_in(&text)).contains("Run-time error: shown at"));
    });
}

#[test]
fn error_documents_and_access_logs_get_the_number_as_a_variable() {
    let pages = [
        ("page.plua", "<? error('hidden') ?>"),
        ("error.plua", "Sorry, incident <?= getEnv().REDIRECT_PLUA_INCIDENT ?>."),
        ("text/page.plua", "<? error('hidden') ?>"),
    ];
    let lines = "pLuaError 0\nErrorDocument 500 /error.plua\n\
                 <Location /text>\nErrorDocument 500 \"incident %{reqenv:PLUA_INCIDENT}\"\n</Location>\n\
                 CustomLog \"${ROOT}/incidents.log\" \"%<U %<{PLUA_INCIDENT}e\"";
    with_httpd(lines, &pages, |server| {
        server.expect("page.plua:1");
        let page = server.get("/page.plua");
        assert_eq!(page.status, 500);
        let of_page = number_in(&page.text());
        assert!(entry_of(server, &of_page).contains("hidden"));
        let of_text = number_in(&server.get("/text/page.plua").text());
        assert!(entry_of(server, &of_text).contains("text/page.plua:1"));
        let file = server.httpd().root().join("incidents.log");
        // httpd writes it when the visitor has the answer.
        until("both are in the log of requests", Duration::from_secs(20), || {
            let log = fs::read_to_string(&file).unwrap();
            let lines = [format!("/page.plua {of_page}"), format!("/text/page.plua {of_text}")];
            lines.iter().all(|line| log.lines().any(|logged| logged == line))
        });
    });
}

#[test]
fn half_a_page_and_a_failed_part_go_into_the_log_each_in_its_way() {
    let pages = [
        ("half.plua", "first<? flush() error('late') ?>"),
        ("whole.plua", "a<? include('part.plua') ?>b"),
        ("part.plua", "<? error('in the part') ?>"),
    ];
    with_httpd("pLuaError 0", &pages, |server| {
        server.expect("half.plua:1");
        server.expect("part.plua:1");
        let half = server.get("/half.plua");
        assert!(half.status == 200 && !half.complete);
        assert_eq!(number_in(&server.wait_for_log("late at ")).len(), 8);
        // The page goes on and its visitor is shown nothing, so there is nothing to ask about.
        assert_eq!(server.get("/whole.plua").text(), "ab");
        assert!(!server.wait_for_log("in the part at ").contains("incident"));
    });
}
