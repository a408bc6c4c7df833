//! The floors of the house: a file imports its own floor or a lower one, and `unsafe` stays where it has a reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The engine's modules, the ground floor first.
const FLOORS: &[&[&str]] = &[
    // The page language and what is said of it: bytes in, text out.
    &[
        "page",
        "emit",
        "kept_functions",
        "bytecode",
        "dialect",
        "lexer",
        "query",
        "connection_string",
        "nested",
        "error",
        "report",
        "pattern",
        "escape",
        "functions",
    ],
    // What one request, one file or one state needs.
    &[
        "settings",
        "exchange",
        "held_file",
        "body",
        "form",
        "multipart",
        "database",
        "chunk",
        "confinement",
        "cache",
        "cutoff",
        "time_limit",
        "memory_limit",
        "modules",
        "time_zone",
        "working_directory",
        "output",
        "page_call",
        "put",
        "sort",
        "c_modules",
        "c_stack",
        "injection",
        "fault",
        "forks",
        "own_code",
        "visit",
        "refused",
        "loader",
    ],
    // What brings them together.
    &["api", "state", "pool", "sites", "engine"],
];

/// What the ground floor does without: Lua, files, clocks, threads and the system.
const NOT_ON_THE_GROUND: &[&str] = &[
    "mlua",
    "nix",
    "libc",
    "parking_lot",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time",
];

/// Where `unsafe` may stand, from the root of the workspace: httpd's side, and the engine's exceptions.
const UNSAFE: &[&str] = &[
    "src/",
    "apr-dbd/src/",
    "plua/src/api/fields.rs",
    "plua/src/c_modules.rs",
    "plua/src/c_stack.rs",
    "plua/src/forks.rs",
    "plua/src/page_call.rs",
    "plua/src/put.rs",
    "plua/src/sort.rs",
    "plua/src/memory_limit.rs",
    "plua/src/output.rs",
    "plua/src/state.rs",
    "plua/src/time_limit.rs",
];

/// Where Rust functions become Lua's: there each one is marked, so that no large allocation is refused to it.
const FUNCTIONS_FOR_LUA: &str = "plua/src/memory_limit.rs";

/// How mlua's ways to make one begin.
const MAKES_A_FUNCTION: &[&str] =
    &["create_function", "create_async_function", "create_c_function", "add_function", "add_method", "add_meta"];

