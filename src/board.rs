//! The server's scoreboard: made before any child is, and kept with the process, so that restarts lose no count.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use scoreboard::Board;

use crate::ffi;

/// Where the process's pool tells of it. What another [`LAYOUT`](Board::LAYOUT) has made is not found under it.
fn key() -> Vec<u8> {
    [b"mod_plua scoreboard ", Board::LAYOUT.as_bytes(), b"\0"].concat()
}

/// Finds the process's scoreboard, or makes it.
///
/// # Errors
/// That there is no memory for it.
///
/// # Safety
/// `pool` is the process's, which has one thread.
pub(crate) unsafe fn find(pool: *mut ffi::apr_pool_t) -> Result<Board, String> {
    let key = key();
    let key = CStr::from_bytes_with_nul(&key).map_err(|error| error.to_string())?;
    let mut found: *mut c_void = ptr::null_mut();
    // SAFETY: the caller's promise; the key is a C string, which the pool copies.
    unsafe { ffi::apr_pool_userdata_get(&raw mut found, key.as_ptr(), pool) };
    if let Some(start) = NonNull::new(found) {
        // SAFETY: kept below, by this configuration or one before it, in memory that stays as long as the process.
        return Ok(unsafe { Board::at(start.cast()) });
    }
    let board = Board::new().map_err(|error| format!("no memory for the scoreboard: {error}"))?;
    // SAFETY: as above.
    unsafe { ffi::apr_pool_userdata_set(board.start().as_ptr().cast(), key.as_ptr(), None, pool) };
    Ok(board)
}
