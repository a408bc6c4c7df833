//! Directives on the command line: `-d pLuaTimeout=5` and `-d 'pLuaTimeout 5'` are the line `pLuaTimeout 5` of httpd's
//! configuration.

use std::sync::Arc;

use plua::settings::{DIRECTIVES, Settings};

/// The directives of one command.
#[derive(clap::Args)]
pub(crate) struct Directives {
    /// A directive as in httpd's configuration, such as pLuaTimeout=5 or 'pLuaRaw .lua'; may be repeated.
    #[arg(short = 'd', long = "directive", value_name = "DIRECTIVE", value_parser = parse)]
    given: Vec<Settings>,
}

impl Directives {
    /// What they come to, a later one overriding an earlier.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.over(&Settings::default())
    }

    /// The same where `outer` holds for what is not given.
    pub(crate) fn over(&self, outer: &Settings) -> Arc<Settings> {
        Arc::new(self.given.iter().fold(outer.clone(), |settings, given| settings.followed(given)))
    }
}

/// The settings of one directive of ours.
pub(crate) fn parse(text: &str) -> Result<Settings, String> {
    let (name, values) = split(text)?;
    let directive = DIRECTIVES
        .iter()
        .find(|directive| directive.name.to_bytes().eq_ignore_ascii_case(name.as_bytes()))
        .ok_or_else(|| format!("there is no directive {name}"))?;
    let values = words(values);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut settings = Settings::default();
    directive.set(&mut settings, &values).map(|()| settings)
}

/// One directive as httpd's line. One of ours is looked at first, others are for httpd to judge.
pub(crate) fn line(text: &str) -> Result<String, String> {
    let (name, values) = split(text)?;
    if text.contains(['\n', '\r', '\0']) || text.ends_with('\\') {
        return Err("a directive is one line".into());
    }
    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("pLua")) {
        parse(text)?;
    }
    Ok(format!("{name} {values}"))
}

/// A directive's name and its values.
fn split(text: &str) -> Result<(&str, &str), String> {
    let text = text.trim();
    let end = text.find(|character: char| character == '=' || character.is_whitespace());
    match end.map(|end| text.split_at(end)) {
        Some((name, values)) if !name.is_empty() => Ok((name, values[1..].trim())),
        _ => Err("write NAME=VALUE, or 'NAME VALUE'".into()),
    }
}

/// Values as httpd tells them apart: by spaces, unless they are in quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start().chars().peekable());
    while let Some(first) = rest.next() {
        let quote = matches!(first, '"' | '\'').then_some(first);
        let mut word = if quote.is_some() { String::new() } else { first.to_string() };
        while let Some(next) = rest.next() {
            match quote {
                Some(quote) if next == quote => break,
                Some(quote) if next == '\\' && rest.peek().is_some_and(|next| *next == quote || *next == '\\') => {
                    word.extend(rest.next());
                }
                None if next.is_whitespace() => break,
                _ => word.push(next),
            }
        }
        words.push(word);
        while rest.next_if(|next| next.is_whitespace()).is_some() {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_as_httpd_does() {
        for (text, expected) in [
            ("", &[][..]),
            (" a  b ", &["a", "b"]),
            ("\"a b\" 'c d'e", &["a b", "c d", "e"]),
            (r#""a \" \\ \n" b"#, &[r#"a " \ \n"#, "b"]),
            ("\"\" 'x", &["", "x"]),
            ("a\"b c\"", &["a\"b", "c\""]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_the_same_with_a_space_and_with_an_equals_sign() {
        for (text, expected) in [
            ("pLuaTimeout=5", Ok("pLuaTimeout 5")),
            ("pLuaTimeout 5", Ok("pLuaTimeout 5")),
            (" pluaglobals   request ", Ok("pluaglobals request")),
            ("pLuaInit /a=b", Ok("pLuaInit /a=b")),
            ("DirectoryIndex index.lp index.html", Ok("DirectoryIndex index.lp index.html")),
            ("pLuaTimeout", Err("write NAME=VALUE, or 'NAME VALUE'")),
            ("=5", Err("write NAME=VALUE, or 'NAME VALUE'")),
            ("pLuaTimeout x", Err("'x' is not a number of seconds")),
            ("pLuaTimeOff 5", Err("there is no directive pLuaTimeOff")),
            ("Header set X y\nHeader set Y z", Err("a directive is one line")),
            ("Header set X \\", Err("a directive is one line")),
        ] {
            assert_eq!(line(text), expected.map(str::to_string).map_err(str::to_string), "{text}");
        }
    }
}
