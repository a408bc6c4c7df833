//! The parts of a `multipart/form-data` body (RFC 7578), one after another, as its bytes come in.
//!
//! A part's content ends at a line that holds the boundary and nothing else; what merely looks like one stays content.

use std::io::{self, Read};

use memchr::memmem;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// Longest headers of a part, in bytes: file names can be long, a body of headers must not fill the memory.
const LONGEST_HEADERS: usize = 16 * 1024;

/// Longest run of blanks after a boundary, in bytes. The standard allows any, and nobody sends one.
const LONGEST_PADDING: usize = 64;

/// Bytes after the text of a delimiter that decide what it is: two hyphens, blanks, CRLF.
const DECIDING: usize = LONGEST_PADDING + 4;

/// What the headers of a part say, as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of the field; never empty.
    pub name: Vec<u8>,
    /// Name of a file; empty where a browser had none to send.
    pub file_name: Option<Vec<u8>>,
    /// The part's `Content-Type`, or empty.
    pub content_type: Vec<u8>,
}

/// A body in parts. Those without a name, without a blank line after their headers, or with endless headers are
/// passed over.
pub struct Multipart<R> {
    source: R,
    /// CRLF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    /// Bytes read and not yet given out: `window[start..]`.
    window: Vec<u8>,
    start: usize,
    ended: bool,
    place: Place,
    /// Parts that may still come.
    parts_allowed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first boundary.
    Preamble,
    /// Inside a part.
    Part,
    /// At the CRLF that ends a boundary's line.
    Boundary,
    /// Behind the last boundary.
    End,
}

/// What is at a place where the delimiter's text was found.
enum Found {
    /// A boundary of that many bytes, the CRLF at its end not counted.
    Boundary(usize),
    /// The last boundary.
    Last,
    /// Text that looks like one.
    Content,
}

impl<R: Read> Multipart<R> {
    /// The parts of `source` between lines of this boundary.
    ///
    /// More than `parts_allowed` are refused, those without a name among them: each takes a search of its own.
    pub fn new(source: R, boundary: &[u8], parts_allowed: usize) -> Multipart<R> {
        Multipart {
            source,
            delimiter: [b"\r\n--", boundary].concat(),
            // The first boundary needs no line before it.
            window: b"\r\n".to_vec(),
            start: 0,
            ended: false,
            place: Place::Preamble,
            parts_allowed,
        }
    }

