//! The page functions `file.*`. Relative paths start at the folder of the page asked for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mlua::{BString, Value};
use nix::unistd::{AccessFlags, access};

use super::{Arguments, IN_FINALIZER, Native};
use crate::error::{Error, ErrorKind};
use crate::exchange::held_file::HeldFile;
use crate::limits::memory_limit::Room;
use crate::limits::time_limit::Reason;
use crate::output::ffi_functions;
use crate::request::visit::Visit;
use crate::sandbox::confinement;
use crate::settings::Settings;

/// Files up to this size, in bytes, become part of the output; larger ones are streamed.
pub const LARGEST_BUFFERED: u64 = 1 << 20;

/// Longest path that the system takes, in bytes.
const LONGEST_PATH: usize = libc::PATH_MAX as usize;

/// Largest file, in bytes, that becomes part of an output that cannot be streamed.
const LARGEST_CAPTURED: u64 = 256 << 20;

pub fn install(native: &Native<'_>, settings: &Settings) -> mlua::Result<()> {
    native.table.raw_set("is_confined", confinement::holds(settings))?;
    // within(path, whether it is an entry to be removed or renamed) -> where it leads | nil, why it may not be opened.
    // Finalizers and pLuaInit are confined as pages are.
    let (slot, host) = (native.slot.clone(), settings.clone());
    native.add_path("within", move |(name, is_entry): (BString, bool)| {
        let name = OsString::from_vec(name.into());
        match slot.try_lock().as_deref() {
            _ if name.as_bytes().contains(&0) => Err("a path holds no NUL".into()),
            // The refusal would repeat it.
            _ if name.len() > LONGEST_PATH => Err("File name too long".into()),
            Some(Some(visit)) if is_entry => visit.reach_entry(name),
            Some(Some(visit)) => visit.reach(name),
            Some(None) => {
                let path = env::current_dir().map_err(|error| error.to_string())?.join(name);
                if is_entry { confinement::entry_within(&host, &path) } else { confinement::within(&host, &path) }
            }
            None => Err(IN_FINALIZER.into()),
        }
    })?;
    // temporary_file(whether pages get its name) -> path of a new file in pLuaUploadFolder | nil, why there is none
    let confining = settings.clone();
    native.add_path("temporary_file", move |is_named: bool| temporary_file(&confining, is_named))?;
    // opens_files() -> whether there is a request, whose files are closed when it ends
    let slot = native.slot.clone();
    native.add_plain("opens_files", move |_, ()| {
        let mut visit = slot.try_lock();
        let visit = visit.as_deref_mut().and_then(Option::as_deref_mut);
        Ok(visit.map(|visit| visit.opens_files = true).is_some())
    })?;
    native.add("file.exists", |_, visit, arguments| {
        Ok(access(&path(visit, &arguments, 1)?, AccessFlags::R_OK).is_ok())
    })?;
    native.add("file.rename", |_, visit, arguments| {
        Ok(fs::rename(entry(visit, &arguments, 1)?, entry(visit, &arguments, 2)?).is_ok())
    })?;
    native.add("file.unlink", |_, visit, arguments| Ok(fs::remove_file(entry(visit, &arguments, 1)?).is_ok()))?;
    native.add("file.stat", |lua, visit, arguments| {
        let Ok(found) = fs::metadata(path(visit, &arguments, 1)?) else { return Ok(None) };
        let facts = lua.create_table_from([
            ("size", found.len() as i64),
            ("created", found.ctime()),
            ("modified", found.mtime()),
            ("accessed", found.atime()),
            ("mode", found.mode().into()),
        ]);
        facts.map(Some).map_err(|error| error.to_string())
    })?;
    // held_bytes() -> those of the file that is held, which is none any more; nil if none was.
    let limit = native.limit.clone();
    native.add("held_bytes", move |lua, visit, _| {
        let Some(held) = visit.held.take() else { return Ok(None) };
        if held.size() > LARGEST_CAPTURED {
            return Err("the file is too large for output that is not sent at once".into());
        }
        // Once as bytes and once as Lua's string.
        Room::new(lua, &limit).ask(held.size() as usize * 2)?;
        let bytes = held.bytes().map_err(|error| format!("the file cannot be read: {error}"))?;
        lua.create_string(bytes).map(Some).map_err(|error| error.to_string())
    })?;
    // file.send(path, whether the output is captured, contents of the output if it is not) -> the bytes, or false, or nil for
    // a file to be streamed, or the size of one that is held.
    let limit = native.limit.clone();
    native.add("file.send", move |lua, visit, arguments| {
        let path = path(visit, &arguments, 1)?;
        let Ok((file, facts)) = open(&path) else { return Ok(Value::Boolean(false)) };
        let size = if facts.is_file() { facts.len() } else { 0 };
        let captured = arguments.is_true(2);
        if captured && size > LARGEST_CAPTURED {
            return Err(arguments.bad(1, "the file is too large for output that is not sent at once"));
        }
        if !captured && size > 0 && !visit.response.head_sent && visit.held.is_none() {
            let before = [arguments.value(3).clone(), arguments.value(4).clone()];
            if ffi_functions::with_contents(&before, <[u8]>::is_empty)? {
                if visit.is_too_much(usize::try_from(size).unwrap_or(usize::MAX / 2)) {
                    limit.go_over(Reason::Output);
                    return Ok(Value::Integer(0));
                }
                visit.held = Some(HeldFile { path, file, facts }.into());
                return Ok(Value::Integer(size as i64));
            }
        }
        if !captured && size > LARGEST_BUFFERED {
            return Ok(Value::Nil);
        }
        // Once as bytes and once as Lua's string.
        Room::new(lua, &limit).ask(size as usize * 2)?;
        let mut bytes = Vec::with_capacity(size as usize);
        match file.take(size).read_to_end(&mut bytes) {
            Ok(_) => lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string()),
            Err(_) => Ok(Value::Boolean(false)),
        }
    })?;
    // stream_file(path, contents of the output) -> bytes sent, or false if the file cannot be read, or nil if the
    // client is gone.
    let limit = native.limit.clone();
    native.add("stream_file", move |_, visit, arguments| {
        let Ok((file, facts)) = open(&path(visit, &arguments, 1)?) else { return Ok(Value::Boolean(false)) };
        let size = if facts.is_file() { facts.len() } else { 0 };
        let before = [arguments.value(2).clone(), arguments.value(3).clone()];
        let sent = ffi_functions::with_contents(&before, |bytes| {
            if visit.is_too_much(bytes.len() + usize::try_from(size).unwrap_or(usize::MAX / 2)) {
                limit.go_over(Reason::Output);
                return Ok(Ok(0));
            }
            visit.expect_length(bytes.len() as u64 + size)?;
            let sent = visit.stream(bytes).and_then(|()| visit.stream_pieces(file.take(size)));
            Ok::<_, String>(sent.and_then(|sent| visit.flush().map(|()| sent)))
        })??;
        Ok(unless_gone(visit, sent)?.map_or(Value::Nil, |sent| Value::Integer(sent as i64)))
    })
}

