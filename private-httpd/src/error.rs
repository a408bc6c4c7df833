//! What can keep a private httpd from starting, reloading or ending, each said in one sentence.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a private httpd could not do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No httpd program was found.
    NoHttpd,
    /// httpd's folder of modules is not known: apxs is missing and no usual folder exists.
    NoModuleFolder,
    /// A module is neither compiled in nor a file.
    NoModule {
        /// Its name without `mod_` and `_module`.
        name: String,
        /// The file that is missing.
        file: PathBuf,
    },
    /// The port that was asked for is taken by another program.
    PortBusy(u16),
    /// A path cannot stand in a configuration file.
    Path(PathBuf),
    /// A file or a program could not be used.
    Io {
        /// What was tried, as in "cannot write the configuration".
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// httpd ended by itself.
    Ended {
        /// What it printed and logged.
        output: String,
    },
    /// httpd was not ready, or had not ended, in time.
    Late {
        /// What was waited for, as in "to answer".
        awaited: &'static str,
        /// What it printed and logged.
        output: String,
    },
}

impl Error {
    /// Adds to a system error what was tried.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { action: action.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHttpd => write!(f, "no Apache httpd found: install it, or name its program in HTTPD"),
            Self::NoModuleFolder => {
                write!(f, "httpd's modules were not found: install apxs (apache2-dev, httpd-devel), or name it in APXS")
            }
            Self::NoModule { name, file } => write!(f, "httpd's module {name} is missing: no {}", file.display()),
            Self::PortBusy(port) => write!(f, "port {port} of 127.0.0.1 is in use by another program"),
            Self::Path(path) => write!(f, "a path with a line break cannot be configured: {}", path.display()),
            Self::Io { action, .. } => write!(f, "{action}"),
            Self::Ended { output } => write!(f, "httpd ended by itself: {}", output.trim_end()),
            Self::Late { awaited, output } => write!(f, "httpd took too long {awaited}: {}", output.trim_end()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
