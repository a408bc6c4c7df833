//! httpd's memory pools as owners of what Rust makes, and the texts that lie in them.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

use plua::error::injection;

use crate::ffi;
use crate::panics::caught;

/// Moves `value` into `pool`: it is dropped when httpd clears the pool.
///
/// # Safety
/// `pool` is a live pool that no other thread uses meanwhile.
pub(crate) unsafe fn put<T>(pool: *mut ffi::apr_pool_t, value: T) -> NonNull<T> {
    let value = NonNull::from(Box::leak(Box::new(value)));
    // SAFETY: the caller vouches for the pool; the cleanup takes back the box leaked above, once.
    unsafe {
        ffi::apr_pool_cleanup_register(
            pool,
            value.as_ptr().cast::<c_void>(),
            Some(drop_value::<T>),
            Some(ffi::apr_pool_cleanup_null),
        );
    }
    value
}

/// Drops what [`put`] moved into a pool.
///
/// # Safety
/// Called once, by the pool, with the address of that `T`.
unsafe extern "C" fn drop_value<T>(value: *mut c_void) -> ffi::apr_status_t {
    // SAFETY: the caller's promise.
    let value = unsafe { Box::from_raw(value.cast::<T>()) };
    caught(
        || {
            injection::panic_at("cleanup");
            drop(value);
        },
        |_| (),
    );
    ffi::APR_SUCCESS as ffi::apr_status_t
}

/// A copy of `text` in `pool`, as C wants it: with a NUL at its end.
///
/// # Safety
/// `pool` is a live pool that no other thread uses meanwhile.
pub(crate) unsafe fn copy(pool: *mut ffi::apr_pool_t, text: &[u8]) -> *mut c_char {
    // SAFETY: the caller vouches for the pool; the length is that of the slice.
    unsafe { ffi::apr_pstrmemdup(pool, text.as_ptr().cast(), text.len() as ffi::apr_size_t) }
}

/// The bytes of a C string; none for null.
///
/// # Safety
/// `text` is null or a C string that lives for `'a`.
pub(crate) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
