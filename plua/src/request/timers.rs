//! Work that pages of a state have asked for and that is done without their requests: when each is due.

use std::collections::HashSet;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::exchange::Background;
use crate::request::visit::VisitSettings;

/// The functions themselves are the state's; here they are numbers. Page functions and the state's owner share it.
pub type Timers = Arc<Mutex<Book>>;

/// So many may a state have at one time.
const MOST: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// Tells it from others of the state.
    pub number: u64,
    /// When it is due.
    pub due: Instant,
    /// Time after which it is due again.
    pub period: Option<Duration>,
}

/// All that a state has.
#[derive(Debug, Default)]
pub struct Book {
    /// Whether the state is found again when one is due: not one of a thread's own.
    is_open: bool,
    last: u64,
    new: Vec<Timer>,
    /// Those that are to run, or to run again.
    alive: HashSet<u64>,
}

impl Book {
    /// That of a new state.
    #[must_use]
    pub fn new(is_open: bool) -> Book {
        Book { is_open, ..Book::default() }
    }

    /// Asks for one after so long, again and again if it is repeated; its number.
    ///
    /// # Errors
    /// Why there is none.
    pub fn add(&mut self, time: Duration, is_repeated: bool) -> Result<u64, String> {
        if !self.is_open {
            return Err("a thread's own state has no timers (pLuaStates 0)".into());
        }
        if self.alive.len() >= MOST {
            return Err(format!("a state has at most {MOST} timers at one time"));
        }
        self.last += 1;
        self.alive.insert(self.last);
        self.new.push(Timer { number: self.last, due: Instant::now() + time, period: is_repeated.then_some(time) });
        Ok(self.last)
    }

    /// Takes one back, or notes that it has run.
    pub fn remove(&mut self, number: u64) {
        self.alive.remove(&number);
        self.new.retain(|timer| timer.number != number);
    }

    /// Whether it is still to run.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.alive.contains(&number)
    }

    /// How many are still to run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alive.len()
    }

    /// Those that were asked for since this was asked last.
    #[must_use]
    pub fn take_new(&mut self) -> Vec<Timer> {
        mem::take(&mut self.new)
    }
}

/// A timer, with all that its function runs under.
pub struct Scheduled {
    /// When it is due.
    pub timer: Timer,
    /// The number of its state, and what that has of timers.
    pub state: u64,
    pub book: Weak<Mutex<Book>>,
    /// Of the page that has asked for it.
    pub settings: VisitSettings,
    /// The page.
    pub path: PathBuf,
    /// What its function runs with.
    pub background: Background,
}

impl Scheduled {
    /// Whether nobody has taken it back, and its state is there.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.book.upgrade().is_some_and(|book| book.lock().has(self.timer.number))
    }
}
