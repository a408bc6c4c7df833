//! PostgreSQL and MariaDB for a test: each on a loopback port and in a folder of its own, gone with the test.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use private_httpd::{Account, is_root};
use tempfile::TempDir;

use crate::common::wait::within;

/// A database server that a test stops and starts.
pub trait DatabaseServer {
    /// What `dbopen` wants.
    fn parameters(&self) -> String;
    /// Starts it, with what it held.
    fn start(&mut self);
    /// Stops it.
    fn stop(&mut self);
}

/// One server's folder, port and process.
struct Running {
    folder: TempDir,
    port: u16,
    account: Option<Account>,
    process: Option<Child>,
    log: PathBuf,
}

impl Running {
    fn new(account: &str) -> Running {
        let folder = tempfile::Builder::new().prefix("plua-db-").tempdir().unwrap();
        // Neither server runs as root.
        let account = is_root().then(|| match User::from_name(account).unwrap() {
            Some(user) => Account { user: user.uid.as_raw(), group: user.gid.as_raw() },
            None => Account::unprivileged(),
        });
        if let Some(account) = account {
            chown(folder.path(), Some(account.user), Some(account.group)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = folder.path().join("server.log");
        Running { folder, port, account, process: None, log }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path()).stdin(Stdio::null());
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    fn run(&self, program: &Path, arguments: &[&str]) {
        let status = self.command(program, arguments).status().unwrap();
        assert!(status.success(), "{program:?}: {}", self.said());
    }

    /// Starts the server and waits until it answers.
    fn start(&mut self, program: &Path, arguments: &[&str], answers: impl Fn() -> bool) {
        self.process = Some(self.command(program, arguments).spawn().unwrap());
        let is_there = within(Duration::from_secs(60), || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{program:?} ended: {}", self.said());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok() && answers()
        });
        assert!(is_there, "{program:?} does not answer: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the server with this signal; by force if it takes too long.
    fn stop(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        let _ = kill(Pid::from_raw(process.id().cast_signed()), signal);
        if !within(Duration::from_secs(20), || !matches!(process.try_wait(), Ok(None))) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(Signal::SIGQUIT);
    }
}

/// The first of these programs there is; without one the test is skipped, or fails where all must run.
fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = folders.iter().cloned().chain(env::split_paths(&path)).map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        assert!(env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "{name} is not installed: scripts/deps test");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// PostgreSQL.
pub struct PostgreSql {
    server: Running,
    postgres: PathBuf,
}

impl PostgreSql {
    /// A fresh one; none where it is not installed.
    pub fn started() -> Option<PostgreSql> {
        // Debian keeps each version's programs in a folder of its own.
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        folders.sort();
        folders.reverse();
        let (initdb, postgres) = (program("initdb", &folders)?, program("postgres", &folders)?);
        let server = Running::new("postgres");
        let data = server.path("data");
        server.run(&initdb, &["-D", &data, "-U", "plua", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let mut database = PostgreSql { server, postgres };
        database.start();
        Some(database)
    }
}

impl DatabaseServer for PostgreSql {
    fn parameters(&self) -> String {
        format!("host=127.0.0.1 port={} user=plua dbname=postgres", self.server.port)
    }

    fn start(&mut self) {
        let (data, sockets, port) = (self.server.path("data"), self.server.path(""), self.server.port.to_string());
        let arguments = ["-D", &data, "-h", "127.0.0.1", "-p", &port, "-k", &sockets, "-c", "fsync=off"];
        // The port answers before the server takes queries; its file of process facts says when.
        let ready = format!("{data}/postmaster.pid");
        let postgres = self.postgres.clone();
        self.server.start(&postgres, &arguments, || {
            fs::read_to_string(&ready).is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
        });
    }

    fn stop(&mut self) {
        self.server.stop(Signal::SIGINT);
    }
}

/// MariaDB.
pub struct MariaDb {
    server: Running,
    mariadbd: PathBuf,
}

impl MariaDb {
    /// A fresh one; none where it is not installed.
    pub fn started() -> Option<MariaDb> {
        let folders = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/libexec")];
        let (install, mariadbd) = (program("mariadb-install-db", &folders)?, program("mariadbd", &folders)?);
        let server = Running::new("mysql");
        let data = format!("--datadir={}", server.path("data"));
        let normal = "--auth-root-authentication-method=normal";
        server.run(&install, &["--no-defaults", &data, normal, "--skip-test-db"]);
        let begin = "CREATE DATABASE pages; CREATE USER plua@'127.0.0.1'; GRANT ALL ON pages.* TO plua@'127.0.0.1';";
        fs::write(server.path("begin.sql"), begin.replace("; ", ";\n")).unwrap();
        let mut database = MariaDb { server, mariadbd };
        let first = format!("--init-file={}", database.server.path("begin.sql"));
        database.start_with(&[&first]);
        Some(database)
    }

    fn start_with(&mut self, further: &[&str]) {
        let (data, socket) = (self.server.path("data"), self.server.path("socket"));
        let own = [
            "--no-defaults".to_owned(),
            format!("--datadir={data}"),
            format!("--socket={socket}"),
            format!("--port={}", self.server.port),
            format!("--pid-file={}", self.server.path("pid")),
            "--bind-address=127.0.0.1".to_owned(),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--max-allowed-packet=64M".to_owned(),
            "--skip-log-bin".to_owned(),
        ];
        let arguments: Vec<&str> = own.iter().map(String::as_str).chain(further.iter().copied()).collect();
        let mariadbd = self.mariadbd.clone();
        self.server.start(&mariadbd, &arguments, || true);
    }
}

impl DatabaseServer for MariaDb {
    fn parameters(&self) -> String {
        format!("host=127.0.0.1,port={},user=plua,dbname=pages", self.server.port)
    }

    fn start(&mut self) {
        self.start_with(&[]);
    }

    fn stop(&mut self) {
        self.server.stop(Signal::SIGTERM);
    }
}
