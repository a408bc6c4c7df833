//! A page as Lua: one chunk whose line N is the page's line N.

use std::ops::Range;

use crate::language::kept_functions::{self, KeptFunctions};
use crate::language::lexer::{Lexeme, Lexer, Token, is_word};
use crate::language::page::{Kind, Segment, Segments, Syntax, header};

/// More texts than this travel outside the chunk: LuaJIT takes 65,536 constants a function, and the page's own code
/// needs some of them.
const MOST_TEXTS_INSIDE: usize = 16_000;

/// Texts in one group of `__texts`.
pub const GROUP: usize = 16_384;

/// What chunks begin with: without texts outside, and with the table that they and functions that are kept are in. A value
/// could be gone on with by what follows, such as `- 1`, and `do end` cannot.
const PROLOGUE: &[u8] = b"local __plua=... do end ";
const PROLOGUE_WITH_TABLE: &[u8] = b"local __plua,__texts=... do end ";

/// Follows code that ends inside a string: the page's own `?>`, which a last `\z` cannot skip, and a CR, which breaks the
/// string. Without it the string would end at the next quote, and text would be read as Lua. CR and not LF, so that the
/// lines of the chunk stay those of the page.
const BROKEN_STRING: &[u8] = b"?>\r";

/// What a page is to Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lua {
    /// The source of the chunk. It is called with the slot table (`put`, a function that puts out a text; `echo` and
    /// `escape`, which take the text that follows and the values before it, and put out the values, then the text)
    /// and, if `texts` is not empty, a table of groups of texts:
    /// text number `i`, counted from 0, is `groups[i / GROUP + 1][i % GROUP + 1]`.
    pub source: Vec<u8>,
    /// The texts that travel outside the chunk, as ranges of the page; empty for all but very long pages.
    pub texts: Vec<Range<usize>>,
    /// Whether each block of the page's code ends, and each end has its block.
    has_whole_blocks: bool,
    /// Whether the page's code has names that are written around it.
    has_our_names: bool,
}

/// The source of a chunk that returns one function, which does what the chunk of `source` does and takes no more than the
/// same two arguments: LuaJIT compiles such a function as a whole, and one with any number of arguments only in parts.
/// Nothing for a chunk that begins in another way.
#[must_use]
pub fn as_function(source: &[u8]) -> Option<Vec<u8>> {
    let code = source.strip_prefix(PROLOGUE).or_else(|| source.strip_prefix(PROLOGUE_WITH_TABLE))?;
    Some([b"return function(__plua,__texts) do end ", code, b" end"].concat())
}

impl Lua {
    /// Whether [`as_function`] of it compiles only if it does itself: in code with one `end` too many, the function could
    /// end before the page does.
    #[must_use]
    pub fn is_fit_for_function(&self) -> bool {
        self.has_whole_blocks
    }

    /// A raw Lua file, as [`emit_raw`] makes it.
    #[must_use]
    pub fn raw(file: &[u8]) -> Lua {
        Lua { source: emit_raw(file), texts: Vec::new(), has_whole_blocks: false, has_our_names: false }
    }

    /// The functions of the page that may be kept: only LuaJIT gains from it, and can say which can.
    #[must_use]
    pub fn functions_to_keep(&self) -> Option<KeptFunctions<'_>> {
        let code = self.source.strip_prefix(PROLOGUE).or_else(|| self.source.strip_prefix(PROLOGUE_WITH_TABLE))?;
        (cfg!(feature = "luajit") && !self.has_our_names).then(|| KeptFunctions::of(code))
    }
}

/// The source of a page's chunk that makes these functions once, for all calls with the same slot table and table of groups.
/// It is always called with a table, in which they are fields; nothing when there are none.
#[must_use]
pub fn keeping(functions: &KeptFunctions) -> Option<Vec<u8>> {
    Some([PROLOGUE_WITH_TABLE, &functions.keep("__texts")?].concat())
}

/// Translates a page. Lines are counted by LF; a lone CR inside a tag is a line to Lua as well, and there Lua's count
/// runs ahead of the page's.
///
/// Any bytes give a chunk, but not one that compiles: errors in a page's Lua are Lua's to find.
#[must_use]
pub fn emit(page: &[u8], syntax: Syntax) -> Lua {
    emit_noting(page, syntax, None)
}

