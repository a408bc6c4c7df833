//! One request being answered by a page: all that page functions know of it.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use parking_lot::Mutex;

use crate::cache::chunk::Language;
use crate::error::entry::Entry;
use crate::error::report::Report;
use crate::error::{Error, ErrorKind};
use crate::exchange::facts::ProcessorTime;
use crate::exchange::held_file::{self, HeldFile};
use crate::exchange::{Exchange, HTML, Head, HeaderChange};
use crate::limits::bell::Bell;
use crate::limits::memory_limit::Room;
use crate::limits::time_limit::{End, ToTell};
use crate::network::opened::Opened;
use crate::reactor::{Alarm, Reactor};
use crate::request::body::Body;
use crate::request::database::Databases;
use crate::request::form::{self, Form};
use crate::request::keeping::Keeping;
use crate::request::query::Fields;
use crate::request::waits::Waits;
use crate::sandbox::confinement;
use crate::sandbox::forks;
use crate::settings::{Limits, Settings};

/// Where page functions find their request; empty between pages.
pub type Slot = Arc<Mutex<Option<Box<Visit>>>>;

/// Reports of one request that are logged, beside the one of the page itself.
const MOST_REPORTS: u32 = 100;

/// The settings that hold for a request.
#[derive(Clone)]
pub struct VisitSettings {
    /// Those of the page's directory.
    pub directory: Arc<Settings>,
    host: Arc<Settings>,
    limits: Limits,
}

impl VisitSettings {
    /// For a page in this directory of this host.
    #[must_use]
    pub fn new(directory: &Arc<Settings>, host: &Arc<Settings>) -> VisitSettings {
        VisitSettings { directory: directory.clone(), host: host.clone(), limits: host.limits_in(directory) }
    }

    /// Whether they are made of these very two.
    #[must_use]
    pub fn are_of(&self, directory: &Arc<Settings>, host: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.directory, directory) && Arc::ptr_eq(&self.host, host)
    }
}

/// A request, what the page made of its response so far, and the settings that hold for it.
///
/// It borrows nothing, so that another thread may go on with it.
pub struct Visit {
    /// The server's end.
    pub exchange: Box<dyn Exchange>,
    /// The page asked for.
    pub path: PathBuf,
    /// How many bytes of that are its folder.
    folder_length: usize,
    /// Settings of the page's directory.
    pub settings: Arc<Settings>,
    /// Settings of the host.
    pub host: Arc<Settings>,
    /// The limits of both together.
    pub limits: Limits,
    /// Bytes of the body that are out.
    pub sent: u64,
    /// Response so far.
    pub response: Response,
    /// Whether the visitor sees reports: `pLuaError`, or what the page said with `showErrors`.
    pub show_errors: bool,
    /// Number of the state, for pages that ask.
    pub state: u64,
    /// Requests this state has begun, this one included.
    pub run: u32,
    /// When the page must have ended.
    pub deadline: Option<End>,
    /// The last file that could not be loaded for the page: what its code was told, and the whole of it.
    pub load_error: Option<Box<(String, Error)>>,
    /// Database handles that must be looked after when the page has ended.
    pub databases: Databases,
    /// Whether Lua's own functions have opened files that must be closed when the page has ended.
    pub opens_files: bool,
    /// Whether it has started commands, which are known by the thread they were started in.
    pub runs_commands: bool,
    /// Whether the page has set a hook of its own.
    pub sets_hook: bool,
    /// Whether functions of the page's are to run when it has ended.
    pub ends_later: bool,
    /// Hints that were sent before the response.
    pub hints: u32,
    /// Reports of this request that are logged.
    reports: u32,
    /// Text of a panic in a page function.
    pub panic: Option<String>,
    /// The request's body, or why there is none, once it was asked for.
    pub body: Option<Box<Result<Body, Error>>>,
    /// The fields of the query, once a single one was asked for.
    query: Option<Box<Fields>>,
    /// The form in the body, once it was asked for. Its files go with it.
    pub form: Option<Box<Form>>,
    /// A file that the page has sent before anything else, which may stay all of it.
    pub held: Option<Box<HeldFile>>,
    /// What the page has changed that the next request would find so, for the state to be given up.
    pub changed: Option<Box<str>>,
    /// What the page waits for, once it has waited.
    pub waits: Option<Box<Waits>>,
    /// What it has open at other servers, once it has had something.
    pub opened: Option<Box<Opened>>,
    /// How its response is to be kept for other visitors.
    pub keeping: Option<Box<Keeping>>,
    /// Whether it is for one visitor alone.
    pub is_personal: bool,
    /// A kept answer that takes the place of the page's.
    pub kept: Option<Vec<u8>>,
    /// When it began, by [`now`](crate::limits::time_limit::now), where that is wanted.
    pub began: Option<u64>,
    /// Where its host counts.
    pub counts: Option<scoreboard::Host>,
    /// What is to be told of it when it takes long, while it waits.
    pub to_tell: Option<Box<ToTell>>,
    /// What its log wants to know.
    pub measured: Option<Box<ProcessorTime>>,
    /// Why a page function refused the request last. What few requests have lies elsewhere: each visit is made and moved.
    pub refusal: Option<Box<Error>>,
}

