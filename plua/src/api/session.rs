//! What session.lua needs of Rust: the cookie with a session's id, ids nobody can guess, and who holds a lock.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use mlua::{Function, IntoLuaMulti, Lua, LuaString, Table};
use sha2::{Digest, Sha256};

use super::{Plain, answer, cookie, refuse};
use crate::error::{Error, ErrorKind};
use crate::exchange::HeaderChange;
use crate::language::session_writes;
use crate::request::visit::Visit;
use crate::settings::Settings;
use crate::settings::session::{Cookie, Session};
use crate::shared::{Stores, Use};

/// Bytes of an id: 128 bits.
const ID: usize = 16;

/// What an id is written as.
const ID_LETTERS: usize = 2 * ID;

/// Bytes of a page that are looked through for what it does to its session.
const MOST_LOOKED_AT: u64 = 1 << 20;

/// What gives the functions below.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn opener(lua: &Lua, plain: Plain, settings: &Settings, stores: &Stores) -> mlua::Result<Function> {
    let (own, session) = (plain.clone(), settings.session());
    let is_of_machine = stores.iter().any(|named| named.used == Use::Sessions && named.memory().is_some());
    plain.function(lua, "open_session", move |lua, ()| open(lua, &own, &session, is_of_machine))
}

/// The functions of sessions. A page that has none pays for none.
fn open(lua: &Lua, plain: &Plain, session: &Session, is_of_machine: bool) -> mlua::Result<Table> {
    let functions = lua.create_table()?;
    functions.raw_set("idle", session.idle.as_secs_f64())?;
    functions.raw_set("longest", session.longest.as_secs_f64())?;
    let add = Add { lua, plain, functions: &functions };
    let name = session.cookie.clone();
    // id() -> what the visitor's cookie says, if that can be an id of ours
    add.of_request("id", move |lua, visit, ()| {
        visit.never_keep();
        let name = cookie_name(&name, visit);
        let sent = cookie::received(visit).into_iter().find(|(sent, _)| *sent == name.as_bytes());
        let id = sent.map(|(_, value)| value).filter(|value| is_id(value));
        id.map(|id| lua.create_string(id)).transpose().map_err(|error| error.to_string())
    })?;
    let sent = session.cookie.clone();
    // send(id) with the response; without one the visitor's browser forgets it. Whether that is still possible.
    add.of_request("send", move |_, visit, id: Option<LuaString>| {
        visit.never_keep();
        if visit.response.head_sent {
            return Ok(false);
        }
        let name = cookie_name(&sent, visit);
        let value = id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let begins = [name.as_bytes(), b"="].concat();
        let cookie = [&begins[..], &value, attributes(&sent, value.is_empty(), visit).as_bytes()].concat();
        visit.response.set_session_cookie(begins, cookie).map(|()| true)
    })?;
    // keep_private(): no cache of others may have the answer, unless the page says otherwise
    add.of_request("keep_private", |_, visit, ()| {
        let is_said = visit.response.head.header("Cache-Control").is_some();
        if !visit.response.head_sent && !is_said {
            visit.response.change(HeaderChange::Set(b"Cache-Control".to_vec(), b"private, no-cache".to_vec()))?;
        }
        Ok(())
    })?;
    // script() -> the page asked for, which tells whether sessions are mostly written there, and whether its text says so
    add.of_request("script", |lua, visit, is_asked: bool| {
        let path = lua.create_string(visit.path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        Ok((path, is_asked && text_writes(&visit.path)))
    })?;
    // busy(message) -> the same, which is answered 503 if the page ends with it
    add.of_request("busy", |_, visit, message: LuaString| {
        let message = message.to_string_lossy();
        Ok(visit.refuse(Error::new(ErrorKind::Busy, message)))
    })?;
    // new_id() -> an id
    add.plain("new_id", |_, ()| new_id())?;
    // key(id) -> what its session is kept under, which tells nobody the id; in braces, by which a cluster has all of it on one server
    add.plain("key", |_, id: LuaString| Ok(format!("{{{}}}", HEXLOWER.encode(&Sha256::digest(id.as_bytes())[..ID]))))?;
    // new_token() -> what an owner puts into a lock: the process first, where all who look are on the same machine
    add.plain("new_token", move |_, ()| {
        let id = new_id()?;
        Ok(if is_of_machine { format!("{} {id}", process::id()) } else { id })
    })?;
    // is_gone(token) -> whether the owner is known not to be there any more
    add.plain("is_gone", |_, token: LuaString| {
        let token = token.to_string_lossy();
        let process = token.split_once(' ').and_then(|(process, _)| process.parse().ok());
        Ok(process.is_some_and(shared_store::is_gone))
    })?;
    // now() -> seconds since 1970
    add.plain("now", |_, ()| Ok(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()))?;
    Ok(functions)
}

struct Add<'a> {
    lua: &'a Lua,
    plain: &'a Plain,
    functions: &'a Table,
}

impl Add<'_> {
    fn plain<A: mlua::FromLuaMulti, R: IntoLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(&Lua, A) -> mlua::Result<R> + Send + 'static,
    ) -> mlua::Result<()> {
        self.functions.raw_set(name, self.plain.function(self.lua, name, body)?)
    }

    /// Adds a function of the request, which gives true and its results, or false and a message.
    fn of_request<A: mlua::FromLuaMulti, R: IntoLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(&Lua, &mut Visit, A) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let slot = self.plain.slot.clone();
        self.plain(name, move |lua, arguments: A| {
            let mut visit = slot.try_lock();
            match visit.as_mut().and_then(|visit| visit.as_mut()) {
                Some(visit) => answer(lua, body(lua, visit, arguments)),
                None => refuse(lua, "there is no request: plua.session is there only while a page runs"),
            }
        })
    }
}

fn new_id() -> mlua::Result<String> {
    let mut bytes = [0; ID];
    getrandom::fill(&mut bytes).map_err(mlua::Error::external)?;
    Ok(HEXLOWER.encode(&bytes))
}

fn is_id(value: &[u8]) -> bool {
    value.len() == ID_LETTERS && value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether browsers take the name with the prefix that keeps other hosts of the domain from setting it (RFC 6265bis, section
/// 4.1.3.2).
fn is_of_host_alone(cookie: &Cookie, visit: &Visit) -> bool {
    cookie.path == "/" && visit.exchange.is_secure()
}

fn cookie_name(cookie: &Cookie, visit: &Visit) -> String {
    match is_of_host_alone(cookie, visit) {
        true => format!("__Host-{}", cookie.name),
        false => cookie.name.clone(),
    }
}

fn attributes(cookie: &Cookie, is_end: bool, visit: &Visit) -> String {
    let end = if is_end { "; Max-Age=0" } else { "" };
    let site = if cookie.is_strict { "Strict" } else { "Lax" };
    let secure = if visit.exchange.is_secure() { "; Secure" } else { "" };
    format!("; Path={}{end}; HttpOnly; SameSite={site}{secure}", cookie.path)
}

/// Whether the text of a page writes to its session.
fn text_writes(page: &Path) -> bool {
    let mut text = Vec::new();
    let read = File::open(page).and_then(|file| file.take(MOST_LOOKED_AT).read_to_end(&mut text));
    read.is_ok() && session_writes::found(&text)
}
