//! The real httpd for a test: pages in, requests, and an error log that may hold only what the test announced.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

mod http;
pub mod kept;
pub mod tls;
pub mod traffic;
pub mod wait;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

pub use http::{Connection, Response};
use plua::error::entry::ENTRIES;
pub use private_httpd::Mpm;
use private_httpd::{Configuration, Httpd, Installation};
use wait::until;

/// Lines of configuration that every test with the module starts from.
const PLUA: &str = "<FilesMatch \"\\.plua$\">\nSetHandler plua\n</FilesMatch>\nDirectoryIndex index.plua index.html\n";

/// Runs `test` against an httpd with the module, these lines of configuration and these files in its document root.
pub fn with_httpd(lines: &str, pages: &[(&str, &str)], test: impl FnOnce(&mut Server)) {
    httpd().lines(lines).pages(pages).run(test);
}

/// An httpd to be described step by step.
pub fn httpd() -> Setup {
    Setup { plua: Some(PLUA), before: Vec::new(), change: Vec::new(), pages: Vec::new() }
}

/// A virtual host at a port, `PORT` or `PORT2`, with lines of its own.
pub fn virtual_host(port: &str, name: &str, lines: &str) -> String {
    format!("<VirtualHost *:${{{port}}}>\nServerName {name}\n{lines}\n</VirtualHost>\n")
}

type Pages = Vec<(String, Vec<u8>)>;
type Change = Box<dyn FnOnce(Configuration) -> Configuration>;

/// An httpd before it is started.
#[must_use]
pub struct Setup {
    /// The first lines, where our module is loaded.
    plua: Option<&'static str>,
    before: Vec<String>,
    change: Vec<Change>,
    pages: Pages,
}

impl Setup {
    /// Adds lines of configuration, which may use `${PORT}`, `${PORT2}`, `${DOCROOT}` and `${ROOT}`.
    pub fn lines(self, lines: &str) -> Self {
        let lines = lines.to_owned();
        self.change(|configuration| configuration.body(lines))
    }

    /// Puts text files into the document root; their folders are made.
    pub fn pages(mut self, pages: &[(&str, &str)]) -> Self {
        self.pages.extend(pages.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        self
    }

    /// Puts a file of any bytes into the document root.
    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.pages.push((name.to_owned(), bytes.into()));
        self
    }

    /// Chooses the MPM instead of event.
    pub fn mpm(self, mpm: Mpm) -> Self {
        self.change(move |configuration| configuration.mpm(mpm))
    }

    /// Keeps so many processes of so many threads instead of one of 25.
    pub fn children(self, processes: u32, threads: u32) -> Self {
        self.change(move |configuration| configuration.children(processes, threads))
    }

    /// Loads one of httpd's own modules after ours.
    pub fn module(self, name: &str) -> Self {
        let name = name.to_owned();
        self.change(|configuration| configuration.module(name))
    }

    /// Loads one of httpd's own modules before ours.
    pub fn module_before(mut self, name: &str) -> Self {
        self.before.push(name.to_owned());
        self
    }

    /// Listens on so many ports more: `${PORT2}` and on.
    pub fn further_ports(self, count: usize) -> Self {
        self.change(move |configuration| configuration.further_ports(count))
    }

    /// Changes whatever else the private httpd offers.
    pub fn change(mut self, change: impl FnOnce(Configuration) -> Configuration + 'static) -> Self {
        self.change.push(Box::new(change));
        self
    }

    /// Leaves our module and its lines out.
    pub fn without_plua(mut self) -> Self {
        self.plua = None;
        self
    }

    /// Starts from these lines of configuration instead of the usual ones.
    pub fn first_lines(mut self, lines: &'static str) -> Self {
        self.plua = Some(lines);
        self
    }

    /// What `httpd -t` answers: its exit status and what it printed. None where no httpd is installed.
    pub fn check(self) -> Option<(i32, String)> {
        let answer = self.configuration()?.0.check().unwrap();
        Some((answer.status, answer.output))
    }

    /// Starts httpd, runs `test`, stops httpd, and then fails for every line of the error log that is a warning or worse
    /// and was not announced, and for every announced one that did not come.
    pub fn run(self, test: impl FnOnce(&mut Server)) {
        let Some((configuration, pages)) = self.configuration() else {
            return;
        };
        let httpd = configuration.start().unwrap_or_else(|problem| panic!("{problem}"));
        let mut server = Server { httpd, expected: Mutex::default(), tolerated: Mutex::default() };
        for (name, bytes) in pages {
            server.put(&name, bytes);
        }
        test(&mut server);
        server.httpd.stop().unwrap_or_else(|problem| panic!("{problem}"));
        server.judge_log();
    }

    fn configuration(self) -> Option<(Configuration, Pages)> {
        // It takes several programs to find, and stays the same.
        static FOUND: OnceLock<Result<Installation, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| Installation::find().map_err(|problem| problem.to_string()));
        let installation = match found {
            Ok(installation) => installation.clone(),
            Err(problem) if env::var_os("PLUA_REQUIRE_HTTPD").is_some() => panic!("{problem}"),
            Err(problem) => {
                eprintln!("skipped: {problem}");
                return None;
            }
        };
        let mut configuration = Configuration::new(installation);
        // A module built with a sanitizer needs its runtime in httpd.
        if let Ok(runtime) = env::var("PLUA_PRELOAD") {
            configuration = configuration.environment("LD_PRELOAD", runtime);
        }
        for name in self.before {
            configuration = configuration.module(name);
        }
        if let Some(lines) = self.plua {
            configuration = configuration.module_file("plua", module()).body(lines);
        }
        for change in self.change {
            configuration = change(configuration);
        }
        Some((configuration, self.pages))
    }
}

