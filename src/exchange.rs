//! One request of httpd's, as the engine sees it.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use apr_dbd::Connection;
use plua::error::entry::Entry;
use plua::error::incident::Incident;
use plua::error::injection;
use plua::exchange::facts::PageFacts;
use plua::exchange::{Background, Charset, Exchange, HTML, Head, HeaderChange, KeptPlace, Request};
use plua::kept::Making;
use plua::kept::answer::PublicMark;

use crate::background::BackgroundExchange;
use crate::child::{Server, Serving};
use crate::request::{each, first};
use crate::{ffi, kept_pages, log, notes, pool};

const SENT: ffi::apr_status_t = ffi::APR_SUCCESS as ffi::apr_status_t;
const APR_OWN: ffi::apr_status_t = ffi::APR_OS_START_ERROR as ffi::apr_status_t;

/// The status of an answer to a client that has the body already.
const NOT_MODIFIED: u16 = ffi::HTTP_NOT_MODIFIED as u16;

/// A request while its handler runs.
pub(crate) struct ApExchange {
    r: NonNull<ffi::request_rec>,
    server: NonNull<Server>,
    has_variables: bool,
    has_body: bool,
    /// The right to make the page that is kept for the request anew.
    pub(crate) making: Option<Box<Making>>,
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
        ApExchange { r, server, has_variables: false, has_body: true, making: None }
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
            let status = c_int::from(head.status);
            // A page that httpd runs as ErrorDocument answers with the error unless it sets a status itself.
            let is_error_document = !(*r).prev.is_null() && (*r).status >= 400;
            if head.status_chosen || !is_error_document {
                (*r).status = status;
            }
            name_status(r, (*r).status);
            self.has_body = !matches!((*r).status, 204 | 304);
            ffi::ap_set_content_type(r, content_type(r, head));
            for change in &head.headers {
                apply(r, (*r).headers_out, change);
            }
        }
    }

    fn pass(&mut self, bytes: &[u8], tail: ffi::plua_tail) -> io::Result<()> {
        injection::panic_at("output");
        let bytes = if self.has_body { bytes } else { &[] };
        // SAFETY: promised to `new`; the shim is done with the bytes when it returns.
        outcome(unsafe { ffi::plua_pass(self.r.as_ptr(), bytes.as_ptr().cast(), bytes.len() as ffi::apr_size_t, tail) })
    }
}

/// What httpd's filters say.
fn outcome(status: ffi::apr_status_t) -> io::Result<()> {
    match status {
        SENT => Ok(()),
        // APR's numbers of system errors are the system's own; it has others above, and httpd's filters below.
        1..APR_OWN => Err(io::Error::from_raw_os_error(status)),
        _ => Err(io::Error::other(format!("httpd's filters refused it ({status})"))),
    }
}

/// What filters that compress put behind a page's tag, before its last quote: mod_deflate, mod_brotli and others.
const TAG_SUFFIXES: &[&[u8]] = &[b"-gzip", b"-br", b"-gunzip", b"-zstd"];

/// A list of tags with, for each that a filter has changed, the page's own; none if there is no such tag.
fn with_tags_of_pages(list: &[u8]) -> Option<Vec<u8>> {
    let mut all = list.to_vec();
    for tag in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let Some(rest) = tag.strip_suffix(b"\"") else { continue };
        for own in TAG_SUFFIXES.iter().filter_map(|suffix| rest.strip_suffix(*suffix)) {
            all.extend([b", ", own, b"\""].concat());
        }
    }
    (all.len() > list.len()).then_some(all)
}

