//! Where a page's output goes: memory that compiled Lua code writes into, and what Rust finds there when the page ends.
//!
//! The ground floor. Knows no request and no limit.
//!
//! `unsafe` here because LuaJIT's string buffer gives its contents to nobody but Lua code: it hands over address
//! and length, which saves interning and copying the whole page. Most pages need not even that: all is in the area.
#![allow(unsafe_code)]

pub(crate) mod escape;
pub(crate) mod page_call;
pub(crate) mod put;

use mlua::Value;

use crate::output::page_call::PageCall;

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

/// Calls `use_bytes` with the contents a state's `contents(buffer)` returned: address and length, or a string.
///
/// # Errors
/// A message when the values are neither.
pub fn with_contents<R>(contents: &[Value; 2], use_bytes: impl FnOnce(&[u8]) -> R) -> Result<R, String> {
    match contents {
        [Value::String(string), _] => Ok(use_bytes(&string.as_bytes())),
        [address, length] => {
            let (Some(address), Some(length)) = (whole(address), whole(length)) else {
                return Err("the output is neither a buffer nor a string".into());
            };
            if length == 0 {
                return Ok(use_bytes(&[]));
            }
            // SAFETY: prelude.lua passes what buffer:ref() gave, and that memory stays until the buffer is next
            // used: `use_bytes` cannot reach the state, and no other thread runs it.
            Ok(use_bytes(unsafe { std::slice::from_raw_parts(address as *const u8, length) }))
        }
    }
}

fn whole(number: &Value) -> Option<usize> {
    match number {
        Value::Integer(integer) => usize::try_from(*integer).ok(),
        Value::Number(number) => Some(*number as usize),
        _ => None,
    }
}
