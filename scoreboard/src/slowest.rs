//! The pages of a host that took longest: each once, with its longest time.

use std::process;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::board::now;
use crate::table::{Row, Slow};

/// A page that took long.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowPage {
    /// Its file; of a long path the end.
    pub page: String,
    /// Its longest time, with what it waited.
    pub seconds: f64,
    /// Bytes of Lua's in its state when it ended.
    pub bytes: u64,
    /// When that was, in seconds since 1970.
    pub at: u64,
}

/// Looks at a lock that another has, before one does without: it is held for a microsecond.
const LOOKS: u32 = 1000;

/// The right to change what is slow, while this is there.
struct Held<'r>(&'r Row);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.slow_lock.store(0, Release);
    }
}

/// Nothing where another has it, be it a process that ended with it: then what it may have left half is forgotten.
fn hold(row: &Row) -> Option<Held<'_>> {
    let me = process::id();
    for _ in 0..LOOKS {
        match row.slow_lock.compare_exchange_weak(0, me, Acquire, Relaxed) {
            Ok(_) => return Some(Held(row)),
            Err(_) => std::hint::spin_loop(),
        }
    }
    let owner = row.slow_lock.load(Relaxed);
    if owner == 0 || !shared_store::is_gone(owner) {
        return None;
    }
    row.slow_lock.compare_exchange(owner, me, Acquire, Relaxed).ok()?;
    for slow in &row.slow {
        slow.nanoseconds.store(0, Relaxed);
    }
    Some(Held(row))
}

/// See [`Host::note_slow`](crate::Host::note_slow).
pub(crate) fn note(row: &Row, page: &[u8], nanoseconds: u64, bytes: u64) {
    let fastest = |row: &Row| row.slow.iter().map(|slow| slow.nanoseconds.load(Relaxed)).min().unwrap_or(0);
    // A look that needs no lock.
    if nanoseconds <= fastest(row) {
        return;
    }
    let Some(_held) = hold(row) else { return };
    let same = |slow: &&Slow| slow.nanoseconds.load(Relaxed) > 0 && slow.page.is(page);
    let place = match row.slow.iter().find(same) {
        Some(slow) => (slow.nanoseconds.load(Relaxed) < nanoseconds).then_some(slow),
        None => row.slow.iter().min_by_key(|slow| slow.nanoseconds.load(Relaxed)),
    };
    if let Some(slow) = place.filter(|slow| slow.nanoseconds.load(Relaxed) < nanoseconds) {
        slow.nanoseconds.store(0, Relaxed);
        slow.page.set(page);
        slow.bytes.store(bytes, Relaxed);
        slow.at.store(now(), Relaxed);
        slow.nanoseconds.store(nanoseconds, Relaxed);
    }
}

/// Those of a host, the slowest first.
pub(crate) fn read(row: &Row) -> Vec<SlowPage> {
    let Some(_held) = hold(row) else { return Vec::new() };
    let mut pages: Vec<SlowPage> = row
        .slow
        .iter()
        .filter(|slow| slow.nanoseconds.load(Relaxed) > 0)
        .map(|slow| SlowPage {
            page: String::from_utf8_lossy(&slow.page.get()).into_owned(),
            seconds: slow.nanoseconds.load(Relaxed) as f64 / 1e9,
            bytes: slow.bytes.load(Relaxed),
            at: slow.at.load(Relaxed),
        })
        .collect();
    pages.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    pages
}
