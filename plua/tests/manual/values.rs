//! Lua beside what comes of it, as chapters of the manual write it: run, and held to that.

use crate::site::{Seen, Sent, Site};

/// What requests of these examples find beside their page: stores, files and a module.
pub fn site(files: &[(&str, &str)]) -> Site {
    let site = Site::new("pLuaShared cart 1M\npLuaShared cache 1M", files);
    site.write_before("a.txt", "one\ntwo\n");
    site.write_before("part.plua", "a part");
    site
}

/// Posts a form to a page of this text: `city=Paris` to `?name=Ada&tag=a&tag=b` with the cookie `theme=dark`.
fn answer(site: &Site, page: &str) -> Seen {
    site.write_before("example.plua", page);
    let sent = Sent {
        method: "POST",
        content_type: Some("application/x-www-form-urlencoded"),
        body: Box::new("city=Paris".as_bytes()),
        headers: vec![("Cookie".into(), "theme=dark".into())],
        ..Sent::default()
    };
    site.send("example.plua?name=Ada&tag=a&tag=b", sent)
}

/// Runs code behind `before` and tells what is wrong with what comes of it, if anything is. That is written as
/// `puts out TEXT`, `sends NAME: VALUE`, `status NUMBER`, `NAME is VALUE` for a variable afterwards, `a TYPE`, or the
/// value of an expression; a value is written in JSON, or nil. Nothing is written where it only has to run.
pub fn fault(site: &Site, before: &str, code: &str, gives: &str) -> Option<String> {
    let show =
        |expression: &str| format!("local shown = ({expression}) echo(shown == nil and 'nil' or json.encode(shown))");
    let first = gives.split(' ').next().unwrap_or_default();
    let is_name = first.chars().all(|mark| mark.is_ascii_alphanumeric() || mark == '_');
    let (kind, rest) = gives.split_once(' ').unwrap_or((gives, ""));
    let is_page = code.starts_with("<?");
    let (code, expected) = if let Some(text) = gives.strip_prefix("puts out ") {
        (code.to_owned(), Some(text.to_owned()))
    } else if gives.is_empty() || kind == "sends" || kind == "status" {
        (code.to_owned(), None)
    } else if kind == "a" || kind == "an" {
        (format!("echo(type({code}))"), Some(rest.to_owned()))
    } else if let (true, Some(value)) = (is_name, rest.strip_prefix("is ")) {
        (format!("{code}\n{}", show(first)), Some(value.to_owned()))
    } else {
        (show(code), Some(gives.to_owned()))
    };
    let seen = answer(site, &if is_page { format!("<? {before} ?>{code}") } else { format!("<? {before} {code} ?>") });
    let text = seen.text().replace("\\u003c", "<");
    let headers = seen.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    let headers: Vec<String> = headers.chain([format!("Content-Type: {}", seen.content_type)]).collect();
    let is_right = seen.log.is_empty()
        && expected.is_none_or(|expected| text == expected)
        && match kind {
            "sends" => headers.iter().any(|header| header == rest),
            "status" => seen.status.to_string() == rest,
            _ => seen.status < 500,
        };
    (!is_right)
        .then(|| format!("{code}\n  should give {gives}\n  gave {} {text:?} {headers:?} {:?}", seen.status, seen.log))
}
