//! Rows of a database as Lua's tables.
//!
//! The rows of a result share a metatable, made by database.lua: it knows the columns' names. Its own metatable tells it
//! from others, so that JSON knows rows, and results that have none.

use std::collections::HashSet;
use std::rc::Rc;

use apr_dbd::{Batch, Cell, Found};
use mlua::{Either, IntoLua, Lua, LuaString, Table, Value};

use super::is_exact;
use crate::limits::memory_limit::Room;

/// Where a state keeps what the metatables of rows and results have in common.
const OF_ROWS: &str = "plua.rows";

/// What a table is to a database.
pub enum Kind {
    /// Neither a row nor a result.
    Other,
    /// All rows of a result.
    Result,
    /// A row with these columns.
    Row(Rc<Columns>),
}

/// The columns that the rows of a result have.
#[derive(Default)]
pub struct Columns {
    /// Their names with their positions in a row; of columns of the same name the first.
    pub named: Vec<(usize, LuaString)>,
    /// The names.
    pub names: HashSet<Vec<u8>>,
}

/// Makes what those metatables have in common.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn install(lua: &Lua) -> mlua::Result<Table> {
    let of_rows = lua.create_table()?;
    lua.set_named_registry_value(OF_ROWS, &of_rows)?;
    Ok(of_rows)
}

/// Bytes of columns' names from which on is asked whether there is room to copy them: a page may have put in its own.
const MANY: usize = 1 << 16;

/// What a table with this metatable is.
///
/// # Errors
/// Lua's, when memory runs out, and what the limits say.
pub fn kind(lua: &Lua, room: Room<'_>, metatable: &Table) -> mlua::Result<Kind> {
    let Some(of_metatable) = metatable.metatable() else { return Ok(Kind::Other) };
    if of_metatable != lua.named_registry_value::<Table>(OF_ROWS)? {
        return Ok(Kind::Other);
    }
    if metatable.raw_get::<Value>("__index")?.is_nil() {
        return Ok(Kind::Result);
    }
    let (mut columns, mut bytes) = (Columns::default(), 0);
    if let Value::Table(names) = metatable.raw_get("columns")? {
        for position in 1..=names.raw_len() {
            let Value::String(name) = names.raw_get(position)? else { continue };
            bytes += name.as_bytes().len();
            if bytes > MANY {
                // Here and where they are written.
                room.ask(bytes * 2).map_err(mlua::Error::runtime)?;
            }
            if columns.names.insert(name.as_bytes().to_vec()) {
                columns.named.push((position, name));
            }
        }
    }
    Ok(Kind::Row(Rc::new(columns)))
}

/// Adds rows, each a sequence in which `null` stands for NULL: a hole, if that is nil.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn append(lua: &Lua, all: &Table, batch: &Batch, null: &Value) -> mlua::Result<()> {
    let before = all.raw_len();
    for (index, row) in batch.rows().enumerate() {
        // mlua puts what is not a value of its own on Lua's stack at once, where it makes a reference to each string of
        // other bytes.
        let table = match row.clone().all(is_plain) {
            true => lua.create_sequence_from(row.map(|cell| plain(cell, null)))?,
            false => {
                let values = row.map(|cell| value(lua, cell, null));
                lua.create_sequence_from(values.collect::<mlua::Result<Vec<_>>>()?)?
            }
        };
        all.raw_set(before + index + 1, table)?;
    }
    Ok(())
}

/// The names of a result's columns.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn names(lua: &Lua, found: &Found) -> mlua::Result<Table> {
    let names = found.columns.iter().map(|name| lua.create_string(name));
    lua.create_sequence_from(names.collect::<mlua::Result<Vec<_>>>()?)
}

/// Whether [`plain`] gives it as it is.
fn is_plain(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Text(bytes) => str::from_utf8(bytes).is_ok(),
        Cell::Integer(integer) => is_exact(integer),
        _ => true,
    }
}

fn plain<'c>(cell: Cell<'c>, null: &'c Value) -> impl IntoLua + use<'c> {
    match cell {
        Cell::Null => Either::Left(Either::Left(null)),
        Cell::Text(bytes) => Either::Left(Either::Right(str::from_utf8(bytes).unwrap_or_default())),
        Cell::Integer(integer) => Either::Right(Either::Left(Either::Left(integer))),
        Cell::Number(number) => Either::Right(Either::Left(Either::Right(number))),
        Cell::Boolean(truth) => Either::Right(Either::Right(truth)),
    }
}

fn value(lua: &Lua, cell: Cell<'_>, null: &Value) -> mlua::Result<Value> {
    match cell {
        Cell::Text(bytes) => lua.create_string(bytes).map(Value::String),
        // All digits count, as with the numbers of `json.decode`.
        Cell::Integer(integer) if !is_exact(integer) => lua.create_string(integer.to_string()).map(Value::String),
        other => plain(other, null).into_lua(lua),
    }
}
