//! What the processes of a server count, in memory that they share: for each host what has happened, and what happens now.
//!
//! Nobody waits here: each Lua state and each pool of them has a seat that it alone writes to, and a host's row has what seldom
//! changes. A process that is killed leaves seats whose counts are added to their host's by whoever looks next. Knows neither
//! httpd nor Lua.

mod board;
mod host;
mod seat;
mod slowest;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use board::Board;
pub use host::Host;
pub use seat::{Gauge, Seat};
pub use slowest::SlowPage;
pub use snapshot::{HostCounts, Snapshot};
pub use table::{KINDS, MOST_HOSTS, MOST_SEATS};
