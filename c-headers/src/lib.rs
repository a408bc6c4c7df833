//! C headers as Rust sees them: what the build scripts share that ask for flags and call bindgen.

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
