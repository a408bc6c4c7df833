//! A part of a store under its lock: entries by key, and in the order of their use.

use crate::clock;
use crate::entry::{
    BESIDE, END, HASH, IN_FIRST, KEY_LENGTH, LENGTH, NEWER, NONE, OLDER, ROLE, SPACE, USED, WORD, blocks_for,
};
use crate::geometry::{BLOCK, Geometry};
use crate::segment::{Locked, Segment, TORN, WORDS};
use crate::value::{Found, Kind, Number, Refusal, Value};

// Words of a part's header. All but the counts of what has happened follow from its entries.

/// Blocks that were ever used: those from the first on.
pub(crate) const FRESH: usize = WORDS + 4;
/// The first of the free ones among them.
pub(crate) const FREE: usize = WORDS + 8;
/// How many those are.
pub(crate) const FREE_COUNT: usize = WORDS + 12;
/// The entry that was used last.
pub(crate) const NEWEST: usize = WORDS + 16;
/// The entry that was not used for longest.
pub(crate) const OLDEST: usize = WORDS + 20;
/// How many entries there are.
pub(crate) const ENTRIES: usize = WORDS + 24;
/// Counts the uses of entries.
pub(crate) const TICK: usize = WORDS + 32;
/// What was found, what not, and what made room for others.
pub(crate) const HITS: usize = WORDS + 40;
pub(crate) const MISSES: usize = WORDS + 48;
pub(crate) const EVICTIONS: usize = WORDS + 56;

/// A key with what is told of it before it is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub space: u64,
    pub bytes: &'a [u8],
    pub hash: u64,
}

/// Where an entry was found: it, and the one before it in its bucket.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub entry: u32,
    before: u32,
}

/// A part that this thread has for itself.
pub(crate) struct Part<'a> {
    pub geometry: Geometry,
    locked: Locked<'a>,
}

impl<'a> std::ops::Deref for Part<'a> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Locked<'a> {
        &self.locked
    }
}

impl std::ops::DerefMut for Part<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.locked
    }
}

impl<'a> Part<'a> {
    /// The part of that number, whole.
    #[inline]
    pub(crate) fn lock(segment: &'a Segment, number: usize) -> Result<Part<'a>, Refusal> {
        let mut part = Part { geometry: segment.geometry(), locked: segment.lock(number)? };
        if part.head.load32(TORN) != 0 {
            part.recover();
        }
        Ok(part)
    }

    fn bucket(&self, hash: u64) -> usize {
        (hash as u32 & (self.geometry.buckets - 1)) as usize * 4
    }

    /// The entry of a key, be it over or not.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<Place> {
        let mut place = Place { entry: self.area.load32(self.bucket(key.hash)), before: NONE };
        while place.entry != NONE {
            let entry = place.entry;
            if self.load(entry, HASH) == key.hash as u32
                && self.load64(entry, SPACE) == key.space
                && self.has_key(entry, key.bytes)
            {
                return Some(place);
            }
            place = Place { entry: self.load(entry, BESIDE), before: entry };
        }
        None
    }

    /// The entry of a key, which then has been used. One that is over goes.
    pub(crate) fn find_live(&mut self, key: Key<'_>) -> Option<Place> {
        let place = self.find(key)?;
        if self.is_over(place.entry) {
            self.remove(key.hash, place);
            return None;
        }
        self.renew(place.entry);
        Some(place)
    }

    pub(crate) fn is_over(&self, entry: u32) -> bool {
        let end = self.load64(entry, END);
        end != 0 && end <= clock::now()
    }

    pub(crate) fn kind_of(&self, entry: u32) -> Option<Kind> {
        Kind::of(self.load(entry, ROLE))
    }

    pub(crate) fn is_list(&self, entry: u32) -> bool {
        self.load(entry, ROLE) == Kind::List as u32
    }

    fn count(&mut self, what: usize) -> u64 {
        let count = self.head.load64(what) + 1;
        self.head.store64(what, count);
        count
    }

    /// Puts an entry before all others in the order of use.
    pub(crate) fn renew(&mut self, entry: u32) {
        if self.head.load32(NEWEST) != entry {
            self.leave_order(entry);
            self.enter_order(entry);
        }
    }

