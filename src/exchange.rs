//! One request of httpd's, as the engine sees it.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::ptr::{self, NonNull};
use std::slice;

use apr_dbd::Connection;
use plua::exchange::{Exchange, Head, HeaderChange, Level, Request};
use plua::injection;

use crate::child::{Server, Serving};
use crate::{ffi, pool};

const SENT: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;
const APR_OWN: ffi::apr_status_t = ffi::APR_OS_START_ERROR as ffi::apr_status_t;

/// A request while its handler runs.
pub(crate) struct ApExchange {
    r: NonNull<ffi::request_rec>,
    server: NonNull<Server>,
    has_variables: bool,
    has_body: bool,
}

// SAFETY: httpd lets one thread at a time work on a request, and the server's record does not change while requests
// run. So the exchange may go to another thread as long as only one holds it, which its owner sees to.
unsafe impl Send for ApExchange {}

impl ApExchange {
    /// The exchange over `r`.
    ///
    /// # Safety
    /// `r` and `server` are live for as long as the exchange, and nobody else works on `r` meanwhile.
    pub(crate) unsafe fn new(r: NonNull<ffi::request_rec>, server: NonNull<Server>) -> ApExchange {
        ApExchange { r, server, has_variables: false, has_body: true }
    }

    fn record(&self) -> &ffi::request_rec {
        // SAFETY: promised to `new`.
        unsafe { self.r.as_ref() }
    }

    /// Writes the head into the request; httpd sends it before the first of the body.
    fn take_head(&mut self, head: &Head) {
        let r = self.r.as_ptr();
        // SAFETY: promised to `new`; tables and texts are in the request's pool or go into it.
        unsafe {
            let pool = (*r).pool;
            let status = c_int::from(head.status);
            // A page that httpd runs as ErrorDocument answers with the error unless it sets a status itself. A page
            // that sets 200 there cannot be told from one that sets none.
            let is_error_document = !(*r).prev.is_null() && (*r).status >= 400;
            if !(status == 200 && is_error_document) {
                (*r).status = status;
            }
            name_status(r, (*r).status);
            self.has_body = !matches!((*r).status, 204 | 304);
            ffi::ap_set_content_type(r, pool::copy(pool, &head.content_type));
            for change in &head.headers {
                match change {
                    HeaderChange::Set(name, value) => {
                        ffi::apr_table_setn((*r).headers_out, pool::copy(pool, name), pool::copy(pool, value));
                    }
                    HeaderChange::Add(name, value) => {
                        ffi::apr_table_addn((*r).headers_out, pool::copy(pool, name), pool::copy(pool, value));
                    }
                    HeaderChange::Remove(name) => ffi::apr_table_unset((*r).headers_out, pool::copy(pool, name)),
                }
            }
        }
    }

    fn pass(&mut self, bytes: &[u8], tail: ffi::plua_tail) -> io::Result<()> {
        injection::panic_at("output");
        let bytes = if self.has_body { bytes } else { &[] };
        // SAFETY: promised to `new`; the shim is done with the bytes when it returns.
        let status =
            unsafe { ffi::plua_pass(self.r.as_ptr(), bytes.as_ptr().cast(), bytes.len() as ffi::apr_size_t, tail) };
        match status {
            SENT => Ok(()),
            // APR's numbers of system errors are the system's own; it has others above, and httpd's filters below.
            1..APR_OWN => Err(io::Error::from_raw_os_error(status)),
            _ => Err(io::Error::other(format!("httpd's filters refused it ({status})"))),
        }
    }
}

