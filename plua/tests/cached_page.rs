//! `plua.cachePage` where nothing keeps pages, and what is wrong with its arguments; `tests/kept_pages.rs` has the server that does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Seen, Site};

fn page(code: &str) -> Seen {
    Site::new("pLuaShared cache 1M", &[("page.plua", &format!("<? {code} ?>text"))]).get("page.plua")
}

#[test]
fn a_page_that_nothing_keeps_goes_on_and_tells_what_it_depends_on() {
    for code in [
        "assert(plua.cachePage(10) == false)",
        "plua.cachePage(math.huge)",
        "plua.cachePage('0.5', nil)",
        "plua.cachePage(10, { key = 7, users = true, vary = {} })",
    ] {
        let seen = page(code);
        assert!(seen.log.is_empty() && seen.text() == "text", "{code}: {seen:?}");
    }
    let seen = page("plua.cachePage(10, { vary = { 'Accept-Language', 'X-A' } })");
    let vary: Vec<&str> = seen.headers.iter().filter(|(name, _)| name == "Vary").map(|(_, value)| &**value).collect();
    assert_eq!(vary, ["Accept-Language", "X-A"]);
}

#[test]
fn what_is_wrong_is_told_at_the_pages_line() {
    for (code, message) in [
        ("plua.cachePage()", "bad argument #1 to 'plua.cachePage' (number expected, got no value)"),
        ("plua.cachePage(0)", "bad argument #1 to 'plua.cachePage' (seconds above 0 expected)"),
        ("plua.cachePage(0/0)", "bad argument #1 to 'plua.cachePage'"),
        ("plua.cachePage(1, { keys = 'x' })", "there is no option keys: the options are vary, key and users"),
        ("plua.cachePage(1, { key = {} })", "key is text"),
        ("plua.cachePage(1, { key = ('x'):rep(513) })", "key is longer than 512 bytes"),
        ("plua.cachePage(1, { users = 1 })", "users is true or false"),
        ("plua.cachePage(1, { vary = 'Cookie' })", "vary is an array of the names of headers"),
        ("plua.cachePage(1, { vary = { 'a b' } })", "a header's name in vary is letters, digits and hyphens"),
        ("plua.cachePage(1, { vary = { '*' } })", "a header's name in vary is letters, digits and hyphens"),
        (
            "plua.cachePage(1, { vary = { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i' } })",
            "vary names no more than 8 headers",
        ),
        ("flush() plua.cachePage(1)", "plua.cachePage comes too late: the response is being sent"),
    ] {
        let seen = page(code);
        assert!(seen.log[0].contains(message) && seen.log[0].contains("page.plua:1"), "{code}: {:?}", seen.log);
    }
    let seen = site::page("<? plua.cachePage(1) ?>");
    assert!(
        seen.log[0].contains("keeps pages in the store 'cache', which the host has not: pLuaShared cache 10M"),
        "{:?}",
        seen.log
    );
}
