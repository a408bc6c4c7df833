//! A prepared statement of SQLite's, and the rows it stands at.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use super::interface::Interface;
use super::real;
use crate::batch::{Batch, Cell};
use crate::rows::text;
use crate::statement::Statement;

/// Types of values.
const INTEGER: c_int = 1;
const FLOAT: c_int = 2;
const BLOB: c_int = 4;
const NULL: c_int = 5;

/// Words that begin statements SQLite counts rows for; after others it still tells the last count.
const COUNTED: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// Words that begin statements which leave rows of others alone.
const READING: &[&str] = &["SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA", "SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"];

/// Types of columns that hold truth values, which SQLite keeps as 1 and 0.
const BOOLEAN: &[&str] = &["BOOLEAN", "BOOL"];

/// The columns of a statement's rows, and how their values are read.
pub(crate) struct Columns {
    /// How many there are; 0 if it has no rows.
    pub(crate) count: usize,
    /// Whether numbers are read as such; with it, the columns of truth values.
    types: Option<Vec<bool>>,
}

/// A statement as SQLite has it. Whoever holds it drops it before its database is closed.
pub(crate) struct Raw {
    pub(super) interface: &'static Interface,
    pub(super) statement: NonNull<c_void>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: this owns the statement, whose database is open.
        unsafe { (self.interface.finalize)(self.statement.as_ptr()) };
    }
}

/// A statement with what must be known of it.
pub(crate) struct Prepared {
    pub(super) raw: Raw,
    pub(super) text: Text,
    /// The numbers of the question marks among the statement's parameters.
    pub(super) places: Vec<c_int>,
}

/// What a statement is kept by, and what its words tell.
pub(crate) struct Text {
    /// The statement as the page wrote it; empty if it is not to be kept.
    pub(crate) sql: Vec<u8>,
    /// Whether it was given values, without which `??` is not one question mark.
    pub(crate) is_valued: bool,
    /// Whether the number of changed rows is its own.
    pub(crate) is_counted: bool,
    /// Whether it leaves alone what other statements read.
    pub(crate) is_reading: bool,
}

impl Text {
    /// What `statement`, which is all of this text, tells by its words.
    pub(crate) fn new(sql: &[u8], statement: &Statement, is_valued: bool) -> Text {
        let is_counted = statement.begins_with(COUNTED);
        Text { sql: sql.to_vec(), is_valued, is_counted, is_reading: reads(statement) }
    }
}

/// Whether nothing in a text changes what other statements read.
pub(crate) fn reads(statement: &Statement) -> bool {
    statement.openings.iter().all(|[first, _]| READING.contains(&first.as_str()))
}

impl Prepared {
    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.raw.statement.as_ptr()
    }

    /// Whether what other statements read stays as it is.
    pub(crate) fn is_reading(&self) -> bool {
        self.text.is_reading && !self.is_writing()
    }

    /// Whether it changes the database. Its rows are to be fetched at once, for only then is it complete.
    pub(crate) fn is_writing(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { (self.raw.interface.stmt_readonly)(self.as_ptr()) == 0 }
    }

    /// How many values it wants.
    pub(crate) fn placeholders(&self) -> usize {
        self.places.len()
    }

    /// How many columns its rows have; 0 if it has none. True when it has been run: another connection may have changed
    /// the table meanwhile.
    pub(crate) fn columns(&self) -> usize {
        // SAFETY: the statement is live.
        unsafe { (self.raw.interface.column_count)(self.as_ptr()) }.try_into().unwrap_or(0)
    }

    /// The names of its columns.
    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        let name = |column: usize| {
            // SAFETY: the statement is live and has the column; the name is copied before another call.
            unsafe {
                let name = (self.raw.interface.column_name)(self.as_ptr(), column as c_int);
                if name.is_null() { Vec::new() } else { CStr::from_ptr(name).to_bytes().to_vec() }
            }
        };
        (0..self.columns()).map(name).collect()
    }

    /// Its columns, whose values are read with their types if those are wanted.
    pub(crate) fn read_as(&self, types: bool) -> Columns {
        let count = self.columns();
        let is_boolean = |column: usize| {
            // SAFETY: the statement is live and has the column; the text is looked at before another call.
            let declared = unsafe { text((self.raw.interface.column_decltype)(self.as_ptr(), column as c_int)) };
            declared.is_some_and(|declared| BOOLEAN.iter().any(|name| declared.eq_ignore_ascii_case(name)))
        };
        Columns { count, types: types.then(|| (0..count).map(is_boolean).collect()) }
    }

    /// Adds the row it stands at to a batch.
    ///
    /// # Errors
    /// That there was no memory for a value.
    pub(crate) fn read(&self, batch: &mut Batch, columns: &Columns) -> Result<(), String> {
        for column in 0..columns.count {
            let booleans = columns.types.as_ref();
            if !self.read_value(column as c_int, booleans.map(|booleans| booleans[column]), batch) {
                batch.drop_partial_row();
                return Err("out of memory".into());
            }
        }
        Ok(())
    }

    /// Adds one value, a number as such if `is_boolean` says whether it is a truth value. False when memory runs out.
    fn read_value(&self, column: c_int, is_boolean: Option<bool>, batch: &mut Batch) -> bool {
        let (functions, statement) = (self.raw.interface, self.as_ptr());
        // SAFETY: the statement stands at a row with that column; the bytes are copied before another call. Whatever is
        // no BLOB is asked for as text first, for that says how many bytes it then has.
        unsafe {
            let (mut number, mut is_text) = (None, true);
            match ((functions.column_type)(statement, column), is_boolean) {
                (NULL, _) => {
                    batch.push(Cell::Null);
                    return true;
                }
                (INTEGER, Some(is_boolean)) => {
                    batch.push(match (functions.column_int64)(statement, column) {
                        truth @ (0 | 1) if is_boolean => Cell::Boolean(truth == 1),
                        integer => Cell::Integer(integer),
                    });
                    return true;
                }
                (FLOAT, Some(_)) => {
                    batch.push(Cell::Number((functions.column_double)(statement, column)));
                    return true;
                }
                (FLOAT, None) => number = Some((functions.column_double)(statement, column)),
                (BLOB, _) => is_text = false,
                _ => {}
            }
            let start = match is_text {
                true => (functions.column_text)(statement, column),
                false => (functions.column_blob)(statement, column),
            };
            let length = (functions.column_bytes)(statement, column).try_into().unwrap_or(0);
            let bytes: &[u8] = match start.is_null() {
                // Only an empty BLOB is nowhere.
                true if is_text || length > 0 => return false,
                true => &[],
                false => std::slice::from_raw_parts(start.cast::<u8>(), length),
            };
            if !batch.has_room_for(length) {
                return false;
            }
            match number {
                Some(number) if number.is_finite() && !reads_as(bytes, number) => {
                    batch.push(Cell::Text(real::text(number).as_bytes()));
                }
                _ => batch.push(Cell::Text(bytes)),
            }
            true
        }
    }
}

fn reads_as(digits: &[u8], number: f64) -> bool {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) == Some(number)
}
