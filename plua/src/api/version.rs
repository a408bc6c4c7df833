//! Page functions that tell which version of a page this is, before it does its work: a client that has it is answered at once.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::{Arguments, Native};
use crate::exchange::HeaderChange;
use crate::request::visit::Visit;

/// Bytes of a tag at most: clients send it back with each request.
const LONGEST_TAG: usize = 1024;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("plua.etag", |_, visit, arguments| {
        arguments.bytes(1)?;
        let tag = tag(&arguments.short_text(1, LONGEST_TAG)?).map_err(|problem| arguments.bad(1, problem))?;
        tell(visit, "plua.etag", "ETag", tag)
    })?;
    native.add("plua.lastModified", |_, visit, arguments| {
        let date = date(&arguments)?;
        tell(visit, "plua.lastModified", "Last-Modified", date)
    })
}

/// Puts the version into the head: whether the page is to go on. It has nothing more to do where the conditions of the request
/// are answered without a body; they are looked at again with what the head holds when it goes out.
fn tell(visit: &mut Visit, function: &str, header: &str, value: Vec<u8>) -> Result<bool, String> {
    if visit.response.head_sent {
        return Err(format!("{function} comes too late: the response is being sent"));
    }
    visit.response.change(HeaderChange::Set(header.as_bytes().to_vec(), value))?;
    Ok(visit.condition().is_none())
}

/// What stands for a text as a tag (RFC 9110, section 8.8.3): one that is a tag already stays as it is. In another one all that
/// a tag or a list of tags cannot hold is percent-encoded, so that two texts never have one tag.
pub fn tag(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let quoted = text.strip_prefix(b"W/").unwrap_or(text);
    if let Some(inner) = quoted.strip_prefix(b"\"") {
        let inner = inner.strip_suffix(b"\"").filter(|inner| inner.iter().all(|byte| is_in_tag(*byte)));
        return inner.map(|_| text.to_vec()).ok_or("a tag in quotes ends with one and has none inside, nor spaces");
    }
    let mut tag = String::from("\"");
    for byte in text {
        match byte {
            b'%' | b',' => _ = write!(tag, "%{byte:02X}"),
            0x21..0x7f if is_in_tag(*byte) => tag.push(char::from(*byte)),
            _ => _ = write!(tag, "%{byte:02X}"),
        }
    }
    tag.push('"');
    Ok(tag.into_bytes())
}

fn is_in_tag(byte: u8) -> bool {
    byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80
}

/// The date in a number of seconds since 1970; of one that is still to come, now, for no server tells those.
fn date(arguments: &Arguments) -> Result<Vec<u8>, String> {
    let seconds = arguments.number(1)?;
    if seconds < 0.0 {
        return Err(arguments.bad(1, "seconds since 1970 expected"));
    }
    let now = SystemTime::now();
    let given = Duration::try_from_secs_f64(seconds).ok().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    Ok(httpdate::fmt_http_date(given.map_or(now, |given| given.min(now))).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_a_tag_and_a_tag_stays_what_it_is() {
        for (text, expected) in [
            ("v1.2", "\"v1.2\""),
            ("a b", "\"a%20b\""),
            ("say \"x\"", "\"say%20%22x%22\""),
            ("50%,é\n", "\"50%25%2C%C3%A9%0A\""),
            ("", "\"\""),
            ("W/x", "\"W/x\""),
            ("\"own\"", "\"own\""),
            ("W/\"own,\"", "W/\"own,\""),
        ] {
            assert_eq!(String::from_utf8(tag(text.as_bytes()).unwrap()).unwrap(), expected);
        }
        for refused in ["\"", "\"a", "\"a\"b\"", "W/\"a b\"", "\"a\r\n\""] {
            assert!(tag(refused.as_bytes()).is_err(), "{refused}");
        }
    }
}
