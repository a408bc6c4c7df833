//! The memory limit: how much a state's Lua may hold beyond what it held when fresh.
//!
//! With LuaJIT the state's allocator counts. Once a page holds too much, the hook that stops pages collects its garbage,
//! and raises where that does not help: at a line of the page, and past every `pcall`. mlua's own limit fails
//! allocations instead. For that mlua makes each string and table in a protected call, which cost 29 % on a page of
//! database rows. An allocation that alone goes far over the limit is refused here too, but never to Rust code, where
//! nothing would catch Lua's error: see [`function`].
//!
//! PUC Lua keeps hooks per coroutine, out of an allocator's reach, so there mlua's limit holds.
//!
//! `unsafe` here for the allocator of a state: no safe interface takes one.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_int;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
#[cfg(feature = "luajit")]
use std::{
    ffi::c_void,
    ptr::{self, NonNull},
};

#[cfg(feature = "luajit")]
use mlua::ffi;
use mlua::ffi::lua_State;
use mlua::{BString, FromLuaMulti, Function, IntoLuaMulti, Lua, Value};

use crate::limits::time_limit::{Reason, TimeLimitHandle};

/// Smallest allocation, in bytes, that is refused. Larger than the largest Lua stack, which also grows outside of page
/// functions' own code.
#[cfg(feature = "luajit")]
const REFUSED: usize = 1 << 20;

/// Bytes beyond its limit that a page may hold for the moment in which it is stopped: as many as its limit, at most these.
#[cfg(feature = "luajit")]
const MOST_BEYOND: usize = 16 << 20;

/// The memory limit of one state. Must be dropped before the state it was made for.
pub struct MemoryLimit {
    /// Bytes the state held at first.
    fresh: usize,
    /// Bytes it held that are not the page's: those, or what pages that wait hold as well.
    base: Cell<usize>,
    limit: TimeLimitHandle,
    /// Owned, and shared with the state's allocator: a `Box` would claim it for itself.
    #[cfg(feature = "luajit")]
    counter: NonNull<Counter>,
    #[cfg(feature = "luajit")]
    state: NonNull<ffi::lua_State>,
}

#[cfg(feature = "luajit")]
struct Counter {
    allocate: ffi::lua_Alloc,
    data: *mut c_void,
    limit: TimeLimitHandle,
    used: Cell<isize>,
    /// Bytes at which the page is stopped.
    most: Cell<isize>,
    /// Bytes at which large allocations are refused.
    ceiling: Cell<isize>,
}

// SAFETY: one thread at a time uses the state and with it the counter; `data` is the state's own allocator's.
#[cfg(feature = "luajit")]
unsafe impl Send for MemoryLimit {}

impl MemoryLimit {
    /// Counts what the state holds from here on, and limits nothing yet. `fresh` is what another state, made the same way,
    /// held without its garbage.
    ///
    /// # Errors
    /// Lua's.
    pub fn new(lua: &Lua, limit: TimeLimitHandle, fresh: Option<usize>) -> mlua::Result<MemoryLimit> {
        let fresh = match fresh {
            // A collection would leave holes all over the memory, and what pages make would be scattered there: a form of 20
            // fields took 3 % longer. Garbage counts until LuaJIT or the limit collects it.
            Some(fresh) if cfg!(feature = "luajit") => fresh,
            _ => {
                lua.gc_collect()?;
                lua.used_memory()
            }
        };
        MemoryLimit::counting(lua, limit, fresh)
    }

