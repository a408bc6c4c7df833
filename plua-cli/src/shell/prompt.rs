//! The prompt: lines that a person types, with what was typed before and what names may become.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use plua::exchange::terminal::Prompted;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::history;

/// The prompt of an entry, and that of its further lines.
const PROMPTS: [&str; 2] = ["> ", ">> "];

/// What came at the prompt.
pub(super) enum Line {
    Typed(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

/// A terminal that lines are typed at.
pub(super) struct Prompt {
    editor: Editor<Names, FileHistory>,
    /// None where there is no place for it.
    history: Option<PathBuf>,
}

impl Prompt {
    /// The terminal of the standard input, with what was typed at former ones.
    pub(super) fn new() -> io::Result<Prompt> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(10_000)
            .map_err(problem)?
            .build();
        let mut editor = Editor::with_config(config).map_err(problem)?;
        let history = history::file();
        if let Some(file) = &history {
            // At first there is none, and what cannot be read cannot be had again.
            let _ = editor.load_history(file);
        }
        Ok(Prompt { editor, history })
    }

    /// One line, without its end, of an entry that has begun or begins.
    pub(super) fn line(&mut self, has_begun: bool, prompted: &Arc<dyn Prompted>) -> io::Result<Line> {
        self.editor.set_helper(Some(Names(prompted.clone())));
        match self.editor.readline(PROMPTS[usize::from(has_begun)]) {
            Ok(line) => Ok(Line::Typed(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(problem(error)),
        }
    }

    /// Keeps an entry for this shell and later ones.
    pub(super) fn remember(&mut self, entry: &str) {
        if let (Ok(true), Some(file)) = (self.editor.add_history_entry(entry), &self.history)
            && self.editor.append_history(file).is_err()
        {
            self.history = None;
        }
    }
}

fn problem(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// Completes names as the page has them.
struct Names(Arc<dyn Prompted>);

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.0.completions(&line.as_bytes()[..at]))
    }
}

impl Helper for Names {}
impl Highlighter for Names {}
impl Validator for Names {}

impl Hinter for Names {
    type Hint = String;
}
