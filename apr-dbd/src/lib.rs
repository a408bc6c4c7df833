//! APR's database interface as safe Rust: the drivers httpd has, behind one kind of connection.
//!
//! Inside httpd the libraries are the process's own copies. Drivers are loaded when first asked for.

mod batch;
mod bound;
mod connection;
mod cursor;
mod driver;
mod execution;
mod ffi;
mod found;
mod library;
mod memory;
mod memory_use;
mod mysql;
mod pgsql;
mod rows;
mod socket;
mod sqlite;
mod statement;
mod watch;

pub use batch::{Batch, Cell};
pub use connection::{Connection, load_sqlite};
pub use found::{Found, Wanted};
pub use memory_use::MemoryUse;
pub use sqlite::Bounds;
pub use statement::Value;
