//! The `plua` command.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user there")]

mod check;
mod directives;
mod exchange;
mod run;
mod serve;
mod translate;

use std::error::Error;
use std::io::{self, Write, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Run(run::Arguments),
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check::check(&arguments),
        Command::Translate(arguments) => translate::translate(&arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Serve(arguments) => serve::serve(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(status) => status,
        Err(problem) => {
            eprintln!("plua: {}", sentence(&*problem));
            ExitCode::FAILURE
        }
    }
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
