//! `plua doctor`: what it finds in a configuration that httpd itself has read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use private_httpd::Installation;
use served::plua;

fn module() -> PathBuf {
    env::current_exe().unwrap().with_file_name("libmod_plua.so")
}

/// What it says of a configuration that ends with these lines: `level about`, each once; and its exit status.
fn said(lines: &str) -> Option<(Option<i32>, Vec<String>, String)> {
    let installation = match Installation::find() {
        Ok(installation) => installation,
        Err(_) if env::var_os("PLUA_REQUIRE_HTTPD").is_none() => return None,
        Err(error) => panic!("{error}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let docroot = root.join("htdocs");
    fs::create_dir_all(docroot.join("uploads")).unwrap();
    fs::set_permissions(&docroot, fs::Permissions::from_mode(0o755)).unwrap();
    let modules = ["mpm_event", "authz_core", "mime", "dir"]
        .into_iter()
        .filter(|name| !installation.is_compiled_in(name))
        .map(|name| format!("LoadModule {name}_module \"{}/mod_{name}.so\"\n", installation.modules().display()));
    let text = format!(
        "ServerRoot \"{root}\"\nServerName localhost\nListen 127.0.0.1:1\nErrorLog error.log\nTypesConfig /dev/null\n{}\
         DocumentRoot \"{}\"\n{}\n",
        modules.collect::<String>(),
        docroot.display(),
        lines.replace("DOCROOT", docroot.to_str().unwrap()).replace("MODULE", &format!("\"{}\"", module().display())),
        root = root.display(),
    );
    fs::write(root.join("httpd.conf"), text).unwrap();
    if lines.contains("# open") {
        fs::set_permissions(&docroot, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let output = Command::new(plua())
        .args(["doctor", "--json", "--module"])
        .arg(module())
        .arg("--config")
        .arg(root.join("httpd.conf"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = |one: &serde_json::Value| format!("{} {}", one["level"].as_str().unwrap(), one["about"].as_str().unwrap());
    // What runs on this machine is not the configuration's.
    let is_ours = |one: &&serde_json::Value| {
        !["process", "descriptors", "stack", "memory"].contains(&one["about"].as_str().unwrap())
    };
    Some((output.status.code(), all.as_array().unwrap().iter().filter(is_ours).map(of).collect(), text))
}

#[test]
fn a_configuration_as_it_is_installed_has_no_problem() {
    let lines = "LoadModule plua_module MODULE\n<FilesMatch \"\\.plua$\">\nSetHandler plua\n</FilesMatch>\npLuaError 0";
    let Some((status, found, text)) = said(lines) else { return };
    assert_eq!(
        (status, found),
        (Some(0), ["fine httpd", "fine module", "fine configuration", "fine mpm"].map(String::from).to_vec()),
        "{text}"
    );
}

#[test]
fn each_mistake_is_told_with_its_line_and_a_remedy() {
    let lines = "LoadModule plua_module MODULE\nAddHandler plua .plua\npLuaError 1\npLuaUploadFolder \"DOCROOT/uploads\"\n# open";
    let Some((status, found, text)) = said(lines) else { return };
    let expected = [
        "fine httpd",
        "fine module",
        "fine configuration",
        "fine mpm",
        "problem handler",
        "note errors",
        "problem uploads",
        "problem files",
    ];
    assert_eq!((status, found), (Some(1), expected.map(String::from).to_vec()), "{text}");
    assert!(text.contains("httpd.conf:") && text.contains("SetHandler plua") && text.contains("chmod o-w"), "{text}");
}

#[test]
fn a_module_that_is_not_loaded_and_a_configuration_that_httpd_refuses_are_told() {
    let Some((status, found, text)) = said("") else { return };
    assert_eq!(
        (status, &found[2..]),
        (Some(1), &["problem configuration".to_owned(), "fine mpm".to_owned()][..]),
        "{text}"
    );
    let Some((status, found, text)) = said("NoSuchDirective") else { return };
    assert_eq!((status, &found[2..]), (Some(1), &["problem configuration".to_owned()][..]), "{text}");
    assert!(text.contains("Invalid command 'NoSuchDirective'"), "{text}");
}
