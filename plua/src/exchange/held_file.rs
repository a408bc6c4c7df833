//! A file that may be all of a response: it is kept open until the end of the page shows whether more is put out.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::PathBuf;

/// Bytes of a streamed file that are in memory at once.
const PIECE: usize = 64 << 10;

/// An open file of some bytes, to be sent before everything else that the page puts out.
pub struct HeldFile {
    /// Where it was found.
    pub path: PathBuf,
    /// It.
    pub file: File,
    /// What it was when it was opened.
    pub facts: Metadata,
}

impl HeldFile {
    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.facts.len()
    }

    /// All of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size()).unwrap_or(0));
        (&self.file).take(self.size()).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Gives a file to `send` piece by piece, until its end; how many bytes that were.
///
/// # Errors
/// What `send` failed with, and [`io::ErrorKind::InvalidData`] for what cannot be read.
pub fn pieces(mut file: impl Read, mut send: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut sent = 0;
    loop {
        let unreadable =
            |error| io::Error::new(io::ErrorKind::InvalidData, format!("the file cannot be read: {error}"));
        let length = file.read(&mut piece).map_err(unreadable)?;
        if length == 0 {
            return Ok(sent);
        }
        send(&piece[..length])?;
        sent += length as u64;
    }
}
