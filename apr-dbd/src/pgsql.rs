//! PostgreSQL's own interface, for what APR's driver of it does not do: types of columns, and rows one by one.
//!
//! APR's driver connects. The functions are those of the library that it uses.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

use crate::batch::{Batch, Cell, Names};
use crate::bound::Parameter;
use crate::library::interface;
use crate::memory_use::Held;
use crate::rows::text;

/// What a result is (`ExecStatusType`).
const COMMAND_OK: c_int = 1;
const TUPLES_OK: c_int = 2;
const COPY_OUT: c_int = 3;
const COPY_IN: c_int = 4;
const BAD_RESPONSE: c_int = 5;
const FATAL_ERROR: c_int = 7;
const COPY_BOTH: c_int = 8;
const SINGLE_TUPLE: c_int = 9;

/// Numbers of types (`pg_type.dat`).
const BOOL: c_uint = 16;
const INTEGERS: &[c_uint] = &[20, 21, 23, 26];
const FLOATS: &[c_uint] = &[700, 701];

/// How often one text may begin to copy. What answers more often is no server that goes on in good faith, and libpq would
/// answer all that it has read although the page is over its time.
const MOST_COPIES: usize = 100;

const NO_COPY: &CStr = c"COPY from or to the page is not known here";

interface! {
    "PQ", "PostgreSQL";
    clear(*mut c_void);
    cmdTuples(*mut c_void) -> *mut c_char;
    errorMessage(*mut c_void) -> *mut c_char;
    fname(*mut c_void, c_int) -> *mut c_char;
    freemem(*mut c_void);
    ftype(*mut c_void, c_int) -> c_uint;
    getCopyData(*mut c_void, *mut *mut c_char, c_int) -> c_int;
    getResult(*mut c_void) -> *mut c_void;
    getisnull(*mut c_void, c_int, c_int) -> c_int;
    getlength(*mut c_void, c_int, c_int) -> c_int;
    getvalue(*mut c_void, c_int, c_int) -> *mut c_char;
    nfields(*mut c_void) -> c_int;
    putCopyEnd(*mut c_void, *const c_char) -> c_int;
    resultErrorMessage(*mut c_void) -> *mut c_char;
    resultStatus(*mut c_void) -> c_int;
    sendQuery(*mut c_void, *const c_char) -> c_int;
    sendQueryParams(
        *mut c_void,
        *const c_char,
        c_int,
        *const c_uint,
        *const *const c_char,
        *const c_int,
        *const c_int,
        c_int
    ) -> c_int;
    setSingleRowMode(*mut c_void) -> c_int;
}

/// A connection as the library has it.
#[derive(Clone, Copy)]
pub(crate) struct Pgsql {
    interface: &'static Interface,
    connection: NonNull<c_void>,
}

impl Pgsql {
    /// The connection that APR's driver opened.
    ///
    /// # Errors
    /// A sentence, when the driver's library is none that can be used.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of PostgreSQL, loaded to stay, and `connection` null or its open `PGconn`,
    /// which is closed after all that is made here is dropped. One thread at a time uses all of it.
    pub(crate) unsafe fn new(driver: *const c_void, connection: *mut c_void) -> Result<Pgsql, String> {
        let connection = NonNull::new(connection).ok_or("the driver has no connection")?;
        // SAFETY: the caller's promise.
        Ok(Pgsql { interface: unsafe { Interface::of(driver, |_, _| Ok(())) }?, connection })
    }

