//! Rows where a driver has them.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use crate::batch::{Batch, Cell};
use crate::ffi;
use crate::memory::Pool;

const OK: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;

/// `APR_ENOENT`, which is the system's own number.
const NULL_VALUE: ffi::apr_status_t = 2;

/// What `apr_dbd_get_row` says of the next row, and what it answers when there is none.
const NEXT: c_int = -1;
const NO_MORE: c_int = -1;

/// Rows where the driver has them; all of it is in the pool.
pub(crate) struct Rows {
    results: *mut ffi::apr_dbd_results_t,
    row: *mut ffi::apr_dbd_row_t,
    columns: c_int,
    brigade: *mut ffi::apr_bucket_brigade,
    pool: Pool,
}

impl Rows {
    /// The rows of these results, which have that many columns.
    ///
    /// # Safety
    /// The results are a driver's own and in this pool.
    pub(crate) unsafe fn new(results: *mut ffi::apr_dbd_results_t, columns: c_int, pool: Pool) -> Rows {
        // SAFETY: the pool is live; allocator and brigade go with it.
        let brigade = unsafe { ffi::apr_brigade_create(pool.as_ptr(), ffi::apr_bucket_alloc_create(pool.as_ptr())) };
        Rows { results, row: ptr::null_mut(), columns, brigade, pool }
    }

    /// An empty batch for rows of these.
    pub(crate) fn batch(&self) -> Batch {
        Batch::new(self.columns.try_into().unwrap_or(0))
    }

    /// Adds rows to a batch until it is full; false after the last.
    ///
    /// # Errors
    /// What the database says; rows before that are in the batch.
    ///
    /// # Safety
    /// `driver` and `handle` are those the results came from, and live.
    pub(crate) unsafe fn fill(
        &mut self,
        driver: *const ffi::apr_dbd_driver_t,
        handle: *mut ffi::apr_dbd_t,
        batch: &mut Batch,
    ) -> Result<bool, String> {
        while !batch.is_full() {
            // SAFETY: the caller vouches for driver and handle; results and row live in the pool.
            unsafe {
                match ffi::apr_dbd_get_row(driver, self.pool.as_ptr(), self.results, &raw mut self.row, NEXT) {
                    0 => {}
                    NO_MORE => return Ok(false),
                    status => {
                        let error = text(ffi::apr_dbd_error(driver, handle, status));
                        return Err(error.unwrap_or_else(|| format!("the database failed ({status})")));
                    }
                }
                for column in 0..self.columns {
                    self.value(driver, column, batch).inspect_err(|_| batch.drop_partial_row())?;
                }
            }
        }
        Ok(true)
    }

    /// Adds one value of the row, asked for as binary data because only so its length is told.
    ///
    /// # Safety
    /// There is a row, of this driver, and it has that column.
    unsafe fn value(
        &self,
        driver: *const ffi::apr_dbd_driver_t,
        column: c_int,
        batch: &mut Batch,
    ) -> Result<(), String> {
        // SAFETY: the caller vouches for row and column; the brigade is ours, and empty between calls.
        unsafe {
            let kind = ffi::APR_DBD_TYPE_BLOB;
            match ffi::apr_dbd_datum_get(driver, self.row, column, kind, self.brigade.cast()) {
                OK => {}
                status if status == NULL_VALUE => {
                    batch.push(Cell::Null);
                    return Ok(());
                }
                _ => {
                    let value = ffi::apr_dbd_get_entry(driver, self.row, column);
                    batch.push(match value.is_null() {
                        true => Cell::Null,
                        false => Cell::Text(CStr::from_ptr(value).to_bytes()),
                    });
                    return Ok(());
                }
            }
            let mut length: ffi::apr_off_t = 0;
            let mut bytes = Vec::new();
            let mut status = ffi::apr_brigade_length(self.brigade, 1, &raw mut length);
            if status == OK && length > 0 {
                let mut room = length as ffi::apr_size_t;
                bytes = vec![0_u8; length as usize];
                status = ffi::apr_brigade_flatten(self.brigade, bytes.as_mut_ptr().cast::<c_char>(), &raw mut room);
                bytes.truncate(room as usize);
            }
            ffi::apr_brigade_cleanup(self.brigade.cast());
            if status != OK {
                return Err(format!("column {} cannot be read ({status})", column + 1));
            }
            batch.push(Cell::Text(&bytes));
            Ok(())
        }
    }
}

/// A text of a driver's, without the newline some end with; none if there is nothing in it.
///
/// # Safety
/// `text` is null or a C string.
pub(crate) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_string())
}
