//! How a running page is stopped: by a watchdog thread at its deadline, or by a limit it has gone over.
//!
//! A page that ends in time pays one atomic store when it starts and one when it ends. The watchdog sleeps until the
//! earliest deadline of the pages that run, and a page that starts calls it only when its own comes before that. Once a
//! deadline has passed, the watchdog sends a signal to the thread that runs the page, and the signal's handler sets
//! LuaJIT's debug hook there; the build flag `LUAJIT_ENABLE_CHECKHOOK` makes compiled loops look at it. The hook is not
//! set from the watchdog itself: `lua_sethook` may be called from a signal handler of the running thread, but it changes
//! the dispatch table and flag bits without a lock, so that a call from another thread races with LuaJIT's own changes
//! of them. The signal is repeated until the page is out, because even a handler may cut into such a change.
//!
//! PUC Lua keeps hooks per coroutine, so there each state carries a counting hook from its start that looks at the
//! deadline. The signal is sent there too: it ends the system call in which a function of Lua's waits. Either way the
//! hook raises again and again until the page is out: no `pcall` keeps a page alive.
//!
//! `unsafe` here for signals and raw Lua states: no safe interface reaches a state that is running.
#![allow(unsafe_code)]

mod clock;
mod handle;
mod reason;
mod slow;
mod watchdog;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use mlua::{Lua, ffi};
use nix::unistd::gettid;
use parking_lot::Mutex;

use self::clock::{EXPIRED, LONG_AGO, NEVER, UNLIMITED, instant};
pub use self::clock::{End, now};
pub use self::handle::{TimeLimitHandle, Waiting};
pub use self::reason::Reason;
use self::slow::Slow;
pub use self::slow::{Tell, ToTell};
use self::watchdog::Shared;
pub use self::watchdog::{WaitingThread, Watchdog};
use crate::error::shortened;
use crate::limits::bell::Bells;
use crate::limits::cutoff::Cutoff;

#[derive(Default)]
struct Deadline {
    /// [`NEVER`], [`UNLIMITED`], [`EXPIRED`], or when the running page must end.
    ends: AtomicU64,
    /// The other limit that the page has gone over, as a [`Reason`]; 0 for none.
    over: AtomicU8,
    /// Kilobytes a state over its memory limit may hold after a collection and go on.
    enough: AtomicUsize,
    /// Bytes the state may hold.
    most: AtomicUsize,
    /// The state to stop; none once it is closed.
    state: Mutex<Option<NonNull<ffi::lua_State>>>,
    /// The calls that were active when the hook first fired, innermost first.
    calls: Mutex<Vec<Call>>,
    /// The state again, for the signal handler, which may take no lock.
    running: AtomicPtr<ffi::lua_State>,
    /// Whether the page waits in a page function written in Rust. A signal would only disturb it there: each one
    /// makes a wait for the client begin anew (APR's poll), so that the server's own Timeout would never come.
    waits: AtomicBool,
    /// The thread the page runs in, and its number in the system.
    thread: AtomicUsize,
    number: AtomicI32,
    /// The deadline of the page that this one interrupted in its thread, if any.
    outer: AtomicPtr<Deadline>,
    cutoff: Cutoff,
    /// When the page is to be told of for its time.
    slow: Slow,
    ending: Arc<Ending>,
}

/// The end of all pages of a process, which is waited for where a page waits.
#[derive(Default)]
struct Ending {
    has_begun: AtomicBool,
    bells: Bells,
}

impl Ending {
    fn begin(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        self.bells.call();
    }

    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }
}

/// One active Lua call of a page that was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The chunk's name as Lua keeps it: `@` and the file.
    pub source: Vec<u8>,
    /// Line being executed.
    pub line: u32,
    /// The function's name, or empty.
    pub name: Vec<u8>,
    /// `main` for a file's own code, otherwise `Lua`.
    pub what: Vec<u8>,
}

impl Deadline {
    /// For a state that does not run.
    fn of(lua: &Lua, ending: Arc<Ending>) -> Deadline {
        let state = lua.exec_raw_lua(|raw| NonNull::new(raw.state()));
        Deadline {
            ends: AtomicU64::new(NEVER),
            most: AtomicUsize::new(usize::MAX),
            state: Mutex::new(state),
            running: AtomicPtr::new(state.map_or(ptr::null_mut(), NonNull::as_ptr)),
            ending,
            ..Deadline::default()
        }
    }

