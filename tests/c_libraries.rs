//! Every C library for Lua 5.1 that the machine has, in pages of a real httpd: alone and beside each other Lua of httpd's
//! modules. `scripts/c-libraries` installs Debian's and runs this.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
#![allow(clippy::print_stdout, reason = "the table is for who asks for it")]

mod common;

use std::fs;
use std::path::Path;

use common::{Server, Setup, httpd};

/// The names that `require` knows the libraries in a folder by.
fn libraries(folder: &Path, before: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            libraries(&path, &format!("{before}{name}."), names);
        } else if let Some(name) = name.strip_suffix(".so") {
            names.push(format!("{before}{name}"));
        }
    }
}

/// What becomes of a page that requires a library: nothing, or what it says.
fn asked(server: &Server, name: &str) -> Result<(), String> {
    let page = format!(
        "<? local ok, said = pcall(require, '{name}') echo(ok and 'loaded' or tostring(said):gsub('%s+', ' ')) ?>"
    );
    server.put("library.plua", page);
    let answer = server.raw(b"GET /library.plua HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) if body.starts_with("loaded") => Ok(()),
        Some((_, body)) => Err(body.to_owned()),
        None => Err("no answer: the child ended".into()),
    }
}

fn in_company(setup: Setup, names: &[String]) -> Vec<Result<(), String>> {
    let mut all = Vec::new();
    setup.children(1, 4).lines("pLuaStates 1\npLuaRuns 1").run(|server| {
        // What a library says when it is loaded, and a child that it ends.
        server.tolerate("");
        all = names.iter().map(|name| asked(server, name)).collect();
    });
    all
}

#[test]
#[ignore = "wants all of Debian's libraries: scripts/c-libraries"]
fn what_loads_alone_loads_in_company() {
    let folder = format!("/usr/lib/{}-linux-gnu/lua/5.1", std::env::consts::ARCH);
    let mut names = Vec::new();
    libraries(Path::new(&folder), "", &mut names);
    names.sort();
    let alone = in_company(httpd(), &names);
    let mod_lua = in_company(httpd().module("lua"), &names);
    let security = in_company(httpd().module("unique_id").module("security2"), &names);
    let mut failed = Vec::new();
    println!("{:32} {:8} {:8} mod_security2", "library", "alone", "mod_lua");
    for (number, name) in names.iter().enumerate() {
        let columns = [&alone[number], &mod_lua[number], &security[number]];
        let [first, second, third] = columns.map(|seen| if seen.is_ok() { "loads" } else { "-" });
        println!("{name:32} {first:8} {second:8} {third}");
        for seen in columns {
            if let Err(said) = seen {
                println!("    {}", said.chars().take(220).collect::<String>());
            }
        }
        if alone[number].is_ok() && columns.iter().any(|seen| seen.is_err()) {
            failed.push(name);
        }
    }
    let loads = |all: &[Result<(), String>]| all.iter().filter(|seen| seen.is_ok()).count();
    println!("{} libraries: {} {} {}", names.len(), loads(&alone), loads(&mod_lua), loads(&security));
    assert!(failed.is_empty(), "not in company: {failed:?}");
}
