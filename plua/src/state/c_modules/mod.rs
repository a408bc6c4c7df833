//! C modules: libraries written against Lua's C API, such as LuaSQL, that `require` opens.
//!
//! The Lua functions linked into this crate are hidden, because a web server loads its modules into one global scope:
//! shown there, another module's Lua would bind to ours, or ours to it. A C module needs them in that scope, so the
//! first one brings in a small forwarding library whose functions jump to the hidden ones. By then every server module
//! is bound. When another Lua is in the scope already, C modules would call that one and crash: so each is loaded as a
//! copy whose calls are pointed at ours (`repointing`).

#![allow(unsafe_code, reason = "the dynamic loader is a C interface, and so is the table it finds")]

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mlua::{Function, Lua, LuaOptions, StdLib, Value};
use parking_lot::Mutex;

use crate::limits::memory_limit;
use crate::limits::time_limit::TimeLimitHandle;
use crate::state::own_code::{C_MODULES, OwnCode};

#[cfg(c_forwarding)]
mod library_file;
#[cfg(c_forwarding)]
mod repointing;

/// How C modules of this process find Lua, once that is known.
static WAY: Mutex<Option<Way>> = Mutex::new(None);

/// How C modules find Lua.
#[derive(Clone)]
enum Way {
    /// By the forwarding library, which leads to this copy of the crate.
    Forwarding,
    /// Beside another Lua, of which this is said: their calls are pointed at ours.
    #[cfg_attr(not(c_forwarding), expect(dead_code, reason = "where C modules are not supported"))]
    Repointing(String),
}

/// A Lua with every library of its own, and able to open C modules, as pages expect.
#[must_use]
pub fn new_lua() -> Lua {
    // SAFETY: page code is as free as its host's pLuaIgnoreLibrary leaves it: `debug` and `ffi` can break the process by
    // design, and prelude.lua removes what is left out before a page runs.
    unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new()) }
}

/// Puts Lua's C API where C modules find it, if that can be. To be called before a C module is opened; cheap after the
/// first time.
///
/// # Errors
/// A sentence that says why C modules cannot be loaded into this process and what to do about it.
fn prepare() -> Result<Way, String> {
    let mut known = WAY.lock();
    if let Some(way) = &*known {
        return Ok(way.clone());
    }
    let way = forwarding::start().map_err(|reason| format!("C modules cannot be loaded: {reason}"))?;
    *known = Some(way.clone());
    Ok(way)
}

/// The function of that name in a C module that is loaded beside another Lua; none if the library does not have it. The
/// name `*` only loads.
fn open(lua: &Lua, file: &Path, symbol: &str) -> Result<Option<Value>, String> {
    let Way::Repointing(another) = prepare()? else { return Err("there is no other Lua".into()) };
    if symbol == "*" {
        forwarding::load_beside(file, &another)?;
        return Ok(Some(Value::Boolean(true)));
    }
    let name = CString::new(symbol).map_err(|_| "the function's name holds a NUL byte")?;
    let Some(function) = forwarding::function_beside(file, &name, &another)? else { return Ok(None) };
    // SAFETY: a function that a module for Lua names so is one for Lua to call; where a page may load it, that is trusted.
    let function: Function =
        unsafe { memory_limit::inner_function(lua, function) }.map_err(|error| error.to_string())?;
    Ok(Some(Value::Function(function)))
}

/// Makes `require` and `package.loadlib` of a state call [`prepare`] first, and look where Linux distributions put
/// their modules. To be called once, before the state runs a page.
///
/// # Errors
/// What Lua reports, for want of memory.
pub fn install(lua: &Lua, limit: &TimeLimitHandle, own_code: &OwnCode) -> mlua::Result<()> {
    // Why there are no C modules, or whether they are opened by `open`.
    let prepare = memory_limit::function(lua, limit, |_, ()| {
        Ok(match prepare() {
            Ok(Way::Forwarding) => (None, false),
            Ok(Way::Repointing(_)) => (None, true),
            Err(refusal) => (Some(refusal), false),
        })
    })?;
    // The function, false if there is none of that name, or nil and a message.
    let open = memory_limit::function(lua, limit, |lua, (file, symbol): (mlua::BString, String)| {
        let file = Path::new(OsStr::from_bytes(file.as_slice()));
        Ok(match open(lua, file, &symbol) {
            Ok(found) => (found.unwrap_or(Value::Boolean(false)), None),
            Err(message) => (Value::Nil, Some(message)),
        })
    })?;
    own_code.function(lua, C_MODULES)?.call((prepare, open, std::env::consts::ARCH))
}

