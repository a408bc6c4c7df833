//! The clients of HTTP of one site: one for each kind of trust and each proxy, with the connections that they keep.

use std::error::Error;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lru::LruCache;
use parking_lot::Mutex;

use crate::network::connector::Connector;
use crate::network::proxy::Proxy;
use crate::network::sending::Body;
use crate::network::tls::{Trust, Wish};
use crate::network::{Failure, tls, words};
use crate::settings::connect::Connect;

/// One of them. Its connections are those of all that are made of it.
pub type Client = legacy::Client<Connector, Body>;

/// Time that a connection is kept which nobody uses, and how many of those to one server.
const KEPT: Duration = Duration::from_secs(60);
const MOST_KEPT: usize = 1000;

/// Bytes of an answer's head at most.
const LARGEST_HEAD: u32 = 64 << 10;
const LARGEST_READ: usize = 256 << 10;

/// As many kinds of trust and proxies as a site's pages have at one time, most of them.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// All of a site.
pub struct Clients(Mutex<LruCache<Kind, Client>>);

/// Whom they trust, and who asks for them. What was said to a proxy on a connection is so for nobody else.
type Kind = (Wish, Option<Arc<Proxy>>);

impl Default for Clients {
    fn default() -> Clients {
        Clients(Mutex::new(LruCache::new(MOST)))
    }
}

impl Clients {
    /// The one that trusts as it is wished, and asks by that proxy if there is one.
    ///
    /// # Errors
    /// Kind `tls`: certificates that are none.
    pub fn client(&self, kind: Kind, trust: &Trust, connect: &Connect) -> Result<Client, Failure> {
        let mut clients = self.0.lock();
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let config = trust.config(&kind.0)?;
        let connector = Connector { connect: Arc::new(connect.clone()), config, proxy: kind.1.clone() };
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(MOST_KEPT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(LARGEST_READ)
            .http2_max_header_list_size(LARGEST_HEAD)
            .build(connector);
        clients.put(kind, client.clone());
        Ok(client)
    }
}

/// What an error of the client's is to a page.
#[must_use]
pub fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut cause = Some(error);
    let mut last = error;
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls::failure(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return tls::failure_of(error).unwrap_or_else(|| Failure::new("closed", words(error)));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && let Some(kind) = kind_of(error)
        {
            return Failure::new(kind, error.to_string());
        }
        last = error;
        cause = error.source();
    }
    Failure::new("protocol", last.to_string())
}

fn kind_of(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse() && error.to_string().contains("too large") {
        Some("too large")
    } else if error.is_parse() {
        Some("protocol")
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Some("closed")
    } else {
        None
    }
}
