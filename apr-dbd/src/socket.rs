//! The socket between a connection and its database's server, which no driver of APR's tells.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::driver::Kind;
use crate::ffi;
use crate::library::library;

/// What tells the socket of a library's own connection.
type Tell = unsafe extern "C" fn(*mut c_void) -> c_int;

/// What a library tells of its connection's socket.
pub(crate) enum Told {
    /// A handle of its own on it: a number of the library's may be another file's by the time it is used.
    Open(OwnedFd),
    /// The library has closed it.
    Closed,
    Nothing,
}

/// What is known of a connection's socket.
///
/// # Safety
/// Driver and handle are live, and of that kind.
pub(crate) unsafe fn of(kind: Kind, driver: *const ffi::apr_dbd_driver_t, handle: *mut ffi::apr_dbd_t) -> Told {
    static PGSQL: OnceLock<Option<Tell>> = OnceLock::new();
    static MYSQL: OnceLock<Option<Tell>> = OnceLock::new();
    // SAFETY: the caller's promise; the functions are those of the library that the driver uses, and their native
    // handles what they take. What is duplicated is ours.
    unsafe {
        let tell = match kind {
            Kind::Pgsql => PGSQL.get_or_init(|| find(driver.cast(), &[c"PQsocket"])),
            // As MariaDB's library calls it, and as MySQL's does.
            Kind::Mysql => {
                MYSQL.get_or_init(|| find(driver.cast(), &[c"mysql_get_socket", c"mysql_get_socket_descriptor"]))
            }
            _ => return Told::Nothing,
        };
        let native = ffi::apr_dbd_native_handle(driver, handle);
        let Some(tell) = tell.filter(|_| !native.is_null()) else { return Told::Nothing };
        let number = tell(native);
        if number < 0 {
            return Told::Closed;
        }
        match libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) {
            own if own >= 0 => Told::Open(OwnedFd::from_raw_fd(own)),
            _ => Told::Nothing,
        }
    }
}

/// Whether something has come over a socket, or its end.
pub(crate) fn has_something(socket: &OwnedFd) -> bool {
    let mut state = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one record is there; the call does not wait.
    unsafe { libc::poll(&raw mut state, 1, 0) > 0 }
}

/// The first of these functions that the library of the driver in whose memory `driver` lies has.
///
/// # Safety
/// `driver` is a driver's record, loaded to stay, and functions of these names have that type.
unsafe fn find(driver: *const c_void, names: &[&CStr]) -> Option<Tell> {
    // SAFETY: the caller's promise.
    unsafe {
        let library = library(driver);
        let found = names.iter().map(|name| libc::dlsym(library, name.as_ptr())).find(|found| !found.is_null())?;
        Some(std::mem::transmute::<*mut c_void, Tell>(found))
    }
}
