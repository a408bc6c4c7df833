//! A connection to a database: statements, their rows, transactions.

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::mem;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Instant;

use crate::batch::Cell;
use crate::bound::c_string;
use crate::cursor::Served;
use crate::driver::{DRIVERS, Kind};
use crate::ffi;
use crate::found::{Open, Wanted};
use crate::memory::{Pool, initialize};
use crate::memory_use::{Counting, MemoryUse};
use crate::mysql::Mysql;
use crate::pgsql::Pgsql;
use crate::rows::text;
use crate::socket::{self, Told};
use crate::sqlite::{Bounding, Bounds, Sqlite};
use crate::statement::Dialect;

const OK: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;

/// So many bytes may stay with a connection from one request to the next for the sake of speed.
const LITTLE: usize = 4 << 20;

/// What is known of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    None,
    /// Begun here; with the first error in it where the database allows nothing but its end from then on.
    Begun(Option<String>),
    /// A statement of the caller's may have begun one.
    Perhaps,
}

/// A connection. One thread at a time may use it; which one does not matter. Dropping it closes it, and rolls back what
/// was not committed.
pub struct Connection {
    pub(crate) driver: NonNull<ffi::apr_dbd_driver_t>,
    pub(crate) handle: NonNull<ffi::apr_dbd_t>,
    pub(crate) kind: Kind,
    lent: bool,
    pub(crate) dialect: Dialect,
    pub(crate) transaction: Transaction,
    /// Whether a part of the transaction may be rolled back by itself.
    pub(crate) has_savepoints: bool,
    /// Rows that were not all fetched yet.
    pub(crate) open: HashMap<u64, Open>,
    /// The last number given to rows or a prepared statement.
    pub(crate) last_number: u64,
    /// PostgreSQL: texts that pages hold prepared.
    pub(crate) served: HashMap<Vec<u8>, Served>,
    /// PostgreSQL: commands that free what the server holds for us, for when no transaction is in their way.
    pub(crate) leftovers: Vec<String>,
    /// SQLite: the database itself.
    pub(crate) sqlite: Option<Sqlite>,
    /// PostgreSQL and MySQL: the library's own connection.
    pub(crate) pgsql: Option<Pgsql>,
    pub(crate) mysql: Option<Mysql>,
    /// Whether MySQL's library was told to send no files.
    refuses_files: bool,
    /// SQLite: where files may be that it opens.
    bounds: Option<Bounds>,
    /// What is held in memory for it is counted here.
    pub(crate) memory_use: Option<Arc<MemoryUse>>,
    // After everything that lives in it.
    pub(crate) pool: Pool,
}

// SAFETY: the drivers' handles are bound to no thread, and the pool has an allocator of its own.
unsafe impl Send for Connection {}

impl Connection {
    /// Whether SQL may open no files of this machine and change nothing of the whole process, from here on. SQLite and
    /// MySQL's library are told; other databases open files where they run.
    pub fn confine(&mut self, confine: bool) {
        if let Some(sqlite) = &mut self.sqlite {
            sqlite.confine(confine, self.lent);
        }
        if let Some(mysql) = self.mysql.filter(|_| confine) {
            mysql.refuse_files(!self.lent);
            self.refuses_files = true;
        }
    }

    /// Counts from here on what is held in memory for the connection, and keeps it within that limit: all that SQLite
    /// takes, and rows that had to be fetched before their time.
    pub fn count_in(&mut self, memory: &Arc<MemoryUse>) {
        self.memory_use = Some(memory.clone());
    }

    /// Runs `body`, in which SQLite's statements end with an error at that time, waiting for a lock included.
    pub fn until<R>(&mut self, until: Option<Instant>, body: impl FnOnce(&mut Connection) -> R) -> R {
        let _counting = self.memory_use.as_ref().map(|memory| Counting::start(memory, until));
        let _bounding = Bounding::start(self.bounds.as_ref());
        if let Some(sqlite) = &self.sqlite {
            sqlite.end_at(until);
        }
        let done = body(self);
        if let Some(sqlite) = &self.sqlite {
            sqlite.end_at(None);
        }
        done
    }

    /// The socket to the database's server, in a handle of its own; none for SQLite, for other drivers, and where the
    /// library does not tell.
    ///
    /// # Errors
    /// That MySQL's server or library has ended the connection: the library may make another one in the next call.
    pub fn socket(&self) -> Result<Option<OwnedFd>, String> {
        // SAFETY: driver and handle are live, see `open` and `lent`.
        let told = unsafe { socket::of(self.kind, self.driver(), self.handle.as_ptr()) };
        let is_between_answers = !self.open.values().any(|open| matches!(open, Open::Mysql(..)));
        let is_lost = match &told {
            Told::Open(socket) => is_between_answers && socket::has_something(socket),
            Told::Closed => true,
            Told::Nothing => false,
        };
        match told {
            _ if is_lost && self.kind == Kind::Mysql => Err("the connection to the database is lost".into()),
            Told::Open(socket) => Ok(Some(socket)),
            Told::Closed | Told::Nothing => Ok(None),
        }
    }

