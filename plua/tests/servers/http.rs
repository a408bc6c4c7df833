//! Servers of HTTP/1.1, which answer what they are asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Talk, server};

/// A request as a server has it: its head, its body, and the chunks of that if it came in some.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub head: String,
    pub body: Vec<u8>,
    pub chunks: Vec<usize>,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = |line: &str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)).is_some();
        self.head.lines().find(|line| found(line)).map(|line| line.split_once(": ").unwrap().1)
    }
}

/// What has come on a connection.
pub struct Come<'c> {
    connection: &'c mut dyn Talk,
    bytes: Vec<u8>,
}

impl<'c> Come<'c> {
    pub fn new(connection: &'c mut dyn Talk) -> Come<'c> {
        Come { connection, bytes: Vec::new() }
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 65_536];
        match self.connection.read(&mut piece) {
            Ok(count) if count > 0 => {
                self.bytes.extend_from_slice(&piece[..count]);
                Some(())
            }
            _ => None,
        }
    }

    pub fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|bytes| bytes == end) {
                return Some(String::from_utf8(self.bytes.drain(..at + end.len()).collect()).unwrap());
            }
            self.more()?;
        }
    }

    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < count {
            self.more()?;
        }
        Some(self.bytes.drain(..count).collect())
    }

    /// The head of a request.
    pub fn head(&mut self) -> Option<Asked> {
        Some(Asked { head: self.until(b"\r\n\r\n")?, ..Asked::default() })
    }

    /// One chunk; empty at the end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.until(b"\r\n")?;
        let chunk = self.bytes(usize::from_str_radix(size.trim(), 16).unwrap())?;
        self.bytes(2)?;
        Some(chunk)
    }

    /// A whole request. None where the connection ends before that.
    pub fn request(&mut self) -> Option<Asked> {
        let mut asked = self.head()?;
        if asked.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    break;
                }
                asked.chunks.push(chunk.len());
                asked.body.extend(chunk);
            }
        } else {
            let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
            asked.body = self.bytes(length)?;
        }
        Some(asked)
    }

    pub fn say(&mut self, answer: &[u8]) -> bool {
        self.connection.write_all(answer).and_then(|()| self.connection.flush()).is_ok()
    }
}

/// Reads requests and answers each, until either side closes. An empty answer closes.
pub fn serve(mut connection: impl Talk, answer: impl Fn(&Asked) -> Vec<u8>) {
    let mut come = Come::new(&mut connection);
    while let Some(asked) = come.request() {
        let answer = answer(&asked);
        if answer.is_empty() || !come.say(&answer) {
            return;
        }
    }
}

pub fn http(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    server(move |connection| serve(connection, &answer))
}

pub fn answer(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).as_bytes(), body].concat()
}

/// An answer without a body.
pub fn status(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n").into_bytes()
}
