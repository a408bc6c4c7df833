//! What PostgreSQL's server holds for us under names: cursors, so that rows come in pieces, and prepared statements.
//!
//! Both are asked for in SQL. What APR's driver prepares takes texts only, and a result it has whole or not at all.

use std::collections::VecDeque;

use crate::batch::Batch;
use crate::memory_use::Held;
use crate::pgsql;
use crate::statement::Statement;

mod running;

/// Words that begin queries a cursor can be opened for.
const QUERIES: &[&str] = &["SELECT", "VALUES", "TABLE", "WITH"];

/// Words that begin statements that can be prepared.
const PREPARED: &[&str] = &["SELECT", "VALUES", "WITH", "INSERT", "UPDATE", "DELETE"];

/// How many rows are fetched first; how many then depends on their size.
const FIRST: usize = 32;

/// How many rows and bytes are fetched at once.
const MOST: usize = 2048;
const BYTES: usize = 256 * 1024;

/// The rows of a cursor.
pub(crate) struct Cursor {
    number: u64,
    /// Whether they are read with their types.
    types: bool,
    /// What is coming of the rows that were asked for last.
    answer: Option<pgsql::Answer>,
    /// What had to be fetched before its time, how that ended, and its memory.
    rows: VecDeque<Batch>,
    error: Option<String>,
    held: Held,
    /// How many rows were asked for, and how many of them were taken.
    asked: usize,
    taken: usize,
    /// How many bytes all rows so far had, and how many they were.
    bytes: usize,
    count: usize,
}

impl Cursor {
    /// Whether the connection takes no other statement before more was read.
    pub(crate) fn is_coming(&self) -> bool {
        self.answer.is_some()
    }

    /// Drops what is coming.
    pub(crate) fn read_away(&mut self) {
        self.answer = None;
    }

    fn count(&mut self, batch: &Batch) {
        self.taken += batch.len();
        self.count += batch.len();
        self.bytes += batch.size();
    }
}

/// A statement that pages hold prepared.
pub(crate) struct Served {
    /// How many hold it.
    holders: usize,
    /// The server knows it as `plua_` and this; not at all after it failed, until its next use.
    number: Option<u64>,
}

/// Whether a cursor can be opened for a statement. None outlives its transaction if it locks rows or writes.
pub(crate) fn has_cursor(statement: &Statement) -> bool {
    statement.openings.len() == 1 && statement.begins_with(QUERIES) && !statement.may_write
}

/// Opens a cursor, which stays when its transaction is committed: a loop over its rows may do that.
fn declare(number: u64) -> String {
    format!("DECLARE plua_{number} NO SCROLL CURSOR WITH HOLD FOR ")
}

fn fetch(number: u64, rows: usize) -> String {
    format!("FETCH FORWARD {rows} FROM plua_{number}")
}