    pub(crate) fn enter_order(&mut self, entry: u32) {
        let tick = self.count(TICK);
        self.store64(entry, USED, tick);
        let newest = self.head.load32(NEWEST);
        self.store(entry, NEWER, NONE);
        self.store(entry, OLDER, newest);
        match newest {
            NONE => self.head.store32(OLDEST, entry),
            newest => self.store(newest, NEWER, entry),
        }
        self.head.store32(NEWEST, entry);
    }

    fn leave_order(&mut self, entry: u32) {
        let (newer, older) = (self.load(entry, NEWER), self.load(entry, OLDER));
        match newer {
            NONE => self.head.store32(NEWEST, older),
            newer => self.store(newer, OLDER, older),
        }
        match older {
            NONE => self.head.store32(OLDEST, newer),
            older => self.store(older, NEWER, newer),
        }
    }

    /// Puts an entry into the index.
    pub(crate) fn enter_index(&mut self, hash: u64, entry: u32) {
        let bucket = self.bucket(hash);
        let beside = self.area.load32(bucket);
        self.store(entry, BESIDE, beside);
        self.area.store32(bucket, entry);
        let entries = self.head.load32(ENTRIES);
        self.head.store32(ENTRIES, entries + 1);
    }

    fn leave_index(&mut self, hash: u64, place: Place) {
        let beside = self.load(place.entry, BESIDE);
        match place.before {
            NONE => {
                let bucket = self.bucket(hash);
                self.area.store32(bucket, beside);
            }
            before => self.store(before, BESIDE, beside),
        }
        let entries = self.head.load32(ENTRIES);
        self.head.store32(ENTRIES, entries - 1);
    }

    /// Takes an entry away.
    pub(crate) fn remove(&mut self, hash: u64, place: Place) {
        let entry = place.entry;
        // What it has is asked for while it still says so.
        let (blocks, is_list) = (self.blocks_of(entry), self.is_list(entry));
        self.unmake(entry);
        self.leave_index(hash, place);
        self.leave_order(entry);
        if is_list {
            self.free_items(entry);
        }
        self.free_chain(entry, blocks);
    }

    /// Makes so many blocks free by taking away what was not used for longest. Whether that could be: `kept` stays.
    pub(crate) fn make_room(&mut self, blocks: usize, kept: u32) -> bool {
        while self.free_blocks() < blocks {
            let oldest = self.head.load32(OLDEST);
            if oldest == NONE || oldest == kept {
                return false;
            }
            if !self.is_over(oldest) {
                self.count(EVICTIONS);
            }
            self.remove_entry(oldest);
        }
        true
    }

    /// Takes away an entry of which only the number is known.
    pub(crate) fn remove_entry(&mut self, entry: u32) {
        let hash = u64::from(self.load(entry, HASH));
        let mut place = Place { entry: self.area.load32(self.bucket(hash)), before: NONE };
        while place.entry != entry && place.entry != NONE {
            place = Place { entry: self.load(place.entry, BESIDE), before: place.entry };
        }
        if place.entry == entry {
            self.remove(hash, place);
        }
    }

    /// Whether there is room for so many blocks once all else has gone.
    pub(crate) fn check_size(&self, blocks: usize) -> Result<(), Refusal> {
        let most = self.geometry.blocks as usize;
        match blocks <= most {
            true => Ok(()),
            false => Err(Refusal::TooLarge { needed: blocks * BLOCK, most: most * BLOCK }),
        }
    }

    /// Writes an entry that does not count yet, with what is told of it.
    pub(crate) fn write_entry(&mut self, key: Key<'_>, bytes: &[u8], length: usize, word: u64, end: u64) -> u32 {
        let entry = self.write_new([key.bytes, bytes], IN_FIRST);
        self.store(entry, HASH, key.hash as u32);
        self.store(entry, KEY_LENGTH, key.bytes.len() as u32);
        self.store(entry, LENGTH, length as u32);
        self.store64(entry, END, end);
        self.store64(entry, WORD, word);
        self.store64(entry, SPACE, key.space);
        entry
    }

    /// Makes an entry count that is written, in the place of the one that has its key.
    pub(crate) fn make(&mut self, key: Key<'_>, entry: u32, kind: Kind) {
        // Its use is later than that of all others, so it is the one that counts of two.
        self.enter_order(entry);
        self.store(entry, ROLE, kind as u32);
        if let Some(old) = self.find(key) {
            self.remove(key.hash, old);
        }
        self.enter_index(key.hash, entry);
    }

