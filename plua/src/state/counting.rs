//! What a state counts of its pages, for the server's scoreboard and for its log.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::exchange::facts::{PageFacts, ProcessorTime};
use crate::limits::time_limit::now;
use crate::request::visit::Visit;
use crate::state::State;

/// Pages of a state whose longest times are told apart.
pub(super) const TOLD_APART: usize = 64;

/// Requests between two looks at what Lua holds.
const BETWEEN_LOOKS: u32 = 16;

impl State {
    /// Counts its pages among a host's from here on; files were given up so often.
    pub(super) fn count_in(&mut self, counts: Option<scoreboard::Host>, resets: u32) {
        self.counts = counts;
        self.seat = counts.map(scoreboard::Host::state);
        self.resets = resets;
    }

    /// Whether it was made when compiled files had been given up so often.
    pub(super) fn is_as_of(&self, resets: u32) -> bool {
        self.resets == resets
    }

    /// A page begins.
    #[inline]
    pub(super) fn begin_counting(&self, visit: &mut Visit) {
        if let Some(seat) = &self.seat {
            seat.begin();
            visit.began = Some(now());
            visit.counts = self.counts;
        }
        if visit.exchange.wants_facts() {
            visit.began.get_or_insert_with(now);
            visit.measured = Some(Box::new(ProcessorTime::begin()));
        }
    }

    /// It gives its thread up.
    pub(super) fn pause_counting(&self, visit: &mut Visit) {
        if let Some(seat) = &self.seat {
            seat.pause();
        }
        if let Some(measured) = &mut visit.measured {
            measured.pause();
        }
    }

    /// It goes on.
    pub(super) fn resume_counting(&self, visit: &mut Visit) {
        if let Some(seat) = &self.seat {
            seat.begin();
        }
        if let Some(measured) = &mut visit.measured {
            measured.resume();
        }
    }

    /// It has ended, and is to be answered.
    #[inline]
    pub(super) fn end_counting(&mut self, visit: &mut Visit, page: u32) {
        let Some(began) = visit.began.take() else {
            // What runs without a request is no page.
            self.seat.iter().for_each(|seat| seat.pause());
            return;
        };
        let time = now().saturating_sub(began);
        if let Some(seat) = &self.seat {
            seat.end(time);
            let microseconds = u32::try_from(time / 1000).unwrap_or(u32::MAX);
            let longest = &mut self.longest[page as usize % TOLD_APART];
            // Each page has few longer times than all before, and one that is hardly longer is none.
            if microseconds > *longest + *longest / 8 || self.runs % BETWEEN_LOOKS == 1 {
                *longest = microseconds.max(*longest);
                self.note(visit, time);
            }
        }
        if visit.measured.is_some() {
            self.tell(visit, time);
        }
    }

    #[inline(never)]
    fn note(&self, visit: &Visit, time: u64) {
        let (Some(seat), Some(counts)) = (&self.seat, self.counts) else { return };
        let bytes = self.lua.used_memory() as u64;
        seat.set_bytes(bytes);
        counts.note_slow(visit.path.as_os_str().as_bytes(), time, bytes);
    }

    #[inline(never)]
    fn tell(&self, visit: &mut Visit, time: u64) {
        let Some(mut measured) = visit.measured.take() else { return };
        visit.exchange.tell(PageFacts {
            time: Duration::from_nanos(time),
            processor: measured.pause(),
            bytes: self.lua.used_memory(),
            state: self.number,
            origin: self.loader.lock().as_ref().map_or_else(Default::default, |loader| loader.origin()),
        });
    }
}
