//! `plua.etag` and `plua.lastModified`: the headers they make, and what is wrong with their arguments.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

/// The header of a page of this code.
fn header(code: &str, name: &str) -> Option<String> {
    let seen = site::page(&format!("<? {code} ?>text"));
    assert!(seen.log.is_empty(), "{code}: {:?}", seen.log);
    assert_eq!(seen.text(), "text", "{code}");
    seen.headers.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[test]
fn a_version_becomes_a_header_and_without_a_condition_the_page_goes_on() {
    for (code, tag) in [
        ("assert(plua.etag('v1') == true)", "\"v1\""),
        ("plua.etag(7)", "\"7\""),
        ("plua.etag('\"own\"')", "\"own\""),
        ("plua.etag('W/\"own\"')", "W/\"own\""),
        ("plua.etag('a\"b c')", "\"a%22b%20c\""),
        ("plua.etag('one') plua.etag('two')", "\"two\""),
    ] {
        assert_eq!(header(code, "ETag").as_deref(), Some(tag), "{code}");
    }
    let date = |code| header(code, "Last-Modified");
    assert_eq!(date("assert(plua.lastModified(784111777.9))").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(date("plua.lastModified('784111777')").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let future = date("plua.lastModified(math.huge)").unwrap();
    assert!(httpdate::parse_http_date(&future).unwrap() <= std::time::SystemTime::now(), "{future}");
}

#[test]
fn what_is_wrong_is_told_at_the_pages_line() {
    for (code, message) in [
        ("plua.etag()", "bad argument #1 to 'plua.etag' (string expected, got no value)"),
        ("plua.etag({})", "bad argument #1 to 'plua.etag' (string expected, got table)"),
        ("plua.etag('\"a')", "a tag in quotes ends with one and has none inside, nor spaces"),
        ("plua.etag(('x'):rep(1025))", "no more than 1024 bytes expected"),
        ("plua.lastModified('now')", "bad argument #1 to 'plua.lastModified' (number expected, got string)"),
        ("plua.lastModified(-1)", "bad argument #1 to 'plua.lastModified' (seconds since 1970 expected)"),
        ("plua.lastModified(0/0)", "bad argument #1 to 'plua.lastModified' (number expected, got number)"),
        ("flush() plua.etag('x')", "plua.etag comes too late: the response is being sent"),
        ("flush() plua.lastModified(1)", "plua.lastModified comes too late: the response is being sent"),
    ] {
        let seen = site::page(&format!("<? {code} ?>"));
        assert!(seen.log[0].contains(message) && seen.log[0].contains("page.plua:1"), "{code}: {:?}", seen.log);
    }
}
