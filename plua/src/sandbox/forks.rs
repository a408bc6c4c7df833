//! Processes that a page forks (`posix.fork`, `ffi`): copies of the server's with a copy of the page in it, whose visitor is
//! answered by the first one alone.
//!
//! A copy ends where its page ends or sends, unless it executes a program before. It has no watchdog, which is a thread and not
//! copied, so the system ends it when the page's time is over. What other modules fork executes a program at once, to which
//! none of this comes.
//!
//! `unsafe` here for the C library's own interface: it calls whom it was told in each copy.
#![allow(unsafe_code)]

use std::mem;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::limits::time_limit;

static IS_FORK: AtomicBool = AtomicBool::new(false);

/// From here on each fork of this process knows that it is one.
pub fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the function does only what may be done in a fork of a process of many threads. The C library forgets it
        // when this library is unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(in_fork)) };
    });
}

/// Ends the process if it is a fork of the server's. To be called where a page ends, and before it sends anything.
#[inline]
pub fn end_fork() {
    if IS_FORK.load(Ordering::Relaxed) {
        end();
    }
}

#[cold]
fn end() -> ! {
    // SAFETY: always allowed. Nothing is written that the server's own process will write, and no connection is closed
    // that it uses.
    unsafe { libc::_exit(0) }
}

unsafe extern "C" fn in_fork() {
    IS_FORK.store(true, Ordering::Relaxed);
    if let Some(left) = time_limit::left_in_this_thread() {
        end_in(left);
    }
}

/// Has the system end this process after that time, but no program that it executes: timers of this kind are gone then.
fn end_in(left: Duration) {
    // No time at all would be no timer.
    let left = left.max(Duration::from_nanos(1));
    // SAFETY: both records are plain data, for which zero is a value, and are there while the calls last.
    unsafe {
        let mut event: libc::sigevent = mem::zeroed();
        (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGKILL);
        let mut timer: libc::timer_t = ptr::null_mut();
        if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) == 0 {
            let mut time: libc::itimerspec = mem::zeroed();
            time.it_value.tv_sec = left.as_secs().min(i32::MAX as u64) as libc::time_t;
            time.it_value.tv_nsec = left.subsec_nanos().into();
            libc::timer_settime(timer, 0, &raw const time, ptr::null_mut());
        }
    }
}
