//! A page that takes longer than an administrator wants to know of: told once, with its calls, while it runs on.
//!
//! The watchdog marks the page, and the hook lists its calls, as where a page is stopped; but with a signal of its own, after
//! which the system goes on with what the page waits for. A page without such a time costs nothing here.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::{NEVER, now};
use super::{Call, TimeLimit};

/// Of a page that was marked and has not been told of.
const MARKED: u64 = 0;

/// Tells of a page, by its calls, innermost first; none where it had ended. False where it cannot be told just now.
pub type Tell = Box<dyn FnMut(Vec<Call>) -> bool + Send>;

/// What is to be told of a page, and when.
pub struct ToTell {
    at: u64,
    tell: Tell,
}

/// When the page of a state is to be told of.
pub(super) struct Slow {
    at: AtomicU64,
    tell: Mutex<Option<Tell>>,
}

impl Default for Slow {
    fn default() -> Slow {
        Slow { at: AtomicU64::new(NEVER), tell: Mutex::default() }
    }
}

/// The signal for it.
pub(super) fn signal() -> c_int {
    libc::SIGRTMIN() + 7
}

impl Slow {
    /// Whether the hook is to list the calls.
    pub(super) fn is_marked(&self) -> bool {
        self.at.load(Ordering::SeqCst) == MARKED
    }

    /// The first of that moment and of its own.
    pub(super) fn first(&self, ends: u64) -> u64 {
        ends.min(self.at.load(Ordering::SeqCst))
    }

    /// When the page is to be marked; none for one that is, or that nobody is to be told of.
    pub(super) fn due(&self) -> Option<u64> {
        Some(self.at.load(Ordering::SeqCst)).filter(|at| ![NEVER, MARKED].contains(at))
    }

    /// Marks the page that was due then, if it has not ended. The caller holds the lock of the state.
    pub(super) fn mark(&self, due: u64) -> bool {
        self.at.compare_exchange(due, MARKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Tells of the page that was marked; in its thread, in a hook.
    pub(super) fn tell(&self, calls: Vec<Call>) {
        let Some(mut tell) = self.tell.lock().take() else { return };
        if tell(calls) {
            self.at.store(NEVER, Ordering::SeqCst);
        } else {
            // A function of the page's has the request; the watchdog comes again.
            *self.tell.lock() = Some(tell);
            self.at.store(now() + 1_000_000, Ordering::SeqCst);
        }
    }
}

impl TimeLimit {
    /// Has the page that begins told of when it has taken so long.
    pub fn tell_when_slow(&self, after: Duration, tell: Tell) {
        let at = now().saturating_add(u64::try_from(after.as_nanos()).unwrap_or(NEVER)).clamp(1, NEVER - 1);
        *self.deadline.slow.tell.lock() = Some(tell);
        self.deadline.slow.at.store(at, Ordering::SeqCst);
    }

    /// The page has ended. One that was not told of though its time had come, is now.
    #[inline]
    pub fn forget_slow(&self) {
        if self.deadline.slow.at.load(Ordering::Relaxed) != NEVER {
            self.end_slow();
        }
    }

    #[cold]
    fn end_slow(&self) {
        if let Some(mut slow) = self.take_slow()
            && slow.at <= now()
        {
            (slow.tell)(Vec::new());
        }
    }

    /// What is to be told of the page that leaves its thread, and perhaps its state.
    #[must_use]
    pub fn take_slow(&self) -> Option<ToTell> {
        if self.deadline.slow.at.load(Ordering::Relaxed) == NEVER {
            return None;
        }
        let at = self.deadline.slow.at.swap(NEVER, Ordering::SeqCst);
        if at == MARKED {
            // Waits for a watchdog that is just sending the signal, before another page is where this one was.
            drop(self.deadline.state.lock());
        }
        Some(ToTell { at, tell: self.deadline.slow.tell.lock().take()? })
    }

    /// The page goes on, before its time does.
    pub fn go_on_slow(&self, slow: ToTell) {
        *self.deadline.slow.tell.lock() = Some(slow.tell);
        if slow.at > now() {
            self.deadline.slow.at.store(slow.at, Ordering::SeqCst);
        } else {
            // At once, for it is where it has waited.
            self.deadline.slow.at.store(MARKED, Ordering::SeqCst);
            self.deadline.set_hook();
        }
    }
}
