//! A page that waits without a thread, in a state of its own or in one that serves others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::bell::Bell;
use crate::reactor::{Alarm, Reactor};
use crate::request::visit::Visit;
use crate::state::guests::Guest;
use crate::state::pool::{HostPool, StateGuard};
use crate::state::seats::Waiter;
use crate::state::{Outcome, State};

/// How long a page that may go on waits for its state before it gives up its thread again.
const A_MOMENT: Duration = Duration::from_millis(1);

impl StateGuard<'_> {
    /// The page that waits in the state without a thread, with the state where others cannot use it meanwhile.
    pub fn into_parked(mut self, pool: &Arc<HostPool>) -> ParkedPage {
        let pool = pool.clone();
        let number = self.number();
        if let Some(guest) = self.put_aside() {
            return ParkedPage { pool, home: Home::Shared { number, waiter: None, guest: Some(guest) } };
        }
        ParkedPage { pool, home: Home::Alone(self.keep()) }
    }
}

/// A page that waits without a thread. Dropping it ends the page.
#[must_use]
pub struct ParkedPage {
    pool: Arc<HostPool>,
    home: Home,
}

enum Home {
    /// A state that waits with it.
    Alone(Option<Box<State>>),
    /// The state of that number, which serves others meanwhile; with its place in the line for it, once it may go on and another
    /// uses the state.
    Shared { number: u64, waiter: Option<Arc<Waiter>>, guest: Option<Guest> },
}

impl ParkedPage {
    /// Goes on with the page in this thread: its answer, or itself where it waits again, be it for its state.
    pub fn go_on<R>(mut self, conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R) -> Result<R, ParkedPage> {
        let pool = self.pool.clone();
        let (state, guest) = match &mut self.home {
            Home::Alone(state) => (state.take(), None),
            Home::Shared { number, waiter, guest } => {
                let seat = match waiter.take() {
                    None => pool.seat(*number),
                    Some(waiter) => pool.leave_seat(&waiter).ok_or(waiter),
                };
                let seat = seat.or_else(|waiter| {
                    // Most that use a state are done in a moment.
                    waiter.bell.wait_until(Some(Instant::now() + A_MOMENT));
                    if waiter.turn.lock().is_none() { Err(waiter) } else { pool.leave_seat(&waiter).ok_or(waiter) }
                });
                match seat {
                    Ok(state) => (Some(state), guest.take()),
                    Err(in_line) => {
                        *waiter = Some(in_line);
                        return Err(self);
                    }
                }
            }
        };
        let Some(state) = state else { unreachable!("a page waits in a state") };
        let mut guard = pool.guard_of(state);
        let answer = match guest {
            None => guard.go_on(conclude),
            Some(guest) => guard.go_on_with(guest, conclude),
        };
        answer.ok_or_else(|| guard.into_parked(&pool))
    }

    /// Has the reactor watch the client of the page, if the page has asked for that.
    #[must_use]
    pub fn watch_client(&self, reactor: &Reactor) -> Option<Alarm> {
        match &self.home {
            Home::Alone(state) => state.as_ref()?.watch_client(reactor),
            Home::Shared { guest, .. } => guest.as_ref()?.visit.watch_client(reactor),
        }
    }

    /// What is rung for the page, and when it goes on in any case.
    #[must_use]
    pub fn parked_at(&self) -> Option<(Arc<Bell>, Option<Instant>)> {
        match &self.home {
            Home::Alone(state) => state.as_ref()?.parked_at(),
            Home::Shared { waiter: Some(waiter), .. } => Some((waiter.bell.clone(), None)),
            Home::Shared { guest, .. } => guest.as_ref()?.visit.parked_at(),
        }
    }

    /// Whether it may go on because its state has come.
    #[must_use]
    pub fn has_seat(&self) -> bool {
        matches!(&self.home, Home::Shared { waiter: Some(waiter), .. } if waiter.turn.lock().is_some())
    }
}

impl Drop for ParkedPage {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Alone(state) => {
                if let Some(mut state) = state.take() {
                    state.abandon();
                    self.pool.take_back(state, false);
                }
            }
            Home::Shared { number, waiter, guest } => {
                let Some(guest) = guest.take() else { return };
                self.pool.note_gone(*number, guest.number());
                match waiter.take().and_then(|waiter| self.pool.leave_seat(&waiter)) {
                    Some(state) => self.pool.take_back(state, true),
                    // Who uses it now does that.
                    None => self.pool.look_at_seats(*number),
                }
            }
        }
    }
}
