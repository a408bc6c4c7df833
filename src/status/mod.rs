//! What the server's processes have counted, shown where `SetHandler plua-status` stands, and in mod_status' own page.

mod column;
mod machine;
mod page;

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use plua::error::entry::Entry;
use plua::exchange::{Charset, Exchange, Head, HeaderChange};
use scoreboard::Snapshot;

use crate::child::Server;
use crate::exchange::ApExchange;
use crate::request::header;
use crate::{ffi, log, pool};

/// What is told of the server beside its counts.
pub(crate) struct About {
    version: &'static str,
    lua: &'static str,
    server: String,
    /// Where the status is asked for.
    path: String,
    /// Seconds since 1970.
    now: u64,
}

/// Answers a request with the status: OK, or the status httpd shall answer with.
///
/// # Safety
/// `r` is the live request of the calling thread, which httpd has let in; the exchange is over it.
pub(crate) unsafe fn answer(r: *mut ffi::request_rec, server: &Server, exchange: &mut ApExchange) -> c_int {
    // SAFETY: the caller's promise.
    let request = unsafe { &*r };
    // SAFETY: as above; texts of a request are C strings or null.
    let (query, rest) = unsafe { (pool::bytes(request.args), pool::bytes(request.path_info)) };
    let is_post = request.method_number == ffi::M_POST as c_int;
    match (is_post, rest) {
        (true, b"/reset-cache") => {}
        (true, _) | (false, b"/reset-cache") => return ffi::HTTP_METHOD_NOT_ALLOWED as c_int,
        (false, b"" | b"/") if request.method_number == ffi::M_GET as c_int => {}
        _ => return ffi::HTTP_NOT_FOUND as c_int,
    }
    // SAFETY: the caller's promise.
    let allowed = unsafe { is_allowed(r, is_post) };
    // Its authors would have all hosts work, as often as they like.
    let allowed = allowed.and(match is_post && server.settings.sandbox() {
        true => Err("plua-status/reset-cache is not for a host with pLuaSandbox On"),
        false => Ok(()),
    });
    if let Err(why) = allowed {
        // SAFETY: as above.
        unsafe { log::request(r, Entry::STATUS_REFUSED, why) };
        return ffi::HTTP_FORBIDDEN as c_int;
    }
    // SAFETY: as above; the path of the handler itself, without what follows it.
    let uri = unsafe { pool::bytes(request.uri) };
    let path = String::from_utf8_lossy(uri.strip_suffix(rest).unwrap_or(uri)).trim_end_matches('/').to_string();
    if is_post {
        // SAFETY: the caller's promise.
        let accept = unsafe { header(request, c"Accept") };
        return reset(server, exchange, &path, accept.unwrap_or_default());
    }
    let Some(snapshot) = snapshot(server) else { return ffi::HTTP_SERVICE_UNAVAILABLE as c_int };
    let about = About { path, ..about(server, exchange) };
    let (content_type, body) = match query {
        b"json" => ("application/json", machine::json(&about, &snapshot)),
        b"metrics" => (machine::METRICS_TYPE, machine::metrics(&about, &snapshot)),
        _ => ("text/html; charset=utf-8", page::page(&about, &snapshot, refresh(query))),
    };
    respond(exchange, 200, content_type, None, &body)
}

/// Has all processes compile anew; a browser goes back to the page it came from.
fn reset(server: &Server, exchange: &mut ApExchange, path: &str, accept: &[u8]) -> c_int {
    const PLAIN: &str = "text/plain; charset=utf-8";
    if let Some(counts) = server.counts {
        counts.board().reset();
    }
    if accept.windows(9).any(|part| part == b"text/html") {
        return respond(exchange, 303, PLAIN, Some(path), "");
    }
    let done = "All files are compiled anew: each Lua state is made anew before its next page.\n";
    respond(exchange, 200, PLAIN, None, done)
}

fn respond(exchange: &mut ApExchange, status: u16, content_type: &str, place: Option<&str>, body: &str) -> c_int {
    let mut headers = vec![HeaderChange::Set(b"Cache-Control".to_vec(), b"no-store".to_vec())];
    if let Some(place) = place {
        headers.push(HeaderChange::Set(b"Location".to_vec(), place.as_bytes().to_vec()));
    }
    let content_type = Cow::Owned(content_type.as_bytes().to_vec());
    let head = Head { status, status_chosen: true, content_type, charset: Charset::default(), headers };
    // A client that is gone needs no answer.
    let _ = exchange.respond(&head, body.as_bytes());
    ffi::OK as c_int
}

/// What mod_status is to show on its own page, or in its `?auto`; nothing where nothing is counted.
pub(crate) fn part(server: &Server, is_short: bool) -> Option<String> {
    let snapshot = snapshot(server)?;
    Some(if is_short { machine::lines(&snapshot) } else { page::part(&snapshot) })
}

/// What a server may see: all hosts, and in a sandbox itself, for its authors may have set the handler in a .htaccess.
fn snapshot(server: &Server) -> Option<Snapshot> {
    let counts = server.counts?;
    let mut snapshot = counts.board().snapshot();
    if server.settings.sandbox() {
        let own = counts.name();
        snapshot.hosts.retain(|host| host.name == own);
    }
    Some(snapshot)
}

fn about(server: &Server, exchange: &ApExchange) -> About {
    About {
        version: env!("CARGO_PKG_VERSION"),
        lua: plua::LUA,
        server: match exchange.request().server_banner {
            banner if banner.is_empty() => format!("Apache/{}", server.httpd_version),
            banner => String::from_utf8_lossy(&banner).into_owned(),
        },
        path: String::new(),
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

/// Whether the client may see and do this: one on this machine, or one whom a `Require` has let in by more than that all may.
///
/// # Safety
/// As [`answer`].
unsafe fn is_allowed(r: *mut ffi::request_rec, changes: bool) -> Result<(), &'static str> {
    // SAFETY: the caller's promise; the address is a C string.
    let (request, address) = unsafe { (&*r, pool::bytes((*r).useragent_ip)) };
    // SAFETY: as above.
    let says = |name: &CStr| unsafe { header(request, name) };
    // SAFETY: as above.
    let was_asked = unsafe { ffi::plua_was_asked(r) } != 0;
    // What a proxy of this machine passes on comes from elsewhere, whatever `Require local` makes of it.
    let is_passed_on = [c"X-Forwarded-For", c"Forwarded", c"X-Real-IP"].iter().any(|name| says(name).is_some());
    let is_proxied = is_here(address) && is_passed_on && request.user.is_null();
    if is_proxied || !was_asked && !is_here(address) {
        return Err("plua-status is for clients on this machine, and for those whom a Require lets in, such as \
                    'Require ip 192.0.2.0/24'; 'Require all granted' alone does not");
    }
    // Another site's page may have its visitor's browser send this.
    if changes
        && let Some(origin) = says(c"Origin")
        && !says(c"Host")
            .is_some_and(|host| origin.ends_with(host) && origin[..origin.len() - host.len()].ends_with(b"://"))
    {
        return Err("plua-status/reset-cache was asked for by a page of another site");
    }
    Ok(())
}

fn is_here(address: &[u8]) -> bool {
    let address = std::str::from_utf8(address).ok().and_then(|address| address.parse::<IpAddr>().ok());
    address.is_some_and(|address| address.to_canonical().is_loopback())
}

/// The seconds of `refresh=N`.
fn refresh(query: &[u8]) -> Option<u32> {
    let seconds = std::str::from_utf8(query.strip_prefix(b"refresh=")?).ok()?.parse().ok()?;
    (1..=86_400).contains(&seconds).then_some(seconds)
}
