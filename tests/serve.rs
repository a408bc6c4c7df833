//! `plua serve`, from its first line to Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use common::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_httpd::Installation;

/// Builds the command: cargo builds the programs of other packages only when asked.
fn plua() -> PathBuf {
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
struct Served {
    process: Child,
    errors: BufReader<ChildStderr>,
    port: u16,
}

impl Served {
    fn start(dir: &str, arguments: &[&str]) -> Self {
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
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut served = Self { process, errors, port: 0 };
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        served.port = port.unwrap_or_else(|| panic!("{line:?}"));
        assert!(line.starts_with(dir) && line.ends_with("/ (Ctrl-C ends it)\n"), "{line:?}");
        served
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = Connection::open(self.port).request("GET", path, &[("Connection", "close")], b"");
        (answer.status, answer.text())
    }

    /// The processes it started, with their command lines.
    fn httpds(&self) -> Vec<(i32, String)> {
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

#[test]
fn a_folder_is_served_with_edits_and_reports_until_ctrl_c_and_nothing_stays() {
    if Installation::find().is_err() && env::var_os("PLUA_REQUIRE_HTTPD").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    let page = dir.join("index.plua");
    fs::write(&page, "<? for i = 1, 3 do ?><?= i ?> <? end ?>").unwrap();
    let mut served = Served::start(dir.to_str().unwrap(), &[]);
    assert_eq!(served.get("/"), (200, "1 2 3 ".into()));

    fs::write(&page, "edited").unwrap();
    assert_eq!(served.get("/"), (200, "edited".into()));

    // What is a page is what the installed configuration says.
    let picture = dir.join("photo.plua.jpg");
    fs::write(&picture, "<?= 1 ?>").unwrap();
    assert_eq!(served.get("/photo.plua.jpg"), (200, "<?= 1 ?>".into()));
    fs::remove_file(picture).unwrap();

    fs::write(&page, "good\n<? error('for the author') ?>").unwrap();
    let (status, shown) = served.get("/");
    assert!(status == 500 && shown.contains("for the author"), "{status} {shown}");
    let mut line = String::new();
    served.errors.read_line(&mut line).unwrap();
    let place = format!("for the author at {}:2", page.display());
    assert!(line.contains("[plua:error]") && line.contains(&place), "{line}");

    let httpds = served.httpds();
    let [(httpd, line)] = &httpds[..] else {
        panic!("{httpds:?}");
    };
    let configuration = line.split(" -f ").nth(1).unwrap().split(" -D ").next().unwrap();
    let own = PathBuf::from(configuration).parent().unwrap().to_owned();
    assert!(own.join("httpd.conf").is_file());

    kill(Pid::from_raw(served.process.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let begun = Instant::now();
    assert_eq!(served.process.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!own.exists(), "{} stays", own.display());
    assert!(kill(Pid::from_raw(*httpd), None).is_err(), "process {httpd} stays");
    assert!(std::net::TcpStream::connect(("127.0.0.1", served.port)).is_err());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "something was written beside the pages");
}

#[test]
fn directives_and_a_file_of_configuration_hold_for_the_folder() {
    if Installation::find().is_err() && env::var_os("PLUA_REQUIRE_HTTPD").is_none() {
        return;
    }
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = folder.path().canonicalize().unwrap();
    fs::write(dir.join("index.plua"), "<?= visits, pLuaTimeout ?><? visits = 1 ?> <?= getEnv()['pLua-Runs'] ?>")
        .unwrap();
    fs::write(dir.join("front.lua"), "echo('front ', getEnv().REQUEST_URI)").unwrap();
    // For httpd's account where root runs this.
    let config = other.path().join("own site.conf");
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        &config,
        "LoadModule rewrite_module ${MODULES}/mod_rewrite.so\npLuaRaw .lua\npLuaRuns 5\n<Directory ${DOCROOT}>\n\
         AddHandler plua .lua\nRewriteEngine On\nRewriteRule ^old$ front.lua\n</Directory>",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let arguments = ["--config", config, "-d", "pLuaGlobals request", "-d", "pLuaRuns=7", "-d", "Header set X-Own yes"];
    let served = Served::start(dir.to_str().unwrap(), &arguments);
    for _ in 0..3 {
        assert_eq!(served.get("/"), (200, "nilnil 7".into()));
    }
    assert_eq!(served.get("/old"), (200, "front /old".into()));
    let answer = Connection::open(served.port).request("GET", "/", &[("Connection", "close")], b"");
    assert_eq!(answer.header("X-Own"), Some("yes"));
}

#[test]
fn a_configuration_that_httpd_refuses_is_told_with_file_and_line() {
    if Installation::find().is_err() && env::var_os("PLUA_REQUIRE_HTTPD").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("site.conf");
    fs::write(&config, "# one\npLuaStates many\n").unwrap();
    let module = env::current_exe().unwrap().with_file_name("libmod_plua.so");
    let mut command = Command::new(plua());
    command.arg("serve").arg(folder.path()).args(["--port", "0", "--module"]).arg(module);
    let refused = command.arg("--config").arg(&config).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains(&format!("line 2 of {}", config.canonicalize().unwrap().display())), "{said}");
    assert!(said.contains("'many' is not a whole number"), "{said}");
}
