//! What `plua definitions` and `plua completions` print.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use command::Folder;
use plua::language::functions::FUNCTIONS;

fn said(arguments: &[&str]) -> String {
    let said = Folder::new(&[]).plua(arguments);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    said.out
}

#[test]
fn every_page_function_is_defined_for_editors_in_lua_that_compiles() {
    let definitions = said(&["definitions"]);
    assert!(definitions.starts_with("---@meta\n"));
    for function in FUNCTIONS {
        assert!(definitions.contains(&format!("\nfunction {}(", function.name)), "{}", function.name);
    }
    for expected in [
        "---@class json\njson = {}\n",
        "---@param name string\n---@param function_ function|string|number\nfunction block(name, function_) end\n",
        "---@return boolean # boolean\nfunction plua.clientGone() end\n",
        "---@param vars? table\n---@return boolean # boolean\n---@return any # ...\nfunction include(file, vars) end\n",
        "---@return string|nil # string or nil\nfunction getCookie(name) end\n",
        "---@return { seconds: number, nanoseconds: number } # {seconds=, nanoseconds=}\nfunction clock() end\n",
    ] {
        assert!(definitions.contains(expected), "{expected} is not in {definitions}");
    }
    let checked = Folder::new(&[("page.plua", &format!("<?lua\n{definitions}\n?>"))]).plua(&[
        "check",
        "--ignore",
        "shadows",
        "page.plua",
    ]);
    assert_eq!((checked.status, checked.err.as_str()), (Some(0), ""), "{definitions}");
}

#[test]
fn editors_colour_the_page_functions_that_there_are_and_no_others() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../editors/vscode/syntaxes/plua.tmLanguage.json");
    let grammar: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let pattern = grammar["repository"]["page-function"]["match"].as_str().unwrap();
    let (_, names) = pattern.split_once("(?:").unwrap();
    let (names, _) = names.split_once(')').unwrap();
    let coloured: BTreeSet<&str> = names.split('|').collect();
    let globals = FUNCTIONS.iter().map(|function| function.name).filter(|name| !name.contains('.')).collect();
    assert_eq!(coloured, globals);
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]);
        for command in ["check", "translate", "run", "serve", "definitions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
