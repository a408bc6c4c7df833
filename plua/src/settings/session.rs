//! What a host says of its sessions: the store they are kept in, their cookie and how long they last.

use std::time::Duration;

use super::shared::{Place, Shared};

/// Bytes of memory of the sessions of a host that names no store.
const OWN_MEMORY: usize = 8 << 20;

/// The store in that memory: no store of `pLuaShared` can be called so.
const OWN_STORE: &str = "pLuaSession";

/// How long a session lasts that nobody uses, and how long at most, where nothing is said.
const IDLE: Duration = Duration::from_secs(30 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Of what is given in one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given {
    /// None within takes back what an outer place says.
    store: Option<Option<String>>,
    cookie: Option<Cookie>,
    time: Option<(Duration, Duration)>,
}

/// The cookie that has a session's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name; on TLS with `__Host-` before it, where its path is that of the whole host.
    pub name: String,
    /// Where browsers send it: a path that begins with a slash.
    pub path: String,
    /// Whether no request that another site has led to brings it (SameSite=Strict), and not only those that change nothing (Lax).
    pub is_strict: bool,
}

impl Default for Cookie {
    fn default() -> Cookie {
        Cookie { name: "plua_session".into(), path: "/".into(), is_strict: false }
    }
}

/// The sessions of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name of the store of `pLuaShared` that they are kept in; none for memory of their own.
    pub store: Option<String>,
    /// What has their ids.
    pub cookie: Cookie,
    /// How long one lasts that nobody uses.
    pub idle: Duration,
    /// How long one lasts at most.
    pub longest: Duration,
}

impl Session {
    /// The store of those that are kept in none of `pLuaShared`; common to all hosts where these share their states.
    #[must_use]
    pub fn own_store(is_of_server: bool) -> Shared {
        Shared { name: OWN_STORE.into(), place: Place::Memory(OWN_MEMORY), is_of_server }
    }
}

impl Given {
    pub(super) fn overridden(&self, inner: &Given) -> Given {
        Given {
            store: inner.store.as_ref().or(self.store.as_ref()).cloned(),
            cookie: inner.cookie.as_ref().or(self.cookie.as_ref()).cloned(),
            time: inner.time.or(self.time),
        }
    }

    pub(super) fn session(&self) -> Session {
        let (idle, longest) = self.time.unwrap_or((IDLE, LONGEST));
        Session { store: self.store.clone().flatten(), cookie: self.cookie.clone().unwrap_or_default(), idle, longest }
    }

    /// One line of `pLuaSession`.
    pub(super) fn set_store(&mut self, value: &str) -> Result<(), String> {
        self.store = Some(match value {
            "none" => None,
            name => Some(Shared::name(name)?.into()),
        });
        Ok(())
    }

    /// One line of `pLuaSessionCookie`.
    pub(super) fn set_cookie(&mut self, value: &str) -> Result<(), String> {
        let mut words = value.split_whitespace();
        let name = words.next().unwrap_or_default();
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name || name.starts_with("__") {
            return Err(format!(
                "'{name}' is no name of a cookie: give letters, digits, -, _ and ., such as: plua_session / Strict"
            ));
        }
        let mut cookie = Cookie { name: name.into(), ..Cookie::default() };
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "lax" => cookie.is_strict = false,
                "strict" => cookie.is_strict = true,
                _ if word.starts_with('/') && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') => {
                    cookie.path = word.into();
                }
                _ => {
                    return Err(format!(
                        "'{word}' is neither a path, which begins with /, nor Lax nor Strict, such as: shop /shop/ Strict"
                    ));
                }
            }
        }
        self.cookie = Some(cookie);
        Ok(())
    }

    /// One line of `pLuaSessionTime`.
    pub(super) fn set_time(&mut self, value: &str) -> Result<(), String> {
        let seconds = |word: &str| {
            let number = word.parse::<u32>().ok().filter(|seconds| (1..=1_000_000_000).contains(seconds));
            let number =
                number.ok_or_else(|| format!("'{word}' is no time: give whole seconds from 1 to 1000000000"))?;
            Ok::<_, String>(Duration::from_secs(number.into()))
        };
        let words: Vec<&str> = value.split_whitespace().collect();
        let (idle, longest) = match words[..] {
            [idle] => (seconds(idle)?, seconds(idle)?.max(LONGEST)),
            [idle, longest] => (seconds(idle)?, seconds(longest)?),
            _ => return Err(format!("'{value}' is not one or two times in seconds, such as: 1800 86400")),
        };
        if idle > longest {
            return Err(format!(
                "a session that may last {} seconds without being used cannot end after {}",
                idle.as_secs(),
                longest.as_secs()
            ));
        }
        self.time = Some((idle, longest));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_a_name_a_path_and_a_kind() {
        let given = |value: &str| {
            let mut given = Given::default();
            given.set_cookie(value).map(|()| given.session().cookie)
        };
        assert_eq!(given("app").unwrap(), Cookie { name: "app".into(), ..Cookie::default() });
        let whole = Cookie { name: "app".into(), path: "/shop/".into(), is_strict: true };
        assert_eq!(given("app /shop/ strict").unwrap(), whole);
        for refused in ["", "a=b", "__Host-app", "app shop", "app /a;b", "app None"] {
            assert!(given(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_session_ends_idle_and_in_any_case() {
        let given = |value: &str| {
            let mut given = Given::default();
            given.set_time(value).map(|()| (given.session().idle.as_secs(), given.session().longest.as_secs()))
        };
        assert_eq!(given("60"), Ok((60, 86_400)));
        assert_eq!(given("100000"), Ok((100_000, 100_000)));
        assert_eq!(given("60 120"), Ok((60, 120)));
        for refused in ["", "0", "1.5", "-1", "60 30", "1 2 3", "soon"] {
            assert!(given(refused).is_err(), "{refused}");
        }
    }
}
