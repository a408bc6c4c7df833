//! MySQL's and MariaDB's own interface, for what APR's driver of it does not do: types of columns, further results, and
//! files of this machine that the server asks for.
//!
//! APR's driver connects. The functions are those of the library that it uses.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};

use crate::batch::{Batch, Cell, Names};
use crate::library::interface;
use crate::rows::text;

/// Types of columns (`enum_field_types`).
const TINY: c_int = 1;
const INTEGERS: &[c_int] = &[TINY, 2, 3, 8, 9, 13];
const FLOATS: &[c_int] = &[4, 5];

/// `MYSQL_OPT_LOCAL_INFILE`.
const LOCAL_INFILE: c_int = 8;

/// What functions for a file of this machine answer: that there was an error.
type Begin = unsafe extern "C" fn(*mut *mut c_void, *const c_char, *mut c_void) -> c_int;
type Read = unsafe extern "C" fn(*mut c_void, *mut c_char, c_uint) -> c_int;
type End = unsafe extern "C" fn(*mut c_void);
type Fail = unsafe extern "C" fn(*mut c_void, *mut c_char, c_uint) -> c_int;

interface! {
    "mysql_", "MySQL";
    affected_rows(*mut c_void) -> u64;
    errno(*mut c_void) -> c_uint;
    error(*mut c_void) -> *const c_char;
    fetch_field_direct(*mut c_void, c_uint) -> *const Field;
    fetch_lengths(*mut c_void) -> *const c_ulong;
    fetch_row(*mut c_void) -> *const *const c_char;
    field_count(*mut c_void) -> c_uint;
    free_result(*mut c_void);
    more_results(*mut c_void) -> c_char;
    next_result(*mut c_void) -> c_int;
    num_fields(*mut c_void) -> c_uint;
    options(*mut c_void, c_int, *const c_void) -> c_int;
    real_escape_string(*mut c_void, *mut c_char, *const c_char, c_ulong) -> c_ulong;
    real_query(*mut c_void, *const c_char, c_ulong) -> c_int;
    set_local_infile_default(*mut c_void);
    set_local_infile_handler(*mut c_void, Begin, Read, End, Fail, *mut c_void);
    use_result(*mut c_void) -> *mut c_void;
}

/// A column (`MYSQL_FIELD`, which both libraries lay out alike).
#[repr(C)]
pub(crate) struct Field {
    name: *const c_char,
    names: [*const c_char; 6],
    length: c_ulong,
    max_length: c_ulong,
    lengths: [c_uint; 7],
    flags: c_uint,
    decimals: c_uint,
    charset: c_uint,
    kind: c_int,
    extension: *const c_void,
}

/// A connection as the library has it.
#[derive(Clone, Copy)]
pub(crate) struct Mysql {
    interface: &'static Interface,
    connection: NonNull<c_void>,
}

impl Mysql {
    /// The connection that APR's driver opened.
    ///
    /// # Errors
    /// A sentence, when the driver's library is none that can be used.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of MySQL, loaded to stay, and `connection` null or its open `MYSQL`, which is
    /// closed after all that is made here is dropped. One thread at a time uses all of it.
    pub(crate) unsafe fn new(driver: *const c_void, connection: *mut c_void) -> Result<Mysql, String> {
        let connection = NonNull::new(connection).ok_or("the driver has no connection")?;
        // SAFETY: the caller's promise.
        Ok(Mysql { interface: unsafe { Interface::of(driver, |_, _| Ok(())) }?, connection })
    }

    /// From here on the server gets no file of this machine. A connection of our own is told so for good.
    pub(crate) fn refuse_files(&self, is_own: bool) {
        let (functions, connection) = (self.interface, self.connection.as_ptr());
        // SAFETY: the connection is open; the functions below keep the library's contract and need no data.
        unsafe {
            (functions.set_local_infile_handler)(connection, no_file, no_bytes, no_end, say, ptr::null_mut());
            if is_own {
                let off: c_uint = 0;
                (functions.options)(connection, LOCAL_INFILE, (&raw const off).cast());
            }
        }
    }