/// The code of a tag, in the page and in the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag in the page: its content, and all of it.
    pub inner: Range<usize>,
    /// With its marks and the newline dropped after it.
    pub outer: Range<usize>,
    /// Its code in [`Lua::source`].
    pub code: Range<usize>,
    /// Whether it is an echo.
    pub is_echo: bool,
}

/// Where the code of each tag is in what [`emit`] gives; not of tags that hold none.
#[must_use]
pub fn tags(page: &[u8], syntax: Syntax) -> Vec<Tag> {
    let mut tags = Vec::new();
    emit_noting(page, syntax, Some(&mut tags));
    tags
}

fn emit_noting(page: &[u8], syntax: Syntax, mut tags: Option<&mut Vec<Tag>>) -> Lua {
    let mut texts = Texts { count: 0, outside: None };
    let mut blocks = Blocks::default();
    let mut source = put_page(page, syntax, &mut texts, &mut blocks, tags.as_deref_mut());
    if texts.count > MOST_TEXTS_INSIDE {
        (texts, blocks) = (Texts { count: 0, outside: Some(Vec::new()) }, Blocks::default());
        if let Some(tags) = tags.as_deref_mut() {
            tags.clear();
        }
        source = put_page(page, syntax, &mut texts, &mut blocks, tags);
    }
    Lua {
        source,
        texts: texts.outside.unwrap_or_default(),
        has_whole_blocks: blocks.are_whole(),
        has_our_names: blocks.has_our_names,
    }
}

/// The texts of a page, as they are put.
struct Texts {
    count: usize,
    /// Those that travel outside the chunk, if they do.
    outside: Option<Vec<Range<usize>>>,
}

impl Texts {
    /// Counts a text and returns its number outside the chunk.
    fn number(&mut self, text: &Segment) -> Option<usize> {
        self.count += 1;
        let outside = self.outside.as_mut()?;
        outside.push(text.outer.clone());
        Some(outside.len() - 1)
    }

    fn are_too_many(&self) -> bool {
        self.outside.is_none() && self.count > MOST_TEXTS_INSIDE
    }
}

/// The source of a page's chunk; only the beginning of it when the texts are too many to be in it.
fn put_page(
    page: &[u8],
    syntax: Syntax,
    texts: &mut Texts,
    blocks: &mut Blocks,
    mut tags: Option<&mut Vec<Tag>>,
) -> Vec<u8> {
    let prologue = if texts.outside.is_none() { PROLOGUE } else { PROLOGUE_WITH_TABLE };
    // What a page of many tags takes; the part that is not written takes no memory.
    let mut source = Vec::with_capacity(2 * page.len() + prologue.len());
    source.extend_from_slice(prologue);
    let mut ending = Ending::Complete;
    let mut segments = Segments::of(page, syntax);
    let mut note = |segment: &Segment, code: Range<usize>, is_echo: bool| {
        if let Some(tags) = &mut tags {
            tags.push(Tag { inner: segment.inner.clone(), outer: segment.outer.clone(), code, is_echo });
        }
    };
    while let Some(segment) = segments.next()
        && !texts.are_too_many()
    {
        let inner = &page[segment.inner.clone()];
        match segment.kind {
            Kind::Text => ending = put_text(&mut source, ending, inner, texts.number(&segment)),
            Kind::Code => {
                let start = source.len();
                let code = Code::read(inner, blocks);
                ending = put_code(&mut source, ending, inner, &code);
                if code.first.is_some() {
                    note(&segment, start..source.len() - 1, false);
                }
            }
            Kind::Echo { escape } => {
                let code = Code::read(inner, blocks);
                if code.last.is_none() {
                    put_newlines(&mut source, inner);
                } else {
                    // The text behind an echo goes into its call: fewer instructions, of which Lua limits a loop's.
                    let text = segments.next_text();
                    let number = text.as_ref().and_then(|text| texts.number(text));
                    let text = text.map_or(&b""[..], |text| &page[text.inner]);
                    let written = put_echo(&mut source, ending, &code, escape, text, number);
                    ending = written.0;
                    note(&segment, written.1, true);
                    put_newlines(&mut source, after(page, &segment));
                    put_newlines(&mut source, text);
                    continue;
                }
            }
            Kind::Note => put_newlines(&mut source, inner),
        }
        put_newlines(&mut source, after(page, &segment));
    }
    source
}