impl Visit {
    /// A visit of which nothing has happened.
    // What is on the stack here is gone when the page runs.
    #[inline(never)]
    #[must_use]
    pub fn new(exchange: Box<dyn Exchange>, path: PathBuf, settings: VisitSettings) -> Box<Visit> {
        let VisitSettings { directory: settings, host, limits } = settings;
        Box::new(Visit {
            exchange,
            folder_length: path.as_os_str().as_bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0),
            path,
            show_errors: settings.show_errors(),
            limits,
            sent: 0,
            response: Response::new(&settings),
            settings,
            host,
            state: 0,
            run: 0,
            deadline: None,
            load_error: None,
            databases: Databases::default(),
            opens_files: false,
            runs_commands: false,
            sets_hook: false,
            ends_later: false,
            hints: 0,
            reports: 0,
            panic: None,
            body: None,
            query: None,
            form: None,
            held: None,
            changed: None,
            waits: None,
            opened: None,
            keeping: None,
            is_personal: false,
            kept: None,
            began: None,
            counts: None,
            to_tell: None,
            measured: None,
            refusal: None,
        })
    }

    /// Those it has.
    #[must_use]
    pub fn its_settings(&self) -> VisitSettings {
        VisitSettings { directory: self.settings.clone(), host: self.host.clone(), limits: self.limits }
    }

    /// What is left of it for the next one.
    #[must_use]
    pub fn into_settings(self: Box<Visit>) -> VisitSettings {
        let Visit { settings: directory, host, limits, .. } = *self;
        VisitSettings { directory, host, limits }
    }

    /// The request's body, read when it is first asked for.
    ///
    /// # Errors
    /// What [`Body::read`] said then.
    pub fn body(&mut self) -> Result<&mut Body, Error> {
        let Visit { exchange, host, body, deadline, .. } = self;
        read_body(body, &mut **exchange, host, *deadline)
    }

    /// The fields of the query, decoded anew.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when there are more than `pLuaFields` allows.
    pub fn decoded_query(&self) -> Result<Fields, Error> {
        let query = self.exchange.request().query;
        Fields::decode(query.as_deref().unwrap_or_default(), self.limits.fields)
            .ok_or_else(|| form::too_many_fields("query", &self.limits))
    }

    /// The same, decoded when they are first asked for.
    ///
    /// # Errors
    /// As [`decoded_query`](Visit::decoded_query).
    pub fn query(&mut self) -> Result<&Fields, Error> {
        let query = match self.query.take() {
            Some(query) => query,
            None => self.decoded_query()?.into(),
        };
        Ok(self.query.insert(query))
    }

    /// The form in the body, read when it is first asked for; an empty one when the body holds none.
    ///
    /// # Errors
    /// What [`Form::read`] says.
    pub fn form(&mut self, room: Room<'_>) -> Result<&mut Form, Error> {
        let form = match self.form.take() {
            Some(form) => form,
            None => {
                let content_type = self.content_type();
                let Visit { exchange, host, body, limits, deadline, .. } = self;
                let (exchange, host, deadline) = (&mut **exchange, &**host, *deadline);
                Form::read(&content_type, limits, host.upload_folder(), room, move || {
                    read_body(body, exchange, host, deadline)
                })?
                .into()
            }
        };
        Ok(self.form.insert(form))
    }

    /// The request's `Content-Type`, or empty.
    fn content_type(&self) -> Vec<u8> {
        let mut found = None;
        self.exchange.headers(&mut |name, value| {
            if name.eq_ignore_ascii_case(b"Content-Type") {
                found.get_or_insert_with(|| value.to_vec());
            }
        });
        found.unwrap_or_default()
    }

    /// Keeps in mind why the request is refused; the message for the page.
    pub fn refuse(&mut self, error: Error) -> String {
        let message = error.message.clone();
        self.refusal = Some(error.into());
        message
    }

    /// Logs an error of a part of the page, which goes on: it may have endless ones.
    pub fn report(&mut self, error: &Error) {
        match self.reports.cmp(&MOST_REPORTS) {
            Ordering::Less => self.exchange.report(Report(error)),
            Ordering::Equal => self.exchange.log(Entry::MANY_REPORTS, "further reports of this request are not logged"),
            Ordering::Greater => return,
        }
        self.reports += 1;
    }

    /// An error of the page is of the kind of the refusal it reports.
    pub fn classify(&self, error: &mut Error) {
        if let Some(refusal) = &self.refusal
            && error.kind == ErrorKind::Runtime
            && error.message.ends_with(&refusal.message)
        {
            error.kind = refusal.kind;
        }
        if error.kind == ErrorKind::Runtime && error.message.ends_with("(pLuaPatternLimit)") {
            error.kind = ErrorKind::PatternLimit;
        }
        if error.kind == ErrorKind::Runtime && error.message.ends_with("(pLuaSession)") {
            error.kind = ErrorKind::Away;
        }
        if error.kind == ErrorKind::Runtime && error.message.ends_with("than the page may (pLuaTimeout)") {
            error.kind = ErrorKind::TimeLimit;
        }
        if error.kind == ErrorKind::Runtime && is_too_deep(error.message.as_bytes()) {
            error.kind = ErrorKind::DepthLimit;
        }
    }

    /// The folder of the page asked for.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match &self.path.as_os_str().as_bytes()[..self.folder_length] {
            [] => Path::new("/"),
            folder => Path::new(OsStr::from_bytes(folder)),
        }
    }

    /// The path that a name of the page's leads to, from its folder.
    ///
    /// # Errors
    /// What the page is told when that is outside `pLuaBaseDir`.
    pub fn reach(&self, name: impl AsRef<Path>) -> Result<PathBuf, String> {
        let (folder, name) = (self.folder(), name.as_ref());
        let mut path = PathBuf::with_capacity(folder.as_os_str().len() + name.as_os_str().len() + 1);
        path.push(folder);
        path.push(name);
        if !confinement::holds(&self.host) || self.is_own_upload(&path) {
            return Ok(path);
        }
        confinement::within(&self.host, &path)
    }

    /// The same for an entry of a folder that is to be removed or renamed, which may be a symbolic link.
    ///
    /// # Errors
    /// As [`reach`](Visit::reach).
    pub fn reach_entry(&self, name: impl AsRef<Path>) -> Result<PathBuf, String> {
        let path = self.folder().join(name);
        if self.is_own_upload(&path) {
            return Ok(path);
        }
        confinement::entry_within(&self.host, &path)
    }

    /// Whether this is a file that came with the request.
    #[must_use]
    pub fn is_own_upload(&self, path: &Path) -> bool {
        self.form.as_ref().is_some_and(|form| form.uploads.iter().any(|upload| upload.is_at(path)))
    }

    /// The bell that a page which waits in its thread waits at, and until when: it goes on in any case, or its time is over.
    #[must_use]
    pub fn awaited(&self) -> Option<(Arc<Bell>, Option<Instant>)> {
        let waits = self.waits.as_ref()?;
        let deadline = self.deadline.and_then(End::instant);
        Some((waits.bell.clone(), waits.until.into_iter().chain(deadline).min()))
    }

    /// What is rung for the page that waits without its thread, and when it goes on in any case.
    #[must_use]
    pub fn parked_at(&self) -> Option<(Arc<Bell>, Option<Instant>)> {
        let waits = self.waits.as_ref()?;
        let most = self.limits.wait;
        let limit =
            waits.parked_since.filter(|_| !most.is_zero()).map(|since| since + most.saturating_sub(waits.parked));
        Some((waits.bell.clone(), waits.until.into_iter().chain(limit).min()))
    }

    /// Has the reactor watch the client of the page that waits, if the page has asked for that.
    #[must_use]
    pub fn watch_client(&self, reactor: &Reactor) -> Option<Alarm> {
        let waits = self.waits.as_ref()?;
        reactor.ring_when_closed(self.exchange.connection()?, &waits.bell, waits.client_gone?).ok()
    }

    /// Time until the page must have ended; none without a limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(End::left)
    }

    /// Why the page failed after all: by a panic in a page function, `failed`, or because it caught the refusal of one past
    /// its time and ended before the watchdog came.
    pub fn failure(&mut self, failed: Option<Box<Error>>) -> Option<Box<Error>> {
        let panicked = self.panic.take().map(|panic| Error::new(ErrorKind::Internal, panic).into());
        panicked.or(failed).or_else(|| self.refusal.take().filter(|refusal| refusal.kind == ErrorKind::TimeLimit))
    }

    /// Whether so many bytes more would go over the output limit.
    #[must_use]
    pub fn is_too_much(&self, bytes: usize) -> bool {
        self.limits.output > 0 && self.sent + bytes as u64 > u64::from(self.limits.output) * 1024
    }

    /// Sends a piece of the body, and before the first the head and a file that is held.
    ///
    /// # Errors
    /// The exchange's, when the client is gone, and what [`stream_pieces`](Visit::stream_pieces) says of that file.
    pub fn stream(&mut self, bytes: &[u8]) -> io::Result<()> {
        forks::end_fork();
        if !self.response.head_sent {
            self.response.head_sent = true;
            self.response.announce_length();
            match self.condition() {
                Some(NOT_MODIFIED) => self.response.head.status = NOT_MODIFIED,
                failed => self.response.failed_condition = failed,
            }
            if self.response.failed_condition.is_none() {
                self.exchange.send_head(&self.response.head)?;
            }
        }
        if let Some(held) = self.held.take() {
            let size = held.size();
            self.stream_pieces(held.file.take(size))?;
        }
        self.write(bytes)
    }

    /// Sends what a file has left to read, once the head is out; how many bytes that are.
    ///
    /// # Errors
    /// The exchange's; [`io::ErrorKind::InvalidData`] for what cannot be read, [`io::ErrorKind::TimedOut`] at the page's
    /// time limit.
    pub fn stream_pieces(&mut self, file: impl Read) -> io::Result<u64> {
        held_file::pieces(file, |piece| match self.time_left() {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            _ => self.write(piece),
        })
    }

    /// Pushes out what was sent.
    ///
    /// # Errors
    /// The exchange's.
    pub fn flush(&mut self) -> io::Result<()> {
        // Nothing of the page is out where the server answers in its place.
        if self.response.failed_condition.is_some() { Ok(()) } else { self.exchange.flush() }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent += bytes.len() as u64;
        // The server answers in place of the page.
        if bytes.is_empty() || self.response.failed_condition.is_some() {
            return Ok(());
        }
        self.exchange.write(bytes)
    }

    /// What the request's own conditions make of a response whose page gives it a date or tag of its version: 304, 412, or
    /// nothing.
    pub fn condition(&mut self) -> Option<u16> {
        let Response { head, .. } = &self.response;
        let is_versioned = !head.headers.is_empty() && VERSIONS.iter().any(|name| head.header(name).is_some());
        (is_versioned && (200..300).contains(&head.status)).then(|| self.exchange.condition(head)).flatten()
    }

    /// Looks whether so many bytes more are too many for the `Content-Length` that the page has given.
    ///
    /// # Errors
    /// A sentence that says so.
    pub fn expect_length(&self, bytes: u64) -> Result<(), String> {
        let total = self.sent + self.held.as_ref().map_or(0, |held| held.size()) + bytes;
        match self.response.length {
            Some(length) if total > length => Err(length_mismatch(length, total)),
            _ => Ok(()),
        }
    }

    /// The error of the last file that could not be loaded, if that is what the message is about; with no message,
    /// it is.
    #[must_use]
    pub fn take_load_error(&mut self, message: Option<&[u8]>) -> Option<Error> {
        let (text, error) = *self.load_error.take()?;
        message.is_none_or(|message| message == text.as_bytes()).then_some(error)
    }

    /// All that decides, beside the host's settings, which file a name leads to and how that is read: no two such places
    /// have the same text.
    #[must_use]
    pub fn place(&self) -> Vec<u8> {
        let (syntax, raw) = self.settings.reading();
        let mut place = vec![u8::from(syntax.short_hand), u8::from(syntax.auto_escape)];
        if let Some(marks) = syntax.marks {
            for mark in [marks.open, marks.end] {
                place.push(mark.as_bytes().len() as u8);
                place.extend_from_slice(mark.as_bytes());
            }
        }
        for extension in raw {
            place.extend_from_slice(extension.as_bytes());
        }
        // No extension has a slash, and an absolute folder begins with one.
        place.extend_from_slice(self.folder().as_os_str().as_bytes());
        place
    }

    /// How a file becomes Lua in this directory.
    #[must_use]
    pub fn language(&self, path: &Path) -> Language {
        language(&self.settings, path)
    }
}

