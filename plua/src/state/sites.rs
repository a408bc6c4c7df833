//! The pools of one host's sites: of the document roots that requests have where the server maps names to folders.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::state::pool::HostPool;

/// A pool for each document root, up to a number: then the one that was asked longest ago is closed.
pub struct Sites {
    make: Box<dyn Fn() -> HostPool + Send + Sync>,
    pools: Mutex<LruCache<Box<[u8]>, Arc<HostPool>>>,
}

impl Sites {
    /// No site yet, of `most` at a time.
    #[must_use]
    pub fn new(most: NonZeroUsize, make: impl Fn() -> HostPool + Send + Sync + 'static) -> Sites {
        Sites { make: Box::new(make), pools: Mutex::new(LruCache::new(most)) }
    }

    /// The pool of the site with this document root. A pool that is closed for it goes with its last request.
    #[must_use]
    pub fn pool(&self, root: &[u8]) -> Arc<HostPool> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(root) {
            return pool.clone();
        }
        let pool = Arc::new((self.make)());
        let closed = pools.push(root.into(), pool.clone());
        // Its states are closed while others may go on.
        drop(pools);
        drop(closed);
        pool
    }
}