impl Exchange for ApExchange {
    fn request(&self) -> Request<'_> {
        let r = self.record();
        // SAFETY: these texts are httpd's, C strings or null, and live as long as the request.
        let text = |text: *const c_char| Cow::Borrowed(unsafe { pool::bytes(text) });
        Request {
            method: text(r.method),
            uri: text(r.uri),
            // SAFETY: requests that httpd makes of others point to those, which live as long.
            unparsed_uri: text(unsafe { first(r) }.unparsed_uri),
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

    fn has_body(&self) -> bool {
        let r = self.record();
        // SAFETY: promised to `new`; values are C strings of the table's own.
        let header = |name: &CStr| unsafe { pool::bytes(ffi::apr_table_get(r.headers_in, name.as_ptr())) };
        // A part of another request has none, GET and HEAD have the one number and mostly none.
        r.main.is_null()
            && (r.method_number != ffi::M_GET as c_int
                || !matches!(header(c"Content-Length"), b"" | b"0")
                || !header(c"Transfer-Encoding").is_empty())
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
        if head.status == NOT_MODIFIED {
            // mod_deflate gives a response that has ended without a byte the page's tag, and not the one it made of it.
            self.flush()?;
        }
        // httpd's own filter sees the end with the body, and so sets Content-Length. A HEAD request takes this way too:
        // httpd drops the body itself, after the filters that change the length.
        self.pass(body, ffi::PLUA_END)
    }

    fn respond_file(&mut self, head: &Head, file: File, size: u64) -> io::Result<()> {
        self.take_head(head);
        if !self.has_body {
            return self.pass(&[], ffi::PLUA_END);
        }
        // SAFETY: promised to `new`; the shim makes a descriptor of its own.
        outcome(unsafe { ffi::plua_pass_file(self.r.as_ptr(), file.as_raw_fd(), size as ffi::apr_off_t) })
    }

    fn tag_of(&mut self, path: &Path, facts: &Metadata) -> Option<Vec<u8>> {
        let r = self.r.as_ptr();
        let modified = facts.mtime() * 1_000_000 + facts.mtime_nsec() / 1000;
        // SAFETY: promised to `new`; the path is copied into the request's pool, and so is the tag.
        let tag = unsafe {
            let path = pool::copy((*r).pool, path.as_os_str().as_bytes());
            pool::bytes(ffi::plua_tag_of(r, path, facts.size() as _, modified, facts.ino() as _))
        };
        (!tag.is_empty()).then(|| tag.to_vec())
    }

    fn condition(&mut self, head: &Head) -> Option<u16> {
        // SAFETY: promised to `new`.
        unsafe { condition(self.r.as_ptr(), head.header("ETag"), head.header("Last-Modified")) }
    }

    fn kept_place(&mut self) -> Option<KeptPlace> {
        let r = self.r.as_ptr();
        // SAFETY: promised to `new`.
        let kept = unsafe { self.server.as_ref() }.kept.as_ref().filter(|_| self.record().header_only == 0)?;
        // SAFETY: promised to `new`.
        let place = unsafe { kept_pages::place(r, kept) }?;
        Some(KeptPlace { making: self.making.take(), ..place })
    }

    fn full_content_type(&mut self, head: &Head) -> (Vec<u8>, bool) {
        // SAFETY: promised to `new`; the text is a constant or in the request's pool.
        let full = unsafe { pool::bytes(content_type(self.r.as_ptr(), head)) };
        (full.to_vec(), head.charset == Charset::Unnamed)
    }

    fn public_mark(&mut self) -> PublicMark {
        let r = self.r.as_ptr();
        // SAFETY: promised to `new`.
        unsafe {
            let generation = self.server.as_ref().kept.as_ref().map_or(0, |kept| kept.generation);
            let filters = if ffi::plua_is_public(r) != 0 { ffi::plua_filters(r) } else { 0 };
            PublicMark { generation, filters }
        }
    }

    fn accept_ranges(&mut self) {
        // SAFETY: promised to `new`.
        unsafe { ffi::ap_set_accept_ranges(self.r.as_ptr()) }
    }

    fn send_head(&mut self, head: &Head) -> io::Result<()> {
        self.take_head(head);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pass(bytes, ffi::PLUA_MORE)?;
        // Filters make the head of the first piece. HTTP/2's drop that alone, and the rest would be a body, which resets the
        // stream.
        self.has_body &= self.record().header_only == 0;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass(&[], ffi::PLUA_FLUSH)
    }

    fn hint(&mut self, link: &[u8]) -> bool {
        // SAFETY: promised to `new`; the text is in the request's pool.
        unsafe { ffi::plua_hint(self.r.as_ptr(), pool::copy((*self.r.as_ptr()).pool, link)) != 0 }
    }

    fn is_secure(&self) -> bool {
        // SAFETY: promised to `new`.
        unsafe { ffi::plua_is_secure(self.r.as_ptr()) != 0 }
    }

    fn client_is_gone(&mut self) -> bool {
        // SAFETY: promised to `new`.
        unsafe { ffi::plua_client_is_gone(self.r.as_ptr()) != 0 }
    }

    fn can_park(&self) -> bool {
        // SAFETY: promised to `new`. A page around this one stands on this thread's stack.
        Serving::depth() == 1 && unsafe { ffi::plua_can_park(self.r.as_ptr()) } != 0
    }

    fn connection(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: promised to `new`; httpd's descriptor stays open as long as the connection, and so the request.
        unsafe {
            let descriptor = ffi::plua_client_descriptor(self.r.as_ptr());
            (descriptor >= 0).then(|| BorrowedFd::borrow_raw(descriptor))
        }
    }

    fn wants_facts(&self) -> bool {
        // SAFETY: promised to `new`.
        unsafe { self.server.as_ref() }.wants_facts
    }

    fn tell(&mut self, facts: PageFacts) {
        // SAFETY: promised to `new`.
        unsafe { notes::set(self.r.as_ptr(), &facts) }
    }

    fn is_inside_another(&self) -> bool {
        Serving::depth() > 1
    }

    fn log(&mut self, entry: Entry, line: &str) {
        // SAFETY: promised to `new`.
        unsafe { log::request(self.r.as_ptr(), entry, line) }
    }

    fn note_incident(&mut self, incident: Incident) {
        // SAFETY: promised to `new`.
        unsafe { log::note_incident(self.r.as_ptr(), incident) }
    }

    fn background(&self) -> Option<Background> {
        let host = NonNull::new(self.record().server)?;
        // SAFETY: a host's record is httpd's for as long as its configuration, which a child process has but one of.
        let host = unsafe { BackgroundExchange::new(host) };
        Some(Arc::new(move || Box::new(host.clone())))
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

/// What the conditions of a request make of a response with this tag and date: 304, 412, or nothing.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn condition(r: *mut ffi::request_rec, tag: Option<&[u8]>, modified: Option<&[u8]>) -> Option<u16> {
    let (mut if_match, mut if_none_match) = (None, None);
    // SAFETY: the caller's promise; texts go into the request's pool.
    let status = unsafe {
        each((*r).headers_in, &mut |name, value| {
            if name.eq_ignore_ascii_case(b"If-Match") {
                if_match = if_match.take().or_else(|| with_tags_of_pages(value));
            } else if name.eq_ignore_ascii_case(b"If-None-Match") {
                if_none_match = if_none_match.take().or_else(|| with_tags_of_pages(value));
            }
        });
        let text = |text: Option<&[u8]>| match text {
            Some(text) => pool::copy((*r).pool, text).cast_const(),
            None => ptr::null(),
        };
        ffi::plua_condition(r, text(tag), text(modified), text(if_match.as_deref()), text(if_none_match.as_deref()))
    };
    u16::try_from(status).ok().filter(|status| *status != 0)
}

/// The `Content-Type` of a head, with its charset: in the pool of `r`, or a constant for that of most pages.
///
/// # Safety
/// `r` is a live request of the calling thread.
unsafe fn content_type(r: *mut ffi::request_rec, head: &Head) -> *const c_char {
    // SAFETY: the caller's promise.
    let (pool, httpd_adds) = unsafe { ((*r).pool, || ffi::plua_has_default_charset(r) != 0) };
    let full = match &head.charset {
        Charset::Named(name) => head.content_type_in(name),
        Charset::Unnamed => {
            // SAFETY: the caller's promise.
            unsafe { ffi::plua_suppress_charset(r) };
            Cow::Borrowed(&*head.content_type)
        }
        Charset::OfServer if httpd_adds() => Cow::Borrowed(&*head.content_type),
        Charset::OfServer if *head.content_type == *HTML => return c"text/html; charset=UTF-8".as_ptr(),
        Charset::OfServer => head.content_type_in("UTF-8"),
    };
    // SAFETY: the caller's promise.
    unsafe { pool::copy(pool, &full) }
}

/// Gives `r` the status line of `status`: without one, httpd answers 500 in place of a status it has no text for.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn name_status(r: *mut ffi::request_rec, status: c_int) {
    // SAFETY: the caller vouches for the request; the text is httpd's own or in the request's pool.
    unsafe { (*r).status_line = ffi::ap_get_status_line_ex((*r).pool, status) }
}

/// Makes these changes to the headers of the page that httpd makes for a failed request.
///
/// # Safety
/// `r` is a live request of the calling thread.
pub(crate) unsafe fn set_error_headers(r: *mut ffi::request_rec, headers: &[HeaderChange]) {
    for change in headers {
        let (HeaderChange::Set(name, _) | HeaderChange::Add(name, _) | HeaderChange::Remove(name)) = change;
        // SAFETY: the caller vouches for the request; texts go into its pool.
        unsafe {
            // httpd looks for the place a redirect goes to among the headers it otherwise drops (ap_die).
            let is_place = name.eq_ignore_ascii_case(b"Location");
            apply(r, if is_place { (*r).headers_out } else { (*r).err_headers_out }, change);
        }
    }
}

/// Makes a change to a table of headers. No other value of the name is left when it sets or removes one: not in the table of
/// headers either that httpd gives to errors as well.
///
/// # Safety
/// `r` is a live request of the calling thread, and `table` one of its own.
unsafe fn apply(r: *mut ffi::request_rec, table: *mut ffi::apr_table_t, change: &HeaderChange) {
    // SAFETY: the caller's promise; texts go into the request's pool.
    unsafe {
        let pool = (*r).pool;
        match change {
            HeaderChange::Add(name, value) => {
                ffi::apr_table_addn(table, pool::copy(pool, name), pool::copy(pool, value))
            }
            HeaderChange::Set(name, value) => {
                let name = pool::copy(pool, name);
                ffi::apr_table_unset((*r).err_headers_out, name);
                ffi::apr_table_setn(table, name, pool::copy(pool, value));
            }
            HeaderChange::Remove(name) => {
                let name = pool::copy(pool, name);
                ffi::apr_table_unset((*r).err_headers_out, name);
                ffi::apr_table_unset(table, name);
            }
        }
    }
}
