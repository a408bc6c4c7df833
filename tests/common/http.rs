//! A plain HTTP/1.1 client that shows what was really sent: header order, repeats, cut bodies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The number of the status line.
    pub status: u16,
    /// The words of the status line.
    pub reason: String,
    /// As they came, in order and with repeats.
    pub headers: Vec<(String, String)>,
    /// Without its transfer coding.
    pub body: Vec<u8>,
    /// Whether the body came to its announced end: a connection cut off on the way leaves it false, and so does one that
    /// is reset where only its end ends the body.
    pub complete: bool,
}

impl Response {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every header of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// Name and value of the cookie that it sets.
    pub fn cookie(&self) -> String {
        self.header("Set-Cookie").unwrap().split(';').next().unwrap().to_string()
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a connection ended where an answer was awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Without a byte, or with none in time.
    Silent,
    /// In the middle of the answer's head.
    InHead,
}

/// A connection that stays open from request to request.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects to a port of 127.0.0.1.
    pub fn open(port: u16) -> Self {
        Self::try_open(port).unwrap()
    }

    /// Connects to a port of 127.0.0.1, which may refuse.
    pub fn try_open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        // A server that refuses a body closes while it is being sent; its answer is what counts.
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Sends a request and keeps the connection; `Host` and `Content-Length` are added unless given.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send(&request(method, path, headers, body));
        self.response(method)
    }

    /// Tells the server that no more is sent.
    pub fn finish_sending(&mut self) {
        let _ = self.0.get_mut().shutdown(Shutdown::Write);
    }

    /// Everything until the server closes, untouched. A reset ends it like a close.
    pub fn rest(&mut self) -> Vec<u8> {
        self.rest_and_end().0
    }

    /// The same, and whether the server closed rather than reset.
    fn rest_and_end(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let end = self.0.read_to_end(&mut bytes);
        if let Err(problem) = &end {
            assert_eq!(problem.kind(), std::io::ErrorKind::ConnectionReset, "{problem}");
        }
        (bytes, end.is_ok())
    }

    /// Reads until these bytes have come, and returns all that came with them at the end.
    pub fn until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(wanted) {
            let mut byte = [0];
            let read = self.0.read(&mut byte).unwrap();
            assert_eq!(read, 1, "it ended before {:?}", String::from_utf8_lossy(wanted));
            bytes.push(byte[0]);
        }
        bytes
    }

    /// Reads the answer to a request of this method; interim answers (1xx) before it are passed over.
    pub fn response(&mut self, method: &str) -> Response {
        loop {
            let response = self.one_response(method);
            if response.status >= 200 {
                return response;
            }
        }
    }

    /// Reads one answer, interim ones (1xx) too.
    pub fn one_response(&mut self, method: &str) -> Response {
        self.response_or_end(method).unwrap_or_else(|end| panic!("no answer: {end:?}"))
    }

    /// Reads one answer, or tells how the connection ended before its head was whole.
    pub fn response_or_end(&mut self, method: &str) -> Result<Response, End> {
        if self.0.fill_buf().map_or(true, <[u8]>::is_empty) {
            return Err(End::Silent);
        }
        let line = self.line_or_end().ok_or(End::InHead)?;
        let mut words = line.splitn(3, ' ');
        assert!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")), "no answer: {line:?}");
        let status: u16 = words.next().unwrap_or_default().parse().unwrap();
        let reason = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = self.line_or_end().ok_or(End::InHead)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut response = Response { status, reason, headers, body: Vec::new(), complete: true };
        if method != "HEAD" && status >= 200 && status != 204 && status != 304 {
            self.read_body(&mut response);
        }
        Ok(response)
    }

    fn read_body(&mut self, response: &mut Response) {
        if response.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            response.complete = self.read_chunks(&mut response.body);
        } else if let Some(length) = response.header("Content-Length").map(|length| length.parse::<u64>().unwrap()) {
            response.complete = self.read_exactly(length, &mut response.body);
        } else {
            (response.body, response.complete) = self.rest_and_end();
        }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let line = self.line();
            let Ok(length) = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16) else {
                return false;
            };
            if length == 0 {
                // Trailers, then an empty line.
                while !self.line().is_empty() {}
                return true;
            }
            if !self.read_exactly(length, body) || self.line_or_end().is_none() {
                return false;
            }
        }
    }

    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> bool {
        let before = body.len() as u64;
        let outcome = (&mut self.0).take(length).read_to_end(body);
        outcome.is_ok() && body.len() as u64 - before == length
    }

    /// One line without its end; the end of the connection reads as an empty line.
    fn line(&mut self) -> String {
        self.line_or_end().unwrap_or_default()
    }

    fn line_or_end(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let _ = self.0.read_until(b'\n', &mut bytes);
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\n")?).into_owned();
        Some(text.trim_end_matches('\r').to_owned())
    }
}

/// The bytes of a request; `Host` and, for a body, `Content-Length` are added unless given.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let given = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n");
    if !given("Host") {
        bytes += "Host: localhost\r\n";
    }
    if !body.is_empty() && !given("Content-Length") && !given("Transfer-Encoding") {
        bytes += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    bytes += "\r\n";
    [bytes.as_bytes(), body].concat()
}
