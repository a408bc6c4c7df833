//! What went wrong in a page: its kind, message, place and the calls that led there.
//!
//! The ground floor: what is told, and how it is laid out for its readers. Knows no Lua state and no server.

pub mod entry;
pub mod incident;
pub mod injection;
pub mod report;
pub mod secrets;

use std::fmt;
use std::path::Path;

use crate::error::entry::Entry;
use crate::error::incident::Incident;

/// The kinds of failure, each with its own entry in the log and HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The page, or a file it needs, cannot be read.
    Read,
    /// The page is not valid Lua.
    Compile,
    /// The page's code raised an error.
    Runtime,
    /// The page ran longer than `pLuaTimeout`.
    TimeLimit,
    /// The page needed more memory than `pLuaMemoryLimit`.
    MemoryLimit,
    /// The page put out more than `pLuaOutputLimit`.
    OutputLimit,
    /// A call of a pattern function took more steps than `pLuaPatternLimit`.
    PatternLimit,
    /// Calls, callbacks, coroutines, includes or layouts were nested too deep.
    DepthLimit,
    /// The request is larger than a directive allows.
    TooLarge,
    /// The request's body is broken or not whole.
    BadRequest,
    /// The client stopped sending the request's body.
    SilentClient,
    /// No state of the host came free in time.
    NoState,
    /// Another request of the visitor's holds what the page needs.
    Busy,
    /// The server that sessions are kept on cannot be asked.
    Away,
    /// The server stopped while the page ran.
    ServerStop,
    /// A fault of the engine itself.
    Internal,
}

impl ErrorKind {
    /// The entry in the error log that tells of such a failure.
    #[must_use]
    pub fn entry(self) -> Entry {
        match self {
            ErrorKind::Read => Entry::READ,
            ErrorKind::Compile => Entry::COMPILE,
            ErrorKind::Runtime => Entry::RUN_TIME,
            ErrorKind::TimeLimit => Entry::TIME_LIMIT,
            ErrorKind::MemoryLimit => Entry::MEMORY_LIMIT,
            ErrorKind::OutputLimit => Entry::OUTPUT_LIMIT,
            ErrorKind::PatternLimit => Entry::PATTERN_LIMIT,
            ErrorKind::DepthLimit => Entry::DEPTH_LIMIT,
            ErrorKind::TooLarge => Entry::TOO_LARGE,
            ErrorKind::BadRequest => Entry::BAD_REQUEST,
            ErrorKind::SilentClient => Entry::SILENT_CLIENT,
            ErrorKind::NoState => Entry::NO_STATE,
            ErrorKind::Busy => Entry::BUSY,
            ErrorKind::Away => Entry::NO_SESSIONS,
            ErrorKind::ServerStop => Entry::SERVER_STOP,
            ErrorKind::Internal => Entry::INTERNAL,
        }
    }

    /// All of them, each at the place of its number.
    pub const ALL: [ErrorKind; 16] = [
        ErrorKind::Read,
        ErrorKind::Compile,
        ErrorKind::Runtime,
        ErrorKind::TimeLimit,
        ErrorKind::MemoryLimit,
        ErrorKind::OutputLimit,
        ErrorKind::PatternLimit,
        ErrorKind::DepthLimit,
        ErrorKind::TooLarge,
        ErrorKind::BadRequest,
        ErrorKind::SilentClient,
        ErrorKind::NoState,
        ErrorKind::Busy,
        ErrorKind::Away,
        ErrorKind::ServerStop,
        ErrorKind::Internal,
    ];

