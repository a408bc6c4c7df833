//! What a page has open at other servers, which ends with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What can be ended by whoever does not hold it.
pub trait Ends: Send + Sync {
    /// Closes it, and what waits for it.
    fn end(&self);

    /// Whether it is closed.
    fn has_ended(&self) -> bool;
}

/// As much may one page have open at one time.
pub const MOST: usize = 1000;

/// All of one page. Dropped with its request.
#[derive(Default)]
pub struct Opened {
    all: Vec<Weak<dyn Ends>>,
    /// Bytes that are held for the page outside of its Lua.
    pub held: Arc<Held>,
}

impl Opened {
    /// Whether one more would be too many.
    pub fn is_full(&mut self) -> bool {
        if self.all.len() >= MOST {
            self.all.retain(|one| one.upgrade().is_some_and(|one| !one.has_ended()));
        }
        self.all.len() >= MOST
    }

    /// From here on it ends with the page.
    pub fn add(&mut self, one: Weak<dyn Ends>) {
        self.all.push(one);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for one in self.all.drain(..) {
            if let Some(one) = one.upgrade() {
                one.end();
            }
        }
    }
}

/// Bytes that are held for a page.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

impl Held {
    /// So many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many less.
    pub fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
