//! Page functions that shape the response: status, headers, what is sent when.

use std::borrow::Cow;

use mlua::Value;

use super::file::unless_gone;
use super::{Arguments, Native};
use crate::exchange::HeaderChange;
use crate::limits::time_limit::Reason;
use crate::output::ffi_functions;
use crate::request::visit::MOST_HEADERS;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("header", |_, visit, arguments| {
        arguments.string(1)?;
        let name = arguments.short_text(1, MOST_HEADERS)?;
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(arguments.bad(1, "a header's name is letters, digits and hyphens"));
        }
        let name_is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if let Some(name) = OF_THE_CONNECTION.iter().find(|name| name_is(name)) {
            return Err(arguments.bad(1, &format!("{name} belongs to the server")));
        }
        let value = match arguments.value(2) {
            Value::Nil => None,
            _ => Some(field_value(&arguments, 2)?),
        };
        if name_is("Content-Length") {
            visit.response.length = value.map(|value| length(&arguments, &value)).transpose()?;
            return Ok(());
        }
        visit.response.change(match value {
            Some(value) if name_is("Content-Type") => {
                visit.response.head.content_type = Cow::Owned(value);
                return Ok(());
            }
            Some(value) if arguments.is_true(3) => HeaderChange::Add(name, value),
            Some(value) => HeaderChange::Set(name, value),
            None => HeaderChange::Remove(name),
        })
    })?;
    native.add("setContentType", |_, visit, arguments| {
        arguments.string(1)?;
        visit.response.head.content_type = Cow::Owned(field_value(&arguments, 1)?);
        Ok(())
    })?;
    native.add("setReturnCode", |_, visit, arguments| {
        let status = arguments.number(1)?;
        if status == 0.0 {
            return Ok(());
        }
        visit.response.head.status = status_between(status, 200)
            .ok_or_else(|| arguments.bad(1, "a status is a whole number from 200 to 599, or 0 to leave it"))?;
        visit.response.head.status_chosen = true;
        Ok(())
    })?;
    native.add("plua.clientGone", |_, visit, _| Ok(visit.exchange.client_is_gone()))?;
    native.add("plua.hint", |_, visit, arguments| {
        arguments.string(1)?;
        let link = field_value(&arguments, 1)?;
        if link.is_empty() || visit.response.head_sent {
            return Ok(false);
        }
        if visit.hints == MOST_HINTS {
            return Err(format!("plua.hint: a request has no more than {MOST_HINTS} hints"));
        }
        visit.hints += 1;
        Ok(visit.exchange.hint(&link))
    })?;
    native.add("httpError", |_, visit, arguments| {
        let status = status_between(arguments.number(1)?, 300)
            .ok_or_else(|| arguments.bad(1, "the server has pages for statuses from 300 to 599"))?;
        visit.response.server_page = Some(status);
        Ok(())
    })?;
    native.add("redirect", |_, visit, arguments| {
        arguments.string(1)?;
        let address = arguments.short_text(1, MOST_HEADERS)?;
        if address.iter().any(u8::is_ascii_control) {
            return Err(arguments.bad(1, "an address holds no line break and no other control character"));
        }
        let status = match arguments.value(2) {
            Value::Nil => 302,
            _ => match arguments.whole(2, 300, 399) {
                Ok(status @ (301 | 302 | 303 | 307 | 308)) => status as u16,
                _ => return Err(arguments.bad(2, "a redirect is 301, 302, 303, 307 or 308")),
            },
        };
        let response = &mut visit.response;
        if response.head_sent {
            return Err("redirect comes too late: the response is being sent".into());
        }
        response.change(HeaderChange::Set(b"Location".to_vec(), address))?;
        response.head.status = status;
        response.head.status_chosen = true;
        response.server_page = None;
        Ok(())
    })?;
    let limit = native.limit.clone();
    native.add_plain("go_over_output", move |_, ()| {
        limit.go_over(Reason::Output);
        Ok(())
    })?;
    let limit = native.limit.clone();
    native.add("flush", move |_, visit, arguments| {
        let sent = ffi_functions::with_contents(&[arguments.value(1).clone(), arguments.value(2).clone()], |bytes| {
            if visit.is_too_much(bytes.len()) {
                limit.go_over(Reason::Output);
                return Ok(Ok(()));
            }
            visit.expect_length(bytes.len() as u64)?;
            Ok::<_, String>(visit.stream(bytes).and_then(|()| visit.flush()))
        })??;
        // False tells the state that nobody reads any more.
        Ok(unless_gone(visit, sent)?.is_some())
    })?;
    Ok(())
}

/// Hints of one request. Each is written to its connection, and kept in its memory of the server's.
const MOST_HINTS: u32 = 20;

/// Headers that tell of a connection and its messages (RFC 9110, sections 6.5 and 7.6.1): a server makes them, and HTTP/2 has none.
const OF_THE_CONNECTION: [&str; 7] =
    ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];

/// The number of bytes that the page gives as its `Content-Length`.
fn length(arguments: &Arguments, value: &[u8]) -> Result<u64, String> {
    let digits = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| arguments.bad(2, "a Content-Length is a whole number of bytes"))
}

/// The characters of a header's name (RFC 9110, section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn field_value(arguments: &Arguments, position: usize) -> Result<Vec<u8>, String> {
    let value = arguments.short_text(position, MOST_HEADERS)?;
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(arguments.bad(position, "a header's value holds no line break and no other control character"));
    }
    // HTTP/2 has none around a value (RFC 9113, section 8.2.1).
    Ok(value.trim_ascii().to_vec())
}

fn status_between(status: f64, least: u16) -> Option<u16> {
    (status.fract() == 0.0 && (f64::from(least)..600.0).contains(&status)).then_some(status as u16)
}
