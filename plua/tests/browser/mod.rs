//! A visitor's browser, which keeps the cookies of a site for its next request there.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::site::{Seen, Site};

/// A page that does what it is told.
pub const PAGE: &str = "<? local session = plua.session
    local run = assert((loadstring or load)('local session = ... ' .. plua.get('run', '')))
    echo(run(session)) ?>";

/// One visitor's cookies.
#[derive(Clone, Default)]
pub struct Browser(Arc<Mutex<BTreeMap<String, String>>>);

impl Browser {
    /// Asks for a page.
    pub fn get(&self, site: &Site, url: &str) -> Seen {
        self.get_with(site, url, &[])
    }

    /// Asks with other headers too.
    pub fn get_with(&self, site: &Site, url: &str, headers: &[(&str, &str)]) -> Seen {
        let cookies =
            self.0.lock().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let seen = site.get_with(url, &headers);
        for (_, cookie) in seen.headers.iter().filter(|(name, _)| name == "Set-Cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.0.lock().remove(name),
                _ => self.0.lock().insert(name.into(), value.into()),
            };
        }
        seen
    }

    /// What a page gives that runs this.
    pub fn run(&self, site: &Site, code: &str) -> String {
        let seen = self.get(site, &asked(code));
        assert_eq!((seen.status, &seen.log[..]), (200, &[][..]), "{code}");
        seen.text()
    }

    /// The session's id, as the cookie has it.
    pub fn id(&self) -> String {
        self.0.lock().get("plua_session").cloned().unwrap_or_default()
    }

    /// Another one with the same cookies.
    pub fn clone_cookies(&self) -> Browser {
        Browser(Arc::new(Mutex::new(self.0.lock().clone())))
    }
}

/// The address of a page that runs this.
pub fn asked(code: &str) -> String {
    let query: String = code.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("page.plua?run={query}")
}
