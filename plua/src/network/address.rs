//! What a page asks to be connected to, and the addresses that a name stands for.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::bell::Bell;
use crate::network::watch::{self, Watch};
use crate::network::{Failure, words};
use crate::reactor::Reactor;
use crate::settings::connect::{Connect, host_and_port};

/// The longest name that the system is asked for: no name in the DNS is as long.
const LONGEST_NAME: usize = 255;

/// A host with its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Target {
    /// What a text such as `localhost:6379` or `[::1]:80` says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Target, String> {
        let parts = host_and_port(text).filter(|(host, _)| !host.is_empty());
        match parts {
            Some((host, Some(port))) if host.len() <= LONGEST_NAME && !host.contains('\0') => {
                Ok(Target { host: host.into(), port })
            }
            _ => Err("host:port or unix:/path expected".into()),
        }
    }

    /// The address, where that is what the host is given by.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, self.port))
    }

    /// The addresses that pages may connect to among those which the system knows. Takes as long as it takes.
    ///
    /// # Errors
    /// Kind `name` when there is none, `refused` when pages may connect to none.
    pub fn resolve(&self, connect: &Connect) -> Found {
        let all = (self.host.as_str(), self.port).to_socket_addrs();
        let all: Vec<SocketAddr> = all.map_err(|error| self.unknown(&error))?.collect();
        self.allowed(connect, all)
    }

    fn allowed(&self, connect: &Connect, all: Vec<SocketAddr>) -> Found {
        let mut refusal = None;
        let mut allowed = Vec::new();
        for address in all {
            match connect.check_address(&self.host, address.ip(), self.port) {
                Ok(()) => allowed.push(address),
                Err(message) => refusal = Some(Failure::new("refused", message)),
            }
        }
        match refusal {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(refusal) => Err(refusal),
            None => Err(Failure::new("name", format!("{}: the name has no address", self.host))),
        }
    }

    fn unknown(&self, error: &io::Error) -> Failure {
        let words = words(error);
        // What getaddrinfo says stands behind what was asked of it.
        let reason = words.strip_prefix("failed to lookup address information: ").unwrap_or(&words);
        Failure::new("name", format!("{}: {}", self.host, reason.to_lowercase()))
    }
}

/// What a name has led to.
pub type Found = Result<Vec<SocketAddr>, Failure>;

/// A name that is looked up beside the page.
#[derive(Debug)]
pub struct Lookup {
    found: Arc<Mutex<Option<Found>>>,
    _watch: Watch,
}

impl Lookup {
    /// Begins one; the event that has come when it has ended.
    ///
    /// # Errors
    /// The system's, when the reactor cannot start.
    pub fn start(target: &Target, connect: &Connect, reactor: &Reactor, bell: &Arc<Bell>) -> io::Result<(u32, Lookup)> {
        let found = Arc::new(Mutex::new(None));
        let (place, target, connect) = (found.clone(), target.clone(), connect.clone());
        let (event, watch) = watch::run(reactor, bell, async move {
            let resolved = tokio::task::spawn_blocking(move || target.resolve(&connect)).await;
            *place.lock() = resolved.ok();
        })?;
        Ok((event, Lookup { found, _watch: watch }))
    }

    /// What was found. None where it was ended before.
    #[must_use]
    pub fn take(&self) -> Option<Found> {
        self.found.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_their_ports() {
        let parse = |text: &str| Target::parse(text).ok().map(|target| (target.host, target.port));
        assert_eq!(parse("localhost:80"), Some(("localhost".into(), 80)));
        assert_eq!(parse("[::1]:80"), Some(("::1".into(), 80)));
        for text in
            ["localhost", "localhost:", "localhost:0", "localhost:65536", "::1", "::1:80", ":80", "[::1]", "a\0b:1"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_resolved_to_what_pages_may_connect_to() {
        let target = Target { host: "localhost".into(), port: 80 };
        assert!(target.resolve(&Connect::Any).unwrap().iter().all(|address| address.ip().is_loopback()));
        let mut only = None;
        Connect::add(&mut only, "192.0.2.0/24").unwrap();
        assert_eq!(target.resolve(&only.unwrap()).unwrap_err().kind, "refused");
        let target = Target { host: "no.such.name.invalid".into(), port: 80 };
        assert_eq!(target.resolve(&Connect::Any).unwrap_err().kind, "name");
    }
}