    /// Goes to the next part with a name. None at the end, and where the boundary is nowhere in the body.
    ///
    /// # Errors
    /// The source's; [`io::ErrorKind::UnexpectedEof`] when the body ends before its last boundary, and
    /// [`io::ErrorKind::QuotaExceeded`] after more parts than are allowed.
    pub fn next_part(&mut self) -> io::Result<Option<Part>> {
        loop {
            while self.piece()?.is_some() {}
            if self.place == Place::End {
                return Ok(None);
            }
            self.parts_allowed = self.parts_allowed.checked_sub(1).ok_or(io::ErrorKind::QuotaExceeded)?;
            // From the CRLF of the boundary's line to the blank line, and a boundary that comes before it.
            self.fill(LONGEST_HEADERS + self.delimiter.len() + DECIDING)?;
            let window = &self.window[self.start..];
            let blank = memmem::find(&window[..window.len().min(LONGEST_HEADERS)], b"\r\n\r\n");
            self.place = Place::Part;
            let Some(blank) = blank else { continue };
            if self.boundary_before(blank) {
                continue;
            }
            let part = part(&self.window[self.start..self.start + blank]);
            // The blank line's CRLF stays: a boundary may follow at once.
            self.start += blank + 2;
            if self.at_boundary()? {
                self.place = Place::Part;
                if part.is_some() {
                    return Ok(part);
                }
                continue;
            }
            self.start += 2;
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    /// Whether a boundary comes before that many bytes of the window. All of those bytes are there.
    fn boundary_before(&self, end: usize) -> bool {
        let window = &self.window[self.start..];
        memmem::find_iter(&window[..end], &self.delimiter)
            .any(|at| !matches!(self.judge(&window[at + self.delimiter.len()..]), Found::Content))
    }

    /// Whether the window begins with a boundary.
    fn at_boundary(&mut self) -> io::Result<bool> {
        self.fill(self.delimiter.len() + DECIDING)?;
        let window = &self.window[self.start..];
        Ok(window
            .strip_prefix(self.delimiter.as_slice())
            .is_some_and(|rest| !matches!(self.judge(rest), Found::Content)))
    }

    /// The next piece of the part's content, never empty; none at its end.
    ///
    /// # Errors
    /// As [`next_part`](Multipart::next_part).
    pub fn piece(&mut self) -> io::Result<Option<&[u8]>> {
        if matches!(self.place, Place::Boundary | Place::End) {
            return Ok(None);
        }
        let tail = self.delimiter.len() + DECIDING;
        self.fill(PIECE.max(2 * tail))?;
        let window = &self.window[self.start..];
        let mut length = window.len();
        // What may be the beginning of a boundary waits for the rest of it.
        let judged = if self.ended { length } else { length - tail };
        let mut next = None;
        for at in memmem::find_iter(window, &self.delimiter) {
            if at >= judged {
                break;
            }
            match self.judge(&window[at + self.delimiter.len()..]) {
                Found::Content => {}
                found => {
                    next = Some((at, found));
                    break;
                }
            }
        }
        match next {
            Some((at, Found::Boundary(more))) => {
                length = at;
                if at == 0 {
                    self.start += self.delimiter.len() + more;
                    self.place = Place::Boundary;
                    return Ok(None);
                }
            }
            Some((at, _)) => {
                length = at;
                if at == 0 {
                    self.start = self.window.len();
                    self.place = Place::End;
                    return Ok(None);
                }
            }
            None if !self.ended => length = judged,
            None if length == 0 && self.place == Place::Preamble => {
                self.place = Place::End;
                return Ok(None);
            }
            None if length == 0 => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a part"));
            }
            None => {}
        }
        let start = self.start;
        self.start += length;
        Ok(Some(&self.window[start..start + length]))
    }

    /// What follows the text of a delimiter: `rest` holds all of it that counts, or the end of the body.
    fn judge(&self, rest: &[u8]) -> Found {
        let (is_last, text) = match rest.strip_prefix(b"--") {
            Some(text) => (true, text),
            None => (false, rest),
        };
        let blanks = text.iter().take(LONGEST_PADDING).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_ends = text[blanks..].starts_with(b"\r\n");
        if is_last && (line_ends || text.len() == blanks) {
            Found::Last
        } else if line_ends && !is_last {
            Found::Boundary(blanks)
        } else {
            Found::Content
        }
    }

    /// Reads until the window holds `wanted` bytes, or to the end of the body.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.ended || self.window.len() - self.start >= wanted {
            return Ok(());
        }
        self.window.drain(..self.start);
        self.start = 0;
        let mut length = self.window.len();
        self.window.resize(wanted.max(PIECE) + PIECE, 0);
        while length < wanted && !self.ended {
            match self.source.read(&mut self.window[length..]) {
                Ok(0) => self.ended = true,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.truncate(length);
                    return Err(error);
                }
            }
        }
        self.window.truncate(length);
        Ok(())
    }
}

/// What these header lines say; none without the name of a field.
fn part(headers: &[u8]) -> Option<Part> {
    let header = |wanted: &str| {
        headers.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
    };
    let disposition = header("Content-Disposition")?;
    let name = parameter(disposition, "name").filter(|name| !name.is_empty())?;
    Some(Part {
        name: name.to_vec(),
        file_name: parameter(disposition, "filename").map(<[u8]>::to_vec),
        content_type: header("Content-Type").unwrap_or_default().to_vec(),
    })
}

/// The type a `Content-Type` names, in lower case and without its parameters.
#[must_use]
pub fn media_type(content_type: &[u8]) -> Vec<u8> {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii().to_ascii_lowercase()
}

