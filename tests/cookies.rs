//! Cookies, redirects and large files as the real httpd sends them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use common::with_httpd;

#[test]
fn every_cookie_of_a_page_has_a_header_of_its_own() {
    let page =
        "<? setCookie('a', '1', 60) setCookie('b', '2') setCookie{name = 'c', value = 'x y', httpOnly = true} ?>ok";
    with_httpd("", &[("page.plua", page)], |server| {
        let answer = server.get("/page.plua");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let expected = ["a=1; Max-Age=60;Path=/;", "b=2; Path=/;", "c=x%20y; Path=/; HttpOnly"];
        assert_eq!(answer.all("Set-Cookie"), expected);
    });
}

#[test]
fn cookies_of_a_request_reach_the_page() {
    with_httpd("", &[("page.plua", "<?= getCookie('b'), getCookie('a'), getCookie('A') ?>")], |server| {
        let answer = server.request("GET", "/page.plua", &[("cookie", "a=1; b=\"2\"")], b"");
        assert_eq!(answer.text(), "\"2\"1nil");
    });
}

#[test]
fn a_redirect_keeps_its_cookies_and_its_relative_address() {
    let page = "<? setCookie('a', 1) redirect('next.plua?a=b', 303) ?>never";
    with_httpd("", &[("page.plua", page)], |server| {
        let answer = server.get("/page.plua");
        assert_eq!((answer.status, answer.body.len()), (303, 0));
        assert_eq!(answer.header("Location"), Some("next.plua?a=b"));
        assert_eq!(answer.all("Set-Cookie"), ["a=1; Path=/;"]);
    });
}

#[test]
fn a_large_file_arrives_whole_and_in_order() {
    with_httpd("", &[("page.plua", "<? echo('<') local n = file.send('large') echo('>', n) ?>")], |server| {
        let large: Vec<u8> = (0..5_000_000).map(|number| (number % 251) as u8).collect();
        server.put("large", &large);
        let answer = server.get("/page.plua");
        assert!(answer.complete);
        assert!(answer.body == [b"<", large.as_slice(), b">5000000"].concat());
        let head = server.request("HEAD", "/page.plua", &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}
