//! Large files leave nothing behind in the process once their request has ended.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Site, memory};

#[test]
fn large_included_files_are_not_kept_for_later_requests() {
    let site = Site::new(
        "pLuaStates 1\npLuaRaw .lua",
        &[("page.plua", "<? ob_start() include(parseGet().file) ob_end_clean() ?>done"), ("next.plua", "fine")],
    );
    let comment = "--".to_string() + &"x".repeat(20 << 20);
    let mut before = 0;
    for number in 0..6 {
        let name = format!("large{number}.lua");
        site.write(&name, &comment);
        assert_eq!(site.get(&format!("page.plua?file={name}")).text(), "done", "{number}");
        assert_eq!(site.get("next.plua").text(), "fine");
        // The C library keeps a few blocks of that size for the next ones.
        if number == 2 {
            before = memory("VmRSS");
        }
    }
    let more = memory("VmRSS").saturating_sub(before);
    assert!(more < 10_000, "three files of 20 MB left {more} KB");
}
