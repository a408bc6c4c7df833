//! `plua new`: a small site to begin with.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::put;

/// Make a folder with a small site that works at once: a page with a form, its layout and a style sheet.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder. It must not be there yet, or be empty.
    dir: PathBuf,
}

/// The files of the site.
const FILES: [(&str, &str); 3] = [
    ("index.plua", include_str!("../site/index.plua")),
    ("parts/layout.plua", include_str!("../site/parts/layout.plua")),
    ("style.css", include_str!("../site/style.css")),
];

/// Writes it, and says how it is shown.
pub(crate) fn new(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let dir = &arguments.dir;
    let problem = |error: std::io::Error| format!("cannot make {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(problem)?;
    if fs::read_dir(dir).map_err(problem)?.next().is_some() {
        return Err(format!("{} is not empty: name a folder that is not there yet", dir.display()).into());
    }
    for (name, text) in FILES {
        let file = dir.join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(problem)?;
        }
        fs::write(&file, text).map_err(problem)?;
    }
    let shown = dir.display().to_string();
    let is_plain = shown.chars().all(|character| character.is_alphanumeric() || "-_./".contains(character));
    let word = if is_plain { shown.clone() } else { format!("'{}'", shown.replace('\'', "'\\''")) };
    put(format!("{shown} has a site; now: plua serve --reload {word}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