    /// Lets the hook in its state find it.
    fn attach(self: &Arc<Deadline>) {
        if let Some(state) = *self.state.lock() {
            // SAFETY: the state is alive and not running; the Deadline outlives the state's use of it, because
            // TimeLimit clears the hook and the registry entry when it is dropped.
            unsafe {
                ffi::lua_pushlightuserdata(state.as_ptr(), Arc::as_ptr(self).cast_mut().cast());
                ffi::lua_setfield(state.as_ptr(), ffi::LUA_REGISTRYINDEX, REGISTRY_KEY.as_ptr());
                set_resting_hook(state.as_ptr());
            }
        }
    }

    /// Tells the running page to stop, unless it waits in Rust. The caller holds the lock of the state, and the page is
    /// [`EXPIRED`].
    fn send_signal(&self) {
        // Where the server stops, it has closed the socket that a page function waits for, which the wait sees only when it
        // begins anew.
        if !self.waits.load(Ordering::SeqCst) || self.ending.has_begun() {
            // SAFETY: the thread is alive, for TimeLimit::stop takes the lock as well once it has seen EXPIRED, and
            // listens since a deadline was set there.
            unsafe { interrupt(self.thread.load(Ordering::Relaxed)) };
        }
    }

    /// Has the page that is to be told of list its calls, unless it waits in Rust: then it does so when it is back. The caller
    /// holds the lock of the state, and the page is marked.
    fn send_slow_signal(&self) {
        if !self.waits.load(Ordering::SeqCst) && self.ends.load(Ordering::SeqCst) != NEVER {
            // SAFETY: as above: TimeLimit::stop takes the lock as well once it has seen the mark.
            unsafe { libc::pthread_kill(self.thread.load(Ordering::Relaxed) as libc::pthread_t, slow::signal()) };
        }
    }

    /// Has the running page stopped as if its time were over, also where that has no limit.
    fn end(&self) {
        let ends = self.ends.load(Ordering::SeqCst);
        if ends != NEVER && ends != EXPIRED {
            self.over.store(Reason::Stop as u8, Ordering::SeqCst);
            let _ = self.ends.compare_exchange(ends, LONG_AGO, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Has the running page stopped in the same way, until it is told to [go on](TimeLimitHandle::go_on).
    fn interrupt(&self) {
        // So that what is interrupted is not told to go on between the two.
        let _running = self.state.lock();
        let ends = self.ends.load(Ordering::SeqCst);
        if ends != NEVER && ends != EXPIRED {
            self.over.store(Reason::Interrupt as u8, Ordering::SeqCst);
            self.ends.store(LONG_AGO, Ordering::SeqCst);
        }
    }

    fn is_interrupted(&self) -> bool {
        self.over.load(Ordering::SeqCst) == Reason::Interrupt as u8
    }

    fn until(&self) -> Option<Instant> {
        instant(self.ends.load(Ordering::Relaxed))
    }

    fn reason(&self) -> Option<Reason> {
        let over = self.over.load(Ordering::Relaxed);
        reason_of(self.ends.load(Ordering::Relaxed) == EXPIRED, over)
    }

    /// Makes the hook raise from the next step of Lua on. To be called by the thread that runs the state.
    fn go_over(&self, reason: Reason) {
        if self.over.compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.set_hook();
        }
    }

    /// Takes the hook away that stops a page, while nothing but Rust runs in the state's thread.
    fn rest(&self) {
        if let Some(state) = *self.state.lock() {
            // SAFETY: the state is alive and runs no Lua.
            unsafe { set_resting_hook(state.as_ptr()) };
        }
    }

    fn set_hook(&self) {
        let state = self.running.load(Ordering::Relaxed);
        if cfg!(feature = "luajit") && !state.is_null() {
            // SAFETY: lua.h allows lua_sethook in a signal handler of the running thread. Taking the hook away first
            // makes LuaJIT renew its dispatch table even when it believes that the hook is in it.
            unsafe {
                ffi::lua_sethook(state, None, 0, 0);
                ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
            }
        }
    }

    /// Collects what nothing refers to any more. Whether that is enough for the page to go on.
    ///
    /// # Safety
    /// `state` is live and in a hook of this thread.
    unsafe fn collect(&self, state: *mut ffi::lua_State) -> bool {
        // SAFETY: the caller's promise; a hook may call any function of Lua's.
        let held = unsafe {
            ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0)
        };
        let enough = usize::try_from(held).is_ok_and(|held| held <= self.enough.load(Ordering::Relaxed));
        if enough {
            self.over.store(0, Ordering::Relaxed);
            if self.reason().is_none() {
                // SAFETY: as above. The deadline may pass meanwhile: its signal is repeated.
                unsafe { ffi::lua_sethook(state, None, 0, 0) };
            }
        }
        enough
    }
}

/// Why a page is told to stop whose deadline has passed, or who has gone over another limit.
fn reason_of(is_expired: bool, over: u8) -> Option<Reason> {
    // The end of these comes as that of a deadline.
    let is_told = [Reason::Stop as u8, Reason::Interrupt as u8].contains(&over);
    if is_expired && !is_told {
        return Some(Reason::Time);
    }
    Reason::ALL.into_iter().find(|reason| *reason as u8 == over)
}

// SAFETY: the state is touched only by the thread that runs it and by that thread's signal handler; the owner takes
// the pointer out before the state closes.
unsafe impl Send for Deadline {}
// SAFETY: as above.
unsafe impl Sync for Deadline {}

thread_local! {
    /// The deadline of the page this thread runs. Without a destructor, so that a signal handler may read it.
    static CURRENT: Cell<*const Deadline> = const { Cell::new(ptr::null()) };
    /// This thread's number in the system, once it lets the signal through.
    static LISTENS: Cell<i32> = const { Cell::new(0) };
}

/// Time that the page has left which this thread runs; none without a limit. May be asked anywhere, in a signal handler too.
#[must_use]
pub fn left_in_this_thread() -> Option<Duration> {
    // SAFETY: CURRENT is set only while its TimeLimit is alive and its page runs in this thread.
    let deadline = unsafe { CURRENT.get().as_ref() }?;
    let ends = deadline.ends.load(Ordering::Relaxed);
    (ends != NEVER).then(|| End(ends).left())
}

/// A real-time signal that neither httpd nor PHP (which takes the first one) nor the C library uses.
fn stop_signal() -> c_int {
    libc::SIGRTMIN() + 6
}

/// Makes this thread take the signal.
fn listen() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: the handler does only what a handler may. Without SA_RESTART a system call that waits, such as the
        // opening of a named pipe, ends with an error and the page with it.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_stop_signal as extern "C" fn(c_int) as usize;
            libc::sigaction(stop_signal(), &action, ptr::null_mut());
            // A page that is only told of goes on with what it waits for.
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(slow::signal(), &action, ptr::null_mut());
        }
    });
    // SAFETY: an empty set is made before it is used.
    unsafe {
        let mut signals: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut signals);
        libc::sigaddset(&mut signals, stop_signal());
        libc::sigaddset(&mut signals, slow::signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &signals, ptr::null_mut());
    }
    LISTENS.set(gettid().as_raw());
}

