//! `plua run`: one page's answer to one request, without httpd.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Cursor, Read, stdin};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use plua::engine::{Engine, PageFile};
use plua::exchange::Answer;

use crate::directives::{Directives, parse};
use crate::exchange::{Asked, TerminalExchange, applied, head_bytes};
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
/// as a=1&b=2, unless a header such as --header "Content-Type: application/json" says what it is. Fields given with --post are
/// such a form, and --body names a file in its place.
///
/// A page whose first line is #!/usr/bin/env -S plua run is a program.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The page.
    file: PathBuf,
    /// The request's query, what would follow ? in the address: a=1&b=2.
    #[arg(long)]
    query: Option<String>,
    /// A field of the query as it is meant, not encoded; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = field)]
    get: Vec<(String, String)>,
    /// A field of a form as it is meant, not encoded; may be repeated. The method is POST unless it is given.
    #[arg(long, value_name = "NAME=VALUE", value_parser = field, conflicts_with = "body")]
    post: Vec<(String, String)>,
    /// A cookie; may be repeated.
    #[arg(long = "cookie", value_name = "NAME=VALUE", value_parser = field)]
    cookies: Vec<(String, String)>,
    /// The request's method: GET unless there is a body.
    #[arg(long, value_parser = method)]
    method: Option<String>,
    /// A file that is the request's body; - is the standard input. The method is POST unless it is given.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A header of the request; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Write the response's status and headers before its body.
    #[arg(short = 'i', long)]
    head: bool,
    #[command(flatten)]
    directives: Directives,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or("write NAME: VALUE")?;
    Ok((name.to_string(), value.trim().to_string()))
}

fn field(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

/// What a form keeps as it is, as browsers do (the URL standard's application/x-www-form-urlencoded).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Fields as a query or a form.
fn encoded(fields: &[(String, String)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

/// Whether a request of this method comes with a body.
fn has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// The body of a request of this method.
fn body(arguments: &Arguments, method: &str) -> Result<Box<dyn Read + Send>, String> {
    match &arguments.body {
        _ if !arguments.post.is_empty() => Ok(Box::new(Cursor::new(encoded(&arguments.post)))),
        Some(file) if file == Path::new("-") => Ok(Box::new(stdin())),
        Some(file) => match File::open(file) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(format!("cannot read {}: {error}", file.display())),
        },
        None if has_body(method) => Ok(Box::new(stdin())),
        // Other methods must not make a page wait for a terminal.
        None => Ok(Box::new(std::io::empty())),
    }
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
    let has_given_body = !arguments.post.is_empty() || arguments.body.is_some();
    let method = arguments.method.clone().unwrap_or_else(|| if has_given_body { "POST" } else { "GET" }.to_owned());
    let body = body(&arguments, &method)?;
    let mut headers = arguments.headers;
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
    if (has_given_body || has_body(&method)) && !has_type {
        headers.push(("Content-Type".to_string(), FORM.to_string()));
    }
    if !arguments.cookies.is_empty() {
        let cookies: Vec<_> = arguments.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        headers.push(("Cookie".to_string(), cookies.join("; ")));
    }
    let get = (!arguments.get.is_empty()).then(|| encoded(&arguments.get));
    let query: Vec<_> = [arguments.query, get].into_iter().flatten().collect();
    let query = (!query.is_empty()).then(|| query.join("&"));
    let asked = Asked { page: page.clone(), query, method, headers, body, show_head: arguments.head };
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
