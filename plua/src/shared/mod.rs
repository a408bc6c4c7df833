//! The stores of a host: values that outlive requests, by the names that the configuration gives.
//!
//! Stands on `settings`. Knows no Lua and no request.

pub(crate) mod compiled;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use shared_store::Store;

use crate::settings::Settings;
use crate::settings::session::Session;
use crate::settings::shared::Shared;

/// The stores that a host's pages reach.
#[derive(Clone, Default)]
pub struct Stores(Arc<[Named]>);

/// The store that `plua.cache` keeps values in, in a space of its own.
const CACHE: &str = "cache";

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
    pub store: Arc<Store>,
    /// The space of their keys in it.
    pub space: u64,
}

impl Named {
    /// The space of one use, of one owner.
    fn new(name: &str, used: Use, store: &Arc<Store>, owner: &[u8]) -> Named {
        let space = store.space(&[used.prefix(), owner].concat());
        Named { name: name.into(), used, store: store.clone(), space }
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
        mut find: impl FnMut(&Shared) -> Result<Arc<Store>, String>,
    ) -> Result<Stores, String> {
        let mut all = Vec::new();
        for shared in settings.shared() {
            let store = find(shared)?;
            if shared.name == CACHE {
                all.push(Named::new(&shared.name, Use::Cache, &store, b""));
            }
            all.push(Named { space: 0, ..Named::new(&shared.name, Use::Pages, &store, b"") });
        }
        // Hosts that share their states share their sessions too. Others may have the store in common, but no session.
        let owner = if settings.multi_domain() { host.to_ascii_lowercase() } else { String::new() };
        let store = match settings.session().store {
            Some(name) => {
                let named = all.iter().find(|named| named.used == Use::Pages && *named.name == *name);
                let missing = || {
                    format!(
                        "sessions are to be kept in '{name}' (pLuaSession), which the host has not: pLuaShared {name} 10M"
                    )
                };
                Some(named.ok_or_else(missing)?.store.clone())
            }
            None if !settings.engine() => None,
            // Most servers have no sessions. Those without memory for them do without.
            None => find(&Session::own_store(!settings.multi_domain())).ok(),
        };
        if let Some(store) = store {
            all.push(Named::new(SESSIONS, Use::Sessions, &store, owner.as_bytes()));
        }
        Ok(Stores(all.into()))
    }

    /// The same in new memory, of this process and those forked from it.
    ///
    /// # Errors
    /// That there is no memory.
    pub fn in_new_memory(host: &str, settings: &Settings) -> Result<Stores, String> {
        Stores::new(host, settings, |shared| new_store(shared).map(Arc::new))
    }

    /// The stores of a site of the host: the same memory, in which the site finds only what is its own.
    #[must_use]
    pub fn of_site(&self, root: &[u8]) -> Stores {
        let of_site = |named: &Named| match named.used {
            // Of a host's sites each has the memory in common, and so the host's name is no part of it.
            Use::Sessions => Named { space: named.store.space(&[named.used.prefix(), root].concat()), ..named.clone() },
            _ => Named { space: named.store.space(&[root, named.used.prefix()].concat()), ..named.clone() },
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
        match named.used {
            Use::Pages => format!("plua.shared.{}", named.name),
            Use::Cache => "plua.cache".into(),
            Use::Sessions => "plua.session".into(),
        }
    }

    fn identities(&self) -> impl Iterator<Item = (&str, Use, usize, u64)> {
        self.iter().map(|named| (&*named.name, named.used, named.store.start().as_ptr().addr(), named.space))
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
