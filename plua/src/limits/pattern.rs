//! How many steps Lua's own pattern functions take for a call: they walk a pattern as they do, and count.
//!
//! The functions themselves cannot be interrupted, so the steps are counted before one is called. LuaJIT and Lua 5.1
//! end a pattern at its first NUL.

/// Calls within each other that Lua's walk of a pattern may take.
const DEEPEST: u32 = 200;

/// Captures of a pattern at most.
const MOST_CAPTURES: usize = 32;

/// Whether NUL is a character like others in a pattern.
const NUL_IS_PLAIN: bool = cfg!(feature = "lua54");

/// What is asked of the pattern.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// The first match from this position on, from 1 or negative from the end.
    Find(i64),
    /// All matches.
    Iterate,
    /// All matches up to a number of them.
    Substitute(usize),
}

/// Why a walk ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// It took all steps it may.
    Steps,
    /// Its time is over.
    Time,
    /// Lua would raise an error.
    Malformed,
}

/// A piece of the subject that a pattern captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// Not closed yet.
    Open,
    /// A position, counted from 0.
    Position,
    /// So many bytes.
    Text(usize),
}

/// One match: where it starts and ends, and its captures with their starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// First byte, from 0.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// In the order of their opening brackets.
    pub captures: Vec<(usize, Capture)>,
}

/// Steps between two looks at the clock: less than a millisecond.
const SLICE: u64 = 1 << 16;

/// Walks through a call, whatever its result, with so many steps and as long as it `has_time`.
///
/// # Errors
/// [`Halt::Steps`] or [`Halt::Time`], when the call takes more.
pub fn ends(
    subject: &[u8],
    pattern: &[u8],
    call: Call,
    steps: u64,
    mut has_time: impl FnMut() -> bool,
) -> Result<(), Halt> {
    let mut steps = Steps { left: 0, more: steps, has_time: &mut has_time };
    let walked = match call {
        Call::Find(from) => search(subject, pattern, start(from, subject.len()), &mut steps).map(drop),
        Call::Iterate => all(subject, pattern, usize::MAX, false, &mut steps),
        Call::Substitute(most) => all(subject, pattern, most, true, &mut steps),
    };
    walked.or_else(|halt| if halt == Halt::Malformed { Ok(()) } else { Err(halt) })
}

/// Where a search begins, from 0, that Lua is told to begin at `from`.
#[must_use]
pub fn start(from: i64, length: usize) -> usize {
    let length = length as i64;
    let from = if from < 0 { from + length } else { from - 1 };
    from.clamp(0, length + 1) as usize
}

/// The first match at or after `from`, as string.find and string.match search.
///
/// # Errors
/// See [`Halt`]; `steps` goes down to 0.
pub fn find(subject: &[u8], pattern: &[u8], from: usize, steps: &mut u64) -> Result<Option<Match>, Halt> {
    let mut walked = Steps { left: *steps, more: 0, has_time: &mut || true };
    let found = search(subject, pattern, from, &mut walked);
    *steps = walked.left;
    found
}

fn search(subject: &[u8], pattern: &[u8], from: usize, steps: &mut Steps) -> Result<Option<Match>, Halt> {
    let from = if NUL_IS_PLAIN { from } else { from.min(subject.len()) };
    let (anchored, pattern) = anchor(pattern);
    let mut walk = Walk::new(subject, pattern, steps);
    for start in from..=subject.len() {
        if let Some(end) = walk.begin(start)? {
            let captures = walk.captures.clone();
            if captures.iter().any(|(_, capture)| *capture == Capture::Open) {
                return Err(Halt::Malformed);
            }
            return Ok(Some(Match { start, end, captures }));
        }
        if anchored {
            break;
        }
    }
    Ok(None)
}

fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    }
}

/// Goes from match to match as string.gsub does, or string.gmatch, for which `^` is a character like others.
fn all(subject: &[u8], pattern: &[u8], most: usize, substitutes: bool, steps: &mut Steps) -> Result<(), Halt> {
    let (anchored, pattern) = if substitutes { anchor(pattern) } else { (false, pattern) };
    let mut walk = Walk::new(subject, pattern, steps);
    let (mut at, mut last, mut found) = (0, None, 0);
    while found < most && at <= subject.len() {
        let end = walk.begin(at)?.filter(|end| !NUL_IS_PLAIN || Some(*end) != last);
        found += usize::from(end.is_some());
        at = match end {
            Some(end) if end > at || NUL_IS_PLAIN => end,
            _ => at + 1,
        };
        last = end.or(last);
        if anchored {
            break;
        }
    }
    Ok(())
}

