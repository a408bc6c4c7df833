//! Threads that do what is due and belongs to no request. They are started when there is the first of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::signal::SigSet;
use parking_lot::{Condvar, Mutex};

/// What is done, once.
pub type Job = Box<dyn FnOnce() + Send>;

/// As many run at one time.
const THREADS: usize = 2;

/// The threads of one process, and what they are to do.
#[derive(Default)]
pub struct Background {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    /// By their time, and in the order they came.
    due: BTreeMap<(Instant, u64), Job>,
    /// Those that somebody is to call for.
    suspended: HashMap<u64, Job>,
    last: u64,
    has_ended: bool,
}

impl Jobs {
    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Names a job that somebody is to call for.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

impl Background {
    /// Has a job done at that time, or as soon as there is a thread for it. After the end it is dropped.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn at(&self, time: Instant, job: Job) -> io::Result<()> {
        self.start()?;
        let mut jobs = self.shared.jobs.lock();
        if !jobs.has_ended {
            let number = jobs.next_number();
            jobs.due.insert((time, number), job);
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Keeps a job until it [is called for](Background::call), or to the end.
    #[must_use]
    pub fn suspend(&self, job: Job) -> Ticket {
        let mut jobs = self.shared.jobs.lock();
        let number = jobs.next_number();
        if !jobs.has_ended {
            jobs.suspended.insert(number, job);
        }
        Ticket(number)
    }

    /// Has that job done now, if it was not called for before.
    pub fn call(&self, Ticket(number): Ticket) {
        let mut jobs = self.shared.jobs.lock();
        if let Some(job) = jobs.suspended.remove(&number) {
            jobs.due.insert((Instant::now(), number), job);
            self.shared.changed.notify_one();
        }
    }

    fn start(&self) -> io::Result<()> {
        let mut threads = self.threads.lock();
        while threads.len() < THREADS {
            let shared = self.shared.clone();
            let run = move || {
                // The server's signals are for the threads that expect them.
                let _ = SigSet::all().thread_block();
                shared.work();
            };
            threads.push(thread::Builder::new().name("plua background".into()).spawn(run)?);
        }
        Ok(())
    }

    /// Whether there was a job.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !self.threads.lock().is_empty()
    }

    /// Begins no job any more, and waits for those that run.
    pub fn end(&self) {
        let mut jobs = self.shared.jobs.lock();
        jobs.has_ended = true;
        let left = (mem::take(&mut jobs.due), mem::take(&mut jobs.suspended));
        self.shared.changed.notify_all();
        drop(jobs);
        drop(left);
        let threads = mem::take(&mut *self.threads.lock());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn work(&self) {
        let mut jobs = self.jobs.lock();
        while !jobs.has_ended {
            let next = jobs.due.first_key_value().map(|((time, _), _)| *time);
            match next {
                None => self.changed.wait(&mut jobs),
                Some(time) if time > Instant::now() => _ = self.changed.wait_until(&mut jobs, time),
                Some(_) => {
                    let job = jobs.due.pop_first();
                    drop(jobs);
                    if let Some((_, job)) = job {
                        // What it panics with was told by whoever it is of.
                        let _ = catch_unwind(AssertUnwindSafe(job));
                    }
                    jobs = self.jobs.lock();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn jobs_are_done_in_the_order_of_their_times_and_none_after_the_end() {
        let background = Background::default();
        let (done, order) = mpsc::channel();
        let begun = Instant::now();
        for milliseconds in [60, 20, 40] {
            let done = done.clone();
            let job = Box::new(move || done.send((milliseconds, begun.elapsed())).unwrap());
            background.at(begun + Duration::from_millis(milliseconds), job).unwrap();
        }
        background.at(begun, Box::new(|| panic!("a fault of ours"))).unwrap();
        for milliseconds in [20, 40, 60] {
            let (of, at) = order.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(of, milliseconds);
            assert!(at >= Duration::from_millis(milliseconds));
        }
        let later = done.clone();
        background
            .at(Instant::now() + Duration::from_secs(100), Box::new(move || later.send((0, Duration::ZERO)).unwrap()))
            .unwrap();
        background.end();
        background.at(Instant::now(), Box::new(move || done.send((0, Duration::ZERO)).unwrap())).unwrap();
        assert!(order.recv().is_err());
    }
}
