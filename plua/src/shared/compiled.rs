//! What compiled Lua code calls on stores, in C's way: through LuaJIT's `ffi`, without a string or a table made for a call.
//!
//! `unsafe` here because such a call hands over addresses and lengths.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::time::Duration;

use shared_store::{Condition, Found, Number, Value};

use crate::shared::InMemory;

/// Bytes of a value that an answer holds at most.
pub const MOST: usize = 8180;

/// What a call gives beside its result, as shared.lua declares it.
#[repr(C)]
pub struct Answer {
    number: f64,
    length: u32,
    bytes: [u8; MOST],
}

/// What a call gives that has done nothing: Lua says why.
const UNKNOWN: i32 = -1;

/// Runs a call. Of a panic it is told as of anything else that was not done.
fn done(call: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(UNKNOWN)
}

/// What is under a key: 0 nothing, 1 false, 2 true, 3 a number, 4 a text, 5 the bytes of a table; others it does not know.
///
/// # Safety
/// So many bytes are at `key`, which is not null.
pub unsafe extern "C" fn get(memory: &InMemory, key: *const u8, length: usize, answer: &mut Answer) -> i32 {
    // SAFETY: the caller's promise.
    let key = unsafe { slice::from_raw_parts(key, length) };
    done(|| {
        let mut at = 0;
        let found = memory.store.get_pieces(memory.space, key, MOST, |piece| {
            answer.bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        });
        answer.length = at as u32;
        match found {
            Ok(Found::Missing) => 0,
            Ok(Found::Boolean(truth)) => 1 + i32::from(truth),
            Ok(Found::Number(Number::Float(number))) => {
                answer.number = number;
                3
            }
            Ok(Found::Bytes) => 4,
            Ok(Found::Encoded) => 5,
            Ok(Found::Number(Number::Integer(_)) | Found::Longer(_)) | Err(_) => UNKNOWN,
        }
    })
}

/// Puts a value: of `kind` 0 a boolean and of 1 a number, which `number` is, of 2 a text. Whether that was done on its condition
/// (0 none, 1 where nothing is, 2 where something is): 1 or 0.
///
/// # Safety
/// So many bytes are at `key` and at `text`; neither is null.
pub unsafe extern "C" fn put(
    memory: &InMemory,
    key: *const u8,
    key_length: usize,
    kind: i32,
    number: f64,
    text: *const u8,
    length: usize,
    seconds: f64,
    condition: i32,
) -> i32 {
    // SAFETY: the caller's promise.
    let (key, text) = unsafe { (slice::from_raw_parts(key, key_length), slice::from_raw_parts(text, length)) };
    done(|| {
        let value = match kind {
            0 => Value::Boolean(number != 0.0),
            1 => Value::Number(Number::Float(number)),
            _ => Value::Bytes(text),
        };
        match memory.store.put(memory.space, key, value, lifetime(seconds), self::condition(condition)) {
            Ok(was_put) => i32::from(was_put),
            Err(_) => UNKNOWN,
        }
    })
}

/// Adds to a number: 1 with the sum in the answer, or 0 where there is none and no `initial` one.
///
/// # Safety
/// As for [`get`].
pub unsafe extern "C" fn increment(
    memory: &InMemory,
    key: *const u8,
    length: usize,
    by: f64,
    initial: f64,
    has_initial: i32,
    seconds: f64,
    answer: &mut Answer,
) -> i32 {
    // SAFETY: the caller's promise.
    let key = unsafe { slice::from_raw_parts(key, length) };
    done(|| {
        let initial = (has_initial != 0).then_some(Number::Float(initial));
        match memory.store.increment(memory.space, key, Number::Float(by), initial, lifetime(seconds)) {
            Ok(Some(Number::Float(sum))) => {
                answer.number = sum;
                1
            }
            Ok(None) => 0,
            // What is kept with LuaJIT is no integer.
            Ok(Some(Number::Integer(_))) | Err(_) => UNKNOWN,
        }
    })
}

/// The condition that shared.lua has a number for.
#[must_use]
pub fn condition(number: i32) -> Condition {
    match number {
        0 => Condition::Always,
        1 => Condition::IfMissing,
        _ => Condition::IfThere,
    }
}

/// Seconds that a thing lives at most, where a time is given: a thousand years.
pub const LONGEST: f64 = 3.2e10;

/// How long so many seconds are; 0 is for ever.
#[must_use]
pub fn lifetime(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}
