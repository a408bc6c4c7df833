//! Page functions that rewrite text: base64, hex, URL and HTML escaping, splitting, the dates of HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use memchr::memmem;
use mlua::{LightUserData, Lua, LuaString, Table, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::{Arguments, Native};
use crate::escape::{LONGEST_ENTITY, escape_html};
use crate::put::{write_escaped_html, write_number, write_texts};
use crate::sort::sort_doubles;

/// All but the characters that mean the same everywhere in a URL (RFC 3986, section 2.3).
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add_plain("escape_html", |lua, text: LuaString| lua.create_string(escape_html(&text.as_bytes())))?;
    if cfg!(feature = "luajit") {
        let address = |function: *const ()| LightUserData(function.cast_mut().cast());
        native.table.raw_set("longest_entity", LONGEST_ENTITY)?;
        native.table.raw_set("write_escaped_html", address(write_escaped_html as *const ()))?;
        native.table.raw_set("write_number", address(write_number as *const ()))?;
        native.table.raw_set("write_texts", address(write_texts as *const ()))?;
        native.table.raw_set("sort_doubles", address(sort_doubles as *const ()))?;
    }
    native.add("escapeHtml", |lua, _, arguments| string(lua, escape_html(&arguments.text(1)?)))?;
    native.add("escapeUrl", |_, _, arguments| Ok(percent_encode(&arguments.text(1)?, RESERVED).to_string()))?;
    native.add("unescapeUrl", |lua, _, arguments| {
        string(lua, percent_decode(&arguments.string(1)?.as_bytes()).collect::<Vec<u8>>())
    })?;

    native.add("string.encode64", |_, _, arguments| Ok(BASE64.encode(&arguments.string(1)?.as_bytes())))?;
    native.add("string.decode64", |lua, _, arguments| decoded(lua, &arguments, &BASE64_NOPAD))?;
    native.add("string.encode64url", |_, _, arguments| Ok(BASE64URL_NOPAD.encode(&arguments.string(1)?.as_bytes())))?;
    native.add("string.decode64url", |lua, _, arguments| decoded(lua, &arguments, &BASE64URL_NOPAD))?;
    native.add("string.encodeHex", |_, _, arguments| Ok(HEXLOWER.encode(&arguments.string(1)?.as_bytes())))?;
    native.add("string.decodeHex", |lua, _, arguments| decoded(lua, &arguments, &HEXLOWER_PERMISSIVE))?;
    native.add("string.explode", |lua, _, arguments| {
        explode(lua, &arguments.string(1)?.as_bytes(), &arguments.string(2)?.as_bytes())
            .map_err(|error| error.to_string())
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

/// The first argument decoded, or nil. Spaces, line breaks and padding do not matter.
fn decoded(lua: &Lua, arguments: &Arguments, encoding: &Encoding) -> Result<Value, String> {
    let mut text = arguments.string(1)?.as_bytes().to_vec();
    text.retain(|byte| !byte.is_ascii_whitespace());
    while text.last() == Some(&b'=') && encoding.bit_width() == 6 {
        text.pop();
    }
    encoding.decode(&text).map_or(Ok(Value::Nil), |bytes| string(lua, bytes))
}

/// The pieces between the delimiters. What follows the last is left out if it is empty; without a delimiter each
/// byte is a piece.
fn explode(lua: &Lua, text: &[u8], delimiter: &[u8]) -> mlua::Result<Table> {
    let pieces = lua.create_table()?;
    if delimiter.is_empty() {
        for byte in text {
            pieces.raw_push(lua.create_string([*byte])?)?;
        }
        return Ok(pieces);
    }
    let mut start = 0;
    for end in memmem::find_iter(text, delimiter) {
        pieces.raw_push(lua.create_string(&text[start..end])?)?;
        start = end + delimiter.len();
    }
    if start < text.len() {
        pieces.raw_push(lua.create_string(&text[start..])?)?;
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

fn string(lua: &Lua, bytes: impl AsRef<[u8]>) -> Result<Value, String> {
    lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string())
}
