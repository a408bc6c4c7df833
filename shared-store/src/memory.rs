//! A piece of shared memory of which the lock is held: words and bytes by their place.
//!
//! What is written becomes the memory's in the order of the program, as one processor does it: a process that is killed has
//! done some of its first writes and none of the others. So a word that is written last says that all before is there.
//!
//! `unsafe` here because shared memory is no object of Rust's.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

/// Bytes that nobody else reads or writes meanwhile.
pub(crate) struct Memory<'a> {
    start: NonNull<u8>,
    length: usize,
    lent: PhantomData<&'a mut [u8]>,
}

impl Memory<'_> {
    /// So many bytes from there on.
    ///
    /// # Safety
    /// They are there for `'a`, begin at a multiple of 8, and nobody else reads or writes them for so long.
    pub(crate) unsafe fn new<'a>(start: NonNull<u8>, length: usize) -> Memory<'a> {
        Memory { start, length, lent: PhantomData }
    }

    /// The address of so many bytes at a place.
    #[inline]
    fn address(&self, at: usize, bytes: usize) -> NonNull<u8> {
        assert!(at <= self.length && bytes <= self.length - at, "beyond the memory");
        // SAFETY: in the memory, as was just asked.
        unsafe { self.start.add(at) }
    }

    #[inline]
    fn word32(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4));
        // SAFETY: four bytes in the memory, at a multiple of four, for it begins at one; whatever they are is a number.
        unsafe { AtomicU32::from_ptr(self.address(at & !3, 4).cast().as_ptr()) }
    }

    #[inline]
    fn word64(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8));
        // SAFETY: as above, with eight.
        unsafe { AtomicU64::from_ptr(self.address(at & !7, 8).cast().as_ptr()) }
    }

    #[inline]
    pub(crate) fn load32(&self, at: usize) -> u32 {
        self.word32(at).load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn load64(&self, at: usize) -> u64 {
        self.word64(at).load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn store32(&mut self, at: usize, word: u32) {
        burn();
        compiler_fence(Ordering::SeqCst);
        self.word32(at).store(word, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn store64(&mut self, at: usize, word: u64) {
        burn();
        compiler_fence(Ordering::SeqCst);
        self.word64(at).store(word, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn bytes(&self, at: usize, length: usize) -> &[u8] {
        let start = self.address(at, length);
        // SAFETY: in the memory, where nobody writes while this is borrowed.
        unsafe { slice::from_raw_parts(start.as_ptr(), length) }
    }

    #[inline]
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        burn();
        let start = self.address(at, bytes.len());
        // SAFETY: in the memory, which nobody else reads or writes; and `bytes` is not in it, for it would be borrowed.
        unsafe { start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        burn();
    }

    /// Makes so many bytes zero.
    pub(crate) fn clear(&mut self, at: usize, length: usize) {
        burn();
        let start = self.address(at, length);
        // SAFETY: in the memory, which nobody else reads or writes.
        unsafe { start.as_ptr().write_bytes(0, length) };
        burn();
    }
}

#[cfg(not(test))]
#[inline(always)]
fn burn() {}

/// Ends the process at a write, as far as a test can see: unwinds, when the test's fuse has burnt down.
#[cfg(test)]
fn burn() {
    match FUSE.get() {
        Some(0) => std::panic::resume_unwind(Box::new("killed")),
        left => FUSE.set(left.map(|left| left - 1)),
    }
}

#[cfg(test)]
thread_local! {
    /// Writes until this thread is killed.
    pub(crate) static FUSE: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}
