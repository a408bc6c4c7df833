//! A Lua state, which runs one page at a time, and the pools that lend states to requests.
//!
//! Stands on `api`, `cache`, `error`, `exchange`, `limits`, `network`, `output`, `reactor`, `request`, `sandbox`, `settings`
//! and `shared`. Knows no other host.

mod allowance;
pub mod c_modules;
pub mod compiling;
mod coroutine;
mod counting;
mod guests;
pub mod own_code;
pub(crate) mod parked;
pub(crate) mod pool;
mod seats;
mod sharing;
pub(crate) mod sites;
mod slow_log;
mod timed;

use std::env;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mlua::{Function, Lua, LuaString, Table, Thread, Value};
use parking_lot::Mutex;
use scoreboard::{Gauge, Seat};

use crate::api;
use crate::cache::ChunkCache;
use crate::cache::chunk::{Language, Stamp};
use crate::cache::compiler::Compiler;
use crate::cache::loader::{LoadError, Loader};
use crate::error::entry::Entry;
use crate::error::injection;
use crate::error::{Error, ErrorKind};
use crate::exchange::terminal::Terminal;
use crate::limits::memory_limit::{self, MemoryLimit};
use crate::limits::time_limit::{Call, End, Reason, TimeLimit, Watchdog};
use crate::network::Network;
use crate::output::ffi_functions::Area;
use crate::output::page_call::{self, Ended, PageCall};
use crate::request::fault;
use crate::request::timers::{Book, Scheduled, Timers};
use crate::request::visit::{Slot, Visit, VisitSettings};
use crate::sandbox::forks;
use crate::sandbox::working_directory;
use crate::settings::{Globals, Settings};
use crate::shared::Stores;
use crate::state::counting::TOLD_APART;
use crate::state::own_code::{OwnCode, PAGE_GLOBALS, PARTS, PRELUDE, REQUEST_GLOBALS, TERMINAL, TIME_ZONE};
pub use crate::state::pool::processors;
use crate::state::sharing::Sharing;

/// What the state's own code says of a page: whether it ran to its end, and what it put out.
type Ran = mlua::Result<(bool, [Value; 2])>;

/// What a page runs that takes its code from a terminal: terminal.lua gets the globals of the request.
const OF_A_TERMINAL: &[u8] = b"plua.terminal(_G)";

/// Time the state's own code has to describe an error.
const FAULT_TIME: Duration = Duration::from_secs(1);

/// Part of its time and of its memory that what a page wants to run at its end has in any case, and that time where the page has
/// no limit but was stopped.
const LAST_SHARE: u32 = 10;
const LAST_TIME: Duration = Duration::from_secs(1);

/// Time that closing files may wait after a limit has struck, each turn, and turns: as many as a page has files.
const CLOSING_TIME: Duration = Duration::from_millis(20);
const CLOSING_TURNS: u32 = 100;

/// A page that goes on for so long when its time is over is told of: it must have been in a function that nothing stops.
const NOTEWORTHY: Duration = Duration::from_millis(500);

/// Time the databases of a page that has ended have to be tidied in.
const TIDY_TIME: Duration = Duration::from_secs(1);

/// Output larger than this, in bytes, is not kept as the buffer of the next page.
const LARGE_OUTPUT: usize = 1 << 20;

/// What became of a page.
pub enum Outcome<'a> {
    /// It ended; what it put out and has not flushed.
    Done(&'a [u8]),
    /// Its file could not be read.
    Unreadable(std::io::Error),
    /// It failed.
    Failed(Box<Error>),
}