    /// Puts a value under a key, in the place of what is there.
    pub(crate) fn put(&mut self, key: Key<'_>, value: Value<'_>, end: u64) -> Result<(), Refusal> {
        let (kind, word, bytes) = value.parts();
        let blocks = blocks_for(key.bytes.len() + bytes.len(), IN_FIRST);
        self.check_size(blocks)?;
        // The one that it takes the place of goes last: until then it is there for who comes when this one is killed.
        if let Some(old) = self.find(key) {
            self.renew(old.entry);
        }
        self.make_room(blocks, NONE);
        let entry = self.write_entry(key, bytes, bytes.len(), word, end);
        self.make(key, entry, kind);
        Ok(())
    }

    /// What is under a key, its bytes piece by piece for `take` if they are no more than `most`.
    #[inline]
    pub(crate) fn get(&mut self, key: Key<'_>, most: usize, mut take: impl FnMut(&[u8])) -> Result<Found, Refusal> {
        let Some(Place { entry, .. }) = self.find_live(key) else {
            self.count(MISSES);
            return Ok(Found::Missing);
        };
        let found = match self.kind_of(entry) {
            Some(Kind::List) | None => return Err(Refusal::List),
            Some(kind @ (Kind::Bytes | Kind::Encoded)) => {
                let length = self.load(entry, LENGTH) as usize;
                if length > most {
                    return Ok(Found::Longer(length));
                }
                self.read(entry, IN_FIRST, key.bytes.len(), length, |piece| {
                    take(piece);
                    true
                });
                kind.found(0)
            }
            Some(kind) => kind.found(self.load64(entry, WORD)),
        };
        self.count(HITS);
        Ok(found)
    }

    /// The same for a value of bytes, of which `begin` is told how many there are; it says whether they are wanted.
    #[inline]
    pub(crate) fn get_announced(
        &mut self,
        key: Key<'_>,
        begin: impl FnOnce(usize) -> bool,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Found, Refusal> {
        let Some(Place { entry, .. }) = self.find_live(key) else {
            self.count(MISSES);
            return Ok(Found::Missing);
        };
        let Some(kind @ (Kind::Bytes | Kind::Encoded)) = self.kind_of(entry) else { return Err(Refusal::NotBytes) };
        let length = self.load(entry, LENGTH) as usize;
        if !begin(length) {
            return Ok(Found::Longer(length));
        }
        self.read(entry, IN_FIRST, key.bytes.len(), length, |piece| {
            take(piece);
            true
        });
        self.count(HITS);
        Ok(kind.found(0))
    }

    /// Appends bytes of a chain to others.
    pub(crate) fn copy(&self, first: u32, in_first: usize, after: usize, length: usize, into: &mut Vec<u8>) {
        into.reserve(length);
        self.read(first, in_first, after, length, |piece| {
            into.extend_from_slice(piece);
            true
        });
    }

    /// Adds to a number, which keeps its time. Nothing where there is none.
    pub(crate) fn add(&mut self, key: Key<'_>, by: Number) -> Result<Option<Number>, Refusal> {
        let Some(Place { entry, .. }) = self.find_live(key) else { return Ok(None) };
        let before = match self.kind_of(entry) {
            Some(Kind::Integer) => Number::Integer(self.load64(entry, WORD) as i64),
            Some(Kind::Float) => Number::Float(f64::from_bits(self.load64(entry, WORD))),
            Some(Kind::List) => return Err(Refusal::List),
            _ => return Err(Refusal::NotANumber),
        };
        let sum = before.plus(by);
        match (before, sum) {
            // One word is whole whenever this ends.
            (Number::Integer(_), Number::Integer(sum)) => self.store64(entry, WORD, sum as u64),
            (Number::Float(_), Number::Float(sum)) => self.store64(entry, WORD, sum.to_bits()),
            // The kind is another word.
            _ => {
                let end = self.load64(entry, END);
                self.put(key, Value::Number(sum), end)?;
            }
        }
        Ok(Some(sum))
    }

    /// Takes all of a space away.
    pub(crate) fn clear(&mut self, space: u64) {
        let mut entry = self.head.load32(NEWEST);
        while entry != NONE {
            let older = self.load(entry, OLDER);
            if self.load64(entry, SPACE) == space {
                self.remove_entry(entry);
            }
            entry = older;
        }
    }
}
