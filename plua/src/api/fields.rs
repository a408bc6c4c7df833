//! The fields of a query or form as the table a page gets.
//!
//! `unsafe` here because the table is made in one protected call: one for each name and each value, as mlua's own
//! functions make them, is most of what a form of 20 fields costs.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr;

use mlua::ffi::{self, lua_State};
use mlua::{Function, LightUserData, Lua, Table};

use crate::limits::memory_limit;
use crate::request::query::Fields;

/// Most fields that a table gets room for beforehand: a name can be repeated, and needs no more then.
const PREPARED: usize = 64;

/// What makes such tables in one state.
///
/// A function that is made once: mlua's `exec_raw` makes two for each call and, where a memory limit counts, has them made
/// in a protected call of their own and puts both into the registry.
#[derive(Clone)]
pub struct Tables(Function);

impl Tables {
    /// For this state.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn new(lua: &Lua) -> mlua::Result<Tables> {
        // SAFETY: `call` is a C function, and owns nothing. Nobody but `table` gets to call it.
        unsafe { memory_limit::inner_function(lua, call) }.map(Tables)
    }

    /// The value of each name; a name that is repeated has an array of its values in order.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn table(&self, fields: &Fields) -> mlua::Result<Table> {
        self.0.call(LightUserData(ptr::from_ref(fields).cast_mut().cast()))
    }
}

/// # Safety
/// Called by [`Tables::table`], with the address of fields that stay while this runs.
unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(fields) = ffi::lua_touserdata(state, 1).cast::<Fields>().as_ref() {
            fill(state, fields);
        }
    }
    1
}

/// Pushes the table.
///
/// # Safety
/// The state is in a protected call of its own, with the room on its stack that C functions have.
unsafe fn fill(state: *mut lua_State, fields: &Fields) {
    // SAFETY: the caller's promise. At most four values are on the stack above its own at a time, and each
    // index is that of one.
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
