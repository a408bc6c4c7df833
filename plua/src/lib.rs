//! The mod_plua engine: page language, Lua states, pools, cache and page API. It knows no httpd.

#![deny(unsafe_code)]

pub mod c_modules;
pub mod emit;
pub mod engine;
pub mod exchange;
mod lexer;
pub mod page;
pub mod settings;
