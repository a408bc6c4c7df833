//! What a store does, said in a simple way: a test does the same with both.

use std::time::Duration;

use proptest::prelude::*;

use crate::clock::AHEAD;
use crate::entry::{IN_FIRST, IN_ITEM, NEWER, NONE, OLDER, SPACE, blocks_for};
use crate::geometry::{Geometry, SMALLEST};
use crate::part::{ENTRIES, FREE, FREE_COUNT, FRESH, NEWEST, OLDEST, Part};
use crate::{Condition, Found, Number, Refusal, Store, Value};

/// Milliseconds of the unit in which tests count time: longer than any test takes.
const UNIT: u64 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Bytes(u8, usize),
    Encoded(u8, usize),
    List(Vec<Kept>),
}

impl Kept {
    fn with<R>(&self, body: impl FnOnce(Value<'_>) -> R) -> R {
        match self {
            Kept::Boolean(truth) => body(Value::Boolean(*truth)),
            Kept::Integer(integer) => body(Value::Number(Number::Integer(*integer))),
            Kept::Float(float) => body(Value::Number(Number::Float(*float))),
            Kept::Bytes(byte, length) => body(Value::Bytes(&vec![*byte; *length])),
            Kept::Encoded(byte, length) => body(Value::Encoded(&vec![*byte; *length])),
            Kept::List(_) => unreachable!("lists are put together of items"),
        }
    }

    fn of(found: Found, bytes: &[u8]) -> Option<Kept> {
        let byte = bytes.first().copied().unwrap_or(0);
        assert!(bytes.iter().all(|other| *other == byte), "torn");
        match found {
            Found::Missing => None,
            Found::Boolean(truth) => Some(Kept::Boolean(truth)),
            Found::Number(Number::Integer(integer)) => Some(Kept::Integer(integer)),
            Found::Number(Number::Float(float)) => Some(Kept::Float(float)),
            Found::Bytes => Some(Kept::Bytes(byte, bytes.len())),
            Found::Encoded => Some(Kept::Encoded(byte, bytes.len())),
            Found::Longer(_) => panic!("longer than all"),
        }
    }

    fn length(&self) -> usize {
        match self {
            Kept::Bytes(_, length) | Kept::Encoded(_, length) => *length,
            _ => 0,
        }
    }
}

/// Space and number of a key.
pub(crate) type Name = (u64, usize);

fn key((_, number): Name) -> Vec<u8> {
    vec![b'a' + number as u8; number * number * 7 % 600]
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Put(Name, Kept, u64, Condition),
    Get(Name),
    Delete(Name),
    Add(Name, Kept, Option<i64>),
    Push(Name, Kept, bool),
    Take(Name, bool),
    Length(Name),
    Expire(Name, u64),
    Lifetime(Name),
    Wait(u64),
    Clear(u64),
}

#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Value(Option<Kept>),
    Truth(bool),
    Count(usize),
    Time(Option<Option<u64>>),
    Refused(Refusal),
    Nothing,
}

fn lifetime(units: u64) -> Option<Duration> {
    (units > 0).then(|| Duration::from_millis(units * UNIT))
}

/// Lets a store do it.
pub(crate) fn act(store: &Store, act: &Act) -> Answer {
    let truth = |done: Result<bool, Refusal>| done.map_or_else(Answer::Refused, Answer::Truth);
    let count = |done: Result<usize, Refusal>| done.map_or_else(Answer::Refused, Answer::Count);
    let mut bytes = Vec::new();
    match act {
        Act::Put(name, kept, units, condition) => {
            truth(kept.with(|value| store.put(name.0, &key(*name), value, lifetime(*units), *condition)))
        }
        Act::Get(name) => match store.get(name.0, &key(*name), usize::MAX, &mut bytes) {
            Ok(found) => Answer::Value(Kept::of(found, &bytes)),
            Err(refusal) => Answer::Refused(refusal),
        },
        Act::Delete(name) => truth(store.delete(name.0, &key(*name))),
        Act::Add(name, by, initial) => {
            let by = match by {
                Kept::Integer(integer) => Number::Integer(*integer),
                Kept::Float(float) => Number::Float(*float),
                _ => Number::Integer(1),
            };
            let initial = initial.map(Number::Integer);
            match store.increment(name.0, &key(*name), by, initial, None) {
                Ok(sum) => Answer::Value(sum.and_then(|sum| Kept::of(Found::Number(sum), &[]))),
                Err(refusal) => Answer::Refused(refusal),
            }
        }
        Act::Push(name, kept, at_end) => count(kept.with(|value| store.push(name.0, &key(*name), value, *at_end))),
        Act::Take(name, at_end) => match store.take(name.0, &key(*name), *at_end, usize::MAX, &mut bytes) {
            Ok(found) => Answer::Value(Kept::of(found, &bytes)),
            Err(refusal) => Answer::Refused(refusal),
        },
        Act::Length(name) => count(store.length(name.0, &key(*name))),
        Act::Expire(name, units) => truth(store.expire(name.0, &key(*name), lifetime(*units))),
        Act::Lifetime(name) => match store.lifetime(name.0, &key(*name)) {
            Ok(time) => {
                let units = |time: Duration| (time.as_millis() as u64).div_ceil(UNIT);
                Answer::Time(time.map(|time| time.map(units)))
            }
            Err(refusal) => Answer::Refused(refusal),
        },
        Act::Wait(units) => {
            AHEAD.set(AHEAD.get() + units * UNIT);
            Answer::Nothing
        }
        Act::Clear(space) => {
            store.clear(*space).unwrap();
            Answer::Nothing
        }
    }
}

