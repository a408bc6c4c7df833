//! `plua manual-pages` and `plua completions`: what is made of the command's own help.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use command::Folder;

/// The names of the commands, as the help lists them.
fn commands(folder: &Folder) -> Vec<String> {
    let help = folder.plua(&["--help"]).out;
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// What `man` shows of a page, and warns of; none where it cannot.
fn man(file: &Path) -> Option<(String, String)> {
    let mut man = Command::new("man");
    let output = man.args(["--warnings", "--local-file"]).arg(file).env("LC_ALL", "C.UTF-8").output().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    output.status.success().then(|| (text(&output.stdout), text(&output.stderr)))
}

#[test]
fn each_command_has_a_page_that_man_shows_without_a_warning() {
    let folder = Folder::new(&[]);
    assert_eq!(folder.plua(&["manual-pages", "share/man/man1"]).all(), (Some(0), "", ""));
    let mut pages: BTreeSet<String> = commands(&folder).iter().map(|name| format!("plua-{name}")).collect();
    pages.insert("plua".to_owned());
    let written = fs::read_dir(folder.path("share/man/man1")).unwrap();
    let written: BTreeSet<String> = written.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(written, pages.iter().map(|name| format!("{name}.1")).collect());
    for name in &pages {
        let file = folder.path(&format!("share/man/man1/{name}.1"));
        let source = fs::read_to_string(&file).unwrap();
        assert!(source.contains(&format!(".TH {name} 1 ")) && source.contains(".SH SYNOPSIS\n"), "{source}");
        // Not every machine has it.
        let Some((shown, warnings)) = man(&file) else { continue };
        assert_eq!(warnings, "", "{name}");
        assert!(shown.contains("SYNOPSIS") && shown.contains("DESCRIPTION"), "{name}: {shown}");
    }
}

#[test]
fn a_page_names_the_options_of_its_command() {
    let folder = Folder::new(&[]);
    folder.plua(&["manual-pages", "."]);
    let page = fs::read_to_string(folder.path("plua-serve.1")).unwrap();
    for part in ["plua\\-serve \\- Show the pages of a folder", "\\-\\-port", "\\-\\-reload", "8080", "mod_plua"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let page = fs::read_to_string(folder.path("plua.1")).unwrap();
    for name in commands(&folder) {
        assert!(page.contains(&format!("plua\\-{}(1)", name.replace('-', "\\-"))), "{name} is not in {page}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_one_sentence() {
    let folder = Folder::new(&[("file", "")]);
    let said = folder.plua(&["manual-pages", "file"]);
    assert_eq!(said.all(), (Some(1), "", "plua: cannot write manual pages to file: File exists (os error 17)\n"));
}

#[test]
fn each_shell_completes_each_command() {
    let folder = Folder::new(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let said = folder.plua(&["completions", shell]);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
        for name in commands(&folder) {
            assert!(said.out.contains(&name), "{shell} does not know {name}");
        }
    }
}