    /// Has the library send files again as it is used to.
    pub(crate) fn send_files(&self) {
        // SAFETY: the connection is open.
        unsafe { (self.interface.set_local_infile_default)(self.connection.as_ptr()) };
    }

    /// Adds a text as a string of SQL.
    ///
    /// # Errors
    /// That the library cannot escape it.
    pub(crate) fn quote(&self, value: &[u8], text: &mut Vec<u8>) -> Result<(), String> {
        text.push(b'\'');
        text.reserve(value.len() * 2 + 2);
        // SAFETY: the connection is open; the library writes at most twice the length and a NUL, for which there is room.
        unsafe {
            let length = value.len().try_into().map_err(|_| "a value is too long")?;
            let place = text.spare_capacity_mut().as_mut_ptr().cast();
            let escape = self.interface.real_escape_string;
            let written = escape(self.connection.as_ptr(), place, value.as_ptr().cast(), length);
            match usize::try_from(written) {
                Ok(written) if written <= value.len() * 2 => text.set_len(text.len() + written),
                _ => return Err("the text cannot be escaped".into()),
            }
        }
        text.push(b'\'');
        Ok(())
    }

    /// Runs a text and reads its answers up to the first that has rows, or all if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn ask(&self, sql: &CStr) -> Result<Answer, String> {
        let (functions, connection) = (self.interface, self.connection.as_ptr());
        // SAFETY: the connection is open and no answer is waited for; the text outlives the call.
        let failed =
            unsafe { (functions.real_query)(connection, sql.as_ptr(), sql.to_bytes().len().try_into().unwrap_or(0)) };
        if failed != 0 {
            return Err(self.error());
        }
        let mut answer = Answer { of: *self, names: Names::new(), kinds: Vec::new(), result: None, changed: 0 };
        while answer.result.is_none() {
            answer.look()?;
            if answer.result.is_none() && !answer.next()? {
                break;
            }
        }
        Ok(answer)
    }

    fn error(&self) -> String {
        // SAFETY: the connection is open; the text is copied before another call.
        let said = unsafe { text((self.interface.error)(self.connection.as_ptr())) };
        said.unwrap_or_else(|| "the database failed".into())
    }
}

/// What the server answers to a text. Dropping it reads the rest away, so that the connection takes the next text.
pub(crate) struct Answer {
    of: Mysql,
    /// Names of the columns; empty if there are no rows.
    pub(crate) names: Names,
    kinds: Vec<Kind>,
    /// The rows, where the library has them.
    result: Option<NonNull<c_void>>,
    /// How many rows the last statement changed.
    pub(crate) changed: i64,
}

