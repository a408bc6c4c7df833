//! A page: its source split into text and tags.

use std::ops::Range;

use memchr::memmem;

pub use crate::language::lexer::Mark;
use crate::language::lexer::{Lexer, find};

/// Which tags a page knows, and what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syntax {
    /// Whether the short tags `<?`, `<?=`, `<?&`, `<?!` and `<?#` open a tag, as those that start with `<?lua` do always.
    pub short_hand: bool,
    /// Whether `<?=` and `<?lua=` escape HTML, and the same with other marks.
    pub auto_escape: bool,
    /// Marks of tags beside these.
    pub marks: Option<Marks>,
}

/// A pair of marks such as `<%` and `%>`. What follows the first means what it does behind `<?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Opens a tag.
    pub open: Mark,
    /// Ends one that this pair's mark has opened, and no other.
    pub end: Mark,
}

/// What a segment of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes for the visitor.
    Text,
    /// Lua statements: `<? ?>`.
    Code,
    /// Lua expressions to print: `<?= ?>`, `<?& ?>`, `<?! ?>`.
    Echo {
        /// Whether HTML is escaped.
        escape: bool,
    },
    /// A comment: `<?# ?>`, or what the system and editors put before a file's text.
    Note,
}

/// One piece of a page. Ranges are in bytes of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it is.
    pub kind: Kind,
    /// All of it: for a tag with its delimiters and the newline dropped after `?>`.
    pub outer: Range<usize>,
    /// Its content; for text the same as `outer`.
    pub inner: Range<usize>,
}

/// Splits a page. The outer ranges of the segments tile the source, and no segment is empty.
///
/// A note ends at the first `?>`. Code and echoes end at the first `?>` that is not inside a string or a long comment;
/// a `?>` in a `--` comment ends them. A quote that does not close on its line opens no string, and a long bracket that
/// nothing closes hides no `?>`. The last tag may stay open. One LF or CRLF right after `?>` belongs to the tag.
///
/// `<?xml` followed by white space opens no tag, so that an XML prolog is text. A UTF-8 byte order mark at the very beginning,
/// and a line there that begins with `#!`, are a note.
#[must_use]
pub fn split(source: &[u8], syntax: Syntax) -> Vec<Segment> {
    Segments::of(source, syntax).collect()
}

/// The segments of a page, each found when it is asked for: a list of them takes five times the memory of a page of
/// many tags.
pub struct Segments<'p> {
    source: &'p [u8],
    syntax: Syntax,
    lexer: Lexer<'p>,
    /// Where the next segment begins.
    at: usize,
    /// Bytes of the note at the beginning, if it is still to come.
    header: usize,
    /// Where the next tag begins, or the source ends, if it was looked for.
    tag: Option<usize>,
}

