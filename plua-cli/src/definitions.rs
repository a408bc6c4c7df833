//! `plua definitions`: the page functions as editors want to know them.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use plua::language::functions::FUNCTIONS;

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
        let (parameters, results) = parts(function.signature);
        write!(text, "\n--- {}\n---\n--- `{}`\n", function.help, function.signature)?;
        for (name, is_optional) in &parameters {
            writeln!(text, "---@param {name}{} any", if *is_optional { "?" } else { "" })?;
        }
        if let Some(results) = results {
            writeln!(text, "---@return any # {results}")?;
        }
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        writeln!(text, "function {}({}) end", function.name, names.join(", "))?;
    }
    put(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The parameters of a signature, each with whether it can be left out, and its results if it has any.
fn parts(signature: &str) -> (Vec<(String, bool)>, Option<&str>) {
    let (call, results) = match signature.split_once(" -> ") {
        Some((call, results)) => (call, Some(results)),
        None => (signature, None),
    };
    let inside = call.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    let mut parameters = Vec::new();
    let mut is_optional = false;
    for piece in inside.split(',') {
        is_optional |= piece.trim_start().starts_with('[');
        let name =
            piece.trim_matches(|character: char| "[] ".contains(character)).split(' ').next().unwrap_or_default();
        if !name.is_empty() {
            let name = if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_owned() };
            parameters.push((name, is_optional));
        }
        is_optional |= piece.trim_end().ends_with('[');
    }
    (parameters, results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_signatures() {
        let named = |signature| {
            let (parameters, _) = parts(signature);
            parameters
                .into_iter()
                .map(|(name, is_optional)| name + if is_optional { "?" } else { "" })
                .collect::<Vec<_>>()
        };
        assert_eq!(named("exit()"), [""; 0]);
        assert_eq!(named("echo(...)"), ["..."]);
        assert_eq!(named("header(name, value [, append])"), ["name", "value", "append?"]);
        assert_eq!(named("content([name [, default]]) -> string"), ["name?", "default?"]);
        assert_eq!(named("setCookie(name, value [, seconds [, path]])"), ["name", "value", "seconds?", "path?"]);
        assert_eq!(named("block(name, function or text)"), ["name", "function_"]);
        assert_eq!(parts("plua.clientGone() -> boolean").1, Some("boolean"));
    }
}