/// The body that is kept, or else read now.
///
/// # Errors
/// What [`Body::read`] said when it was read.
fn read_body<'b>(
    kept: &'b mut Option<Box<Result<Body, Error>>>,
    exchange: &mut dyn Exchange,
    host: &Settings,
    deadline: Option<End>,
) -> Result<&'b mut Body, Error> {
    let read = || Body::read(exchange, host.upload_folder(), deadline.and_then(End::instant)).into();
    kept.get_or_insert_with(read).as_mut().as_mut().map_err(|error| error.clone())
}

/// Whether an error says that calls or files are nested too deep, which ends the page and not only the file that did it.
#[must_use]
pub fn is_too_deep(message: &[u8]) -> bool {
    // Lua's words, nesting.lua's and composition.lua's.
    ["stack overflow", "nested more than"].iter().any(|words| memmem::find(message, words.as_bytes()).is_some())
}

/// How a file becomes Lua under these settings.
#[must_use]
pub fn language(settings: &Settings, path: &Path) -> Language {
    let (syntax, raw) = settings.reading();
    if !raw.is_empty() && settings.is_raw(path.file_name().map_or(&[], OsStr::as_bytes)) {
        Language::Raw
    } else {
        Language::Page(syntax)
    }
}

/// Whether a header sets the cookie that begins so.
fn is_cookie(header: &HeaderChange, begins: &[u8]) -> bool {
    header.name().eq_ignore_ascii_case(b"Set-Cookie") && header.value().starts_with(begins)
}

