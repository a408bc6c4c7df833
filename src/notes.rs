//! What a page has taken, as notes of its request, for formats of the log to name: `%{plua-time}n`.

use std::ffi::CStr;

use plua::exchange::facts::PageFacts;

use crate::{ffi, pool};

/// Its time in seconds, that of processors, bytes of Lua's in its state, the state's number, and where its code came from.
const NOTES: [&CStr; 5] = [c"plua-time", c"plua-cpu", c"plua-memory", c"plua-state", c"plua-cache"];

/// Whether a line of the configuration names one of them: then all pages are measured.
///
/// # Safety
/// httpd has read its configuration, and nobody changes it meanwhile.
pub(crate) unsafe fn are_wanted() -> bool {
    // SAFETY: the caller's promise.
    unsafe { names_one(ffi::ap_conftree) }
}

/// # Safety
/// `line` is null or a line of a tree that lives as long as this runs.
unsafe fn names_one(mut line: *const ffi::ap_directive_t) -> bool {
    // SAFETY: the caller's promise.
    while let Some(this) = unsafe { line.as_ref() } {
        // SAFETY: as above: its texts are C strings.
        let arguments = unsafe { pool::bytes(this.args) };
        let names = |note: &CStr| arguments.windows(note.count_bytes()).any(|part| part == note.to_bytes());
        // SAFETY: as above.
        if NOTES.iter().any(|note| names(note)) || unsafe { names_one(this.first_child) } {
            return true;
        }
        line = this.next;
    }
    false
}

/// Notes what the page of a request has taken.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn set(r: *mut ffi::request_rec, facts: &PageFacts) {
    let values = [
        format!("{:.6}", facts.time.as_secs_f64()),
        format!("{:.6}", facts.processor.as_secs_f64()),
        facts.bytes.to_string(),
        facts.state.to_string(),
        facts.origin.word().to_string(),
    ];
    for (note, value) in NOTES.iter().zip(values) {
        // SAFETY: the caller's promise; the text goes into the request's pool.
        unsafe { ffi::apr_table_setn((*r).notes, note.as_ptr(), pool::copy((*r).pool, value.as_bytes())) };
    }
}

/// Notes that a kept page answered a request.
///
/// # Safety
/// As [`set`].
pub(crate) unsafe fn set_kept(r: *mut ffi::request_rec) {
    // SAFETY: the caller's promise; both are constants.
    unsafe { ffi::apr_table_setn((*r).notes, NOTES[4].as_ptr(), c"kept".as_ptr()) };
}
