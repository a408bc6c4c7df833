//! SQLite's own interface, for what APR's driver of it does not do: bound values, kept statements, rows one by one.
//!
//! APR's driver opens the database and closes it. The functions are those of the library that this driver uses, found
//! through it: nothing is linked, and where there is no driver no library is needed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::Instant;

use crate::batch::Batch;
use crate::memory_use;
use crate::rows::text;
use crate::socket::library;
use crate::statement::{Statement, Value};
use crate::watch::{self, Watch};

/// Statements a connection keeps for their next use.
const KEPT: usize = 32;

/// What SQLite's functions answer.
const OK: c_int = 0;
const ROW: c_int = 100;
const DONE: c_int = 101;

/// Types of values.
const BLOB: c_int = 4;
const NULL: c_int = 5;

/// Tells `prepare_v3` that the statement will be used again.
const PERSISTENT: c_uint = 1;

/// Tells `bind_text` and `bind_blob` to copy the value.
const COPY: isize = -1;

/// What a statement without anything in it is told, and one with rows where none are wanted: the words of APR's driver.
pub(crate) const NOT_AN_ERROR: &str = "not an error";

/// Words that begin statements SQLite counts rows for; after others it still tells the last count.
const COUNTED: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// Words that begin statements which leave rows of others alone.
const READING: &[&str] = &["SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA", "SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"];

/// What SQLite calls between steps, for a lock, and before it compiles a statement: see `watch`.
type Progress = unsafe extern "C" fn(*mut c_void) -> c_int;
type Busy = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type Authorizer =
    unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *const c_char, *const c_char, *const c_char) -> c_int;

macro_rules! interface {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions used here, under their names without `sqlite3_`.
        struct Interface {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Interface {
            /// # Safety
            /// `library` comes from `dlopen` and is never closed, and what it calls `sqlite3_*` is SQLite.
            unsafe fn find(library: *mut c_void) -> Result<Interface, String> {
                Ok(Interface {
                    $($name: {
                        let name = concat!("sqlite3_", stringify!($name), "\0");
                        // SAFETY: the name ends with a NUL. SQLite never changes the signature of a function.
                        unsafe {
                            let function = libc::dlsym(library, name.as_ptr().cast());
                            if function.is_null() {
                                return Err(format!("the library of SQLite has no {}", name.trim_end_matches('\0')));
                            }
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                                function,
                            )
                        }
                    },)*
                })
            }
        }
    };
}

interface! {
    bind_blob64(*mut c_void, c_int, *const c_void, u64, isize) -> c_int;
    bind_double(*mut c_void, c_int, f64) -> c_int;
    bind_int64(*mut c_void, c_int, i64) -> c_int;
    bind_null(*mut c_void, c_int) -> c_int;
    bind_parameter_count(*mut c_void) -> c_int;
    bind_parameter_name(*mut c_void, c_int) -> *const c_char;
    bind_text(*mut c_void, c_int, *const c_char, c_int, isize) -> c_int;
    bind_zeroblob(*mut c_void, c_int, c_int) -> c_int;
    busy_handler(*mut c_void, Option<Busy>, *mut c_void) -> c_int;
    changes(*mut c_void) -> c_int;
    clear_bindings(*mut c_void) -> c_int;
    column_blob(*mut c_void, c_int) -> *const c_void;
    column_bytes(*mut c_void, c_int) -> c_int;
    column_count(*mut c_void) -> c_int;
    column_name(*mut c_void, c_int) -> *const c_char;
    column_text(*mut c_void, c_int) -> *const c_void;
    column_type(*mut c_void, c_int) -> c_int;
    errmsg(*mut c_void) -> *const c_char;
    finalize(*mut c_void) -> c_int;
    get_autocommit(*mut c_void) -> c_int;
    last_insert_rowid(*mut c_void) -> i64;
    prepare_v3(*mut c_void, *const c_char, c_int, c_uint, *mut *mut c_void, *mut *const c_char) -> c_int;
    progress_handler(*mut c_void, c_int, Option<Progress>, *mut c_void);
    reset(*mut c_void) -> c_int;
    set_authorizer(*mut c_void, Option<Authorizer>, *mut c_void) -> c_int;
    step(*mut c_void) -> c_int;
    stmt_readonly(*mut c_void) -> c_int;
    threadsafe() -> c_int;
}

