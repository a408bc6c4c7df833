//! The memory.
//!
//! `unsafe` here for memory that the system maps.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::table::{MOST_HOSTS, Place, Table};

/// The numbers of a server, which all its processes write to. Copies are of one memory, which stays until the process ends.
#[derive(Clone, Copy)]
pub struct Board(NonNull<Table>);

// SAFETY: the memory is never given back, and all that is in it is atomic.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Board {
    /// What memory of another layout is told by.
    pub const LAYOUT: &str = concat!(env!("CARGO_PKG_VERSION"), " 1");

    /// New memory with nothing counted, which processes forked from this one share with it.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Board> {
        let board = Board(shared_store::new_memory(size_of::<Table>())?.cast());
        board.table().since.store(now(), Relaxed);
        Ok(board)
    }

    /// Memory that [`new`](Board::new) made in this process or in one it was forked from.
    ///
    /// # Safety
    /// It begins there.
    #[must_use]
    pub unsafe fn at(start: NonNull<u8>) -> Board {
        Board(start.cast())
    }

    /// Where it begins.
    #[must_use]
    pub fn start(self) -> NonNull<u8> {
        self.0.cast()
    }

    pub(crate) fn table(self) -> &'static Table {
        // SAFETY: mapped by `new`, never given back; zeros are a valid table, and so is whatever is written to it.
        unsafe { self.0.as_ref() }
    }

    /// Rows of hosts that were ever in a configuration.
    pub(crate) fn rows_used(self) -> usize {
        (self.table().hosts_used.load(Relaxed) as usize).min(MOST_HOSTS)
    }

    /// Gives up what all processes have compiled: each state is made anew before its next page.
    pub fn reset(self) {
        self.table().resets.fetch_add(1, Relaxed);
    }

    /// How often that was asked for.
    #[must_use]
    pub fn resets(self) -> u32 {
        self.table().resets.load(Relaxed)
    }

    pub(crate) fn places(self) -> &'static [Place] {
        &self.table().seats[..(self.table().seats_used.load(Relaxed) as usize).min(self.table().seats.len())]
    }
}
