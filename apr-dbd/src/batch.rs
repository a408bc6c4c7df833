//! Some rows of a result, their values side by side in one piece of memory.

use crate::memory_use;

/// The names of a result's columns.
pub(crate) type Names = Vec<Vec<u8>>;

/// After this many rows a batch is full.
const ROWS: usize = 256;

/// With this many bytes in it a batch is full.
const BYTES: usize = 64 * 1024;

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'b> {
    /// NULL.
    Null,
    /// The value as the database writes it, or its bytes. Where no types were asked for, all but NULL.
    Text(&'b [u8]),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A truth value, where the database has such a type.
    Boolean(bool),
}

impl<'b> Cell<'b> {
    /// The text; none for NULL, and for what has a type of its own.
    #[must_use]
    pub fn text(self) -> Option<&'b [u8]> {
        match self {
            Cell::Text(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A value where a batch has it; texts begin and end at these bytes.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Null,
    Text(usize, usize),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

/// Rows of a result, as many as are worth a call.
#[derive(Debug, Default)]
pub struct Batch {
    columns: usize,
    bytes: Vec<u8>,
    values: Vec<Kept>,
    pub(crate) is_last: bool,
}

impl Batch {
    /// An empty one for rows of that many columns.
    pub(crate) fn new(columns: usize) -> Batch {
        Batch { columns, ..Batch::default() }
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Whether it has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether no row comes after these.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// The values of each row in the order of the columns.
    pub fn rows(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = Cell<'_>> + Clone> {
        let value = |kept: &Kept| match *kept {
            Kept::Null => Cell::Null,
            Kept::Text(start, end) => Cell::Text(&self.bytes[start..end]),
            Kept::Integer(integer) => Cell::Integer(integer),
            Kept::Number(number) => Cell::Number(number),
            Kept::Boolean(truth) => Cell::Boolean(truth),
        };
        self.values.chunks(self.columns.max(1)).map(move |row| row.iter().map(value))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= ROWS || self.bytes.len() >= BYTES
    }

    /// How many bytes its values have.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes it takes in memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.values.capacity() * size_of::<Kept>()
    }

    /// Whether there is room for a value of that many bytes, where that is worth a question: what is here becomes the page's
    /// own, and a buffer that grows is twice as large.
    pub(crate) fn has_room_for(&self, length: usize) -> bool {
        let bytes = self.bytes.len() + length;
        bytes <= 2 * BYTES || memory_use::has_room(bytes * 2)
    }

    /// Adds the next value of the last row.
    pub(crate) fn push(&mut self, value: Cell<'_>) {
        let kept = match value {
            Cell::Null => Kept::Null,
            Cell::Text(bytes) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                Kept::Text(start, self.bytes.len())
            }
            Cell::Integer(integer) => Kept::Integer(integer),
            Cell::Number(number) => Kept::Number(number),
            Cell::Boolean(truth) => Kept::Boolean(truth),
        };
        self.values.push(kept);
    }

    /// Takes away the values of a row that could not be read whole.
    pub(crate) fn drop_partial_row(&mut self) {
        self.values.truncate(self.len() * self.columns);
    }
}
