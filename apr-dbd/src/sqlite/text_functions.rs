//! SQL's `instr`, `replace` and `trim` for confined pages: SQLite's own take a time that grows with the square of long texts, and
//! no limit stops one call.
//!
//! What they answer is what SQLite's manual says of them (lang_corefunc.html).

use std::collections::HashSet;
use std::ffi::{c_char, c_int, c_void};
use std::slice;

use memchr::memmem;

use super::interface::Interface;

/// Kinds of values (`SQLITE_BLOB`, `SQLITE_NULL`).
const BLOB: c_int = 4;
const NULL: c_int = 5;

/// `SQLITE_UTF8`, `SQLITE_DETERMINISTIC` and `SQLITE_INNOCUOUS`: what SQLite's own are.
const FLAGS: c_int = 1 | 0x800 | 0x0020_0000;

/// Tells `result_text` to copy.
const COPY: isize = -1;

/// Puts them in the place of SQLite's in an open database.
pub(super) fn install(interface: &Interface, database: *mut c_void) {
    let functions: [(&[u8], c_int, unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_void)); 5] = [
        (b"instr\0", 2, instr),
        (b"replace\0", 3, replace),
        (b"trim\0", 2, trim::<true, true>),
        (b"ltrim\0", 2, trim::<true, false>),
        (b"rtrim\0", 2, trim::<false, true>),
    ];
    for (name, count, function) in functions {
        // SAFETY: the database is open, and the name ends with a NUL.
        unsafe {
            (interface.create_function_v2)(
                database,
                name.as_ptr().cast(),
                count,
                FLAGS,
                std::ptr::null_mut(),
                Some(function),
                None,
                None,
                None,
            );
        }
    }
}

/// The text of a value; none for NULL and where memory has run out.
///
/// # Safety
/// The value is that of a running call, and not asked for in another form while the text is in use.
unsafe fn text<'a>(interface: &Interface, value: *mut c_void) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise. The bytes are counted after they have become text.
    unsafe {
        let text = (interface.value_text)(value);
        let length = usize::try_from((interface.value_bytes)(value)).unwrap_or(0);
        (!text.is_null()).then(|| slice::from_raw_parts(text.cast(), length))
    }
}

/// As [`text`], of a blob; an empty one has no place in memory.
///
/// # Safety
/// As there.
unsafe fn blob<'a>(interface: &Interface, value: *mut c_void) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = (interface.value_blob)(value);
        let length = usize::try_from((interface.value_bytes)(value)).unwrap_or(0);
        if bytes.is_null() { &[] } else { slice::from_raw_parts(bytes.cast(), length) }
    }
}

/// Where the second argument begins in the first, from 1, in characters or, of two blobs, in bytes; 0 where it does not.
unsafe extern "C" fn instr(context: *mut c_void, _: c_int, values: *mut *mut c_void) {
    let Some(interface) = Interface::found() else { return };
    // SAFETY: SQLite calls it with two values.
    unsafe {
        let (whole, part) = (*values, *values.add(1));
        let kinds = ((interface.value_type)(whole), (interface.value_type)(part));
        if kinds.0 == NULL || kinds.1 == NULL {
            return;
        }
        let position = if kinds == (BLOB, BLOB) {
            memmem::find(blob(interface, whole), blob(interface, part)).map_or(0, |at| at + 1)
        } else {
            let (Some(whole), Some(part)) = (text(interface, whole), text(interface, part)) else { return };
            let starts = |bytes: &[u8]| bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
            memmem::find(whole, part).map_or(0, |at| starts(&whole[..at]) + 1)
        };
        (interface.result_int64)(context, position as i64);
    }
}

/// The first argument with each occurrence of the second replaced by the third.
unsafe extern "C" fn replace(context: *mut c_void, _: c_int, values: *mut *mut c_void) {
    let Some(interface) = Interface::found() else { return };
    // SAFETY: SQLite calls it with three values.
    unsafe {
        let (Some(whole), Some(part)) = (text(interface, *values), text(interface, *values.add(1))) else { return };
        if matches!(part.first(), None | Some(0)) {
            // A text, of a number too, as newer SQLites have it; 3.40 left that a number.
            return (interface.result_text)(context, whole.as_ptr().cast::<c_char>(), whole.len() as c_int, COPY);
        }
        let Some(new) = text(interface, *values.add(2)) else { return };
        let finder = memmem::Finder::new(part);
        let count = finder.find_iter(whole).count();
        let length = whole.len() - count * part.len() + count.saturating_mul(new.len());
        let most = (interface.limit)((interface.context_db_handle)(context), 0, -1);
        if usize::try_from(most).is_ok_and(|most| length > most) {
            return (interface.result_error_toobig)(context);
        }
        let mut replaced = Vec::with_capacity(length);
        let mut from = 0;
        for at in finder.find_iter(whole) {
            replaced.extend_from_slice(&whole[from..at]);
            replaced.extend_from_slice(new);
            from = at + part.len();
        }
        replaced.extend_from_slice(&whole[from..]);
        (interface.result_text)(context, replaced.as_ptr().cast::<c_char>(), replaced.len() as c_int, COPY);
    }
}

/// Bytes of a character at most.
const LONGEST: usize = 4;

/// The characters of a text: a byte, and those that go on with it.
fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let goes_on = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte & 0xC0 == 0x80).count();
        let length = if first >= 0xC0 { 1 + goes_on(&rest[1..]) } else { 1 };
        let (character, after) = rest.split_at(length);
        rest = after;
        Some(character)
    })
}

/// The first argument without those characters of the second that it begins or ends with.
unsafe extern "C" fn trim<const LEFT: bool, const RIGHT: bool>(
    context: *mut c_void,
    _: c_int,
    values: *mut *mut c_void,
) {
    let Some(interface) = Interface::found() else { return };
    // SAFETY: SQLite calls it with two values.
    unsafe {
        let (Some(mut left), Some(set)) = (text(interface, *values), text(interface, *values.add(1))) else { return };
        let (mut bytes, mut longer) = ([false; 256], HashSet::new());
        for character in characters(set) {
            match *character {
                [byte] => bytes[usize::from(byte)] = true,
                _ if character.len() <= LONGEST => _ = longer.insert(character),
                _ => {}
            }
        }
        let is_in = |part: &[u8]| match *part {
            [byte] => bytes[usize::from(byte)],
            _ => longer.contains(part),
        };
        let longest = if longer.is_empty() { 1 } else { LONGEST };
        let begins = |text: &[u8]| (1..=text.len().min(longest)).find(|length| is_in(&text[..*length]));
        let ends = |text: &[u8]| (1..=text.len().min(longest)).find(|length| is_in(&text[text.len() - length..]));
        while let Some(length) = LEFT.then(|| begins(left)).flatten() {
            left = &left[length..];
        }
        while let Some(length) = RIGHT.then(|| ends(left)).flatten() {
            left = &left[..left.len() - length];
        }
        (interface.result_text)(context, left.as_ptr().cast::<c_char>(), left.len() as c_int, COPY);
    }
}
