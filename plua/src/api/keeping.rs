//! The page function `plua.cachePage`, as cached_page.lua calls it: what becomes of a page that wants its answer kept.

use mlua::Value;

use super::response::is_token;
use super::{Arguments, Native};
use crate::request::keeping::{Step, Wish};
use crate::shared::CACHE;

/// Headers of a request that an answer may depend on.
const MOST_NAMES: usize = 8;

/// Bytes of a header's name, and of what stands in the place of a query.
const LONGEST_NAME: usize = 64;
const LONGEST_KEY: usize = 512;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("plua.cachePage", |_, visit, arguments| {
        let wish = wish(&arguments)?;
        if !visit.host.shared().any(|shared| shared.name == CACHE) {
            return Err(
                "plua.cachePage keeps pages in the store 'cache', which the host has not: pLuaShared cache 10M".into(),
            );
        }
        visit.keep_page(wish).map(name)
    })?;
    // look_again() -> what has become of a page that waits for another one who makes it
    native.add("look_again", |_, visit, _| Ok(name(visit.look_at_kept())))
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Makes => "makes",
        Step::Not => "not",
        Step::Kept => "kept",
        Step::Waits => "waits",
    }
}

fn wish(arguments: &Arguments) -> Result<Wish, String> {
    let seconds = arguments.number(1)?;
    if seconds <= 0.0 {
        return Err(arguments.bad(1, "seconds above 0 expected"));
    }
    let mut wish = Wish { seconds, ..Wish::default() };
    for (option, value) in arguments.options(2)?.unwrap_or_default() {
        let taken = match option.as_str() {
            "vary" => names(&value).map(|names| wish.vary = names),
            "key" => key(&value).map(|key| wish.key = Some(key)),
            "users" => value.as_boolean().map(|users| wish.is_for_users = users).ok_or("users is true or false".into()),
            _ => Err(format!("there is no option {option}: the options are vary, key and users")),
        };
        taken.map_err(|problem| arguments.bad(2, &problem))?;
    }
    Ok(wish)
}

fn key(value: &Value) -> Result<Vec<u8>, String> {
    let key = match value {
        Value::String(text) if text.as_bytes().len() > LONGEST_KEY => {
            return Err(format!("key is longer than {LONGEST_KEY} bytes"));
        }
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(_) | Value::Number(_) => value.to_string().map_err(|error| error.to_string())?.into_bytes(),
        _ => return Err("key is text".into()),
    };
    Ok(key)
}

fn names(value: &Value) -> Result<Vec<Vec<u8>>, String> {
    let Value::Table(table) = value else {
        return Err("vary is an array of the names of headers".into());
    };
    let mut names = Vec::new();
    for name in table.sequence_values::<Value>() {
        let name = match name.map_err(|error| error.to_string())? {
            Value::String(name) => name.as_bytes().to_vec(),
            _ => return Err("vary is an array of the names of headers".into()),
        };
        if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().copied().all(is_token) || name == b"*" {
            return Err("a header's name in vary is letters, digits and hyphens".into());
        }
        if names.len() == MOST_NAMES {
            return Err(format!("vary names no more than {MOST_NAMES} headers"));
        }
        names.push(name);
    }
    Ok(names)
}
