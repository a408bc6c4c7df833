//! `plua new`: the site that it makes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use command::Folder;

#[test]
fn the_site_is_whole_and_has_nothing_to_be_warned_of() {
    let folder = Folder::new(&[]);
    let said = folder.plua(&["new", "my site"]);
    assert_eq!(said.all(), (Some(0), "my site has a site; now: plua serve --reload 'my site'\n", ""));
    let said = folder.plua(&["check", "--strict", "my site"]);
    assert_eq!(said.all(), (Some(0), "2 files, 0 failed\n", ""));
    let shown = folder.plua(&["run", "my site/index.plua"]);
    assert_eq!((shown.status, shown.err.as_str()), (Some(0), ""));
    for part in ["<title>Notes</title>", "<form method=\"post\">", "name=\"csrf\"", "style.css"] {
        assert!(shown.out.contains(part), "{part} is missing: {}", shown.out);
    }
    assert!(folder.path("my site/style.css").is_file());
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = Folder::new(&[("site/index.plua", "mine")]);
    let said = folder.plua(&["new", "site"]);
    assert_eq!(said.all(), (Some(1), "", "plua: site is not empty: name a folder that is not there yet\n"));
    assert_eq!(std::fs::read_to_string(folder.path("site/index.plua")).unwrap(), "mine");
    let said = folder.plua(&["new", "site/index.plua"]);
    assert!(said.status == Some(1) && said.err.contains("cannot make site/index.plua"), "{}", said.err);
}
