//! Stores whose process is killed: at each write of each function, and at each write of what mends that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use proptest::prelude::*;

use crate::clock::AHEAD;
use crate::geometry::SMALLEST;
use crate::memory::FUSE;
use crate::model::{Act, Kept, Model, Name, act, acts, contents};
use crate::segment::TORN;
use crate::{Condition, Found, Number, Store, Value};

/// Does something, and is killed at the write after so many: whether it came so far.
fn killed_after(writes: usize, body: impl FnOnce()) -> bool {
    FUSE.set(Some(writes));
    let killed = catch_unwind(AssertUnwindSafe(body)).is_err();
    FUSE.set(None);
    killed
}

fn target(act: &Act) -> Option<Name> {
    match act {
        Act::Put(name, ..) | Act::Get(name) | Act::Delete(name) | Act::Add(name, ..) => Some(*name),
        Act::Push(name, ..) | Act::Take(name, _) | Act::Length(name) | Act::Expire(name, _) | Act::Lifetime(name) => {
            Some(*name)
        }
        Act::Wait(_) | Act::Clear(_) => None,
    }
}

/// Whether what is left of a function that was killed is what was there before, or after, or what has made room meanwhile gone.
fn assert_between(left: &[(Name, Kept)], before: &Model, after: &Model, what: &Act) {
    let value = |model: &Model, name: Name| {
        model.entries.iter().find(|(other, ..)| *other == name).map(|(_, kept, _)| kept.clone())
    };
    for (name, kept) in left {
        let (old, new) = (value(before, *name), value(after, *name));
        assert!(old.as_ref() == Some(kept) || new.as_ref() == Some(kept), "{what:?}: {name:?} is {kept:?}");
    }
    // The model forgets one whose time is over when that name is asked for; nobody is owed it before.
    for (name, ..) in before.entries.iter().filter(|(_, _, end)| before.is_live(*end)) {
        let is_left = left.iter().any(|(other, _)| other == name);
        // Its own old value goes first where there is no room beside it.
        let may_go = value(after, *name).is_none() || target(what) == Some(*name) && after.entries.len() == 1;
        assert!(is_left || may_go, "{what:?}: {name:?} is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn at_each_write_a_killed_process_leaves_what_was_or_what_is(
        acts in proptest::collection::vec(acts(), 1..40),
        last in acts(),
    ) {
        let (store, mut model) = (Store::new(SMALLEST).unwrap(), Model::new());
        AHEAD.set(0);
        for one in &acts {
            act(&store, one);
            model.act(one);
        }
        let before = store.segment.copy();
        let mut after = model.clone();
        after.act(&last);
        let ahead = AHEAD.get();
        let mut writes = 0;
        while killed_after(writes, || drop(act(&store, &last))) {
            let killed = store.segment.copy();
            let left = contents(&store);
            assert_between(&left, &model, &after, &last);
            // Who mends it may be killed as well.
            let mut mending = 0;
            loop {
                store.segment.set(&killed);
                let is_killed = killed_after(mending, || store.clear(99).unwrap());
                prop_assert_eq!(&contents(&store), &left, "{:?}: mended after {} writes", &last, mending);
                if !is_killed {
                    break;
                }
                mending += 1 + mending / 3;
            }
            // It goes on as if nothing had been.
            prop_assert_eq!(store.put(0, b"new", Value::Boolean(true), None, Condition::Always), Ok(true));
            prop_assert_eq!(store.get(0, b"new", 0, &mut Vec::new()), Ok(Found::Boolean(true)));
            store.segment.set(&before);
            AHEAD.set(ahead);
            // Long values are written in many pieces of one kind.
            writes += 1 + writes / 16;
        }
    }
}

#[test]
fn the_lock_of_a_thread_that_is_gone_is_to_be_had_and_its_part_is_mended() {
    let store = Store::new(SMALLEST).unwrap();
    let one = Value::Number(Number::Integer(1));
    store.put(0, b"key", one, None, Condition::Always).unwrap();
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let mut locked = store.segment.lock(0).unwrap();
            // The index leads nowhere now.
            let index = store.segment.geometry().buckets as usize * 4;
            locked.area.clear(0, index);
            std::mem::forget(locked);
        });
        holder.join().unwrap();
    });
    assert_eq!(store.get(0, b"key", 0, &mut Vec::new()), Ok(Found::Number(Number::Integer(1))));
    assert_eq!(store.segment.lock(0).unwrap().head.load32(TORN), 0);
}
