//! SQLite's own interface, for what APR's driver of it does not do: bound values, kept statements, rows one by one.
//!
//! APR's driver opens the database and closes it. The functions are those of the library that this driver uses, found
//! through it: nothing is linked, and where there is no driver no library is needed.

mod interface;
mod prepared;
mod real;
mod running;
mod text_functions;
mod vfs;

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::time::Instant;

use interface::Interface;
pub(crate) use prepared::{Columns, Prepared, reads};
use prepared::{Raw, Text};
pub(crate) use vfs::Bounding;
pub use vfs::Bounds;

use crate::rows::text;
use crate::statement::Value;
use crate::watch::{self, Watch};

/// Statements a connection keeps for their next use.
const KEPT: usize = 32;

/// What SQLite's functions answer.
const OK: c_int = 0;
const ROW: c_int = 100;
const DONE: c_int = 101;

/// `SQLITE_CANTOPEN`, and what may be the reason where pages are confined.
const CANNOT_OPEN: c_int = 14;
const NOT_OPENED: &str = "a database with a write-ahead log is not for pages of this host (pLuaSandbox, pLuaBaseDir), nor one \
    whose journal is outside its folders";

/// Options of a connection for pages that are confined (`SQLITE_DBCONFIG_`): `ENABLE_FTS3_TOKENIZER` and
/// `ENABLE_LOAD_EXTENSION` off, `DEFENSIVE` on, `TRUSTED_SCHEMA` off.
const CONFINED: &[(c_int, c_int)] = &[(1004, 0), (1005, 0), (1010, 1), (1017, 0)];

/// What a connection of theirs may hold at most (`SQLITE_LIMIT_`): bytes of a value, `LENGTH`, and of a pattern,
/// `LIKE_PATTERN_LENGTH`. SQLite looks at no clock within one function, and some take long over longer ones.
const LIMITED: [(c_int, c_int); 2] = [(0, 16 << 20), (8, 100)];

/// Tells `prepare_v3` that the statement will be used again.
const PERSISTENT: c_uint = 1;

/// Tells `bind_text` and `bind_blob` to copy the value.
const COPY: isize = -1;

/// What a statement without anything in it is told, and one with rows where none are wanted: the words of APR's driver.
const NOT_AN_ERROR: &str = "not an error";

/// An open database.
pub(crate) struct Sqlite {
    interface: &'static Interface,
    database: NonNull<c_void>,
    /// Statements for their next use, the one used last at the end.
    kept: Vec<Prepared>,
    /// What the database's callbacks look at; it stays where it is.
    watch: Box<Watch>,
    /// What the connection might before a confined page got it, and what it might hold: options and limits with their values.
    before: Vec<(c_int, c_int)>,
    limits_before: Vec<(c_int, c_int)>,
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.kept.clear();
        self.configure_as_before();
        // SAFETY: the database is open. A server's own one goes on without what is registered here.
        unsafe {
            (self.interface.progress_handler)(self.database.as_ptr(), 0, None, ptr::null_mut());
            (self.interface.set_authorizer)(self.database.as_ptr(), None, ptr::null_mut());
            (self.interface.busy_handler)(self.database.as_ptr(), None, ptr::null_mut());
        }
    }
}

impl Sqlite {
    /// Makes the library ready that the driver in whose memory `driver` lies uses.
    ///
    /// # Errors
    /// A sentence, when it is none that can be used.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of SQLite, loaded to stay.
    pub(crate) unsafe fn load(driver: *const c_void) -> Result<(), String> {
        // SAFETY: the caller's promise.
        unsafe { Interface::ready(driver) }.map(drop)
    }

    /// The database that APR's driver opened.
    ///
    /// # Errors
    /// A sentence, when the driver's library is none that can be used.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of SQLite and `database` null or its open `sqlite3`. What is made here,
    /// and what it makes, is dropped before the database is closed. One thread at a time uses all of it.
    pub(crate) unsafe fn new(driver: *const c_void, database: *mut c_void) -> Result<Sqlite, String> {
        let database = NonNull::new(database).ok_or("the driver has no database")?;
        // SAFETY: the caller vouches for both.
        unsafe {
            let interface = Interface::ready(driver)?;
            let watch = Box::new(Watch::default());
            watch.patience.set(watch::PATIENCE);
            let sqlite =
                Sqlite { interface, database, kept: Vec::new(), watch, before: Vec::new(), limits_before: Vec::new() };
            (interface.progress_handler)(database.as_ptr(), watch::UNTIMED, Some(watch::is_over), sqlite.watched());
            (interface.set_authorizer)(database.as_ptr(), Some(watch::is_allowed), sqlite.watched());
            sqlite.wait_for_locks();
            Ok(sqlite)
        }
    }

