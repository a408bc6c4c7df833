//! The parts of a `multipart/form-data` body (RFC 7578), one after another, as its bytes come in.
//!
//! The parser is multer's. It works on what it holds, as a whole and again for each piece that comes, so here it gets
//! a piece only when it can do nothing without, and a part's headers only so many pieces.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use memchr::memmem;
use parking_lot::Mutex;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// Bytes a part's headers may take, and the first boundary and what is before it; up to a piece more may pass.
const LONGEST_HEADERS: usize = 64 * 1024;

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

/// A body in parts. Those without a name are passed over.
pub struct Multipart<R> {
    source: R,
    ended: bool,
    /// Where the parser finds its next piece. The empty one tells it that the body is at its end.
    supply: Arc<Mutex<Option<Bytes>>>,
    /// None where the body holds no form of this boundary.
    parser: Option<multer::Multipart<'static>>,
    field: Option<multer::Field<'static>>,
    /// Parts that may still come.
    parts_allowed: usize,
}

impl<R: Read> Multipart<R> {
    /// The parts of `source` between lines of this boundary.
    ///
    /// More than `parts_allowed` are refused, those without a name among them.
    ///
    /// # Errors
    /// The source's.
    pub fn new(source: R, boundary: &str, parts_allowed: usize) -> io::Result<Multipart<R>> {
        let supply = Arc::new(Mutex::new(None));
        let mut parts = Multipart { source, ended: false, supply, parser: None, field: None, parts_allowed };
        let first = parts.read()?;
        if has_boundary(&first, boundary) {
            let supply = Arc::clone(&parts.supply);
            *supply.lock() = Some(first);
            let pieces = stream::poll_fn(move |_| match supply.lock().take() {
                None => Poll::Pending,
                Some(piece) if piece.is_empty() => Poll::Ready(None),
                Some(piece) => Poll::Ready(Some(io::Result::Ok(piece))),
            });
            parts.parser = Some(multer::Multipart::new(pieces, boundary));
        }
        Ok(parts)
    }

    /// Goes to the next part with a name. None at the end, and where the boundary is nowhere in the body's beginning.
    ///
    /// # Errors
    /// The source's; [`io::ErrorKind::UnexpectedEof`] when the body ends before its last boundary,
    /// [`io::ErrorKind::InvalidData`] for parts that are none, and [`io::ErrorKind::QuotaExceeded`] after more of them
    /// than are allowed.
    pub fn next_part(&mut self) -> io::Result<Option<Part>> {
        loop {
            while self.piece()?.is_some() {}
            // The parser goes on only when the part before is gone.
            self.field = None;
            let Some(field) = self.next_field()? else { return Ok(None) };
            self.parts_allowed = self.parts_allowed.checked_sub(1).ok_or(io::ErrorKind::QuotaExceeded)?;
            let part = part(&field);
            self.field = Some(field);
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    fn next_field(&mut self) -> io::Result<Option<multer::Field<'static>>> {
        let mut supplied = 0;
        loop {
            let Some(parser) = &mut self.parser else { return Ok(None) };
            match parser.poll_next_field(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(field)) => return Ok(field),
                Poll::Ready(Err(error)) => return Err(self.problem(&error)),
                Poll::Pending if supplied > LONGEST_HEADERS => {
                    let message = format!("the headers of a part are longer than {} KB", LONGEST_HEADERS / 1024);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                Poll::Pending => supplied += self.supply()?,
            }
        }
    }

    /// The next piece of the part's content, never empty; none at its end.
    ///
    /// # Errors
    /// As [`next_part`](Multipart::next_part).
    pub fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(field) = &mut self.field else { return Ok(None) };
            match Pin::new(field).poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(None) => return Ok(None),
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => return Ok(Some(piece)),
                Poll::Ready(Some(Err(error))) => return Err(self.problem(&error)),
                Poll::Pending => {
                    self.supply()?;
                }
            }
        }
    }

    /// Gives the parser a piece more, or the end, and says how long it is.
    fn supply(&mut self) -> io::Result<usize> {
        if self.ended {
            return Err(cut());
        }
        let piece = self.read()?;
        self.ended = piece.is_empty();
        let length = piece.len();
        *self.supply.lock() = Some(piece);
        Ok(length)
    }

    /// A whole piece, or what is left of the body.
    fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut self.source).take(PIECE as u64).read_to_end(&mut piece)?;
        Ok(piece.into())
    }

    fn problem(&self, error: &multer::Error) -> io::Error {
        if self.ended { cut() } else { io::Error::new(io::ErrorKind::InvalidData, error.to_string()) }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a part")
}

