//! Panics, which end here: none crosses into C.

use std::panic::{AssertUnwindSafe, catch_unwind};

use plua::api::panic_text;

/// Runs `body`; a panic becomes what `failed` makes of its text.
pub(crate) fn caught<T>(body: impl FnOnce() -> T, failed: impl FnOnce(&str) -> T) -> T {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| failed(&format!("internal error: {}", panic_text(&*panic))))
}
