//! Where a page's output goes: memory that compiled Lua code writes into, and what Rust finds there when the page ends.
//!
//! The ground floor. Knows no request and no limit. LuaJIT's string buffer gives its contents to nobody but Lua code, which
//! hands over address and length: that saves interning and copying the whole page. Most pages need not even that, for all is
//! in the area of memory that their code writes into.

pub(crate) mod escape;
pub(crate) mod ffi_functions;
pub(crate) mod page_call;
