//! The walk that counts a pattern's steps goes where Lua goes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use mlua::{Lua, MultiValue, Value};
use proptest::prelude::*;

use plua::limits::pattern::{self, Call, Capture, Halt, find};

/// What Lua's own string.find says: none for an error, otherwise start, end and captures.
fn lua_find(lua: &Lua, subject: &[u8], pattern: &[u8]) -> Option<Vec<String>> {
    let find: mlua::Function = lua.load("local s, p = ... return string.find(s, p)").into_function().unwrap();
    let found: MultiValue =
        find.call((lua.create_string(subject).unwrap(), lua.create_string(pattern).unwrap())).ok()?;
    let shown = |value: &Value| match value {
        Value::String(text) => format!("{:?}", text.as_bytes().to_vec()),
        Value::Nil => "nil".into(),
        number => number.to_string().unwrap(),
    };
    Some(found.iter().map(shown).collect())
}

fn own_find(subject: &[u8], pattern: &[u8]) -> Option<Vec<String>> {
    let found = find(subject, pattern, 0, &mut u64::MAX.clone()).ok()?;
    let Some(found) = found else { return Some(vec!["nil".into()]) };
    let mut shown = vec![(found.start + 1).to_string(), found.end.to_string()];
    shown.extend(found.captures.iter().map(|(start, capture)| match capture {
        Capture::Text(length) => format!("{:?}", subject[*start..start + length].to_vec()),
        _ => (start + 1).to_string(),
    }));
    Some(shown)
}

fn piece() -> impl Strategy<Value = String> {
    let pieces = "a b ab . %a %A %d %s %w %x %p %g %% %( [ab] [^a] [a-c] [%w_] [] [^] []] [a-] [%a-z] ( ) () (a) (.-) (%w*) \
                  %1 %2 %b() %bab %f[a] %f[%w] %f ^ $ % [ ] - + * ? a* a+ a- a? .* .- .+ .? [ab]* [^b]+ (a*(.)%w(%s*))";
    let pieces: Vec<String> = pieces.split(' ').filter(|piece| !piece.is_empty()).map(str::to_string).collect();
    proptest::sample::select(pieces)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_pattern_finds_what_lua_finds_and_fails_where_lua_fails(
        pieces in proptest::collection::vec(piece(), 0..7), subject in "[abc1() _]{0,12}"
    ) {
        let pattern = pieces.concat();
        // Without a special character it is plain text, which Lua searches in another way.
        prop_assume!(pattern.contains(['^', '$', '*', '+', '?', '.', '(', '[', '%', '-']));
        let lua = Lua::new();
        prop_assert_eq!(
            own_find(subject.as_bytes(), pattern.as_bytes()),
            lua_find(&lua, subject.as_bytes(), pattern.as_bytes()),
            "{:?} in {:?}", pattern, subject
        );
    }

    #[test]
    fn any_bytes_as_a_pattern_are_walked_as_lua_walks_them(
        start in proptest::collection::vec(proptest::sample::select(b"ab[]%^-.()*+?$f1\0\xff".to_vec()), 0..10),
        subject in proptest::collection::vec(proptest::sample::select(b"ab\0\xff]".to_vec()), 0..8)
    ) {
        // With a special character in it, it is not plain text. Lua 5.1 looks for one up to the first zero.
        let pattern = [&start[..], b"."].concat();
        let searched = pattern.split(|byte| *byte == 0).next().unwrap_or_default();
        prop_assume!(cfg!(not(feature = "lua51")) || searched.iter().any(|byte| b"^$*+?.([%-".contains(byte)));
        prop_assert_eq!(own_find(&subject, &pattern), lua_find(&Lua::new(), &subject, &pattern));
    }
}

/// Whether the call ends within so many steps.
fn ends(subject: &str, pattern: &str, call: Call, steps: u64) -> bool {
    pattern::ends(subject.as_bytes(), pattern.as_bytes(), call, steps, || true).is_ok()
}

#[test]
fn a_pattern_of_exponential_time_takes_more_than_its_steps() {
    let (subject, pattern) = ("a".repeat(30), "a?".repeat(30) + &"a".repeat(30));
    for call in [Call::Find(1), Call::Iterate, Call::Substitute(usize::MAX)] {
        assert!(!ends(&subject, &pattern, call, 1_000_000));
        assert!(ends(&subject, "a+", call, 1000), "{call:?}");
        assert!(!ends(&"a b ".repeat(1000), "%w+ %w+", Call::Substitute(usize::MAX), 1000));
    }
    assert!(ends(&"a b ".repeat(1000), "%w+ %w+", Call::Find(1), 1000));
    assert!(ends(&"a b ".repeat(1000), "%w+ %w+", Call::Substitute(2), 1000));
}

#[test]
fn a_walk_looks_at_the_clock_and_ends_when_its_time_is_over() {
    let (subject, pattern) = ("a".repeat(30), "a?".repeat(30) + &"a".repeat(30));
    let walk = |pattern: &str, steps, most| {
        let mut looks = 0;
        let ended = pattern::ends(subject.as_bytes(), pattern.as_bytes(), Call::Find(1), steps, || {
            looks += 1;
            looks <= most
        });
        (ended, looks)
    };
    assert_eq!(walk(&pattern, u64::MAX, 10), (Err(Halt::Time), 11));
    assert_eq!(walk(&pattern, 1 << 17, 10), (Err(Halt::Steps), 2));
    assert_eq!(walk("a+", u64::MAX, 10), (Ok(()), 1));
}
