//! Cookies of request and response, and redirects.

mod site;

use site::{Seen, Site, page};

fn with_cookies(code: &str, cookies: &[&str]) -> String {
    let headers: Vec<_> = cookies.iter().map(|cookie| ("Cookie", *cookie)).collect();
    let seen = Site::new("", &[("page.plua", code)]).get_with("page.plua", &headers);
    assert_eq!(seen.status, 200, "{:?}", seen.log);
    seen.text()
}

fn sent(code: &str) -> Vec<String> {
    let seen = page(&format!("<? {code} ?>"));
    assert_eq!(seen.status, 200, "{code}: {:?}", seen.log);
    seen.headers.into_iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, value)| value).collect()
}

fn failure(code: &str) -> String {
    let seen: Seen = page(&format!("<? {code} ?>"));
    assert_eq!(seen.status, 500, "{code}");
    assert!(seen.headers.is_empty(), "{code}");
    seen.log[0].clone()
}

#[test]
fn a_cookie_is_given_as_it_came() {
    for (cookies, value) in [
        ("a=1", "1"),
        ("x=0; a=1; b=2", "1"),
        ("x=0;a=1;b=2", "1"),
        ("a=1; a=2", "1"),
        ("a=", ""),
        ("a=x==", "x=="),
        ("a==x", "=x"),
        ("a=\"q\"", "\"q\""),
        ("a=%20+", "%20+"),
        ("a=1 ; b=2", "1"),
        ("a =1", "1"),
        ("A=1", "nil"),
        ("aa=1; b=a=1", "nil"),
        ("a", "nil"),
        ("", "nil"),
    ] {
        assert_eq!(with_cookies("<?= getCookie('a') ?>", &[cookies]), value, "{cookies}");
    }
    assert_eq!(page("<?= getCookie('a') ?>").text(), "nil");
}

#[test]
fn cookies_can_be_asked_for_again_and_in_any_order() {
    let code = "<?= getCookie('b'), getCookie('no'), getCookie('a'), getCookie('b'), getEnv().Cookie ?>";
    assert_eq!(with_cookies(code, &["a=1; b=2"]), "2nil12a=1; b=2");
    assert_eq!(with_cookies("<?= getCookie('a'), getCookie('b') ?>", &["a=1", "b=2"]), "12");
    let code = "<?= coroutine.wrap(function() return getCookie('a') end)() ?>";
    assert_eq!(with_cookies(code, &["a=1"]), "1");
}

#[test]
fn all_cookies_are_given_decoded_the_first_of_each_name() {
    let code = "<? local c = getCookies() ?><?= c.a, c.b, c.c ?>";
    assert_eq!(with_cookies(code, &["a=x%20y%3b; b=+; a=2"]), "x y;+nil");
}

#[test]
fn a_cookie_is_set_with_its_age_and_path() {
    for (arguments, header) in [
        ("'n', 'v', 60, '/p'", "n=v; Max-Age=60;Path=/p;"),
        ("'n', 'v', 60", "n=v; Max-Age=60;Path=/;"),
        ("'n', 'v'", "n=v; Path=/;"),
        ("'n', 'v', 0, '/p'", "n=v; Path=/p;"),
        ("'n', 'v', -1, nil", "n=v; Path=/;"),
        ("'n', 'v', nil, '/p'", "n=v; Path=/p;"),
        ("'n', 42, 1.9", "n=42; Max-Age=1;Path=/;"),
        ("'n', 'a b%20,\"c\"', 5", "n=a b%20,\"c\"; Max-Age=5;Path=/;"),
        ("'n', ''", "n=; Path=/;"),
    ] {
        assert_eq!(sent(&format!("setCookie({arguments})")), [header], "{arguments}");
    }
}

#[test]
fn several_cookies_are_all_sent() {
    assert_eq!(sent("setCookie('a', 1) setCookie('b', 2) setCookie('a', 3)").len(), 3);
}