/// Makes a raw Lua file ready for Lua: without a UTF-8 byte order mark, and with an empty first line for a `#!` one.
#[must_use]
pub fn emit_raw(file: &[u8]) -> Vec<u8> {
    let header = header(file);
    let line_end = file[..header].iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(header);
    file[line_end..].to_vec()
}

/// What follows the content of a segment and still belongs to it.
fn after<'p>(page: &'p [u8], segment: &Segment) -> &'p [u8] {
    &page[segment.inner.end..segment.outer.end]
}

fn put_newlines(source: &mut Vec<u8>, bytes: &[u8]) {
    source.extend(bytes.iter().filter(|byte| **byte == b'\n'));
}

/// A text as a string constant, whose line breaks are `line_break`.
fn put_constant(source: &mut Vec<u8>, text: &[u8], line_break: &[u8]) {
    source.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r' | b'\0' | b'"' | b'\\')) {
        source.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => source.extend_from_slice(line_break),
            b'\r' => source.extend_from_slice(b"\\r"),
            b'\0' => source.extend_from_slice(b"\\000"),
            byte => source.extend_from_slice(&[b'\\', byte]),
        }
        rest = &rest[at + 1..];
    }
    source.extend_from_slice(rest);
    source.push(b'"');
}

/// A text that travels outside the chunk, by its number.
fn put_outside(source: &mut Vec<u8>, number: usize) {
    let (group, member) = (number / GROUP + 1, number % GROUP + 1);
    source.extend_from_slice(format!("__texts[{group}][{member}]").as_bytes());
}

/// What the Lua so far ends with, as far as it matters to what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Only a statement can follow.
    Complete,
    /// The same, but for what would go on with the call that is its last statement: a bracket, a string, a dot.
    Call,
    /// A statement may begin, but a `do`, or what goes on with a value, could belong to what is there.
    Value,
    /// Something that may wait for a value, or for a `do`.
    Open,
}

/// Puts a text or an echo: a call of a function of `__plua`.
///
/// Where something may wait, it stands in `if true then`, which costs nothing when it runs and is only taken for a
/// statement: with `do`, a `for` or `while` that lacks its own would take this one; with nothing, `x =` would take the
/// call as its value. Elsewhere it does without, for Lua compiles a page in two thirds of the time then.
fn put_call(source: &mut Vec<u8>, ending: Ending, function: &[u8], arguments: impl FnOnce(&mut Vec<u8>)) -> Ending {
    let waits = matches!(ending, Ending::Value | Ending::Open);
    if waits {
        source.extend_from_slice(b"if true then ");
    }
    source.extend_from_slice(b"__plua.");
    source.extend_from_slice(function);
    source.push(b'(');
    arguments(source);
    source.extend_from_slice(if waits { b") end " } else { b") " });
    if waits { Ending::Complete } else { Ending::Call }
}

fn put_text(source: &mut Vec<u8>, ending: Ending, text: &[u8], number: Option<usize>) -> Ending {
    put_call(source, ending, b"put", |source| match number {
        Some(number) => {
            put_outside(source, number);
            put_newlines(source, text);
        }
        None => put_constant(source, text, b"\\\n"),
    })
}

fn put_code(source: &mut Vec<u8>, ending: Ending, inner: &[u8], code: &Code) -> Ending {
    // In Lua 5.1 a `;` needs a statement before it, and has one.
    if ending == Ending::Call && code.first.is_some_and(|first| !is_word(first) && first != b';') {
        source.push(b';');
    }
    source.push(b' ');
    let last = code.last.as_ref().map(|last| &inner[last.clone()]);
    // In Lua these are the last of their block, yet in a page something follows, if only a newline.
    let ends_block = match last {
        Some(b"return" | b"break") => true,
        // LuaJIT takes it for a name elsewhere, as the others do everywhere.
        Some(b"continue") => match &code.before_last {
            Some(before) => ending_with(&inner[before.clone()]) != Ending::Open,
            None => ending != Ending::Open,
        },
        _ => false,
    };
    match code.last.clone().filter(|_| ends_block) {
        Some(last) => {
            source.extend_from_slice(&code.lua[..last.start]);
            source.extend_from_slice(b"do ");
            source.extend_from_slice(&inner[last.clone()]);
            source.extend_from_slice(b" end");
            source.extend_from_slice(&code.lua[last.end..]);
        }
        None => source.extend_from_slice(code.lua),
    }
    source.extend_from_slice(code.ending);
    source.push(b' ');
    match last {
        _ if code.first.is_none() => ending,
        _ if !code.ending.is_empty() => Ending::Open,
        _ if code.semicolon.is_some() => Ending::Value,
        Some(last) => ending_with(last),
        None => Ending::Open,
    }
}

