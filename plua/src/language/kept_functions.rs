//! Functions of a page that each request would make anew and that a state makes once.
//!
//! A function made anew is a new one to LuaJIT: code compiled for the one before does not fit it, and calls from
//! function to function are compiled for whatever function comes. Recursion takes three times as long that way. So a
//! function that the page names outside any block, and that sees nothing of its request but globals, is kept in the
//! table that goes with the page's function, and taken from there by the next request.
//!
//! What a function sees is for the compiler to say. The source only tells where functions may be that can be kept; each of
//! them is compiled inside one of its own, and whatever it takes from the page is then an upvalue of that. A local one is
//! declared `const`, which LuaJIT lets nobody assign or declare again, so that its name means it wherever it stands.

use std::collections::HashSet;
use std::ops::Range;

use memchr::memmem;

use crate::language::bytecode;
use crate::language::lexer::{Lexeme, Lexer, Token};

/// Longer sources are left as they are, for the tokens of one take some thirty times its memory.
const LONGEST: usize = 1 << 20;

/// Names with which a page could change what a kept function sees, or make one statement run twice.
const REFUSED: [&[u8]; 3] = [b"debug", b"goto", b"setfenv"];

/// What every page's function is called with, and may be seen: the same for all requests of a state.
const GIVEN: [&[u8]; 2] = [b"__plua", b"__texts"];

/// How the only parameter of a function begins that makes one to keep. Its number follows.
const MARK: &str = "__kept";

/// Whether a page that says this word could be taken for what is written around it here.
#[must_use]
pub fn is_ours(word: &[u8]) -> bool {
    GIVEN.contains(&word) || word.starts_with(MARK.as_bytes())
}

/// A chunk, and those of its functions that may be kept.
pub struct KeptFunctions<'s> {
    source: &'s [u8],
    functions: Vec<Function<'s>>,
}

/// A statement that makes a function outside any block.
struct Function<'s> {
    name: &'s [u8],
    is_local: bool,
    /// All of it, in bytes.
    at: Range<usize>,
    /// Where the word `function` is.
    word: usize,
}

