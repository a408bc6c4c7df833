//! What a private httpd is to be, and the configuration files written from it.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Account, Error, Httpd, Installation, is_root};

/// How httpd spreads requests over processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mpm {
    /// Threads; idle connections cost none. What distributions ship.
    #[default]
    Event,
    /// Threads, one to a connection.
    Worker,
    /// A process to a connection, no threads.
    Prefork,
}

impl Mpm {
    fn module(self) -> &'static str {
        match self {
            Self::Event => "mpm_event",
            Self::Worker => "mpm_worker",
            Self::Prefork => "mpm_prefork",
        }
    }
}

/// httpd's own modules that every private httpd has.
const MODULES: &[&str] = &["unixd", "authz_core", "dir", "mime", "log_config", "alias", "headers", "env", "setenvif"];

/// Types for machines without a list of them.
const TYPES: &str = "AddType text/html .html .htm\nAddType text/css .css\nAddType text/javascript .js .mjs\n\
    AddType application/json .json\nAddType image/png .png\nAddType image/jpeg .jpg .jpeg\n\
    AddType image/svg+xml .svg\nAddType text/plain .txt\n";

/// A private httpd before it is started.
///
/// Its folder holds `httpd.conf`, which is made from this, and `site.conf`, which is the body as given, so that httpd's
/// messages count the body's own lines. The body may use `${ROOT}` (the folder), `${DOCROOT}`, `${MODULES}` (the folder of
/// httpd's modules), `${PORT}` and, for further ports, `${PORT2}`, `${PORT3}` and on.
#[derive(Debug, Clone)]
#[must_use]
pub struct Configuration {
    pub(crate) installation: Installation,
    mpm: Mpm,
    modules: Vec<(String, Option<PathBuf>)>,
    docroot: Option<PathBuf>,
    pub(crate) port: Option<u16>,
    further_ports: usize,
    body: String,
    processes: u32,
    threads: u32,
    log_level: String,
    access_log: bool,
    folder_in: Option<(PathBuf, String)>,
    account: Option<Account>,
    pub(crate) capability: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// What `httpd -t` said of a configuration.
#[derive(Debug, Clone)]
pub struct Check {
    /// httpd's exit status; 0 is a configuration that can be started.
    pub status: i32,
    /// Everything it printed.
    pub output: String,
}

/// The folder of one httpd with its files written, and where it will listen.
pub(crate) struct Prepared {
    pub(crate) folder: TempDir,
    pub(crate) docroot: PathBuf,
    pub(crate) ports: Vec<u16>,
}

impl Configuration {
    /// One child process of 25 threads with the event MPM, a docroot of its own and a free port.
    pub fn new(installation: Installation) -> Self {
        Self {
            installation,
            mpm: Mpm::default(),
            modules: Vec::new(),
            docroot: None,
            port: None,
            further_ports: 0,
            body: String::new(),
            processes: 1,
            threads: 25,
            log_level: "info".to_owned(),
            access_log: true,
            folder_in: None,
            account: None,
            capability: None,
            environment: Vec::new(),
        }
    }

    /// Chooses the MPM.
    pub fn mpm(mut self, mpm: Mpm) -> Self {
        self.mpm = mpm;
        self
    }

    /// Loads one more of httpd's own modules, as `ssl` or `http2`, after those named before it.
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.modules.push((name.into(), None));
        self
    }

    /// Loads a module from a file, as `plua` from `libmod_plua.so`, after those named before it.
    pub fn module_file(mut self, name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        self.modules.push((name.into(), Some(file.into())));
        self
    }

