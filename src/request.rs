//! What httpd's record of a request says: its headers, and which request the client has sent.

use std::ffi::CStr;
use std::slice;

use crate::{ffi, pool};

/// The request as the client sent it, of which httpd has made this one: by redirecting it internally, or for a part of it.
///
/// # Safety
/// `r` is live, and so are those that it points to.
pub(crate) unsafe fn first(mut r: &ffi::request_rec) -> &ffi::request_rec {
    // SAFETY: the caller's promise; these are null or requests.
    while let Some(before) = unsafe { r.prev.as_ref().or(r.main.as_ref()) } {
        r = before;
    }
    r
}

/// Calls `visit(name, value)` for each entry of `table`, in its order.
///
/// # Safety
/// `table` is a live table that nobody changes meanwhile.
pub(crate) unsafe fn each(table: *const ffi::apr_table_t, visit: &mut dyn FnMut(&[u8], &[u8])) {
    // SAFETY: the caller vouches for the table; its array holds `nelts` entries of C strings.
    unsafe {
        let array = &*ffi::apr_table_elts(table);
        let entries: &[ffi::apr_table_entry_t] = match usize::try_from(array.nelts) {
            Ok(count) if count > 0 => slice::from_raw_parts(array.elts.cast(), count),
            _ => &[],
        };
        for entry in entries {
            visit(pool::bytes(entry.key), pool::bytes(entry.val));
        }
    }
}

/// The value of a request's header, if it has it.
///
/// # Safety
/// `r` is live, and nobody changes its headers as long as the value is used.
pub(crate) unsafe fn header<'a>(r: &ffi::request_rec, name: &CStr) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise; values are C strings of the table's own.
    unsafe {
        let value = ffi::apr_table_get(r.headers_in, name.as_ptr());
        (!value.is_null()).then(|| pool::bytes(value))
    }
}

/// The same by a name that is no C string.
///
/// # Safety
/// As [`header`].
pub(crate) unsafe fn header_named<'a>(r: &ffi::request_rec, name: &[u8]) -> Option<&'a [u8]> {
    let mut text = [0; 128];
    text.get_mut(..name.len())?.copy_from_slice(name);
    // SAFETY: the caller's promise.
    CStr::from_bytes_until_nul(&text).ok().and_then(|name| unsafe { header(r, name) })
}