#[cfg(not(c_forwarding))]
mod forwarding {
    use std::env::consts::{ARCH, OS};

    pub fn start() -> Result<super::Way, String> {
        Err(format!("mod_plua does not support them on {OS} {ARCH}"))
    }

    pub fn load_beside(_: &std::path::Path, _: &str) -> Result<(), String> {
        start().map(drop)
    }

    pub fn function_beside(
        _: &std::path::Path,
        _: &std::ffi::CStr,
        _: &str,
    ) -> Result<Option<mlua::lua_CFunction>, String> {
        start().map(|_| None)
    }
}

#[cfg(c_forwarding)]
mod forwarding {
    use std::collections::BTreeMap;
    use std::ffi::{CStr, CString, c_void};
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::{mem, ptr};

    use mlua::lua_CFunction;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::mkstemp;

    use super::{Way, repointing};

    include!(concat!(env!("OUT_DIR"), "/c_api.rs"));

    /// Fills the table of the forwarding library, which is loaded unless an earlier copy of this crate has done so. Where
    /// another Lua is in the scope, nothing is done.
    pub fn start() -> Result<Way, String> {
        let global = libc::RTLD_DEFAULT;
        let mut table = find(global, TABLE);
        if table.is_null() {
            if !find(global, c"plua_forwarder").is_null() {
                return Err("an earlier mod_plua with another Lua has left its own in this process; \
                            stop the server and start it again"
                    .into());
            }
            if let Some(address) = NAMES.iter().map(|name| find(global, name)).find(|address| !address.is_null()) {
                return Ok(Way::Repointing(another(address)));
            }
            table = find(load()?, TABLE);
        }
        let first = find(global, NAMES[0]);
        if table.is_null() || object(first).0 != object(table).0 {
            return Ok(Way::Repointing(another(first)));
        }
        // SAFETY: a library with a table of that name was built from the same stubs, so the table has that size. It is
        // never unloaded, and nothing jumps through it yet: this copy of the crate opens C modules after this call,
        // and an earlier copy that filled it has been unloaded with its states.
        unsafe { ptr::write(table.cast::<Table>(), ADDRESSES) };
        Ok(Way::Forwarding)
    }

    /// What is said of the other Lua.
    fn another(address: *const c_void) -> String {
        let file = object(address).1;
        let by = repointing::brought_by(&file);
        let by = if by.is_empty() { "an httpd module".to_owned() } else { by.join(", ") };
        format!("another Lua ({file}) is in this process, brought by {by}")
    }

    fn ours() -> BTreeMap<&'static CStr, usize> {
        NAMES.iter().zip(ADDRESSES).map(|(name, address)| (*name, address as *const c_void as usize)).collect()
    }

    /// Loads a library beside another Lua, its calls pointed at ours.
    pub fn load_beside(file: &Path, another: &str) -> Result<(), String> {
        repointing::load(file, &ours(), another).map(drop)
    }

    /// A function of such a library, which is loaded if it is not; none if it does not have it.
    pub fn function_beside(file: &Path, name: &CStr, another: &str) -> Result<Option<lua_CFunction>, String> {
        let found = repointing::function(file, name, &ours(), another)?;
        // SAFETY: whoever asks for a function by its name says that Lua may call it.
        Ok(found.map(|found| unsafe { mem::transmute::<*mut c_void, lua_CFunction>(found) }))
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
