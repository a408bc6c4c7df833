//! The door between C and Rust: every function httpd or the shim calls, none of which a panic leaves.

use std::ffi::{OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use plua::cache::chunk::Stamp;
use plua::engine::{PageFile, Served};
use plua::error::entry::Entry;
use plua::error::injection;
use plua::exchange::Answer;

use crate::child::{self, Server, Serving};
use crate::directives::{Commands, Directory};
use crate::exchange::{self, ApExchange};
use crate::panics::caught;
use crate::{directives, ffi, log, names, notes, parking, pool, quick, status};

// Each has the type that plua_shim.h declares: an array holds one type.
const _: () = {
    let _ = [ffi::plua_rs_serve, plua_rs_serve];
    let _ = [ffi::plua_rs_quick, plua_rs_quick];
    let _ = [ffi::plua_rs_go_on, plua_rs_go_on];
    let _ = [ffi::plua_rs_lost, plua_rs_lost];
    let _ = [ffi::plua_rs_keeps_back, plua_rs_keeps_back];
    let _ = [ffi::plua_rs_check, plua_rs_check];
    let _ = [ffi::plua_rs_start_child, plua_rs_start_child];
    let _ = [ffi::plua_rs_end_pages, plua_rs_end_pages];
    let _ = [ffi::plua_rs_status, plua_rs_status];
    let _ = [ffi::plua_rs_status_part, plua_rs_status_part];
};

/// The module's directives.
pub(crate) static COMMANDS: Commands = Commands::new(set_directive);

/// Serves one request; see plua_shim.h.
///
/// # Safety
/// `r` is the live request of the calling thread; `server` and `directory` are the records made below, or null, and
/// outlive it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_serve(r: *mut ffi::request_rec, server: *mut c_void, directory: *mut c_void) -> c_int {
    caught(
        || {
            let _serving = Serving::begin();
            // SAFETY: the caller's promise.
            unsafe { serve(r, server.cast(), directory.cast()) }
        },
        |panic| {
            // SAFETY: the caller's promise: the request is as live as before.
            unsafe {
                log::failure(r, Entry::PANIC, panic);
                broken_off(r)
            }
        },
    )
}

/// # Safety
/// As [`plua_rs_serve`].
unsafe fn serve(r: *mut ffi::request_rec, server: *mut Server, directory: *mut Directory) -> c_int {
    injection::panic_at("request");
    // SAFETY: after a child's start nobody changes the records but the end of the child.
    let (server, directory) = unsafe { (server.as_ref(), directory.as_ref()) };
    let server = server.and_then(|server| Some((server, server.host.as_ref()?)));
    let directory = directory.and_then(Option::as_ref);
    let (Some((server, host)), Some(directory)) = (server, directory) else {
        let (entry, missing) = match directory {
            Some(_) => (Entry::NO_ENGINE, "this process has no engine: its start failed, see earlier entries"),
            None => (Entry::NO_SETTINGS, "internal error: the settings of this place could not be put together"),
        };
        // SAFETY: the caller's promise.
        unsafe { log::failure(r, entry, missing) };
        return ffi::HTTP_INTERNAL_SERVER_ERROR as c_int;
    };
    // SAFETY: the caller vouches for the request; its file name is a C string in its pool, which outlives this call.
    let (path, stamp) = unsafe { (pool::bytes((*r).filename), stamp(&(*r).finfo)) };
    let file = PageFile { path: Path::new(OsStr::from_bytes(path)), stamp, settings: directory };
    // SAFETY: the exchange is the engine's for this call only.
    let mut exchange = unsafe { ApExchange::new(NonNull::new_unchecked(r), NonNull::from(server)) };
    if let Some(kept) = &server.kept
        // SAFETY: the caller's promise.
        && let Some(answer) = unsafe { quick::in_place(r, kept, &mut exchange, directory.quick()) }
    {
        // SAFETY: the caller's promise.
        return unsafe { answered(r, answer) };
    }
    // SAFETY: the caller's promise.
    let root = unsafe { ffi::plua_document_root(r).as_ref() };
    // SAFETY: a C string that lives as long as the request.
    let site = root.map(|root| host.site(unsafe { pool::bytes(root) }));
    match site.as_ref().unwrap_or(host).begin(file, Box::new(exchange)) {
        // SAFETY: the caller's promise.
        Served::Answered(answer) => unsafe { answered(r, answer) },
        // SAFETY: the caller's promise.
        Served::Waits(page) => unsafe { parking::park(r, page).unwrap_or_else(|answer| answered(r, answer)) },
    }
}

