//! A running httpd of one's own.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::Error;
use crate::configuration::{Configuration, Prepared};
use crate::process::{children_of, end, knows_children, signal, within};

/// How long httpd may take to answer, at start and after a restart.
const START: Duration = Duration::from_secs(30);
/// How long requests under way may keep httpd from ending.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long httpd may take to end from then on before it is ended by force.
const STOP: Duration = Duration::from_secs(10);
/// How long children of before a graceful restart are waited for; busy ones may stay longer.
const HANDOVER: Duration = Duration::from_secs(2);
/// How many free ports are tried: another program may take one between its choice and httpd's start.
const ATTEMPTS: u32 = 5;

/// A running httpd, stopped and its folder removed when dropped.
///
/// Where the program `setpriv` exists, httpd also ends when the thread that started it ends, however that ends; keep
/// that thread alive for as long as the server is wanted.
#[derive(Debug)]
pub struct Httpd {
    process: Child,
    configuration: Configuration,
    folder: TempDir,
    docroot: PathBuf,
    ports: Vec<u16>,
}

impl Httpd {
    pub(crate) fn start(configuration: Configuration) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::attempt(&configuration) {
                Err(Error::Ended { output }) if output.contains("Address already in use") => {
                    if let Some(port) = configuration.port {
                        return Err(Error::PortBusy(port));
                    }
                    if attempt == ATTEMPTS {
                        return Err(Error::Ended { output });
                    }
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn attempt(configuration: &Configuration) -> Result<Self, Error> {
        let Prepared { folder, docroot, ports } = configuration.prepare()?;
        let output = File::create(folder.path().join("output")).map_err(Error::io("cannot write httpd's output"))?;
        let errors = output.try_clone().map_err(Error::io("cannot write httpd's output"))?;
        let process = command(configuration)
            .arg("-f")
            .arg(folder.path().join("httpd.conf"))
            // In the foreground the process is ours: its id is known, and stopping it is certain.
            .arg("-DFOREGROUND")
            // At its end httpd signals its whole process group, which must not be ours.
            .process_group(0)
            .envs(configuration.environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Error::io(format!("cannot start {}", configuration.installation.program().display())))?;
        let mut httpd = Self { process, configuration: configuration.clone(), folder, docroot, ports };
        // httpd writes its id once it holds its ports, so an answer from then on comes from no one else.
        httpd.wait_until("to answer", |httpd| httpd.pid_file() == Some(httpd.pid()) && httpd.serves_with(&[]))?;
        Ok(httpd)
    }

    /// The port it answers on, of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Every port it answers on, `${PORT}` first, then `${PORT2}` and on.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Its folder, `${ROOT}`: configuration, logs and, unless another was given, the document root.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder it serves.
    #[must_use]
    pub fn docroot(&self) -> &Path {
        &self.docroot
    }

    /// The parent process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The child processes, in the order of their ids; those that serve and those about to end.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// Whether the parent process lives.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The error log so far.
    #[must_use]
    pub fn error_log(&self) -> String {
        read(&self.error_log_file())
    }

    /// Where the error log is.
    #[must_use]
    pub fn error_log_file(&self) -> PathBuf {
        self.root().join("error.log")
    }

    /// The access log so far. httpd writes a line after the answer, so the last one may be on its way.
    #[must_use]
    pub fn access_log(&self) -> String {
        read(&self.root().join("access.log"))
    }

    /// What httpd printed before it had a log, and what it logged.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.root().join("output")) + &self.error_log()
    }

    /// Replaces the body of the configuration; it holds from the next [`graceful`](Self::graceful) or
    /// [`restart`](Self::restart).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn configure(&mut self, body: &str) -> Result<(), Error> {
        self.configuration.write_body(self.folder.path(), body)
    }

    /// Reads the configuration again while requests under way finish, and returns once new children serve.
    ///
    /// # Errors
    /// [`Error::Ended`] when httpd refuses the configuration, which ends it, and [`Error::Late`].
    pub fn graceful(&mut self) -> Result<(), Error> {
        self.reload(Signal::SIGUSR1)
    }

    /// Reads the configuration again, cutting off requests under way, and returns once new children serve.
    ///
    /// # Errors
    /// As [`graceful`](Self::graceful).
    pub fn restart(&mut self) -> Result<(), Error> {
        self.reload(Signal::SIGHUP)
    }

    /// Ends it, cutting off requests that take longer than two seconds. The folder with the logs stays until this is dropped.
    ///
    /// # Errors
    /// [`Error::Late`] when it had to be ended by force.
    pub fn stop(&mut self) -> Result<(), Error> {
        match end(&mut self.process, PATIENCE, STOP) {
            true => Ok(()),
            false => Err(Error::Late { awaited: "to end", output: self.output() }),
        }
    }

    fn reload(&mut self, how: Signal) -> Result<(), Error> {
        let before = self.children();
        let written = self.pid_file_time();
        signal(self.pid(), how);
        self.wait_until("to take its configuration again", |httpd| {
            // httpd writes its id anew once it has taken the configuration.
            httpd.pid_file_time() != written && httpd.serves_with(&before)
        })?;
        // A child of before may take a last connection until it has heard of the restart.
        within(HANDOVER, || self.children().iter().all(|child| !before.contains(child)));
        Ok(())
    }

    fn wait_until(&mut self, awaited: &'static str, ready: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let mut ended = false;
        let done = within(START, || {
            ended = !self.is_running();
            ended || ready(self)
        });
        match (ended, done) {
            (true, _) => Err(Error::Ended { output: self.output() }),
            (false, true) => Ok(()),
            (false, false) => Err(Error::Late { awaited, output: self.output() }),
        }
    }

    /// Whether its ports answer and its children, those of `before` not counted, are all there.
    fn serves_with(&self, before: &[u32]) -> bool {
        let new = self.children().iter().filter(|child| !before.contains(child)).count();
        (new >= self.configuration.processes() || !knows_children()) && self.ports.iter().all(|port| answers(*port))
    }

    fn pid_file(&self) -> Option<u32> {
        read(&self.root().join("httpd.pid")).trim().parse().ok()
    }

    fn pid_file_time(&self) -> Option<SystemTime> {
        fs::metadata(self.root().join("httpd.pid")).ok()?.modified().ok()
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        end(&mut self.process, PATIENCE, STOP);
    }
}

/// httpd, through `setpriv` where it exists, which becomes httpd and keeps its process id.
fn command(configuration: &Configuration) -> Command {
    let program = configuration.installation.program();
    let whole = configuration.whole_account();
    if whole.is_none() && !Path::new("/usr/bin/setpriv").is_file() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    if let Some(account) = whole {
        command.arg(format!("--reuid={}", account.user)).arg(format!("--regid={}", account.group));
        command.arg("--clear-groups");
    }
    if let Some(capability) = &configuration.capability {
        command.arg(format!("--inh-caps=-all,+{capability}")).arg(format!("--ambient-caps=-all,+{capability}"));
    }
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
