//! Functions of a page that each request would make anew and that a state makes once.
//!
//! A function made anew is a new one to LuaJIT: code compiled for the one before does not fit it, and calls from
//! function to function are compiled for whatever function comes. Recursion takes three times as long that way. So a
//! function that the page names outside any block, and that sees nothing of its request but globals, is kept in the
//! table that goes with the page's function, and taken from there by the next request.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use memchr::memmem;

use crate::lexer::{Lexeme, Lexer, Token};

/// Longer sources are left as they are, for the tokens of one take some thirty times its memory.
const LONGEST: usize = 1 << 20;

/// Names with which a page could change what a kept function sees, or make one statement run twice.
const REFUSED: [&[u8]; 4] = [b"_ENV", b"debug", b"goto", b"setfenv"];

/// The source of a chunk, changed to keep those of its functions that can be kept in the table that the chunk has as
/// `table`; nothing when there are none. Lines stay what they are.
///
/// Which those are is told from the tokens alone, so some that could be kept are not. A function is when it is made by
/// `function name` or `local function name` outside any block, and names no other local of the chunk, except those of
/// functions kept before it. A local one is assigned once only.
#[must_use]
pub fn keep(source: &[u8], table: &str) -> Option<Vec<u8>> {
    if source.len() > LONGEST || memmem::find(source, b"function").is_none() {
        return None;
    }
    let code = Code::read(source)?;
    let mut kept = Vec::with_capacity(source.len() + 100 * code.functions.len());
    let (mut copied, mut count) = (0, 0);
    for function in code.kept() {
        count += 1;
        let Function { name, at, .. } = function;
        kept.extend_from_slice(&source[copied..at.start]);
        if function.is_local {
            kept.extend_from_slice(b"local ");
        }
        kept.extend_from_slice(name);
        kept.extend_from_slice(format!("={table}.f{count} or(function({table})").as_bytes());
        kept.extend_from_slice(&source[at.clone()]);
        kept.extend_from_slice(format!(" {table}.f{count}=").as_bytes());
        kept.extend_from_slice(name);
        kept.extend_from_slice(b" return ");
        kept.extend_from_slice(name);
        // What follows could take the last bracket for the beginning of a call, and a `;` needs a statement before it.
        kept.extend_from_slice(format!(" end)({table})do end").as_bytes());
        copied = at.end;
    }
    kept.extend_from_slice(&source[copied..]);
    (count > 0).then_some(kept)
}

/// A statement that makes a function outside any block.
struct Function<'s> {
    name: &'s [u8],
    is_local: bool,
    /// All of it, in bytes.
    at: Range<usize>,
    /// Its tokens from the first parameter to `end`.
    inside: Range<usize>,
}

/// A chunk, as far as it must be known.
struct Code<'s> {
    source: &'s [u8],
    /// Without spaces and comments.
    tokens: Vec<Token>,
    /// How often each name is declared outside any block.
    locals: HashMap<&'s [u8], u32>,
    functions: Vec<Function<'s>>,
}

impl<'s> Code<'s> {
    /// Nothing for a chunk that cannot be read, that makes no such function, or that has a name which is [`REFUSED`].
    fn read(source: &'s [u8]) -> Option<Code<'s>> {
        let mut tokens = Vec::new();
        for token in Lexer::new(source) {
            match token.lexeme {
                Lexeme::Space | Lexeme::LineComment | Lexeme::LongComment => {}
                Lexeme::StrayQuote | Lexeme::StrayBracket | Lexeme::TagEnd => return None,
                Lexeme::Word if REFUSED.contains(&&source[token.range.clone()]) => return None,
                _ => tokens.push(token),
            }
        }
        let mut code = Code { source, tokens, locals: HashMap::new(), functions: Vec::new() };
        code.find_blocks()?;
        (!code.functions.is_empty()).then_some(code)
    }

    fn text(&self, token: usize) -> &'s [u8] {
        self.tokens.get(token).map_or(b"", |token| &self.source[token.range.clone()])
    }

