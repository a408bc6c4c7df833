//! Entries of the error log: each has a code that the manual explains, in C as well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plua::error::entry::ENTRIES;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_manual_explains_each_code_and_no_other() {
    let manual = read("docs/errors.md");
    let mut explained = BTreeMap::new();
    for row in manual.lines().filter(|line| line.starts_with("| `PL")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let title = cells[1].split("**").nth(1).unwrap().to_owned();
        let before = explained.insert(cells[0].trim_matches('`').to_owned(), title);
        assert!(before.is_none(), "twice: {row}");
    }
    let all: BTreeMap<String, String> =
        ENTRIES.iter().map(|entry| (entry.to_string(), entry.title().to_owned())).collect();
    assert_eq!(explained, all);
}

#[test]
fn what_c_logs_by_itself_has_a_code_of_the_table() {
    let header = read("c-shim/plua_shim.h");
    let codes: BTreeMap<&str, &str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(" \"PL"))
        .map(|(name, code)| (name, code.trim_end_matches(": \"")))
        .collect();
    assert!(!codes.is_empty());
    for (name, code) in &codes {
        assert!(ENTRIES.iter().any(|entry| entry.to_string() == format!("PL{code}")), "{name}");
    }
    let mut used = Vec::new();
    for file in fs::read_dir(root().join("c-shim")).unwrap() {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        for call in text.split("ap_log_").skip(1) {
            let call = &call[..call.find(';').unwrap()];
            // The two that write what Rust has put the code before.
            if call.contains("\"%.*s\"") {
                continue;
            }
            let name = codes.keys().find(|name| call.contains(*name));
            used.push(name.unwrap_or_else(|| panic!("{}: without a code: {call}", file.display())));
        }
    }
    assert_eq!(used.len(), codes.len(), "each is used once");
}

#[test]
fn nothing_of_ours_writes_past_the_log() {
    let mut files = Vec::new();
    for folder in ["src", "plua/src", "apr-dbd/src", "shared-store/src", "redis-store/src"] {
        let mut folders = vec![root().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    files.push(path);
                }
            }
        }
    }
    assert!(files.len() > 100, "only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for printed in ["println!(", "print!(", "dbg!("] {
            assert!(!code.contains(printed), "{}: {printed}", file.display());
        }
        let calls = ["plua_log_request", "plua_log_server"].iter().any(|name| code.contains(name));
        assert!(!calls || file.ends_with("src/log.rs"), "{} logs without a code", file.display());
    }
}
