//! The local variables of a function that failed, as its report shows them: short, without what is secret, and without a call of
//! anything of the page's.

use std::fmt::Write;

use mlua::{Function, Table, Value};

use crate::error::Fact;
use crate::error::secrets::{HIDDEN, gives_secret, is_secret};

/// Bytes of a string that are shown.
const LONGEST_STRING: usize = 120;

/// Bytes that the value of one variable takes, about.
const LONGEST: usize = 600;

/// Entries that are shown of a table, and that are counted of one.
const MOST_SHOWN: usize = 8;
const MOST_COUNTED: usize = 200;

/// Tables inside of one another whose entries are shown.
const DEEPEST: usize = 3;

/// A variable and its value.
#[must_use]
pub fn shown(name: &[u8], value: &Value) -> Fact {
    let mut text = String::new();
    put(&mut text, name, value, 0);
    Fact { name: String::from_utf8_lossy(name).into_owned(), value: text }
}

/// Puts a value of that name behind a text.
fn put(text: &mut String, name: &[u8], value: &Value, depth: usize) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Nil => write!(text, "nil"),
        _ if is_secret(name) => write!(text, "{HIDDEN}"),
        Value::Boolean(value) => write!(text, "{value}"),
        Value::Integer(value) => write!(text, "{value}"),
        Value::Number(value) => write!(text, "{value:?}"),
        Value::String(value) => {
            put_string(text, &value.as_bytes());
            Ok(())
        }
        Value::Table(value) => {
            put_table(text, value, depth);
            Ok(())
        }
        Value::Function(value) => write!(text, "{}", kind_of(value)),
        other => write!(text, "{}", other.type_name()),
    };
}

fn put_string(text: &mut String, bytes: &[u8]) {
    let beginning = &bytes[..bytes.len().min(LONGEST_STRING)];
    if gives_secret(beginning) {
        _ = write!(text, "{HIDDEN}, {} bytes", bytes.len());
        return;
    }
    text.push('"');
    for chunk in beginning.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                '\n' => *text += "\\n",
                '\r' => *text += "\\r",
                '\t' => *text += "\\t",
                character if character.is_control() => _ = write!(text, "\\x{:02x}", u32::from(character)),
                character => text.push(character),
            }
        }
        // Of a character that was cut through nothing is shown.
        let is_cut = bytes.len() > LONGEST_STRING && chunk.invalid().as_ptr_range().end == beginning.as_ptr_range().end;
        for byte in chunk.invalid().iter().filter(|_| !is_cut) {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    if bytes.len() > LONGEST_STRING {
        _ = write!(text, "… {} bytes", bytes.len());
    }
}

