//! Requests and a page to answer them, for whatever a fuzzer makes up.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a fuzz target reports by panicking")]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use plua::cache::chunk::Stamp;
use plua::engine::{Engine, Host, PageFile};
use plua::error::entry::Entry;
use plua::exchange::{Answer, Exchange, Head, Request};
use plua::settings::Settings;
use tempfile::TempDir;

/// The fields of a query or urlencoded form as the URL standard reads them, written without regard to speed.
#[must_use]
pub fn fields(encoded: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let halves = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        (decoded(&field[..end]), decoded(field.get(end + 1..).unwrap_or_default()))
    };
    encoded.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).map(halves).collect()
}

/// A text without its `%20` and `+`.
#[must_use]
pub fn decoded(text: &[u8]) -> Vec<u8> {
    let unspaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    unescaped(&unspaced)
}

/// A text without its `%20`; what is no valid escape stays.
#[must_use]
pub fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

/// A page and the engine that runs it.
pub struct Site {
    page: PathBuf,
    stamp: Stamp,
    host: Host,
    settings: Arc<Settings>,
    _folder: TempDir,
}

/// A request.
#[derive(Default, Clone)]
pub struct Sent {
    /// `GET` unless said.
    pub method: &'static str,
    /// Names and values of its headers.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Default, Clone, Debug)]
pub struct Seen {
    /// The status.
    pub status: u16,
    /// Status and headers, if the page answered itself.
    pub head: Option<Head>,
    /// The body.
    pub body: Vec<u8>,
}

impl Site {
    /// A site of one page.
    #[must_use]
    pub fn new(page: &str) -> Site {
        let folder = tempfile::tempdir().expect("no folder can be made");
        let settings = Settings::default();
        let path = folder.path().join("page.plua");
        fs::write(&path, page).expect("the page cannot be written");
        Site {
            stamp: Stamp::from(&path.metadata().expect("the page is gone")),
            page: path,
            host: Engine::new().host("fuzz", &settings).expect("no host"),
            settings: Arc::new(settings),
            _folder: folder,
        }
    }

    /// Asks the page, which must not fail.
    #[must_use]
    pub fn ask(&self, sent: Sent) -> Seen {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let exchange = Recorded { sent, taken: 0, seen: seen.clone() };
        let file = PageFile { path: &self.page, stamp: Some(self.stamp), settings: &self.settings };
        let answer = self.host.serve(file, Box::new(exchange));
        let seen = seen.lock().clone();
        assert!(answer == Answer::Sent && seen.status == 200, "{answer:?}, {}", String::from_utf8_lossy(&seen.body));
        seen
    }
}

impl Sent {
    /// The server's end of it, of which nothing is asked but what came in.
    #[must_use]
    pub fn into_exchange(self) -> Box<dyn Exchange> {
        Box::new(Recorded { sent: self, taken: 0, seen: Arc::default() })
    }
}

/// The server's end of a request.
struct Recorded {
    sent: Sent,
    taken: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Exchange for Recorded {
    fn request(&self) -> Request<'_> {
        let method = if self.sent.method.is_empty() { "GET" } else { self.sent.method };
        Request {
            method: method.as_bytes().into(),
            uri: b"/page.plua"[..].into(),
            unparsed_uri: b"/page.plua"[..].into(),
            ..Request::default()
        }
    }

    fn headers(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.sent.headers.iter().for_each(|(name, value)| visit(name.as_bytes(), value));
    }

    fn variables(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn read_body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.sent.body[self.taken..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }

    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        *self.seen.lock() = Seen { status: head.status, head: Some(head.clone()), body: body.to_vec() };
        Ok(())
    }

    fn send_head(&mut self, head: &Head) -> io::Result<()> {
        self.respond(head, b"")
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seen.lock().body.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn log(&mut self, _: Entry, _: &str) {}
}
