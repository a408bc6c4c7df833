//! The page function `plua.fetch`, as fetch.lua calls it: what it asks for is made by a task, and looked at when that rings.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use mlua::{IntoLuaMulti, Lua, MultiValue, Table, UserData, Value};
use parking_lot::Mutex;

use super::socket::{bell, tls_option};
use super::{Arguments, Native};
use crate::limits::memory_limit::{PIECE, Room};
use crate::limits::time_limit::TimeLimitHandle;
use crate::network::decoding::{ACCEPTED, Decoder};
use crate::network::fetch::{Ask, Fetch, Head, LARGEST};
use crate::network::proxy::Proxy;
use crate::network::sending::{Content, Supply};
use crate::network::tls::Wish;
use crate::network::{Attempt, Failure, Network, url};
use crate::request::visit::Visit;

/// Headers that are the client's own: with others it would say something else than it does. The length is the page's to say where
/// nobody else knows it, and who asks is for the proxy alone, and not for the server behind it.
const OF_THE_CLIENT: [HeaderName; 6] =
    [CONNECTION, CONTENT_LENGTH, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Bytes of all headers of a request at most.
const MOST_HEADERS: usize = 64_000;

/// Bytes of a proxy's address at most.
const LONGEST_PROXY: usize = 4096;

/// Redirects at most.
const MOST_REDIRECTS: u32 = 50;

/// Bytes that a decoder takes between two looks at the clock.
const AT_A_TIME: usize = 4 << 10;

/// A request of a page's.
struct Asked {
    fetch: Fetch,
    /// Whether the server may have compressed the body without the page's word.
    decodes: bool,
    reading: Mutex<Reading>,
}

/// How far the page has read the body.
#[derive(Default)]
struct Reading {
    decoder: Option<Decoder>,
    has_ended: bool,
}

impl UserData for Asked {}

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    // start(url, method, headers, body or true, follow, in_pieces, tls, proxy) -> event, request | -1, message, kind
    let (network, limit) = (native.network.clone(), native.limit.clone());
    native.add("plua.fetch", move |lua, visit, arguments| {
        if visit.opened.get_or_insert_default().is_full() {
            return refused(lua, &Failure::new("limit", "the page has too many connections open"));
        }
        let started = match ask(lua, visit, &arguments, &limit)? {
            Ok((ask, wish, decodes)) => start(visit, &network, ask, &wish, decodes),
            Err(failure) => Err(failure),
        };
        match started {
            Ok((event, asked)) => told(lua, (event, lua.create_userdata(asked).map_err(|error| error.to_string())?)),
            Err(failure) => refused(lua, &failure),
        }
    })?;
    // head(request) -> 0, status, headers, url, version | event | -1, message, kind
    let limit = native.limit.clone();
    native.add("fetch.head", move |lua, visit, arguments| {
        let asked = asked(&arguments)?;
        let most = room_left(lua, &limit, visit)?;
        match asked.fetch.head(bell(visit)) {
            Ok(Attempt::Done(head)) => {
                let found = head.headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
                let decoder = if asked.decodes { Decoder::of(found, most) } else { Decoder::of(b"", most) };
                let is_decoded = !matches!(decoder, None | Some(Decoder::Plain(_)));
                asked.reading.lock().decoder = decoder.or_else(|| Decoder::of(b"", most));
                let headers = headers(lua, &head, is_decoded).map_err(|error| error.to_string())?;
                let version = if head.version == Version::HTTP_2 { "2" } else { "1.1" };
                told(lua, (0, head.status, headers, head.uri.to_string(), version))
            }
            Ok(Attempt::Wait(event)) => told(lua, event),
            Err(failure) => refused(lua, &failure),
        }
    })?;
    // body(request) -> 0, text | -1, message, kind
    let limit = native.limit.clone();
    native.add("fetch.body", move |lua, visit, arguments| {
        let (asked, room) = (asked(&arguments)?, Room::new(lua, &limit));
        let mut reading = asked.reading.lock();
        let Some(decoder) = &mut reading.decoder else { return Err(arguments.bad(1, "an answer expected")) };
        if let Decoder::Plain(_) = decoder {
            let bytes = asked.fetch.bytes();
            room.ask(bytes)?;
            decoder.made().reserve_exact(bytes);
        }
        match decode_all(&asked.fetch, decoder, visit, room)? {
            Ok(()) => {}
            Err(failure) => return refused(lua, &failure),
        }
        let made = std::mem::take(decoder.made());
        reading.has_ended = true;
        told(lua, (0, room.copy(&made)?))
    })?;
    // read(request, bytes or nil) -> 0, text or nil | event | -1, message, kind
    let limit = native.limit.clone();
    native.add("fetch.read", move |lua, visit, arguments| {
        let (asked, room) = (asked(&arguments)?, Room::new(lua, &limit));
        let wanted = match arguments.value(2) {
            Value::Nil => None,
            _ => Some(arguments.number(2)? as usize),
        };
        let mut reading = asked.reading.lock();
        let Reading { decoder: Some(decoder), has_ended } = &mut *reading else {
            return Err(arguments.bad(1, "an answer expected"));
        };
        while !*has_ended && decoder.made().len() < wanted.unwrap_or(1) {
            match asked.fetch.piece(bell(visit)) {
                Ok(Attempt::Done(Some(piece))) => {
                    if let Err(failure) = decode(decoder, &piece, room)? {
                        return refused(lua, &failure);
                    }
                }
                Ok(Attempt::Done(None)) => {
                    *has_ended = true;
                    if let Err(error) = decoder.end() {
                        return refused(lua, &not_decoded(&error));
                    }
                }
                Ok(Attempt::Wait(event)) => return told(lua, event),
                Err(failure) => return refused(lua, &failure),
            }
        }
        let made = decoder.made();
        if made.is_empty() {
            return told(lua, 0);
        }
        let count = wanted.unwrap_or(made.len()).min(made.len());
        let text = room.copy(&made[..count])?;
        made.drain(..count);
        told(lua, (0, text))
    })?;
    native.add("fetch.close", |_, _, arguments| {
        asked(&arguments)?.fetch.close();
        Ok(())
    })?;
    install_sending(native)
}

