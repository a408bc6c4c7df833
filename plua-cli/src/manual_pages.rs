//! `plua manual-pages`: what `man plua` and `man plua-serve` show.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_mangen::Man;

/// Write manual pages of plua and of each of its commands into a folder, such as share/man/man1.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder, which is made if it is not there.
    dir: PathBuf,
}

/// Writes one page for the command and one for each of its commands.
pub(crate) fn manual_pages(arguments: &Arguments, plua: clap::Command) -> Result<ExitCode, Box<dyn Error>> {
    let dir = &arguments.dir;
    let problem = |error: std::io::Error| format!("cannot write manual pages to {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(problem)?;
    // What help shows of itself is no page.
    let mut plua = plua.disable_help_subcommand(true);
    plua.build();
    let pages = plua.get_subcommands().map(|command| (format!("plua-{}", command.get_name()), command.clone()));
    for (name, command) in pages.chain([("plua".to_owned(), plua.clone())]) {
        let mut page = Vec::new();
        let version = format!("mod_plua {}", env!("CARGO_PKG_VERSION"));
        Man::new(command.version(env!("CARGO_PKG_VERSION")))
            .title(name.clone())
            .source(version)
            .manual("mod_plua")
            .render(&mut page)?;
        fs::write(dir.join(format!("{name}.1")), page).map_err(problem)?;
    }
    Ok(ExitCode::SUCCESS)
}
