//! What a page's deadline cuts off beside its Lua: the commands it has started, and the socket it waits for.

use std::fs;
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid,
};

/// What is to be cut off of one page.
#[derive(Default)]
pub struct Cutoff {
    commands: Mutex<Vec<Command>>,
    socket: Mutex<Socket>,
}

/// A command's process: its descriptor of the system's, and its number, which is that of its group if it leads one.
struct Command {
    process: OwnedFd,
    number: Pid,
}

impl Command {
    /// Whether nobody has waited for it. Its number is its own until then, also when it has ended and only what it has left
    /// behind in its group still holds the page.
    fn is_unclaimed(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(self.process.as_fd()), options).is_ok()
    }
}

/// Processes that are to be killed before their numbers can be others'.
#[must_use]
pub struct Doomed(Vec<Command>);

impl Doomed {
    /// Kills them, with all that they have started in their groups.
    pub fn kill(self) {
        for Command { process, number } in self.0 {
            // One that has ended already needs no more; where it leads no group there is none of that number.
            let _ = pidfd_send_signal(&process, Signal::KILL);
            let _ = kill_process_group(number, Signal::KILL);
        }
    }
}

/// A socket that a page waits for in a library which does not look at the deadline.
#[derive(Default)]
struct Socket {
    /// It, as a handle of our own.
    open: Option<TcpStream>,
    was_cut: bool,
}

impl Cutoff {
    /// Adds a process: a child of this one that nobody has waited for yet. Where the system is too old for that (Linux
    /// before 5.3), nothing is done.
    pub fn add_command(&self, process: i32) {
        let Some(number) = Pid::from_raw(process) else { return };
        let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else { return };
        let mut commands = self.commands.lock();
        commands.retain(|command| is_running(&command.process));
        commands.push(Command { process, number });
    }

    /// Kills the processes, with all that they have started in their groups.
    pub fn kill_commands(&self) {
        self.take_commands().kill();
    }

    /// Takes the processes, to be killed at once.
    pub fn take_commands(&self) -> Doomed {
        let mut commands = mem::take(&mut *self.commands.lock());
        commands.retain(Command::is_unclaimed);
        Doomed(commands)
    }

    /// Lets the processes go on.
    pub fn forget_commands(&self) {
        self.commands.lock().clear();
    }

    /// From here on, until the result is dropped, the page waits for this socket: when it is shut down, the library that
    /// waits ends with an error.
    pub fn waiting_for(&self, socket: OwnedFd) -> Cutting<'_> {
        *self.socket.lock() = Socket { open: Some(TcpStream::from(socket)), was_cut: false };
        Cutting(self)
    }

    /// Shuts down the socket, if the page waits for one.
    pub fn shut_socket(&self) {
        let mut socket = self.socket.lock();
        if let Some(open) = &socket.open {
            // Of a socket of any family. One that is closed already needs no more.
            let _ = open.shutdown(Shutdown::Both);
            socket.was_cut = true;
        }
    }
}

/// Has a socket shut down at the page's deadline, for as long as it lives.
#[must_use]
pub struct Cutting<'c>(&'c Cutoff);

impl Cutting<'_> {
    /// Whether that has happened; it happens no more.
    #[must_use]
    pub fn end(self) -> bool {
        mem::take(&mut *self.0.socket.lock()).was_cut
    }
}

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        *self.0.socket.lock() = Socket::default();
    }
}

/// Kills what a thread of this process has started, by its number in the system: commands too that no page has told of.
pub fn kill_children(thread: i32) {
    let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|number| Pid::from_raw(number.parse().ok()?)) {
        // One that has ended already needs no more.
        let _ = kill_process(child, Signal::KILL);
        let _ = kill_process_group(child, Signal::KILL);
    }
}

fn is_running(process: &OwnedFd) -> bool {
    // A process that has ended can be read.
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec::default())) != Ok(1)
}
