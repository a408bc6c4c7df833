//! A server, or the servers of a cluster, that stores are on.

use std::sync::Arc;

use redis::Value;
use shared_store::Refusal;

use crate::address::Address;
use crate::cluster::Cluster;
use crate::link::{Link, Trust};
use crate::problem::{Problem, said};
use crate::request::Request;

/// One server or a cluster, with the connections of this process. Its functions are for a runtime of tokio's.
pub struct Server {
    address: Arc<Address>,
    way: Way,
}

enum Way {
    One(Arc<Link>),
    Many(Arc<Cluster>),
}

impl Server {
    /// Nothing is connected before something is asked for.
    #[must_use]
    pub fn new(address: &Address, trust: Trust) -> Server {
        let address = Arc::new(address.clone());
        let way = match address.nodes.first() {
            Some(node) if !address.is_cluster => Way::One(Arc::new(Link::new(address.clone(), node.clone(), trust))),
            _ => Way::Many(Cluster::new(address.clone(), trust)),
        };
        Server { address, way }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for something of a key.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Value, Problem> {
        let (link, answer) = match &self.way {
            Way::One(link) => (link.clone(), link.ask(request, false).await?),
            Way::Many(cluster) => cluster.ask(request).await?,
        };
        checked(&link, answer)
    }

    /// Asks one of the servers, by its number; nothing where there are not so many.
    pub(crate) async fn ask_number(&self, number: usize, request: &Request) -> Result<Option<Value>, Problem> {
        let link = match &self.way {
            Way::One(link) => (number == 0).then(|| link.clone()),
            Way::Many(cluster) => cluster.masters().await?.get(number).cloned(),
        };
        let Some(link) = link else { return Ok(None) };
        let answer = link.ask(request, false).await;
        if let (Err(_), Way::Many(cluster)) = (&answer, &self.way) {
            cluster.forget_map();
        }
        checked(&link, answer?).map(Some)
    }
}

/// An answer that is none but tells why not.
fn checked(link: &Link, answer: Value) -> Result<Value, Problem> {
    let Value::ServerError(error) = &answer else { return Ok(answer) };
    // Within a script older servers tell it behind other words.
    let is_of_another_kind =
        error.code() == "WRONGTYPE" || error.details().is_some_and(|told| told.contains("WRONGTYPE"));
    Err(match error.code() {
        _ if is_of_another_kind => Problem::Refused(Refusal::NotAList),
        "MOVED" | "ASK" => {
            Problem::of_server(&link.shown(), "the server is one of a cluster: declare it as redis+cluster://host:port")
        }
        _ => Problem::of_server(&link.shown(), said(error)),
    })
}
