//! What holds for any page whatever its bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod runner;

use std::ops::Range;

use plua::language::emit::emit;
use plua::language::page::{Kind, Mark, Marks, Segment, Syntax, header, split};
use proptest::prelude::*;
use runner::{SHORT, run};

const PIECES: &[&[u8]] = &[
    b"<?", b"?>", b"<%", b"%>", b"<%=", b"<?=", b"<?&", b"<?#", b"<?lua", b"<?lua=", b"<?xml ", b"--", b"--[[", b"[[",
    b"]]", b"[==[", b"]==]", b"]===]", b"]", b"=", b"\"", b"'", b"\\", b"\\z", b"\n", b"\r\n", b"\r", b"\0", b" ",
    b";", b"return", b"break", b"end", b"do", b"x", b"1", b"\xFF", b"<", b"?", b">",
];

/// What text may start with to close a string that a tag left open.
const TEXT_LEADS: &[&[u8]] = &[b"", b"'", b"\"", b"a\n'", b"a\n\"", b"]]", b"]==]"];

/// Tags that print nothing, each hiding something from the splitter.
const SILENT_TAGS: &[&[u8]] = &[
    b"<??>",
    b"<?# it's ?>",
    b"<? -- it's ?>",
    b"<? local s = '?>' ?>",
    b"<? local s = [=[ ?> ]] ]=]; ?>",
    b"<? --[[ ?> <? ]] ?>",
    b"<?=?>",
    b"<?= '' ; -- [[ ?>",
    b"<?lua do end ?>",
];

fn pieces(count: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(PIECES), count).prop_map(|pieces| pieces.concat())
}

fn pages() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..300), 4 => pieces(0..60)]
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    pages().prop_map(|mut page| {
        while let Some(at) = page.windows(2).position(|pair| pair == b"<?") {
            page.remove(at);
        }
        while header(&page) > 0 {
            page.remove(0);
        }
        page
    })
}

fn syntaxes() -> impl Strategy<Value = Syntax> {
    any::<(bool, bool, bool)>().prop_map(|(short_hand, auto_escape, has_marks)| {
        let mark = |mark| Mark::new(mark).unwrap();
        let marks = has_marks.then(|| Marks { open: mark(b"<%"), end: mark(b"%>") });
        Syntax { short_hand, auto_escape, marks }
    })
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn without_one_newline(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\n").or_else(|| text.strip_prefix(b"\r\n")).unwrap_or(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_tile_the_page(page in pages(), syntax in syntaxes()) {
        let mut end = 0;
        for segment in split(&page, syntax) {
            prop_assert_eq!(segment.outer.start, end);
            prop_assert!(segment.outer.end > end);
            prop_assert!(segment.outer.start <= segment.inner.start && segment.inner.end <= segment.outer.end);
            prop_assert!(segment.inner.start <= segment.inner.end);
            match segment.kind {
                Kind::Text => prop_assert_eq!(&segment.outer, &segment.inner),
                Kind::Note if segment.outer == (0..header(&page)) => {}
                _ => {
                    let tag = &page[segment.outer.clone()];
                    prop_assert!(tag.starts_with(b"<?") || syntax.marks.is_some() && tag.starts_with(b"<%"));
                }
            }
            end = segment.outer.end;
        }
        prop_assert_eq!(end, page.len());
    }

    #[test]
    fn the_lua_of_a_page_has_its_lines(page in pages(), syntax in syntaxes()) {
        let lua = emit(&page, syntax);
        prop_assert_eq!(newlines(&lua.source), newlines(&page));
    }

    #[test]
    fn a_page_without_tags_prints_itself(page in texts()) {
        prop_assert!(run(&page, SHORT).is_ok_and(|printed| printed == page));
    }

    #[test]
    fn text_between_tags_is_printed_byte_for_byte(
        first in texts(),
        rest in prop::collection::vec((prop::sample::select(SILENT_TAGS), texts()), 0..8),
    ) {
        let mut page = first.clone();
        let mut expected = first;
        for (tag, text) in rest {
            page.extend_from_slice(tag);
            page.extend_from_slice(&text);
            expected.extend_from_slice(without_one_newline(&text));
        }
        prop_assert_eq!(run(&page, SHORT).map_err(|error| TestCaseError::fail(error.to_string()))?, expected);
    }

    #[test]
    fn text_is_never_run(opening in pieces(0..6), lead in prop::sample::select(TEXT_LEADS), after in pieces(0..6)) {
        // A name that only text calls: if Lua ever reads it as code, it fails there by that name. The comment keeps what
        // follows the text from being refused first.
        let page = [b"<? x=", opening.as_slice(), b"?>", lead, b" text_ran() --<?\n?>", &after].concat();
        let is_text = |segment: &Segment| segment.kind == Kind::Text;
        let calls = |segment: &Segment| page[segment.outer.clone()].windows(8).any(|word| word == b"text_ran");
        prop_assume!(split(&page, SHORT).iter().all(|segment| is_text(segment) || !calls(segment)));
        let error = run(&page, SHORT).err().map(|error| error.to_string()).unwrap_or_default();
        prop_assert!(!error.contains("global 'text_ran'"), "{}", error);
    }
}

#[test]
fn splitting_takes_linear_time_whatever_stays_open() {
    for piece in [
        "<? \"",
        "<? \" ?>",
        "<? \"\\\" ?>\n",
        "\\\"",
        "<? --[[",
        "<? --[[ ?>",
        "<? [==[",
        "<? [==[ ?>",
        "<?# ",
        "<?xml ",
        "<",
        "<? [=",
        "<? ]=",
        "<? --[=",
        "<?='?>",
        "<?= \\z",
    ] {
        for lead in ["", "<? \"", "<? [[", "<? [===[ ?>", "<? '\\"] {
            let page = format!("{lead}{}", piece.repeat(200_000));
            let segments = split(page.as_bytes(), SHORT);
            assert_eq!(segments.last().map(|segment| segment.outer.end), Some(page.len()));
        }
    }
    let every_level: String = (0..2_000).map(|level| format!("<? [{}[ ?>", "=".repeat(level))).collect();
    assert_eq!(split(every_level.as_bytes(), SHORT).len(), 2_000);
}
