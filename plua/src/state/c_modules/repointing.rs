//! C modules in a process that has another Lua in its global scope: their calls are pointed at ours.
//!
//! The dynamic loader binds a library's `lua_*` to the first Lua of the scope. So the library is loaded as a copy that is
//! ours alone, for whoever brought the other Lua may load the same file, and then each slot that holds such an address is
//! given that of our function. Nothing in the library has run by then but what it does when it is loaded, without a state.
//!
//! `unsafe` here because the loader's tables are read and written where they lie.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::{env, process, ptr, slice};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::mkstemp;
use parking_lot::Mutex;

use super::library_file;

/// Libraries that were loaded so, by their files; they stay.
static LOADED: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// What tells a dynamic section's entries (elf.h).
const NEEDED: i64 = 1;
const PLT_SIZE: i64 = 2;
const STRINGS: i64 = 5;
const SYMBOLS: i64 = 6;
const RELOCATIONS: i64 = 7;
const RELOCATIONS_SIZE: i64 = 8;
const NAME: i64 = 14;
const IN_CODE: i64 = 22;
const PLT: i64 = 23;
const FLAGS: i64 = 30;

/// Of the flags, that there are relocations in code.
const FLAG_IN_CODE: usize = 4;

/// Kinds of relocations that put a function's address into a slot.
#[cfg(target_arch = "x86_64")]
const SLOTS: [u32; 3] = [1, 6, 7];
#[cfg(target_arch = "aarch64")]
const SLOTS: [u32; 3] = [257, 1025, 1026];

#[repr(C)]
struct Entry {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Symbol {
    name: u32,
    kind: u8,
    visibility: u8,
    section: u16,
    value: usize,
    size: u64,
}

#[repr(C)]
struct Relocation {
    place: usize,
    kind: u32,
    symbol: u32,
    addend: isize,
}

/// A library in this process, as the loader has it.
struct Object {
    base: usize,
    file: String,
    dynamic: usize,
    /// What the loader made read-only when it was done: start and length.
    read_only: (usize, usize),
}

/// What is said of a library in its dynamic section.
#[derive(Default)]
struct Facts {
    strings: usize,
    symbols: usize,
    /// Where tables of relocations are, and their lengths in bytes.
    relocations: [(usize, usize); 2],
    needed: Vec<String>,
    name: String,
    /// Whether the loader has written to its code.
    is_code_changed: bool,
}

/// The function of that name in a library whose calls of Lua lead to these functions.
///
/// # Errors
/// A sentence: the library does not load, or needs functions of Lua that are not here.
pub fn function(
    file: &Path,
    symbol: &CStr,
    ours: &BTreeMap<&CStr, usize>,
    another: &str,
) -> Result<Option<*mut c_void>, String> {
    let library = load(file, ours, another)?;
    // SAFETY: the library is loaded and stays.
    let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
    Ok((!found.is_null()).then_some(found))
}

/// Loads a library for good.
///
/// # Errors
/// As [`function`].
pub fn load(file: &Path, ours: &BTreeMap<&CStr, usize>, another: &str) -> Result<*mut c_void, String> {
    let mut loaded = LOADED.lock();
    let path = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    if let Some(library) = loaded.get(&path) {
        return Ok(ptr::with_exposed_provenance_mut(*library));
    }
    let before: Vec<usize> = objects().iter().map(|object| object.base).collect();
    let library = open_copy(&path, loaded.len() + 1)?;
    let fresh: Vec<Object> = objects().into_iter().filter(|object| !before.contains(&object.base)).collect();
    // SAFETY: the library is loaded, and so are those that came with it, in which nothing runs yet.
    match unsafe { repoint_all(library, &fresh, ours) } {
        Ok(()) => {
            loaded.insert(path, library.expose_provenance());
            Ok(library)
        }
        Err(problem) => {
            // SAFETY: nothing of it is used.
            unsafe { libc::dlclose(library) };
            Err(format!("{}: {problem}; {another}", file.display()))
        }
    }
}

/// Opens a copy of a library that nobody else finds.
fn open_copy(file: &Path, number: usize) -> Result<*mut c_void, String> {
    let text = |error: io::Error| format!("{}: {error}", file.display());
    let mut bytes = fs::read(file).map_err(text)?;
    // The other Lua may lack what ours has.
    library_file::do_without(&mut bytes, is_of_lua);
    let in_memory = || -> io::Result<*mut c_void> {
        let mut copy = File::from(memfd_create(c"plua-module", MFdFlags::MFD_CLOEXEC)?);
        copy.write_all(&bytes)?;
        // The loader takes equal names for the same library, and a descriptor's number is used again.
        let apart = "./".repeat(number);
        open(&format!("/proc/{}/fd/{apart}{}", process::id(), copy.as_raw_fd()))
    };
    in_memory().or_else(|_| {
        let (copy, path) = mkstemp(&env::temp_dir().join("plua-module-XXXXXX")).map_err(|error| text(error.into()))?;
        let opened = File::from(copy).write_all(&bytes).and_then(|()| open(&path.to_string_lossy()));
        let _ = fs::remove_file(&path);
        // What the loader says names the copy.
        opened.map_err(|error| error.to_string().replace(&*path.to_string_lossy(), &file.to_string_lossy()))
    })
}

fn open(path: &str) -> io::Result<*mut c_void> {
    let path = std::ffi::CString::new(path)?;
    // SAFETY: the path is a C string. A page may load what it likes where this is reached: see the sandbox.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !library.is_null() {
        return Ok(library);
    }
    // SAFETY: dlerror gives null or a C string that lasts until this thread's next call of the loader.
    let said = unsafe { libc::dlerror().as_ref().map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()) };
    Err(io::Error::other(said.unwrap_or_default()))
}

