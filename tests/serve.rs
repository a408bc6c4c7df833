//! `plua serve`, from its first line to Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::env;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_httpd::Installation;
use served::{Served, plua};

#[test]
fn a_folder_is_served_with_edits_and_reports_until_ctrl_c_and_nothing_stays() {
    if Installation::find().is_err() && env::var_os("PLUA_REQUIRE_HTTPD").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    let page = dir.join("index.plua");
    fs::write(&page, "<? for i = 1, 3 do ?><?= i ?> <? end ?>").unwrap();
    let other = dir.join("index.html");
    fs::write(&other, "not shown beside index.plua").unwrap();
    let mut served = Served::start(dir.to_str().unwrap(), &[]);
    assert_eq!(served.get("/"), (200, "1 2 3 ".into()));
    fs::remove_file(other).unwrap();

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
    let mut requests = Vec::new();
    for _ in 0..4 {
        let mut line = String::new();
        served.output.read_line(&mut line).unwrap();
        requests.push(line.split(' ').skip(1).take(3).collect::<Vec<_>>().join(" "));
    }
    // Each is logged when its answer is out, by a thread of its own.
    requests.sort();
    assert_eq!(requests, ["200 GET /", "200 GET /", "200 GET /photo.plua.jpg", "500 GET /"]);

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
fn an_edited_module_is_seen_by_the_next_requests_whatever_state_they_get() {
    if Installation::find().is_err() && env::var_os("PLUA_REQUIRE_HTTPD").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    fs::create_dir(dir.join("shop")).unwrap();
    fs::write(dir.join("index.plua"), "<? sleep(0.05) ?><?= require('shop.price').text ?>").unwrap();
    fs::write(dir.join("shop/price.lua"), "return { text = require('shop.tax') .. ' euros' }").unwrap();
    let served = Served::start(dir.to_str().unwrap(), &[]);
    for price in ["1", "22", "3", "1"] {
        // What another module is made of.
        fs::write(dir.join("shop/tax.lua"), format!("return '{price}'")).unwrap();
        // At once, so that several states have it loaded.
        let answers: Vec<(u16, String)> = thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| served.get("/"))).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        assert_eq!(answers, vec![(200, format!("{price} euros")); 8]);
    }
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
