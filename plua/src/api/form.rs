//! Page functions for the request's body: as it is, as JSON, as a form, and as uploaded files.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use mlua::{Lua, LuaString, Table, Value};

use super::fields::Tables;
use super::{Arguments, Native, json};
use crate::form::{self, Upload};
use crate::memory_limit::Room;
use crate::query::Fields;
use crate::visit::Visit;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("getRequestBody", |lua, visit, arguments| {
        let file = match arguments.value(1) {
            Value::Nil => None,
            _ => Some(visit.reach(name(&arguments, 1)?)?),
        };
        let expects_body = matches!(&*visit.exchange.request().method, b"POST" | b"PUT" | b"PATCH");
        let body = match visit.body() {
            Ok(body) => body,
            Err(error) => return Err(visit.refuse(error)),
        };
        let size = body.size();
        if size == 0 && !expects_body {
            return Ok((Value::Nil, Value::Nil));
        }
        let Some(file) = file else {
            return Ok((string(lua, &whole_body(visit)?)?, Value::Integer(size as i64)));
        };
        let copied = form::open_target(&file, true).and_then(|mut target| body.copy_to(&mut target));
        Ok((copied.map_or(Value::Boolean(false), |()| Value::Integer(size as i64)), Value::Nil))
    })?;
    // body_piece(offset, most) -> so much of the body from there on, or nil behind its end
    let limit = native.limit.clone();
    native.add("body_piece", move |lua, visit, arguments| {
        let (offset, most) = (arguments.number(1)? as u64, arguments.number(2)? as usize);
        Room::new(lua, &limit).ask(most)?;
        let body = match visit.body() {
            Ok(body) => body,
            Err(error) => return Err(visit.refuse(error)),
        };
        match body.piece(offset, most).map_err(|error| error.to_string())?.as_slice() {
            [] => Ok(Value::Nil),
            piece => string(lua, piece),
        }
    })?;
    let limit = native.limit.clone();
    native.add("getJson", move |lua, visit, _| match whole_body(visit)?.as_slice() {
        [] => Ok((Value::Nil, Some("the request has no body".to_string()))),
        body => json::value_or_problem(lua, Room::new(lua, &limit), body),
    })?;
    let tables = native.tables.clone();
    native.add("parsePost", move |lua, visit, _| {
        if &*visit.exchange.request().method != b"POST" {
            return lua.create_table().map_err(|error| error.to_string());
        }
        let form = match visit.form() {
            Ok(form) => form,
            Err(error) => return Err(visit.refuse(error)),
        };
        // They are handed out once.
        let typed = std::mem::take(&mut form.fields);
        let table = tables.table(&typed).map_err(|error| error.to_string())?;
        for (name, value) in std::mem::take(&mut form.parts) {
            match value {
                form::Value::Text(text) => add(lua, &table, &name, &[&text]),
                form::Value::File(number) => {
                    let Some(upload) = form.uploads.get_mut(number) else { continue };
                    let content = upload.read().map_err(|error| format!("an uploaded file cannot be read: {error}"))?;
                    add(lua, &table, &name, &[&upload.file_name, &content])
                }
            }
            .map_err(|error| error.to_string())?;
        }
        Ok(table)
    })?;
    // uploads() -> array of { field=, name=, type=, size=, path= }
    native.add("uploads", |lua, visit, _| {
        let form = match visit.form() {
            Ok(form) => form,
            Err(error) => return Err(visit.refuse(error)),
        };
        let uploads = form.uploads.iter().map(|upload| describe(lua, upload)).collect::<mlua::Result<Vec<_>>>();
        uploads.and_then(|uploads| lua.create_sequence_from(uploads)).map_err(|error| error.to_string())
    })?;
    // upload:save(file, path of the upload) -> true, nil | nil, message
    native.add("upload:save", |lua, visit, arguments| {
        let name = name(&arguments, 1)?;
        let saved = visit.reach(name).and_then(|target| match upload(visit, arguments.value(2)) {
            Some(upload) => upload.save(&target).map_err(|error| format!("{}: {error}", target.display())),
            None => Err(GONE.to_string()),
        });
        match saved {
            Ok(()) => Ok((Value::Boolean(true), Value::Nil)),
            Err(message) => Ok((Value::Nil, string(lua, message.as_bytes())?)),
        }
    })?;
    // upload:read(path of the upload) -> contents, nil | nil, message
    native.add("upload:read", |lua, visit, arguments| {
        let read = match upload(visit, arguments.value(1)) {
            Some(upload) => upload.read().map_err(|error| error.to_string()),
            None => Err(GONE.to_string()),
        };
        match read {
            Ok(bytes) => Ok((string(lua, &bytes)?, Value::Nil)),
            Err(message) => Ok((Value::Nil, string(lua, message.as_bytes())?)),
        }
    })
}