    /// Serves this folder, an absolute path, instead of `htdocs` in the httpd's own folder.
    pub fn docroot(mut self, docroot: impl Into<PathBuf>) -> Self {
        self.docroot = Some(docroot.into());
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Listens on so many free ports more: `${PORT2}`, `${PORT3}` and on.
    pub fn further_ports(mut self, count: usize) -> Self {
        self.further_ports = count;
        self
    }

    /// Adds lines of configuration after those added before.
    pub fn body(mut self, lines: impl AsRef<str>) -> Self {
        self.body.push_str(lines.as_ref());
        if !self.body.ends_with('\n') {
            self.body.push('\n');
        }
        self
    }

    /// Adds a file of configuration, an absolute path, after the lines added before.
    ///
    /// # Errors
    /// [`Error::Path`] for a path that no configuration can name.
    pub fn include(self, file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = quoted(file.as_ref())?;
        Ok(self.body(format!("Include {file}")))
    }

    /// Keeps exactly so many child processes, of so many threads each where the MPM has threads. Both are at least 1.
    pub fn children(mut self, processes: u32, threads: u32) -> Self {
        (self.processes, self.threads) = (processes.max(1), threads.max(1));
        self
    }

    /// Sets `LogLevel`, as `warn` or `info plua:debug`; `info` unless called.
    pub fn log_level(mut self, level: impl Into<String>) -> Self {
        self.log_level = level.into();
        self
    }

    /// Writes no access log, for measurements.
    pub fn without_access_log(mut self) -> Self {
        self.access_log = false;
        self
    }

    /// Makes the httpd's folder in this one instead of the system's place for temporary files; its name starts with
    /// `prefix`.
    pub fn folder_in(mut self, parent: impl Into<PathBuf>, prefix: impl Into<String>) -> Self {
        self.folder_in = Some((parent.into(), prefix.into()));
        self
    }

    /// The account of the children when root starts httpd, instead of [`Account::unprivileged`].
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// Runs all of httpd as its account with one capability, as [`reading_capability`](crate::reading_capability)
    /// names it. Needs root and the program `setpriv`: httpd itself clears capabilities when its children change user.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.capability = Some(capability.into());
        self
    }

    /// Sets a variable in httpd's environment.
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it and returns once it answers.
    ///
    /// # Errors
    /// [`Error::PortBusy`] for a port that was asked for, [`Error::Ended`] with httpd's words when it refuses to start,
    /// [`Error::NoModule`], [`Error::Late`], [`Error::Io`].
    pub fn start(self) -> Result<Httpd, Error> {
        Httpd::start(self)
    }