/// Steps that a walk may take.
struct Steps<'c> {
    /// Before the next look at the clock.
    left: u64,
    /// After it.
    more: u64,
    has_time: &'c mut dyn FnMut() -> bool,
}

impl Steps<'_> {
    #[inline]
    fn take(&mut self, steps: u64) -> Result<(), Halt> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.look_at_clock(steps),
        }
    }

    #[cold]
    fn look_at_clock(&mut self, steps: u64) -> Result<(), Halt> {
        if self.left.saturating_add(self.more) < steps {
            (self.left, self.more) = (0, 0);
            return Err(Halt::Steps);
        }
        if !(self.has_time)() {
            return Err(Halt::Time);
        }
        let slice = self.more.min(SLICE.max(steps));
        self.more -= slice;
        self.left = self.left + slice - steps;
        Ok(())
    }
}

struct Walk<'a, 'c> {
    subject: &'a [u8],
    pattern: &'a [u8],
    steps: &'a mut Steps<'c>,
    depth: u32,
    captures: Vec<(usize, Capture)>,
}

impl<'a, 'c> Walk<'a, 'c> {
    fn new(subject: &'a [u8], pattern: &'a [u8], steps: &'a mut Steps<'c>) -> Walk<'a, 'c> {
        let end = if NUL_IS_PLAIN { None } else { pattern.iter().position(|byte| *byte == 0) };
        let pattern = &pattern[..end.unwrap_or(pattern.len())];
        Walk { subject, pattern, steps, depth: 0, captures: Vec::with_capacity(MOST_CAPTURES) }
    }

    /// The end of a match that starts here.
    fn begin(&mut self, at: usize) -> Result<Option<usize>, Halt> {
        self.depth = 0;
        self.captures.clear();
        self.walk(at, 0)
    }

    fn take(&mut self, steps: usize) -> Result<(), Halt> {
        self.steps.take(steps as u64)
    }

    /// A byte of the subject; NUL behind its end, as C finds it there.
    fn byte(&self, at: usize) -> u8 {
        self.subject.get(at).copied().unwrap_or(0)
    }

