//! The house as its code draws it: which file imports which, read from the sources.

#![allow(clippy::unwrap_used, dead_code, reason = "a test fails by panicking, and none uses all of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The packages, where they are, and which others of the house they may depend on.
pub const PACKAGES: &[(&str, &str, &[&str])] = &[
    ("c-headers", "c-headers", &[]),
    ("apr-dbd", "apr-dbd", &["c-headers"]),
    ("shared-store", "shared-store", &[]),
    ("redis-store", "redis-store", &["shared-store"]),
    ("scoreboard", "scoreboard", &["shared-store"]),
    ("plua", "plua", &["apr-dbd", "redis-store", "scoreboard", "shared-store"]),
    ("private-httpd", "private-httpd", &[]),
    ("plua-cli", "plua-cli", &["c-headers", "plua", "private-httpd"]),
    ("mod_plua", "", &["apr-dbd", "c-headers", "plua", "private-httpd", "scoreboard", "shared-store"]),
    ("bench", "benches", &["apr-dbd", "private-httpd"]),
];

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust files of a folder and those inside it.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
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
pub fn code(file: &Path) -> String {
    let source = fs::read_to_string(file).unwrap();
    source.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character| !is_word(character))
}

/// Every path in the code, those of a group `a::{b, c::d}` written out.
pub fn paths(code: &str) -> BTreeSet<String> {
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

pub fn starts_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// One file imports another of its package: paths of modules, such as `api::json`; that of `lib.rs` or `main.rs` is empty.
pub type Import = (String, String);

/// The modules of a package's `src`, by path, and their files. A folder's `mod.rs` is the folder's module.
pub fn modules(src: &Path) -> BTreeMap<String, PathBuf> {
    let path = |file: &Path| {
        let inside = file.strip_prefix(src).unwrap().with_extension("");
        let mut names: Vec<&str> = inside.iter().map(|name| name.to_str().unwrap()).collect();
        if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
            names.pop();
        }
        names.join("::")
    };
    rust_files(src).into_iter().map(|file| (path(&file), file)).collect()
}

/// What the files of a package import of each other, without what a module and those inside it take from each other: a
/// folder's face holds what its files share and calls them. Tests inside files are not read.
pub fn imports(src: &Path) -> BTreeSet<Import> {
    let modules = modules(src);
    let mut imports = BTreeSet::new();
    for (own, file) in &modules {
        let code = code(file);
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
        for path in paths(code) {
            let Some(absolute) = absolute(&path, own) else { continue };
            let names: Vec<&str> = absolute.split("::").collect();
            let imported = (1..=names.len()).rev().map(|length| names[..length].join("::"));
            let Some(imported) = imported.into_iter().find(|path| modules.contains_key(path)) else { continue };
            if !starts_with(&imported, own) && !starts_with(own, &imported) {
                imports.insert((own.clone(), imported));
            }
        }
    }
    imports
}

/// A path from the package's root, as `module` would read it; none for what is not of the package.
fn absolute(path: &str, module: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let (mut above, mut rest) = (module, path);
    if let Some(inside) = rest.strip_prefix("self::") {
        rest = inside;
    } else if !rest.starts_with("super::") {
        return None;
    }
    while let Some(outer) = rest.strip_prefix("super::") {
        above = above.rsplit_once("::").map_or("", |(above, _)| above);
        rest = outer;
    }
    Some(if above.is_empty() { rest.to_owned() } else { format!("{above}::{rest}") })
}

/// The room of a module: the folder or file of `src` that it is in.
pub fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// The same between rooms.
pub fn between_rooms(imports: &BTreeSet<Import>) -> BTreeSet<Import> {
    let rooms = imports.iter().map(|(from, to)| (room(from).to_owned(), room(to).to_owned()));
    rooms.filter(|(from, to)| from != to && !from.is_empty()).collect()
}

/// The floor of each, counted from 0: above all that it imports. Those in a circle, or above one, are left over.
pub fn floors(all: &BTreeSet<String>, imports: &BTreeSet<Import>) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let (mut floors, mut left) = (BTreeMap::new(), all.clone());
    loop {
        let ready: Vec<(String, usize)> = left
            .iter()
            .filter_map(|one| {
                let below = imports.iter().filter(|(from, _)| from == one).map(|(_, to)| floors.get(to));
                let below = below.collect::<Option<Vec<&usize>>>()?;
                Some((one.clone(), below.into_iter().max().map_or(0, |floor| floor + 1)))
            })
            .collect();
        if ready.is_empty() {
            return (floors, left);
        }
        for (one, floor) in ready {
            left.remove(&one);
            floors.insert(one, floor);
        }
    }
}
