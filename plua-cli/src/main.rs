//! The `plua` command.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user there")]

mod check;
mod definitions;
mod directives;
mod doctor;
mod exchange;
mod manual_pages;
mod new;
mod run;
mod serve;
mod shell;
mod translate;

use std::error::Error;
use std::io::{self, Write, stdout};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Works with .plua pages: HTML with Lua in it.
#[derive(Parser)]
#[command(name = "plua", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Arguments),
    Translate(translate::Arguments),
    New(new::Arguments),
    Run(run::Arguments),
    Shell(shell::Arguments),
    Serve(serve::Arguments),
    Doctor(doctor::Arguments),
    Definitions(definitions::Arguments),
    /// Print a script by which a shell completes what is typed after plua.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    ManualPages(manual_pages::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check::check(&arguments),
        Command::Translate(arguments) => translate::translate(&arguments),
        Command::New(arguments) => new::new(&arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Shell(arguments) => shell::shell(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Definitions(arguments) => definitions::definitions(&arguments),
        Command::Completions { shell } => completions(shell),
        Command::ManualPages(arguments) => manual_pages::manual_pages(&arguments, Arguments::command()),
    };
    match outcome {
        Ok(status) => status,
        Err(problem) => {
            eprintln!("plua: {}", sentence(&*problem));
            ExitCode::FAILURE
        }
    }
}

/// Writes the script to the standard output.
fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Box<dyn Error>> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "plua", &mut script);
    put(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// An error and its causes on one line.
fn sentence(problem: &dyn Error) -> String {
    let causes = std::iter::successors(problem.source(), |cause| (**cause).source());
    causes.fold(problem.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Writes to the standard output. A reader that has left, such as `head`, has seen what it wanted.
fn put(bytes: &[u8]) -> io::Result<()> {
    match stdout().write_all(bytes).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
