//! Answers requests with pages that are kept: before a request is mapped to a file, where everybody may have the page, and else in the
//! page's place, when httpd has let the request in.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::slice;

use plua::engine::answer_kept;
use plua::exchange::{Answer, Exchange};
use plua::kept::answer::{KeptAnswer, set_mark};
use plua::kept::{KeptPages, Looked};

use crate::exchange::{self, ApExchange};
use crate::kept_pages::{self, Kept};
use crate::request::{header, header_named};
use crate::{ffi, pool};

/// Answers a request with a page that everybody may have: DECLINED where there is none.
///
/// # Safety
/// `r` is the live request of the calling thread, which the client sent and nobody has looked at further.
pub(crate) unsafe fn quick(r: *mut ffi::request_rec, kept: &Kept) -> c_int {
    let declined = ffi::DECLINED;
    // SAFETY: the caller's promise.
    let (request, asked) = unsafe { (&*r, kept_pages::asked(&*r)) };
    // SAFETY: the caller's promise.
    let Some(asked) = asked.filter(|_| unsafe { header(request, c"Authorization") }.is_none()) else {
        return declined;
    };
    let is_public = |answer: &KeptAnswer<'_>| answer.mark.generation == kept.generation && answer.mark.filters != 0;
    if let Some(held) = kept.near.find(&asked, request.request_time) {
        // SAFETY: the caller's promise: it lies there as long as the request.
        let answer = unsafe { &pool::put(request.pool, held).as_ref().answer };
        if let Some(answer) = KeptAnswer::read(answer).filter(|answer| answer.is_fresh(request.request_time)) {
            // SAFETY: the caller's promise.
            return unsafe { answer_quickly(r, &answer) };
        }
    }
    let Some(address) = kept_pages::address(&asked) else { return declined };
    let own = address.clone();
    // SAFETY: the caller's promise: headers and pool are this thread's.
    let Looked { mut address, bytes } = unsafe {
        kept.pages.look(address, |name| header_named(request, name), |pages, key| in_pool(request.pool, pages, key))
    };
    let Some((bytes, answer)) = bytes.and_then(|bytes| Some((bytes, KeptAnswer::read(bytes)?))) else {
        // SAFETY: the caller's promise.
        unsafe { ffi::plua_set_missing(r) };
        return declined;
    };
    let is_fresh = answer.is_fresh(request.request_time);
    // An old one is for those who come while it is made anew.
    if !is_public(&answer) || !is_fresh && !kept.pages.is_made(&mut address) {
        return declined;
    }
    if is_fresh && address.is(&own) {
        kept.near.hold(&asked, bytes, request.request_time);
    }
    // SAFETY: the caller's promise; what the answer consists of lies in the request's pool.
    unsafe { answer_quickly(r, &answer) }
}

