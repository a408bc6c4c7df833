//! The engine of one process: the hosts it serves and the way in for a request.
//!
//! Stands on `api`, `cache`, `error`, `exchange`, `language`, `limits`, `reactor`, `request`, `sandbox`, `settings`, `shared` and
//! `state`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::api::LARGEST_BUFFERED;
use crate::cache::chunk::Stamp;
use crate::cache::loader::{self, LoadError};
use crate::error::entry::Entry;
use crate::error::incident::Incident;
use crate::error::report::Report;
use crate::error::{Error, ErrorKind, Frame};
use crate::exchange::held_file::HeldFile;
use crate::exchange::terminal::Terminal;
use crate::exchange::{Answer, Charset, Exchange, Head, HeaderChange};
use crate::language::dialect::{self, Difference};
use crate::limits::bell::{Bell, Waker};
use crate::limits::time_limit::{self, Watchdog};
use crate::reactor::background::Background;
use crate::reactor::{Alarm, Reactor};
use crate::request::body::Body;
use crate::request::facts;
use crate::request::kept_answer;
pub use crate::request::kept_answer::answer as answer_kept;
use crate::request::visit::{NOT_MODIFIED, Visit, language, length_mismatch};
use crate::sandbox::working_directory;
use crate::settings::Settings;
use crate::shared::Stores;

use crate::state::Outcome;
use crate::state::own_code::OwnCode;
use crate::state::parked::ParkedPage;
use crate::state::pool::{HostPool, Lent, PlaceInLine, Shape, StateGuard};
use crate::state::sites::{Site, Sites};

/// The file a request asks for.
#[derive(Clone, Copy)]
pub struct PageFile<'a> {
    /// Absolute path, if the page is to run.
    pub path: &'a Path,
    /// What the server's own `stat` of it said, if it made one for this request.
    pub stamp: Option<Stamp>,
    /// The settings that hold in the file's directory; the host's are in the [`Host`].
    pub settings: &'a Arc<Settings>,
}

impl PageFile<'_> {
    /// Compiles the file and runs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Read`] or [`ErrorKind::Compile`], the error a request for the page would report.
    pub fn check(&self) -> Result<(), Error> {
        loader::check(self.path, language(self.settings, self.path)).map_err(|error| self.error(error))
    }

    /// The Lua that the file becomes, line by line, whether it compiles or not.
    ///
    /// # Errors
    /// [`ErrorKind::Read`].
    pub fn translate(&self) -> Result<Vec<u8>, Error> {
        loader::translate(self.path, language(self.settings, self.path)).map_err(|error| self.error(error))
    }

    /// What the file has that is not the same in all builds.
    ///
    /// # Errors
    /// [`ErrorKind::Read`].
    pub fn differences(&self) -> Result<Vec<Difference>, Error> {
        self.translate().map(|lua| dialect::differences(&lua))
    }

    fn error(&self, error: LoadError) -> Error {
        error.into_error(self.path)
    }
}

/// All hosts of one process. Cheap to make; threads share it.
#[derive(Default)]
pub struct Engine {
    pools: Mutex<HashMap<(String, Shape), Pools>>,
    watchdog: Arc<OnceLock<Watchdog>>,
    reactor: Arc<Reactor>,
    background: Arc<Background>,
    own_code: Arc<OwnCode>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Work that goes on without a request ends with the process.
        if let Some(watchdog) = self.watchdog.get().filter(|_| self.background.has_begun()) {
            watchdog.end_pages();
        }
        self.background.end();
    }
}

impl Engine {
    /// An engine without hosts.
    #[must_use]
    pub fn new() -> Engine {
        Engine::default()
    }

    /// The same, for hosts whose states take from `own_code` what is compiled there already.
    #[must_use]
    pub fn with(own_code: Arc<OwnCode>) -> Engine {
        let mut engine = Engine::default();
        engine.own_code = own_code;
        engine
    }

    /// The host of that name, with stores in memory of its own. Hosts of one name share their states unless a setting that
    /// shapes the pool differs; with `pLuaMultiDomain 0` all names are one.
    ///
    /// # Errors
    /// A sentence when the settings ask for what this build cannot keep.
    pub fn host(&self, name: &str, settings: &Settings) -> Result<Host, String> {
        self.host_with(name, settings, &Stores::in_new_memory(name, settings)?, None)
    }

