//! A folder of pages served by the engine alone, and what its visitor and its administrator see.

// Each test program uses its part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

#[path = "../../../tests/common/wait.rs"]
pub mod wait;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use plua::engine::{Engine, Host, PageFile, Served, WaitingPage};
use plua::error::entry::Entry;
use plua::error::report::Report;
use plua::exchange::{Answer, Background, Exchange, Head, HeaderChange, Request};
use plua::settings::{DIRECTIVES, Settings};
use tempfile::TempDir;

/// What came of one request.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub status: u16,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub log: Vec<String>,
    pub aborted: bool,
    pub flushes: usize,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn change_headers(&mut self, changes: &[HeaderChange]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for change in changes {
            if let HeaderChange::Set(name, _) | HeaderChange::Remove(name) = change {
                self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&text(name)));
            }
            if let HeaderChange::Set(name, value) | HeaderChange::Add(name, value) = change {
                self.headers.push((text(name), text(value)));
            }
        }
    }
}

pub struct Site {
    pub folder: TempDir,
    kept: Vec<TempDir>,
    pub host: Host,
    /// What work without a request has logged.
    pub background: Arc<Mutex<Seen>>,
    pub engine: Engine,
    settings: Arc<Settings>,
}

impl Site {
    /// A site with these lines of configuration, and pages as if they were written a while ago.
    pub fn new(configuration: &str, pages: &[(&str, &str)]) -> Site {
        Site::with_settings(given(configuration), pages)
    }

    /// The same with settings.
    pub fn with_settings(settings: Settings, pages: &[(&str, &str)]) -> Site {
        let engine = Engine::new();
        let site = Site {
            folder: tempfile::tempdir().unwrap(),
            kept: Vec::new(),
            host: engine.host("test", &settings).unwrap(),
            background: Arc::default(),
            settings: Arc::new(settings),
            engine,
        };
        for (name, page) in pages {
            site.write_before(name, page);
        }
        site
    }

    /// The same with pages that were written just now, for tests of what changes: a file's next time may be the same.
    pub fn just_written(configuration: &str, pages: &[(&str, &str)]) -> Site {
        let site = Site::new(configuration, &[]);
        for (name, page) in pages {
            site.write(name, page);
        }
        site
    }

    /// This site in a folder that was there before it.
    pub fn in_folder(mut self, folder: TempDir) -> Site {
        self.folder = folder;
        self
    }

    /// This site, with the files of another one kept as long.
    pub fn keeping(mut self, other: Site) -> Site {
        self.kept.push(other.folder);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, page: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, page).unwrap();
    }

    /// Writes a file as if that was a while ago: to one that was just written the engine gives time to be whole.
    pub fn write_before(&self, name: &str, page: impl AsRef<[u8]>) {
        self.write(name, page);
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    /// Fetches `page.plua?query`.
    pub fn get(&self, url: &str) -> Seen {
        self.send(url, Sent::default())
    }

    /// Fetches `page.plua?query` with further request headers.
    pub fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Seen {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.send(url, Sent { headers, ..Sent::default() })
    }

    /// Posts a body of this type.
    pub fn post(&self, url: &str, content_type: &str, body: impl AsRef<[u8]>) -> Seen {
        let body = Box::new(io::Cursor::new(body.as_ref().to_vec()));
        self.send(url, Sent { method: "POST", content_type: Some(content_type), body, ..Sent::default() })
    }

    /// Sends a request of any method and body.
    pub fn send(&self, url: &str, sent: Sent<'_>) -> Seen {
        match self.begin(url, sent, false) {
            Begun::Ended(seen) => seen,
            Begun::Waits(_) => unreachable!("the exchange parks no page"),
        }
    }

    /// Sends a request whose page gives its thread up where it waits.
    pub fn send_parking(&self, url: &str) -> Begun {
        self.begin(url, Sent::default(), true)
    }

    /// Fetches all of these in one thread: whenever a page waits, another one runs. `choose` says which of so many.
    pub fn get_interleaved(&self, urls: &[impl AsRef<str>], mut choose: impl FnMut(usize) -> usize) -> Vec<Seen> {
        let mut seen = vec![Seen::default(); urls.len()];
        let mut waiting = Vec::new();
        for (number, url) in urls.iter().enumerate() {
            match self.send_parking(url.as_ref()) {
                Begun::Ended(ended) => seen[number] = ended,
                Begun::Waits(page) => waiting.push((number, page)),
            }
        }
        while !waiting.is_empty() {
            let ready: Vec<_> = (0..waiting.len()).filter(|at| waiting[*at].1.page.is_ready()).collect();
            if ready.is_empty() {
                // Any of them may be the next, or its state's.
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            let (number, page) = waiting.swap_remove(ready[choose(ready.len())]);
            match page.go_on() {
                Begun::Ended(ended) => seen[number] = ended,
                Begun::Waits(page) => waiting.push((number, page)),
            }
        }
        seen
    }

    fn begin(&self, url: &str, sent: Sent<'_>, parks: bool) -> Begun {
        let (name, query) = url.split_once('?').map_or((url, None), |(name, query)| (name, Some(query)));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let exchange = Recorded {
            query: query.map(str::to_string),
            headers: sent.headers,
            method: sent.method.to_string(),
            content_type: sent.content_type.map(str::to_string),
            request_body: sent.body,
            seen: seen.clone(),
            client_gone: false,
            parks,
            background: self.background.clone(),
        };
        let path = self.path(name);
        let settings = match sent.directory {
            "" => self.settings.clone(),
            configuration => Arc::new(self.settings.narrowed(&given(configuration))),
        };
        let file = PageFile { path: &path, stamp: None, settings: &settings };
        Begun::of(self.host.begin(file, Box::new(exchange)), seen)
    }
}

/// What became of a request for now.
pub enum Begun {
    Ended(Seen),
    Waits(Waiting),
}

impl Begun {
    fn of(served: Served, seen: Arc<Mutex<Seen>>) -> Begun {
        let answer = match served {
            Served::Waits(page) => return Begun::Waits(Waiting { page, seen }),
            Served::Answered(answer) => answer,
        };
        let mut seen = seen.lock().clone();
        match answer {
            Answer::Sent => {}
            Answer::Status(status, headers) => {
                seen.status = status;
                seen.change_headers(&headers);
            }
            Answer::Aborted => seen.aborted = true,
        }
        Begun::Ended(seen)
    }

    /// What is seen of a page that has ended.
    pub fn ended(self) -> Seen {
        match self {
            Begun::Ended(seen) => seen,
            Begun::Waits(_) => panic!("the page waits"),
        }
    }

    /// A page that waits.
    pub fn waits(self) -> Waiting {
        match self {
            Begun::Waits(page) => page,
            Begun::Ended(seen) => panic!("the page has ended: {} {:?}", seen.text(), seen.log),
        }
    }
}

/// A page that waits without a thread.
pub struct Waiting {
    pub page: WaitingPage,
    seen: Arc<Mutex<Seen>>,
}

impl Waiting {
    /// What is out already.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Goes on with it.
    pub fn go_on(self) -> Begun {
        let Waiting { page, seen } = self;
        Begun::of(page.go_on(), seen)
    }

    /// Goes on with it whenever it may, until it has ended.
    pub fn until_it_ends(mut self) -> Seen {
        loop {
            self.page.wait();
            match self.go_on() {
                Begun::Ended(seen) => return seen,
                Begun::Waits(page) => self = page,
            }
        }
    }
}

/// The settings of these lines of configuration.
pub fn given(configuration: &str) -> Settings {
    let mut settings = Settings::default();
    for line in configuration.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let row = DIRECTIVES.iter().find(|row| row.name.to_str() == Ok(name)).unwrap();
        row.set(&mut settings, &words.collect::<Vec<_>>()).unwrap();
    }
    settings
}

