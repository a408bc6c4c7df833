//! The servers of a cluster: which of them has a key, and what becomes of a request that one of them sends on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{ServerError, Value};

use crate::address::{Address, Node};
use crate::attempt::Attempt;
use crate::link::{Link, Trust};
use crate::problem::{Problem, said};
use crate::request::Request;

/// Slots that keys are spread over.
const SLOTS: u16 = 16384;

/// Times at most that a request is sent on: one by a cluster that is being changed, and one more.
const MOST_WAYS: usize = 5;

/// The servers of a cluster.
pub(crate) struct Cluster {
    address: Arc<Address>,
    trust: Trust,
    links: Mutex<HashMap<Node, Arc<Link>>>,
    map: Attempt<Arc<Map>>,
}

/// Which server has which slots: the last slot of each range with the first one and the server.
#[derive(Default)]
struct Map(Vec<(u16, u16, Node)>);

impl Map {
    fn node_of(&self, slot: u16) -> Option<&Node> {
        self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., node)| node)
    }
}

impl Cluster {
    /// Of which the address names some.
    pub(crate) fn new(address: Arc<Address>, trust: Trust) -> Arc<Cluster> {
        Arc::new(Cluster { address, trust, links: Mutex::default(), map: Attempt::default() })
    }

    fn link(&self, node: &Node) -> Arc<Link> {
        let mut links = self.links.lock();
        let new = || Arc::new(Link::new(self.address.clone(), node.clone(), self.trust.clone()));
        links.entry(node.clone()).or_insert_with(new).clone()
    }

    async fn map(self: &Arc<Cluster>) -> Result<Arc<Map>, Problem> {
        let own = self.clone();
        self.map.get(|_| true, || own.ask_for_map()).await
    }

    /// Asks the servers, those that the address names first, until one tells.
    async fn ask_for_map(self: Arc<Cluster>) -> Result<Arc<Map>, Problem> {
        let mut nodes = self.address.nodes.clone();
        nodes.extend(self.links.lock().keys().filter(|node| !self.address.nodes.contains(node)).cloned());
        let mut problem = None;
        for node in nodes {
            let link = self.link(&node);
            let request = Request::of_server("CLUSTER").with("SLOTS");
            match link.ask(&request, false).await {
                Ok(answer) => match read_map(&answer, link.node()) {
                    Ok(map) => {
                        let is_kept =
                            |node: &Node| self.address.nodes.contains(node) || map.0.iter().any(|(.., of)| of == node);
                        self.links.lock().retain(|node, _| is_kept(node));
                        return Ok(Arc::new(map));
                    }
                    Err(what) => problem = Some(Problem::of_server(&link.shown(), what)),
                },
                Err(failure) => problem = Some(failure),
            }
        }
        Err(problem.unwrap_or_else(|| Problem::Server("the cluster has no server".into())))
    }

    /// Asks the server that has the request's key.
    pub(crate) async fn ask(self: &Arc<Cluster>, request: &Request) -> Result<(Arc<Link>, Value), Problem> {
        let slot = slot(request.key.as_deref().unwrap_or_default());
        let map = self.map().await?;
        let Some(node) = map.node_of(slot) else {
            self.map.forget();
            return Err(Problem::of_server(
                &self.address.to_string(),
                format!("the cluster has no server for slot {slot}"),
            ));
        };
        let (mut link, mut is_asking) = (self.link(node), false);
        for _ in 0..MOST_WAYS {
            let answer = match link.ask(request, is_asking).await {
                Ok(answer) => answer,
                Err(problem) => {
                    // Another may have its slots soon.
                    self.map.forget();
                    return Err(problem);
                }
            };
            let Value::ServerError(error) = &answer else { return Ok((link, answer)) };
            let Some((next, asks)) = sent_on(error, link.node()) else {
                if error.code() == "READONLY" || error.code() == "CLUSTERDOWN" {
                    self.map.forget();
                }
                return Ok((link, answer));
            };
            if !asks {
                self.map.forget();
            }
            (link, is_asking) = (self.link(&next), asks);
        }
        Err(Problem::of_server(
            &link.shown(),
            "the servers of the cluster send a request to one another without an end",
        ))
    }

    /// All that have slots, in an order that stays while those are the same.
    pub(crate) async fn masters(self: &Arc<Cluster>) -> Result<Vec<Arc<Link>>, Problem> {
        let map = self.map().await?;
        let nodes: BTreeSet<_> = map.0.iter().map(|(.., node)| node).collect();
        Ok(nodes.into_iter().map(|node| self.link(node)).collect())
    }

    /// The servers are asked anew which of them has what.
    pub(crate) fn forget_map(&self) {
        self.map.forget();
    }
}

/// Where an answer sends the request, and whether only this once.
fn sent_on(error: &ServerError, asked: &Node) -> Option<(Node, bool)> {
    let asks = match error.code() {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (host, port) = error.details()?.split_whitespace().nth(1)?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((node(host.as_bytes(), port.parse().ok()?, asked)?, asks))
}

/// A server as others tell of it: one without a name is at the host of who tells.
fn node(host: &[u8], port: u16, asked: &Node) -> Option<Node> {
    let host = std::str::from_utf8(host).ok()?;
    match asked {
        Node::Host(of_asked, _) if host.is_empty() || host == "?" => Some(Node::Host(of_asked.clone(), port)),
        _ => Some(Node::Host(host.into(), port)),
    }
}

fn read_map(answer: &Value, asked: &Node) -> Result<Map, String> {
    let ranges = match answer {
        Value::Array(ranges) => ranges,
        Value::ServerError(error) => return Err(said(error)),
        _ => return Err("it does not say which server has what".into()),
    };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let range = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let [first, last, Value::Array(master), ..] = &range[..] else { return None };
        let host = match master.first()? {
            Value::BulkString(host) => &host[..],
            _ => b"",
        };
        Some((number(first)?, number(last)?, node(host, number(master.get(1)?)?, asked)?))
    };
    let map: Vec<_> = ranges.iter().filter_map(range).collect();
    match map.is_empty() {
        true => Err("the cluster has no slots, or is no cluster".into()),
        false => Ok(Map(map)),
    }
}

/// The slot of a key: of what stands between its first braces, or of all of it.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// The sum that clusters know keys by: CRC-16 of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT says.
        for (key, number) in [("foo", 12182), ("{foo}.bar", 12182), ("a{}b", slot(b"a{}b")), ("{user1000}.x{y}", 3443)]
        {
            assert_eq!(slot(key.as_bytes()), number, "{key}");
        }
        assert_ne!(slot(b"a{}b"), slot(b""));
        assert_eq!(slot(b"x{user1000}"), slot(b"user1000"));
    }
}
