//! The manual as a book: its table of contents has every chapter, and every link leads to something in the book.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The repository.
pub const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Every Markdown file of the manual but its table of contents, by its path in `docs/`.
pub fn chapters() -> BTreeSet<PathBuf> {
    let docs = Path::new(REPOSITORY).join("docs");
    let mut folders = vec![docs.clone()];
    let mut chapters = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") && !path.ends_with("SUMMARY.md") {
                chapters.insert(path.strip_prefix(&docs).unwrap().to_owned());
            }
        }
    }
    chapters
}

/// The lines of a text that are no code between fences.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links and pictures of a text lead. What stands between backticks is none.
fn links(text: &str) -> Vec<String> {
    let text: String = prose(text).map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect();
    let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default().to_owned());
    links.filter(|link| !link.contains("://")).collect()
}

/// The anchors of a chapter's headings, as mdBook and forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|mark| mark.is_alphanumeric() || "-_".contains(*mark)).collect()
    };
    headings.map(anchor).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leads out of the repository", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn the_table_of_contents_has_every_chapter_once_and_nothing_else() {
    let contents = fs::read_to_string(Path::new(REPOSITORY).join("docs/SUMMARY.md")).unwrap();
    let listed = links(&contents);
    let chapters: Vec<String> = chapters().iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, chapters, "docs/SUMMARY.md should list each chapter once");
}

#[test]
fn every_link_of_the_manual_and_of_the_pages_beside_it_leads_to_a_file_and_a_heading_that_are_there() {
    let repository = Path::new(REPOSITORY);
    let beside = fs::read_dir(repository).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let beside = beside.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let pages = chapters().into_iter().map(|path| Path::new("docs").join(path)).chain(beside);
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(repository.join(&page)).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { plain(&page.with_file_name(file)) };
            let known = || anchors(&fs::read_to_string(repository.join(&target)).unwrap());
            let fault = if !repository.join(&target).exists() {
                "no file"
            } else if page.starts_with("docs") && !target.starts_with("docs") {
                "a file out of docs/, which the book does not have"
            } else if !anchor.is_empty() && !known().contains(anchor) {
                "no heading"
            } else {
                count += 1;
                continue;
            };
            faults.push(format!("{}: {link} leads to {fault}", page.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 100, "{count} links");
}