impl<'p> Segments<'p> {
    /// What [`split`] makes of the page.
    #[must_use]
    pub fn of(source: &'p [u8], syntax: Syntax) -> Segments<'p> {
        Segments { source, syntax, lexer: Lexer::new(source), at: 0, header: header(source), tag: None }
    }

    /// The text that is next, if one is.
    pub fn next_text(&mut self) -> Option<Segment> {
        let start = self.at;
        let tag = self.tag.unwrap_or_else(|| self.find_tag());
        (self.at, self.tag) = (tag, Some(tag));
        (tag > start).then_some(Segment { kind: Kind::Text, outer: start..tag, inner: start..tag })
    }

    fn find_tag(&self) -> usize {
        let mut from = self.at;
        let mut tag = self.source.len();
        while let Some(start) = find(self.source, from, *b"<?") {
            if opening(&self.source[start + 2..], self.syntax).is_some() {
                tag = start;
                break;
            }
            from = start + 2;
        }
        let other = self.syntax.marks.and_then(|marks| memmem::find(&self.source[self.at..tag], marks.open.as_bytes()));
        other.map_or(tag, |other| self.at + other)
    }

    /// The kind of the tag at `start`, the bytes of what opens it, and what ends it.
    fn tag_at(&self, start: usize) -> Option<(Kind, usize, Mark)> {
        let rest = self.source.get(start..)?;
        if let Some(Marks { open, end }) = self.syntax.marks
            && let Some(after) = rest.strip_prefix(open.as_bytes())
        {
            let (kind, length) = kind_of(after.first(), self.syntax);
            return Some((kind, open.as_bytes().len() + length, end));
        }
        let (kind, length) = opening(rest.strip_prefix(b"<?")?, self.syntax)?;
        Some((kind, 2 + length, Mark::END))
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.header > 0 {
            let header = 0..std::mem::take(&mut self.header);
            self.at = header.end;
            return Some(Segment { kind: Kind::Note, outer: header.clone(), inner: header });
        }
        if let Some(text) = self.next_text() {
            return Some(text);
        }
        let (source, start) = (self.source, self.at);
        let (kind, length, end) = self.tag_at(start)?;
        let open = start + length;
        let close = match kind {
            Kind::Note => memmem::find(&source[open..], end.as_bytes()).map(|close| open + close),
            _ => self.lexer.tag_end(open, end),
        };
        let length = end.as_bytes().len();
        let (inner_end, end) = match close {
            Some(close) => (close, close + length + newline(&source[close + length..])),
            None => (source.len(), source.len()),
        };
        (self.at, self.tag) = (end, None);
        Some(Segment { kind, outer: start..end, inner: open..inner_end })
    }
}

/// How many bytes at the beginning of a file are a byte order mark and the line that names its interpreter.
#[must_use]
pub fn header(file: &[u8]) -> usize {
    let mark = if file.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let Some(line) = file[mark..].strip_prefix(b"#!") else { return mark };
    match line.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(end) => mark + 2 + end + newline(&line[end..]),
        None => file.len(),
    }
}

/// Whether a tag that begins there is one of PHP's.
#[must_use]
pub fn is_php(tag: &[u8]) -> bool {
    tag.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"<?php"))
        && tag.get(5).is_none_or(u8::is_ascii_whitespace)
}

/// The kind of tag that opens with `<?` and `rest`, and how many bytes of `rest` belong to its delimiter.
fn opening(rest: &[u8], syntax: Syntax) -> Option<(Kind, usize)> {
    let (name, mark) = match rest.strip_prefix(b"lua") {
        Some(after) => (3, after.first()),
        None if !syntax.short_hand || is_xml_prolog(rest) => return None,
        None => (0, rest.first()),
    };
    let (kind, length) = kind_of(mark, syntax);
    Some((kind, name + length))
}

/// The kind of a tag by what follows its opening, and how many bytes of that belong to it.
fn kind_of(mark: Option<&u8>, syntax: Syntax) -> (Kind, usize) {
    let escape = |escape| Kind::Echo { escape };
    match mark {
        Some(b'=') => (escape(syntax.auto_escape), 1),
        Some(b'&') => (escape(true), 1),
        Some(b'!') => (escape(false), 1),
        Some(b'#') => (Kind::Note, 1),
        _ => (Kind::Code, 0),
    }
}

fn is_xml_prolog(rest: &[u8]) -> bool {
    rest.strip_prefix(b"xml").and_then(|after| after.first()).is_some_and(u8::is_ascii_whitespace)
}

