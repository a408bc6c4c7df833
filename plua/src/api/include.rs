//! Files that pages are made of: finding and loading them, and the report of one that failed.

use std::ffi::OsStr;
use std::io::{
    self,
    ErrorKind::{InvalidInput, NotFound},
};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mlua::{LightUserData, Lua, LuaString, Table, Value};
use parking_lot::Mutex;

use super::{IN_FINALIZER, NO_REQUEST, Native};
use crate::cache::chunk::{Language, Stamp};
use crate::cache::compiler::Compiler;
use crate::cache::loader::{LoadError, Loader, identity};
use crate::error::report::Report;
use crate::error::{self, Error, ErrorKind, Fact, shortened};
use crate::limits::memory_limit::Room;
use crate::request::visit::{Visit, is_too_deep};
use crate::request::{fault, locals};
use crate::sandbox::working_directory;

pub fn install(native: &Native<'_>, loader: &Arc<Mutex<Option<Loader>>>) -> mlua::Result<()> {
    let (slot, loading) = (native.slot.clone(), loader.clone());
    // include(file, including) -> true, number, nil, whether the name may be believed to lead there again | true, nil,
    // what is wrong with the file, its identity | true | false, message. Without `including` a relative path is looked
    // up in the requested page's folder only.
    native.add_plain("include", move |lua, (file, including): (LuaString, Option<LuaString>)| {
        let refused = |message: &str| Ok((false, Value::String(lua.create_string(message)?), Value::Nil, Value::Nil));
        let Some(mut visit) = slot.try_lock() else { return refused(IN_FINALIZER) };
        let Some(visit) = visit.as_mut() else { return refused(NO_REQUEST) };
        let including = including.as_ref().map(LuaString::as_bytes);
        let found = find(visit, Path::new(OsStr::from_bytes(shortened(&file.as_bytes()))), including.as_deref());
        let (path, stamp) = match found {
            Ok(Ok(found)) => found,
            Ok(Err((path, error))) => return failed(lua, visit, &path, None, LoadError::Io(error)),
            Err(refusal) => return refused(&refusal),
        };
        let language = visit.language(&path);
        let Some(mut loader) = loading.try_lock() else { return refused(IN_FINALIZER) };
        let Some(loader) = loader.as_mut() else { return Ok((true, Value::Nil, Value::Nil, Value::Nil)) };
        match loader.load_part(lua, &path, &stamp, language) {
            Ok(number) => {
                // The next request may have another file there, or none that it may open.
                let lasting = including.is_none() && !visit.is_own_upload(&path);
                Ok((true, Value::Integer(number.into()), Value::Nil, Value::Boolean(lasting)))
            }
            Err(error) => failed(lua, visit, &path, Some(stamp), error),
        }
    })?;

    // compile_lua(text, name, environment or nil) -> function | nil, message: what `load` does, within the page's time
    let compiler = Compiler::new(native.lua, Some(native.limit.clone()))?;
    native.add_plain("compile_lua", move |_, (text, name, environment): (LuaString, LuaString, Option<Table>)| {
        match compiler.compile(&name.to_string_lossy(), &text.as_bytes()) {
            Ok(function) => {
                if let Some(environment) = environment {
                    function.set_environment(environment)?;
                }
                Ok((Some(function), None))
            }
            Err(mlua::Error::SyntaxError { message, .. }) => Ok((None, Some(message))),
            // No fault of the text's: a limit strikes.
            Err(error) => Err(error),
        }
    })?;

    // compile(text, name) -> true, function, texts | true, nil, what is wrong with the text
    let (loading, limit) = (loader.clone(), native.limit.clone());
    native.add("compile", move |lua, visit, arguments| {
        let (text, name) = (arguments.bytes(1)?, arguments.bytes(2)?);
        // What the page becomes in Lua.
        Room::new(lua, &limit).ask(text.len().saturating_mul(2))?;
        let path = Path::new(OsStr::from_bytes(&name));
        let loader = loading.lock();
        let loader = loader.as_ref().ok_or("the state has no loader")?;
        match loader.compile_text(lua, &text, path, Language::Page(visit.settings.reading().0)) {
            Ok((function, texts)) => Ok((Value::Function(function), texts.map_or(Value::Nil, Value::Table))),
            Err(LoadError::Page(error)) if error.kind == error::ErrorKind::Compile => {
                let told = lua.create_string(text_of(&error)).map_err(|error| error.to_string())?;
                Ok((Value::Nil, Value::String(told)))
            }
            Err(error) => Err(text_of(&error.into_error(path))),
        }
    })?;

    let loading = loader.clone();
    // include_failed(message, frames) -> true, HTML to show in place or nil, whether the error ends the page, which then
    // reports it; without a message for the file that could not be loaded just now.
    native.add("include_failed", move |lua, visit, arguments| {
        let message = match arguments.value(1) {
            Value::Nil => None,
            _ => Some(arguments.text(1)?),
        };
        if message.as_deref().is_some_and(is_too_deep) {
            return Ok((Value::Nil, true));
        }
        let frames = fault::frames(arguments.value(2), &visit.path);
        let mut error = match visit.take_load_error(message.as_deref()) {
            Some(mut error) => {
                error.frames = frames;
                error
            }
            None => {
                let message = message.unwrap_or_default();
                let loader = loading.lock();
                fault::error(&message, frames, |path| loader.as_ref().and_then(|loader| loader.source(path)))
            }
        };
        error.locals = fault::locals(arguments.value(2));
        visit.classify(&mut error);
        if matches!(error.kind, ErrorKind::Busy | ErrorKind::Away) {
            return Ok((Value::Nil, true));
        }
        visit.report(&error);
        let shown = match visit.show_errors {
            true => Value::String(lua.create_string(Report(&error).html_block()).map_err(|error| error.to_string())?),
            false => Value::Nil,
        };
        Ok((shown, false))
    })?;

    // shows_reports() -> whether the visitor sees the report of what has failed
    let slot = native.slot.clone();
    native.add_plain("shows_reports", move |_, ()| {
        let visit = slot.try_lock();
        Ok(visit.as_ref().and_then(|visit| visit.as_ref()).is_some_and(|visit| visit.show_errors))
    })?;

    // shown_locals(names, values, count) -> names and values in turn, as a report shows them
    native.add_plain("shown_locals", |lua, (names, values, count): (Table, Table, i64)| {
        let texts = lua.create_table()?;
        for place in 1..=count {
            let name = names.raw_get::<LuaString>(place)?;
            let Fact { name, value } = locals::shown(&name.as_bytes(), &values.raw_get(place)?);
            texts.raw_push(name)?;
            texts.raw_push(value)?;
        }
        Ok(texts)
    })?;

    // place() -> what decides where names lead; nothing between requests
    let slot = native.slot.clone();
    native.add_plain("place", move |lua, ()| {
        let visit = slot.try_lock();
        let place = visit.as_ref().and_then(|visit| visit.as_ref()).map(|visit| visit.place());
        place.map(|place| lua.create_string(place)).transpose()
    })?;

    // seconds() -> the time; with LuaJIT its address, for compiled code that calls a function of C is left for nothing
    if cfg!(feature = "luajit") {
        let seconds: extern "C" fn() -> f64 = seconds;
        native.table.raw_set("seconds", LightUserData((seconds as *const ()).cast_mut().cast()))?;
    } else {
        native.add_plain("seconds", |_, ()| Ok(seconds()))?;
    }

    // folder() -> the folder of the page asked for, nil between requests
    let slot = native.slot.clone();
    native.add_plain("folder", move |lua, ()| {
        let visit = slot.try_lock();
        let visit = visit.as_ref().and_then(|visit| visit.as_ref());
        visit.map(|visit| lua.create_string(visit.folder().as_os_str().as_bytes())).transpose()
    })?;

    // enter_folder() makes it the thread's working directory; between requests that is for Rust to choose
    let slot = native.slot.clone();
    native.add_plain("enter_folder", move |_, ()| {
        if let Some(visit) = slot.try_lock().as_ref().and_then(|visit| visit.as_ref()) {
            working_directory::enter(visit.folder());
        }
        Ok(())
    })?;

    // is_pipe(path) -> whether opening it would wait for its other end, for `require`, which opens what it looks for
    native.add_plain("is_pipe", |_, path: mlua::LuaString| {
        let path = path.as_bytes();
        Ok(Path::new(OsStr::from_bytes(&path)).metadata().is_ok_and(|found| found.file_type().is_fifo()))
    })
}

