//! The examples of the manual: each runs and gives what it says, and every page function has one.

use plua::language::functions::FUNCTIONS;

use crate::values::{fault, site};

/// The chapters whose examples run.
const CHAPTERS: [&str; 6] = [
    include_str!("../../../docs/first-page.md"),
    include_str!("../../../docs/tags.md"),
    include_str!("../../../docs/functions.md"),
    include_str!("../../../docs/pages.md"),
    include_str!("../../../docs/state.md"),
    include_str!("../../../docs/waiting.md"),
];

/// The blocks of code of this kind in a chapter.
fn blocks<'a>(chapter: &'a str, kind: &str) -> Vec<&'a str> {
    let opening = format!("```{kind}\n");
    chapter.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The pages of all chapters.
fn pages() -> Vec<&'static str> {
    CHAPTERS.iter().flat_map(|chapter| blocks(chapter, "html")).collect()
}

/// A line of an example, with what stands before it and what it gives.
struct Line {
    before: String,
    code: &'static str,
    gives: &'static str,
}

/// The lines of all chapters. Those of a block that give nothing stand before the others.
fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for block in CHAPTERS.iter().flat_map(|chapter| blocks(chapter, "lua")).filter(|block| block.contains("-->")) {
        let mut before = String::new();
        for line in block.lines() {
            match line.split_once("-->") {
                Some((code, gives)) => {
                    lines.push(Line { before: before.clone(), code: code.trim(), gives: gives.trim() });
                }
                None => before += &format!("{line}\n"),
            }
        }
    }
    lines
}

/// The layout of the manual.
fn layout() -> &'static str {
    pages().into_iter().find(|page| page.contains("content()")).unwrap()
}

#[test]
fn every_example_page_runs() {
    let site = site(&[("layout.plua", layout())]);
    let pages = pages();
    assert!(pages.len() >= 20, "{} pages", pages.len());
    for page in pages {
        site.write_before("example.plua", page);
        let seen = site.get("example.plua");
        assert!(seen.status < 500 && seen.log.is_empty(), "{page}\n{:?}", seen.log);
    }
}

#[test]
fn every_example_of_one_line_gives_what_it_says() {
    let site = site(&[]);
    let lines = lines();
    assert!(lines.len() > 80, "{} lines", lines.len());
    let faults = lines.iter().filter_map(|line| fault(&site, &line.before, line.code, line.gives));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether code calls a function by this name.
fn calls(code: &str, name: &str) -> bool {
    let is_part = |mark: char| mark.is_ascii_alphanumeric() || "_.:".contains(mark);
    code.match_indices(name).any(|(at, _)| {
        let after = code[at + name.len()..].trim_start();
        !code[..at].ends_with(is_part) && after.starts_with(['(', '{', '"'])
    })
}

#[test]
fn every_page_function_has_an_example_that_runs() {
    let code: Vec<&str> = pages().into_iter().chain(lines().iter().map(|line| line.code)).collect();
    let code = code.join("\n");
    // A function of strings is a method of text.
    let is_called = |name: &str| {
        let method = name.strip_prefix("string.").map(|name| format!(":{name}("));
        calls(&code, name) || method.is_some_and(|method| code.contains(&method))
    };
    let missing: Vec<_> = FUNCTIONS.iter().map(|function| function.name).filter(|name| !is_called(name)).collect();
    assert_eq!(missing, [] as [&str; 0], "docs/functions.md, pages.md, state.md or waiting.md should call each");
}
