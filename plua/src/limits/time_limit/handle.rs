//! What page functions see of the time limit of their state: how long they may work, and that they wait.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Deadline;
use super::clock::{EXPIRED, NEVER, UNLIMITED, now};
use super::reason::Reason;
use crate::limits::bell::Bell;
use crate::limits::cutoff::Cutoff;

/// Marks that a page waits in Rust, or that it does not, for as long as it lives.
#[must_use]
pub struct Waiting<'l> {
    limit: &'l TimeLimitHandle,
    /// Whether it waited before: a finalizer may call a function while another one makes Lua collect its garbage.
    before: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let deadline = &*self.limit.0;
        deadline.waits.store(self.before, Ordering::SeqCst);
        // No signal came meanwhile, and the next call may begin before one does.
        if !self.before && (deadline.ends.load(Ordering::SeqCst) == EXPIRED || deadline.slow.is_marked()) {
            deadline.set_hook();
        }
    }
}

/// A page function's end of the time limit.
#[derive(Clone)]
pub struct TimeLimitHandle(pub(super) Arc<Deadline>);

impl TimeLimitHandle {
    /// From here on, until the result is dropped, the page waits in Rust and is stopped when it returns to Lua.
    pub fn waiting(&self) -> Waiting<'_> {
        Waiting { limit: self, before: self.0.waits.swap(true, Ordering::SeqCst) }
    }

    /// From here on, until the result is dropped, a function in Rust runs Lua again, which is stopped where it is.
    pub fn running_lua(&self) -> Waiting<'_> {
        Waiting { limit: self, before: self.0.waits.swap(false, Ordering::SeqCst) }
    }

    /// When the page that runs must have ended, which may be over; none without a limit and between pages.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.0.until()
    }

    /// What ends with the page.
    #[must_use]
    pub fn cutoff(&self) -> &Cutoff {
        &self.0.cutoff
    }

    /// Waits in this thread until the bell is rung, until then, or until the server stops.
    pub fn wait(&self, bell: &Arc<Bell>, until: Option<Instant>) {
        let ending = &self.0.ending;
        ending.bells.add(bell);
        // Whoever begins to end calls the bells after it has said so.
        if !ending.has_begun() {
            bell.wait_until(until);
        }
        ending.bells.remove(bell);
    }

    /// Whether the server stops, and with it the page.
    #[must_use]
    pub fn server_stops(&self) -> bool {
        self.0.ending.has_begun()
    }

    /// Stops the page if its time is over, without waiting for the watchdog to see that.
    pub fn look(&self) {
        let deadline = &*self.0;
        let ends = deadline.ends.load(Ordering::SeqCst);
        if ends != NEVER && now() >= ends {
            let _ = deadline.ends.compare_exchange(ends, EXPIRED, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether the page's time is over: what a loop in Rust asks every so many steps that a page's data drives. The page is
    /// stopped at its next step then.
    #[must_use]
    pub fn is_time_over(&self) -> bool {
        let ends = self.0.ends.load(Ordering::Relaxed);
        if ends >= UNLIMITED {
            return false;
        }
        self.look();
        self.0.ends.load(Ordering::Relaxed) == EXPIRED
    }

    /// Whether the page is in such a function.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
    }

    /// Stops the page at its next step of Lua. To be called by the thread that runs it.
    pub fn go_over(&self, reason: Reason) {
        self.0.go_over(reason);
    }

    /// Lets a page without a time limit go on that was interrupted, after what it was doing. Whether it was. To be called by the
    /// thread that runs it, from a function in Rust.
    pub fn go_on(&self) -> bool {
        let deadline = &*self.0;
        // Waits for a watchdog that is just sending a signal.
        let state = deadline.state.lock();
        if !deadline.is_interrupted() {
            return false;
        }
        deadline.over.store(0, Ordering::SeqCst);
        deadline.ends.store(UNLIMITED, Ordering::SeqCst);
        deadline.calls.lock().clear();
        drop(state);
        deadline.rest();
        true
    }

    /// What to tell a page that is over a limit and calls a page function, where its hook comes only after so many
    /// instructions: a loop of slow functions would go on for long.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static CStr> {
        if cfg!(feature = "luajit") { None } else { self.0.reason().map(Reason::message) }
    }

    /// Bytes the state may hold, for the page functions to heed.
    pub fn set_most(&self, bytes: usize) {
        self.0.most.store(bytes, Ordering::Relaxed);
    }

    /// What [`TimeLimitHandle::set_most`] said last; none at first.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// Kilobytes that a state over its memory limit may hold after a collection and go on.
    pub fn set_enough(&self, kilobytes: usize) {
        self.0.enough.store(kilobytes, Ordering::Relaxed);
    }
}