/// A parameter of a header such as `form-data; name="a"`, without its quotes. What is quoted stays as it was sent,
/// backslashes too: clients disagree about what they mean in a file's name.
#[must_use]
pub fn parameter<'h>(header: &'h [u8], wanted: &str) -> Option<&'h [u8]> {
    let mut rest = &header[header.iter().position(|byte| *byte == b';')? + 1..];
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let name = rest[..end].trim_ascii();
        let mut value = &[][..];
        let mut after = &rest[end..];
        if let Some(text) = after.strip_prefix(b"=") {
            let text = text.trim_ascii_start();
            if let Some(quoted) = text.strip_prefix(b"\"") {
                let end = (0..quoted.len())
                    .find(|at| quoted[*at] == b'"' && (*at == 0 || quoted[*at - 1] != b'\\'))
                    .unwrap_or(quoted.len());
                value = &quoted[..end];
                after = &quoted[end..];
            } else {
                let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
                value = text[..end].trim_ascii();
                after = &text[end..];
            }
        }
        if name.eq_ignore_ascii_case(wanted.as_bytes()) {
            return Some(value);
        }
        rest = &after[after.iter().position(|byte| *byte == b';')? + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a byte, or a few, at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len());
            self.0.read(&mut into[..count])
        }
    }

    fn shown(body: &[u8], boundary: &str, step: usize) -> String {
        let mut parts = Multipart::new(Slow(body, step), boundary.as_bytes(), 1000);
        let mut shown = String::new();
        loop {
            match parts.next_part() {
                Ok(None) => return shown,
                Err(error) => return format!("{shown}{error}"),
                Ok(Some(part)) => shown += &format!("{}=", String::from_utf8_lossy(&part.name)),
            }
            let mut content = Vec::new();
            loop {
                match parts.piece() {
                    Ok(Some(piece)) => content.extend_from_slice(piece),
                    Ok(None) => break,
                    Err(error) => return format!("{shown}{error}"),
                }
            }
            shown += &format!("{};", String::from_utf8_lossy(&content));
        }
    }

    #[test]
    fn parts_end_at_lines_that_hold_the_boundary_and_nothing_else() {
        let a = "Content-Disposition: form-data; name=\"a\"\r\n";
        for (body, expected) in [
            (format!("--X\r\n{a}\r\n1\r\n--X--\r\n"), "a=1;"),
            (format!("--X\r\n{a}\r\n1\r\n--X--"), "a=1;"),
            (format!("preamble --X\r\n--X \t\r\n{a}\r\n1\r\n--X--\r\nepilogue --X"), "a=1;"),
            (format!("--X\r\n{a}\r\n\r\n--X\r\n{a}\r\n\r\n\r\n--X--"), "a=;a=\r\n;"),
            (format!("--X\r\n{a}\r\n1\r\n--Xy\r\n--X--z\r\n--X2\r\n--X--"), "a=1\r\n--Xy\r\n--X--z\r\n--X2;"),
            (format!("--X\r\n{a}\r\n x--X\r\n--\r\n--X--"), "a= x--X\r\n--;"),
            (format!("--X\r\n{a}\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=;a=2;"),
            (format!("--X\r\n{a}no blank line\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=2;"),
            (format!("--X\r\n\r\nno headers\r\n--X\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=2;"),
            (format!("--X\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n1\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=2;"),
            (format!("--X\r\n{}: y\r\n{a}\r\n1\r\n--X\r\n{a}\r\n2\r\n--X--", "x".repeat(20_000)), "a=2;"),
            (format!("--X\r\n{a}\r\n1\r\n--X"), "a=it ends in the middle of a part"),
            (format!("--X\r\n{a}\r\n1"), "a=it ends in the middle of a part"),
            (format!("--X\r\n{a}"), "it ends in the middle of a part"),
            (format!("--Y\r\n{a}\r\n1\r\n--Y--"), ""),
            (format!("--X\n{a}\n1\n--X--\n").replace('\r', ""), ""),
            (String::new(), ""),
        ] {
            for step in [1, 7, 100_000] {
                assert_eq!(shown(body.as_bytes(), "X", step), expected, "{body:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn contents_longer_than_the_window_come_whole() {
        for length in (PIECE - 80..PIECE + 80).step_by(3).chain([3 * PIECE + 17]) {
            let content = "\r\n-".repeat(length / 3 + 1)[..length].to_string();
            let body = format!("--X\r\nContent-Disposition: form-data; name=a\r\n\r\n{content}\r\n--X--");
            assert!(shown(body.as_bytes(), "X", usize::MAX) == format!("a={content};"), "{length}");
        }
    }

    #[test]
    fn parameters_are_found_whatever_their_order_case_and_quotes() {
        for (header, expected) in [
            (r#"form-data; name="f"; filename="a;b.txt""#, "f|a;b.txt"),
            (r#"form-data; FileName=a.txt ;NAME = f"#, "f|a.txt"),
            (r#"form-data; filename*=UTF-8''x; name="a\"b"; filename="C:\dir\x""#, r#"a\"b|C:\dir\x"#),
            (r#"form-data; x; filename=""; name="open"#, "open|"),
        ] {
            let text = |name| String::from_utf8_lossy(parameter(header.as_bytes(), name).unwrap()).into_owned();
            assert_eq!(format!("{}|{}", text("name"), text("filename")), expected);
        }
        assert_eq!(parameter(b"form-data", "name"), None);
        assert_eq!(parameter(b"form-data; nameless=\"name\"", "name"), None);
    }
}
