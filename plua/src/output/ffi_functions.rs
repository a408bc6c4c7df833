//! Functions in C's way that compiled Lua code calls through LuaJIT's `ffi`: what it writes into the output with, and sorts
//! numbers with. And the memory that such code hands over.
//!
//! `unsafe` here because such a call hands over addresses and lengths. It costs no string, and does not end a trace.
//! Thousands of these calls make a page, so what is short is copied here by a few moves, and what is long by a function
//! that is called last: then the registers of the caller need not be saved.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::ptr::NonNull;
use std::slice;

use lexical_core::FormattedSize;
use mlua::Value;

use crate::output::escape::{LONGEST_ENTITY, write_escaped};

/// The memory of a buffer, as buffer.lua declares it.
#[repr(C)]
pub struct Area {
    /// Where it begins.
    bytes: *mut u8,
    /// Bytes written there.
    at: u32,
    /// Bytes that may be, `at` included.
    room: u32,
    /// How often the memory may have moved. That is Lua's business alone.
    turn: u32,
    /// Whether the page has changed more than these, or what is written in the memory.
    pub needs_reset: u32,
    /// Number of the page.
    page: u32,
    /// Whether it is made of several files.
    composes: u32,
    /// Whether what is left to do at its end may wait.
    pub may_wait: u32,
}

impl Area {
    /// The area at the address that buffer.lua tells, if it has one.
    #[must_use]
    pub fn at(address: Option<f64>) -> Option<NonNull<Area>> {
        NonNull::new(address? as usize as *mut Area)
    }

    /// Makes ready for the page of that number what need not be reset, as `run` of prelude.lua does.
    pub fn begin(&mut self, page: u32) {
        (self.at, self.page, self.composes, self.may_wait) = (0, page, 0, 0);
    }

    /// What is written there.
    ///
    /// # Safety
    /// The area is a buffer's, and its memory stays where it is while the result is in use.
    #[must_use]
    pub unsafe fn written(&self) -> &[u8] {
        if self.at == 0 {
            return &[];
        }
        // SAFETY: so many bytes are written where it begins, and the caller's promise.
        unsafe { slice::from_raw_parts(self.bytes, self.at as usize) }
    }

    /// Where the next byte goes, if there is room for so many.
    #[inline(always)]
    fn place(&self, length: usize) -> Option<*mut u8> {
        // No text is so long that the sum could be too large.
        let has_room = self.at as usize + length <= self.room as usize;
        // SAFETY: Lua made the area of memory that has this room, and `at` lies in it.
        has_room.then(|| unsafe { self.bytes.add(self.at as usize) })
    }
}

/// Texts up to this length are copied in place.
const SHORT: usize = 32;

/// Copies what is no longer than [`SHORT`].
///
/// # Safety
/// `length` bytes are at `text`, and at `to` there is room for them elsewhere.
#[inline(always)]
unsafe fn copy_short(text: *const u8, length: usize, to: *mut u8) {
    // SAFETY: the caller's promise, and two halves that overlap are the whole.
    unsafe {
        match length {
            8..=16 => copy_ends::<u64>(text, length, to),
            17.. => copy_ends::<u128>(text, length, to),
            4.. => copy_ends::<u32>(text, length, to),
            2.. => copy_ends::<u16>(text, length, to),
            1 => copy_ends::<u8>(text, length, to),
            0 => {}
        }
    }
}

/// Copies the first bytes and the last, as many as `T` has.
///
/// # Safety
/// As for [`copy_short`], and the text is not shorter than a `T`.
#[inline(always)]
unsafe fn copy_ends<T>(text: *const u8, length: usize, to: *mut u8) {
    let last = length - size_of::<T>();
    // SAFETY: the caller's promise.
    unsafe {
        let (first_bytes, last_bytes) =
            (text.cast::<T>().read_unaligned(), text.add(last).cast::<T>().read_unaligned());
        to.cast::<T>().write_unaligned(first_bytes);
        to.add(last).cast::<T>().write_unaligned(last_bytes);
    }
}

/// Copies a text to `to` and counts what is written up to its end.
///
/// # Safety
/// `to` lies in the area, with room for the text, and what is before it is written.
#[inline(always)]
unsafe fn end_with(area: &mut Area, to: *mut u8, text: *const u8, length: usize) -> i32 {
    if length > SHORT {
        // SAFETY: the caller's promise.
        return unsafe { end_with_long(area, to, text, length) };
    }
    // SAFETY: the caller's promise.
    unsafe { copy_short(text, length, to) };
    area.at = (to.addr() + length - area.bytes.addr()) as u32;
    1
}

/// # Safety
/// As for [`end_with`].
#[inline(never)]
unsafe fn end_with_long(area: &mut Area, to: *mut u8, text: *const u8, length: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { to.copy_from_nonoverlapping(text, length) };
    area.at = (to.addr() + length - area.bytes.addr()) as u32;
    1
}

