//! Where Lua source means something to one of the Luas that this program is built with, and not to the others.

use std::collections::HashSet;

use crate::language::lexer::{Lexeme, Lexer, is_word};

/// Something that is written in a file and not the same in all builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first line that has it, from 1.
    pub line: u32,
    /// What is written, as one would quote it.
    pub form: &'static str,
    /// Which of the builds take it, and what the others do.
    pub meaning: &'static str,
}

const LUAJIT: &str = "only LuaJIT compiles it, Lua 5.4 and 5.1 do not";
const LUA54: &str = "only Lua 5.4 compiles it, LuaJIT and Lua 5.1 do not";
const NOT_LUA51: &str = "Lua 5.1 does not compile it, LuaJIT and Lua 5.4 do";
const BITS: &str =
    "LuaJIT works on 32 bits, Lua 5.4 on 64, and Lua 5.1 does not compile it; bit.band and its kin are LuaJIT's";
const ESCAPE: &str = "Lua 5.1 leaves out the backslash only, LuaJIT and Lua 5.4 take it for an escape";
const NAME: &str = "only LuaJIT takes letters beyond ASCII in names, Lua 5.4 and 5.1 do not compile them";

/// Runs of symbols, each before those that it begins with.
const SYMBOLS: [(&str, &str); 36] = [
    ("::", NOT_LUA51),
    ("...", ""),
    ("..=", LUAJIT),
    ("..", ""),
    ("?.", LUAJIT),
    ("??", LUAJIT),
    ("?", LUAJIT),
    ("&&", LUAJIT),
    ("||", LUAJIT),
    ("!=", LUAJIT),
    ("!", LUAJIT),
    ("->", LUAJIT),
    ("~>>=", LUAJIT),
    ("~>>", LUAJIT),
    ("<<=", LUAJIT),
    (">>=", LUAJIT),
    ("+=", LUAJIT),
    ("-=", LUAJIT),
    ("*=", LUAJIT),
    ("//", LUA54),
    ("/=", LUAJIT),
    ("%=", LUAJIT),
    ("&=", LUAJIT),
    ("|=", LUAJIT),
    ("==", ""),
    ("~=", ""),
    ("<=", ""),
    (">=", ""),
    ("<<", BITS),
    (">>", BITS),
    ("&", BITS),
    ("|", BITS),
    ("~", BITS),
    ("<", ""),
    (">", ""),
    ("=", ""),
];

/// Words that are no names.
const KEYWORDS: [&[u8]; 22] = [
    b"and",
    b"break",
    b"do",
    b"else",
    b"elseif",
    b"end",
    b"false",
    b"for",
    b"function",
    b"goto",
    b"if",
    b"in",
    b"local",
    b"nil",
    b"not",
    b"or",
    b"repeat",
    b"return",
    b"then",
    b"true",
    b"until",
    b"while",
];

/// What is not the same in all builds, each form where it is first; in the order of their lines.
///
/// The forms are those that the three Luas are known to differ by. What one of them does not compile its own compiler
/// says best.
#[must_use]
pub fn differences(source: &[u8]) -> Vec<Difference> {
    let mut found = Found { forms: HashSet::new(), differences: Vec::new(), line: 1 };
    let tokens: Vec<_> = Lexer::new(source)
        .filter(|token| {
            !matches!(token.lexeme, Lexeme::LineComment | Lexeme::LongComment)
                || source[token.range.clone()].contains(&b'\n')
        })
        .collect();
    let text = |token: usize| tokens.get(token).map_or(&b""[..], |token| &source[token.range.clone()]);
    let is_gap = |token: usize| {
        tokens
            .get(token)
            .is_some_and(|token| matches!(token.lexeme, Lexeme::Space | Lexeme::LongComment | Lexeme::LineComment))
    };
    let beyond = |mut token: usize| {
        while is_gap(token) {
            token += 1;
        }
        token
    };
    let mut before: &[u8] = b"";
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let (this, next) = (text(at), beyond(at + 1));
        let mut length = 1;
        match token.lexeme {
            Lexeme::Word => found.word(this, before, text(next), text(beyond(next + 1))),
            Lexeme::Literal if this[0] != b'[' => found.escapes(this),
            Lexeme::Symbol => length = found.symbol(&source[token.range.start..]),
            _ => {}
        }
        found.line += this.iter().filter(|byte| **byte == b'\n').count() as u32;
        if !is_gap(at) {
            before = text(at + length - 1);
        }
        at += length;
    }
    found.differences
}

struct Found {
    forms: HashSet<&'static str>,
    differences: Vec<Difference>,
    line: u32,
}

impl Found {
    fn push(&mut self, form: &'static str, meaning: &'static str) {
        if self.forms.insert(form) {
            self.differences.push(Difference { line: self.line, form, meaning });
        }
    }

    /// The number of bytes of the symbol that `source` begins with.
    fn symbol(&mut self, source: &[u8]) -> usize {
        match SYMBOLS.iter().find(|(form, _)| source.starts_with(form.as_bytes())) {
            None => 1,
            Some((form, "")) => form.len(),
            Some((form, meaning)) => {
                self.push(form, meaning);
                form.len()
            }
        }
    }

