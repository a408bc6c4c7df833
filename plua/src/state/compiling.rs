//! Whether LuaJIT may compile: some systems let no process run code that it has written itself.

#![allow(unsafe_code, reason = "whether memory may be executed the system tells only who asks for it")]

use std::ptr;
use std::sync::OnceLock;

use mlua::Lua;

/// Whether this process may have memory that it has written executed. Asked once: systems decide it for a process.
fn is_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| {
        const LENGTH: usize = 4096;
        // SAFETY: memory of its own, which nothing refers to and nothing runs.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(ptr::null_mut(), LENGTH, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if memory == libc::MAP_FAILED {
                return true;
            }
            let is_allowed = libc::mprotect(memory, LENGTH, libc::PROT_READ | libc::PROT_EXEC) == 0;
            libc::munmap(memory, LENGTH);
            is_allowed
        }
    })
}

/// What an administrator should know where LuaJIT may not compile, with the remedy.
#[must_use]
pub fn warning() -> Option<&'static str> {
    (cfg!(feature = "luajit") && !is_allowed()).then_some(
        "LuaJIT may not compile here, so pages run several times as slow: allow memory that is written and executed \
         (SELinux: setsebool -P httpd_execmem on; systemd: MemoryDenyWriteExecute=no)",
    )
}

/// Has a new Lua interpret all it runs where LuaJIT may not compile, whatever a page says: at the first loop that it
/// would compile LuaJIT ends the process without a word.
///
/// # Errors
/// Lua is out of memory.
pub(super) fn switch_off_where_forbidden(lua: &Lua) -> mlua::Result<()> {
    match warning() {
        Some(_) => lua.load("jit.off() jit.on = jit.off").exec(),
        None => Ok(()),
    }
}