/// One Lua state. It serves one request at a time, on any thread.
pub struct State {
    // Dropped before `lua`: the watchdog must have let go of the state before it closes.
    limit: TimeLimit,
    number: u64,
    runs: u32,
    spoiled: bool,
    memory: Option<MemoryLimit>,
    slot: Slot,
    loader: Arc<Mutex<Option<Loader>>>,
    /// For pages that need no more, with LuaJIT.
    page_call: Option<PageCall>,
    /// Coroutines that the state's own code ran other pages in, which have ended.
    coroutines: Vec<Thread>,
    /// The page that waits without a thread.
    parked: Option<Parked>,
    /// What lets it serve others meanwhile; none where a page's globals are the state's, or the state is a thread's own.
    sharing: Option<Sharing>,
    /// Whether it takes no new page, and ends with the last that needs it.
    is_retired: bool,
    /// What its pages want done without their requests, and those of it that the pool does not know of yet.
    timers: Timers,
    has_timers: bool,
    scheduled: Vec<Scheduled>,
    /// How many such pages the states of its pool have.
    all_parked: Arc<Gauge>,
    /// Where it counts its pages, if that is wanted.
    seat: Option<Seat>,
    counts: Option<scoreboard::Host>,
    /// The longest times of its pages, in microseconds.
    longest: [u32; TOLD_APART],
    /// The number of the page that runs.
    page: u32,
    /// How often compiled files had been given up when it was made.
    resets: u32,
    calls: Calls,
    /// The output and pattern limits that it was told last.
    told: (u32, u32),
    /// Settings of the last request's directory and host.
    settings: Option<VisitSettings>,
    /// Whether those of this request read files in another way.
    reads_anew: bool,
    /// Whether it has loaded modules written in Lua.
    has_modules: bool,
    /// What its pages run in the place of their files, if it does.
    text: Option<&'static [u8]>,
    lua: Lua,
}

/// Where a page waits, and what goes on with it.
enum Parked {
    /// Rust has called it: its number.
    Called(u32),
    /// The state's own code runs it.
    Run(Thread),
}

/// The functions of prelude.lua that Rust calls.
struct Calls {
    /// Runs the page of a number, with what stands before and after it.
    run: Function,
    /// Goes on with a page that Rust has called by itself.
    finish: Function,
    /// Runs what a page wanted to run at its end.
    finish_later: Function,
    /// Message and frames of the page that failed last.
    fault: Function,
    close_files: Function,
    /// Gives the memory of much output back.
    tidy: Function,
    /// Takes the output limit, in kilobytes, and the pattern limit, in steps; 0 is none.
    limit_page: Function,
    /// Takes a coroutine in which pages run from then on.
    note_base: Function,
    /// Runs the function of a timer, by its number.
    run_timer: Function,
    /// Lets pages take their code from a terminal.
    open_terminal: Function,
    /// Lets each request have globals of its own from then on; none where they are the state's.
    isolate: Option<Function>,
}

impl Calls {
    fn of(parts: &Table) -> mlua::Result<Calls> {
        Ok(Calls {
            run: parts.raw_get("run")?,
            finish: parts.raw_get("finish")?,
            finish_later: parts.raw_get("finish_later")?,
            fault: parts.raw_get("fault")?,
            close_files: parts.raw_get("close_files")?,
            tidy: parts.raw_get("tidy")?,
            limit_page: parts.raw_get("limit_page")?,
            note_base: parts.raw_get("note_base")?,
            run_timer: parts.raw_get("run_timer")?,
            open_terminal: parts.raw_get("open_terminal")?,
            isolate: parts.raw_get("isolate")?,
        })
    }
}

impl State {
    /// A state for a host of these settings, which takes compiled files from `cache`, and what it runs first from `own_code`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when Lua cannot be set up.
    pub fn new(
        number: u64,
        settings: &Settings,
        cache: Arc<ChunkCache>,
        watchdog: &Watchdog,
        network: &Arc<Network>,
        stores: &Stores,
        own_code: &Arc<OwnCode>,
    ) -> Result<State, Error> {
        State::make(number, settings, cache, watchdog, network, stores, own_code)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no Lua state could be made: {error}")))
    }