/// Answers a request with a kept page; see plua_shim.h.
///
/// # Safety
/// As [`plua_rs_serve`], before httpd has mapped the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_quick(r: *mut ffi::request_rec, server: *mut c_void) -> c_int {
    // SAFETY: after a child's start nobody changes the record but the end of the child.
    let Some(server) = (unsafe { server.cast::<Server>().as_ref() }) else { return ffi::DECLINED };
    let Some(kept) = server.kept.as_ref().filter(|kept| kept.has_any()) else { return ffi::DECLINED };
    let wants_facts = server.wants_facts;
    caught(
        || {
            injection::panic_at("quick answer");
            // SAFETY: the caller's promise.
            let answered = unsafe { quick::quick(r, kept) };
            if answered != ffi::DECLINED && wants_facts {
                // SAFETY: the caller's promise.
                unsafe { notes::set_kept(r) };
            }
            answered
        },
        |panic| {
            // SAFETY: the caller's promise: the request is as live as before.
            unsafe {
                log::failure(r, Entry::PANIC, panic);
                broken_off(r)
            }
        },
    )
}

/// Answers a request with the server's status; see plua_shim.h.
///
/// # Safety
/// As [`plua_rs_serve`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_status(r: *mut ffi::request_rec, server: *mut c_void) -> c_int {
    caught(
        || {
            let Some(server) = NonNull::new(server.cast::<Server>()) else { return ffi::DECLINED };
            // SAFETY: the caller's promise; the exchange is used for this call only.
            unsafe {
                let mut exchange = ApExchange::new(NonNull::new_unchecked(r), server);
                status::answer(r, server.as_ref(), &mut exchange)
            }
        },
        |panic| {
            // SAFETY: the caller's promise: the request is as live as before.
            unsafe {
                log::failure(r, Entry::PANIC, panic);
                broken_off(r)
            }
        },
    )
}

/// What mod_status shows of this server's; see plua_shim.h.
///
/// # Safety
/// As [`plua_rs_serve`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_status_part(
    r: *mut ffi::request_rec,
    server: *mut c_void,
    is_short: c_int,
) -> *const c_char {
    // SAFETY: after a child's start nobody changes the record but the end of the child.
    let server = unsafe { server.cast::<Server>().as_ref() };
    let part = caught(|| server.and_then(|server| status::part(server, is_short != 0)), |_| None);
    // SAFETY: the caller's promise: the request and so its pool are live.
    part.map_or(ptr::null(), |part| unsafe { pool::copy((*r).pool, part.as_bytes()) })
}

/// Goes on with the page of a request; see plua_shim.h.
///
/// # Safety
/// `r` is the live request of the calling thread, whose page waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_go_on(r: *mut ffi::request_rec) -> c_int {
    caught(
        || {
            let _serving = Serving::begin();
            // SAFETY: the caller's promise.
            unsafe { parking::go_on(r).unwrap_or_else(|answer| answered(r, answer)) }
        },
        |panic| {
            // SAFETY: the caller's promise: the request is as live as before.
            unsafe {
                log::failure(r, Entry::PANIC, panic);
                broken_off(r)
            }
        },
    )
}

