//! Names of files: which are neither run nor shown, and lines of the configuration by which `photo.plua.jpg` runs.

use std::ffi::{CString, c_char};
use std::ptr;

use plua::error::entry::Entry;

use crate::{ffi, pool};

/// What names of pages end in.
const EXTENSION: &[u8] = b".plua";

/// What tools put behind the name of a file to keep an older or a newer one beside it; a number may follow.
#[rustfmt::skip]
const COPIES: &[&[u8]] = &[
    b"bak", b"backup", b"bck", b"copy", b"dist", b"filepart", b"kate-swp", b"new", b"old", b"orig", b"part", b"prev",
    b"rej", b"rpmnew", b"rpmorig", b"rpmsave", b"sav", b"save", b"swn", b"swo", b"swp", b"swx", b"tmp",
];

/// The same, of which more may follow.
const FAMILIES: &[&[u8]] = &[b"dpkg-", b"ucf-"];

/// Why the file at `path` is neither to be run, as the page it is, nor to be sent as it is by httpd, which was told of no
/// handler for it, and the entry that tells so. None for any other.
pub(crate) fn why_kept_back(path: &[u8], is_page: bool, runs_pages: bool) -> Option<(Entry, &'static str)> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is_hidden = name.first() == Some(&b'.');
    if is_page {
        return match (runs_pages, is_hidden && !name[1..].contains(&b'.')) {
            (false, _) => Some((Entry::ENGINE_OFF, "pLuaEngine is Off here: not run")),
            (_, true) => Some((Entry::ONLY_EXTENSION, "its name is nothing but an extension: not run")),
            _ => None,
        };
    }
    let lower = name.to_ascii_lowercase();
    let rest = &lower[memrmem(&lower, EXTENSION)? + EXTENSION.len()..];
    match rest {
        [] if !runs_pages => Some((Entry::ENGINE_OFF, "pLuaEngine is Off here: its source is not shown")),
        [] if lower == EXTENSION || !name.ends_with(EXTENSION) => {
            Some((Entry::NEARLY_PAGE, "the name of a page, or nearly: not shown"))
        }
        [] => None,
        _ => is_copy(rest, is_hidden)
            .then_some((Entry::COPY_OF_PAGE, "the copy of a page that a tool has left: its source is not shown")),
    }
}

/// Whether a name that goes on so behind the one of a page, in lower case, is that of a copy.
fn is_copy(rest: &[u8], is_hidden: bool) -> bool {
    match rest {
        b"~" | b"#" => true,
        [b'.', b'~', .., b'~'] => true,
        [b'.' | b'~', ..] if is_hidden => true,
        [b'.', word @ ..] => {
            let end = word.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.').map_or(0, |last| last + 1);
            (end == 0 && !word.is_empty())
                || COPIES.contains(&&word[..end])
                || FAMILIES.iter().any(|family| word.starts_with(family))
        }
        _ => rest.starts_with(b"___jb_"),
    }
}

/// Where `wanted` is found last.
fn memrmem(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|window| window == wanted)
}

/// A line, and a file that it makes a page of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loose {
    file: String,
    line: i32,
    text: String,
    example: String,
}

/// The sentence for these lines, which tells of the first; none for none.
pub(crate) fn warning(loose: &[Loose]) -> Option<String> {
    let first = loose.first()?;
    let more = match loose.len() - 1 {
        0 => String::new(),
        more => format!(" (so {more} more)"),
    };
    let Loose { file, line, text, example } = first;
    Some(format!(
        "{file}:{line}: {text} makes pages of files whose names go on, such as {example}{more}: put SetHandler plua into \
         <Files \"*.plua\"> instead"
    ))
}

/// All such lines of the configuration that was read last. `.htaccess` is not part of it.
///
/// # Safety
/// `pool` is live and httpd's configuration was read, in a process of one thread.
pub(crate) unsafe fn loose_lines(pool: *mut ffi::apr_pool_t) -> Vec<Loose> {
    let mut found = Vec::new();
    // SAFETY: the tree is httpd's and complete; the caller's promise.
    unsafe { walk(pool, ffi::ap_conftree, &mut Vec::new(), &mut found) };
    found
}

/// Adds those of `line` and all that follow it, which are in these sections.
///
/// # Safety
/// As [`loose_lines`]; `line` is null or one of the tree's.
unsafe fn walk(
    pool: *mut ffi::apr_pool_t,
    mut line: *const ffi::ap_directive_t,
    sections: &mut Vec<Section>,
    found: &mut Vec<Loose>,
) {
    // SAFETY: the tree's lines and texts live as long as the configuration.
    while let Some(this) = unsafe { line.as_ref() } {
        line = this.next;
        // SAFETY: as above.
        let (name, arguments) = unsafe { (text(this.directive), Words { pool, rest: this.args }) };
        // SAFETY: as above.
        if let Some(example) = unsafe { example(pool, &name, arguments, sections) } {
            found.push(Loose {
                // SAFETY: as above.
                file: unsafe { text(this.filename) },
                line: this.line_num,
                // SAFETY: as above.
                text: format!("{name} {}", unsafe { text(this.args) }),
                example,
            });
        }
        // SAFETY: as above.
        let section = unsafe { Section::of(pool, this) };
        let depth = sections.len();
        sections.extend(section);
        // SAFETY: the caller's promise.
        unsafe { walk(pool, this.first_child, sections, found) };
        sections.truncate(depth);
    }
}