    /// The same with stores that others have too, and counted on a scoreboard.
    ///
    /// # Errors
    /// As [`host`](Engine::host).
    pub fn host_with(
        &self,
        name: &str,
        settings: &Settings,
        stores: &Stores,
        counts: Option<scoreboard::Host>,
    ) -> Result<Host, String> {
        if !settings.limits().timeout.is_zero() {
            time_limit::self_check()?;
        }
        let name = if settings.multi_domain() { name.to_ascii_lowercase() } else { String::new() };
        let Pools { own, sites } = self
            .pools
            .lock()
            .entry((name.clone(), Shape::new(settings, stores)))
            .or_insert_with(|| {
                let (settings, watchdog, own_code) = (settings.clone(), self.watchdog.clone(), self.own_code.clone());
                let (reactor, stores) = (self.reactor.clone(), stores.clone());
                let most = settings.sites();
                let background = self.background.clone();
                let make = move |stores| {
                    let (watchdog, reactor, background) = (watchdog.clone(), reactor.clone(), background.clone());
                    HostPool::new(&settings, watchdog, reactor, background, own_code.clone(), stores, counts)
                };
                let own = make(stores.clone());
                Pools { own, sites: Arc::new(Sites::new(most, move |root| make(stores.of_site(root)))) }
            })
            .clone();
        Ok(Host {
            name: name.into(),
            pool: own,
            sites,
            settings: Arc::new(settings.clone()),
            reactor: self.reactor.clone(),
        })
    }
}

/// Those of hosts with one name and shape.
#[derive(Clone)]
struct Pools {
    own: Arc<HostPool>,
    sites: Arc<Sites>,
}

/// One host: its settings and its pool of states.
#[derive(Clone)]
pub struct Host {
    name: Arc<str>,
    pool: Arc<HostPool>,
    sites: Arc<Sites>,
    settings: Arc<Settings>,
    reactor: Arc<Reactor>,
}

impl Host {
    /// The host for a request with a document root other than the host's own: a site, which shares no states with another
    /// one. With `pLuaMultiDomain 0` it is the host itself.
    #[must_use]
    pub fn site(&self, root: &[u8]) -> Host {
        if !self.settings.multi_domain() {
            return self.clone();
        }
        let Site { name, pool } = self.sites.site(root, &self.name);
        Host { name, pool, ..self.clone() }
    }

    /// Runs a page and answers its request, where no page gives its thread up.
    ///
    /// # Panics
    /// Where the exchange [can park](Exchange::can_park).
    pub fn serve(&self, file: PageFile<'_>, exchange: Box<dyn Exchange>) -> Answer {
        match self.begin(file, exchange) {
            Served::Answered(answer) => answer,
            Served::Waits(_) => unreachable!("the exchange parks no page"),
        }
    }

    /// Runs, as one page with the folder of `path`, what comes from a terminal, and answers its request. The state is of no use to
    /// others then.
    ///
    /// # Panics
    /// Where the exchange [can park](Exchange::can_park).
    pub fn converse(
        &self,
        path: &Path,
        settings: &Arc<Settings>,
        mut exchange: Box<dyn Exchange>,
        terminal: &Arc<dyn Terminal>,
    ) -> Answer {
        let lent = self.pool.lend(None).and_then(|mut state| state.open_terminal(terminal).map(|()| state));
        let mut state = match lent {
            Ok(state) => state,
            Err(error) => return Answer::Status(told(&mut *exchange, error, path).kind.status(), Vec::new()),
        };
        let settings = state.settings_in(settings, &self.settings);
        match state.run(Visit::new(exchange, path.to_owned(), settings), None, conclude) {
            Some(answer) => answer,
            None => unreachable!("the exchange parks no page"),
        }
    }

