//! What the files of a site mean to each other: globals that one sets and another reads, and files that they include.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::known;
use super::names::Facts;
use super::warning::{Kind, Warning};

/// The facts of files, by their paths.
pub(crate) struct Site<'f> {
    pub files: &'f BTreeMap<PathBuf, Facts>,
    /// Globals that are there for other reasons, as `plua.toml` says.
    pub globals: &'f [String],
}

impl Site<'_> {
    /// What of one file is only seen beside the others.
    pub(crate) fn warnings(&self, path: &Path, users: &Users) -> Vec<Warning> {
        let Some(facts) = self.files.get(path) else { return Vec::new() };
        let mut warnings = self.globals_of(path, facts, users);
        warnings.extend(self.calls_of(facts, users));
        warnings.extend(self.includes_of(path, facts, users));
        warnings
    }

    fn is_expected(&self, name: &str) -> bool {
        self.globals.iter().any(|global| global == name)
    }

    fn globals_of(&self, path: &Path, facts: &Facts, users: &Users) -> Vec<Warning> {
        if facts.is_open || facts.makes_unseen {
            return Vec::new();
        }
        facts
            .sets
            .iter()
            .filter(|set| set.comes_first && !facts.makes.contains(&set.name) && !known::is_global(&set.name))
            .filter(|set| !self.is_expected(&set.name) && !users.reads_elsewhere(&set.name, path))
            .map(|set| Warning {
                line: set.line,
                kind: Kind::Global,
                message: format!("'{}' is a global that nothing else reads: write local before it", set.name),
            })
            .collect()
    }

    fn calls_of(&self, facts: &Facts, users: &Users) -> Vec<Warning> {
        facts
            .calls
            .iter()
            .filter(|call| !known::is_global(&call.name) && !users.made.contains(call.name.as_str()))
            .filter(|call| !self.is_expected(&call.name) && !users.is_open)
            .map(|call| {
                let near = known::nearest(&call.name, users.made.iter().copied());
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                Warning {
                    line: call.line,
                    kind: Kind::Unknown,
                    message: format!("there is no function '{}'{near}", call.name),
                }
            })
            .collect()
    }

    fn includes_of(&self, path: &Path, facts: &Facts, users: &Users) -> Vec<Warning> {
        facts
            .includes
            .iter()
            .filter(|(name, _)| self.find(path, name, users).is_none())
            .map(|(name, line)| Warning {
                line: *line,
                kind: Kind::MissingFile,
                message: format!("there is no file '{name}' beside this one, nor beside a page that includes it"),
            })
            .collect()
    }

    /// The file that one means by this name: from its own folder, or from that of a page that includes it.
    fn find(&self, path: &Path, name: &str, users: &Users) -> Option<PathBuf> {
        let mut seen = HashSet::from([path]);
        let mut from = vec![path];
        while let Some(file) = from.pop() {
            if let Some(found) = beside(file, name).filter(|found| found.exists()) {
                return Some(found);
            }
            let includers = users.includers.get(file).into_iter().flatten();
            from.extend(includers.copied().filter(|includer| seen.insert(includer)));
        }
        None
    }
}

/// The file of that name from the folder of another.
pub(crate) fn beside(file: &Path, name: &str) -> Option<PathBuf> {
    plain(&file.parent().unwrap_or(Path::new("")).join(name))
}

/// A path without `.` and `..`, as far as it has names for them.
pub(crate) fn plain(path: &Path) -> Option<PathBuf> {
    use std::path::Component::{CurDir, Normal, ParentDir};
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            CurDir => {}
            ParentDir if matches!(plain.components().next_back(), Some(Normal(_))) => _ = plain.pop(),
            other => plain.push(other),
        }
    }
    (!plain.as_os_str().is_empty()).then_some(plain)
}

/// Who makes and who reads the globals of a site.
#[derive(Default)]
pub(crate) struct Users<'f> {
    made: HashSet<&'f str>,
    /// How many files read each, and one of them.
    readers: HashMap<&'f str, (usize, &'f Path)>,
    /// The files that include each, from their own folders.
    includers: HashMap<PathBuf, Vec<&'f Path>>,
    /// Whether some file makes globals in a way that is not seen.
    is_open: bool,
}

impl<'f> Users<'f> {
    /// Those of these files.
    pub(crate) fn of(files: &'f BTreeMap<PathBuf, Facts>) -> Users<'f> {
        let mut users = Users::default();
        for (path, facts) in files {
            users.is_open |= facts.makes_unseen;
            for (name, _) in &facts.includes {
                if let Some(included) = beside(path, name) {
                    users.includers.entry(included).or_default().push(path);
                }
            }
            users.made.extend(facts.sets.iter().map(|set| set.name.as_str()));
            users.made.extend(facts.makes.iter().map(String::as_str));
            for name in &facts.reads {
                users.readers.entry(name).or_insert((0, path)).0 += 1;
            }
        }
        users
    }

    fn reads_elsewhere(&self, name: &str, path: &Path) -> bool {
        self.readers.get(name).is_some_and(|(many, one)| *many > 1 || *one != path)
    }
}