    fn text_before(&self, token: usize) -> &'s [u8] {
        token.checked_sub(1).map_or(b"", |token| self.text(token))
    }

    fn is_name(&self, token: usize) -> bool {
        self.tokens.get(token).is_some_and(|token| token.lexeme == Lexeme::Word)
            && !self.text(token)[0].is_ascii_digit()
    }

    /// Finds what is declared outside any block. Nothing where blocks do not end as they should.
    fn find_blocks(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        let mut open = None;
        for token in 0..self.tokens.len() {
            match self.text(token) {
                b"local" if depth == 0 => self.declare(token + 1),
                b"function" => {
                    if depth == 0 && self.is_name(token + 1) && self.text(token + 2) == b"(" {
                        open = Some(token);
                    }
                    depth += 1;
                }
                b"do" | b"if" | b"repeat" => depth += 1,
                b"end" | b"until" => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0
                        && let Some(first) = open.take()
                    {
                        self.push_function(first, token);
                    }
                }
                _ => {}
            }
        }
        (depth == 0).then_some(())
    }

    /// Counts the names that a `local` declares, which begin at `token`.
    fn declare(&mut self, mut token: usize) {
        if self.text(token) == b"function" {
            token += 1;
        }
        loop {
            *self.locals.entry(self.text(token)).or_default() += 1;
            token += 1;
            if self.text(token) == b"<" {
                token += 3;
            }
            if self.text(token) != b"," {
                return;
            }
            token += 1;
        }
    }

    fn push_function(&mut self, first: usize, last: usize) {
        let is_local = self.text_before(first) == b"local";
        let start = if is_local { first - 1 } else { first };
        let at = self.tokens[start].range.start..self.tokens[last].range.end;
        self.functions.push(Function { name: self.text(first + 1), is_local, at, inside: first + 3..last });
    }

    /// The functions to keep, in their order.
    fn kept(&self) -> impl Iterator<Item = &Function<'s>> {
        let assigned = self.assigned();
        let mut kept_locals = HashSet::new();
        self.functions.iter().filter(move |function| {
            let name = function.name;
            let is_one = match self.locals.get(name) {
                Some(declared) => function.is_local && *declared == 1 && !assigned.contains(name),
                None => true,
            };
            let fits = is_one && self.sees_only(function, &kept_locals);
            if fits {
                kept_locals.insert(name);
            }
            fits
        })
    }

    /// Names that are, or may be, assigned somewhere.
    fn assigned(&self) -> HashSet<&'s [u8]> {
        let targets = (0..self.tokens.len()).filter(|token| {
            self.is_variable(*token)
                && match self.text(token + 1) {
                    b"=" => !(self.text(token + 2) == b"=" && self.touch(token + 1)),
                    // Behind these it is one of several values.
                    b"," => !matches!(self.text_before(*token), b"=" | b"(" | b"{" | b"return"),
                    _ => false,
                }
        });
        targets.map(|token| self.text(token)).collect()
    }

    /// Whether nothing stands between a token and the next.
    fn touch(&self, token: usize) -> bool {
        self.tokens.get(token + 1).is_some_and(|next| next.range.start == self.tokens[token].range.end)
    }

    /// Whether a token is the name of a variable, not of a field or method.
    fn is_variable(&self, token: usize) -> bool {
        self.is_name(token)
            && match self.text_before(token) {
                b":" => false,
                // Two of them put texts together.
                b"." => self.text_before(token - 1) == b"." && self.touch(token - 2),
                _ => true,
            }
    }

    /// Whether a function names no local of the chunk but itself and those that are kept.
    fn sees_only(&self, function: &Function<'s>, kept: &HashSet<&[u8]>) -> bool {
        let Range { start, end } = function.inside;
        let close = (start..end).find(|token| self.text(*token) == b")").unwrap_or(end);
        let parameters: HashSet<_> = (start..close).map(|token| self.text(token)).collect();
        (close..end).filter(|token| self.is_variable(*token)).map(|token| self.text(token)).all(|name| {
            let is_kept = name == function.name || kept.contains(name);
            is_kept || parameters.contains(name) || !self.locals.contains_key(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a source whose functions named `f` to `h` are kept in `T`, or the source itself.
    fn kept(source: &str) -> String {
        keep(source.as_bytes(), "T").map_or_else(|| source.into(), |kept| String::from_utf8(kept).unwrap())
    }

    fn kept_names(source: &str) -> Vec<String> {
        let code = Code::read(source.as_bytes());
        let names = |code: Code| code.kept().map(|function| String::from_utf8_lossy(function.name).into()).collect();
        code.map_or_else(Vec::new, names)
    }

    #[test]
    fn a_function_of_its_own_is_made_where_the_table_has_none() {
        for (source, expected) in [
            ("", ""),
            ("f() g = 1", "f() g = 1"),
            (
                "local function f() return 1 end",
                "local f=T.f1 or(function(T)local function f() return 1 end T.f1=f return f end)(T)do end",
            ),
            (
                "a()\nfunction\nf(b)\nend;c() local function g() return g, f end d()",
                "a()\nf=T.f1 or(function(T)function\nf(b)\nend T.f1=f return f end)(T)do end;c() \
                 local g=T.f2 or(function(T)local function g() return g, f end T.f2=g return g end)(T)do end d()",
            ),
        ] {
            assert_eq!(kept(source), expected, "{source}");
        }
    }

    #[test]
    fn a_function_is_kept_that_names_no_local_of_the_chunk_but_functions_kept_before() {
        for (source, names) in [
            ("local a local function f() return a end", &[][..]),
            ("local a local function f(a) return a end", &["f"]),
            ("local a local function f() return b.a, b:a(), 1 end", &["f"]),
            ("local a local function f() return 'x'..a end", &[]),
            ("local a local function f(...) return ... end", &["f"]),
            ("local b, a <const>, c = 1 function f() return a end function g() return c end", &[]),
            ("local function f() return a end local a", &[]),
            ("local function f() return f() end function g() return f() + h() end function h() end", &["f", "g", "h"]),
            ("local a local function f() return a end local function g() return f() end function h() end", &["h"]),
            ("local function g() return f end local function f() end", &["f"]),
            ("for a in b do local c = a end local function f() return a, c end", &["f"]),
            ("if a then local function f() end end do function g() end end local h = function() end", &[]),
            ("local a = function() local b function f() return b end end function g() return b end", &["g"]),
            ("repeat local a until b(function() end) function f() return a end", &["f"]),
            ("function f.g() end function f:g() end", &[]),
        ] {
            assert_eq!(kept_names(source), names, "{source}");
        }
    }

    #[test]
    fn a_local_function_is_kept_that_is_declared_and_assigned_once() {
        for (source, names) in [
            ("local function f() end f = 1", &[][..]),
            ("local function f() end if a then f, b = 1 end", &[]),
            ("local function f() end b, f = 1", &[]),
            ("local function f() f = 1 end", &[]),
            ("local function f() end local f", &[]),
            ("local function f() end local function f() end", &[]),
            ("local f function f() end", &[]),
            ("local function f() end if a == f then g(f, b) h{f, f} end b, c = f, f return f, f", &["f"]),
            ("local function f() end a.f = 1 a:f{}", &["f"]),
            ("function f() end f = 1", &["f"]),
            ("function f() end function f() end", &["f", "f"]),
        ] {
            assert_eq!(kept_names(source), names, "{source}");
        }
    }

    #[test]
    fn nothing_is_kept_of_a_chunk_that_cannot_be_read_or_may_reach_into_its_functions() {
        for source in [
            "function f() end end",
            "function f() if a then end",
            "function f() end a = 'b",
            "function f() end a = [[b",
            "function f() end setfenv(f, {})",
            "function f() end debug.setupvalue(f, 1, 2)",
            "local _ENV = {} function f() end",
            "::a:: function f() end goto a",
        ] {
            assert_eq!(kept(source), source);
        }
        let long = format!("function f() end --{}", "a".repeat(LONGEST));
        assert_eq!(kept(&long), long);
    }
}
