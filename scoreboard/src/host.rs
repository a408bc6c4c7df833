//! A host's row: what seldom happens, and so may be counted where all processes count it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::board::Board;
use crate::seat::{self, Seat};
use crate::slowest;
use crate::table::{MOST_HOSTS, Row};

/// Where a host's pools count.
#[derive(Clone, Copy)]
pub struct Host {
    board: Board,
    number: usize,
}

impl Board {
    /// That no host is in the configuration, until [`host`](Board::host) says so of one. For a process of one thread.
    pub fn begin_configuration(self) {
        for row in &self.table().hosts[..self.rows_used()] {
            row.is_listed.store(0, Relaxed);
        }
        seat::collect(self);
    }

    /// The row of a host in the configuration, which it keeps from one configuration to the next. For a process of one thread.
    #[must_use]
    pub fn host(self, name: &str) -> Host {
        let used = self.rows_used();
        let found = self.table().hosts[..used].iter().position(|row| row.name.is(name.as_bytes()));
        let number = found.unwrap_or(used.min(MOST_HOSTS - 1));
        let row = &self.table().hosts[number];
        if found.is_none() {
            let is_last = number == MOST_HOSTS - 1;
            row.name.set(if is_last { b"all other hosts" } else { name.as_bytes() });
            self.table().hosts_used.store(u32::try_from(number + 1).unwrap_or(0), Relaxed);
        }
        row.is_listed.store(1, Relaxed);
        Host { board: self, number }
    }
}

impl Host {
    /// Where it is.
    #[must_use]
    pub fn board(self) -> Board {
        self.board
    }

    pub(crate) fn row(self) -> &'static Row {
        &self.board.table().hosts[self.number]
    }

    /// Its name there.
    #[must_use]
    pub fn name(self) -> String {
        String::from_utf8_lossy(&self.row().name.get()).into_owned()
    }

    /// A seat for a new pool of this process.
    #[must_use]
    pub fn pool(self) -> Seat {
        Seat::take(self.board, self.number, false)
    }

    /// A seat for a new state of this process.
    #[must_use]
    pub fn state(self) -> Seat {
        self.row().states_made.fetch_add(1, Relaxed);
        Seat::take(self.board, self.number, true)
    }

    /// A page failed; its kind is a number below [`KINDS`](crate::KINDS).
    pub fn count_error(self, kind: usize) {
        if let Some(count) = self.row().errors.get(kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A request was given no state.
    pub fn count_refused(self) {
        self.row().refused.fetch_add(1, Relaxed);
    }

    /// A file was compiled, for so long.
    pub fn count_compiled(self, time: Duration) {
        self.row().compiled.fetch_add(1, Relaxed);
        self.row().compile_nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A file was taken that another state had compiled.
    pub fn count_taken(self) {
        self.row().taken.fetch_add(1, Relaxed);
    }

    /// A page took so many nanoseconds, with so many bytes of Lua's in its state at its end. Remembered if it is among the
    /// host's slowest.
    pub fn note_slow(self, page: &[u8], nanoseconds: u64, bytes: u64) {
        slowest::note(self.row(), page, nanoseconds, bytes);
    }
}
