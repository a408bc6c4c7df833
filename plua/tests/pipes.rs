//! Named pipes where a page expects a file: opening one waits for its other end, which would hold a thread for ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use site::{Seen, Site};

/// What takes longer than this waits for the pipe.
const PROMPT: Duration = Duration::from_secs(10);

fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

/// Asks for the page; fails when it waits for the other end of the pipe and no answer comes.
fn prompt(site: Site, body: &'static str) -> (Seen, Site) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let seen = if body.is_empty() {
            site.get("page.plua")
        } else {
            site.post("page.plua", "multipart/form-data; boundary=XX", body)
        };
        let _ = sender.send((seen, site));
    });
    receiver.recv_timeout(PROMPT).unwrap()
}

/// What the page shows when a pipe is beside it, named `pipe.lua`.
fn shown(page: &str) -> String {
    let site = Site::new("pLuaError 0", &[("page.plua", page)]);
    pipe(&site.path("pipe.lua"));
    prompt(site, "").0.text()
}

#[test]
fn a_page_that_is_a_pipe_is_refused() {
    let site = Site::new("", &[]);
    pipe(&site.path("page.plua"));
    assert_eq!(prompt(site, "").0.status, 403);
}

#[test]
fn what_pages_are_made_of_is_not_there_when_it_is_a_pipe() {
    for (call, answer) in [
        ("include('pipe.lua')", "false"),
        ("include_once('pipe.lua')", "false"),
        ("pcall(render, 'pipe.lua')", "false"),
        ("pcall(layout, 'pipe.lua')", "false"),
        ("pcall(require, 'pipe')", "false"),
    ] {
        assert_eq!(shown(&format!("<?= ({call}) ?>")), answer, "{call}");
    }
}

#[test]
fn a_module_further_on_in_the_path_is_found_behind_a_pipe() {
    let page = "<? package.path = './?.lua;./lib/?.lua' ?><?= (require('pipe')) ?>";
    let site = Site::new("", &[("page.plua", page), ("lib/pipe.lua", "return 'found'")]);
    pipe(&site.path("pipe.lua"));
    assert_eq!(prompt(site, "").0.text(), "found");
    let text = shown("<?= select(2, pcall(require, 'pipe')) ?>");
    assert!(text.contains("no plain file '") && text.contains("/pipe.lua'"), "it tells where it looked: {text}");
}

#[test]
fn files_that_are_sent_or_looked_at_may_be_pipes() {
    assert_eq!(shown("<?= file.send('pipe.lua') ?>"), "0");
    assert_eq!(shown("<?= file.exists('pipe.lua') ?>"), "true");
    assert_eq!(shown("<?= file.stat('pipe.lua').size ?>"), "0");
}

#[test]
fn a_body_is_not_written_to_a_pipe_nobody_reads() {
    let site = Site::new("", &[("page.plua", "<?= (getRequestBody('pipe')) ?>")]);
    pipe(&site.path("pipe"));
    assert_eq!(prompt(site, "body").0.text(), "false");
}

#[test]
fn an_upload_is_not_saved_to_a_pipe_nobody_reads() {
    let form = "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\nup\r\n--XX--\r\n";
    let site = Site::new("", &[("page.plua", "<? local u = uploads()[1] ?><?= u:save('pipe') ?>, <?= u:read() ?>")]);
    pipe(&site.path("pipe"));
    let (seen, site) = prompt(site, form);
    assert!(seen.text().starts_with("nil"), "{}", seen.text());
    assert!(seen.text().ends_with(", up"), "the upload is where it was: {}", seen.text());
    drop(site);
}

#[test]
fn files_that_directives_name_are_refused_when_they_are_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipe.lua");
    pipe(&file);
    for directive in ["pLuaInit", "pLuaPrepend", "pLuaAppend"] {
        let site = Site::new(&format!("{directive} {}", file.display()), &[("page.plua", "page")]);
        let (seen, site) = prompt(site, "");
        assert_eq!(seen.status, 500, "{directive}: {}", seen.text());
        // The same again: no state and no turn is lost over it.
        assert_eq!(prompt(site, "").0.status, 500, "{directive}");
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn modules_that_the_init_file_requires_may_not_be_pipes() {
    let folder = tempfile::tempdir().unwrap();
    pipe(&folder.path().join("module.lua"));
    let init = folder.path().join("init.lua");
    fs::write(&init, "found = pcall(require, 'module')").unwrap();
    let site = Site::new(&format!("pLuaInit {}", init.display()), &[("page.plua", "<?= found ?>")]);
    assert_eq!(prompt(site, "").0.text(), "false");
}

#[test]
fn modules_may_not_be_pipes_however_long_they_are_kept() {
    for configuration in ["pLuaGlobals request", "pLuaGlobals persistent"] {
        let page = "<? package.path = './?.lua;./lib/?.lua' ?><?= require('pipe'), ' ', (pcall(require, 'alone')) ?>";
        let site = Site::new(configuration, &[("page.plua", page), ("lib/pipe.lua", "return 'found'")]);
        pipe(&site.path("pipe.lua"));
        pipe(&site.path("alone.lua"));
        assert_eq!(prompt(site, "").0.text(), "found false", "{configuration}");
    }
}
