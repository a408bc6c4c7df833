//! What the build scripts share: C headers as Rust sees them, and what this machine's C library can load.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::{env, panic};

/// The names under which httpd's tool `apxs` is looked for: the one in `APXS`, or the usual ones.
#[must_use]
pub fn apxs_names() -> Vec<String> {
    env::var("APXS").map_or_else(|_| vec!["apxs".to_string(), "apxs2".to_string()], |apxs| vec![apxs])
}

/// What a program prints, without the space around it.
///
/// # Errors
/// A sentence when it does not run or fails, with what it says of that.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let run =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program} does not run: {error}"))?;
    if !run.status.success() {
        return Err(format!(
            "{program} {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&run.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&run.stdout).trim().to_string())
}

/// What tells the linker to pack the places that are put right where a program is loaded, 10 KB of them instead of 170; none
/// where this machine's C library would not load them: glibc does from 2.36 on. A linker that does not know the word warns
/// and goes on.
#[must_use]
pub fn packed_relocations() -> Option<&'static str> {
    let version = output("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_default();
    let minor = version.strip_prefix("glibc 2.").and_then(|minor| minor.parse::<u32>().ok());
    let known = env::var("HOST") == env::var("TARGET") && minor.is_some_and(|minor| minor >= 36);
    known.then_some("-Wl,-z,pack-relative-relocs")
}

/// Writes what Rust sees of the builder's headers to `ffi.rs` in the build's folder. `headers` is their name in errors.
///
/// # Errors
/// A sentence when there is no libclang, the headers cannot be read, or the file cannot be written.
pub fn write(builder: bindgen::Builder, headers: &str) -> Result<(), String> {
    let builder = builder
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_debug(false)
        .generate_comments(false);
    // bindgen panics when it finds no libclang; the sentence below says more than its backtrace.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let generated = panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
    panic::set_hook(hook);
    let bindings = generated
        .map_err(|_| {
            "no libclang that bindgen can load: install it (Debian: apt install libclang-dev) or set LIBCLANG_PATH"
                .to_string()
        })?
        .map_err(|error| format!("{headers} cannot be read: {error}"))?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    let file = PathBuf::from(folder).join("ffi.rs");
    bindings.write_to_file(&file).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}
