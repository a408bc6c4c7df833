//! The mod_plua engine: page language, Lua states, pools, cache and page API. It knows no httpd.

#![deny(unsafe_code)]

pub mod engine;
pub mod exchange;
pub mod settings;
