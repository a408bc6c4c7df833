//! What `plua check` warns of: the table of its warnings, and where each is switched off.

use clap::ValueEnum;

/// A kind of warning. Its name is what a line, `plua.toml` and the option `--ignore` switch off; its words are those of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// A local variable or function is never read
    Unused,
    /// A global is set that only one file uses, after setting it: a local would do
    Global,
    /// A function is called that neither Lua, mod_plua nor the files checked have
    Unknown,
    /// What the visitor sent is put out without escaping, so he can send HTML
    Unescaped,
    /// A variable has the name of a page function and hides it
    Shadows,
    /// Nothing behind exit(), error() or return is ever run or put out
    Unreachable,
    /// A file that is included is not there
    MissingFile,
}

impl Kind {
    /// Its name, and what it means.
    pub(crate) fn words(self) -> (String, String) {
        let value = self.to_possible_value().unwrap_or_default();
        (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default())
    }

    /// That of a name.
    pub(crate) fn of(name: &str) -> Option<Kind> {
        Kind::from_str(name, false).ok()
    }
}

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Warning {
    /// Line, from 1.
    pub line: u32,
    pub kind: Kind,
    /// One sentence, without the place.
    pub message: String,
}

/// What a line says that is to be switched off in it: `plua: ignore unused, global`, or all kinds without a name.
pub(crate) fn is_ignored(line: &[u8], kind: Kind) -> bool {
    let line = String::from_utf8_lossy(line);
    let Some((_, rest)) = line.split_once("plua: ignore") else { return false };
    let mut names = rest
        .split(|character: char| character == ',' || character.is_whitespace())
        .filter(|word| !word.is_empty())
        .map_while(Kind::of)
        .peekable();
    names.peek().is_none() || names.any(|name| name == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_switches_off_what_it_names() {
        for (line, expected) in [
            ("local x = 1", false),
            ("local x = 1 -- plua: ignore", true),
            ("local x = 1 -- plua: ignore unused", true),
            ("<?= x -- plua: ignore unescaped, unused ?>", true),
            ("local x = 1 -- plua: ignore global", false),
            ("local x = 1 -- plua: ignore global for the header, unused", false),
        ] {
            assert_eq!(is_ignored(line.as_bytes(), Kind::Unused), expected, "{line}");
        }
    }
}
