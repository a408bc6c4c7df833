//! What was found, told to a person or to a program.

use std::io::{self, Write, stderr};
use std::path::Path;

use clap::ValueEnum;
use plua::error::Error;
use plua::error::report::Report;
use serde_json::{Value, json};

use super::warning::Kind;
use crate::put;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Lines for a terminal.
    Text,
    /// An array of objects.
    Json,
    /// SARIF 2.1.0, which forges and editors show beside the lines.
    Sarif,
    /// Commands that GitHub's runners turn into notes beside the lines.
    Github,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warning,
    Note,
}

impl Level {
    /// Its name in SARIF, which is also ours.
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }
}

/// One thing found in a file.
pub(crate) struct Finding {
    pub level: Level,
    /// What programs know it by: that of the warning, `compile`, `read` or `dialect`.
    pub name: String,
    pub message: String,
    pub file: String,
    pub line: Option<u32>,
    /// Numbered lines.
    pub excerpt: Vec<(u32, String)>,
    /// What a failed file is reported by.
    pub error: Option<Error>,
}

impl Finding {
    /// A file that does not compile, or cannot be read.
    pub(crate) fn failed(path: &Path, error: &Error) -> Finding {
        let name = if error.place.is_some() { "compile" } else { "read" };
        Finding {
            level: Level::Error,
            name: name.to_owned(),
            message: error.message.clone(),
            file: error.place.as_ref().map_or_else(|| path.to_string_lossy().into_owned(), |place| place.file.clone()),
            line: error.place.as_ref().map(|place| place.line),
            excerpt: Vec::new(),
            error: Some(error.clone()),
        }
    }

    /// What is not the same in all Luas.
    pub(crate) fn noted(path: &Path, line: u32, form: &str, meaning: &str) -> Finding {
        Finding {
            level: Level::Note,
            name: "dialect".to_owned(),
            message: format!("{form}: {meaning}"),
            file: path.to_string_lossy().into_owned(),
            line: Some(line),
            excerpt: Vec::new(),
            error: None,
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.level == Level::Error
    }

    pub(crate) fn is_warning(&self) -> bool {
        self.level == Level::Warning
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    fn text(&self) -> String {
        if let Some(error) = &self.error {
            return Report(error).text();
        }
        let line = self.line.unwrap_or_default();
        let mut text = match self.level {
            Level::Note => format!("Note: {}\n", self.message),
            _ => format!("Warning: {} ({})\n", self.message, self.name),
        };
        text += &format!("  --> {}:{line}\n", self.file);
        for (number, source) in &self.excerpt {
            text += &format!("> {number:>5} | {source}\n");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.line,
            "level": self.level.name(),
            "name": self.name,
            "message": self.message,
        })
    }

    /// A result of SARIF 2.1.0, section 3.27.
    fn sarif(&self) -> Value {
        let mut place = json!({ "artifactLocation": { "uri": uri(&self.file) } });
        if let Some(line) = self.line {
            place["region"] = json!({ "startLine": line });
        }
        json!({
            "ruleId": self.name,
            "level": self.level.name(),
            "message": { "text": self.message },
            "locations": [{ "physicalLocation": place }],
        })
    }

    fn github(&self) -> String {
        let level = match self.level {
            Level::Note => "notice",
            other => other.name(),
        };
        let line = self.line.map_or_else(String::new, |line| format!(",line={line}"));
        let file = property(&self.file);
        format!("::{level} file={file}{line},title={}::{}\n", property(&self.name), data(&self.message))
    }
}

/// What a runner would take for the end of a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A path as a reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte.into()),
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri
}

impl Form {
    /// Tells all that was found.
    pub(crate) fn tell(self, findings: &[Finding], files: usize, failed: usize, unread: usize) -> io::Result<()> {
        match self {
            Form::Text => {
                for finding in findings {
                    stderr().write_all(finding.text().as_bytes())?;
                }
                put(count(findings, files, failed, unread).as_bytes())
            }
            Form::Json => {
                let all: Vec<Value> = findings.iter().map(Finding::json).collect();
                put(format!("{:#}\n", Value::from(all)).as_bytes())
            }
            Form::Sarif => put(format!("{:#}\n", sarif(findings)).as_bytes()),
            Form::Github => {
                let all: String = findings.iter().map(Finding::github).collect();
                put((all + &count(findings, files, failed, unread)).as_bytes())
            }
        }
    }
}

/// The last line.
fn count(findings: &[Finding], files: usize, failed: usize, unread: usize) -> String {
    let warnings = findings.iter().filter(|finding| finding.is_warning()).count();
    let warned = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    let unread = match unread {
        0 => String::new(),
        1 => ", 1 folder not read".to_owned(),
        many => format!(", {many} folders not read"),
    };
    let name = if files == 1 { "file" } else { "files" };
    format!("{files} {name}, {failed} failed{warned}{unread}\n")
}

/// A log of SARIF 2.1.0 with one run.
fn sarif(findings: &[Finding]) -> Value {
    let own = [
        ("compile", "A file does not compile"),
        ("read", "A file cannot be read"),
        ("dialect", "Something is not the same in all Luas that mod_plua is built with"),
    ];
    let own = own.map(|(name, meaning)| (name.to_owned(), meaning.to_owned()));
    let rules = Kind::value_variants().iter().map(|kind| kind.words()).chain(own);
    let rules: Vec<Value> =
        rules.map(|(name, meaning)| json!({ "id": name, "shortDescription": { "text": meaning } })).collect();
    let results: Vec<Value> = findings.iter().map(Finding::sarif).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "plua check", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}
