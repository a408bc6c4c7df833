//! The stores of a host: values that outlive requests, by the names that the configuration gives.
//!
//! Stands on `settings`. Knows no Lua and no request.

pub(crate) mod compiled;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use shared_store::Store;

use crate::settings::Settings;
use crate::settings::shared::Shared;

/// The stores that a host's pages reach.
#[derive(Clone, Default)]
pub struct Stores(Arc<[Named]>);

/// The store that `plua.cache` keeps values in, in a space of its own.
const CACHE: &str = "cache";

/// Of a name in a space, that of `plua.cache`.
const OF_CACHE: &[u8] = b"\0plua.cache";

/// One of them.
#[derive(Clone)]
pub struct Named {
    /// What pages call it.
    pub name: Box<str>,
    /// Whether it is the space of `plua.cache` in the store of that name, which pages do not reach in another way.
    pub is_cache: bool,
    /// Where its values are.
    pub store: Arc<Store>,
    /// The space of their keys in it.
    pub space: u64,
}

impl Stores {
    /// Those that the settings of a host name, each as `find` gives it.
    ///
    /// # Errors
    /// The first sentence of `find`'s.
    pub fn new(
        settings: &Settings,
        mut find: impl FnMut(&Shared) -> Result<Arc<Store>, String>,
    ) -> Result<Stores, String> {
        let mut all = Vec::new();
        for shared in settings.shared() {
            let named = Named { name: shared.name.as_str().into(), is_cache: false, store: find(shared)?, space: 0 };
            if shared.name == CACHE {
                all.push(Named { is_cache: true, space: named.store.space(OF_CACHE), ..named.clone() });
            }
            all.push(named);
        }
        Ok(Stores(all.into()))
    }

    /// The same in new memory, of this process and those forked from it.
    ///
    /// # Errors
    /// That there is no memory.
    pub fn in_new_memory(settings: &Settings) -> Result<Stores, String> {
        Stores::new(settings, |shared| new_store(shared).map(Arc::new))
    }

    /// The stores of a site of the host: the same memory, in which the site finds only what is its own.
    #[must_use]
    pub fn of_site(&self, root: &[u8]) -> Stores {
        let of_site = |named: &Named| {
            let space = [root, if named.is_cache { OF_CACHE } else { b"" }].concat();
            Named { space: named.store.space(&space), ..named.clone() }
        };
        Stores(self.0.iter().map(of_site).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Named> {
        self.0.iter()
    }

    /// The one of a number, as they are listed.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Named> {
        self.0.get(number)
    }

    /// What errors call one.
    #[must_use]
    pub fn title(named: &Named) -> String {
        if named.is_cache { "plua.cache".into() } else { format!("plua.shared.{}", named.name) }
    }

    fn identities(&self) -> impl Iterator<Item = (&str, usize)> {
        self.iter().map(|named| (&*named.name, named.store.start().as_ptr().addr()))
    }
}

/// A new store of that size.
///
/// # Errors
/// That there is no memory for it.
pub fn new_store(shared: &Shared) -> Result<Store, String> {
    Store::new(shared.size).map_err(|error| format!("no memory for the store '{}' (pLuaShared): {error}", shared.name))
}

/// Of hosts that share states all stores are the same.
impl PartialEq for Stores {
    fn eq(&self, other: &Stores) -> bool {
        self.identities().eq(other.identities())
    }
}

impl Eq for Stores {}

impl Hash for Stores {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.identities().for_each(|identity| identity.hash(hasher));
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.identities()).finish()
    }
}
