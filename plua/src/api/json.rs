//! JSON: the page functions `json.encode` and `json.decode`, and how Lua's values and JSON's stand for each other.
//!
//! Arrays that were decoded, or marked by `json.array`, share a metatable: without it an empty table is an object.
//! `null` is the light userdata that C modules such as cjson use too.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt::{self, Write};
use std::rc::Rc;

use mlua::{BorrowedBytes, Lua, Table, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::rows::{self, Columns, Kind};
use super::{Native, int64, is_exact};
use crate::limits::memory_limit::{OVER_MEMORY, OVER_TIME, Room};

/// How deep arrays and objects nest at most, in both directions: what serde_json reads without a stack of its own.
const DEEPEST: usize = 127;

/// Where a state keeps the metatable of arrays.
pub const ARRAY: &str = "plua.json.array";

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    let array = native.lua.create_table()?;
    native.lua.set_named_registry_value(ARRAY, &array)?;
    native.table.raw_set("json_array", array)?;
    native.table.raw_set("json_null", Value::NULL)?;
    let limit = native.limit.clone();
    native.add("json.encode", move |lua, _, arguments| {
        let room = Room::new(lua, &limit);
        let text = encode(lua, room, arguments.value(1)).map_err(|problem| match is_of_limit(&problem) {
            true => problem,
            false => arguments.bad(1, &problem),
        })?;
        room.copy(&text)
    })?;
    let limit = native.limit.clone();
    native.add("json.decode", move |lua, _, arguments| {
        value_or_problem(lua, Room::new(lua, &limit), &arguments.string(1)?.as_bytes())
    })
}

/// The Lua value of a JSON text, or nil and what is wrong with it: what `json.decode` and `getJson` give.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn value_or_problem(lua: &Lua, room: Room<'_>, text: &[u8]) -> Result<(Value, Option<String>), String> {
    match decode(lua, room, text) {
        Ok(value) => Ok((value, None)),
        // Not the text's fault: the page ends as it does wherever its memory or its time runs out.
        Err(problem) if is_of_limit(&problem) => Err(problem),
        Err(problem) => Ok((Value::Nil, Some(problem))),
    }
}

/// Whether a limit has stopped the work, and nothing is wrong with what was given.
fn is_of_limit(problem: &str) -> bool {
    problem.contains(OVER_MEMORY) || problem.contains(OVER_TIME)
}

/// The Lua value of a JSON text.
///
/// # Errors
/// What is wrong with it, with line and column.
pub fn decode(lua: &Lua, room: Room<'_>, text: &[u8]) -> Result<Value, String> {
    let array = lua.named_registry_value(ARRAY).map_err(|error| error.to_string())?;
    // Text with escapes is put together beside it.
    if text.len() > LONG {
        room.ask(text.len())?;
    }
    let mut text = serde_json::Deserializer::from_slice(text);
    let decoded = Decoder { lua, array: &array, room, values: &Cell::new(0) }.deserialize(&mut text);
    decoded.and_then(|value| text.end().map(|()| value)).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    lua: &'a Lua,
    array: &'a Table,
    room: Room<'a>,
    /// How many there were.
    values: &'a Cell<usize>,
}

/// Values, or entries of a table, between two questions whether there is room for more.
const BETWEEN_QUESTIONS: usize = 64;

impl Decoder<'_> {
    /// Before a value is added to a table.
    fn count<E: Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        match self.values.get().is_multiple_of(BETWEEN_QUESTIONS) {
            true => self.room.ask(0).map_err(E::custom),
            false => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Decoder<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Decoder<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::NULL)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        match is_exact(value) {
            true => Ok(Value::Integer(value)),
            false => self.visit_str(&value.to_string()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_str(&value.to_string()),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        if value.len() > LONG {
            self.room.ask(value.len()).map_err(E::custom)?;
        }
        self.lua.create_string(value).map(Value::String).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table().map_err(A::Error::custom)?;
        let mut position = 0;
        while let Some(item) = items.next_element_seed(self)? {
            position += 1;
            self.count()?;
            table.raw_set(position, item).map_err(A::Error::custom)?;
        }
        table.set_metatable(Some(self.array.clone())).map_err(A::Error::custom)?;
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table().map_err(A::Error::custom)?;
        while let Some(name) = members.next_key_seed(self)? {
            self.count()?;
            table.raw_set(name, members.next_value_seed(self)?).map_err(A::Error::custom)?;
        }
        Ok(Value::Table(table))
    }
}

