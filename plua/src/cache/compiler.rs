//! Lua's own parser, which gets a text in pieces, with a look at the page's time before each of them.
//!
//! Nothing else ends it: it runs no Lua, so no hook. Its time is linear in the text but for chains of conditions and for labels:
//! in a piece there is room for few of the former, and a text has only so many of the latter.
//!
//! `unsafe` here because only Lua's interface for C takes a text in pieces.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use memchr::memmem;
use mlua::ffi::{self, lua_State};
use mlua::{Function, LightUserData, Lua, Value};

use crate::language::lexer::{Lexeme, Lexer};
use crate::limits::memory_limit::{self, OVER_MEMORY, OVER_TIME};
use crate::limits::time_limit::TimeLimitHandle;

/// Bytes of a piece.
const PIECE: usize = 8 << 10;

/// Most labels (`::name::`) of a text: the parser compares each with all others and with each `goto` at the end of a block.
const MOST_LABELS: usize = 1000;

/// What compiles texts in one state.
pub struct Compiler {
    /// Made once: mlua makes two functions for each call otherwise.
    load: Function,
    /// None where nobody waits for a page.
    limit: Option<TimeLimitHandle>,
}

/// A text on its way to the parser.
struct Text<'t> {
    rest: &'t [u8],
    name: &'t CStr,
    limit: Option<&'t TimeLimitHandle>,
    /// Whether the time was over before its end.
    is_cut: bool,
}

impl Compiler {
    /// For this state.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn new(lua: &Lua, limit: Option<TimeLimitHandle>) -> mlua::Result<Compiler> {
        // SAFETY: `load` is a C function, and owns nothing. Nobody but `compile` gets to call it.
        let load = unsafe { memory_limit::inner_function(lua, load) }?;
        Ok(Compiler { load, limit })
    }

    /// A text as a function. Its name is as Lua keeps it: `@` and a file, or `=` and any other.
    ///
    /// # Errors
    /// [`mlua::Error::SyntaxError`]; another one with the message [`OVER_TIME`] when the page's time is over before its end; and
    /// Lua's, when memory runs out.
    pub fn compile(&self, name: &str, text: &[u8]) -> mlua::Result<Function> {
        let refused = |message: String| mlua::Error::SyntaxError { message, incomplete_input: false };
        // Crafted bytecode can break out of every sandbox.
        if text.first() == Some(&0x1b) {
            return Err(refused("bytecode is not loaded here".into()));
        }
        if has_too_many_labels(text) {
            return Err(refused(format!("{}:1: more than {MOST_LABELS} labels", name.trim_start_matches(['@', '=']))));
        }
        let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
        let mut text = Text { rest: text, name: &name, limit: self.limit.as_ref(), is_cut: false };
        let given = LightUserData(ptr::from_mut(&mut text).cast());
        let (status, made): (c_int, Value) = self.load.call(given)?;
        match (status, made) {
            _ if text.is_cut => Err(mlua::Error::runtime(OVER_TIME)),
            (ffi::LUA_OK, Value::Function(function)) => Ok(function),
            (ffi::LUA_ERRMEM, _) => Err(mlua::Error::MemoryError(OVER_MEMORY.into())),
            (_, Value::String(message)) => Err(refused(message.to_string_lossy())),
            (_, made) => Err(refused(format!("a {} instead of a function", made.type_name()))),
        }
    }
}

fn has_too_many_labels(text: &[u8]) -> bool {
    // Each has two marks, which stand in strings and comments too.
    if memmem::find_iter(text, "::").nth(MOST_LABELS * 2).is_none() {
        return false;
    }
    let (mut marks, mut before) = (0, None);
    for token in Lexer::new(text) {
        let colon = (token.lexeme == Lexeme::Symbol && text[token.range.start] == b':').then_some(token.range.end);
        match (before, colon) {
            (Some(end), Some(_)) if end == token.range.start => (marks, before) = (marks + 1, None),
            _ => before = colon,
        }
    }
    marks > MOST_LABELS * 2
}

/// # Safety
/// Called by [`Compiler::compile`], with the address of a text that stays while this runs.
unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    // SAFETY: the caller's promise; a C function has room for two values.
    unsafe {
        let text = ffi::lua_touserdata(state, 1).cast::<Text<'_>>();
        let name = (*text).name.as_ptr();
        #[cfg(feature = "lua54")]
        let status = ffi::lua_load(state, next_piece, text.cast(), name, c"t".as_ptr());
        #[cfg(not(feature = "lua54"))]
        let status = ffi::lua_load(state, next_piece, text.cast(), name);
        ffi::lua_pushinteger(state, status.into());
        ffi::lua_insert(state, -2);
    }
    2
}

/// # Safety
/// Called by Lua's parser inside of [`load`], whose text is `data`.
unsafe extern "C-unwind" fn next_piece(_: *mut lua_State, data: *mut c_void, size: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise; nobody else has the text meanwhile.
    let text = unsafe { &mut *data.cast::<Text<'_>>() };
    if !text.rest.is_empty() && text.limit.is_some_and(TimeLimitHandle::is_time_over) {
        (text.is_cut, text.rest) = (true, &[]);
    }
    let (piece, rest) = text.rest.split_at(text.rest.len().min(PIECE));
    text.rest = rest;
    // SAFETY: Lua gives a place for it.
    unsafe { *size = piece.len() };
    piece.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::time_limit::Watchdog;

    #[test]
    fn a_text_of_many_pieces_is_the_function_it_is_in_one() {
        let lua = Lua::new();
        let compiler = Compiler::new(&lua, None).unwrap();
        let numbers: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
        let text = format!("return {{ {} }}, [[{}]]", numbers.join(", "), "x".repeat(PIECE * 3));
        let (list, long): (Vec<u32>, String) = compiler.compile("=text", text.as_bytes()).unwrap().call(()).unwrap();
        assert_eq!((list.len(), list[19_999], long.len()), (20_000, 20_000, PIECE * 3));
        assert_eq!(compiler.compile("=text", b"").unwrap().call::<Value>(()).unwrap(), Value::Nil);
        for (text, message) in [("\nx x", "text:2: "), ("\x1bLJ", "bytecode"), ("::a:: ", "more than 1000 labels")] {
            let text = if text == "::a:: " { text.repeat(MOST_LABELS + 1) } else { text.to_string() };
            let Err(mlua::Error::SyntaxError { message: told, .. }) = compiler.compile("=text", text.as_bytes()) else {
                unreachable!("{message} is an error of the text's");
            };
            assert!(told.contains(message), "{told}");
        }
        let quoted = format!("return '{}'", "::".repeat(5000));
        assert_eq!(compiler.compile("=text", quoted.as_bytes()).unwrap().call::<String>(()).unwrap().len(), 10_000);
    }

    #[test]
    fn a_text_is_not_read_to_its_end_when_the_time_is_over() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let limit = watchdog.limit(&lua);
        let compiler = Compiler::new(&lua, Some(limit.handle())).unwrap();
        let text = "local a = 1 ".repeat(100).repeat(PIECE) + "this is no Lua";
        limit.start(Duration::ZERO);
        let failed = compiler.compile("=text", text.as_bytes()).unwrap_err();
        limit.stop();
        assert!(failed.to_string().contains(OVER_TIME), "{failed}");
    }
}
