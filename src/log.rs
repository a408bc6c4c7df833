//! The error log of httpd, which gets each entry of ours with its code.

use std::ffi::{CStr, c_int};

use plua::error::entry::{Entry, Level};
use plua::error::incident::Incident;
use plua::error::report::printable;

use crate::{ffi, pool};

/// httpd's `APLOG_` level.
fn level_of(entry: Entry) -> c_int {
    let level = match entry.level() {
        Level::Critical => ffi::APLOG_CRIT,
        Level::Error => ffi::APLOG_ERR,
        Level::Warning => ffi::APLOG_WARNING,
        // httpd writes notices whatever its own LogLevel is: pLuaLogLevel decides about these.
        Level::Information => ffi::APLOG_NOTICE,
        Level::Detail => ffi::APLOG_INFO,
    };
    level as c_int
}

/// What the error log gets: the code of the entry and the line, as httpd can write it.
fn written(entry: Entry, line: &str) -> String {
    format!("{entry}: {}", printable(line))
}

/// An entry in the error log of `server`.
///
/// # Safety
/// `server` is a live record of httpd's.
pub(crate) unsafe fn server(server: *const ffi::server_rec, entry: Entry, line: &str) {
    let line = written(entry, line);
    // SAFETY: the caller vouches for the server; the length is that of the line.
    unsafe { ffi::plua_log_server(level_of(entry), server, line.as_ptr().cast(), line.len() as ffi::apr_size_t) }
}

/// An entry in the error log, with the client of `r`.
///
/// # Safety
/// `r` is a live request.
pub(crate) unsafe fn request(r: *const ffi::request_rec, entry: Entry, line: &str) {
    let line = written(entry, line);
    // SAFETY: the caller vouches for the request; the length is that of the line.
    unsafe { ffi::plua_log_request(level_of(entry), r, line.as_ptr().cast(), line.len() as ffi::apr_size_t) }
}

/// Puts the number of a failure where httpd's own page for the error shows it, and where other pages and logs find it.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn note_incident(r: *mut ffi::request_rec, incident: Incident) {
    let incident = incident.to_string();
    let note = format!(
        "Incident <strong>{incident}</strong>: by this number, whoever looks after this server finds what went wrong."
    );
    // SAFETY: the caller's promise; texts go into the request's pool.
    unsafe {
        let set = |table, name: &CStr, value: &str| {
            ffi::apr_table_setn(table, name.as_ptr(), pool::copy((*r).pool, value.as_bytes()));
        };
        set((*r).subprocess_env, c"PLUA_INCIDENT", &incident);
        set((*r).notes, c"error-notes", &note);
        // Without this httpd takes the note for one that visitors must not see.
        set((*r).notes, c"verbose-error-to", "*");
    }
}

/// What a request ends with that has not come to a page, or to its end: an entry with an incident.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn failure(r: *mut ffi::request_rec, entry: Entry, line: &str) {
    let incident = Incident::new();
    // SAFETY: the caller's promise.
    unsafe {
        note_incident(r, incident);
        request(r, entry, &format!("incident {incident}: {line}"));
    }
}