/// How a column's values are read where types are wanted.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Integer,
    Number,
    /// What `BOOLEAN` makes: a `TINYINT(1)`.
    Boolean,
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

    /// Looks at the answer that has come.
    fn look(&mut self) -> Result<(), String> {
        let (functions, connection) = (self.of.interface, self.of.connection.as_ptr());
        // SAFETY: the connection is open and has an answer; what it tells of columns is copied.
        unsafe {
            if (functions.field_count)(connection) == 0 {
                self.changed = (functions.affected_rows)(connection).cast_signed();
                return Ok(());
            }
            let result = NonNull::new((functions.use_result)(connection)).ok_or_else(|| self.of.error())?;
            self.result = Some(result);
            for column in 0..(functions.num_fields)(result.as_ptr()) {
                let field = &*(functions.fetch_field_direct)(result.as_ptr(), column);
                self.names.push(CStr::from_ptr(field.name).to_bytes().to_vec());
                self.kinds.push(match field.kind {
                    TINY if field.length == 1 => Kind::Boolean,
                    kind if INTEGERS.contains(&kind) => Kind::Integer,
                    kind if FLOATS.contains(&kind) => Kind::Number,
                    _ => Kind::Text,
                });
            }
        }
        Ok(())
    }

    /// Goes to the next answer, as of a procedure that selects more than once; false if there is none.
    fn next(&mut self) -> Result<bool, String> {
        let (functions, connection) = (self.of.interface, self.of.connection.as_ptr());
        // SAFETY: the connection is open, and the answer before was read.
        match unsafe { (functions.next_result)(connection) } {
            0 => Ok(true),
            status if status < 0 => Ok(false),
            _ => Err(self.of.error()),
        }
    }

    /// Reads all that still comes, and drops it.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn read_away(&mut self) -> Result<(), String> {
        let functions = self.of.interface;
        loop {
            if let Some(result) = self.result.take() {
                // SAFETY: the result is ours; freeing it reads its rows.
                unsafe { (functions.free_result)(result.as_ptr()) };
            }
            // SAFETY: the connection is open.
            if unsafe { (functions.more_results)(self.of.connection.as_ptr()) } == 0 || !self.next()? {
                return Ok(());
            }
            self.look()?;
        }
    }

    /// Adds rows to a batch until it is full; false after the last, when further results have been read away.
    ///
    /// # Errors
    /// What the database says; rows before that are in the batch.
    pub(crate) fn fill(&mut self, types: bool, batch: &mut Batch) -> Result<bool, String> {
        let functions = self.of.interface;
        while let Some(result) = self.result {
            if batch.is_full() {
                return Ok(true);
            }
            // SAFETY: the result is live; row and lengths have an entry for each column, and are read before the next
            // call.
            unsafe {
                let row = (functions.fetch_row)(result.as_ptr());
                if row.is_null() {
                    if (functions.errno)(self.of.connection.as_ptr()) != 0 {
                        return Err(self.of.error());
                    }
                    break;
                }
                let lengths = (functions.fetch_lengths)(result.as_ptr());
                for (column, kind) in self.kinds.iter().enumerate() {
                    let value = *row.add(column);
                    if value.is_null() {
                        batch.push(Cell::Null);
                        continue;
                    }
                    let length = (*lengths.add(column)).try_into().unwrap_or(0);
                    let bytes = std::slice::from_raw_parts(value.cast::<u8>(), length);
                    if !batch.has_room_for(length) {
                        batch.drop_partial_row();
                        return Err("out of memory".into());
                    }
                    batch.push(if types { typed(bytes, *kind) } else { Cell::Text(bytes) });
                }
            }
        }
        let names = std::mem::take(&mut self.names);
        let read = self.read_away();
        self.names = names;
        read.map(|()| false)
    }
}

/// A value of a kind. Decimals are text: as a Lua number they would not be exact.
fn typed(bytes: &[u8], kind: Kind) -> Cell<'_> {
    let Ok(digits) = str::from_utf8(bytes) else { return Cell::Text(bytes) };
    match kind {
        Kind::Boolean if matches!(digits, "0" | "1") => Cell::Boolean(digits == "1"),
        // Without a sign and large, it is no such integer.
        Kind::Boolean | Kind::Integer => digits.parse().map_or(Cell::Text(bytes), Cell::Integer),
        Kind::Number => digits.parse().map_or(Cell::Text(bytes), Cell::Number),
        Kind::Text => Cell::Text(bytes),
    }
}

/// What the server is told of a file that it asks for: there is none.
unsafe extern "C" fn no_file(data: *mut *mut c_void, _: *const c_char, _: *mut c_void) -> c_int {
    // SAFETY: the library gives a place for our data.
    unsafe { *data = ptr::null_mut() };
    1
}

unsafe extern "C" fn no_bytes(_: *mut c_void, _: *mut c_char, _: c_uint) -> c_int {
    -1
}

unsafe extern "C" fn no_end(_: *mut c_void) {}

unsafe extern "C" fn say(_: *mut c_void, place: *mut c_char, room: c_uint) -> c_int {
    /// `CR_UNKNOWN_ERROR`.
    const UNKNOWN: c_int = 2000;
    let said = c"files of this machine are not for pages of this host (LOAD DATA LOCAL)".to_bytes_with_nul();
    let length = said.len().min(room as usize);
    if length > 0 {
        // SAFETY: the library gives so much room; the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(said.as_ptr().cast(), place, length);
            *place.add(length - 1) = 0;
        }
    }
    UNKNOWN
}