/// A part of a store as a list of what was used last, newest first.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub entries: Vec<(Name, Kept, u64)>,
    blocks: usize,
    now: u64,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { entries: Vec::new(), blocks: Geometry::of(SMALLEST).blocks as usize, now: 0 }
    }

    fn blocks(name: Name, kept: &Kept) -> usize {
        match kept {
            Kept::List(items) => {
                let of_items = items.iter().map(|item| blocks_for(item.length(), IN_ITEM)).sum::<usize>();
                blocks_for(key(name).len(), IN_FIRST) + of_items
            }
            kept => blocks_for(key(name).len() + kept.length(), IN_FIRST),
        }
    }

    fn free(&self) -> usize {
        self.blocks - self.entries.iter().map(|(name, kept, _)| Model::blocks(*name, kept)).sum::<usize>()
    }

    /// Moves it to the front.
    fn find(&mut self, name: Name) -> bool {
        let at = self.entries.iter().position(|(other, ..)| *other == name);
        if let Some(at) = at {
            let entry = self.entries.remove(at);
            self.entries.insert(0, entry);
        }
        at.is_some()
    }

    /// Whether an entry that ends then counts still.
    pub(crate) fn is_live(&self, end: u64) -> bool {
        end == 0 || end > self.now
    }

    fn find_live(&mut self, name: Name) -> bool {
        let now = self.now;
        self.entries.retain(|(other, _, end)| *other != name || *end == 0 || *end > now);
        self.find(name)
    }

    fn make_room(&mut self, blocks: usize, kept: Option<Name>) -> bool {
        while self.free() < blocks {
            match self.entries.last() {
                Some((name, ..)) if Some(*name) != kept => self.entries.pop(),
                _ => return false,
            };
        }
        true
    }

    fn put(&mut self, name: Name, kept: Kept, end: u64) -> Answer {
        let blocks = Model::blocks(name, &kept);
        if blocks > self.blocks {
            return Answer::Refused(Refusal::TooLarge { needed: blocks * 128, most: self.blocks * 128 });
        }
        self.find(name);
        self.make_room(blocks, None);
        self.entries.retain(|(other, ..)| *other != name);
        self.entries.insert(0, (name, kept, end));
        Answer::Truth(true)
    }

    fn end(&self, units: u64) -> u64 {
        if units == 0 { 0 } else { self.now + units }
    }

    /// Does it itself.
    pub(crate) fn act(&mut self, act: &Act) -> Answer {
        match act {
            Act::Put(name, kept, units, condition) => {
                let is_met = match condition {
                    Condition::Always => true,
                    Condition::IfMissing => !self.find_live(*name),
                    Condition::IfThere => self.find_live(*name),
                };
                if is_met { self.put(*name, kept.clone(), self.end(*units)) } else { Answer::Truth(false) }
            }
            Act::Get(name) => match self.find_live(*name).then(|| self.entries[0].1.clone()) {
                Some(Kept::List(_)) => Answer::Refused(Refusal::List),
                found => Answer::Value(found),
            },
            Act::Delete(name) => {
                let found = self.find_live(*name);
                self.entries.retain(|(other, ..)| other != name);
                Answer::Truth(found)
            }
            Act::Add(name, by, initial) => {
                if !self.find_live(*name) {
                    let Some(initial) = initial else { return Answer::Value(None) };
                    let sum = sum(&Kept::Integer(*initial), by);
                    self.put(*name, sum.clone(), 0);
                    return Answer::Value(Some(sum));
                }
                match self.entries[0].1.clone() {
                    before @ (Kept::Integer(_) | Kept::Float(_)) => {
                        let sum = sum(&before, by);
                        if std::mem::discriminant(&before) == std::mem::discriminant(&sum) {
                            self.entries[0].1 = sum.clone();
                        } else {
                            let end = self.entries[0].2;
                            self.put(*name, sum.clone(), end);
                        }
                        Answer::Value(Some(sum))
                    }
                    Kept::List(_) => Answer::Refused(Refusal::List),
                    _ => Answer::Refused(Refusal::NotANumber),
                }
            }
            Act::Push(name, kept, at_end) => self.push(*name, kept, *at_end),
            Act::Take(name, at_end) => {
                if !self.find_live(*name) {
                    return Answer::Value(None);
                }
                let Kept::List(items) = &mut self.entries[0].1 else { return Answer::Refused(Refusal::NotAList) };
                let item = if *at_end { items.pop() } else { Some(items.remove(0)) };
                if items.is_empty() {
                    self.entries.remove(0);
                }
                Answer::Value(item)
            }
            Act::Length(name) => match self.find_live(*name).then(|| self.entries[0].1.clone()) {
                None => Answer::Count(0),
                Some(Kept::List(items)) => Answer::Count(items.len()),
                Some(_) => Answer::Refused(Refusal::NotAList),
            },
            Act::Expire(name, units) => {
                let (found, end) = (self.find_live(*name), self.end(*units));
                if found {
                    self.entries[0].2 = end;
                }
                Answer::Truth(found)
            }
            Act::Lifetime(name) => {
                let end = self.find_live(*name).then(|| self.entries[0].2);
                Answer::Time(end.map(|end| (end != 0).then(|| end - self.now)))
            }
            Act::Wait(units) => {
                self.now += units;
                Answer::Nothing
            }
            Act::Clear(space) => {
                self.entries.retain(|(name, ..)| name.0 != *space);
                Answer::Nothing
            }
        }
    }

    fn push(&mut self, name: Name, kept: &Kept, at_end: bool) -> Answer {
        let blocks = blocks_for(kept.length(), IN_ITEM);
        if self.find_live(name) {
            if !matches!(self.entries[0].1, Kept::List(_)) {
                return Answer::Refused(Refusal::NotAList);
            }
            if !self.make_room(blocks, Some(name)) {
                let needed = (self.blocks - self.free() + blocks) * 128;
                return Answer::Refused(Refusal::TooLarge { needed, most: self.blocks * 128 });
            }
            let Kept::List(items) = &mut self.entries[0].1 else { unreachable!("it was one") };
            items.insert(if at_end { items.len() } else { 0 }, kept.clone());
            return Answer::Count(items.len());
        }
        match self.put(name, Kept::List(vec![kept.clone()]), 0) {
            Answer::Truth(_) => Answer::Count(1),
            refused => refused,
        }
    }
}

