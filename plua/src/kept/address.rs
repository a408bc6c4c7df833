//! What an answer is kept under: the scheme, host and path of its request, its query or what the page puts in the place of that, and the
//! request's headers that it depends on.

use std::ops::Range;

use shared_store::LONGEST_KEY;

/// What is told of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letter {
    /// The answer, or what leads to it.
    Page = b'p' as isize,
    /// Who makes it.
    Maker = b'm' as isize,
    /// A maker that is gone, and whose right somebody has taken away.
    Gone = b'g' as isize,
}

/// Stands for the length of a header that the request has not.
const MISSING: u16 = u16::MAX;

/// An address. On the stack, for the shortest way to an answer makes nothing.
#[derive(Clone)]
pub struct Address {
    /// A letter, the scheme, the host, the path with its query, and what the page adds.
    bytes: [u8; LONGEST_KEY],
    length: usize,
    /// Where the query begins.
    path_end: usize,
}

impl Address {
    /// That of a request for a path with its query, as they were sent. None for one that is too long, or that no client sends.
    #[must_use]
    pub fn new(scheme: &[u8], host: &[u8], path: &[u8]) -> Option<Address> {
        let mut address = Address { bytes: [0; LONGEST_KEY], length: 1, path_end: 0 };
        let is_plain = |text: &[u8]| text.iter().all(|byte| *byte > b' ');
        if path.first() != Some(&b'/') || !is_plain(path) || !is_plain(host) {
            return None;
        }
        address.push(scheme)?;
        address.push(b" ")?;
        let host_at = address.push(host)?;
        address.bytes[host_at].make_ascii_lowercase();
        address.push(b" ")?;
        let path_at = address.push(path)?;
        let query = path.iter().position(|byte| *byte == b'?');
        address.path_end = query.map_or(address.length, |query| path_at.start + query);
        Some(address)
    }

    fn push(&mut self, text: &[u8]) -> Option<Range<usize>> {
        let place = self.length..self.length + text.len();
        self.bytes.get_mut(place.clone())?.copy_from_slice(text);
        self.length = place.end;
        Some(place)
    }

    fn push_counted(&mut self, text: &[u8]) -> Option<()> {
        let length = u16::try_from(text.len()).ok().filter(|length| *length != MISSING)?;
        self.push(&length.to_ne_bytes())?;
        self.push(text).map(drop)
    }

    /// Makes it lead to what is kept under a text in the place of the query, if there is one, and under the values of these headers.
    /// Whether that is not too long.
    pub fn lead<'h, 'n>(
        &mut self,
        key: Option<&[u8]>,
        names: impl Iterator<Item = &'n [u8]>,
        header: &mut impl FnMut(&[u8]) -> Option<&'h [u8]>,
    ) -> bool {
        let lead = || {
            if let Some(key) = key {
                self.length = self.path_end;
                self.push(b" ")?;
                self.push_counted(key)?;
            }
            // No path has a space: nothing is the address of a request without this.
            self.push(b" ")?;
            for name in names {
                self.push_counted(name)?;
                match header(name) {
                    Some(value) => self.push_counted(value)?,
                    None => self.push(&MISSING.to_ne_bytes()).map(drop)?,
                }
            }
            Some(())
        };
        lead().is_some()
    }

    /// The key of what is told of it.
    pub fn key(&mut self, letter: Letter) -> &[u8] {
        self.bytes[0] = letter as u8;
        &self.bytes[..self.length]
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, other: &Address) -> bool {
        self.bytes[1..self.length] == other.bytes[1..other.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &str) -> Address {
        Address::new(b"http", b"Host.test:80", path.as_bytes()).unwrap()
    }

    fn led(path: &str, key: Option<&str>, headers: &[(&str, Option<&str>)]) -> Address {
        let mut address = address(path);
        let names = headers.iter().map(|(name, _)| name.as_bytes());
        let mut value = |name: &[u8]| {
            headers.iter().find(|(known, _)| known.as_bytes() == name).and_then(|(_, value)| value.map(str::as_bytes))
        };
        assert!(address.lead(key.map(str::as_bytes), names, &mut value));
        address
    }

    #[test]
    fn no_two_requests_have_one_address() {
        assert!(address("/a?b").is(&Address::new(b"http", b"hOST.TEST:80", b"/a?b").unwrap()));
        assert!(led("/a?b", Some("k"), &[]).is(&led("/a?c", Some("k"), &[])));
        let all = [
            address("/a"),
            address("/a?"),
            address("/A"),
            Address::new(b"https", b"host.test:80", b"/a").unwrap(),
            Address::new(b"http", b"host.test", b"/a").unwrap(),
            led("/a", None, &[]),
            led("/a", Some(""), &[]),
            led("/a", Some("?"), &[]),
            led("/a", None, &[("x", None)]),
            led("/a", None, &[("x", Some(""))]),
            led("/a", None, &[("x", Some("ab")), ("y", Some(""))]),
            led("/a", None, &[("x", Some("a")), ("y", Some("b"))]),
            led("/a", Some("x"), &[("x", Some("a"))]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| !one.is(other)), "{at}");
        }
    }

    #[test]
    fn what_no_client_sends_or_no_key_holds_has_none() {
        for path in ["", "*", "http://host/", "/a b", "/a\x01b", &format!("/{}", "a".repeat(1024))] {
            assert!(Address::new(b"http", b"host", path.as_bytes()).is_none(), "{path}");
        }
        assert!(Address::new(b"http", b"a b", b"/").is_none());
        let mut address = address("/");
        assert!(!address.lead(Some(&[b'k'; 1024]), std::iter::empty(), &mut |_| None));
    }
}
