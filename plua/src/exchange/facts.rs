//! What a page has taken when it has ended, for whoever looks after the server.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Where a page's code came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// Its state had it.
    #[default]
    State,
    /// Another state of the host had compiled it.
    Host,
    /// It was compiled for this request.
    Compiled,
}

impl Origin {
    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Origin::State => "state",
            Origin::Host => "host",
            Origin::Compiled => "compiled",
        }
    }
}

/// A page that has ended and is yet to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFacts {
    /// From its beginning to its end, with what it waited.
    pub time: Duration,
    /// Of processors, in whatever threads.
    pub processor: Duration,
    /// Bytes that Lua holds in its state, of which other requests may have left some.
    pub bytes: usize,
    /// The number of that state.
    pub state: u64,
    /// Where its code came from.
    pub origin: Origin,
}

/// Time of processors that a page takes, in one thread after the other.
#[derive(Debug)]
pub struct ProcessorTime {
    /// Until it went on last.
    taken: Duration,
    /// What its thread had taken then.
    thread_before: Duration,
}

impl ProcessorTime {
    /// From here on, in this thread.
    #[must_use]
    pub fn begin() -> ProcessorTime {
        ProcessorTime { taken: Duration::ZERO, thread_before: of_this_thread() }
    }

    /// It leaves this thread: what it has taken.
    pub fn pause(&mut self) -> Duration {
        self.taken += of_this_thread().saturating_sub(self.thread_before);
        self.taken
    }

    /// It goes on in this thread.
    pub fn resume(&mut self) {
        self.thread_before = of_this_thread();
    }
}

fn of_this_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
