//! What is kept under a key, and why something could not be.

use std::fmt;

/// A value as it is put into a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// Bytes that are the value.
    Bytes(&'a [u8]),
    /// Bytes that the store's user makes a value of.
    Encoded(&'a [u8]),
}

/// A number, kept to the bit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole one.
    Integer(i64),
    /// Any other.
    Float(f64),
}

impl Number {
    /// The sum: whole while both are, and then going round as machines count.
    #[must_use]
    pub fn plus(self, other: Number) -> Number {
        match (self, other) {
            (Number::Integer(one), Number::Integer(other)) => Number::Integer(one.wrapping_add(other)),
            (one, other) => Number::Float(one.as_float() + other.as_float()),
        }
    }

    fn as_float(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Float(float) => float,
        }
    }
}

/// What is under a key; bytes are where the one who asked wanted them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// Bytes that are the value.
    Bytes,
    /// Bytes that the store's user makes a value of.
    Encoded,
    /// Bytes, so many, more than were wanted: none was copied.
    Longer(usize),
}

/// Why a store refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key has more than [`LONGEST_KEY`](crate::LONGEST_KEY) bytes.
    LongKey,
    /// Key and value take so many bytes, and there is room for so many.
    TooLarge {
        /// Bytes that they would take.
        needed: usize,
        /// Bytes that an entry can take.
        most: usize,
    },
    /// What is under the key is no number.
    NotANumber,
    /// What is under the key is a list.
    List,
    /// What is under the key is no list.
    NotAList,
    /// What is under the key is no bytes.
    NotBytes,
    /// Another process has held the lock for seconds, or the system does not give it.
    Busy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::LongKey => write!(formatter, "the key has more than {} bytes", crate::LONGEST_KEY),
            Refusal::TooLarge { needed, most } => {
                write!(formatter, "key and value take {needed} bytes, and there is room for {most}")
            }
            Refusal::NotANumber => formatter.write_str("the value is not a number"),
            Refusal::List => formatter.write_str("the value is a list"),
            Refusal::NotAList => formatter.write_str("the value is not a list"),
            Refusal::NotBytes => formatter.write_str("the value is not bytes"),
            Refusal::Busy => formatter.write_str("another process does not give the store free"),
        }
    }
}

impl std::error::Error for Refusal {}

/// How a value is told in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Boolean = 1,
    Integer = 2,
    Float = 3,
    Bytes = 4,
    Encoded = 5,
    List = 6,
}

impl Kind {
    pub(crate) fn of(word: u32) -> Option<Kind> {
        [Kind::Boolean, Kind::Integer, Kind::Float, Kind::Bytes, Kind::Encoded, Kind::List]
            .into_iter()
            .find(|kind| *kind as u32 == word)
    }

    /// The value of this kind with that word, where it is no bytes; `Bytes` and `Encoded` tell themselves.
    pub(crate) fn found(self, word: u64) -> Found {
        match self {
            Kind::Boolean => Found::Boolean(word != 0),
            Kind::Integer => Found::Number(Number::Integer(word as i64)),
            Kind::Float => Found::Number(Number::Float(f64::from_bits(word))),
            Kind::Bytes => Found::Bytes,
            Kind::Encoded | Kind::List => Found::Encoded,
        }
    }
}

impl<'a> Value<'a> {
    /// Its kind, its word and its bytes.
    pub(crate) fn parts(self) -> (Kind, u64, &'a [u8]) {
        match self {
            Value::Boolean(truth) => (Kind::Boolean, u64::from(truth), &[]),
            Value::Number(Number::Integer(integer)) => (Kind::Integer, integer as u64, &[]),
            Value::Number(Number::Float(float)) => (Kind::Float, float.to_bits(), &[]),
            Value::Bytes(bytes) => (Kind::Bytes, 0, bytes),
            Value::Encoded(bytes) => (Kind::Encoded, 0, bytes),
        }
    }
}
