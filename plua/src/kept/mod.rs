//! Whole answers of pages that are kept for other visitors, in a store that all processes of the server share.
//!
//! The ground floor. Knows no Lua, no request and no server.

pub mod address;
pub mod answer;
pub mod near;

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_store::{Condition, Found, Store, Value, is_gone};

use address::{Address, Letter};
use answer::{KeptAnswer, Pointer};

/// The space of an owner's pages in a store, which nothing else in the store has.
const SPACE: &[u8] = b"\0plua.cachePage\0";

/// Time after which who makes a page is taken to be gone.
const LONGEST_WORK: Duration = Duration::from_secs(30);

/// Bytes of what a maker is known by: its process and its number there.
const TOKEN: usize = 12;

/// The pages of one owner, a host or a site of it, that are kept.
#[derive(Clone)]
pub struct KeptPages {
    store: Arc<Store>,
    space: u64,
}

/// What is kept under an address.
pub struct Looked<R> {
    /// Where the answer is, or would be: the address itself, or the one that it leads to for this request.
    pub address: Address,
    /// Its bytes, if it is there.
    pub bytes: Option<R>,
}

impl KeptPages {
    /// Those of this owner in the store.
    #[must_use]
    pub fn new(store: Arc<Store>, owner: &[u8]) -> KeptPages {
        let space = store.space(&[SPACE, owner].concat());
        KeptPages { store, space }
    }

    /// Whether the store has ever kept a page, of whatever owner.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.store.is_marked()
    }

    /// What is kept for a request. `header` gives the values of its headers, `get` the bytes under a key.
    pub fn look<'h, R: AsRef<[u8]>>(
        &self,
        mut address: Address,
        mut header: impl FnMut(&[u8]) -> Option<&'h [u8]>,
        mut get: impl FnMut(&KeptPages, &[u8]) -> Option<R>,
    ) -> Looked<R> {
        let first = get(self, address.key(Letter::Page));
        let Some(pointer) = first.as_ref().and_then(|bytes| Pointer::read(bytes.as_ref())) else {
            return Looked { address, bytes: first };
        };
        match address.lead(pointer.key, pointer.headers(), &mut header) {
            true => {
                let bytes = get(self, address.key(Letter::Page));
                Looked { bytes: bytes.filter(|bytes| KeptAnswer::read(bytes.as_ref()).is_some()), address }
            }
            false => Looked { address, bytes: None },
        }
    }

    /// What is under a key, as bytes of one's own: for [`look`](KeptPages::look).
    #[must_use]
    pub fn copy(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        matches!(self.store.get(self.space, key, usize::MAX, &mut bytes), Ok(Found::Bytes)).then_some(bytes)
    }

    /// Gives the bytes under a key piece by piece, when `begin` was told how many there are: whether there are any.
    pub fn pieces(&self, key: &[u8], begin: impl FnOnce(usize) -> bool, take: impl FnMut(&[u8])) -> bool {
        matches!(self.store.get_announced(self.space, key, begin, take), Ok(Found::Bytes))
    }

    /// Keeps an answer under an address for so long: fresh for half of that, and then for those who come while it is made anew. One
    /// that the store has no room for is not kept.
    pub fn keep(&self, address: &mut Address, answer: &[u8], lifetime: Option<Duration>) -> bool {
        let key = address.key(Letter::Page);
        let is_kept = self.store.put(self.space, key, Value::Bytes(answer), lifetime, Condition::Always).is_ok();
        if is_kept {
            self.store.mark();
        }
        is_kept
    }

    /// Puts an answer in the place of the one that is under the address, for the time that that has left.
    pub fn replace(&self, address: &mut Address, answer: &[u8]) {
        let key = address.key(Letter::Page);
        if let Ok(Some(left)) = self.store.lifetime(self.space, key) {
            let _ = self.store.put(self.space, key, Value::Bytes(answer), left, Condition::IfThere);
        }
    }

    /// The right to make what is under an address, unless somebody has it. Apart, for it is large, and few requests have one.
    #[must_use]
    pub fn begin_making(&self, address: &Address) -> Option<Box<Making>> {
        /// Makers of this process so far.
        static MAKERS: AtomicU64 = AtomicU64::new(0);
        let mut token = [0; TOKEN];
        token[..4].copy_from_slice(&process::id().to_ne_bytes());
        token[4..].copy_from_slice(&MAKERS.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        let mut address = address.clone();
        let begins = self.put_first(address.key(Letter::Maker), &token)
            || self.ends_killed(&mut address) && self.put_first(address.key(Letter::Maker), &token);
        begins.then(|| Making { pages: self.clone(), address, token }.into())
    }

    /// Puts a token where none is: whether none was there.
    fn put_first(&self, key: &[u8], token: &[u8]) -> bool {
        let put = self.store.put(self.space, key, Value::Bytes(token), Some(LONGEST_WORK), Condition::IfMissing);
        put == Ok(true)
    }

    /// Takes the right from a maker whose process is gone: whether it has.
    fn ends_killed(&self, address: &mut Address) -> bool {
        let Some(maker) = self.maker(address).filter(|maker| process_of(maker).is_some_and(is_gone)) else {
            return false;
        };
        // Of those that find it gone one does so: another one's right must stay.
        self.put_first(address.key(Letter::Gone), &maker)
            && self.store.delete(self.space, address.key(Letter::Maker)).is_ok()
    }

    /// Who makes what is under an address, if somebody does.
    #[must_use]
    pub fn maker(&self, address: &mut Address) -> Option<Vec<u8>> {
        self.copy(address.key(Letter::Maker))
    }

    /// Whether somebody makes what is under an address.
    #[must_use]
    pub fn is_made(&self, address: &mut Address) -> bool {
        let key = address.key(Letter::Maker);
        matches!(self.store.get_pieces(self.space, key, 0, |_| ()), Ok(Found::Longer(_)))
    }
}

/// The right of one visitor to make what is under an address. Dropping it lets the next one try.
pub struct Making {
    pages: KeptPages,
    address: Address,
    token: [u8; TOKEN],
}

impl Making {
    /// Whether it is for this address.
    #[must_use]
    pub fn is_for(&self, address: &Address) -> bool {
        self.address.is(address)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Another may have begun since, where this took too long.
        if self.pages.maker(&mut self.address).is_some_and(|maker| *maker == self.token) {
            let key = self.address.key(Letter::Maker);
            let _ = self.pages.store.delete(self.pages.space, key);
        }
    }
}

/// The process of a maker.
fn process_of(token: &[u8]) -> Option<u32> {
    token.first_chunk().map(|process| u32::from_ne_bytes(*process))
}

/// A number for a configuration that no other one has, and that nobody can guess; not 0.
///
/// # Errors
/// That the system has no random bytes.
pub fn generation() -> Result<u64, String> {
    getrandom::u64().map(|number| number | 1).map_err(|error| format!("no random number: {error}"))
}
