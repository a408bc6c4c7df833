//! Waiting for what nothing signals: the one place where tests look again and again.
//!
//! Tests of the engine take this file too.

#![allow(dead_code, reason = "each test program uses its part")]

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Whether the condition came to hold, waiting so long at most.
pub fn within(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + bound;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until the condition holds, and fails when it does not within that bound.
#[track_caller]
pub fn until(what: &str, bound: Duration, condition: impl FnMut() -> bool) {
    assert!(within(bound, condition), "not within {bound:?}: {what}");
}