    /// One word for it, for programs: `time_limit`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ErrorKind::Read => "read",
            ErrorKind::Compile => "compile",
            ErrorKind::Runtime => "runtime",
            ErrorKind::TimeLimit => "time_limit",
            ErrorKind::MemoryLimit => "memory_limit",
            ErrorKind::OutputLimit => "output_limit",
            ErrorKind::PatternLimit => "pattern_limit",
            ErrorKind::DepthLimit => "depth_limit",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::BadRequest => "bad_request",
            ErrorKind::SilentClient => "silent_client",
            ErrorKind::NoState => "no_state",
            ErrorKind::Busy => "busy",
            ErrorKind::Away => "away",
            ErrorKind::ServerStop => "server_stop",
            ErrorKind::Internal => "internal",
        }
    }

    /// The words a report opens with.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.entry().title()
    }

    /// The status of the response.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::TooLarge => 413,
            ErrorKind::BadRequest => 400,
            ErrorKind::SilentClient => 408,
            ErrorKind::NoState | ErrorKind::Busy | ErrorKind::Away | ErrorKind::ServerStop => 503,
            _ => 500,
        }
    }

    /// Whether the state the page ran in must not run another.
    #[must_use]
    pub fn spoils_state(self) -> bool {
        matches!(
            self,
            ErrorKind::TimeLimit
                | ErrorKind::MemoryLimit
                | ErrorKind::OutputLimit
                | ErrorKind::PatternLimit
                | ErrorKind::DepthLimit
                | ErrorKind::ServerStop
                | ErrorKind::Internal
        )
    }
}

/// What is looked at and kept of the name of a chunk, a function or a file: pages give any names, and each of many calls has one.
/// The system takes no path so long, neither its beginning nor all of it.
#[must_use]
pub fn shortened(name: &[u8]) -> &[u8] {
    // As long as a path.
    const LONGEST: usize = 4096;
    &name[..name.len().min(LONGEST)]
}

/// A line of a file, with the lines around it as they were when the page was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Numbered lines around it; empty when the source is not at hand.
    pub excerpt: Vec<(u32, String)>,
}

/// Longest part of a source line that an excerpt shows, in characters.
const EXCERPT_WIDTH: usize = 200;

impl Place {
    /// A line of a file whose source is `source`; empty when that is not at hand.
    #[must_use]
    pub fn new(file: &Path, line: u32, source: &[u8]) -> Place {
        let first = line.saturating_sub(2).max(1);
        let lines = source.split(|byte| *byte == b'\n').take(if source.is_empty() { 0 } else { usize::MAX });
        let excerpt = lines
            .zip(1u32..)
            .skip(first as usize - 1)
            .take_while(|(_, number)| *number <= line.saturating_add(2))
            .map(|(text, number)| {
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                let text: String = String::from_utf8_lossy(text).chars().take(EXCERPT_WIDTH).collect();
                (number, text)
            })
            .collect();
        Place { file: file.to_string_lossy().into_owned(), line, excerpt }
    }
}

/// One active call when an error was raised, innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `function 'total'`, `main page`, `included file`, ...
    pub what: String,
    /// File and line, unless the function is not Lua.
    pub at: Option<(String, u32)>,
    /// Whether it is the code of a file itself: what called it included that file.
    pub is_file: bool,
}

/// A name and its value, as a report shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// A variable's, a header's, a field's.
    pub name: String,
    /// Short, and without what is secret.
    pub value: String,
}

/// Facts of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What they are facts of.
    pub title: &'static str,
    /// In the order to be shown.
    pub facts: Vec<Fact>,
}

/// Why a page failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Its class.
    pub kind: ErrorKind,
    /// One sentence, without the place.
    pub message: String,
    /// Where it was raised, when that is in Lua code.
    pub place: Option<Box<Place>>,
    /// The calls that led there, innermost first.
    pub frames: Vec<Frame>,
    /// The local variables of the innermost call, where the visitor sees reports.
    pub locals: Vec<Fact>,
    /// Its number, where the failure is the end of a request.
    pub incident: Option<Incident>,
}

impl Error {
    /// An error that has no place in a page.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), place: None, frames: Vec::new(), locals: Vec::new(), incident: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.title(), self.message)?;
        match &self.place {
            Some(place) => write!(formatter, " at {}:{}", place.file, place.line),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

const _: () = {
    let mut number = 0;
    while number < ErrorKind::ALL.len() {
        assert!(ErrorKind::ALL[number] as usize == number, "a kind is not at the place of its number");
        number += 1;
    }
    assert!(number <= scoreboard::KINDS, "the scoreboard counts fewer kinds");
};
