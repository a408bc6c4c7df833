//! A connection to a database: statements, their rows, transactions.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};

use crate::bound::{Bound, c_string, format, pointers};
use crate::ffi;
use crate::memory::{Pool, initialize};
use crate::rows::{Row, Rows, text};
use crate::statement::{Dialect, Statement, Value, hex_literal, number_text};

const OK: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;

/// Words that begin statements with rows in MySQL.
const ROWS_IN_MYSQL: &[&str] = &["SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "WITH", "TABLE", "VALUES"];

/// Words that begin statements SQLite counts rows for; after others it still tells the last count.
const COUNTED_IN_SQLITE: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// Rows waiting to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What [`Connection::next`] knows them by.
    pub rows: u64,
    /// Names of the columns. Empty where the driver tells them only with a row and there is none.
    pub columns: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Mysql,
    Pgsql,
    Other,
}

/// What is known of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// Begun here; with the first error in it where the database allows nothing but its end from then on.
    Begun(Option<String>),
    /// A statement of the caller's may have begun one.
    Perhaps,
}

/// A connection. One thread at a time may use it; which one does not matter. Dropping it closes it, and rolls back what
/// was not committed.
pub struct Connection {
    driver: NonNull<ffi::apr_dbd_driver_t>,
    handle: NonNull<ffi::apr_dbd_t>,
    kind: Kind,
    lent: bool,
    dialect: Dialect,
    transaction: Transaction,
    open: HashMap<u64, Open>,
    opened: u64,
    // After everything that lives in it.
    pool: Pool,
}

// SAFETY: the drivers' handles are bound to no thread, and the pool has an allocator of its own.
unsafe impl Send for Connection {}

/// Rows of a statement that were not all fetched yet.
enum Open {
    /// Where the driver has them.
    Driver(Rows),
    /// Taken from the driver before their time.
    Taken(VecDeque<Row>, Option<String>),
}

