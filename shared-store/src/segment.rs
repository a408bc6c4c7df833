//! The memory that processes share, and its parts under their locks.
//!
//! `unsafe` here for memory that the system maps, and that other processes write to.
#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE, pthread_mutex_t};

use crate::geometry::{Geometry, HEAD, LARGEST, SMALLEST};
use crate::lock;
use crate::memory::Memory;
use crate::value::Refusal;

/// Where a part's header has its words, behind its lock.
pub(crate) const WORDS: usize = 64;

/// Where its header says that what it holds is to be built anew: this word is not 0.
pub(crate) const TORN: usize = WORDS;

const _: () = assert!(size_of::<pthread_mutex_t>() <= WORDS);

/// Words of the segment's own header: the two of the secret that keys are hashed with.
const SECRET: usize = 0;

/// The word behind those: not 0 once the store was marked.
const MARK: usize = 16;

/// So many bytes of zeros that processes forked from this one share with it, and that stay until they are given back.
///
/// # Errors
/// The system's.
pub fn new_memory(size: usize) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
    // SAFETY: memory that nobody has, for which no file is needed.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    match NonNull::new(start.cast::<u8>()) {
        Some(memory) if start != MAP_FAILED => Ok(memory),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Shared memory, from its first byte to its last.
pub(crate) struct Segment {
    start: NonNull<u8>,
    size: usize,
    geometry: Geometry,
    /// Whether it goes with this.
    is_owned: bool,
}

// SAFETY: whoever reads or writes it beyond its own header, whose words are atomic, holds the lock of a part.
unsafe impl Send for Segment {}

// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// New memory of so many bytes, which processes that are forked from this one share with it.
    pub(crate) fn new(size: usize) -> io::Result<Segment> {
        if !(SMALLEST..=LARGEST).contains(&size) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such size"));
        }
        let start = new_memory(size)?;
        let segment = Segment { start, size, geometry: Geometry::of(size), is_owned: true };
        for place in [SECRET, SECRET + 8] {
            segment.own_word(place).store(getrandom::u64().map_err(io::Error::other)?, Ordering::Relaxed);
        }
        for part in 0..segment.geometry.parts {
            // SAFETY: inside the memory, and no part has been used yet.
            unsafe { lock::make(segment.lock_of(part)) }?;
        }
        Ok(segment)
    }

    /// Memory that was made as [`new`](Segment::new) does, in this process or in one it was forked from.
    ///
    /// # Safety
    /// So many bytes of such memory begin there, and stay for as long as this is used.
    pub(crate) unsafe fn at(start: NonNull<u8>, size: usize) -> Segment {
        Segment { start, size, geometry: Geometry::of(size), is_owned: false }
    }

    /// From here on the memory stays until the process ends.
    pub(crate) fn keep(&mut self) -> NonNull<u8> {
        self.is_owned = false;
        self.start
    }

    /// From here on the memory goes with this.
    pub(crate) fn own(&mut self) {
        self.is_owned = true;
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What keys are hashed with: who does not know it cannot choose keys that hash alike.
    pub(crate) fn secret(&self) -> (u64, u64) {
        (self.own_word(SECRET).load(Ordering::Relaxed), self.own_word(SECRET + 8).load(Ordering::Relaxed))
    }

    pub(crate) fn mark(&self) {
        // Who reads it often has it in a processor's cache.
        if !self.is_marked() {
            self.own_word(MARK).store(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.own_word(MARK).load(Ordering::Relaxed) != 0
    }

    fn own_word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: in the segment's own header, at a multiple of 8; it is only ever touched as this.
        unsafe { AtomicU64::from_ptr(self.start.add(at).cast().as_ptr()) }
    }

    fn lock_of(&self, part: usize) -> *mut pthread_mutex_t {
        assert!(part < self.geometry.parts, "no such part");
        // SAFETY: the header of a part lies in the memory.
        unsafe { self.start.add(self.geometry.head(part)) }.cast().as_ptr()
    }

    /// A part, for this thread alone. Whether it is to be built anew first, its word [`TORN`] says.
    pub(crate) fn lock(&self, part: usize) -> Result<Locked<'_>, Refusal> {
        let lock = self.lock_of(part);
        // SAFETY: made with the segment; no function of this package takes a second one, or comes back to a first.
        let has_died = unsafe { lock::take(lock) }.map_err(|_| Refusal::Busy)?;
        // SAFETY: both lie in the memory, at multiples of 8, and are touched under the lock only. They do not overlap.
        let (head, area) = unsafe {
            let (head, area) = (self.geometry.head(part), self.geometry.area(part));
            (Memory::new(self.start.add(head), HEAD), Memory::new(self.start.add(area), self.geometry.area))
        };
        let mut locked = Locked { lock, head, area };
        if has_died {
            locked.head.store32(TORN, 1);
        }
        Ok(locked)
    }
}

#[cfg(test)]
impl Segment {
    /// All bytes, while nobody uses it.
    pub(crate) fn copy(&self) -> Vec<u8> {
        // SAFETY: the memory is there, and the test has it for itself.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }.to_vec()
    }

    /// Sets all bytes to what they were.
    pub(crate) fn set(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.size);
        // SAFETY: as above.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.is_owned {
            // SAFETY: mapped by `new`, and whoever could use it has borrowed this.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
        }
    }
}

/// A part of a segment under its lock.
pub(crate) struct Locked<'a> {
    lock: *mut pthread_mutex_t,
    pub(crate) head: Memory<'a>,
    pub(crate) area: Memory<'a>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            #[cfg(test)]
            crate::memory::FUSE.set(None);
            self.head.store32(TORN, 1);
        }
        // SAFETY: taken when this was made, by this thread: the lock's address keeps it from being sent to another.
        unsafe { lock::give(self.lock) };
    }
}
