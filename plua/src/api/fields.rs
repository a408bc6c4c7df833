//! The fields of a query or form as the table a page gets.
//!
//! `unsafe` here because the table is made in one protected call: one for each name and each value, as mlua's own
//! functions make them, is most of what a form of 20 fields costs.
#![allow(unsafe_code)]

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Lua, Table};

use crate::query::Fields;

/// Most fields that a table gets room for beforehand: a name can be repeated, and needs no more then.
const PREPARED: usize = 64;

/// The value of each name; a name that is repeated has an array of its values in order.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn table(lua: &Lua, fields: &Fields) -> mlua::Result<Table> {
    // SAFETY: `fill` leaves its table alone on the stack, and owns nothing that an error of Lua's would leave behind.
    unsafe { lua.exec_raw((), |state| fill(state, fields)) }
}

/// Pushes the table.
///
/// # Safety
/// The state is in a protected call of its own, with the room on its stack that C functions have.
unsafe fn fill(state: *mut lua_State, fields: &Fields) {
    // SAFETY: the caller's promise. At most four values are on the stack at a time, and each index is that of one.
    unsafe {
        ffi::lua_createtable(state, 0, fields.count().min(PREPARED) as c_int);
        let table = ffi::lua_gettop(state);
        for (name, value) in fields.iter() {
            push(state, name);
            ffi::lua_pushvalue(state, -1);
            match ffi::lua_rawget(state, table) {
                ffi::LUA_TNIL => {
                    ffi::lua_pop(state, 1);
                    push(state, value);
                    ffi::lua_rawset(state, table);
                }
                ffi::LUA_TTABLE => {
                    push(state, value);
                    ffi::lua_rawseti(state, -2, ffi::lua_rawlen(state, -2) as ffi::lua_Integer + 1);
                    ffi::lua_pop(state, 2);
                }
                _ => {
                    ffi::lua_createtable(state, 2, 0);
                    ffi::lua_insert(state, -2);
                    ffi::lua_rawseti(state, -2, 1);
                    push(state, value);
                    ffi::lua_rawseti(state, -2, 2);
                    ffi::lua_rawset(state, table);
                }
            }
        }
    }
}

/// Pushes a string.
///
/// # Safety
/// As [`fill`].
unsafe fn push(state: *mut lua_State, text: &[u8]) {
    // SAFETY: the caller's promise; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()) };
}
