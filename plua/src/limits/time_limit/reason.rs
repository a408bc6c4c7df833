//! Why a page is stopped, and how that is told.

use std::ffi::CStr;

use crate::error::ErrorKind;

/// Why a page is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Its deadline has passed.
    Time = 1,
    /// Its state holds more than it may.
    Memory = 2,
    /// It has put out more than it may.
    Output = 3,
    /// The server stops, and waits for nobody.
    Stop = 4,
    /// It has waited for too long without a thread.
    Wait = 5,
    /// Whoever sits at its terminal has had enough of what it does.
    Interrupt = 6,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] =
        [Reason::Time, Reason::Memory, Reason::Output, Reason::Stop, Reason::Wait, Reason::Interrupt];

    /// What the stopped page is told.
    #[must_use]
    pub fn message(self) -> &'static CStr {
        match self {
            Reason::Time => c"The script took too long to execute (timed out)!",
            Reason::Memory => c"Memory limit reached!",
            Reason::Output => c"The page puts out more than pLuaOutputLimit allows",
            Reason::Stop => c"The server stops",
            Reason::Wait => c"The page waited longer than pLuaWaitLimit allows",
            Reason::Interrupt => c"Interrupted at the terminal (Ctrl-C)",
        }
    }

    /// What the failure is reported as.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match self {
            Reason::Time | Reason::Wait | Reason::Interrupt => ErrorKind::TimeLimit,
            Reason::Memory => ErrorKind::MemoryLimit,
            Reason::Output => ErrorKind::OutputLimit,
            Reason::Stop => ErrorKind::ServerStop,
        }
    }
}
