//! A file of Lua as the engine holds it: its source, what it compiled to, and the identity it was read under.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use crate::language::page::Syntax;

/// Identity and age of a file, from one `stat`: while it is the same, so is the file.
///
/// Times have the resolution of httpd's own `apr_finfo_t`, microseconds, so that either side's stamps compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the contents, in microseconds since 1970.
    pub modified: i64,
    /// Last change of the contents or the inode (owner, mode, links), in microseconds since 1970.
    pub changed: i64,
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Stamp {
        Stamp {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: file.mtime() * 1_000_000 + file.mtime_nsec() / 1000,
            changed: file.ctime() * 1_000_000 + file.ctime_nsec() / 1000,
        }
    }
}

/// How a file becomes Lua.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Text with tags.
    Page(Syntax),
    /// Plain Lua.
    Raw,
}

/// A compiled file, immutable and shared by the states of a host.
#[derive(Debug)]
pub struct Chunk {
    /// What it was read under.
    pub stamp: Stamp,
    /// How it was read.
    pub language: Language,
    /// The file's bytes.
    pub source: Vec<u8>,
    /// Bytecode for this build's Lua.
    pub bytecode: Vec<u8>,
    /// Texts that travel outside the bytecode, as ranges of the source.
    pub texts: Vec<Range<usize>>,
    /// Whether its function keeps functions in the table of the texts.
    pub keeps_functions: bool,
    /// Whether the bytecode is of what makes the file's function.
    pub makes_function: bool,
}

impl Chunk {
    /// Bytes it takes in memory, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.source.capacity() + self.bytecode.capacity() + self.texts.capacity() * size_of::<Range<usize>>()
    }
}

/// Largest file that is compiled, in bytes.
pub const LARGEST_FILE: u64 = 64 << 20;

/// A file younger than this may still be being written.
const SETTLED: Duration = Duration::from_millis(20);

/// How often a file that keeps changing is read again before the latest reading is taken.
const READINGS: u32 = 50;

/// Reads a file whole, as it was at one moment: while it changes under the reader it is read again.
///
/// # Errors
/// The system's own, or [`io::ErrorKind::InvalidInput`] for what is not a plain file and
/// [`io::ErrorKind::FileTooLarge`] beyond [`LARGEST_FILE`] and beyond the memory a page may have, in kilobytes; 0 is no
/// limit.
pub fn read(path: &Path, memory: u32) -> io::Result<(Vec<u8>, Stamp)> {
    let mut reading = 0;
    let mut seen_empty = None;
    loop {
        reading += 1;
        // Opening a FIFO would wait for its other end.
        let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        if let Some(problem) = too_large(before.len(), memory) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        let source = read_open(&mut file, before.len())?;
        let stamp = Stamp::from(&file.metadata()?);
        let same = stamp == Stamp::from(&before) && stamp.size == source.len() as u64;
        // While a file system empties a file, which waits for the disk, the file may keep its old time (ext4): it is
        // empty with its blocks still there. An empty file counts once it was seen twice, and without blocks.
        let seen_before = seen_empty.replace(stamp) == Some(stamp);
        let emptied = source.is_empty() && (before.blocks() > 0 || !seen_before);
        let unsettled = unsettled_for(&before).or(emptied.then_some(SETTLED));
        if reading >= READINGS || (same && unsettled.is_none()) {
            return Ok((source, stamp));
        }
        thread::sleep(unsettled.unwrap_or(Duration::from_millis(1)));
    }
}

/// Why a file of so many bytes is not read.
fn too_large(size: u64, memory: u32) -> Option<String> {
    if size > LARGEST_FILE {
        return Some(format!("{size} bytes are more than the {LARGEST_FILE} a page may have"));
    }
    (memory > 0 && size > u64::from(memory) * 1024).then(|| {
        format!(
            "{size} bytes are more than the {memory} KB of pLuaMemoryLimit; make the file smaller or the limit larger"
        )
    })
}

fn read_open(file: &mut File, size: u64) -> io::Result<Vec<u8>> {
    let mut source = Vec::with_capacity(size as usize + 1);
    file.take(LARGEST_FILE + 1).read_to_end(&mut source)?;
    Ok(source)
}

/// How long until the file is old enough to be taken as written, or none when it is.
fn unsettled_for(file: &Metadata) -> Option<Duration> {
    let age = SystemTime::now().duration_since(file.modified().ok()?).ok()?;
    SETTLED.checked_sub(age).filter(|rest| !rest.is_zero())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let told = (0..20).any(|_| {
            fs::write(&path, "half").unwrap();
            let started = Instant::now();
            let (read, written) = thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    // A writer that pauses.
                    thread::sleep(Duration::from_millis(5));
                    fs::write(&path, "half and half").unwrap();
                    started.elapsed()
                });
                (read(&path, 0).unwrap().0, writer.join().unwrap())
            });
            // A writer that the system held up for longer proves nothing.
            let in_time = written < SETTLED;
            assert!(!in_time || read == b"half and half", "{read:?} after {written:?}");
            in_time
        });
        assert!(told, "no writer was in time");
    }

    #[test]
    fn an_empty_file_that_looks_old_is_given_time_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        File::create(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        assert_eq!(read(&path, 0).unwrap().0, b"");
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                // A writer that pauses.
                thread::sleep(Duration::from_millis(5));
                fs::write(path, "whole").unwrap();
            }
        });
        assert_eq!(read(&path, 0).unwrap().0, b"whole");
        writer.join().unwrap();
    }

    #[test]
    fn what_is_not_a_plain_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let around = folder.path().join("around");
        symlink(&around, &around).unwrap();
        assert_eq!(read(&fifo, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(folder.path(), 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(&folder.path().join("none"), 0).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read(&around, 0).is_err());
    }

    #[test]
    fn a_file_over_the_size_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let file = File::create(&path).unwrap();
        file.set_len(LARGEST_FILE + 1).unwrap();
        assert_eq!(read(&path, 0).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        file.set_len(1025).unwrap();
        assert!(read(&path, 1).unwrap_err().to_string().contains("pLuaMemoryLimit"));
        assert_eq!(read(&path, 2).unwrap().0.len(), 1025);
    }
}
