//! The page function `include`: finding the file, and the report of one that failed.

use std::ffi::OsStr;
use std::io::ErrorKind::{InvalidInput, NotFound};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlua::{MultiValue, Value};
use parking_lot::Mutex;

use super::{Arguments, NO_REQUEST, Native, refuse};
use crate::chunk::Stamp;
use crate::fault;
use crate::loader::{LoadError, Loader};
use crate::report::Report;
use crate::visit::Visit;

pub fn install(native: &Native<'_>, loader: &Arc<Mutex<Option<Loader>>>) -> mlua::Result<()> {
    let (slot, loading) = (native.slot.clone(), loader.clone());
    // include(file, including) -> true, number | true, nil, whether there is a failure to report | false, message
    let include = native.lua.create_function(move |lua, arguments: MultiValue| {
        let mut visit = slot.lock();
        let Some(visit) = visit.as_mut() else {
            return refuse(lua, NO_REQUEST);
        };
        let arguments = Arguments::new("include", arguments);
        let file = match arguments.string(1) {
            Ok(file) => PathBuf::from(OsStr::from_bytes(&file.as_bytes())),
            Err(message) => return refuse(lua, &message),
        };
        let including = arguments.value(2).as_string().map(|source| source.as_bytes().to_vec());
        let outcome = find(visit, &file, including.as_deref()).and_then(|(path, stamp)| {
            let language = visit.language(&path);
            let mut loader = loading.lock();
            let Some(loader) = loader.as_mut() else { return Ok(None) };
            loader.load(lua, &path, Some(stamp), language).map(Some).map_err(|error| (path, error))
        });
        let (number, failed) = match outcome {
            Ok(number) => (number, false),
            Err((_, LoadError::Io(error))) if matches!(error.kind(), NotFound | InvalidInput) => (None, false),
            Err((path, error)) => {
                visit.include_error = Some(error.into_error(&path));
                (None, true)
            }
        };
        let number = number.map_or(Value::Nil, |number| Value::Number(number.into()));
        Ok(MultiValue::from_iter([Value::Boolean(true), number, Value::Boolean(failed)]))
    })?;
    native.table.raw_set("include", include)?;

    let loading = loader.clone();
    // include_failed(message, frames) -> true, HTML to show in place or nil; without a message for a file that
    // could not be loaded.
    native.add("include_failed", move |lua, visit, arguments| {
        let frames = fault::frames(arguments.value(2), &visit.path);
        let mut error = match visit.include_error.take() {
            Some(mut error) => {
                error.frames = frames;
                error
            }
            None => {
                let message = arguments.text(1)?;
                let loader = loading.lock();
                fault::error(&message, frames, |path| loader.as_ref().and_then(|loader| loader.source(path)))
            }
        };
        visit.classify(&mut error);
        visit.exchange.report(Report(&error));
        Ok(match visit.show_errors {
            true => Value::String(lua.create_string(Report(&error).html_block()).map_err(|error| error.to_string())?),
            false => Value::Nil,
        })
    })
}

/// A relative path is looked up in the requested page's folder, then in the including file's own.
fn find(visit: &Visit, file: &Path, including: Option<&[u8]>) -> Result<(PathBuf, Stamp), (PathBuf, LoadError)> {
    let asked = visit.folder().join(file);
    let beside = including
        .and_then(|source| source.strip_prefix(b"@"))
        .and_then(|source| Path::new(OsStr::from_bytes(source)).parent())
        .map(|folder| folder.join(file));
    let missing = match stat(&asked) {
        Ok(stamp) => return Ok((asked, stamp)),
        Err(error) => error,
    };
    if let Some(beside) = beside
        && let Ok(stamp) = stat(&beside)
    {
        return Ok((beside, stamp));
    }
    Err((asked, LoadError::Io(missing)))
}

fn stat(path: &Path) -> std::io::Result<Stamp> {
    let file = path.metadata()?;
    match file.is_file() {
        true => Ok(Stamp::from(&file)),
        false => Err(std::io::Error::new(InvalidInput, "not a plain file")),
    }
}
