//! How much memory SQLite holds for a page's connections, and how much it may.
//!
//! SQLite's own limits are no help: those of the heap hold for the whole process, and those of a connection bound one
//! value or one file, of which a statement may have thousands. So its allocator is replaced, for the whole process, by
//! one that counts what it gives away while a connection with a [`MemoryUse`] works, in that thread, and gives no more
//! than the limit. SQLite then says `out of memory` and goes on. It compiles statements, which nothing else interrupts,
//! with this allocator too: so past a connection's deadline it gives nothing either.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Numbers for `sqlite3_config`.
const SET_ALLOCATOR: c_int = 4;
const GET_ALLOCATOR: c_int = 5;

/// Allocations between two looks at the clock.
const UNTIMED: u32 = 256;

/// Memory that connections hold together. One thread at a time uses them.
#[derive(Debug)]
pub struct MemoryUse {
    /// In bytes. Below zero when something was given back that was not counted.
    held: AtomicIsize,
    most: AtomicIsize,
}

impl Default for MemoryUse {
    fn default() -> MemoryUse {
        MemoryUse { held: AtomicIsize::new(0), most: AtomicIsize::new(isize::MAX) }
    }
}

impl MemoryUse {
    /// Allows so many bytes from here on; none is no limit.
    pub fn allow(&self, bytes: Option<usize>) {
        let most = bytes.and_then(|bytes| isize::try_from(bytes).ok());
        self.most.store(most.unwrap_or(isize::MAX), Ordering::Relaxed);
    }

    /// Whether more than this many bytes are held.
    #[must_use]
    pub fn holds_more_than(&self, bytes: usize) -> bool {
        self.held.load(Ordering::Relaxed) > isize::try_from(bytes).unwrap_or(isize::MAX)
    }

    fn has_room(&self, bytes: isize) -> bool {
        bytes <= 0 || self.held.load(Ordering::Relaxed).saturating_add(bytes) <= self.most.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: isize) {
        self.held.store(self.held.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    }
}

/// Bytes that something other than SQLite holds for a connection, counted until this is dropped.
#[derive(Default)]
pub(crate) struct Held {
    memory: Option<Arc<MemoryUse>>,
    bytes: isize,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn new(memory: Option<&Arc<MemoryUse>>) -> Held {
        Held { memory: memory.cloned(), bytes: 0 }
    }

    /// Counts more; whether that is still within the limit.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let (Some(memory), Ok(bytes)) = (&self.memory, isize::try_from(bytes)) else { return true };
        let has_room = memory.has_room(bytes);
        memory.add(bytes);
        self.bytes += bytes;
        has_room
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.add(-self.bytes);
        }
    }
}

/// For whom SQLite works in this thread. Without a destructor, so that reading it costs little.
struct Working {
    memory: Cell<*const MemoryUse>,
    until: Cell<Option<Instant>>,
    untimed: Cell<u32>,
}

thread_local! {
    static WORKING: Working =
        const { Working { memory: Cell::new(ptr::null()), until: Cell::new(None), untimed: Cell::new(0) } };
}

/// While it lives, what SQLite takes and gives back in this thread is counted.
#[must_use]
pub(crate) struct Counting {
    /// Keeps alive what the thread's record refers to.
    _memory: Arc<MemoryUse>,
    outer: (*const MemoryUse, Option<Instant>),
}

impl Counting {
    /// Counts for these connections, and allows nothing any more after that time.
    pub(crate) fn start(memory: &Arc<MemoryUse>, until: Option<Instant>) -> Counting {
        let outer = WORKING.with(|working| (working.memory.replace(Arc::as_ptr(memory)), working.until.replace(until)));
        Counting { _memory: memory.clone(), outer }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        WORKING.with(|working| {
            working.memory.set(self.outer.0);
            working.until.set(self.outer.1);
        });
    }
}

/// For whom SQLite works, unless it must not have so much more.
fn may_have<'w>(bytes: isize) -> Result<Option<&'w MemoryUse>, ()> {
    WORKING.with(|working| {
        // SAFETY: a Counting that lives in this thread holds it; nothing keeps the reference beyond one call.
        let Some(memory) = (unsafe { working.memory.get().as_ref() }) else { return Ok(None) };
        if let Some(until) = working.until.get() {
            working.untimed.set(working.untimed.get().wrapping_add(1));
            if working.untimed.get() % UNTIMED == 0 && bytes > 0 && Instant::now() >= until {
                return Err(());
            }
        }
        if memory.has_room(bytes) { Ok(Some(memory)) } else { Err(()) }
    })
}

