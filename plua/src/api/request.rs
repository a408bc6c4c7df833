//! Page functions that tell of the request.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use mlua::{Lua, Table};

use super::Native;
use crate::request::visit::Visit;

/// The level of mod_pLua's page functions that these follow, times 100.
const PAGE_FUNCTIONS_VERSION: u32 = 53;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("getEnv", |lua, visit, _| environment(lua, visit).map_err(|error| error.to_string()))?;
    native.add("plua.requestHeaders", |lua, visit, _| table(lua, headers(visit)).map_err(|error| error.to_string()))
}

/// Names as they are usually written, with their values.
fn headers(visit: &Visit) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    visit.exchange.headers(&mut |name, value| {
        let name = canonical(name);
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.extend([b", ", value].concat()),
            None => headers.push((name, value.to_vec())),
        }
    });
    headers
}

fn table(lua: &Lua, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in entries {
        table.raw_set(lua.create_string(name)?, lua.create_string(value)?)?;
    }
    Ok(table)
}

fn environment(lua: &Lua, visit: &mut Visit) -> mlua::Result<Table> {
    let headers = headers(visit);
    let mut variables = Vec::new();
    visit.exchange.variables(&mut |name, value| variables.push((name.to_vec(), value.to_vec())));
    let environment = table(lua, headers.into_iter().chain(variables))?;

    let request = visit.exchange.request();
    for (name, value) in [
        ("Request-Method", &request.method),
        ("URI", &request.uri),
        ("Unparsed-URI", &request.unparsed_uri),
        ("Request", &request.line),
        ("Path-Info", &request.path_info),
        ("ServerName", &request.server_name),
        ("Remote-Address", &request.remote_address),
        ("Server-Banner", &request.server_banner),
        ("Server-Version", &request.server_version),
    ] {
        environment.raw_set(name, lua.create_string(value)?)?;
    }
    environment.raw_set("Request-Time", request.received)?;
    environment.raw_set("Filename", lua.create_string(visit.path.as_os_str().as_bytes())?)?;
    environment.raw_set("Working-Directory", lua.create_string(OsStr::as_bytes(visit.folder().as_os_str()))?)?;
    environment.raw_set("Lua-Version", if cfg!(feature = "lua54") { "5.4" } else { "5.1" })?;
    let host = &visit.host;
    for (name, value) in [
        ("Clock-Offset", 0),
        ("pLua-Version", PAGE_FUNCTIONS_VERSION),
        ("pLua-States", host.states()),
        ("pLua-Runs", host.runs()),
        ("pLua-Files", host.files() as u32),
        ("pLua-Memory-Limit", visit.limits.memory),
        ("pLua-UID", nix::unistd::getuid().as_raw()),
        ("pLua-Sessions", visit.run),
    ] {
        environment.raw_set(name, value)?;
    }
    environment.raw_set("pLua-Disabled-Libraries", host.ignored_libraries().join(" "))?;
    environment.raw_set("pLua-Handle", format!("0x{:x}", request.received))?;
    environment.raw_set("Lua-State", format!("0x{:x}", visit.state))?;
    Ok(environment)
}

/// A header's name as it is usually written, whatever the client did: `x-forwarded-for` is `X-Forwarded-For`.
fn canonical(name: &[u8]) -> Vec<u8> {
    let mut start = true;
    name.iter()
        .map(|byte| {
            let byte = if start { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            start = byte == b'-';
            byte
        })
        .collect()
}