fn sum(one: &Kept, other: &Kept) -> Kept {
    match (one, other) {
        (Kept::Integer(one), Kept::Integer(other)) => Kept::Integer(one.wrapping_add(*other)),
        (Kept::Integer(one), Kept::Float(other)) => Kept::Float(*one as f64 + other),
        (Kept::Float(one), Kept::Integer(other)) => Kept::Float(one + *other as f64),
        (Kept::Float(one), Kept::Float(other)) => Kept::Float(one + other),
        // What no number is added to counts by one.
        (one, _) => sum(one, &Kept::Integer(1)),
    }
}

/// The entries of a store of one part, newest first; all that is told of them is looked at.
pub(crate) fn contents(store: &Store) -> Vec<(Name, Kept)> {
    let part = Part::lock(&store.segment, 0).unwrap();
    let mut names = Vec::new();
    let (mut entry, mut newer) = (part.head.load32(NEWEST), NONE);
    while entry != NONE {
        assert_eq!(part.load(entry, NEWER), newer);
        let key = part.key_of(entry);
        let number = (0..20).find(|number| self::key((0, *number)) == key).unwrap();
        names.push(((part.load64(entry, SPACE), number), part.is_list(entry)));
        (newer, entry) = (entry, part.load(entry, OLDER));
    }
    assert_eq!(part.head.load32(OLDEST), newer);
    assert_eq!(part.head.load32(ENTRIES) as usize, names.len());
    let (mut free, mut count) = (part.head.load32(FREE), 0);
    while free != NONE {
        assert!(free <= part.head.load32(FRESH));
        (free, count) = (part.load(free, 0), count + 1);
    }
    assert_eq!(part.head.load32(FREE_COUNT), count);
    let free = part.free_blocks();
    drop(part);
    // A look at a value changes the order, and takes away what is over; so it is made with a copy's.
    let bytes = store.segment.copy();
    let ahead = AHEAD.replace(0);
    let mut read = Vec::new();
    for (name, is_list) in names {
        let mut items = Vec::new();
        let kept = if is_list {
            let length = store.length(name.0, &key(name)).unwrap();
            for _ in 0..length {
                match act(store, &Act::Take(name, items.len() % 2 == 1)) {
                    Answer::Value(Some(item)) => items.insert(items.len().div_ceil(2), item),
                    other => panic!("{name:?}: {other:?}"),
                }
            }
            Kept::List(items)
        } else {
            match act(store, &Act::Get(name)) {
                Answer::Value(Some(kept)) => kept,
                other => panic!("{name:?}: {other:?}"),
            }
        };
        read.push((name, kept));
    }
    AHEAD.set(ahead);
    store.segment.set(&bytes);
    let taken: usize = read.iter().map(|(name, kept)| Model::blocks(*name, kept)).sum();
    assert_eq!(taken + free, Geometry::of(SMALLEST).blocks as usize, "blocks are lost, or had twice");
    read
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    (prop_oneof![3 => Just(0_u64), 1 => Just(7)], 0..12_usize)
}

