//! Values as they are kept on a Redis: a letter that says what they are, and their bytes.

use shared_store::{Number, Value};

/// What is under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// Nothing.
    Missing,
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// Bytes that are the value.
    Bytes(Vec<u8>),
    /// Bytes that the store's user makes a value of.
    Encoded(Vec<u8>),
    /// Bytes, so many, more than were wanted.
    Longer(usize),
    /// Nothing that a store has put there.
    Foreign,
}

const FALSE: u8 = b'n';
const TRUE: u8 = b'y';
const INTEGER: u8 = b'i';
const FLOAT: u8 = b'f';
const BYTES: u8 = b's';
const ENCODED: u8 = b't';

/// A value's bytes. Numbers have 8, the lowest first, as increment.lua knows them.
#[must_use]
pub fn encode(value: Value<'_>) -> Vec<u8> {
    let bytes = |letter: u8, bytes: &[u8]| [&[letter], bytes].concat();
    match value {
        Value::Boolean(truth) => bytes(if truth { TRUE } else { FALSE }, &[]),
        Value::Number(Number::Integer(integer)) => bytes(INTEGER, &integer.to_le_bytes()),
        Value::Number(Number::Float(float)) => bytes(FLOAT, &float.to_bits().to_le_bytes()),
        Value::Bytes(text) => bytes(BYTES, text),
        Value::Encoded(text) => bytes(ENCODED, text),
    }
}

/// The value of such bytes.
pub(crate) fn decode(mut bytes: Vec<u8>) -> Kept {
    let Some(letter) = bytes.first().copied() else { return Kept::Missing };
    let word = || bytes[1..].try_into().map(u64::from_le_bytes);
    match letter {
        FALSE if bytes.len() == 1 => Kept::Boolean(false),
        TRUE if bytes.len() == 1 => Kept::Boolean(true),
        INTEGER => word().map_or(Kept::Foreign, |word| Kept::Number(Number::Integer(word.cast_signed()))),
        FLOAT => word().map_or(Kept::Foreign, |word| Kept::Number(Number::Float(f64::from_bits(word)))),
        BYTES | ENCODED => {
            bytes.remove(0);
            if letter == BYTES { Kept::Bytes(bytes) } else { Kept::Encoded(bytes) }
        }
        _ => Kept::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_to_the_bit() {
        for float in [0.0, -0.0, 1.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 2.0] {
            let back = decode(encode(Value::Number(Number::Float(float))));
            assert!(matches!(back, Kept::Number(Number::Float(back)) if back.to_bits() == float.to_bits()), "{float}");
        }
        for integer in [0, -1, i64::MAX, i64::MIN] {
            let number = Number::Integer(integer);
            assert_eq!(decode(encode(Value::Number(number))), Kept::Number(number));
        }
        for text in [&b""[..], b"n", b"\0\xff", &[7; 100]] {
            assert_eq!(decode(encode(Value::Bytes(text))), Kept::Bytes(text.into()));
            assert_eq!(decode(encode(Value::Encoded(text))), Kept::Encoded(text.into()));
        }
        for truth in [false, true] {
            assert_eq!(decode(encode(Value::Boolean(truth))), Kept::Boolean(truth));
        }
    }

    #[test]
    fn what_somebody_else_has_put_is_no_value() {
        assert_eq!(decode(Vec::new()), Kept::Missing);
        for bytes in [&b"1"[..], b"i1234", b"f", b"yes", b"no", b"\0"] {
            assert_eq!(decode(bytes.into()), Kept::Foreign, "{bytes:?}");
        }
    }
}
