//! Processes that write to a store and are killed, a thousand of them: no lock stays, no value is torn, and nothing is lost that
//! one of them was told is there.
//!
//! A program without threads, for it forks.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, in its own functions too"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use shared_store::{Condition, Found, Number, SMALLEST, Store, Value};

/// Processes that are killed, and those that write at a time.
const KILLS: u64 = 1000;
const WRITERS: usize = 3;

/// Keys that each writes to.
const KEYS: usize = 12;

/// What writers note for the one that looks: for each key the last number begun, and the last that was put.
struct Notes(&'static [AtomicU64]);

impl Notes {
    /// In memory that processes share, which is that of a store nobody uses as one.
    fn new() -> Notes {
        let count = WRITERS * (KEYS + 2) * 2;
        let mut store = Store::new(SMALLEST).unwrap();
        let start = store.keep().as_ptr().cast::<AtomicU64>();
        // SAFETY: the memory stays, is large enough, and holds numbers from its middle on: they are 0 at first.
        Notes(unsafe { std::slice::from_raw_parts(start.add(SMALLEST / 16), count) })
    }

    fn begun(&self, writer: usize, key: usize) -> &AtomicU64 {
        &self.0[(writer * (KEYS + 2) + key) * 2]
    }

    fn put(&self, writer: usize, key: usize) -> &AtomicU64 {
        &self.0[(writer * (KEYS + 2) + key) * 2 + 1]
    }

    fn all(&self) -> u64 {
        self.0.iter().map(|number| number.load(Ordering::SeqCst)).sum()
    }
}

/// A number as a value of its own length, which shows where it is torn.
fn value(number: u64, longest: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number as usize * 37) % longest, number as u8);
    bytes
}

fn number_of(bytes: &[u8], longest: usize) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, value(number, longest), "torn");
    number
}

fn key(writer: usize, key: usize) -> Vec<u8> {
    format!("writer {writer}, key {key}").into_bytes()
}

/// Goes on writing from where the one before was killed, until it is.
fn write(store: &Store, notes: &Notes, writer: usize, longest: usize) -> ! {
    loop {
        for number in 0..KEYS {
            let next = notes
                .put(writer, number)
                .load(Ordering::SeqCst)
                .max(notes.begun(writer, number).load(Ordering::SeqCst))
                + 1;
            notes.begun(writer, number).store(next, Ordering::SeqCst);
            let key = key(writer, number);
            store.put(0, &key, Value::Bytes(&value(next, longest)), None, Condition::Always).unwrap();
            notes.put(writer, number).store(next, Ordering::SeqCst);
        }
        let counter = key(writer, KEYS);
        notes.begun(writer, KEYS).fetch_add(1, Ordering::SeqCst);
        store.increment(0, &counter, Number::Integer(1), Some(Number::Integer(0)), None).unwrap();
        notes.put(writer, KEYS).fetch_add(1, Ordering::SeqCst);
        // A list that grows by three and loses two, of which no item is torn.
        let list = key(writer, KEYS + 1);
        for turn in 0..5_u64 {
            notes.begun(writer, KEYS + 1).fetch_add(1, Ordering::SeqCst);
            let now = value(notes.begun(writer, KEYS + 1).load(Ordering::SeqCst), 300);
            if turn % 2 == 0 && store.length(0, &list).unwrap() < 40 {
                store.push(0, &list, Value::Bytes(&now), turn == 0).unwrap();
            } else {
                let mut bytes = Vec::new();
                if store.take(0, &list, turn == 1, usize::MAX, &mut bytes).unwrap() == Found::Bytes {
                    number_of(&bytes, 300);
                }
            }
        }
    }
}

fn start(store: &Store, notes: &Notes, writer: usize, longest: usize) -> Pid {
    // SAFETY: this process has one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => write(store, notes, writer, longest),
    }
}

/// Looks at all values. Where there is room for all of them each must be there.
fn look(store: &Store, notes: &Notes, dead: usize, longest: usize, has_room: bool) {
    for number in 0..KEYS {
        let mut bytes = Vec::new();
        let put = notes.put(dead, number).load(Ordering::SeqCst);
        match store.get(0, &key(dead, number), usize::MAX, &mut bytes).unwrap() {
            Found::Bytes => {
                let found = number_of(&bytes, longest);
                let begun = notes.begun(dead, number).load(Ordering::SeqCst);
                assert!((put..=begun).contains(&found), "{found} is not from {put} to {begun}");
                assert!(begun - put <= KILLS, "{put} to {begun}");
            }
            Found::Missing => assert!(!has_room || put == 0, "value {put} is lost"),
            other => panic!("{other:?}"),
        }
    }
    if has_room {
        let put = notes.put(dead, KEYS).load(Ordering::SeqCst) as i64;
        let begun = notes.begun(dead, KEYS).load(Ordering::SeqCst) as i64;
        match store.get(0, &key(dead, KEYS), 0, &mut Vec::new()).unwrap() {
            Found::Number(Number::Integer(count)) => {
                assert!((put..=begun).contains(&count), "{count}: {put} to {begun}")
            }
            Found::Missing => assert_eq!(put, 0),
            other => panic!("{other:?}"),
        }
    }
    store.length(0, &key(dead, KEYS + 1)).unwrap();
}

/// Kills writers one after the other, and looks after each at what it has left.
fn kill_all(size: usize, longest: usize, has_room: bool) {
    let (store, notes) = (Store::new(size).unwrap(), Notes::new());
    let mut writers: Vec<Pid> = (0..WRITERS).map(|writer| start(&store, &notes, writer, longest)).collect();
    let mut random = 1_u64;
    for turn in 0..KILLS as usize {
        let dead = turn % WRITERS;
        let before = notes.all();
        let begun = Instant::now();
        // Somebody has written meanwhile; then a moment of some other length, so that they are killed anywhere.
        while notes.all() == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody writes any more");
            std::thread::yield_now();
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (moment, begun) = (Duration::from_nanos(random >> 44), Instant::now());
        while begun.elapsed() < moment {
            std::hint::spin_loop();
        }
        kill(writers[dead], Signal::SIGKILL).unwrap();
        waitpid(writers[dead], None).unwrap();
        look(&store, &notes, dead, longest, has_room);
        writers[dead] = start(&store, &notes, dead, longest);
    }
    for writer in writers {
        kill(writer, Signal::SIGKILL).unwrap();
        waitpid(writer, None).unwrap();
    }
    for writer in 0..WRITERS {
        look(&store, &notes, writer, longest, has_room);
    }
    let information = store.information().unwrap();
    assert_eq!(information.evictions == 0, has_room, "{information:?}");
    println!("{KILLS} killed, {} values put and looked for, {information:?}", notes.all() / 2);
}

fn main() {
    let begun = Instant::now();
    kill_all(1 << 20, 400, true);
    kill_all(SMALLEST, 6000, false);
    println!("test result: ok. {} processes killed in {:.1} s", 2 * KILLS, begun.elapsed().as_secs_f64());
}
