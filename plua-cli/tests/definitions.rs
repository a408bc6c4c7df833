//! What `plua definitions` and `plua completions` print.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

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
    assert!(definitions.contains("\nfunction block(name, function_) end\n"), "{definitions}");
    assert!(definitions.contains("---@return any # boolean\nfunction plua.clientGone() end\n"), "{definitions}");
    let checked = Folder::new(&[("page.plua", &format!("<?lua\n{definitions}\n?>"))]).plua(&[
        "check",
        "--ignore",
        "shadows",
        "page.plua",
    ]);
    assert_eq!((checked.status, checked.err.as_str()), (Some(0), ""), "{definitions}");
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
