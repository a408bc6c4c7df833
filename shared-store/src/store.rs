//! A store: what is kept by key, for all who share its memory.

use std::hash::Hasher;
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::clock;
use crate::entry::{BESIDE, END, NONE, SPACE};
use crate::geometry::BLOCK;
use crate::list::Side;
use crate::part::{ENTRIES, EVICTIONS, HITS, Key, MISSES, Part};
use crate::segment::Segment;
use crate::value::{Found, Number, Refusal, Value};

/// Bytes of a key at most.
pub const LONGEST_KEY: usize = 1024;

/// When a value is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// Where nothing is under the key.
    IfMissing,
    /// Where something is.
    IfThere,
}

/// What a store tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Information {
    /// Bytes of its memory.
    pub size: usize,
    /// Bytes that entries take of it.
    pub used: usize,
    /// Bytes that the largest entry can take.
    pub largest: usize,
    /// Entries, those that are over and not yet taken away too.
    pub entries: usize,
    /// Entries that made room for others since the store was made.
    pub evictions: u64,
    /// Values that were asked for and found.
    pub hits: u64,
    /// Values that were asked for and not found.
    pub misses: u64,
}

/// Keys, and where the next ones are.
#[derive(Debug, Default)]
pub struct Batch {
    /// Some keys.
    pub keys: Vec<Vec<u8>>,
    /// What to ask for next; nothing at the end.
    pub next: Option<(usize, u32)>,
}

/// Keys of a batch, after which it ends with its list of the index.
const BATCH: usize = 64;

/// A store. All functions may be called by many threads and processes at a time; each counts as a whole or not at all. Keys
/// are those of a space: who is not told of a space finds nothing of it.
pub struct Store {
    pub(crate) segment: Segment,
    secret: (u64, u64),
}

impl Store {
    /// A new and empty one, of so many bytes: from [`SMALLEST`](crate::SMALLEST) to [`LARGEST`](crate::LARGEST). Processes
    /// forked from this one share it.
    ///
    /// # Errors
    /// The system's, which has no such memory.
    pub fn new(size: usize) -> io::Result<Store> {
        let segment = Segment::new(size)?;
        let secret = segment.secret();
        Ok(Store { segment, secret })
    }

    /// The one whose memory begins there.
    ///
    /// # Safety
    /// So many bytes that [`new`](Store::new) has made, in this process or in one it was forked from, begin there; they were
    /// [kept](Store::keep), and are not given back before this is dropped. They were made by a library of this
    /// [`LAYOUT`](Store::LAYOUT).
    #[allow(unsafe_code, reason = "for memory that is known by its address")]
    pub unsafe fn at(start: NonNull<u8>, size: usize) -> Store {
        // SAFETY: the caller's promise.
        let segment = unsafe { Segment::at(start, size) };
        let secret = segment.secret();
        Store { segment, secret }
    }

    /// What changes with where things lie in a store's memory, or with how they are hashed: memory of another is not to be read.
    pub const LAYOUT: &str = "1";

    /// Lets the memory stay when this is dropped, until the process ends: where it begins.
    #[must_use]
    pub fn keep(&mut self) -> NonNull<u8> {
        self.segment.keep()
    }

    /// Gives the memory back to the system, also where it was kept.
    ///
    /// # Safety
    /// Nobody in this process uses it any more.
    #[allow(unsafe_code, reason = "for memory that is known by its address")]
    pub unsafe fn give_back(mut self) {
        self.segment.own();
    }