    /// Asks httpd whether it could start with this, without starting it.
    ///
    /// # Errors
    /// [`Error::NoModule`] and [`Error::Io`]; a configuration that httpd refuses is an answer, not an error.
    pub fn check(&self) -> Result<Check, Error> {
        let prepared = self.prepare()?;
        let answer = Command::new(self.installation.program())
            .arg("-t")
            .arg("-f")
            .arg(prepared.folder.path().join("httpd.conf"))
            .envs(self.environment.iter().cloned())
            .output()
            .map_err(Error::io("cannot run httpd -t"))?;
        let output = [answer.stdout, answer.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(Check { status: answer.status.code().unwrap_or(-1), output })
    }

    /// The account that all of httpd runs as, rather than its children only. A nameless one needs it: httpd cannot look
    /// up its groups, says so, and goes on with children that are still root.
    pub(crate) fn whole_account(&self) -> Option<Account> {
        let account = self.children_account();
        (is_root() && (self.capability.is_some() || !account.has_name())).then_some(account)
    }

    pub(crate) fn processes(&self) -> usize {
        usize::try_from(self.processes).unwrap_or(usize::MAX)
    }

    fn children_account(&self) -> Account {
        self.account.unwrap_or_else(Account::unprivileged)
    }

    /// Makes the folder, chooses the ports and writes the configuration.
    pub(crate) fn prepare(&self) -> Result<Prepared, Error> {
        let mut place = tempfile::Builder::new();
        // Readable for all: the children that root's httpd starts run as another account.
        place.permissions(fs::Permissions::from_mode(0o755));
        let folder = match &self.folder_in {
            Some((parent, prefix)) => place.prefix(prefix).tempdir_in(parent),
            None => place.prefix("httpd-").tempdir(),
        }
        .map_err(Error::io("cannot make a folder for httpd"))?;
        let docroot = self.docroot.clone().unwrap_or_else(|| folder.path().join("htdocs"));
        if self.docroot.is_none() {
            fs::create_dir(&docroot).map_err(Error::io("cannot make the document root"))?;
        }
        let prepared = Prepared { ports: self.choose_ports()?, folder, docroot };
        self.write(&prepared)?;
        self.write_body(prepared.folder.path(), &self.body)?;
        if let Some(account) = self.whole_account() {
            chown(prepared.folder.path(), Some(account.user), Some(account.group))
                .map_err(Error::io("cannot give httpd its folder"))?;
        }
        Ok(prepared)
    }

    /// All ports are held until all are chosen, so that none comes twice.
    fn choose_ports(&self) -> Result<Vec<u16>, Error> {
        let asked = self.port.unwrap_or(0);
        let held =
            (0..=self.further_ports).map(|index| TcpListener::bind(("127.0.0.1", if index == 0 { asked } else { 0 })));
        let held = held.collect::<Result<Vec<_>, _>>().map_err(|problem| match self.port {
            Some(port) if problem.kind() == std::io::ErrorKind::AddrInUse => Error::PortBusy(port),
            _ => Error::io(format!("cannot listen on port {asked} of 127.0.0.1"))(problem),
        })?;
        held.iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<_, _>>()
            .map_err(Error::io("cannot choose a port"))
    }

    pub(crate) fn write_body(&self, folder: &Path, body: &str) -> Result<(), Error> {
        fs::write(folder.join("site.conf"), body).map_err(Error::io("cannot write the configuration"))
    }

    fn write(&self, prepared: &Prepared) -> Result<(), Error> {
        let mut text = String::new();
        let root = quoted(prepared.folder.path())?;
        let docroot = quoted(&prepared.docroot)?;
        let _ = writeln!(text, "ServerRoot {root}\nDefine ROOT {root}\nDefine DOCROOT {docroot}");
        let _ = writeln!(text, "Define MODULES {}", quoted(self.installation.modules())?);
        for (index, port) in prepared.ports.iter().enumerate() {
            let name = if index == 0 { "PORT".to_owned() } else { format!("PORT{}", index + 1) };
            let _ = writeln!(text, "Define {name} {port}\nListen 127.0.0.1:{port}");
        }
        let _ = writeln!(text, "ServerName localhost\nDefaultRuntimeDir {root}\nPidFile \"${{ROOT}}/httpd.pid\"");
        let _ = writeln!(text, "ErrorLog \"${{ROOT}}/error.log\"\nLogLevel {}", self.log_level);
        self.write_modules(&mut text)?;
        if is_root() && self.whole_account().is_none() {
            let account = self.children_account();
            let _ = writeln!(text, "User #{}\nGroup #{}", account.user, account.group);
        }
        self.write_children(&mut text);
        if self.access_log {
            let _ = writeln!(text, "CustomLog \"${{ROOT}}/access.log\" \"%h %l %u %t \\\"%r\\\" %>s %b\"");
        }
        let types = Path::new("/etc/mime.types");
        text.push_str(&match types.is_file() {
            true => format!("TypesConfig {}\n", quoted(types)?),
            false => format!("TypesConfig /dev/null\n{TYPES}"),
        });
        let _ = writeln!(text, "DocumentRoot {docroot}\nDirectoryIndex index.html");
        let _ = writeln!(text, "<Directory {docroot}>\nOptions FollowSymLinks\nRequire all granted\n</Directory>");
        let _ = writeln!(text, "Include \"${{ROOT}}/site.conf\"");
        fs::write(prepared.folder.path().join("httpd.conf"), text).map_err(Error::io("cannot write the configuration"))
    }

    fn write_modules(&self, text: &mut String) -> Result<(), Error> {
        let own = std::iter::once(self.mpm.module()).chain(MODULES.iter().copied()).map(|name| (name, None));
        let asked = self.modules.iter().map(|(name, file)| (name.as_str(), file.clone()));
        for (name, file) in own.chain(asked) {
            if file.is_none() && self.installation.is_compiled_in(name) {
                continue;
            }
            let file = file.unwrap_or_else(|| self.installation.module_file(name));
            if !file.is_file() {
                return Err(Error::NoModule { name: name.to_owned(), file });
            }
            let _ = writeln!(text, "LoadModule {name}_module {}", quoted(&file)?);
        }
        Ok(())
    }

    /// The number of children is fixed, so that a measurement or a test does not depend on when httpd adds one. The room
    /// beyond it is for children that a graceful restart lets finish. Prefork starts as many as it wants spare.
    fn write_children(&self, text: &mut String) {
        let (processes, threads) = (self.processes, self.threads);
        let room = processes + 4;
        let _ = match self.mpm {
            Mpm::Prefork => writeln!(
                text,
                "ServerLimit {room}\nStartServers {processes}\nMinSpareServers {processes}\nMaxSpareServers {room}\n\
                 MaxRequestWorkers {processes}"
            ),
            Mpm::Event | Mpm::Worker => {
                let workers = processes * threads;
                writeln!(
                    text,
                    "ServerLimit {room}\nStartServers {processes}\nThreadLimit {threads}\nThreadsPerChild {threads}\n\
                     MaxRequestWorkers {workers}\nMinSpareThreads 1\nMaxSpareThreads {}",
                    workers + threads
                )
            }
        };
    }
}

/// A path as one word of a configuration file.
fn quoted(path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r']) => {
            Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        }
        _ => Err(Error::Path(path.to_owned())),
    }
}
