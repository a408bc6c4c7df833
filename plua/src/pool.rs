//! The states of a host, lent to one request at a time.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sched::sched_getcpu;
use parking_lot::{Condvar, Mutex};

use crate::cache::{ChunkCache, MOST_BYTES};
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;
use crate::state::State;
use crate::time_limit::Watchdog;

/// The settings hosts must have in common to share a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    states: u32,
    runs: u32,
    files: usize,
    memory_limit: u32,
    ignored_libraries: Vec<&'static str>,
    package_path: Option<String>,
    package_cpath: Option<String>,
    base_folders: Vec<PathBuf>,
    sandbox: bool,
    init: Option<String>,
    request_globals: bool,
    revalidate: Duration,
}

impl From<&Settings> for Shape {
    fn from(settings: &Settings) -> Shape {
        Shape {
            states: settings.states(),
            runs: settings.runs(),
            files: settings.files(),
            memory_limit: settings.limits().memory,
            ignored_libraries: settings.ignored_libraries().to_vec(),
            package_path: settings.package_path().map(str::to_string),
            package_cpath: settings.package_cpath().map(str::to_string),
            base_folders: settings.base_folders().to_vec(),
            sandbox: settings.sandbox(),
            init: settings.init().map(str::to_string),
            request_globals: settings.request_globals(),
            revalidate: settings.revalidate(),
        }
    }
}

/// The states of one host and the compiled files they share. States are made when first needed.
pub struct HostPool {
    number: u64,
    settings: Settings,
    cache: Arc<ChunkCache>,
    watchdog: Arc<OnceLock<Watchdog>>,
    first_state: OnceLock<u64>,
    states: Mutex<States>,
}

#[derive(Default)]
struct States {
    /// Each with the processor it ran on last. Of those the one used last is lent first: its memory is in the caches.
    free: Vec<(usize, Box<State>)>,
    /// States that exist or are being made.
    made: u32,
    /// Requests waiting, first come first served.
    waiting: VecDeque<Arc<Waiter>>,
}

impl States {
    fn take_free(&mut self) -> Option<Box<State>> {
        let here = processor();
        let warm = self.free.iter().rposition(|(processor, _)| *processor == here);
        let at = warm.or(self.free.len().checked_sub(1))?;
        Some(self.free.remove(at).1)
    }
}

/// The processor this thread runs on now.
fn processor() -> usize {
    sched_getcpu().unwrap_or(0)
}

#[derive(Default)]
struct Waiter {
    turn: Mutex<Option<Turn>>,
    arrived: Condvar,
}

enum Turn {
    Take(Box<State>),
    Make,
}

thread_local! {
    /// Where `pLuaStates 0` gives each thread its own: by the pool's number.
    static OWN: RefCell<HashMap<u64, Box<State>>> = RefCell::default();
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

impl HostPool {
    /// A pool without states.
    #[must_use]
    pub fn new(settings: &Settings, watchdog: Arc<OnceLock<Watchdog>>) -> HostPool {
        let files = NonZeroUsize::new(settings.files()).unwrap_or(NonZeroUsize::MIN);
        HostPool {
            number: next_number(),
            settings: settings.clone(),
            cache: Arc::new(ChunkCache::new(files, MOST_BYTES)),
            watchdog,
            first_state: OnceLock::new(),
            states: Mutex::default(),
        }
    }

    /// A state on loan. When all are out it waits for one, at most `wait`, in the order of asking. With no time to
    /// wait given it makes one more: for a page inside the answer of another, whose state is out until this one ends.
    ///
    /// # Errors
    /// [`ErrorKind::NoState`] when none came free, [`ErrorKind::Internal`] when none could be made, and what
    /// `pLuaInit` failed with.
    pub fn lend(&self, wait: Option<Duration>) -> Result<StateGuard<'_>, Error> {
        let turn = match self.settings.states() {
            0 => OWN.with_borrow_mut(|own| own.remove(&self.number)).map_or(Turn::Make, Turn::Take),
            most => self.turn(most, wait)?,
        };
        // Before a state is made, so that the right to make one comes back whatever happens.
        let mut guard = StateGuard { pool: self, state: None };
        guard.state = Some(match turn {
            Turn::Take(state) => state,
            Turn::Make => self.make()?,
        });
        Ok(guard)
    }

    fn turn(&self, most: u32, wait: Option<Duration>) -> Result<Turn, Error> {
        let (waiter, wait) = {
            let mut states = self.states.lock();
            if let Some(state) = states.take_free() {
                return Ok(Turn::Take(state));
            }
            let wait = match wait {
                Some(wait) if states.made >= most => wait,
                _ => {
                    states.made += 1;
                    return Ok(Turn::Make);
                }
            };
            let waiter = Arc::new(Waiter::default());
            states.waiting.push_back(waiter.clone());
            (waiter, wait)
        };
        let until = Instant::now() + wait;
        let mut turn = waiter.turn.lock();
        while turn.is_none() && !waiter.arrived.wait_until(&mut turn, until).timed_out() {}
        drop(turn);
        // Nobody hands over to a waiter that is no longer in the queue, so this settles the race with a late turn.
        self.states.lock().waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
        waiter.turn.lock().take().ok_or_else(|| {
            let message =
                format!("all {most} states were busy for {} s (pLuaStates, pLuaStateWait)", wait.as_secs_f64());
            Error::new(ErrorKind::NoState, message)
        })
    }

    fn make(&self) -> Result<Box<State>, Error> {
        let watchdog = match self.watchdog.get() {
            Some(watchdog) => watchdog,
            None => {
                let started = Watchdog::start().map_err(|error| {
                    Error::new(ErrorKind::Internal, format!("no thread for the time limit: {error}"))
                })?;
                self.watchdog.get_or_init(|| started)
            }
        };
        let number = next_number();
        self.first_state.get_or_init(|| number);
        let mut state = State::new(number, &self.settings, self.cache.clone(), watchdog)?;
        state.initialise(&self.settings)?;
        Ok(Box::new(state))
    }

    /// Whether the state of that number was the first one made here.
    #[must_use]
    pub fn is_first(&self, number: u64) -> bool {
        self.first_state.get() == Some(&number)
    }

    /// Takes a state back, or the right to make one in place of a state that is gone.
    fn give_back(&self, state: Option<Box<State>>) {
        if self.settings.states() == 0 {
            if let Some(state) = state {
                OWN.with_borrow_mut(|own| own.insert(self.number, state));
            }
            return;
        }
        let mut states = self.states.lock();
        if states.made > self.settings.states() {
            states.made -= 1;
            return;
        }
        match states.waiting.pop_front() {
            Some(waiter) => {
                *waiter.turn.lock() = Some(state.map_or(Turn::Make, Turn::Take));
                waiter.arrived.notify_one();
            }
            None => match state {
                Some(state) => states.free.push((processor(), state)),
                None => states.made -= 1,
            },
        }
    }
}

/// A state on loan. Dropping it gives the state back, or destroys it when it is spoiled or has served its runs.
#[must_use]
pub struct StateGuard<'p> {
    pool: &'p HostPool,
    state: Option<Box<State>>,
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        let runs = self.pool.settings.runs();
        let fit = |state: &State| !state.is_spoiled() && (runs == 0 || state.runs() < runs);
        self.pool.give_back(self.state.take().filter(|state| fit(state)));
    }
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        match &self.state {
            Some(state) => state,
            None => unreachable!("only drop takes the state"),
        }
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("only drop takes the state"),
        }
    }
}
