//! The drivers of APR that there are, and those with peculiarities of their own here.

/// The drivers of APR. It makes a file's name of what it is given and loads that, so no other name gets there.
pub(crate) const DRIVERS: &[&str] = &["sqlite3", "pgsql", "mysql", "odbc", "oracle", "freetds", "sqlite2"];

/// A driver by its peculiarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Mysql,
    Pgsql,
    Other,
}
