//! `plua shell`: a prompt with the page functions, or entries from a pipe.

mod history;
mod prompt;

use std::env;
use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Write, stderr, stdin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use console::Style;
use parking_lot::Mutex;
use plua::engine::Engine;
use plua::error::report::{Report, printable};
use plua::exchange::Answer;
use plua::exchange::terminal::{Prompted, Terminal};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use self::prompt::{Line, Prompt};
use crate::directives::{Directives, parse};
use crate::exchange::{Asked, Ended, TerminalExchange};
use crate::put;

/// Try Lua and the page functions at a prompt.
///
/// Each entry is run at once, and the values of an expression are shown. An entry that is not finished goes on at a second prompt.
/// Globals stay; a local ends with its entry. All entries together are one request, in the folder that the shell was started in.
///
/// Ctrl-C ends what runs, for which pLuaTimeout does not hold, or the line that is typed; Ctrl-D or exit() ends the shell. Entries
/// are kept in $XDG_STATE_HOME/plua/history, or ~/.local/state/plua/history, but for those that begin with a space.
///
/// Entries that come from a pipe are run until one fails; then the exit status is 1.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directives: Directives,
}

/// Runs entries until their end.
pub(crate) fn shell(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // Ctrl-C ends what takes too long, and reports are on the terminal already.
    let of_the_shell = parse("pLuaTimeout=0")?.followed(&parse("pLuaError=0")?);
    let settings = Arc::new(arguments.directives.settings().followed(&of_the_shell));
    // No file: its folder is where files are looked for.
    let page = env::current_dir()?.join("shell");
    let asked = Asked {
        page: page.clone(),
        query: None,
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: Box::new(io::empty()),
        show_head: false,
    };
    let (exchange, ended) = TerminalExchange::new(asked);
    let input = if stdin().is_terminal() { Input::Typed(Box::new(Prompt::new()?)) } else { Input::Piped };
    let is_typed = matches!(input, Input::Typed(_));
    if is_typed {
        let lua = plua::LUA;
        put(format!(
            "plua {} with {lua}. A local ends with its entry, a global stays. Ctrl-C ends what runs, Ctrl-D the shell.\n",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes())?;
    }
    let entries = Arc::new(Entries { input: Mutex::new(input), is_typed, ended: ended.clone(), failed: false.into() });
    let host = Engine::new().host("localhost", &settings)?;
    let terminal: Arc<dyn Terminal> = entries.clone();
    let answer = host.converse(&page, &settings, Box::new(exchange), &terminal);
    if is_typed {
        entries.end_line();
    }
    let mut ended = ended.lock();
    if let Some(problem) = ended.problem.take() {
        return Err(problem.into());
    }
    // A person has seen what failed.
    let has_failed = ended.failed || entries.failed.load(Ordering::Relaxed);
    Ok(if answer == Answer::Sent && (is_typed || !has_failed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What entries come from.
enum Input {
    Typed(Box<Prompt>),
    Piped,
}

/// The entries of one shell, and what becomes of them.
struct Entries {
    input: Mutex<Input>,
    is_typed: bool,
    ended: Arc<Mutex<Ended>>,
    /// Whether an entry has failed.
    failed: AtomicBool,
}

impl Entries {
    /// The next entry of a pipe: as many lines as it takes, or what is left at its end.
    fn piped(prompted: &dyn Prompted) -> io::Result<Option<Vec<u8>>> {
        let mut entry = Vec::new();
        while stdin().lock().read_until(b'\n', &mut entry)? > 0 {
            let whole = entry.strip_suffix(b"\n").unwrap_or(&entry);
            if !prompted.is_unfinished(whole) {
                entry.truncate(whole.len());
                return Ok(Some(entry));
            }
        }
        Ok(Some(entry).filter(|entry| !entry.is_empty()))
    }

    /// The same from a person.
    fn typed(prompt: &mut Prompt, prompted: &Arc<dyn Prompted>) -> io::Result<Option<Vec<u8>>> {
        'entries: loop {
            let mut entry = String::new();
            loop {
                match prompt.line(!entry.is_empty(), prompted)? {
                    Line::End => return Ok(None),
                    Line::Interrupted => continue 'entries,
                    Line::Typed(line) => entry += &line,
                }
                if !prompted.is_unfinished(entry.as_bytes()) {
                    prompt.remember(&entry);
                    return Ok(Some(entry.into_bytes()));
                }
                entry.push('\n');
            }
        }
    }

    /// Ends a line that was put out without its end, so that what follows begins on one of its own.
    fn end_line(&self) {
        let problem = if self.ended.lock().take_open_line() { put(b"\n").err() } else { None };
        self.note(problem);
    }

    /// Keeps in mind why the standard output takes no more.
    fn note(&self, problem: Option<io::Error>) {
        if let Some(problem) = problem {
            self.ended.lock().problem.get_or_insert(problem);
        }
    }
}

impl Terminal for Entries {
    fn begin(&self, interrupt: Box<dyn Fn() + Send + Sync>) {
        // In a pipe Ctrl-C ends the program.
        if !self.is_typed {
            return;
        }
        let listening = Signals::new([SIGINT]).and_then(|mut signals| {
            thread::Builder::new()
                .name("plua interrupts".into())
                .spawn(move || signals.forever().for_each(|_| interrupt()))
        });
        if let Err(error) = listening {
            eprintln!("plua: Ctrl-C cannot end what runs: {error}");
        }
    }

    fn read(&self, prompted: &Arc<dyn Prompted>) -> Option<Vec<u8>> {
        if self.is_typed {
            self.end_line();
        } else if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let entry = match &mut *self.input.lock() {
            Input::Typed(prompt) => Entries::typed(prompt, prompted),
            Input::Piped => Entries::piped(&**prompted),
        };
        entry.unwrap_or_else(|error| {
            eprintln!("plua: cannot read what to run: {error}");
            self.failed.store(true, Ordering::Relaxed);
            None
        })
    }

    fn show(&self, values: &[u8]) {
        self.end_line();
        let values = String::from_utf8_lossy(values);
        self.note(put(format!("{}\n", printable(&values)).as_bytes()).err());
    }

    fn interrupted(&self) {
        // The terminal has shown ^C.
        self.ended.lock().take_open_line();
        eprintln!("\ninterrupted");
    }

    fn report(&self, report: Report<'_>) {
        self.failed.store(true, Ordering::Relaxed);
        self.end_line();
        let text = report.text();
        let (title, rest) = text.split_once(':').unwrap_or(("", &text));
        let title = Style::new().for_stderr().red().apply_to(title);
        // Whoever closed the standard error output does not want to know.
        let _ = stderr().write_all(format!("{title}:{}", printable(rest)).as_bytes());
    }
}