    fn watched(&self) -> *mut c_void {
        (&raw const *self.watch).cast_mut().cast()
    }

    /// Has the database wait for locks as it is told here.
    fn wait_for_locks(&self) {
        // SAFETY: the database is open; what is registered stays until this is dropped.
        unsafe { (self.interface.busy_handler)(self.database.as_ptr(), Some(watch::wait), self.watched()) };
    }

    /// When what runs from here on must have ended.
    pub(crate) fn end_at(&self, until: Option<Instant>) {
        self.watch.until.set(until);
    }

    /// Whether SQL may open no files, reach no native code and change nothing of the process, from here on.
    /// A connection that is `lent` keeps SQLite's own functions of SQL, for it is used by others too.
    pub(crate) fn confine(&mut self, confine: bool, lent: bool) {
        // Statements that were compiled before were not asked about.
        self.kept.clear();
        self.watch.is_confined.set(confine);
        self.configure_as_before();
        if confine && !lent {
            text_functions::install(self.interface, self.database.as_ptr());
        }
        if confine {
            // SAFETY: the database is open; what is answered is the limit before.
            let limit = |(id, most)| (id, unsafe { (self.interface.limit)(self.database.as_ptr(), id, most) });
            self.limits_before = LIMITED.map(limit).into();
            self.before = CONFINED.iter().filter_map(|(option, value)| self.configure(*option, *value)).collect();
        }
    }

    /// Sets an option; with what it was before.
    fn configure(&self, option: c_int, value: c_int) -> Option<(c_int, c_int)> {
        let configure = Interface::configure()?;
        let (mut before, mut now): (c_int, c_int) = (0, 0);
        // SAFETY: the database is open; these options take a number, by which -1 asks, and a place for the answer.
        let status = unsafe {
            configure(self.database.as_ptr(), option, -1, &raw mut before);
            configure(self.database.as_ptr(), option, value, &raw mut now)
        };
        (status == OK).then_some((option, before))
    }

    fn configure_as_before(&mut self) {
        for (option, value) in std::mem::take(&mut self.before) {
            self.configure(option, value);
        }
        for (id, most) in std::mem::take(&mut self.limits_before) {
            // SAFETY: the database is open.
            unsafe { (self.interface.limit)(self.database.as_ptr(), id, most) };
        }
    }

    /// Lets go of all statements that are kept.
    pub(crate) fn forget_statements(&mut self) {
        self.kept.clear();
    }

    /// A statement kept since its last use.
    pub(crate) fn kept(&mut self, sql: &[u8], is_valued: bool) -> Option<Prepared> {
        let wanted = |kept: &Prepared| kept.text.is_valued == is_valued && kept.text.sql == sql;
        self.kept.iter().rposition(wanted).map(|position| self.kept.remove(position))
    }

    /// Ends a statement's run and keeps it for the next.
    pub(crate) fn keep(&mut self, prepared: Prepared) {
        // SAFETY: the statement is live. What reset answers is what its last step answered.
        unsafe {
            (self.interface.reset)(prepared.as_ptr());
            if !prepared.places.is_empty() {
                (self.interface.clear_bindings)(prepared.as_ptr());
            }
        }
        if prepared.text.sql.is_empty() {
            return;
        }
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push(prepared);
    }

    /// Prepares the first statement in a text, whose `text` is remembered with it; none if the text has no statement.
    ///
    /// # Errors
    /// What SQLite says, or that the text holds a NUL.
    pub(crate) fn prepare(&self, sql: &[u8], text: Text) -> Result<Option<Prepared>, String> {
        let Some((raw, _)) = self.prepare_first(sql)? else { return Ok(None) };
        // SAFETY: the statement is live. A question mark is a parameter without a name.
        let places = unsafe {
            let count = (self.interface.bind_parameter_count)(raw.statement.as_ptr());
            let nameless =
                |number: &c_int| (self.interface.bind_parameter_name)(raw.statement.as_ptr(), *number).is_null();
            (1..=count).filter(nameless).collect()
        };
        Ok(Some(Prepared { raw, text, places }))
    }

    /// Prepares the first statement in a text, and tells how many bytes of the text it has taken.
    fn prepare_first(&self, sql: &[u8]) -> Result<Option<(Raw, usize)>, String> {
        if sql.contains(&0) {
            return Err("the statement holds a NUL byte".into());
        }
        let length = c_int::try_from(sql.len()).map_err(|_| "the statement is too long")?;
        let (mut statement, mut rest) = (ptr::null_mut(), ptr::null());
        // SAFETY: the database is open; the text is that long, and `rest` is set to a place in it.
        let (status, taken) = unsafe {
            let (database, start) = (self.database.as_ptr(), sql.as_ptr().cast::<c_char>());
            let prepare = self.interface.prepare_v3;
            let status = prepare(database, start, length, PERSISTENT, &raw mut statement, &raw mut rest);
            (status, if rest.is_null() { sql.len() } else { rest.offset_from_unsigned(start) })
        };
        // SQLite does what a PRAGMA says while it compiles that.
        if self.watch.is_patience_new.take() {
            self.wait_for_locks();
        }
        match status {
            OK => {
                let raw = |statement| (Raw { interface: self.interface, statement }, taken);
                Ok(NonNull::new(statement).map(raw))
            }
            status => Err(self.error(status)),
        }
    }