    /// Runs a page until its request is answered, or until it waits without its thread.
    pub fn begin(&self, file: PageFile<'_>, mut exchange: Box<dyn Exchange>) -> Served {
        if self.settings.limits().timeout.is_zero()
            && !self.settings.limits_in(file.settings).timeout.is_zero()
            && let Err(sentence) = time_limit::self_check()
        {
            told(&mut *exchange, Error::new(ErrorKind::Internal, sentence), file.path);
            return Served::Answered(Answer::Status(ErrorKind::Internal.status(), Vec::new()));
        }
        // Its client may take long to send it, and has no state meanwhile.
        let body = match exchange.has_body().then(|| self.pool.waiting()) {
            None => None,
            Some(Err(error)) => {
                told(&mut *exchange, error, file.path);
                return Served::Answered(Answer::Status(ErrorKind::Internal.status(), Vec::new()));
            }
            Some(Ok(waiting)) => {
                let body = Body::read(&mut *exchange, self.settings.upload_folder(), None);
                if waiting.server_stops() {
                    return Served::Answered(Answer::Status(ErrorKind::ServerStop.status(), Vec::new()));
                }
                Some(body)
            }
        };
        let pending = Pending {
            path: Cow::Borrowed(file.path),
            stamp: file.stamp,
            settings: Cow::Borrowed(file.settings),
            exchange,
            body,
        };
        let lent = match self.pool.lend_at_once() {
            Some(lent) => lent.map(Lent::Now),
            None if pending.exchange.is_inside_another() => self.pool.lend(None).map(Lent::Now),
            None if pending.exchange.can_park() => self.pool.lend_or_line_up(self.settings.state_wait()),
            None => self.pool.lend(Some(self.settings.state_wait())).map(Lent::Now),
        };
        match lent {
            Ok(Lent::Now(state)) => self.run(state, pending),
            Ok(Lent::Later(place)) => Served::Waits(WaitingPage {
                host: self.clone(),
                alarm: None,
                watch: None,
                stage: Stage::InLine(place, Box::new(pending.into_owned())),
            }),
            Err(error) => Served::Answered(self.refuse(error, pending)),
        }
    }

    /// Runs a page in a state that it has got.
    fn run(&self, mut state: StateGuard<'_>, pending: Pending<'_>) -> Served {
        let Pending { path, stamp, settings, mut exchange, body } = pending;
        let inside = exchange.is_inside_another();
        if state.runs() == 0 && self.settings.log_level() >= 2 {
            self.log_new_state(state.number(), &mut *exchange);
        }
        let settings = state.settings_in(&settings, &self.settings);
        let mut visit = Visit::new(exchange, path.into_owned(), settings);
        visit.body = body.map(Box::new);
        // The page around this one goes on in its own folder.
        let folder = if inside { env::current_dir().ok() } else { None };
        let answer = state.run(visit, stamp, conclude);
        if let Some(folder) = folder {
            working_directory::enter(&folder);
        }
        match answer {
            Some(answer) => Served::Answered(answer),
            None => Served::Waits(WaitingPage {
                host: self.clone(),
                alarm: None,
                watch: None,
                stage: Stage::Runs(state.into_parked(&self.pool)),
            }),
        }
    }

    /// The answer where there is no state for a page.
    fn refuse(&self, error: Error, mut pending: Pending<'_>) -> Answer {
        let error = told(&mut *pending.exchange, error, &pending.path);
        self.pool.count_refused(error.kind);
        let mut headers = Vec::new();
        if error.kind == ErrorKind::NoState {
            let seconds = self.settings.state_wait().as_secs().max(1);
            headers.push(HeaderChange::Set(b"Retry-After".to_vec(), seconds.to_string().into_bytes()));
        }
        Answer::Status(error.kind.status(), headers)
    }

    /// Stops all pages that run in the engine, of other hosts too, and those that begin from here on: the server stops and
    /// waits for none.
    pub fn end_pages(&self) {
        self.pool.end_pages();
    }

    fn log_new_state(&self, number: u64, exchange: &mut dyn Exchange) {
        let host = if self.name.is_empty() { "all hosts" } else { &self.name };
        if self.pool.is_first(number) {
            exchange.log(Entry::POOL_MADE, &format!("pool of {host} made, {} states at most", self.settings.states()));
        }
        if self.settings.log_level() >= 3 {
            exchange.log(Entry::STATE_MADE, &format!("state {number} of {host} made"));
        }
    }
}

/// What became of a request for now.
pub enum Served {
    /// It is answered.
    Answered(Answer),
    /// Its page waits, and no thread with it.
    Waits(WaitingPage),
}

/// A request whose page has no state yet.
struct Pending<'a> {
    path: Cow<'a, Path>,
    stamp: Option<Stamp>,
    settings: Cow<'a, Arc<Settings>>,
    exchange: Box<dyn Exchange>,
    body: Option<Result<Body, Error>>,
}

/// A page that waits without a thread, in its state or for one. Dropping it ends the page, whose request must still be there.
#[must_use]
pub struct WaitingPage {
    host: Host,
    alarm: Option<Alarm>,
    /// For a page that has asked to be told when its client leaves.
    watch: Option<Alarm>,
    stage: Stage,
}

