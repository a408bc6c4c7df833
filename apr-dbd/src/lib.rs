//! APR's database interface as safe Rust: the drivers httpd has, behind one kind of connection.
//!
//! Inside httpd the libraries are the process's own copies. Drivers are loaded when first asked for.

mod bound;
mod connection;
mod ffi;
mod memory;
mod rows;
mod statement;

pub use connection::{Connection, Found};
pub use rows::Row;
pub use statement::Value;
