//! An answer as bytes: what a page gave of its head and body, and what is told of it beside. Made once and sent often, so that each
//! text of its head lies there as C wants it.

use std::ffi::CStr;
use std::time::Duration;

/// An answer that is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The page's file, and whatever else decides what runs for the request: what answers later is compared.
    pub file: &'a [u8],
    /// The whole of its `Content-Type`.
    pub content_type: &'a [u8],
    /// Whether the server must add no charset to that.
    pub is_charset_fixed: bool,
    /// Names and values, each with whether it is one more of its name. None holds a NUL.
    pub headers: &'a [(&'a [u8], &'a [u8], bool)],
    /// The body.
    pub body: &'a [u8],
    /// When it was made, in microseconds since 1970.
    pub made: i64,
    /// For how long it is fresh; for ever without.
    pub fresh: Option<Duration>,
    /// Whether those get it too of whom the server knows who they are.
    pub is_for_users: bool,
    /// Who may have it without being asked.
    pub mark: PublicMark,
}

/// Says that what answers may do so before anything else looks at a request: under the configuration of this number, through these
/// filters. All zero where it may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublicMark {
    /// The configuration's number.
    pub generation: u64,
    /// What tells the filters of the response from others.
    pub filters: u64,
}

const KIND: u8 = 1;
const FOR_USERS: u8 = 1;
const CHARSET_FIXED: u8 = 2;

// Where things lie.
const FLAGS: usize = 1;
const FILE_LENGTH: usize = 4;
const GENERATION: usize = 8;
const FILTERS: usize = 16;
const MADE: usize = 24;
const FRESH_UNTIL: usize = 32;
const TYPE_LENGTH: usize = 40;
const HEADERS_LENGTH: usize = 44;
const FIXED: usize = 48;

/// What opens a header: the only one of its name, or one more.
const ONLY: u8 = b'=';
const MORE: u8 = b'+';

impl Given<'_> {
    /// The same as bytes. None where a text holds a NUL, or a length is beyond all stores.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut headers = Vec::new();
        for (name, value, is_more) in self.headers {
            headers.push(if *is_more { MORE } else { ONLY });
            for text in [name, value] {
                headers.extend_from_slice(text);
                headers.push(0);
            }
        }
        let nuls = headers.iter().filter(|byte| **byte == 0).count();
        if nuls != self.headers.len() * 2 || self.content_type.contains(&0) || self.file.contains(&0) {
            return None;
        }
        let until = self
            .fresh
            .map_or(i64::MAX, |fresh| self.made.saturating_add(i64::try_from(fresh.as_micros()).unwrap_or(i64::MAX)));
        let flags =
            if self.is_for_users { FOR_USERS } else { 0 } | if self.is_charset_fixed { CHARSET_FIXED } else { 0 };
        let length = |text: &[u8]| u32::try_from(text.len()).ok().map(u32::to_ne_bytes);
        let mut bytes = Vec::with_capacity(
            FIXED + self.file.len() + 1 + self.content_type.len() + 1 + headers.len() + self.body.len(),
        );
        bytes.extend_from_slice(&[KIND, flags, 0, 0]);
        bytes.extend_from_slice(&length(self.file)?);
        bytes.extend_from_slice(&self.mark.generation.to_ne_bytes());
        bytes.extend_from_slice(&self.mark.filters.to_ne_bytes());
        bytes.extend_from_slice(&self.made.to_ne_bytes());
        bytes.extend_from_slice(&until.to_ne_bytes());
        bytes.extend_from_slice(&length(self.content_type)?);
        bytes.extend_from_slice(&length(&headers)?);
        for part in [self.file, b"\0", self.content_type, b"\0", &headers, self.body] {
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }
}

/// A kept answer, read from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct KeptAnswer<'a> {
    /// As it was given.
    pub file: &'a CStr,
    /// As it was given.
    pub content_type: &'a CStr,
    headers: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// When it was made, in microseconds since 1970.
    pub made: i64,
    fresh_until: i64,
    flags: u8,
    /// Who may have it without being asked.
    pub mark: PublicMark,
}