impl<'s> KeptFunctions<'s> {
    /// The functions that are made by `function name`, `local function name` or `const function name` outside any block.
    #[must_use]
    pub fn of(source: &'s [u8]) -> KeptFunctions<'s> {
        let functions = match memmem::find(source, b"function") {
            Some(_) if source.len() <= LONGEST => find_functions(source).unwrap_or_default(),
            _ => Vec::new(),
        };
        KeptFunctions { source, functions }
    }

    /// The source of the chunk that keeps them in the table it has as `table`; nothing when there are none. Lines stay what
    /// they are.
    #[must_use]
    pub fn keep(&self, table: &str) -> Option<Vec<u8>> {
        let source = self.source;
        let mut kept = Vec::with_capacity(source.len() + 100 * self.functions.len());
        let mut copied = 0;
        for (number, function) in self.functions.iter().enumerate() {
            let Function { name, at, is_local, word } = function;
            let constant: &[u8] = if *is_local { b"const " } else { b"" };
            for piece in [
                &source[copied..at.start],
                constant,
                name,
                format!("={table}.f{number} or(function({MARK}{number})").as_bytes(),
                constant,
                &source[*word..at.end],
                format!(" {MARK}{number}.f{number}=").as_bytes(),
                name,
                b" return ",
                name,
                // What follows could take the last bracket for the beginning of a call, and a `;` needs a statement
                // before it.
                format!(" end)({table})do end").as_bytes(),
            ] {
                kept.extend_from_slice(piece);
            }
            copied = at.end;
        }
        kept.extend_from_slice(&source[copied..]);
        (!self.functions.is_empty()).then_some(kept)
    }

    /// Leaves out what the compiler refuses in what [`keep`](KeptFunctions::keep) gave. Whether there was something.
    pub fn drop_refused(&mut self, message: &[u8]) -> bool {
        self.retain(|_, function| !message.ends_with(&[b"const variable '", function.name, b"'"].concat()))
    }

    /// Leaves out what sees more of the page than functions that are kept, by the bytecode of what
    /// [`keep`](KeptFunctions::keep) gave. Whether there was something.
    pub fn drop_unproven(&mut self, dump: &[u8]) -> bool {
        let compiled = bytecode::functions(dump).unwrap_or_default();
        let mut visible = HashSet::from(GIVEN);
        self.retain(|number, function| {
            let mark = format!("{MARK}{number}");
            let mut made = compiled.iter().filter(|made| made.first_variable == mark.as_bytes());
            let proven = match (made.next(), made.next()) {
                (Some(made), None) => made.upvalues.iter().all(|name| visible.contains(name)),
                _ => false,
            };
            if proven && function.is_local {
                visible.insert(function.name);
            }
            proven
        })
    }

    fn retain(&mut self, mut keeps: impl FnMut(usize, &Function<'s>) -> bool) -> bool {
        let (before, mut number) = (self.functions.len(), 0);
        self.functions.retain(|function| {
            number += 1;
            keeps(number - 1, function)
        });
        self.functions.len() < before
    }
}

/// Nothing for a chunk that cannot be read, or that has a name which is [`REFUSED`].
fn find_functions(source: &[u8]) -> Option<Vec<Function<'_>>> {
    let mut tokens = Vec::new();
    for token in Lexer::new(source) {
        match token.lexeme {
            Lexeme::Space | Lexeme::LineComment | Lexeme::LongComment => {}
            Lexeme::StrayQuote | Lexeme::StrayBracket | Lexeme::TagEnd => return None,
            Lexeme::Word if REFUSED.contains(&&source[token.range.clone()]) => return None,
            _ => tokens.push(token),
        }
    }
    let text = |token: usize| tokens.get(token).map_or(&b""[..], |token: &Token| &source[token.range.clone()]);
    let is_name = |token: usize| {
        tokens.get(token).is_some_and(|token| token.lexeme == Lexeme::Word) && !text(token)[0].is_ascii_digit()
    };
    let (mut functions, mut depth, mut open) = (Vec::new(), 0_u32, None);
    for token in 0..tokens.len() {
        match text(token) {
            b"function" => {
                if depth == 0 && is_name(token + 1) && text(token + 2) == b"(" {
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
                    let is_local = first > 0 && matches!(text(first - 1), b"local" | b"const");
                    let word = tokens[first].range.start;
                    let start = if is_local { tokens[first - 1].range.start } else { word };
                    let at = start..tokens[token].range.end;
                    functions.push(Function { name: text(first + 1), is_local, at, word });
                }
            }
            _ => {}
        }
    }
    (depth == 0).then_some(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a source whose functions are kept in `T`, or the source itself.
    fn kept(source: &str) -> String {
        let kept = KeptFunctions::of(source.as_bytes()).keep("T");
        kept.map_or_else(|| source.into(), |kept| String::from_utf8(kept).unwrap())
    }

    #[test]
    fn a_function_outside_any_block_is_made_where_the_table_has_none() {
        for (source, expected) in [
            ("", ""),
            ("f() g = 1", "f() g = 1"),
            (
                "local function f() return 1 end",
                "const f=T.f0 or(function(__kept0)const function f() return 1 end __kept0.f0=f return f end)(T)do end",
            ),
            (
                "a()\nfunction\nf(b)\nend;c() const  function g() return g, f end d()",
                "a()\nf=T.f0 or(function(__kept0)function\nf(b)\nend __kept0.f0=f return f end)(T)do end;c() \
                 const g=T.f1 or(function(__kept1)const function g() return g, f end __kept1.f1=g return g end)(T)do end d()",
            ),
            ("if a then local function f() end end do function g() end end", ""),
            ("local h = function() local function i() end end function f.g() end function f:g() end", ""),
        ] {
            assert_eq!(kept(source), if expected.is_empty() { source } else { expected }, "{source}");
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
            "::a:: function f() end goto a",
        ] {
            assert_eq!(kept(source), source);
        }
        let long = format!("function f() end --{}", "a".repeat(LONGEST));
        assert_eq!(kept(&long), long);
    }

    #[test]
    fn what_the_compiler_refuses_and_what_no_bytecode_proves_is_left_out() {
        let mut functions = KeptFunctions::of(b"local function f() end local function g() end");
        assert!(!functions.drop_refused(b"page:1: unexpected symbol near 'f'"));
        assert!(functions.drop_refused(b"page:1: attempt to assign to const variable 'f'"));
        assert_eq!(functions.functions.len(), 1);
        assert!(functions.drop_unproven(b"no bytecode"));
        assert_eq!(functions.keep("T"), None);
    }
}
