//! Proxies of HTTP: what a page says of one, and the tunnels to servers of TLS that they make.

use std::io::{self, ErrorKind};

use data_encoding::BASE64;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use memchr::memmem;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use crate::network::address::Target;
use crate::network::url::target;
use crate::network::{Failure, words};

/// Bytes of a proxy's answer at most.
const LARGEST_HEAD: usize = 16 << 10;

/// Bytes that are read at a time.
const AT_A_TIME: usize = 2 << 10;

/// A proxy, and who it is told that asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Where it is.
    pub target: Target,
    /// The same as an address.
    pub uri: Uri,
    /// Name and password as it wants them. It shows itself nowhere.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// What a text such as `http://user:password@proxy.example:3128` says.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let expected = || "http://[user:password@]host:port expected".to_owned();
        let rest = text.strip_prefix("http://").ok_or_else(expected)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let uri = format!("http://{host}/").parse::<Uri>().map_err(|_| expected())?;
        let is_whole = uri.authority().is_some_and(|authority| authority.as_str() == host);
        if !is_whole || uri.port_u16().is_none_or(|port| port == 0) || uri.path() != "/" || uri.query().is_some() {
            return Err(expected());
        }
        let target = target(&uri).map_err(|_| expected())?;
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let mut both: Vec<u8> = percent_decode_str(name).collect();
            both.push(b':');
            both.extend(percent_decode_str(password));
            let value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(&both)));
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        Ok(Proxy { target, uri, authorization: authorization.transpose().map_err(|_| expected())? })
    }

    /// What the headers of a request to this address say to the proxy and to nobody else: nothing, where the request goes
    /// through a tunnel.
    pub fn address(&self, uri: &Uri, headers: &mut HeaderMap) {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return;
        }
        // The address says who is asked; a proxy that went by this could be sent elsewhere.
        headers.remove(HOST);
        if let Some(authorization) = &self.authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
    }

    /// Has the proxy at the other end of a connection make a tunnel of it.
    ///
    /// # Errors
    /// Kind `proxy` where it refuses; others where it is not one.
    pub async fn tunnel(&self, stream: &TcpStream, server: &Target) -> Result<(), Failure> {
        let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
        let port = server.port;
        let mut asks = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            asks.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
        }
        asks.extend(b"\r\n");
        write(stream, &asks).await.map_err(|error| self.failure("closed", words(&error)))?;
        let head = self.read_head(stream).await?;
        let status = status(&head).ok_or_else(|| self.failure("protocol", "what it says is not HTTP"))?;
        if status.is_success() { Ok(()) } else { Err(self.refusal(status)) }
    }

    async fn read_head(&self, stream: &TcpStream) -> Result<Vec<u8>, Failure> {
        let mut head = Vec::new();
        loop {
            let searched = head.len().saturating_sub(3);
            let count = read(stream, &mut head).await.map_err(|error| self.failure("closed", words(&error)))?;
            if count == 0 {
                return Err(self.failure("closed", "closed before it had answered"));
            }
            match memmem::find(&head[searched..], b"\r\n\r\n").map(|at| searched + at + 4) {
                // With TLS a server waits for its client's first words.
                Some(end) if end < head.len() && status(&head).is_some_and(|status| status.is_success()) => {
                    return Err(self.failure("protocol", "it says more than it was asked"));
                }
                Some(_) => return Ok(head),
                None if head.len() > LARGEST_HEAD => return Err(self.failure("too large", "its answer has no end")),
                None => {}
            }
        }
    }

    /// The proxy does not do what it was asked.
    #[must_use]
    pub fn refusal(&self, status: StatusCode) -> Failure {
        let reason = status.canonical_reason().unwrap_or_default();
        self.failure("proxy", format!("{} {reason}", status.as_u16()).trim_end())
    }

    /// What has happened between here and there.
    #[must_use]
    pub fn failure(&self, kind: &'static str, message: impl AsRef<str>) -> Failure {
        Failure::new(kind, format!("proxy {}:{}: {}", self.target.host, self.target.port, message.as_ref()))
    }
}

fn status(head: &[u8]) -> Option<StatusCode> {
    let [_, b' ', code @ ..] = head.strip_prefix(b"HTTP/1.")? else { return None };
    StatusCode::from_bytes(code.get(..3)?).ok()
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn read(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; AT_A_TIME];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut piece) {
            Ok(count) => {
                into.extend_from_slice(&piece[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_told_from_what_is_none() {
        let parse = |text: &str| Proxy::parse(text).map(|proxy| (proxy.target.host, proxy.target.port)).ok();
        assert_eq!(parse("http://proxy.example:3128"), Some(("proxy.example".into(), 3128)));
        assert_eq!(parse("http://[::1]:8080/"), Some(("::1".into(), 8080)));
        for text in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy",
            "http://proxy:0",
            "http://:3128",
            "http://127.0.0.1/x:3128",
            "http://proxy:3128/path",
            "http://proxy:3128?a",
            "http://proxy:3128#a",
            "http://user@name@",
            "http://pro xy:3128",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_said_as_it_is_and_shown_to_nobody() {
        let said = |text: &str| {
            let proxy = Proxy::parse(text).unwrap();
            assert!(!format!("{proxy:?} {}", proxy.failure("x", "y")).contains("open"), "{proxy:?}");
            let mut headers = HeaderMap::new();
            proxy.address(&Uri::from_static("https://a/"), &mut headers);
            assert!(headers.is_empty());
            proxy.address(&Uri::from_static("http://a/"), &mut headers);
            let said = headers[PROXY_AUTHORIZATION].as_bytes().strip_prefix(b"Basic ").unwrap();
            String::from_utf8(BASE64.decode(said).unwrap()).unwrap()
        };
        assert_eq!(said("http://Aladdin:open%20sesame@proxy:80"), "Aladdin:open sesame");
        assert_eq!(said("http://a:open@%3A@proxy:80"), "a:open@:");
        assert_eq!(said("http://a@proxy:80"), "a:");
    }
}
