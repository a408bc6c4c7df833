//! What compiled Lua code writes into the output by C functions, called through LuaJIT's `ffi`.
//!
//! `unsafe` here because such a call hands over addresses and lengths. It costs no string, and does not end a trace.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::slice;

use lexical_core::FormattedSize;

use crate::escape::write_escaped;

/// Memory to write to, one piece after the other.
struct Place {
    next: *mut u8,
    written: usize,
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: whoever makes a place vouches for room for all that is written to it, away from what is read.
        unsafe {
            self.next.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.next = self.next.add(bytes.len());
        }
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a text escaped for HTML. The number of bytes written, as a Lua number.
///
/// # Safety
/// `length` bytes are at `text`, which is not null, and at `into` there is room elsewhere for
/// [`LONGEST_ENTITY`](crate::escape::LONGEST_ENTITY) times as many.
pub unsafe extern "C" fn write_escaped_html(text: *const u8, length: usize, into: *mut u8) -> f64 {
    let mut place = Place { next: into, written: 0 };
    // SAFETY: the caller's promise.
    let text = unsafe { slice::from_raw_parts(text, length) };
    // A place takes all that is written.
    let _ = write_escaped(text, &mut place);
    place.written as f64
}

/// Writes a whole number in decimal digits. The number of bytes written.
///
/// # Safety
/// At `into` there is room for the bytes of the least number, [`FormattedSize::FORMATTED_SIZE_DECIMAL`].
pub unsafe extern "C" fn write_integer(number: i32, into: *mut u8) -> i32 {
    // SAFETY: the caller's promise. The memory is LuaJIT's, which says nothing of what is in it.
    let place = unsafe { slice::from_raw_parts_mut(into, i32::FORMATTED_SIZE_DECIMAL) };
    lexical_core::write(number, place).len() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::{LONGEST_ENTITY, escape_html};

    #[test]
    fn a_text_is_written_as_it_is_escaped() {
        for text in ["", "plain", "'", "<<a>>&&", "a\"b\"c", "&amp;", "\u{e4}<"] {
            let mut written = vec![0; LONGEST_ENTITY * text.len()];
            // SAFETY: the text is there with its length, and so is the room.
            let length = unsafe { write_escaped_html(text.as_ptr(), text.len(), written.as_mut_ptr()) };
            assert_eq!(&written[..length as usize], escape_html(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_written_in_decimal_digits() {
        for number in [0, 7, -1, 10, 65_536, i32::MAX, i32::MIN] {
            let mut written = [0; i32::FORMATTED_SIZE_DECIMAL];
            // SAFETY: the room is as large as that of the least number.
            let length = unsafe { write_integer(number, written.as_mut_ptr()) };
            assert_eq!(written[..length as usize], *number.to_string().as_bytes());
        }
    }
}
