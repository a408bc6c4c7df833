//! What the state's own code does for a state that serves others while pages wait in it.

use mlua::{Function, Table, Thread};

/// The parts of prelude.lua for that, and how many pages wait.
pub(super) struct Sharing {
    /// Takes a number and the coroutine of the page that waits; whether it is put aside.
    put_aside: Function,
    /// Takes that number again, and gives the coroutine.
    bring_back: Function,
    /// What is put aside, by number.
    aside: Table,
    pages: u32,
    last: u64,
    /// Whether something unwound from it, so that no page goes on in it.
    pub(super) is_broken: bool,
}

impl Sharing {
    /// Of a state's own code; nothing where pages have the state's globals.
    ///
    /// # Errors
    /// Lua's.
    pub(super) fn of(parts: &Table) -> mlua::Result<Option<Sharing>> {
        let Some(put_aside) = parts.raw_get("put_aside")? else { return Ok(None) };
        Ok(Some(Sharing {
            put_aside,
            bring_back: parts.raw_get("bring_back")?,
            aside: parts.raw_get("aside")?,
            pages: 0,
            last: 0,
            is_broken: false,
        }))
    }

    /// How many pages are put aside.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// Puts the page aside that waits in this coroutine; its number, or nothing where it has what is one for the whole state.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub(super) fn put_aside(&mut self, coroutine: &Thread) -> mlua::Result<Option<u64>> {
        let number = self.last + 1;
        if !self.put_aside.call::<bool>((number, coroutine))? {
            return Ok(None);
        }
        (self.last, self.pages) = (number, self.pages + 1);
        Ok(Some(number))
    }

    /// Has that page take the place of the one that ran last; the coroutine it goes on in.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub(super) fn bring_back(&mut self, number: u64) -> mlua::Result<Thread> {
        self.pages -= 1;
        self.bring_back.call(number)
    }

    /// Forgets a page whose request is gone.
    ///
    /// # Errors
    /// Lua's.
    pub(super) fn forget(&mut self, number: u64) -> mlua::Result<()> {
        self.pages -= 1;
        self.aside.raw_set(number, mlua::Nil)
    }
}
