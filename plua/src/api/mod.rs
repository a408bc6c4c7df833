//! The functions pages call: how those written in Rust reach the request.
//!
//! Stands on `cache`, `error`, `exchange`, `language`, `limits`, `network`, `output`, `reactor`, `request`, `sandbox`,
//! `settings` and `shared`. Knows no pool and no state but the one that it is in.

mod arguments;
mod command;
mod cookie;
mod database;
mod digest;
mod fetch;
mod fields;
mod file;
mod form;
mod include;
mod json;
mod keeping;
mod module;
mod on_redis;
mod pattern;
mod request;
mod response;
mod rows;
mod script;
mod secret;
mod session;
mod shared;
mod socket;
mod store_call;
mod stored_value;
pub(crate) mod terminal;
mod text;
mod time_zone;
mod timers;
mod version;
mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua, MultiValue, Table, Value};
use parking_lot::Mutex;

pub use arguments::{Arguments, int64, is_exact};
#[cfg(fuzzing)]
pub use cookie::received as received_cookies;
pub use file::LARGEST_BUFFERED;
#[cfg(fuzzing)]
pub use json::{ARRAY as JSON_ARRAY, decode as decode_json, encode as encode_json};

use crate::cache::loader::Loader;
use crate::language::functions::{FUNCTIONS, Written};
use crate::limits::memory_limit;
use crate::limits::time_limit::TimeLimitHandle;
use crate::network::Network;
use crate::reactor::Reactor;
use crate::request::timers::Timers;
use crate::request::visit::{Slot, Visit};
use crate::settings::Settings;
use crate::shared::Stores;

/// What a function that finds no request says.
const NO_REQUEST: &str = "there is no request: page functions work only while a page runs";

/// What a function says that a finalizer called while another page function made Lua collect its garbage.
const IN_FINALIZER: &str = "a finalizer cannot call page functions";

/// The functions written in Rust, for the state's own code to wrap.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn native(
    lua: &Lua,
    slot: &Slot,
    loader: &Arc<Mutex<Option<Loader>>>,
    limit: TimeLimitHandle,
    network: &Arc<Network>,
    timers: &Timers,
    settings: &Settings,
) -> mlua::Result<Table> {
    let plain = Plain { slot: slot.clone(), limit: limit.clone() };
    let tables = fields::Tables::new(lua)?;
    let native = Native { lua, slot, limit, plain, network, tables, table: lua.create_table()? };
    response::install(&native)?;
    version::install(&native)?;
    keeping::install(&native)?;
    request::install(&native)?;
    script::install(&native)?;
    cookie::install(&native)?;
    digest::install(&native)?;
    file::install(&native, settings)?;
    command::install(&native)?;
    json::install(&native)?;
    pattern::install(&native)?;
    secret::install(&native)?;
    socket::install(&native)?;
    fetch::install(&native)?;
    text::install(&native)?;
    time_zone::install(&native, settings)?;
    timers::install(&native, timers)?;
    waiting::install(&native)?;
    form::install(&native)?;
    include::install(&native, loader)?;
    module::install(&native, loader)?;
    database::install(&native)?;
    // By name: the number of results, or false for one that the state's own code has.
    let functions = FUNCTIONS.iter().map(|function| match function.written {
        Written::InRust(results) => (function.name, Value::Integer(results.into())),
        Written::InLua => (function.name, Value::Boolean(false)),
    });
    native.table.raw_set("functions", lua.create_table_from(functions)?)?;
    Ok(native.table)
}

/// What gives the functions of a host's stores, when a page first asks for one.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn stores(
    lua: &Lua,
    slot: &Slot,
    limit: TimeLimitHandle,
    stores: &Stores,
    reactor: &Arc<Reactor>,
) -> mlua::Result<Function> {
    shared::opener(lua, Plain { slot: slot.clone(), limit }, stores.clone(), reactor.clone())
}

/// What gives the functions of sessions, when a page first has one.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn sessions(
    lua: &Lua,
    slot: &Slot,
    limit: TimeLimitHandle,
    settings: &Settings,
    stores: &Stores,
) -> mlua::Result<Function> {
    session::opener(lua, Plain { slot: slot.clone(), limit }, settings, stores)
}

/// What a function of the request does: its results, or its message.
type Body = dyn Fn(&Lua, &mut Visit, Arguments) -> Result<mlua::Result<MultiValue>, String> + Send;