/// The JSON text of a Lua value, objects' members in the order of their names. `<` is written `\u003c`, so that the
/// text may stand in a `<script>`.
///
/// # Errors
/// What JSON cannot hold, and where in the value it is.
pub fn encode(lua: &Lua, room: Room<'_>, value: &Value) -> Result<Vec<u8>, String> {
    let array = lua.named_registry_value(ARRAY).map_err(|error| error.to_string())?;
    let mut encoder = Encoder {
        lua,
        array,
        room,
        text: Vec::new(),
        allowed: 0,
        values: 0,
        path: Vec::new(),
        tables: Vec::new(),
        last_row: None,
    };
    match encoder.value(value) {
        Ok(()) => Ok(encoder.text),
        Err(problem) => Err(match encoder.place() {
            place if place.is_empty() => problem,
            place => format!("{problem}, at {place}"),
        }),
    }
}

/// Longest text of a value, in bytes: tables that are shared within it may stand for any number of others.
const LONGEST: usize = 64 << 20;

/// Bytes that what is no text takes at most, with what stands around it.
const LONGEST_PLAIN: usize = 64;

/// Bytes of one text before which is asked whether there is room for it.
const LONG: usize = 64 << 10;

struct Encoder<'a> {
    lua: &'a Lua,
    array: Table,
    room: Room<'a>,
    /// The metatable of the row before, and its columns.
    last_row: Option<(Table, Rc<Columns>)>,
    text: Vec<u8>,
    /// Length of the text up to which there is room.
    allowed: usize,
    /// Values so far.
    values: usize,
    /// Names and positions that lead to the value at hand; after an error, to the one that failed.
    path: Vec<Step>,
    /// The tables that hold the value at hand.
    tables: Vec<*const c_void>,
}

enum Step {
    Name(BorrowedBytes),
    Position(usize),
}

/// What a table is in JSON.
enum Shape {
    Array(Vec<Value>),
    Object(Vec<(BorrowedBytes, Value)>),
}

