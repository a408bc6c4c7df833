//! Page functions for the request's body: as it is, as JSON, as a form, and as uploaded files; and for the query's fields.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use mlua::{Lua, LuaString, Table, Value};

use super::fields::Tables;
use super::{Arguments, Native, json};
use crate::error::{Error, ErrorKind, shortened};
use crate::limits::memory_limit::Room;
use crate::request::form::{self, Form, Upload};
use crate::request::nested::{DEEPEST, Key, Node, Refusal, Tree};
use crate::request::visit::Visit;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    let limit = native.limit.clone();
    native.add("getRequestBody", move |lua, visit, arguments| {
        let room = Room::new(lua, &limit);
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
            return Ok((string(lua, &whole_body(visit, room)?)?, Value::Integer(size as i64)));
        };
        let copied = form::open_target(&file, true).and_then(|mut target| body.copy_to(&mut target, room));
        room.look()?;
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
    native.add("getJson", move |lua, visit, _| match whole_body(visit, Room::new(lua, &limit))?.as_slice() {
        [] => Ok((Value::Nil, Some("the request has no body".to_string()))),
        body => json::value_or_problem(lua, Room::new(lua, &limit), body),
    })?;
    let tables = native.tables.clone();
    native.add("parseGet", move |lua, visit, arguments| {
        let is_nested = is_nested(&arguments)?;
        let limits = visit.limits;
        let fields = match visit.decoded_query() {
            Ok(fields) => fields,
            Err(error) => return Err(visit.refuse(error)),
        };
        if !is_nested {
            return tables.table(&fields).map_err(|error| error.to_string());
        }
        match Tree::of(fields.iter(), limits.fields) {
            Ok(tree) => nested_table(lua, tree, &mut |text| string(lua, text)),
            Err(refusal) => Err(visit.refuse(refused(refusal, "query", limits.fields))),
        }
    })?;
    native.add("plua.get", |lua, visit, arguments| {
        let name = arguments.text(1)?;
        match visit.query() {
            Ok(fields) => text_or(lua, fields.values_of(&name).last(), arguments.value(2)),
            Err(error) => Err(visit.refuse(error)),
        }
    })?;
    native.add("plua.getAll", |lua, visit, arguments| {
        let name = arguments.text(1)?;
        match visit.query() {
            Ok(fields) => array(lua, fields.values_of(&name)),
            Err(error) => Err(visit.refuse(error)),
        }
    })?;
    let (tables, limit) = (native.tables.clone(), native.limit.clone());
    native.add("parsePost", move |lua, visit, arguments| {
        let room = Room::new(lua, &limit);
        let is_nested = is_nested(&arguments)?;
        let most = visit.limits.fields;
        let form = match visit.form(Room::new(lua, &limit)) {
            Ok(form) => form,
            Err(error) => return Err(visit.refuse(error)),
        };
        if !is_nested {
            return form_table(lua, room, &tables, form);
        }
        let Form { fields, parts, uploads } = form;
        let typed = fields.iter().map(|(name, text)| (name, Ok(text)));
        let parts = parts.iter().map(|(name, value)| match value {
            form::Value::Text(text) => (name.as_slice(), Ok(text.as_slice())),
            form::Value::File(number) => (name.as_slice(), Err(*number)),
        });
        let tree = match Tree::of(typed.chain(parts), most) {
            Ok(tree) => tree,
            Err(refusal) => return Err(visit.refuse(refused(refusal, "form", most))),
        };
        nested_table(lua, tree, &mut |value| match value {
            Ok(text) => string(lua, text),
            Err(number) => {
                let Some(upload) = uploads.get_mut(number) else { return Ok(Value::Nil) };
                let file = [string(lua, upload.base_name())?, string(lua, &content(room, upload)?)?];
                lua.create_sequence_from(file).map(Value::Table).map_err(|error| error.to_string())
            }
        })
    })?;
    let limit = native.limit.clone();
    native.add("plua.post", move |lua, visit, arguments| {
        let name = arguments.text(1)?;
        match visit.form(Room::new(lua, &limit)) {
            Ok(form) => text_or(lua, form.texts_of(&name).last(), arguments.value(2)),
            Err(error) => Err(visit.refuse(error)),
        }
    })?;
    let limit = native.limit.clone();
    native.add("plua.postAll", move |lua, visit, arguments| {
        let name = arguments.text(1)?;
        match visit.form(Room::new(lua, &limit)) {
            Ok(form) => array(lua, form.texts_of(&name)),
            Err(error) => Err(visit.refuse(error)),
        }
    })?;
    // uploads() -> array of { field=, name=, type=, size=, path= }
    let limit = native.limit.clone();
    native.add("uploads", move |lua, visit, _| {
        let form = match visit.form(Room::new(lua, &limit)) {
            Ok(form) => form,
            Err(error) => return Err(visit.refuse(error)),
        };
        let uploads = form.uploads.iter().map(|upload| describe(lua, upload)).collect::<mlua::Result<Vec<_>>>();
        uploads.and_then(|uploads| lua.create_sequence_from(uploads)).map_err(|error| error.to_string())
    })?;
    // upload:save(file, path of the upload) -> true, nil | nil, message
    let limit = native.limit.clone();
    native.add("upload:save", move |lua, visit, arguments| {
        let room = Room::new(lua, &limit);
        let name = name(&arguments, 1)?;
        let saved = visit.reach(name).and_then(|target| match upload(visit, arguments.value(2)) {
            Some(upload) => upload.save(&target, room).map_err(|error| format!("{}: {error}", target.display())),
            None => Err(GONE.to_string()),
        });
        match saved {
            Ok(()) => Ok((Value::Boolean(true), Value::Nil)),
            Err(message) => Ok((Value::Nil, string(lua, message.as_bytes())?)),
        }
    })?;
    // upload:read(path of the upload) -> contents, nil | nil, message
    let limit = native.limit.clone();
    native.add("upload:read", move |lua, visit, arguments| {
        let room = Room::new(lua, &limit);
        let read = match upload(visit, arguments.value(1)) {
            Some(upload) => {
                ask_for(room, upload.size)?;
                upload.read().map_err(|error| error.to_string())
            }
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

/// Asks for the room of so many bytes in Rust and in Lua.
fn ask_for(room: Room<'_>, size: u64) -> Result<(), &'static str> {
    room.ask(usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2))
}

fn content(room: Room<'_>, upload: &mut Upload) -> Result<Vec<u8>, String> {
    ask_for(room, upload.size)?;
    upload.read().map_err(|error| format!("an uploaded file cannot be read: {error}"))
}

/// The option of a parser: whether brackets in names make tables.
fn is_nested(arguments: &Arguments) -> Result<bool, String> {
    let mut is_nested = false;
    for (name, value) in arguments.options(1)?.unwrap_or_default() {
        match (name.as_str(), value.as_boolean()) {
            ("nested", Some(chosen)) => is_nested = chosen,
            ("nested", None) => return Err(arguments.bad(1, "nested is true or false")),
            _ => return Err(arguments.bad(1, &format!("no option is called '{name}'"))),
        }
    }
    Ok(is_nested)
}

/// The text of a field, or what the page wants in its place.
fn text_or(lua: &Lua, text: Option<&[u8]>, default: &Value) -> Result<Value, String> {
    text.map_or_else(|| Ok(default.clone()), |text| string(lua, text))
}

/// All texts, as an array in JSON too.
fn array<'t>(lua: &Lua, texts: impl Iterator<Item = &'t [u8]>) -> Result<Table, String> {
    let make = || {
        let array = lua.create_table()?;
        for text in texts {
            array.raw_push(lua.create_string(text)?)?;
        }
        array.set_metatable(lua.named_registry_value(json::ARRAY)?)?;
        Ok(array)
    };
    make().map_err(|error: mlua::Error| error.to_string())
}

/// The tables that names with brackets make.
fn nested_table<V>(
    lua: &Lua,
    tree: Tree<V>,
    value: &mut dyn FnMut(V) -> Result<Value, String>,
) -> Result<Table, String> {
    let table = lua.create_table().map_err(|error| error.to_string())?;
    for (key, node) in tree.entries {
        let key = match key {
            Key::Number(number) => Value::Integer(number),
            Key::Text(text) => string(lua, &text)?,
        };
        let value = match node {
            Node::Value(one) => value(one)?,
            Node::Table(inner) => Value::Table(nested_table(lua, inner, value)?),
        };
        table.raw_set(key, value).map_err(|error| error.to_string())?;
    }
    Ok(table)
}

/// What names that make too many tables are answered.
fn refused(refusal: Refusal, what: &str, most: usize) -> Error {
    match refusal {
        Refusal::TooDeep => {
            Error::new(ErrorKind::BadRequest, format!("a field of the {what} is in more than {DEEPEST} tables"))
        }
        Refusal::TooMany => Error::new(
            ErrorKind::TooLarge,
            format!("the names of the {what}'s fields make more than {most} tables (pLuaFields)"),
        ),
    }
}

/// The fields of a form: text, and files as name and contents.
fn form_table(lua: &Lua, room: Room<'_>, tables: &Tables, form: &mut Form) -> Result<Table, String> {
    let table = tables.table(&form.fields).map_err(|error| error.to_string())?;
    for (name, value) in &form.parts {
        match value {
            form::Value::Text(text) => add(lua, &table, name, &[text]),
            form::Value::File(number) => {
                let Some(upload) = form.uploads.get_mut(*number) else { continue };
                let content = content(room, upload)?;
                add(lua, &table, name, &[upload.base_name(), &content])
            }
        }
        .map_err(|error| error.to_string())?;
    }
    Ok(table)
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
    Ok(OsStr::from_bytes(shortened(&text)).to_os_string())
}

/// The body in memory, as far as `pLuaUploadSize` allows it.
fn whole_body(visit: &mut Visit, room: Room<'_>) -> Result<Vec<u8>, String> {
    let limits = visit.limits;
    let body = match visit.body() {
        Ok(body) => body,
        Err(error) => return Err(visit.refuse(error)),
    };
    if let Err(error) = form::check_size(body.size(), "a body taken whole is", &limits) {
        return Err(visit.refuse(error));
    }
    ask_for(room, body.size())?;
    body.bytes().map(Cow::into_owned).map_err(|error| error.to_string())
}
