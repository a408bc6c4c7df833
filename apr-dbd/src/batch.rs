//! Some rows of a result, their values side by side in one piece of memory.

/// After this many rows a batch is full.
const ROWS: usize = 256;

/// With this many bytes in it a batch is full.
const BYTES: usize = 64 * 1024;

/// Rows of a result, as many as are worth a call.
#[derive(Debug, Default)]
pub struct Batch {
    columns: usize,
    bytes: Vec<u8>,
    /// Where each value begins and ends in `bytes`; None is NULL.
    values: Vec<Option<(usize, usize)>>,
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

    /// The values of each row in the order of the columns; None is NULL.
    pub fn rows(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = Option<&[u8]>> + Clone> {
        let value = |place: &Option<(usize, usize)>| place.map(|(start, end)| &self.bytes[start..end]);
        self.values.chunks(self.columns.max(1)).map(move |row| row.iter().map(value))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= ROWS || self.bytes.len() >= BYTES
    }

    /// How many bytes its values have.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes it takes in memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.values.capacity() * size_of::<Option<(usize, usize)>>()
    }

    /// Adds the next value of the last row.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.values.push(value.map(|_| (start, self.bytes.len())));
    }

    /// Takes away the values of a row that could not be read whole.
    pub(crate) fn drop_partial_row(&mut self) {
        self.values.truncate(self.len() * self.columns);
    }
}
