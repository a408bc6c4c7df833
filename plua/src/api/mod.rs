//! The functions pages call: the one table of them, and how those written in Rust reach the request.

mod arguments;
mod include;
mod request;
mod response;
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};
use parking_lot::Mutex;

pub use arguments::Arguments;

use crate::loader::Loader;
use crate::visit::{Slot, Visit};

/// One row of the table of page functions.
pub struct PageFunction {
    /// Its global name.
    pub name: &'static str,
    /// Arguments and results, as the manual writes them.
    pub signature: &'static str,
    /// One line.
    pub help: &'static str,
    /// Where it is written.
    pub written: Written,
}

/// Where a page function is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// In the state's own Lua code.
    InLua,
    /// In Rust, under the same name, with that many results (0 to 3).
    InRust(u8),
}

use Written::{InLua, InRust};

/// Every function a page finds beside Lua's own.
pub const FUNCTIONS: &[PageFunction] = &[
    PageFunction {
        name: "echo",
        signature: "echo(...)",
        help: "Puts the values into the response, nothing between them.",
        written: InLua,
    },
    PageFunction { name: "print", signature: "print(...)", help: "The same as echo.", written: InLua },
    PageFunction {
        name: "exit",
        signature: "exit()",
        help: "Ends the page and sends what it has put out; no pcall catches it.",
        written: InLua,
    },
    PageFunction {
        name: "flush",
        signature: "flush()",
        help: "Sends what is put out so far; status and headers are fixed from then on.",
        written: InLua,
    },
    PageFunction {
        name: "sleep",
        signature: "sleep(seconds)",
        help: "Waits, fractions allowed; never longer than the time limit.",
        written: InLua,
    },
    PageFunction {
        name: "header",
        signature: "header(name, value [, append])",
        help: "Sets a response header; with append true adds one more of that name; with value nil removes it.",
        written: InRust(0),
    },
    PageFunction {
        name: "setContentType",
        signature: "setContentType(type)",
        help: "Sets the response's Content-Type; text/html otherwise.",
        written: InRust(0),
    },
    PageFunction {
        name: "setReturnCode",
        signature: "setReturnCode(status)",
        help: "Sets the response's status, 200 to 599; 0 leaves it as it is.",
        written: InRust(0),
    },
    PageFunction {
        name: "httpError",
        signature: "httpError(status)",
        help: "Discards the output in favour of the server's own page (ErrorDocument) for a status from 300 to 599.",
        written: InRust(0),
    },
    PageFunction {
        name: "getEnv",
        signature: "getEnv() -> table",
        help: "Request headers, the server's variables and the facts of request and engine.",
        written: InLua,
    },
    PageFunction {
        name: "parseGet",
        signature: "parseGet() -> table",
        help: "The query's fields; a repeated name is an array.",
        written: InRust(1),
    },
    PageFunction {
        name: "include",
        signature: "include(file) -> boolean",
        help: "Runs another page or raw file in this place; false if it failed.",
        written: InLua,
    },
    PageFunction {
        name: "clock",
        signature: "clock() -> {seconds=, nanoseconds=}",
        help: "The time now.",
        written: InRust(1),
    },
    PageFunction {
        name: "compileTime",
        signature: "compileTime() -> {seconds=, nanoseconds=}",
        help: "The time the request was received.",
        written: InRust(1),
    },
    PageFunction {
        name: "showErrors",
        signature: "showErrors(show)",
        help: "Whether this request's visitor sees error reports, whatever pLuaError says.",
        written: InRust(0),
    },
];

/// What a function that finds no request says.
const NO_REQUEST: &str = "there is no request: page functions work only while a page runs";

/// The functions written in Rust, for the state's own code to wrap.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn native(lua: &Lua, slot: &Slot, loader: &Arc<Mutex<Option<Loader>>>) -> mlua::Result<Table> {
    let native = Native { lua, slot, table: lua.create_table()? };
    response::install(&native)?;
    request::install(&native)?;
    script::install(&native)?;
    include::install(&native, loader)?;
    let results = FUNCTIONS.iter().filter_map(|function| match function.written {
        InRust(results) => Some((function.name, results)),
        InLua => None,
    });
    native.table.raw_set("results", lua.create_table_from(results)?)?;
    Ok(native.table)
}

struct Native<'a> {
    lua: &'a Lua,
    slot: &'a Slot,
    table: Table,
}

impl Native<'_> {
    /// Adds a function of the request. It returns true and its results to Lua, or false and its message.
    fn add<R: IntoLuaMulti>(
        &self,
        name: &'static str,
        body: impl Fn(&Lua, &mut Visit, Arguments) -> Result<R, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let slot = self.slot.clone();
        let function = self.lua.create_function(move |lua, arguments: MultiValue| {
            let mut visit = slot.lock();
            let Some(visit) = visit.as_mut() else {
                return refuse(lua, NO_REQUEST);
            };
            let arguments = Arguments::new(name, arguments);
            match catch_unwind(AssertUnwindSafe(|| body(lua, visit, arguments))) {
                Ok(Ok(results)) => {
                    let mut results = results.into_lua_multi(lua)?;
                    results.push_front(Value::Boolean(true));
                    Ok(results)
                }
                Ok(Err(message)) => refuse(lua, &message),
                Err(panic) => {
                    let message = format!("internal error in {name}: {}", panic_text(&*panic));
                    let refused = refuse(lua, &message);
                    visit.panic.get_or_insert(message);
                    refused
                }
            }
        })?;
        self.table.raw_set(name, function)
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
