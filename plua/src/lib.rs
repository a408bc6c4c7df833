//! The mod_plua engine: page language, Lua states, pools, cache and page API. It knows no httpd.

#![deny(unsafe_code)]

pub mod api;
pub mod cache;
pub mod engine;
pub mod error;
pub mod exchange;
pub mod kept;
pub mod language;
pub mod limits;
mod network;
mod output;
pub mod reactor;
mod request;
mod sandbox;
pub mod settings;
pub mod shared;
pub mod state;
#[cfg(test)]
#[path = "../../tests/common/wait.rs"]
mod wait;

/// The Lua that this is built with, by the name of its feature.
pub const LUA: &str = if cfg!(feature = "lua54") {
    "lua54"
} else if cfg!(feature = "lua51") {
    "lua51"
} else {
    "luajit"
};

/// By this scripts/install sees whether the module and the command it installs have the same Lua.
#[used]
static BUILT_WITH: &str = if cfg!(feature = "lua54") {
    "mod_plua is built with lua54."
} else if cfg!(feature = "lua51") {
    "mod_plua is built with lua51."
} else {
    "mod_plua is built with luajit."
};

/// What pages reach only through a request, for fuzz targets. In no other build.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::api::{JSON_ARRAY, decode_json, encode_json, received_cookies};
    pub use crate::limits::memory_limit::Room;
    pub use crate::request::body::Body;
    pub use crate::request::form::{Form, Value};
    pub use crate::request::query::Fields;
    pub use crate::request::visit::{Visit, VisitSettings};
}
