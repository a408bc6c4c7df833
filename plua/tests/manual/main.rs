//! The manual's promises: its links lead somewhere, its examples give what they say, its tables hold what the engine has,
//! and the tests that it names exist.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod book;
mod coming_from;
mod examples;
#[path = "../site/mod.rs"]
mod site;
mod values;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const MANUAL: &str = include_str!("../../../docs/functions.md");
const COMPATIBILITY: &str = include_str!("../../../docs/compatibility.md");

/// The names in the first column of the manual's table with this heading.
fn first_column(heading: &str) -> BTreeSet<&str> {
    let (_, table) = MANUAL.split_once(&format!("| {heading} | Value |\n|---|---|\n")).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_key_of_get_env_is_in_the_manual_and_each_that_is_there_is_found() {
    // What the request of a test has beside them.
    let page = "<? local headers = plua.requestHeaders() for name in pairs(getEnv()) do \
        if not headers[name] and name ~= 'REQUEST_METHOD' then echo(name, ' ') end end ?>";
    let seen = site::page(page).text();
    assert_eq!(seen.split_whitespace().collect::<BTreeSet<_>>(), first_column("Key of `getEnv`"));
}

/// The tests a row of a table names, as file and function.
fn tests(row: &str) -> Vec<(&str, &str)> {
    row.split('`').filter_map(|code| code.split_once(".rs::")).collect()
}

#[test]
fn every_test_that_shows_what_became_of_mod_pluas_behaviour_exists() {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let rows = COMPATIBILITY.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| mod_pLua"));
    let mut count = 0;
    for row in rows {
        let tests = tests(row);
        assert!(!tests.is_empty() || row.ends_with("| not tested |"), "{row}");
        for (file, function) in tests {
            let code = fs::read_to_string(repository.join(format!("{file}.rs"))).unwrap_or_default();
            assert!(
                code.contains(&format!("#[test]\nfn {function}("))
                    || code.contains(&format!("#[test]\n    fn {function}(")),
                "{file}.rs::{function} is no test"
            );
            count += 1;
        }
    }
    assert!(count > 150, "{count} tests");
}

#[test]
fn the_changelog_begins_with_this_version() {
    let changelog = include_str!("../../../CHANGELOG.md");
    let first = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap_or_default();
    assert_eq!(first.split(' ').next(), Some(env!("CARGO_PKG_VERSION")), "CHANGELOG.md begins with {first}");
}
