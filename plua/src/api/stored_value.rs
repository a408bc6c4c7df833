//! Values of Lua as bytes that a store keeps, and what becomes of those again.
//!
//! Numbers are kept to the bit and strings byte for byte. A table is its items 1, 2, 3 and then its other fields; `json.null` and
//! the mark of `json.array` come back as such.

use std::ffi::c_void;
use std::fmt::Write;

use mlua::{Lua, Table, Value};

use super::json::ARRAY;
use super::rows::{self, Kind};
use crate::limits::memory_limit::Room;

/// How deep tables nest at most.
const DEEPEST: usize = 100;

/// Bytes of a value at most.
const LONGEST: usize = 64 << 20;

/// Values between two looks at the clock and at memory.
const BETWEEN_QUESTIONS: usize = 64;

/// Bytes of one string before which is asked whether there is room for it.
const LONG: usize = 64 << 10;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const FLOAT: u8 = 4;
const BYTES: u8 = 5;
const TABLE: u8 = 6;
const MARKED_TABLE: u8 = 7;

/// The bytes of a table.
///
/// # Errors
/// What cannot be kept, and where in the table it is; that there is no room.
pub fn encode(lua: &Lua, room: Room<'_>, table: &Table) -> Result<Vec<u8>, String> {
    let array = lua.named_registry_value(ARRAY).map_err(|error| error.to_string())?;
    let mut encoder =
        Encoder { lua, room, array, bytes: Vec::new(), values: 0, allowed: 0, path: Vec::new(), tables: Vec::new() };
    encoder.table(table).map(|()| encoder.bytes)
}

