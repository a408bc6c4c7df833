//! The coroutines that a state's pages run in, and a page that waits there: in its thread, or without one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mlua::{FromLuaMulti, Function, IntoLuaMulti, MultiValue, Thread, Value};
use scoreboard::Gauge;

use crate::limits::bell::Bell;
use crate::limits::time_limit::{End, Reason};
use crate::output::page_call::{Ended, PageCall};
use crate::reactor::{Alarm, Reactor};
use crate::request::visit::Visit;
use crate::sandbox::forks;
use crate::sandbox::working_directory;
use crate::state::{Outcome, Parked, Ran, State};

/// Coroutines that have ended and are kept for other pages.
const MOST_COROUTINES: usize = 16;

impl State {
    /// Counts its pages that wait without a thread among those of other states.
    pub fn count_parked_in(&mut self, all_parked: &Arc<Gauge>) {
        self.all_parked = all_parked.clone();
    }

    /// Goes on, in whatever thread, with the page that waits without one; what becomes of it as [`run`](State::run) says it.
    ///
    /// # Panics
    /// Where no page waits.
    pub fn go_on<R>(&mut self, conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R) -> Option<R> {
        let parked = self.parked.take();
        self.begin_again();
        let ran = match parked {
            Some(Parked::Called(page)) => {
                let ended = self.page_call.as_mut().map_or(Ended::NotYet, PageCall::go_on);
                if ended == Ended::Plain { None } else { Some(self.complete(ended, page)?) }
            }
            Some(Parked::Run(coroutine)) => {
                let ran = coroutine.resume(());
                Some(self.ran(coroutine, ran)?)
            }
            None => unreachable!("only a page that waits goes on"),
        };
        Some(self.finish(ran, conclude))
    }

    /// What the state's own code makes of a page that Rust has called, or which it has to run itself. Nothing when the page waits
    /// without its thread.
    #[inline(never)]
    pub(super) fn complete(&mut self, mut ended: Ended, page: u32) -> Option<Box<Ran>> {
        while ended == Ended::Waits {
            if self.parks() {
                self.parked = Some(Parked::Called(page));
                return None;
            }
            self.wait_here();
            ended = self.page_call.as_mut().map_or(Ended::NotYet, PageCall::go_on);
        }
        if ended == Ended::NotYet {
            let settings = self.slot.lock().as_ref().map(|visit| visit.settings.clone());
            let between = settings.as_ref().map_or((None, None), |settings| (settings.prepend(), settings.append()));
            self.run_in_coroutine(self.calls.run.clone(), (page, between.0, between.1, self.reads_anew))
        } else if self.page_call.as_ref().is_some_and(PageCall::may_wait) {
            self.run_in_coroutine(self.calls.finish.clone(), ended == Ended::Done)
        } else {
            Some(Box::new(self.calls.finish.call(ended == Ended::Done).map(of_three)))
        }
    }

    /// Calls a function of the state's own code where it may wait.
    pub(super) fn run_in_coroutine(&mut self, run: Function, arguments: impl IntoLuaMulti) -> Option<Box<Ran>> {
        // Lua 5.1 cannot yield below a protected call, so there a page waits where it is.
        if cfg!(feature = "lua51") {
            return Some(Box::new(run.call(arguments).map(of_three)));
        }
        let coroutine = match self.coroutines.pop() {
            Some(coroutine) => coroutine.reset(run).map(|()| coroutine),
            None => self
                .lua
                .create_thread(run)
                .and_then(|coroutine| self.calls.note_base.call::<()>(&coroutine).map(|()| coroutine)),
        };
        match coroutine {
            Ok(coroutine) => {
                let ran = coroutine.resume(arguments);
                self.ran(coroutine, ran)
            }
            Err(error) => Some(Box::new(Err(error))),
        }
    }

