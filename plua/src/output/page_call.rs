//! The shortest way to a page: its function is called as it is, without any Lua of the state's own around it.
//!
//! `unsafe` here for Lua's own interface: what is called with lies ready at the bottom of the state's stack, and Lua is told
//! where. It takes a tenth of what calling a Lua function that calls the page does.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr::NonNull;

use mlua::{Lua, Table, Value, ffi};

use crate::output::ffi_functions::{Area, with_contents};

/// What prelude.lua hands over for this, in its order; each stays at its place on the stack.
const HANDLER: c_int = 1;
const PAGES: c_int = 2;
const TEXTS: c_int = 3;
const SLOTS: c_int = 4;
const PROBLEM: c_int = 5;

/// Slots that a call needs on top of those.
const MOST_SLOTS: c_int = 5;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All the page did is to put out what is in the area.
    Plain,
    /// It ran to its end, and prelude.lua has to look after what it left.
    Done,
    /// It was ended by an error, which lies where prelude.lua finds it.
    Failed,
    /// It has not been called.
    NotYet,
}

/// Calls the pages of one state. It lives no longer than the state.
pub struct PageCall {
    state: NonNull<ffi::lua_State>,
    area: NonNull<Area>,
}

// SAFETY: only the owner of the state has it, and uses it while no other thread runs the state.
unsafe impl Send for PageCall {}

impl PageCall {
    /// For a state that does not run, with what prelude.lua handed over.
    ///
    /// # Errors
    /// Lua's, when memory runs out, or when the stack is not as a new state has it.
    pub fn new(lua: &Lua, parts: Table, area: NonNull<Area>) -> mlua::Result<PageCall> {
        let unfit = || mlua::Error::runtime("pages cannot be called: the state's stack is in use, or has no room");
        let state = lua.exec_raw_lua(|raw| NonNull::new(raw.state())).ok_or_else(unfit)?;
        let key = area.as_ptr().cast_const().cast();
        // SAFETY: the parts are the only value on the stack, and the registry takes it from there.
        unsafe { lua.exec_raw::<()>(parts, |state| ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key)) }?;
        // SAFETY: the state is live and does not run, and nothing is on its stack but what is put there here. Reading a table
        // of values raises nothing.
        unsafe {
            let state = state.as_ptr();
            if ffi::lua_gettop(state) != 0 || ffi::lua_checkstack(state, PROBLEM + 1 + MOST_SLOTS) == 0 {
                return Err(unfit());
            }
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key);
            for part in HANDLER..=PROBLEM {
                ffi::lua_rawgeti(state, 1, part.into());
            }
            ffi::lua_remove(state, 1);
        }
        Ok(PageCall { state, area })
    }

    /// Whether the state is as the shortest way needs it: no page before has changed more than the area.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // SAFETY: the area is there as long as the state, which does not run.
        unsafe { self.area.as_ref() }.needs_reset == 0
    }

    /// Runs a page of the state when it [is ready](PageCall::is_ready).
    pub fn run(&mut self, page: u32) -> Ended {
        // SAFETY: as above, and nobody else has it.
        unsafe { self.area.as_mut() }.begin(page);
        // SAFETY: the state is live and run by nobody; its stack has what `new` put there and room for this. Whatever the page
        // raises ends here.
        let status = unsafe {
            let state = self.state.as_ptr();
            ffi::lua_rawgeti(state, PAGES, page.into());
            ffi::lua_pushvalue(state, SLOTS);
            ffi::lua_rawgeti(state, TEXTS, page.into());
            let status = ffi::lua_pcall(state, 2, 0, HANDLER);
            if status != ffi::LUA_OK {
                // The place is there already, so this takes no memory.
                ffi::lua_rawseti(state, PROBLEM, 1);
            }
            status
        };
        match status {
            ffi::LUA_OK if self.is_ready() => Ended::Plain,
            ffi::LUA_OK => Ended::Done,
            _ => Ended::Failed,
        }
    }

    /// What is written in the area.
    ///
    /// # Safety
    /// The state does not run, and does not end, while the result is in use.
    #[must_use]
    pub unsafe fn written(&self) -> &[u8] {
        // SAFETY: the area is there as long as the state, and the caller's promise.
        unsafe { self.area.as_ref().written() }
    }
}

/// Calls `use_bytes` with what a page has left that runs no more: what prelude.lua returned, or if that is nothing, what is in
/// the area.
///
/// # Errors
/// As [`with_contents`].
pub fn with_output<R>(
    returned: Option<&[Value; 2]>,
    page_call: Option<&PageCall>,
    use_bytes: impl FnOnce(&[u8]) -> R,
) -> Result<R, String> {
    match (returned, page_call) {
        // SAFETY: `use_bytes` cannot reach the state, and no other thread runs it.
        (None | Some([Value::Nil, _]), Some(page_call)) => Ok(use_bytes(unsafe { page_call.written() })),
        (Some(returned), _) => with_contents(returned, use_bytes),
        (None, None) => Err("there is no output".into()),
    }
}