    /// Where its memory begins.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.segment.start()
    }

    /// Bytes of its memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.segment.size()
    }

    /// A space whose number nobody can choose, for a name.
    #[must_use]
    pub fn space(&self, name: &[u8]) -> u64 {
        // No key has its hash.
        let mut hasher = SipHasher13::new_with_keys(self.secret.1, self.secret.0);
        hasher.write(name);
        hasher.finish() | 1
    }

    fn locked<R>(
        &self,
        space: u64,
        key: &[u8],
        body: impl FnOnce(&mut Part<'_>, Key<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        if key.len() > LONGEST_KEY {
            return Err(Refusal::LongKey);
        }
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write_u64(space);
        hasher.write(key);
        let hash = hasher.finish();
        let number = (hash >> 32) as usize & (self.segment.geometry().parts - 1);
        body(&mut Part::lock(&self.segment, number)?, Key { space, bytes: key, hash })
    }

    /// What is under a key. Bytes are added to `into`, if they are no more than `most`.
    ///
    /// # Errors
    /// That it is a list, and those of every function: the key is too long, or the store busy.
    pub fn get(&self, space: u64, key: &[u8], most: usize, into: &mut Vec<u8>) -> Result<Found, Refusal> {
        self.get_pieces(space, key, most, |piece| into.extend_from_slice(piece))
    }

    /// The same with the bytes piece by piece for `take`, which does not come back to the store.
    ///
    /// # Errors
    /// As [`get`](Store::get).
    pub fn get_pieces(&self, space: u64, key: &[u8], most: usize, take: impl FnMut(&[u8])) -> Result<Found, Refusal> {
        self.locked(space, key, |part, key| part.get(key, most, take))
    }

    /// The same for a value of bytes, of which `begin` is told how many there are, and says whether they are wanted: else the value
    /// is [`Found::Longer`]. Neither comes back to the store.
    ///
    /// # Errors
    /// That it is no bytes, and those of every function.
    pub fn get_announced(
        &self,
        space: u64,
        key: &[u8],
        begin: impl FnOnce(usize) -> bool,
        take: impl FnMut(&[u8]),
    ) -> Result<Found, Refusal> {
        self.locked(space, key, |part, key| part.get_announced(key, begin, take))
    }

    /// Marks the store for all who share it, for good.
    pub fn mark(&self) {
        self.segment.mark();
    }

    /// Whether somebody has marked it. Takes no lock.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.segment.is_marked()
    }

    /// Puts a value under a key on a condition, for a time if one is given: whether it was put. What was not used for longest
    /// makes room.
    ///
    /// # Errors
    /// That there is no room for it even where nothing else is.
    pub fn put(
        &self,
        space: u64,
        key: &[u8],
        value: Value<'_>,
        lifetime: Option<Duration>,
        condition: Condition,
    ) -> Result<bool, Refusal> {
        self.locked(space, key, |part, key| {
            let is_met = match condition {
                Condition::Always => true,
                Condition::IfMissing => part.find_live(key).is_none(),
                Condition::IfThere => part.find_live(key).is_some(),
            };
            if is_met {
                part.put(key, value, clock::end_of(lifetime))?;
            }
            Ok(is_met)
        })
    }

    /// Takes away what is under a key: whether something was.
    ///
    /// # Errors
    /// Those of every function.
    pub fn delete(&self, space: u64, key: &[u8]) -> Result<bool, Refusal> {
        self.locked(space, key, |part, key| {
            let found = part.find_live(key);
            if let Some(place) = found {
                part.remove(key.hash, place);
            }
            Ok(found.is_some())
        })
    }

    /// Adds to a number, which keeps its time: the sum. Where there is none, it begins with `initial`, for a time if one is
    /// given, or stays missing.
    ///
    /// # Errors
    /// That what is there is no number.
    pub fn increment(
        &self,
        space: u64,
        key: &[u8],
        by: Number,
        initial: Option<Number>,
        lifetime: Option<Duration>,
    ) -> Result<Option<Number>, Refusal> {
        self.locked(space, key, |part, key| match part.add(key, by)? {
            Some(sum) => Ok(Some(sum)),
            None => {
                let Some(initial) = initial else { return Ok(None) };
                let sum = initial.plus(by);
                part.put(key, Value::Number(sum), clock::end_of(lifetime))?;
                Ok(Some(sum))
            }
        })
    }

    /// For how long a key's value is still there: nothing within is for ever.
    ///
    /// # Errors
    /// Those of every function.
    pub fn lifetime(&self, space: u64, key: &[u8]) -> Result<Option<Option<Duration>>, Refusal> {
        self.locked(space, key, |part, key| {
            let end = part.find_live(key).map(|place| part.load64(place.entry, END));
            Ok(end.map(|end| (end != 0).then(|| Duration::from_millis(end.saturating_sub(clock::now())))))
        })
    }

    /// Lets a key's value stay for a time from now on, or for ever: whether there is one.
    ///
    /// # Errors
    /// Those of every function.
    pub fn expire(&self, space: u64, key: &[u8], lifetime: Option<Duration>) -> Result<bool, Refusal> {
        self.locked(space, key, |part, key| {
            let found = part.find_live(key);
            if let Some(place) = found {
                part.store64(place.entry, END, clock::end_of(lifetime));
            }
            Ok(found.is_some())
        })
    }

    /// Adds an item at the end of a list, or at its beginning: how many there are then.
    ///
    /// # Errors
    /// That what is there is no list, and that there is no room for it beside the list's other items.
    pub fn push(&self, space: u64, key: &[u8], value: Value<'_>, at_end: bool) -> Result<usize, Refusal> {
        self.locked(space, key, |part, key| part.push(key, value, side(at_end)))
    }

    /// Takes an item from the end of a list, or from its beginning, as [`get`](Store::get) gives a value. One that is longer
    /// stays. With its last item a list goes.
    ///
    /// # Errors
    /// That what is there is no list.
    pub fn take(
        &self,
        space: u64,
        key: &[u8],
        at_end: bool,
        most: usize,
        into: &mut Vec<u8>,
    ) -> Result<Found, Refusal> {
        self.locked(space, key, |part, key| part.take(key, side(at_end), most, into))
    }

    /// Items of a list; none where there is nothing.
    ///
    /// # Errors
    /// That what is there is no list.
    pub fn length(&self, space: u64, key: &[u8]) -> Result<usize, Refusal> {
        self.locked(space, key, |part, key| part.length(key))
    }

    /// Some keys of a space: the first ones without a place, and those from one on that an earlier batch has told. What is put
    /// meanwhile may be among them or not.
    ///
    /// # Errors
    /// That the store is busy.
    pub fn keys(&self, space: u64, from: Option<(usize, u32)>) -> Result<Batch, Refusal> {
        let geometry = self.segment.geometry();
        let (number, mut bucket) = from.unwrap_or((0, 0));
        let mut batch = Batch::default();
        if number >= geometry.parts {
            return Ok(batch);
        }
        let part = Part::lock(&self.segment, number)?;
        while bucket < geometry.buckets && batch.keys.len() < BATCH {
            let mut entry = part.area.load32(bucket as usize * 4);
            while entry != NONE {
                if part.load64(entry, SPACE) == space && !part.is_over(entry) {
                    batch.keys.push(part.key_of(entry));
                }
                entry = part.load(entry, BESIDE);
            }
            bucket += 1;
        }
        batch.next = match bucket < geometry.buckets {
            true => Some((number, bucket)),
            false => (number + 1 < geometry.parts).then_some((number + 1, 0)),
        };
        Ok(batch)
    }

    /// Takes away all of a space, part by part.
    ///
    /// # Errors
    /// That the store is busy.
    pub fn clear(&self, space: u64) -> Result<(), Refusal> {
        for number in 0..self.segment.geometry().parts {
            Part::lock(&self.segment, number)?.clear(space);
        }
        Ok(())
    }

    /// What there is of all spaces together.
    ///
    /// # Errors
    /// That the store is busy.
    pub fn information(&self) -> Result<Information, Refusal> {
        let geometry = self.segment.geometry();
        let largest = geometry.blocks as usize * BLOCK;
        let mut all = Information { size: self.segment.size(), largest, ..Information::default() };
        for number in 0..geometry.parts {
            let part = Part::lock(&self.segment, number)?;
            all.used += (geometry.blocks as usize - part.free_blocks()) * BLOCK;
            all.entries += part.head.load32(ENTRIES) as usize;
            all.evictions += part.head.load64(EVICTIONS);
            all.hits += part.head.load64(HITS);
            all.misses += part.head.load64(MISSES);
        }
        Ok(all)
    }
}

fn side(at_end: bool) -> Side {
    if at_end { Side::Last } else { Side::First }
}
