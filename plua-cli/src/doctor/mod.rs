//! `plua doctor`: whether this machine's httpd can run pages, and what in its configuration is a mistake for them.

mod configuration;
mod process;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use console::{Style, style};
use memchr::memmem;
use private_httpd::{Configuration, Installation};
use serde_json::json;

use crate::put;
use crate::serve::module;
use configuration::Read;

/// Look at the httpd of this machine: whether it can run pages, what stands beside the module, and what in its configuration is a
/// mistake for pages. Nothing is changed. Exit status 1 if there is a problem.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file of httpd's configuration, instead of the one that httpd reads by itself.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The httpd module, instead of the one beside this program or the installed one.
    #[arg(long)]
    module: Option<PathBuf>,
    /// Put out an array of objects with level, about, message and remedy.
    #[arg(long)]
    json: bool,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Fine,
    Note,
    Problem,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Fine => "fine",
            Level::Note => "note",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
pub(crate) struct Finding {
    level: Level,
    /// What it is about: `httpd`, `module`, `mpm`, ...
    about: &'static str,
    message: String,
    /// What to do.
    remedy: Option<String>,
}

impl Finding {
    pub(crate) fn fine(about: &'static str, message: impl Into<String>) -> Finding {
        Finding { level: Level::Fine, about, message: message.into(), remedy: None }
    }

    pub(crate) fn note(about: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Note, about, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn problem(about: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Problem, about, message: message.into(), remedy: Some(remedy.into()) }
    }
}

/// Tells what was found.
pub(crate) fn doctor(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut findings = Vec::new();
    match Installation::find() {
        Ok(installation) => {
            httpd(&installation, &mut findings);
            built_module(arguments.module.as_deref(), &installation, &mut findings);
            match Read::of(arguments.config.as_deref(), &installation) {
                Ok(read) => read.findings(&mut findings),
                Err(problem) if problem.contains("Could not open configuration file") => findings.push(Finding::note(
                    "configuration",
                    format!("httpd has no configuration of its own here: {problem}"),
                    "where only plua serve is used, nothing; else name the file with --config",
                )),
                Err(problem) => findings.push(Finding::problem(
                    "configuration",
                    format!("httpd refuses its configuration: {problem}"),
                    "mend that line; then sudo systemctl restart apache2",
                )),
            }
            process::findings(&installation, &mut findings);
        }
        Err(problem) => findings.push(Finding::problem(
            "httpd",
            problem.to_string(),
            "apt-get install apache2, or name its program in the variable HTTPD",
        )),
    }
    tell(&findings, arguments.json)?;
    let is_fine = findings.iter().all(|finding| finding.level != Level::Problem);
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(findings: &[Finding], as_json: bool) -> std::io::Result<()> {
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|Finding { level, about, message, remedy }| {
                json!({ "level": level.name(), "about": about, "message": message, "remedy": remedy })
            })
            .collect();
        return put(format!("{:#}\n", serde_json::Value::from(all)).as_bytes());
    }
    let mut text = String::new();
    for Finding { level, about, message, remedy } in findings {
        let colour = match level {
            Level::Fine => Style::new().green(),
            Level::Note => Style::new().yellow(),
            Level::Problem => Style::new().red(),
        };
        text += &format!("{:>7}  {about}: {message}\n", colour.apply_to(level.name()));
        if let Some(remedy) = remedy {
            text += &format!("         {}\n", style(remedy).dim());
        }
    }
    put(text.as_bytes())
}

/// The first line of what a program says.
fn first_line(program: &Path, argument: &str) -> String {
    let said = Command::new(program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

fn httpd(installation: &Installation, findings: &mut Vec<Finding>) {
    let program = installation.program();
    let version = first_line(program, "-v");
    let version = version.strip_prefix("Server version: ").unwrap_or(&version);
    findings.push(Finding::fine("httpd", format!("{version}, {}", program.display())));
}

/// Whether the module is there, has the same Lua as this command, and can be loaded.
fn built_module(asked: Option<&Path>, installation: &Installation, findings: &mut Vec<Finding>) {
    let file = match module(asked, installation) {
        Ok(file) => file,
        Err(problem) => {
            findings.push(Finding::problem("module", problem.to_string(), "make build, then sudo make install"));
            return;
        }
    };
    let ours = format!("mod_plua is built with {}.", plua::LUA);
    let bytes = fs::read(&file).unwrap_or_default();
    if memmem::find(&bytes, ours.as_bytes()).is_none() {
        findings.push(Finding::problem(
            "module",
            format!("{} has another Lua than this command, which has {}", file.display(), plua::LUA),
            "install both from one build: make build LUA=..., then sudo make install",
        ));
    }
    let check = Configuration::new(installation.clone()).module_file("plua", &file).body("pLuaTimeout 30").check();
    match check {
        Ok(check) if check.status == 0 => {
            findings.push(Finding::fine("module", format!("{} can be loaded", file.display())));
        }
        Ok(check) => findings.push(Finding::problem(
            "module",
            format!("{} cannot be loaded: {}", file.display(), check.output.trim()),
            "build it on this machine, for this httpd: make build",
        )),
        Err(problem) => findings.push(Finding::problem("module", problem.to_string(), "reinstall httpd's modules")),
    }
}