/// What Lua that ends with this token ends with.
fn ending_with(token: &[u8]) -> Ending {
    match token {
        b"then" | b"else" | b"do" | b"repeat" | b"end" | b")" => Ending::Complete,
        b"and" | b"const" | b"elseif" | b"for" | b"function" | b"goto" | b"if" | b"in" | b"local" | b"not" | b"or"
        | b"return" | b"until" | b"while" => Ending::Open,
        b"]" | b"}" => Ending::Value,
        // Long brackets that nothing closes begin as long strings do.
        [b'"' | b'\'', _, ..] | [b'[', .., b']'] => Ending::Value,
        [first, ..] if is_word(*first) => Ending::Value,
        _ => Ending::Open,
    }
}

/// An echo and the text behind it, and where its code came to be. The text stands before the values, for the last of them may be several; its lines
/// come later.
fn put_echo(
    source: &mut Vec<u8>,
    ending: Ending,
    code: &Code,
    escape: bool,
    text: &[u8],
    number: Option<usize>,
) -> (Ending, Range<usize>) {
    let mut written = 0..0;
    let ending = put_call(source, ending, if escape { b"escape" } else { b"echo" }, |source| {
        match number {
            Some(number) => put_outside(source, number),
            None => put_constant(source, text, b"\\n"),
        }
        source.push(b',');
        written.start = source.len();
        match code.semicolon {
            Some(at) => {
                source.extend_from_slice(&code.lua[..at]);
                source.push(b' ');
                source.extend_from_slice(&code.lua[at + 1..]);
            }
            None => source.extend_from_slice(code.lua),
        }
        source.extend_from_slice(code.ending);
        written.end = source.len();
    });
    (ending, written)
}

/// The blocks of a page's code, as its words tell.
#[derive(Default)]
struct Blocks {
    open: u32,
    /// Whether something ended where no block was open.
    broken: bool,
    /// Whether a word is a name that is written around the code.
    has_our_names: bool,
}

impl Blocks {
    fn take(&mut self, word: &[u8]) {
        match word {
            b"function" | b"do" | b"if" | b"repeat" => self.open += 1,
            b"end" | b"until" => match self.open.checked_sub(1) {
                Some(open) => self.open = open,
                None => self.broken = true,
            },
            [b'_', ..] => self.has_our_names |= kept_functions::is_ours(word),
            _ => {}
        }
    }

    fn are_whole(&self) -> bool {
        self.open == 0 && !self.broken
    }
}

/// The Lua of a tag, looked at from its end, where something else will follow on the same line.
struct Code<'p> {
    /// Without a `--` comment that would swallow what follows.
    lua: &'p [u8],
    /// The first byte that is of no comment.
    first: Option<u8>,
    /// The last token that is not a comment, nor the `semicolon`.
    last: Option<Range<usize>>,
    /// The token before that one.
    before_last: Option<Range<usize>>,
    /// Where a `;` is, if it is the very last token.
    semicolon: Option<usize>,
    /// What must follow to keep what comes next out of a string that is still open.
    ending: &'static [u8],
}

