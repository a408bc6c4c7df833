//! How the memory is laid out: numbers that any process may read and change at any time.

use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::text::Text;

/// Hosts that have a row; all others share the last one.
pub const MOST_HOSTS: usize = 4096;

/// States and pools that have a seat; those of others are counted in their host's row.
pub const MOST_SEATS: usize = 1 << 16;

/// Kinds of errors that are counted one by one.
pub const KINDS: usize = 24;

/// Pages of a host that are remembered for how long they took.
pub(crate) const MOST_SLOW: usize = 16;

/// All of it, as it begins with zeros.
#[repr(C)]
pub(crate) struct Table {
    /// When it was made, in seconds since 1970.
    pub(crate) since: AtomicU64,
    /// Rows that are in use.
    pub(crate) hosts_used: AtomicU32,
    /// Seats that were ever in use are before this one.
    pub(crate) seats_used: AtomicU32,
    /// Where a free one is looked for first: before it there were none.
    pub(crate) free_from: AtomicU32,
    /// How often compiled files were given up on demand.
    pub(crate) resets: AtomicU32,
    pub(crate) hosts: [Row; MOST_HOSTS],
    pub(crate) seats: [Place; MOST_SEATS],
}

/// A host's.
#[repr(C, align(128))]
pub(crate) struct Row {
    pub(crate) name: Text<32>,
    /// Whether the present configuration has it.
    pub(crate) is_listed: AtomicU32,
    /// The process that changes what is slow, or 0.
    pub(crate) slow_lock: AtomicU32,
    /// Of pages whose state is gone, or has no seat.
    pub(crate) requests: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
    /// Requests that were given no state.
    pub(crate) refused: AtomicU64,
    /// Files compiled, how long that took, and files taken from what another state had compiled.
    pub(crate) compiled: AtomicU64,
    pub(crate) compile_nanoseconds: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) states_made: AtomicU64,
    pub(crate) errors: [AtomicU64; KINDS],
    pub(crate) slow: [Slow; MOST_SLOW],
}

/// A page that took long. Empty where it took no time.
#[repr(C)]
pub(crate) struct Slow {
    pub(crate) nanoseconds: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// When, in seconds since 1970.
    pub(crate) at: AtomicU64,
    pub(crate) page: Text<32>,
}

/// A state's or a pool's, on lines of the processor's caches that nobody else writes to.
#[repr(C, align(128))]
pub(crate) struct Place {
    /// The process that has it, or 0.
    pub(crate) owner: AtomicU32,
    pub(crate) host: AtomicU32,
    /// 1 for a state, 0 for a pool.
    pub(crate) is_state: AtomicU32,
    /// Whether a page runs in the state.
    pub(crate) is_busy: AtomicU32,
    /// Pages that wait in the pool's states without a thread.
    pub(crate) parked: AtomicU32,
    /// Requests that wait for one of the pool's states.
    pub(crate) waiting: AtomicU32,
    pub(crate) requests: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
    /// Bytes that the state's Lua had when it was looked at last.
    pub(crate) bytes: AtomicU64,
}
