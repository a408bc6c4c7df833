//! A short text in shared memory. Who reads it while it is written gets some of both: it is read under a lock, or written once.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// At most eight times `WORDS` bytes.
#[repr(C)]
pub(crate) struct Text<const WORDS: usize> {
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    /// The bytes of a text that are kept: its last ones, for paths differ at their end.
    pub(crate) fn kept(text: &[u8]) -> &[u8] {
        &text[text.len().saturating_sub(WORDS * 8)..]
    }

    pub(crate) fn set(&self, text: &[u8]) {
        let text = Self::kept(text);
        for (word, piece) in self.words.iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
        self.length.store(u32::try_from(text.len()).unwrap_or(0), Relaxed);
    }

    pub(crate) fn get(&self) -> Vec<u8> {
        let length = (self.length.load(Relaxed) as usize).min(WORDS * 8);
        let mut bytes: Vec<u8> =
            self.words[..length.div_ceil(8)].iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    pub(crate) fn is(&self, text: &[u8]) -> bool {
        let text = Self::kept(text);
        self.length.load(Relaxed) as usize == text.len()
            && self
                .words
                .iter()
                .zip(text.chunks(8))
                .all(|(word, piece)| word.load(Relaxed).to_ne_bytes().starts_with(piece))
    }
}
