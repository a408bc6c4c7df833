//! What SQLite calls back while it works for a page: whether to go on, to wait, and whether a statement is allowed.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::thread;
use std::time::{Duration, Instant};

/// How long a statement waits for another connection's lock on the file, unless the page chooses otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_millis(5000);

/// Steps of SQLite's machine between two questions. One step can be a function of SQL over megabytes, so they are few, and
/// most of them ask a clock that costs little.
pub(crate) const UNTIMED: c_int = 20;

/// Nanoseconds for which the clock that costs more is not asked again.
const UNASKED: i64 = 1_000_000;

/// Milliseconds to wait for a lock before each new try; the last goes on. SQLite's own default.
const PAUSES: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];

/// What SQLite's callbacks answer.
const OK: c_int = 0;
const DENY: c_int = 1;
const IGNORE: c_int = 2;

/// The actions that are looked at (sqlite3.h).
const PRAGMA: c_int = 19;
const ATTACH: c_int = 24;
const FUNCTION: c_int = 31;

/// Settings that hold for all of a process.
const OF_THE_PROCESS: &[&str] = &["hard_heap_limit", "soft_heap_limit", "temp_store_directory", "data_store_directory"];

/// Settings that take back what confines a page, or map files; they may be asked for.
const CONFINING: &[&str] = &["mmap_size", "trusted_schema", "writable_schema", "lock_proxy_file"];

/// Functions that take or give addresses of native code, load it, or open files.
const NATIVE: &[&str] = &["load_extension", "fts3_tokenizer", "fts5", "readfile", "writefile", "edit"];

/// Functions that take so long for one number of their arguments as nothing can stop; Lua formats as well.
const ENDLESS: &[&str] = &["printf", "format"];

/// What a database's callbacks look at.
#[derive(Default)]
pub(crate) struct Watch {
    /// When what runs now must have ended.
    pub(crate) until: Cell<Option<Instant>>,
    /// Whether SQL may open no files and change nothing of the process.
    pub(crate) is_confined: Cell<bool>,
    /// How long a statement waits for a lock.
    pub(crate) patience: Cell<Duration>,
    /// Whether the page has chosen that anew, by which SQLite has put its own way to wait in place of ours.
    pub(crate) is_patience_new: Cell<bool>,
    /// What the statement that is compiled wanted and may not.
    pub(crate) refused: Cell<Option<String>>,
    /// When the wait began.
    began: Cell<Option<Instant>>,
    /// Until then, by the clock that costs little, nothing is over.
    asked: Cell<i64>,
}

/// Whether to give up, asked between steps of a statement.
pub(crate) unsafe extern "C" fn is_over(watch: *mut c_void) -> c_int {
    // SAFETY: SQLite gives the Watch that was registered, which the database's owner keeps as long.
    let watch = unsafe { &*watch.cast::<Watch>() };
    let Some(until) = watch.until.get() else { return OK };
    let now = coarse_time();
    if now < watch.asked.get() {
        return OK;
    }
    watch.asked.set(now + UNASKED);
    (Instant::now() >= until).into()
}

/// Nanoseconds of the clock that the system keeps for who asks often. It goes on every few milliseconds.
fn coarse_time() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is there. Linux has had this clock since 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Waits a little for a lock; 0 to give up.
pub(crate) unsafe extern "C" fn wait(watch: *mut c_void, tries: c_int) -> c_int {
    // SAFETY: as in `is_over`.
    let watch = unsafe { &*watch.cast::<Watch>() };
    let now = Instant::now();
    if tries == 0 {
        watch.began.set(Some(now));
    }
    let waited = now.saturating_duration_since(watch.began.get().unwrap_or(now));
    let mut left = watch.patience.get().saturating_sub(waited);
    if let Some(until) = watch.until.get() {
        left = left.min(until.saturating_duration_since(now));
    }
    if left.is_zero() {
        return 0;
    }
    let pause = PAUSES[usize::try_from(tries).unwrap_or(0).min(PAUSES.len() - 1)];
    thread::sleep(Duration::from_millis(pause).min(left));
    1
}

/// What SQLite asks before it compiles a statement: an action, and what it is done to.
pub(crate) unsafe extern "C" fn is_allowed(
    watch: *mut c_void,
    action: c_int,
    name: *const c_char,
    argument: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    if !matches!(action, ATTACH | PRAGMA | FUNCTION) {
        return OK;
    }
    // SAFETY: as in `is_over`; names are null or C strings that live as long as the call.
    let (watch, name, argument) = unsafe {
        let bytes = |text: *const c_char| (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes());
        (&*watch.cast::<Watch>(), bytes(name), bytes(argument))
    };
    let among = |what: Option<&[u8]>, names: &[&str]| {
        what.is_some_and(|what| names.iter().any(|name| what.eq_ignore_ascii_case(name.as_bytes())))
    };
    let is = |pragma: &str| among(name, &[pragma]);
    if watch.is_confined.get() {
        let shown = |what: Option<&[u8]>| String::from_utf8_lossy(what.unwrap_or_default()).into_owned();
        let refused = match action {
            // VACUUM attaches a file with an empty name. The name of a file that is a bound value is not known here.
            ATTACH => name.is_none_or(|name| !name.is_empty()).then(|| "ATTACH and VACUUM INTO open files".to_owned()),
            FUNCTION => (among(argument, NATIVE) || among(argument, ENDLESS))
                .then(|| format!("the function {}", shown(argument))),
            _ => (among(name, OF_THE_PROCESS) || argument.is_some() && among(name, CONFINING))
                .then(|| format!("PRAGMA {}", shown(name))),
        };
        if refused.is_some() {
            watch.refused.set(refused);
            return DENY;
        }
    }
    if action == PRAGMA && argument.is_some() && is("threads") {
        // What a sort takes and gives back in threads of its own is counted for nobody.
        return IGNORE;
    }
    if let Some(argument) = argument.filter(|_| action == PRAGMA && is("busy_timeout")) {
        let digits = str::from_utf8(argument).ok().and_then(|text| text.trim().parse().ok());
        watch.patience.set(Duration::from_millis(digits.unwrap_or(0)));
        watch.is_patience_new.set(true);
    }
    OK
}