    /// Runs a text and reads its answers up to the first row.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn ask(&self, sql: &CStr, parameters: &[Parameter]) -> Result<Answer, String> {
        let (mut values, mut lengths, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in parameters {
            let (value, length, format) = match parameter {
                Parameter::Null => (ptr::null(), 0, 0),
                Parameter::Text(text) => (text.as_ptr(), 0, 0),
                Parameter::Blob(bytes, length) => {
                    (bytes.as_ptr().cast(), c_int::try_from(*length).map_err(|_| "a value is too long")?, 1)
                }
            };
            values.push(value);
            lengths.push(length);
            formats.push(format);
        }
        // SAFETY: the connection is open and no answer is waited for; text and values outlive the call.
        let sent = unsafe {
            let connection = self.connection.as_ptr();
            let sent = match parameters.len() {
                0 => (self.interface.sendQuery)(connection, sql.as_ptr()),
                count => (self.interface.sendQueryParams)(
                    connection,
                    sql.as_ptr(),
                    count.try_into().map_err(|_| "too many values")?,
                    ptr::null(),
                    values.as_ptr(),
                    lengths.as_ptr(),
                    formats.as_ptr(),
                    0,
                ),
            };
            if sent == 1 {
                (self.interface.setSingleRowMode)(connection);
            }
            sent
        };
        if sent != 1 {
            return Err(self.error());
        }
        let mut answer = Answer {
            of: *self,
            names: Names::new(),
            types: Vec::new(),
            row: None,
            has_ended: false,
            is_next: true,
            number: 0,
            changed: 0,
            copies: 0,
        };
        answer.go_on()?;
        Ok(answer)
    }

    fn error(&self) -> String {
        // SAFETY: the connection is open; the text is copied before another call.
        let said = unsafe { text((self.interface.errorMessage)(self.connection.as_ptr())) };
        said.unwrap_or_else(|| "the connection to the database is lost".into())
    }
}

/// A result of the library's own.
struct Raw {
    interface: &'static Interface,
    result: NonNull<c_void>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: this owns the result.
        unsafe { (self.interface.clear)(self.result.as_ptr()) };
    }
}

/// What the server answers to a text. Dropping it reads the rest away, so that the connection takes the next text.
pub(crate) struct Answer {
    of: Pgsql,
    /// The columns' names and the numbers of their types; empty if there are no rows.
    pub(crate) names: Names,
    types: Vec<c_uint>,
    /// The row that comes next.
    row: Option<Raw>,
    has_ended: bool,
    /// Whether what comes next is the answer to another statement of the text.
    is_next: bool,
    /// How many statements were answered.
    number: usize,
    /// How many rows the last statement changed.
    pub(crate) changed: i64,
    /// How often the server wanted to copy.
    copies: usize,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.read_away();
    }
}

impl Answer {
    /// An empty batch for its rows.
    pub(crate) fn batch(&self) -> Batch {
        Batch::new(self.names.len())
    }

