//! One request and the way to answer it: what a server offers the engine.
//!
//! Stands on `error` and `kept`. Knows no Lua and no httpd: the module and the command each make one.

pub mod facts;
pub(crate) mod held_file;
pub mod terminal;

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::mem;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use apr_dbd::Connection;

use crate::error::entry::Entry;
use crate::error::incident::Incident;
use crate::error::report::Report;
use crate::exchange::facts::PageFacts;
use crate::kept::address::Address;
use crate::kept::answer::PublicMark;
use crate::kept::{KeptPages, Making};

/// What a page can know of its request. All text is bytes as received: nothing here is proven UTF-8.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: Cow<'a, [u8]>,
    /// Decoded path with path info, without the query: `/a.plua/more`.
    pub uri: Cow<'a, [u8]>,
    /// Path and query as the client sent them.
    pub unparsed_uri: Cow<'a, [u8]>,
    /// The request line: `GET /a.plua HTTP/1.1`.
    pub line: Cow<'a, [u8]>,
    /// What follows the page in the path, or empty.
    pub path_info: Cow<'a, [u8]>,
    /// Text after `?`, still encoded.
    pub query: Option<Cow<'a, [u8]>>,
    /// Name of the virtual host.
    pub server_name: Cow<'a, [u8]>,
    /// The client's address, as mod_remoteip sees it.
    pub remote_address: Cow<'a, [u8]>,
    /// When the request was received, in microseconds since 1970.
    pub received: i64,
    /// What the server says of itself: `Apache/2.4.71 (Debian)`.
    pub server_banner: Cow<'a, [u8]>,
    /// The server's version alone: `2.4.71`.
    pub server_version: Cow<'a, [u8]>,
}

/// One change to the headers of a response, applied in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// The only value of that name from here on. Names compare without case.
    Set(Vec<u8>, Vec<u8>),
    /// One more value of that name.
    Add(Vec<u8>, Vec<u8>),
    /// No value of that name.
    Remove(Vec<u8>),
}

impl HeaderChange {
    /// The header's name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let (HeaderChange::Set(name, _) | HeaderChange::Add(name, _) | HeaderChange::Remove(name)) = self;
        name
    }

    /// Its value; empty for one that is removed.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self {
            HeaderChange::Set(_, value) | HeaderChange::Add(_, value) => value,
            HeaderChange::Remove(_) => &[],
        }
    }
}

/// Status and headers of a response. Names and values hold no CR, LF or NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 200 to 599.
    pub status: u16,
    /// Whether the page chose that itself: one that does not leaves it to the server, which may run it for an error.
    pub status_chosen: bool,
    /// The `Content-Type` as the page gave it, or [`HTML`].
    pub content_type: Cow<'static, [u8]>,
    /// The charset for that, where it names none.
    pub charset: Charset,
    /// Everything else, in the order the page asked for it.
    pub headers: Vec<HeaderChange>,
}

/// Headers that tell of the body they are sent with (RFC 9110, section 8, and RFC 6266); `Content-Type` is not among a
/// page's headers.
const OF_A_BODY: [&str; 7] = [
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Content-Disposition",
    "Content-MD5",
    "ETag",
    "Last-Modified",
];

/// The type of a page that gives none.
pub const HTML: &[u8] = b"text/html";

/// The charset of a response whose type is text and names none. Other types name their encoding otherwise, or have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Charset {
    /// What the server gives its own files, and UTF-8 where it says nothing of that.
    #[default]
    OfServer,
    /// None.
    Unnamed,
    /// This one.
    Named(Arc<str>),
}

impl Head {
    /// The last value the page gave a header, or none if it was not given or removed again.
    #[must_use]
    pub fn header(&self, wanted: &str) -> Option<&[u8]> {
        self.last_change(wanted).flatten()
    }

    /// Whether the page has given or removed a header.
    #[must_use]
    pub fn says(&self, wanted: &str) -> bool {
        self.last_change(wanted).is_some()
    }

    /// The page's headers without those that tell of its own body, for a body that takes its place.
    #[must_use]
    pub fn for_another_body(&mut self) -> Vec<HeaderChange> {
        let of_body = |change: &HeaderChange| {
            let (HeaderChange::Set(name, _) | HeaderChange::Add(name, _) | HeaderChange::Remove(name)) = change;
            OF_A_BODY.iter().any(|of_body| name.eq_ignore_ascii_case(of_body.as_bytes()))
        };
        let mut kept = mem::take(&mut self.headers);
        kept.retain(|change| !of_body(change));
        kept
    }

    fn last_change(&self, wanted: &str) -> Option<Option<&[u8]>> {
        self.headers.iter().rev().find_map(|change| {
            let (name, value) = match change {
                HeaderChange::Set(name, value) | HeaderChange::Add(name, value) => (name, Some(value.as_slice())),
                HeaderChange::Remove(name) => (name, None),
            };
            name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(value)
        })
    }

    /// The `Content-Type` in full, with this charset if it wants one.
    #[must_use]
    pub fn content_type_in(&self, charset: &str) -> Cow<'_, [u8]> {
        let (given, wanted) = (&*self.content_type, b"charset=");
        let has_charset = given.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted));
        match given.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/")) && !has_charset {
            true => [given, b"; charset=", charset.as_bytes()].concat().into(),
            false => given.into(),
        }
    }
}

/// How a request ended, told to the server that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The response is out.
    Sent,
    /// Nothing is out: the server makes its own page for this status (`ErrorDocument`), with these changes of its headers,
    /// such as `Location` and `Retry-After`.
    Status(u16, Vec<HeaderChange>),
    /// Bytes were out when the page failed: the connection must close unfinished.
    Aborted,
}

