//! Reads APR's headers and links its libraries, with the flags of the APR that httpd was built with.

use std::collections::HashSet;
use std::env;
use std::process::ExitCode;

use c_headers::output;

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
    let apxs = c_headers::apxs_names();
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
        .allowlist_var("APR_DBD_TYPE_BLOB|APR_SUCCESS");
    c_headers::write(builder, "APR's headers")
}
