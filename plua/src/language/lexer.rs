//! Lua source cut into the few kinds of token that decide where a tag of a page ends.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memmem;

/// What a token is, as far as a page must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lexeme {
    /// Spaces and newlines.
    Space,
    /// A name, keyword or number.
    Word,
    /// A whole quoted or long string.
    Literal,
    /// Any other single byte.
    Symbol,
    /// `--` up to the end of its line, of its tag or of the source, none of them included.
    LineComment,
    /// A whole `--[[ ]]` of any level.
    LongComment,
    /// A quote whose string does not close on its line; what follows is read as if it were not there.
    StrayQuote,
    /// A long string or comment that nothing closes, up to the end of the tag or of the source.
    StrayBracket,
    /// The end of a tag outside strings and long comments.
    TagEnd,
}

/// Longest mark of a tag, in bytes.
pub const LONGEST_MARK: usize = 8;

/// What opens or ends a tag of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    bytes: [u8; LONGEST_MARK],
    length: u8,
}

impl Mark {
    /// Ends the tags that are always known.
    pub const END: Mark = Mark { bytes: [b'?', b'>', 0, 0, 0, 0, 0, 0], length: 2 };

    /// One of 2 to [`LONGEST_MARK`] bytes.
    #[must_use]
    pub fn new(mark: &[u8]) -> Option<Mark> {
        let mut bytes = [0; LONGEST_MARK];
        bytes.get_mut(..mark.len()).filter(|bytes| bytes.len() > 1)?.copy_from_slice(mark);
        Some(Mark { bytes, length: mark.len() as u8 })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A piece of Lua source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub lexeme: Lexeme,
    /// Where it is, in bytes of the source.
    pub range: Range<usize>,
}

/// Walks Lua source token by token, forward only. Tokens tile what was walked.
///
/// What it learns about unclosed strings holds for the rest of the source, so that a page full of them still takes
/// linear time.
pub struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    /// What ends a tag; nothing in Lua by itself.
    end: Option<Mark>,
    /// For `"` and `'`: no string opened before this offset closes.
    unclosed: [usize; 2],
    /// Where the last closing long bracket of each level starts; built when first asked for.
    last_closing: Option<HashMap<usize, usize>>,
}

impl<'s> Lexer<'s> {
    /// A walk over all of `source`, in which no tag ends.
    #[must_use]
    pub fn new(source: &'s [u8]) -> Lexer<'s> {
        Lexer { source, at: 0, end: None, unclosed: [0; 2], last_closing: None }
    }

    /// The offset of the mark that ends the Lua starting at `start`, or none when it runs to the end of the source.
    /// `start` must not lie before what was walked already.
    pub fn tag_end(&mut self, start: usize, end: Mark) -> Option<usize> {
        (self.at, self.end) = (start, Some(end));
        let first = end.bytes[0];
        loop {
            // No other byte ends a tag or begins what hides its end.
            self.at = self.run_end(self.at, |byte| byte != first && !matches!(byte, b'"' | b'\'' | b'[' | b'-'));
            let Token { lexeme, range } = self.next()?;
            if lexeme == Lexeme::TagEnd {
                return Some(range.start);
            }
        }
    }

    /// The mark that ends a tag at `at`, if one does.
    fn end_at(&self, at: usize) -> Option<Mark> {
        self.end.filter(|end| self.source.get(at..).is_some_and(|rest| rest.starts_with(end.as_bytes())))
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.source.get(at).copied()
    }

    fn run_end(&self, start: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let rest = self.source.get(start..).unwrap_or_default();
        start + rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len())
    }

    fn comment(&mut self, start: usize) -> (Lexeme, usize) {
        if let Some(level) = self.opening_bracket(start + 2) {
            return self.bracketed(start + 2, level, Lexeme::LongComment);
        }
        let mut end = start + 2;
        while let Some(byte) = self.byte(end) {
            if matches!(byte, b'\n' | b'\r') || self.end_at(end).is_some() {
                break;
            }
            end += 1;
        }
        (Lexeme::LineComment, end)
    }

    /// The level of the long bracket that opens at `at`: its number of `=`.
    fn opening_bracket(&self, at: usize) -> Option<usize> {
        self.bracket(at, b'[')
    }

    fn bracket(&self, at: usize, kind: u8) -> Option<usize> {
        if self.byte(at) != Some(kind) {
            return None;
        }
        let end = self.run_end(at + 1, |byte| byte == b'=');
        (self.byte(end) == Some(kind)).then(|| end - at - 1)
    }

