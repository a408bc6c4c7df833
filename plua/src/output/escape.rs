//! Text made safe in HTML.

use std::io::{self, Write};

/// What a byte may become, at most: `&quot;`.
pub const LONGEST_ENTITY: usize = 6;

/// Bytes that text takes when [`write_escaped`] has written it.
#[must_use]
pub fn escaped_length(text: &[u8]) -> usize {
    text.iter().map(|byte| entity(*byte).map_or(1, <[u8]>::len)).sum()
}

/// Writes text safe in HTML and in quoted attributes, where bytes that are no UTF-8 stay as they are: up to [`LONGEST_ENTITY`] times as much.
///
/// Not with `html_escape`, which wants UTF-8: looking for that took as long as the escaping of a form's short fields, and both
/// were a ninth of what such a page costs.
///
/// # Errors
/// What `into` says.
pub fn write_escaped(text: &[u8], into: &mut impl Write) -> io::Result<()> {
    let mut rest = text;
    // In UTF-8 none of these bytes is part of another character.
    while let Some((at, entity)) = rest.iter().enumerate().find_map(|(at, byte)| Some((at, entity(*byte)?))) {
        into.write_all(&rest[..at])?;
        into.write_all(entity)?;
        rest = &rest[at + 1..];
    }
    into.write_all(rest)
}

/// What stands for a byte that is special in HTML or in quoted attributes.
fn entity(byte: u8) -> Option<&'static [u8]> {
    Some(match byte {
        b'&' => b"&amp;",
        b'<' => b"&lt;",
        b'>' => b"&gt;",
        b'"' => b"&quot;",
        b'\'' => b"&#x27;",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape_html(text: &[u8]) -> Vec<u8> {
        let mut escaped = Vec::new();
        write_escaped(text, &mut escaped).unwrap();
        escaped
    }

    #[test]
    fn every_character_special_in_html_is_escaped_and_other_bytes_stay() {
        assert_eq!(
            escape_html(b"<a b=\"c\" d='e'>&\xff\0\xc3\xa4</a>"),
            b"&lt;a b=&quot;c&quot; d=&#x27;e&#x27;&gt;&amp;\xff\0\xc3\xa4&lt;/a&gt;"
        );
        let text = b"<&>\"'a\xff";
        assert_eq!(escape_html(text).len(), escaped_length(text));
    }

    #[test]
    fn no_byte_becomes_longer_than_is_told() {
        for byte in 0..=255 {
            assert!(escape_html(&[byte]).len() <= LONGEST_ENTITY, "{byte}");
        }
    }
}