/// The bytes under a key, in the pool.
///
/// # Safety
/// The pool is live and this thread's for `'a`.
unsafe fn in_pool<'a>(pool: *mut ffi::apr_pool_t, pages: &KeptPages, key: &[u8]) -> Option<&'a [u8]> {
    let (start, length, at) = (Cell::new(ptr::null_mut::<u8>()), Cell::new(0), Cell::new(0));
    let begin = |wanted: usize| {
        // SAFETY: the caller's promise.
        start.set(unsafe { ffi::apr_palloc(pool, wanted as ffi::apr_size_t) }.cast());
        length.set(wanted);
        !start.get().is_null()
    };
    let is_found = pages.pieces(key, begin, |piece| {
        let before = at.replace(at.get() + piece.len());
        assert!(at.get() <= length.get(), "more bytes than were announced");
        // SAFETY: so many bytes are left of the new memory, as was just asked.
        unsafe { start.get().add(before).copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
    });
    // SAFETY: so many bytes were written there.
    (is_found && at == length).then(|| unsafe { slice::from_raw_parts(start.get(), length.get()) })
}

/// Answers a request in the place of its page; none where nothing is kept for it, and where it is to make that anew: then the
/// exchange holds the right to do so.
///
/// # Safety
/// `r` is the live request of the calling thread, and the exchange is over it.
pub(crate) unsafe fn in_place(
    r: *mut ffi::request_rec,
    kept: &Kept,
    exchange: &mut ApExchange,
    is_quick: bool,
) -> Option<Answer> {
    // SAFETY: the caller's promise.
    if !kept.pages.has_any() || unsafe { ffi::plua_is_missing(r) } != 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    let (request, place) = unsafe { (&*r, kept_pages::place(r, kept)?) };
    // SAFETY: the caller's promise.
    let looked = place.pages.look(place.address, |name| unsafe { header_named(request, name) }, KeptPages::copy);
    let (mut address, mut bytes) = (looked.address, looked.bytes?);
    let answer = KeptAnswer::read(&bytes)?;
    if answer.file.to_bytes() != place.file || place.has_user && !answer.is_for_users() {
        return None;
    }
    if !answer.is_fresh(request.request_time)
        && request.header_only == 0
        && let Some(making) = place.pages.begin_making(&address)
    {
        exchange.making = Some(making);
        return None;
    }
    // Kept under another configuration, which may have let in others.
    if is_quick && answer.mark.generation != kept.generation {
        set_mark(&mut bytes, exchange.public_mark());
        place.pages.replace(&mut address, &bytes);
    }
    answer_kept(exchange, &bytes)
}

/// Headers by which a client asks for an answer on a condition.
const CONDITIONS: [&CStr; 4] = [c"If-None-Match", c"If-Modified-Since", c"If-Match", c"If-Unmodified-Since"];

/// Answers a request with an answer that is for everybody: DECLINED where other filters would make something of it than made of
/// it what it was kept for.
///
/// # Safety
/// As [`quick`]; the answer's texts live as long as the request.
unsafe fn answer_quickly(r: *mut ffi::request_rec, answer: &KeptAnswer<'_>) -> c_int {
    // SAFETY: the caller's promise; all texts are C strings that live as long as the request.
    unsafe {
        if ffi::plua_insert_filters(r, answer.mark.filters) == 0 {
            return ffi::DECLINED;
        }
        let request = &mut *r;
        request.filename = answer.file.as_ptr().cast_mut();
        for (name, value, is_more) in answer.headers() {
            match is_more {
                true => ffi::apr_table_addn(request.headers_out, name.as_ptr(), value.as_ptr()),
                false => ffi::apr_table_setn(request.headers_out, name.as_ptr(), value.as_ptr()),
            }
        }
        ffi::apr_table_setn(
            request.headers_out,
            c"Age".as_ptr(),
            digits(request.pool, answer.age(request.request_time)),
        );
        ffi::ap_set_accept_ranges(r);
        if answer.is_charset_fixed() {
            ffi::plua_suppress_charset(r);
        }
        ffi::ap_set_content_type(r, answer.content_type.as_ptr());
        let mut body = answer.body;
        if CONDITIONS.iter().any(|name| header(request, name).is_some()) {
            let text = |name| answer.header(name).map(CStr::to_bytes);
            match exchange::condition(r, text("ETag"), text("Last-Modified")) {
                None => {}
                Some(status) if u32::from(status) == ffi::HTTP_NOT_MODIFIED => {
                    body = &[];
                    request.status = status.into();
                    exchange::name_status(r, request.status);
                    // As for the answer of a page: mod_deflate must see that something follows.
                    ffi::plua_pass(r, ptr::null(), 0, ffi::PLUA_FLUSH);
                }
                Some(status) => return status.into(),
            }
        }
        // A client that is gone needs no answer.
        ffi::plua_pass_kept(r, body.as_ptr().cast(), body.len() as ffi::apr_size_t);
    }
    ffi::OK as c_int
}

/// A number in digits.
///
/// # Safety
/// The pool is live and this thread's.
unsafe fn digits(pool: *mut ffi::apr_pool_t, number: i64) -> *const c_char {
    match number {
        0 => c"0".as_ptr(),
        // SAFETY: the caller's promise.
        number => unsafe { pool::copy(pool, number.to_string().as_bytes()) },
    }
}
