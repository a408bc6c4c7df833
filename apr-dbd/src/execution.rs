//! How a connection runs statements and hands out their rows.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_int};
use std::ptr;

use crate::batch::{Batch, Names};
use crate::bound::{Bound, c_string, format, parameters, pointers};
use crate::connection::{Connection, Transaction};
use crate::cursor::has_cursor;
use crate::driver::Kind;
use crate::ffi;
use crate::found::{Found, Open, Wanted};
use crate::memory::Pool;
use crate::memory_use::Held;
use crate::rows::{Rows, text};
use crate::sqlite::reads;
use crate::statement::{Statement, Value, add_hex_literal, number_text};
use crate::{mysql, pgsql};

/// Words that begin statements with rows in MySQL.
const ROWS_IN_MYSQL: &[&str] = &["SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "WITH", "TABLE", "VALUES"];

const NO_END: &str = "a string or comment in the statement has no end";

impl Connection {
    /// Looks at a statement that is to be run more than once. SQLite and PostgreSQL prepare it; [`Self::release`] lets
    /// go of it.
    ///
    /// # Errors
    /// A sentence, when a string or comment has no end, or what the database says.
    pub fn prepare(&mut self, sql: &[u8]) -> Result<(), String> {
        let statement = Statement::new(sql, self.dialect);
        if statement.unfinished {
            return Err(NO_END.into());
        }
        if self.sqlite.is_some() {
            let is_valued = statement.placeholders() > 0;
            if let Some(prepared) = self.prepare_in_sqlite(sql, &statement, is_valued)?
                && let Some(sqlite) = &mut self.sqlite
            {
                sqlite.keep(prepared);
            }
            return Ok(());
        }
        self.take_rows();
        self.serve(sql, &statement)
    }

    /// Runs statements without rows. Returns how many rows the last one changed.
    ///
    /// # Errors
    /// What the database says.
    pub fn run(&mut self, sql: &[u8], values: &[Value]) -> Result<i64, String> {
        if self.sqlite.is_some() {
            return self.run_in_sqlite(sql, values);
        }
        let statement = Statement::new(sql, self.dialect);
        if self.kind == Kind::Mysql && statement.begins_with(ROWS_IN_MYSQL) {
            return Err("the statement has rows: query() or rows() fetch them".into());
        }
        check(&statement, values, self.kind == Kind::Mysql)?;
        self.take_rows();
        let changed = match self.served(sql, &statement, values)? {
            Some(text) => self.execute(&text, &statement, &[]).inspect_err(|_| self.forget(sql))?,
            None => self.execute(sql, &statement, values)?,
        };
        self.clear_leftovers();
        Ok(changed)
    }

    /// Runs one statement and finds its rows; none if it is of a kind that has no rows.
    ///
    /// # Errors
    /// What the database says.
    pub fn query(&mut self, sql: &[u8], values: &[Value], wanted: Wanted) -> Result<Option<Found>, String> {
        if self.sqlite.is_some() {
            return self.query_in_sqlite(sql, values, wanted.types);
        }
        let statement = Statement::new(sql, self.dialect);
        check(&statement, values, self.kind == Kind::Mysql)?;
        self.take_rows();
        self.clear_leftovers();
        let found = if wanted.in_pieces && self.kind == Kind::Pgsql && has_cursor(&statement) {
            let found = self.open_cursor(sql, &statement, values, wanted.types)?;
            found.map(|(cursor, names)| (Open::Cursor(cursor), names))
        } else {
            match self.served(sql, &statement, values)? {
                Some(text) => self.select(&text, &statement, &[], wanted.types).inspect_err(|_| self.forget(sql))?,
                None => self.select(sql, &statement, values, wanted.types)?,
            }
        };
        Ok(found.map(|(open, columns)| Found { rows: self.opened(open), columns }))
    }

    /// The next rows. After the last, which the batch tells, they are no longer known.
    ///
    /// # Errors
    /// What the database says, or that the rows were given up.
    pub fn fetch(&mut self, rows: u64) -> Result<Batch, String> {
        let mut open = self.open.remove(&rows).ok_or("these rows are no longer there")?;
        let (mut batch, more) = self.fill(&mut open);
        match more {
            Ok(true) => {
                self.open.insert(rows, open);
            }
            Ok(false) => {
                batch.is_last = true;
                self.end(open);
            }
            Err(error) => {
                self.end(open);
                if batch.is_empty() {
                    return Err(error);
                }
                self.open.insert(rows, Open::none(Some(error)));
            }
        }
        Ok(batch)
    }

    /// Gives up what was not fetched of some rows.
    pub fn give_up(&mut self, rows: u64) {
        if let Some(open) = self.open.remove(&rows) {
            self.end(open);
        }
    }

    /// Whether this statement would have to wait for rows of others, which are fetched first and kept in memory: MySQL
    /// sends no other answer before, and in SQLite a loop over a table must not meet what is written to it meanwhile.
    #[must_use]
    pub fn would_take_rows(&self, sql: &[u8]) -> bool {
        self.open.values().any(|open| match open {
            Open::Driver(_) | Open::Pgsql(..) | Open::Mysql(..) => true,
            Open::Cursor(cursor) => cursor.is_coming(),
            Open::Sqlite(..) => !reads(&Statement::new(sql, self.dialect)),
            _ => false,
        })
    }

    /// Keeps rows to be fetched, under the number it returns.
    pub(crate) fn opened(&mut self, open: Open) -> u64 {
        let number = self.next_number();
        self.open.insert(number, open);
        number
    }

    /// The next rows of these and whether there are more, or why there are not.
    fn fill(&mut self, open: &mut Open) -> (Batch, Result<bool, String>) {
        let mut batch = Batch::default();
        let more = match open {
            Open::Driver(rows) => {
                batch = rows.batch();
                // SAFETY: the rows are of this connection's own driver and handle.
                unsafe { rows.fill(self.driver.as_ptr(), self.handle.as_ptr(), &mut batch) }
            }
            Open::Pgsql(answer, types) => {
                batch = answer.batch();
                answer.fill(*types, &mut batch).map_err(|error| self.failed(error))
            }
            Open::Mysql(answer, types) => {
                batch = answer.batch();
                answer.fill(*types, &mut batch)
            }
            Open::Sqlite(prepared, columns) => {
                batch = Batch::new(columns.count);
                loop {
                    if let Err(error) = prepared.read(&mut batch, columns) {
                        break Err(error);
                    }
                    match self.sqlite.as_ref().map_or(Ok(false), |sqlite| sqlite.step(prepared)) {
                        Ok(true) if !batch.is_full() => {}
                        more => break more,
                    }
                }
            }
            Open::Cursor(cursor) => self.fill_from_cursor(cursor, &mut batch),
            Open::Taken { batches, error, .. } => match batches.pop_front() {
                Some(taken) => {
                    batch = taken;
                    Ok(!batches.is_empty() || error.is_some())
                }
                None => error.take().map_or(Ok(false), Err),
            },
        };
        (batch, more)
    }

    /// Frees what held rows.
    pub(crate) fn end(&mut self, open: Open) {
        match open {
            Open::Sqlite(prepared, _) => {
                if let Some(sqlite) = &mut self.sqlite {
                    sqlite.keep(prepared);
                }
            }
            Open::Cursor(mut cursor) => {
                cursor.read_away();
                self.close_cursor(&cursor);
            }
            Open::Driver(_) | Open::Pgsql(..) | Open::Mysql(..) | Open::Taken { .. } => {}
        }
    }

    /// Fetches all rows that are in the way of the next statement.
    pub(crate) fn take_rows(&mut self) {
        let in_the_way = |open: &Open| match open {
            Open::Taken { .. } => false,
            Open::Cursor(cursor) => cursor.is_coming(),
            _ => true,
        };
        let numbers: Vec<u64> =
            self.open.iter().filter(|(_, open)| in_the_way(open)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(mut open) = self.open.remove(&number) else { continue };
            if let Open::Cursor(cursor) = &mut open {
                self.take_from_cursor(cursor);
                self.open.insert(number, open);
                continue;
            }
            let mut batches = VecDeque::new();
            let mut held = Held::new(self.memory_use.as_ref());
            let error = loop {
                let (batch, more) = self.fill(&mut open);
                let has_room = held.take(batch.memory());
                if !batch.is_empty() {
                    batches.push_back(batch);
                }
                if !has_room {
                    break Some("out of memory for the rows that a loop has not fetched yet".into());
                }
                match more {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(error) => break Some(error),
                }
            };
            self.end(open);
            self.open.insert(number, Open::Taken { batches, error, _held: held });
        }
    }

    /// Runs a text without rows and keeps track of transactions; how many rows changed. The text is the statement's, or
    /// empty if it is to be made of it and its values.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn execute(&mut self, sql: &[u8], statement: &Statement, values: &[Value]) -> Result<i64, String> {
        if self.pgsql.is_some() {
            let mut answer = self.ask_pgsql(sql, statement, values)?;
            return match answer.read_away() {
                Ok(()) => Ok(answer.changed),
                Err(error) => Err(self.failed(error)),
            };
        }
        if self.mysql.is_some() {
            let mut answer = self.ask_mysql(sql, statement, values)?;
            // Rows of a procedure, which nobody wants.
            answer.read_away()?;
            return Ok(answer.changed);
        }
        let bound = self.bind(sql, statement, values)?;
        let pool = self.pool.child()?;
        let mut changed = 0;
        // SAFETY: driver and handle are live, texts and values live beyond the calls, and their number is that of the
        // placeholders.
        let status = unsafe {
            match &bound {
                Bound::Text(text) => {
                    ffi::apr_dbd_query(self.driver(), self.handle.as_ptr(), &raw mut changed, text.as_ptr())
                }
                Bound::Format(format, parameters) => match self.prepare_format(&pool, format) {
                    Err(status) => status,
                    Ok(prepared) => ffi::apr_dbd_pbquery(
                        self.driver(),
                        pool.as_ptr(),
                        self.handle.as_ptr(),
                        &raw mut changed,
                        prepared,
                        pointers(parameters).as_mut_ptr(),
                    ),
                },
            }
        };
        self.judge(status, statement)?;
        Ok(changed.into())
    }

    /// Runs a text and finds its rows and the names of its columns, as [`Self::execute`] takes it.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn select(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        values: &[Value],
        types: bool,
    ) -> Result<Option<(Open, Names)>, String> {
        if self.pgsql.is_some() {
            let mut answer = self.ask_pgsql(sql, statement, values)?;
            let open = if statement.openings.len() > 1 {
                let mut held = Held::new(self.memory_use.as_ref());
                let batches = answer.collect(types, &mut held).map_err(|error| self.failed(error))?;
                let names = std::mem::take(&mut answer.names);
                (Open::Taken { batches, error: None, _held: held }, names)
            } else {
                let names = answer.names.clone();
                (Open::Pgsql(answer, types), names)
            };
            return Ok((!open.1.is_empty()).then_some(open));
        }
        if self.mysql.is_some() {
            let answer = self.ask_mysql(sql, statement, values)?;
            let names = answer.names.clone();
            return Ok((!names.is_empty()).then_some((Open::Mysql(answer, types), names)));
        }
        let bound = self.bind(sql, statement, values)?;
        let pool = self.pool.child()?;
        let mut results = ptr::null_mut();
        // SAFETY: as in `execute`; the results are in the pool.
        let status = unsafe {
            match &bound {
                Bound::Text(text) => ffi::apr_dbd_select(
                    self.driver(),
                    pool.as_ptr(),
                    self.handle.as_ptr(),
                    &raw mut results,
                    text.as_ptr(),
                    0,
                ),
                Bound::Format(format, parameters) => match self.prepare_format(&pool, format) {
                    Err(status) => status,
                    Ok(prepared) => ffi::apr_dbd_pbselect(
                        self.driver(),
                        pool.as_ptr(),
                        self.handle.as_ptr(),
                        &raw mut results,
                        prepared,
                        0,
                        pointers(parameters).as_mut_ptr(),
                    ),
                },
            }
        };
        self.judge(status, statement)?;
        if results.is_null() {
            return Ok(None);
        }
        // SAFETY: the results are live as long as the pool; names are copied at once.
        let (columns, names) = unsafe {
            let columns = ffi::apr_dbd_num_cols(self.driver(), results);
            let names = (0..columns).map_while(|column| {
                let name = ffi::apr_dbd_get_name(self.driver(), results, column);
                (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
            });
            (columns, names.collect())
        };
        if columns == 0 {
            return Ok(None);
        }
        // SAFETY: the driver put the results into this pool.
        Ok(Some((Open::Driver(unsafe { Rows::new(results, columns, pool) }), names)))
    }

    /// Has PostgreSQL run a text, as [`Self::execute`] takes it, and reads its answer up to the first row.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn ask_pgsql(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        values: &[Value],
    ) -> Result<pgsql::Answer, String> {
        let Some(pgsql) = self.pgsql else { return Err("no connection to PostgreSQL".into()) };
        let answer = match values.is_empty() {
            true => pgsql.ask(&c_string(sql, "the statement holds")?, &[]),
            false => {
                let text = statement.with(|place| format!("${}", place + 1).into_bytes());
                pgsql.ask(&c_string(&text, "the statement holds")?, &parameters(values)?)
            }
        };
        let answer = answer.map_err(|error| self.failed(error))?;
        self.succeeded(statement);
        Ok(answer)
    }

    /// Has MySQL run a text, as [`Self::execute`] takes it, and reads its answer up to the first row.
    fn ask_mysql(&mut self, sql: &[u8], statement: &Statement, values: &[Value]) -> Result<mysql::Answer, String> {
        let Some(mysql) = self.mysql else { return Err("no connection to MySQL".into()) };
        let text = self.with_literals(sql, statement, values)?;
        let text = CString::new(text).map_err(|_| "the statement holds a NUL byte")?;
        let answer = mysql.ask(&text)?;
        self.succeeded(statement);
        Ok(answer)
    }

    /// Runs a command of ours that changes nothing a page sees.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn command(&mut self, command: &str) -> Result<(), String> {
        let Some(pgsql) = self.pgsql else { return Err("no connection to PostgreSQL".into()) };
        self.take_rows();
        pgsql.ask(&c_string(command.as_bytes(), "the command holds")?, &[])?.read_away()
    }

    /// Puts values in the places of a statement's placeholders, beside the text.
    fn bind(&mut self, sql: &[u8], statement: &Statement, values: &[Value]) -> Result<Bound, String> {
        match values.is_empty() {
            true => Ok(Bound::Text(c_string(sql, "the statement holds")?)),
            false => format(statement, values),
        }
    }

    /// The text with the values in it, in memory that is taken once.
    pub(crate) fn with_literals(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        values: &[Value],
    ) -> Result<Vec<u8>, String> {
        if values.is_empty() {
            return Ok(sql.to_vec());
        }
        let room = |value: &Value| value.size() * 2 + 40;
        let mut text = Vec::with_capacity(sql.len() + values.iter().map(room).sum::<usize>() + 1);
        for (number, piece) in statement.pieces.iter().enumerate() {
            if number > 0 {
                // Spaces keep apart what would else grow together: 5-? and -3 make a comment.
                text.push(b' ');
                self.add_literal(&values[number - 1], &mut text)?;
                text.push(b' ');
            }
            text.extend_from_slice(piece);
        }
        Ok(text)
    }

    fn add_literal(&mut self, value: &Value, text: &mut Vec<u8>) -> Result<(), String> {
        if let Some(bytes) = value.binary() {
            add_hex_literal(bytes, text);
            return Ok(());
        }
        match value {
            Value::Null => text.extend_from_slice(b"NULL"),
            Value::Number(number) if number.is_nan() => text.extend_from_slice(b"NULL"),
            Value::Number(number) if number.is_infinite() => match self.kind {
                Kind::Sqlite if *number > 0.0 => text.extend_from_slice(b"9e999"),
                Kind::Sqlite => text.extend_from_slice(b"-9e999"),
                _ => return Err("the database has no infinite numbers".into()),
            },
            Value::Number(number) => text.extend_from_slice(number_text(*number).as_bytes()),
            Value::Integer(integer) => text.extend_from_slice(integer.to_string().as_bytes()),
            Value::Text(value) | Value::Blob(value) => match self.mysql {
                Some(mysql) => mysql.quote(value, text)?,
                None => text.extend(self.quote(value)?),
            },
        }
        Ok(())
    }

    /// How many copies of a value are made beside the page's own on its way to the database, at most. SQLite's own copy is
    /// counted by itself.
    #[must_use]
    pub fn copies(&self, sql: &[u8]) -> usize {
        match self.kind {
            Kind::Sqlite => 1,
            // The value; twice its length as a literal.
            Kind::Mysql => 3,
            // The value, it as a C string, and the library's buffer, which doubles.
            Kind::Pgsql | Kind::Other if !self.served.contains_key(sql) => 4,
            // Beside the value: escaped, quoted, in the text and in the library's buffer.
            Kind::Pgsql | Kind::Other => 8,
        }
    }

    /// A text as a string of SQL.
    pub(crate) fn quote(&mut self, text: &[u8]) -> Result<Vec<u8>, String> {
        Ok([b"'", &self.escape(text)?[..], b"'"].concat())
    }

    /// Prepares a statement under no name, so that nothing of it outlives the pool.
    ///
    /// # Safety
    /// `pool` is in this connection's pool.
    unsafe fn prepare_format(&self, pool: &Pool, format: &CStr) -> Result<*mut ffi::apr_dbd_prepared_t, c_int> {
        let mut prepared = ptr::null_mut();
        // SAFETY: driver and handle are live; what is made is in the pool, which the caller vouches for.
        let status = unsafe {
            ffi::apr_dbd_prepare(
                self.driver(),
                pool.as_ptr(),
                self.handle.as_ptr(),
                format.as_ptr(),
                ptr::null(),
                &raw mut prepared,
            )
        };
        if status == 0 { Ok(prepared) } else { Err(status) }
    }

    /// Makes a driver's number a result, and keeps track of transactions.
    fn judge(&mut self, status: c_int, statement: &Statement) -> Result<(), String> {
        if status != 0 {
            // SAFETY: driver and handle are live; the text is copied before another call changes it.
            let said = unsafe { text(ffi::apr_dbd_error(self.driver(), self.handle.as_ptr(), status)) };
            return Err(said.unwrap_or_else(|| format!("the database failed ({status})")));
        }
        self.succeeded(statement);
        Ok(())
    }

    /// Keeps an error in mind, after which PostgreSQL allows nothing but the end of its transaction.
    pub(crate) fn failed(&mut self, error: String) -> String {
        if self.kind == Kind::Pgsql
            && let Transaction::Begun(first @ None) = &mut self.transaction
        {
            *first = Some(error.clone());
        }
        error
    }

    /// Keeps track of transactions.
    fn succeeded(&mut self, statement: &Statement) {
        self.has_savepoints |= statement.begins_with(&["SAVEPOINT"]);
        for [first, second] in &statement.openings {
            match first.as_str() {
                "BEGIN" | "START" | "SAVEPOINT" if self.transaction == Transaction::None => {
                    self.transaction = Transaction::Perhaps;
                }
                "COMMIT" | "END" => self.transaction = Transaction::None,
                "ROLLBACK" if second != "TO" => self.transaction = Transaction::None,
                // A savepoint may lie before what failed.
                "ROLLBACK" => {
                    if let Transaction::Begun(error) = &mut self.transaction {
                        *error = None;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Looks whether there are as many values as placeholders. Without values a question mark may be an operator's, where
/// the database has such.
pub(crate) fn check(statement: &Statement, values: &[Value], is_strict: bool) -> Result<(), String> {
    let (wanted, given) = (statement.placeholders(), values.len());
    if given == 0 && (!is_strict || statement.unfinished || wanted == 0) {
        return Ok(());
    }
    match statement.unfinished {
        true => Err(NO_END.into()),
        false if wanted != given => Err(count_differs(wanted, given)),
        false => Ok(()),
    }
}

pub(crate) fn count_differs(wanted: usize, given: usize) -> String {
    format!("the statement has {wanted} placeholders and {given} values")
}