    /// Bytes that the state held at first, without garbage.
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.fresh
    }

    #[cfg(not(feature = "luajit"))]
    fn counting(_: &Lua, limit: TimeLimitHandle, fresh: usize) -> mlua::Result<MemoryLimit> {
        Ok(MemoryLimit { fresh, base: Cell::new(fresh), limit })
    }

    #[cfg(feature = "luajit")]
    fn counting(lua: &Lua, limit: TimeLimitHandle, fresh: usize) -> mlua::Result<MemoryLimit> {
        let Some(state) = lua.exec_raw_lua(|raw| NonNull::new(raw.state())) else {
            return Err(mlua::Error::MemoryControlNotAvailable);
        };
        let mut data = ptr::null_mut();
        // SAFETY: the state is live and does not run.
        let allocate = unsafe { ffi::lua_getallocf(state.as_ptr(), &raw mut data) };
        let counter = NonNull::from(Box::leak(Box::new(Counter {
            allocate,
            data,
            limit: limit.clone(),
            used: Cell::new(lua.used_memory() as isize),
            most: Cell::new(isize::MAX),
            ceiling: Cell::new(isize::MAX),
        })));
        // SAFETY: as above; the counter outlives its use, because the old allocator is put back before it is freed.
        unsafe { ffi::lua_setallocf(state.as_ptr(), count, counter.as_ptr().cast()) };
        Ok(MemoryLimit { fresh, base: Cell::new(fresh), limit, counter, state })
    }

    #[cfg(feature = "luajit")]
    fn counter(&self) -> &Counter {
        // SAFETY: only drop frees it, and nobody has it but for reading: what changes in it is in cells.
        unsafe { self.counter.as_ref() }
    }

    /// Says whose memory the next pages are charged with: all but what the state has at first, or, with the charge of a page that
    /// waits, all but what the state holds now beside that.
    pub fn charge(&self, lua: &Lua, beside_others: Option<usize>) {
        self.base.set(match beside_others {
            None => self.fresh,
            Some(charge) => self.used(lua).saturating_sub(charge).max(self.fresh),
        });
    }

    /// Bytes that the page is charged with which runs and may have so many kilobytes. Garbage counts until it is much.
    #[must_use]
    pub fn charged(&self, lua: &Lua, kilobytes: u32) -> usize {
        let charged = || self.used(lua).saturating_sub(self.base.get());
        if kilobytes > 0 && charged() > kilobytes as usize * 1024 / 2 {
            // An error takes no part of it back.
            let _ = lua.gc_collect();
        }
        charged()
    }

    /// Allows a page so many kilobytes beyond what is not its own; 0 is no limit.
    ///
    /// # Errors
    /// Lua's.
    pub fn start(&self, lua: &Lua, kilobytes: u32) -> mlua::Result<()> {
        let (allowed, base) = (kilobytes as usize * 1024, self.base.get());
        self.limit.set_most(if kilobytes == 0 { usize::MAX } else { base + allowed });
        #[cfg(feature = "luajit")]
        {
            let _ = lua;
            let bytes = |count: usize| if kilobytes == 0 { isize::MAX } else { (base + count) as isize };
            let counter = self.counter();
            counter.limit.set_enough((base + allowed / 16 * 15) / 1024);
            counter.ceiling.set(bytes(allowed + allowed.min(MOST_BEYOND)));
            counter.most.set(bytes(allowed));
            if counter.used.get() > counter.most.get() {
                counter.limit.go_over(Reason::Memory);
            }
            Ok(())
        }
        #[cfg(not(feature = "luajit"))]
        lua.set_memory_limit(if kilobytes == 0 { 0 } else { base + allowed }).map(drop)
    }

    /// Allows what runs after a page a tenth of the page's kilobytes beyond what the page has left, where that is most of them.
    ///
    /// # Errors
    /// Lua's.
    pub fn start_last(&self, lua: &Lua, kilobytes: u32) -> mlua::Result<()> {
        self.stop();
        #[cfg(not(feature = "luajit"))]
        lua.set_memory_limit(0)?;
        lua.gc_collect()?;
        let held = u32::try_from(self.used(lua).saturating_sub(self.base.get()) / 1024).unwrap_or(u32::MAX);
        self.start(lua, kilobytes.max(held.saturating_add(kilobytes / 10).saturating_add(1)))
    }

    /// From here on nothing is limited, until the next start.
    pub fn stop(&self) {
        self.limit.set_most(usize::MAX);
        #[cfg(feature = "luajit")]
        {
            self.counter().most.set(isize::MAX);
            self.counter().ceiling.set(isize::MAX);
        }
    }

    /// Whether what pages left behind takes up most of these kilobytes; 0 is no limit.
    #[must_use]
    pub fn is_full(&self, lua: &Lua, kilobytes: u32) -> bool {
        let full = self.base.get() + kilobytes as usize * 1024 / 4 * 3;
        kilobytes > 0 && self.used(lua) > full && (lua.gc_collect().is_err() || self.used(lua) > full)
    }

    #[cfg(feature = "luajit")]
    fn used(&self, _: &Lua) -> usize {
        self.counter().used.get().unsigned_abs()
    }

    #[cfg(not(feature = "luajit"))]
    fn used(&self, lua: &Lua) -> usize {
        lua.used_memory()
    }
}

/// A function written in Rust for Lua to call. All are made here: while one runs and its results become Lua's, no
/// allocation is refused, for Lua's error would end the process on its way through Rust.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn function<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    limit: &TimeLimitHandle,
    body: impl Fn(&Lua, A) -> mlua::Result<R> + Send + 'static,
) -> mlua::Result<Function> {
    let limit = limit.clone();
    lua.create_function(move |lua, arguments: A| {
        let _waiting = limit.waiting();
        body(lua, arguments)?.into_lua_multi(lua)
    })
}

/// The same for one that answers with a path, or nil and why there is none. The results become Lua's after the body, as
/// bytes: a state that closes runs finalizers, and has no room for a value of Rust's. No path is so long as to be refused.
///
/// # Errors
/// As [`function`].
pub fn path_function<A: FromLuaMulti>(
    lua: &Lua,
    limit: &TimeLimitHandle,
    body: impl Fn(A) -> Result<PathBuf, String> + Send + 'static,
) -> mlua::Result<Function> {
    let limit = limit.clone();
    lua.create_function(move |_, arguments: A| {
        let _waiting = limit.waiting();
        Ok(match body(arguments) {
            Ok(path) => (Some(BString::from(path.into_os_string().into_vec())), None),
            Err(problem) => (None, Some(problem)),
        })
    })
}

