//! The engine of one process: the hosts it serves and the way in for a request.

use std::path::Path;

use crate::exchange::{Answer, Exchange};
use crate::settings::Settings;

/// Identity and age of a file, from one `stat`: while it is the same, so is the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the contents, in nanoseconds since 1970.
    pub modified: i128,
    /// Last change of the contents or the inode, in nanoseconds since 1970.
    pub changed: i128,
}

/// The file a request asks for.
#[derive(Clone, Copy)]
pub struct PageFile<'a> {
    /// Absolute path.
    pub path: &'a Path,
    /// What the server's own `stat` of it said, if it made one for this request.
    pub stamp: Option<Stamp>,
    /// The settings that hold where the file is (its directory's; the host's are in the [`Host`]).
    pub settings: &'a Settings,
}

/// All hosts of one process. Cheap to make; threads share it.
pub struct Engine {}

impl Engine {
    /// An engine without hosts.
    #[must_use]
    pub fn new() -> Engine {
        Engine {}
    }

    /// The host of that name; hosts of one name whose settings shape the pool alike share their states.
    ///
    /// # Errors
    /// A sentence when the settings ask for what this build cannot keep.
    pub fn host(&self, _name: &str, _settings: &Settings) -> Result<Host, String> {
        Ok(Host {})
    }
}

/// One host: its settings and its pool of states.
#[derive(Clone)]
pub struct Host {}

impl Host {
    /// Runs a page and answers its request.
    pub fn serve(&self, _file: PageFile<'_>, _exchange: Box<dyn Exchange>) -> Answer {
        Answer::Status(500)
    }
}