/// The packages, where they are, and which others of the house they may depend on.
const PACKAGES: &[(&str, &str, &[&str])] = &[
    ("c-headers", "c-headers", &[]),
    ("apr-dbd", "apr-dbd", &["c-headers"]),
    ("plua", "plua", &["apr-dbd"]),
    ("private-httpd", "private-httpd", &[]),
    ("plua-cli", "plua-cli", &["plua", "private-httpd"]),
    ("mod_plua", "", &["apr-dbd", "c-headers", "plua", "private-httpd"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust files of a folder and those inside it.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A file's source without its comments.
fn code(file: &Path) -> String {
    let source = fs::read_to_string(file).unwrap();
    source.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character| !is_word(character))
}

/// Every path in the code, those of a group `a::{b, c::d}` written out.
fn paths(code: &str) -> BTreeSet<String> {
    let (mut paths, mut groups, mut path) = (BTreeSet::new(), Vec::new(), String::new());
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            _ if is_word(first) => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        if is_word(first) {
            // Two words side by side are two paths: `use crate`, `as name`.
            if !path.is_empty() && !path.ends_with("::") {
                paths.insert(std::mem::take(&mut path));
            }
            path += token;
        } else if token == "::" {
            path += token;
        } else if first == '{' && path.ends_with("::") {
            groups.push(path.clone());
        } else if !first.is_whitespace() {
            paths.insert(std::mem::take(&mut path));
            if first == '}' {
                groups.pop();
            } else if first == '{' {
                groups.push(String::new());
            }
            if matches!(first, ',' | '{') {
                path = groups.last().cloned().unwrap_or_default();
            }
        }
    }
    paths.insert(path);
    paths
}

fn starts_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The engine's module that a file belongs to: `api` for `api/script.rs`.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("plua/src")).unwrap().with_extension("");
    inside.iter().next().unwrap().to_str().unwrap().to_string()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn paths_are_read_from_imports_groups_and_code() {
    let code = "use crate::{a, b::{c, d as e}};\nuse std::fs; fn f() -> g::H { crate::i::j(k, l::m) }";
    let found = paths(code);
    for path in ["crate::a", "crate::b::c", "crate::b::d", "std::fs", "g::H", "crate::i::j", "l::m"] {
        assert!(found.contains(path), "{path} is not in {found:?}");
    }
    assert!(!found.contains("crate::i::k") && !found.contains("crate::fs"), "{found:?}");
}

#[test]
fn every_module_of_the_engine_has_its_floor() {
    let files: BTreeSet<String> = rust_files(&root().join("plua/src")).iter().map(|file| module(file)).collect();
    let known: BTreeSet<String> =
        FLOORS.iter().copied().flatten().copied().chain(["lib"]).map(str::to_string).collect();
    assert_eq!(files, known);
}

#[test]
fn a_file_of_the_engine_imports_its_own_floor_or_a_lower_one() {
    let mut imports = 0;
    for file in rust_files(&root().join("plua/src")) {
        let Some(own) = floor(&module(&file)) else { continue };
        for path in paths(&code(&file)) {
            let imported = path.strip_prefix("crate::").map(|rest| rest.split("::").next().unwrap_or_default());
            let Some(other) = imported.filter(|name| !name.is_empty()) else { continue };
            imports += 1;
            let other = floor(other).unwrap_or_else(|| panic!("{} imports {path}, which has no floor", file.display()));
            assert!(other <= own, "{} is on floor {own} and imports {path} of floor {other}", file.display());
        }
    }
    assert!(imports > 50, "only {imports} imports were found");
}

#[test]
fn the_ground_floor_knows_no_lua_no_files_and_no_clock() {
    for file in rust_files(&root().join("plua/src")) {
        if floor(&module(&file)) != Some(0) {
            continue;
        }
        for path in paths(&code(&file)) {
            // A page's place in the file system is a name to report, never to open.
            for start in NOT_ON_THE_GROUND {
                assert!(!starts_with(&path, start), "{} uses {path}", file.display());
            }
        }
    }
}

#[test]
fn packages_depend_only_on_those_below() {
    for (package, folder, allowed) in PACKAGES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("\nname = \"{package}\"\n")), "{package} is not in {folder:?}");
        let mut in_dependencies = false;
        for line in manifest.lines() {
            let is_header = line.starts_with('[');
            let words = || line.split(['[', ']', '.', ' ', '=']);
            if is_header {
                in_dependencies = words().any(|word| word.ends_with("dependencies"));
            }
            // The name stands first on its line, or anywhere in a header such as `[dependencies.plua]`.
            let mut names = words().take(if is_header { usize::MAX } else { 1 });
            if let Some(name) = names.find(|name| PACKAGES.iter().any(|(other, ..)| other == name)) {
                assert!(!in_dependencies || allowed.contains(&name), "{package} depends on {name}");
            }
        }
    }
}

#[test]
fn unsafe_stays_where_it_has_a_reason() {
    let mut found = BTreeSet::new();
    for (_, folder, _) in PACKAGES {
        for file in rust_files(&root().join(folder).join("src")) {
            if words(&code(&file)).any(|word| word == "unsafe") {
                let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
                let place = UNSAFE.iter().find(|place| name.starts_with(**place));
                found.insert(*place.unwrap_or_else(|| panic!("{name} has unsafe code")));
            }
        }
    }
    assert_eq!(found, UNSAFE.iter().copied().collect(), "listed, but without unsafe code");
}

#[test]
fn every_function_for_lua_is_made_in_the_one_place_that_marks_it() {
    let mut found = BTreeSet::new();
    for file in rust_files(&root().join("plua/src")) {
        let code = code(&file);
        let has_one = words(&code).any(|word| MAKES_A_FUNCTION.iter().any(|start| word.starts_with(start)));
        if has_one || paths(&code).iter().any(|path| path.contains("Function::wrap")) {
            found.insert(file.strip_prefix(root()).unwrap().to_str().unwrap().to_string());
        }
    }
    assert_eq!(found, BTreeSet::from([FUNCTIONS_FOR_LUA.to_string()]));
}
