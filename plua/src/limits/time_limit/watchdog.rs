//! The thread that looks after running states: it sleeps until the earliest deadline and then stops the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mlua::Lua;
use nix::sys::signal::SigSet;
use parking_lot::{Condvar, Mutex};

use super::clock::{EXPIRED, NEVER, instant, now};
use super::{Deadline, Ending, TimeLimit, listening_thread};
use crate::limits::cutoff;

/// How often a page is told to stop that has not.
const TICK: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Shared {
    pub(super) deadlines: Mutex<Vec<Arc<Deadline>>>,
    wake: Condvar,
    /// When the watchdog will look by itself: [`NEVER`] while it looks or has nothing to wait for.
    pub(super) wakes_at: AtomicU64,
    /// Threads that wait for a client without a state.
    waiting: Mutex<Vec<usize>>,
    stopping: AtomicBool,
    ending: Arc<Ending>,
}

impl Shared {
    /// Makes the watchdog look now: whoever has had the lock finds it waiting.
    pub(super) fn call(&self) {
        drop(self.deadlines.lock());
        self.wake.notify_one();
    }

    /// httpd has closed the sockets: a wait sees that when it begins anew.
    fn interrupt_waiting(&self) {
        super::interrupt_all(&self.waiting.lock());
    }
}

/// One watchdog thread and the states it looks after. Dropping it ends the thread.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start() -> std::io::Result<Watchdog> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("plua watchdog".into()).spawn({
            let shared = shared.clone();
            move || {
                // The server's signals are for the threads that expect them.
                let _ = SigSet::all().thread_block();
                watch(&shared);
            }
        })?;
        Ok(Watchdog { shared, thread: Some(thread) })
    }

    /// Looks after a state from here on. Not to be called from inside one of its coroutines.
    #[must_use]
    pub fn limit(&self, lua: &Lua) -> TimeLimit {
        let deadline = Arc::new(Deadline::of(lua, self.shared.ending.clone()));
        deadline.attach();
        self.shared.deadlines.lock().push(deadline.clone());
        TimeLimit { deadline, shared: self.shared.clone() }
    }

    /// This thread begins to wait for its client.
    #[must_use]
    pub fn waiting(&self) -> WaitingThread {
        let thread = listening_thread();
        self.shared.waiting.lock().push(thread);
        WaitingThread { shared: self.shared.clone(), thread }
    }

    /// Stops the pages that run, and those that are still to begin, at once.
    pub fn end_pages(&self) {
        self.shared.ending.begin();
        self.shared.call();
    }
}

/// A thread that waits for its client before it has a state; the server's stop interrupts that. No longer once it is dropped.
pub struct WaitingThread {
    shared: Arc<Shared>,
    thread: usize,
}

impl WaitingThread {
    /// Whether the server stops, so that there is nothing left to wait for.
    #[must_use]
    pub fn server_stops(&self) -> bool {
        self.shared.ending.has_begun()
    }
}