pub(crate) fn kept() -> impl Strategy<Value = Kept> {
    prop_oneof![
        any::<bool>().prop_map(Kept::Boolean),
        prop_oneof![-5..5_i64, Just(i64::MAX)].prop_map(Kept::Integer),
        (-8..8_i32).prop_map(|number| Kept::Float(f64::from(number) / 4.0)),
        (any::<u8>(), prop_oneof![0..300_usize, 0..30_000_usize, Just(62_000)]).prop_map(
            |(byte, length)| match length {
                0 => Kept::Bytes(0, 0),
                length => Kept::Bytes(byte, length),
            }
        ),
        (any::<u8>(), 1..900_usize).prop_map(|(byte, length)| Kept::Encoded(byte, length)),
    ]
}

pub(crate) fn acts() -> impl Strategy<Value = Act> {
    let condition =
        prop_oneof![3 => Just(Condition::Always), 1 => Just(Condition::IfMissing), 1 => Just(Condition::IfThere)];
    let units = prop_oneof![2 => Just(0_u64), 1 => 1..4_u64];
    prop_oneof![
        6 => (name(), kept(), units.clone(), condition).prop_map(|(name, kept, units, condition)| Act::Put(name, kept, units, condition)),
        4 => name().prop_map(Act::Get),
        1 => name().prop_map(Act::Delete),
        2 => (name(), kept(), proptest::option::of(-3..3_i64)).prop_map(|(name, by, initial)| Act::Add(name, by, initial)),
        4 => (name(), kept(), any::<bool>()).prop_map(|(name, kept, at_end)| Act::Push(name, kept, at_end)),
        3 => (name(), any::<bool>()).prop_map(|(name, at_end)| Act::Take(name, at_end)),
        1 => name().prop_map(Act::Length),
        1 => (name(), units).prop_map(|(name, units)| Act::Expire(name, units)),
        1 => name().prop_map(Act::Lifetime),
        1 => (1..3_u64).prop_map(Act::Wait),
        1 => prop_oneof![Just(7_u64), Just(9)].prop_map(Act::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_store_does_what_its_model_does(acts in proptest::collection::vec(acts(), 1..120)) {
        let (store, mut model) = (Store::new(SMALLEST).unwrap(), Model::new());
        AHEAD.set(0);
        for one in &acts {
            prop_assert_eq!(act(&store, one), model.act(one), "{:?}", one);
            let kept: Vec<_> = model.entries.iter().map(|(name, kept, _)| (*name, kept.clone())).collect();
            prop_assert_eq!(contents(&store), kept, "after {:?}", one);
        }
    }
}
