//! `plua serve`: a folder of pages in an httpd of one's own, until Ctrl-C.

mod logs;
mod reload;

use std::env::{self, consts};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use private_httpd::{Account, Configuration, Installation, is_root, reading_capability};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::directives::line;
use crate::put;

/// How often the logs and the signals are looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// What makes a folder of pages work, as it is installed; reports are shown, for only the author is looking. httpd adds names to
/// those it shows for a folder: the ones that it has are taken away, so that index.plua comes first.
const PAGES: &str = concat!("DirectoryIndex disabled\n", include_str!("../../plua.conf"), "pLuaError 1\n");

/// Show the pages of a folder in a browser, on this machine only.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of pages.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The port of 127.0.0.1 to answer on; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// A directive as in httpd's configuration, such as 'pLuaGlobals request' or pLuaTimeout=5; may be repeated.
    #[arg(short = 'd', long = "directive", value_name = "DIRECTIVE", value_parser = line)]
    directives: Vec<String>,
    /// A file of httpd's configuration to include before those. It may use ${DOCROOT}, ${PORT} and, for LoadModule,
    /// ${MODULES}.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Have open browser tabs load their page again when a page, a module, a style sheet or a script changes. Pages that end in
    /// </body> do.
    #[arg(long)]
    reload: bool,
    /// Open the folder's first page in the browser.
    #[arg(long)]
    open: bool,
    /// The httpd module, instead of the one beside this program or the installed one.
    #[arg(long)]
    module: Option<PathBuf>,
}

/// Serves until SIGINT, SIGTERM or SIGHUP comes, with its requests on the standard output and httpd's error log on the standard error
/// output.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let dir = folder(&arguments.dir)?;
    let installation = Installation::find()?;
    let module = module(arguments.module.as_deref(), &installation)?;
    let mut configuration = Configuration::new(installation)
        .module_file("plua", &module)
        .docroot(&dir)
        .log_level("warn")
        .body(PAGES)
        .body(logs::CONFIGURATION);
    if arguments.reload {
        configuration = reload::MODULES.iter().fold(configuration, |configuration, name| configuration.module(*name));
        configuration = configuration.body(reload::CONFIGURATION).environment("PLUA_REPORT_SCRIPT", reload::ADDRESS);
    }
    if arguments.port != 0 {
        configuration = configuration.port(arguments.port);
    }
    let config = arguments.config.as_deref().map(config).transpose()?;
    if let Some(config) = &config {
        configuration = configuration.include(config)?;
    }
    let mut configuration = arguments.directives.iter().fold(configuration, Configuration::body);
    let target = target();
    if let Some(target) = &target {
        configuration = configuration.folder_in(target, "serve-");
    }
    if is_root() {
        let own = [module.parent(), target.as_deref(), config.as_deref().and_then(Path::parent)].into_iter().flatten();
        configuration = for_root(configuration, &dir, own)?;
    }

    // Taken before the start, so that an early Ctrl-C leaves nothing behind either.
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ending))?;
    }
    let mut server = configuration.start()?;
    let address = format!("http://127.0.0.1:{}/", server.port());
    let _reload = arguments.reload.then(|| reload::Reload::start(&dir, server.root())).transpose()?;
    put(format!("{} is at {address} (Ctrl-C ends it)\n", dir.display()).as_bytes())?;
    if arguments.open {
        open(&address);
    }
    let mut logs = logs::Logs::open(&server)?;
    while !ending.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
        logs.show()?;
        if !server.is_running() {
            return Err("httpd ended by itself".into());
        }
    }
    server.stop()?;
    logs.show()?;
    Ok(())
}

/// Shows an address in the browser that the desktop has chosen. Where there is none, the address is on the terminal.
fn open(address: &str) {
    let started =
        Command::new("xdg-open").arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = started {
        eprintln!("plua: cannot open a browser with xdg-open: {error}");
    }
}

fn folder(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    match fs::canonicalize(dir) {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(format!("{} is not a folder", dir.display()).into()),
        Err(problem) => Err(format!("cannot serve {}: {problem}", dir.display()).into()),
    }
}

fn config(file: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let problem = match fs::canonicalize(file) {
        Ok(found) if found.is_file() => return Ok(found),
        Ok(_) => "it is not a plain file".to_owned(),
        Err(problem) => problem.to_string(),
    };
    Err(format!("cannot read the configuration {}: {problem}", file.display()).into())
}

/// The module that was asked for; else the one beside this program, as cargo builds it, or the installed one.
pub(crate) fn module(asked: Option<&Path>, installation: &Installation) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(file) = asked {
        return fs::canonicalize(file).map_err(|problem| format!("no module {}: {problem}", file.display()).into());
    }
    let name = format!("{}mod_plua{}", consts::DLL_PREFIX, consts::DLL_SUFFIX);
    [env::current_exe()?.with_file_name(name), installation.modules().join("mod_plua.so")]
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| "the httpd module is not built: run make build, or name it with --module".into())
}

/// The build folder this program sits in, where a checkout keeps what may be thrown away.
fn target() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let target = program.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target"))?;
    access(target, AccessFlags::W_OK).is_ok().then(|| target.to_owned())
}

/// Root's httpd must not run pages as root, and yet they must be readable, in a checkout under `/root` too.
///
/// Pages run as the folder's owner, so that they may write beside themselves; for a folder of root's, as httpd's usual
/// account. Where that account cannot get at the folder, httpd is given the one capability of root's that reads it:
/// copies would not show edits, and opening `/root` to everyone is not ours to do.
///
/// `own` are folders of ours that httpd's parent process reads; it is root unless the owner has no name.
fn for_root<'a>(
    configuration: Configuration,
    dir: &'a Path,
    own: impl Iterator<Item = &'a Path>,
) -> Result<Configuration, Box<dyn Error>> {
    let owner = Account::owner_of(dir).filter(|owner| owner.user != 0);
    let account = owner.unwrap_or_else(Account::unprivileged);
    let configuration = configuration.account(account);
    let mut needed = std::iter::once(dir).chain(own.filter(|_| !account.has_name()));
    let Some(closed) = needed.find(|folder| !account.can_read(folder)) else {
        return Ok(configuration);
    };
    match reading_capability() {
        Some(capability) => Ok(configuration.capability(capability)),
        None => Err(format!(
            "{} cannot be read by {}, the account that pages run as: move it out of its closed parent folder, or open \
             that with chmod o+x",
            closed.display(),
            account.name()
        )
        .into()),
    }
}
