//! What pages say to other servers: their sockets and requests, and what waits for those beside the page.
//!
//! Stands on `limits`, `reactor` and `settings`. Knows no request and no Lua: whoever opens a connection for a page is told when
//! to go on by the page's bell.

pub(crate) mod address;
pub(crate) mod buffer;
pub(crate) mod client;
mod connector;
pub(crate) mod decoding;
pub(crate) mod fetch;
pub(crate) mod idle;
pub(crate) mod opened;
pub(crate) mod opening;
pub(crate) mod proxy;
pub(crate) mod sending;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod url;
pub(crate) mod watch;

use std::fmt;
use std::sync::Arc;

use crate::network::client::Clients;
use crate::network::idle::Idle;
use crate::network::tls::Trust;
use crate::reactor::Reactor;
use crate::settings::connect::Connect;

/// The connections of one site: what its pages hand on to those after them is for no other site, for a server may know a
/// connection by who has said a password on it.
pub struct Network {
    /// Where its pages may connect to.
    pub connect: Connect,
    /// What looks after connections for pages that wait.
    pub reactor: Arc<Reactor>,
    /// Connections that no page has.
    pub idle: Arc<Idle>,
    /// Whom its pages trust.
    pub trust: Trust,
    /// Who asks servers of HTTP for them.
    pub clients: Clients,
}

impl Network {
    /// Without a connection.
    #[must_use]
    pub fn new(connect: Connect, reactor: Arc<Reactor>) -> Network {
        Network { connect, reactor, idle: Arc::default(), trust: Trust::default(), clients: Clients::default() }
    }
}

/// Why something has failed: a word that code can look at, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of those that the manual lists.
    pub kind: &'static str,
    /// What has happened.
    pub message: String,
}

impl Failure {
    /// Of this kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What an attempt has come to that may have to be made again.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It has succeeded.
    Done(T),
    /// It is to be made again when this event has come.
    Wait(u32),
}

/// An error of the system's in its own words, without its number.
#[must_use]
pub fn words(error: &std::io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
