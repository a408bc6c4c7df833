//! A seat: the numbers that one state or one pool writes to, and nobody else.

use std::ops::Deref;
use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::board::Board;
use crate::table::{MOST_SEATS, Place};

/// The owner of a seat whose counts are being added to its host's.
const CLEARING: u32 = u32::MAX;

/// Where a state or a pool counts. What it has counted goes to its host when this is dropped.
pub struct Seat {
    board: Board,
    /// The number of its host's row.
    host: usize,
    /// None where all are taken.
    number: Option<usize>,
}

impl Seat {
    pub(crate) fn take(board: Board, host: usize, is_state: bool) -> Seat {
        let number = find(board).or_else(|| {
            collect(board);
            find(board)
        });
        let seat = Seat { board, host, number };
        if let Some(place) = seat.place() {
            place.host.store(u32::try_from(host).unwrap_or(0), Relaxed);
            place.is_state.store(u32::from(is_state), Relaxed);
        }
        seat
    }

    #[inline]
    pub(crate) fn place(&self) -> Option<&'static Place> {
        self.board.table().seats.get(self.number?)
    }

    /// A page begins to run in the state, or goes on.
    #[inline]
    pub fn begin(&self) {
        if let Some(place) = self.place() {
            place.is_busy.store(1, Relaxed);
        }
    }

    /// It waits without its thread.
    #[inline]
    pub fn pause(&self) {
        if let Some(place) = self.place() {
            place.is_busy.store(0, Relaxed);
        }
    }

    /// It has ended, after so many nanoseconds.
    #[inline]
    pub fn end(&self, nanoseconds: u64) {
        match self.place() {
            // Nobody else writes there.
            Some(place) => {
                place.is_busy.store(0, Relaxed);
                place.requests.store(place.requests.load(Relaxed) + 1, Relaxed);
                place.nanoseconds.store(place.nanoseconds.load(Relaxed) + nanoseconds, Relaxed);
            }
            None => {
                let row = &self.board.table().hosts[self.host];
                row.requests.fetch_add(1, Relaxed);
                row.nanoseconds.fetch_add(nanoseconds, Relaxed);
            }
        }
    }

    /// So many bytes are Lua's.
    pub fn set_bytes(&self, bytes: u64) {
        if let Some(place) = self.place() {
            place.bytes.store(bytes, Relaxed);
        }
    }

    /// So many requests wait for a state of the pool.
    pub fn set_waiting(&self, requests: usize) {
        if let Some(place) = self.place() {
            place.waiting.store(u32::try_from(requests).unwrap_or(u32::MAX), Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            clear(self.board, number, process::id());
        }
    }
}

/// How many pages of a pool wait without a thread: counted in its seat, or here where it has none.
pub struct Gauge {
    seat: Option<Seat>,
    own: AtomicU32,
}

impl Gauge {
    /// None yet.
    #[must_use]
    pub fn new(seat: Option<Seat>) -> Gauge {
        Gauge { seat, own: AtomicU32::new(0) }
    }

    /// The pool's seat.
    #[must_use]
    pub fn seat(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }
}

impl Deref for Gauge {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        self.seat.as_ref().and_then(Seat::place).map_or(&self.own, |place| &place.parked)
    }
}

/// The number of a free place, which is this process's from here on.
fn find(board: Board) -> Option<usize> {
    let (table, me) = (board.table(), process::id());
    let from = (table.free_from.load(Relaxed) as usize).min(MOST_SEATS);
    let is_taken = |place: &Place| {
        place.owner.load(Relaxed) != 0 || place.owner.compare_exchange(0, me, Relaxed, Relaxed).is_err()
    };
    let number = (from..MOST_SEATS).chain(0..from).find(|number| !is_taken(&table.seats[*number]))?;
    let after = u32::try_from(number + 1).unwrap_or(0);
    table.seats_used.fetch_max(after, Relaxed);
    table.free_from.store(after, Relaxed);
    Some(number)
}

/// Adds the counts of a seat to its host's and frees it, if it is still the owner's.
fn clear(board: Board, number: usize, owner: u32) {
    let table = board.table();
    let place = &table.seats[number];
    if place.owner.compare_exchange(owner, CLEARING, Relaxed, Relaxed).is_err() {
        return;
    }
    if let Some(row) = table.hosts.get(place.host.load(Relaxed) as usize) {
        row.requests.fetch_add(place.requests.swap(0, Relaxed), Relaxed);
        row.nanoseconds.fetch_add(place.nanoseconds.swap(0, Relaxed), Relaxed);
    }
    for gauge in [&place.is_state, &place.is_busy, &place.parked, &place.waiting] {
        gauge.store(0, Relaxed);
    }
    place.bytes.store(0, Relaxed);
    place.owner.store(0, Release);
    table.free_from.fetch_min(u32::try_from(number).unwrap_or(0), Relaxed);
}

/// Does that with the seats of processes that are gone.
pub(crate) fn collect(board: Board) {
    let (mut known, mut gone) = (Vec::new(), Vec::new());
    for (number, place) in board.places().iter().enumerate() {
        let owner = place.owner.load(Relaxed);
        if owner == 0 || owner == CLEARING || known.contains(&owner) {
            continue;
        }
        if !gone.contains(&owner) {
            if !shared_store::is_gone(owner) {
                known.push(owner);
                continue;
            }
            gone.push(owner);
        }
        clear(board, number, owner);
    }
}
