//! `plua check`: which of many files would not compile, and which of them only some builds take.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write, stderr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use plua::dialect::Difference;
use plua::engine::PageFile;
use plua::report::Report;
use plua::settings::Settings;

use crate::directives::Directives;
use crate::put;

/// Compile pages without running them, and report those that fail; exit status 1 if any does. What one Lua takes and another
/// does not is noted.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pages, and folders in which every .plua file is one, and every file of an extension given to pLuaRaw.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    directives: Directives,
}

/// Reports on the standard error output and counts on the standard output.
pub(crate) fn check(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let settings = arguments.directives.settings();
    let mut pages = Vec::new();
    for file in &arguments.files {
        if !file.is_dir() {
            pages.push(file.clone());
            continue;
        }
        let before = pages.len();
        collect(file, &settings, &mut pages)?;
        if pages.len() == before {
            return Err(format!("no page in {}: none of its files ends in .plua", file.display()).into());
        }
    }
    let mut failed = 0;
    for path in &pages {
        let file = PageFile { path, stamp: None, settings: &settings };
        match file.check().and_then(|()| file.differences()) {
            Ok(differences) => {
                for Difference { line, form, meaning } in differences {
                    let note = format!("Note: {form}: {meaning}\n  --> {}:{line}\n", path.display());
                    stderr().write_all(note.as_bytes())?;
                }
            }
            Err(error) => {
                failed += 1;
                stderr().write_all(Report(&error).text().as_bytes())?;
            }
        }
    }
    let files = if pages.len() == 1 { "file" } else { "files" };
    put(format!("{} {files}, {failed} failed\n", pages.len()).as_bytes())?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds the pages of a folder and those inside it, by name. Links to folders are not followed: they may lead in circles.
fn collect(folder: &Path, settings: &Arc<Settings>, pages: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", folder.display());
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(unreadable)?.is_dir() {
            collect(&path, settings, pages)?;
        } else if path.extension() == Some(OsStr::new("plua")) || settings.is_raw(entry.file_name().as_bytes()) {
            pages.push(path);
        }
    }
    Ok(())
}
