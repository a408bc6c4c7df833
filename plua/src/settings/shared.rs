//! A store that the configuration declares: its name in pages and the size of its memory, or the Redis that it is on.

use std::fmt;

use redis_store::Address;
use shared_store::{LARGEST, SMALLEST};

/// Letters of a name at most.
const LONGEST_NAME: usize = 64;

/// One line of `pLuaShared`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shared {
    /// What it is called in `plua.shared`.
    pub name: String,
    /// Where its values are.
    pub place: Place,
    /// Whether the server around the host has declared it, for all its hosts.
    pub is_of_server: bool,
}

/// Where the values of a store are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In so many bytes of memory.
    Memory(usize),
    /// On a Redis.
    Redis(Box<Address>),
}

/// As errors tell it.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Memory(size) => write!(formatter, "{size} bytes"),
            Place::Redis(address) => address.fmt(formatter),
        }
    }
}

impl Shared {
    /// Adds the store of one line.
    pub(super) fn add(all: &mut Vec<Shared>, value: &str) -> Result<(), String> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let [name, place] = words[..] else {
            return Err(format!("'{}' is not a name and a size, such as: sessions 10M", without_secrets(value)));
        };
        let name = Shared::name(name)?;
        if all.iter().any(|other| other.name == name) {
            return Err(format!("'{name}' is declared twice here"));
        }
        let place = match Address::is_meant(place) {
            true => Place::Redis(Address::parse(place).map_err(|problem| format!("store '{name}': {problem}"))?.into()),
            false => Place::Memory(bytes(place).ok_or_else(|| {
                format!(
                    "'{place}' is no size of a store: give a whole number with K, M or G, from 64K to 64G, such as 10M"
                )
            })?),
        };
        all.push(Shared { name: name.into(), place, is_of_server: false });
        Ok(())
    }

    /// The name of a store, as it is written.
    pub(super) fn name(name: &str) -> Result<&str, String> {
        let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_name = begins_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || name.len() > LONGEST_NAME {
            return Err(format!(
                "'{}' is no name: give {LONGEST_NAME} letters, digits and _ at most, no digit first",
                without_secrets(name)
            ));
        }
        Ok(name)
    }

    /// Those of a host and those of the server around it, whose names the host has not taken for its own.
    pub(super) fn merged(outer: &[Shared], inner: &[Shared]) -> Vec<Shared> {
        let is_free = |shared: &&Shared| !inner.iter().any(|own| own.name == shared.name);
        let of_server = outer.iter().filter(is_free).map(|shared| Shared { is_of_server: true, ..shared.clone() });
        inner.iter().cloned().chain(of_server).collect()
    }
}

/// A value without what may be a password in it: that of an address.
fn without_secrets(value: &str) -> String {
    value.split_once("://").map_or_else(|| value.into(), |(before, _)| format!("{before}://..."))
}

/// A size as it is written.
fn bytes(size: &str) -> Option<usize> {
    let unit = match size.bytes().last()?.to_ascii_uppercase() {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        _ => return None,
    };
    let number: usize = size[..size.len() - 1].parse().ok()?;
    number.checked_mul(unit).filter(|bytes| (SMALLEST..=LARGEST).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[&str]) -> Result<Vec<Shared>, String> {
        let mut all = Vec::new();
        values.iter().try_for_each(|value| Shared::add(&mut all, value)).map(|()| all)
    }

    #[test]
    fn a_store_has_a_name_and_a_size() {
        let all = given(&["cart 64K", "_page2 10m", "large 64G"]).unwrap();
        let sizes = [64 << 10, 10 << 20, 64 << 30].map(Place::Memory);
        assert_eq!(all.into_iter().map(|shared| shared.place).collect::<Vec<_>>(), sizes);
        for refused in [
            "cart",
            "cart 10",
            "cart 1K",
            "cart 65G",
            "cart 9999999999999999999G",
            "cart -1M",
            "2 1M",
            "a.b 1M",
            "é 1M",
            "cart 1M 2M",
        ] {
            assert!(given(&[refused]).is_err(), "{refused}");
        }
        assert_eq!(given(&["a 1M", "a 2M"]).unwrap_err(), "'a' is declared twice here");
    }

    #[test]
    fn a_store_may_be_on_a_redis_whose_password_nobody_is_shown() {
        let all = given(&["cart redis://:secret@cache.example/1"]).unwrap();
        assert_eq!(all[0].place.to_string(), "redis://cache.example:6379/1");
        assert!(!format!("{all:?}").contains("secret"));
        for (refused, reason) in [
            ("cart redis://:secret@cache.example:x", "store 'cart': 'x' is no port of 'cache.example'"),
            ("redis://:secret@cache.example", "'redis://...' is not a name and a size"),
            ("cart redis://:secret word@cache.example", "'cart redis://...' is not a name and a size"),
            ("redis://:secret@cache.example cart", "'redis://...' is no name"),
        ] {
            let problem = given(&[refused]).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains("secret"), "{refused}: {problem}");
        }
    }

    #[test]
    fn a_host_has_the_servers_stores_beside_its_own() {
        let merged = Shared::merged(&given(&["one 1M", "two 1M"]).unwrap(), &given(&["two 2M"]).unwrap());
        let seen: Vec<_> = merged.into_iter().map(|shared| (shared.name, shared.place, shared.is_of_server)).collect();
        let wanted = [("two", 2 << 20, false), ("one", 1 << 20, true)];
        assert_eq!(seen, wanted.map(|(name, size, of_server)| (name.into(), Place::Memory(size), of_server)));
    }
}
