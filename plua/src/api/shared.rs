//! What pages do with the stores of their host, as shared.lua calls it: each gives true and its results, or false and why not. Those
//! on a Redis are asked by on_redis.rs.

use std::borrow::Cow;
use std::ptr;
use std::sync::Arc;

use mlua::{Function, IntoLuaMulti, LightUserData, Lua, LuaString, Table, Value};
use shared_store::{Condition, Found, Number, Refusal};

use super::store_call::{Call, NO_STORE, lifetime, list_of, number, of_store, told, value_of};
use super::stored_value::encode;
use super::{Plain, answer, on_redis, refuse};
use crate::limits::memory_limit::{PIECE, Room};
use crate::limits::time_limit::TimeLimitHandle;
use crate::reactor::Reactor;
use crate::shared::{InMemory, Named, Stores, Use, compiled};

/// What stands for a store in Lua: nothing can be written to it, so that no request leaves another one something there.
struct Object;

/// What gives the functions below.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn opener(lua: &Lua, plain: Plain, stores: Stores, reactor: Arc<Reactor>) -> mlua::Result<Function> {
    let own = plain.clone();
    plain.function(lua, "open_stores", move |lua, ()| open(lua, &own, &stores, &reactor))
}

/// The functions of the stores. A page that uses none pays for none.
fn open(lua: &Lua, plain: &Plain, stores: &Stores, reactor: &Arc<Reactor>) -> mlua::Result<Table> {
    let limit = &plain.limit;
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
    add.function("get", |call, memory, ()| {
        let mut bytes = Vec::new();
        let get = |most, bytes: &mut _| memory.store.get(memory.space, &call.key, most, bytes);
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
    add.function(
        "put",
        |call, memory, (value, number, seconds, condition): (Value, Option<f64>, Option<f64>, i32)| {
            let condition = compiled::condition(condition);
            let (store, space, lifetime) = (&memory.store, memory.space, lifetime(seconds));
            call.with(&value, number, |value| store.put(space, &call.key, value, lifetime, condition))
        },
    )?;
    // put_held(store, key, value, number, seconds, lock, token) -> whether it was put: only while the lock is the token's
    type Held = (Value, Option<f64>, Option<f64>, LuaString, LuaString);
    add.function("put_held", |call, memory, (value, number, seconds, lock, token): Held| {
        let (store, space, lifetime) = (&memory.store, memory.space, lifetime(seconds));
        if !call.said(is_held(memory, &lock.as_bytes(), &token.as_bytes()))? {
            return Ok(false);
        }
        call.with(&value, number, |value| store.put(space, &call.key, value, lifetime, Condition::Always))
    })?;
    // keep_held(store, lock, token, lease, most): it stays for the longest time at once, for whoever waits knows when its owner is gone
    add.function("keep_held", |call, memory, (token, _, most): (LuaString, f64, f64)| {
        Ok(call.said(is_held(memory, &call.key, &token.as_bytes()))?
            && call.said(memory.store.expire(memory.space, &call.key, lifetime(Some(most))))?)
    })?;
    // release(store, lock, token) -> whether it was the token's
    add.function("release", |call, memory, token: LuaString| {
        let is_held = call.said(is_held(memory, &call.key, &token.as_bytes()))?;
        Ok(is_held && call.said(memory.store.delete(memory.space, &call.key))?)
    })?;
    add.function("delete", |call, memory, ()| call.said(memory.store.delete(memory.space, &call.key)))?;
    // increment(store, key, by, by, initial, initial, seconds) -> sum: each number as it is and as a double
    type Sum = (Value, Option<f64>, Value, Option<f64>, Option<f64>);
    add.function("increment", |call, memory, (by, by_double, initial, initial_double, seconds): Sum| {
        let by = number(&by, by_double).unwrap_or(Number::Float(1.0));
        let initial = number(&initial, initial_double);
        let sum = memory.store.increment(memory.space, &call.key, by, initial, lifetime(seconds));
        call.said(sum).map(|sum| sum.map_or(Value::Nil, value_of))
    })?;
    // lifetime(store, key) -> seconds, or true for one that stays; nothing without an entry
    add.function("lifetime", |call, memory, ()| {
        let lifetime = call.said(memory.store.lifetime(memory.space, &call.key))?;
        Ok(match lifetime {
            None => Value::Nil,
            Some(None) => Value::Boolean(true),
            Some(Some(left)) => Value::Number(left.as_secs_f64()),
        })
    })?;
    add.function("expire", |call, memory, seconds: Option<f64>| {
        call.said(memory.store.expire(memory.space, &call.key, lifetime(seconds)))
    })?;
    // push(store, key, value, number, at_end) -> items
    add.function("push", |call, memory, (value, number, at_end): (Value, Option<f64>, bool)| {
        call.with(&value, number, |value| memory.store.push(memory.space, &call.key, value, at_end))
    })?;
    add.function("take", |call, memory, at_end: bool| {
        let mut bytes = Vec::new();
        let take = |most, bytes: &mut _| memory.store.take(memory.space, &call.key, at_end, most, bytes);
        let mut found = take(PIECE, &mut bytes);
        // Another may take that one meanwhile, and leave a longer one.
        while let Ok(Found::Longer(length)) = found {
            call.room.ask(length.saturating_mul(2))?;
            found = take(length, &mut bytes);
        }
        call.value(found, &bytes)
    })?;
    add.function("length", |call, memory, ()| call.said(memory.store.length(memory.space, &call.key)))?;
    // encode(store, key, table) -> its bytes, as the store would keep them
    add.of_value("encode", |call, table: Table| {
        let bytes = encode(call.lua, call.room, &table).map_err(|problem| call.refusal(&problem))?;
        call.room.copy(&bytes)
    })?;
    // decode(store, key, bytes) -> the table of such bytes
    add.of_value("decode", |call, bytes: LuaString| call.value(Ok(Found::Encoded), &bytes.as_bytes()))?;
    if cfg!(feature = "luajit") {
        let address = |function: *const ()| LightUserData(function.cast_mut().cast());
        functions.raw_set("compiled_get", address(compiled::get as *const ()))?;
        functions.raw_set("compiled_put", address(compiled::put as *const ()))?;
        functions.raw_set("compiled_increment", address(compiled::increment as *const ()))?;
        // The functions have the stores, and who calls has the functions.
        let handles = lua.create_table()?;
        for (number, named) in stores.iter().enumerate() {
            if let Some(memory) = named.memory() {
                handles.raw_set(number + 1, address(ptr::from_ref(memory).cast()))?;
            }
        }
        functions.raw_set("handles", handles)?;
        functions.raw_set("most_bytes", compiled::MOST)?;
    }
    add.of_store("clear", |_, named, memory, _, ()| {
        memory.store.clear(memory.space).map_err(|refusal| of_store(named, refusal))
    })?;
    // keys(store, part, list) -> keys, and where the next ones are
    add.of_store("keys", |lua, named, memory, room, (part, list): (Option<usize>, Option<u32>)| {
        let batch = memory.store.keys(memory.space, part.zip(list)).map_err(|refusal| of_store(named, refusal))?;
        let keys = list_of(lua, room, &batch.keys)?;
        let (part, list) = batch.next.unzip();
        Ok((keys, part, list))
    })?;
    add.of_store("information", |lua, named, memory, _, ()| {
        told(lua, memory.store.information().map_err(|refusal| of_store(named, refusal))?)
    })?;
    if let Some(of_redis) = on_redis::functions(lua, plain, stores, reactor)? {
        functions.raw_set("of_redis", of_redis)?;
    }
    Ok(functions)
}

/// Whether a lock is that of a token. Whoever asks comes a moment later to what he does then: long before the lock is another's,
/// unless he is late already.
fn is_held(memory: &InMemory, lock: &[u8], token: &[u8]) -> Result<bool, Refusal> {
    let mut bytes = Vec::new();
    let found = memory.store.get(memory.space, lock, token.len(), &mut bytes)?;
    Ok(matches!(found, Found::Bytes) && bytes == token)
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
        body: impl Fn(&Call<'_>, &InMemory, A) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        self.of_value(name, move |call, arguments| match call.named.memory() {
            Some(memory) => body(call, memory, arguments),
            None => Err(NO_STORE.into()),
        })
    }

    /// Adds one that does not touch the store, wherever that is.
    fn of_value<A: mlua::FromLuaMulti, R: IntoLuaMulti>(
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
        body: impl Fn(&Lua, &Named, &InMemory, Room<'_>, A) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let (stores, limit) = (self.stores.clone(), self.limit.clone());
        let body = move |lua: &Lua, (number, arguments): (usize, A)| {
            let named = stores.get(number).and_then(|named| Some((named, named.memory()?)));
            let Some((named, memory)) = named else { return refuse(lua, NO_STORE) };
            answer(lua, body(lua, named, memory, Room::new(lua, &limit), arguments))
        };
        self.functions.raw_set(name, self.plain.function(self.lua, name, body)?)
    }
}
