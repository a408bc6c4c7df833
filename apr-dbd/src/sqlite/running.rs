//! How a connection to SQLite runs statements.

use super::NOT_AN_ERROR;
use super::prepared::{Prepared, Text};
use crate::connection::{Connection, Transaction};
use crate::execution::{check, count_differs};
use crate::found::{Found, Open};
use crate::statement::{Statement, Value};

/// Words that begin statements in which SQLite takes no values beside the text.
const WITHOUT_VALUES: &[&str] = &["CREATE", "PRAGMA"];

impl Connection {
    /// Runs statements without rows; how many rows the last one changed.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn run_in_sqlite(&mut self, sql: &[u8], values: &[Value]) -> Result<i64, String> {
        let prepared = self.bound_in_sqlite(sql, values)?;
        if !prepared.as_ref().is_ok_and(Prepared::is_reading) {
            self.take_rows();
        }
        let Some(sqlite) = &mut self.sqlite else { return Err(NOT_AN_ERROR.into()) };
        let result = match prepared {
            Ok(prepared) => {
                let result = sqlite.run(&prepared);
                sqlite.keep(prepared);
                result
            }
            Err((text, is_counted)) => sqlite.run_text(&text, is_counted),
        };
        self.note_transaction();
        result
    }

    /// Runs one statement and finds its rows; none if it is of a kind that has no rows.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn query_in_sqlite(
        &mut self,
        sql: &[u8],
        values: &[Value],
        types: bool,
    ) -> Result<Option<Found>, String> {
        let prepared = match self.bound_in_sqlite(sql, values)? {
            Ok(prepared) => prepared,
            Err((text, _)) => {
                let statement = Statement::new(&text, self.dialect);
                let prepared = self.prepare_in_sqlite(&text, &statement, false)?;
                prepared.ok_or(NOT_AN_ERROR)?
            }
        };
        if !prepared.is_reading() {
            self.take_rows();
        }
        let Some(sqlite) = &mut self.sqlite else { return Err(NOT_AN_ERROR.into()) };
        let stepped = sqlite.step(&prepared);
        let (columns, names) = (prepared.read_as(types), prepared.names());
        let count = columns.count;
        let is_writing = prepared.is_writing();
        let open = match stepped {
            Ok(true) => Open::Sqlite(prepared, columns),
            _ => {
                sqlite.keep(prepared);
                Open::none(None)
            }
        };
        self.note_transaction();
        stepped?;
        if count == 0 {
            return Ok(None);
        }
        let number = self.opened(open);
        if is_writing {
            // What it writes is complete only then.
            self.take_rows();
        }
        Ok(Some(Found { rows: number, columns: names }))
    }

    /// A statement with its values; or the text to run, and whether it is of a kind that changes rows, where SQLite
    /// takes none.
    fn bound_in_sqlite(&mut self, sql: &[u8], values: &[Value]) -> Result<Result<Prepared, (Vec<u8>, bool)>, String> {
        let is_valued = !values.is_empty();
        let kept = self.sqlite.as_mut().and_then(|sqlite| sqlite.kept(sql, is_valued));
        let prepared = match kept {
            Some(prepared) => prepared,
            None => {
                let statement = Statement::new(sql, self.dialect);
                check(&statement, values, true)?;
                let in_text = is_valued && statement.begins_with(WITHOUT_VALUES);
                match statement.openings.len() {
                    1 if !in_text => self.prepare_in_sqlite(sql, &statement, is_valued)?.ok_or(NOT_AN_ERROR)?,
                    _ => {
                        let text = Text::new(sql, &statement, is_valued);
                        return Ok(Err((self.with_literals(sql, &statement, values)?, text.is_counted)));
                    }
                }
            }
        };
        let Some(sqlite) = &mut self.sqlite else { return Err(NOT_AN_ERROR.into()) };
        if is_valued && prepared.placeholders() != values.len() {
            let wanted = prepared.placeholders();
            sqlite.keep(prepared);
            return Err(count_differs(wanted, values.len()));
        }
        if let Err(error) = sqlite.bind(&prepared, values) {
            sqlite.keep(prepared);
            return Err(error);
        }
        Ok(Ok(prepared))
    }

    /// Prepares a text's first statement; none if it has none.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn prepare_in_sqlite(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        is_valued: bool,
    ) -> Result<Option<Prepared>, String> {
        let Some(sqlite) = &self.sqlite else { return Ok(None) };
        // Of several statements only the first is here.
        let kept_as: &[u8] = if statement.openings.len() == 1 { sql } else { &[] };
        let text = Text::new(kept_as, statement, is_valued);
        match is_valued {
            true => sqlite.prepare(&statement.with(|_| b"?".to_vec()), text),
            false => sqlite.prepare(sql, text),
        }
    }

    /// SQLite knows best whether a transaction is open: it ends some by itself.
    fn note_transaction(&mut self) {
        match (self.sqlite.as_ref().is_some_and(|sqlite| sqlite.is_in_transaction()), &self.transaction) {
            (false, _) => self.transaction = Transaction::None,
            (true, Transaction::None) => self.transaction = Transaction::Perhaps,
            _ => {}
        }
    }
}
