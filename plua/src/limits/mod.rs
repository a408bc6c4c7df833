//! What ends a page that takes too much: its time, memory, C stack and the steps of its patterns.
//!
//! Stands on `error`. Knows no request and no setting: it is told how much a page may have.

pub mod bell;
pub(crate) mod c_stack;
pub(crate) mod cutoff;
pub(crate) mod memory_limit;
pub mod pattern;
pub mod time_limit;
