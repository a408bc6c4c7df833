//! The `plua` command run in a folder of its own.

#![allow(dead_code, reason = "no test file needs all of it")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What a command left behind.
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Exit status, standard output, standard error output.
    pub fn all(&self) -> (Option<i32>, &str, &str) {
        (self.status, &self.out, &self.err)
    }
}

/// A folder with files in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command, to be run in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plua"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end. The folder's path is left out of what it said.
    pub fn plua(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let folder = format!("{}/", self.0.path().display());
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&folder, "");
        Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
