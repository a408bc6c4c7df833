//! One file as it is checked: compiled, compared with other Luas, and read for what looks wrong.

use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plua::engine::PageFile;
use plua::error::{Error, Place};
use plua::language::dialect::{self, Difference};
use plua::language::emit;
use plua::settings::Settings;

use super::configuration::Configuration;
use super::names::{self, Facts};
use super::report::{Finding, Level};
use super::site::plain;
use super::warning::{Warning, is_ignored};

/// What is known of one file.
pub(crate) struct Checked {
    pub path: PathBuf,
    source: Vec<u8>,
    error: Option<Error>,
    differences: Vec<Difference>,
    pub facts: Option<Facts>,
    /// Whether there are any, though they may have been taken.
    is_read: bool,
    pub warnings: Vec<Warning>,
}

impl Checked {
    /// What it is found by, however it was asked for.
    pub(crate) fn key(&self) -> PathBuf {
        plain(&self.path).unwrap_or_else(|| self.path.clone())
    }

    /// That of a file, which is compiled and not run.
    pub(crate) fn new(path: &Path, settings: &Arc<Settings>) -> Checked {
        let is_plain = path.file_name().is_some_and(|name| settings.is_raw(name.as_bytes()));
        let file = PageFile { path, stamp: None, settings };
        let mut checked = Checked {
            path: path.to_path_buf(),
            source: Vec::new(),
            error: file.check().err(),
            differences: Vec::new(),
            facts: None,
            is_read: false,
            warnings: Vec::new(),
        };
        if checked.error.is_none()
            && let Ok(lua) = file.translate()
        {
            checked.differences = dialect::differences(&lua);
            checked.source = fs::read(path).unwrap_or_default();
            let raw = if is_plain { Vec::new() } else { raw_tags(&checked.source, settings) };
            checked.facts = std::str::from_utf8(&lua).ok().and_then(|lua| names::read(lua, &raw));
            checked.is_read = checked.facts.is_some();
        }
        checked
    }

    /// All that is told of it.
    pub(crate) fn findings(mut self, configuration: &Configuration) -> Vec<Finding> {
        if let Some(error) = &self.error {
            return vec![Finding::failed(&self.path, error)];
        }
        let mut findings: Vec<Finding> = self
            .differences
            .iter()
            .map(|difference| Finding::noted(&self.path, difference.line, difference.form, difference.meaning))
            .collect();
        if !self.is_read {
            findings.push(Finding::noted(
                &self.path,
                1,
                "no warnings here",
                "the file has Lua that only its compiler knows",
            ));
        }
        self.warnings.sort();
        self.warnings.dedup();
        let lines: Vec<&[u8]> = self.source.split(|byte| *byte == b'\n').collect();
        for warning in &self.warnings {
            let line = lines.get(warning.line.saturating_sub(1) as usize).copied().unwrap_or_default();
            if configuration.ignore.contains(&warning.kind) || is_ignored(line, warning.kind) {
                continue;
            }
            let mut place = Place::new(&self.path, warning.line, &self.source);
            place.excerpt.retain(|(number, _)| *number == warning.line);
            findings.push(Finding {
                level: Level::Warning,
                name: warning.kind.words().0,
                message: warning.message.clone(),
                file: self.path.to_string_lossy().into_owned(),
                line: Some(warning.line),
                excerpt: place.excerpt,
                error: None,
            });
        }
        findings.sort_by_key(|finding| finding.line);
        findings
    }
}

/// Where, in the Lua that a page becomes, something is put out by `<?! ?>`: without escaping on purpose.
fn raw_tags(page: &[u8], settings: &Settings) -> Vec<Range<usize>> {
    let (syntax, _) = settings.reading();
    let is_raw = |tag: &emit::Tag| {
        let opening = &page[tag.outer.start..tag.inner.start];
        tag.is_echo && opening.ends_with(b"!")
    };
    emit::tags(page, syntax).into_iter().filter(is_raw).map(|tag| tag.code).collect()
}