/// Makes this thread take the signal, and tells by what to send it.
fn listening_thread() -> usize {
    if LISTENS.get() == 0 {
        listen();
    }
    // SAFETY: always allowed.
    unsafe { libc::pthread_self() as usize }
}

/// Interrupts what a thread waits for in the system.
///
/// # Safety
/// The thread is alive, and [`listens`](listening_thread).
unsafe fn interrupt(thread: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::pthread_kill(thread as libc::pthread_t, stop_signal()) };
}

/// The same for threads that stay in the list while they are alive and listen.
fn interrupt_all(threads: &[usize]) {
    for thread in threads {
        // SAFETY: a thread leaves the list, which is locked meanwhile, before it ends.
        unsafe { interrupt(*thread) };
    }
}

extern "C" fn on_stop_signal(_: c_int) {
    // SAFETY: CURRENT is set only while its TimeLimit, and so the state, is alive and runs in this thread.
    let Some(deadline) = (unsafe { CURRENT.get().as_ref() }) else { return };
    if deadline.ends.load(Ordering::Relaxed) == EXPIRED || deadline.slow.is_marked() {
        deadline.set_hook();
    }
}

/// Instructions between two looks at the deadline in PUC Lua.
const HOOK_INTERVAL: i32 = 1000;

/// Sets the hook of a state whose page is not told to stop.
///
/// # Safety
/// The state is alive, is a main one, and runs no Lua just now.
unsafe fn set_resting_hook(state: *mut ffi::lua_State) {
    // SAFETY: the caller's promise.
    unsafe {
        match cfg!(feature = "luajit") {
            true => ffi::lua_sethook(state, None, 0, 0),
            false => ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, HOOK_INTERVAL),
        };
    }
}

const REGISTRY_KEY: &CStr = c"plua.deadline";

/// Calls of a stopped page that are kept.
const DEEPEST_CALL: i32 = 60;

