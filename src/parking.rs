//! Requests whose pages wait without a thread: what wakes each of them, and how many are woken at one time.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plua::engine::{Served, WaitingPage};
use plua::error::injection;
use plua::exchange::Answer;
use plua::state::processors;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

use crate::{ffi, pool};

/// httpd closes idle connections whenever all its threads are busy for a moment, which a burst of pages that go on would make
/// them. So only so many for each processor are woken at one time; the others follow.
const WOKEN_A_PROCESSOR: usize = 2;

/// The pages that were woken, and those that are to be.
#[derive(Default)]
struct Gate {
    woken: usize,
    queue: VecDeque<Arc<Wake>>,
}

/// That of this process.
static GATE: Mutex<Gate> = Mutex::new(Gate { woken: 0, queue: VecDeque::new() });

impl Gate {
    fn most() -> usize {
        WOKEN_A_PROCESSOR * processors()
    }

    /// Wakes those whose turn it is.
    fn wake_next(&mut self) {
        let most = Gate::most();
        while self.woken < most
            && let Some(next) = self.queue.pop_front()
        {
            self.woken += usize::from(next.signal());
        }
    }
}

/// What wakes one request.
struct Wake(Mutex<Sleep>);

struct Sleep {
    stage: Stage,
    /// Readable once it is woken; none once httpd has closed it.
    descriptor: Option<OwnedFd>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asleep,
    Queued,
    Woken,
    Gone,
}

impl Wake {
    fn new() -> io::Result<Arc<Wake>> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Wake(Mutex::new(Sleep { stage: Stage::Asleep, descriptor: Some(descriptor) }))))
    }

    /// Has it woken, now or when it is its turn. From any thread.
    fn knock(self: Arc<Wake>) {
        let mut gate = GATE.lock();
        let mut sleep = self.0.lock();
        if sleep.stage != Stage::Asleep {
            return;
        }
        sleep.stage = Stage::Queued;
        drop(sleep);
        gate.queue.push_back(self);
        gate.wake_next();
    }

    /// Whether it takes one of the places of those that are woken.
    fn signal(&self) -> bool {
        let mut sleep = self.0.lock();
        let is_queued = sleep.stage == Stage::Queued;
        if is_queued {
            sleep.stage = Stage::Woken;
            if let Some(descriptor) = &sleep.descriptor {
                let _ = write(descriptor, &1u64.to_ne_bytes());
            }
        }
        is_queued
    }

    /// It is awake, or gone for good: its place is free.
    fn leave(&self, stage: Stage) {
        let mut gate = GATE.lock();
        let mut sleep = self.0.lock();
        let before = sleep.stage;
        sleep.stage = stage;
        if let Some(descriptor) = &sleep.descriptor {
            let _ = read(descriptor, &mut [0; 8]);
        }
        drop(sleep);
        if before == Stage::Woken {
            gate.woken -= 1;
            gate.wake_next();
        }
    }
}

/// A request whose page waits, or has waited; owned by the request's pool.
struct Parked {
    page: Option<WaitingPage>,
    wake: Arc<Wake>,
    /// httpd ends the connection after twice as long.
    longest: Duration,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.wake.leave(Stage::Gone);
    }
}

/// Lets the page of `r` wait without this thread: SUSPENDED, or its answer where that cannot be.
///
/// # Safety
/// `r` is the live request of the calling thread, and the page its own.
pub(crate) unsafe fn park(r: *mut ffi::request_rec, page: WaitingPage) -> Result<c_int, Answer> {
    // SAFETY: the caller's promise; what is kept there was put by the lines below.
    let parked = match unsafe { NonNull::new(ffi::plua_waiting(r).cast::<Parked>()) } {
        Some(parked) => parked,
        None => {
            let Ok(wake) = Wake::new() else { return Err(here(page)) };
            // SAFETY: the caller's promise.
            unsafe {
                let timeout = Duration::from_micros(u64::try_from(ffi::plua_parking_time(r)).unwrap_or(0));
                let parked = pool::put((*r).pool, Parked { page: None, wake, longest: timeout / 2 });
                ffi::plua_set_waiting(r, parked.as_ptr().cast());
                parked
            }
        }
    };
    // SAFETY: the record lives as long as the request, and only the thread that works on that uses it.
    unsafe { arm(r, &mut *parked.as_ptr(), page) }
}

/// # Safety
/// As [`park`]; `parked` is the request's.
unsafe fn arm(r: *mut ffi::request_rec, parked: &mut Parked, mut page: WaitingPage) -> Result<c_int, Answer> {
    let wake = parked.wake.clone();
    let descriptor = wake.0.lock().descriptor.as_ref().map(AsRawFd::as_raw_fd);
    let Some(descriptor) = descriptor else { return Err(here(page)) };
    if page.when_ready(parked.longest, Box::new(move || wake.knock())).is_err() {
        return Err(here(page));
    }
    parked.page = Some(page);
    // SAFETY: the caller's promise; the descriptor is open until the request ends.
    unsafe { ffi::plua_park(r, descriptor) };
    Ok(ffi::SUSPENDED)
}

/// Goes on with the page of `r`, which waits: SUSPENDED again, or its answer.
///
/// # Safety
/// `r` is the live request of the calling thread, and [`park`] has let its page wait.
pub(crate) unsafe fn go_on(r: *mut ffi::request_rec) -> Result<c_int, Answer> {
    // SAFETY: the caller's promise; the record lives as long as the request, and only this thread uses it now.
    let parked = unsafe { &mut *ffi::plua_waiting(r).cast::<Parked>() };
    let Some(page) = parked.page.take() else { unreachable!("the request's page waits") };
    injection::panic_at("going on");
    if !page.is_ready() {
        // httpd's own time for the connection begins anew.
        parked.wake.leave(Stage::Asleep);
        // SAFETY: as above.
        return unsafe { arm(r, parked, page) };
    }
    let served = page.go_on();
    parked.wake.leave(Stage::Asleep);
    match served {
        Served::Answered(answer) => Err(answer),
        // SAFETY: as above.
        Served::Waits(page) => unsafe { arm(r, parked, page) },
    }
}

/// httpd has closed the descriptor of `r`.
///
/// # Safety
/// As [`go_on`].
pub(crate) unsafe fn lost(r: *mut ffi::request_rec) {
    // SAFETY: the caller's promise.
    if let Some(parked) = unsafe { ffi::plua_waiting(r).cast::<Parked>().as_ref() } {
        let _ = parked.wake.0.lock().descriptor.take().map(IntoRawFd::into_raw_fd);
    }
}

/// The answer of a page that waits in this thread after all.
fn here(mut page: WaitingPage) -> Answer {
    loop {
        page.wait();
        match page.go_on() {
            Served::Answered(answer) => return answer,
            Served::Waits(again) => page = again,
        }
    }
}
