//! Lua patterns: the walk that counts steps finds what Lua finds, and no call takes more steps than its bound says.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use mlua::{Function, Lua, MultiValue, Value};
use plua::limits::pattern::{Call, Capture, Halt, ends, find, start};

/// Calls of more steps than these are not counted out.
const MOST_BOUND: f64 = 200_000.0;

/// Steps after which a walk is given up: Lua, which cannot be interrupted, must not take them either. Inputs are short,
/// and those that take more find nothing new but take most of the time.
const MOST_WALKED: u64 = 10_000;

thread_local! {
    static LUA: OnceCell<(Lua, Function)> = const { OnceCell::new() };
}

/// The bound of patterns.lua, by which most calls are made without a walk; none for plain text.
fn bound(pattern: &[u8], length: usize) -> Option<f64> {
    if !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte)) {
        return None;
    }
    let count = |wanted: &[u8]| pattern.iter().filter(|byte| wanted.contains(byte)).count();
    let walks = pattern.windows(2).filter(|pair| pair[0] == b'%' && (pair[1] == b'b' || pair[1].is_ascii_digit()));
    let power = count(b"*+-") + walks.count() + 1;
    let own = (pattern.len() + 1) as f64;
    let sets = if count(b"[") > 0 { 1.0 + own / 8.0 } else { 1.0 };
    Some(((length + 1) as f64).powi(power as i32) * own * sets * 2f64.powi(count(b"?") as i32))
}

/// What `string.find` returns for a match: its first and last byte, and its captures.
fn told(subject: &[u8], found: plua::limits::pattern::Match) -> Vec<String> {
    let captures = found.captures.into_iter().map(|(at, capture)| match capture {
        Capture::Position => (at + 1).to_string(),
        Capture::Text(length) => subject[at..at + length].escape_ascii().to_string(),
        Capture::Open => panic!("an open capture in a match"),
    });
    [(found.start + 1).to_string(), found.end.to_string()].into_iter().chain(captures).collect()
}

fn told_by_lua(values: MultiValue) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.as_bytes().escape_ascii().to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        other => panic!("string.find returned {other:?}"),
    };
    values.iter().filter(|value| !value.is_nil()).map(text).collect()
}

fuzz_target!(|input: &[u8]| {
    let Some((from, rest)) = input.split_first() else { return };
    let from = i64::from(from.cast_signed());
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let (pattern, subject) = (&rest[..end], &rest[end + 1..]);

    // Plain text is no pattern to Lua, and is not walked.
    let Some(bound) = bound(pattern, subject.len()) else { return };
    if bound <= MOST_BOUND {
        for call in [Call::Find(from), Call::Iterate, Call::Substitute(usize::MAX)] {
            // An item is looked up and compared: two steps, for the one that the bound counts.
            assert!(
                ends(subject, pattern, call, 2 * bound as u64, || true).is_ok(),
                "{call:?} takes more than twice {bound} steps"
            );
        }
    }
    let mut steps = MOST_WALKED;
    let walked = find(subject, pattern, start(from, subject.len()), &mut steps);
    if walked == Err(Halt::Steps) {
        return;
    }
    LUA.with(|lua| {
        let (lua, find) = lua.get_or_init(|| {
            let lua = Lua::new();
            let find = lua.load("return string.find(...)").into_function().unwrap();
            (lua, find)
        });
        let string = |bytes| lua.create_string(bytes).unwrap();
        let found = find.call::<MultiValue>((string(subject), string(pattern), from));
        match (walked, found) {
            (Err(Halt::Malformed), Err(_)) => {}
            (Ok(None), Ok(values)) => assert_eq!(told_by_lua(values), Vec::<String>::new()),
            (Ok(Some(found)), Ok(values)) => assert_eq!(told(subject, found), told_by_lua(values)),
            (walked, found) => panic!("{walked:?}, and Lua {found:?}"),
        }
    });
});
