//! A lock in shared memory that tells when the one who held it has died.
//!
//! `unsafe` here for the locks of POSIX threads, which no safe interface shares between processes.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use libc::{
    EBUSY, EOWNERDEAD, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED, c_int, pthread_mutex_consistent,
    pthread_mutex_init, pthread_mutex_t, pthread_mutex_timedlock, pthread_mutex_trylock, pthread_mutex_unlock,
    pthread_mutexattr_destroy, pthread_mutexattr_init, pthread_mutexattr_setpshared, pthread_mutexattr_setrobust,
    timespec,
};

/// Time after which a lock is taken to be held by a process that does not run: each is held for microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at a lock that another processor may give free in a moment, before this thread sleeps.
const LOOKS: u32 = 40;

/// Makes a lock.
///
/// # Errors
/// The system's.
///
/// # Safety
/// There is room for one at `lock`, which nobody uses yet.
pub(crate) unsafe fn make(lock: *mut pthread_mutex_t) -> io::Result<()> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: there is room for the attributes, which are made before they are used and destroyed at last.
    unsafe {
        done(pthread_mutexattr_init(attributes.as_mut_ptr()))?;
        let made = done(pthread_mutexattr_setpshared(attributes.as_mut_ptr(), PTHREAD_PROCESS_SHARED))
            .and_then(|()| done(pthread_mutexattr_setrobust(attributes.as_mut_ptr(), PTHREAD_MUTEX_ROBUST)))
            .and_then(|()| done(pthread_mutex_init(lock, attributes.as_ptr())));
        pthread_mutexattr_destroy(attributes.as_mut_ptr());
        made
    }
}

/// Takes a lock: whether who had it before has died with it.
///
/// # Errors
/// The system's, and that it was not to be had in seconds.
///
/// # Safety
/// `lock` was made by [`make`], and this thread does not hold it.
#[inline]
pub(crate) unsafe fn take(lock: *mut pthread_mutex_t) -> io::Result<bool> {
    for _ in 0..LOOKS {
        // SAFETY: the caller's promise.
        match unsafe { pthread_mutex_trylock(lock) } {
            EBUSY => std::hint::spin_loop(),
            // SAFETY: the caller's promise.
            taken => return unsafe { of_dead(lock, taken) },
        }
    }
    let until = (SystemTime::now() + PATIENCE).duration_since(SystemTime::UNIX_EPOCH).unwrap_or(PATIENCE);
    let until = timespec { tv_sec: until.as_secs() as libc::time_t, tv_nsec: until.subsec_nanos() as libc::c_long };
    // SAFETY: the caller's promise.
    unsafe { of_dead(lock, pthread_mutex_timedlock(lock, &raw const until)) }
}

/// What it means that a lock was taken with that answer.
///
/// # Safety
/// As for [`take`], with the answer that this thread has just got.
#[inline]
unsafe fn of_dead(lock: *mut pthread_mutex_t, taken: c_int) -> io::Result<bool> {
    if taken != EOWNERDEAD {
        return done(taken).map(|()| false);
    }
    // From here on it counts as any other. That what it guards may be torn is told by a mark there.
    // SAFETY: the caller's promise: this thread has it.
    done(unsafe { pthread_mutex_consistent(lock) }).map(|()| true)
}

/// Gives a lock free.
///
/// # Safety
/// This thread holds it.
#[inline]
pub(crate) unsafe fn give(lock: *mut pthread_mutex_t) {
    // SAFETY: the caller's promise. Then nothing can fail.
    unsafe { pthread_mutex_unlock(lock) };
}

#[inline]
fn done(answer: c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
}
