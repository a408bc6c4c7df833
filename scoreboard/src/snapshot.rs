//! What was counted and is counted now, read off the memory.

use std::sync::atomic::Ordering::Relaxed;

use crate::board::Board;
use crate::seat;
use crate::slowest::{self, SlowPage};
use crate::table::{KINDS, Place};

impl Board {
    /// What was counted, and is counted now, for the hosts of the configuration.
    #[must_use]
    pub fn snapshot(self) -> Snapshot {
        seat::collect(self);
        let used = self.rows_used();
        let mut hosts: Vec<HostCounts> = self.table().hosts[..used]
            .iter()
            .map(|row| {
                let errors = std::array::from_fn(|kind| row.errors[kind].load(Relaxed));
                HostCounts {
                    name: String::from_utf8_lossy(&row.name.get()).into_owned(),
                    requests: row.requests.load(Relaxed),
                    seconds: seconds(row.nanoseconds.load(Relaxed)),
                    refused: row.refused.load(Relaxed),
                    errors,
                    compiled: row.compiled.load(Relaxed),
                    compile_seconds: seconds(row.compile_nanoseconds.load(Relaxed)),
                    taken: row.taken.load(Relaxed),
                    states_made: row.states_made.load(Relaxed),
                    ..HostCounts::default()
                }
            })
            .collect();
        let mut processes = Vec::new();
        for place in self.places() {
            let owner = place.owner.load(Relaxed);
            let host = place.host.load(Relaxed) as usize;
            let (true, Some(counts)) = (owner != 0, hosts.get_mut(host)) else { continue };
            if !processes.contains(&owner) {
                processes.push(owner);
            }
            counts.add(place);
        }
        for (counts, row) in hosts.iter_mut().zip(&self.table().hosts) {
            counts.slowest = slowest::read(row);
        }
        let mut rows = self.table().hosts.iter();
        hosts.retain(|_| rows.next().is_some_and(|row| row.is_listed.load(Relaxed) != 0));
        Snapshot { since: self.table().since.load(Relaxed), resets: self.resets(), processes: processes.len(), hosts }
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// All that was counted, at one moment or nearly so.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When counting began, in seconds since 1970.
    pub since: u64,
    /// How often compiled files were given up on demand.
    pub resets: u32,
    /// Processes that have a state or a pool.
    pub processes: usize,
    /// Each host of the configuration.
    pub hosts: Vec<HostCounts>,
}

/// A host's numbers, over all processes, those that have ended as well.
#[derive(Debug, Clone, Default)]
pub struct HostCounts {
    /// As the configuration names it.
    pub name: String,
    /// States that exist now.
    pub states: u64,
    /// Of these, in which a page runs.
    pub busy: u64,
    /// Requests that wait for a state.
    pub waiting: u64,
    /// Pages that wait without a thread.
    pub parked: u64,
    /// Bytes that Lua holds in the states.
    pub bytes: u64,
    /// Pages that ended, well or not.
    pub requests: u64,
    /// How long these took, together, with what they waited.
    pub seconds: f64,
    /// Requests that were given no state.
    pub refused: u64,
    /// Failed pages by kind.
    pub errors: [u64; KINDS],
    /// Files compiled.
    pub compiled: u64,
    /// How long that took.
    pub compile_seconds: f64,
    /// Files that a state took compiled from another.
    pub taken: u64,
    /// States made.
    pub states_made: u64,
    /// The pages that took longest, the slowest first.
    pub slowest: Vec<SlowPage>,
}

impl HostCounts {
    fn add(&mut self, place: &Place) {
        self.states += u64::from(place.is_state.load(Relaxed));
        self.busy += u64::from(place.is_busy.load(Relaxed));
        self.waiting += u64::from(place.waiting.load(Relaxed));
        self.parked += u64::from(place.parked.load(Relaxed));
        self.bytes += place.bytes.load(Relaxed);
        self.requests += place.requests.load(Relaxed);
        self.seconds += seconds(place.nanoseconds.load(Relaxed));
    }
}
