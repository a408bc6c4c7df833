//! Panics at places that a test names, in builds with the feature `fault-injection`; in all others nothing.

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("fault-injection is for tests: no release is built with it");

/// Panics while the file that the variable `PLUA_PANIC_AT` names holds this place's name.
#[inline(always)]
#[cfg_attr(feature = "fault-injection", allow(clippy::panic, reason = "it is what a test asks for"))]
pub fn panic_at(place: &str) {
    #[cfg(feature = "fault-injection")]
    if std::env::var_os("PLUA_PANIC_AT").and_then(|file| std::fs::read_to_string(file).ok()).as_deref() == Some(place) {
        panic!("planted at {place}");
    }
    let _ = place;
}