    /// Gives a statement the values of its question marks, of which there are as many.
    ///
    /// # Errors
    /// What SQLite says: a value is too long.
    pub(crate) fn bind(&self, prepared: &Prepared, values: &[Value]) -> Result<(), String> {
        let (functions, statement) = (self.interface, prepared.as_ptr());
        for (place, value) in prepared.places.iter().copied().zip(values) {
            // SAFETY: the statement is live, reset and has the parameter; bytes are copied.
            let status = unsafe {
                match (value, value.binary()) {
                    // An empty slice's pointer would be taken for NULL.
                    (_, Some([])) => (functions.bind_zeroblob)(statement, place, 0),
                    (_, Some(bytes)) => {
                        let length = bytes.len() as u64;
                        (functions.bind_blob64)(statement, place, bytes.as_ptr().cast(), length, COPY)
                    }
                    (Value::Integer(integer), _) => (functions.bind_int64)(statement, place, *integer),
                    (Value::Number(number), _) => (functions.bind_double)(statement, place, *number),
                    (Value::Text(text), _) => match c_int::try_from(text.len()) {
                        Ok(length) => (functions.bind_text)(statement, place, text.as_ptr().cast(), length, COPY),
                        Err(_) => return Err("a value is too long".into()),
                    },
                    _ => (functions.bind_null)(statement, place),
                }
            };
            if status != OK {
                return Err(self.error(status));
            }
        }
        Ok(())
    }

    /// Goes to a statement's next row; whether there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn step(&self, prepared: &Prepared) -> Result<bool, String> {
        self.step_raw(&prepared.raw)
    }

    fn step_raw(&self, raw: &Raw) -> Result<bool, String> {
        // SAFETY: the statement is live.
        match unsafe { (self.interface.step)(raw.statement.as_ptr()) } {
            ROW => Ok(true),
            DONE => Ok(false),
            status => Err(self.error(status)),
        }
    }

    /// Runs a statement without rows; how many it changed.
    ///
    /// # Errors
    /// What SQLite says, or that there is a row.
    pub(crate) fn run(&self, prepared: &Prepared) -> Result<i64, String> {
        match self.step(prepared)? {
            true => Err(NOT_AN_ERROR.into()),
            false => Ok(self.changed(prepared.text.is_counted)),
        }
    }

    /// Runs the statements in a text one after the other; how many rows the last one changed, if any is of a kind that
    /// changes rows.
    ///
    /// # Errors
    /// What SQLite says, or that there is a row, or no statement.
    pub(crate) fn run_text(&self, mut sql: &[u8], is_counted: bool) -> Result<i64, String> {
        let mut any = false;
        while let Some((raw, taken)) = self.prepare_first(sql)? {
            if self.step_raw(&raw)? {
                return Err(NOT_AN_ERROR.into());
            }
            any = true;
            sql = &sql[taken..];
        }
        if any { Ok(self.changed(is_counted)) } else { Err(NOT_AN_ERROR.into()) }
    }

    fn changed(&self, is_counted: bool) -> i64 {
        // SAFETY: the database is open.
        if is_counted { unsafe { (self.interface.changes)(self.database.as_ptr()) }.into() } else { 0 }
    }

    /// The number of the row inserted last.
    pub(crate) fn last_id(&self) -> i64 {
        // SAFETY: the database is open.
        unsafe { (self.interface.last_insert_rowid)(self.database.as_ptr()) }
    }

    /// Whether a transaction is open that a statement has begun.
    pub(crate) fn is_in_transaction(&self) -> bool {
        // SAFETY: the database is open.
        unsafe { (self.interface.get_autocommit)(self.database.as_ptr()) == 0 }
    }

    fn error(&self, status: c_int) -> String {
        if let Some(refused) = self.watch.refused.take() {
            return format!("not for pages of this host (pLuaSandbox, pLuaBaseDir): {refused}");
        }
        // SAFETY: the database is open; the text is copied before another call changes it.
        let said = unsafe { text((self.interface.errmsg)(self.database.as_ptr())) };
        let said = said.unwrap_or_else(|| format!("the database failed ({status})"));
        match status & 0xff == CANNOT_OPEN && self.watch.is_confined.get() {
            true => format!("{said}: {NOT_OPENED}"),
            false => said,
        }
    }
}