unsafe extern "C-unwind" fn hook(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: Lua calls hooks with a live state and LUA_MINSTACK free slots; the registry entry is a Deadline for
    // as long as the hook is set; when lua_error leaves, nothing here waits to be dropped.
    unsafe {
        ffi::lua_getfield(state, ffi::LUA_REGISTRYINDEX, REGISTRY_KEY.as_ptr());
        let deadline = ffi::lua_touserdata(state, -1).cast::<Deadline>();
        ffi::lua_pop(state, 1);
        let Some(deadline) = deadline.as_ref() else { return };
        let Some(reason) = deadline.reason() else {
            if cfg!(not(feature = "luajit")) && ffi::lua_gethookcount(state) != HOOK_INTERVAL {
                // Goes on after an interruption. Setting one looks at all active calls.
                ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, HOOK_INTERVAL);
            }
            if deadline.slow.is_marked() {
                tell_slow(state, deadline);
            }
            return;
        };
        if reason == Reason::Memory && deadline.collect(state) {
            return;
        }
        if cfg!(not(feature = "luajit")) {
            // From here on every instruction raises, so that no pcall outlives the deadline.
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
        }
        // What was over its memory limit once stays so, even when its garbage is gone.
        deadline.enough.store(0, Ordering::Relaxed);
        let mut calls = deadline.calls.lock();
        if calls.is_empty() {
            *calls = active_calls(state);
        }
        drop(calls);
        ffi::lua_pushstring(state, reason.message().as_ptr());
        ffi::lua_error(state);
    }
}

/// Tells of a page that takes long, and lets it go on.
///
/// # Safety
/// `state` is live and in a hook of this thread.
unsafe fn tell_slow(state: *mut ffi::lua_State, deadline: &Deadline) {
    // SAFETY: the caller's promise; a hook may take itself away.
    let calls = unsafe {
        if cfg!(feature = "luajit") {
            ffi::lua_sethook(state, None, 0, 0);
        }
        active_calls(state)
    };
    deadline.slow.tell(calls);
    if deadline.reason().is_some() {
        // It struck meanwhile, when the hook was there already.
        deadline.set_hook();
    }
}

/// The active calls, innermost first.
///
/// # Safety
/// `state` is live and runs in this thread.
unsafe fn active_calls(state: *mut ffi::lua_State) -> Vec<Call> {
    let mut calls = Vec::new();
    for level in 0..DEEPEST_CALL {
        // SAFETY: lua_Debug is plain data that lua_getstack and lua_getinfo fill; strings in it are C strings
        // that live as long as the function they belong to is on the stack.
        unsafe {
            let mut call: ffi::lua_Debug = mem::zeroed();
            if ffi::lua_getstack(state, level, &mut call) == 0 {
                break;
            }
            ffi::lua_getinfo(state, c"Sln".as_ptr(), &mut call);
            // The code of a file begins with a variable of the engine's.
            let variable = ffi::lua_getlocal(state, &call, 1);
            if !variable.is_null() {
                ffi::lua_pop(state, 1);
                if CStr::from_ptr(variable) == c"__plua" {
                    call.what = c"main".as_ptr();
                }
            }
            let text = |text: *const c_char| {
                if text.is_null() { Vec::new() } else { shortened(CStr::from_ptr(text).to_bytes()).to_vec() }
            };
            if let Ok(line) = u32::try_from(call.currentline) {
                calls.push(Call { source: text(call.source), line, name: text(call.name), what: text(call.what) });
            }
        }
    }
    calls
}

/// The time limit of one state. Must be dropped before the state it was made for.
pub struct TimeLimit {
    deadline: Arc<Deadline>,
    shared: Arc<Shared>,
}

impl TimeLimit {
    /// Starts the clock for a page that runs in this thread; when it must have ended.
    pub fn start(&self, limit: Duration) -> End {
        let ends = now().saturating_add(limit.as_nanos().try_into().unwrap_or(NEVER)).min(UNLIMITED - 1);
        self.enter(ends);
        // See `watch`.
        if self.deadline.slow.first(ends) < self.shared.wakes_at.load(Ordering::SeqCst) {
            self.shared.call();
        }
        End(ends)
    }

    /// The same for a page without a time limit, which ends with the server all the same.
    pub fn start_unlimited(&self) {
        self.enter(UNLIMITED);
        if self.deadline.slow.first(UNLIMITED) < self.shared.wakes_at.load(Ordering::SeqCst).min(UNLIMITED) {
            self.shared.call();
        }
    }