impl Drop for WaitingThread {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        if let Some(place) = waiting.iter().position(|thread| *thread == self.thread) {
            waiting.swap_remove(place);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.call();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Misses no page: one that starts stores its end, then loads `wakes_at`, and the watchdog stores [`NEVER`] there, then
/// loads all ends, each in the one order of `SeqCst`. So a look that does not see the page's end comes before it, and the
/// page sees what that look or a later one left: [`NEVER`] or when the next look begins. If that is too late for it, it
/// calls, under the lock, which is free only while the watchdog waits.
fn watch(shared: &Shared) {
    let mut deadlines = shared.deadlines.lock();
    while !shared.stopping.load(Ordering::SeqCst) {
        shared.wakes_at.store(NEVER, Ordering::SeqCst);
        let now = now();
        let mut next = deadlines.iter().map(|deadline| stop_if_expired(deadline, now)).min().unwrap_or(NEVER);
        if shared.ending.has_begun() {
            // Pages may still begin, and those without a limit do not call.
            next = next.min(now + TICK.as_nanos() as u64);
            shared.interrupt_waiting();
        }
        shared.wakes_at.store(next, Ordering::SeqCst);
        match instant(next) {
            Some(next) => _ = shared.wake.wait_until(&mut deadlines, next),
            None => shared.wake.wait(&mut deadlines),
        }
    }
}

/// When to look at the state again. When its deadline has passed, it is told to stop, until it has.
fn stop_if_expired(deadline: &Deadline, now: u64) -> u64 {
    let is_ending = deadline.ending.has_begun();
    if is_ending {
        deadline.end();
    }
    let ends = deadline.ends.load(Ordering::SeqCst);
    if ends == NEVER {
        return ends;
    }
    let mut next = ends;
    match deadline.slow.due() {
        Some(due) if due <= now => {
            let _running = deadline.state.lock();
            if deadline.slow.mark(due) {
                deadline.send_slow_signal();
            }
        }
        Some(due) => next = ends.min(due),
        None => {}
    }
    if now < ends {
        return next;
    }
    // TimeLimit::stop takes the same lock once it has seen EXPIRED, so the thread is still there.
    let _running = deadline.state.lock();
    if deadline.ends.compare_exchange(ends, EXPIRED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        deadline.cutoff.shut_socket();
        // Taken before the signal, which may make the page wait for a shell that has left others behind, and killed after it, so
        // that the page is stopped when the command it waits for is gone.
        let commands = deadline.cutoff.take_commands();
        deadline.send_signal();
        commands.kill();
        if deadline.is_interrupted() {
            // What waits has no end to its wait that it would see.
            deadline.ending.bells.call();
        }
        if is_ending {
            cutoff::kill_children(deadline.number.load(Ordering::Relaxed));
        }
    }
    now + TICK.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Instant;

    use super::*;
    use crate::limits::time_limit::Reason;
    use crate::wait::{until, within};

    #[test]
    fn a_short_limit_is_kept_while_a_page_has_a_long_one() {
        let watchdog = Watchdog::start().unwrap();
        let (long, short) = (Lua::new(), Lua::new());
        let (long_limit, short_limit) = (watchdog.limit(&long), watchdog.limit(&short));
        for limit in [Duration::from_secs(3600), Duration::MAX] {
            let started = Instant::now();
            long_limit.start(limit);
            // The watchdog goes to sleep.
            thread::sleep(TICK);
            short_limit.start(Duration::from_millis(20));
            short.load("while true do end").exec().unwrap_err();
            assert!(started.elapsed() < Duration::from_secs(60), "{limit:?}");
            assert!(matches!(short_limit.stop(), Some((Reason::Time, _))), "{limit:?}");
            assert_eq!(long_limit.stop(), None, "{limit:?}");
        }
    }

    #[test]
    fn the_watchdog_sleeps_on_when_pages_with_later_ends_start_and_is_called_for_an_earlier_one() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let limit = watchdog.limit(&lua);
        let runs_until_it_wakes = |seconds, between: Range<u64>| {
            limit.start(Duration::from_secs(seconds));
            let wakes_at = || watchdog.shared.wakes_at.load(Ordering::SeqCst);
            // A watchdog that is called for nothing has the time to wake.
            thread::sleep(TICK * 10);
            within(Duration::from_secs(10), || between.contains(&wakes_at()));
            limit.stop();
            wakes_at()
        };
        let first = runs_until_it_wakes(60, now()..NEVER);
        assert!(first > now() && first < NEVER);
        assert_eq!(runs_until_it_wakes(60, first..first + 1), first);
        assert!(runs_until_it_wakes(30, now()..first) < first);
    }

    #[test]
    fn a_page_that_starts_while_the_watchdog_looks_makes_it_look_again() {
        let watchdog = Watchdog::start().unwrap();
        let (page, overdue) = (Lua::new(), Lua::new());
        let (page, overdue) = (watchdog.limit(&page), watchdog.limit(&overdue));
        // Here the watchdog is held up when it has looked at the page's state.
        let held = overdue.deadline.state.lock();
        overdue.start(Duration::ZERO);
        until("the watchdog is held up", Duration::from_secs(60), || {
            (0..3).all(|_| {
                // Locked at one look the deadlines may be for a moment.
                thread::sleep(TICK);
                watchdog.shared.deadlines.is_locked()
            })
        });
        thread::scope(|scope| {
            let calls = scope.spawn(|| (page.start(Duration::MAX), page.stop()));
            // Time in which a page that does not call would have gone on.
            thread::sleep(TICK * 10);
            assert!(!calls.is_finished());
            drop(held);
        });
        assert!(overdue.stop().is_some());
    }

    #[test]
    fn the_watchdog_forgets_states_that_are_closed() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let _limit = watchdog.limit(&lua);
        for _ in 0..2000 {
            drop(watchdog.limit(&Lua::new()));
        }
        assert_eq!(watchdog.shared.deadlines.lock().len(), 1);
    }
}
