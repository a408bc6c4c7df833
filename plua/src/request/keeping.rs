//! A response that is to be kept for other visitors: what the page wishes, what its head allows, and where it is to lie.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::time::Duration;

use crate::exchange::{Exchange, Head, HeaderChange, KeptPlace};
use crate::kept::Making;
use crate::kept::address::Address;
use crate::kept::answer::Pointer;

/// Seconds that no answer is kept beyond: a thousand years.
pub(super) const LONGEST: f64 = 3.2e10;

/// What a page wants of its keeping.
#[derive(Debug, Default)]
pub struct Wish {
    /// Seconds for which it is fresh; may be infinite.
    pub seconds: f64,
    /// Names of the request's headers that it depends on, beside those that its `Vary` names.
    pub vary: Vec<Vec<u8>>,
    /// What stands in the place of the query.
    pub key: Option<Vec<u8>>,
    /// Whether those get it too of whom the server knows who they are.
    pub is_for_users: bool,
}

/// A response that is to be kept, or that waits for somebody else who makes it.
pub struct Keeping {
    pub(super) place: KeptPlace,
    pub(super) wish: Wish,
    /// Where it is to lie, and the right to make it.
    pub(super) target: Address,
    pub(super) making: Option<Box<Making>>,
    /// Who made it when this one began to wait.
    pub(super) maker: Option<Vec<u8>>,
}

/// What becomes of a page that wants to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on, and what it answers is kept.
    Makes,
    /// It goes on, and is not kept.
    Not,
    /// It has nothing more to do: what was kept is the answer.
    Kept,
    /// Somebody else makes it: it looks again soon.
    Waits,
}

/// It stays for twice as long as it is fresh: to be shown while the next one is made.
pub(super) fn lifetime(wish: &Wish) -> Option<Duration> {
    wish.seconds.is_finite().then(|| Duration::from_secs_f64(wish.seconds.min(LONGEST) * 2.0))
}

/// Lets a request's own address lead to where its answer lies.
pub(super) fn lead(place: &KeptPlace, wish: &Wish, names: &[Vec<u8>]) {
    if let Some(bytes) = Pointer::bytes(wish.key.as_deref(), names) {
        place.pages.keep(&mut place.address.clone(), &bytes, lifetime(wish));
    }
}

/// Where a response of this head lies; none where that is too long, or it is for one visitor.
pub(super) fn target(exchange: &dyn Exchange, address: &Address, key: Option<&[u8]>, head: &Head) -> Option<Address> {
    let names = vary(head)?;
    let mut target = address.clone();
    if names.is_empty() && key.is_none() {
        return Some(target);
    }
    let mut values: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    exchange.headers(&mut |name, value| {
        let is_wanted = names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
        if is_wanted && !values.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            values.push((name.to_vec(), value.to_vec()));
        }
    });
    let mut value = |wanted: &[u8]| {
        values.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_slice())
    };
    target.lead(key, names.iter().map(Vec::as_slice), &mut value).then_some(target)
}

/// The names in the `Vary` of a head, in lower case and in order, each once; none for a response that depends on everything.
pub(super) fn vary(head: &Head) -> Option<Vec<Vec<u8>>> {
    let given = head.headers.iter().filter(|change| change.name().eq_ignore_ascii_case(b"Vary"));
    let names = given.flat_map(|change| change.value().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut names: Vec<_> = names.filter(|name| !name.is_empty()).map(<[u8]>::to_ascii_lowercase).collect();
    names.sort();
    names.dedup();
    (!names.iter().any(|name| name == b"*")).then_some(names)
}

/// Whether a head says that the response is for one visitor, or not to be kept.
pub(super) fn is_personal(head: &Head) -> bool {
    head.headers.iter().any(|change| {
        let of_name = |name: &str| change.name().eq_ignore_ascii_case(name.as_bytes()) && !change.value().is_empty();
        let says = |word: &[u8]| {
            let words = change.value().split(|byte| matches!(byte, b',' | b'='));
            words.map(<[u8]>::trim_ascii).any(|said| said.eq_ignore_ascii_case(word))
        };
        of_name("Set-Cookie")
            || of_name("Cache-Control") && [&b"private"[..], b"no-store", b"no-cache"].into_iter().any(says)
    })
}

/// A header that the page has given, and whether it is one more of its name.
pub(super) fn header(change: &HeaderChange) -> Option<(&[u8], &[u8], bool)> {
    match change {
        HeaderChange::Set(name, value) => Some((name, value, false)),
        HeaderChange::Add(name, value) => Some((name, value, true)),
        HeaderChange::Remove(_) => None,
    }
}

/// A tag that is the same for the same answer, also of another process or server.
pub(super) fn tag(content_type: &[u8], body: &[u8]) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    hasher.write(content_type);
    hasher.write_u8(0);
    hasher.write(body);
    format!("\"{:016x}-{:x}\"", hasher.finish(), body.len()).into_bytes()
}
