//! mod_plua, the Apache httpd module: httpd's side of the engine in the crate `plua`.

mod background;
mod board;
mod child;
mod directives;
mod entry;
mod exchange;
mod ffi;
mod kept_pages;
mod log;
mod names;
mod notes;
mod panics;
mod parking;
mod pool;
mod quick;
mod request;
mod status;
mod stores;

use std::ffi::c_int;
use std::ptr;

/// What httpd finds in the library and loads: `LoadModule plua_module mod_plua.so`.
///
/// It is mutable because httpd writes its place in the list of modules into it. Rust never reads or writes it.
#[unsafe(no_mangle)]
pub static mut plua_module: ffi::module = ffi::module {
    version: ffi::MODULE_MAGIC_NUMBER_MAJOR as c_int,
    minor_version: ffi::MODULE_MAGIC_NUMBER_MINOR as c_int,
    module_index: -1,
    // The name in <IfModule> and `httpd -M`; by custom that of a C file.
    name: c"mod_plua.c".as_ptr(),
    dynamic_load_handle: ptr::null_mut(),
    next: ptr::null_mut(),
    magic: ffi::MODULE_MAGIC_COOKIE as _,
    rewrite_args: None,
    create_dir_config: Some(entry::create_directory),
    merge_dir_config: Some(entry::merge_directory),
    create_server_config: Some(entry::create_server),
    merge_server_config: Some(entry::merge_server),
    cmds: entry::COMMANDS.first(),
    register_hooks: Some(ffi::plua_register_hooks),
    // A <VirtualHost> without directives of ours still needs a record of its own, for its host.
    flags: ffi::AP_MODULE_FLAG_ALWAYS_MERGE as c_int,
};