fn put_table(text: &mut String, table: &Table, depth: usize) {
    // `pairs` and `raw_len` of mlua ask no metatable.
    let entries = table.pairs::<Value, Value>().map_while(Result::ok);
    let counted = entries.take(MOST_COUNTED + 1).count();
    let count = counted.max(table.raw_len());
    let or_more = if counted > MOST_COUNTED { " or more" } else { "" };
    let noun = if count == 1 { "entry" } else { "entries" };
    _ = write!(text, "table of {count} {noun}{or_more}");
    if count == 0 || depth == DEEPEST {
        return;
    }
    *text += " {";
    for (number, (key, value)) in table.pairs::<Value, Value>().map_while(Result::ok).enumerate() {
        if number > 0 {
            *text += ", ";
        }
        if number == MOST_SHOWN || text.len() > LONGEST {
            text.push('…');
            break;
        }
        let name = match &key {
            Value::String(key) => key.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        match &key {
            Value::String(_) if is_plain(&name) => *text += &String::from_utf8_lossy(&name),
            Value::String(_) if is_secret(&name) => *text += HIDDEN,
            key => {
                text.push('[');
                put(text, b"", key, DEEPEST);
                text.push(']');
            }
        }
        *text += " = ";
        put(text, &name, &value, depth + 1);
    }
    text.push('}');
}

/// Whether a key is written without quotes.
fn is_plain(key: &[u8]) -> bool {
    key.len() <= LONGEST_STRING
        && key.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && key.first().is_some_and(|first| !first.is_ascii_digit())
}

/// A page's function by its place; of others only that they are.
fn kind_of(function: &Function) -> String {
    let info = function.info();
    match (info.source, info.line_defined) {
        (Some(source), Some(line)) if source.starts_with('@') => {
            let file = source.rsplit('/').next().unwrap_or_default().trim_start_matches('@');
            format!("function at {file}:{line}")
        }
        _ => "built-in function".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    fn shown_as(name: &str, code: &str) -> String {
        let lua = Lua::new();
        let value: Value = lua.load(code).set_name("@/srv/page.plua").eval().unwrap();
        shown(name.as_bytes(), &value).value
    }

    #[test]
    fn values_are_short_and_tell_their_kind() {
        for (code, expected) in [
            ("nil", "nil"),
            ("true", "true"),
            ("42", "42"),
            ("0.5", "0.5"),
            ("1e300", "1e300"),
            (r#""a\"\\\n\0\255ü""#, r#""a\"\\\n\x00\xffü""#),
            ("('x'):rep(1000)", &format!("\"{}\"… 1000 bytes", "x".repeat(120))),
            ("('ü'):rep(100):sub(2)", &format!("\"\\xbc{}\"… 199 bytes", "ü".repeat(59))),
            ("{}", "table of 0 entries"),
            ("{1, 'b'}", "table of 2 entries {[1] = 1, [2] = \"b\"}"),
            (
                "{a = {b = {c = {d = 1}}}}",
                "table of 1 entry {a = table of 1 entry {b = table of 1 entry {c = table of 1 entry}}}",
            ),
            ("print", "built-in function"),
            ("\n\nfunction() end", "function at page.plua:3"),
            ("io.stdout", "userdata"),
            ("coroutine.create(function() end)", "thread"),
        ] {
            assert_eq!(shown_as("x", &format!("return {code}")), expected, "{code}");
        }
    }

    #[test]
    fn large_tables_are_neither_shown_nor_counted_whole() {
        let many = shown_as("x", "local t = {} for i = 1, 5000 do t[i] = ('y'):rep(1000) end return t");
        assert!(many.starts_with("table of 5000 entries or more {[1] = \"yyy") && many.ends_with(", …}"), "{many}");
        assert!(many.len() < 1000, "{}", many.len());
        let named = shown_as("x", "local t = {} for i = 1, 5000 do t['k' .. i] = i end return t");
        assert!(named.starts_with("table of 201 entries or more {"), "{named}");
        assert!(shown_as("x", "local t = {} t[1] = t return t").len() < 200);
        let wide = "local function make(depth) local t = {} for i = 1, 100 do t[i] = depth == 0 and ('y'):rep(100) or {i} end return t end";
        assert!(
            shown_as("x", &format!("{wide} local t = {{}} for i = 1, 100 do t[i] = make(0) end return t")).len() < 1500
        );
    }

    #[test]
    fn secrets_are_hidden_by_their_names_wherever_they_stand() {
        assert_eq!(shown_as("dbPassword", "return 'x'"), HIDDEN);
        assert_eq!(shown_as("password", "return nil"), "nil");
        assert_eq!(shown_as("form", "return {Password = 'x'}"), format!("table of 1 entry {{Password = {HIDDEN}}}"));
        assert_eq!(
            shown_as("t", "return {{['api-key'] = {1}}}"),
            format!("table of 1 entry {{[1] = table of 1 entry {{{HIDDEN} = {HIDDEN}}}}}")
        );
        assert_eq!(shown_as("body", "return 'a=1&token=abc'"), format!("{HIDDEN}, 13 bytes"));
    }

    #[test]
    fn nothing_of_the_page_is_called() {
        let code = "local function no() error('called') end
            return setmetatable({a = 1}, {__tostring = no, __len = no, __index = no, __pairs = no, __name = 'x', __gc = nil})";
        assert_eq!(shown_as("x", code), "table of 1 entry {a = 1}");
    }
}
