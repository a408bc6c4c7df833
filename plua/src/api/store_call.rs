//! What a function of a store is called with, and how its results are told to Lua.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use mlua::{Lua, Table, Value};
use shared_store::{Found, Information, Number, Refusal};

use super::stored_value::{decode, encode};
use crate::limits::memory_limit::Room;
use crate::shared::{Named, Stores, compiled};

/// Bytes of a key that an error shows.
const SHOWN: usize = 64;

/// What a function says that was given a number of none.
pub const NO_STORE: &str = "there is no such store";

/// Keys, as an array.
pub fn list_of(lua: &Lua, room: Room<'_>, keys: &[Vec<u8>]) -> Result<Table, String> {
    room.ask(keys.iter().map(|key| key.len() * 2).sum())?;
    let keys = keys.iter().map(|key| lua.create_string(key)).collect::<mlua::Result<Vec<_>>>();
    keys.and_then(|keys| lua.create_sequence_from(keys)).map_err(|error| error.to_string())
}

/// What is told of a store, by name.
pub fn told(lua: &Lua, told: Information) -> Result<Table, String> {
    let fields = [
        ("size", told.size as f64),
        ("used", told.used as f64),
        ("largest", told.largest as f64),
        ("entries", told.entries as f64),
        ("evictions", told.evictions as f64),
        ("hits", told.hits as f64),
        ("misses", told.misses as f64),
    ];
    lua.create_table_from(fields).map_err(|error| error.to_string())
}

/// A number of Lua's, which may be given as a double too: what Rust is given of a whole one does not tell a zero's sign.
pub fn number(value: &Value, double: Option<f64>) -> Option<Number> {
    match value {
        Value::Integer(integer) if cfg!(feature = "lua54") => Some(Number::Integer(*integer)),
        _ => double.map(Number::Float),
    }
}

/// A number as Lua has it.
pub fn value_of(number: Number) -> Value {
    match number {
        Number::Integer(integer) => Value::Integer(integer),
        Number::Float(float) => Value::Number(float),
    }
}

/// How long so many seconds are; none and 0 are for ever.
pub fn lifetime(seconds: Option<f64>) -> Option<Duration> {
    seconds.and_then(compiled::lifetime)
}

/// A problem of a whole store.
pub fn of_store(named: &Named, refusal: impl Display) -> String {
    format!("{}: {refusal}", Stores::title(named))
}

/// What a function was called with.
pub struct Call<'a> {
    pub lua: &'a Lua,
    pub room: Room<'a>,
    pub named: &'a Named,
    pub key: Cow<'a, [u8]>,
}

impl Call<'_> {
    /// A problem of the key.
    pub fn refusal(&self, refusal: &str) -> String {
        let key = String::from_utf8_lossy(&self.key[..self.key.len().min(SHOWN)]);
        let more = if self.key.len() > SHOWN { "..." } else { "" };
        format!("{}: '{key}{more}': {refusal}", Stores::title(self.named))
    }

    /// The same of what was refused.
    pub fn said<T>(&self, result: Result<T, Refusal>) -> Result<T, String> {
        result.map_err(|refusal| self.refusal(&refusal.to_string()))
    }

    /// What was found, as a value of Lua's.
    pub fn value(&self, found: Result<Found, Refusal>, bytes: &[u8]) -> Result<Value, String> {
        match self.said(found)? {
            Found::Missing | Found::Longer(_) => Ok(Value::Nil),
            Found::Boolean(truth) => Ok(Value::Boolean(truth)),
            Found::Number(number) => Ok(value_of(number)),
            Found::Bytes => self.room.copy(bytes),
            // The table takes more than its bytes.
            Found::Encoded => {
                self.room.ask(bytes.len())?;
                decode(self.lua, self.room, bytes).map_err(|problem| self.refusal(&problem))
            }
        }
    }

    /// Gives a value of Lua's to `body` as a store takes it.
    pub fn with<T>(
        &self,
        value: &Value,
        double: Option<f64>,
        body: impl FnOnce(shared_store::Value<'_>) -> Result<T, Refusal>,
    ) -> Result<T, String> {
        if let Some(number) = number(value, double) {
            return self.said(body(shared_store::Value::Number(number)));
        }
        let done = match value {
            Value::Boolean(truth) => body(shared_store::Value::Boolean(*truth)),
            Value::String(string) => body(shared_store::Value::Bytes(&string.as_bytes())),
            Value::Table(table) => {
                let bytes = encode(self.lua, self.room, table).map_err(|problem| self.refusal(&problem))?;
                body(shared_store::Value::Encoded(&bytes))
            }
            value if *value == Value::NULL => body(shared_store::Value::Encoded(&[0])),
            other => return Err(self.refusal(&format!("a {} cannot be stored", other.type_name()))),
        };
        self.said(done)
    }
}
