//! Measures mod_plua against a bare C handler, mod_lua, mod_php, ngx_lua and static files, all in one run; `make bench` runs it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks through these")]

mod machine;
mod nginx;
mod page;
mod plot;
mod report;
mod scale;
mod server;
mod state;
mod waiting;
mod wrk;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use private_httpd::Installation;

use crate::machine::Machine;
use crate::page::Page;
use crate::report::{Report, Series};
use crate::server::{Built, Kind, SERVERS, Server, mpm_name};

/// Measures mod_plua side by side with its peers.
#[derive(Parser)]
struct Arguments {
    /// Rounds in which every server has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of a turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only this page
    #[arg(long)]
    page: Option<String>,
    /// How it behaves with many pages, hosts and clients instead
    #[arg(long)]
    scale: bool,
    /// What stores and sessions cost instead, beside those of the peers
    #[arg(long)]
    state: bool,
    /// What thousands of pages that wait are like instead
    #[arg(long)]
    waiting: bool,
    /// The folder of the report
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let pages = chosen(arguments.page.as_deref())?;
    fs::create_dir_all(&arguments.out).map_err(|error| format!("{}: {error}", arguments.out.display()))?;
    let out = arguments.out.canonicalize().map_err(|error| error.to_string())?;
    let installation = Installation::find().map_err(|error| error.to_string())?;
    let docroot = document_root(&pages).map_err(|error| format!("cannot write the pages: {error}"))?;
    let built = Built::make(&out)?;
    if arguments.scale {
        let tables = scale::measure(&built, docroot.path(), arguments.seconds)?;
        let text = format!("{}\n\n{tables}", Machine::look_at(&installation, None));
        println!("{text}");
        return write(&out.join("scale.md"), &text);
    }
    if arguments.state {
        let tables = state::measure(&built, docroot.path(), arguments.rounds, arguments.seconds)?;
        let text = format!("{}\n\n{tables}", Machine::look_at(&installation, None));
        println!("{text}");
        return write(&out.join("state.md"), &text);
    }
    if arguments.waiting {
        let table = waiting::measure(&built, docroot.path(), arguments.seconds)?;
        let text = format!("{}\n\n{table}", Machine::look_at(&installation, None));
        println!("{text}");
        return write(&out.join("waiting.md"), &text);
    }
    let (servers, mut notes) = start(docroot.path(), &pages, &built)?;
    let php = servers.iter().find(|server| server.kind == Kind::ModPhp);
    let php = php.map(|server| server.php_version(docroot.path())).transpose().unwrap_or_else(|problem| {
        notes.push(format!("mod_php: {problem}"));
        None
    });
    let series = measure(&servers, &pages, arguments)?;
    let machine = Machine::look_at(&installation, php);
    let report = Report { machine, pages, seconds: arguments.seconds, series, notes };
    let table = report.markdown();
    println!("{table}");
    for (name, text) in [("report.md", table), ("report.svg", plot::draw(&report))] {
        write(&out.join(name), &text)?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn chosen(name: Option<&str>) -> Result<Vec<Page>, String> {
    let mut pages = page::all();
    let names: Vec<&str> = pages.iter().map(|page| page.name).collect();
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(pages) };
    if !names.contains(&name) {
        return Err(format!("there is no page {name}; the pages are {}", names.join(", ")));
    }
    pages.retain(|page| page.name == name);
    Ok(pages)
}

/// A folder with all sources, readable for the account that httpd's children run as.
fn document_root(pages: &[Page]) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("bench-").permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
    page::write(pages, folder.path())?;
    Ok(folder)
}

/// Starts every server that this machine has, and says which it has not. Those that wait for their turn cost nothing.
fn start(docroot: &Path, pages: &[Page], built: &Built) -> Result<(Vec<Server>, Vec<String>), String> {
    let (mut servers, mut notes) = (Vec::new(), Vec::new());
    for (kind, mpm) in SERVERS.iter().copied() {
        match Server::start(kind, mpm, docroot, pages, built) {
            Ok(server) => servers.push(server),
            Err(problem) if matches!(kind, Kind::ModLua | Kind::ModPhp | Kind::NgxLua) => {
                notes.push(format!("{} is left out: {problem}", kind.name()));
            }
            Err(problem) => return Err(format!("{} ({}): {problem}", kind.name(), mpm_name(mpm))),
        }
    }
    Ok((servers, notes))
}

/// All turns of all rounds. A first round is not counted: it fills caches and lets LuaJIT compile.
fn measure(servers: &[Server], pages: &[Page], arguments: &Arguments) -> Result<Vec<Series>, String> {
    let turns = |page: usize| servers.iter().filter(move |server| server.takes_part(&pages[page]));
    let mut all: Vec<(&Server, Series)> = (0..pages.len())
        .flat_map(|page| turns(page).map(move |server| (server, page)))
        .map(|(server, page)| (server, Series { page, kind: server.kind, mpm: server.mpm, rounds: Vec::new() }))
        .collect();
    for round in 0..=arguments.rounds {
        eprintln!("{}", if round == 0 { "warming up".to_owned() } else { format!("round {round}") });
        for (server, series) in &mut all {
            let page = &pages[series.page];
            server.check(page)?;
            let seconds = if round == 0 { 1 } else { arguments.seconds };
            let figure = wrk::requests_per_second(&server.url(page), seconds, page.form.as_deref())?;
            if round > 0 {
                series.rounds.push(figure);
            }
        }
    }
    Ok(all.into_iter().map(|(_, series)| series).collect())
}
