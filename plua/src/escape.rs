//! Text made safe in HTML: for Rust, and as C functions for compiled Lua code.
//!
//! `unsafe` here because LuaJIT's compiled code calls C functions through `ffi` without leaving itself, and hands over
//! addresses and lengths: escaping so into the output's own memory costs no string and no end of a trace.
#![allow(unsafe_code)]

use std::slice;

/// What stands for a byte that means something in HTML or ends a quoted attribute; empty for all others.
const ENTITIES: [&[u8]; 256] = {
    let mut entities: [&[u8]; 256] = [&[]; 256];
    entities[b'&' as usize] = b"&amp;";
    entities[b'<' as usize] = b"&lt;";
    entities[b'>' as usize] = b"&gt;";
    entities[b'"' as usize] = b"&quot;";
    entities[b'\'' as usize] = b"&#x27;";
    entities
};

/// Bytes that each byte becomes.
const SIZES: [u8; 256] = {
    let mut sizes = [1; 256];
    let mut byte = 0;
    while byte < 256 {
        if !ENTITIES[byte].is_empty() {
            sizes[byte] = ENTITIES[byte].len() as u8;
        }
        byte += 1;
    }
    sizes
};

/// Text safe in HTML and in quoted attributes. All other bytes stay, also those that are no UTF-8.
#[must_use]
pub fn escape_html(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(escaped_size(text));
    pieces(text).for_each(|piece| escaped.extend_from_slice(piece));
    escaped
}

fn escaped_size(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(SIZES[usize::from(*byte)])).sum()
}

/// The escaped text: what stays as it is, and what stands for the bytes between.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        let entity = ENTITIES[usize::from(*first)];
        if !entity.is_empty() {
            rest = after;
            return Some(entity);
        }
        let plain = rest.iter().position(|byte| SIZES[usize::from(*byte)] > 1).unwrap_or(rest.len());
        let piece = &rest[..plain];
        rest = &rest[plain..];
        Some(piece)
    })
}

/// The size of a text when it is escaped, as a Lua number; that of the text itself if nothing in it needs to be.
///
/// # Safety
/// `length` bytes are at `text`, which is not null.
pub unsafe extern "C" fn escaped_html_size(text: *const u8, length: usize) -> f64 {
    // SAFETY: the caller's promise.
    escaped_size(unsafe { slice::from_raw_parts(text, length) }) as f64
}

/// Writes a text escaped.
///
/// # Safety
/// `length` bytes are at `text`, which is not null, and at `into` there is room elsewhere for as many as
/// [`escaped_html_size`] says of them.
pub unsafe extern "C" fn write_escaped_html(text: *const u8, length: usize, mut into: *mut u8) {
    // SAFETY: the caller's promise; the pieces together have the size that was told.
    unsafe {
        for piece in pieces(slice::from_raw_parts(text, length)) {
            into.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
            into = into.add(piece.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_special_in_html_is_escaped_and_other_bytes_stay() {
        assert_eq!(
            escape_html(b"<a b=\"c\" d='e'>&\xff\0</a>"),
            b"&lt;a b=&quot;c&quot; d=&#x27;e&#x27;&gt;&amp;\xff\0&lt;/a&gt;"
        );
    }

    #[test]
    fn the_size_that_is_told_is_that_of_what_is_written() {
        for text in ["", "plain", "'", "<<a>>&&", "a\"b\"c", "&amp;"] {
            let escaped = escape_html(text.as_bytes());
            assert_eq!(escaped_size(text.as_bytes()), escaped.len(), "{text}");
            let mut written = vec![0; escaped.len()];
            // SAFETY: the text is there with its length, and the room is as large as the size says.
            unsafe { write_escaped_html(text.as_ptr(), text.len(), written.as_mut_ptr()) };
            assert_eq!(written, escaped, "{text}");
        }
    }
}
