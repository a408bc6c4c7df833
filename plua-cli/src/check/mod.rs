//! `plua check`: which of many files would not compile, and what in them looks wrong.

mod configuration;
mod file;
mod files;
mod known;
mod names;
mod nodes;
mod report;
mod request_data;
mod site;
mod warning;

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use plua::settings::Settings;
use plua::state::processors;

use crate::directives::{self, Directives};
use configuration::Configuration;
use file::Checked;
use names::Facts;
use report::{Finding, Form};
use site::{Site, Users, beside};
use warning::Kind;

/// Compile pages and modules without running them, and report what fails or looks wrong; exit status 1 if any file fails.
///
/// A warning has a name. A line with `plua: ignore NAME` in a comment has none of that name; a plua.toml in the folder or above it
/// switches names off for all files. What one Lua takes and another does not is noted.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files, and folders in which every .plua file is a page and every .lua file a module.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How it is told: to a person, or to a program.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// A warning that is left out; may be repeated.
    #[arg(long, value_name = "NAME")]
    ignore: Vec<Kind>,
    /// Exit with status 1 if there is a warning, too.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    directives: Directives,
}

/// Reports on the standard error output and counts on the standard output; for programs all is on the standard output.
pub(crate) fn check(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // Modules are checked as what they are.
    let settings = Arc::new(arguments.directives.settings().followed(&directives::parse("pLuaRaw .lua")?));
    let (paths, unread) = files::find(&arguments.files, &settings)?;
    let mut configuration = Configuration::of(&arguments.files)?;
    configuration.ignore.extend(&arguments.ignore);
    let checked = all(&paths, &settings);
    let findings = findings(checked, &configuration, &settings);
    let failed: HashSet<_> = findings.iter().filter(|finding| finding.is_error()).map(Finding::file).collect();
    let warnings = findings.iter().filter(|finding| finding.is_warning()).count();
    arguments.format.tell(&findings, paths.len(), failed.len(), unread)?;
    let is_fine = failed.is_empty() && unread == 0 && !(arguments.strict && warnings > 0);
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What each file says, in their order.
fn all(paths: &[PathBuf], settings: &Arc<Settings>) -> Vec<Checked> {
    let progress = progress(paths.len());
    let next = AtomicUsize::new(0);
    let checked = Mutex::new(Vec::with_capacity(paths.len()));
    thread::scope(|threads| {
        for _ in 0..processors().min(paths.len()) {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(path) = paths.get(number) else { return };
                    let one = Checked::new(path, settings);
                    checked.lock().push((number, one));
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    let mut checked = checked.into_inner();
    checked.sort_by_key(|(number, _)| *number);
    checked.into_iter().map(|(_, one)| one).collect()
}

/// A bar on a terminal, for those who would wait.
fn progress(files: usize) -> ProgressBar {
    const MANY: usize = 200;
    if files < MANY || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    match ProgressStyle::with_template("{bar:40} {pos} of {len} files") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What is told of the files, in their order and that of their lines.
fn findings(checked: Vec<Checked>, configuration: &Configuration, settings: &Arc<Settings>) -> Vec<Finding> {
    let mut facts = BTreeMap::new();
    let mut others = Vec::new();
    for mut one in checked {
        if let Some(its) = one.facts.take() {
            facts.insert(one.key(), its);
        }
        others.push(one);
    }
    read_included(&mut facts, settings);
    let users = Users::of(&facts);
    let site = Site { files: &facts, globals: &configuration.globals };
    let mut findings = Vec::new();
    for mut one in others {
        let key = one.key();
        if let Some(its) = facts.get(&key) {
            one.warnings.extend(its.warnings.iter().cloned());
            one.warnings.extend(site.warnings(&key, &users));
        }
        findings.extend(one.findings(configuration));
    }
    findings
}

/// Reads the files that those include and that are not among them: for what they set and read.
fn read_included(facts: &mut BTreeMap<PathBuf, Facts>, settings: &Arc<Settings>) {
    let mut seen: HashSet<PathBuf> = facts.keys().cloned().collect();
    let mut left: Vec<PathBuf> = facts.keys().cloned().collect();
    while let Some(path) = left.pop() {
        let Some(its) = facts.get(&path) else { continue };
        let included: Vec<_> = its.includes.iter().filter_map(|(name, _)| beside(&path, name)).collect();
        for path in included {
            if seen.insert(path.clone())
                && let Some(its) = Checked::new(&path, settings).facts
            {
                facts.insert(path.clone(), its);
                left.push(path);
            }
        }
    }
}
