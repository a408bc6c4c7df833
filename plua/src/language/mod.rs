//! A page as Lua: its source split into text and tags, translated, and what its Lua means to each Lua.
//!
//! The ground floor: bytes in, bytes out. Knows no Lua state, no file, no clock and no request.

pub(crate) mod bytecode;
pub mod dialect;
pub mod emit;
pub mod functions;
pub(crate) mod kept_functions;
pub(crate) mod lexer;
pub mod page;
pub(crate) mod session_writes;