impl Exchange for ApExchange {
    fn request(&self) -> Request<'_> {
        let r = self.record();
        // SAFETY: these texts are httpd's, C strings or null, and live as long as the request.
        let text = |text: *const c_char| Cow::Borrowed(unsafe { bytes(text) });
        Request {
            method: text(r.method),
            uri: text(r.uri),
            unparsed_uri: text(r.unparsed_uri),
            line: text(r.the_request),
            path_info: text(r.path_info),
            query: (!r.args.is_null()).then(|| text(r.args)),
            // SAFETY: a request's server is live.
            server_name: text(unsafe { (*r.server).server_hostname }),
            remote_address: text(r.useragent_ip),
            received: r.request_time,
            // SAFETY: httpd's own text, which stays.
            server_banner: text(unsafe { ffi::ap_get_server_banner() }),
            // SAFETY: promised to `new`.
            server_version: Cow::Borrowed(unsafe { self.server.as_ref() }.httpd_version.as_bytes()),
        }
    }

    fn headers(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        injection::panic_at("page function");
        // SAFETY: the request's own table; `visit` cannot reach it.
        unsafe { each(self.record().headers_in, visit) }
    }

    fn variables(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let r = self.r.as_ptr();
        // SAFETY: promised to `new`; the table is the request's own, and `visit` cannot reach it.
        unsafe {
            if !self.has_variables {
                self.has_variables = true;
                ffi::ap_add_common_vars(r);
                ffi::ap_add_cgi_vars(r);
            }
            each((*r).subprocess_env, visit);
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut length = into.len() as ffi::apr_size_t;
        // SAFETY: promised to `new`; the shim writes no more than `length` bytes and keeps nothing.
        let status = unsafe { ffi::plua_read_body(self.r.as_ptr(), into.as_mut_ptr().cast(), &raw mut length) } as u32;
        let kind = match status {
            ffi::OK => return Ok(length as usize),
            ffi::HTTP_REQUEST_ENTITY_TOO_LARGE => io::ErrorKind::FileTooLarge,
            ffi::HTTP_REQUEST_TIME_OUT => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        Err(io::Error::new(kind, format!("httpd answers {status}")))
    }

    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        self.take_head(head);
        // httpd's own filter sees the end with the body, and so sets Content-Length. A HEAD request takes this way too:
        // httpd drops the body itself, after the filters that change the length.
        self.pass(body, ffi::PLUA_END)
    }

    fn send_head(&mut self, head: &Head) -> io::Result<()> {
        self.take_head(head);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pass(bytes, ffi::PLUA_MORE)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass(&[], ffi::PLUA_FLUSH)
    }

    fn is_inside_another(&self) -> bool {
        Serving::depth() > 1
    }

    fn log(&mut self, level: Level, line: &str) {
        let level = match level {
            Level::Error => ffi::APLOG_ERR,
            Level::Warning => ffi::APLOG_WARNING,
            // httpd writes notices whatever its own LogLevel is: pLuaLogLevel decides about these.
            Level::Information => ffi::APLOG_NOTICE,
        };
        // SAFETY: promised to `new`.
        unsafe { log(self.r.as_ptr(), level, line) }
    }

    fn database(&mut self) -> Result<Connection, String> {
        let (mut driver, mut handle) = (ptr::null(), ptr::null_mut());
        // SAFETY: promised to `new`. Driver and handle are mod_dbd's until the end of the request, and the engine
        // lets go of the connection when the page has ended.
        unsafe {
            match ffi::plua_database(self.r.as_ptr(), &raw mut driver, &raw mut handle) {
                1 => Connection::lent(driver, handle),
                0 => Err("mod_dbd is not loaded".into()),
                _ => Err("mod_dbd has no connection (DBDriver, DBDParams): see the error log".into()),
            }
        }
    }
}

/// Gives `r` the status line of `status`: without one, httpd answers 500 in place of a status it has no text for.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn name_status(r: *mut ffi::request_rec, status: c_int) {
    // SAFETY: the caller vouches for the request; the text is httpd's own or in the request's pool.
    unsafe { (*r).status_line = ffi::ap_get_status_line_ex((*r).pool, status) }
}

/// Gives the page that httpd makes for a failed request these headers.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn set_error_headers(r: *mut ffi::request_rec, headers: &[(&str, Vec<u8>)]) {
    for (name, value) in headers {
        // SAFETY: the caller vouches for the request; texts go into its pool.
        unsafe {
            // httpd looks for the place a redirect goes to among the headers it otherwise drops (ap_die).
            let table = if *name == "Location" { (*r).headers_out } else { (*r).err_headers_out };
            ffi::apr_table_setn(table, pool::copy((*r).pool, name.as_bytes()), pool::copy((*r).pool, value));
        }
    }
}

/// `APLOG_` level and `line` to the error log, with the client of `r`.
///
/// # Safety
/// `r` is a live request.
pub(crate) unsafe fn log(r: *const ffi::request_rec, level: u32, line: &str) {
    // SAFETY: the caller vouches for the request; the length is that of the line.
    unsafe { ffi::plua_log_request(level as c_int, r, line.as_ptr().cast(), line.len() as ffi::apr_size_t) }
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

/// Calls `visit(name, value)` for each entry of `table`, in its order.
///
/// # Safety
/// `table` is a live table that nobody changes meanwhile.
unsafe fn each(table: *const ffi::apr_table_t, visit: &mut dyn FnMut(&[u8], &[u8])) {
    // SAFETY: the caller vouches for the table; its array holds `nelts` entries of C strings.
    unsafe {
        let array = &*ffi::apr_table_elts(table);
        let entries: &[ffi::apr_table_entry_t] = match usize::try_from(array.nelts) {
            Ok(count) if count > 0 => slice::from_raw_parts(array.elts.cast(), count),
            _ => &[],
        };
        for entry in entries {
            visit(bytes(entry.key), bytes(entry.val));
        }
    }
}