/// What sends a body that the page gives piece by piece.
fn install_sending(native: &Native<'_>) -> mlua::Result<()> {
    // wanted(request) -> 0 when a piece is | event | -1 when none will be
    native.add("fetch.wanted", |_, visit, arguments| {
        Ok(match supply(&arguments)?.is_wanted(bell(visit)) {
            Attempt::Done(is_wanted) => i64::from(is_wanted) - 1,
            Attempt::Wait(event) => event.into(),
        })
    })?;
    // give(request, piece or nil)
    let limit = native.limit.clone();
    native.add("fetch.give", move |lua, visit, arguments| {
        let supply = supply(&arguments)?;
        if let Value::Nil = arguments.value(2) {
            return supply.give(None);
        }
        let piece = arguments.bytes(2)?;
        let held = visit.opened.get_or_insert_default().held.bytes();
        Room::new(lua, &limit).ask(held.saturating_add(piece.len()))?;
        supply.give(Some(&piece))
    })?;
    // sent(request): whoever waits for the answer looks for it
    native.add("fetch.sent", |_, _, arguments| {
        asked(&arguments)?.fetch.tell();
        Ok(())
    })
}

fn supply(arguments: &Arguments) -> Result<Arc<Supply>, String> {
    asked(arguments)?.fetch.sending().cloned().ok_or_else(|| arguments.bad(1, "a request that sends pieces expected"))
}

