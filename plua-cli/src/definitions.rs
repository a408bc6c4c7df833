//! `plua definitions`: the page functions as editors want to know them.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use plua::language::functions::{FUNCTIONS, parameters};

use crate::put;

/// Words of Lua that no parameter can be called.
const KEYWORDS: &[&str] = &["function", "end", "nil", "true", "false", "not", "or", "and", "local", "return"];

/// Print the page functions as definitions for editors (lua-language-server): put them into a file of the workspace's library.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Writes them to the standard output.
pub(crate) fn definitions(_: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut text = String::from("---@meta\n--- Page functions of mod_plua.\n\nplua = {}\nfile = {}\njson = {}\n");
    for function in FUNCTIONS {
        let parameters: Vec<(String, bool)> =
            parameters(function.signature).into_iter().map(|(name, is_optional)| (word(name), is_optional)).collect();
        write!(text, "\n--- {}\n---\n--- `{}`\n", function.help, function.signature)?;
        for (name, is_optional) in &parameters {
            writeln!(text, "---@param {name}{} any", if *is_optional { "?" } else { "" })?;
        }
        if let Some((_, results)) = function.signature.split_once(" -> ") {
            writeln!(text, "---@return any # {results}")?;
        }
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        writeln!(text, "function {}({}) end", function.name, names.join(", "))?;
    }
    put(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The name of a parameter as Lua takes it.
fn word(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}
