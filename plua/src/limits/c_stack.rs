//! How much of its C stack a thread has used.
//!
//! LuaJIT bounds the Lua stack of each coroutine but not the C stack under them: a page that nested string.gsub with a
//! callback, or coroutines, deep enough ended the process.
//!
//! `unsafe` here because only the C library knows a thread's stack.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem;
use std::ptr;

thread_local! {
    /// Lowest address of this thread's stack, and its bytes; 0 until they are known.
    static STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The stack of this thread: lowest address and size in bytes; none where the system does not tell.
fn bounds() -> Option<(usize, usize)> {
    if STACK.get().1 == 0 {
        let (mut lowest, mut size) = (ptr::null_mut(), 0);
        // SAFETY: the attributes are filled in before they are read, and destroyed once.
        unsafe {
            let mut attributes: libc::pthread_attr_t = mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
                return None;
            }
            libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size);
            libc::pthread_attr_destroy(&raw mut attributes);
        }
        STACK.set((lowest as usize, size));
    }
    Some(STACK.get()).filter(|(_, size)| *size > 0)
}

/// Whether less than half of this thread's stack is left.
#[must_use]
pub fn is_half_used() -> bool {
    let here = 0u8;
    bounds().is_some_and(|(lowest, size)| (&raw const here as usize).saturating_sub(lowest) < size / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls within each other until half of the stack is used.
    fn depth() -> usize {
        let frame = std::hint::black_box([1u8; 1024]);
        if is_half_used() { 0 } else { depth() + usize::from(frame[0]) }
    }

    #[test]
    fn a_thread_knows_when_half_of_its_stack_is_used() {
        let deep = |size| std::thread::Builder::new().stack_size(size).spawn(depth).unwrap().join().unwrap();
        let (small, large) = (deep(1 << 20), deep(8 << 20));
        // The C library may give a thread the larger stack of one that has ended, never a smaller one.
        assert!(small > 100 && large > 1000, "{small} and {large} calls");
    }
}