impl<'p> Code<'p> {
    fn read(inner: &'p [u8], blocks: &mut Blocks) -> Code<'p> {
        let mut code = Code { lua: inner, first: None, last: None, before_last: None, semicolon: None, ending: b"" };
        for Token { lexeme, range } in Lexer::new(inner) {
            match lexeme {
                Lexeme::Space | Lexeme::LongComment => continue,
                Lexeme::LineComment => {
                    if range.end == inner.len() {
                        code.lua = &inner[..range.start];
                    }
                    continue;
                }
                Lexeme::StrayQuote => code.ending = BROKEN_STRING,
                Lexeme::Word => blocks.take(&inner[range.clone()]),
                _ => {}
            }
            code.first.get_or_insert(inner[range.start]);
            // Only one `;` is set apart; the one before it counts as any token does.
            if let Some(at) = code.semicolon.take() {
                code.before_last = code.last.replace(at..at + 1);
            }
            if inner[range.start] == b';' {
                code.semicolon = Some(range.start);
            } else {
                code.before_last = code.last.replace(range);
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Syntax = Syntax { short_hand: true, auto_escape: false, marks: None };

    fn lua(page: &str) -> String {
        let lua = emit(page.as_bytes(), SHORT);
        assert!(lua.texts.is_empty());
        String::from_utf8(lua.source).unwrap()
    }

    #[test]
    fn each_kind_of_segment_has_its_lua() {
        for (page, expected) in [
            ("", ""),
            ("A", r#"__plua.put("A") "#),
            ("\"\\\n\r\0[[", "__plua.put(\"\\\"\\\\\\\n\\r\\000[[\") "),
            ("<? f() ?>", "  f()  "),
            ("<? f() ?>\r\n", "  f()  \n"),
            ("<?= a, b ?>", "__plua.echo(\"\", a, b ) "),
            ("<?= a\n?>\r\n\"b\"\nc<?!d?>e", "__plua.echo(\"\\\"b\\\"\\nc\", a\n) \n\n__plua.echo(\"e\",d) "),
            ("<?& a ?>\n", "__plua.escape(\"\", a ) \n"),
            ("<?# a\n-- ?>\n", "\n\n"),
        ] {
            assert_eq!(lua(page), format!("local __plua=... do end {expected}"), "{page:?}");
        }
    }

    #[test]
    fn a_page_is_fit_for_a_function_when_each_block_ends_and_each_end_has_its_block() {
        for (page, fits) in [
            ("", true),
            ("<? if a then ?>b<? elseif c then ?>d<? else ?>e<? end ?>", true),
            ("<? for i = 1, 2 do local f = function() repeat until true end end ?>", true),
            ("<? -- end\nlocal a = 'end' --[[ end ]] ?> end <?= [[ end ]] ?>", true),
            ("<?= (function() return 1 end)() ?>", true),
            ("<? end ?>", false),
            ("<? end, function() ?>", false),
            ("<?= a end) or (function() ?>", false),
            ("<? do ?>", false),
            ("<? end do ?>", false),
        ] {
            assert_eq!(emit(page.as_bytes(), SHORT).is_fit_for_function(), fits, "{page}");
        }
        assert!(!Lua::raw(b"return 1").is_fit_for_function());
        assert_eq!(as_function(b"return 1"), None);
        let page = emit(b"a\n<?= b ?>", SHORT).source;
        let code = page.strip_prefix(PROLOGUE).unwrap();
        assert_eq!(as_function(&page).unwrap(), [b"return function(__plua,__texts) do end ", code, b" end"].concat());
    }

    #[test]
    fn what_would_swallow_or_refuse_what_follows_is_left_out() {
        for (page, expected) in [
            ("<?f()-- note?>", " f() "),
            ("<?f()--[[a]]?>", " f()--[[a]] "),
            ("<?--a\nf()--b?>", " --a\nf() "),
            ("<?=a;?>", "__plua.echo(\"\",a ) "),
            ("<?=a;\n--[[b]]-- c?>", "__plua.echo(\"\",a \n--[[b]]) "),
            ("<?=a-;--[[b]]?>", "__plua.echo(\"\",a- --[[b]]) "),
            ("<?=a;;?>", "__plua.echo(\"\",a; ) "),
            ("<?=\n;--[[\n]]--?>", "\n\n"),
            ("<?=?>", ""),
        ] {
            assert_eq!(lua(page), format!("local __plua=... do end {expected}"), "{page:?}");
        }
    }

    #[test]
    fn a_last_return_or_break_closes_its_own_block() {
        for (page, expected) in [
            ("<?return?>", " do return end "),
            ("<?return ; -- a?>", " do return end ;  "),
            ("<?if a then return --[[b]]?>", " if a then do return end --[[b]] "),
            ("<?while a do break?>", " while a do do break end "),
            ("<?return 1?>", " return 1 "),
            ("<?myreturn?>", " myreturn "),
            ("<?continue?>", " do continue end "),
            ("<?if a then continue ; -- b?>", " if a then do continue end ;  "),
            ("<?f()continue?>", " f()do continue end "),
            ("<?a = 'b' continue?>", " a = 'b' do continue end "),
            ("<?a = [[b]] continue?>", " a = [[b]] do continue end "),
            ("<?a = 1?><?continue?>", " a = 1  do continue end "),
            ("<?a = 1;?><?continue?>", " a = 1;  do continue end "),
            ("<?a =?><?continue?>", " a =  continue "),
            ("<?goto continue?>", " goto continue "),
            ("<?local continue?>", " local continue "),
            ("<?x = a or continue?>", " x = a or continue "),
            ("<?x = a ? b : continue?>", " x = a ? b : continue "),
            ("<?x = a.continue?>", " x = a.continue "),
        ] {
            assert_eq!(lua(page), format!("local __plua=... do end {expected}"), "{page:?}");
        }
    }

    #[test]
    fn what_follows_code_that_may_wait_for_something_can_only_be_a_statement() {
        for code in
            ["x =", "x = y", "f", "local", "function", "for i = 1, 2", "while a", "return", "a;", "{a;", "'b", "[[b"]
        {
            assert!(lua(&format!("<?{code}?>A")).ends_with(r#"if true then __plua.put("A") end "#), "{code}");
        }
        for code in ["if a then", "else", "for i = 1, 2 do", "repeat", "end", "f()", "f() -- b", "f() --[[b]]"] {
            assert!(!lua(&format!("<?{code}?>A")).contains("if true"), "{code}");
        }
    }

    #[test]
    fn nothing_goes_on_with_the_call_that_puts_a_text() {
        for (code, separator) in [
            ("(f or g)()", ";"),
            ("[[b]]", ";"),
            (".b = 1", ";"),
            ("-- b\n'b'", ";"),
            ("", ""),
            ("-- b", ""),
            ("f()", ""),
            ("; f()", ""),
            ("--[[b]];", ""),
        ] {
            let alone = lua(&format!("<?{code}?>"));
            let alone = alone.strip_prefix("local __plua=... do end ").unwrap();
            let expected = format!("local __plua=... do end __plua.put(\"A\") {separator}{alone}");
            assert_eq!(lua(&format!("A<?{code}?>")), expected);
        }
        assert_eq!(lua("A<? --b ?><?# c ?><?= ?><?(f)()?>").matches(';').count(), 1);
    }

    #[test]
    fn a_string_left_open_is_broken_before_text_can_close_it() {
        assert_eq!(lua("<?a=\"b?>"), "local __plua=... do end  a=\"b?>\r ");
        assert_eq!(lua("<?='b?>"), "local __plua=... do end __plua.echo(\"\",'b?>\r) ");
    }

    #[test]
    fn the_texts_of_a_very_long_page_travel_outside() {
        let page = "a\nb<?f()?>".repeat(GROUP + 1);
        let lua = emit(page.as_bytes(), SHORT);
        assert_eq!(lua.texts.len(), GROUP + 1);
        assert!(lua.texts.iter().all(|text| &page[text.clone()] == "a\nb"));
        let source = String::from_utf8(lua.source).unwrap();
        assert!(source.starts_with("local __plua,__texts=... do end __plua.put(__texts[1][1]\n)  f() __plua.put("));
        assert!(source.ends_with("f() __plua.put(__texts[2][1]\n)  f() "));
    }

    #[test]
    fn a_raw_file_loses_its_mark_and_the_text_of_its_first_line() {
        for (file, expected) in [
            ("", ""),
            ("return 1\n", "return 1\n"),
            ("#!/usr/bin/lua", ""),
            ("#!/usr/bin/lua\nf()", "\nf()"),
            ("#!/usr/bin/lua\r\nf()", "\r\nf()"),
            ("\u{FEFF}f()", "f()"),
            ("\u{FEFF}#!lua\nf()", "\nf()"),
            ("# f()", "# f()"),
            ("f() <? #!", "f() <? #!"),
        ] {
            assert_eq!(emit_raw(file.as_bytes()), expected.as_bytes(), "{file:?}");
        }
    }
}
