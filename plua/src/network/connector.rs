//! How the client of HTTP gets its connections: only to where pages may connect, with TLS where the address says so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::network::address::Target;
use crate::network::{Failure, tls};
use crate::settings::connect::Connect;

/// Makes connections for pages of one site that trust the same servers.
#[derive(Clone)]
pub struct Connector {
    /// Where they may lead.
    pub connect: Arc<Connect>,
    /// What TLS is spoken with.
    pub config: Arc<ClientConfig>,
}

/// Looks a name up, and leaves out the addresses where pages may not connect to.
#[derive(Clone)]
struct Resolver {
    connect: Arc<Connect>,
    target: Target,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let Resolver { connect, target } = self.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || target.resolve(&connect)).await;
            found.map_err(|_| Failure::new("name", "the lookup was ended"))?.map(Vec::into_iter)
        })
    }
}

/// The host and the port that an address names.
///
/// # Errors
/// Kind `protocol`, where it names none.
pub fn target(uri: &Uri) -> Result<Target, Failure> {
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Failure::new("protocol", "the address names no host"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Target { host: host.to_owned(), port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }) })
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { connect, config } = self.clone();
        Box::pin(async move {
            let target = target(&uri)?;
            check(&connect, &target)?;
            let mut connector = HttpConnector::new_with_resolver(Resolver { connect, target: target.clone() });
            connector.enforce_http(false);
            connector.set_nodelay(true);
            let is_https = uri.scheme() == Some(&Scheme::HTTPS);
            let stream = connector.call(uri).await.map_err(|error| not_connected(&error))?;
            if !is_https {
                return Ok(Line { way: Way::Plain(stream), uses: Uses::default() });
            }
            let name = tls::server_name(&target.host)?;
            let connected = TlsConnector::from(config).connect(name, stream.into_inner()).await;
            let connected = connected.map_err(|error| tls::handshake_failure(&error))?;
            Ok(Line { way: Way::Tls(Box::new(TokioIo::new(connected))), uses: Uses::default() })
        })
    }
}

/// Looks whether pages may connect there.
///
/// # Errors
/// Kind `refused`.
pub fn check(connect: &Connect, target: &Target) -> Result<(), Failure> {
    connect.check_host(&target.host, target.port).map_err(|message| Failure::new("refused", message))
}

fn not_connected(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Failure::new("connect", super::words(error));
        }
        cause = error.source();
    }
    Failure::new("connect", error.to_string())
}

/// Answers that have come on a connection.
#[derive(Clone, Default)]
pub struct Uses(Arc<AtomicUsize>);

impl Uses {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there was one.
    #[must_use]
    pub fn are_some(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A connection.
pub struct Line {
    way: Way,
    uses: Uses,
}

enum Way {
    /// As it is.
    Plain(TokioIo<TcpStream>),
    /// Behind TLS.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.uses.clone());
        match &self.way {
            Way::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Way::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl Write for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Way::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) => Pin::new(stream).poll_flush(context),
            Way::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Way::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
