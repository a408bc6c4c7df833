//! A layer between SQLite and the files of this machine, which bounds those that a confined page's database opens.
//!
//! SQLite opens and removes files by names that no statement says: journals beside a database, and others that a journal
//! names. APR's driver opens databases with the default way to files, so this layer becomes the default, for the whole
//! process, and hands everything on. While a confined connection works in a thread, files outside its bounds are refused
//! there, and what is opened is neither mapped into memory nor has memory that processes share (WAL), for a page may cut
//! off a file beneath a mapping.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock};

use crate::memory_use::stay_loaded;

/// Says whether a path leads to a file that may be opened, looked for and removed.
pub type Bounds = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// What SQLite's functions answer (`SQLITE_OK`, `_CANTOPEN`, `_IOERR_DELETE`, `_IOERR_ACCESS`).
const OK: c_int = 0;
const CANNOT_OPEN: c_int = 14;
const CANNOT_DELETE: c_int = 10 | 10 << 8;
const CANNOT_LOOK: c_int = 10 | 13 << 8;

thread_local! {
    static WITHIN: RefCell<Option<Bounds>> = const { RefCell::new(None) };
}

/// While it lives, files that SQLite opens in this thread are within these bounds.
#[must_use]
pub(crate) struct Bounding {
    outer: Option<Bounds>,
}

impl Bounding {
    /// Bounds them; none is no bound.
    pub(crate) fn start(bounds: Option<&Bounds>) -> Bounding {
        Bounding { outer: WITHIN.with(|within| within.replace(bounds.cloned())) }
    }
}

impl Drop for Bounding {
    fn drop(&mut self) {
        WITHIN.with(|within| within.replace(self.outer.take()));
    }
}

/// The bounds that hold in this thread.
fn bounds() -> Option<Bounds> {
    WITHIN.try_with(|within| within.borrow().clone()).ok().flatten()
}

/// Whether a file may be reached in this thread. One without a name is SQLite's own, and gone when it is closed.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn is_within(name: *const c_char) -> bool {
    let Some(bounds) = bounds() else { return true };
    // SAFETY: the caller's promise.
    name.is_null() || bounds(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

type Sleep = unsafe extern "C" fn(*mut Vfs, c_int) -> c_int;
type Load = unsafe extern "C" fn(*mut Vfs, *const c_char) -> *mut c_void;
type Symbol = unsafe extern "C" fn(*mut Vfs, *mut c_void, *const c_char) -> *mut c_void;
type Say = unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char);
type Fill = unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char) -> c_int;

/// `sqlite3_vfs`, as far as its version 2.
#[repr(C)]
#[derive(Clone, Copy)]
struct Vfs {
    version: c_int,
    file_size: c_int,
    longest_path: c_int,
    next: *mut Vfs,
    name: *const c_char,
    data: *mut c_void,
    open: unsafe extern "C" fn(*mut Vfs, *const c_char, *mut File, c_int, *mut c_int) -> c_int,
    delete: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int) -> c_int,
    access: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_int) -> c_int,
    full_path: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_char) -> c_int,
    load: Option<Load>,
    load_error: Option<Say>,
    symbol: Option<Symbol>,
    unload: Option<unsafe extern "C" fn(*mut Vfs, *mut c_void)>,
    randomness: Fill,
    sleep: Sleep,
    time: unsafe extern "C" fn(*mut Vfs, *mut f64) -> c_int,
    last_error: Option<Fill>,
    time_whole: Option<unsafe extern "C" fn(*mut Vfs, *mut i64) -> c_int>,
}

/// `sqlite3_file`; what the way to files keeps of it comes behind.
#[repr(C)]
struct File {
    methods: *const Methods,
}

/// `sqlite3_io_methods` of version 1: without mappings and shared memory.
#[repr(C)]
#[derive(Clone, Copy)]
struct Methods {
    version: c_int,
    functions: [*const c_void; 12],
}

