//! Reads APR's headers and links its libraries, with the flags of the APR that httpd was built with.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, panic};

const HEADERS: &str = "#include <apr_general.h>\n#include <apr_pools.h>\n#include <apr_allocator.h>\n\
    #include <apr_buckets.h>\n#include <apr_dbd.h>\n";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["APXS", "APR_CONFIG", "APU_CONFIG", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let apr = config("APR_CONFIG", &["apr-1-config"])?;
    let util = config("APU_CONFIG", &["apu-1-config"])?;
    let mut flags = Vec::new();
    for (program, arguments) in [(&apr, ["--includes", "--cppflags"].as_slice()), (&util, &["--includes"])] {
        flags.extend(output(program, arguments)?.split_whitespace().map(str::to_string));
    }
    // apr-util first: it needs APR.
    let mut known = HashSet::new();
    for program in [&util, &apr] {
        for flag in output(program, &["--link-ld"])?.split_whitespace() {
            if let Some(folder) = flag.strip_prefix("-L").filter(|folder| known.insert((*folder).to_string())) {
                println!("cargo::rustc-link-search=native={folder}");
            } else if let Some(library) = flag.strip_prefix("-l") {
                println!("cargo::rustc-link-lib=dylib={library}");
            }
        }
    }
    bind(&flags)
}

/// The program that knows the flags: named by its variable, by `apxs`, or the first of the usual names that runs.
fn config(variable: &str, names: &[&str]) -> Result<String, String> {
    let apxs = env::var("APXS").map_or(vec!["apxs".to_string(), "apxs2".to_string()], |apxs| vec![apxs]);
    let asked = apxs.iter().filter_map(|apxs| output(apxs, &["-q", variable]).ok()).filter(|path| !path.is_empty());
    let usual = names.iter().map(|name| (*name).to_string());
    let mut candidates = env::var(variable).into_iter().chain(asked).chain(usual);
    candidates.find(|program| output(program, &["--includes"]).is_ok()).ok_or_else(|| {
        format!(
            "{} does not run: install APR's headers (Debian: apt install libaprutil1-dev) or set {variable} to its path",
            names.join(" or ")
        )
    })
}

fn bind(flags: &[String]) -> Result<(), String> {
    let builder = bindgen::Builder::default()
        .header_contents("apr_dbd_all.h", HEADERS)
        .clang_args(flags)
        .allowlist_function("apr_initialize")
        .allowlist_function("apr_allocator_(create|destroy|max_free_set|owner_set)|apr_pool_(create_ex|destroy)")
        .allowlist_function("apr_bucket_alloc_create|apr_brigade_(cleanup|create|flatten|length)")
        .allowlist_function("apr_dbd_(init|get_driver|open_ex|close|name|check_conn|query|select|num_cols|get_row)")
        .allowlist_function(
            "apr_dbd_(get_entry|get_name|error|escape|prepare|pbquery|pbselect|datum_get|native_handle)",
        )
        .allowlist_var("APR_DBD_TYPE_BLOB|APR_SUCCESS")
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
        .map_err(|error| format!("APR's headers cannot be read: {error}"))?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    let file = PathBuf::from(folder).join("ffi.rs");
    bindings.write_to_file(&file).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let run =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program} does not run: {error}"))?;
    match run.status.success() {
        true => Ok(String::from_utf8_lossy(&run.stdout).trim().to_string()),
        false => Err(format!("{program} {} failed", arguments.join(" "))),
    }
}