/// Seconds since this was first asked, by a clock that never goes back.
extern "C" fn seconds() -> f64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    STARTED.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// A file that is not there is none; one that is there and of no use is kept to be reported.
fn failed(
    lua: &Lua,
    visit: &mut Visit,
    path: &Path,
    stamp: Option<Stamp>,
    error: LoadError,
) -> mlua::Result<(bool, Value, Value, Value)> {
    let identity = match stamp {
        Some(stamp) => Value::String(lua.create_string(identity(&stamp))?),
        None => Value::Nil,
    };
    if matches!(&error, LoadError::Io(error) if matches!(error.kind(), NotFound | InvalidInput)) {
        return Ok((true, Value::Nil, Value::Nil, identity));
    }
    let error = error.into_error(path);
    let text = text_of(&error);
    let told = lua.create_string(&text)?;
    visit.load_error = Some((text, error).into());
    Ok((true, Value::Nil, Value::String(told), identity))
}

/// An error as Lua writes one.
fn text_of(error: &Error) -> String {
    match &error.place {
        Some(place) => format!("{}:{}: {}", place.file, place.line, error.message),
        None => error.message.clone(),
    }
}

/// What a name leads to, or the path that was tried and what the system said.
type Found = Result<(PathBuf, Stamp), (PathBuf, io::Error)>;

/// A relative path is looked up in the requested page's folder, then in the including file's own.
///
/// # Errors
/// That the path is outside `pLuaBaseDir`.
fn find(visit: &Visit, file: &Path, including: Option<&[u8]>) -> Result<Found, String> {
    let asked = visit.reach(file);
    let beside = including
        .and_then(|source| source.strip_prefix(b"@"))
        .and_then(|source| Path::new(OsStr::from_bytes(source)).parent())
        .map(|folder| folder.join(file));
    let missing = match asked {
        Ok(asked) => match stat(&asked) {
            Ok(stamp) => return Ok(Ok((asked, stamp))),
            Err(error) => Ok((asked, error)),
        },
        Err(refusal) => Err(refusal),
    };
    if let Some(beside) = beside
        && let Ok(beside) = visit.reach(beside)
        && let Ok(stamp) = stat(&beside)
    {
        return Ok(Ok((beside, stamp)));
    }
    missing.map(Err)
}

fn stat(path: &Path) -> io::Result<Stamp> {
    let file = path.metadata()?;
    match file.is_file() {
        true => Ok(Stamp::from(&file)),
        false => Err(io::Error::new(InvalidInput, "not a plain file")),
    }
}
