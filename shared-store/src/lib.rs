//! Values by key in memory that processes share: of a fixed size, in parts with a lock each, the least recently used making room.
//!
//! A process that is killed at any moment leaves neither a lock nor half a value: what is written counts from one store of
//! a word on, and who gets the lock of a dead one builds the part anew from what counts. Knows neither httpd nor Lua.

mod blocks;
mod clock;
#[cfg(test)]
mod crashes;
mod entry;
mod geometry;
mod list;
mod lock;
mod memory;
#[cfg(test)]
mod model;
mod part;
mod process;
mod recovery;
mod segment;
mod store;
mod value;

pub use geometry::{LARGEST, SMALLEST};
pub use process::is_gone;
pub use segment::new_memory;
pub use store::{Batch, Condition, Information, LONGEST_KEY, Store};
pub use value::{Found, Number, Refusal, Value};
