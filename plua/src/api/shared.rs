//! What pages do with the stores of their host, as shared.lua calls it: each gives true and its results, or false and why not.

use std::borrow::Cow;
use std::ptr;
use std::time::Duration;

use mlua::{Function, IntoLuaMulti, LightUserData, Lua, LuaString, Table, Value};
use shared_store::{Found, Number, Refusal};

use super::stored_value::{decode, encode};
use super::{Plain, answer, refuse};
use crate::limits::memory_limit::{PIECE, Room};
use crate::limits::time_limit::TimeLimitHandle;
use crate::shared::{Named, Stores, Use, compiled};

/// Bytes of a key that an error shows.
const SHOWN: usize = 64;

/// What a function says that was given a number of none.
const NO_STORE: &str = "there is no such store";

/// What stands for a store in Lua: nothing can be written to it, so that no request leaves another one something there.
struct Object;

/// What gives the functions below.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn opener(lua: &Lua, plain: Plain, stores: Stores) -> mlua::Result<Function> {
    let own = plain.clone();
    plain.function(lua, "open_stores", move |lua, ()| open(lua, &own, &stores, &own.limit))
}

/// The functions of the stores. A page that uses none pays for none.
fn open(lua: &Lua, plain: &Plain, stores: &Stores, limit: &TimeLimitHandle) -> mlua::Result<Table> {
    let functions = lua.create_table()?;
    let numbers = lua.create_table()?;
    for (number, named) in stores.iter().enumerate() {
        match named.used {
            Use::Pages => numbers.raw_set(&*named.name, number)?,
            Use::Cache => functions.raw_set("cache", number)?,
            Use::Sessions => functions.raw_set("sessions", number)?,
        }
    }
    functions.raw_set("numbers", numbers)?;
    let mut add = Add { lua, plain, functions: &functions, stores, limit };
    // object() -> what stands for a store
    let object = plain.function(lua, "shared.object", |lua, ()| lua.create_any_userdata(Object))?;
    functions.raw_set("object", object)?;
    add.function("get", |call, ()| {
        let mut bytes = Vec::new();
        let get = |most, bytes: &mut _| call.named.store.get(call.named.space, &call.key, most, bytes);
        let found = match get(PIECE, &mut bytes) {
            Ok(Found::Longer(length)) => {
                call.room.ask(length.saturating_mul(2))?;
                get(length, &mut bytes)
            }
            found => found,
        };
        call.value(found, &bytes)
    })?;
    // put(store, key, value, number, seconds, condition) -> whether it was put
    add.function("put", |call, (value, number, seconds, condition): (Value, Option<f64>, Option<f64>, i32)| {
        let condition = compiled::condition(condition);
        let (store, space, lifetime) = (&call.named.store, call.named.space, lifetime(seconds));
        call.with(&value, number, |value| store.put(space, &call.key, value, lifetime, condition))
    })?;
    add.function("delete", |call, ()| call.said(call.named.store.delete(call.named.space, &call.key)))?;
    // increment(store, key, by, by, initial, initial, seconds) -> sum: each number as it is and as a double
    type Sum = (Value, Option<f64>, Value, Option<f64>, Option<f64>);
    add.function("increment", |call, (by, by_double, initial, initial_double, seconds): Sum| {
        let by = number(&by, by_double).unwrap_or(Number::Float(1.0));
        let initial = number(&initial, initial_double);
        let sum = call.named.store.increment(call.named.space, &call.key, by, initial, lifetime(seconds));
        call.said(sum).map(|sum| sum.map_or(Value::Nil, value_of))
    })?;
    // lifetime(store, key) -> seconds, or true for one that stays; nothing without an entry
    add.function("lifetime", |call, ()| {
        let lifetime = call.said(call.named.store.lifetime(call.named.space, &call.key))?;
        Ok(match lifetime {
            None => Value::Nil,
            Some(None) => Value::Boolean(true),
            Some(Some(left)) => Value::Number(left.as_secs_f64()),
        })
    })?;
    add.function("expire", |call, seconds: Option<f64>| {
        call.said(call.named.store.expire(call.named.space, &call.key, lifetime(seconds)))
    })?;
    // push(store, key, value, number, at_end) -> items
    add.function("push", |call, (value, number, at_end): (Value, Option<f64>, bool)| {
        call.with(&value, number, |value| call.named.store.push(call.named.space, &call.key, value, at_end))
    })?;
    add.function("take", |call, at_end: bool| {
        let mut bytes = Vec::new();
        let take = |most, bytes: &mut _| call.named.store.take(call.named.space, &call.key, at_end, most, bytes);
        let mut found = take(PIECE, &mut bytes);
        // Another may take that one meanwhile, and leave a longer one.
        while let Ok(Found::Longer(length)) = found {
            call.room.ask(length.saturating_mul(2))?;
            found = take(length, &mut bytes);
        }
        call.value(found, &bytes)
    })?;
    add.function("length", |call, ()| call.said(call.named.store.length(call.named.space, &call.key)))?;
    // encode(store, key, table) -> its bytes, as the store would keep them
    add.function("encode", |call, table: Table| {
        let bytes = encode(call.lua, call.room, &table).map_err(|problem| call.refusal(&problem))?;
        call.room.copy(&bytes)
    })?;
    // decode(store, key, bytes) -> the table that a compiled call was given the bytes of
    add.function("decode", |call, bytes: LuaString| call.value(Ok(Found::Encoded), &bytes.as_bytes()))?;
    if cfg!(feature = "luajit") {
        let address = |function: *const ()| LightUserData(function.cast_mut().cast());
        functions.raw_set("compiled_get", address(compiled::get as *const ()))?;
        functions.raw_set("compiled_put", address(compiled::put as *const ()))?;
        functions.raw_set("compiled_increment", address(compiled::increment as *const ()))?;
        // The functions have the stores, and who calls has the functions.
        let handles = stores.iter().map(|named| address(ptr::from_ref(named).cast()));
        functions.raw_set("handles", lua.create_sequence_from(handles)?)?;
        functions.raw_set("most_bytes", compiled::MOST)?;
    }
    add.of_store("clear", |_, named, _, ()| {
        named.store.clear(named.space).map_err(|refusal| of_store(named, refusal))
    })?;
    // keys(store, part, list) -> keys, and where the next ones are
    add.of_store("keys", |lua, named, room, (part, list): (Option<usize>, Option<u32>)| {
        let batch = named.store.keys(named.space, part.zip(list)).map_err(|refusal| of_store(named, refusal))?;
        room.ask(batch.keys.iter().map(|key| key.len() * 2).sum())?;
        let keys = batch.keys.iter().map(|key| lua.create_string(key)).collect::<mlua::Result<Vec<_>>>();
        let keys = keys.and_then(|keys| lua.create_sequence_from(keys)).map_err(|error| error.to_string())?;
        let (part, list) = batch.next.unzip();
        Ok((keys, part, list))
    })?;
    add.of_store("information", |lua, named, _, ()| {
        let told = named.store.information().map_err(|refusal| of_store(named, refusal))?;
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
    })?;
    Ok(functions)
}

