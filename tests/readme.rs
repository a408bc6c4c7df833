//! The manual's tables of directives and page functions say what the code says, httpd reads its examples, and README is a
//! page.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;

use common::httpd;
use plua::language::functions::FUNCTIONS;
use plua::settings::{DIRECTIVES, Scope};

const README: &str = include_str!("../README.md");
const DIRECTIVES_CHAPTER: &str = include_str!("../docs/directives.md");
/// The chapters whose examples of configuration are read as they stand.
const CHAPTERS_WITH_CONFIGURATION: [&str; 3] =
    [DIRECTIVES_CHAPTER, include_str!("../docs/deployment.md"), include_str!("../docs/from-cgilua.md")];
const FUNCTIONS_CHAPTER: &str = include_str!("../docs/functions.md");

/// The rows of the table below a chapter's heading, without the two that open it. Backticks are taken off: they are the
/// manual's own.
fn rows(chapter: &str, heading: &str) -> Vec<String> {
    let (_, section) = chapter.split_once(&format!("# {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap_or_default();
    let table = section.lines().filter(|line| line.starts_with('|'));
    table.skip(2).map(|row| row.replace('`', "")).collect()
}

#[test]
fn the_table_of_directives_has_each_with_its_default_place_and_meaning_and_no_other() {
    let expected: Vec<String> = DIRECTIVES
        .iter()
        .map(|directive| {
            let place = match directive.scope {
                Scope::Process => "server",
                Scope::Host => "server, host",
                Scope::Limit => "anywhere, to tighten",
                Scope::Directory => "anywhere",
                Scope::Guard => "anywhere, in .htaccess only Off",
            };
            let (name, help) = (directive.name.to_str().unwrap(), directive.help.to_str().unwrap());
            format!("| {name} | {} | {place} | {help} |", directive.default)
        })
        .collect();
    let found = rows(DIRECTIVES_CHAPTER, "Directives");
    assert_eq!(found, expected, "the manual should say\n{}", expected.join("\n"));
}

#[test]
fn the_table_of_page_functions_has_each_with_its_signature_and_meaning_and_no_other() {
    let expected: Vec<String> =
        FUNCTIONS.iter().map(|function| format!("| {} | {} |", function.signature, function.help)).collect();
    let found = rows(FUNCTIONS_CHAPTER, "All functions");
    assert_eq!(found, expected, "the manual should say\n{}", expected.join("\n"));
}

#[test]
fn every_page_function_has_a_signature_that_names_it() {
    for function in FUNCTIONS {
        let opening = format!("{}(", function.name);
        assert!(function.signature.starts_with(&opening), "{}", function.signature);
    }
}

#[test]
fn readme_is_a_front_page_of_200_lines_at_most() {
    assert!(README.lines().count() <= 200, "{} lines", README.lines().count());
}

/// The lines of configuration that a chapter gives as examples.
fn configuration(chapter: &str) -> String {
    chapter.split("```apache\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_directive_has_an_example_that_is_not_its_default() {
    let examples = configuration(DIRECTIVES_CHAPTER);
    let given = |directive: &str, default: &str| {
        let values = examples.lines().filter_map(|line| line.trim().strip_prefix(directive)?.strip_prefix(' '));
        values.filter(|value| *value != default).count()
    };
    for directive in DIRECTIVES {
        let name = directive.name.to_str().unwrap();
        assert!(given(name, directive.default) > 0, "docs/directives.md has no example of {name}");
    }
}

#[test]
fn httpd_reads_every_example_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let examples: String = CHAPTERS_WITH_CONFIGURATION.map(configuration).concat();
    // The folders and files of the examples are this test's.
    for path in examples.split(|mark: char| mark.is_whitespace() || "\";:".contains(mark)) {
        let Some(path) = path.strip_prefix("/srv/").map(|path| folder.path().join(path)) else { continue };
        match path.extension() {
            None => fs::create_dir_all(path).unwrap(),
            Some(_) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
    }
    let examples = examples.replace("/srv/", &format!("{}/", folder.path().display())).replace("*:80", "*:${PORT}");
    let modules = ["http2", "vhost_alias"];
    let server = modules.into_iter().fold(httpd(), |server, module| server.module(module));
    if let Some((status, output)) = server.lines(&examples).check() {
        assert_eq!(status, 0, "{output}");
    }
}
