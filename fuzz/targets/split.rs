//! The splitter: its segments tile any page, and each is what its delimiters say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plua::language::page::{Kind, Mark, Marks, Syntax, header, split};

fuzz_target!(|input: &[u8]| {
    let Some((flags, page)) = input.split_first() else { return };
    let mark = |mark: &[u8]| Mark::new(mark).unwrap();
    let marks = (flags & 4 != 0).then(|| Marks { open: mark(b"<%"), end: mark(b"%>") });
    let syntax = Syntax { short_hand: flags & 1 != 0, auto_escape: flags & 2 != 0, marks };
    let mut end = 0;
    for segment in split(page, syntax) {
        assert_eq!(segment.outer.start, end);
        assert!(segment.outer.end > end);
        assert!(segment.outer.start <= segment.inner.start && segment.inner.end <= segment.outer.end);
        assert!(segment.inner.start <= segment.inner.end);
        let (outer, rest) = (&page[segment.outer.clone()], &page[segment.inner.end..segment.outer.end]);
        if segment.kind == Kind::Text {
            assert_eq!(segment.outer, segment.inner);
        } else if marks.is_some() && outer.starts_with(b"<%") {
            assert!(matches!(rest, b"%>" | b"%>\n" | b"%>\r\n") || segment.inner.end == page.len());
        } else if segment.outer != (0..header(page)) {
            assert!(outer.starts_with(if syntax.short_hand { b"<?" } else { b"<?lua" }));
            assert!(matches!(rest, b"?>" | b"?>\n" | b"?>\r\n") || segment.inner.end == page.len());
        }
        end = segment.outer.end;
    }
    assert_eq!(end, page.len());
});