    /// Forgets what the server held for a connection that was cut off: nothing is sent over it any more.
    pub fn is_cut_off(&mut self) {
        self.transaction = Transaction::None;
        self.served.clear();
        self.leftovers.clear();
        self.open.retain(|_, open| !matches!(open, Open::Cursor(_)));
    }

    /// [`Self::open`], and counts what that takes already. SQLite opens files only within these bounds, from the first.
    ///
    /// # Errors
    /// As there.
    pub fn open_counted(
        driver: &str,
        parameters: &[u8],
        memory: &Arc<MemoryUse>,
        bounds: Option<Bounds>,
    ) -> Result<Connection, String> {
        if driver == "sqlite3" {
            // Before its first database is opened.
            load_sqlite()?;
        }
        let _counting = Counting::start(memory, None);
        let _bounding = Bounding::start(bounds.as_ref());
        let mut connection = Connection::open(driver, parameters)?;
        connection.bounds = bounds;
        connection.count_in(memory);
        Ok(connection)
    }

    /// Connects, with the driver of that name and parameters as it wants them.
    ///
    /// # Errors
    /// A sentence: the driver is unknown or not installed, or what the database says.
    pub fn open(driver: &str, parameters: &[u8]) -> Result<Connection, String> {
        if !DRIVERS.contains(&driver) {
            return Err(format!("unknown database driver '{driver}': there are {}", DRIVERS.join(", ")));
        }
        if parameters.is_empty() {
            return Err(format!("no parameters for the database driver '{driver}'"));
        }
        let mut parameters = parameters.to_vec();
        if driver == "mysql" {
            // A connection made anew in the middle of a transaction would commit the rest of it at once, and its socket
            // would not be the one that `socket` has told.
            parameters.extend_from_slice(b",reconnect=0");
        }
        let parameters = c_string(&parameters, "the parameters hold")?;
        let name = c_string(driver.as_bytes(), "the driver's name holds")?;
        initialize()?;
        let pool = Pool::new()?;
        let (mut found, mut handle, mut error) = (ptr::null(), ptr::null_mut(), ptr::null());
        // SAFETY: APR is initialized; the texts outlive the calls, and what these write goes to the pool or is the
        // driver's own.
        unsafe {
            let status = ffi::apr_dbd_get_driver(pool.as_ptr(), name.as_ptr(), &raw mut found);
            if status != OK || found.is_null() {
                return Err(format!("the database driver '{driver}' is not installed ({status})"));
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
            b"sqlite3" => Kind::Sqlite,
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
            has_savepoints: false,
            open: HashMap::new(),
            last_number: 0,
            served: HashMap::new(),
            leftovers: Vec::new(),
            sqlite: None,
            pgsql: None,
            mysql: None,
            refuses_files: false,
            bounds: None,
            memory_use: None,
            pool,
        };
        // SAFETY: driver and handle are live and of that kind; `drop` gives up the library's own one before it is closed,
        // and no statement of it leaves this connection.
        unsafe {
            let (of_driver, native) =
                (driver.as_ptr().cast(), ffi::apr_dbd_native_handle(driver.as_ptr(), handle.as_ptr()));
            match kind {
                Kind::Sqlite => connection.sqlite = Some(Sqlite::new(of_driver, native)?),
                Kind::Pgsql => connection.pgsql = Some(Pgsql::new(of_driver, native)?),
                Kind::Mysql => connection.mysql = Some(Mysql::new(of_driver, native)?),
                Kind::Other => {}
            }
        }
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
        match self.kind {
            // The driver's own check sees only what an earlier statement ran into, and then connects anew.
            Kind::Pgsql => self.command("").is_ok(),
            _ => {
                self.take_rows();
                // SAFETY: driver and handle are live, see `open` and `lent`.
                unsafe { ffi::apr_dbd_check_conn(self.driver(), self.pool.as_ptr(), self.handle.as_ptr()) == OK }
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
        self.has_savepoints = false;
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
        let sql: &[u8] = match (self.kind, &self.sqlite) {
            (_, Some(sqlite)) => return Ok(Some(sqlite.last_id().to_string().into_bytes())),
            (Kind::Mysql, _) => b"SELECT LAST_INSERT_ID()",
            (Kind::Pgsql, _) => b"SELECT lastval()",
            _ => return Err("the last id is not known with this driver".into()),
        };
        let Some(found) = self.query(sql, &[], Wanted::default())? else { return Ok(None) };
        let batch = self.fetch(found.rows)?;
        self.give_up(found.rows);
        let first = batch.rows().next().and_then(|mut row| row.next()).and_then(Cell::text);
        Ok(first.map(<[u8]>::to_vec))
    }

    /// Gives up all rows and rolls back an open transaction, so that the next user finds the connection clean.
    pub fn tidy(&mut self) {
        for open in mem::take(&mut self.open).into_values() {
            self.end(open);
        }
        if self.transaction != Transaction::None {
            let _ = self.rollback();
        }
        self.clear_leftovers();
        // Statements hold on to the memory of their largest values.
        if let (Some(sqlite), Some(memory)) = (&mut self.sqlite, &self.memory_use)
            && memory.holds_more_than(LITTLE)
        {
            sqlite.forget_statements();
        }
    }

    pub(crate) fn driver(&self) -> *const ffi::apr_dbd_driver_t {
        self.driver.as_ptr()
    }

    /// A number that was not given before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// Makes SQLite ready in this process, so that nothing else is first to use it: only then is what it takes counted.
///
/// # Errors
/// A sentence, when its driver is not installed.
pub fn load_sqlite() -> Result<(), String> {
    initialize()?;
    let pool = Pool::new()?;
    let mut driver = ptr::null();
    // SAFETY: APR is initialized; drivers are loaded to stay.
    unsafe {
        match ffi::apr_dbd_get_driver(pool.as_ptr(), c"sqlite3".as_ptr(), &raw mut driver) {
            OK if !driver.is_null() => Sqlite::load(driver.cast()),
            status => Err(format!("the database driver 'sqlite3' is not installed ({status})")),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _counting = self.memory_use.as_ref().map(|memory| Counting::start(memory, None));
        let _bounding = Bounding::start(self.bounds.as_ref());
        if self.lent {
            for served in mem::take(&mut self.served).into_values() {
                self.deallocate(served);
            }
        }
        self.tidy();
        self.sqlite = None;
        if let Some(mysql) = self.mysql.filter(|_| self.lent && self.refuses_files) {
            mysql.send_files();
        }
        if !self.lent {
            // SAFETY: the handle is ours and open; its rows are given up, its pool goes after it.
            unsafe { ffi::apr_dbd_close(self.driver(), self.handle.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Value;

    /// The values of a row; None is NULL.
    type Row = Vec<Option<Vec<u8>>>;

    fn memory() -> Connection {
        Connection::open("sqlite3", b":memory:").unwrap()
    }

    fn all(connection: &mut Connection, sql: &str, values: &[Value]) -> Vec<Row> {
        let found = connection.query(sql.as_bytes(), values, Wanted::default()).unwrap().unwrap();
        let mut all: Vec<Row> = Vec::new();
        loop {
            let batch = connection.fetch(found.rows).unwrap();
            all.extend(batch.rows().map(|row| row.map(|value| value.text().map(<[u8]>::to_vec)).collect()));
            if batch.is_last() {
                return all;
            }
        }
    }

    #[test]
    fn rows_have_names_nulls_and_any_bytes() {
        let mut connection = memory();
        let sql = b"SELECT 1 AS one, NULL AS absent, ? AS bytes, '' AS empty";
        let bytes: Vec<u8> = (0..=255).collect();
        let found = connection.query(sql, &[Value::Blob(bytes.clone())], Wanted::default()).unwrap().unwrap();
        assert_eq!(found.columns, [&b"one"[..], b"absent", b"bytes", b"empty"]);
        let batch = connection.fetch(found.rows).unwrap();
        let row: Vec<_> = batch.rows().next().unwrap().collect();
        assert_eq!(row, [Cell::Text(b"1"), Cell::Null, Cell::Text(&bytes), Cell::Text(b"")]);
        assert!(batch.len() == 1 && batch.is_last());
        assert!(connection.fetch(found.rows).is_err());
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
        let rows = connection.query(b"SELECT * FROM t", &[], Wanted::default()).unwrap();
        assert!(rows.is_some());
        drop(connection);
        assert!(all(&mut open(), "SELECT * FROM t", &[]).is_empty());
    }

    #[test]
    fn a_lent_connection_is_given_back_with_the_limits_it_had() {
        let mut own = memory();
        let long = "SELECT length(zeroblob(20000000)), 1 LIKE hex(zeroblob(100))";
        // SAFETY: the connection outlives the one that borrows it, and is not used meanwhile.
        let mut lent = unsafe { Connection::lent(own.driver().cast(), own.handle.as_ptr().cast()) }.unwrap();
        lent.confine(true);
        assert!(lent.query(long.as_bytes(), &[], Wanted::default()).is_err());
        drop(lent);
        assert_eq!(all(&mut own, long, &[]).len(), 1);
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
