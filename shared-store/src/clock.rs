//! The clock that says when entries are over: the machine's, the same in all processes, which nobody sets.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine started; up to some milliseconds late, which is cheap to know.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let now = u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    #[cfg(test)]
    let now = now + AHEAD.get();
    now
}

/// When what begins now and lasts so long is over; never is 0.
pub(crate) fn end_of(lifetime: Option<Duration>) -> u64 {
    let Some(lifetime) = lifetime else { return 0 };
    let milliseconds = u64::try_from(lifetime.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    now().saturating_add(milliseconds.max(1))
}

#[cfg(test)]
thread_local! {
    /// Milliseconds by which a test has set this thread's clock ahead.
    pub(crate) static AHEAD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
