//! A private httpd against the real program: it starts, serves, reloads, refuses and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use private_httpd::{Account, Configuration, Error, Httpd, Installation, Mpm, is_root, reading_capability};

fn configuration() -> Configuration {
    Configuration::new(Installation::find().unwrap())
}

fn get(port: u16, path: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn put(server: &Httpd, name: &str, text: &str) {
    fs::write(server.docroot().join(name), text).unwrap();
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn every_mpm_serves_a_file_and_leaves_no_process_and_no_folder() {
    for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
        let mut server = configuration().mpm(mpm).children(2, 4).start().unwrap();
        put(&server, "hello.txt", "good day");
        let answer = get(server.port(), "/hello.txt");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{mpm:?}: {answer}");
        assert!(answer.contains("Content-Type: text/plain"), "{mpm:?}: {answer}");
        assert!(answer.ends_with("good day"), "{mpm:?}: {answer}");

        let (pid, children, root) = (server.pid(), server.children(), server.root().to_owned());
        assert!(children.len() >= 2, "{mpm:?}: {children:?}");
        server.stop().unwrap();
        assert!(!server.is_running());
        assert!(server.access_log().contains("GET /hello.txt"));
        assert!(!server.error_log().contains(":warn]"), "{mpm:?}: {}", server.error_log());
        drop(server);
        assert!(![pid].into_iter().chain(children).any(lives));
        assert!(!root.exists());
    }
}

#[test]
fn a_panic_while_a_server_runs_stops_it() {
    let mut seen = (0, Vec::new());
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let server = configuration().start().unwrap();
        seen = (server.pid(), server.children());
        panic!("as a failing test does");
    }));
    assert!(outcome.is_err());
    assert_ne!(seen.0, 0);
    assert!(!lives(seen.0) && !seen.1.into_iter().any(lives));
}

#[test]
fn a_changed_body_holds_after_a_graceful_restart_and_after_a_full_one() {
    let mut server = configuration().body("Header set X-Edition first").start().unwrap();
    put(&server, "a.txt", "a");
    let before = server.children();
    assert!(get(server.port(), "/a.txt").contains("X-Edition: first\r\n"));

    server.configure("Header set X-Edition second").unwrap();
    server.graceful().unwrap();
    assert!(get(server.port(), "/a.txt").contains("X-Edition: second\r\n"));
    assert!(server.children().iter().all(|child| !before.contains(child)));

    server.configure("Header set X-Edition third").unwrap();
    server.restart().unwrap();
    assert!(get(server.port(), "/a.txt").contains("X-Edition: third\r\n"));
}

#[test]
fn a_restart_with_a_bad_body_says_what_is_wrong() {
    let mut server = configuration().start().unwrap();
    server.configure("Nonsense on").unwrap();
    let Err(Error::Ended { output }) = server.graceful() else { panic!("a bad body was taken") };
    assert!(output.contains("Invalid command 'Nonsense'"), "{output}");
}

#[test]
fn children_whose_parent_was_killed_are_stopped() {
    let mut server = configuration().children(2, 2).start().unwrap();
    let children = server.children();
    assert_eq!(children.len(), 2);
    assert!(Command::new("kill").args(["-KILL", &server.pid().to_string()]).status().unwrap().success());
    server.stop().unwrap();
    assert!(!server.is_running());
    assert!(!children.into_iter().any(lives));
}

#[test]
fn a_bad_body_is_refused_with_its_own_line_number() {
    let bad = configuration().body("# first line\nNonsense on");
    let check = bad.check().unwrap();
    assert_eq!(check.status, 1);
    assert!(check.output.contains("Syntax error on line 2 of"), "{}", check.output);
    assert!(check.output.contains("Invalid command 'Nonsense'"), "{}", check.output);

    let Err(Error::Ended { output }) = bad.start() else { panic!("a bad body was started") };
    assert!(output.contains("Invalid command 'Nonsense'"), "{output}");
    assert_eq!(configuration().check().unwrap().status, 0);
}

#[test]
fn a_body_knows_the_folders_and_every_port() {
    let server = configuration()
        .further_ports(1)
        .body("<VirtualHost *:${PORT2}>\nDocumentRoot \"${DOCROOT}/second\"\n</VirtualHost>\nAlias /own \"${ROOT}\"")
        .start()
        .unwrap();
    fs::create_dir(server.docroot().join("second")).unwrap();
    put(&server, "index.html", "main");
    put(&server, "second/index.html", "other");
    assert!(get(server.ports()[0], "/").ends_with("main"));
    assert!(get(server.ports()[1], "/").ends_with("other"));
}

#[test]
fn a_busy_port_and_a_missing_module_are_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let problem = configuration().port(port).start().unwrap_err();
    assert_eq!(problem.to_string(), format!("port {port} of 127.0.0.1 is in use by another program"));

    let problem = configuration().module("no_such").start().unwrap_err().to_string();
    assert!(problem.starts_with("httpd's module no_such is missing: no /"), "{problem}");
}

#[test]
fn a_folder_that_only_root_can_enter_is_served_through_a_capability() {
    let (true, Some(capability)) = (is_root(), reading_capability()) else {
        return;
    };
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(closed.path().join("a.txt"), "closed to others").unwrap();
    assert!(!Account::unprivileged().can_read(closed.path()));
    assert!(Account::unprivileged().can_read(Path::new("/")));

    let mut server = configuration().docroot(closed.path()).capability(capability).start().unwrap();
    assert!(get(server.port(), "/a.txt").ends_with("closed to others"));
    server.configure("Header set X-Edition second").unwrap();
    server.graceful().unwrap();
    let answer = get(server.port(), "/a.txt");
    assert!(answer.contains("X-Edition: second\r\n") && answer.ends_with("closed to others"), "{answer}");
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(!status.contains("Uid:\t0"), "{status}");
}

#[test]
fn children_of_an_account_without_a_name_are_not_root() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "theirs").unwrap();
    chown(folder.path(), Some(54_321), Some(54_321)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();

    let account = Account::owner_of(folder.path()).unwrap();
    let server = configuration().docroot(folder.path()).account(account).start().unwrap();
    assert!(get(server.port(), "/a.txt").ends_with("theirs"));
    for child in server.children() {
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        assert!(status.contains("Uid:\t54321\t54321"), "{status}");
    }
}
