//! Moments as one number, which fits an atomic: nanoseconds of the system's monotonic clock, and a few that are none of it.

use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Of a state that runs no page.
pub(super) const NEVER: u64 = u64::MAX;
/// Of a page without a time limit.
pub(super) const UNLIMITED: u64 = NEVER - 1;
/// Of a page that has been told to stop.
pub(super) const EXPIRED: u64 = 0;
/// Of a page that must end with its server.
pub(super) const LONG_AGO: u64 = 1;

/// What the system's monotonic clock says, in nanoseconds.
pub fn now() -> u64 {
    // It is there on every system that httpd runs on.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or_else(|_| TimeSpec::new(0, 1));
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// The clock's time of what [`now`] counts; none for [`NEVER`] and [`UNLIMITED`].
pub(super) fn instant(time: u64) -> Option<Instant> {
    match time {
        NEVER | UNLIMITED => None,
        _ => Instant::now().checked_add(Duration::from_nanos(time.saturating_sub(now()))),
    }
}

/// When a page must have ended.
#[derive(Debug, Clone, Copy)]
pub struct End(pub(super) u64);

impl End {
    /// Time until then.
    #[must_use]
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now()))
    }

    /// Time since then.
    #[must_use]
    pub fn over(self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.0))
    }

    /// The same moment, or none when it is too far for one.
    #[must_use]
    pub fn instant(self) -> Option<Instant> {
        instant(self.0)
    }
}
