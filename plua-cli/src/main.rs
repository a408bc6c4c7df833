//! The `plua` command.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user there")]

mod serve;

use std::error::Error;
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
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::serve(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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
