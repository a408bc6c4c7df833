//! C modules: libraries written against Lua's C API, such as LuaSQL, that `require` opens.
//!
//! The Lua functions linked into this crate are hidden, because a web server loads its modules into one global scope:
//! shown there, another module's Lua would bind to ours, or ours to it. A C module needs them in that scope, so the
//! first one brings in a small forwarding library whose functions jump to the hidden ones. By then every server module
//! is bound. When another Lua is in the scope already, C modules would call that one and crash: they are refused.

#![allow(unsafe_code, reason = "the dynamic loader is a C interface, and so is the table it finds")]

use mlua::Lua;
use parking_lot::Mutex;

use crate::limits::memory_limit;
use crate::limits::time_limit::TimeLimitHandle;
use crate::state::own_code::{C_MODULES, OwnCode};

/// Whether the forwarding library leads to this copy of the crate.
static PREPARED: Mutex<bool> = Mutex::new(false);

/// Puts Lua's C API where C modules find it. To be called before a C module is opened; cheap after the first time.
///
/// # Errors
/// A sentence that says why C modules cannot be loaded into this process and what to do about it.
pub fn prepare() -> Result<(), String> {
    let mut prepared = PREPARED.lock();
    if !*prepared {
        forwarding::start().map_err(|reason| format!("C modules cannot be loaded: {reason}"))?;
        *prepared = true;
    }
    Ok(())
}

/// Makes `require` and `package.loadlib` of a state call [`prepare`] first, and look where Linux distributions put
/// their modules. To be called once, before the state runs a page.
///
/// # Errors
/// What Lua reports, for want of memory.
pub fn install(lua: &Lua, limit: &TimeLimitHandle, own_code: &OwnCode) -> mlua::Result<()> {
    let prepare = memory_limit::function(lua, limit, |_, ()| Ok(prepare().err()))?;
    own_code.function(lua, C_MODULES)?.call((prepare, std::env::consts::ARCH))
}

#[cfg(not(c_forwarding))]
mod forwarding {
    use std::env::consts::{ARCH, OS};

    pub fn start() -> Result<(), String> {
        Err(format!("mod_plua does not support them on {OS} {ARCH}"))
    }
}

#[cfg(c_forwarding)]
mod forwarding {
    use std::ffi::{CStr, CString, c_void};
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::{mem, ptr};

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::mkstemp;

    include!(concat!(env!("OUT_DIR"), "/c_api.rs"));

    /// Fills the table of the forwarding library, which is loaded unless an earlier copy of this crate has done so.
    pub fn start() -> Result<(), String> {
        let global = libc::RTLD_DEFAULT;
        let mut table = find(global, TABLE);
        if table.is_null() {
            refuse_others(global)?;
            table = find(load()?, TABLE);
        }
        let first = find(global, NAMES[0]);
        if table.is_null() || object(first).0 != object(table).0 {
            return Err(another(first));
        }
        // SAFETY: a library with a table of that name was built from the same stubs, so the table has that size. It is
        // never unloaded, and nothing jumps through it yet: this copy of the crate opens C modules after this call,
        // and an earlier copy that filled it has been unloaded with its states.
        unsafe { ptr::write(table.cast::<Table>(), ADDRESSES) };
        Ok(())
    }

    fn refuse_others(global: *mut c_void) -> Result<(), String> {
        if !find(global, c"plua_forwarder").is_null() {
            return Err("an earlier mod_plua with another Lua has left its own in this process; \
                        stop the server and start it again"
                .into());
        }
        match NAMES.iter().map(|name| find(global, name)).find(|address| !address.is_null()) {
            Some(address) => Err(another(address)),
            None => Ok(()),
        }
    }

    fn another(address: *const c_void) -> String {
        format!(
            "another Lua ({}) is already in this process and they would call that one; \
             take out the module that brings it, such as mod_lua, and start the server again",
            object(address).1
        )
    }