    /// Reads all that still comes, and drops it.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn read_away(&mut self) -> Result<(), String> {
        let mut first = Ok(());
        while !self.has_ended {
            first = first.and(self.go_on());
        }
        self.row = None;
        first
    }

    /// Reads all rows of the text's last statement; in memory that is counted.
    ///
    /// # Errors
    /// What the database says, or that memory runs out.
    pub(crate) fn collect(&mut self, types: bool, held: &mut Held) -> Result<VecDeque<Batch>, String> {
        let (mut batches, mut number) = (VecDeque::new(), self.number);
        while self.row.is_some() {
            let mut batch = self.batch();
            self.fill(types, &mut batch)?;
            if !held.take(batch.memory()) {
                return Err("out of memory".into());
            }
            batches.push_back(batch);
            if self.number != number {
                number = self.number;
                batches.clear();
            }
        }
        Ok(batches)
    }

    /// Adds rows of one statement to a batch until it is full; false after the last.
    ///
    /// # Errors
    /// What the database says; rows before that are in the batch.
    pub(crate) fn fill(&mut self, types: bool, batch: &mut Batch) -> Result<bool, String> {
        let number = self.number;
        while let Some(row) = self.row.take() {
            if !self.read(&row, types, batch) {
                batch.drop_partial_row();
                return Err("out of memory".into());
            }
            drop(row);
            self.go_on()?;
            if batch.is_full() || self.number != number {
                break;
            }
        }
        Ok(self.row.is_some())
    }

    /// Reads up to the next row, or to the end.
    fn go_on(&mut self) -> Result<(), String> {
        let (functions, connection) = (self.of.interface, self.of.connection.as_ptr());
        let mut failed = Ok(());
        loop {
            // SAFETY: the connection is open; results are ours, and what they tell is copied.
            unsafe {
                let Some(result) = NonNull::new((functions.getResult)(connection)) else {
                    self.has_ended = true;
                    return failed;
                };
                let raw = Raw { interface: functions, result };
                let result = result.as_ptr();
                match (functions.resultStatus)(result) {
                    SINGLE_TUPLE => {
                        self.describe(&raw);
                        self.row = Some(raw);
                        return failed;
                    }
                    TUPLES_OK => {
                        self.changed = changed(functions, result);
                        self.describe(&raw);
                        self.is_next = true;
                    }
                    COMMAND_OK => {
                        self.changed = changed(functions, result);
                        self.names.clear();
                        self.types.clear();
                        self.number += 1;
                        self.is_next = true;
                    }
                    BAD_RESPONSE | FATAL_ERROR => {
                        let said = text((functions.resultErrorMessage)(result));
                        failed = Err(said.unwrap_or_else(|| self.of.error()));
                    }
                    status @ (COPY_IN | COPY_BOTH | COPY_OUT) => {
                        self.copies += 1;
                        if self.copies > MOST_COPIES {
                            // The connection takes no other text then.
                            self.has_ended = true;
                            return Err("the database's server goes on asking for COPY".into());
                        }
                        if status != COPY_OUT {
                            (functions.putCopyEnd)(connection, NO_COPY.as_ptr());
                        }
                        if status != COPY_IN {
                            let mut piece = ptr::null_mut();
                            while (functions.getCopyData)(connection, &raw mut piece, 0) > 0 {
                                (functions.freemem)(piece.cast());
                            }
                        }
                        failed = Err(NO_COPY.to_string_lossy().into_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Notes what the columns of a statement's first result are.
    fn describe(&mut self, raw: &Raw) {
        if !std::mem::take(&mut self.is_next) {
            return;
        }
        self.number += 1;
        let (functions, result) = (self.of.interface, raw.result.as_ptr());
        // SAFETY: the result is live; names are copied.
        unsafe {
            let columns = (functions.nfields)(result);
            let name = |column| CStr::from_ptr((functions.fname)(result, column)).to_bytes().to_vec();
            self.names = (0..columns).map(name).collect();
            self.types = (0..columns).map(|column| (functions.ftype)(result, column)).collect();
        }
    }

    /// Adds a row to a batch. False when memory runs out.
    fn read(&self, raw: &Raw, types: bool, batch: &mut Batch) -> bool {
        let (functions, result) = (self.of.interface, raw.result.as_ptr());
        for (column, kind) in self.types.iter().enumerate() {
            let column = column as c_int;
            // SAFETY: the result has one row and that column; the bytes are copied before it is dropped.
            let bytes = unsafe {
                if (functions.getisnull)(result, 0, column) != 0 {
                    batch.push(Cell::Null);
                    continue;
                }
                let length = (functions.getlength)(result, 0, column).try_into().unwrap_or(0);
                std::slice::from_raw_parts((functions.getvalue)(result, 0, column).cast::<u8>(), length)
            };
            if !batch.has_room_for(bytes.len()) {
                return false;
            }
            batch.push(if types { typed(bytes, *kind) } else { Cell::Text(bytes) });
        }
        true
    }
}

/// How many rows a statement changed.
///
/// # Safety
/// The result is live.
unsafe fn changed(functions: &Interface, result: *mut c_void) -> i64 {
    // SAFETY: the caller's promise.
    let count = unsafe { text((functions.cmdTuples)(result)) };
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// A value of a type. Decimals stay text: as a Lua number they would not be exact.
fn typed(bytes: &[u8], kind: c_uint) -> Cell<'_> {
    let digits = || str::from_utf8(bytes).ok();
    match kind {
        BOOL => Cell::Boolean(bytes == b"t"),
        kind if INTEGERS.contains(&kind) => {
            digits().and_then(|digits| digits.parse().ok()).map_or(Cell::Text(bytes), Cell::Integer)
        }
        // As PostgreSQL writes them, infinity and NaN too.
        kind if FLOATS.contains(&kind) => {
            digits().and_then(|digits| digits.parse().ok()).map_or(Cell::Text(bytes), Cell::Number)
        }
        _ => Cell::Text(bytes),
    }
}