impl Connection {
    /// Connects, with the driver of that name and parameters as it wants them.
    ///
    /// # Errors
    /// A sentence: the driver is unknown or not installed, or what the database says.
    pub fn open(driver: &str, parameters: &[u8]) -> Result<Connection, String> {
        // APR makes a file's name of it, in 32 bytes.
        if driver.is_empty()
            || driver.len() > 16
            || !driver.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(format!("unknown database driver '{driver}' (no such name)"));
        }
        if parameters.is_empty() {
            return Err(format!("no parameters for the database driver '{driver}'"));
        }
        let parameters = c_string(parameters, "the parameters hold")?;
        let name = c_string(driver.as_bytes(), "the driver's name holds")?;
        initialize()?;
        let pool = Pool::new()?;
        let (mut found, mut handle, mut error) = (ptr::null(), ptr::null_mut(), ptr::null());
        // SAFETY: APR is initialized; the texts outlive the calls, and what these write goes to the pool or is the
        // driver's own.
        unsafe {
            let status = ffi::apr_dbd_get_driver(pool.as_ptr(), name.as_ptr(), &raw mut found);
            if status != OK || found.is_null() {
                return Err(format!("unknown database driver '{driver}', or not installed ({status})"));
            }
            let status =
                ffi::apr_dbd_open_ex(found, pool.as_ptr(), parameters.as_ptr(), &raw mut handle, &raw mut error);
            if status != OK {
                return Err(
                    text(error).unwrap_or_else(|| format!("{driver}: the database cannot be opened ({status})"))
                );
            }
        }
        Connection::made(found, handle, pool, false)
    }

    /// A connection that someone else keeps open and closes.
    ///
    /// # Errors
    /// A sentence, when there is none or memory runs out.
    ///
    /// # Safety
    /// `driver` is null or an `apr_dbd_driver_t`, `handle` null or an open `apr_dbd_t` of it. Both live longer than
    /// the connection, and nobody else uses the handle meanwhile.
    pub unsafe fn lent(driver: *const c_void, handle: *mut c_void) -> Result<Connection, String> {
        initialize()?;
        Connection::made(driver.cast(), handle.cast(), Pool::new()?, true)
    }

    fn made(
        driver: *const ffi::apr_dbd_driver_t,
        handle: *mut ffi::apr_dbd_t,
        pool: Pool,
        lent: bool,
    ) -> Result<Connection, String> {
        let (Some(driver), Some(handle)) = (NonNull::new(driver.cast_mut()), NonNull::new(handle)) else {
            return Err("no database connection".into());
        };
        // SAFETY: a driver's name is a constant text.
        let name = unsafe { CStr::from_ptr(ffi::apr_dbd_name(driver.as_ptr())) };
        let kind = match name.to_bytes() {
            b"sqlite3" | b"sqlite2" => Kind::Sqlite,
            b"mysql" => Kind::Mysql,
            b"pgsql" => Kind::Pgsql,
            _ => Kind::Other,
        };
        let mut connection = Connection {
            driver,
            handle,
            kind,
            lent,
            dialect: Dialect::default(),
            transaction: Transaction::None,
            open: HashMap::new(),
            opened: 0,
            pool,
        };
        connection.dialect = match kind {
            Kind::Sqlite => Dialect { backtick: true, bracket: true, ..Dialect::default() },
            // Whether a backslash is special is a setting of the session's, which its own escape function follows.
            Kind::Mysql => {
                let backslash = connection.escape(b"\\")?.len() == 2;
                Dialect { backtick: true, hash: true, backslash, ..Dialect::default() }
            }
            Kind::Pgsql => Dialect { dollar: true, ..Dialect::default() },
            Kind::Other => Dialect::default(),
        };
        Ok(connection)
    }

    /// Asks the database whether the connection still works.
    pub fn is_alive(&mut self) -> bool {
        self.take_rows();
        let mut ignored = 0;
        // SAFETY: driver and handle are live, see `open` and `lent`.
        unsafe {
            match self.kind {
                // The driver's own check sees only what an earlier statement ran into, and then connects anew.
                Kind::Pgsql => {
                    ffi::apr_dbd_query(self.driver(), self.handle.as_ptr(), &raw mut ignored, c"".as_ptr()) == 0
                }
                _ => ffi::apr_dbd_check_conn(self.driver(), self.pool.as_ptr(), self.handle.as_ptr()) == OK,
            }
        }
    }

    /// A text with what is special inside a quoted string made harmless.
    ///
    /// # Errors
    /// A sentence for a text with a NUL, which no string in SQL can hold.
    pub fn escape(&mut self, value: &[u8]) -> Result<Vec<u8>, String> {
        let value = c_string(value, "the text holds")?;
        let pool = self.pool.child()?;
        // SAFETY: driver and handle are live; the result is in the pool, or null when memory ran out.
        unsafe {
            let escaped = ffi::apr_dbd_escape(self.driver(), pool.as_ptr(), value.as_ptr(), self.handle.as_ptr());
            match escaped.is_null() {
                true => Err("the text cannot be escaped".into()),
                false => Ok(CStr::from_ptr(escaped).to_bytes().to_vec()),
            }
        }
    }

    /// Looks whether a text can be taken apart into what its placeholders need, and counts them.
    ///
    /// # Errors
    /// A sentence, when a string or comment has no end.
    pub fn placeholders(&self, sql: &[u8]) -> Result<usize, String> {
        let statement = Statement::new(sql, self.dialect);
        match statement.unfinished {
            true => Err("a string or comment in the statement has no end".into()),
            false => Ok(statement.placeholders()),
        }
    }

    /// Runs statements without rows. Returns how many rows the last one changed.
    ///
    /// # Errors
    /// What the database says.
    pub fn run(&mut self, sql: &[u8], values: &[Value]) -> Result<i64, String> {
        let statement = Statement::new(sql, self.dialect);
        if self.kind == Kind::Mysql && statement.begins_with(ROWS_IN_MYSQL) {
            return Err("the statement has rows: query() or rows() fetch them".into());
        }
        let bound = self.bind(sql, &statement, values)?;
        self.take_rows();
        let pool = self.pool.child()?;
        let mut changed = 0;
        // SAFETY: driver and handle are live, texts and values live beyond the calls, and their number is that of the
        // placeholders.
        let status = unsafe {
            match &bound {
                Bound::Text(text) => {
                    ffi::apr_dbd_query(self.driver(), self.handle.as_ptr(), &raw mut changed, text.as_ptr())
                }
                Bound::Format(format, parameters) => match self.prepare(&pool, format) {
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
        self.judge(status, &statement)?;
        match self.kind {
            // Rows that this call has no way to fetch: the connection takes no further statement.
            Kind::Mysql if changed < 0 => {
                Err("the statement had rows and run() cannot fetch them: this handle must be closed".into())
            }
            Kind::Sqlite if !statement.begins_with(COUNTED_IN_SQLITE) => Ok(0),
            _ => Ok(changed.into()),
        }
    }

    /// Runs one statement and finds its rows; none if it is of a kind that has no rows.
    ///
    /// # Errors
    /// What the database says.
    pub fn query(&mut self, sql: &[u8], values: &[Value]) -> Result<Option<Found>, String> {
        let statement = Statement::new(sql, self.dialect);
        let bound = self.bind(sql, &statement, values)?;
        self.take_rows();
        let pool = self.pool.child()?;
        let mut results = ptr::null_mut();
        // PostgreSQL's driver tells errors and names of columns only of rows it has all at once; MySQL's sends row by row
        // unless asked otherwise; SQLite's always has all.
        let all_at_once = c_int::from(self.kind == Kind::Pgsql);
        // SAFETY: as in `run`; the results are in the pool.
        let status = unsafe {
            match &bound {
                Bound::Text(text) => ffi::apr_dbd_select(
                    self.driver(),
                    pool.as_ptr(),
                    self.handle.as_ptr(),
                    &raw mut results,
                    text.as_ptr(),
                    all_at_once,
                ),
                Bound::Format(format, parameters) => match self.prepare(&pool, format) {
                    Err(status) => status,
                    Ok(prepared) => ffi::apr_dbd_pbselect(
                        self.driver(),
                        pool.as_ptr(),
                        self.handle.as_ptr(),
                        &raw mut results,
                        prepared,
                        all_at_once,
                        pointers(parameters).as_mut_ptr(),
                    ),
                },
            }
        };
        self.judge(status, &statement)?;
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
        self.opened += 1;
        // SAFETY: the driver put the results into this pool.
        let rows = unsafe { Rows::new(results, columns, pool) };
        self.open.insert(self.opened, Open::Driver(rows));
        Ok(Some(Found { rows: self.opened, columns: names }))
    }

    /// The next of some rows; none after the last.
    ///
    /// # Errors
    /// What the database says, or that the rows were given up.
    pub fn next(&mut self, rows: u64) -> Result<Option<Row>, String> {
        let (driver, handle, may_break) = (self.driver.as_ptr(), self.handle.as_ptr(), self.kind == Kind::Mysql);
        let next = match self.open.get_mut(&rows) {
            None => return Err("these rows are no longer there".into()),
            // SAFETY: the rows are of this connection's own driver and handle.
            Some(Open::Driver(rows)) => unsafe { rows.next(driver, handle, may_break) },
            Some(Open::Taken(taken, error)) => match taken.pop_front() {
                Some(row) => Ok(Some(row)),
                None => error.take().map_or(Ok(None), Err),
            },
        };
        if !matches!(next, Ok(Some(_))) {
            self.open.remove(&rows);
        }
        next
    }

    /// Gives up what was not fetched of some rows.
    pub fn give_up(&mut self, rows: u64) {
        self.open.remove(&rows);
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// What the database says, or that one is open already.
    pub fn begin(&mut self) -> Result<(), String> {
        if matches!(self.transaction, Transaction::Begun(_)) {
            return Err("a transaction is open already".into());
        }
        let begin: &[u8] = match self.kind {
            // At once with the right to write: one that asks for it later can find another in its way for good.
            Kind::Sqlite => b"BEGIN IMMEDIATE",
            Kind::Mysql => b"START TRANSACTION",
            Kind::Pgsql => b"BEGIN",
            Kind::Other => return Err("transactions are not known with this driver".into()),
        };
        self.run(begin, &[])?;
        self.transaction = Transaction::Begun(None);
        Ok(())
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// What the database says, or that none is open. A transaction that cannot be committed is rolled back.
    pub fn commit(&mut self) -> Result<(), String> {
        match &self.transaction {
            Transaction::None => return Err("no transaction is open".into()),
            // PostgreSQL would answer COMMIT with a rollback and call that a success.
            Transaction::Begun(Some(error)) => {
                let error = format!("rolled back, because a statement failed: {error}");
                return self.rollback().and(Err(error));
            }
            _ => {}
        }
        let committed = self.run(b"COMMIT", &[]);
        if committed.is_err() {
            let _ = self.rollback();
        }
        self.transaction = Transaction::None;
        committed.map(drop)
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    /// What the database says, or that none is open.
    pub fn rollback(&mut self) -> Result<(), String> {
        if self.transaction == Transaction::None {
            return Err("no transaction is open".into());
        }
        let ended = self.run(b"ROLLBACK", &[]).map(drop);
        self.transaction = Transaction::None;
        ended
    }

    /// The number the last inserted row got, as the database writes it.
    ///
    /// # Errors
    /// What the database says.
    pub fn last_id(&mut self) -> Result<Option<Vec<u8>>, String> {
        let sql: &[u8] = match self.kind {
            Kind::Sqlite => b"SELECT last_insert_rowid()",
            Kind::Mysql => b"SELECT LAST_INSERT_ID()",
            Kind::Pgsql => b"SELECT lastval()",
            Kind::Other => return Err("the last id is not known with this driver".into()),
        };
        let Some(found) = self.query(sql, &[])? else { return Ok(None) };
        let row = self.next(found.rows);
        self.give_up(found.rows);
        Ok(row?.and_then(|row| row.into_iter().next().flatten()))
    }

    /// Gives up all rows and rolls back an open transaction, so that the next user finds the connection clean.
    pub fn tidy(&mut self) {
        self.open.clear();
        if self.transaction != Transaction::None {
            let _ = self.rollback();
        }
    }

    fn driver(&self) -> *const ffi::apr_dbd_driver_t {
        self.driver.as_ptr()
    }

    /// MySQL takes no statement while rows of another are on their way: these are fetched first.
    fn take_rows(&mut self) {
        if self.kind == Kind::Sqlite || self.kind == Kind::Pgsql {
            return;
        }
        let (driver, handle, may_break) = (self.driver.as_ptr(), self.handle.as_ptr(), self.kind == Kind::Mysql);
        for open in self.open.values_mut() {
            let Open::Driver(rows) = open else { continue };
            let mut taken = VecDeque::new();
            let error = loop {
                // SAFETY: the rows are of this connection's own driver and handle.
                match unsafe { rows.next(driver, handle, may_break) } {
                    Ok(Some(row)) => taken.push_back(row),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            *open = Open::Taken(taken, error);
        }
    }

    /// Puts values in the places of a statement's placeholders.
    ///
    /// PostgreSQL gets them beside the text. With SQLite and MySQL they become literals in it: what APR's driver of
    /// SQLite prepares is freed only with the connection, and that of MySQL crashes on prepared statements without
    /// rows and cuts long values.
    fn bind(&mut self, sql: &[u8], statement: &Statement, values: &[Value]) -> Result<Bound, String> {
        let literal = matches!(self.kind, Kind::Sqlite | Kind::Mysql);
        if values.is_empty() && (!literal || statement.unfinished || statement.placeholders() == 0) {
            return Ok(Bound::Text(c_string(sql, "the statement holds")?));
        }
        if statement.unfinished {
            return Err("a string or comment in the statement has no end".into());
        }
        let (wanted, given) = (statement.placeholders(), values.len());
        if wanted != given {
            return Err(format!("the statement has {wanted} placeholders and {given} values"));
        }
        if !literal {
            return format(statement, values);
        }
        let mut text = Vec::with_capacity(sql.len() + 16 * given);
        for (piece, value) in statement.pieces.iter().zip(values.iter().map(Some).chain([None])) {
            text.extend_from_slice(piece);
            if let Some(value) = value {
                // Spaces keep apart what would else grow together: 5-? and -3 make a comment.
                text.push(b' ');
                text.extend(self.literal(value)?);
                text.push(b' ');
            }
        }
        Ok(Bound::Text(c_string(&text, "the statement holds")?))
    }

    fn literal(&mut self, value: &Value) -> Result<Vec<u8>, String> {
        if let Some(bytes) = value.binary() {
            return Ok(hex_literal(bytes).into_bytes());
        }
        Ok(match value {
            Value::Null => b"NULL".to_vec(),
            Value::Number(number) if number.is_nan() => b"NULL".to_vec(),
            Value::Number(number) if number.is_infinite() => match self.kind {
                Kind::Sqlite if *number > 0.0 => b"9e999".to_vec(),
                Kind::Sqlite => b"-9e999".to_vec(),
                _ => return Err("the database has no infinite numbers".into()),
            },
            Value::Number(number) => number_text(*number).into_bytes(),
            Value::Integer(integer) => integer.to_string().into_bytes(),
            Value::Text(text) | Value::Blob(text) => {
                let mut quoted = b"'".to_vec();
                quoted.extend(self.escape(text)?);
                quoted.push(b'\'');
                quoted
            }
        })
    }

    /// Prepares a statement under no name, so that nothing of it outlives the pool.
    ///
    /// # Safety
    /// `pool` is in this connection's pool.
    unsafe fn prepare(&self, pool: &Pool, format: &CStr) -> Result<*mut ffi::apr_dbd_prepared_t, c_int> {
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
            let error = said.unwrap_or_else(|| format!("the database failed ({status})"));
            if self.kind == Kind::Pgsql
                && let Transaction::Begun(first @ None) = &mut self.transaction
            {
                *first = Some(error.clone());
            }
            return Err(error);
        }
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
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tidy();
        if !self.lent {
            // SAFETY: the handle is ours and open; its rows are given up, its pool goes after it.
            unsafe { ffi::apr_dbd_close(self.driver(), self.handle.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Connection {
        Connection::open("sqlite3", b":memory:").unwrap()
    }

    fn all(connection: &mut Connection, sql: &str, values: &[Value]) -> Vec<Row> {
        let found = connection.query(sql.as_bytes(), values).unwrap().unwrap();
        std::iter::from_fn(|| connection.next(found.rows).unwrap()).collect()
    }

    #[test]
    fn rows_have_names_nulls_and_any_bytes() {
        let mut connection = memory();
        let sql = b"SELECT 1 AS one, NULL AS absent, ? AS bytes, '' AS empty";
        let bytes: Vec<u8> = (0..=255).collect();
        let found = connection.query(sql, &[Value::Blob(bytes.clone())]).unwrap().unwrap();
        assert_eq!(found.columns, [&b"one"[..], b"absent", b"bytes", b"empty"]);
        let row = connection.next(found.rows).unwrap().unwrap();
        assert_eq!(row, [Some(b"1".to_vec()), None, Some(bytes), Some(Vec::new())]);
        assert_eq!(connection.next(found.rows), Ok(None));
        assert!(connection.next(found.rows).is_err());
    }

    #[test]
    fn a_connection_dropped_in_a_transaction_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.db");
        let open = || Connection::open("sqlite3", file.to_str().unwrap().as_bytes()).unwrap();
        open().run(b"CREATE TABLE t (a)", &[]).unwrap();
        let mut connection = open();
        connection.begin().unwrap();
        connection.run(b"INSERT INTO t VALUES (1)", &[]).unwrap();
        let rows = connection.query(b"SELECT * FROM t", &[]).unwrap();
        assert!(rows.is_some());
        drop(connection);
        assert!(all(&mut open(), "SELECT * FROM t", &[]).is_empty());
    }

    #[test]
    fn creating_a_trigger_does_not_end_a_transaction() {
        let mut connection = memory();
        connection.begin().unwrap();
        connection.run(b"CREATE TABLE t (a)", &[]).unwrap();
        connection.run(b"CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END", &[]).unwrap();
        connection.commit().unwrap();
        assert_eq!(connection.commit(), Err("no transaction is open".into()));
    }

    #[test]
    fn many_statements_and_connections_take_no_more_memory_than_few() {
        // Pages of 4096 bytes.
        let resident = || -> usize {
            let facts = std::fs::read_to_string("/proc/self/statm").unwrap();
            facts.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let mut connection = memory();
        let mut work = || {
            for number in 0..5000 {
                let values = [Value::Integer(number), Value::Text(vec![b'x'; 2000])];
                assert_eq!(all(&mut connection, "SELECT ?, ?", &values).len(), 1);
                connection.escape(b"it's").unwrap();
            }
            for _ in 0..200 {
                all(&mut memory(), "SELECT 1", &[]);
            }
        };
        work();
        let before = resident();
        work();
        let grown = resident().saturating_sub(before);
        assert!(grown < 512, "{grown} pages");
    }

    #[test]
    fn what_cannot_be_opened_is_told() {
        for (driver, parameters) in
            [("sqlite3", "/no/such/folder/x"), ("sqlite3", ""), ("none", "x"), ("../sqlite3", "x")]
        {
            assert!(Connection::open(driver, parameters.as_bytes()).is_err(), "{driver}");
        }
    }
}
