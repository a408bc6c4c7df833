//! Values by key on a Redis that servers share: what `shared-store` does in memory, done there.
//!
//! Each function is one command or one script of one key, so that it counts as a whole or not at all, on one server as in a
//! cluster. A connection is made when it is first wanted, and anew when it was lost. Nothing is sent twice: what a lost connection
//! leaves open may have been done. Knows neither httpd nor Lua.

mod address;
mod attempt;
mod cluster;
mod link;
mod problem;
mod request;
mod server;
mod store;
mod value;

pub use address::Address;
pub use link::Trust;
pub use problem::Problem;
pub use server::Server;
pub use store::{Act, LARGEST, Reply, Store};
pub use value::{Kept, encode};
