//! The one thread of a process that looks at clocks and connections for all pages which wait without a thread of their own.
//!
//! Stands on `limits`. Knows no page: it rings bells. It is started when the first page waits, so a process whose pages never
//! wait has neither the thread nor its descriptors.

pub(crate) mod background;

use std::io;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::SigSet;
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use crate::limits::bell::Bell;

/// Threads that look names up at one time, which the system does in no other way, and how long one waits for the next name.
const LOOKING_UP: usize = 8;
const LOOKS_UP_AGAIN: Duration = Duration::from_secs(10);

/// Time that those have to end in which still look something up when the process ends.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Not started until it is needed.
#[derive(Default)]
pub struct Reactor {
    running: OnceLock<Running>,
    starting: Mutex<()>,
}

struct Running {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reactor {
    /// What runs in its thread.
    ///
    /// # Errors
    /// The system's, when it gives no thread or no descriptors.
    pub fn handle(&self) -> io::Result<&Handle> {
        if let Some(running) = self.running.get() {
            return Ok(&running.handle);
        }
        let _starting = self.starting.lock();
        if self.running.get().is_none() {
            let _ = self.running.set(Running::start()?);
        }
        self.handle()
    }

    /// Calls at the bell at that time, unless the result is dropped before.
    ///
    /// # Errors
    /// As [`handle`](Reactor::handle).
    pub fn call_at(&self, bell: &Arc<Bell>, time: Instant) -> io::Result<Alarm> {
        let sleep = {
            let _inside = self.handle()?.enter();
            tokio::time::sleep_until(time.into())
        };
        // No task: each one that begins or ends wakes the reactor's thread, and this is asked for at each wait of a page.
        let mut sleep = Box::pin(sleep);
        let waker = Waker::from(Arc::new(Call(bell.clone())));
        if sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            bell.call();
        }
        Ok(Alarm(Asked::Time { _sleep: sleep }))
    }

    /// Rings at the bell when the other end of a connection is closed, or sends no more, unless the result is dropped before.
    ///
    /// # Errors
    /// As [`handle`](Reactor::handle), and the system's, when it has no descriptor left.
    pub fn ring_when_closed(&self, connection: BorrowedFd<'_>, bell: &Arc<Bell>, event: u32) -> io::Result<Alarm> {
        // The reactor waits for what cannot block alone, and whether this can is its owner's to say.
        if !OFlag::from_bits_retain(fcntl(connection, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (own, bell) = (TcpStream::from(connection.try_clone_to_owned()?), bell.clone());
        let task = self.handle()?.spawn(async move {
            let Ok(own) = tokio::net::TcpStream::from_std(own) else { return };
            while let Ok(ready) = own.ready(Interest::READABLE).await {
                if ready.is_read_closed() {
                    bell.ring(event);
                    return;
                }
                // The client has sent its next request already, which is not this one's to read.
                let _ = own.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
            }
        });
        Ok(Alarm(Asked::Task(task.abort_handle())))
    }
}

/// What was asked for. Dropped before, it does not come.
#[must_use]
pub struct Alarm(Asked);

enum Asked {
    /// The clock's part, which forgets it when it is dropped.
    Time {
        _sleep: Pin<Box<Sleep>>,
    },
    Task(AbortHandle),
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Asked::Task(task) = &self.0 {
            task.abort();
        }
    }
}

/// Calls at a bell.
struct Call(Arc<Bell>);

impl Wake for Call {
    fn wake(self: Arc<Call>) {
        self.0.call();
    }
}

impl Running {
    fn start() -> io::Result<Running> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKING_UP)
            .thread_keep_alive(LOOKS_UP_AGAIN)
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ends) = oneshot::channel();
        let thread = thread::Builder::new().name("plua reactor".into()).spawn(move || {
            // The server's signals are for the threads that expect them.
            let _ = SigSet::all().thread_block();
            let _ = runtime.block_on(ends);
            runtime.shutdown_timeout(LAST_LOOK);
        })?;
        Ok(Running { handle, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_bell_is_called_at_its_time_unless_that_was_taken_back() {
        let reactor = Reactor::default();
        let (bell, other) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let begun = Instant::now();
        let _alarm = reactor.call_at(&bell, begun + Duration::from_millis(30)).unwrap();
        drop(reactor.call_at(&other, begun + Duration::from_millis(1)).unwrap());
        assert!(bell.wait_until(Some(begun + Duration::from_secs(10))));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(!other.wait_until(Some(Instant::now())));
    }

    #[test]
    fn a_bell_rings_when_the_other_end_leaves_whatever_it_has_sent_before() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let (reactor, bell) = (Reactor::default(), Arc::new(Bell::default()));
        assert!(reactor.ring_when_closed(connection.as_fd(), &bell, 7).is_err(), "it may block");
        connection.set_nonblocking(true).unwrap();
        let _alarm = reactor.ring_when_closed(connection.as_fd(), &bell, 7).unwrap();
        client.write_all(b"more").unwrap();
        assert!(!bell.wait_until(Some(Instant::now() + Duration::from_millis(50))));
        drop(client);
        assert!(bell.wait_until(Some(Instant::now() + Duration::from_secs(10))));
        assert_eq!(bell.take(), [7]);
    }
}