struct Native<'a> {
    lua: &'a Lua,
    slot: &'a Slot,
    limit: TimeLimitHandle,
    plain: Plain,
    /// What pages of the site say to other servers.
    network: &'a Arc<Network>,
    tables: fields::Tables,
    table: Table,
}

impl Native<'_> {
    /// Adds a function of the request. It returns true and its results to Lua, or false and its message.
    fn add<R: IntoLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(&Lua, &mut Visit, Arguments) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        self.add_body(
            name,
            Box::new(move |lua, visit, arguments| {
                body(lua, visit, arguments).map(|results| results.into_lua_multi(lua))
            }),
        )
    }

    /// The same for all functions, whatever their results are: made for each of them, what mlua puts around a function was a tenth
    /// of the module.
    fn add_body(&self, name: &'static str, body: Box<Body>) -> mlua::Result<()> {
        let (slot, limit) = (self.slot.clone(), self.limit.clone());
        self.add_plain(name, move |lua, arguments: MultiValue| {
            let Some(mut visit) = slot.try_lock() else { return refuse(lua, IN_FINALIZER) };
            let Some(visit) = visit.as_mut() else { return refuse(lua, NO_REQUEST) };
            let arguments = Arguments::new(name, arguments);
            if let Some(refusal) = limit.refusal() {
                return refuse(lua, &refusal.to_string_lossy());
            }
            let done = catch_unwind(AssertUnwindSafe(|| body(lua, visit, arguments)));
            if let (Ok(Ok(_)), Some(refusal)) = (&done, limit.refusal()) {
                return refuse(lua, &refusal.to_string_lossy());
            }
            match done {
                Ok(result) => told(lua, result),
                Err(panic) => {
                    let message = format!("internal error in {name}: {}", panic_text(&*panic));
                    let refused = refuse(lua, &message);
                    visit.panic.get_or_insert(message);
                    refused
                }
            }
        })
    }

    /// Adds a function for the state's own code, which finds its request itself and returns what it likes to Lua. To Lua a
    /// panic is an error, which a page may catch, so the request that it fails is told of it here.
    fn add_plain<A: FromLuaMulti, R: IntoLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(&Lua, A) -> mlua::Result<R> + Send + 'static,
    ) -> mlua::Result<()> {
        self.table.raw_set(name, self.plain.function(self.lua, name, body)?)
    }

    /// Adds such a function that answers with a path, or nil and why there is none, while a state closes too.
    fn add_path<A: FromLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(A) -> Result<PathBuf, String> + Send + 'static,
    ) -> mlua::Result<()> {
        self.table.raw_set(name, memory_limit::path_function(self.lua, &self.limit, body)?)
    }
}

/// Makes functions for the state's own code, which find their request themselves.
#[derive(Clone)]
struct Plain {
    slot: Slot,
    limit: TimeLimitHandle,
}

impl Plain {
    fn function<A: FromLuaMulti, R: IntoLuaMulti>(
        &self,
        lua: &Lua,
        name: &'static str,
        body: impl Fn(&Lua, A) -> mlua::Result<R> + Send + 'static,
    ) -> mlua::Result<Function> {
        let slot = self.slot.clone();
        let body = move |lua: &Lua, arguments: A| {
            catch_unwind(AssertUnwindSafe(|| body(lua, arguments))).unwrap_or_else(|panic| {
                if let Some(mut visit) = slot.try_lock()
                    && let Some(visit) = visit.as_mut()
                {
                    visit.panic.get_or_insert_with(|| format!("internal error in {name}: {}", panic_text(&*panic)));
                }
                resume_unwind(panic)
            })
        };
        memory_limit::function(lua, &self.limit, body)
    }
}

/// What the state's own code is told of a function: true and its results, or false and its message.
fn answer<R: IntoLuaMulti>(lua: &Lua, result: Result<R, String>) -> mlua::Result<MultiValue> {
    told(lua, result.map(|results| results.into_lua_multi(lua)))
}

/// The same of results that are Lua's already.
fn told(lua: &Lua, result: Result<mlua::Result<MultiValue>, String>) -> mlua::Result<MultiValue> {
    match result {
        Ok(results) => {
            let mut results = results?;
            results.push_front(Value::Boolean(true));
            Ok(results)
        }
        Err(message) => refuse(lua, &message),
    }
}

fn refuse(lua: &Lua, message: &str) -> mlua::Result<MultiValue> {
    Ok(MultiValue::from_iter([Value::Boolean(false), Value::String(lua.create_string(message)?)]))
}

/// The text a panic was raised with.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}