/// What a page is told whose `Content-Length` is not true.
#[must_use]
pub fn length_mismatch(length: u64, total: u64) -> String {
    format!("the page gives a Content-Length of {length}, but puts out {total} bytes")
}

/// Bytes that all headers of a page's response take at most, counted as HTTP/2 does, with 32 more for each (RFC 9113, section
/// 6.5.2). httpd's mod_http2 sends no more than 65,536 with its own.
pub const MOST_HEADERS: usize = 64_000;
const BESIDE_A_HEADER: usize = 32;

/// Headers by which clients know a version again.
pub const VERSIONS: [&str; 2] = ["ETag", "Last-Modified"];

/// Status of an answer without the body that the client has already.
pub const NOT_MODIFIED: u16 = 304;

/// The response a page builds: headers can change until the first byte is out.
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// A status whose page the server makes, chosen with `httpError`.
    pub server_page: Option<u16>,
    /// The `Content-Length` that the page gives.
    pub length: Option<u64>,
    /// How the cookie begins that tells of a session: it goes with the answer even where the page has failed.
    pub session_cookie: Option<Vec<u8>>,
    /// Whether the head is out.
    pub head_sent: bool,
    /// A status by which the server answers in place of a page that was being sent: none of it is out.
    pub failed_condition: Option<u16>,
}