    fn enter(&self, ends: u64) {
        let deadline = &*self.deadline;
        deadline.thread.store(listening_thread(), Ordering::Relaxed);
        deadline.number.store(LISTENS.get(), Ordering::Relaxed);
        deadline.outer.store(CURRENT.replace(deadline).cast_mut(), Ordering::Relaxed);
        deadline.ends.store(ends, Ordering::SeqCst);
    }

    /// Puts its own hook, if it has one between pages, in the place of the one that a page has set.
    pub fn take_hook_back(&self) {
        self.deadline.rest();
    }

    /// What ends with the page. Its commands are to be killed or forgotten when it has ended.
    #[must_use]
    pub fn cutoff(&self) -> &Cutoff {
        &self.deadline.cutoff
    }

    /// What interrupts the page that runs.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { deadline: self.deadline.clone(), shared: self.shared.clone() }
    }

    /// For the page functions of the state.
    #[must_use]
    pub fn handle(&self) -> TimeLimitHandle {
        TimeLimitHandle(self.deadline.clone())
    }

    /// Whether the running page has gone over a limit of its own or its time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.deadline.reason().is_some()
    }

    /// Ends what [`TimeLimit::start`] began, if it did, in the same thread, and forgets the other limits. When the page
    /// was told to stop: why, and the calls that were active then, innermost first.
    pub fn stop(&self) -> Option<(Reason, Vec<Call>)> {
        let deadline = &*self.deadline;
        let ends = deadline.ends.load(Ordering::Relaxed);
        let expired = ends != NEVER && deadline.ends.swap(NEVER, Ordering::SeqCst) == EXPIRED;
        if ends != NEVER {
            // From here on the handler does nothing to this state, so a late signal cannot set the hook again.
            CURRENT.set(deadline.outer.swap(ptr::null_mut(), Ordering::Relaxed));
        }
        if deadline.slow.is_marked() {
            self.take_back_slow();
        }
        let over = deadline.over.swap(0, Ordering::Relaxed);
        let reason = reason_of(expired, over)?;
        // Waits for a watchdog that is just sending a signal.
        let state = deadline.state.lock();
        if let (true, Some(state)) = (cfg!(feature = "luajit"), *state) {
            // SAFETY: the state is alive and does not run.
            unsafe { ffi::lua_sethook(state.as_ptr(), None, 0, 0) };
        }
        Some((reason, mem::take(&mut *deadline.calls.lock())))
    }
}

impl TimeLimit {
    /// Waits for a watchdog that is just sending the signal to a page that is told of, and takes the hook away that it may have set.
    #[cold]
    fn take_back_slow(&self) {
        let state = self.deadline.state.lock();
        if let (true, Some(state)) = (cfg!(feature = "luajit"), *state) {
            // SAFETY: the state is alive and does not run.
            unsafe { ffi::lua_sethook(state.as_ptr(), None, 0, 0) };
        }
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        // A page that a panic ended has not stopped its clock.
        if CURRENT.get() == Arc::as_ptr(&self.deadline) {
            CURRENT.set(self.deadline.outer.load(Ordering::Relaxed));
        }
        let state = self.deadline.state.lock().take();
        if let Some(state) = state {
            // SAFETY: the state is still alive (see State) and does not run. Coroutines keep the hook but run no more.
            unsafe {
                ffi::lua_sethook(state.as_ptr(), None, 0, 0);
                ffi::lua_pushnil(state.as_ptr());
                ffi::lua_setfield(state.as_ptr(), ffi::LUA_REGISTRYINDEX, REGISTRY_KEY.as_ptr());
            }
        }
        self.shared.deadlines.lock().retain(|deadline| !Arc::ptr_eq(deadline, &self.deadline));
    }
}

/// Interrupts what runs in one state, from another thread, as Ctrl-C does.
pub struct Interrupter {
    deadline: Arc<Deadline>,
    shared: Arc<Shared>,
}

impl Interrupter {
    /// Has the page stopped, wherever it is, until it is told to [go on](TimeLimitHandle::go_on). Nothing where no page runs.
    pub fn interrupt(&self) {
        self.deadline.interrupt();
        self.shared.call();
    }
}