    fn make(
        number: u64,
        settings: &Settings,
        cache: Arc<ChunkCache>,
        watchdog: &Watchdog,
        network: &Arc<Network>,
        stores: &Stores,
        own_code: &Arc<OwnCode>,
    ) -> mlua::Result<State> {
        let lua = c_modules::new_lua();
        compiling::switch_off_where_forbidden(&lua)?;
        let limit = watchdog.limit(&lua);
        forks::watch();
        c_modules::install(&lua, &limit.handle(), own_code)?;
        let slot = Slot::default();
        let loader = Arc::new(Mutex::new(None));
        // A thread alone finds its own.
        let is_found_again = settings.states() != 0;
        let timers = Timers::new(Mutex::new(Book::new(is_found_again)));
        let native = api::native(&lua, &slot, &loader, limit.handle(), network, &timers, settings)?;
        native.raw_set("open_stores", api::stores(&lua, &slot, limit.handle(), stores, &network.reactor)?)?;
        native.raw_set("open_session", api::sessions(&lua, &slot, limit.handle(), settings, stores)?)?;
        let of_globals: &[_] = match settings.globals() {
            Globals::Persistent => &[],
            Globals::Page => &PAGE_GLOBALS,
            Globals::Request => &REQUEST_GLOBALS,
        };
        let time_zone = settings.time_zone().map(|_| TIME_ZONE);
        let parts = PARTS.into_iter().chain(of_globals.iter().copied());
        for part in parts.chain(time_zone.into_iter().flatten()) {
            native.raw_set(part.name, own_code.function(&lua, part)?)?;
        }
        let late = own_code.clone();
        let late = memory_limit::function(&lua, &limit.handle(), move |lua, name: String| late.late(lua, &name))?;
        native.raw_set("late", late)?;
        native.raw_set("package_path", settings.package_path())?;
        native.raw_set("package_cpath", settings.package_cpath())?;
        native.raw_set("is_sandboxed", settings.sandbox())?;
        native.raw_set("revalidate", settings.revalidate().as_secs_f64())?;
        let ignored = lua.create_table_from(settings.ignored_libraries().iter().map(|name| (*name, true)))?;
        let messages = lua.create_table()?;
        for reason in Reason::ALL {
            messages.raw_set(lua.create_string(reason.message().to_bytes())?, true)?;
        }
        let parts: Table = own_code.function(&lua, PRELUDE)?.call((native, ignored, messages))?;
        let calls = Calls::of(&parts)?;
        let (pages, texts, identities) =
            (parts.raw_get("pages")?, parts.raw_get("texts")?, parts.raw_get("identities")?);
        let compiler = Compiler::new(&lua, Some(limit.handle()))?;
        let maker_of = parts.raw_get("maker_of")?;
        *loader.lock() = Some(Loader::new(&lua, settings, cache, pages, texts, identities, compiler, maker_of));
        let sharing = if is_found_again { Sharing::of(&parts)? } else { None };
        let limits = settings.limits();
        let told = (limits.output, limits.pattern);
        if told != (0, 0) {
            calls.limit_page.call::<()>(told)?;
        }
        let page_call = match (parts.raw_get("call")?, Area::at(parts.raw_get("area")?)) {
            (Some(parts), Some(area)) => Some(PageCall::new(&lua, parts, area)?),
            _ => None,
        };
        Ok(State {
            limit,
            number,
            runs: 0,
            spoiled: false,
            memory: None,
            slot,
            loader,
            page_call,
            coroutines: Vec::new(),
            parked: None,
            sharing,
            is_retired: false,
            timers,
            has_timers: false,
            scheduled: Vec::new(),
            all_parked: Arc::new(Gauge::new(None)),
            seat: None,
            counts: None,
            longest: [0; TOLD_APART],
            page: 0,
            resets: 0,
            calls,
            told,
            settings: None,
            reads_anew: true,
            has_modules: false,
            text: None,
            lua,
        })
    }

    /// Runs the file of `pLuaInit`, if there is one, and begins to count memory. To be called once, before the first
    /// page; a state that fails here must not run any. States of these settings share `fresh`: the bytes one holds.
    ///
    /// # Errors
    /// What the file failed with.
    pub fn initialise(&mut self, settings: &Settings, fresh: &OnceLock<usize>) -> Result<(), Error> {
        if let Some(file) = settings.init() {
            let path = Path::new(file);
            match settings.limits().timeout {
                Duration::ZERO => self.limit.start_unlimited(),
                timeout => _ = self.limit.start(timeout),
            }
            let page = self.load(path, None, Language::Raw, settings.limits().memory).map_err(|error| {
                self.limit.stop();
                error.into_error(path)
            })?;
            // A page that waits for the answer of the one this state is for goes on in its own folder.
            let before = env::current_dir();
            working_directory::enter(path.parent().unwrap_or(Path::new("/")));
            let ran = self.calls.run.call::<(bool, Value, Value)>(page);
            let stopped = self.limit.stop();
            if let Ok(before) = before {
                working_directory::enter(&before);
            }
            match &ran {
                Ok((true, ..)) if stopped.is_none() => {}
                Err(error) => return Err(self.failure(Some(error), stopped)),
                Ok(_) => return Err(self.failure(None, stopped)),
            }
        }
        self.look_at_loader().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        if let Some(isolate) = &self.calls.isolate {
            isolate
                .call::<()>(())
                .map_err(|error| Error::new(ErrorKind::Internal, format!("globals could not be set apart: {error}")))?;
        }
        match settings.limits().memory {
            0 => {}
            // That file may leave more in one state than in another.
            kilobytes if settings.init().is_some() => self.limit_memory(kilobytes, None)?,
            kilobytes => {
                self.limit_memory(kilobytes, fresh.get().copied())?;
                if let Some(memory) = &self.memory {
                    fresh.get_or_init(|| memory.fresh());
                }
            }
        }
        Ok(())
    }

