//! Lines of those who wait for a state: for any, or for the very one that their page is in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use parking_lot::Mutex;

use crate::limits::bell::Bell;
use crate::state::State;

/// Who waits.
#[derive(Default)]
pub(super) struct Waiter {
    pub(super) turn: Mutex<Option<Turn>>,
    /// Called when that has come.
    pub(super) bell: Arc<Bell>,
}

/// What comes to who waits: a state, or the right to make one.
pub(super) enum Turn {
    Take(Box<State>),
    Make,
}

/// Pages that are put aside and want the very state they wait in, while another uses it.
#[derive(Default)]
pub(super) struct Seats {
    /// How many there are in the lists, for who does not hold those.
    many: AtomicUsize,
    lists: Mutex<SeatLists>,
}

#[derive(Default)]
pub(super) struct SeatLists {
    /// Those that may go on, by the number of their state.
    pub(super) line: VecDeque<(u64, Arc<Waiter>)>,
    /// Those whose request is gone, by the number of their state and by their own.
    pub(super) gone: Vec<(u64, u64)>,
}

impl Seats {
    /// Changes the lists.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut SeatLists) -> R) -> R {
        let mut lists = self.lists.lock();
        let changed = change(&mut lists);
        self.many.store(lists.line.len() + lists.gone.len(), SeqCst);
        changed
    }

    /// Whether nobody wants a state that is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.many.load(SeqCst) == 0
    }

    /// Takes a waiter out of the line, with the state if its turn has come.
    pub(super) fn leave(&self, waiter: &Arc<Waiter>) -> Option<Box<State>> {
        // Nobody hands over to a waiter that is no longer in the line.
        self.change(|lists| lists.line.retain(|(_, other)| !Arc::ptr_eq(other, waiter)));
        match waiter.turn.lock().take() {
            Some(Turn::Take(state)) => Some(state),
            _ => None,
        }
    }
}
