//! `setCookie` in a page: whatever it is given, what it sets is one header of one cookie without foreign attributes.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Sent, Site, unescaped};
use libfuzzer_sys::fuzz_target;
use plua::exchange::HeaderChange;

const PAGE: &str = r#"<?
local name, value = getRequestBody():match("^([^\n]*)\n?(.*)$")
pcall(setCookie, name, value)
pcall(setCookie, name, "v", 60, value)
pcall(setCookie, { name = name, value = value, secure = true })
pcall(setCookie, { name = name, value = value, raw = true, maxAge = 5 })
pcall(setCookie, { name = "n", value = "", path = value, domain = name, sameSite = "Lax" })
echo(getCookies().sent)
?>"#;

static SITE: LazyLock<Site> = LazyLock::new(|| Site::new(PAGE));

/// What may stand before the value of an attribute, or alone.
const ATTRIBUTES: &[&str] = &["Path=", "Domain=", "Max-Age=", "SameSite=Lax", "Secure"];

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let value: Vec<u8> = input.iter().copied().filter(|byte| *byte != b';').collect();
    let headers = vec![("Cookie", [b"sent=", value.as_slice()].concat())];
    let seen = SITE.ask(Sent { method: "POST", headers, body: input.to_vec() });
    assert_eq!(seen.body.escape_ascii().to_string(), unescaped(value.trim_ascii()).escape_ascii().to_string());
    let Some(head) = seen.head else { return };
    for change in head.headers {
        let HeaderChange::Add(header, cookie) = change else { panic!("{change:?}") };
        assert_eq!(header, b"Set-Cookie");
        assert!(!cookie.iter().any(u8::is_ascii_control), "{}", cookie.escape_ascii());
        let mut parts = cookie.split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default();
        let name = &pair[..pair.iter().position(|byte| *byte == b'=').unwrap_or(0)];
        assert!(name == &input[..end] || name == b"n", "{}", cookie.escape_ascii());
        for part in parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()) {
            let known = ATTRIBUTES.iter().any(|attribute| part.starts_with(attribute.as_bytes()));
            assert!(known, "{}", cookie.escape_ascii());
        }
    }
});