/// Whether a line that opens a part is in the beginning of a body: without one it is no form, and nothing to parse.
fn has_boundary(beginning: &[u8], boundary: &str) -> bool {
    let delimiter = format!("--{boundary}");
    memmem::find_iter(beginning, &delimiter).any(|at| {
        let rest = &beginning[at + delimiter.len()..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        rest[blanks..].starts_with(b"\r\n")
    })
}

/// What the headers of a part say; none without the name of a field.
///
/// multer's own names are of no use: it drops those that are not UTF-8, and takes `a; filename=b` for two parameters
/// where it stands in quotes.
fn part(field: &multer::Field) -> Option<Part> {
    let header = |name| field.headers().get(name).map_or(&[][..], |value| value.as_bytes().trim_ascii());
    let disposition = header("Content-Disposition");
    let name = parameter(disposition, "name").filter(|name| !name.is_empty())?;
    Some(Part {
        name: name.to_vec(),
        file_name: parameter(disposition, "filename").map(<[u8]>::to_vec),
        content_type: header("Content-Type").to_vec(),
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
        let mut parts = Multipart::new(Slow(body, step), boundary, 1000).unwrap();
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
                    Ok(Some(piece)) => content.extend_from_slice(&piece),
                    Ok(None) => break,
                    Err(error) => return format!("{shown}{error}"),
                }
            }
            shown += &format!("{};", String::from_utf8_lossy(&content));
        }
    }

    #[test]
    fn parts_end_at_lines_of_the_boundary_and_what_makes_no_sense_is_refused() {
        let a = "Content-Disposition: form-data; name=\"a\"\r\n";
        for (body, expected) in [
            (format!("--X\r\n{a}\r\n1\r\n--X--\r\n"), "a=1;"),
            (format!("--X\r\n{a}\r\n1\r\n--X--"), "a=1;"),
            (format!("preamble\r\n--X \t\r\n{a}\r\n1\r\n--X--\r\nepilogue --X"), "a=1;"),
            (format!("--X\r\n{a}\r\n\r\n--X\r\n{a}\r\n\r\n\r\n--X--"), "a=;a=\r\n;"),
            (format!("--X\r\n{a}\r\n x--X\n--X--\r--X\r\n--\r\n--X--"), "a= x--X\n--X--\r--X\r\n--;"),
            (format!("--X\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n1\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=2;"),
            (format!("--X\r\nX-Other: y\r\n\r\n1\r\n--X\r\n{a}\r\n2\r\n--X--"), "a=2;"),
            (format!("--X\r\nX: {}\r\n{a}\r\n1\r\n--X--", "x".repeat(60_000)), "a=1;"),
            (
                format!("--X\r\n{a}\r\n--X\r\n{a}\r\n2\r\n--X--"),
                "a=--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n2;",
            ),
            (format!("--X\r\n{a}\r\n1\r\n--Xy\r\n--X--"), "a=1;incomplete multipart stream"),
            (format!("--X\r\n{a}no blank line\r\n--X\r\n{a}\r\n2\r\n--X--"), "failed to read headers"),
            (format!("--X\r\n{}\r\n1\r\n--X--", "a: b\r\n".repeat(40)), "failed to read headers"),
            (
                format!("--X\r\nX: {}\r\n{a}\r\n1\r\n--X--", "x".repeat(200_000)),
                "the headers of a part are longer than 64 KB",
            ),
            (format!("--X{}\r\n{a}\r\n1\r\n--X--", " ".repeat(200_000)), ""),
            (format!("--X\r\n{a}\r\n1\r\n--X"), "a=1;it ends in the middle of a part"),
            (format!("--X\r\n{a}\r\n1"), "a=it ends in the middle of a part"),
            (format!("--X\r\n{a}"), "it ends in the middle of a part"),
            (format!("--Y\r\n{a}\r\n1\r\n--Y--"), ""),
            (format!("{}--X\r\n{a}\r\n1\r\n--X--", "x\r\n".repeat(30_000)), ""),
            (format!("--X\n{a}\n1\n--X--\n").replace('\r', ""), ""),
            (String::new(), ""),
        ] {
            for step in [1, 7, 1_000_000] {
                let shown = shown(body.as_bytes(), "X", step);
                assert_eq!(shown, expected, "{} in steps of {step}", &body[..body.len().min(300)]);
            }
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_kept() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"\xfc\"; filename=\"\xe9\"\r\n\r\n1\r\n--X--";
        let part = Multipart::new(&body[..], "X", 1).unwrap().next_part().unwrap().unwrap();
        assert_eq!((part.name, part.file_name), (b"\xfc".to_vec(), Some(b"\xe9".to_vec())));
    }

    #[test]
    fn contents_longer_than_a_piece_come_whole() {
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
