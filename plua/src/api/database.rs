//! The page function `dbopen` and what its handles do, as database.lua calls it.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use apr_dbd::{Bounds, Connection, MemoryUse, Value, Wanted};
use mlua::{AnyUserData, IntoLua, IntoLuaMulti, Lua, MultiValue};

use super::rows::{self, append, names};
use super::{Arguments, Native, int64};
use crate::error::shortened;
use crate::limits::memory_limit::Room;
use crate::limits::time_limit::TimeLimitHandle;
use crate::request::database::{self, Handle, Prepared, Rows, allow};
use crate::request::visit::Visit;
use crate::sandbox::confinement;
use crate::sandbox::connection_string;

const CLOSED: &str = "the database handle is closed";

/// How many copies of a statement's text are made on its way to the database, at most: it, its pieces, and what the
/// library makes of them.
const COPIES_OF_TEXT: usize = 4;

/// Why a value of Lua's is none for a database.
const VALUES: &str = "pass strings, numbers, booleans, nil, json.null or db:blob(bytes)";

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.table.raw_set("of_rows", rows::install(native.lua)?)?;
    // Each returns its result, or nil and a message.
    let (limit, memory) = (native.limit.clone(), Arc::new(MemoryUse::default()));
    native.add("dbopen", move |lua, visit, arguments| {
        let driver = arguments.string(1)?.to_string_lossy();
        let opened = match driver.as_str() {
            "mod_dbd" => lent(visit, &limit),
            _ => {
                let parameters = reach(visit, &driver, arguments.text(2)?);
                allow(&memory, visit.limits.memory);
                if visit.limits.memory > 0 && memory.holds_more_than(visit.limits.memory as usize * 512) {
                    // Half of it is taken, perhaps by handles that nobody has any more.
                    lua.gc_collect().map_err(|error| error.to_string())?;
                }
                let (until, host) = (limit.until(), visit.exchange.request().server_name.to_vec());
                parameters
                    .and_then(|parameters| database::open(&driver, parameters, &memory, until, &host, bounds(visit)))
                    .inspect_err(|_| limit.look())
                    .map(|connection| confined(visit, connection, &limit, &memory))
            }
        };
        answer(lua, opened.map(AnyUserData::wrap))
    })?;
    native.add("db.close", |_, visit, arguments| {
        handle(visit, &arguments)?.close(CLOSED);
        Ok(())
    })?;
    native.add("db.active", |_, visit, arguments| {
        Ok(handle(visit, &arguments)?.with(|connection| Ok(connection.is_alive())).unwrap_or(false))
    })?;
    let of_escape = native.limit.clone();
    native.add("db.escape", move |lua, visit, arguments| {
        // The text, it as a C string, what the library writes, which may be twice as long, and that again.
        Room::new(lua, &of_escape).ask(size(arguments.value(2)) * 6)?;
        let (handle, text) = (handle(visit, &arguments)?, arguments.text(2)?);
        bytes(lua, handle.with(|connection| connection.escape(&text)).map(Some))
    })?;
    native.add("db.prepare", |lua, visit, arguments| {
        let (handle, sql) = (handle(visit, &arguments)?, arguments.text(2)?);
        let prepared = handle.with(|connection| connection.prepare(&sql));
        answer(lua, prepared.map(|()| AnyUserData::wrap(Prepared { handle, sql })))
    })?;
    native.add("db.release", |_, _, arguments| {
        let prepared = arguments.value(1).as_userdata().map(AnyUserData::take::<Prepared>);
        drop(prepared);
        Ok(())
    })?;
    let limit = native.limit.clone();
    native.add("db.run", move |lua, visit, arguments| {
        let (handle, sql, values) = statement(lua, visit, &arguments, 3, &limit)?;
        answer(lua, handle.with(|connection| connection.run(&sql, &values)))
    })?;
    native.add("db.begin", |lua, visit, arguments| {
        let handle = handle(visit, &arguments)?;
        visit.databases.note(&handle);
        done(lua, handle.with(Connection::begin))
    })?;
    native.add("db.commit", |lua, visit, arguments| done(lua, handle(visit, &arguments)?.with(Connection::commit)))?;
    native
        .add("db.rollback", |lua, visit, arguments| done(lua, handle(visit, &arguments)?.with(Connection::rollback)))?;
    native
        .add("db.lastId", |lua, visit, arguments| bytes(lua, handle(visit, &arguments)?.with(Connection::last_id)))?;

    // Behind the text: whether types are wanted, what stands for NULL.
    // all rows, names of the columns | false for a statement that has none | nil, message
    let limit = native.limit.clone();
    native.add("db.query", move |lua, visit, arguments| {
        let (handle, sql, values) = statement(lua, visit, &arguments, 5, &limit)?;
        let wanted = Wanted { types: arguments.is_true(3), in_pieces: false };
        let room = Room::new(lua, &limit);
        let found = match handle.with(|connection| connection.query(&sql, &values, wanted)) {
            Ok(Some(found)) => found,
            Ok(None) => return answer(lua, Ok(false)),
            Err(message) => return answer::<bool>(lua, Err(message)),
        };
        let rows = Rows { handle, number: found.rows };
        let all = lua.create_table().map_err(|error| error.to_string())?;
        loop {
            let batch = match rows.handle.with(|connection| connection.fetch(rows.number)) {
                Ok(batch) => batch,
                Err(message) => return answer::<bool>(lua, Err(message)),
            };
            room.ask(batch.size())?;
            append(lua, &all, &batch, arguments.value(4)).map_err(|error| error.to_string())?;
            if batch.is_last() {
                break;
            }
        }
        let names = names(lua, &found).map_err(|error| error.to_string())?;
        (all, names).into_lua_multi(lua).map_err(|error| error.to_string())
    })?;
    // rows to fetch, names of the columns | false for a statement that has none | nil, message
    let limit = native.limit.clone();
    native.add("db.rows", move |lua, visit, arguments| {
        let (handle, sql, values) = statement(lua, visit, &arguments, 5, &limit)?;
        let wanted = Wanted { types: arguments.is_true(3), in_pieces: true };
        let found = match handle.with(|connection| connection.query(&sql, &values, wanted)) {
            Ok(Some(found)) => found,
            Ok(None) => return answer(lua, Ok(false)),
            Err(message) => return answer::<bool>(lua, Err(message)),
        };
        let rows = AnyUserData::wrap(Rows { handle, number: found.rows });
        let names = names(lua, &found).map_err(|error| error.to_string())?;
        (rows, names).into_lua_multi(lua).map_err(|error| error.to_string())
    })?;
    // Behind the rows: what stands for NULL.
    // some rows, whether they are the last | nil, message
    let limit = native.limit.clone();
    native.add("db.fetch", move |lua, visit, arguments| {
        let rows = arguments.value(1).as_userdata().and_then(|data| data.borrow::<Rows>().ok());
        let rows = rows.ok_or("not rows of a database")?;
        let (handle, number) = (rows.handle.clone(), rows.number);
        handle.allow(visit.limits.memory);
        drop(rows);
        let batch = match handle.with(|connection| connection.fetch(number)) {
            Ok(batch) => batch,
            Err(message) => return answer::<bool>(lua, Err(message)),
        };
        Room::new(lua, &limit).ask(batch.size())?;
        let some = lua.create_table_with_capacity(batch.len(), 0);
        let some = some.and_then(|some| append(lua, &some, &batch, arguments.value(2)).map(|()| some));
        (some.map_err(|error| error.to_string())?, batch.is_last())
            .into_lua_multi(lua)
            .map_err(|error| error.to_string())
    })
}