struct Encoder<'a> {
    lua: &'a Lua,
    room: Room<'a>,
    array: Table,
    bytes: Vec<u8>,
    values: usize,
    /// Bytes up to which there is room.
    allowed: usize,
    /// What leads to the value at hand.
    path: Vec<Value>,
    /// The tables that hold it.
    tables: Vec<*const c_void>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value) -> Result<(), String> {
        self.values += 1;
        if self.values.is_multiple_of(BETWEEN_QUESTIONS) {
            self.room.look()?;
        }
        match value {
            value if *value == Value::NULL => self.put(&[NULL])?,
            Value::Boolean(truth) => self.put(&[if *truth { TRUE } else { FALSE }])?,
            Value::Integer(integer) if cfg!(feature = "lua54") => self.word(INTEGER, *integer as u64)?,
            Value::Integer(integer) => self.word(FLOAT, (*integer as f64).to_bits())?,
            Value::Number(number) => self.word(FLOAT, number.to_bits())?,
            Value::String(string) => {
                let bytes = string.as_bytes();
                self.put(&[BYTES])?;
                self.length(bytes.len())?;
                self.put(&bytes)?;
            }
            Value::Table(table) => self.table(table)?,
            other => return Err(self.at(&format!("a {} cannot be stored", other.type_name()))),
        }
        Ok(())
    }

    /// A value of a table under a key. What Rust is given of a zero does not tell its sign.
    fn field(&mut self, table: &Table, key: Value, value: &Value) -> Result<(), String> {
        self.path.push(key);
        match (value, self.path.last()) {
            (Value::Integer(0), Some(key)) if !cfg!(feature = "lua54") => {
                let zero: f64 = table.raw_get(key).map_err(|error| error.to_string())?;
                self.word(FLOAT, zero.to_bits())?;
            }
            _ => self.value(value)?,
        }
        self.path.pop();
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), String> {
        let pointer = table.to_pointer();
        if self.tables.contains(&pointer) {
            return Err(self.at("a table that holds itself cannot be stored"));
        }
        if self.tables.len() == DEEPEST {
            self.path.clear();
            return Err(format!("tables nest more than {DEEPEST} deep"));
        }
        self.tables.push(pointer);
        let metatable = table.metatable();
        let is_marked = metatable.as_ref().is_some_and(|metatable| *metatable == self.array);
        let kind = match &metatable {
            Some(metatable) if !is_marked => {
                rows::kind(self.lua, self.room, metatable).map_err(|error| error.to_string())?
            }
            _ => Kind::Other,
        };
        self.put(&[if is_marked || matches!(kind, Kind::Result) { MARKED_TABLE } else { TABLE }])?;
        let items = if let Kind::Row(columns) = &kind {
            // By name, as pages know a row's values.
            self.length(0)?;
            for (position, name) in &columns.named {
                let value: Value = table.raw_get(*position).map_err(|error| error.to_string())?;
                if !value.is_nil() {
                    self.key(&Value::String(name.clone()))?;
                    self.field(table, Value::Integer(*position as i64), &value)?;
                }
            }
            columns.named.iter().map(|(position, _)| *position).max().unwrap_or(0)
        } else {
            self.items(table)?
        };
        let mut failed = Ok(());
        table
            .for_each(|key: Value, value: Value| {
                let is_item = matches!(key, Value::Integer(position) if usize::try_from(position).is_ok_and(|at| (1..=items).contains(&at)));
                if !is_item && failed.is_ok() {
                    failed = self.key(&key).and_then(|()| self.field(table, key, &value));
                }
                match &failed {
                    Ok(()) => Ok(()),
                    Err(problem) => Err(mlua::Error::runtime(problem)),
                }
            })
            .or_else(|error| failed.and(Err(error.to_string())))?;
        self.put(&[NULL])?;
        self.tables.pop();
        Ok(())
    }

    /// The items of a table, from 1 on without a gap, with their number before them.
    fn items(&mut self, table: &Table) -> Result<usize, String> {
        let most = table.raw_len();
        let get = |position: usize| table.raw_get::<Value>(position).map_err(|error| error.to_string());
        let mut count = 0;
        while count < most && !get(count + 1)?.is_nil() {
            count += 1;
        }
        self.length(count)?;
        for position in 1..=count {
            self.field(table, Value::Integer(position as i64), &get(position)?)?;
        }
        Ok(count)
    }

    /// The key of a field.
    fn key(&mut self, key: &Value) -> Result<(), String> {
        match key {
            Value::String(_) | Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => self.value(key),
            other => Err(self.at(&format!("a {} as a field's name cannot be stored", other.type_name()))),
        }
    }

    fn word(&mut self, tag: u8, word: u64) -> Result<(), String> {
        self.put(&[tag])?;
        self.put(&word.to_le_bytes())
    }

    fn length(&mut self, length: usize) -> Result<(), String> {
        let length = u32::try_from(length).map_err(|_| "the value is over 64 MiB")?;
        self.put(&length.to_le_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), String> {
        let length = self.bytes.len() + bytes.len();
        if length > LONGEST {
            return Err("the value is over 64 MiB".into());
        }
        if length > self.allowed {
            self.allowed = length + length / 2 + LONG;
            self.room.ask(self.allowed)?;
            self.bytes.reserve_exact(self.allowed - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// A problem with its place.
    fn at(&self, problem: &str) -> String {
        let mut place = String::new();
        for step in &self.path {
            let dot = if place.is_empty() { "" } else { "." };
            // Writing to a String cannot fail.
            let _ = match step {
                Value::String(name) => write!(place, "{dot}{}", name.to_string_lossy()),
                other => write!(place, "[{}]", other.to_string().unwrap_or_default()),
            };
        }
        if place.is_empty() { problem.into() } else { format!("{problem}, at {place}") }
    }
}

/// The value of such bytes.
///
/// # Errors
/// Lua's, and that there is no room.
pub fn decode(lua: &Lua, room: Room<'_>, bytes: &[u8]) -> Result<Value, String> {
    let array = lua.named_registry_value(ARRAY).map_err(|error| error.to_string())?;
    let mut decoder = Decoder { lua, room, array, bytes, values: 0 };
    decoder.value().map(|value| value.unwrap_or(Value::NULL))
}

/// What nobody sees but who gives bytes that [`encode`] has not made.
const TORN: &str = "what is stored is no value";

struct Decoder<'a, 'b> {
    lua: &'a Lua,
    room: Room<'a>,
    array: Table,
    bytes: &'b [u8],
    values: usize,
}

impl<'b> Decoder<'_, 'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(TORN)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u64, String> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| TORN.into())
    }

    fn length(&mut self) -> Result<usize, String> {
        self.take(4)?.try_into().map(|bytes| u32::from_le_bytes(bytes) as usize).map_err(|_| TORN.into())
    }

    /// A value; none for null.
    fn value(&mut self) -> Result<Option<Value>, String> {
        self.values += 1;
        if self.values.is_multiple_of(BETWEEN_QUESTIONS) {
            self.room.ask(0)?;
        }
        Ok(Some(match self.take(1)?[0] {
            NULL => return Ok(None),
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            INTEGER => Value::Integer(self.word()? as i64),
            FLOAT => Value::Number(f64::from_bits(self.word()?)),
            BYTES => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                self.room.copy(bytes)?
            }
            tag @ (TABLE | MARKED_TABLE) => self.table(tag == MARKED_TABLE)?,
            _ => return Err(TORN.into()),
        }))
    }

    fn table(&mut self, is_marked: bool) -> Result<Value, String> {
        let lua_says = |error: mlua::Error| error.to_string();
        let table = self.lua.create_table().map_err(lua_says)?;
        for position in 1..=self.length()? {
            let item = self.value()?.unwrap_or(Value::NULL);
            table.raw_set(position, item).map_err(lua_says)?;
        }
        while let Some(key) = self.value()? {
            let value = self.value()?.unwrap_or(Value::NULL);
            table.raw_set(key, value).map_err(lua_says)?;
        }
        if is_marked {
            table.set_metatable(Some(self.array.clone())).map_err(lua_says)?;
        }
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::time_limit::Watchdog;

    /// Gives `body` a state and the room in it.
    fn with_state<R>(body: impl FnOnce(&Lua, Room<'_>) -> R) -> R {
        let lua = Lua::new();
        lua.set_named_registry_value(ARRAY, lua.create_table().unwrap()).unwrap();
        rows::install(&lua).unwrap();
        let watchdog = Watchdog::start().unwrap();
        let limit = watchdog.limit(&lua);
        body(&lua, Room::new(&lua, &limit.handle()))
    }

    /// Lua that makes some table.
    fn tables() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(|truth| truth.to_string()),
            any::<i32>().prop_map(|number| number.to_string()),
            any::<f64>()
                .prop_filter("a number Lua reads", |number| number.is_finite())
                .prop_map(|number| format!("{number:e}")),
            "[a-z0-9]{0,40}".prop_map(|text| format!("'{text}\\0\\255'")),
        ];
        leaf.prop_recursive(6, 60, 8, |inner| {
            let field = prop_oneof![
                inner.clone(),
                ("[a-z]{1,9}", inner.clone()).prop_map(|(name, value)| format!("['{name}'] = {value}")),
                (any::<i16>(), inner).prop_map(|(number, value)| format!("[{number}.5] = {value}")),
            ];
            proptest::collection::vec(field, 0..8).prop_map(|fields| format!("{{ {} }}", fields.join(", ")))
        })
        .prop_map(|value| format!("{{ {value} }}"))
    }

    /// Lua that tells whether two values are the same.
    const SAME: &str = "
        local function same(a, b)
            if type(a) ~= 'table' or type(b) ~= 'table' then return a == b and (a ~= 0 or 1 / a == 1 / b) end
            for k, v in pairs(a) do if not same(v, b[k]) then return false end end
            for k in pairs(b) do if a[k] == nil then return false end end
            return true
        end
        return same(...)";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_table_comes_back_as_it_was(made in tables()) {
            with_state(|lua, room| {
                let table: Table = lua.load(format!("return {made}")).eval().unwrap();
                let bytes = encode(lua, room, &table).unwrap();
                let back = decode(lua, room, &bytes).unwrap();
                assert!(lua.load(SAME).call::<bool>((table, back)).unwrap(), "{made}");
            });
        }

        #[test]
        fn bytes_of_nobodys_are_a_value_or_an_error(bytes in proptest::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 0..200)) {
            with_state(|lua, room| drop(decode(lua, room, &bytes)));
        }
    }
}