impl Response {
    /// What a page begins with, under the settings of its directory.
    fn new(settings: &Settings) -> Response {
        Response {
            head: Head {
                status: 200,
                status_chosen: false,
                content_type: HTML.into(),
                charset: settings.charset().clone(),
                headers: Vec::new(),
            },
            server_page: None,
            length: None,
            session_cookie: None,
            head_sent: false,
            failed_condition: None,
        }
    }

    /// Makes a change to the headers. One that leaves no other value of its name takes the place of what was said of that before.
    ///
    /// # Errors
    /// A sentence when all together would be longer than [`MOST_HEADERS`].
    pub fn change(&mut self, change: HeaderChange) -> Result<(), String> {
        let headers = &mut self.head.headers;
        if let HeaderChange::Set(name, _) | HeaderChange::Remove(name) = &change {
            headers.retain(|before| !before.name().eq_ignore_ascii_case(name));
        }
        let size = |change: &HeaderChange| change.name().len() + change.value().len() + BESIDE_A_HEADER;
        if headers.iter().map(size).sum::<usize>() + size(&change) > MOST_HEADERS {
            return Err(format!("the headers of a response take no more than {MOST_HEADERS} bytes together"));
        }
        headers.push(change);
        Ok(())
    }

    /// Takes the cookie of the page's session, in the place of an earlier one; `begins` is its name and what parts that from its value.
    ///
    /// # Errors
    /// As [`change`](Response::change).
    pub fn set_session_cookie(&mut self, begins: Vec<u8>, cookie: Vec<u8>) -> Result<(), String> {
        self.head.headers.retain(|header| !is_cookie(header, &begins));
        self.session_cookie = Some(begins);
        self.change(HeaderChange::Add(b"Set-Cookie".to_vec(), cookie))
    }

    /// What of the headers goes with the answer where the page has failed.
    #[must_use]
    pub fn headers_of_failure(&self) -> Vec<HeaderChange> {
        let Some(begins) = &self.session_cookie else { return Vec::new() };
        self.head.headers.iter().filter(|header| is_cookie(header, begins)).cloned().collect()
    }

    /// Puts the length the page gives into the head of a body that is sent in pieces or not at all; the server counts
    /// others.
    pub fn announce_length(&mut self) {
        if let Some(length) = self.length {
            let change = HeaderChange::Set(b"Content-Length".to_vec(), length.to_string().into_bytes());
            self.head.headers.push(change);
        }
    }
}
