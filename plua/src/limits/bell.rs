//! What a page waits at: it is rung, from any thread, for each event that the page has asked for.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Called once, by the thread that rings.
pub type Waker = Box<dyn FnOnce() + Send>;

/// The bell of one page.
#[derive(Default)]
pub struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    /// Numbers of the events that have come and nobody has asked after.
    events: Vec<u32>,
    /// Whether the page is to go on for another reason than one of its events.
    is_called: bool,
    waker: Option<Waker>,
    /// The number that the next event gets.
    next: u32,
}

impl State {
    fn is_rung(&self) -> bool {
        self.is_called || !self.events.is_empty()
    }
}

impl Bell {
    /// A number for an event that is to come; not 0.
    #[must_use]
    pub fn event(&self) -> u32 {
        let mut state = self.state.lock();
        state.next = state.next.wrapping_add(1).max(1);
        state.next
    }

    /// That event has come.
    pub fn ring(&self, event: u32) {
        let mut state = self.state.lock();
        state.events.push(event);
        self.wake(state);
    }

    /// Whoever waits is to look about itself: its time is over, its visitor or the server goes.
    pub fn call(&self) {
        let mut state = self.state.lock();
        state.is_called = true;
        self.wake(state);
    }

    fn wake(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.rung.notify_all();
        if let Some(waker) = waker {
            waker();
        }
    }

    /// The events that have come since this was asked last, in their order.
    #[must_use]
    pub fn take(&self) -> Vec<u32> {
        let mut state = self.state.lock();
        state.is_called = false;
        mem::take(&mut state.events)
    }

    /// Whether an event has come that nobody has asked after. Calls are forgotten.
    #[must_use]
    pub fn has_events(&self) -> bool {
        let mut state = self.state.lock();
        state.is_called = false;
        !state.events.is_empty()
    }

    /// Waits in this thread until it is rung, or until then. Whether it is rung.
    pub fn wait_until(&self, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.is_rung() {
            match until {
                None => self.rung.wait(&mut state),
                Some(until) => {
                    if self.rung.wait_until(&mut state, until).timed_out() {
                        return state.is_rung();
                    }
                }
            }
        }
        true
    }

    /// Calls `waker` when it is rung next, at once where it is.
    pub fn when_rung(&self, waker: Waker) {
        let mut state = self.state.lock();
        if state.is_rung() {
            drop(state);
            waker();
        } else {
            state.waker = Some(waker);
        }
    }
}

/// Bells that are to be called when something ends which concerns them all.
#[derive(Default)]
pub(super) struct Bells(Mutex<Vec<Arc<Bell>>>);

impl Bells {
    pub(super) fn add(&self, bell: &Arc<Bell>) {
        self.0.lock().push(bell.clone());
    }

    pub(super) fn remove(&self, bell: &Arc<Bell>) {
        let mut bells = self.0.lock();
        if let Some(place) = bells.iter().position(|other| Arc::ptr_eq(other, bell)) {
            bells.swap_remove(place);
        }
    }

    pub(super) fn call(&self) {
        for bell in self.0.lock().iter() {
            bell.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_are_told_once_in_their_order_and_a_thread_that_waits_goes_on() {
        let bell = Arc::new(Bell::default());
        let (first, second) = (bell.event(), bell.event());
        assert_ne!(first, second);
        assert!(!bell.wait_until(Some(Instant::now() + Duration::from_millis(1))), "nothing has come");
        thread::scope(|scope| {
            scope.spawn(|| {
                bell.ring(second);
                bell.ring(first);
            });
            assert!(bell.wait_until(None));
        });
        assert_eq!(bell.take(), [second, first]);
        assert!(bell.take().is_empty());
        bell.call();
        assert!(bell.wait_until(None));
        assert!(bell.take().is_empty());
    }

    #[test]
    fn a_waker_is_called_once_and_at_once_where_the_bell_is_rung() {
        let (bell, calls) = (Bell::default(), Arc::new(AtomicU32::new(0)));
        let waker = || {
            let calls = calls.clone();
            Box::new(move || _ = calls.fetch_add(1, Ordering::Relaxed)) as Waker
        };
        bell.when_rung(waker());
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        bell.ring(1);
        bell.ring(2);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        bell.when_rung(waker());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
