//! Values whose length is told before their bytes, and the mark of a store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use shared_store::{Condition, Found, Number, Refusal, SMALLEST, Store, Value};

#[test]
fn bytes_are_given_after_their_length_where_they_are_wanted() {
    let store = Store::new(SMALLEST).unwrap();
    let put = |key: &[u8], value| store.put(0, key, value, None, Condition::Always).unwrap();
    let long: Vec<u8> = (0..3000).map(|number| (number % 251) as u8).collect();
    put(b"long", Value::Bytes(&long));
    put(b"empty", Value::Bytes(b""));
    put(b"number", Value::Number(Number::Integer(7)));
    for (key, expected) in [(&b"long"[..], &long[..]), (b"empty", b"")] {
        let (mut told, mut bytes) = (None, Vec::new());
        let found = store.get_announced(0, key, |length| told.replace(length).is_none(), |piece| bytes.extend(piece));
        assert_eq!((found, told, &bytes[..]), (Ok(Found::Bytes), Some(expected.len()), expected));
    }
    let refused = store.get_announced(0, b"long", |_| false, |_| unreachable!("not wanted"));
    assert_eq!(refused, Ok(Found::Longer(3000)));
    let missing = store.get_announced(0, b"none", |_| unreachable!("nothing there"), |_| ());
    assert_eq!(missing, Ok(Found::Missing));
    assert_eq!(store.get_announced(0, b"number", |_| true, |_| ()), Err(Refusal::NotBytes));
}

#[test]
fn a_mark_stays() {
    let store = Store::new(SMALLEST).unwrap();
    assert!(!store.is_marked());
    store.mark();
    store.mark();
    assert!(store.is_marked());
}
