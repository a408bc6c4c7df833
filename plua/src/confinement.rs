//! The folders that hold all files pages may open (`pLuaBaseDir`), and what becomes of a path there.

use std::io;
use std::path::{Path, PathBuf};

/// How many symbolic links in a row lead to a file that is still to be made, at most; what Linux allows.
const MOST_LINKS: usize = 40;

/// What a path that leads elsewhere is answered.
#[must_use]
pub fn refusal(path: &Path) -> String {
    format!("{}: not within pLuaBaseDir", path.display())
}

/// Where an absolute path leads when `..` and symbolic links are resolved, if that is inside one of the folders. The
/// file itself need not be there. Without folders every path is as good as it is.
///
/// # Errors
/// [`refusal`].
pub fn within(folders: &[PathBuf], path: &Path) -> Result<PathBuf, String> {
    if folders.is_empty() {
        return Ok(path.to_path_buf());
    }
    inside(folders, path, resolve(path))
}

/// The same for the entry of a folder that is to be removed or renamed: a symbolic link is such an entry itself.
///
/// # Errors
/// [`refusal`].
pub fn entry_within(folders: &[PathBuf], path: &Path) -> Result<PathBuf, String> {
    if folders.is_empty() {
        return Ok(path.to_path_buf());
    }
    inside(folders, path, resolve_entry(path))
}

fn inside(folders: &[PathBuf], path: &Path, resolved: io::Result<PathBuf>) -> Result<PathBuf, String> {
    // A folder may be a symbolic link that is switched while the server runs.
    let holds = |resolved: &PathBuf| {
        folders.iter().any(|folder| folder.canonicalize().is_ok_and(|folder| resolved.starts_with(folder)))
    };
    resolved.ok().filter(holds).ok_or_else(|| refusal(path))
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
        let folders = [root.join("base")];
        let leads = |path: &str| {
            within(&folders, &root.join(path)).ok().map(|path| path.strip_prefix(&root).unwrap().to_path_buf())
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
        assert_eq!(entry_within(&folders, &root.join("base/out")), Ok(root.join("base/out")));
        assert!(entry_within(&folders, &root.join("base/folder/file")).is_err());
        assert!(entry_within(&folders, &root.join("base/..")).is_err());
        assert_eq!(within(&[], Path::new("/any/../where")), Ok(PathBuf::from("/any/../where")));
        assert_eq!(within(&[PathBuf::from("/")], Path::new("/etc/passwd")), Ok(PathBuf::from("/etc/passwd")));
    }
}