/// Points the slots of a library, and of those that came with it, at our functions.
///
/// # Safety
/// The library is loaded, and nothing runs in these.
unsafe fn repoint_all(library: *mut c_void, fresh: &[Object], ours: &BTreeMap<&CStr, usize>) -> Result<(), String> {
    let mut base: *mut LinkMap = ptr::null_mut();
    // SAFETY: the library is loaded; the loader's record of it begins with its address.
    let base = unsafe {
        if libc::dlinfo(library, libc::RTLD_DI_LINKMAP, (&raw mut base).cast()) != 0 || base.is_null() {
            return Err("the dynamic loader does not tell where the library is".into());
        }
        (*base).address
    };
    let mut wanted = vec![base];
    let mut done = Vec::new();
    while let Some(base) = wanted.pop() {
        let Some(object) = fresh.iter().find(|object| object.base == base && !done.contains(&base)) else { continue };
        done.push(base);
        // SAFETY: the object is loaded.
        let facts = unsafe { facts(object) };
        for other in fresh {
            // SAFETY: as above.
            let name = unsafe { self::facts(other) }.name;
            if facts.needed.contains(&name) {
                wanted.push(other.base);
            }
        }
        // SAFETY: as above, and nothing runs in it.
        unsafe { repoint(object, &facts, ours) }?;
    }
    if done.contains(&base) { Ok(()) } else { Err("the dynamic loader has it already".into()) }
}

/// The beginning of `struct link_map`.
#[repr(C)]
struct LinkMap {
    address: usize,
}

/// Points the slots of one library at our functions.
///
/// # Safety
/// The object is loaded, these are its facts, and nothing runs in it.
unsafe fn repoint(object: &Object, facts: &Facts, ours: &BTreeMap<&CStr, usize>) -> Result<(), String> {
    let mut slots = Vec::new();
    for (start, length) in facts.relocations {
        if start == 0 {
            continue;
        }
        // SAFETY: the loader has read these tables itself; names are in the table of strings.
        unsafe {
            let table = ptr::with_exposed_provenance::<Relocation>(start);
            for relocation in slice::from_raw_parts(table, length / size_of::<Relocation>()) {
                let symbol = &*ptr::with_exposed_provenance::<Symbol>(facts.symbols).add(relocation.symbol as usize);
                let name = string(facts, symbol.name);
                if !is_of_lua(name.to_bytes()) {
                    continue;
                }
                let shown = || name.to_string_lossy();
                // A function that a library has itself, for Luas without it: the other Lua's may have taken its place.
                let own = (symbol.section != 0).then_some(object.base + symbol.value);
                match ours.get(name).copied().or(own) {
                    Some(_) if !SLOTS.contains(&relocation.kind) => {
                        return Err(format!("its way to {} is of an unknown kind ({})", shown(), relocation.kind));
                    }
                    Some(address) => {
                        slots.push((object.base + relocation.place, address.wrapping_add_signed(relocation.addend)));
                    }
                    None => return Err(format!("it needs {}, which this Lua does not have", shown())),
                }
            }
        }
    }
    if facts.is_code_changed && !slots.is_empty() {
        return Err("its calls stand in its code".into());
    }
    // SAFETY: the loader has written to these places, and made them read-only; they are so again afterwards.
    unsafe {
        protect(object.read_only, libc::PROT_READ | libc::PROT_WRITE)?;
        for (slot, address) in slots {
            ptr::with_exposed_provenance_mut::<usize>(slot).write(address);
        }
        protect(object.read_only, libc::PROT_READ)
    }
}

