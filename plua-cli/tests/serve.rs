//! `plua serve` before it serves: what it refuses, in one sentence and with exit status 1.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::net::TcpListener;
use std::process::Command;

const PLUA: &str = env!("CARGO_BIN_EXE_plua");

/// The exit status and the standard error output.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let outcome = Command::new(PLUA).arg("serve").args(arguments).output().unwrap();
    assert!(outcome.stdout.is_empty());
    (outcome.status.code(), String::from_utf8(outcome.stderr).unwrap())
}

#[test]
fn a_missing_folder_is_one_sentence() {
    let (status, said) = refused(&["no/such/folder"]);
    assert_eq!(status, Some(1));
    assert_eq!(said, "plua: cannot serve no/such/folder: No such file or directory (os error 2)\n");
}

#[test]
fn a_file_is_not_a_folder() {
    let (status, said) = refused(&["Cargo.toml"]);
    assert_eq!((status, said.as_str()), (Some(1), "plua: Cargo.toml is not a folder\n"));
}

#[test]
fn a_missing_module_is_one_sentence() {
    let (status, said) = refused(&["src", "--module", "no.so"]);
    assert_eq!(status, Some(1));
    assert_eq!(said, "plua: no module no.so: No such file or directory (os error 2)\n");
}

#[test]
fn a_configuration_that_is_not_there_is_one_sentence() {
    let missing = refused(&["src", "--module", PLUA, "--config", "no.conf"]);
    let said = "plua: cannot read the configuration no.conf: No such file or directory (os error 2)\n";
    assert_eq!((missing.0, missing.1.as_str()), (Some(1), said));
    let folder = refused(&["src", "--module", PLUA, "--config", "src"]);
    assert_eq!(folder.1, "plua: cannot read the configuration src: it is not a plain file\n");
}

#[test]
fn a_wrong_directive_is_refused_before_anything_starts() {
    for (directive, sentence) in [
        ("pLuaGlobals some", "'some' is neither persistent nor page nor request"),
        ("pLuaTimeOff=5", "there is no directive pLuaTimeOff"),
        ("pLuaTimeout", "write NAME=VALUE, or 'NAME VALUE'"),
    ] {
        let (status, said) = refused(&["src", "--module", PLUA, "-d", directive]);
        assert_eq!(status, Some(2));
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_busy_port_is_one_sentence() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    // The port is looked at before the module, so any file will do for one.
    let (status, said) = refused(&["src", "--port", &port.to_string(), "--module", PLUA]);
    assert_eq!(status, Some(1));
    assert_eq!(said, format!("plua: port {port} of 127.0.0.1 is in use by another program\n"));
}
