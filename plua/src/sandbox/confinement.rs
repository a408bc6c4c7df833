//! The files pages may open: those in the folders of `pLuaBaseDir`, and in a sandbox none of the system's own.

use std::io;
use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// Where the system shows processes and devices as files: a page that writes to `/proc/self/mem` needs no `ffi`.
const OF_THE_SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// How many symbolic links in a row lead to a file that is still to be made, at most; what Linux allows.
const MOST_LINKS: usize = 40;

/// Whether not every path is as good as it is.
#[must_use]
pub fn holds(settings: &Settings) -> bool {
    settings.sandbox() || !settings.base_folders().is_empty()
}

/// Where an absolute path leads when `..` and symbolic links are resolved, if pages may open that. The file itself need
/// not be there.
///
/// # Errors
/// A sentence for the page.
pub fn within(settings: &Settings, path: &Path) -> Result<PathBuf, String> {
    if !holds(settings) {
        return Ok(path.to_path_buf());
    }
    inside(settings, path, resolve(path), false)
}

/// The same for the entry of a folder that is to be removed or renamed: a symbolic link is such an entry itself, and a folder of
/// `pLuaBaseDir` is one of a folder outside.
///
/// # Errors
/// As [`within`].
pub fn entry_within(settings: &Settings, path: &Path) -> Result<PathBuf, String> {
    if !holds(settings) {
        return Ok(path.to_path_buf());
    }
    inside(settings, path, resolve_entry(path), true)
}

fn inside(settings: &Settings, path: &Path, resolved: io::Result<PathBuf>, is_entry: bool) -> Result<PathBuf, String> {
    let folders = settings.base_folders();
    // A folder may be a symbolic link that is switched while the server runs.
    let holds = |resolved: &PathBuf| {
        let mut is_inside = folders.is_empty();
        for folder in folders {
            let Ok(real) = folder.canonicalize() else { continue };
            is_inside |= resolved.starts_with(&real);
            if is_entry && (*resolved == real || resolve_entry(folder).is_ok_and(|entry| entry == *resolved)) {
                return false;
            }
        }
        is_inside
    };
    let resolved = match resolved {
        Ok(resolved) if holds(&resolved) => resolved,
        Err(error) if folders.is_empty() => return Err(format!("{}: {error}", path.display())),
        _ => return Err(format!("{}: not within pLuaBaseDir", path.display())),
    };
    if settings.sandbox() && OF_THE_SYSTEM.iter().any(|folder| resolved.starts_with(folder)) {
        return Err(format!("{}: not for pages in a sandbox (pLuaSandbox)", path.display()));
    }
    Ok(resolved)
}

fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            resolved => return resolved,
        }
        let entry = resolve_entry(&path)?;
        match entry.read_link() {
            // To be made where the link leads.
            Ok(target) => path = entry.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(entry),
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// The path with all but its last name resolved. Where a folder in it is missing, nothing is there to be opened: the
/// deepest that exists stands for the rest.
fn resolve_entry(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let parent = match parent.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent.file_name().is_some() => resolve(parent)?,
        resolved => resolved?,
    };
    Ok(parent.join(name))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::DIRECTIVES;

    #[test]
    fn links_and_dots_are_followed_and_folders_compared_by_whole_names() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["base/sub", "basement", "outside"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["base/file", "base/sub/file", "basement/file", "outside/file"] {
            fs::write(root.join(file), "").unwrap();
        }
        symlink(root.join("outside/file"), root.join("base/out")).unwrap();
        symlink(root.join("outside/new"), root.join("base/dangling")).unwrap();
        symlink("../outside", root.join("base/folder")).unwrap();
        symlink("sub/../file", root.join("base/in")).unwrap();
        symlink("sub/new", root.join("base/in-new")).unwrap();
        symlink("round", root.join("base/round")).unwrap();
        symlink(root.join("base"), root.join("outside/back")).unwrap();
        let held = settings("pLuaBaseDir", root.join("base").to_str().unwrap());
        let leads = |path: &str| {
            within(&held, &root.join(path)).ok().map(|path| path.strip_prefix(&root).unwrap().to_path_buf())
        };
        for (path, resolved) in [
            ("base", "base"),
            ("base/file", "base/file"),
            ("base/./sub/../file", "base/file"),
            ("base/in", "base/file"),
            ("base/in-new", "base/sub/new"),
            ("base/new", "base/new"),
            ("base/no/folder/new", "base/no/folder/new"),
            ("outside/back/file", "base/file"),
            ("base/sub/../../base/file", "base/file"),
        ] {
            assert_eq!(leads(path), Some(PathBuf::from(resolved)), "{path}");
        }
        for path in [
            "basement/file",
            "outside/file",
            "base/..",
            "base/../outside/file",
            "base/sub/../../outside/new",
            "base/out",
            "base/dangling",
            "base/folder/file",
            "base/folder/new",
            "base/folder/no/new",
            "base/no/../../outside/file",
            "base/round",
            "base/round/file",
        ] {
            assert_eq!(leads(path), None, "{path}");
        }
        assert_eq!(entry_within(&held, &root.join("base/out")), Ok(root.join("base/out")));
        assert!(entry_within(&held, &root.join("base/folder/file")).is_err());
        assert!(entry_within(&held, &root.join("base/..")).is_err());
        assert!(entry_within(&held, &root.join("base")).is_err() && within(&held, &root.join("base")).is_ok());
        assert!(entry_within(&held, &root.join("outside/back/../base")).is_err());
        assert_eq!(entry_within(&held, &root.join("base/sub")), Ok(root.join("base/sub")));
        assert_eq!(within(&Settings::default(), Path::new("/any/../where")), Ok(PathBuf::from("/any/../where")));
        let passwd = Path::new("/etc/passwd");
        assert_eq!(within(&settings("pLuaBaseDir", "/"), passwd), Ok(passwd.to_path_buf()));
    }

    #[test]
    fn a_sandbox_has_no_files_of_the_system() {
        let sandbox = settings("pLuaSandbox", "On").merged(&settings("pLuaBaseDir", "/"));
        for settings in [&sandbox, &settings("pLuaSandbox", "On")] {
            for path in ["/proc/self/mem", "/tmp/../proc/self/environ", "/dev/fd/0", "/sys/kernel", "/dev/new"] {
                assert!(within(settings, Path::new(path)).is_err(), "{path}");
            }
            assert_eq!(within(settings, Path::new("/etc/../etc/passwd")), Ok(PathBuf::from("/etc/passwd")));
            assert!(within(settings, Path::new("/development")).is_ok());
        }
        let folder = tempfile::tempdir().unwrap();
        symlink("/proc/self", folder.path().join("self")).unwrap();
        assert!(within(&sandbox, &folder.path().join("self/mem")).is_err());
    }

    fn settings(name: &str, value: &str) -> Settings {
        let mut settings = Settings::default();
        let row = DIRECTIVES.iter().find(|row| row.name.to_str() == Ok(name)).unwrap();
        row.set(&mut settings, &[value]).unwrap();
        settings
    }
}
