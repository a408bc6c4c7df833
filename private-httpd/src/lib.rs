//! Starts an httpd of one's own: on loopback, in a folder of its own, as root or as an ordinary user, leaving nothing behind.
//!
//! ```no_run
//! use private_httpd::{Configuration, Installation};
//!
//! let mut server = Configuration::new(Installation::find()?)
//!     .docroot("/srv/pages")
//!     .body("AddType text/plain .log")
//!     .start()?;
//! assert!(server.is_running());
//! server.stop()?;
//! # Ok::<(), private_httpd::Error>(())
//! ```

mod account;
mod configuration;
mod error;
mod httpd;
mod installation;
mod process;

pub use account::{Account, is_root, reading_capability};
pub use configuration::{Check, Configuration, Mpm};
pub use error::Error;
pub use httpd::Httpd;
pub use installation::Installation;
