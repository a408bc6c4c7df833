//! What pages cannot reach: files outside their folders, the process's own, and what requests of a state would share.
//!
//! Stands on `limits` and `settings`. Knows no request.

pub(crate) mod confinement;
pub(crate) mod connection_string;
pub(crate) mod forks;
pub(crate) mod working_directory;
