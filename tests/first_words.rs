//! What `make serve` and the search for what building needs say before they begin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// The first line of what a command that must fail says.
fn refusal(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap().lines().next().unwrap_or_default().to_owned()
}

/// What `make serve` says with these words. Were it to build, cargo would be a program that fails without a word.
fn serve(words: &[&str]) -> String {
    refusal(Command::new("make").args(["-C", PROJECT, "serve", "CARGO=false"]).args(words).output().unwrap())
}

#[test]
fn make_serve_says_what_stands_in_its_way_before_it_builds() {
    if Command::new("make").arg("-v").output().is_err() {
        return;
    }
    for word in ["PORT=soon", "PORT=70000", "PORT=-1", "PORT="] {
        assert!(serve(&[word]).contains("write a number up to 65535"), "{word}: {}", serve(&[word]));
    }
    assert_eq!(serve(&["DIR=no such folder"]), "DIR is 'no such folder', and there is no such folder");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = serve(&[&format!("PORT={port}")]);
    assert!(said.starts_with(&format!("port {port} of this machine is taken: ")), "{said}");
}

#[test]
fn a_missing_or_old_rust_is_told_before_packages_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // The system's programs, but for those of Rust.
    for name in ["bash", "sed", "sort", "head", "dirname", "env"] {
        let program = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
        let program = program.into_iter().find(|program| program.is_file()).unwrap();
        std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
    }
    let deps = || {
        let mut deps = Command::new(Path::new(PROJECT).join("scripts/deps"));
        refusal(
            deps.arg("build")
                .env("PATH", folder.path())
                .env("HOME", "/nowhere")
                .env_remove("CARGO_HOME")
                .output()
                .unwrap(),
        )
    };
    let needed = env!("CARGO_PKG_RUST_VERSION");
    assert_eq!(deps(), format!("cargo is missing: install Rust from https://rustup.rs ({needed} or newer)"));
    put("cargo", "exit 1");
    put("rustc", "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'");
    assert!(deps().starts_with(&format!("rustc 1.63.0 is too old: mod_plua needs {needed} or newer")), "{}", deps());
    put("rustc", "echo 'error: no default toolchain' >&2; exit 1");
    let mut told = Command::new(Path::new(PROJECT).join("scripts/deps"));
    let told = told.arg("build").env("PATH", folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("rustc does not run"), "{told:?}");
}
