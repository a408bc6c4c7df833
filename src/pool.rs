//! httpd's memory pools as owners of what Rust makes.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

use crate::{entry, ffi};

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
            Some(entry::drop_value::<T>),
            Some(ffi::apr_pool_cleanup_null),
        );
    }
    value
}

/// A copy of `text` in `pool`, as C wants it: with a NUL at its end.
///
/// # Safety
/// `pool` is a live pool that no other thread uses meanwhile.
pub(crate) unsafe fn copy(pool: *mut ffi::apr_pool_t, text: &[u8]) -> *mut c_char {
    // SAFETY: the caller vouches for the pool; the length is that of the slice.
    unsafe { ffi::apr_pstrmemdup(pool, text.as_ptr().cast(), text.len() as ffi::apr_size_t) }
}