impl Interface {
    /// The functions of the library that the driver in whose memory `driver` lies uses.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of SQLite, loaded to stay.
    unsafe fn of(driver: *const c_void) -> Result<&'static Interface, String> {
        static FOUND: OnceLock<Result<Interface, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            // SAFETY: the caller's promise.
            unsafe {
                let library = library(driver);
                let interface = Interface::find(library)?;
                if (interface.threadsafe)() == 0 {
                    return Err("the library of SQLite is built for a single thread".to_owned());
                }
                memory_use::count(library);
                Ok(interface)
            }
        });
        found.as_ref().map_err(Clone::clone)
    }
}

/// A statement as SQLite has it. Whoever holds it drops it before its database is closed.
struct Raw {
    interface: &'static Interface,
    statement: NonNull<c_void>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: this owns the statement, whose database is open.
        unsafe { (self.interface.finalize)(self.statement.as_ptr()) };
    }
}

/// A statement with what must be known of it.
pub(crate) struct Prepared {
    raw: Raw,
    text: Text,
    /// The numbers of the question marks among the statement's parameters.
    places: Vec<c_int>,
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
    fn as_ptr(&self) -> *mut c_void {
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

    /// Adds the row it stands at to a batch.
    ///
    /// # Errors
    /// That SQLite had no memory for a value.
    pub(crate) fn read(&self, batch: &mut Batch, columns: usize) -> Result<(), String> {
        let functions = self.raw.interface;
        for column in 0..columns {
            let column = column as c_int;
            // SAFETY: the statement stands at a row with that column; the bytes are copied before another call.
            // Whatever is no BLOB is asked for as text first, for that says how many bytes it then has.
            unsafe {
                let (start, is_text) = match (functions.column_type)(self.as_ptr(), column) {
                    NULL => {
                        batch.push(None);
                        continue;
                    }
                    BLOB => ((functions.column_blob)(self.as_ptr(), column), false),
                    _ => ((functions.column_text)(self.as_ptr(), column), true),
                };
                let length = (functions.column_bytes)(self.as_ptr(), column).try_into().unwrap_or(0);
                batch.push(Some(match start.is_null() {
                    // Only an empty BLOB is nowhere.
                    true if is_text || length > 0 => {
                        batch.drop_partial_row();
                        return Err("out of memory".into());
                    }
                    true => &[],
                    false => std::slice::from_raw_parts(start.cast::<u8>(), length),
                }));
            }
        }
        Ok(())
    }
}

/// An open database.
pub(crate) struct Sqlite {
    interface: &'static Interface,
    database: NonNull<c_void>,
    /// Statements for their next use, the one used last at the end.
    kept: Vec<Prepared>,
    /// What the database's callbacks look at; it stays where it is.
    watch: Box<Watch>,
}

impl Drop for Sqlite {
    fn drop(&mut self) {
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
        unsafe { Interface::of(driver) }.map(drop)
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
            let interface = Interface::of(driver)?;
            let watch = Box::new(Watch::default());
            watch.patience.set(watch::PATIENCE);
            let sqlite = Sqlite { interface, database, kept: Vec::new(), watch };
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

    /// Whether SQL may open no files and change nothing of the process, from here on.
    pub(crate) fn confine(&mut self, confine: bool) {
        // Statements that were compiled before were not asked about.
        self.kept.clear();
        self.watch.is_confined.set(confine);
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
        // SAFETY: the database is open; the text is copied before another call changes it.
        let said = unsafe { text((self.interface.errmsg)(self.database.as_ptr())) };
        said.unwrap_or_else(|| format!("the database failed ({status})"))
    }
}
