//! The stores of the configuration: made before any child is, and kept with the process, whose every configuration finds them.
//!
//! At each restart httpd unloads this library and loads it again. So what is kept is plain memory in the pool of the process:
//! a list of where stores begin, which no destructor of ours ends.

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use plua::settings::Settings;
use plua::settings::shared::Place;
use plua::shared::{Kind, Servers, Stores, new_store};
use shared_store::Store;

use crate::ffi;

/// Where the process's pool has the list. What another [`LAYOUT`](Store::LAYOUT) has made is not found under it.
fn key() -> Vec<u8> {
    [b"mod_plua stores ", Store::LAYOUT.as_bytes(), b"\0"].concat()
}

/// A store of the list. The memory of those that are not used any more is null.
#[repr(C)]
struct Kept {
    next: *mut Kept,
    start: *mut u8,
    size: usize,
    /// Of its owner and its name.
    title: *const u8,
    title_length: usize,
    is_used: bool,
}

/// A server, the main one first, and the place for its stores.
pub(crate) struct Wanted<'s> {
    pub name: String,
    pub settings: &'s Settings,
    pub stores: &'s mut Stores,
}

/// Finds the stores that the settings of servers name, or makes them. Those that none names any more are given back; processes
/// that still use them have them for as long as they run.
///
/// # Errors
/// That there is no memory for one, and that hosts which are one give a name two places.
///
/// # Safety
/// `pool` is the process's, which has one thread and has read its configuration; no record of an earlier one is in use.
pub(crate) unsafe fn find(pool: *mut ffi::apr_pool_t, servers: Vec<Wanted<'_>>) -> Result<(), String> {
    let uses_any = servers.iter().any(|server| server.settings.engine() || server.settings.shared().next().is_some());
    // SAFETY: the caller's promise.
    let Some(list) = (unsafe { list(pool, uses_any) }) else { return Ok(()) };
    // SAFETY: the list is the process's, and this thread has it for itself.
    unsafe { each(list, |kept| kept.is_used = false) };
    let (mut found, mut redis_servers) = (HashMap::<Vec<u8>, Kind>::new(), Servers::default());
    for (number, Wanted { name, settings, stores }) in servers.into_iter().enumerate() {
        *stores = Stores::new(&name, settings, |shared| {
            let of_server = number == 0 || shared.is_of_server;
            let owner = if of_server { String::new() } else { name.to_ascii_lowercase() };
            let title = [owner.as_bytes(), b"\0", shared.name.as_bytes()].concat();
            if let Some(kind) = found.get(&title) {
                return match kind.is(&shared.place) {
                    true => Ok(kind.clone()),
                    false => Err(format!(
                        "server {name}: another host of that name gives '{}' another size or server",
                        shared.name
                    )),
                };
            }
            let kind = match &shared.place {
                Place::Memory(size) => {
                    // SAFETY: as above.
                    let store = unsafe { kept(pool, list, &title, &shared.name, *size) }?;
                    Kind::in_memory(Arc::new(store))
                }
                Place::Redis(address) => Kind::Redis(redis_servers.store(address, &owner, &shared.name)),
            };
            found.insert(title, kind.clone());
            Ok(kind)
        })
        .map_err(|sentence| format!("pLuaShared: {sentence}"))?;
    }
    // SAFETY: as above. No record of this configuration has them, and those of earlier ones are gone.
    unsafe {
        each(list, |kept| {
            if let (false, Some(start)) = (kept.is_used, NonNull::new(kept.start)) {
                Store::at(start, kept.size).give_back();
                kept.start = ptr::null_mut();
            }
        });
    }
    Ok(())
}

/// The process's list: where its first store is told. Made if it is wanted.
///
/// # Safety
/// `pool` is the process's, and this thread has it for itself.
unsafe fn list(pool: *mut ffi::apr_pool_t, is_wanted: bool) -> Option<NonNull<*mut Kept>> {
    let key = key();
    let key = CStr::from_bytes_with_nul(&key).ok()?;
    let mut found: *mut c_void = ptr::null_mut();
    // SAFETY: the caller's promise; the key is a C string, which the pool copies.
    unsafe {
        ffi::apr_pool_userdata_get(&raw mut found, key.as_ptr(), pool);
        if found.is_null() && is_wanted {
            found = ffi::apr_palloc(pool, mem::size_of::<*mut Kept>() as ffi::apr_size_t);
            found.cast::<*mut Kept>().write(ptr::null_mut());
            ffi::apr_pool_userdata_set(found, key.as_ptr(), None, pool);
        }
    }
    NonNull::new(found.cast())
}

/// Calls `body` for each store of the list.
///
/// # Safety
/// The list is [`list`]'s, and this thread has it for itself.
unsafe fn each(list: NonNull<*mut Kept>, mut body: impl FnMut(&mut Kept)) {
    // SAFETY: the caller's promise: what is in it is in the process's pool.
    unsafe {
        let mut next = *list.as_ptr();
        while let Some(kept) = next.as_mut() {
            body(kept);
            next = kept.next;
        }
    }
}

/// The kept store of this title and size, or a new one that is kept.
///
/// # Safety
/// As [`each`], with the pool of the list.
unsafe fn kept(
    pool: *mut ffi::apr_pool_t,
    list: NonNull<*mut Kept>,
    title: &[u8],
    name: &str,
    size: usize,
) -> Result<Store, String> {
    let mut found = None;
    // SAFETY: the caller's promise. A title is in the process's pool like its record.
    unsafe {
        each(list, |kept| {
            let is_it = slice::from_raw_parts(kept.title, kept.title_length) == title && kept.size == size;
            if let (true, Some(start)) = (is_it, NonNull::new(kept.start)) {
                kept.is_used = true;
                found = Some(start);
            }
        });
        if let Some(start) = found {
            return Ok(Store::at(start, size));
        }
    }
    let mut store = new_store(name, size)?;
    // SAFETY: the caller's promise: the pool is live for as long as the process is.
    unsafe {
        let record = ffi::apr_palloc(pool, mem::size_of::<Kept>() as ffi::apr_size_t).cast::<Kept>();
        record.write(Kept {
            next: *list.as_ptr(),
            start: store.keep().as_ptr(),
            size,
            title: ffi::apr_pmemdup(pool, title.as_ptr().cast(), title.len() as ffi::apr_size_t).cast(),
            title_length: title.len(),
            is_used: true,
        });
        *list.as_ptr() = record;
    }
    Ok(store)
}