/// Makes exchanges for work that goes on without a request: nobody gets what it puts out.
pub type Background = Arc<dyn Fn() -> Box<dyn Exchange> + Send + Sync>;

/// Where the response to a request may be kept.
pub struct KeptPlace {
    /// The pages of the request's host.
    pub pages: KeptPages,
    /// The request's own address.
    pub address: Address,
    /// The page's file, and whatever else decides what runs for the request.
    pub file: Vec<u8>,
    /// Whether the server knows who asks, or the request says so.
    pub has_user: bool,
    /// The right to make it, where an old one waits to be made anew.
    pub making: Option<Box<Making>>,
}

/// What a server implements for one request.
///
/// The engine calls [`respond`](Exchange::respond) or [`respond_file`](Exchange::respond_file) once, or [`send_head`](Exchange::send_head) once and then
/// [`write`](Exchange::write) as often as it needs, or none of them and answers with a [`Answer::Status`].
pub trait Exchange: Send {
    /// What came in, without headers and body.
    fn request(&self) -> Request<'_>;
    /// Calls `visit(name, value)` for each request header, in the order received.
    fn headers(&self, visit: &mut dyn FnMut(&[u8], &[u8]));
    /// Calls `visit(name, value)` for each variable of the server's environment: `SetEnv`, CGI variables.
    fn variables(&mut self, visit: &mut dyn FnMut(&[u8], &[u8]));
    /// Whether the request may come with a body, as far as its head tells: such a one is read before a page runs.
    fn has_body(&self) -> bool {
        false
    }
    /// Reads the next bytes of the request's body, free of any transfer coding; 0 at its end and without one.
    ///
    /// # Errors
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) when the server's own limit does not allow so much,
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the client left before the end,
    /// [`TimedOut`](io::ErrorKind::TimedOut) when it sent nothing for too long,
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the transfer coding is broken.
    fn read_body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let _ = into;
        Ok(0)
    }
    /// Sends a whole response. A `HEAD` request gets the same head, with the body's length, and no body.
    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()>;
    /// Sends a file of that size as a whole response.
    fn respond_file(&mut self, head: &Head, file: File, size: u64) -> io::Result<()> {
        self.send_head(head)?;
        held_file::pieces(file.take(size), |piece| self.write(piece)).map(drop)
    }
    /// A tag by which clients may know this version of a file again, in quotes.
    fn tag_of(&mut self, path: &Path, facts: &Metadata) -> Option<Vec<u8>> {
        let _ = (path, facts);
        None
    }
    /// What the request's own conditions (`If-None-Match` and its kin) make of a response with this head: 304, 412, or none
    /// if it is to be sent.
    fn condition(&mut self, head: &Head) -> Option<u16> {
        let _ = head;
        None
    }
    /// Where the response to this request may be kept for other visitors; none where it must not be: another method than GET, a
    /// request with a body, or nothing that keeps it. For the request whose right to make it the place holds, once.
    fn kept_place(&mut self) -> Option<KeptPlace> {
        None
    }
    /// The whole `Content-Type` of a head, and whether the server must add no charset to that.
    fn full_content_type(&mut self, head: &Head) -> (Vec<u8>, bool) {
        (head.content_type_in("UTF-8").into_owned(), head.charset == Charset::Unnamed)
    }
    /// Who may have the response to this request without being asked: nobody, where it is not certain that everybody may.
    fn public_mark(&mut self) -> PublicMark {
        PublicMark::default()
    }
    /// Tells the client that parts of the response can be asked for.
    fn accept_ranges(&mut self) {}
    /// Sends status and headers of a response whose length is not known, or is in them.
    fn send_head(&mut self, head: &Head) -> io::Result<()>;
    /// Sends a piece of the body; an error means the client is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Pushes out what was written.
    fn flush(&mut self) -> io::Result<()>;
    /// Tells the client, before the response, what it will need: the value of a `Link` header. Whether that was sent.
    fn hint(&mut self, link: &[u8]) -> bool {
        let _ = link;
        false
    }
    /// Whether the client has left, or sends no more on its connection, as far as that can be known without sending to it.
    fn client_is_gone(&mut self) -> bool {
        false
    }
    /// Whether the client asks by https, as far as the server knows.
    fn is_secure(&self) -> bool {
        false
    }
    /// Whether a page that waits may give its thread up here, to go on later in whatever thread.
    fn can_park(&self) -> bool {
        false
    }
    /// The connection, where it can be watched for a client that leaves.
    fn connection(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// What work is done with that the page wants done without its request, as long as the server runs; none where nothing runs
    /// without one.
    fn background(&self) -> Option<Background> {
        None
    }
    /// Whether this request runs inside the answer of another page on the same thread, which waits for it.
    fn is_inside_another(&self) -> bool {
        false
    }
    /// Whether its log wants to know what its page has taken, which takes a moment to measure.
    fn wants_facts(&self) -> bool {
        false
    }
    /// Tells that, when the page has ended and before it is answered.
    fn tell(&mut self, facts: PageFacts) {
        let _ = facts;
    }
    /// Writes one entry to the server's error log, with the entry's code before this line.
    fn log(&mut self, entry: Entry, line: &str);
    /// A database connection that the server keeps, until the end of this request; what `dbopen("mod_dbd")` opens.
    ///
    /// # Errors
    /// A sentence for the page: why there is none.
    fn database(&mut self) -> Result<Connection, String> {
        Err("mod_dbd is not available here".into())
    }
    /// Notes the number of the failure that the request ends with, for the page that the server makes and for its logs.
    fn note_incident(&mut self, incident: Incident) {
        let _ = incident;
    }
    /// Tells whoever looks after the server that a page failed.
    fn report(&mut self, report: Report<'_>) {
        self.log(report.0.kind.entry(), &report.entry());
    }
}