// SAFETY: it is written once, and what it points to is code.
unsafe impl Send for Methods {}
// SAFETY: as above.
unsafe impl Sync for Methods {}

/// Where the layer hands everything on.
struct Below(*mut Vfs);

// SAFETY: SQLite's ways to files are used by all threads, and stay as long as the process.
unsafe impl Send for Below {}
// SAFETY: as above.
unsafe impl Sync for Below {}

static BELOW: OnceLock<Option<Below>> = OnceLock::new();

/// Puts the layer in front of SQLite's own way to files, once for the process.
///
/// # Errors
/// A sentence, when the library does not have what that takes.
///
/// # Safety
/// `library` comes from `dlopen`, is never closed, and what it calls `sqlite3_*` is SQLite.
pub(crate) unsafe fn install(library: *mut c_void) -> Result<(), String> {
    type Find = unsafe extern "C" fn(*const c_char) -> *mut Vfs;
    type Register = unsafe extern "C" fn(*mut Vfs, c_int) -> c_int;
    let below = BELOW.get_or_init(|| {
        // SAFETY: the caller vouches for the functions. What is found stays; what is registered is never freed, and the
        // code here stays loaded.
        unsafe {
            let (find, register) = (
                libc::dlsym(library, c"sqlite3_vfs_find".as_ptr()),
                libc::dlsym(library, c"sqlite3_vfs_register".as_ptr()),
            );
            if find.is_null() || register.is_null() {
                return None;
            }
            let find = std::mem::transmute::<*mut c_void, Find>(find);
            let register = std::mem::transmute::<*mut c_void, Register>(register);
            let below = find(ptr::null());
            if below.is_null() {
                return None;
            }
            stay_loaded();
            let own = below.read();
            let layer = Vfs {
                version: own.version.min(2),
                next: ptr::null_mut(),
                name: c"plua".as_ptr(),
                data: ptr::null_mut(),
                open,
                delete,
                access,
                full_path,
                load: own.load.map(|_| load as Load),
                load_error: own.load_error.map(|_| load_error as Say),
                symbol: own.symbol.map(|_| symbol as Symbol),
                unload: own.unload.map(|_| unload as unsafe extern "C" fn(*mut Vfs, *mut c_void)),
                randomness,
                sleep,
                time,
                last_error: own.last_error.map(|_| last_error as Fill),
                time_whole: (own.version >= 2)
                    .then_some(own.time_whole)
                    .flatten()
                    .map(|_| time_whole as unsafe extern "C" fn(*mut Vfs, *mut i64) -> c_int),
                ..own
            };
            // It is the default only when what it hands on to is known.
            (register(Box::leak(Box::new(layer)), 1) == OK).then_some(Below(below))
        }
    });
    match below {
        Some(_) => Ok(()),
        None => Err("the library of SQLite takes no layer before its files".into()),
    }
}

/// What the layer hands on to.
fn below() -> *mut Vfs {
    // While it is registered another thread may use it already; it waits for that.
    BELOW.wait().as_ref().map_or(ptr::null_mut(), |below| below.0)
}

/// The methods of a file without mappings and shared memory.
///
/// # Safety
/// `methods` are those of a file that was opened, which stay as long as the process.
unsafe fn without_mappings(methods: *const Methods) -> *const Methods {
    static KNOWN: Mutex<Vec<(usize, &'static Methods)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, copy)) = known.iter().find(|(of, _)| *of == methods as usize) {
        return ptr::from_ref(*copy);
    }
    // SAFETY: the caller's promise; each version begins with the first.
    let copy = Box::leak(Box::new(Methods { version: 1, ..unsafe { methods.read() } }));
    known.push((methods as usize, copy));
    ptr::from_ref(copy)
}

unsafe extern "C" fn open(_: *mut Vfs, name: *const c_char, file: *mut File, flags: c_int, out: *mut c_int) -> c_int {
    let below = below();
    // SAFETY: SQLite keeps the contract of a way to files, which is handed on; here and in the functions that follow.
    unsafe {
        if !is_within(name) {
            (*file).methods = ptr::null();
            return CANNOT_OPEN;
        }
        let status = ((*below).open)(below, name, file, flags, out);
        if status == OK && bounds().is_some() && !(*file).methods.is_null() {
            (*file).methods = without_mappings((*file).methods);
        }
        status
    }
}