impl Pending<'_> {
    fn into_owned(self) -> Pending<'static> {
        let Pending { path, stamp, settings, exchange, body } = self;
        let (path, settings) = (Cow::Owned(path.into_owned()), Cow::Owned(settings.into_owned()));
        Pending { path, stamp, settings, exchange, body }
    }
}

enum Stage {
    InLine(PlaceInLine, Box<Pending<'static>>),
    Runs(ParkedPage),
}

impl WaitingPage {
    /// Calls `waker`, once and from whatever thread, when the page may go on, and after so long at the latest.
    ///
    /// # Errors
    /// The system's, where it gives no thread for the clock.
    pub fn when_ready(&mut self, longest: Duration, waker: Waker) -> io::Result<()> {
        let Some((bell, until)) = self.waits_for() else {
            waker();
            return Ok(());
        };
        let latest = Instant::now() + longest;
        self.alarm = Some(self.host.reactor.call_at(&bell, until.map_or(latest, |until| until.min(latest)))?);
        if let (Stage::Runs(state), None) = (&self.stage, &self.watch) {
            self.watch = state.watch_client(&self.host.reactor);
        }
        bell.when_rung(waker);
        Ok(())
    }

    fn waits_for(&self) -> Option<(Arc<Bell>, Option<Instant>)> {
        match &self.stage {
            Stage::InLine(place, _) => {
                let (bell, until) = place.waits_for();
                Some((bell.clone(), Some(until)))
            }
            Stage::Runs(state) => state.parked_at(),
        }
    }

    /// Whether the page has something to go on with, or its time to wait is over: else it was only `longest`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let Some((bell, until)) = self.waits_for() else { return true };
        let has_events = bell.has_events();
        match &self.stage {
            Stage::InLine(place, _) => place.is_ready(),
            Stage::Runs(page) => has_events || page.has_seat() || until.is_some_and(|until| until <= Instant::now()),
        }
    }

    /// Waits in this thread until the page may go on.
    pub fn wait(&self) {
        if let Some((bell, until)) = self.waits_for() {
            bell.wait_until(until);
        }
    }

    /// Goes on with it in this thread, when it [is ready](WaitingPage::is_ready).
    pub fn go_on(self) -> Served {
        let WaitingPage { stage, host, alarm, watch } = self;
        drop((alarm, watch));
        match stage {
            Stage::Runs(state) => match state.go_on(conclude) {
                Ok(answer) => Served::Answered(answer),
                Err(state) => Served::Waits(WaitingPage { stage: Stage::Runs(state), host, alarm: None, watch: None }),
            },
            Stage::InLine(place, pending) => match place.take(&host.pool) {
                Ok(state) => host.run(state, *pending),
                Err(error) => Served::Answered(host.refuse(error, *pending)),
            },
        }
    }
}

/// Answers a request with what became of its page.
fn conclude(visit: &mut Visit, outcome: Outcome<'_>) -> Answer {
    match outcome {
        Outcome::Done(body) => done(visit, body),
        Outcome::Failed(error) => failed(visit, *error),
        Outcome::Unreadable(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Answer::Status(404, Vec::new()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                visit.exchange.log(Entry::UNREADABLE, &format!("{}: {error}", visit.path.display()));
                Answer::Status(403, Vec::new())
            }
            _ => failed(visit, Error::new(ErrorKind::Read, error.to_string())),
        },
    }
}

fn done(visit: &mut Visit, body: &[u8]) -> Answer {
    if let Some(kept) = visit.kept.take()
        && let Some(answer) = kept_answer::answer(&mut *visit.exchange, &kept)
    {
        return answer;
    }
    if let Some(status) = visit.response.failed_condition {
        return of_server(visit, status);
    }
    if let (Some(status), false) = (visit.response.server_page, visit.response.head_sent) {
        return of_server(visit, status);
    }
    match wrong_length(visit, body) {
        Some(total) if total == 0 && has_no_body(visit) => visit.response.announce_length(),
        Some(total) => {
            let message = length_mismatch(visit.response.length.unwrap_or_default(), total);
            return failed(visit, Error::new(ErrorKind::Runtime, message));
        }
        None => {}
    }
    let held = visit.held.take();
    match held {
        Some(file) if body.is_empty() && !visit.response.head_sent => return whole_file(visit, *file),
        Some(file) if file.size() <= LARGEST_BUFFERED => match file.bytes() {
            Ok(bytes) => return respond(visit, &[&bytes, body].concat()),
            Err(error) => return failed(visit, Error::new(ErrorKind::Read, format!("a file cannot be sent: {error}"))),
        },
        held => visit.held = held,
    }
    if !visit.response.head_sent && visit.held.is_none() {
        return respond(visit, body);
    }
    match visit.stream(body) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            failed(visit, Error::new(ErrorKind::Read, error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            failed(visit, Error::new(ErrorKind::TimeLimit, "a file took too long to send (timed out)!"))
        }
        // A client that is gone needs no answer.
        _ => match visit.response.failed_condition {
            Some(status) => of_server(visit, status),
            None => Answer::Sent,
        },
    }
}