#[test]
fn a_described_cookie_has_its_attributes_and_an_encoded_value() {
    for (description, header) in [
        ("name = 'n', value = 'a b;c'", "n=a%20b%3Bc; Path=/"),
        ("name = 'n', value = 'a%20b', raw = true", "n=a%20b; Path=/"),
        (
            "name = 'n', value = 5, maxAge = 60.5, path = '/p', domain = 'example.org'",
            "n=5; Path=/p; Domain=example.org; Max-Age=60",
        ),
        ("name = 'n', maxAge = -5", "n=; Path=/; Max-Age=0"),
        ("name = 'n', value = '', expires = 784111777", "n=; Path=/; Expires=Sun, 06 Nov 1994 08:49:37 GMT"),
        (
            "name = '__Host-n', value = 'v', secure = true, httpOnly = true, sameSite = 'none', partitioned = true",
            "__Host-n=v; Path=/; SameSite=None; Secure; HttpOnly; Partitioned",
        ),
        ("name = 'n', value = 'v', secure = false, sameSite = 'Lax'", "n=v; Path=/; SameSite=Lax"),
    ] {
        assert_eq!(sent(&format!("setCookie{{{description}}}")), [header], "{description}");
    }
}

#[test]
fn what_was_encoded_comes_back() {
    let header = &sent("setCookie{name = 'n', value = 'ä;\\0 =%\"'}")[0];
    let cookie = header.split(';').next().unwrap();
    assert_eq!(
        with_cookies("<?= getCookies().n == 'ä;\\0 =%\"', unescapeUrl(getCookie('n')) == getCookies().n ?>", &[cookie]),
        "truetrue"
    );
}

#[test]
fn a_cookie_that_would_add_attributes_or_headers_is_refused() {
    for (call, problem) in [
        ("setCookie('n', 'v\\r\\nX: y')", "bad argument #2 to 'setCookie' (a cookie's value holds no semicolon"),
        ("setCookie('n', 'v\\0')", "a cookie's value holds"),
        ("setCookie('n', 'v; Domain=evil')", "a cookie's value holds"),
        ("setCookie('n', 'v', 1, '/\\n')", "bad argument #4"),
        ("setCookie('n', 'v', 1, '/; Secure')", "a cookie's path holds"),
        ("setCookie('n=x', 'v')", "bad argument #1"),
        ("setCookie('n\\n', 'v')", "a cookie's name is"),
        ("setCookie('', 'v')", "a cookie's name is"),
        ("setCookie('n')", "bad argument #2 to 'setCookie' (string expected, got no value)"),
        ("setCookie('n', {})", "string expected, got table"),
        ("setCookie('n', 'v', 'soon')", "bad argument #3 to 'setCookie' (number expected, got string)"),
        ("setCookie{name = 'n', value = 'a;b', raw = true}", "a cookie's value holds"),
        ("setCookie{name = 'n', domain = 'a;b'}", "a cookie's domain holds"),
        ("setCookie{value = 'n'}", "a cookie needs a name"),
        ("setCookie{name = 'n', httponly = true}", "a cookie has no option 'httponly'"),
        ("setCookie{name = 'n', secure = 'yes'}", "secure is true or false"),
        ("setCookie{name = 'n', maxAge = '1'}", "maxAge is a number of seconds"),
        ("setCookie{name = 'n', sameSite = 'Laxx'}", "sameSite is Strict, Lax or None"),
        ("setCookie{name = 'n', sameSite = 'None'}", "only with secure = true"),
        ("setCookie{name = 'n', partitioned = true}", "only with secure = true"),
    ] {
        let message = failure(call);
        assert!(message.contains(problem), "{call}: {message}");
    }
}

#[test]
fn a_redirect_ends_the_page_with_status_and_location() {
    for (arguments, status) in [("'/next?a=b#c'", 302), ("'/next?a=b#c', 301", 301), ("'/next?a=b#c', 308", 308)] {
        let seen = page(&format!("A<? pcall(redirect, {arguments}) ?>B"));
        assert_eq!((seen.status, seen.text().as_str(), seen.log.len()), (status, "A", 0), "{arguments}");
        assert_eq!(seen.headers, [("Location".to_string(), "/next?a=b#c".to_string())]);
    }
    assert_eq!(page("<? httpError(404) redirect('x.plua', 303) ?>").status, 303);
}

#[test]
fn a_redirect_that_cannot_be_is_an_error() {
    for (code, problem) in [
        ("redirect('/a\\r\\nX: y')", "bad argument #1 to 'redirect' (an address holds no line break"),
        ("redirect('/a', 200)", "a redirect is 301, 302, 303, 307 or 308"),
        ("redirect('/a', 304)", "a redirect is 301, 302, 303, 307 or 308"),
        ("redirect()", "string expected, got no value"),
    ] {
        let message = failure(code);
        assert!(message.contains(problem), "{code}: {message}");
    }
    let seen = page("x<? flush() redirect('/a') ?>");
    assert!(seen.aborted && seen.log[0].contains("redirect comes too late"), "{:?}", seen.log);
}
