//! Modules written in Lua for requests with globals of their own: finding and loading what `require` names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Value};
use parking_lot::Mutex;

use super::Native;
use crate::cache::chunk::{Language, Stamp};
use crate::cache::loader::{LoadError, Loader};
use crate::limits::memory_limit::Room;
use crate::request::visit::Visit;

/// Bytes that the name of a module, the templates of its place, and one place take at most. libraries.lua has the same.
const LONGEST_NAME: usize = 1000;
const LONGEST_TEMPLATES: usize = 64 << 10;
const LONGEST_PLACE: usize = libc::PATH_MAX as usize;

pub fn install(native: &Native<'_>, loader: &Arc<Mutex<Option<Loader>>>) -> mlua::Result<()> {
    // module(name, templates) -> number, file | nil, where it was looked for | nil, nil, what is wrong with the file
    let loading = loader.clone();
    let limit = native.limit.clone();
    native.add("module", move |lua, visit, arguments| {
        let room = Room::new(lua, &limit);
        let (name, templates) = (arguments.text(1)?, arguments.text(2)?);
        if name.len() > LONGEST_NAME {
            return Err("the module's name is too long".into());
        }
        if templates.len() > LONGEST_TEMPLATES {
            return Err(format!("package.path is longer than {LONGEST_TEMPLATES} bytes"));
        }
        let mut tried = Vec::new();
        let folder = visit.folder().to_path_buf();
        for place in places(&folder, &name, &templates) {
            room.ask(tried.len() * 2 + LONGEST_PLACE)?;
            let reached = visit.reach(&place);
            let found = reached.as_ref().ok().and_then(|path| Some((path, path.metadata().ok()?)));
            let Some((path, file)) = found.filter(|(_, file)| file.is_file()) else {
                tried.extend_from_slice(b"\n\tno file '");
                tried.extend_from_slice(place.as_os_str().as_bytes());
                tried.push(b'\'');
                if reached.is_err_and(|refusal| refusal.contains("pLuaBaseDir")) {
                    tried.extend_from_slice(b" within pLuaBaseDir");
                }
                continue;
            };
            let mut loader = loading.lock();
            let loader = loader.as_mut().ok_or("the state has no loader")?;
            return match loader.load(lua, path, Some(Stamp::from(&file)), Language::Raw) {
                Ok(number) => results(lua, (number, lua.create_string(path.as_os_str().as_bytes()))),
                Err(error) => failed(lua, visit, &name, path, error),
            };
        }
        results(lua, (Value::Nil, lua.create_string(tried)))
    })?;
    // module_search() before a module of the state's is found and read, note_module(file) after it
    let loading = loader.clone();
    native.add_plain("module_search", move |_, ()| {
        if let Some(loader) = loading.lock().as_mut() {
            loader.modules.search();
        }
        Ok(())
    })?;
    let loading = loader.clone();
    native.add_plain("note_module", move |_, file: LuaString| {
        if let Some(loader) = loading.lock().as_mut() {
            loader.modules.note(Path::new(OsStr::from_bytes(&file.as_bytes())));
        }
        Ok(())
    })
}

/// Where a module of this name may be; relative templates start at the folder.
fn places(folder: &Path, name: &[u8], templates: &[u8]) -> impl Iterator<Item = PathBuf> {
    let name: Vec<u8> = name.iter().map(|byte| if *byte == b'.' { b'/' } else { *byte }).collect();
    templates.split(|byte| *byte == b';').filter(|template| !template.is_empty()).filter_map(move |template| {
        let template = template.strip_prefix(b"./").unwrap_or(template);
        let marks = template.iter().filter(|byte| **byte == b'?').count();
        // No file has so long a path.
        if template.len() + marks * name.len() > LONGEST_PLACE {
            return None;
        }
        let pieces: Vec<&[u8]> = template.split(|byte| *byte == b'?').collect();
        Some(folder.join(OsStr::from_bytes(&pieces.join(name.as_slice()))))
    })
}

/// What is wrong with a module's file, which is kept to be reported with its place.
fn failed(lua: &Lua, visit: &mut Visit, name: &[u8], path: &Path, error: LoadError) -> Result<MultiValue, String> {
    let error = error.into_error(path);
    let place = error.place.as_ref().map_or(String::new(), |place| format!("{}:{}: ", place.file, place.line));
    let name = String::from_utf8_lossy(name);
    let text = format!("error loading module '{name}' from file '{}':\n\t{place}{}", path.display(), error.message);
    let told = lua.create_string(&text);
    visit.load_error = Some((text, error).into());
    results(lua, (Value::Nil, Value::Nil, told))
}

fn results(lua: &Lua, values: impl IntoLuaMulti) -> Result<MultiValue, String> {
    values.into_lua_multi(lua).map_err(|error| error.to_string())
}