    fn bracketed(&mut self, open: usize, level: usize, lexeme: Lexeme) -> (Lexeme, usize) {
        let start = open + level + 2;
        if self.last_closing(level).is_some_and(|last| last >= start) {
            let mut at = start;
            while at < self.source.len() {
                match self.bracket(at, b']') {
                    Some(found) if found == level => return (lexeme, at + level + 2),
                    Some(found) => at += found + 1,
                    None => at += 1,
                }
            }
        }
        let rest = self.source.get(start..).unwrap_or_default();
        let end = self.end.and_then(|end| memmem::find(rest, end.as_bytes()));
        (Lexeme::StrayBracket, end.map_or(self.source.len(), |end| start + end))
    }

    fn last_closing(&mut self, level: usize) -> Option<usize> {
        if self.last_closing.is_none() {
            let mut last = HashMap::new();
            let mut at = self.at;
            while at < self.source.len() {
                if let Some(found) = self.bracket(at, b']') {
                    last.insert(found, at);
                }
                at = self.run_end(at + 1, |byte| byte == b'=');
            }
            self.last_closing = Some(last);
        }
        self.last_closing.as_ref()?.get(&level).copied()
    }

    /// Where the string ends whose opening quote is at `start`, or none if it does not close on its line.
    fn quoted_end(&mut self, start: usize) -> Option<usize> {
        let quote = self.byte(start)?;
        let memory = usize::from(quote == b'\'');
        // A quote that a failed search passed was an escaped one, and a search from there sees what that one saw.
        if start < self.unclosed[memory] {
            return None;
        }
        let mut at = start + 1;
        while let Some(byte) = self.byte(at) {
            match byte {
                _ if byte == quote => return Some(at + 1),
                b'\n' | b'\r' => break,
                b'\\' => at = self.escape_end(at),
                _ => at += 1,
            }
        }
        self.unclosed[memory] = at;
        None
    }

