//! A Redis for a test: on a loopback port and in a folder of its own, gone with the test.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait;

/// One server, with what it keeps.
pub struct Redis {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// A fresh one. None where there is none on this machine, which is a failure where all must be there.
    pub fn start(arguments: &[&str]) -> Option<Redis> {
        let is_there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_there {
            assert!(env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "redis-server is missing: scripts/deps test");
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("plua-redis-").tempdir().unwrap();
        // httpd's children are another user's.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|argument| argument.replace("FOLDER", folder.path().to_str().unwrap()));
        let mut redis = Redis { port, arguments: arguments.collect(), process: None, folder };
        redis.start_again();
        Some(redis)
    }

    /// Starts it with what it kept, after [`stop`](Redis::stop).
    pub fn start_again(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let port = self.port.to_string();
        let is_tls = self.arguments.iter().any(|argument| argument == "--tls-cert-file");
        let ports = if is_tls { ["--port", "0", "--tls-port", &port] } else { ["--port", &port, "--tls-port", "0"] };
        let process = Command::new("redis-server")
            .args(ports)
            .args(["--bind", "127.0.0.1", "--save", "", "--unixsocketperm", "777", "--unixsocket"])
            .arg(self.socket())
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap());
        let is_there = wait::within(Duration::from_secs(60), || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ended: {}", self.said());
            // Without a password it says that there is to be one.
            let answer = self.command(&["ping"]);
            answer.contains("PONG") || answer.contains("NOAUTH")
        });
        assert!(is_there, "redis-server does not answer: {}", self.said());
    }

    /// Ends it, with what it keeps on the disk.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Ends it as a machine does that loses its power.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Lets it answer nothing until [`go_on`](Redis::go_on).
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it answer again.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id().cast_signed());
        let _ = kill(pid, signal);
        let _ = kill(pid, Signal::SIGCONT);
        if !wait::within(Duration::from_secs(20), || !matches!(process.try_wait(), Ok(None))) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address for `pLuaShared`.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The file of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// What it answers to a command, as redis-cli prints it.
    pub fn command(&self, words: &[&str]) -> String {
        let answer = Command::new("redis-cli").arg("-s").arg(self.socket()).args(words).output().unwrap();
        String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).trim_end().to_owned()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}

/// Three servers that have keys between them.
pub struct Cluster {
    pub servers: Vec<Redis>,
}

impl Cluster {
    /// A fresh one, ready. None where there is no Redis on this machine.
    pub fn start() -> Option<Cluster> {
        // Servers talk with one another at a port that is by 10,000 higher, if no other is given.
        let bus = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let one = || {
            let own =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes", "--cluster-port"];
            Redis::start(&[&own[..], &[&bus()]].concat())
        };
        let servers: Vec<Redis> = (0..3).map(|_| one()).collect::<Option<_>>()?;
        let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let made = Command::new("redis-cli").args(["--cluster", "create"]).args(&hosts).arg("--cluster-yes").output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Cluster { servers };
        cluster.wait();
        Some(cluster)
    }

    /// Waits until all of them know who has what.
    pub fn wait(&self) {
        wait::until("the cluster is ready", Duration::from_secs(60), || {
            self.servers.iter().all(|server| server.command(&["cluster", "info"]).contains("cluster_state:ok"))
        });
    }

    /// Its address for `pLuaShared`: two of three are enough to know all.
    pub fn address(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.servers[0].port, self.servers[1].port)
    }

    /// Moves all the keys of one server to another one.
    pub fn move_slots(&mut self) {
        let [from, to] = [0, 1].map(|number: usize| self.servers[number].command(&["cluster", "myid"]));
        let moved = Command::new("redis-cli")
            .args(["--cluster", "reshard", &format!("127.0.0.1:{}", self.servers[0].port)])
            .args(["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", "3000", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stdout));
        self.wait();
    }
}
