//! Compiles the C shim and reads its header, with the flags of the httpd that `apxs` describes.

use std::env;
use std::process::ExitCode;

use c_headers::output;

const HEADER: &str = "c-shim/plua_shim.h";
const SOURCES: [&str; 5] = [
    "c-shim/plua_shim.c",
    "c-shim/plua_parking.c",
    "c-shim/plua_kept.c",
    "c-shim/plua_public.c",
    "c-shim/plua_status.c",
];

fn main() -> ExitCode {
    for path in ["build.rs", HEADER].into_iter().chain(SOURCES) {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["APXS", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // Calls between our own functions must not reach a namesake in another module: httpd loads all of them global.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-Bsymbolic");
    if let Some(argument) = c_headers::packed_relocations() {
        println!("cargo::rustc-link-arg-cdylib={argument}");
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
    let apxs = Apxs::found()?;
    let mut folders: Vec<String> = Vec::new();
    for name in ["INCLUDEDIR", "APR_INCLUDEDIR", "APU_INCLUDEDIR"] {
        let folder = apxs.query(name)?;
        if !folder.is_empty() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let flags = apxs.header_flags()?;

    let mut shim = cc::Build::new();
    for folder in &folders {
        shim.flag("-isystem").flag(folder);
    }
    for flag in &flags {
        shim.flag(flag);
    }
    for flag in ["-std=gnu11", "-Wall", "-Wextra", "-Werror"] {
        shim.flag(flag);
    }
    // The module's Rust is built so: its C must call the same runtime.
    if env::var("CARGO_CFG_SANITIZE").is_ok_and(|sanitizers| sanitizers.split(',').any(|one| one == "address")) {
        shim.flag("-fsanitize=address").flag("-fno-omit-frame-pointer");
    }
    shim.files(SOURCES).try_compile("plua_shim").map_err(|error| format!("the C shim does not compile: {error}"))?;
    bind(&folders, &flags)
}

/// Writes what Rust sees of the header to `ffi.rs` in the build's folder.
fn bind(folders: &[String], flags: &[String]) -> Result<(), String> {
    let builder = bindgen::Builder::default()
        .header(HEADER)
        .clang_args(folders.iter().map(|folder| format!("-I{folder}")))
        .clang_args(flags)
        .allowlist_function("plua_.*")
        .allowlist_function("ap_(add_cgi_vars|add_common_vars|check_cmd_context|get_module_config)")
        .allowlist_function("ap_(get_server_banner|get_server_revision|get_status_line_ex)")
        .allowlist_function("ap_(getword_conf|pregcomp|pregfree|regexec|run_http_scheme|set_accept_ranges|set_content_length|set_content_type)")
        .allowlist_function("apr_(palloc|pmemdup|pool_cleanup_null|pool_cleanup_register|pool_userdata_get|pool_userdata_set|pstrmemdup)")
        .allowlist_function("apr_fnmatch|apr_table_(addn|elts|get|setn|unset)")
        .allowlist_type("module|command_rec|cmd_parms|process_rec|request_rec|server_rec|apr_table_entry_t|ap_version_t")
        .allowlist_var("ap_conftree|AP_REG_(EXTENDED|ICASE)")
        .allowlist_var("MODULE_MAGIC_(COOKIE|NUMBER_MAJOR|NUMBER_MINOR)")
        .allowlist_var(
            "DECLINED|SUSPENDED|(ACCESS|RSRC)_CONF|OR_OPTIONS|GLOBAL_ONLY|NOT_IN_HTACCESS|M_GET|M_POST|OK|HTTP_INTERNAL_SERVER_ERROR",
        )
        .allowlist_var("HTTP_(FORBIDDEN|METHOD_NOT_ALLOWED|NOT_FOUND|NOT_MODIFIED|OK|REQUEST_ENTITY_TOO_LARGE|REQUEST_TIME_OUT|SERVICE_UNAVAILABLE)")
        .allowlist_var("APLOG_(CRIT|ERR|INFO|NOTICE|WARNING)|APR_(OS_START_ERROR|SUCCESS)|AP_MODULE_FLAG_ALWAYS_MERGE")
        .allowlist_var("APR_FINFO_(CTIME|DEV|INODE|MTIME|SIZE)")
        // The record is ours to define.
        .blocklist_item("plua_module");
    c_headers::write(builder, HEADER)
}

/// The tool that knows how the installed httpd was built.
struct Apxs(String);

impl Apxs {
    /// The one in `APXS`, or the first of the usual names that runs.
    fn found() -> Result<Apxs, String> {
        let names = c_headers::apxs_names();
        let runs = |name: &&String| output(name, &["-q", "INCLUDEDIR"]).is_ok();
        names.iter().find(runs).map(|name| Apxs(name.clone())).ok_or_else(|| {
            format!(
                "{} does not run: install httpd's headers (Debian: apt install apache2-dev) or set APXS to its path",
                names.join(" or ")
            )
        })
    }

    fn query(&self, name: &str) -> Result<String, String> {
        output(&self.0, &["-q", name])
    }

    /// The flags that change what httpd's headers say, such as the size of a file offset.
    fn header_flags(&self) -> Result<Vec<String>, String> {
        let mut all = String::new();
        for name in ["CFLAGS", "EXTRA_CFLAGS", "EXTRA_CPPFLAGS"] {
            all.push_str(&self.query(name)?);
            all.push(' ');
        }
        let apr = self.query("APR_CONFIG")?;
        if !apr.is_empty() {
            all.push_str(&output(&apr, &["--cppflags"])?);
        }
        let mut flags: Vec<String> = Vec::new();
        for flag in all.split_whitespace().filter(|flag| flag.starts_with("-D") || flag.starts_with("-U")) {
            if !flags.iter().any(|known| known == flag) {
                flags.push(flag.to_string());
            }
        }
        Ok(flags)
    }
}