    fn escape_end(&self, backslash: usize) -> usize {
        match (self.byte(backslash + 1), self.byte(backslash + 2)) {
            (Some(b'\n'), Some(b'\r')) | (Some(b'\r'), Some(b'\n')) => backslash + 3,
            (Some(b'z'), _) => self.run_end(backslash + 2, is_space),
            _ => backslash + 2,
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        let byte = self.byte(start)?;
        if let Some(end) = self.end_at(start) {
            self.at = start + end.as_bytes().len();
            return Some(Token { lexeme: Lexeme::TagEnd, range: start..self.at });
        }
        let (lexeme, end) = match (byte, self.byte(start + 1)) {
            (b'-', Some(b'-')) => self.comment(start),
            (b'"' | b'\'', _) => match self.quoted_end(start) {
                Some(end) => (Lexeme::Literal, end),
                None => (Lexeme::StrayQuote, start + 1),
            },
            (b'[', Some(b'[' | b'=')) => match self.opening_bracket(start) {
                Some(level) => self.bracketed(start, level, Lexeme::Literal),
                None => (Lexeme::Symbol, start + 1),
            },
            _ if is_space(byte) => (Lexeme::Space, self.run_end(start, is_space)),
            _ if is_word(byte) => (Lexeme::Word, self.run_end(start, is_word)),
            _ => (Lexeme::Symbol, start + 1),
        };
        self.at = end;
        Some(Token { lexeme, range: start..end })
    }
}

/// The offset of the first `pair` at or after `from`.
#[must_use]
pub fn find(source: &[u8], from: usize, pair: [u8; 2]) -> Option<usize> {
    let rest = source.get(from..)?;
    memchr::memchr_iter(pair[1], rest.get(1..)?).find(|at| rest[*at] == pair[0]).map(|at| from + at)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Each byte's [`is_word`]: in a table, for most of a page's bytes are asked for it.
static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        // LuaJIT takes every byte from 128 on as part of a name.
        table[byte] = byte >= 0x80 || byte as u8 == b'_' || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Whether a byte is of a name, keyword or number.
#[must_use]
pub fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens that are not spaces, each as its kind and text.
    fn tokens(source: &str) -> Vec<(Lexeme, &str)> {
        tokens_in(source, Some(Mark::END))
    }

    fn tokens_in(source: &str, end: Option<Mark>) -> Vec<(Lexeme, &str)> {
        Lexer { end, ..Lexer::new(source.as_bytes()) }
            .filter(|token| token.lexeme != Lexeme::Space)
            .map(|token| (token.lexeme, &source[token.range]))
            .collect()
    }

    #[test]
    fn strings_and_comments_are_whole_whatever_they_hold() {
        for source in [
            r#""?>""#,
            r"'?>'",
            r#""\"?>""#,
            r#""\\""#,
            "\"a\\\n?>\"",
            "\"a\\\r\n?>\"",
            "\"a\\z \n\r\t ?>\"",
            "[[?>]]",
            "[=[ ]] ?> ]=]",
            "[==[]=]]==]",
            "[[]=]]",
        ] {
            assert_eq!(tokens(source), [(Lexeme::Literal, source)]);
        }
        for source in ["--[[?>]]", "--[==[ ]] ]=] \n ?> ]==]"] {
            assert_eq!(tokens(source), [(Lexeme::LongComment, source)]);
        }
    }

    #[test]
    fn a_line_comment_ends_at_its_line_or_at_the_tag() {
        for (source, comment) in [
            ("-- a\n", "-- a"),
            ("-- a\r\n", "-- a"),
            ("-- 'a\" ?>", "-- 'a\" "),
            ("-- [[ ?>", "-- [[ "),
            ("--[=x ?>", "--[=x "),
            ("--", "--"),
            ("--?>", "--"),
        ] {
            assert_eq!(tokens(source)[0], (Lexeme::LineComment, comment));
        }
    }

    #[test]
    fn a_tag_ends_with_its_own_mark_and_lua_by_itself_with_none() {
        let end = Mark::new(b"%>");
        for (source, end, expected) in [
            ("-- a %> b", end, &[(Lexeme::LineComment, "-- a "), (Lexeme::TagEnd, "%>"), (Lexeme::Word, "b")][..]),
            (
                "a ?> %>",
                end,
                &[(Lexeme::Word, "a"), (Lexeme::Symbol, "?"), (Lexeme::Symbol, ">"), (Lexeme::TagEnd, "%>")],
            ),
            (
                "[[a %> ?>",
                end,
                &[(Lexeme::StrayBracket, "[[a "), (Lexeme::TagEnd, "%>"), (Lexeme::Symbol, "?"), (Lexeme::Symbol, ">")],
            ),
            ("-- a ?> b", None, &[(Lexeme::LineComment, "-- a ?> b")]),
            ("[[a ?> b", None, &[(Lexeme::StrayBracket, "[[a ?> b")]),
        ] {
            assert_eq!(tokens_in(source, end), expected, "{source}");
        }
        assert_eq!(Mark::new(b"12345678").unwrap().as_bytes(), b"12345678");
        assert!(Mark::new(b"1").is_none() && Mark::new(b"123456789").is_none());
    }

    #[test]
    fn what_does_not_close_is_stray() {
        for (source, lexeme, text) in [
            ("\"a ?>", Lexeme::StrayQuote, "\""),
            ("'a\n'", Lexeme::StrayQuote, "'"),
            ("\"a\\", Lexeme::StrayQuote, "\""),
            ("\"a\\z", Lexeme::StrayQuote, "\""),
            ("[[a ?> b", Lexeme::StrayBracket, "[[a "),
            ("[[a ]=] b", Lexeme::StrayBracket, "[[a ]=] b"),
            ("--[=[a ]] ?> b", Lexeme::StrayBracket, "--[=[a ]] "),
        ] {
            assert_eq!(tokens(source)[0], (lexeme, text));
        }
    }

    #[test]
    fn a_quote_passed_by_a_failed_search_fails_too() {
        assert_eq!(
            tokens(r#""\"\"a"#),
            [
                (Lexeme::StrayQuote, "\""),
                (Lexeme::Symbol, "\\"),
                (Lexeme::StrayQuote, "\""),
                (Lexeme::Symbol, "\\"),
                (Lexeme::StrayQuote, "\""),
                (Lexeme::Word, "a"),
            ]
        );
    }

    #[test]
    fn a_stray_quote_does_not_hide_the_strings_of_the_next_line() {
        assert_eq!(tokens("\"a\n\"b\"").last(), Some(&(Lexeme::Literal, "\"b\"")),);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(
            tokens("if xreturn then return;"),
            [
                (Lexeme::Word, "if"),
                (Lexeme::Word, "xreturn"),
                (Lexeme::Word, "then"),
                (Lexeme::Word, "return"),
                (Lexeme::Symbol, ";"),
            ]
        );
    }
}
