//! What is wrong with a file that does not compile, in the words of the file: Lua names what it read next, and in a page that
//! is often what the engine has written around the tags.

use std::path::Path;

use crate::cache::compiler::Compiler;
use crate::error::{Error, ErrorKind, Place};
use crate::language::emit::{self, Tag};
use crate::language::page::{Kind, Segments, Syntax, is_php};

/// A file that Lua has refused.
pub struct Refused<'f> {
    /// To compile with.
    pub compiler: &'f Compiler,
    /// The file.
    pub path: &'f Path,
    /// What is in it.
    pub source: &'f [u8],
    /// The Lua it became.
    pub code: &'f [u8],
}

/// What Lua says of code that does not compile.
#[derive(Clone)]
struct Complaint {
    line: u32,
    message: String,
}

impl Complaint {
    /// What it says but for where the code ends, if that is what it complains of.
    fn before_end(&self) -> Option<&str> {
        // LuaJIT and Lua 5.1 put it into quotes, Lua 5.4 does not.
        self.message.strip_suffix("'<eof>'").or_else(|| self.message.strip_suffix("<eof>"))
    }
}

impl Refused<'_> {
    /// The error, with its line. `syntax` is of a page, `message` what Lua said.
    #[must_use]
    pub fn error(&self, syntax: Option<Syntax>, message: String) -> Error {
        let complaint = match self.complaint(self.code) {
            Ok(Some(complaint)) => complaint,
            Ok(None) => return Error::new(ErrorKind::Compile, message),
            Err(message) => return Error::new(ErrorKind::Compile, message),
        };
        let Some(syntax) = syntax else { return self.at(complaint) };
        if let Some(line) = self.php(syntax).filter(|line| *line <= complaint.line) {
            let message = "a tag of PHP's: mod_plua runs Lua, in tags that begin with <? or <?lua".to_owned();
            return self.at(Complaint { line, message });
        }
        self.at(self.of_page(syntax, complaint))
    }

    fn at(&self, complaint: Complaint) -> Error {
        let mut error = Error::new(ErrorKind::Compile, complaint.message);
        error.place = Some(Box::new(Place::new(self.path, complaint.line, self.source)));
        error
    }

    /// What Lua says of this code, if it does not compile; or its message, where that names no line. Lua shortens long names
    /// in its messages, so this one is short.
    fn complaint(&self, code: &[u8]) -> Result<Option<Complaint>, String> {
        let compiled = self.compiler.compile("=page", code);
        let Err(mlua::Error::SyntaxError { message, .. }) = compiled else { return Ok(None) };
        let located = message.strip_prefix("page:").and_then(|rest| rest.split_once(": "));
        match located.map(|(line, message)| (line.parse(), message)) {
            Some((Ok(line), text)) => Ok(Some(Complaint { line, message: text.to_owned() })),
            _ => Err(message),
        }
    }

    /// Whether Lua refuses what this code begins with, however it went on.
    fn is_beyond_help(&self, code: &[u8]) -> bool {
        self.complaint(code).is_ok_and(|complaint| complaint.is_some_and(|complaint| complaint.before_end().is_none()))
    }

    /// The complaint about a page. Of two tags side by side in its Lua it tells which is to blame: the second is not, if the
    /// code is refused before it begins. Then the first is not finished, and what Lua read next is none of the page's.
    fn of_page(&self, syntax: Syntax, complaint: Complaint) -> Complaint {
        let tags = emit::tags(self.source, syntax);
        if complaint.message.starts_with("')' expected")
            && let Some(unclosed) = tags.iter().find_map(|tag| self.of_unclosed(tag))
        {
            return unclosed;
        }
        if complaint.before_end().is_some() {
            return complaint;
        }
        let refused = tags.partition_point(|tag| !self.is_beyond_help(&self.code[..tag.code.end]));
        let start = tags.get(refused).map_or(self.code.len(), |tag| tag.code.start);
        if self.is_beyond_help(&self.code[..start]) {
            let unfinished = refused.checked_sub(1).and_then(|before| self.of_unfinished(&tags[before]));
            return unfinished.unwrap_or(complaint);
        }
        match tags.get(refused).filter(|tag| tag.is_echo) {
            Some(echo) => self.of_echo(echo, complaint),
            None => complaint,
        }
    }

    /// What is missing at the end of a tag, and where the tag began, if not on the same line.
    fn of_unfinished(&self, tag: &Tag) -> Option<Complaint> {
        let Ok(Some(Complaint { line, message })) = self.complaint(&self.code[..tag.code.end]) else { return None };
        let complaint = Complaint { line, message };
        let missing = complaint.before_end()?;
        let first = self.line(tag.outer.start);
        let began = if first == line { String::new() } else { format!(" (the tag begins at line {first})") };
        Some(Complaint { line, message: format!("{missing}'{}'{began}", self.mark(tag)) })
    }

    /// An echo that opens a bracket more than it closes: the engine's own closes that one, and is missed somewhere else.
    fn of_unclosed(&self, tag: &Tag) -> Option<Complaint> {
        let alone = [b"return ", &self.code[tag.code.clone()]].concat();
        let Ok(Some(complaint)) = self.complaint(&alone) else { return None };
        let is_unclosed =
            tag.is_echo && complaint.message.starts_with("')' expected") && complaint.before_end().is_some();
        let message = format!("')' expected near '{}'", self.mark(tag));
        is_unclosed.then(|| Complaint { line: self.line(tag.inner.start) + complaint.line - 1, message })
    }

    /// An echo's values are in a call of the engine's, whose bracket Lua misses where a value is followed by something else.
    fn of_echo(&self, tag: &Tag, complaint: Complaint) -> Complaint {
        let Some(near) = complaint.message.strip_prefix("')' expected near ") else { return complaint };
        let alone = [b"return ", &self.code[tag.code.clone()]].concat();
        match self.complaint(&alone) {
            Ok(Some(of_values)) if !of_values.message.starts_with("')'") => {
                Complaint { message: format!("'{}' expected near {near}", self.mark(tag)), ..complaint }
            }
            _ => complaint,
        }
    }

    /// What ends a tag.
    fn mark(&self, tag: &Tag) -> String {
        let mark = self.source[tag.inner.end..tag.outer.end].trim_ascii_end();
        if mark.is_empty() { "<eof>".to_owned() } else { String::from_utf8_lossy(mark).into_owned() }
    }

    /// The line of the first tag of PHP's.
    fn php(&self, syntax: Syntax) -> Option<u32> {
        let is_php =
            |tag: &crate::language::page::Segment| tag.kind == Kind::Code && is_php(&self.source[tag.outer.clone()]);
        let tag = Segments::of(self.source, syntax).find(is_php)?;
        Some(self.line(tag.outer.start))
    }

    /// The line of the file that this byte is on.
    fn line(&self, at: usize) -> u32 {
        memchr::memchr_iter(b'\n', &self.source[..at]).count() as u32 + 1
    }
}
