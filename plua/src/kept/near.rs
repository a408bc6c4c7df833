//! Answers that this process has found in a store a moment ago, for requests of the same address: found without the store's lock,
//! at which all who ask for one page meet, and sent from where they lie.
//!
//! A fresh answer is good until its time is over, whatever becomes of it in the store meanwhile; so nobody tells this place of
//! changes. The store is asked again after a second, so that it knows what is used, and tells what it has.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

/// How many there are, and bytes of the longest: 8 MB in all, at most.
const SLOTS: usize = 64;
const LONGEST: usize = 128 * 1024;

/// Microseconds after which the store is asked again.
const LOOK_AGAIN: i64 = 1_000_000;

/// What a request asks for, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    /// Of its URL.
    pub scheme: &'a [u8],
    /// What its `Host` says.
    pub host: &'a [u8],
    /// Its path with its query.
    pub path: &'a [u8],
}

/// An answer that is held.
pub struct Held {
    scheme: Box<[u8]>,
    host: Box<[u8]>,
    path: Box<[u8]>,
    /// Its bytes.
    pub answer: Box<[u8]>,
    /// When the store was last asked, in microseconds since 1970.
    looked: AtomicI64,
}

impl Held {
    fn is_for(&self, asked: &Asked<'_>) -> bool {
        *self.path == *asked.path && *self.host == *asked.host && *self.scheme == *asked.scheme
    }
}

/// The answers that are held, each in the one slot that its address has.
pub struct Near {
    hashes: RandomState,
    slots: Box<[RwLock<Option<Arc<Held>>>]>,
}

impl Default for Near {
    fn default() -> Near {
        Near { hashes: RandomState::new(), slots: (0..SLOTS).map(|_| RwLock::default()).collect() }
    }
}

impl Near {
    fn slot(&self, asked: &Asked<'_>) -> &RwLock<Option<Arc<Held>>> {
        &self.slots[self.hashes.hash_one(asked) as usize % SLOTS]
    }

    /// The one for a request that came at this time; none where the store is to be asked. Waits for nobody.
    #[must_use]
    pub fn find(&self, asked: &Asked<'_>, now: i64) -> Option<Arc<Held>> {
        let slot = self.slot(asked).try_read().ok()?;
        let held = slot.as_ref().filter(|held| held.is_for(asked))?;
        let looked = held.looked.load(Ordering::Relaxed);
        // One asks the store; the others go on with this one meanwhile.
        if (now - looked).abs() >= LOOK_AGAIN
            && held.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return None;
        }
        Some(held.clone())
    }

    /// Holds what the store had at this time, unless that is too long.
    pub fn hold(&self, asked: &Asked<'_>, answer: &[u8], now: i64) {
        if answer.len() > LONGEST {
            return;
        }
        let Ok(mut slot) = self.slot(asked).try_write() else { return };
        *slot = Some(Arc::new(Held {
            scheme: asked.scheme.into(),
            host: asked.host.into(),
            path: asked.path.into(),
            answer: answer.into(),
            looked: AtomicI64::new(now),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { scheme: b"http", host: b"host", path: b"/a?b" };

    #[test]
    fn what_is_held_is_found_for_a_second_and_then_one_asks_the_store() {
        let near = Near::default();
        assert!(near.find(&ASKED, 0).is_none());
        near.hold(&ASKED, b"answer", 5);
        for now in [5, 1_000_004] {
            assert_eq!(&*near.find(&ASKED, now).unwrap().answer, b"answer", "{now}");
        }
        assert!(near.find(&ASKED, 1_000_005).is_none(), "the store is asked");
        assert!(near.find(&ASKED, 1_000_006).is_some(), "and by one alone");
        // A clock that was set back.
        assert!(near.find(&ASKED, -10_000_000).is_none());
        near.hold(&ASKED, b"other", 2_000_000);
        assert_eq!(&*near.find(&ASKED, 2_000_000).unwrap().answer, b"other");
    }

    #[test]
    fn nothing_is_found_for_another_request_and_nothing_long_is_held() {
        let near = Near::default();
        near.hold(&ASKED, b"answer", 0);
        for other in [
            Asked { scheme: b"https", ..ASKED },
            Asked { host: b"hos", path: b"t/a?b", ..ASKED },
            Asked { path: b"/a?c", ..ASKED },
        ] {
            assert!(near.find(&other, 0).is_none(), "{other:?}");
        }
        let long = Asked { path: b"/long", ..ASKED };
        near.hold(&long, &[0; LONGEST + 1], 0);
        assert!(near.find(&long, 0).is_none());
        near.hold(&long, &[0; LONGEST], 0);
        assert!(near.find(&long, 0).is_some());
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let near = Near::default();
        let paths: Vec<Vec<u8>> = (0..1000).map(|number| format!("/{number}").into_bytes()).collect();
        for path in &paths {
            near.hold(&Asked { path, ..ASKED }, b"answer", 0);
        }
        let held = paths.iter().filter(|path| near.find(&Asked { path, ..ASKED }, 0).is_some()).count();
        assert!((32..=SLOTS).contains(&held), "{held}");
    }
}
