//! What a process has left that was killed while it had a part: the part is built anew from the entries that count.
//!
//! Who is killed while it does this leaves the same entries to the next one: of them it changes nothing but that the older of
//! two with one key counts no more.

use std::cmp::Reverse;

use crate::entry::{
    BEFORE, BEHIND, FIRST, HASH, IN_FIRST, IN_ITEM, ITEM_KIND, ITEM_LENGTH, KEY_LENGTH, LAST, LENGTH, NEWER, NEXT,
    NONE, OLDER, ROLE, SPACE, USED, blocks_for,
};
use crate::part::{ENTRIES, FREE, FREE_COUNT, FRESH, Key, NEWEST, OLDEST, Part, TICK};
use crate::segment::TORN;
use crate::value::Kind;

/// Which blocks belong to an entry.
struct Taken(Vec<bool>);

impl Taken {
    /// Takes blocks for one entry; none where it is not all there, or another has some of it.
    fn take(&mut self, blocks: &[u32]) -> bool {
        for (number, block) in blocks.iter().enumerate() {
            let is_free = self.0.get(*block as usize).is_some_and(|is_taken| !is_taken) && *block != NONE;
            if !is_free {
                for block in &blocks[..number] {
                    self.0[*block as usize] = false;
                }
                return false;
            }
            self.0[*block as usize] = true;
        }
        true
    }
}

impl Part<'_> {
    /// Builds index, order, lists and free blocks anew.
    #[cold]
    pub(crate) fn recover(&mut self) {
        let fresh = self.head.load32(FRESH).min(self.geometry.blocks);
        let mut counting: Vec<(u64, u32)> = (1..=fresh)
            .filter(|block| self.kind_of(*block).is_some())
            .map(|block| (self.load64(block, USED), block))
            .collect();
        // Of two with one key the later one comes first.
        counting.sort_unstable_by_key(|(used, _)| Reverse(*used));
        let index = self.geometry.buckets as usize * 4;
        self.area.clear(0, index);
        for word in [ENTRIES, NEWEST, OLDEST, FREE, FREE_COUNT] {
            self.head.store32(word, 0);
        }
        self.head.store64(TICK, counting.first().map_or(0, |(used, _)| *used));
        let mut taken = Taken(vec![false; fresh as usize + 1]);
        let mut newer = NONE;
        for (_, entry) in counting {
            let is_new = self.parts_of(entry).is_some_and(|blocks| {
                let key = self.key_of(entry);
                let (space, hash) = (self.load64(entry, SPACE), u64::from(self.load(entry, HASH)));
                self.find(Key { space, bytes: &key, hash }).is_none() && taken.take(&blocks)
            });
            if !is_new {
                self.unmake(entry);
                continue;
            }
            let hash = u64::from(self.load(entry, HASH));
            self.enter_index(hash, entry);
            self.store(entry, NEWER, newer);
            self.store(entry, OLDER, NONE);
            match newer {
                NONE => self.head.store32(NEWEST, entry),
                newer => self.store(newer, OLDER, entry),
            }
            self.head.store32(OLDEST, entry);
            newer = entry;
            if self.is_list(entry) {
                self.mend_list(entry);
            }
        }
        let mut free = NONE;
        let mut count = 0;
        for block in (1..=fresh).rev().filter(|block| !taken.0[*block as usize]) {
            self.store(block, ROLE, 0);
            self.store(block, NEXT, free);
            (free, count) = (block, count + 1);
        }
        self.head.store32(FREE, free);
        self.head.store32(FREE_COUNT, count);
        self.head.store32(TORN, 0);
    }

    /// All blocks of an entry, those of a list's items too, if they can be such.
    fn parts_of(&self, entry: u32) -> Option<Vec<u32>> {
        let key = self.load(entry, KEY_LENGTH) as usize;
        let is_list = self.is_list(entry);
        let value = if is_list { 0 } else { self.load(entry, LENGTH) as usize };
        let mut blocks = Vec::new();
        self.chain(entry, key.checked_add(value)?, IN_FIRST, &mut blocks)?;
        let mut item = if is_list { self.load(entry, FIRST) } else { NONE };
        while item != NONE {
            if item > self.geometry.blocks || Kind::of(self.load(item, ITEM_KIND)).is_none() {
                return None;
            }
            self.chain(item, self.load(item, ITEM_LENGTH) as usize, IN_ITEM, &mut blocks)?;
            item = self.load(item, BEHIND);
        }
        Some(blocks)
    }

    /// The blocks of so many bytes, if there are so many. A part has no more than it has.
    fn chain(&self, first: u32, bytes: usize, in_first: usize, blocks: &mut Vec<u32>) -> Option<()> {
        let mut block = first;
        let last = blocks.len() + blocks_for(bytes, in_first);
        if last > self.geometry.blocks as usize {
            return None;
        }
        while blocks.len() < last {
            if block == NONE || block > self.geometry.blocks {
                return None;
            }
            blocks.push(block);
            block = self.load(block, NEXT);
        }
        Some(())
    }

    /// What follows from a list's first item and the way from one to the next.
    fn mend_list(&mut self, list: u32) {
        let (mut item, mut before, mut length) = (self.load(list, FIRST), NONE, 0);
        while item != NONE {
            self.store(item, BEFORE, before);
            (before, length) = (item, length + 1);
            item = self.load(item, BEHIND);
        }
        self.store(list, LAST, before);
        self.store(list, LENGTH, length);
    }
}
