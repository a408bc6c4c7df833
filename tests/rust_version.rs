//! The Rust that Cargo.toml and README ask for is enough for every crate of the lock files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// What Cargo.toml says, as numbers: scripts/deps reads it there too.
fn promised() -> Vec<u32> {
    numbers(env!("CARGO_PKG_RUST_VERSION"))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap()).collect()
}

/// The system this is built on. What others need is not there when all that was built was built here.
fn host() -> String {
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The crates of a lock file that say which Rust they need: its version, and the crate.
fn needs(manifest: &str) -> Vec<(Vec<u32>, String)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", &host()])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).unwrap();
    let quoted = |text: &str| text.split('"').next().unwrap().to_owned();
    // Each package begins with its name, and no other object of that list has a version of Rust.
    let packages = told.split("{\"name\":\"").filter_map(|package| {
        let (_, version) = package.split_once("\"rust_version\":\"")?;
        Some((numbers(&quoted(version)), quoted(package)))
    });
    packages.collect()
}

#[test]
fn no_crate_needs_a_newer_rust_than_is_asked_for() {
    let mut crates = needs("Cargo.toml");
    assert!(crates.len() > 100, "{crates:?}");
    let newest = crates.iter().map(|(version, _)| version[..2].to_vec()).max();
    assert_eq!(newest, Some(promised()), "the highest that any crate asks for is what Cargo.toml says");
    crates.retain(|(version, _)| version[..2] > promised()[..]);
    assert_eq!(crates, [], "cargo update -p NAME --precise OLDER, or say the newer version in Cargo.toml and README");
}

#[test]
fn readme_asks_for_the_rust_that_cargo_toml_asks_for() {
    let asked = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(README.contains(&asked), "{asked}");
}