impl Encoder<'_> {
    /// Before so many bytes are added, or some more.
    fn ask(&mut self, more: usize) -> Result<(), String> {
        let length = self.text.len() + more;
        if length > self.allowed {
            // Once here and once in Lua. What is here has its place beforehand: a buffer that doubles leaves as much behind.
            self.allowed = length + length / 2 + LONG;
            self.room.ask(self.allowed + length)?;
            self.text.reserve_exact(self.allowed - self.text.len());
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), String> {
        if self.text.len() > LONGEST {
            return Err("the text is over 64 MiB".into());
        }
        self.values += 1;
        if self.values.is_multiple_of(BETWEEN_QUESTIONS) {
            self.room.look()?;
        }
        self.ask(LONGEST_PLAIN)?;
        match value {
            Value::Nil => self.text.extend_from_slice(b"null"),
            value if *value == Value::NULL => self.text.extend_from_slice(b"null"),
            Value::Boolean(truth) => self.text.extend_from_slice(if *truth { b"true" } else { b"false" }),
            // What Rust is given of a double that is whole.
            Value::Integer(integer) if !is_exact(*integer) => self.number(*integer as f64)?,
            Value::Integer(integer) => self.text.extend_from_slice(integer.to_string().as_bytes()),
            Value::Number(number) => self.number(*number)?,
            Value::String(string) => self.string(&string.as_bytes())?,
            Value::Table(table) => self.table(table)?,
            other => match int64(other) {
                Some(digits) => self.text.extend_from_slice(digits.as_bytes()),
                None => return Err(format!("a {} has no JSON", other.type_name())),
            },
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<(), String> {
        // Doubles up to this are written as integers, as Lua without integers means them. Beyond it the digits would be read
        // as text.
        const LARGEST: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            return Err(format!("{} has no JSON", if number.is_nan() { "NaN" } else { "infinity" }));
        }
        if number.fract() == 0.0 && number.abs() <= LARGEST {
            self.text.extend_from_slice((number as i64).to_string().as_bytes());
            return Ok(());
        }
        serde_json::to_writer(&mut self.text, &number).map_err(|error| error.to_string())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| format!("text that is not UTF-8 (byte {}) has no JSON", error.valid_up_to() + 1))?;
        // Those take six bytes.
        let is_longer = |byte: &&u8| matches!(byte, 0..=31 | b'"' | b'\\' | b'<');
        let size = bytes.len() + bytes.iter().filter(is_longer).count() * 5 + LONGEST_PLAIN;
        self.ask(size)?;
        let start = self.text.len();
        serde_json::to_writer(&mut self.text, text).map_err(|error| error.to_string())?;
        if memchr::memchr(b'<', bytes).is_some() {
            self.room.ask(self.allowed + size)?;
            let written = self.text.split_off(start);
            for (number, piece) in written.split(|byte| *byte == b'<').enumerate() {
                if number > 0 {
                    self.text.extend_from_slice(b"\\u003c");
                }
                self.text.extend_from_slice(piece);
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), String> {
        let pointer = table.to_pointer();
        if self.tables.contains(&pointer) {
            return Err("a table that holds itself has no JSON".into());
        }
        if self.tables.len() == DEEPEST {
            self.path.clear();
            return Err(format!("tables nest more than {DEEPEST} deep"));
        }
        self.tables.push(pointer);
        match self.shape(table)? {
            Shape::Array(items) => {
                self.text.push(b'[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        self.text.push(b',');
                    }
                    self.path.push(Step::Position(number + 1));
                    self.value(item)?;
                    self.path.pop();
                }
                self.text.push(b']');
            }
            Shape::Object(members) => {
                self.text.push(b'{');
                for (number, (name, value)) in members.into_iter().enumerate() {
                    if number > 0 {
                        self.text.push(b',');
                    }
                    let written = self.string(&name);
                    self.path.push(Step::Name(name));
                    written?;
                    self.text.push(b':');
                    self.value(&value)?;
                    self.path.pop();
                }
                self.text.push(b'}');
            }
        }
        self.tables.pop();
        Ok(())
    }

    fn shape(&mut self, table: &Table) -> Result<Shape, String> {
        let metatable = table.metatable();
        let kind = match &metatable {
            Some(metatable) if *metatable != self.array => self.kind(metatable)?,
            _ => Kind::Other,
        };
        if let Kind::Row(columns) = kind {
            return self.row(table, &columns);
        }
        let (mut items, mut members) = (Vec::new(), Vec::new());
        let entry = size_of::<(BorrowedBytes, Value)>();
        table
            .for_each(|key: Value, value: Value| {
                let count = items.len() + members.len();
                if count % BETWEEN_QUESTIONS == BETWEEN_QUESTIONS - 1 {
                    self.room.ask(count * entry * 2).map_err(mlua::Error::runtime)?;
                }
                match key {
                    Value::String(name) => members.push((name.as_bytes(), value)),
                    key => items.push((position(&key), value)),
                }
                Ok(())
            })
            .map_err(|error| error.to_string())?;
        let marked = matches!(kind, Kind::Result) || metatable.is_some_and(|metatable| metatable == self.array);
        if items.is_empty() && !marked {
            members.sort_unstable_by(|(one, _), (other, _)| one[..].cmp(&other[..]));
            return Ok(Shape::Object(members));
        }
        items.sort_unstable_by_key(|(position, _)| *position);
        let is_array = items.iter().enumerate().all(|(number, (position, _))| *position == Some(number + 1));
        match is_array && members.is_empty() {
            true => Ok(Shape::Array(items.into_iter().map(|(_, value)| value).collect())),
            false => Err("a table whose keys are neither all text nor 1, 2, 3 without a gap has no JSON".into()),
        }
    }

    /// What a table with this metatable is to a database. The rows of a result share theirs, and nothing changes it meanwhile.
    fn kind(&mut self, metatable: &Table) -> Result<Kind, String> {
        if let Some((last, columns)) = &self.last_row
            && last == metatable
        {
            return Ok(Kind::Row(columns.clone()));
        }
        let kind = rows::kind(self.lua, self.room, metatable).map_err(|error| error.to_string())?;
        if let Kind::Row(columns) = &kind {
            self.last_row = Some((metatable.clone(), columns.clone()));
        }
        Ok(kind)
    }

    /// A row: its columns in their order, then what the page has added under other names.
    fn row(&self, table: &Table, columns: &Columns) -> Result<Shape, String> {
        self.room.ask(columns.named.len() * size_of::<(BorrowedBytes, Value)>())?;
        let mut members = Vec::with_capacity(columns.named.len());
        for (position, name) in &columns.named {
            // Under its name where the page has set that in a raw way.
            let named = table.raw_get::<Value>(name);
            let value = match named.map_err(|error| error.to_string())? {
                Value::Nil => table.raw_get(*position).map_err(|error| error.to_string())?,
                named => named,
            };
            members.push((name.as_bytes(), value));
        }
        let own = members.len();
        table
            .for_each(|key: Value, value: Value| {
                if let Value::String(name) = key
                    && !columns.names.contains(&*name.as_bytes())
                {
                    members.push((name.as_bytes(), value));
                }
                Ok(())
            })
            .map_err(|error| error.to_string())?;
        members[own..].sort_unstable_by(|(one, _), (other, _)| one[..].cmp(&other[..]));
        Ok(Shape::Object(members))
    }

    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            let dot = if place.is_empty() { "" } else { "." };
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Name(name) => write!(place, "{dot}{}", String::from_utf8_lossy(name)),
                Step::Position(position) => write!(place, "[{position}]"),
            };
        }
        place
    }
}

/// The position in an array that a key is, if it is one.
fn position(key: &Value) -> Option<usize> {
    match key {
        Value::Integer(integer) => usize::try_from(*integer).ok(),
        Value::Number(number) if number.fract() == 0.0 && *number >= 1.0 => Some(*number as usize),
        _ => None,
    }
}