/// Writes a text and the one that follows it. 1, or 0 where there is no room.
///
/// # Safety
/// The area is a buffer's; so many bytes are at `text` and at `following`, neither is null nor in the area.
pub unsafe extern "C" fn write_texts(
    area: &mut Area,
    text: *const u8,
    length: usize,
    following: *const u8,
    following_length: usize,
) -> i32 {
    let Some(place) = area.place(length + following_length) else { return 0 };
    if length > SHORT {
        // SAFETY: the caller's promise, and there is room.
        return unsafe { write_long_text(area, text, length, following, following_length) };
    }
    // SAFETY: the caller's promise, and there is room.
    unsafe {
        copy_short(text, length, place);
        end_with(area, place.add(length), following, following_length)
    }
}

/// # Safety
/// As for [`write_texts`], and there is room.
#[inline(never)]
unsafe extern "C" fn write_long_text(
    area: &mut Area,
    text: *const u8,
    length: usize,
    following: *const u8,
    following_length: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let place = area.bytes.add(area.at as usize);
        place.copy_from_nonoverlapping(text, length);
        end_with(area, place.add(length), following, following_length)
    }
}

/// Writes a whole number in decimal digits and the text that follows it. 1, or 0 where there is no room, and for a zero
/// that is negative. `number` is the same number.
///
/// # Safety
/// The area is a buffer's; so many bytes are at `following`, which is not null nor in the area.
pub unsafe extern "C" fn write_number(
    area: &mut Area,
    whole: i32,
    number: f64,
    following: *const u8,
    following_length: usize,
) -> i32 {
    let Some(mut place) = area.place(i32::FORMATTED_SIZE_DECIMAL + following_length) else { return 0 };
    if whole <= 0 {
        if whole < 0 {
            // SAFETY: there is room for the least number.
            unsafe {
                *place = b'-';
                place = place.add(1);
            }
        } else if number.is_sign_negative() {
            return 0;
        }
    }
    // SAFETY: there is room for the least number, of which no more than the sign is written. The memory is LuaJIT's,
    // which says nothing of what is in it.
    let digits = unsafe { slice::from_raw_parts_mut(place, u32::FORMATTED_SIZE_DECIMAL) };
    let length = lexical_core::write(whole.unsigned_abs(), digits).len();
    // SAFETY: the caller's promise, and there is room behind the digits.
    unsafe { end_with(area, place.add(length), following, following_length) }
}

/// Writes a text escaped for HTML, and the one that follows it as it is. 1, or 0 where there is no room for the longest
/// that the first may become.
///
/// # Safety
/// As for [`write_texts`].
pub unsafe extern "C" fn write_escaped_html(
    area: &mut Area,
    text: *const u8,
    length: usize,
    following: *const u8,
    following_length: usize,
) -> i32 {
    let Some(next) = area.place(LONGEST_ENTITY * length + following_length) else { return 0 };
    let mut place = Place { next };
    // SAFETY: the caller's promise.
    let text = unsafe { slice::from_raw_parts(text, length) };
    // A place takes all that is written.
    let _ = write_escaped(text, &mut place);
    // SAFETY: the caller's promise, and there is room behind the longest that was written.
    unsafe { end_with(area, place.next, following, following_length) }
}