/// What a page asks for, how the server is to be known, and whether its answer is to be decoded. An error is the page's own.
fn ask(
    lua: &Lua,
    visit: &mut Visit,
    arguments: &Arguments,
    limit: &TimeLimitHandle,
) -> Result<Result<(Ask, Wish, bool), Failure>, String> {
    let uri = match url::parse(&arguments.bytes(1)?) {
        Ok(uri) => uri,
        Err(failure) => return Ok(Err(failure)),
    };
    let method = arguments.short_text(2, 32)?;
    let method = Method::from_bytes(&method).map_err(|_| arguments.bad(2, "method: the name of one expected"))?;
    let mut headers = HeaderMap::new();
    let sends_pieces = matches!(arguments.value(4), Value::Boolean(true));
    if let Value::Table(given) = arguments.value(3) {
        add_headers(given, &mut headers, sends_pieces).map_err(|what| arguments.bad(2, &what))?;
    }
    let decodes = !headers.contains_key(ACCEPT_ENCODING);
    for (name, value) in [
        ("accept", "*/*"),
        ("accept-encoding", ACCEPTED),
        ("user-agent", concat!("mod_plua/", env!("CARGO_PKG_VERSION"))),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let body = match arguments.value(4) {
        Value::Nil => Content::Whole(Bytes::new()),
        _ if sends_pieces => {
            let length = length(&mut headers).map_err(|what| arguments.bad(2, &what))?;
            Content::Pieces(Supply::new(visit.opened.get_or_insert_default().held.clone(), length))
        }
        _ => {
            let body = arguments.bytes(4)?;
            Room::new(lua, limit).ask(body.len())?;
            Content::Whole(Bytes::copy_from_slice(&body))
        }
    };
    let proxy = match arguments.value(8) {
        Value::Nil => None,
        _ => {
            let proxy = String::from_utf8_lossy(&arguments.short_text(8, LONGEST_PROXY)?).into_owned();
            Some(Arc::new(Proxy::parse(&proxy).map_err(|what| arguments.bad(2, &format!("proxy: {what}")))?))
        }
    };
    let mut wish = Wish { http: true, ..Wish::default() };
    if let Value::Table(options) = arguments.value(7) {
        for option in options.pairs::<String, Value>() {
            let (name, value) = option.map_err(|error| error.to_string())?;
            tls_option(visit, &mut wish, &name, &value).map_err(|what| arguments.bad(2, &what))?;
        }
    }
    let left = room_left(lua, limit, visit)?;
    let held = visit.opened.get_or_insert_default().held.bytes();
    let ask = Ask {
        method,
        uri,
        headers,
        body,
        proxy,
        follow: arguments.whole(5, 0, MOST_REDIRECTS)?,
        in_pieces: arguments.is_true(6),
        most: held.saturating_add(left),
    };
    Ok(Ok((ask, wish, decodes)))
}

fn start(visit: &mut Visit, network: &Network, ask: Ask, wish: &Wish, decodes: bool) -> Result<(u32, Asked), Failure> {
    let kind = (wish.clone(), ask.proxy.clone());
    let client = network.clients.client(kind, &network.trust, &network.connect)?;
    let held = visit.opened.get_or_insert_default().held.clone();
    let (event, fetch) = Fetch::start(ask, client, network, bell(visit), held)?;
    visit.opened.get_or_insert_default().add(fetch.ends());
    Ok((event, Asked { fetch, decodes, reading: Mutex::default() }))
}

/// How long the page says its pieces are together; HTTP/1.1 is told that nobody has said it.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, String> {
    let http::header::Entry::Occupied(given) = headers.entry(CONTENT_LENGTH) else {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        return Ok(None);
    };
    let (_, mut values) = given.remove_entry_mult();
    let is_number = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    let length = values.next().filter(is_number).and_then(|value| value.to_str().ok()?.parse().ok());
    match (length, values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err("headers: a number of bytes expected for Content-Length".into()),
    }
}