/// A connection of the server's pool, the same one throughout a request.
fn lent(visit: &mut Visit, limit: &TimeLimitHandle) -> Result<Handle, String> {
    if let Some(lent) = visit.databases.lent() {
        return Ok(lent);
    }
    let connection = visit.exchange.database()?;
    // The server keeps what it holds beyond the request.
    let handle = confined(visit, connection, limit, &Arc::default());
    visit.databases.note(&handle);
    visit.databases.lend(handle.clone());
    Ok(handle)
}

/// The connection, which a page of a host that is confined cannot use to get out of its folders.
fn confined(visit: &Visit, mut connection: Connection, limit: &TimeLimitHandle, memory: &Arc<MemoryUse>) -> Handle {
    connection.confine(confinement::holds(&visit.host));
    let handle = Handle::new(connection, limit.clone(), memory);
    handle.allow(visit.limits.memory);
    handle
}

/// Where SQLite may open files for a page.
fn bounds(visit: &Visit) -> Option<Bounds> {
    let host = visit.host.clone();
    let is_within = move |path: &Path| confinement::within(&host, path).is_ok();
    confinement::holds(&visit.host).then(|| Arc::new(is_within) as Bounds)
}

/// What to connect to. The file of an SQLite database is found from the page's folder.
///
/// # Errors
/// That the file is outside `pLuaBaseDir`, or what a confined page may not tell a driver.
fn reach(visit: &Visit, driver: &str, parameters: Vec<u8>) -> Result<Vec<u8>, String> {
    if driver != "sqlite3" && confinement::holds(&visit.host) {
        let within = |path: &Path| confinement::within(&visit.host, path).map(drop);
        return connection_string::confined(driver, &parameters, within);
    }
    if !driver.starts_with("sqlite") || parameters.is_empty() || parameters == b":memory:" {
        return Ok(parameters);
    }
    if !parameters.starts_with(b"file:") {
        return Ok(visit.reach(OsStr::from_bytes(shortened(&parameters)))?.into_os_string().into_vec());
    }
    match confinement::holds(&visit.host) {
        false => Ok(parameters),
        true => Err("under pLuaBaseDir or pLuaSandbox an SQLite database is named by its path, not by a URI".into()),
    }
}

