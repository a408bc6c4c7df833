//! A request's body, read once and kept until the request ends: a small one in memory, a large one on disk.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::limits::memory_limit::Room;

/// Largest body kept in memory, in bytes: forms and most JSON fit, and a thousand requests at once take 256 MB.
pub const IN_MEMORY: usize = 256 * 1024;

/// Bytes asked of the server at first: most forms are no longer, and memory must be empty before it is filled.
const FIRST_PIECE: usize = 1024;

/// Bytes asked of the server at a time after that; httpd gives 8,000 of them at most.
const PIECE: usize = 8 * 1024;

/// A body that has come in whole.
pub struct Body {
    size: u64,
    kept: Kept,
}

enum Kept {
    Memory(Vec<u8>),
    /// Has no name, so it is gone with the process at the latest.
    File(File),
}

impl Body {
    /// Reads all of a request's body; one too large for memory goes to a file in `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::BadRequest`] and [`ErrorKind::SilentClient`] for what the client did, [`ErrorKind::TimeLimit`] when it
    /// takes until the deadline, [`ErrorKind::Read`] when the file cannot be written.
    pub fn read(exchange: &mut dyn Exchange, folder: &Path, deadline: Option<Instant>) -> Result<Body, Error> {
        let mut size = 0u64;
        // Beyond IN_MEMORY, what is not in the file yet.
        let mut pending = Vec::new();
        let mut file = None;
        let (mut first_piece, mut piece) = ([0; FIRST_PIECE], Vec::new());
        loop {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Error::new(ErrorKind::TimeLimit, "the request's body took until the time limit"));
            }
            let piece = if size < FIRST_PIECE as u64 {
                first_piece.as_mut_slice()
            } else {
                piece.resize(PIECE, 0);
                piece.as_mut_slice()
            };
            let count = match exchange.read_body(piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(refused(&error)),
            };
            size += count as u64;
            if pending.len() + count > IN_MEMORY {
                spill(&mut file, &mut pending, folder).map_err(|error| unwritable(folder, &error))?;
            }
            pending.extend_from_slice(&piece[..count]);
        }
        if file.is_some() {
            spill(&mut file, &mut pending, folder).map_err(|error| unwritable(folder, &error))?;
        }
        let kept = file.map_or(Kept::Memory(pending), Kept::File);
        Ok(Body { size, kept })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The body from its beginning.
    ///
    /// # Errors
    /// The file system's.
    pub fn reader(&mut self) -> io::Result<Box<dyn Read + '_>> {
        match &mut self.kept {
            Kept::Memory(bytes) => Ok(Box::new(bytes.as_slice())),
            Kept::File(file) => {
                file.rewind()?;
                Ok(Box::new(file))
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn bytes(&mut self) -> io::Result<Cow<'_, [u8]>> {
        match &mut self.kept {
            Kept::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Kept::File(file) => {
                let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
                file.rewind()?;
                file.read_to_end(&mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// So many bytes of it from an offset on, or what there is.
    ///
    /// # Errors
    /// The file system's.
    pub fn piece(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        match &mut self.kept {
            Kept::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
                piece.extend_from_slice(&rest[..most.min(rest.len())]);
            }
            Kept::File(file) => {
                file.seek(io::SeekFrom::Start(offset))?;
                file.take(most as u64).read_to_end(&mut piece)?;
            }
        }
        Ok(piece)
    }

    /// Copies it to a file; only a piece at a time is in memory, or none where the system copies from file to file.
    ///
    /// # Errors
    /// As [`copy`].
    pub fn copy_to(&mut self, into: &mut File, room: Room<'_>) -> io::Result<()> {
        match &mut self.kept {
            Kept::Memory(bytes) => into.write_all(bytes),
            Kept::File(file) => {
                file.rewind()?;
                copy(file, into, room)
            }
        }
    }
}

/// Bytes of a file that are copied between two looks at the page's time.
const COPIED: u64 = 8 << 20;

/// Copies what is left of a file to another one.
///
/// # Errors
/// The file system's, and [`io::ErrorKind::TimedOut`] when the page's time is over before it is done.
pub fn copy(from: &mut File, into: &mut File, room: Room<'_>) -> io::Result<()> {
    while io::copy(&mut from.take(COPIED), into)? == COPIED {
        room.look().map_err(|reason| io::Error::new(io::ErrorKind::TimedOut, reason))?;
    }
    Ok(())
}

/// Moves bytes to the end of a file, which is made for the first.
fn spill(file: &mut Option<File>, pending: &mut Vec<u8>, folder: &Path) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(tempfile::tempfile_in(folder)?),
    };
    file.write_all(pending)?;
    pending.clear();
    Ok(())
}

/// The error of a folder for uploads and large bodies that does not take them.
#[must_use]
pub fn unwritable(folder: &Path, error: &io::Error) -> Error {
    let folder = folder.display();
    Error::new(ErrorKind::Read, format!("the request's body cannot be kept in {folder} (pLuaUploadFolder): {error}"))
}

fn refused(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Error::new(ErrorKind::TooLarge, "the request's body is larger than the server allows (LimitRequestBody)")
        }
        io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::BadRequest, "the request's body is not whole: the client left before its end")
        }
        io::ErrorKind::TimedOut => {
            Error::new(ErrorKind::SilentClient, "the request's body is not whole: the client stopped sending it")
        }
        // httpd does not tell these apart.
        _ => Error::new(
            ErrorKind::BadRequest,
            format!("the request's body is broken, or the client left before its end: {error}"),
        ),
    }
}
