//! JSON: what is read is JSON, and what is written of it is JSON that says the same again.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use mlua::Lua;
use plua::fuzzing::{JSON_ARRAY, decode_json, encode_json};
use serde_json::Value;

thread_local! {
    static LUA: OnceCell<Lua> = const { OnceCell::new() };
}

fn new_lua() -> Lua {
    let lua = Lua::new();
    lua.set_named_registry_value(JSON_ARRAY, lua.create_table().unwrap()).unwrap();
    lua
}

fuzz_target!(|text: &[u8]| {
    LUA.with(|lua| {
        let lua = lua.get_or_init(new_lua);
        let decoded = decode_json(lua, text);
        assert_eq!(decoded.is_ok(), serde_json::from_slice::<Value>(text).is_ok(), "{}", text.escape_ascii());
        let Ok(value) = decoded else { return };
        let written = encode_json(lua, &value).unwrap();
        assert!(serde_json::from_slice::<Value>(&written).is_ok() && !written.contains(&b'<'));
        let again = encode_json(lua, &decode_json(lua, &written).unwrap()).unwrap();
        assert_eq!(written.escape_ascii().to_string(), again.escape_ascii().to_string());
    });
});
