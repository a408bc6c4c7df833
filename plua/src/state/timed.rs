//! Work of pages that is done without its request (`plua.after`, `plua.every`): it runs in the state that it was asked for in.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::entry::Entry;
use crate::error::report::Report;
use crate::error::{ErrorKind, Frame};
use crate::limits::bell::Bell;
use crate::request::timers::Scheduled;
use crate::request::visit::Visit;
use crate::state::parked::ParkedPage;
use crate::state::pool::HostPool;
use crate::state::{Outcome, State};

/// Farther than any page waits.
const LONGEST: Duration = Duration::from_secs(365 * 86400);

/// Whether it is to run again. A failure is told to whoever looks after the server, for nobody else is there.
fn conclude(scheduled: &Scheduled, visit: &mut Visit, outcome: Outcome<'_>) -> bool {
    let mut is_stopped = false;
    if let Outcome::Failed(mut error) = outcome {
        is_stopped = error.kind.spoils_state();
        if error.frames.is_empty() && error.place.is_none() {
            error.frames.push(Frame { what: format!("timer of {}", visit.path.display()), at: None, is_file: false });
        }
        match error.kind {
            ErrorKind::ServerStop => {}
            _ => visit.exchange.report(Report(&error)),
        }
    }
    let is_repeated = scheduled.timer.period.is_some() && !is_stopped && scheduled.is_wanted();
    if !is_repeated && let Some(book) = scheduled.book.upgrade() {
        // While the state is still on loan: it may end when nobody needs it any more.
        book.lock().remove(scheduled.timer.number);
    }
    is_repeated
}

impl State {
    /// What its pages have asked for and the pool does not know of yet.
    pub(super) fn take_scheduled(&mut self) -> Vec<Scheduled> {
        mem::take(&mut self.scheduled)
    }

    /// Notes what the page of this visit, or the file of `pLuaInit` before it, wants to be done without its request.
    #[inline(never)]
    pub(super) fn note_timers(&mut self, visit: &mut Visit) {
        let new = self.timers.lock().take_new();
        if new.is_empty() {
            return;
        }
        let Some(background) = visit.exchange.background() else {
            let line =
                format!("{}: nothing runs here without a request (plua.after, plua.every)", visit.path.display());
            visit.exchange.log(Entry::NO_BACKGROUND, &line);
            new.iter().for_each(|timer| self.timers.lock().remove(timer.number));
            return;
        };
        self.has_timers = true;
        self.scheduled.extend(new.into_iter().map(|timer| Scheduled {
            timer,
            state: self.number,
            book: Arc::downgrade(&self.timers),
            settings: visit.its_settings(),
            path: visit.path.clone(),
            background: background.clone(),
        }));
    }

    /// Runs the function of a timer; as [`run`](State::run) says it.
    fn run_timer<R>(
        &mut self,
        mut visit: Box<Visit>,
        number: u64,
        conclude: impl FnOnce(&mut Visit, Outcome<'_>) -> R,
    ) -> Option<R> {
        self.spoiled = true;
        (visit.run, visit.state) = (self.runs, self.number);
        let limits = visit.limits;
        self.start_time(&mut visit);
        if let Err(error) = self.set_limits(&limits) {
            self.limit.stop();
            return Some(conclude(&mut visit, Outcome::Failed(error.into())));
        }
        *self.slot.lock() = Some(visit);
        let ran = self.run_in_coroutine(self.calls.run_timer.clone(), number)?;
        Some(self.finish(Some(ran), conclude))
    }
}

impl HostPool {
    /// Has a function run in its state when it is due.
    pub(super) fn schedule(&self, scheduled: Scheduled) {
        let (pool, due) = (self.weak(), scheduled.timer.due);
        let job = move || {
            if let Some(pool) = pool.upgrade().filter(|_| scheduled.is_wanted()) {
                pool.take_and_run(scheduled);
            }
        };
        // Where the system gives no thread there is nothing to be done about it, nor anybody to be told.
        let _ = self.background().at(due, Box::new(job));
    }

    /// Does a job when the bell rings.
    fn when_rung(&self, bell: &Bell, job: impl FnOnce(&Arc<HostPool>) + Send + 'static) {
        let pool = self.weak();
        let ticket = self.background().suspend(Box::new(move || {
            if let Some(pool) = pool.upgrade() {
                job(&pool);
            }
        }));
        // The bell may be the job's own, so it must not hold the job.
        let background = Arc::downgrade(self.background());
        bell.when_rung(Box::new(move || {
            if let Some(background) = background.upgrade() {
                background.call(ticket);
            }
        }));
    }

    /// Runs the function when its state is free.
    fn take_and_run(self: &Arc<HostPool>, scheduled: Scheduled) {
        let waiter = match self.seat(scheduled.state) {
            Ok(state) => return self.run_timer(state, scheduled),
            Err(waiter) => waiter,
        };
        let bell = waiter.bell.clone();
        self.when_rung(&bell, move |pool| match pool.leave_seat(&waiter) {
            Some(state) => pool.run_timer(state, scheduled),
            None => pool.take_and_run(scheduled),
        });
    }

    fn run_timer(self: &Arc<HostPool>, state: Box<State>, scheduled: Scheduled) {
        let mut state = self.guard_of(state);
        if !scheduled.is_wanted() {
            return;
        }
        let visit = Visit::new((scheduled.background)(), scheduled.path.clone(), scheduled.settings.clone());
        let number = scheduled.timer.number;
        match state.run_timer(visit, number, |visit, outcome| conclude(&scheduled, visit, outcome)) {
            Some(is_repeated) => {
                drop(state);
                self.repeat(is_repeated, scheduled);
            }
            None => self.wait(state.into_parked(self), scheduled),
        }
    }

    fn repeat(&self, is_repeated: bool, mut scheduled: Scheduled) {
        if let Some(period) = scheduled.timer.period.filter(|_| is_repeated) {
            scheduled.timer.due = (scheduled.timer.due + period).max(Instant::now());
            self.schedule(scheduled);
        }
    }

    /// Goes on with a page that waits when it may.
    fn wait(&self, page: ParkedPage, scheduled: Scheduled) {
        let Some((bell, until)) = page.parked_at() else { return };
        let latest = Instant::now() + LONGEST;
        let Ok(alarm) = self.reactor().call_at(&bell, until.map_or(latest, |until| until.min(latest))) else { return };
        self.when_rung(&bell, move |pool| {
            drop(alarm);
            match page.go_on(|visit, outcome| conclude(&scheduled, visit, outcome)) {
                Ok(is_repeated) => pool.repeat(is_repeated, scheduled),
                Err(page) => pool.wait(page, scheduled),
            }
        });
    }
}
