//! What has come on a connection and no page has taken yet.

use std::sync::Arc;

use memchr::{memchr, memmem};

use crate::limits::memory_limit::{PIECE, Room};
use crate::network::opened::Held;

/// Bytes that there is room for in each attempt to read.
const AT_A_TIME: usize = 16 << 10;

/// How much a page wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Up to the end of a line, without that.
    Line,
    /// Up to the end of the connection.
    All,
    /// So many bytes.
    Exactly(usize),
    /// What is there, so many bytes at most.
    Any(usize),
    /// Up to a text, without it unless it is wanted; so many bytes of that at most, if that is said.
    Until {
        /// The text.
        delimiter: Vec<u8>,
        /// Whether it is wanted too.
        inclusive: bool,
        /// Bytes at most.
        most: Option<usize>,
    },
}

/// Part of what is there.
struct Found {
    /// Bytes that are the page's.
    wanted: usize,
    /// Bytes that leave the buffer.
    taken: usize,
    /// Whether no more of what it asked for comes.
    is_last: bool,
}

/// The bytes, counted among those held for the page.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// Where those that are still to be taken begin.
    start: usize,
    /// So many of those were looked through already.
    searched: usize,
    held: Arc<Held>,
    counted: usize,
}

impl Buffer {
    /// Nothing yet.
    #[must_use]
    pub fn new(held: Arc<Held>) -> Buffer {
        Buffer { bytes: Vec::new(), start: 0, searched: 0, held, counted: 0 }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// What is asked for next is something else.
    pub fn search_anew(&mut self) {
        self.searched = 0;
    }

    /// What is wanted, if it is all there, and whether no more of it comes.
    pub fn take<R>(&mut self, pattern: &Pattern, give: impl FnOnce(&[u8]) -> R) -> Option<(R, bool)> {
        let found = self.find(pattern)?;
        let given = give(&self.bytes[self.start..self.start + found.wanted]);
        self.leave(found.taken);
        Some((given, found.is_last))
    }

    /// All that is there.
    pub fn take_all<R>(&mut self, give: impl FnOnce(&[u8]) -> R) -> R {
        let given = give(&self.bytes[self.start..]);
        self.leave(self.bytes.len() - self.start);
        given
    }

    fn leave(&mut self, taken: usize) {
        self.start += taken;
        self.searched = 0;
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > PIECE {
                self.bytes = Vec::new();
                self.count();
            }
        }
    }

    fn find(&mut self, pattern: &Pattern) -> Option<Found> {
        let there = &self.bytes[self.start..];
        let found = match pattern {
            Pattern::All => None,
            Pattern::Exactly(count) => {
                (there.len() >= *count).then_some(Found { wanted: *count, taken: *count, is_last: true })
            }
            Pattern::Any(most) => {
                let count = there.len().min(*most);
                (count > 0).then_some(Found { wanted: count, taken: count, is_last: true })
            }
            Pattern::Line => memchr(b'\n', &there[self.searched..]).map(|at| {
                let end = self.searched + at;
                let wanted = if there[..end].ends_with(b"\r") { end - 1 } else { end };
                Found { wanted, taken: end + 1, is_last: true }
            }),
            Pattern::Until { delimiter, inclusive, most } => {
                until(there, self.searched, delimiter, *inclusive, most.unwrap_or(usize::MAX))
            }
        };
        if found.is_none() {
            let open = match pattern {
                Pattern::Until { delimiter, .. } => delimiter.len().saturating_sub(1),
                _ => 0,
            };
            self.searched = there.len().saturating_sub(open);
        }
        found
    }

    /// Reads once, with `read`; what that says.
    ///
    /// # Errors
    /// Those of [`Room::ask`], before anything is read.
    pub fn fill<R>(
        &mut self,
        room: Room<'_>,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<R>,
        count: impl FnOnce(&R) -> usize,
    ) -> Result<std::io::Result<R>, &'static str> {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let length = self.bytes.len();
        if self.bytes.capacity() - length < AT_A_TIME {
            let more = self.bytes.capacity().max(AT_A_TIME);
            room.ask(self.held.bytes().saturating_add(more * 2))?;
            self.bytes.reserve_exact(more);
            self.count();
        }
        self.bytes.resize(length + AT_A_TIME, 0);
        let done = read(&mut self.bytes[length..]);
        self.bytes.truncate(length + done.as_ref().map_or(0, count));
        Ok(done)
    }

    fn count(&mut self) {
        self.held.subtract(self.counted);
        self.counted = self.bytes.capacity();
        self.held.add(self.counted);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.held.subtract(self.counted);
    }
}

fn until(there: &[u8], searched: usize, delimiter: &[u8], inclusive: bool, most: usize) -> Option<Found> {
    let at = memmem::find(&there[searched..], delimiter).map(|at| searched + at);
    let wanted = match at {
        Some(at) if inclusive => at + delimiter.len(),
        Some(at) => at,
        // What may be its beginning stays.
        None => there.len().saturating_sub(delimiter.len() - 1),
    };
    match at {
        Some(at) if wanted <= most => Some(Found { wanted, taken: at + delimiter.len(), is_last: true }),
        _ => (wanted >= most).then_some(Found { wanted: most, taken: most, is_last: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Buffer {
        let mut buffer = Buffer::new(Arc::default());
        buffer.bytes.extend_from_slice(text.as_bytes());
        buffer
    }

    fn take(buffer: &mut Buffer, pattern: &Pattern) -> Option<(String, bool)> {
        buffer.take(pattern, |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn what_is_wanted_is_taken_when_it_is_all_there() {
        let mut buffer = given("one\r\ntwo\nthree");
        assert_eq!(take(&mut buffer, &Pattern::Line), Some(("one".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::Line), Some(("two".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::Line), None);
        assert_eq!(take(&mut buffer, &Pattern::Exactly(6)), None);
        assert_eq!(take(&mut buffer, &Pattern::Exactly(2)), Some(("th".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::All), None);
        assert_eq!(take(&mut buffer, &Pattern::Any(2)), Some(("re".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::Any(9)), Some(("e".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::Any(9)), None);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_text_is_found_wherever_it_was_cut() {
        let until = |most, inclusive| Pattern::Until { delimiter: b"--x".to_vec(), inclusive, most };
        let mut buffer = given("ab-");
        assert_eq!(take(&mut buffer, &until(None, false)), None);
        for byte in b"-xc" {
            buffer.bytes.push(*byte);
        }
        assert_eq!(take(&mut buffer, &until(None, false)), Some(("ab".into(), true)));
        assert_eq!(take(&mut buffer, &Pattern::Any(9)), Some(("c".into(), true)));
        let mut buffer = given("abcde--x");
        assert_eq!(take(&mut buffer, &until(Some(3), false)), Some(("abc".into(), false)));
        assert_eq!(take(&mut buffer, &until(Some(3), false)), Some(("de".into(), true)));
        let mut buffer = given("abcde--");
        assert_eq!(take(&mut buffer, &until(Some(5), false)), Some(("abcde".into(), false)));
        assert_eq!(take(&mut buffer, &until(Some(5), false)), None);
        buffer.bytes.push(b'x');
        assert_eq!(take(&mut buffer, &until(Some(5), true)), Some(("--x".into(), true)));
    }
}