fn newline(rest: &[u8]) -> usize {
    match rest {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Syntax = Syntax { short_hand: true, auto_escape: false, marks: None };
    const LONG: Syntax = Syntax { short_hand: false, auto_escape: false, marks: None };

    /// The segments of a page, each as a letter for its kind and its content.
    fn pieces(source: &str, syntax: Syntax) -> Vec<String> {
        split(source.as_bytes(), syntax)
            .into_iter()
            .map(|segment| {
                let letter = match segment.kind {
                    Kind::Text => 'T',
                    Kind::Code => 'C',
                    Kind::Echo { escape: false } => 'E',
                    Kind::Echo { escape: true } => 'H',
                    Kind::Note => 'N',
                };
                format!("{letter}{}", &source[segment.inner])
            })
            .collect()
    }

    #[test]
    fn each_tag_has_a_long_and_a_short_form() {
        for (short, long, piece) in [
            ("<? a ?>", "<?lua a ?>", "C a "),
            ("<?= a ?>", "<?lua= a ?>", "E a "),
            ("<?& a ?>", "<?lua& a ?>", "H a "),
            ("<?! a ?>", "<?lua! a ?>", "E a "),
            ("<?# a ?>", "<?lua# a ?>", "N a "),
        ] {
            assert_eq!(pieces(short, SHORT), [piece]);
            assert_eq!(pieces(long, SHORT), [piece]);
            assert_eq!(pieces(long, LONG), [piece]);
            assert_eq!(pieces(short, LONG), [format!("T{short}")]);
        }
    }

    #[test]
    fn auto_escape_changes_the_plain_echo_only() {
        let syntax = Syntax { auto_escape: true, ..SHORT };
        assert_eq!(pieces("<?=a?><?lua=b?><?&c?><?!d?><?lua!e?>", syntax), ["Ha", "Hb", "Hc", "Ed", "Ee"]);
    }

    #[test]
    fn the_mark_must_touch_the_tag_and_names_are_lower_case() {
        for (page, piece) in [
            ("<? =1?>", "C =1"),
            ("<?lua =1?>", "C =1"),
            ("<?LUA x?>", "CLUA x"),
            ("<?php x?>", "Cphp x"),
            ("<?luafoo()?>", "Cfoo()"),
            ("<?xml?>", "Cxml"),
            ("<?xmlns()?>", "Cxmlns()"),
            ("<??>", "C"),
            ("< ?", "T< ?"),
            ("?>", "T?>"),
        ] {
            assert_eq!(pieces(page, SHORT), [piece]);
        }
    }

    #[test]
    fn other_marks_open_and_end_tags_of_their_own() {
        let marks = |open: &str, end: &str| {
            Some(Marks { open: Mark::new(open.as_bytes()).unwrap(), end: Mark::new(end.as_bytes()).unwrap() })
        };
        let syntax = Syntax { marks: marks("<%", "%>"), ..SHORT };
        for (page, expected) in [
            ("a<% b %>\nc", &["Ta", "C b ", "Tc"][..]),
            ("<%= a %><%& b %><%! c %><%# d ?> %>e", &["E a ", "H b ", "E c ", "N d ?> ", "Te"]),
            ("<%= '%>' %>a", &["E '%>' ", "Ta"]),
            ("<% -- a ?> b %>c", &["C -- a ?> b ", "Tc"]),
            ("<% [[a %>b", &["C [[a ", "Tb"]),
            ("<? a %> b ?>c<% d ?> e %>f", &["C a %> b ", "Tc", "C d ?> e ", "Tf"]),
            ("a<? b ?><% c %>d<%", &["Ta", "C b ", "C c ", "Td", "C"]),
            ("<% a", &["C a"]),
            ("%> < %", &["T%> < %"]),
            ("<?xml <% a %>?>", &["T<?xml ", "C a ", "T?>"]),
        ] {
            assert_eq!(pieces(page, syntax), expected, "{page}");
        }
        assert_eq!(
            pieces("<% a %><? b ?><?lua c ?>", Syntax { marks: marks("<%", "%>"), ..LONG })[1..],
            ["T<? b ?>", "C c "]
        );
        let braces = Syntax { marks: marks("{{", "}}"), ..SHORT };
        assert_eq!(pieces("a{{= {b = 1} }}c", braces), ["Ta", "E {b = 1} ", "Tc"]);
        assert_eq!(pieces("<% a %>", SHORT), ["T<% a %>"]);
    }

    #[test]
    fn an_xml_prolog_is_text_and_may_hold_tags() {
        let prolog = "<?xml version=\"1.0\"?>\n<a/>";
        assert_eq!(pieces(prolog, SHORT), [format!("T{prolog}")]);
        assert_eq!(pieces(prolog, LONG), [format!("T{prolog}")]);
        assert_eq!(pieces("<?xml\tencoding='<?= e ?>'?>\n", SHORT), ["T<?xml\tencoding='", "E e ", "T'?>\n"]);
    }

    #[test]
    fn a_byte_order_mark_and_a_first_line_for_the_system_are_a_note() {
        for (page, expected) in [
            ("\u{FEFF}", &["N\u{FEFF}"][..]),
            ("\u{FEFF}a\u{FEFF}", &["N\u{FEFF}", "Ta\u{FEFF}"]),
            ("\u{FEFF}<? a ?>", &["N\u{FEFF}", "C a "]),
            ("#!/usr/bin/plua\n<? a ?>", &["N#!/usr/bin/plua\n", "C a "]),
            ("#!/usr/bin/plua <? b ?>\r\n\nA", &["N#!/usr/bin/plua <? b ?>\r\n", "T\nA"]),
            ("\u{FEFF}#!a\rA", &["N\u{FEFF}#!a", "T\rA"]),
            ("#!a", &["N#!a"]),
            ("#a\n", &["T#a\n"]),
            (" #!a\n", &["T #!a\n"]),
            ("a\n#!a\n", &["Ta\n#!a\n"]),
        ] {
            assert_eq!(pieces(page, SHORT), expected, "{page:?}");
            assert_eq!(pieces(page, LONG).first(), pieces(page, SHORT).first());
        }
    }

    #[test]
    fn a_tag_of_php_is_told_by_its_name_in_any_case() {
        for (tag, is) in [("<?php", true), ("<?PHP\n", true), ("<?php a", true), ("<?phpa", false), ("<? php", false)] {
            assert_eq!(is_php(tag.as_bytes()), is, "{tag}");
        }
    }

    #[test]
    fn one_newline_after_a_tag_of_any_kind_belongs_to_it() {
        for tag in ["<? a ?>", "<?= a ?>", "<?& a ?>", "<?# a ?>", "<?lua a ?>"] {
            for (after, text) in [
                ("\nB", "TB"),
                ("\r\nB", "TB"),
                ("\n\nB", "T\nB"),
                ("\rB", "T\rB"),
                ("\n\rB", "T\rB"),
                (" \nB", "T \nB"),
            ] {
                assert_eq!(pieces(&format!("{tag}{after}"), SHORT)[1..], [text]);
            }
        }
        assert_eq!(pieces("\nA", SHORT), ["T\nA"]);
    }

    #[test]
    fn a_tag_ends_where_lua_is_not_in_a_string_or_long_comment() {
        for (page, expected) in [
            ("<? a('?>') ?>B", ["C a('?>') ", "TB"]),
            ("<? a[[?>]] ?>B", ["C a[[?>]] ", "TB"]),
            ("<?= a --[[?>]] ?>B", ["E a --[[?>]] ", "TB"]),
            ("<? --[[ ?>hidden<? ]] ?>B", ["C --[[ ?>hidden<? ]] ", "TB"]),
            ("<? -- it's ?>B", ["C -- it's ", "TB"]),
            ("<?# it's [[ --[[ ?>B", ["N it's [[ --[[ ", "TB"]),
            ("<? a('<?') ?>B", ["C a('<?') ", "TB"]),
        ] {
            assert_eq!(pieces(page, SHORT), expected);
        }
    }

    #[test]
    fn what_does_not_close_ends_at_the_first_tag_end() {
        for (page, expected) in [
            ("<? a(\" ?>B\n\"", ["C a(\" ", "TB\n\""]),
            ("<? a(' ?>B", ["C a(' ", "TB"]),
            ("<? a([[ '?>'B", ["C a([[ '", "T'B"]),
            ("<? --[=[ ?>]]B", ["C --[=[ ", "T]]B"]),
        ] {
            assert_eq!(pieces(page, SHORT), expected);
        }
    }

    #[test]
    fn the_last_tag_may_stay_open() {
        for (page, expected) in [
            ("A<?", ["TA", "C"]),
            ("A<?=x", ["TA", "Ex"]),
            ("A<?# x", ["TA", "N x"]),
            ("A<? x ?", ["TA", "C x ?"]),
            ("A<?lua", ["TA", "C"]),
        ] {
            assert_eq!(pieces(page, SHORT), expected);
        }
    }
}