    /// The number of a file's function, which is loaded if it was not, for a page of so many kilobytes; 0 is no limit.
    fn load(&self, path: &Path, stamp: Option<Stamp>, language: Language, memory: u32) -> Result<u32, LoadError> {
        match (self.loader.lock().as_mut(), self.text) {
            (Some(loader), None) => {
                loader.limit_memory(memory);
                loader.load(&self.lua, path, stamp, language)
            }
            (Some(loader), Some(text)) => loader.load_text(text, path),
            (None, _) => Err(LoadError::Page(Error::new(ErrorKind::Internal, "the state has no loader"))),
        }
    }

    /// Has its pages take their code from a terminal, and not from their files.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when Lua has no memory for that.
    pub fn open_terminal(&mut self, terminal: &Arc<dyn Terminal>) -> Result<(), Error> {
        let functions = api::terminal::functions(&self.lua, &self.slot, self.limit.handle(), &self.loader, terminal);
        let opened = functions.and_then(|functions| {
            let part = OwnCode::default().function(&self.lua, TERMINAL)?;
            self.calls.open_terminal.call::<()>((part, functions))
        });
        opened.map_err(|error| Error::new(ErrorKind::Internal, format!("no terminal could be opened: {error}")))?;
        let interrupter = self.limit.interrupter();
        terminal.begin(Box::new(move || interrupter.interrupt()));
        self.text = Some(OF_A_TERMINAL);
        Ok(())
    }

    /// Its number among all states of the process.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Requests it has begun.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether it must not run another page.
    #[must_use]
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// The settings of a directory and of its host, to keep for a visit. Most requests of a state have the same, and take
    /// those of the one before: each clone would change a count that the threads of all processors change.
    pub fn settings_in(&mut self, directory: &Arc<Settings>, host: &Arc<Settings>) -> VisitSettings {
        let last = self.settings.take();
        self.reads_anew = false;
        match last {
            Some(last) if last.are_of(directory, host) => last,
            last => {
                self.reads_anew = !last.is_some_and(|last| last.directory.reading() == directory.reading());
                VisitSettings::new(directory, host)
            }
        }
    }

    /// Runs the page of a visit; `conclude` answers its request. Nothing when the page waits without its thread: then nobody else
    /// may use the state, and it goes on with [`go_on`](State::go_on).
    ///
    /// Few pages need what is in other functions here, which then take no room on the stack of this one.
    pub fn run<R>(
        &mut self,
        mut visit: Box<Visit>,
        stamp: Option<Stamp>,
        conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R,
    ) -> Option<R> {
        // Whatever unwinds from here leaves a state that nobody may use again.
        self.spoiled = true;
        self.runs += 1;
        (visit.run, visit.state) = (self.runs, self.number);
        self.begin_counting(&mut visit);
        let page = match self.prepare(&mut visit, stamp) {
            Ok(page) => page,
            Err(refusal) => {
                let (outcome, spoiled) = *refusal;
                self.limit.forget_slow();
                self.end_counting(&mut visit, 0);
                let answer = conclude(&mut visit, outcome);
                self.spoiled = spoiled;
                return Some(answer);
            }
        };
        self.page = page;
        let is_alone = !self.reads_anew && visit.settings.prepend().or(visit.settings.append()).is_none();
        *self.slot.lock() = Some(visit);
        let ended = match self.page_call.as_mut().filter(|page_call| is_alone && page_call.is_ready()) {
            Some(page_call) => page_call.run(page),
            None => Ended::NotYet,
        };
        let ran = if ended == Ended::Plain { None } else { Some(self.complete(ended, page)?) };
        Some(self.finish(ran, conclude))
    }

