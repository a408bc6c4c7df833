//! The pools of one host's sites: of the document roots that requests have where the server maps names to folders.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::state::pool::HostPool;

/// One site.
#[derive(Clone)]
pub struct Site {
    /// Its host and its document root, for the log.
    pub name: Arc<str>,
    pub pool: Arc<HostPool>,
}

/// Makes the pool of a document root.
type Make = dyn Fn(&[u8]) -> Arc<HostPool> + Send + Sync;

/// A pool for each document root, up to a number: then the one that was asked longest ago is closed.
pub struct Sites {
    make: Box<Make>,
    pools: Mutex<LruCache<Box<[u8]>, Site>>,
}

impl Sites {
    /// No site yet, of `most` at a time. `make` makes the pool of a document root.
    #[must_use]
    pub fn new(most: NonZeroUsize, make: impl Fn(&[u8]) -> Arc<HostPool> + Send + Sync + 'static) -> Sites {
        Sites { make: Box::new(make), pools: Mutex::new(LruCache::new(most)) }
    }

    /// The site of `host` with this document root. A pool that is closed for it goes with its last request.
    #[must_use]
    pub fn site(&self, root: &[u8], host: &str) -> Site {
        let mut pools = self.pools.lock();
        if let Some(site) = pools.get(root) {
            return site.clone();
        }
        let name = format!("{host} at {}", String::from_utf8_lossy(root));
        let site = Site { name: name.into(), pool: (self.make)(root) };
        let closed = pools.push(root.into(), site.clone());
        // Its states are closed while others may go on.
        drop(pools);
        drop(closed);
        site
    }
}