/// Whether the connection that works in this thread may have so many bytes more.
pub(crate) fn has_room(bytes: usize) -> bool {
    may_have(isize::try_from(bytes).unwrap_or(isize::MAX)).is_ok()
}

/// `sqlite3_mem_methods`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Methods {
    malloc: Option<unsafe extern "C" fn(c_int) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
    realloc: Option<unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void>,
    size: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    round_up: Option<unsafe extern "C" fn(c_int) -> c_int>,
    start: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    stop: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
}

/// SQLite's own allocator, which the counting one calls.
struct Allocator {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static OWN: OnceLock<Allocator> = OnceLock::new();

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    let (Some(own), Ok(memory)) = (OWN.get(), may_have(bytes as isize)) else { return ptr::null_mut() };
    // SAFETY: the caller keeps the contract of SQLite's allocator, whose functions these are.
    unsafe {
        let block = (own.malloc)(bytes);
        if let Some(memory) = memory.filter(|_| !block.is_null()) {
            memory.add((own.size)(block) as isize);
        }
        block
    }
}

unsafe extern "C" fn free(block: *mut c_void) {
    let Some(own) = OWN.get() else { return };
    // SAFETY: as in `malloc`; the block is one of SQLite's and not null.
    unsafe {
        if let Ok(Some(memory)) = may_have(0) {
            memory.add(-((own.size)(block) as isize));
        }
        (own.free)(block);
    }
}

unsafe extern "C" fn realloc(block: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(own) = OWN.get() else { return ptr::null_mut() };
    // SAFETY: as in `free`. A block that cannot be changed stays as it is.
    unsafe {
        let before = (own.size)(block) as isize;
        let Ok(memory) = may_have(bytes as isize - before) else { return ptr::null_mut() };
        let block = (own.realloc)(block, bytes);
        if let Some(memory) = memory.filter(|_| !block.is_null()) {
            memory.add((own.size)(block) as isize - before);
        }
        block
    }
}

/// Has SQLite take its memory from the counting allocator. A library that has been used before keeps its own, and then
/// nothing is counted.
///
/// # Safety
/// `library` comes from `dlopen`, is never closed, and what it calls `sqlite3_config` is SQLite's.
pub(crate) unsafe fn count(library: *mut c_void) {
    type Configure = unsafe extern "C" fn(c_int, ...) -> c_int;
    // SAFETY: the caller vouches for the function; both numbers take a pointer to the record, which SQLite copies.
    // The code here stays in memory as long as the process, as the library does.
    unsafe {
        let configure = libc::dlsym(library, c"sqlite3_config".as_ptr());
        if configure.is_null() {
            return;
        }
        let configure = std::mem::transmute::<*mut c_void, Configure>(configure);
        let mut own: Methods = std::mem::zeroed();
        if configure(GET_ALLOCATOR, &raw mut own) != 0 {
            return;
        }
        let Methods { malloc: Some(m), free: Some(f), realloc: Some(r), size: Some(s), .. } = own else { return };
        if OWN.set(Allocator { malloc: m, free: f, realloc: r, size: s }).is_ok() {
            stay_loaded();
            let mut counting = Methods { malloc: Some(malloc), free: Some(free), realloc: Some(realloc), ..own };
            configure(SET_ALLOCATOR, &raw mut counting);
        }
    }
}

/// Keeps this code in memory when the server unloads the module that it is part of.
pub(crate) fn stay_loaded() {
    // SAFETY: the record is written before it is read. Opening what is loaded already runs no code of it; it is never
    // closed. A program is not found under its name, and never unloaded.
    unsafe {
        let mut facts: libc::Dl_info = std::mem::zeroed();
        let own = malloc as unsafe extern "C" fn(c_int) -> *mut c_void;
        if libc::dladdr(own as *const c_void, &raw mut facts) != 0 && !facts.dli_fname.is_null() {
            libc::dlopen(facts.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}
