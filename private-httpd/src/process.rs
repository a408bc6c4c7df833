//! Processes looked at by id: whose children they are, and how they are ended.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a condition is looked at while it is awaited.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether this system tells which processes are whose children.
pub(crate) fn knows_children() -> bool {
    Path::new("/proc/self/stat").is_file()
}

/// The processes whose parent is `parent`, zombies left out. Empty where there is no `/proc`.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    living(|process| process.parent == parent)
}

/// What `/proc` says of a living process.
struct Process {
    parent: u32,
    group: u32,
}

fn living(wanted: impl Fn(&Process) -> bool) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = pids.filter(|pid| look_at(*pid).is_some_and(|process| wanted(&process))).collect();
    found.sort_unstable();
    found
}

fn look_at(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold any character, a parenthesis too.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    let process = Process { parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? };
    (state != "Z").then_some(process)
}

/// Sends a signal; a process that is gone is no error, for that is what a signal to end it wants.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Whether `condition` came true within `bound`.
pub(crate) fn within(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + bound;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Lets a server, which leads a process group, finish its requests and end; cuts them off after `patience`, and ends it by
/// force after `bound` more. Whoever of its group outlives it is ended. Returns whether it ended without force.
pub(crate) fn end(server: &mut Child, patience: Duration, bound: Duration) -> bool {
    let group = server.id();
    let willing = ask_to_end(server, patience, bound);
    if !willing {
        let _ = server.kill();
        let _ = server.wait();
    }
    within(bound, || {
        let left = living(|process| process.group == group);
        left.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
        left.is_empty()
    });
    willing
}

fn ask_to_end(server: &mut Child, patience: Duration, bound: Duration) -> bool {
    let pid = server.id();
    let mut ended = || !matches!(server.try_wait(), Ok(None));
    if ended() {
        return true;
    }
    // Cut off at once, the children of the event MPM may crash over connections that they are just closing. Once they are
    // gone the parent is hurried: it looks for them only every second.
    signal(pid, Signal::SIGWINCH);
    within(patience, || ended() || children_of(pid).is_empty());
    signal(pid, Signal::SIGTERM);
    within(bound, ended)
}