/// Takes names and values, one after the other.
fn add_headers(given: &Table, headers: &mut HeaderMap, sends_pieces: bool) -> Result<(), String> {
    let mut size = 0;
    let mut name = None;
    for text in given.sequence_values::<mlua::LuaString>() {
        let text = text.map_err(|error| error.to_string())?;
        let bytes = text.as_bytes();
        size += bytes.len();
        if size > MOST_HEADERS {
            return Err(format!("headers: no more than {MOST_HEADERS} bytes expected"));
        }
        let Some(name) = name.take() else {
            let shown = || text.to_string_lossy();
            let found = HeaderName::from_bytes(&bytes).map_err(|_| format!("headers: '{}' is no name", shown()))?;
            if OF_THE_CLIENT.contains(&found) && !(sends_pieces && found == CONTENT_LENGTH) {
                return Err(format!("headers: {} is said by the client itself", shown()));
            }
            name = Some(found);
            continue;
        };
        let value = HeaderValue::from_bytes(&bytes).map_err(|_| format!("headers: the value of {name} is none"))?;
        headers.append(name, value);
    }
    Ok(())
}

/// The headers by their names in lower case; one that came more than once as an array. Those that tell of the way alone are left
/// out where the body is not what came.
fn headers(lua: &Lua, head: &Head, is_decoded: bool) -> mlua::Result<Table> {
    let all = lua.create_table()?;
    for name in head.headers.keys() {
        if is_decoded && [CONTENT_ENCODING, CONTENT_LENGTH].contains(name) {
            continue;
        }
        let mut values = head.headers.get_all(name).iter().map(|value| lua.create_string(value.as_bytes()));
        match (values.next(), values.next()) {
            (Some(value), None) => all.raw_set(name.as_str(), value?)?,
            (Some(first), Some(second)) => {
                let list = lua.create_sequence_from([first?, second?])?;
                for value in values {
                    list.raw_push(value?)?;
                }
                all.raw_set(name.as_str(), list)?;
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Bytes of which the page may hold one copy in Rust and one in its Lua.
fn room_left(lua: &Lua, limit: &TimeLimitHandle, visit: &mut Visit) -> Result<usize, String> {
    let most = limit.most();
    if most == usize::MAX {
        return Ok(LARGEST);
    }
    let held = visit.opened.get_or_insert_default().held.bytes();
    let left = || most.saturating_sub(lua.used_memory().saturating_add(held)) / 2;
    if left() < most / 4 {
        lua.gc_collect().map_err(|error| error.to_string())?;
    }
    Ok(left().min(LARGEST))
}

fn decode_all(
    fetch: &Fetch,
    decoder: &mut Decoder,
    visit: &mut Visit,
    room: Room<'_>,
) -> Result<Result<(), Failure>, String> {
    loop {
        match fetch.piece(bell(visit)) {
            Ok(Attempt::Done(Some(piece))) => {
                if let Err(failure) = decode(decoder, &piece, room)? {
                    return Ok(Err(failure));
                }
            }
            Ok(Attempt::Done(None)) => return Ok(decoder.end().map_err(|error| not_decoded(&error))),
            Ok(Attempt::Wait(_)) => return Ok(Err(Failure::new("closed", "the answer is not whole"))),
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Decodes a piece. An outer error ends the page.
fn decode(decoder: &mut Decoder, piece: &[u8], room: Room<'_>) -> Result<Result<(), Failure>, String> {
    let at_a_time = if matches!(decoder, Decoder::Plain(_)) { PIECE } else { AT_A_TIME };
    for piece in piece.chunks(at_a_time) {
        room.look()?;
        if let Err(error) = decoder.take(piece) {
            return Ok(Err(not_decoded(&error)));
        }
    }
    Ok(Ok(()))
}

fn not_decoded(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Failure::new("too large", "the answer is larger than the page may hold"),
        _ => Failure::new("protocol", format!("the answer cannot be decoded: {error}")),
    }
}

fn asked(arguments: &Arguments) -> Result<mlua::UserDataRef<Asked>, String> {
    let asked = arguments.value(1).as_userdata().and_then(|asked| asked.borrow::<Asked>().ok());
    asked.ok_or_else(|| arguments.bad(1, "a request expected"))
}

fn told(lua: &Lua, results: impl IntoLuaMulti) -> Result<MultiValue, String> {
    results.into_lua_multi(lua).map_err(|error| error.to_string())
}

fn refused(lua: &Lua, failure: &Failure) -> Result<MultiValue, String> {
    told(lua, (-1, failure.message.as_str(), failure.kind))
}
