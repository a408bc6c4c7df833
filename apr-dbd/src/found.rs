//! Rows that a statement has found, and where they wait to be fetched.

use std::collections::VecDeque;

use crate::batch::{Batch, Names};
use crate::cursor::Cursor;
use crate::memory_use::Held;
use crate::rows::Rows;
use crate::sqlite::{Columns, Prepared};
use crate::{mysql, pgsql};

/// Rows waiting to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What [`Connection::fetch`](crate::Connection::fetch) knows them by.
    pub rows: u64,
    /// Names of the columns. Empty where the driver tells them only with a row and there is none.
    pub columns: Names,
}

/// How rows are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// As they are fetched, also where the server would otherwise send all at once (PostgreSQL).
    pub in_pieces: bool,
    /// Numbers and truth values as such, where the database says what they are.
    pub types: bool,
}

/// Rows of a statement that were not all fetched yet.
pub(crate) enum Open {
    /// Where APR's driver has them.
    Driver(Rows),
    /// Coming from PostgreSQL's or MySQL's server, and whether with their types.
    Pgsql(pgsql::Answer, bool),
    Mysql(mysql::Answer, bool),
    /// SQLite's statement, standing at the next row, and how that is read.
    Sqlite(Prepared, Columns),
    /// On PostgreSQL's server.
    Cursor(Cursor),
    /// Fetched before their time, and how that ended.
    Taken {
        batches: VecDeque<Batch>,
        error: Option<String>,
        _held: Held,
    },
}

impl Open {
    /// No rows, and why.
    pub(crate) fn none(error: Option<String>) -> Open {
        Open::Taken { batches: VecDeque::new(), error, _held: Held::default() }
    }
}
