//! JSON: what is read is JSON, and what is written of it is JSON that says the same again.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use mlua::Lua;
use plua::fuzzing::{JSON_ARRAY, Room, decode_json, encode_json};
use plua::limits::time_limit::{TimeLimitHandle, Watchdog};
use serde_json::Value;

thread_local! {
    static LUA: OnceCell<(Lua, TimeLimitHandle)> = const { OnceCell::new() };
}

fn new_lua() -> (Lua, TimeLimitHandle) {
    let lua = Lua::new();
    lua.set_named_registry_value(JSON_ARRAY, lua.create_table().unwrap()).unwrap();
    let limit = Watchdog::start().unwrap().limit(&lua).handle();
    (lua, limit)
}

fuzz_target!(|text: &[u8]| {
    LUA.with(|lua| {
        let (lua, limit) = lua.get_or_init(new_lua);
        let room = Room::new(lua, limit);
        let decoded = decode_json(lua, room, text);
        assert_eq!(decoded.is_ok(), serde_json::from_slice::<Value>(text).is_ok(), "{}", text.escape_ascii());
        let Ok(value) = decoded else { return };
        let written = encode_json(lua, room, &value).unwrap();
        assert!(serde_json::from_slice::<Value>(&written).is_ok() && !written.contains(&b'<'));
        let again = encode_json(lua, room, &decode_json(lua, room, &written).unwrap()).unwrap();
        assert_eq!(written.escape_ascii().to_string(), again.escape_ascii().to_string());
    });
});