    /// What such a function gave that was resumed, once it has ended.
    fn ran(&mut self, coroutine: Thread, mut ran: mlua::Result<MultiValue>) -> Option<Box<Ran>> {
        while ran.is_ok() && coroutine.is_resumable() {
            if self.parks() {
                self.parked = Some(Parked::Run(coroutine));
                return None;
            }
            self.wait_here();
            ran = coroutine.resume(());
        }
        // One that ended with an error cannot be used again.
        if ran.is_ok() && self.coroutines.len() < MOST_COROUTINES {
            self.coroutines.push(coroutine);
        }
        Some(Box::new(ran.and_then(|ran| FromLuaMulti::from_lua_multi(ran, &self.lua)).map(of_three)))
    }

    /// Waits in this thread for what the page waits for.
    fn wait_here(&self) {
        // PUC Lua's hook strikes only after so many steps: the page comes here again until it does.
        if self.limit.is_over() {
            return;
        }
        let awaited = self.slot.lock().as_ref().and_then(|visit| visit.awaited());
        if let Some((bell, until)) = awaited {
            self.limit.handle().wait(&bell, until);
        }
    }

    /// Whether the page that waits gives its thread up. Then its time stands still, and no limit of this thread's looks at it.
    fn parks(&mut self) -> bool {
        let is_over = self.limit.is_over() || self.limit.handle().server_stops();
        let mut slot = self.slot.lock();
        let Some(visit) = slot.as_mut() else { return false };
        if is_over || visit.runs_commands || !visit.exchange.can_park() {
            return false;
        }
        let most = visit.host.parked();
        let is_room = |parked: u32| (parked < most).then(|| parked + 1);
        let left = visit.deadline.map(End::left);
        let Some(waits) = &mut visit.waits else { return false };
        if self.all_parked.fetch_update(Relaxed, Relaxed, is_room).is_err() {
            return false;
        }
        waits.time_left = left;
        waits.parked_since = Some(Instant::now());
        self.pause_counting(visit);
        visit.to_tell = self.limit.take_slow().map(Box::new);
        drop(slot);
        if let Some((reason, _)) = self.limit.stop() {
            // It struck just now: it will again.
            self.begin_again();
            self.limit.handle().go_over(reason);
            return false;
        }
        forks::end_fork();
        true
    }

    /// The time of the page begins to run again, in this thread and in the page's folder.
    fn begin_again(&mut self) {
        let mut slot = self.slot.lock();
        let Some(visit) = slot.as_mut() else { return };
        let most = visit.limits.wait;
        let Some(waits) = &mut visit.waits else { return };
        if let Some(to_tell) = visit.to_tell.take() {
            self.limit.go_on_slow(*to_tell);
        }
        match waits.time_left {
            Some(left) => visit.deadline = Some(self.limit.start(left)),
            None => self.limit.start_unlimited(),
        }
        if let Some(since) = waits.parked_since.take() {
            waits.parked += since.elapsed();
            self.all_parked.fetch_sub(1, Relaxed);
        }
        if !most.is_zero() && waits.parked >= most {
            self.limit.handle().go_over(Reason::Wait);
        }
        self.resume_counting(visit);
        working_directory::enter(visit.folder());
    }

    /// What is rung for the page that waits without its thread, and when it goes on in any case.
    #[must_use]
    pub fn parked_at(&self) -> Option<(Arc<Bell>, Option<Instant>)> {
        self.slot.lock().as_ref()?.parked_at()
    }

    /// Has the reactor watch the client of the page that waits, if the page has asked for that.
    #[must_use]
    pub fn watch_client(&self, reactor: &Reactor) -> Option<Alarm> {
        self.slot.lock().as_ref()?.watch_client(reactor)
    }

    /// Takes the request away from a page that waits and that nobody goes on with. The state is not used again.
    pub fn abandon(&mut self) {
        self.limit.cutoff().kill_commands();
        let visit = self.slot.lock().take();
        self.parked = None;
        if visit.is_some() {
            self.all_parked.fetch_sub(1, Relaxed);
        }
        drop(visit);
    }
}

fn of_three((fine, address, length): (bool, Value, Value)) -> (bool, [Value; 2]) {
    (fine, [address, length])
}
