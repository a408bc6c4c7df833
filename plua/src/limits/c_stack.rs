//! How much of its C stack a thread has used.
//!
//! LuaJIT bounds the Lua stack of each coroutine but not the C stack under them: a page that nested string.gsub with a
//! callback, or coroutines, deep enough ended the process.

use std::cell::Cell;

thread_local! {
    /// The most that was left of this thread's stack at any look, in bytes: next to all of it, for the first look at a page's
    /// calls comes when few of them are nested.
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// Whether less than half of this thread's stack is left; not where the system does not tell.
#[must_use]
pub fn is_half_used() -> bool {
    let Some(left) = stacker::remaining_stack() else { return false };
    let most = MOST.get().max(left);
    MOST.set(most);
    left < most / 2
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