const GONE: &str = "no file of this request: uploads go with the request they came with";

fn string(lua: &Lua, bytes: &[u8]) -> Result<Value, String> {
    lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string())
}

/// Puts the values of a part into a table; a name that is repeated, or a file, has an array of them in order.
///
/// # Errors
/// Lua's, when memory runs out.
fn add(lua: &Lua, fields: &Table, name: &[u8], values: &[&[u8]]) -> mlua::Result<()> {
    let name = lua.create_string(name)?;
    let values: Vec<LuaString> = values.iter().map(|value| lua.create_string(value)).collect::<mlua::Result<_>>()?;
    match (fields.raw_get::<Value>(&name)?, values.as_slice()) {
        (Value::Nil, [value]) => fields.raw_set(name, value),
        (Value::Nil, values) => fields.raw_set(name, lua.create_sequence_from(values)?),
        (Value::Table(known), values) => values.iter().try_for_each(|value| known.raw_push(value)),
        (first, values) => {
            let all = lua.create_sequence_from([first])?;
            values.iter().try_for_each(|value| all.raw_push(value))?;
            fields.raw_set(name, all)
        }
    }
}

fn describe(lua: &Lua, upload: &Upload) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (key, text) in [
        ("field", upload.field.as_slice()),
        ("name", upload.base_name()),
        ("type", &upload.content_type),
        ("path", upload.path.as_os_str().as_bytes()),
    ] {
        table.raw_set(key, lua.create_string(text)?)?;
    }
    table.raw_set("size", upload.size as i64)?;
    Ok(table)
}

/// The upload with this temporary path.
fn upload<'v>(visit: &'v mut Visit, path: &Value) -> Option<&'v mut Upload> {
    let path = path.as_string()?.as_bytes().to_vec();
    visit.form.as_mut()?.uploads.iter_mut().find(|upload| upload.path.as_os_str().as_bytes() == path)
}

/// The name of a file.
fn name(arguments: &Arguments, position: usize) -> Result<OsString, String> {
    let text = arguments.string(position)?.as_bytes().to_vec();
    if text.is_empty() || text.contains(&0) {
        return Err(arguments.bad(position, "a path is not empty and holds no NUL"));
    }
    Ok(OsStr::from_bytes(&text).to_os_string())
}

/// The fields of a query.
///
/// # Errors
/// The message for a page whose query has too many.
pub fn query_fields(tables: &Tables, visit: &mut Visit) -> Result<Table, String> {
    let request = visit.exchange.request();
    match Fields::decode(request.query.as_deref().unwrap_or_default(), visit.limits.fields) {
        Some(fields) => tables.table(&fields).map_err(|error| error.to_string()),
        None => {
            let error = form::too_many_fields("query", &visit.limits);
            Err(visit.refuse(error))
        }
    }
}

/// The body in memory, as far as `pLuaUploadSize` allows it.
fn whole_body(visit: &mut Visit) -> Result<Vec<u8>, String> {
    let limits = visit.limits;
    let body = match visit.body() {
        Ok(body) => body,
        Err(error) => return Err(visit.refuse(error)),
    };
    if let Err(error) = form::check_size(body.size(), "a body taken whole is", &limits) {
        return Err(visit.refuse(error));
    }
    body.bytes().map(Cow::into_owned).map_err(|error| error.to_string())
}