impl<'a> KeptAnswer<'a> {
    /// That of these bytes, if they are one.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<KeptAnswer<'a>> {
        let (fixed, rest) = bytes.split_at_checked(FIXED)?;
        let word = |at: usize| u64::from_ne_bytes(fixed[at..at + 8].try_into().unwrap_or_default());
        let length = |at: usize| u32::from_ne_bytes(fixed[at..at + 4].try_into().unwrap_or_default()) as usize;
        if fixed[0] != KIND {
            return None;
        }
        let (file, rest) = rest.split_at_checked(length(FILE_LENGTH) + 1)?;
        let (content_type, rest) = rest.split_at_checked(length(TYPE_LENGTH) + 1)?;
        let (headers, body) = rest.split_at_checked(length(HEADERS_LENGTH))?;
        Some(KeptAnswer {
            file: CStr::from_bytes_with_nul(file).ok()?,
            content_type: CStr::from_bytes_with_nul(content_type).ok()?,
            headers,
            body,
            made: word(MADE) as i64,
            fresh_until: word(FRESH_UNTIL) as i64,
            flags: fixed[FLAGS],
            mark: PublicMark { generation: word(GENERATION), filters: word(FILTERS) },
        })
    }

    /// Its headers: name, value, and whether it is one more of its name.
    pub fn headers(&self) -> impl Iterator<Item = (&'a CStr, &'a CStr, bool)> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || {
            let (kind, texts) = rest.split_first()?;
            let name = CStr::from_bytes_until_nul(texts).ok()?;
            let texts = texts.get(name.count_bytes() + 1..)?;
            let value = CStr::from_bytes_until_nul(texts).ok()?;
            rest = texts.get(value.count_bytes() + 1..)?;
            Some((name, value, *kind == MORE))
        })
    }

    /// The value of a header that it has.
    #[must_use]
    pub fn header(&self, wanted: &str) -> Option<&'a CStr> {
        let mut headers = self.headers();
        headers.find_map(|(name, value, _)| name.to_bytes().eq_ignore_ascii_case(wanted.as_bytes()).then_some(value))
    }

    /// Whether it is fresh at a time, in microseconds since 1970.
    #[must_use]
    pub fn is_fresh(&self, now: i64) -> bool {
        now < self.fresh_until
    }

    /// Its age in whole seconds at that time.
    #[must_use]
    pub fn age(&self, now: i64) -> i64 {
        now.saturating_sub(self.made).max(0) / 1_000_000
    }

    /// Whether those get it too of whom the server knows who they are.
    #[must_use]
    pub fn is_for_users(&self) -> bool {
        self.flags & FOR_USERS != 0
    }

    /// Whether the server must add no charset to its type.
    #[must_use]
    pub fn is_charset_fixed(&self) -> bool {
        self.flags & CHARSET_FIXED != 0
    }
}

/// Gives the bytes of an answer another mark.
pub fn set_mark(bytes: &mut [u8], mark: PublicMark) {
    if let Some(place) = bytes.get_mut(GENERATION..GENERATION + 16) {
        place[..8].copy_from_slice(&mark.generation.to_ne_bytes());
        place[8..].copy_from_slice(&mark.filters.to_ne_bytes());
    }
}

/// What lies under the address of a request whose answer is under another one: what that consists of beside the path.
#[derive(Debug, Clone, Copy)]
pub struct Pointer<'a> {
    /// What stands in the place of the query.
    pub key: Option<&'a [u8]>,
    /// The names of headers, each with a NUL behind it.
    names: &'a [u8],
}

const POINTER: u8 = 2;
const POINTER_WITH_KEY: u8 = 3;

