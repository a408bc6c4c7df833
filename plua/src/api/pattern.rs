//! How long a call of Lua's pattern functions would take, for the state's own code to ask before it makes the call.

use std::time::Instant;

use memchr::memmem;
use mlua::{LuaString, Value};

use super::{Arguments, Native};
use crate::limits::pattern::{self, Call, Halt};

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    // pattern_ends(function, subject, pattern, start or replacements, steps) -> nothing, or why the call is not to be made:
    // "steps", or "time" where it may take more than the page has left
    let limit = native.limit.clone();
    native.add_plain(
        "pattern_ends",
        move |_, (function, subject, pattern, number, steps): (LuaString, LuaString, LuaString, Value, u64)| {
            let number = Arguments::number_of(&number);
            let call = match &*function.as_bytes() {
                // Beyond an integer of C's, each Lua makes something else of it.
                b"gsub" => {
                    let most = number.filter(|most| most.abs() < f64::from(i32::MAX));
                    Call::Substitute(most.map_or(usize::MAX, |most| most as usize))
                }
                b"gmatch" => Call::Iterate,
                _ => Call::Find(number.unwrap_or(1.0) as i64),
            };
            let (begun, end) = (Instant::now(), limit.until());
            // The call itself takes as long again.
            let has_time = || end.is_none_or(|end| begun.elapsed() < end.saturating_duration_since(Instant::now()));
            Ok(match pattern::ends(&subject.as_bytes(), &pattern.as_bytes(), call, steps, has_time) {
                Err(Halt::Time) => Some("time"),
                Err(_) => Some("steps"),
                Ok(()) => None,
            })
        },
    )?;
    // plain_find(subject, text, start) -> where it begins, or nil; in time linear in both
    native.add_plain("plain_find", |_, (subject, text, start): (LuaString, LuaString, Value)| {
        let (subject, text) = (subject.as_bytes(), text.as_bytes());
        let start = pattern::start(Arguments::number_of(&start).unwrap_or(1.0) as i64, subject.len());
        let found = subject.get(start..).and_then(|rest| memmem::find(rest, &text));
        Ok(found.map(|found| start + found + 1))
    })
}
