//! `plua.toml`: what holds for the files of a folder.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::warning::Kind;

const NAME: &str = "plua.toml";

/// What is switched off, and what is there though no file makes it.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// Warnings that are left out.
    pub ignore: Vec<Kind>,
    /// Globals that are there: of `pLuaInit`, or of modules.
    pub globals: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    check: Check,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    globals: Vec<String>,
}

impl Configuration {
    /// That of the nearest `plua.toml` in or above each of these, all together.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Configuration, Box<dyn Error>> {
        let mut found: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            if let Some(file) = path.ancestors().map(|folder| folder.join(NAME)).find(|file| file.is_file())
                && !found.contains(&file)
            {
                found.push(file);
            }
        }
        let mut configuration = Configuration::default();
        for file in found {
            configuration.add(&file)?;
        }
        Ok(configuration)
    }

    fn add(&mut self, path: &Path) -> Result<(), Box<dyn Error>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        };
        let file: File = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        for name in file.check.ignore {
            let kind = Kind::of(&name).ok_or_else(|| {
                format!("{}: there is no warning '{name}': plua check --help lists them", path.display())
            })?;
            self.ignore.push(kind);
        }
        self.globals.extend(file.check.globals);
        Ok(())
    }
}
