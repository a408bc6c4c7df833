//! `plua check`: which of many files would not compile, and which of them only some builds take.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{Write, stderr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use plua::engine::PageFile;
use plua::error::report::Report;
use plua::language::dialect::Difference;
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
    let mut unread = 0;
    for file in &arguments.files {
        if !file.is_dir() {
            pages.push(file.clone());
            continue;
        }
        let before = pages.len();
        let unread_before = unread;
        collect(file, &settings, &mut pages, &mut unread);
        if pages.len() == before && unread == unread_before {
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
    let folders = match unread {
        0 => String::new(),
        1 => ", 1 folder not read".to_owned(),
        many => format!(", {many} folders not read"),
    };
    put(format!("{} {files}, {failed} failed{folders}\n", pages.len()).as_bytes())?;
    Ok(if failed + unread == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds the pages of a folder and those inside it, by name. Links to folders are not followed: they may lead in circles.
/// Folders that cannot be read are told and counted in `unread`.
fn collect(folder: &Path, settings: &Arc<Settings>, pages: &mut Vec<PathBuf>, unread: &mut usize) {
    let entries = fs::read_dir(folder).and_then(|entries| {
        let with_type = |entry: fs::DirEntry| Ok((entry.file_type()?.is_dir(), entry));
        entries.map(|entry| with_type(entry?)).collect::<Result<Vec<_>, _>>()
    });
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            eprintln!("plua: cannot read {}: {error}", folder.display());
            *unread += 1;
            return;
        }
    };
    entries.sort_by_key(|(_, entry)| entry.file_name());
    for (is_folder, entry) in entries {
        let path = entry.path();
        if is_folder {
            collect(&path, settings, pages, unread);
        } else if path.extension() == Some(OsStr::new("plua")) || settings.is_raw(entry.file_name().as_bytes()) {
            pages.push(path);
        }
    }
}
