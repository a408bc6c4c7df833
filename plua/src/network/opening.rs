//! A connection that is being made: one attempt after the other, each as far as it goes without waiting.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::io::Interest;

use crate::limits::bell::Bell;
use crate::network::address::{Lookup, Target};
use crate::network::stream::Stream;
use crate::network::tls::{self, Wish};
use crate::network::{Attempt, Failure, Network, words};

/// Where to.
#[derive(Debug)]
pub enum Server {
    /// A host at a port.
    Host(Target),
    /// The same, by datagrams.
    Datagrams(Target),
    /// The file of a socket, its path resolved.
    Unix(PathBuf),
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    Begins,
    LooksUp(Lookup),
    Tries(Stream),
    Greets(Stream),
}

/// One connection until it can be used.
#[derive(Debug)]
pub struct Opening {
    server: Server,
    tls: Option<Wish>,
    stage: Stage,
    /// Addresses that were not tried yet.
    left: vec::IntoIter<SocketAddr>,
    /// What the last one said.
    problem: Option<Failure>,
}

impl Opening {
    /// Not begun yet. The server is one that pages may ask for.
    #[must_use]
    pub fn new(server: Server, tls: Option<Wish>) -> Opening {
        Opening { server, tls, stage: Stage::Begins, left: Vec::new().into_iter(), problem: None }
    }

    /// How many addresses are left to be tried, the present one among them.
    #[must_use]
    pub fn addresses_left(&self) -> usize {
        self.left.len() + 1
    }

    /// Gives the present address up, if there is another one.
    pub fn skip(&mut self) {
        self.problem = Some(Failure::new("timeout", format!("{}: timeout", self.shown())));
        self.stage = Stage::Begins;
    }

    /// Goes on as far as it goes.
    ///
    /// # Errors
    /// Why there will be no connection.
    pub fn go_on(&mut self, network: &Network, bell: &Arc<Bell>) -> Result<Attempt<Stream>, Failure> {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Begins) {
                Stage::Begins => match self.begin(network, bell)? {
                    Attempt::Done(stage) => stage,
                    Attempt::Wait(event) => return Ok(Attempt::Wait(event)),
                },
                Stage::LooksUp(lookup) => {
                    let found = lookup.take().unwrap_or_else(|| Err(Failure::new("name", "the lookup was ended")));
                    self.left = found?.into_iter();
                    Stage::Begins
                }
                Stage::Tries(mut stream) => match is_connected(&stream) {
                    Ok(true) => self.greet(stream, network)?,
                    Ok(false) => {
                        let event = stream.wait(Interest::WRITABLE, &network.reactor, bell);
                        let event = event.map_err(|error| self.failure(&error))?;
                        self.stage = Stage::Tries(stream);
                        return Ok(Attempt::Wait(event));
                    }
                    Err(error) => {
                        self.problem = Some(self.failure(&error));
                        Stage::Begins
                    }
                },
                Stage::Greets(mut stream) => {
                    match stream.handshake().map_err(|error| self.of_tls(tls::handshake_failure(&error)))? {
                        None => {
                            stream.forget_waits();
                            return Ok(Attempt::Done(stream));
                        }
                        Some(interest) => {
                            let event = stream.wait(interest, &network.reactor, bell);
                            let event = event.map_err(|error| self.failure(&error))?;
                            self.stage = Stage::Greets(stream);
                            return Ok(Attempt::Wait(event));
                        }
                    }
                }
            };
        }
    }

    /// Tries the next address, or looks for one.
    fn begin(&mut self, network: &Network, bell: &Arc<Bell>) -> Result<Attempt<Stage>, Failure> {
        let is_first = self.left.as_slice().is_empty() && self.problem.is_none();
        let tried = match &self.server {
            Server::Unix(_) if !is_first => None,
            Server::Unix(path) => Some(connect_unix(path)),
            Server::Host(target) | Server::Datagrams(target) => {
                let kind = match self.server {
                    Server::Datagrams(_) => SocketType::DGRAM,
                    _ => SocketType::STREAM,
                };
                let next = self.left.next();
                match next.or_else(|| target.address().filter(|_| is_first)) {
                    Some(address) => Some(connect_to(address, kind)),
                    None if is_first => {
                        let started = Lookup::start(target, &network.connect, &network.reactor, bell);
                        let (event, lookup) = started.map_err(|error| self.failure(&error))?;
                        self.stage = Stage::LooksUp(lookup);
                        return Ok(Attempt::Wait(event));
                    }
                    None => None,
                }
            }
        };
        match tried {
            Some(Ok(stream)) => Ok(Attempt::Done(Stage::Tries(stream))),
            Some(Err(error)) => {
                self.problem = Some(self.failure(&error));
                Ok(Attempt::Done(Stage::Begins))
            }
            None => Err(self
                .problem
                .take()
                .unwrap_or_else(|| Failure::new("name", format!("{}: no address", self.shown())))),
        }
    }

    fn greet(&self, mut stream: Stream, network: &Network) -> Result<Stage, Failure> {
        let Some(wish) = &self.tls else { return Ok(Stage::Greets(stream)) };
        let of_host = match &self.server {
            Server::Host(target) | Server::Datagrams(target) => target.host.as_str(),
            Server::Unix(_) => "localhost",
        };
        let name = tls::server_name(wish.server_name.as_deref().unwrap_or(of_host))?;
        let started = stream.start_tls(network.trust.config(wish)?, name);
        started.map_err(|error| self.of_tls(tls::failure(&error)))?;
        Ok(Stage::Greets(stream))
    }

    fn shown(&self) -> String {
        match &self.server {
            Server::Host(target) | Server::Datagrams(target) => format!("{}:{}", target.host, target.port),
            Server::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new("connect", format!("{}: {}", self.shown(), words(error)))
    }

    fn of_tls(&self, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.shown(), failure.message), ..failure }
    }
}

fn connect_to(address: SocketAddr, kind: SocketType) -> io::Result<Stream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let descriptor = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_tcp_nodelay(&descriptor, true)?;
    }
    match connect(&descriptor, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Stream::new(descriptor)),
        Err(error) => Err(error.into()),
    }
}

fn connect_unix(path: &PathBuf) -> io::Result<Stream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let descriptor = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&descriptor, &SocketAddrUnix::new(path)?)?;
    Ok(Stream::new(descriptor))
}

/// Whether it is, as it stands.
fn is_connected(stream: &Stream) -> io::Result<bool> {
    sockopt::socket_error(stream.socket()?)??;
    match rustix::net::getpeername(stream.socket()?) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the system says of a connection that a server has ended.
#[must_use]
pub fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}