/// Tries all cases, four at a time: what takes long of each is that its limit passes.
pub fn at_once<T: Sync>(cases: &[T], try_one: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    try_one(case);
                }
            });
        }
    });
}

/// What a page of this text answers.
pub fn page(text: &str) -> Seen {
    Site::new("", &[("page.plua", text)]).get("page.plua")
}

/// Kilobytes of this process by the system's name for them: `VmRSS` that are in memory, `VmHWM` the most there were.
pub fn memory(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A request as its client sends it. An error of the body's is the server's.
pub struct Sent<'a> {
    pub method: &'a str,
    pub content_type: Option<&'a str>,
    pub body: Box<dyn Read + Send>,
    pub headers: Vec<(String, String)>,
    /// Lines of configuration for the directory of the page asked for.
    pub directory: &'a str,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Sent { method: "GET", content_type: None, body: Box::new(io::empty()), headers: Vec::new(), directory: "" }
    }
}

struct Recorded {
    query: Option<String>,
    headers: Vec<(String, String)>,
    method: String,
    content_type: Option<String>,
    request_body: Box<dyn Read + Send>,
    seen: Arc<Mutex<Seen>>,
    client_gone: bool,
    parks: bool,
    /// What is logged where there is no request.
    background: Arc<Mutex<Seen>>,
}

impl Exchange for Recorded {
    fn can_park(&self) -> bool {
        self.parks
    }

    fn background(&self) -> Option<Background> {
        let seen = self.background.clone();
        Some(Arc::new(move || {
            Box::new(Recorded {
                query: None,
                headers: Vec::new(),
                method: String::new(),
                content_type: None,
                request_body: Box::new(io::empty()),
                // Each is a response of its own, of which only the log is looked at.
                seen: Arc::default(),
                client_gone: false,
                parks: true,
                background: seen.clone(),
            })
        }))
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: self.method.as_bytes().into(),
            uri: b"/page.plua".into(),
            query: self.query.as_deref().map(|query| query.as_bytes().into()),
            server_name: b"test".into(),
            received: 1_795_210_914_560_700,
            ..Request::default()
        }
    }

    fn headers(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b"host", b"test");
        if let Some(content_type) = &self.content_type {
            visit(b"content-type", content_type.as_bytes());
        }
        visit(b"X-Twice", b"1");
        visit(b"x-twice", b"2");
        for (name, value) in &self.headers {
            visit(name.as_bytes(), value.as_bytes());
        }
    }

    fn variables(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b"REQUEST_METHOD", b"GET");
    }

    fn read_body(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.request_body.read(into)
    }

    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        self.send_head(head)?;
        self.write(body)
    }

    fn send_head(&mut self, head: &Head) -> io::Result<()> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut seen = self.seen.lock();
        assert_eq!(seen.status, 0, "the head is sent once");
        seen.status = head.status;
        seen.content_type = text(&head.content_type);
        seen.change_headers(&head.headers);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.client_gone {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.seen.lock().body.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.seen.lock().flushes += 1;
        Ok(())
    }

    fn log(&mut self, _: Entry, line: &str) {
        let seen = if self.method.is_empty() { &self.background } else { &self.seen };
        seen.lock().log.push(line.to_string());
    }

    fn report(&mut self, report: Report<'_>) {
        self.log(report.0.kind.entry(), &report.line());
    }
}
