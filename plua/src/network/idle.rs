//! Connections that a page has left for those after it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::network::stream::Stream;
use crate::network::tls::Wish;
use crate::reactor::Reactor;

/// As many does a site keep at one time.
const MOST: usize = 1000;

/// Between two looks at those that nobody has taken.
const SWEEP: Duration = Duration::from_secs(1);

/// What makes two connections as good as each other: the server, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// As the page has named it.
    pub server: String,
    /// None without TLS.
    pub tls: Option<Wish>,
}

/// One of them.
struct Kept {
    stream: Stream,
    until: Instant,
    /// How often it was handed on before.
    uses: u32,
}

/// The connections of one site that nobody has.
#[derive(Default)]
pub struct Idle(Mutex<All>);

#[derive(Default)]
struct All {
    kept: HashMap<Key, VecDeque<Kept>>,
    count: usize,
    is_swept: bool,
}

impl Idle {
    /// Keeps one for so long, among so many of its kind at most: the oldest is closed for it. Whether it is kept.
    pub fn put(
        self: &Arc<Idle>,
        key: &Key,
        (stream, uses): (Stream, u32),
        time: Duration,
        most: usize,
        reactor: &Reactor,
    ) -> bool {
        let Some(until) = Instant::now().checked_add(time) else { return false };
        let mut all = self.0.lock();
        let All { kept, count, is_swept } = &mut *all;
        if *count >= MOST || most == 0 {
            return false;
        }
        if !*is_swept {
            let Ok(handle) = reactor.handle() else { return false };
            *is_swept = true;
            handle.spawn(sweep(Arc::downgrade(self)));
        }
        let shelf = kept.entry(key.clone()).or_default();
        shelf.push_back(Kept { stream, until, uses });
        *count += 1;
        if shelf.len() > most {
            drop(shelf.pop_front());
            *count -= 1;
        }
        true
    }

    /// The one that was used last of those that can still be used, and how often it was handed on.
    #[must_use]
    pub fn take(&self, key: &Key) -> Option<(Stream, u32)> {
        loop {
            let Kept { mut stream, until, uses } = self.take_last(key)?;
            if until > Instant::now() && stream.is_silent() {
                return Some((stream, uses + 1));
            }
        }
    }

    fn take_last(&self, key: &Key) -> Option<Kept> {
        let mut all = self.0.lock();
        let shelf = all.kept.get_mut(key)?;
        let kept = shelf.pop_back();
        if shelf.is_empty() {
            all.kept.remove(key);
        }
        all.count -= usize::from(kept.is_some());
        kept
    }

    /// Closes those whose time is over, and those whose server has closed them. Whether there are others.
    fn sweep(&self) -> bool {
        let mut all = self.0.lock();
        let (now, mut count) = (Instant::now(), 0);
        all.kept.retain(|_, shelf| {
            shelf.retain_mut(|kept| kept.until > now && kept.stream.is_silent());
            count += shelf.len();
            !shelf.is_empty()
        });
        all.count = count;
        all.is_swept = count > 0;
        all.is_swept
    }
}

/// Looks at them again and again while there are any.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !idle.upgrade().is_some_and(|idle| idle.sweep()) {
            return;
        }
    }
}