/// A number of Lua's, which may be given as a double too: what Rust is given of a whole one does not tell a zero's sign.
fn number(value: &Value, double: Option<f64>) -> Option<Number> {
    match value {
        Value::Integer(integer) if cfg!(feature = "lua54") => Some(Number::Integer(*integer)),
        _ => double.map(Number::Float),
    }
}

fn value_of(number: Number) -> Value {
    match number {
        Number::Integer(integer) => Value::Integer(integer),
        Number::Float(float) => Value::Number(float),
    }
}

fn lifetime(seconds: Option<f64>) -> Option<Duration> {
    seconds.and_then(compiled::lifetime)
}

fn of_store(named: &Named, refusal: Refusal) -> String {
    format!("{}: {refusal}", Stores::title(named))
}

/// What a function was called with.
struct Call<'a> {
    lua: &'a Lua,
    room: Room<'a>,
    named: &'a Named,
    key: Cow<'a, [u8]>,
}

impl Call<'_> {
    fn refusal(&self, refusal: &str) -> String {
        let key = String::from_utf8_lossy(&self.key[..self.key.len().min(SHOWN)]);
        let more = if self.key.len() > SHOWN { "..." } else { "" };
        format!("{}: '{key}{more}': {refusal}", Stores::title(self.named))
    }

    fn said<T>(&self, result: Result<T, Refusal>) -> Result<T, String> {
        result.map_err(|refusal| self.refusal(&refusal.to_string()))
    }

    /// What was found, as a value of Lua's.
    fn value(&self, found: Result<Found, Refusal>, bytes: &[u8]) -> Result<Value, String> {
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
    fn with<T>(
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

struct Add<'a> {
    lua: &'a Lua,
    plain: &'a Plain,
    functions: &'a Table,
    stores: &'a Stores,
    limit: &'a TimeLimitHandle,
}

impl Add<'_> {
    /// Adds a function that takes a store's number, a key and other arguments.
    fn function<A: mlua::FromLuaMulti, R: IntoLuaMulti>(
        &mut self,
        name: &'static str,
        body: impl Fn(&Call<'_>, A) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let (stores, limit) = (self.stores.clone(), self.limit.clone());
        let body = move |lua: &Lua, (number, key, arguments): (usize, LuaString, A)| {
            let Some(named) = stores.get(number) else { return refuse(lua, NO_STORE) };
            let key = key.as_bytes();
            let call = Call { lua, room: Room::new(lua, &limit), named, key: Cow::Borrowed(&key) };
            answer(lua, body(&call, arguments))
        };
        self.functions.raw_set(name, self.plain.function(self.lua, name, body)?)
    }

    /// Adds one that takes a store's number and other arguments.
    fn of_store<A: mlua::FromLuaMulti, R: IntoLuaMulti>(
        &mut self,
        name: &'static str,
        body: impl Fn(&Lua, &Named, Room<'_>, A) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let (stores, limit) = (self.stores.clone(), self.limit.clone());
        let body = move |lua: &Lua, (number, arguments): (usize, A)| {
            let Some(named) = stores.get(number) else { return refuse(lua, NO_STORE) };
            answer(lua, body(lua, named, Room::new(lua, &limit), arguments))
        };
        self.functions.raw_set(name, self.plain.function(self.lua, name, body)?)
    }
}
