//! Lists: entries whose items can be added to and taken from at both ends.
//!
//! An item is the list's once one word leads to it, from the item before it or from the list's own entry. Everything else that
//! is told of lists follows from those.

use crate::entry::{
    BEFORE, BEHIND, FIRST, IN_FIRST, IN_ITEM, ITEM_KIND, ITEM_LENGTH, ITEM_WORD, LAST, LENGTH, NONE, blocks_for,
};
use crate::geometry::BLOCK;
use crate::part::{Key, Part};
use crate::value::{Found, Kind, Refusal, Value};

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Last,
}

impl Part<'_> {
    /// Adds an item, in a list of its own where there is none: items of the list then.
    pub(crate) fn push(&mut self, key: Key<'_>, value: Value<'_>, side: Side) -> Result<usize, Refusal> {
        let (_, _, bytes) = value.parts();
        let blocks = blocks_for(bytes.len(), IN_ITEM);
        match self.find_live(key) {
            Some(place) if self.is_list(place.entry) => {
                let list = place.entry;
                if !self.make_room(blocks, list) {
                    let held = self.geometry.blocks as usize - self.free_blocks();
                    let most = self.geometry.blocks as usize * BLOCK;
                    return Err(Refusal::TooLarge { needed: (held + blocks) * BLOCK, most });
                }
                let item = self.write_item(value);
                Ok(self.enter_list(list, item, side))
            }
            Some(_) => Err(Refusal::NotAList),
            None => {
                let blocks = blocks + blocks_for(key.bytes.len(), IN_FIRST);
                self.check_size(blocks)?;
                self.make_room(blocks, NONE);
                let item = self.write_item(value);
                let list = self.write_entry(key, &[], 1, 0, 0);
                self.store(list, FIRST, item);
                self.store(list, LAST, item);
                self.make(key, list, Kind::List);
                Ok(1)
            }
        }
    }

    fn write_item(&mut self, value: Value<'_>) -> u32 {
        let (kind, word, bytes) = value.parts();
        let item = self.write_new([bytes, &[]], IN_ITEM);
        self.store(item, ITEM_KIND, kind as u32);
        self.store(item, ITEM_LENGTH, bytes.len() as u32);
        self.store64(item, ITEM_WORD, word);
        self.store(item, BEHIND, NONE);
        self.store(item, BEFORE, NONE);
        item
    }

    fn enter_list(&mut self, list: u32, item: u32, side: Side) -> usize {
        match side {
            Side::First => {
                let first = self.load(list, FIRST);
                self.store(item, BEHIND, first);
                self.store(list, FIRST, item);
                self.store(first, BEFORE, item);
            }
            Side::Last => {
                let last = self.load(list, LAST);
                self.store(item, BEFORE, last);
                self.store(last, BEHIND, item);
                self.store(list, LAST, item);
            }
        }
        let length = self.load(list, LENGTH) + 1;
        self.store(list, LENGTH, length);
        length as usize
    }

    /// Takes the item at an end, as [`get`](Part::get) gives values. One that is longer stays.
    pub(crate) fn take(&mut self, key: Key<'_>, side: Side, most: usize, into: &mut Vec<u8>) -> Result<Found, Refusal> {
        let Some(place) = self.find_live(key) else { return Ok(Found::Missing) };
        let list = place.entry;
        if !self.is_list(list) {
            return Err(Refusal::NotAList);
        }
        let item = self.load(list, if side == Side::First { FIRST } else { LAST });
        let length = self.load(item, ITEM_LENGTH) as usize;
        if length > most {
            return Ok(Found::Longer(length));
        }
        let found = Kind::of(self.load(item, ITEM_KIND)).map(|kind| kind.found(self.load64(item, ITEM_WORD)));
        self.copy(item, IN_ITEM, 0, length, into);
        let left = self.load(list, LENGTH) - 1;
        if left == 0 {
            // With the item. No list is empty.
            self.remove_entry(list);
        } else {
            self.leave_list(list, item, side);
            self.store(list, LENGTH, left);
            self.free_chain(item, blocks_for(length, IN_ITEM));
        }
        Ok(found.unwrap_or(Found::Missing))
    }

    fn leave_list(&mut self, list: u32, item: u32, side: Side) {
        match side {
            Side::First => {
                let second = self.load(item, BEHIND);
                self.store(list, FIRST, second);
                self.store(second, BEFORE, NONE);
            }
            Side::Last => {
                let before = self.load(item, BEFORE);
                self.store(before, BEHIND, NONE);
                self.store(list, LAST, before);
            }
        }
    }

    /// Items of a list; none where there is no list.
    pub(crate) fn length(&mut self, key: Key<'_>) -> Result<usize, Refusal> {
        match self.find_live(key) {
            None => Ok(0),
            Some(place) if self.is_list(place.entry) => Ok(self.load(place.entry, LENGTH) as usize),
            Some(_) => Err(Refusal::NotAList),
        }
    }

    /// Gives the blocks of all items of a list free, which itself does not count any more.
    pub(crate) fn free_items(&mut self, list: u32) {
        let mut item = self.load(list, FIRST);
        while item != NONE {
            let behind = self.load(item, BEHIND);
            let blocks = blocks_for(self.load(item, ITEM_LENGTH) as usize, IN_ITEM);
            self.free_chain(item, blocks);
            item = behind;
        }
    }
}