impl<'a> Pointer<'a> {
    /// That of these bytes, if they are one.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Pointer<'a>> {
        match bytes.split_first()? {
            (&POINTER, names) => Some(Pointer { key: None, names }),
            (&POINTER_WITH_KEY, rest) => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let (key, names) = rest.split_at_checked(u16::from_ne_bytes(*length).into())?;
                Some(Pointer { key: Some(key), names })
            }
            _ => None,
        }
    }

    /// One as bytes; none for a key that is too long.
    #[must_use]
    pub fn bytes(key: Option<&[u8]>, names: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut bytes = vec![if key.is_some() { POINTER_WITH_KEY } else { POINTER }];
        if let Some(key) = key {
            bytes.extend_from_slice(&u16::try_from(key.len()).ok()?.to_ne_bytes());
            bytes.extend_from_slice(key);
        }
        for name in names {
            bytes.extend_from_slice(name);
            bytes.push(0);
        }
        Some(bytes)
    }

    /// The names of the headers that the answer depends on.
    pub fn headers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.names.split_inclusive(|byte| *byte == 0).map(|name| name.strip_suffix(b"\0").unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_given() {
        let given = Given {
            file: b"/srv/a.plua",
            content_type: b"text/plain; charset=UTF-8",
            is_charset_fixed: true,
            headers: &[(b"ETag", b"\"a\"", false), (b"Link", b"", true)],
            body: b"body\0\0",
            made: 5_000_000,
            fresh: Some(Duration::from_secs(2)),
            is_for_users: true,
            mark: PublicMark { generation: 7, filters: 9 },
        };
        let mut bytes = given.bytes().unwrap();
        let read = KeptAnswer::read(&bytes).unwrap();
        assert_eq!((read.file, read.content_type), (c"/srv/a.plua", c"text/plain; charset=UTF-8"));
        assert!(read.is_charset_fixed() && read.is_for_users());
        assert_eq!(read.headers().collect::<Vec<_>>(), [(c"ETag", c"\"a\"", false), (c"Link", c"", true)]);
        assert_eq!((read.header("etag"), read.header("Vary")), (Some(c"\"a\""), None));
        assert_eq!((read.body, read.mark), (&b"body\0\0"[..], given.mark));
        assert_eq!([4_000_000, 5_999_999, 6_000_000].map(|now| read.age(now)), [0, 0, 1]);
        assert_eq!([0, 6_999_999, 7_000_000].map(|now| read.is_fresh(now)), [true, true, false]);
        set_mark(&mut bytes, PublicMark::default());
        assert_eq!(KeptAnswer::read(&bytes).unwrap().mark, PublicMark::default());
        assert!(KeptAnswer::read(&Given { fresh: None, ..given }.bytes().unwrap()).unwrap().is_fresh(i64::MAX - 1));
        assert!(Given { headers: &[(b"A", b"b\0c", false)], ..given }.bytes().is_none());
    }

    #[test]
    fn bytes_that_are_no_answer_are_none() {
        let given = Given {
            file: b"f",
            content_type: b"t",
            is_charset_fixed: false,
            headers: &[(b"A", b"b", false)],
            body: b"",
            made: 0,
            fresh: None,
            is_for_users: false,
            mark: PublicMark::default(),
        };
        let bytes = given.bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(KeptAnswer::read(&bytes[..end]).is_none(), "{end}");
        }
        assert!(KeptAnswer::read(&Pointer::bytes(None, &vec![b"Accept".to_vec(); 50]).unwrap()).is_none());
    }

    #[test]
    fn a_pointer_is_read_as_it_was_given() {
        for key in [None, Some(&b""[..]), Some(b"a\0b")] {
            for names in [vec![], vec![b"Accept".to_vec(), b"X-A".to_vec()]] {
                let bytes = Pointer::bytes(key, &names).unwrap();
                let read = Pointer::read(&bytes).unwrap();
                assert_eq!(
                    (read.key, read.headers().collect::<Vec<_>>()),
                    (key, names.iter().map(Vec::as_slice).collect())
                );
            }
        }
        assert!(Pointer::read(b"\x03\x05\x00ab").is_none() && Pointer::read(b"").is_none());
    }
}
