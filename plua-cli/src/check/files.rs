//! Which files are checked.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use plua::settings::Settings;

/// The files given, and those in the folders given, and how many folders could not be read.
pub(crate) fn find(given: &[PathBuf], settings: &Settings) -> Result<(Vec<PathBuf>, usize), Box<dyn Error>> {
    let mut files = Vec::new();
    let mut unread = 0;
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let (before, unread_before) = (files.len(), unread);
        collect(path, settings, &mut files, &mut unread);
        if files.len() == before && unread == unread_before {
            return Err(format!("no page in {}: none of its files ends in .plua or .lua", path.display()).into());
        }
    }
    Ok((files, unread))
}

/// Adds the files of a folder and those inside it, by name. Links to folders are not followed: they may lead in circles.
/// Folders that cannot be read are told and counted in `unread`.
fn collect(folder: &Path, settings: &Settings, files: &mut Vec<PathBuf>, unread: &mut usize) {
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
            collect(&path, settings, files, unread);
        } else if path.extension() == Some(OsStr::new("plua")) || settings.is_raw(entry.file_name().as_bytes()) {
            files.push(path);
        }
    }
}