fn handle(visit: &Visit, arguments: &Arguments) -> Result<Handle, String> {
    let handle = arguments.value(1).as_userdata().and_then(|data| data.borrow::<Handle>().ok());
    let handle = handle.map(|handle| handle.clone()).ok_or("not a database handle")?;
    handle.allow(visit.limits.memory);
    Ok(handle)
}

/// Handle, text and values of a statement, which begin at that position; the request will look after the handle.
fn statement(
    lua: &Lua,
    visit: &mut Visit,
    arguments: &Arguments,
    first: usize,
    limit: &TimeLimitHandle,
) -> Result<(Handle, Vec<u8>, Vec<Value>), String> {
    let handle = handle(visit, arguments)?;
    let sql = arguments.string(2)?.as_bytes().to_vec();
    let asked = handle.with(|connection| Ok((connection.copies(&sql), connection.would_take_rows(&sql))));
    let (copies, takes_rows) = asked.unwrap_or((1, false));
    let sizes = (first..=arguments.count()).map(|position| size(arguments.value(position)));
    Room::new(lua, limit).ask(sql.len() * COPIES_OF_TEXT + sizes.sum::<usize>() * copies)?;
    let mut values = Vec::new();
    for position in first..=arguments.count() {
        values.push(value(arguments.value(position)).ok_or_else(|| {
            let kind = arguments.value(position).type_name();
            format!("value {} of the statement is a {kind}: {VALUES}", position - first + 1)
        })?);
    }
    visit.databases.note(&handle);
    if takes_rows {
        // Those of a loop that was left need not be fetched.
        lua.gc_collect().map_err(|error| error.to_string())?;
    }
    Ok((handle, sql, values))
}

/// How many bytes of a value are copied.
fn size(value: &mlua::Value) -> usize {
    match value {
        mlua::Value::String(text) => text.as_bytes().len(),
        mlua::Value::Table(table) => table.raw_get::<mlua::LuaString>("blob").map_or(0, |blob| blob.as_bytes().len()),
        _ => 0,
    }
}

fn value(value: &mlua::Value) -> Option<Value> {
    Some(match value {
        mlua::Value::Nil => Value::Null,
        null if *null == mlua::Value::NULL => Value::Null,
        mlua::Value::Boolean(truth) => Value::Integer((*truth).into()),
        mlua::Value::Integer(integer) => Value::Integer(*integer),
        // Whole numbers that Lua 5.1 tells apart from their neighbours.
        mlua::Value::Number(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Value::Integer(*number as i64)
        }
        mlua::Value::Number(number) => Value::Number(*number),
        mlua::Value::String(text) => Value::Text(text.as_bytes().to_vec()),
        mlua::Value::Table(table) => Value::Blob(table.raw_get::<mlua::LuaString>("blob").ok()?.as_bytes().to_vec()),
        other => {
            let digits = int64(other)?;
            // Beyond what databases take for an integer they make of the digits what they can.
            digits.parse().map_or_else(|_| Value::Text(digits.into_bytes()), Value::Integer)
        }
    })
}

fn answer<T: IntoLua>(lua: &Lua, result: Result<T, String>) -> Result<MultiValue, String> {
    let values = match result {
        Ok(value) => value.into_lua_multi(lua),
        Err(message) => (mlua::Value::Nil, message).into_lua_multi(lua),
    };
    values.map_err(|error| error.to_string())
}

fn done(lua: &Lua, result: Result<(), String>) -> Result<MultiValue, String> {
    answer(lua, result.map(|()| true))
}

fn bytes(lua: &Lua, result: Result<Option<Vec<u8>>, String>) -> Result<MultiValue, String> {
    let text = result.map(|bytes| bytes.map(|bytes| lua.create_string(bytes)).transpose());
    match text {
        Ok(text) => answer(lua, Ok(text.map_err(|error| error.to_string())?)),
        Err(message) => answer::<bool>(lua, Err(message)),
    }
}
