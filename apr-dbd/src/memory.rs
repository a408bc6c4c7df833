//! APR's memory pools, each with one owner in Rust.

use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use crate::ffi;

/// Bytes a pool keeps for its next use after a large result was freed.
const KEPT: ffi::apr_size_t = 256 * 1024;

const OK: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;

/// Makes APR and its database interface ready, once for the process.
///
/// # Errors
/// A sentence with APR's number.
pub(crate) fn initialize() -> Result<(), String> {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    READY
        .get_or_init(|| {
            // SAFETY: apr_initialize counts its callers, httpd among them; apr_dbd_init takes any number of calls
            // from any thread, and keeps what it makes in the outermost pool, which is never destroyed.
            let status = unsafe {
                match ffi::apr_initialize() {
                    OK => {
                        let mut pool = ptr::null_mut();
                        match ffi::apr_pool_create_ex(&raw mut pool, ptr::null_mut(), None, ptr::null_mut()) {
                            OK => ffi::apr_dbd_init(pool),
                            status => status,
                        }
                    }
                    status => status,
                }
            };
            match status {
                OK => Ok(()),
                status => Err(format!("APR's database interface cannot start ({status})")),
            }
        })
        .clone()
}

/// A pool of APR's. Dropping it frees all that was made in it.
pub(crate) struct Pool(NonNull<ffi::apr_pool_t>);

impl Pool {
    /// A pool with an allocator of its own, so that nobody else's thread takes memory from it.
    ///
    /// # Errors
    /// A sentence, when memory runs out.
    pub(crate) fn new() -> Result<Pool, String> {
        let mut allocator = ptr::null_mut();
        let mut pool = ptr::null_mut();
        // SAFETY: APR is initialized by whoever asks for a connection; the allocator belongs to the pool and goes
        // with it.
        unsafe {
            if ffi::apr_allocator_create(&raw mut allocator) != OK {
                return Err("no memory for a database handle".into());
            }
            ffi::apr_allocator_max_free_set(allocator, KEPT);
            if ffi::apr_pool_create_ex(&raw mut pool, ptr::null_mut(), None, allocator) != OK {
                ffi::apr_allocator_destroy(allocator);
                return Err("no memory for a database handle".into());
            }
            ffi::apr_allocator_owner_set(allocator, pool);
        }
        NonNull::new(pool).map(Pool).ok_or_else(|| "no memory for a database handle".into())
    }

    /// A pool inside this one. It must be dropped first.
    ///
    /// # Errors
    /// A sentence, when memory runs out.
    pub(crate) fn child(&self) -> Result<Pool, String> {
        let mut pool = ptr::null_mut();
        // SAFETY: the parent is live, and used by one thread at a time as its owner is.
        let status = unsafe { ffi::apr_pool_create_ex(&raw mut pool, self.as_ptr(), None, ptr::null_mut()) };
        NonNull::new(pool).filter(|_| status == OK).map(Pool).ok_or_else(|| "no memory for a statement".into())
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::apr_pool_t {
        self.0.as_ptr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: this owns the pool; what was made in it is dropped before it.
        unsafe { ffi::apr_pool_destroy(self.as_ptr()) }
    }
}
