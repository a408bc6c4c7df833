//! The modules written in Lua that a state has loaded, and whether their files are what they were.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cache::chunk::Stamp;

/// How much later than the system's clock says a file may be changed, by the time the file system gives it.
const TICK: Duration = Duration::from_millis(20);

/// Files that `require` of one state has found.
#[derive(Debug)]
pub struct Modules {
    files: HashMap<PathBuf, Stamp>,
    /// When a search for one began, by the clock that files have their times from.
    searched: SystemTime,
    looked: Instant,
}

impl Default for Modules {
    fn default() -> Modules {
        Modules { files: HashMap::new(), searched: SystemTime::now(), looked: Instant::now() }
    }
}

impl Modules {
    /// Before a file is found and read.
    pub fn search(&mut self) {
        self.searched = SystemTime::now();
    }

    /// After it was: what the last search has led to. One that may have been changed meanwhile counts as changed, but not one
    /// from the future: its clock is another one.
    pub fn note(&mut self, file: &Path) {
        let Ok(path) = std::path::absolute(file) else { return };
        let micros = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        let meanwhile = micros(self.searched - TICK)..=micros(SystemTime::now() + TICK);
        let stamp = stamp(&path).filter(|stamp| !meanwhile.contains(&stamp.changed));
        self.files.insert(path, stamp.unwrap_or_default());
    }

    /// Whether there are any.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.files.is_empty()
    }

    /// A file that was changed since it was read; files are taken to be unchanged for so long after a look at them.
    pub fn changed(&mut self, lifetime: Duration) -> Option<&Path> {
        if !lifetime.is_zero() && self.looked.elapsed() < lifetime {
            return None;
        }
        self.looked = Instant::now();
        let changed = self.files.iter().find(|(path, known)| stamp(path).is_none_or(|stamp| stamp != **known));
        changed.map(|(path, _)| path.as_path())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    path.metadata().ok().map(|file| Stamp::from(&file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_changed_when_its_stamp_is_or_when_it_may_have_been_while_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.lua");
        fs::write(&file, "1").unwrap();
        let mut modules = Modules::default();
        let changed = |modules: &mut Modules, lifetime| modules.changed(lifetime).is_some();
        assert!(!modules.any() && !changed(&mut modules, Duration::ZERO));
        modules.search();
        modules.note(&file);
        assert!(modules.any() && changed(&mut modules, Duration::ZERO));
        // So that the file's time is told apart from that of its reading.
        std::thread::sleep(2 * TICK);
        modules.search();
        modules.note(&file);
        assert!(!changed(&mut modules, Duration::ZERO));
        // A clock that was set back since.
        modules.searched = UNIX_EPOCH + TICK;
        modules.note(&file);
        assert!(changed(&mut modules, Duration::ZERO));
        modules.searched = SystemTime::now() + Duration::from_secs(60);
        modules.note(&file);
        fs::write(&file, "22").unwrap();
        assert!(!changed(&mut modules, Duration::from_secs(60)));
        assert!(changed(&mut modules, Duration::ZERO));
        fs::remove_file(&file).unwrap();
        assert!(changed(&mut modules, Duration::ZERO));
    }
}
