//! Stores on a Redis: whose keys are whose there, and what asks for them beside a page.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redis_store::{Act, Address, Problem, Reply, Server, Store};

use crate::limits::bell::Bell;
use crate::limits::memory_limit::PIECE;
use crate::network::opened::{Ends, Held};
use crate::network::tls::{Trust, Wish};
use crate::network::watch::{self, Watch};
use crate::reactor::Reactor;

/// A space of keys on a Redis.
#[derive(Clone)]
pub struct OnRedis {
    /// How all keys of the store begin, whatever their space.
    base: Arc<str>,
    store: Store,
}

/// The servers of stores: those of one address have their connection in common.
#[derive(Default)]
pub struct Servers(HashMap<Address, Arc<Server>>);

impl Servers {
    /// The store of that name of an owner: a host, or the main server, which has no name here. Hosts that declare the same find
    /// the same on all machines.
    pub fn store(&mut self, address: &Address, owner: &str, name: &str) -> OnRedis {
        let new = || {
            let trust = Trust::default();
            let config = move || trust.config(&Wish::default()).map_err(|failure| failure.message);
            Arc::new(Server::new(address, Arc::new(config)))
        };
        let server = self.0.entry(address.clone()).or_insert_with(new);
        let base = format!("plua:{}:{}:", escaped(owner.as_bytes()), escaped(name.as_bytes()));
        OnRedis { store: Store::new(server.clone(), &format!("{base}:")), base: base.into() }
    }
}

/// A part of a prefix. Colons stand between parts, and what is not here is nothing to patterns and clusters.
fn escaped(part: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in part {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'/' => escaped.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(escaped, "%{byte:02x}"),
        }
    }
    escaped
}

impl OnRedis {
    /// A space of the same store, with keys of its own.
    pub(super) fn of_space(&self, name: &[u8]) -> OnRedis {
        let prefix = format!("{}{}:", self.base, escaped(name));
        OnRedis { store: Store::new(self.store.server().clone(), &prefix), base: self.base.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.store.server().address()
    }

    /// What no other store has.
    pub(super) fn identity(&self) -> (usize, u64, &str) {
        (Arc::as_ptr(self.store.server()).addr(), 0, self.store.prefix())
    }

    /// Begins to do something with a key; the event that has come when it is done. What that takes of memory is `held` for the page.
    ///
    /// # Errors
    /// The system's, when the reactor cannot start.
    pub fn begin(
        &self,
        key: &[u8],
        act: Act,
        held: &Arc<Held>,
        reactor: &Reactor,
        bell: &Arc<Bell>,
    ) -> io::Result<(u32, Asked)> {
        let weight = Arc::new(Weight::new(held, weight(&act)));
        let come = Arc::new(Mutex::new(None));
        let (place, store, key, request) = (come.clone(), self.store.clone(), key.to_vec(), weight.clone());
        let (event, watch) = watch::run(reactor, bell, async move {
            let reply = store.perform(&key, act).await;
            *place.lock() = Some(reply);
            drop(request);
        })?;
        Ok((event, Asked(Arc::new(Inner { come, task: Mutex::new(Some(watch)), _weight: weight }))))
    }
}

/// Bytes that are held while something is done: the value as it is given, as an argument and as it is sent, or as it comes and as
/// Lua gets it.
#[must_use]
pub fn weight(act: &Act) -> usize {
    match act {
        Act::Put(value, ..) | Act::PutHeld(value, ..) | Act::Push(value, _) => value.len().saturating_mul(3),
        Act::Get(most) | Act::Take(_, most) if *most > PIECE => most.saturating_mul(2),
        _ => 0,
    }
}

/// Bytes that count for a page as long as this lives.
struct Weight {
    held: Arc<Held>,
    bytes: usize,
}

impl Weight {
    fn new(held: &Arc<Held>, bytes: usize) -> Weight {
        held.add(bytes);
        Weight { held: held.clone(), bytes }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.held.subtract(self.bytes);
    }
}

/// What was asked for. Ended before, nobody waits for it any more; it may be done all the same.
pub struct Asked(Arc<Inner>);

struct Inner {
    come: Arc<Mutex<Option<Result<Reply, Problem>>>>,
    /// Until it was taken or ended.
    task: Mutex<Option<Watch>>,
    _weight: Arc<Weight>,
}

impl Ends for Inner {
    fn end(&self) {
        drop(self.task.lock().take());
    }

    fn has_ended(&self) -> bool {
        self.task.lock().is_none()
    }
}

impl Asked {
    /// For the page that it ends with.
    #[must_use]
    pub fn ends(&self) -> Weak<dyn Ends> {
        let inner: Arc<dyn Ends> = self.0.clone();
        Arc::downgrade(&inner)
    }

    /// What has come of it. Nothing where it was ended before.
    #[must_use]
    pub fn take(self) -> Option<Result<Reply, Problem>> {
        let come = self.0.come.lock().take();
        self.0.end();
        come
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_is_the_beginning_of_another_and_none_is_a_pattern() {
        let mut servers = Servers::default();
        let address = Address::parse("redis://127.0.0.1").unwrap();
        let mut prefixes = Vec::new();
        for owner in ["", "one.test", "two.test"] {
            for name in ["cart", "cart2", "cache"] {
                let store = servers.store(&address, owner, name);
                prefixes.push(store.store.prefix().to_owned());
                for space in [&b"/a"[..], b"/a:b", b"/a:b\0plua.cache", b"\0plua.cache", b"{x}*?[a]\\"] {
                    prefixes.push(store.of_space(space).store.prefix().to_owned());
                }
            }
        }
        assert_eq!(prefixes[0], "plua::cart::");
        assert_eq!(prefixes[7], "plua::cart2:/a:");
        for (at, prefix) in prefixes.iter().enumerate() {
            assert!(!prefix.contains(['{', '}', '*', '?', '[', ']', '\\']), "{prefix}");
            let others = prefixes.iter().enumerate().filter(|(other, _)| *other != at);
            assert!(others.into_iter().all(|(_, other)| !other.starts_with(prefix.as_str())), "{prefix}");
        }
        assert_eq!(servers.0.len(), 1);
    }
}