    fn word(&mut self, word: &[u8], before: &[u8], next: &[u8], second: &[u8]) {
        let is_name = |word: &[u8]| {
            word.first().is_some_and(|first| is_word(*first) && !first.is_ascii_digit()) && !KEYWORDS.contains(&word)
        };
        // A word in an expression is a variable.
        let may_begin = match before {
            [] | [.., b')' | b']' | b'}' | b'"' | b'\'' | b';'] => true,
            b"and" | b"elseif" | b"for" | b"function" | b"goto" | b"if" | b"in" | b"local" | b"not" | b"or"
            | b"return" | b"until" | b"while" => false,
            [first, ..] => is_word(*first),
        };
        match word {
            b"goto" if is_name(next) => self.push("goto", NOT_LUA51),
            b"const" if may_begin && (next == b"function" || is_name(next)) => self.push("const", LUAJIT),
            b"continue" if may_begin && matches!(next, b"" | b"else" | b"elseif" | b"end" | b"until") => {
                self.push("continue", LUAJIT);
            }
            b"local" if second == b"<" => self.push("<const> and <close>", LUA54),
            [b'0'..=b'9', ..] => self.number(word),
            _ if word.iter().any(|byte| *byte >= 0x80) => self.push("letters beyond ASCII in a name", NAME),
            _ => {}
        }
    }

    fn number(&mut self, number: &[u8]) {
        let is_hexadecimal = number.len() > 1 && number[1] | 0x20 == b'x';
        let ends = |ending: u8| number.last().is_some_and(|last| last | 0x20 == ending);
        if number.contains(&b'_') {
            self.push("_ in a number", LUAJIT);
        }
        if number.len() > 2 && number[..2].eq_ignore_ascii_case(b"0b") {
            self.push("0b", LUAJIT);
        }
        if ends(b'l') {
            self.push("LL and ULL", LUAJIT);
        }
        if ends(b'i') && !is_hexadecimal {
            self.push("an imaginary number", LUAJIT);
        }
    }

    fn escapes(&mut self, text: &[u8]) {
        let mut rest = text;
        while let [first, after @ ..] = rest {
            rest = after;
            if *first == b'\\' {
                match after.first() {
                    Some(b'x') => self.push("\\x", ESCAPE),
                    Some(b'u') => self.push("\\u", ESCAPE),
                    Some(b'z') => self.push("\\z", ESCAPE),
                    _ => {}
                }
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(source: &str) -> Vec<&'static str> {
        differences(source.as_bytes()).into_iter().map(|difference| difference.form).collect()
    }

    #[test]
    fn what_all_builds_take_is_no_difference() {
        for source in [
            "",
            "local a, b = ... do f(a) end -- ?. ?? && ||",
            "x = a .. b .. '?.' .. [[!= &&]] --[[ -> ]]",
            "x = a == b, a ~= b, a <= b, a >= b, a < b, a > b, #t, -1, a - b",
            "const = 1 f(const) continue = const x = continue",
            "local const, continue = 1, 2 local x = a < b",
            "t = { const = 1, continue = 2 } t.continue() goto = 1",
            "return function(...) return ... end",
            "x = 0xFFi, 1e5, 0x1F, 3.5, .5 y = '\\n\\\\x\\'\\065'",
        ] {
            assert_eq!(forms(source), [""; 0], "{source}");
        }
    }

    #[test]
    fn each_form_is_told_once_where_it_is_first() {
        for (source, expected) in [
            ("x = a ? b : c", &["?"][..]),
            ("x = a?.b ?? c", &["?.", "??"]),
            ("x = !a && b || c != d", &["!", "&&", "||", "!="]),
            ("f = x -> x g = |x| -> x", &["->", "|"]),
            ("x += 1 x -= 1 x *= 1 x /= 1 x %= 1 x ..= 1", &["+=", "-=", "*=", "/=", "%=", "..="]),
            ("x &= 1 x |= 1 x <<= 1 x >>= 1 x ~>>= 1", &["&=", "|=", "<<=", ">>=", "~>>="]),
            ("x = 1 & 2 | 3 ~ 4 << 5 >> 6 ~>> 7", &["&", "|", "~", "<<", ">>", "~>>"]),
            ("x = 7 // 2", &["//"]),
            ("const x = 1 const function f() end", &["const"]),
            ("if a then continue end", &["continue"]),
            ("x = 'a' continue", &["continue"]),
            ("local x <const> = 1", &["<const> and <close>"]),
            ("goto a ::a::", &["goto", "::"]),
            ("x = 1_000, 0b11, 1LL, 2ull, 3i", &["_ in a number", "0b", "LL and ULL", "an imaginary number"]),
            ("x = '\\x41\\u{41}\\z  '", &["\\x", "\\u", "\\z"]),
            ("gr\u{f6}\u{df}e = 1", &["letters beyond ASCII in a name"]),
        ] {
            assert_eq!(forms(source), expected, "{source}");
        }
        let found = differences(b"--[[\n\n]] x = a\n?? b -- c\ny = [[\n]] && c ?? d");
        assert_eq!(found.iter().map(|found| (found.line, found.form)).collect::<Vec<_>>(), [(4, "??"), (6, "&&")]);
    }
}
