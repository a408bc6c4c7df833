//! Sorting of numbers that compiled Lua code hands over through LuaJIT's `ffi`.
//!
//! `unsafe` here because such a call hands over an address and a length. It does not end a trace.
#![allow(unsafe_code)]

use std::slice;

/// Sorts numbers, the least first: -0 before 0, NaN at either end. Its time is never quadratic.
///
/// # Safety
/// `length` numbers are at `numbers`, which is not null, and nothing else reads or writes them meanwhile.
pub unsafe extern "C" fn sort_doubles(numbers: *mut f64, length: usize) {
    // SAFETY: the caller's promise.
    let numbers = unsafe { slice::from_raw_parts_mut(numbers, length) };
    numbers.sort_unstable_by(f64::total_cmp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_the_least_first() {
        let mut numbers = [3.0, f64::INFINITY, -1.5, 0.0, 5e-324, f64::NEG_INFINITY, -5e-324, 1e300, 3.0];
        // SAFETY: the numbers are there with their length.
        unsafe { sort_doubles(numbers.as_mut_ptr(), numbers.len()) };
        assert_eq!(numbers, [f64::NEG_INFINITY, -1.5, -5e-324, 0.0, 5e-324, 3.0, 3.0, 1e300, f64::INFINITY]);
    }
}
