//! One error laid out for its readers: the browser, the error log, the terminal.

use std::borrow::Cow;
use std::env;
use std::fmt::Write;
use std::iter;
use std::sync::OnceLock;

use html_escape::{encode_double_quoted_attribute, encode_text};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Fact, Facts, Frame, Place};

/// An [`Error`] laid out. Every reader gets the same title, message, place, excerpt and traceback.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a>(pub &'a Error);

impl Report<'_> {
    /// For a terminal: several lines, the last one ended.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.0.kind.title(), self.0.message);
        if let Some(place) = &self.0.place {
            text += &format!("  --> {}:{}\n", place.file, place.line);
            for (number, line) in &place.excerpt {
                let mark = if *number == place.line { '>' } else { ' ' };
                text += &format!("{mark} {number:>5} | {line}\n");
            }
        }
        for frame in &self.0.frames {
            text += &format!("  in {}\n", frame_text(frame));
        }
        text
    }

    /// For a log that keeps one entry on one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.0.to_string();
        if let Some((_, text)) = self.0.place.as_ref().and_then(|place| {
            place.excerpt.iter().find(|(number, text)| *number == place.line && !text.trim().is_empty())
        }) {
            line += &format!(" | {}", text.trim());
        }
        for frame in &self.0.frames {
            line += &format!(" | in {}", frame_text(frame));
        }
        printable(&line).into_owned()
    }

    /// The same with the incident's number before it: where a log cuts long entries, it does so behind.
    #[must_use]
    pub fn entry(&self) -> String {
        match self.0.incident {
            Some(incident) => format!("incident {incident}: {}", self.line()),
            None => self.line(),
        }
    }

    /// A block of HTML for a page that goes on, as for a failed include. It has no style sheet: the page has its own.
    #[must_use]
    pub fn html_block(&self) -> String {
        let mut html = format!(
            "<div style=\"margin:1em 0;padding:.8em 1em;border:1px solid #c33;border-left-width:6px;\
             background:#fff6f5;background:light-dark(#fff6f5,#2b1a19);color:#222;color:light-dark(#222,#eee);overflow-wrap:anywhere;font:14px/1.45 ui-monospace,Menlo,Consolas,monospace;text-align:left\">\
             <strong style=\"color:#b00;color:light-dark(#b00,#f87)\">{}</strong>: {}",
            self.0.kind.title(),
            encode_text(&self.0.message)
        );
        if let Some(place) = &self.0.place {
            html += &format!("<div>{}</div>", shown_place(place));
            if !place.excerpt.is_empty() {
                html += &format!("<pre style=\"margin:.6em 0;overflow-x:auto\">{}</pre>", excerpt(place, "", "\n"));
            }
        }
        for frame in &self.0.frames {
            html += &format!("<div>in {}</div>", shown_frame(frame));
        }
        if !self.0.locals.is_empty() {
            html += "<details><summary>Local variables</summary>";
            for Fact { name, value } in &self.0.locals {
                html += &format!("<div>{} = {}</div>", encode_text(name), encode_text(value));
            }
            html += "</details>";
        }
        html + "</div>\n"
    }

    /// A whole HTML page, in one file, with what is known of the request.
    #[must_use]
    pub fn html_page(&self, request: &[Facts]) -> String {
        let Report(error) = self;
        let (title, message) = (error.kind.title(), encode_text(&error.message));
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>{title}</title>\n<style>\n{STYLE}</style></head>\n\
             <body>\n<p class=\"kind\">{title}</p>\n<h1>{message}</h1>\n"
        );
        // Writing to a String cannot fail.
        if let Some(place) = &error.place {
            let _ = writeln!(html, "<p class=\"place\">{}</p>", shown_place(place));
            if !place.excerpt.is_empty() {
                let _ = writeln!(html, "<pre>{}</pre>", excerpt(place, "span", ""));
            }
        }
        let files: Vec<String> = self.files().iter().map(|(file, line)| linked(file, *line)).collect();
        if files.len() > 1 {
            section(&mut html, "Included files", files.len(), true, &list(&files));
        }
        if !error.frames.is_empty() {
            let frames: Vec<String> = error.frames.iter().map(|frame| format!("in {}", shown_frame(frame))).collect();
            section(&mut html, "Calls", frames.len(), true, &list(&frames));
        }
        if !error.locals.is_empty() {
            section(&mut html, "Local variables", error.locals.len(), true, &pairs(&error.locals));
        }
        for Facts { title, facts } in request.iter().filter(|group| !group.facts.is_empty()) {
            section(&mut html, title, facts.len(), false, &pairs(facts));
        }
        if let Some(incident) = error.incident {
            let _ = writeln!(html, "<footer>Incident <strong>{incident}</strong> in the error log</footer>");
        }
        html + &script() + "</body></html>\n"
    }

    /// Where each of the files stands that are being run, from the page to the file that failed: at what includes the next one.
    fn files(&self) -> Vec<(&str, u32)> {
        let frames = &self.0.frames;
        let includes = frames.iter().enumerate().filter(|(_, frame)| frame.is_file).map(|(number, _)| number + 1);
        let at = |number: usize| frames.get(number)?.at.as_ref().map(|(file, line)| (file.as_str(), *line));
        let mut files: Vec<_> = iter::once(0).chain(includes).filter_map(at).collect();
        files.reverse();
        files
    }
}

