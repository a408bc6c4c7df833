//! The connection of this process to one server: made when it is first wanted, and anew when it was lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::{Address, Node};
use crate::attempt::Attempt;
use crate::problem::{Problem, not_greeted, words};
use crate::request::Request;

/// What gives the certificates that are trusted, or says why there are none.
pub type Trust = Arc<dyn Fn() -> Result<Arc<ClientConfig>, String> + Send + Sync>;

/// Time that a connection may take until it can be used.
const CONNECTING: Duration = Duration::from_secs(5);

/// Time that an answer may take. A server that lets more pass is taken to be gone.
const ANSWERING: Duration = Duration::from_secs(30);

/// One server, and what all who ask it share.
pub(crate) struct Link {
    address: Arc<Address>,
    node: Node,
    trust: Trust,
    line: Attempt<Arc<Line>>,
}

/// A connection.
struct Line {
    connection: MultiplexedConnection,
    is_open: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Line {
    fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        self.driver.abort();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Says that a connection has ended, by whatever.
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Link {
    /// Without a connection.
    pub(crate) fn new(address: Arc<Address>, node: Node, trust: Trust) -> Link {
        Link { address, node, trust, line: Attempt::default() }
    }

    /// How errors call the server.
    pub(crate) fn shown(&self) -> String {
        self.address.shown(&self.node)
    }

    /// Where the server is, for one that has said nothing of that.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Asks the server, which is to be told before that it has the key already though it does not know so, where it `is_asking`.
    pub(crate) async fn ask(&self, request: &Request, is_asking: bool) -> Result<Value, Problem> {
        let answer = self.send(request, is_asking, false).await?;
        match &answer {
            Value::ServerError(error) if request.is_script() && error.code() == "NOSCRIPT" => {
                self.send(request, is_asking, true).await
            }
            _ => Ok(answer),
        }
    }

    async fn send(&self, request: &Request, is_asking: bool, with_source: bool) -> Result<Value, Problem> {
        let (address, node, trust) = (self.address.clone(), self.node.clone(), self.trust.clone());
        let line = self.line.get(|line| line.is_open.load(Ordering::Relaxed), || connect(address, node, trust)).await?;
        let mut connection = line.connection.clone();
        let command = request.command(with_source);
        let sent = async {
            if !is_asking {
                return connection.send_packed_command(&command).await;
            }
            let mut both = Pipeline::with_capacity(2);
            both.cmd("ASKING").add_command(command);
            let mut answers = connection.send_packed_commands(&both, 0, 2).await?;
            Ok(answers.pop().unwrap_or_default())
        };
        let answer = match timeout(ANSWERING, sent).await {
            Ok(Ok(answer)) => answer,
            // Whatever the crate says: it is of the connection, for what the server says is an answer.
            Ok(Err(_)) => {
                line.close();
                return Err(Problem::of_server(&self.shown(), "the connection was lost before the answer came"));
            }
            Err(_) => {
                line.close();
                let what = format!("no answer came in {} seconds", ANSWERING.as_secs());
                return Err(Problem::of_server(&self.shown(), what));
            }
        };
        // One that may not be written to any more was made another's copy: the name may lead to that one by now.
        if matches!(&answer, Value::ServerError(error) if error.code() == "READONLY") {
            line.close();
        }
        Ok(answer)
    }
}

async fn connect(address: Arc<Address>, node: Node, trust: Trust) -> Result<Arc<Line>, Problem> {
    let shown = address.shown(&node);
    let made = timeout(CONNECTING, open(&address, &node, &trust)).await;
    let made = made.unwrap_or_else(|_| Err(format!("no connection came about in {} seconds", CONNECTING.as_secs())));
    made.map(Arc::new).map_err(|what| Problem::of_server(&shown, what))
}

async fn open(address: &Address, node: &Node, trust: &Trust) -> Result<Line, String> {
    let stream = match node {
        Node::Socket(path) => {
            boxed(UnixStream::connect(path).await.map_err(|error| format!("connect: {}", words(&error)))?)
        }
        Node::Host(host, port) => {
            let stream = connect_to(host, *port).await?;
            match address.speaks_tls {
                false => boxed(stream),
                true => {
                    let name = ServerName::try_from(host.clone());
                    let name =
                        name.map_err(|_| format!("TLS: '{host}' is not a name that a certificate can be for"))?;
                    let greeted = TlsConnector::from(trust()?).connect(name, stream).await;
                    boxed(greeted.map_err(|error| format!("TLS: {}", of_tls(&error)))?)
                }
            }
        }
    };
    let mut who = RedisConnectionInfo::default().set_db(address.database.into()).set_skip_set_lib_name();
    if let Some(user) = &address.user {
        who = who.set_username(user);
    }
    if let Some(password) = &address.password {
        who = who.set_password(password);
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let greeted = MultiplexedConnection::new_with_config(&who, stream, config).await;
    let (connection, driver) = greeted.map_err(|error| not_greeted(&error, address.password.as_deref()))?;
    let is_open = Arc::new(AtomicBool::new(true));
    let ending = Ending(is_open.clone());
    let driver = tokio::spawn(async move {
        let _ending = ending;
        driver.await;
    });
    Ok(Line { connection, is_open, driver: driver.abort_handle() })
}

async fn connect_to(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = lookup_host((host, port)).await.map_err(|error| {
        let words = words(&error);
        // What getaddrinfo says stands behind what was asked of it.
        words.strip_prefix("failed to lookup address information: ").unwrap_or(&words).to_lowercase()
    })?;
    let mut problem = "the name has no address".to_owned();
    for address in found {
        match TcpStream::connect(address).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = format!("connect: {}", words(&error)),
        }
    }
    Err(problem)
}

/// What TLS says, or the system.
fn of_tls(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "closed before the handshake was done".into(),
        None => words(error),
    }
}

/// One type for all ways, so that what speaks with a server is there once.
trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

fn boxed(stream: impl Stream + 'static) -> Pin<Box<dyn Stream>> {
    Box::pin(stream)
}
