//! What a visitor and an author see in a real browser.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

#[path = "common/browser.rs"]
mod browser;
mod common;
#[path = "common/served.rs"]
mod served;

use std::fs;
use std::path::Path;

use browser::Browser;
use common::Server;
use served::Served;

/// The examples as a site, in processes of which each request may get another one.
fn with_examples(test: impl FnOnce(&mut Server)) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut setup = common::httpd().mpm(common::Mpm::Prefork).children(4, 1);
    for name in ["session.plua", "parts/header.plua", "parts/footer.plua", "style.css"] {
        if let Ok(bytes) = fs::read(examples.join(name)) {
            setup = setup.file(name, bytes);
        }
    }
    setup.run(test);
}

#[test]
fn a_visitor_logs_in_counts_in_two_tabs_and_logs_out_and_no_foreign_form_does() {
    let Some(browser) = Browser::start() else { return };
    with_examples(|server| {
        let address = server.url("/session.plua");
        browser.go(&address);
        let cookie = || browser.run("return document.cookie", &[]);
        browser.fill("input[name=name]", "<Ada>");
        browser.click("button[value=in]");
        browser.until_text("[role=status]", "Welcome, <Ada>.");
        assert_eq!(cookie(), "", "scripts see no cookie");
        let first = browser.tab();
        let second = browser.new_tab();
        browser.go(&address);
        assert_eq!(browser.text("[role=status]"), "", "the note is shown once");
        for tab in [&first, &second, &first, &second] {
            browser.switch(tab);
            browser.click("button[value=click]");
        }
        browser.until_text(".count", "4");

        // Whoever made a form elsewhere has no token of ours.
        browser.fill("input[name=csrf]", "of another site");
        browser.click("button[value=out]");
        assert!(browser.text("h1").contains("Forbidden"), "{}", browser.text("body"));
        browser.switch(&first);
        browser.go(&address);
        browser.until_text(".count", "4");

        browser.click("button[value=out]");
        browser.until_text("[role=status]", "You are out.");
        browser.switch(&second);
        browser.go(&address);
        browser.until_text("button", "Log in");
    });
}

#[test]
fn an_open_tab_loads_its_page_again_when_a_file_of_it_changes() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    fs::create_dir(dir.join("lib")).unwrap();
    let page = |text: &str| {
        format!("<!DOCTYPE html><html><body><h1>{text} <?= require 'lib.words'.word ?></h1></body></html>")
    };
    fs::write(dir.join("lib/words.lua"), "return { word = 'word' }").unwrap();
    fs::write(dir.join("index.plua"), page("one")).unwrap();
    let arguments = ["--reload", "-d", "pLuaPackagePath ./?.lua"];
    let served = Served::start(dir.to_str().unwrap(), &arguments);
    browser.go(&format!("http://127.0.0.1:{}/", served.port));
    browser.until_text("h1", "one word");
    let changes: [(&str, String, &str); 2] = [
        ("index.plua", page("two"), "two word"),
        ("lib/words.lua", "return { word = 'other' }".to_owned(), "two other"),
    ];
    for (file, text, shown) in changes {
        fs::write(dir.join(file), text).unwrap();
        browser.until_text("h1", shown);
    }
    // A failed page does so as well, so that its author need not come back by himself.
    fs::write(dir.join("index.plua"), "<? error('not <b>now') ?>").unwrap();
    browser.until_text("body > div > strong", "Run-time error");
    assert!(browser.text("body").contains("not <b>now"));
    fs::write(dir.join("index.plua"), page("mended")).unwrap();
    browser.until_text("h1", "mended other");
}
