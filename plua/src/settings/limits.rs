//! The limits of a request: a place inside a host may tighten them, never loosen.

use std::time::Duration;

/// The limits given in one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given {
    pub(super) timeout: Option<Duration>,
    pub(super) wait: Option<Duration>,
    pub(super) memory: Option<u32>,
    pub(super) output: Option<u32>,
    pub(super) pattern: Option<u32>,
    pub(super) fields: Option<u32>,
    pub(super) uploads: Option<u32>,
    pub(super) upload_size: Option<u32>,
}

impl Given {
    /// Those of a host that overrides these of the server around it.
    pub(super) fn overridden(&self, inner: &Given) -> Given {
        Given {
            timeout: inner.timeout.or(self.timeout),
            wait: inner.wait.or(self.wait),
            memory: inner.memory.or(self.memory),
            output: inner.output.or(self.output),
            pattern: inner.pattern.or(self.pattern),
            fields: inner.fields.or(self.fields),
            uploads: inner.uploads.or(self.uploads),
            upload_size: inner.upload_size.or(self.upload_size),
        }
    }

    /// Those of a directory and one inside it.
    pub(super) fn tightened(&self, inner: &Given) -> Given {
        Given {
            timeout: smaller(self.timeout, inner.timeout, Duration::ZERO),
            wait: smaller(self.wait, inner.wait, Duration::ZERO),
            memory: smaller(self.memory, inner.memory, 0),
            output: smaller(self.output, inner.output, 0),
            pattern: smaller(self.pattern, inner.pattern, 0),
            fields: smallest(self.fields, inner.fields),
            uploads: smallest(self.uploads, inner.uploads),
            upload_size: smaller(self.upload_size, inner.upload_size, 0),
        }
    }

    /// Those of a host in one of its directories, which cannot take back that patterns have no more steps than the time
    /// limit allows.
    pub(super) fn limits_in(&self, directory: &Given) -> Limits {
        let both = self.tightened(directory);
        let mut limits = both.limits();
        if self.pattern.is_none() {
            let by_time = Some(steps_in(limits.timeout));
            limits.pattern = smaller(by_time, directory.pattern, 0).unwrap_or(0);
        }
        limits
    }

    /// With the defaults of what is not given.
    pub(super) fn limits(&self) -> Limits {
        let timeout = self.timeout.unwrap_or(Duration::ZERO);
        Limits {
            timeout,
            wait: self.wait.unwrap_or(LONGEST_WAIT),
            memory: self.memory.unwrap_or(0),
            output: self.output.unwrap_or(0),
            pattern: self.pattern.unwrap_or_else(|| steps_in(timeout)),
            fields: self.fields.unwrap_or(10_000) as usize,
            uploads: self.uploads.unwrap_or(20) as usize,
            upload_size: self.upload_size.unwrap_or(65_536),
        }
    }
}

/// Time a page may wait where nothing else is said.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Steps of a pattern for each second of a page's time. Counting them takes half of it, and then the call itself as much.
const STEPS_A_SECOND: f64 = 50_000_000.0;

/// Steps of a call of a pattern function where only the page's time is limited; 0, which is no limit, without one.
fn steps_in(timeout: Duration) -> u32 {
    if timeout.is_zero() {
        return 0;
    }
    (timeout.as_secs_f64() * STEPS_A_SECOND).clamp(1.0, u32::MAX.into()) as u32
}

/// The smaller of what is given, `none` standing for no limit.
fn smaller<T: Ord + Copy>(outer: Option<T>, inner: Option<T>, none: T) -> Option<T> {
    let limits = |value: &T| *value != none;
    outer.filter(limits).into_iter().chain(inner.filter(limits)).min().or(outer).or(inner)
}

fn smallest<T: Ord>(outer: Option<T>, inner: Option<T>) -> Option<T> {
    outer.into_iter().chain(inner).min()
}

/// The limits that hold for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time a page may run; zero is no limit.
    pub timeout: Duration,
    /// Time a page may wait without a thread, all together; zero is no limit.
    pub wait: Duration,
    /// Kilobytes a state may use beyond a fresh one; 0 is no limit.
    pub memory: u32,
    /// Kilobytes a page may put out; 0 is no limit.
    pub output: u32,
    /// Steps of one call of a pattern function; 0 is no limit.
    pub pattern: u32,
    /// Fields of a query or form at most.
    pub fields: usize,
    /// Files of a form at most.
    pub uploads: usize,
    /// Kilobytes of one uploaded file at most, and of all other fields of a form; 0 is no limit.
    pub upload_size: u32,
}

impl Limits {
    /// Whether any of them stops a page that runs, past every `pcall`.
    #[must_use]
    pub fn stop_pages(&self) -> bool {
        !self.timeout.is_zero() || self.memory > 0 || self.output > 0
    }
}
