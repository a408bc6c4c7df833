//! Why something was not done.

use std::fmt;
use std::io;

use redis::{ErrorKind, RedisError, ServerError};
use shared_store::Refusal;

/// What stands in the way of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The value or the key, as a store in memory says it.
    Refused(Refusal),
    /// The server: which one it is, and what is with it.
    Server(String),
}

impl Problem {
    /// The server of that name, and what is with it.
    pub(crate) fn of_server(shown: &str, what: impl fmt::Display) -> Problem {
        Problem::Server(format!("{shown}: {what}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Refused(refusal) => refusal.fmt(formatter),
            Problem::Server(sentence) => formatter.write_str(sentence),
        }
    }
}

impl std::error::Error for Problem {}

/// An error of the system's in its own words, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// What a server says of a command.
pub(crate) fn said(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("the server says: {} {details}", error.code()),
        None => format!("the server says: {}", error.code()),
    }
}

/// Why there is no connection. A server that does not know a command may say its arguments again, so nothing is told that has the
/// password in it.
pub(crate) fn not_greeted(error: &RedisError, password: Option<&str>) -> String {
    let told = match error.kind() {
        ErrorKind::AuthenticationFailed => "it does not take the user and the password".into(),
        ErrorKind::Io => "it has closed the connection, or does not answer as a Redis does".into(),
        _ => format!("the server says: {error}"),
    };
    match password {
        Some(password) if told.contains(password) => "it does not take the password".into(),
        _ => told,
    }
}
