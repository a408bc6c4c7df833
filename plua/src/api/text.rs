//! Page functions that rewrite text: base64, hex, URL and HTML escaping, splitting, the dates of HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use memchr::memmem;
use mlua::{LightUserData, Lua, LuaString, Table, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::{Arguments, Native};
use crate::limits::memory_limit::{PIECE, Room};
use crate::output::escape::{LONGEST_ENTITY, escaped_length, write_escaped};
use crate::output::ffi_functions::{sort_doubles, write_escaped_html, write_number, write_texts};

/// All but the characters that mean the same everywhere in a URL (RFC 3986, section 2.3).
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    let limit = native.limit.clone();
    native.add_plain("escape_html", move |lua, text: LuaString| {
        escaped(Room::new(lua, &limit), &text.as_bytes()).map_err(mlua::Error::runtime)
    })?;
    if cfg!(feature = "luajit") {
        let address = |function: *const ()| LightUserData(function.cast_mut().cast());
        native.table.raw_set("longest_entity", LONGEST_ENTITY)?;
        native.table.raw_set("write_escaped_html", address(write_escaped_html as *const ()))?;
        native.table.raw_set("write_number", address(write_number as *const ()))?;
        native.table.raw_set("write_texts", address(write_texts as *const ()))?;
        native.table.raw_set("sort_doubles", address(sort_doubles as *const ()))?;
    }
    let add = |name: &'static str, make: fn(Room<'_>, &Arguments) -> Result<Value, String>| {
        let limit = native.limit.clone();
        native.add(name, move |lua, _, arguments| make(Room::new(lua, &limit), &arguments))
    };
    add("escapeHtml", |room, arguments| escaped(room, &arguments.bytes(1)?))?;
    add("escapeUrl", |room, arguments| {
        let text = arguments.bytes(1)?;
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let plain = text.iter().filter(|byte| is_plain(byte)).count();
        room.text(plain + (text.len() - plain) * 3, |into| {
            room.pieces(&text, |piece| percent_encode(piece, RESERVED).for_each(|part| into.extend(part.bytes())))
        })
    })?;
    add("unescapeUrl", |room, arguments| {
        let text = arguments.string(1)?.as_bytes();
        room.text(text.len(), |into| {
            let mut rest = &*text;
            while !rest.is_empty() {
                room.look()?;
                // What `%` stands for is not torn apart.
                let mut end = rest.len().min(PIECE);
                if end < rest.len()
                    && let Some(at) = rest[end - 2..end].iter().position(|byte| *byte == b'%')
                {
                    end = end - 2 + at;
                }
                into.extend(percent_decode(&rest[..end]));
                rest = &rest[end..];
            }
            Ok(())
        })
    })?;
    add("string.encode64", |room, arguments| encoded(room, arguments, &BASE64))?;
    add("string.decode64", |room, arguments| decoded(room, arguments, &BASE64_NOPAD))?;
    add("string.encode64url", |room, arguments| encoded(room, arguments, &BASE64URL_NOPAD))?;
    add("string.decode64url", |room, arguments| decoded(room, arguments, &BASE64URL_NOPAD))?;
    add("string.encodeHex", |room, arguments| encoded(room, arguments, &HEXLOWER))?;
    add("string.decodeHex", |room, arguments| decoded(room, arguments, &HEXLOWER_PERMISSIVE))?;
    let limit = native.limit.clone();
    native.add("string.explode", move |lua, _, arguments| {
        explode(lua, Room::new(lua, &limit), &arguments.string(1)?.as_bytes(), &arguments.string(2)?.as_bytes())
    })?;

    native.add("httpDate", |_, _, arguments| match arguments.value(1) {
        Value::Nil => Ok(httpdate::fmt_http_date(SystemTime::now())),
        _ => http_date(&arguments, 1),
    })?;
    native.add("parseHttpDate", |_, _, arguments| {
        let text = arguments.string(1)?.as_bytes();
        let date = std::str::from_utf8(&text).ok().and_then(|text| httpdate::parse_http_date(text.trim()).ok());
        Ok(date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs()))
    })
}

/// Text safe in HTML.
fn escaped(room: Room<'_>, text: &[u8]) -> Result<Value, String> {
    room.text(escaped_length(text), |into| {
        // A vector takes all that is written.
        room.pieces(text, |piece| _ = write_escaped(piece, into))
    })
}

/// The first argument encoded.
fn encoded(room: Room<'_>, arguments: &Arguments, encoding: &Encoding) -> Result<Value, String> {
    let text = arguments.string(1)?.as_bytes();
    room.text(encoding.encode_len(text.len()), |into| {
        into.resize(encoding.encode_len(text.len()), 0);
        encoding.encode_mut(&text, into);
        Ok(())
    })
}

/// The first argument decoded, or nil. Spaces, line breaks and padding do not matter.
fn decoded(room: Room<'_>, arguments: &Arguments, encoding: &Encoding) -> Result<Value, String> {
    let given = arguments.string(1)?.as_bytes();
    // What is decoded takes less than the text, once in Rust and once in Lua.
    room.ask(given.len().saturating_mul(3))?;
    let mut text = Vec::with_capacity(given.len());
    room.pieces(&given, |piece| text.extend(piece.iter().filter(|byte| !byte.is_ascii_whitespace())))?;
    while text.last() == Some(&b'=') && encoding.bit_width() == 6 {
        text.pop();
    }
    encoding.decode(&text).map_or(Ok(Value::Nil), |bytes| room.copy(&bytes))
}

/// Bytes that a piece takes in Lua beside its own: its place in a table and what goes before its text.
const BESIDE_A_PIECE: usize = 48;

/// Pieces between two questions whether there is room for more.
const BETWEEN_QUESTIONS: usize = 64;

/// The pieces between the delimiters. What follows the last is left out if it is empty; without a delimiter each
/// byte is a piece.
fn explode(lua: &Lua, room: Room<'_>, text: &[u8], delimiter: &[u8]) -> Result<Table, String> {
    let failed = |error: mlua::Error| error.to_string();
    let is_each = delimiter.is_empty();
    let count = if is_each { text.len() } else { memmem::find_iter(text, delimiter).count() + 1 };
    let own = if is_each { 0 } else { text.len() };
    room.ask(count.saturating_mul(BESIDE_A_PIECE).saturating_add(own))?;
    let pieces = lua.create_table_with_capacity(count, 0).map_err(failed)?;
    let mut number = 0;
    let mut push = |piece: &[u8]| {
        number += 1;
        if number % BETWEEN_QUESTIONS == 0 {
            room.ask(0)?;
        }
        pieces.raw_set(number, lua.create_string(piece).map_err(failed)?).map_err(failed)
    };
    if is_each {
        text.iter().try_for_each(|byte| push(&[*byte]))?;
        return Ok(pieces);
    }
    let mut start = 0;
    for end in memmem::find_iter(text, delimiter) {
        push(&text[start..end])?;
        start = end + delimiter.len();
    }
    if start < text.len() {
        push(&text[start..])?;
    }
    Ok(pieces)
}

/// A time in seconds since 1970 as HTTP writes it.
///
/// # Errors
/// What Lua says of a bad argument.
pub fn http_date(arguments: &Arguments, position: usize) -> Result<String, String> {
    date(arguments.number(position)?)
        .ok_or_else(|| arguments.bad(position, "a date is seconds since 1970, up to the year 9999"))
}

/// A time in seconds since 1970 as HTTP writes it; none before 1970 and after 9999.
#[must_use]
pub fn date(seconds: f64) -> Option<String> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    (0.0..YEAR_10000)
        .contains(&seconds)
        .then(|| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds as u64)))
}