unsafe extern "C" fn delete(_: *mut Vfs, name: *const c_char, sync: c_int) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { if is_within(name) { ((*below).delete)(below, name, sync) } else { CANNOT_DELETE } }
}

unsafe extern "C" fn access(_: *mut Vfs, name: *const c_char, flags: c_int, found: *mut c_int) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { if is_within(name) { ((*below).access)(below, name, flags, found) } else { CANNOT_LOOK } }
}

unsafe extern "C" fn full_path(_: *mut Vfs, name: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { ((*below).full_path)(below, name, room, out) }
}

unsafe extern "C" fn load(_: *mut Vfs, name: *const c_char) -> *mut c_void {
    let below = below();
    // SAFETY: as in `open`. No library is loaded for a confined page.
    unsafe {
        match (*below).load {
            Some(load) if bounds().is_none() => load(below, name),
            _ => ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn load_error(_: *mut Vfs, room: c_int, out: *mut c_char) {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { (*below).load_error.map_or((), |say| say(below, room, out)) }
}

unsafe extern "C" fn symbol(_: *mut Vfs, library: *mut c_void, name: *const c_char) -> *mut c_void {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { (*below).symbol.map_or(ptr::null_mut(), |symbol| symbol(below, library, name)) }
}

unsafe extern "C" fn unload(_: *mut Vfs, library: *mut c_void) {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { (*below).unload.map_or((), |unload| unload(below, library)) }
}

unsafe extern "C" fn randomness(_: *mut Vfs, room: c_int, out: *mut c_char) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { ((*below).randomness)(below, room, out) }
}

unsafe extern "C" fn sleep(_: *mut Vfs, microseconds: c_int) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { ((*below).sleep)(below, microseconds) }
}

unsafe extern "C" fn time(_: *mut Vfs, out: *mut f64) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { ((*below).time)(below, out) }
}

unsafe extern "C" fn last_error(_: *mut Vfs, room: c_int, out: *mut c_char) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { (*below).last_error.map_or(OK, |last_error| last_error(below, room, out)) }
}

unsafe extern "C" fn time_whole(_: *mut Vfs, out: *mut i64) -> c_int {
    let below = below();
    // SAFETY: as in `open`.
    unsafe { (*below).time_whole.map_or(OK, |time| time(below, out)) }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;

    use super::*;
    use crate::connection::load_sqlite;

    #[test]
    fn files_outside_are_neither_opened_nor_found_nor_removed_while_bounds_hold() {
        load_sqlite().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (inner, outer) = (folder.path().join("inner"), folder.path().join("outer"));
        let base = inner.clone();
        let bounds: Bounds = Arc::new(move |path| path.starts_with(&base));
        fs::create_dir(&inner).unwrap();
        let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the functions are given what SQLite gives them.
        let (found, removed) = unsafe {
            let look = |path: &Path| {
                let mut found = -1;
                (access(ptr::null_mut(), name(path).as_ptr(), 0, &raw mut found), found)
            };
            let remove = |path: &Path| delete(ptr::null_mut(), name(path).as_ptr(), 0);
            for path in [&inner.join("x"), &outer] {
                fs::write(path, "some").unwrap();
            }
            let bounding = Bounding::start(Some(&bounds));
            assert_eq!((look(&inner.join("x")), look(&outer)), ((OK, 1), (CANNOT_LOOK, -1)));
            assert_eq!((remove(&inner.join("x")), remove(&outer)), (OK, CANNOT_DELETE));
            drop(bounding);
            (look(&outer), remove(&outer))
        };
        assert_eq!((found, removed), ((OK, 1), OK));
        assert!(!outer.exists());
    }
}
