//! Pages that wait without a thread in a state that serves others meanwhile.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, ErrorKind};
use crate::request::visit::Visit;
use crate::state::{Outcome, Parked, State};

/// A page that waits in a state that others use: its request, which is not in the state meanwhile.
#[must_use]
pub(super) struct Guest {
    number: u64,
    pub(super) visit: Box<Visit>,
    /// Bytes of the state's memory that it is charged with.
    charge: usize,
}

impl Guest {
    /// Its number in its state.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl State {
    /// How many pages wait in it that are put aside.
    pub(super) fn guests(&self) -> u32 {
        self.sharing.as_ref().map_or(0, |sharing| sharing.pages())
    }

    /// How many pages and timers need it: it does not end before them.
    pub(super) fn tenants(&self) -> u32 {
        let timers = if self.has_timers { self.timers.lock().len() } else { 0 };
        self.guests() + u32::try_from(timers).unwrap_or(u32::MAX / 2)
    }

    /// Whether it takes no new page, and ends with the last that waits in it.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// From here on it takes no new page.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
    }

    /// Something unwound from it: no page goes on in it.
    pub(super) fn mark_broken(&mut self) {
        *self.slot.lock() = None;
        if let Some(sharing) = &mut self.sharing {
            sharing.is_broken = true;
        }
    }

    /// Puts aside the page that waits without its thread, so that others can use the state. Nothing where they cannot: then the
    /// state waits with it.
    pub(super) fn put_aside(&mut self) -> Option<Guest> {
        let sharing = self.sharing.as_mut()?;
        let Some(Parked::Run(coroutine)) = &self.parked else { return None };
        let mut slot = self.slot.lock();
        let kilobytes = slot.as_ref().filter(|visit| !visit.sets_hook)?.limits.memory;
        // The engine's own code meets no limit.
        let charge = self.memory.as_ref().map_or(0, |memory| {
            let charge = memory.charged(&self.lua, kilobytes);
            memory.stop();
            charge
        });
        let visit = slot.take()?;
        drop(slot);
        let number = sharing.put_aside(coroutine).ok().flatten();
        let Some(number) = number else {
            *self.slot.lock() = Some(visit);
            if let Some(memory) = &self.memory {
                // It began so, and memory that it had then is there.
                let _ = memory.start(&self.lua, kilobytes);
            }
            return None;
        };
        self.parked = None;
        self.settings = Some(visit.its_settings());
        self.spoiled = self.look_at_loader().is_err();
        Some(Guest { number, visit, charge })
    }

    /// Goes on, in whatever thread, with a page that was put aside; what becomes of it as [`run`](State::run) says it.
    pub(super) fn go_on_with<R>(
        &mut self,
        guest: Guest,
        conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R,
    ) -> Option<R> {
        let Guest { number, mut visit, charge } = guest;
        self.spoiled = true;
        match self.bring_back(number, &visit, charge) {
            Ok(parked) => {
                self.parked = Some(parked);
                *self.slot.lock() = Some(visit);
                self.go_on(conclude)
            }
            Err(error) => {
                self.all_parked.fetch_sub(1, Relaxed);
                Some(conclude(&mut visit, Outcome::Failed(error.into())))
            }
        }
    }

    fn bring_back(&mut self, number: u64, visit: &Visit, charge: usize) -> Result<Parked, Error> {
        let internal = |error: mlua::Error| Error::new(ErrorKind::Internal, error.to_string());
        self.tell_limits(&visit.limits)?;
        let Some(sharing) = self.sharing.as_mut() else { unreachable!("only a state that is shared has guests") };
        if sharing.is_broken {
            let _ = sharing.forget(number);
            let problem = "the state that the page waited in is given up: a request before this one broke it, as the log says there";
            return Err(Error::new(ErrorKind::Internal, problem));
        }
        let coroutine = sharing.bring_back(number).map_err(internal)?;
        self.limit_page_memory(visit.limits.memory, charge)?;
        Ok(Parked::Run(coroutine))
    }

    /// Forgets a page that was put aside and whose request is gone.
    pub(super) fn forget_guest(&mut self, number: u64) {
        if let Some(sharing) = &mut self.sharing
            && sharing.forget(number).is_err()
        {
            sharing.is_broken = true;
        }
    }
}
