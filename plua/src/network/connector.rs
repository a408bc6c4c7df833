//! How the client of HTTP gets its connections: only to where pages may connect, with TLS where the address says so.

use std::io::{self, IoSlice};
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
use crate::network::proxy::Proxy;
use crate::network::url::target;
use crate::network::{Failure, tls};
use crate::settings::connect::Connect;

/// Makes connections for pages of one site that trust the same servers.
#[derive(Clone)]
pub struct Connector {
    /// Where they may lead.
    pub connect: Arc<Connect>,
    /// What TLS is spoken with.
    pub config: Arc<ClientConfig>,
    /// Who they ask to connect, where it is not the server itself.
    pub proxy: Option<Arc<Proxy>>,
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

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { connect, config, proxy } = self.clone();
        Box::pin(async move {
            let server = target(&uri)?;
            check(&connect, &server, proxy.as_deref())?;
            let is_https = uri.scheme() == Some(&Scheme::HTTPS);
            let (uri, target) = match &proxy {
                Some(proxy) => (proxy.uri.clone(), proxy.target.clone()),
                None => (uri, server.clone()),
            };
            let mut connector = HttpConnector::new_with_resolver(Resolver { connect, target });
            connector.enforce_http(false);
            connector.set_nodelay(true);
            let stream = connector.call(uri).await.map_err(|error| not_connected(&error, proxy.as_deref()))?;
            let way = match &proxy {
                _ if is_https => {
                    if let Some(proxy) = &proxy {
                        proxy.tunnel(stream.inner(), &server).await?;
                    }
                    let name = tls::server_name(&server.host)?;
                    let connected = TlsConnector::from(config).connect(name, stream.into_inner()).await;
                    Way::Tls(Box::new(TokioIo::new(connected.map_err(|error| tls::handshake_failure(&error))?)))
                }
                Some(_) => Way::Proxy(stream),
                None => Way::Plain(stream),
            };
            Ok(Line { way, uses: Uses::default() })
        })
    }
}

/// Looks whether pages may ask that server, and the proxy by which they do.
///
/// # Errors
/// Kind `refused`.
pub fn check(connect: &Connect, server: &Target, proxy: Option<&Proxy>) -> Result<(), Failure> {
    let checked = match proxy {
        None => connect.check_host(&server.host, server.port),
        Some(Proxy { target, .. }) => connect
            .check_host(&target.host, target.port)
            .and_then(|()| connect.check_by_proxy(&server.host, server.port)),
    };
    checked.map_err(|message| Failure::new("refused", message))
}

fn not_connected(error: &(dyn std::error::Error + 'static), proxy: Option<&Proxy>) -> Failure {
    let failure = |words: String| match proxy {
        Some(proxy) => proxy.failure("connect", words),
        None => Failure::new("connect", words),
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return failure(super::words(error));
        }
        cause = error.source();
    }
    failure(error.to_string())
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
    /// To a proxy, which is told whole addresses.
    Proxy(TokioIo<TcpStream>),
    /// Behind TLS.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.uses.clone());
        match &self.way {
            Way::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => connected.negotiated_h2(),
            Way::Proxy(_) => connected.proxy(true),
            _ => connected,
        }
    }
}

impl Read for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) | Way::Proxy(stream) => Pin::new(stream).poll_read(context, into),
            Way::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl Write for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) | Way::Proxy(stream) => Pin::new(stream).poll_write(context, bytes),
            Way::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    // Pieces go to the system as they are: they are not gathered in a buffer that nobody counts.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) | Way::Proxy(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Way::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) | Way::Proxy(stream) => Pin::new(stream).poll_flush(context),
            Way::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain(stream) | Way::Proxy(stream) => Pin::new(stream).poll_shutdown(context),
            Way::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