    fn walk(&mut self, mut at: usize, mut item: usize) -> Result<Option<usize>, Halt> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Halt::Malformed);
        }
        let end = loop {
            self.take(1)?;
            let rest = &self.pattern[item..];
            match rest {
                [] => break Some(at),
                [b'(', b')', ..] => break self.open(at, item + 2, Capture::Position)?,
                [b'(', ..] => break self.open(at, item + 1, Capture::Open)?,
                [b')', ..] => break self.close(at, item + 1)?,
                [b'$'] => break (at == self.subject.len()).then_some(at),
                [b'%', b'b', ..] => match self.balanced(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => break None,
                },
                [b'%', b'f', ..] => {
                    item += 2;
                    if self.pattern.get(item) != Some(&b'[') {
                        return Err(Halt::Malformed);
                    }
                    let end = self.item_end(item)?;
                    self.take((end - item) / 8)?;
                    let before = if at == 0 { 0 } else { self.byte(at - 1) };
                    let set = &self.pattern[item..end];
                    if in_set(before, set) || !in_set(self.byte(at), set) {
                        break None;
                    }
                    item = end;
                }
                [b'%', digit, ..] if digit.is_ascii_digit() => match self.again(at, *digit)? {
                    Some(end) => (at, item) = (end, item + 2),
                    None => break None,
                },
                _ => {
                    let end = self.item_end(item)?;
                    let fits = self.fits(at, item, end)?;
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if fits && let Some(found) = self.walk(at + 1, end + 1)? {
                                break Some(found);
                            }
                            item = end + 1;
                        }
                        Some(b'*') => break self.most(at, item, end)?,
                        Some(b'+') if fits => break self.most(at + 1, item, end)?,
                        Some(b'+') => break None,
                        Some(b'-') => break self.least(at, item, end)?,
                        _ if fits => (at, item) = (at + 1, end),
                        _ => break None,
                    }
                }
            }
        };
        self.depth -= 1;
        Ok(end)
    }

    /// Behind the single character, class or set at `item`.
    fn item_end(&mut self, item: usize) -> Result<usize, Halt> {
        let pattern = self.pattern;
        match pattern[item] {
            b'%' if item + 1 >= pattern.len() => Err(Halt::Malformed),
            b'%' => Ok(item + 2),
            b'[' => {
                let mut end = item + 1;
                if pattern.get(end) == Some(&b'^') {
                    end += 1;
                }
                loop {
                    match pattern.get(end) {
                        None => return Err(Halt::Malformed),
                        Some(b'%') if end + 1 < pattern.len() => end += 2,
                        Some(_) => end += 1,
                    }
                    if pattern.get(end) == Some(&b']') {
                        self.take((end - item) / 8)?;
                        return Ok(end + 1);
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    fn fits(&mut self, at: usize, item: usize, end: usize) -> Result<bool, Halt> {
        self.take(1 + (end - item) / 8)?;
        let Some(byte) = self.subject.get(at).copied() else { return Ok(false) };
        Ok(match self.pattern[item] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[item + 1]),
            b'[' => in_set(byte, &self.pattern[item..end]),
            plain => plain == byte,
        })
    }

    fn most(&mut self, at: usize, item: usize, end: usize) -> Result<Option<usize>, Halt> {
        let mut last = at;
        while self.fits(last, item, end)? {
            last += 1;
        }
        for next in (at..=last).rev() {
            if let Some(found) = self.walk(next, end + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn least(&mut self, mut at: usize, item: usize, end: usize) -> Result<Option<usize>, Halt> {
        loop {
            if let Some(found) = self.walk(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits(at, item, end)? {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn balanced(&mut self, at: usize, item: usize) -> Result<Option<usize>, Halt> {
        let Some([open, close]) = self.pattern.get(item..item + 2) else { return Err(Halt::Malformed) };
        if self.byte(at) != *open || at >= self.subject.len() && !NUL_IS_PLAIN {
            return Ok(None);
        }
        let mut unclosed = 1;
        for next in at + 1..self.subject.len() {
            self.take(1)?;
            let byte = self.subject[next];
            if byte == *close {
                unclosed -= 1;
                if unclosed == 0 {
                    return Ok(Some(next + 1));
                }
            } else if byte == *open {
                unclosed += 1;
            }
        }
        Ok(None)
    }

    fn open(&mut self, at: usize, item: usize, capture: Capture) -> Result<Option<usize>, Halt> {
        if self.captures.len() >= MOST_CAPTURES {
            return Err(Halt::Malformed);
        }
        let level = self.captures.len();
        self.captures.push((at, capture));
        let found = self.walk(at, item)?;
        if found.is_none() {
            self.captures.truncate(level);
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, item: usize) -> Result<Option<usize>, Halt> {
        let level = self.captures.iter().rposition(|(_, capture)| *capture == Capture::Open).ok_or(Halt::Malformed)?;
        self.captures[level].1 = Capture::Text(at - self.captures[level].0);
        let found = self.walk(at, item)?;
        if found.is_none() {
            self.captures[level].1 = Capture::Open;
        }
        Ok(found)
    }

    /// Behind what a capture holds, if that is here once more.
    fn again(&mut self, at: usize, digit: u8) -> Result<Option<usize>, Halt> {
        let capture = (digit as usize).checked_sub('1' as usize).and_then(|level| self.captures.get(level).copied());
        match capture {
            None | Some((_, Capture::Open)) => Err(Halt::Malformed),
            Some((_, Capture::Position)) => Ok(None),
            Some((start, Capture::Text(length))) => {
                self.take(length / 16)?;
                let here =
                    self.subject.get(at..).is_some_and(|rest| rest.starts_with(&self.subject[start..start + length]));
                Ok(here.then_some(at + length))
            }
        }
    }
}

fn in_class(byte: u8, class: u8) -> bool {
    let inside = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' if cfg!(not(feature = "lua51")) => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 11,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    inside == class.is_ascii_lowercase()
}

/// Whether a byte is in a set, given with its brackets.
fn in_set(byte: u8, set: &[u8]) -> bool {
    let last = set.len() - 1;
    let (negated, mut next) = if set.get(1) == Some(&b'^') { (true, 2) } else { (false, 1) };
    while next < last {
        let found = match set[next] {
            b'%' => {
                next += 1;
                in_class(byte, set[next])
            }
            low if set[next + 1] == b'-' && next + 2 < last => {
                next += 2;
                (low..=set[next]).contains(&byte)
            }
            plain => plain == byte,
        };
        if found {
            return !negated;
        }
        next += 1;
    }
    negated
}