/// The server's own page for a status, with the headers that the page has set.
fn of_server(visit: &mut Visit, status: u16) -> Answer {
    Answer::Status(status, visit.response.head.for_another_body())
}

/// Answers with a body that is whole, unless the request's conditions say otherwise.
fn respond(visit: &mut Visit, body: &[u8]) -> Answer {
    if visit.keeping.is_some() {
        visit.keep(body);
    }
    match visit.condition() {
        Some(NOT_MODIFIED) => {
            visit.response.head.status = NOT_MODIFIED;
            let _ = visit.exchange.respond(&visit.response.head, &[]);
        }
        Some(status) => return of_server(visit, status),
        None => _ = visit.exchange.respond(&visit.response.head, body),
    }
    Answer::Sent
}

/// Answers with a file and nothing else. Its date and tag tell its version where the page says nothing of that.
fn whole_file(visit: &mut Visit, file: HeldFile) -> Answer {
    let Visit { exchange, response, keeping, .. } = visit;
    // Files are the server's to send, and not to be kept in memory.
    *keeping = None;
    let head = &mut response.head;
    if head.status == 200 {
        let date = file.facts.modified().ok().map(|modified| httpdate::fmt_http_date(modified.min(SystemTime::now())));
        if let Some(date) = date.filter(|_| !head.says("Last-Modified")) {
            head.headers.push(HeaderChange::Set(b"Last-Modified".to_vec(), date.into_bytes()));
        }
        if !head.says("ETag")
            && let Some(tag) = exchange.tag_of(&file.path, &file.facts)
        {
            head.headers.push(HeaderChange::Set(b"ETag".to_vec(), tag));
        }
    }
    if visit.condition().is_some() {
        return respond(visit, &[]);
    }
    let size = file.size();
    let _ = visit.exchange.respond_file(&visit.response.head, file.file, size);
    Answer::Sent
}

/// How many bytes the page puts out if that is not the `Content-Length` that it gives.
fn wrong_length(visit: &Visit, rest: &[u8]) -> Option<u64> {
    let length = visit.response.length?;
    let total = visit.sent + visit.held.as_ref().map_or(0, |held| held.size()) + rest.len() as u64;
    (total != length).then_some(total)
}

/// Whether the response has none, so that the page may tell the length of the body it would have.
fn has_no_body(visit: &Visit) -> bool {
    matches!(visit.response.head.status, 204 | NOT_MODIFIED) || *visit.exchange.request().method == *b"HEAD"
}

/// Tells of the failure that a request ends with. The error, with its incident and, if it has no place that tells it, the name of
/// its page.
fn told(exchange: &mut dyn Exchange, mut error: Error, page: &Path) -> Error {
    if error.place.is_none() && error.frames.is_empty() {
        error.frames.push(Frame { what: format!("page {}", page.display()), at: None, is_file: false });
    }
    let incident = Incident::new();
    error.incident = Some(incident);
    exchange.note_incident(incident);
    exchange.report(Report(&error));
    error
}

fn failed(visit: &mut Visit, error: Error) -> Answer {
    let error = &told(&mut *visit.exchange, error, &visit.path);
    if let Some(counts) = visit.counts {
        counts.count_error(error.kind as usize);
    }
    let response = &visit.response;
    if response.head_sent && response.failed_condition.is_none() {
        return Answer::Aborted;
    }
    let status = match response.head.status {
        chosen if response.head.status_chosen && chosen >= 400 => chosen,
        _ => error.kind.status(),
    };
    let headers = response.headers_of_failure();
    if !visit.show_errors {
        return Answer::Status(status, headers);
    }
    let content_type = Cow::Borrowed(&b"text/html; charset=UTF-8"[..]);
    let head = Head { status, status_chosen: true, content_type, charset: Charset::default(), headers };
    let facts = facts::of_request(visit, status);
    let _ = visit.exchange.respond(&head, Report(error).html_page(&facts).as_bytes());
    Answer::Sent
}