/// Whether this build can stop a compiled endless loop, tried once in a process.
///
/// # Errors
/// A sentence when it cannot.
pub fn self_check() -> Result<(), String> {
    static RESULT: OnceLock<Result<(), String>> = OnceLock::new();
    RESULT
        .get_or_init(|| {
            let watchdog = Watchdog::start().map_err(|error| format!("no thread for the time limit: {error}"))?;
            let lua = Lua::new();
            let limit = watchdog.limit(&lua);
            limit.start(Duration::from_millis(5));
            // Ends by itself after a second or two, so that a build without the flag is told apart and does not hang.
            let ran = lua.load("local n = 0; for i = 1, 2e9 do n = n + i end return n").exec();
            limit.stop();
            match ran {
                Err(_) => Ok(()),
                Ok(()) => Err("pLuaTimeout cannot be kept: this build's LuaJIT lacks LUAJIT_ENABLE_CHECKHOOK; build \
                               with CFLAGS=-DLUAJIT_ENABLE_CHECKHOOK as .cargo/config.toml does"
                    .to_string()),
            }
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn this_build_can_stop_a_compiled_loop() {
        assert_eq!(self_check(), Ok(()));
    }

    #[test]
    fn loops_that_catch_errors_end_at_the_deadline_and_the_watchdog_wakes_after_idling() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let limit = watchdog.limit(&lua);
        for code in [
            "while true do end",
            "while true do pcall(function() while true do end end) end",
            "while true do coroutine.wrap(function() for i = 1, 1e5 do end end)() end",
            "local function f() return f() end f()",
        ] {
            limit.start(Duration::from_millis(50));
            let failed = lua.load(code).exec().unwrap_err().to_string();
            let (reason, calls) = limit.stop().unwrap();
            assert!(reason == Reason::Time && !calls.is_empty(), "{code}");
            assert!(failed.contains("took too long"), "{code}: {failed}");
            assert_eq!(lua.load("return 1 + 1").eval::<i32>().unwrap(), 2, "after {code}");
            // The watchdog idles.
            thread::sleep(Duration::from_millis(10));
        }
        limit.start(Duration::from_secs(60));
        assert_eq!(lua.load("local n = 0 for i = 1, 1e5 do n = n + 1 end return n").eval::<u32>().unwrap(), 100_000);
        assert_eq!(limit.stop(), None);
    }

    #[test]
    fn what_is_interrupted_ends_and_the_page_goes_on() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let limit = watchdog.limit(&lua);
        let interrupter = limit.interrupter();
        interrupter.interrupt();
        limit.start_unlimited();
        assert!(!limit.handle().go_on(), "no page was there to be interrupted");
        for code in ["while true do end", "while true do pcall(function() while true do end end) end"] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    // It is at it.
                    thread::sleep(Duration::from_millis(50));
                    interrupter.interrupt();
                });
                let failed = lua.load(code).exec().unwrap_err().to_string();
                assert!(failed.contains("Interrupted at the terminal"), "{code}: {failed}");
            });
            assert!(limit.handle().go_on() && !limit.handle().go_on(), "{code}");
            let counted = lua.load("local n = 0 for i = 1, 1e6 do n = n + 1 end return n").eval::<u32>();
            assert_eq!(counted.unwrap(), 1_000_000, "after {code}");
        }
        // A wait ends too, and tells nobody why.
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                interrupter.interrupt();
            });
            limit.handle().wait(&Arc::default(), Some(Instant::now() + Duration::from_secs(60)));
        });
        assert!(limit.handle().go_on());
        assert_eq!(limit.stop(), None);
    }

    #[test]
    fn pages_with_and_without_a_limit_end_with_the_server_and_so_does_one_that_begins_later() {
        let watchdog = Watchdog::start().unwrap();
        let lua = Lua::new();
        let limit = watchdog.limit(&lua);
        limit.start_unlimited();
        assert!(lua.load("for i = 1, 1e6 do end").exec().is_ok());
        assert_eq!((limit.handle().until(), limit.stop()), (None, None));
        thread::scope(|scope| {
            scope.spawn(|| {
                // The first of the pages is at it.
                thread::sleep(Duration::from_millis(50));
                watchdog.end_pages();
            });
            for is_limited in [false, true] {
                match is_limited {
                    false => limit.start_unlimited(),
                    true => _ = limit.start(Duration::from_secs(60)),
                }
                let failed = lua.load("while true do pcall(function() while true do end end) end").exec().unwrap_err();
                assert!(failed.to_string().contains("The server stops"), "{failed}");
                assert!(matches!(limit.stop(), Some((Reason::Stop, _))));
                limit.handle().wait(&Arc::default(), Some(Instant::now() + Duration::from_secs(60)));
                assert!(limit.handle().server_stops(), "nobody waits any more");
            }
        });
    }
}
