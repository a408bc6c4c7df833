//! `plua definitions`: the page functions as editors want to know them.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use plua::language::functions::{FUNCTIONS, parameters};

use crate::put;

/// Words of Lua that no parameter can be called.
const KEYWORDS: &[&str] = &["function", "end", "nil", "true", "false", "not", "or", "and", "local", "return"];

/// What the words of signatures stand for, as the annotations of lua-language-server name it. Others are of any type.
const TYPES: &[(&str, &str)] = &[
    ("address", "string"),
    ("algorithm", "string"),
    ("append", "boolean"),
    ("array", "table"),
    ("body", "string"),
    ("boolean", "boolean"),
    ("bytes", "number"),
    ("count", "number"),
    ("delimiter", "string"),
    ("driver", "string"),
    ("false", "boolean"),
    ("file", "string"),
    ("from", "string"),
    ("function", "function"),
    ("hash", "string"),
    ("kind", "string"),
    ("link", "string"),
    ("message", "string"),
    ("name", "string"),
    ("nil", "nil"),
    ("number", "number"),
    ("options", "table"),
    ("parameters", "string"),
    ("path", "string"),
    ("raw", "boolean"),
    ("room", "number"),
    ("seconds", "number"),
    ("size", "number"),
    ("status", "number"),
    ("string", "string"),
    ("table", "table"),
    ("text", "string|number"),
    ("to", "string"),
    ("true", "boolean"),
    ("type", "string"),
    ("url", "string"),
    ("vars", "table"),
    ("{seconds=, nanoseconds=}", "{ seconds: number, nanoseconds: number }"),
];

/// Print the page functions as definitions for editors (lua-language-server): put them into a file of the workspace's library.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Writes them to the standard output.
pub(crate) fn definitions(_: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut text = String::from("---@meta\n--- Page functions of mod_plua.\n");
    // As a class, a table has the fields that are defined and no others.
    for table in ["plua", "file", "json"] {
        write!(text, "\n---@class {table}\n{table} = {{}}\n")?;
    }
    for function in FUNCTIONS {
        let parameters: Vec<(String, bool)> =
            parameters(function.signature).into_iter().map(|(name, is_optional)| (word(name), is_optional)).collect();
        write!(text, "\n--- {}\n---\n--- `{}`\n", function.help, function.signature)?;
        for (name, is_optional) in &parameters {
            let optional = if *is_optional && name != "..." { "?" } else { "" };
            writeln!(text, "---@param {name}{optional} {}", parameter_type(function.signature, name))?;
        }
        if let Some((_, results)) = function.signature.split_once(" -> ") {
            for result in results_of(results) {
                writeln!(text, "---@return {} # {result}", type_of(result))?;
            }
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

/// The type of a parameter. Where a signature says `function or text`, it may be either.
fn parameter_type(signature: &str, name: &str) -> String {
    let name = name.trim_end_matches('_');
    let mut alternatives = signature.split(['(', ',', '[', ']', ')']).map(str::trim);
    let word = alternatives.rfind(|piece| piece.split(" or ").next() == Some(name)).unwrap_or(name);
    type_of(word)
}

/// Each result of a signature. The comma in a table's fields parts nothing.
fn results_of(results: &str) -> Vec<&str> {
    if results.starts_with('{') { vec![results] } else { results.split(", ").collect() }
}

/// The type of a word, or of words with `or` between them; any where one of them is not known.
fn type_of(words: &str) -> String {
    let known = |word: &str| TYPES.iter().find(|(known, _)| *known == word).map(|(_, of)| *of);
    let types: Option<Vec<&str>> = words.split(" or ").map(known).collect();
    types.map_or_else(|| "any".to_owned(), |types| types.join("|"))
}
