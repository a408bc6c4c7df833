//! A terminal at which a shell runs, and what it shows.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

use super::command::Folder;

/// Longer than any test waits for what comes.
const LONGEST: Duration = Duration::from_secs(60);

/// `plua shell` at a terminal of its own.
pub struct Terminal {
    child: RefCell<Child>,
    keyboard: RefCell<File>,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not looked for yet.
    shown: RefCell<Vec<u8>>,
}

impl Terminal {
    /// In this folder, with these variables in its environment.
    pub fn shell(folder: &Folder, environment: &[(&str, &str)]) -> Terminal {
        let pair = openpty(None, None).unwrap();
        let own = || Stdio::from(pair.slave.try_clone().unwrap());
        // Ctrl-C is a signal only where the terminal is the one that controls the process.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_plua"), "shell"])
            .current_dir(folder.path(""))
            .env("TERM", "xterm")
            .env("HOME", folder.path("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .stdin(own())
            .stdout(own())
            .stderr(own())
            .spawn()
            .unwrap();
        let (sender, screen) = channel();
        let mut master = File::from(pair.master.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child: child.into(), keyboard: File::from(pair.master).into(), screen, shown: RefCell::default() }
    }

    /// Waits for the prompt and types a line at it.
    #[track_caller]
    pub fn enters(&self, line: &str) {
        self.shows("\u{1b}[K> ");
        self.types(line);
        self.types("\r");
    }

    /// Types keys as a terminal sends them: `\r` is Enter, `\u{3}` Ctrl-C, `\u{4}` Ctrl-D.
    pub fn types(&self, keys: &str) {
        self.keyboard.borrow_mut().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is shown, after what was looked for before.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let until = Instant::now() + LONGEST;
        let mut shown = self.shown.borrow_mut();
        loop {
            if let Some(at) = shown.windows(text.len()).position(|bytes| bytes == text.as_bytes()) {
                shown.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => shown.extend(bytes),
                Err(_) => panic!("{text:?} is not shown: {:?}", String::from_utf8_lossy(&shown)),
            }
        }
    }

    /// Waits for the prompt, types Ctrl-D and waits for the end of the shell; its exit status.
    #[track_caller]
    pub fn ends(&self) -> Option<i32> {
        self.shows("\u{1b}[K> ");
        self.types("\u{4}");
        self.has_ended()
    }

    /// Waits for the end of the shell; its exit status.
    #[track_caller]
    pub fn has_ended(&self) -> Option<i32> {
        let until = Instant::now() + LONGEST;
        loop {
            if let Some(status) = self.child.borrow_mut().try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "the shell does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing its terminal ends the shell.
        let _ = self.child.borrow_mut().kill();
        let _ = self.child.borrow_mut().wait();
    }
}