/// What became of sending: none when the client is gone.
///
/// # Errors
/// What the page is told of half a file, which must not look whole.
pub fn unless_gone<T>(visit: &mut Visit, sent: io::Result<T>) -> Result<Option<T>, String> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(visit.refuse(Error::new(ErrorKind::TimeLimit, "a file took too long to send (timed out)!")))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
        sent => Ok(sent.ok()),
    }
}

/// Makes an empty file that no other has the name of. Pages must be able to open it by its name if they get it.
fn temporary_file(settings: &Settings, is_named: bool) -> Result<PathBuf, String> {
    let mut folder = settings.upload_folder().to_path_buf();
    if is_named {
        folder = confinement::within(settings, &folder)
            .map_err(|_| "no temporary file can be named: pLuaUploadFolder is not within pLuaBaseDir")?;
    }
    tempfile::Builder::new()
        .prefix("plua-")
        .tempfile_in(&folder)
        .and_then(|file| file.into_temp_path().keep().map_err(io::Error::from))
        .map_err(|error| format!("no temporary file: {error}"))
}

fn name(arguments: &Arguments, position: usize) -> Result<OsString, String> {
    let name = arguments.string(position)?.as_bytes();
    // The system refuses the beginning of one that is too long as well as all of it.
    let name = &name[..name.len().min(LONGEST_PATH + 1)];
    if name.contains(&0) {
        return Err(arguments.bad(position, "a path holds no NUL"));
    }
    Ok(OsStr::from_bytes(name).to_os_string())
}

fn path(visit: &Visit, arguments: &Arguments, position: usize) -> Result<PathBuf, String> {
    visit.reach(name(arguments, position)?)
}

fn entry(visit: &Visit, arguments: &Arguments, position: usize) -> Result<PathBuf, String> {
    visit.reach_entry(name(arguments, position)?)
}

/// A file to be sent, which is no folder, and what it is. A device has no end, and no size that counts.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // A pipe that nobody writes to must not hold the page.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    match facts.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok((file, facts)),
    }
}
