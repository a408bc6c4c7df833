//! Addresses of HTTP as pages and servers write them.

use http::Uri;
use http::uri::Scheme;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::network::Failure;
use crate::network::address::Target;

/// The longest address that is asked for.
const LONGEST: usize = 16 << 10;

/// What stands in no address as it is.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// An address that can be asked for, of what a page says: without what only browsers use.
///
/// # Errors
/// Kind `protocol`, for what is none.
pub fn parse(text: &[u8]) -> Result<Uri, Failure> {
    let text = text.split(|byte| *byte == b'#').next().unwrap_or_default();
    if text.len() > LONGEST {
        return Err(Failure::new("protocol", format!("the address is longer than {LONGEST} bytes")));
    }
    let escaped = percent_encode(text, ESCAPED).to_string();
    let shown = || String::from_utf8_lossy(text).into_owned();
    let uri = escaped.parse::<Uri>().map_err(|error| Failure::new("protocol", format!("{}: {error}", shown())))?;
    if ![Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme()) {
        return Err(Failure::new(
            "protocol",
            format!("{}: the address does not begin with http:// or https://", shown()),
        ));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Failure::new(
            "protocol",
            "a name and a password do not stand in the address: use the header Authorization",
        ));
    }
    Ok(uri)
}

/// The host and the port that an address names.
///
/// # Errors
/// Kind `protocol`, where it names none.
pub fn target(uri: &Uri) -> Result<Target, Failure> {
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Failure::new("protocol", "the address names no host"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Target { host: host.to_owned(), port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }) })
}

/// The address that a server at `base` means by its header Location.
///
/// # Errors
/// As [`parse`].
pub fn join(base: &Uri, location: &[u8]) -> Result<Uri, Failure> {
    let location = location.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
    let (scheme, authority) = (base.scheme_str().unwrap_or("http"), base.authority().map_or("", |all| all.as_str()));
    let end = location.iter().position(|byte| b":/?".contains(byte));
    let has_scheme =
        end.is_some_and(|end| location[end] == b':' && location[..end].iter().all(u8::is_ascii_alphanumeric));
    let mut whole = Vec::with_capacity(location.len() + 64);
    if has_scheme {
        return parse(location);
    }
    whole.extend_from_slice(scheme.as_bytes());
    whole.push(b':');
    if location.starts_with(b"//") {
        whole.extend_from_slice(location);
        return parse(&whole);
    }
    whole.extend_from_slice(b"//");
    whole.extend_from_slice(authority.as_bytes());
    let (path, query) = match location.iter().position(|byte| *byte == b'?') {
        Some(at) => location.split_at(at),
        None => (location, &b""[..]),
    };
    let before = base.path().as_bytes();
    let folder = before.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &before[..=slash]);
    match path {
        b"" => whole.extend_from_slice(before),
        [b'/', ..] => append(&mut whole, &[path]),
        _ => append(&mut whole, &[folder, path]),
    }
    match query {
        b"" if location.is_empty() => {
            whole.extend(base.query().into_iter().flat_map(|query| format!("?{query}").into_bytes()))
        }
        query => whole.extend_from_slice(query),
    }
    parse(&whole)
}

/// Appends a path without the steps in it that lead nowhere or back.
fn append(whole: &mut Vec<u8>, parts: &[&[u8]]) {
    let path = parts.concat();
    let mut steps: Vec<&[u8]> = Vec::new();
    let mut ends_in_folder = false;
    for step in path.split(|byte| *byte == b'/').skip(1) {
        ends_in_folder = matches!(step, b"." | b"..");
        match step {
            b"." => {}
            b".." => _ = steps.pop(),
            step => steps.push(step),
        }
    }
    for step in &steps {
        whole.push(b'/');
        whole.extend_from_slice(step);
    }
    if ends_in_folder || steps.is_empty() {
        whole.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_whole() {
        let base = parse(b"http://host:81/a/b/c?q=1#part").unwrap();
        assert_eq!(base.to_string(), "http://host:81/a/b/c?q=1");
        for (location, wanted) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x?y=z", "http://host:81/x?y=z"),
            ("d", "http://host:81/a/b/d"),
            ("../d/./e", "http://host:81/a/d/e"),
            ("../../../d/..", "http://host:81/"),
            ("?r=2", "http://host:81/a/b/c?r=2"),
            ("", "http://host:81/a/b/c?q=1"),
            ("x y/\u{fc}?a b", "http://host:81/a/b/x%20y/%C3%BC?a%20b"),
            ("d?to=http://x/", "http://host:81/a/b/d?to=http://x/"),
        ] {
            assert_eq!(join(&base, location.as_bytes()).unwrap().to_string(), wanted, "{location}");
        }
        for location in
            ["ftp://x/", "file:///etc/passwd", "http:///x", "gopher://127.0.0.1/", "http://a:b@c/", "javascript:x"]
        {
            assert!(join(&base, location.as_bytes()).is_err(), "{location}");
        }
    }
}