/// The style sheet of a report's page.
const STYLE: &str = include_str!("report.css");

/// A part of a report's page that can be closed.
fn section(html: &mut String, title: &str, count: usize, is_open: bool, inside: &str) {
    let open = if is_open { " open" } else { "" };
    let _ = writeln!(html, "<details{open}><summary>{title} <small>{count}</small></summary>{inside}</details>");
}

/// Lines of HTML as a list.
fn list(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("<li>{line}</li>")).collect();
    format!("<ol>{lines}</ol>")
}

fn pairs(facts: &[Fact]) -> String {
    let pair = |Fact { name, value }: &Fact| format!("<dt>{}</dt><dd>{}</dd>", encode_text(name), encode_text(value));
    format!("<dl>{}</dl>", facts.iter().map(pair).collect::<String>())
}

/// The lines of an excerpt, the failing one marked: each in this element, if one is given, and with this end.
fn excerpt(place: &Place, element: &str, end: &str) -> String {
    let line = |(number, line): &(u32, String)| {
        let text = format!("{number:>5} | {}", encode_text(line));
        match (*number == place.line, element) {
            (true, _) => format!("<mark>{text}</mark>{end}"),
            (false, "") => format!("{text}{end}"),
            (false, element) => format!("<{element}>{text}</{element}>{end}"),
        }
    };
    place.excerpt.iter().map(line).collect()
}

fn shown_place(place: &Place) -> String {
    linked(&place.file, place.line)
}

fn linked(file: &str, line: u32) -> String {
    in_editor(file, line, &format!("{}:<strong>{line}</strong>", encode_text(file)))
}

fn shown_frame(frame: &Frame) -> String {
    let shown = encode_text(&frame_text(frame)).into_owned();
    match &frame.at {
        Some((file, line)) => in_editor(file, *line, &shown),
        None => shown,
    }
}

/// What the server's environment says under a name, as it was when it was asked first.
fn environment(known: &'static OnceLock<Option<String>>, name: &str) -> Option<&'static str> {
    known.get_or_init(|| env::var(name).ok().filter(|value| !value.is_empty())).as_deref()
}

/// A place as a link that opens it in an editor, where `PLUA_EDITOR` says how: `vscode://file/%f:%l`.
fn in_editor(file: &str, line: u32, shown: &str) -> String {
    static EDITOR: OnceLock<Option<String>> = OnceLock::new();
    /// What is no part of a path (RFC 3986).
    const OUTSIDE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    let Some(editor) = environment(&EDITOR, "PLUA_EDITOR") else { return shown.to_owned() };
    let file = utf8_percent_encode(file, OUTSIDE).to_string();
    let address = editor.replace("%f", &file).replace("%l", &line.to_string());
    format!("<a style=\"color:inherit\" href=\"{}\">{shown}</a>", encode_double_quoted_attribute(&address))
}

/// What `plua serve --reload` wants in each page; httpd sends this one past its filters.
fn script() -> String {
    static SCRIPT: OnceLock<Option<String>> = OnceLock::new();
    environment(&SCRIPT, "PLUA_REPORT_SCRIPT").map_or_else(String::new, |address| {
        format!("<script src=\"{}\"></script>", encode_double_quoted_attribute(address))
    })
}

/// A line without control characters, which end an entry in C or do things to a terminal: each as terminals show it, NUL as `^@`.
/// Line breaks and tabs stay, for a log has its own way of writing these.
#[must_use]
pub fn printable(line: &str) -> Cow<'_, str> {
    let is_shown = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
    if line.chars().all(is_shown) {
        return line.into();
    }
    let mut shown = String::with_capacity(line.len() + line.len() / 4);
    for character in line.chars() {
        match character {
            '\0'..='\x1f' | '\x7f' if !is_shown(character) => {
                shown.extend(['^', char::from(character as u8 ^ 0x40)]);
            }
            character if is_shown(character) => shown.push(character),
            // Those of two bytes, which some terminals heed.
            character => _ = write!(shown, "<{:02X}>", u32::from(character)),
        }
    }
    shown.into()
}