/// The descriptor of a request whose page waits is closed; see plua_shim.h.
///
/// # Safety
/// As [`plua_rs_go_on`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_lost(r: *mut ffi::request_rec) {
    // SAFETY: the caller's promise.
    caught(|| unsafe { parking::lost(r) }, |_| ());
}

/// What httpd is told of an answer.
///
/// # Safety
/// `r` is the live request of the calling thread.
unsafe fn answered(r: *mut ffi::request_rec, answer: Answer) -> c_int {
    match answer {
        Answer::Sent => ffi::OK as c_int,
        Answer::Status(status, headers) => {
            let status = c_int::from(status);
            // SAFETY: the caller's promise.
            unsafe {
                exchange::name_status(r, status);
                exchange::set_error_headers(r, &headers);
            }
            status
        }
        // SAFETY: the caller's promise.
        Answer::Aborted => unsafe { broken_off(r) },
    }
}

/// What to return for a response that cannot be finished: nothing more if the client has its beginning, else an error.
///
/// # Safety
/// `r` is the live request of the calling thread.
unsafe fn broken_off(r: *mut ffi::request_rec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if ffi::plua_break_off(r) != 0 {
            return ffi::OK as c_int;
        }
        let status = ffi::HTTP_INTERNAL_SERVER_ERROR as c_int;
        exchange::name_status(r, status);
        status
    }
}

/// What httpd's own `stat` said, if it said all of it.
fn stamp(file: &ffi::apr_finfo_t) -> Option<Stamp> {
    const NEEDED: u32 =
        ffi::APR_FINFO_MTIME | ffi::APR_FINFO_CTIME | ffi::APR_FINFO_SIZE | ffi::APR_FINFO_INODE | ffi::APR_FINFO_DEV;
    (file.valid as u32 & NEEDED == NEEDED).then_some(Stamp {
        device: file.device as _,
        inode: file.inode as _,
        size: file.size as _,
        modified: file.mtime,
        changed: file.ctime,
    })
}

/// Whether a file is neither run nor shown; see plua_shim.h.
///
/// # Safety
/// `r` is the live request of the calling thread, `directory` a record made below, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_keeps_back(r: *mut ffi::request_rec, directory: *mut c_void, is_page: c_int) -> c_int {
    // SAFETY: the caller's promise; the file's name is a C string.
    let (directory, path) = unsafe { (directory.cast::<Directory>().as_ref(), pool::bytes((*r).filename)) };
    // What could not be put together does not say Off.
    let runs_pages = directory.and_then(Option::as_ref).is_none_or(|settings| settings.engine());
    let reason = caught(|| names::why_kept_back(path, is_page != 0, runs_pages), |_| None);
    if let Some((entry, reason)) = reason {
        let line = format!("{}: {reason}", String::from_utf8_lossy(path));
        // SAFETY: the caller's promise.
        unsafe { log::request(r, entry, &line) };
    }
    reason.is_some().into()
}

/// Looks at the configuration of every server; see plua_shim.h.
///
/// # Safety
/// `main` is httpd's live main server and `pool` a live one; the process has one thread and has read its configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_check(
    pool: *mut ffi::apr_pool_t,
    main: *mut ffi::server_rec,
    is_first_reading: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    match caught(|| unsafe { child::check(pool, main, is_first_reading != 0) }, |panic| Err(panic.to_string())) {
        Ok(()) => ffi::OK as c_int,
        Err(sentence) => {
            // SAFETY: the caller's promise.
            unsafe { log::server(main, Entry::REFUSED_CONFIGURATION, &sentence) };
            ffi::HTTP_INTERNAL_SERVER_ERROR as c_int
        }
    }
}

/// Builds the engine of this process; see plua_shim.h. Without one, every request is answered 500.
///
/// # Safety
/// `pool` is the child's, `main` httpd's live main server, both until the last request; the process has one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_start_child(pool: *mut ffi::apr_pool_t, main: *mut ffi::server_rec) {
    // SAFETY: the caller's promise.
    if let Err(sentence) = caught(|| unsafe { child::start(pool, main) }, |panic| Err(panic.to_string())) {
        // SAFETY: the caller's promise.
        unsafe { log::server(main, Entry::NO_ENGINE_MADE, &sentence) };
    }
}