/// A file that a line with these arguments, in these sections, makes a page of by more than the end of its name.
///
/// # Safety
/// `pool` is live.
unsafe fn example(
    pool: *mut ffi::apr_pool_t,
    name: &str,
    mut arguments: Words,
    sections: &[Section],
) -> Option<String> {
    // SAFETY: the caller's promise.
    let takes = |name: &str| sections.iter().all(|section| unsafe { section.takes(pool, name) });
    let goes_on = |extension: &str| {
        let extension = extension.trim_start_matches('.');
        ["photo", "index"].iter().map(|stem| format!("{stem}.{extension}.jpg")).find(|name| takes(name))
    };
    let is_ours = arguments.next().is_some_and(|handler| handler.eq_ignore_ascii_case("plua"));
    match name.to_ascii_lowercase().as_str() {
        "addhandler" if is_ours => arguments.find_map(|extension| goes_on(&extension)),
        // Where no section asks for a name, any name is meant.
        "sethandler" if is_ours && !sections.is_empty() => {
            goes_on("plua").filter(|longer| takes(longer.trim_end_matches(".jpg")))
        }
        _ => None,
    }
}

/// A section that is for names of a kind.
enum Section {
    /// `<Files>`: a name with wildcards.
    Wildcards(CString),
    /// `<FilesMatch>` or `<Files ~>`.
    Expression(CString),
    /// `<LocationMatch>` or `<Location ~>`: of the path.
    PathExpression(CString),
}

impl Section {
    /// What a line opens, if it is such a section.
    ///
    /// # Safety
    /// `pool` is live.
    unsafe fn of(pool: *mut ffi::apr_pool_t, line: &ffi::ap_directive_t) -> Option<Section> {
        // SAFETY: the tree's texts live as long as the configuration.
        let (name, mut arguments) = unsafe { (text(line.directive), Words { pool, rest: line.args }) };
        let mut pattern = || {
            let word = arguments.next()?;
            // httpd leaves the bracket that ends it.
            CString::new(word.trim_end_matches('>')).ok()
        };
        let name = name.to_ascii_lowercase();
        let first = pattern();
        match (name.as_str(), first.as_ref().is_some_and(|first| first.as_c_str() == c"~")) {
            ("<files", false) => first.map(Section::Wildcards),
            ("<files", true) => pattern().map(Section::Expression),
            ("<filesmatch", _) => first.map(Section::Expression),
            ("<location", true) => pattern().map(Section::PathExpression),
            ("<locationmatch", _) => first.map(Section::PathExpression),
            _ => None,
        }
    }

    /// Whether a file of this name may be in it.
    ///
    /// # Safety
    /// `pool` is live.
    unsafe fn takes(&self, pool: *mut ffi::apr_pool_t, name: &str) -> bool {
        let name = match self {
            Section::PathExpression(_) => format!("/{name}"),
            _ => name.to_owned(),
        };
        let Ok(name) = CString::new(name) else { return false };
        match self {
            // SAFETY: two C strings.
            Section::Wildcards(pattern) => unsafe { ffi::apr_fnmatch(pattern.as_ptr(), name.as_ptr(), 0) == 0 },
            Section::Expression(pattern) | Section::PathExpression(pattern) => {
                // SAFETY: C strings and a live pool; an expression that httpd took compiles, and is null otherwise.
                unsafe {
                    let expression = ffi::ap_pregcomp(pool, pattern.as_ptr(), ffi::AP_REG_EXTENDED as i32);
                    !expression.is_null() && ffi::ap_regexec(expression, name.as_ptr(), 0, ptr::null_mut(), 0) == 0
                }
            }
        }
    }
}

/// The words of a line, as httpd reads them.
struct Words {
    pool: *mut ffi::apr_pool_t,
    rest: *const c_char,
}

impl Iterator for Words {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.rest.is_null() {
            return None;
        }
        // SAFETY: the rest is a C string, and the pool is live as long as the line is looked at.
        let word = unsafe { text(ffi::ap_getword_conf(self.pool, &raw mut self.rest)) };
        (!word.is_empty()).then_some(word)
    }
}

/// A C string as text; empty for null.
///
/// # Safety
/// `at` is null or a C string.
unsafe fn text(at: *const c_char) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { pool::bytes(at) }).into_owned()
}