    /// Answers the request of a page that has run. `ran` is what the state's own code said of it, if that had to.
    #[inline(always)]
    fn finish<R>(&mut self, mut ran: Option<Box<Ran>>, conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R) -> R {
        forks::end_fork();
        // A page that only put out text has no files, and nothing to run at its end.
        let (stopped, is_whole) = match &mut ran {
            None => (self.limit.stop(), true),
            Some(ran) => self.end(ran),
        };
        if let Some(memory) = &self.memory {
            memory.stop();
        }
        let was_stopped = stopped.is_some() || !is_whole;
        let failed = if ran.is_none() && !was_stopped { None } else { self.failed(ran.as_deref(), stopped) };
        self.limit.forget_slow();
        let Some(mut visit) = self.slot.lock().take() else {
            unreachable!("only State::run empties the slot");
        };
        self.end_counting(&mut visit, self.page);
        // Before the answer is out: whoever has it may ask for what the page did.
        injection::panic_at("end of page");
        if ran.is_some() || self.runs == 1 {
            self.note_timers(&mut visit);
        }
        if !visit.databases.is_empty() {
            self.end_databases(&mut visit);
        }
        let is_changed = visit.changed.is_some() && self.log_change(&mut visit);
        if let Some(error) = visit.failure(failed) {
            let spoiled = is_changed || was_stopped || error.kind.spoils_state();
            let answer = conclude(&mut visit, Outcome::Failed(error));
            self.spoiled = spoiled || self.look_at_loader().is_err();
            return answer;
        }
        let returned = ran.as_deref().and_then(|ran| ran.as_ref().ok()).map(|(_, returned)| returned);
        let (answer, length) = match page_call::with_output(returned, self.page_call.as_ref(), |bytes| {
            let outcome = match visit.is_too_much(bytes.len()) {
                true => Outcome::Failed(over_output_limit()),
                false => Outcome::Done(bytes),
            };
            (conclude(&mut visit, outcome), bytes.len())
        }) {
            Ok(answer) => answer,
            Err(_) => unreachable!("prelude.lua returns the contents of its buffer, or has them in the area"),
        };
        self.spoiled = is_changed || was_stopped;
        if length > LARGE_OUTPUT {
            self.spoiled |= self.calls.tidy.call::<()>(()).is_err();
        }
        self.spoiled |= self.look_at_loader().is_err();
        self.spoiled |= self.memory.as_ref().is_some_and(|memory| memory.is_full(&self.lua, visit.limits.memory));
        self.settings = Some(visit.into_settings());
        answer
    }

    /// Starts a visit's time, loads its page and sets its limits; the page's number. When it cannot run: why, and whether the
    /// state is spoiled.
    fn prepare(&mut self, visit: &mut Visit, stamp: Option<Stamp>) -> Result<u32, Box<(Outcome<'static>, bool)>> {
        let limits = visit.limits;
        self.start_time(visit);
        let page = self.load(&visit.path, stamp, visit.language(&visit.path), limits.memory).map_err(|error| {
            let stopped = self.limit.stop();
            let was_stopped = stopped.is_some();
            match error {
                LoadError::Io(error) => (Outcome::Unreadable(error), was_stopped),
                LoadError::Page(mut error) => {
                    // What stops a page strikes in its compiling and in what that calls as well, in words of their own.
                    if let (ErrorKind::TimeLimit | ErrorKind::Internal, Some((reason, _))) = (error.kind, &stopped) {
                        tell(&mut error, *reason);
                    }
                    let spoiled = was_stopped || error.kind.spoils_state();
                    (Outcome::Failed(error.into()), spoiled)
                }
            }
        })?;
        self.set_limits(&limits).map_err(|error| {
            self.limit.stop();
            (Outcome::Failed(error.into()), true)
        })?;
        Ok(page)
    }

    /// Runs what a page wants to run at its end, whatever it ended with; then ends its time, and what it has in the state that
    /// would outlive it: hooks and open files, for some of which this waits. Why it was stopped, if it was, and whether the
    /// state is whole.
    #[inline(never)]
    fn end(&mut self, ran: &mut Ran) -> (Option<(Reason, Vec<Call>)>, bool) {
        let ends_later = self.slot.lock().as_ref().is_some_and(|visit| visit.ends_later);
        let (stopped_before, is_whole) = if ends_later { self.finish_later(ran) } else { (None, true) };
        let (opens_files, sets_hook) =
            self.slot.lock().as_ref().map_or((false, false), |visit| (visit.opens_files, visit.sets_hook));
        if sets_hook {
            self.limit.take_hook_back();
            if cfg!(not(feature = "luajit")) {
                // PUC Lua keeps it with the coroutine.
                self.coroutines.clear();
            }
        }
        if !opens_files {
            let stopped = self.limit.stop();
            return (stopped_before.or(stopped), is_whole);
        }
        // While the clock runs.
        let was_over = self.limit.is_over();
        let has_closed = self.calls.close_files.call::<()>(()).is_ok();
        let stopped = self.limit.stop();
        let has_closed = has_closed || self.close_rest();
        match stopped.is_some() || !has_closed {
            // A file that the page was stopped before it had is closed with the state, and that waits for its process.
            true => self.limit.cutoff().kill_commands(),
            false => self.limit.cutoff().forget_commands(),
        }
        match stopped {
            // The page had ended in time. What it left open was cut off, which is no failure of the page's.
            Some((Reason::Time | Reason::Stop, _)) if !was_over => (stopped_before, false),
            stopped => (stopped_before.or(stopped), has_closed && is_whole),
        }
    }

