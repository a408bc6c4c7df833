//! The shortest way to a page: its function is called as it is, without any Lua of the state's own around it but `xpcall`.
//!
//! It runs in a coroutine, as all pages do, so that it can wait in the middle of what it does. One that has ended is resumed
//! with the next page, which only C can do.
//!
//! `unsafe` here for Lua's own interface: what is called with lies ready at the bottom of the coroutine's stack, and Lua is told
//! where. It takes a tenth of what calling a Lua function that calls the page does.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use mlua::{Lua, Table, Value, ffi};

use crate::output::ffi_functions::{Area, with_contents};

/// What prelude.lua hands over for this, in its order; each stays at its place on the coroutine's stack.
const HANDLER: c_int = 1;
const PAGES: c_int = 2;
const TEXTS: c_int = 3;
const SLOTS: c_int = 4;
const PROBLEM: c_int = 5;
const PROTECTED_CALL: c_int = 6;
const CALL: c_int = 7;
const NOTE_COROUTINE: c_int = 8;

/// How many those are.
const PARTS: c_int = NOTE_COROUTINE;

/// Slots that a call needs on top of those.
const MOST_SLOTS: c_int = 7;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All the page did is to put out what is in the area.
    Plain,
    /// It ran to its end, and prelude.lua has to look after what it left.
    Done,
    /// It was ended by an error, which lies where prelude.lua finds it.
    Failed,
    /// It waits, and goes on when it is resumed.
    Waits,
    /// It has not been called.
    NotYet,
}

/// Calls the pages of one state. It lives no longer than the state.
pub struct PageCall {
    main: NonNull<ffi::lua_State>,
    /// The coroutine that pages run in; none after one that ended with an error of its own.
    coroutine: Option<NonNull<ffi::lua_State>>,
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
        let main = lua.exec_raw_lua(|raw| NonNull::new(raw.state())).ok_or_else(unfit)?;
        let mut page_call = PageCall { main, coroutine: None, area };
        let key = page_call.parts_key();
        // SAFETY: the parts are the only value on the stack, and the registry takes it from there.
        unsafe { lua.exec_raw::<()>(parts, |state| ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key)) }?;
        page_call.make_coroutine(lua)?;
        Ok(page_call)
    }

    /// Where the registry has the parts, and where the coroutine.
    fn parts_key(&self) -> *const c_void {
        self.area.as_ptr().cast_const().cast()
    }

    fn coroutine_key(&self) -> *const c_void {
        self.parts_key().wrapping_byte_add(1)
    }

    /// Makes the coroutine if there is none.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn make_coroutine(&mut self, lua: &Lua) -> mlua::Result<()> {
        if self.coroutine.is_some() {
            return Ok(());
        }
        let (parts, own) = (self.parts_key(), self.coroutine_key());
        let mut made = None;
        // SAFETY: each value is put where the next line takes it; whatever Lua raises ends in `exec_raw`.
        unsafe {
            lua.exec_raw::<()>((), |state| {
                let coroutine = ffi::lua_newthread(state);
                if ffi::lua_checkstack(coroutine, PARTS + 1 + MOST_SLOTS) == 0 {
                    return;
                }
                ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, parts);
                for part in HANDLER..=PARTS {
                    ffi::lua_rawgeti(state, -1, part.into());
                    ffi::lua_xmove(state, coroutine, 1);
                }
                ffi::lua_pop(state, 1);
                // The state's own code knows it as the main one of a page.
                ffi::lua_pushvalue(coroutine, NOTE_COROUTINE);
                ffi::lua_xmove(coroutine, state, 1);
                ffi::lua_pushvalue(state, -2);
                ffi::lua_call(state, 1, 0);
                ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, own);
                made = NonNull::new(coroutine);
            })
        }?;
        self.coroutine = made;
        match made {
            Some(_) => Ok(()),
            None => Err(mlua::Error::MemoryError("no room on a coroutine's stack".into())),
        }
    }

    /// Whether the state is as the shortest way needs it: no page before has changed more than the area.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // SAFETY: the area is there as long as the state, which does not run.
        unsafe { self.area.as_ref() }.needs_reset == 0 && self.coroutine.is_some()
    }

    /// Whether what the page that has run left to do may wait.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.area.as_ref() }.may_wait != 0
    }

    /// Runs a page of the state when it [is ready](PageCall::is_ready).
    pub fn run(&mut self, page: u32) -> Ended {
        // SAFETY: as above, and nobody else has it.
        unsafe { self.area.as_mut() }.begin(page);
        let Some(coroutine) = self.coroutine else { return Ended::NotYet };
        // SAFETY: the state is live and run by nobody; its coroutine has ended or was never run, and its stack has what was put
        // there and room for this.
        unsafe {
            let coroutine = coroutine.as_ptr();
            ffi::lua_pushvalue(coroutine, PROTECTED_CALL);
            ffi::lua_pushvalue(coroutine, CALL);
            ffi::lua_pushvalue(coroutine, HANDLER);
            ffi::lua_rawgeti(coroutine, PAGES, page.into());
            ffi::lua_pushvalue(coroutine, SLOTS);
            ffi::lua_rawgeti(coroutine, TEXTS, page.into());
        }
        self.resume(5)
    }

    /// Goes on with a page that waits.
    pub fn go_on(&mut self) -> Ended {
        self.resume(0)
    }

    /// Resumes the coroutine, with so many values of what is on its stack.
    fn resume(&mut self, values: c_int) -> Ended {
        let Some(coroutine) = self.coroutine else { return Ended::NotYet };
        let coroutine = coroutine.as_ptr();
        // SAFETY: the state is live and run by nobody, the coroutine can be resumed, and the values are there. Whatever the page
        // raises ends in `xpcall`, and what that raises here.
        unsafe {
            let mut given = 0;
            match ffi::lua_resume(coroutine, self.main.as_ptr(), values, &mut given) {
                ffi::LUA_OK => {
                    let is_fine = ffi::lua_toboolean(coroutine, PARTS + 1) != 0;
                    if !is_fine {
                        // The place is there already, so this takes no memory.
                        ffi::lua_settop(coroutine, PARTS + 2);
                        ffi::lua_rawseti(coroutine, PROBLEM, 1);
                    }
                    ffi::lua_settop(coroutine, PARTS);
                    match is_fine {
                        true if self.is_ready() => Ended::Plain,
                        true => Ended::Done,
                        false => Ended::Failed,
                    }
                }
                ffi::LUA_YIELD => {
                    ffi::lua_pop(coroutine, given);
                    Ended::Waits
                }
                _ => {
                    ffi::lua_rawseti(coroutine, PROBLEM, 1);
                    self.coroutine = None;
                    Ended::Failed
                }
            }
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