fn frame_text(frame: &Frame) -> String {
    match &frame.at {
        Some((file, line)) => format!("{} at {file}:{line}", frame.what),
        None => frame.what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::ErrorKind;
    use crate::error::incident::Incident;

    fn sample() -> Error {
        Error {
            kind: ErrorKind::Runtime,
            message: "attempt to index local 'user' (a nil value) & <b>".into(),
            place: Some(Box::new(Place::new(Path::new("/shop/cart.plua"), 2, b"<ul>\n <?= user.name ?>\r\n</ul>"))),
            frames: vec![
                Frame { what: "function 'item'".into(), at: Some(("/shop/cart.plua".into(), 2)), is_file: false },
                Frame { what: "file".into(), at: Some(("/shop/cart.plua".into(), 7)), is_file: true },
                Frame { what: "main page".into(), at: Some(("/shop/index.plua".into(), 9)), is_file: true },
            ],
            locals: vec![Fact { name: "user".into(), value: "\"<i>&\"".into() }],
            incident: None,
        }
    }

    #[test]
    fn a_terminal_sees_the_failing_line_marked_in_its_surroundings() {
        insta::assert_snapshot!(Report(&sample()).text(), @r"
        Run-time error: attempt to index local 'user' (a nil value) & <b>
          --> /shop/cart.plua:2
              1 | <ul>
        >     2 |  <?= user.name ?>
              3 | </ul>
          in function 'item' at /shop/cart.plua:2
          in file at /shop/cart.plua:7
          in main page at /shop/index.plua:9
        ");
    }

    #[test]
    fn the_log_gets_one_line_with_place_source_and_calls() {
        assert_eq!(
            Report(&sample()).line(),
            "Run-time error: attempt to index local 'user' (a nil value) & <b> at /shop/cart.plua:2 | <?= user.name ?> \
             | in function 'item' at /shop/cart.plua:2 | in file at /shop/cart.plua:7 | in main page at /shop/index.plua:9"
        );
    }

    #[test]
    fn the_log_shows_control_characters_and_loses_nothing_behind_them() {
        let error = Error { message: "a\0b \x1b[31m \u{9b}31m \x7f \n\tü".into(), ..sample() };
        let line = Report(&error).line();
        assert!(line.starts_with("Run-time error: a^@b ^[[31m <9B>31m ^? \n\tü at /shop/cart.plua:2 | "), "{line:?}");
        assert_eq!(printable("as it is\n"), "as it is\n");
    }

    #[test]
    fn a_browser_gets_everything_escaped() {
        let facts = [Facts { title: "Headers", facts: vec![Fact { name: "<b>".into(), value: "</dd><b>".into() }] }];
        let error = Error { incident: Some(Incident::new()), ..sample() };
        for html in [Report(&error).html_page(&facts), Report(&error).html_block()] {
            assert!(html.contains("(a nil value) &amp; &lt;b&gt;"), "{html}");
            assert!(html.contains("<mark>    2 |  &lt;?= user.name ?&gt;</mark>"), "{html}");
            assert!(html.contains("\"&lt;i&gt;&amp;\""), "{html}");
            assert!(!html.contains("<b>") && !html.contains("<i>"), "{html}");
        }
    }

    #[test]
    fn the_page_tells_how_the_file_that_failed_was_included() {
        assert_eq!(Report(&sample()).files(), [("/shop/index.plua", 9), ("/shop/cart.plua", 2)]);
        let html = Report(&sample()).html_page(&[]);
        assert!(html.contains("Included files <small>2</small>"), "{html}");
        assert!(
            html.contains("<li>/shop/index.plua:<strong>9</strong></li><li>/shop/cart.plua:<strong>2</strong></li>")
        );
    }

    #[test]
    fn a_place_beyond_the_source_has_no_excerpt_and_the_last_line_a_short_one() {
        assert!(Place::new(Path::new("x"), 9, b"a\nb").excerpt.is_empty());
        assert_eq!(Place::new(Path::new("x"), 3, b"a\nb\nc").excerpt.len(), 3);
    }
}