    /// Loads the forwarding library for good.
    fn load() -> Result<*mut c_void, String> {
        load_from_memory().or_else(|memory| {
            let folder = std::env::temp_dir();
            load_from_file(&folder).map_err(|file| {
                format!("the forwarding library does not load: {memory}; from {}: {file}", folder.display())
            })
        })
    }

    fn load_from_memory() -> io::Result<*mut c_void> {
        let mut file = File::from(memfd_create(c"libplua-forward.so", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(LIBRARY)?;
        // The loader takes equal names for the same library, and /proc/self/fd is a name others use as well.
        open(Path::new(&format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())))
    }

    /// For systems that forbid to run what is in memory only.
    pub(super) fn load_from_file(folder: &Path) -> io::Result<*mut c_void> {
        let (file, path) = mkstemp(&folder.join("libplua-forward-XXXXXX"))?;
        let library = File::from(file).write_all(LIBRARY).and_then(|()| open(&path));
        fs::remove_file(&path)?;
        library
    }

    fn open(path: &Path) -> io::Result<*mut c_void> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the path is a C string; the library runs no code when it is loaded.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if !library.is_null() {
            return Ok(library);
        }
        // SAFETY: dlerror gives null or a C string that lasts until this thread's next call of the loader.
        let message =
            unsafe { libc::dlerror().as_ref().map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()) };
        Err(io::Error::other(message.unwrap_or_default()))
    }

    /// The address of that name in a library or scope; null when it has none.
    pub(super) fn find(library: *mut c_void, name: &CStr) -> *mut c_void {
        // SAFETY: `library` is what dlopen gave, never closed, or RTLD_DEFAULT; the name is a C string.
        unsafe { libc::dlsym(library, name.as_ptr()) }
    }

    /// The library an address lies in: where it begins, and its file.
    fn object(address: *const c_void) -> (*const c_void, String) {
        // SAFETY: Dl_info is a record of pointers, for which null is a value.
        let mut info: libc::Dl_info = unsafe { mem::zeroed() };
        // SAFETY: dladdr takes any address, and fills the record when it returns more than 0.
        if unsafe { libc::dladdr(address, &raw mut info) } == 0 || info.dli_fname.is_null() {
            return (ptr::null(), "of unknown file".into());
        }
        // SAFETY: the loader keeps the name as long as the library, which is still loaded.
        let file = unsafe { CStr::from_ptr(info.dli_fname) };
        (info.dli_fbase, file.to_string_lossy().into_owned())
    }

    #[cfg(test)]
    mod tests {
        use parking_lot::Mutex;

        use super::*;

        /// The addresses in the table of the forwarding library that C modules see.
        fn filled() -> bool {
            // SAFETY: the table has that many addresses, for which null is a value as well.
            let table = unsafe { &mut *find(libc::RTLD_DEFAULT, TABLE).cast::<[*const c_void; NAMES.len()]>() };
            let same = table.iter().zip(ADDRESSES).all(|(entry, address)| *entry == address as *const c_void);
            table.fill(ptr::null());
            same
        }

        /// Both tests load libraries for the whole process.
        static LOADING: Mutex<()> = Mutex::new(());

        #[test]
        fn a_forwarding_library_left_by_an_unloaded_copy_is_filled_again() {
            let _alone = LOADING.lock();
            start().unwrap();
            let library = object(find(libc::RTLD_DEFAULT, c"lua_gettop"));
            assert!(filled());
            start().unwrap();
            assert!(filled());
            assert_eq!(object(find(libc::RTLD_DEFAULT, c"lua_gettop")), library);
        }

        #[test]
        fn where_memory_may_not_be_run_the_library_comes_from_a_file_that_does_not_stay() {
            let _alone = LOADING.lock();
            let folder = tempfile::tempdir().unwrap();
            let library = load_from_file(folder.path()).unwrap();
            assert!(!find(library, TABLE).is_null());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
