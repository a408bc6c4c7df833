//! The engine of one process: the hosts it serves and the way in for a request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::chunk::Stamp;
use crate::dialect::{self, Difference};
use crate::error::{Error, ErrorKind, Frame};
use crate::exchange::{Answer, Exchange, Head, Level};
use crate::loader::{self, LoadError};
use crate::own_code::OwnCode;
use crate::pool::{HostPool, Shape};
use crate::report::Report;
use crate::settings::Settings;
use crate::state::Outcome;
use crate::time_limit::{self, Watchdog};
use crate::visit::{Visit, language};
use crate::working_directory;

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
    pools: Mutex<HashMap<(String, Shape), Arc<HostPool>>>,
    watchdog: Arc<OnceLock<Watchdog>>,
    own_code: Arc<OwnCode>,
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
        Engine { own_code, ..Engine::default() }
    }

    /// The host of that name. Hosts of one name share their states unless a setting that shapes the pool differs;
    /// with `pLuaMultiDomain 0` all names are one.
    ///
    /// # Errors
    /// A sentence when the settings ask for what this build cannot keep.
    pub fn host(&self, name: &str, settings: &Settings) -> Result<Host, String> {
        if !settings.limits().timeout.is_zero() {
            time_limit::self_check()?;
        }
        let name = if settings.multi_domain() { name.to_ascii_lowercase() } else { String::new() };
        let pool = self
            .pools
            .lock()
            .entry((name.clone(), Shape::from(settings)))
            .or_insert_with(|| Arc::new(HostPool::new(settings, self.watchdog.clone(), self.own_code.clone())))
            .clone();
        Ok(Host { name: name.into(), pool, settings: Arc::new(settings.clone()) })
    }
}

/// One host: its settings and its pool of states.
#[derive(Clone)]
pub struct Host {
    name: Arc<str>,
    pool: Arc<HostPool>,
    settings: Arc<Settings>,
}

impl Host {
    /// Runs a page and answers its request.
    pub fn serve(&self, file: PageFile<'_>, mut exchange: Box<dyn Exchange>) -> Answer {
        if self.settings.limits().timeout.is_zero()
            && !self.settings.limits_in(file.settings).timeout.is_zero()
            && let Err(sentence) = time_limit::self_check()
        {
            exchange.report(Report(&named(Error::new(ErrorKind::Internal, sentence), file.path)));
            return Answer::Status(ErrorKind::Internal.status(), Vec::new());
        }
        let inside = exchange.is_inside_another();
        let wait = (!inside).then(|| self.settings.state_wait());
        let mut state = match self.pool.lend(wait) {
            Ok(state) => state,
            Err(error) => {
                let error = named(error, file.path);
                exchange.report(Report(&error));
                let mut headers = Vec::new();
                if error.kind == ErrorKind::NoState {
                    let seconds = self.settings.state_wait().as_secs().max(1);
                    headers.push(("Retry-After", seconds.to_string().into_bytes()));
                }
                return Answer::Status(error.kind.status(), headers);
            }
        };
        if state.runs() == 0 && self.settings.log_level() >= 2 {
            self.log_new_state(state.number(), &mut *exchange);
        }
        let settings = state.settings_in(file.settings, &self.settings);
        let visit = Visit::new(exchange, file.path.to_path_buf(), settings);
        // The page around this one goes on in its own folder.
        let folder = if inside { env::current_dir().ok() } else { None };
        let answer = state.run(visit, file.stamp, conclude);
        if let Some(folder) = folder {
            working_directory::enter(&folder);
        }
        answer
    }

    fn log_new_state(&self, number: u64, exchange: &mut dyn Exchange) {
        let host = if self.name.is_empty() { "all hosts" } else { &self.name };
        if self.pool.is_first(number) {
            exchange
                .log(Level::Information, &format!("pool of {host} made, {} states at most", self.settings.states()));
        }
        if self.settings.log_level() >= 3 {
            exchange.log(Level::Information, &format!("state {number} of {host} made"));
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
                visit.exchange.log(Level::Error, &format!("{}: {error}", visit.path.display()));
                Answer::Status(403, Vec::new())
            }
            _ => failed(visit, Error::new(ErrorKind::Read, error.to_string())),
        },
    }
}

fn done(visit: &mut Visit, body: &[u8]) -> Answer {
    let response = &visit.response;
    if response.head_sent {
        // A client that is gone needs no answer.
        let _ = visit.stream(body);
        return Answer::Sent;
    }
    if let Some(status) = response.server_page {
        let location = response.header("Location").map(|location| ("Location", location.to_vec()));
        return Answer::Status(status, location.into_iter().collect());
    }
    let _ = visit.exchange.respond(&visit.response.head, body);
    Answer::Sent
}

/// The error with the name of its page, if it has no place that tells it.
fn named(mut error: Error, page: &Path) -> Error {
    if error.place.is_none() && error.frames.is_empty() {
        error.frames.push(Frame { what: format!("page {}", page.display()), at: None });
    }
    error
}

fn failed(visit: &mut Visit, error: Error) -> Answer {
    let error = &named(error, &visit.path);
    visit.exchange.report(Report(error));
    let response = &visit.response;
    if response.head_sent {
        return Answer::Aborted;
    }
    let status = match response.head.status {
        chosen if response.status_chosen && chosen >= 400 => chosen,
        _ => error.kind.status(),
    };
    if !visit.show_errors {
        return Answer::Status(status, Vec::new());
    }
    let head = Head { status, content_type: Cow::Borrowed(b"text/html; charset=utf-8"), headers: Vec::new() };
    let _ = visit.exchange.respond(&head, Report(error).html_page().as_bytes());
    Answer::Sent
}
