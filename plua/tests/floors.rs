//! The floors of the house: nothing imports in a circle, each room says what it stands on, and `unsafe` stays where it has a
//! reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod house;

use std::collections::BTreeSet;
use std::fs;

use house::{
    PACKAGES, between_rooms, code, floors, imports, modules, paths, room, root, rust_files, starts_with, words,
};

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
    "scoreboard/src/board.rs",
    "shared-store/src/lock.rs",
    "shared-store/src/memory.rs",
    "shared-store/src/segment.rs",
    "shared-store/src/store.rs",
    "plua/src/api/fields.rs",
    "plua/src/state/c_modules/",
    "plua/src/state/compiling.rs",
    "plua/src/cache/compiler.rs",
    "plua/src/sandbox/forks.rs",
    "plua/src/output/page_call.rs",
    "plua/src/shared/compiled.rs",
    "plua/src/output/ffi_functions.rs",
    "plua/src/limits/memory_limit.rs",
    "plua/src/limits/time_limit.rs",
];

/// Where Rust functions become Lua's: there each one is marked, so that no large allocation is refused to it.
const FUNCTIONS_FOR_LUA: &str = "plua/src/limits/memory_limit.rs";

/// How mlua's ways to make one begin.
const MAKES_A_FUNCTION: &[&str] =
    &["create_function", "create_async_function", "create_c_function", "add_function", "add_method", "add_meta"];

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
fn no_files_import_each_other_in_a_circle() {
    let mut found = 0;
    for (package, folder, _) in PACKAGES {
        let src = root().join(folder).join("src");
        let imports = imports(&src);
        found += imports.len();
        let (_, left) = floors(&modules(&src).into_keys().collect(), &imports);
        assert!(left.is_empty(), "in {package} these import in a circle, or stand above one: {left:?}");
    }
    assert!(found > 150, "only {found} imports were found");
}

#[test]
fn a_circle_is_found() {
    let all = ["a", "b", "c", "d"].map(str::to_owned).into();
    let imports = [("a", "b"), ("b", "c"), ("c", "b")].map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    let (floors, left) = floors(&all, &imports);
    assert_eq!(floors.into_keys().collect::<String>(), "d");
    assert_eq!(left.into_iter().collect::<String>(), "abc");
}

/// The engine's rooms, with the sentences that their `mod.rs` opens with.
fn rooms() -> Vec<(String, String)> {
    let src = root().join("plua/src");
    let rooms: BTreeSet<String> = modules(&src).keys().map(|module| room(module).to_owned()).collect();
    let opening = |room: &String| {
        let face = src.join(room).join("mod.rs");
        let file = if face.exists() { face } else { src.join(room).with_extension("rs") };
        let source = fs::read_to_string(file).unwrap();
        source.lines().map_while(|line| line.strip_prefix("//!")).collect::<String>()
    };
    rooms.into_iter().filter(|room| !room.is_empty()).map(|room| (room.clone(), opening(&room))).collect()
}

#[test]
fn each_room_of_the_engine_says_what_it_stands_on_and_what_it_does_not_know() {
    let between = between_rooms(&imports(&root().join("plua/src")));
    for (room, opening) in rooms() {
        let stands_on: Vec<&str> =
            between.iter().filter(|(from, _)| *from == room).map(|(_, to)| to.as_str()).collect();
        let sentence = match &stands_on[..] {
            [] => "The ground floor".to_owned(),
            [one] => format!("Stands on `{one}`."),
            [before @ .., last] => format!("Stands on `{}` and `{last}`.", before.join("`, `")),
        };
        assert!(opening.contains(&sentence), "{room} does not say: {sentence}");
        assert!(room == "engine" || opening.contains("Knows no "), "{room} does not say what it does not know");
    }
}

#[test]
fn rooms_stand_on_floors() {
    let between = between_rooms(&imports(&root().join("plua/src")));
    let all: BTreeSet<String> = rooms().into_iter().map(|(room, _)| room).collect();
    assert!(all.len() > 9, "only {all:?}");
    let (_, left) = floors(&all, &between);
    assert!(left.is_empty(), "these rooms import in a circle, or stand above one: {left:?}");
}

#[test]
fn bytes_in_and_bytes_out_know_no_lua_no_files_and_no_clock() {
    let mut seen = 0;
    for (room, _) in rooms().iter().filter(|(_, opening)| opening.contains("bytes in, bytes out")) {
        for file in rust_files(&root().join("plua/src").join(room)) {
            seen += 1;
            for path in paths(&code(&file)) {
                for start in NOT_ON_THE_GROUND {
                    assert!(!starts_with(&path, start), "{} uses {path}", file.display());
                }
            }
        }
    }
    assert!(seen > 5, "only {seen} files");
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
                // What the workspace offers is no dependency of the package beside it.
                in_dependencies =
                    words().any(|word| word.ends_with("dependencies")) && line != "[workspace.dependencies]";
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
