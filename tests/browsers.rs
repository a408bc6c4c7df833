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
    browser.until_text(".kind", "Run-time error");
    assert!(browser.text("body").contains("not <b>now"));
    fs::write(dir.join("index.plua"), page("mended")).unwrap();
    browser.until_text("h1", "mended other");
}

/// A message, a value and a field that try to be more than text.
const HOSTILE: &str =
    "</h1></style></title><script>window.hostile = 1</script><img src=x onerror='window.hostile = 1'>";

#[test]
fn a_report_is_one_page_for_wide_and_narrow_and_light_and_dark_screens_that_nothing_hostile_gets_into() {
    let Some(browser) = Browser::start() else { return };
    let page = "<?\nlocal function pay(order, apiToken)\n  local message = order.note\n  error(message, 0)\nend\n\
        pay({ note = parseGet().note, total = 12.5 }, 'abc') ?>";
    common::with_httpd("", &[("shop/page.plua", page)], |server| {
        server.expect("window.hostile");
        let note: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
        browser.go(&server.url(&format!("/shop/page.plua?token=abc&note={note}")));
        let is = |script: &str| browser.run(&format!("return {script}"), &[]) == true;
        assert_eq!(browser.text(".kind"), "Run-time error");
        assert_eq!(browser.text("h1"), HOSTILE);
        assert!(is("window.hostile === undefined && document.scripts.length == 0 && document.images.length == 0"));
        assert!(is("performance.getEntriesByType('resource').length == 0"), "it is one file");

        assert!(browser.text("mark").contains("error(message, 0)"), "{}", browser.text("mark"));
        let variables = browser.text("dl");
        assert!(variables.contains("apiToken\n(hidden)") && variables.contains("total = 12.5"), "{variables}");
        let titles = browser.run("return [...document.querySelectorAll('summary')].map(s => s.firstChild.data)", &[]);
        assert_eq!(titles, serde_json::json!(["Calls ", "Local variables ", "Request ", "Headers "]));
        assert_eq!(browser.text("details:nth-of-type(3) dd"), "", "what is of the request is closed");
        browser.run("document.querySelector('details:nth-of-type(3) summary').click()", &[]);
        let request = browser.text("details:nth-of-type(3) dl");
        assert!(
            request.contains("token=(hidden)") && request.contains("GET") && !request.contains("token=abc"),
            "{request}"
        );

        let number = browser.text("footer strong");
        assert!(server.wait_for_log(&format!("incident {number}: ")).contains("page.plua:4"));

        let paper = || browser.run("return getComputedStyle(document.body).backgroundColor", &[]);
        browser.command("Emulation.setEmulatedMedia", &features("light"));
        assert_eq!(paper(), "rgb(255, 255, 255)");
        browser.command("Emulation.setEmulatedMedia", &features("dark"));
        assert_eq!(paper(), "rgb(21, 25, 29)");
        let phone = serde_json::json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        browser.command("Emulation.setDeviceMetricsOverride", &phone);
        browser.run("document.querySelectorAll('details').forEach(part => part.open = true)", &[]);
        assert!(is("document.documentElement.scrollWidth <= 360"), "nothing is beside a narrow screen");
    });
}

/// A screen that wants light or dark colours.
fn features(scheme: &str) -> serde_json::Value {
    serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] })
}