fn is_of_lua(name: &[u8]) -> bool {
    [&b"lua_"[..], b"luaL_", b"luaopen_", b"luaJIT_"].iter().any(|start| name.starts_with(start))
}

/// # Safety
/// The range is what the loader has protected of a library, or empty.
unsafe fn protect((start, length): (usize, usize), protection: c_int) -> Result<(), String> {
    if length == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise; the call changes no contents.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.try_into().unwrap_or(4096_usize);
    let first = start / page * page;
    // The loader leaves the last page alone where only a part of it is meant.
    let end = (start + length) / page * page;
    if end <= first {
        return Ok(());
    }
    // SAFETY: as above.
    match unsafe { libc::mprotect(ptr::with_exposed_provenance_mut(first), end - first, protection) } {
        0 => Ok(()),
        _ => Err(format!("its slots cannot be written: {}", io::Error::last_os_error())),
    }
}

/// All libraries in this process.
fn objects() -> Vec<Object> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: libc::size_t, all: *mut c_void) -> c_int {
        // SAFETY: the loader gives a record, whose headers are as many, and what dl_iterate_phdr was given.
        unsafe {
            let (info, all) = (&*info, &mut *all.cast::<Vec<Object>>());
            let base = info.dlpi_addr as usize;
            let mut object = Object { base, file: file(info.dlpi_name), dynamic: 0, read_only: (0, 0) };
            for header in slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) {
                let start = base + header.p_vaddr as usize;
                match header.p_type {
                    libc::PT_DYNAMIC => object.dynamic = start,
                    libc::PT_GNU_RELRO => object.read_only = (start, header.p_memsz as usize),
                    _ => {}
                }
            }
            all.push(object);
        }
        0
    }
    unsafe fn file(name: *const c_char) -> String {
        // SAFETY: null or a C string of the loader's.
        unsafe { name.as_ref().map(|name| CStr::from_ptr(name).to_string_lossy().into_owned()) }.unwrap_or_default()
    }
    let mut all = Vec::new();
    // SAFETY: the function keeps to its contract, and what it fills is there as long as the call.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut all).cast()) };
    all
}

/// What a library says of itself.
///
/// # Safety
/// The object is loaded.
unsafe fn facts(object: &Object) -> Facts {
    let (mut facts, mut needed, mut name) = (Facts::default(), Vec::new(), None);
    if object.dynamic == 0 {
        return facts;
    }
    // glibc has added the library's address already.
    let absolute = |value: usize| if value < object.base { value + object.base } else { value };
    let mut entry = ptr::with_exposed_provenance::<Entry>(object.dynamic);
    // SAFETY: the section ends with an entry of tag 0; what it says the loader has used.
    unsafe {
        while (*entry).tag != 0 {
            let value = (*entry).value;
            match (*entry).tag {
                STRINGS => facts.strings = absolute(value),
                SYMBOLS => facts.symbols = absolute(value),
                RELOCATIONS => facts.relocations[0].0 = absolute(value),
                RELOCATIONS_SIZE => facts.relocations[0].1 = value,
                PLT => facts.relocations[1].0 = absolute(value),
                PLT_SIZE => facts.relocations[1].1 = value,
                NEEDED => needed.push(value),
                NAME => name = Some(value),
                IN_CODE => facts.is_code_changed = true,
                FLAGS => facts.is_code_changed |= value & FLAG_IN_CODE != 0,
                _ => {}
            }
            entry = entry.add(1);
        }
        if facts.strings != 0 {
            let text = |place: usize| string(&facts, place as u32).to_string_lossy().into_owned();
            let (needed, name) = (needed.into_iter().map(text).collect(), name.map(text));
            facts.needed = needed;
            facts.name = name.unwrap_or_default();
        }
    }
    if facts.name.is_empty() {
        facts.name = Path::new(&object.file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
    facts
}

/// # Safety
/// The facts are those of a library that is loaded, and there is a string at that place.
unsafe fn string(facts: &Facts, place: u32) -> &CStr {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(ptr::with_exposed_provenance(facts.strings + place as usize)) }
}

/// The libraries that were linked with this one, as those of httpd's modules that use another Lua: their files' names.
pub fn brought_by(library: &str) -> Vec<String> {
    let all = objects();
    let Some(wanted) = all.iter().find(|object| object.file == library) else { return Vec::new() };
    // SAFETY: nothing of what httpd has loaded is unloaded while requests run.
    let name = unsafe { facts(wanted) }.name;
    let uses = all.iter().filter(|object| unsafe {
        // SAFETY: as above.
        object.file != library && facts(object).needed.contains(&name)
    });
    let shown = |object: &Object| Path::new(&object.file).file_stem().map(|name| name.to_string_lossy().into_owned());
    uses.filter_map(shown).collect()
}
