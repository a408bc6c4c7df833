//! The blocks of a part: which are free, and bytes in those of one entry.

use crate::entry::{IN_FIRST, IN_OTHERS, KEY_LENGTH, LENGTH, NEXT, NONE, ROLE, blocks_for};
use crate::geometry::BLOCK;
use crate::part::{FREE, FREE_COUNT, FRESH, Part};

impl Part<'_> {
    pub(crate) fn load(&self, block: u32, word: usize) -> u32 {
        self.area.load32(self.geometry.block(block) + word)
    }

    pub(crate) fn store(&mut self, block: u32, word: usize, value: u32) {
        let at = self.geometry.block(block) + word;
        self.area.store32(at, value);
    }

    pub(crate) fn load64(&self, block: u32, word: usize) -> u64 {
        self.area.load64(self.geometry.block(block) + word)
    }

    pub(crate) fn store64(&mut self, block: u32, word: usize, value: u64) {
        let at = self.geometry.block(block) + word;
        self.area.store64(at, value);
    }

    /// Blocks that nobody has.
    pub(crate) fn free_blocks(&self) -> usize {
        (self.head.load32(FREE_COUNT) + (self.geometry.blocks - self.head.load32(FRESH))) as usize
    }

    /// Takes a free block; the caller has seen to it that there is one.
    fn take_block(&mut self) -> u32 {
        match self.head.load32(FREE) {
            NONE => {
                let fresh = self.head.load32(FRESH) + 1;
                // Before it is used: of the blocks beyond, nobody asks whether they count.
                self.head.store32(FRESH, fresh);
                fresh
            }
            block => {
                let next = self.load(block, NEXT);
                self.head.store32(FREE, next);
                let count = self.head.load32(FREE_COUNT);
                self.head.store32(FREE_COUNT, count - 1);
                block
            }
        }
    }

    /// Takes blocks for the bytes, one piece of them behind the other, and writes them there. The first block has them from a
    /// place on.
    pub(crate) fn write_new(&mut self, pieces: [&[u8]; 2], in_first: usize) -> u32 {
        let first = self.take_block();
        let (mut block, mut at) = (first, in_first);
        for mut piece in pieces {
            while !piece.is_empty() {
                if at == BLOCK {
                    let next = self.take_block();
                    self.store(block, NEXT, next);
                    (block, at) = (next, IN_OTHERS);
                }
                let (now, rest) = piece.split_at(piece.len().min(BLOCK - at));
                let place = self.geometry.block(block) + at;
                self.area.write(place, now);
                (piece, at) = (rest, at + now.len());
            }
        }
        self.store(block, NEXT, NONE);
        first
    }

    /// Gives the block free with those behind it: so many all together. It does not count any more.
    pub(crate) fn free_chain(&mut self, first: u32, count: usize) {
        let mut last = first;
        for _ in 1..count {
            last = self.load(last, NEXT);
        }
        let free = self.head.load32(FREE);
        self.store(last, NEXT, free);
        self.head.store32(FREE, first);
        let before = self.head.load32(FREE_COUNT);
        self.head.store32(FREE_COUNT, before + count as u32);
    }

    /// Gives `take` bytes of a chain piece by piece: so many, after others. The first block has bytes from a place on.
    pub(crate) fn read(
        &self,
        first: u32,
        in_first: usize,
        after: usize,
        length: usize,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let (mut block, mut at, mut skip, mut left) = (first, in_first, after, length);
        while left > 0 {
            let here = (BLOCK - at).saturating_sub(skip);
            if here > 0 {
                let piece = here.min(left);
                if !take(self.area.bytes(self.geometry.block(block) + at + skip, piece)) {
                    return false;
                }
                left -= piece;
            }
            skip = skip.saturating_sub(BLOCK - at);
            if left > 0 {
                (block, at) = (self.load(block, NEXT), IN_OTHERS);
            }
        }
        true
    }

    /// Blocks of an entry, without those of its items where it is a list.
    pub(crate) fn blocks_of(&self, entry: u32) -> usize {
        let key = self.load(entry, KEY_LENGTH) as usize;
        let value = if self.is_list(entry) { 0 } else { self.load(entry, LENGTH) as usize };
        blocks_for(key + value, IN_FIRST)
    }

    /// The key of an entry.
    pub(crate) fn key_of(&self, entry: u32) -> Vec<u8> {
        let length = self.load(entry, KEY_LENGTH) as usize;
        let mut key = Vec::with_capacity(length);
        self.read(entry, IN_FIRST, 0, length, |piece| {
            key.extend_from_slice(piece);
            true
        });
        key
    }

    /// Whether an entry has this key.
    pub(crate) fn has_key(&self, entry: u32, key: &[u8]) -> bool {
        let mut rest = key;
        self.load(entry, KEY_LENGTH) as usize == key.len()
            && self.read(entry, IN_FIRST, 0, key.len(), |piece| {
                let is_same = rest.starts_with(piece);
                rest = rest.get(piece.len()..).unwrap_or_default();
                is_same
            })
    }

    /// Makes an entry count no more.
    pub(crate) fn unmake(&mut self, entry: u32) {
        self.store(entry, ROLE, 0);
    }
}