/// A function for the body of another to call, without mlua's part in it. Nothing marks it while it runs: the other is marked.
///
/// # Errors
/// Lua's, when memory runs out.
///
/// # Safety
/// `body` does what Lua's manual says of C functions. When it raises an error, it owns nothing that would be left behind.
pub unsafe fn inner_function(
    lua: &Lua,
    body: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int,
) -> mlua::Result<Function> {
    // SAFETY: the caller's promise.
    unsafe { lua.create_c_function(body) }
}

/// What Lua says where there is no memory.
pub const OVER_MEMORY: &str = "not enough memory";

/// What a page function says that the time limit ends.
pub const OVER_TIME: &str = "The script took too long to execute (timed out)!";

/// Bytes that a page function goes through at a time, between two looks at the clock.
pub const PIECE: usize = 64 << 10;

/// What a page may still have, for page functions: what they hold themselves is beyond Lua's count, and while they run no hook
/// looks at the clock. Each asks here before it allocates what a page's data makes large, and every so many steps of a loop.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    lua: &'a Lua,
    limit: &'a TimeLimitHandle,
}

impl<'a> Room<'a> {
    /// The room of the page that this state runs.
    #[must_use]
    pub fn new(lua: &'a Lua, limit: &'a TimeLimitHandle) -> Room<'a> {
        Room { lua, limit }
    }

    /// Whether the page's time is over; it is stopped at its next step then.
    ///
    /// # Errors
    /// [`OVER_TIME`].
    pub fn look(&self) -> Result<(), &'static str> {
        if self.limit.is_time_over() { Err(OVER_TIME) } else { Ok(()) }
    }

    /// Time until the page must have ended; none without a limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.limit.until().map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// To be asked before so many bytes are allocated, for as long as the call lasts. Without a limit there is room.
    ///
    /// # Errors
    /// [`OVER_MEMORY`], and [`OVER_TIME`] as [`look`](Room::look) gives it; the page is stopped at its next step then.
    pub fn ask(&self, bytes: usize) -> Result<(), &'static str> {
        self.look()?;
        let most = self.limit.most();
        let fits = |most: usize| most == usize::MAX || self.lua.used_memory().saturating_add(bytes) <= most;
        // Garbage does not count. Some room must come of the collection, or there would be one at every question.
        if fits(most) || self.lua.gc_collect().is_ok() && fits(most / 16 * 15) {
            return Ok(());
        }
        self.limit.set_enough(0);
        self.limit.go_over(Reason::Memory);
        Err(OVER_MEMORY)
    }

    /// A string for Lua of so many bytes at most, which `fill` writes.
    ///
    /// # Errors
    /// Those of [`ask`](Room::ask), those of `fill`, and Lua's.
    pub fn text(
        &self,
        bytes: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), &'static str>,
    ) -> Result<Value, String> {
        // Once in Rust and once in Lua.
        self.ask(bytes.saturating_mul(2))?;
        let mut text = Vec::with_capacity(bytes);
        fill(&mut text)?;
        self.lua.create_string(text).map(Value::String).map_err(|error| error.to_string())
    }

    /// A string for Lua of these bytes.
    ///
    /// # Errors
    /// Those of [`ask`](Room::ask), and Lua's.
    pub fn copy(&self, bytes: &[u8]) -> Result<Value, String> {
        if bytes.len() > PIECE {
            self.ask(bytes.len())?;
        }
        self.lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string())
    }

    /// Gives `take` the bytes piece by piece, with a look at the clock between two of them.
    ///
    /// # Errors
    /// [`OVER_TIME`].
    pub fn pieces<'b>(&self, bytes: &'b [u8], mut take: impl FnMut(&'b [u8])) -> Result<(), &'static str> {
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            if number > 0 {
                self.look()?;
            }
            take(piece);
        }
        Ok(())
    }
}

#[cfg(feature = "luajit")]
impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let (allocate, data) = (self.counter().allocate, self.counter().data);
        // SAFETY: the state is still alive (see State) and does not run; this is the allocator it was made with. The
        // counter was leaked from a Box, and nothing has it any more.
        unsafe {
            ffi::lua_setallocf(self.state.as_ptr(), allocate, data);
            drop(Box::from_raw(self.counter.as_ptr()));
        }
    }
}

#[cfg(feature = "luajit")]
unsafe extern "C" fn count(data: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: Lua passes what lua_setallocf was given, a Counter that lives as long as this is the allocator, and
    // calls as its manual says of allocators.
    unsafe {
        let counter = &*data.cast::<Counter>();
        let old_size = if block.is_null() { 0 } else { old };
        let used = counter.used.get() + new as isize - old_size as isize;
        if used > counter.most.get() && new > old_size {
            if used > counter.ceiling.get() && new >= REFUSED && !counter.limit.is_waiting() {
                counter.limit.set_enough(0);
                counter.limit.go_over(Reason::Memory);
                return ptr::null_mut();
            }
            counter.limit.go_over(Reason::Memory);
        }
        let block = (counter.allocate)(counter.data, block, old, new);
        if new == 0 || !block.is_null() {
            counter.used.set(used);
        }
        block
    }
}