    /// Runs what a page wants to run at its end, within a last share of its limits, and completes the page if it has not failed.
    /// Why the page was stopped before, if it was, and whether nothing stopped what ran now.
    #[inline(never)]
    fn finish_later(&self, ran: &mut Ran) -> (Option<(Reason, Vec<Call>)>, bool) {
        let stopped = self.limit.stop();
        let has_failed = stopped.is_some() || !matches!(ran, Ok((true, _)));
        if stopped.is_some() && cfg!(not(feature = "luajit")) {
            // There it raises at each step, and finds no reason to any more.
            self.limit.take_hook_back();
        }
        let mut slot = self.slot.lock();
        let Some(visit) = slot.as_mut() else { return (stopped, false) };
        let limits = visit.limits;
        let left = visit.deadline.map_or(Duration::ZERO, End::left);
        if !limits.timeout.is_zero() || stopped.is_some() {
            let share = if limits.timeout.is_zero() { LAST_TIME } else { limits.timeout / LAST_SHARE };
            visit.deadline = Some(self.limit.start(left.max(share)));
        }
        drop(slot);
        let allowed = self.memory.as_ref().filter(|_| limits.memory > 0);
        let allowed = allowed.map_or(Ok(()), |memory| memory.start_last(&self.lua, limits.memory));
        let finished = allowed.and_then(|()| self.calls.finish_later.call::<(bool, Value, Value)>(has_failed));
        let is_whole = finished.is_ok();
        match finished {
            Ok((fine, address, length)) if !has_failed => *ran = Ok((fine, [address, length])),
            Ok(_) => {}
            Err(error) if !has_failed => *ran = Err(error),
            Err(error) => {
                // The page itself is reported next. Its time goes on until its files are closed.
                let message = fault::first_line(&error);
                if let Some(visit) = self.slot.lock().as_mut() {
                    let page = visit.path.display();
                    visit.exchange.log(Entry::AT_END, &format!("{page}: plua.atEnd: {message}"));
                }
            }
        }
        (stopped, is_whole)
    }

    /// Why the page failed that ran last, if it did. `ran` is what the state's own code said of it, if that had to.
    #[inline(never)]
    fn failed(&self, ran: Option<&Ran>, stopped: Option<(Reason, Vec<Call>)>) -> Option<Box<Error>> {
        // A page may have caught that as the last it did. One that ended by itself just when its time was over is fine.
        let was_told = stopped.as_ref().is_some_and(|(reason, calls)| *reason == Reason::Output || !calls.is_empty());
        match ran {
            None | Some(Ok((true, _))) if !was_told => {
                self.log_overrun();
                None
            }
            None | Some(Ok(_)) => Some(self.failure(None, stopped).into()),
            Some(Err(error)) => Some(self.failure(Some(error), stopped).into()),
        }
    }

    /// Tells of a page that ended by itself, but long after its time was over.
    fn log_overrun(&self) {
        if let Some(visit) = self.slot.lock().as_mut()
            && let Some(overrun) = overrun(visit)
        {
            let line = format!("{}: {overrun} (pLuaTimeout)", visit.path.display());
            visit.exchange.log(Entry::OVERRUN, &line);
        }
    }

    /// Tells of a page that has changed what the next request would find so.
    #[inline(never)]
    fn log_change(&self, visit: &mut Visit) -> bool {
        let what = visit.changed.take().unwrap_or_default();
        let (page, number) = (visit.path.display(), self.number);
        let line = format!(
            "{page}: changed {what}, which a sandbox keeps from pages (pLuaSandbox): state {number} is given up"
        );
        visit.exchange.log(Entry::STATE_CHANGED, &line);
        true
    }