/// The module as this very `cargo test` built it; the copy one folder up may be of an earlier build.
fn module() -> PathBuf {
    let name = format!("{}mod_plua{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    env::current_exe().unwrap().with_file_name(name)
}

/// A running httpd that a test talks to. Requests may come from several threads.
pub struct Server {
    httpd: Httpd,
    expected: Mutex<Vec<String>>,
    tolerated: Mutex<Vec<String>>,
}

impl Server {
    /// Announces a line of the error log that holds `text`: it must come, and may be a warning or worse.
    pub fn expect(&self, text: &str) {
        self.expected.lock().unwrap().push(text.to_owned());
    }

    /// Allows lines of the error log that hold `text`, which need not come: it depends on how the machine was loaded.
    pub fn tolerate(&self, text: &str) {
        self.tolerated.lock().unwrap().push(text.to_owned());
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// GETs a path of the virtual host of this name.
    pub fn get_from(&self, host: &str, path: &str) -> Response {
        self.request("GET", path, &[("Host", host)], b"")
    }

    /// The same by a visitor with this cookie.
    pub fn get_as(&self, host: &str, path: &str, cookie: &str) -> Response {
        self.request("GET", path, &[("Host", host), ("Cookie", cookie)], b"")
    }

    /// POSTs a form as a browser does.
    pub fn post_form(&self, path: &str, form: &str) -> Response {
        self.request("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes())
    }

    /// Sends a request on a connection of its own. `Host`, `Connection: close` and, for a body, `Content-Length` are
    /// added unless given.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut connection = self.connect();
        connection.send(&http::request(method, path, &[headers, &[("Connection", "close")]].concat(), body));
        connection.response(method)
    }

    /// Sends these bytes, ends the sending side, and returns all that comes back.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut connection = self.connect();
        connection.send(bytes);
        connection.finish_sending();
        connection.rest()
    }

    /// A connection for several requests, or for parts of one.
    pub fn connect(&self) -> Connection {
        Connection::open(self.httpd.port())
    }

    /// A connection to a further port: 2 is `${PORT2}`.
    pub fn connect_to(&self, number: usize) -> Connection {
        Connection::open(self.httpd.ports()[number - 1])
    }

    /// The address of a path, for other clients.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.httpd.port())
    }

    /// Writes a file below the document root, with its folders.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let file = self.docroot().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// The document root.
    pub fn docroot(&self) -> &Path {
        self.httpd.docroot()
    }

    /// The private httpd itself: reloads, ports, processes.
    pub fn httpd(&mut self) -> &mut Httpd {
        &mut self.httpd
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        self.httpd.error_log()
    }

    /// Waits until a line of the error log holds `text` and returns that line.
    pub fn wait_for_log(&self, text: &str) -> String {
        let mut found = None;
        until(&format!("the error log holds {text:?}"), Duration::from_secs(20), || {
            found = self.error_log().lines().find(|line| line.contains(text)).map(str::to_owned);
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// Waits until httpd has taken every connection to its port and every byte that was sent to it, as the system counts.
    pub fn wait_until_all_is_read(&self) {
        let port = format!(":{:04X}", self.httpd.port());
        until("httpd has read all that was sent", Duration::from_secs(20), || {
            // Of each connection: its number, its two addresses, its state, and what is still to be sent and read.
            let table = fs::read_to_string("/proc/net/tcp").unwrap();
            table.lines().skip(1).all(|connection| {
                let fields: Vec<&str> = connection.split_whitespace().take(5).collect();
                let is_ours = fields[1..3].iter().any(|address| address.ends_with(&port));
                !is_ours || fields[4] == "00000000:00000000"
            })
        });
    }

    fn judge_log(&self) {
        let log = self.httpd.output();
        let expected = self.expected.lock().unwrap();
        for text in &*expected {
            assert!(log.lines().any(|line| line.contains(text)), "announced but never logged: {text}");
        }
        let tolerated = self.tolerated.lock().unwrap();
        let announced = |line: &str| expected.iter().chain(&*tolerated).any(|text| line.contains(text));
        // Rust prints an empty line before it tells of a panic.
        let unannounced = |line: &&str| !line.is_empty() && is_trouble(line) && !announced(line);
        let lines: Vec<&str> = log.lines().filter(unannounced).collect();
        assert!(lines.is_empty(), "not announced with server.expect():\n{}", lines.join("\n"));
        let nameless: Vec<&str> = log.lines().filter(|line| line.contains("] [plua:") && !has_code(line)).collect();
        assert!(nameless.is_empty(), "without a code of plua/src/error/entry.rs:\n{}", nameless.join("\n"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the error log:\n{}", self.httpd.output());
        }
    }
}

/// Whether an entry of the module begins with a code of its table.
fn has_code(line: &str) -> bool {
    ENTRIES.iter().any(|entry| line.contains(&format!("] {entry}: ")))
}

/// Remarks of httpd's that all its children are busy: a test chooses few of them.
const BUSY: &[&str] = &["AH00161:", "AH00484:", "AH00485:", "AH00288:", "AH00287:", "AH10159:"];

/// Whether a line of the error log is a warning or worse, a crash, or was printed past httpd's log.
fn is_trouble(line: &str) -> bool {
    let level = line.split(['[', ']']).nth(3).and_then(|source| source.rsplit(':').next());
    let calm = level.is_some_and(|level| {
        ["notice", "info", "debug"].contains(&level) || level.strip_prefix("trace").is_some_and(|n| n.len() == 1)
    });
    // httpd tells of a crashed child in a line that is a mere notice.
    let calm = calm || BUSY.iter().any(|number| line.contains(number));
    !calm || line.contains("panic") || (line.contains("AH00052: child pid") && line.contains("exit signal"))
}