/// Memory to write to, one piece after the other.
struct Place {
    next: *mut u8,
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: whoever makes a place vouches for room for all that is written to it, away from what is read.
        unsafe {
            match bytes.len() {
                length @ 0..=SHORT => copy_short(bytes.as_ptr(), length, self.next),
                length => self.next.copy_from_nonoverlapping(bytes.as_ptr(), length),
            }
            self.next = self.next.add(bytes.len());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorts numbers, the least first: -0 before 0, NaN at either end. Its time is never quadratic.
///
/// # Safety
/// `length` numbers are at `numbers`, which is not null, and nothing else reads or writes them meanwhile.
pub unsafe extern "C" fn sort_doubles(numbers: *mut f64, length: usize) {
    // SAFETY: the caller's promise.
    let numbers = unsafe { slice::from_raw_parts_mut(numbers, length) };
    numbers.sort_unstable_by(f64::total_cmp);
}

/// Calls `use_bytes` with the contents a state's `contents(buffer)` returned: address and length, or a string.
///
/// # Errors
/// A message when the values are neither.
pub fn with_contents<R>(contents: &[Value; 2], use_bytes: impl FnOnce(&[u8]) -> R) -> Result<R, String> {
    match contents {
        [Value::String(string), _] => Ok(use_bytes(&string.as_bytes())),
        [address, length] => {
            let (Some(address), Some(length)) = (whole(address), whole(length)) else {
                return Err("the output is neither a buffer nor a string".into());
            };
            if length == 0 {
                return Ok(use_bytes(&[]));
            }
            // SAFETY: prelude.lua passes what buffer:ref() gave, and that memory stays until the buffer is next
            // used: `use_bytes` cannot reach the state, and no other thread runs it.
            Ok(use_bytes(unsafe { slice::from_raw_parts(address as *const u8, length) }))
        }
    }
}

fn whole(number: &Value) -> Option<usize> {
    match number {
        Value::Integer(integer) => usize::try_from(*integer).ok(),
        Value::Number(number) => Some(*number as usize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An area that ends where its memory ends, with a byte written.
    struct Memory {
        bytes: Box<[u8]>,
        area: Area,
    }

    impl Memory {
        fn new(room: usize) -> Memory {
            let mut bytes = vec![b'.'; room + 1].into_boxed_slice();
            let area = Area {
                bytes: bytes.as_mut_ptr(),
                at: 1,
                room: room as u32 + 1,
                turn: 0,
                needs_reset: 0,
                page: 0,
                composes: 0,
                may_wait: 0,
            };
            Memory { bytes, area }
        }

        fn written(&self) -> &[u8] {
            &self.bytes[1..self.area.at as usize]
        }
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| b'a' + (i % 23) as u8).collect()
    }

    #[test]
    fn texts_of_every_length_are_written_one_behind_the_other_where_there_is_room() {
        for first in (0..70).chain([1000]) {
            for second in (0..70).chain([1000]) {
                let (first, second) = (text(first), text(second));
                let wanted = [first.as_slice(), second.as_slice()].concat();
                for spare in [0, 7] {
                    let mut memory = Memory::new(wanted.len() + spare);
                    // SAFETY: texts and memory are there with their lengths.
                    let fits = unsafe {
                        write_texts(&mut memory.area, first.as_ptr(), first.len(), second.as_ptr(), second.len())
                    };
                    assert_eq!((fits, memory.written()), (1, wanted.as_slice()));
                }
                if let Some(room) = wanted.len().checked_sub(1) {
                    let mut memory = Memory::new(room);
                    // SAFETY: as above.
                    let fits = unsafe {
                        write_texts(&mut memory.area, first.as_ptr(), first.len(), second.as_ptr(), second.len())
                    };
                    assert_eq!((fits, memory.area.at), (0, 1));
                    assert!(memory.bytes.iter().all(|byte| *byte == b'.'));
                }
            }
        }
    }

    #[test]
    fn whole_numbers_are_written_in_decimal_digits_before_what_follows() {
        let mut numbers = vec![0, 7, -1, -10, 65_536, i32::MAX, i32::MIN];
        numbers.extend((0..10).flat_map(|power| {
            let power = 10_i32.pow(power);
            [power - 1, power, -power, power.saturating_mul(3)]
        }));
        for number in numbers {
            for length in [0, 5, 11, 33] {
                let following = text(length);
                let mut memory = Memory::new(i32::FORMATTED_SIZE_DECIMAL + length);
                // SAFETY: text and memory are there with their lengths.
                let fits = unsafe {
                    write_number(&mut memory.area, number, f64::from(number), following.as_ptr(), following.len())
                };
                let wanted = [number.to_string().as_bytes(), &following].concat();
                assert_eq!((fits, memory.written()), (1, wanted.as_slice()));
                let mut memory = Memory::new(i32::FORMATTED_SIZE_DECIMAL + length - 1);
                // SAFETY: as above.
                let fits = unsafe {
                    write_number(&mut memory.area, number, f64::from(number), following.as_ptr(), following.len())
                };
                assert_eq!((fits, memory.area.at), (0, 1));
            }
        }
    }

    #[test]
    fn a_negative_zero_is_left_to_lua() {
        let mut memory = Memory::new(100);
        // SAFETY: the memory is there, and there is no text.
        let fits = unsafe { write_number(&mut memory.area, 0, -0.0, b"".as_ptr(), 0) };
        assert_eq!((fits, memory.area.at), (0, 1));
    }

    #[test]
    fn a_text_is_written_as_it_is_escaped_and_the_next_as_it_is() {
        for text in ["", "plain", "'", "<<a>>&&", "a\"b\"c", "&amp;", "\u{e4}<"] {
            let room = LONGEST_ENTITY * text.len() + 3;
            let mut memory = Memory::new(room);
            // SAFETY: texts and memory are there with their lengths.
            let fits = unsafe { write_escaped_html(&mut memory.area, text.as_ptr(), text.len(), b"<i>".as_ptr(), 3) };
            let mut wanted = Vec::new();
            write_escaped(text.as_bytes(), &mut wanted).unwrap();
            wanted.extend(b"<i>");
            assert_eq!((fits, memory.written()), (1, wanted.as_slice()), "{text}");
            let mut memory = Memory::new(room - 1);
            // SAFETY: as above.
            let fits = unsafe { write_escaped_html(&mut memory.area, text.as_ptr(), text.len(), b"<i>".as_ptr(), 3) };
            assert_eq!((fits, memory.area.at), (0, 1));
        }
    }

    #[test]
    fn numbers_are_sorted_the_least_first() {
        let mut numbers = [3.0, f64::INFINITY, -1.5, 0.0, 5e-324, f64::NEG_INFINITY, -5e-324, 1e300, 3.0];
        // SAFETY: the numbers are there with their length.
        unsafe { sort_doubles(numbers.as_mut_ptr(), numbers.len()) };
        assert_eq!(numbers, [f64::NEG_INFINITY, -1.5, -5e-324, 0.0, 5e-324, 3.0, 3.0, 1e300, f64::INFINITY]);
    }
}
