//! A page that takes its code from a terminal, entry by entry: what terminal.lua needs of Rust.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};
use parking_lot::Mutex;

use super::Plain;
use crate::cache::loader::Loader;
use crate::error::report::Report;
use crate::error::{Error, ErrorKind, Frame, Place};
use crate::exchange::terminal::{Prompted, Terminal};
use crate::limits::time_limit::TimeLimitHandle;
use crate::output::ffi_functions;
use crate::request::fault;
use crate::request::visit::Slot;

/// The functions that terminal.lua takes.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn functions(
    lua: &Lua,
    slot: &Slot,
    limit: TimeLimitHandle,
    loader: &Arc<Mutex<Option<Loader>>>,
    terminal: &Arc<dyn Terminal>,
) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let plain = Plain { slot: slot.clone(), limit: limit.clone() };
    // reader(is_unfinished, completions) -> a function that gives the next entry, or nothing at the end
    let (of_reader, own) = (plain.clone(), terminal.clone());
    let reader = move |lua: &Lua, (is_unfinished, completions): (Function, Function)| {
        let prompted: Arc<dyn Prompted> = Arc::new(Page { is_unfinished, completions });
        let own = own.clone();
        of_reader
            .function(lua, "read", move |lua, ()| own.read(&prompted).map(|entry| lua.create_string(entry)).transpose())
    };
    table.raw_set("reader", plain.function(lua, "reader", reader)?)?;
    // call(function, ...) -> true and its results; false and what it failed with; or nothing where it was interrupted
    let call = move |lua: &Lua, (run, arguments): (Function, MultiValue)| {
        // What came while nothing ran was for nobody.
        limit.go_on();
        let results = {
            let _running = limit.running_lua();
            run.call::<MultiValue>(arguments)
        };
        match (limit.go_on(), results) {
            (true, _) => Ok(MultiValue::new()),
            (false, Ok(results)) => (true, results).into_lua_multi(lua),
            (false, Err(error)) => (false, fault::first_line(&error)).into_lua_multi(lua),
        }
    };
    table.raw_set("call", plain.function(lua, "call", call)?)?;
    // write(...): puts out what the page's buffer holds, as `contents` gives it
    let of_request = slot.clone();
    let write = move |_: &Lua, (first, second): (Value, Value)| {
        ffi_functions::with_contents(&[first, second], |bytes| {
            if let Some(visit) = of_request.lock().as_mut() {
                // A reader that has left wants nothing more.
                let _ = visit.exchange.write(bytes).and_then(|()| visit.exchange.flush());
            }
        })
        .map_err(mlua::Error::runtime)
    };
    table.raw_set("write", plain.function(lua, "write", write)?)?;
    // show(text), tell_of_interruption()
    let own = terminal.clone();
    let show = move |_: &Lua, text: LuaString| {
        own.show(&text.as_bytes());
        Ok(())
    };
    table.raw_set("show", plain.function(lua, "show", show)?)?;
    let own = terminal.clone();
    let tell = move |_: &Lua, ()| {
        own.interrupted();
        Ok(())
    };
    table.raw_set("tell_of_interruption", plain.function(lua, "tell_of_interruption", tell)?)?;
    // refuse(message, name, source): an entry that does not compile
    let own = terminal.clone();
    let refuse = move |_: &Lua, (message, name, source): (LuaString, LuaString, LuaString)| {
        own.report(Report(&refused(&message.to_string_lossy(), &name.to_string_lossy(), &source.as_bytes())));
        Ok(())
    };
    table.raw_set("refuse", plain.function(lua, "refuse", refuse)?)?;
    // fail(message, frames, name, sources): an entry that has failed, and the sources of entries by name
    let (own, of_request, loader) = (terminal.clone(), slot.clone(), loader.clone());
    let fail = move |_: &Lua, (message, frames, name, sources): (LuaString, Value, LuaString, Table)| {
        let name = name.to_string_lossy();
        let page = of_request.lock().as_ref().map(|visit| visit.path.clone()).unwrap_or_default();
        let mut frames = fault::frames(&frames, Path::new(&name));
        // The code that reads entries is not the person's.
        frames.retain(|frame| frame.at.as_ref().is_none_or(|(file, _)| Path::new(file) != page));
        let sources: HashMap<String, Vec<u8>> = frames
            .iter()
            .filter_map(|frame| frame.at.as_ref())
            .filter_map(|(file, _)| Some((file.clone(), sources.raw_get::<LuaString>(file.as_str()).ok()?)))
            .map(|(file, source)| (file, source.as_bytes().to_vec()))
            .collect();
        let loader = loader.lock();
        let source = |path: &Path| match sources.get(path.to_str()?) {
            Some(entry) => Some(entry.as_slice()),
            None => loader.as_ref()?.source(path),
        };
        let error = fault::error(&message.as_bytes(), frames, source);
        own.report(Report(&of_entry(error, &name, &sources)));
        Ok(())
    };
    table.raw_set("fail", plain.function(lua, "fail", fail)?)?;
    Ok(table)
}

/// What terminal.lua knows of entries.
struct Page {
    is_unfinished: Function,
    completions: Function,
}

impl Prompted for Page {
    fn is_unfinished(&self, entry: &[u8]) -> bool {
        self.is_unfinished.call(Bytes(entry)).unwrap_or(false)
    }

    fn completions(&self, text: &[u8]) -> (usize, Vec<String>) {
        self.completions.call(Bytes(text)).unwrap_or_else(|_| (text.len(), Vec::new()))
    }
}

/// Bytes as a string of Lua's.
struct Bytes<'b>(&'b [u8]);

impl IntoLua for Bytes<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}

/// The error of an entry that Lua does not take. In one of a single line there is but one place.
fn refused(message: &str, name: &str, source: &[u8]) -> Error {
    let told =
        message.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| rest.split_once(": "));
    let Some((line, told)) = told.and_then(|(line, told)| Some((line.parse().ok()?, told))) else {
        return Error::new(ErrorKind::Compile, message);
    };
    let mut error = Error::new(ErrorKind::Compile, told);
    if source.contains(&b'\n') {
        error.place = Some(Box::new(Place::new(Path::new(name), line, source)));
    }
    error
}

/// An error as the entry of that name shows it, one of these.
fn of_entry(mut error: Error, name: &str, sources: &HashMap<String, Vec<u8>>) -> Error {
    let is_in_entry = |frame: &Frame, name: &str| frame.at.as_ref().is_some_and(|(file, _)| file == name);
    let is_one_line = sources.get(name).is_some_and(|source| !source.contains(&b'\n'));
    if is_one_line && matches!(&error.frames[..], [only] if is_in_entry(only, name)) {
        // It was typed just now.
        error.place = None;
        error.frames.clear();
    }
    for frame in error.frames.iter_mut().filter(|frame| frame.what == "main page") {
        frame.what = "what was entered".to_owned();
    }
    error
}
