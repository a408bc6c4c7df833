//! What waits beside a page for what the page asked for.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Wake, Waker};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::limits::bell::Bell;
use crate::reactor::Reactor;

/// What rings for a page. Dropped before, it does not.
#[must_use]
pub struct Watch(Asked);

enum Asked {
    Task(AbortHandle),
    /// What the reactor knows of a socket, which it forgets with this.
    Socket {
        _ready: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    },
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Asked::Task(task) = &self.0 {
            task.abort();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}

/// Rings a page's bell when it is dropped: also where the task that holds it is ended by a panic, or by the server.
struct Ring {
    bell: Arc<Bell>,
    event: u32,
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.bell.ring(self.event);
    }
}

/// Runs beside the page; the event that has come when it has ended.
///
/// # Errors
/// The system's, when the reactor cannot start.
pub fn run(
    reactor: &Reactor,
    bell: &Arc<Bell>,
    task: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(u32, Watch)> {
    let event = bell.event();
    let ring = Ring { bell: bell.clone(), event };
    let task = reactor.handle()?.spawn(async move {
        let _ring = ring;
        task.await;
    });
    Ok((event, Watch(Asked::Task(task.abort_handle()))))
}

/// Runs beside the page until the result is dropped.
///
/// # Errors
/// The system's, when the reactor cannot start.
pub fn spawn(reactor: &Reactor, task: impl Future<Output = ()> + Send + 'static) -> io::Result<Watch> {
    Ok(Watch(Asked::Task(reactor.handle()?.spawn(task).abort_handle())))
}

/// A socket as the reactor knows it: of any family, and of datagrams too.
pub type Registered = Arc<TcpStream>;

/// Makes a socket known to the reactor.
///
/// # Errors
/// The system's; then it is closed.
pub fn register(reactor: &Reactor, socket: OwnedFd) -> io::Result<Registered> {
    let _inside = reactor.handle()?.enter();
    TcpStream::from_std(socket.into()).map(Arc::new)
}

/// Rings at a bell, once.
struct RingOnce {
    bell: Arc<Bell>,
    event: u32,
    has_rung: AtomicBool,
}

impl Wake for RingOnce {
    fn wake(self: Arc<RingOnce>) {
        if !self.has_rung.swap(true, Relaxed) {
            self.bell.ring(self.event);
        }
    }
}

/// The event that comes when something can be read, or written, or perhaps can. The reactor rings itself, for a task would have
/// to be begun and ended in its thread at each wait.
pub fn when_ready(socket: Registered, interest: Interest, bell: &Arc<Bell>) -> (u32, Watch) {
    let event = bell.event();
    let ring = Arc::new(RingOnce { bell: bell.clone(), event, has_rung: AtomicBool::new(false) });
    let waker = Waker::from(ring.clone());
    let mut ready = Box::pin(ready(socket, interest));
    if ready.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        ring.wake();
    }
    (event, Watch(Asked::Socket { _ready: ready }))
}

/// Waits until something can be read, or written.
async fn ready(socket: Registered, interest: Interest) {
    loop {
        if socket.ready(interest).await.is_err() {
            return;
        }
        // What the reactor remembers may be of before the page's own attempt.
        let look = || if is_ready(&socket, interest) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        if socket.try_io(interest, look).is_ok() {
            return;
        }
    }
}

fn is_ready(socket: &TcpStream, interest: Interest) -> bool {
    let wanted = if interest.is_readable() { PollFlags::IN } else { PollFlags::OUT };
    poll(&mut [PollFd::new(socket, wanted)], Some(&Timespec::default())) != Ok(0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_task_rings_when_it_has_ended_by_whatever() {
        let (reactor, bell) = (Reactor::default(), Arc::new(Bell::default()));
        let rung = |bell: &Arc<Bell>| {
            assert!(bell.wait_until(Some(Instant::now() + Duration::from_secs(10))));
            bell.take()
        };
        let (event, _watch) = run(&reactor, &bell, async {}).unwrap();
        assert_eq!(rung(&bell), [event]);
        let (event, _watch) = run(&reactor, &bell, async { panic!("a fault of ours") }).unwrap();
        assert_eq!(rung(&bell), [event]);
        let (event, watch) = run(&reactor, &bell, std::future::pending()).unwrap();
        drop(watch);
        assert_eq!(rung(&bell), [event]);
        // The server's end.
        let (event, _watch) = run(&reactor, &bell, std::future::pending()).unwrap();
        drop(reactor);
        assert_eq!(rung(&bell), [event]);
    }
}
