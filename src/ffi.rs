//! What Rust sees of httpd and of the C shim: `c-shim/plua_shim.h`, read when the module is built.
//!
//! The generated code asserts at compile time that every record has the size and layout that C gives it.

#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unsafe_op_in_unsafe_fn
)]

include!(concat!(env!("OUT_DIR"), "/ffi.rs"));
