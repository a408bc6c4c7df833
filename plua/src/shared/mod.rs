//! The stores of a host: values that outlive requests, by the names that the configuration gives.
//!
//! Stands on `limits`, `network`, `reactor` and `settings`. Knows no Lua and no request.

pub(crate) mod compiled;
pub(crate) mod redis;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use shared_store::Store;

use crate::settings::Settings;
use crate::settings::session::Session;
use crate::settings::shared::{Place, Shared};
use crate::shared::redis::OnRedis;
pub use crate::shared::redis::Servers;

/// The stores that a host's pages reach.
#[derive(Clone, Default)]
pub struct Stores(Arc<[Named]>);

/// The store that `plua.cache` keeps values in, in a space of its own.
pub const CACHE: &str = "cache";

/// What stands for the name of that of sessions.
const SESSIONS: &str = "plua.session";

/// Whose a space of a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// That of the pages which name the store.
    Pages,
    /// That of `plua.cache`.
    Cache,
    /// That of the host's sessions.
    Sessions,
}

impl Use {
    /// What the name of its space begins with, which no site's root does.
    fn prefix(self) -> &'static [u8] {
        match self {
            Use::Pages => b"",
            Use::Cache => b"\0plua.cache",
            Use::Sessions => b"\0plua.session",
        }
    }
}

/// One of them.
#[derive(Clone)]
pub struct Named {
    /// What pages call it.
    pub name: Box<str>,
    /// Whose the space is. Pages reach those of others in no other way.
    pub used: Use,
    /// Where its values are.
    pub kind: Kind,
}

/// Where a store's values are.
#[derive(Clone)]
pub enum Kind {
    /// In memory that the processes of this machine share.
    Memory(InMemory),
    /// On a Redis, which may be many machines'.
    Redis(OnRedis),
}

/// A space of keys in memory.
#[derive(Clone)]
pub struct InMemory {
    /// The memory.
    pub store: Arc<Store>,
    /// The space in it.
    pub space: u64,
}

impl Kind {
    /// All of a store in memory, but for what is in spaces.
    #[must_use]
    pub fn in_memory(store: Arc<Store>) -> Kind {
        Kind::Memory(InMemory { store, space: 0 })
    }

    /// A space of the same store, with keys of its own.
    fn of_space(&self, name: &[u8]) -> Kind {
        match self {
            Kind::Memory(InMemory { store, .. }) => {
                Kind::Memory(InMemory { store: store.clone(), space: store.space(name) })
            }
            Kind::Redis(redis) => Kind::Redis(redis.of_space(name)),
        }
    }

    /// Whether that is what the configuration declares.
    #[must_use]
    pub fn is(&self, place: &Place) -> bool {
        match (self, place) {
            (Kind::Memory(memory), Place::Memory(size)) => memory.store.size() == *size,
            (Kind::Redis(redis), Place::Redis(address)) => redis.address() == &**address,
            _ => false,
        }
    }

    /// What no other store has.
    fn identity(&self) -> (usize, u64, &str) {
        match self {
            Kind::Memory(memory) => (memory.store.start().as_ptr().addr(), memory.space, ""),
            Kind::Redis(redis) => redis.identity(),
        }
    }
}

impl Named {
    /// The space of one use, of one owner, in the store that pages name.
    fn new(name: &str, used: Use, kind: &Kind, owner: &[u8]) -> Named {
        Named { name: name.into(), used, kind: kind.of_space(&[used.prefix(), owner].concat()) }
    }

    /// The space in memory, where it is one.
    #[must_use]
    pub fn memory(&self) -> Option<&InMemory> {
        match &self.kind {
            Kind::Memory(memory) => Some(memory),
            Kind::Redis(_) => None,
        }
    }
}

impl Stores {
    /// Those that the settings of the host of this name ask for, each as `find` gives it.
    ///
    /// # Errors
    /// The first sentence of `find`'s; that sessions are to be kept in a store that the host has not.
    pub fn new(
        host: &str,
        settings: &Settings,
        mut find: impl FnMut(&Shared) -> Result<Kind, String>,
    ) -> Result<Stores, String> {
        let mut all = Vec::new();
        for shared in settings.shared() {
            let kind = find(shared)?;
            if shared.name == CACHE {
                all.push(Named::new(&shared.name, Use::Cache, &kind, b""));
            }
            all.push(Named { name: shared.name.as_str().into(), used: Use::Pages, kind });
        }
        // Hosts that share their states share their sessions too. Others may have the store in common, but no session.
        let owner = if settings.multi_domain() { host.to_ascii_lowercase() } else { String::new() };
        let kind = match settings.session().store {
            Some(name) => {
                let named = all.iter().find(|named| named.used == Use::Pages && *named.name == *name);
                let missing = || {
                    format!(
                        "sessions are to be kept in '{name}' (pLuaSession), which the host has not: pLuaShared {name} 10M"
                    )
                };
                Some(named.ok_or_else(missing)?.kind.clone())
            }
            None if !settings.engine() => None,
            // Most servers have no sessions. Those without memory for them do without.
            None => find(&Session::own_store(!settings.multi_domain())).ok(),
        };
        if let Some(kind) = kind {
            all.push(Named::new(SESSIONS, Use::Sessions, &kind, owner.as_bytes()));
        }
        Ok(Stores(all.into()))
    }

    /// The same in new memory, of this process and those forked from it. On a Redis they are those of the main server.
    ///
    /// # Errors
    /// That there is no memory.
    pub fn in_new_memory(host: &str, settings: &Settings) -> Result<Stores, String> {
        let mut servers = Servers::default();
        Stores::new(host, settings, |shared| match &shared.place {
            Place::Memory(size) => new_store(&shared.name, *size).map(|store| Kind::in_memory(Arc::new(store))),
            Place::Redis(address) => Ok(Kind::Redis(servers.store(address, "", &shared.name))),
        })
    }

    /// The stores of a site of the host: the same memory, in which the site finds only what is its own.
    #[must_use]
    pub fn of_site(&self, root: &[u8]) -> Stores {
        let of_site = |named: &Named| {
            let prefix = named.used.prefix();
            let space = match named.used {
                // Of a host's sites each has the memory in common, and so the host's name is no part of it.
                Use::Sessions => [prefix, root].concat(),
                _ => [root, prefix].concat(),
            };
            Named { kind: named.kind.of_space(&space), ..named.clone() }
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

    /// The memory of the one whose name is `cache`, where pages are kept too; none where it is on a Redis.
    #[must_use]
    pub fn cache(&self) -> Option<&Arc<Store>> {
        self.iter().find(|named| named.used == Use::Cache)?.memory().map(|memory| &memory.store)
    }

    /// What errors call one.
    #[must_use]
    pub fn title(named: &Named) -> String {
        match named.used {
            Use::Pages => format!("plua.shared.{}", named.name),
            Use::Cache => "plua.cache".into(),
            Use::Sessions => "plua.session".into(),
        }
    }

    fn identities(&self) -> impl Iterator<Item = (&str, Use, (usize, u64, &str))> {
        self.iter().map(|named| (&*named.name, named.used, named.kind.identity()))
    }
}

/// A new store of that name and size.
///
/// # Errors
/// That there is no memory for it.
pub fn new_store(name: &str, size: usize) -> Result<Store, String> {
    Store::new(size).map_err(|error| format!("no memory for the store '{name}' (pLuaShared): {error}"))
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
