//! The functions of SQLite's library, found through the driver that uses it.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use super::vfs;
use crate::library::interface;
use crate::memory_use;

/// What SQLite calls between steps, for a lock, and before it compiles a statement: see `watch`.
type Progress = unsafe extern "C" fn(*mut c_void) -> c_int;
type Busy = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type Authorizer =
    unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *const c_char, *const c_char, *const c_char) -> c_int;

/// A function of SQL, and what SQLite calls when one is given up or a group of rows ends; the last two are not used.
type Function = unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_void);
type Destroy = unsafe extern "C" fn(*mut c_void);

interface! {
    "sqlite3_", "SQLite";
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
    column_decltype(*mut c_void, c_int) -> *const c_char;
    column_double(*mut c_void, c_int) -> f64;
    column_int64(*mut c_void, c_int) -> i64;
    column_count(*mut c_void) -> c_int;
    column_name(*mut c_void, c_int) -> *const c_char;
    column_text(*mut c_void, c_int) -> *const c_void;
    column_type(*mut c_void, c_int) -> c_int;
    context_db_handle(*mut c_void) -> *mut c_void;
    create_function_v2(
        *mut c_void, *const c_char, c_int, c_int, *mut c_void, Option<Function>, Option<Function>, Option<Destroy>,
        Option<Destroy>
    ) -> c_int;
    errmsg(*mut c_void) -> *const c_char;
    finalize(*mut c_void) -> c_int;
    get_autocommit(*mut c_void) -> c_int;
    limit(*mut c_void, c_int, c_int) -> c_int;
    last_insert_rowid(*mut c_void) -> i64;
    prepare_v3(*mut c_void, *const c_char, c_int, c_uint, *mut *mut c_void, *mut *const c_char) -> c_int;
    progress_handler(*mut c_void, c_int, Option<Progress>, *mut c_void);
    reset(*mut c_void) -> c_int;
    result_error_toobig(*mut c_void);
    result_int64(*mut c_void, i64);
    result_text(*mut c_void, *const c_char, c_int, isize);
    set_authorizer(*mut c_void, Option<Authorizer>, *mut c_void) -> c_int;
    step(*mut c_void) -> c_int;
    stmt_readonly(*mut c_void) -> c_int;
    threadsafe() -> c_int;
    value_blob(*mut c_void) -> *const c_void;
    value_bytes(*mut c_void) -> c_int;
    value_text(*mut c_void) -> *const c_void;
    value_type(*mut c_void) -> c_int;
}

static CONFIGURE: OnceLock<Option<Configure>> = OnceLock::new();

/// `sqlite3_db_config`, which takes any arguments.
pub(crate) type Configure = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;

impl Interface {
    /// The function that sets what a connection may, where the library has it.
    pub(crate) fn configure() -> Option<Configure> {
        CONFIGURE.get().copied().flatten()
    }

    /// The functions of the library that is used in this process, once there is one.
    pub(crate) fn found() -> Option<&'static Interface> {
        FOUND.get()?.as_ref().ok()
    }

    /// The functions of the library that the driver in whose memory `driver` lies uses, made ready for pages.
    ///
    /// # Errors
    /// A sentence, when it is none that can be used.
    ///
    /// # Safety
    /// `driver` is the record of APR's driver of SQLite, loaded to stay.
    pub(crate) unsafe fn ready(driver: *const c_void) -> Result<&'static Interface, String> {
        // SAFETY: the caller's promise; the functions of the library's names are those meant here.
        unsafe {
            Interface::of(driver, |interface, library| {
                if (interface.threadsafe)() == 0 {
                    return Err("the library of SQLite is built for a single thread".to_owned());
                }
                memory_use::count(library);
                vfs::install(library)?;
                let configure = libc::dlsym(library, c"sqlite3_db_config".as_ptr());
                let _ = CONFIGURE
                    .set((!configure.is_null()).then(|| std::mem::transmute::<*mut c_void, Configure>(configure)));
                Ok(())
            })
        }
    }
}
