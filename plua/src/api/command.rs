//! Commands of the system that pages run: none goes on for longer than its page may.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use mlua::{BString, LuaString};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Native;
use crate::limits::time_limit::TimeLimitHandle;

/// The processes that the calling thread has started, by number.
const CHILDREN: &str = "/proc/thread-self/children";

/// Where the program is that begins a session, and a process group with it.
const SETSID: [&str; 2] = ["/usr/bin/setsid", "/bin/setsid"];

/// How often a command is looked at that runs for long.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    // execute(command) -> true, its status as the system puts it, "exit" or "signal", number, whether the page's time is
    // up | false where there is no time limit to keep, or no shell
    let limit = native.limit.clone();
    native.add_plain("execute", move |_, command: LuaString| {
        let command = readable(&command.as_bytes()).to_vec();
        let ran = limit.until().and_then(|until| {
            Some((run(&command, until, &limit).ok()?, until <= Instant::now() || limit.server_stops()))
        });
        let Some((status, is_over)) = ran else { return Ok((false, 0, "", 0, false)) };
        Ok(match status.code() {
            Some(code) => (true, status.into_raw(), "exit", code, is_over),
            None => (true, status.into_raw(), "signal", status.signal().unwrap_or_default(), is_over),
        })
    })?;

    // children() -> the processes of this thread, for `end_with_page`; nil where there is no time limit to keep
    let (slot, limit) = (native.slot.clone(), native.limit.clone());
    native.add_plain("children", move |_, ()| {
        if let Some(visit) = slot.try_lock().as_mut().and_then(|visit| visit.as_deref_mut()) {
            visit.runs_commands = true;
        }
        Ok(limit.until().and_then(|_| fs::read(CHILDREN).ok()).map(BString::from))
    })?;

    // in_own_group(command) -> the command that runs it as the leader of a process group of its own; nil where the system
    // has no program for that
    native.add_plain("in_own_group", |_, command: LuaString| {
        let program = SETSID.iter().find(|program| Path::new(program).exists());
        Ok(program.map(|program| BString::from(in_own_group(program, &command.as_bytes()))))
    })?;

    // end_with_page(children before) ends those that came since, when the page's time is up
    let limit = native.limit.clone();
    native.add_plain("end_with_page", move |_, before: LuaString| {
        let before = numbers(&before.as_bytes());
        for number in numbers(&fs::read(CHILDREN).unwrap_or_default()) {
            if !before.contains(&number) {
                limit.cutoff().add_command(number);
            }
        }
        Ok(())
    })
}

/// A command as far as the system would read it.
fn readable(command: &[u8]) -> &[u8] {
    command.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The shell that Lua's `io.popen` starts becomes that program, which becomes the shell that runs the command.
fn in_own_group(program: &str, command: &[u8]) -> Vec<u8> {
    let mut line = format!("exec {program} /bin/sh -c '").into_bytes();
    for byte in readable(command) {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
    line
}

fn numbers(list: &[u8]) -> Vec<i32> {
    String::from_utf8_lossy(list).split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Runs a command in the shell, with all it starts itself, until that time at most, or until the server stops.
fn run(command: &[u8], until: Instant, limit: &TimeLimitHandle) -> io::Result<ExitStatus> {
    let mut child = Command::new("/bin/sh").arg("-c").arg(OsStr::from_bytes(command)).process_group(0).spawn()?;
    let ended = wait(&mut child, until, limit);
    if !matches!(ended, Ok(Some(_))) {
        // Not waited for yet, so that the number is still its own.
        let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    }
    child.wait()
}

fn wait(child: &mut Child, until: Instant, limit: &TimeLimitHandle) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        let ended = child.try_wait()?;
        let left = until.saturating_duration_since(Instant::now());
        if ended.is_some() || left.is_zero() || limit.server_stops() {
            return Ok(ended);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
