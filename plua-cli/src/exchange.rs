//! A request made on the command line, answered on the terminal.

use std::fs::File;
use std::io::{self, Read, Write, stderr, stdout};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use plua::error::entry::{Entry, Level};
use plua::error::report::{Report, printable};
use plua::exchange::{Charset, Exchange, Head, HeaderChange, Request};

/// What the command line says of the request.
pub(crate) struct Asked {
    /// Absolute path of the page.
    pub(crate) page: PathBuf,
    /// Without its `?`, still encoded.
    pub(crate) query: Option<String>,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Box<dyn Read + Send>,
    /// Whether status and headers of the response are shown.
    pub(crate) show_head: bool,
}

/// Name and value of a header.
type Header<'a> = (&'a [u8], &'a [u8]);

/// How it ended.
#[derive(Default)]
pub(crate) struct Ended {
    /// Of the response; 0 before there is one.
    pub(crate) status: u16,
    /// Where it leads to, if it is a redirection.
    pub(crate) location: Option<String>,
    /// Whether anything was reported.
    pub(crate) failed: bool,
    /// Whether the last line that was put out has not ended.
    has_open_line: bool,
    /// Why the standard output took no more, unless its reader just left.
    pub(crate) problem: Option<io::Error>,
}

impl Ended {
    /// Whether the last line that was put out has not ended, which is done now.
    pub(crate) fn take_open_line(&mut self) -> bool {
        mem::take(&mut self.has_open_line)
    }

    /// Takes the address of a redirection from changes of the response's headers.
    pub(crate) fn note_location(&mut self, headers: &[HeaderChange]) {
        for (name, value) in applied(Vec::new(), headers) {
            if name.eq_ignore_ascii_case(b"Location") {
                self.location = Some(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
}

/// The exchange of one request: its body is what was given, the response's goes to the standard output, reports go
/// to the standard error output.
pub(crate) struct TerminalExchange {
    asked: Asked,
    /// Microseconds since 1970.
    received: i64,
    ended: Arc<Mutex<Ended>>,
}

impl TerminalExchange {
    /// An exchange, and where to see how it ended: the engine keeps the exchange.
    pub(crate) fn new(asked: Asked) -> (TerminalExchange, Arc<Mutex<Ended>>) {
        let ended = Arc::<Mutex<Ended>>::default();
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        (TerminalExchange { asked, received, ended: ended.clone() }, ended)
    }

    /// The address a browser would have asked for, were the page's folder the document root.
    fn uri(&self) -> Vec<u8> {
        [b"/", self.asked.page.file_name().unwrap_or_default().as_bytes()].concat()
    }

    fn unparsed_uri(&self) -> Vec<u8> {
        match &self.asked.query {
            Some(query) => [&*self.uri(), b"?", query.as_bytes()].concat(),
            None => self.uri(),
        }
    }

    /// Takes the head; `length` is the body's, where that is known.
    fn begin(&mut self, head: &Head, length: Option<usize>) -> io::Result<()> {
        {
            let mut ended = self.ended.lock();
            ended.status = head.status;
            ended.note_location(&head.headers);
        }
        if !self.asked.show_head {
            return Ok(());
        }
        let length = length.map(|length| length.to_string());
        let content_type = match &head.charset {
            Charset::OfServer => head.content_type_in("UTF-8"),
            Charset::Named(name) => head.content_type_in(name),
            Charset::Unnamed => head.content_type[..].into(),
        };
        let mut headers = vec![(&b"Content-Type"[..], &*content_type)];
        headers.extend(length.iter().map(|length| (&b"Content-Length"[..], length.as_bytes())));
        self.put(&head_bytes(head.status, applied(headers, &head.headers)))
    }

    /// Writes at once: the engine buffers already.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.ended.lock().has_open_line = *last != b'\n';
        }
        stdout().write_all(bytes).and_then(|()| stdout().flush()).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::BrokenPipe {
                self.ended.lock().problem = Some(error);
            }
            kind.into()
        })
    }
}

impl Exchange for TerminalExchange {
    fn request(&self) -> Request<'_> {
        let method = self.asked.method.as_bytes();
        Request {
            method: method.into(),
            uri: self.uri().into(),
            unparsed_uri: self.unparsed_uri().into(),
            line: [method, b" ", &self.unparsed_uri(), b" HTTP/1.1"].concat().into(),
            path_info: b"".into(),
            query: self.asked.query.as_ref().map(|query| query.as_bytes().into()),
            server_name: b"localhost".into(),
            remote_address: b"127.0.0.1".into(),
            received: self.received,
            server_banner: concat!("plua/", env!("CARGO_PKG_VERSION")).as_bytes().into(),
            server_version: env!("CARGO_PKG_VERSION").as_bytes().into(),
        }
    }

    fn headers(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in &self.asked.headers {
            visit(name.as_bytes(), value.as_bytes());
        }
    }

    fn variables(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b"REQUEST_METHOD", self.asked.method.as_bytes());
        visit(b"QUERY_STRING", self.asked.query.as_deref().unwrap_or_default().as_bytes());
        visit(b"REQUEST_URI", &self.unparsed_uri());
        visit(b"SCRIPT_NAME", &self.uri());
        visit(b"SCRIPT_FILENAME", self.asked.page.as_os_str().as_bytes());
    }

    fn read_body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.asked.body.read(into)
    }

    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        self.begin(head, Some(body.len()))?;
        self.write(body)
    }

    fn respond_file(&mut self, head: &Head, mut file: File, size: u64) -> io::Result<()> {
        self.begin(head, usize::try_from(size).ok())?;
        if self.asked.method == "HEAD" { Ok(()) } else { io::copy(&mut file, &mut stdout()).map(drop) }
    }

    fn send_head(&mut self, head: &Head) -> io::Result<()> {
        self.begin(head, None)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.asked.method == "HEAD" {
            return Ok(());
        }
        self.put(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn log(&mut self, entry: Entry, line: &str) {
        self.ended.lock().failed |= entry.level() <= Level::Error;
        // Whoever closed the standard error output does not want to know.
        let _ = writeln!(stderr(), "plua: {}", printable(line));
    }

    fn report(&mut self, report: Report<'_>) {
        self.ended.lock().failed = true;
        let _ = stderr().write_all(printable(&report.text()).as_bytes());
    }
}

/// Headers after these changes.
pub(crate) fn applied<'a>(mut headers: Vec<Header<'a>>, changes: &'a [HeaderChange]) -> Vec<Header<'a>> {
    for change in changes {
        if let HeaderChange::Set(name, _) | HeaderChange::Remove(name) = change {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        }
        if let HeaderChange::Set(name, value) | HeaderChange::Add(name, value) = change {
            headers.push((name, value));
        }
    }
    headers
}

/// Status line and headers as HTTP writes them. The status line's text is empty, as HTTP allows.
pub(crate) fn head_bytes<'a>(status: u16, headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} \r\n").into_bytes();
    for (name, value) in headers {
        head.extend([name, b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}
