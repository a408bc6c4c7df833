//! The command `plua`, serving a folder.

#![allow(dead_code, reason = "each test program uses its part")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::Connection;

/// Builds the command: cargo builds the programs of other packages only when asked.
pub fn plua() -> PathBuf {
    let own = env::current_exe().unwrap();
    let built = own.ancestors().nth(2).unwrap();
    let mut build = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--quiet", "-p", "plua-cli", "--no-default-features", "--features"]);
    build.arg(if cfg!(feature = "lua54") {
        "lua54"
    } else if cfg!(feature = "lua51") {
        "lua51"
    } else {
        "luajit"
    });
    build.arg("--target-dir").arg(built.parent().unwrap());
    if built.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    built.join("plua")
}

/// A running `plua serve`, killed when a test fails.
pub struct Served {
    pub process: Child,
    /// What it puts out after its first line.
    pub output: BufReader<ChildStdout>,
    pub errors: BufReader<ChildStderr>,
    pub port: u16,
}

impl Served {
    pub fn start(dir: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(plua())
            .args(["serve", dir, "--port", "0", "--module"])
            .arg(env::current_exe().unwrap().with_file_name("libmod_plua.so"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let mut served = Self { process, output, errors, port: 0 };
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        served.port = port.unwrap_or_else(|| panic!("{line:?}"));
        assert!(line.starts_with(dir) && line.ends_with("/ (Ctrl-C ends it)\n"), "{line:?}");
        served
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = Connection::open(self.port).request("GET", path, &[("Connection", "close")], b"");
        (answer.status, answer.text())
    }

    /// The processes it started, with their command lines.
    pub fn httpds(&self) -> Vec<(i32, String)> {
        let parent = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = fs::read_to_string(parent).unwrap();
        let line = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().replace('\0', " ");
        children.split_whitespace().map(|pid| (pid.parse().unwrap(), line(pid))).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It tidies up behind itself, unless it cannot any more.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGINT);
        }
        let begun = Instant::now();
        while let Ok(None) = self.process.try_wait() {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
