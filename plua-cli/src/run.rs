//! `plua run`: one page's answer to one request, without httpd.

use std::error::Error;
use std::fs;
use std::path::{self, PathBuf};
use std::process::ExitCode;

use plua::engine::{Engine, PageFile};
use plua::exchange::Answer;

use crate::directives::{Directives, parse};
use crate::exchange::{Asked, TerminalExchange, applied, has_body, head_bytes};
use crate::put;

/// What a body is, unless a header says so.
const FORM: &str = "application/x-www-form-urlencoded";

/// Run a page and write its response's body to the standard output.
///
/// What fails is reported on the standard error output; -d pLuaError=1 also writes what a visitor would see. The exit
/// status is 1 if anything failed or the response's status is 500 or above.
///
/// A status that is not of success is told on the standard error output, with where a redirection leads to.
///
/// With the method POST, PUT or PATCH the standard input is the request's body, read when the page asks for it: a form, such
/// as a=1&b=2, unless a header such as --header "Content-Type: application/json" says what it is.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The page.
    file: PathBuf,
    /// The request's query, what would follow ? in the address: a=1&b=2.
    #[arg(long)]
    query: Option<String>,
    /// The request's method.
    #[arg(long, default_value = "GET", value_parser = method)]
    method: String,
    /// A header of the request; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Write the response's status and headers before its body.
    #[arg(long)]
    head: bool,
    #[command(flatten)]
    directives: Directives,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or("write NAME: VALUE")?;
    Ok((name.to_string(), value.trim().to_string()))
}

/// A method, whose letters need not be large. Others than those of HTTP mean what they say.
fn method(text: &str) -> Result<String, &'static str> {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if text.is_empty() {
        return Err("write GET, POST or another method");
    }
    let known = METHODS.iter().find(|method| method.eq_ignore_ascii_case(text));
    Ok(known.map_or(text, |method| method).to_string())
}

/// Runs the page once.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let page = path::absolute(&arguments.file)?;
    let refusal = |why: &str| format!("cannot run {}: {why}", arguments.file.display());
    match fs::metadata(&page) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(refusal("it is not a plain file").into()),
        Err(error) => return Err(refusal(&error.to_string()).into()),
    }
    // The report is on the terminal already.
    let settings = arguments.directives.over(&parse("pLuaError=0")?);
    let mut headers = arguments.headers;
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
    if has_body(&arguments.method) && !has_type {
        headers.push(("Content-Type".to_string(), FORM.to_string()));
    }
    let asked = Asked {
        page: page.clone(),
        query: arguments.query,
        method: arguments.method,
        headers,
        show_head: arguments.head,
    };
    let (exchange, ended) = TerminalExchange::new(asked);
    let host = Engine::new().host("localhost", &settings)?;
    let answer = host.serve(PageFile { path: &page, stamp: None, settings: &settings }, Box::new(exchange));
    let mut ended = ended.lock();
    if let Answer::Status(status, headers) = answer {
        ended.status = status;
        ended.note_location(&headers);
        if arguments.head {
            put(&head_bytes(status, applied(Vec::new(), &headers)))?;
        }
    }
    if !arguments.head && !ended.failed && ended.status >= 300 {
        let location = ended.location.take().map(|location| format!(", and leads to {location}")).unwrap_or_default();
        eprintln!("plua: the page answers with status {}{location}", ended.status);
    }
    match ended.problem.take() {
        Some(problem) => Err(problem.into()),
        None if ended.failed || ended.status >= 500 => Ok(ExitCode::FAILURE),
        None => Ok(ExitCode::SUCCESS),
    }
}