    /// What a request leaves in the loader.
    fn look_at_loader(&mut self) -> mlua::Result<()> {
        let forgot = match self.loader.lock().as_mut() {
            Some(loader) => {
                self.has_modules = loader.modules.any();
                loader.forget_large()?
            }
            None => false,
        };
        if forgot { self.lua.gc_collect() } else { Ok(()) }
    }

    /// Whether the file of a module it has loaded is not what it was. For so long after a look it is taken to be unchanged.
    pub fn is_outdated(&self, lifetime: Duration) -> bool {
        self.has_modules && self.loader.lock().as_mut().is_some_and(|loader| loader.modules.changed(lifetime).is_some())
    }

    /// Closes the files that a limit kept the page's end from closing. Each turn is cut short, and closes one at least.
    fn close_rest(&self) -> bool {
        (0..CLOSING_TURNS).any(|_| {
            self.limit.start(CLOSING_TIME);
            let closed = self.calls.close_files.call::<()>(());
            self.limit.stop();
            closed.is_ok()
        })
    }

    /// Tidies the databases of a page that has ended. A server that does not answer has a moment for that.
    fn end_databases(&self, visit: &mut Visit) {
        let is_limited = !visit.limits.timeout.is_zero();
        if is_limited {
            self.limit.start(TIDY_TIME);
        }
        visit.databases.end();
        if is_limited {
            self.limit.stop();
        }
    }

    /// Why the page failed that ran last. `error` is what the state's own code ended with, if that failed;
    /// `stopped` the limit that stopped it and the calls
    /// it ended.
    fn failure(&self, error: Option<&mlua::Error>, stopped: Option<(Reason, Vec<Call>)>) -> Error {
        let overrun = self.slot.lock().as_ref().and_then(|visit| overrun(visit));
        self.limit.start(FAULT_TIME);
        let described = self.calls.fault.call::<(LuaString, Value)>(());
        // The server's stop waits for no description either.
        let stopped = stopped.or(self.limit.stop().filter(|(reason, _)| *reason == Reason::Stop));
        let mut visit = self.slot.lock();
        let load_error = match (&described, visit.as_mut()) {
            (Ok((message, _)), Some(visit)) => visit.take_load_error(Some(&message.as_bytes())),
            _ => None,
        };
        let page = visit.as_ref().map_or(Path::new(""), |visit| &visit.path);
        let (message, mut frames) = match (&described, error) {
            (Ok((_, frames)), Some(error)) => (error.to_string().into_bytes(), fault::frames(frames, page)),
            (Ok((message, frames)), None) => (message.as_bytes().to_vec(), fault::frames(frames, page)),
            (Err(error), _) => (error.to_string().into_bytes(), Vec::new()),
        };
        // None when a page function said so before a hook could.
        if let Some((_, calls)) = stopped.as_ref().filter(|(_, calls)| !calls.is_empty()) {
            frames = fault::stopped_frames(calls, page);
        }
        let loader = self.loader.lock();
        let source = |path: &Path| loader.as_ref().and_then(|loader| loader.source(path));
        let mut error = match load_error {
            Some(error) => Error { frames, ..error },
            None => fault::error(&message, frames, source),
        };
        if let (Ok((_, list)), None) = (&described, &stopped) {
            error.locals = fault::locals(list);
        }
        if let Some((reason, _)) = stopped {
            tell(&mut error, reason);
            if let (Reason::Time, Some(overrun)) = (reason, overrun) {
                error.message = format!("{} {overrun}", error.message);
            }
        } else if self.memory.is_some() && error.message.contains("not enough memory") {
            tell(&mut error, Reason::Memory);
        } else if let Some(visit) = visit.as_ref() {
            visit.classify(&mut error);
        }
        error
    }
}

/// Makes of an error what a page is told that was stopped for that reason.
fn tell(error: &mut Error, reason: Reason) {
    error.kind = reason.kind();
    error.message = reason.message().to_string_lossy().into_owned();
}

/// By how much a page has gone over its time, if that is worth telling.
fn overrun(visit: &Visit) -> Option<String> {
    let over = visit.deadline?.over();
    (over >= NOTEWORTHY).then(|| format!("It ended {:.1} s after its time was over.", over.as_secs_f64()))
}

fn over_output_limit() -> Box<Error> {
    Error::new(ErrorKind::OutputLimit, Reason::Output.message().to_string_lossy()).into()
}
