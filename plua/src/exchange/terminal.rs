//! A terminal, or a pipe, that a page takes its code from, entry by entry: what `plua shell` offers the engine.

use std::sync::Arc;

use crate::error::report::Report;

/// The page, as it is asked while an entry is typed.
pub trait Prompted: Send + Sync {
    /// Whether the entry goes on in a further line.
    fn is_unfinished(&self, entry: &[u8]) -> bool;
    /// Where in a text, in bytes, the name begins that it ends with, and what that may become.
    fn completions(&self, text: &[u8]) -> (usize, Vec<String>);
}

/// Where entries come from, and where is shown what they give. All but [`begin`](Terminal::begin)'s `interrupt` belongs to the
/// thread that the page runs in.
pub trait Terminal: Send + Sync {
    /// The page begins. `interrupt` stops the entry that runs, from whatever thread.
    fn begin(&self, interrupt: Box<dyn Fn() + Send + Sync>);
    /// The next entry; none at the end.
    fn read(&self, prompted: &Arc<dyn Prompted>) -> Option<Vec<u8>>;
    /// Shows the values that an entry gave, laid out in lines.
    fn show(&self, values: &[u8]);
    /// Tells that the entry was interrupted.
    fn interrupted(&self);
    /// Tells what an entry failed with.
    fn report(&self, report: Report<'_>);
}
