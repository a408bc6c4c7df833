//! `plua translate`: the Lua a page becomes.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use plua::engine::PageFile;

use crate::directives::Directives;
use crate::put;

/// Show the Lua that a page becomes, line by line; nothing is compiled.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The page.
    file: PathBuf,
    #[command(flatten)]
    directives: Directives,
}

/// Writes it to the standard output.
pub(crate) fn translate(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let page = PageFile { path: &arguments.file, stamp: None, settings: &arguments.directives.settings() };
    put(&page.translate()?)?;
    Ok(ExitCode::SUCCESS)
}