/// Stops the pages that run in this process; see plua_shim.h.
///
/// # Safety
/// `main` is httpd's live main server, whose child was started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plua_rs_end_pages(main: *mut ffi::server_rec) {
    // SAFETY: the caller's promise.
    caught(|| unsafe { child::end_pages(main) }, |_| ());
}

/// A directory's settings, none of them set; the record's `create_dir_config`.
///
/// # Safety
/// httpd calls it, with a live pool.
pub(crate) unsafe extern "C" fn create_directory(pool: *mut ffi::apr_pool_t, _path: *mut c_char) -> *mut c_void {
    // SAFETY: httpd's promise.
    unsafe { record(pool, || Directory::Some(Arc::default())) }
}

/// The settings of a directory inside another; the record's `merge_dir_config`.
///
/// # Safety
/// httpd calls it, with a live pool and two records of `create_directory`.
pub(crate) unsafe extern "C" fn merge_directory(
    pool: *mut ffi::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    // SAFETY: httpd's promise.
    unsafe {
        let merged = caught(
            || {
                injection::panic_at("merge");
                let (outer, inner) = (outer.cast::<Directory>().as_ref()?, inner.cast::<Directory>().as_ref()?);
                Some(Arc::new(outer.as_ref()?.narrowed(inner.as_ref()?)))
            },
            |_| None,
        );
        record(pool, || merged)
    }
}

/// A server's record with no setting set; the record's `create_server_config`.
///
/// # Safety
/// httpd calls it, with a live pool.
pub(crate) unsafe extern "C" fn create_server(pool: *mut ffi::apr_pool_t, _: *mut ffi::server_rec) -> *mut c_void {
    // SAFETY: httpd's promise.
    unsafe { record(pool, Server::default) }
}

/// A virtual host's record, from the main server's and its own; the record's `merge_server_config`.
///
/// # Safety
/// httpd calls it, with a live pool and two records of `create_server`, or null for what a panic made of one.
pub(crate) unsafe extern "C" fn merge_server(
    pool: *mut ffi::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    // SAFETY: httpd's promise.
    unsafe {
        let (outer, inner) = (outer.cast::<Server>().as_ref(), inner.cast::<Server>().as_ref());
        let (Some(outer), Some(inner)) = (outer, inner) else { return ptr::null_mut() };
        record(pool, || Server { settings: outer.settings.merged(&inner.settings), ..Server::default() })
    }
}

/// What `make` makes, owned by `pool`; null, which later readers allow for, after a panic.
///
/// # Safety
/// `pool` is live.
unsafe fn record<T>(pool: *mut ffi::apr_pool_t, make: impl FnOnce() -> T) -> *mut c_void {
    // SAFETY: the caller's promise.
    caught(|| unsafe { pool::put(pool, make()) }.as_ptr().cast(), |_| ptr::null_mut())
}

/// Takes one line of configuration: null, or a sentence in the line's pool; every command's function.
///
/// # Safety
/// httpd calls it, with what [`directives::apply`] asks for.
pub(crate) unsafe extern "C" fn set_directive(
    command: *mut ffi::cmd_parms,
    directory: *mut c_void,
    count: c_int,
    values: *const *mut c_char,
) -> *const c_char {
    // SAFETY: httpd's promise.
    let set =
        caught(|| unsafe { directives::apply(command, directory, count, values) }, |panic| Err(panic.to_string()));
    match set {
        Ok(()) => ptr::null(),
        // SAFETY: httpd's promise: the line's pool is live.
        Err(sentence) => unsafe { pool::copy((*command).pool, sentence.as_bytes()) },
    }
}
