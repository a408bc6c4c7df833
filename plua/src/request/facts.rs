//! The request of a page that failed, as its report shows it: without what is secret.

use crate::error::secrets::{HIDDEN, gives_secret, is_secret, without_secrets};
use crate::error::{Fact, Facts};
use crate::request::form::Value;
use crate::request::visit::Visit;

/// Characters of a value that are shown.
const LONGEST: usize = 300;

/// Headers, and fields, that are shown.
const MOST: usize = 60;

/// What the request asks, its headers and, if the page has asked for it, its form.
#[must_use]
pub fn of_request(visit: &Visit, status: u16) -> Vec<Facts> {
    let request = visit.exchange.request();
    let line = |name: &str, value: String| Fact { name: name.to_owned(), value };
    let mut asked = vec![
        line("Method", text(&request.method)),
        line("Address", short(&without_secrets(&String::from_utf8_lossy(&request.unparsed_uri)))),
        line("Status", status.to_string()),
        line("Virtual host", text(&request.server_name)),
        line("Page", short(&visit.path.to_string_lossy())),
    ];
    if let Some(Ok(body)) = visit.body.as_deref() {
        asked.push(line("Body", format!("{} bytes", body.size())));
    }
    let mut headers = Vec::new();
    visit.exchange.headers(&mut |name, value| headers.push(header(name, value)));
    let mut all = vec![Facts { title: "Request", facts: asked }, Facts { title: "Headers", facts: cut(headers) }];
    if let Some(form) = &visit.form {
        let fields = form.fields.iter().map(|(name, value)| field(name, value));
        let parts = form.parts.iter().map(|(name, value)| match value {
            Value::Text(value) => field(name, value),
            Value::File(number) => {
                let size = form.uploads.get(*number).map_or(0, |upload| upload.size);
                line(&text(name), format!("a file of {size} bytes"))
            }
        });
        all.push(Facts { title: "Form", facts: cut(fields.chain(parts)) });
    }
    all
}

fn header(name: &[u8], value: &[u8]) -> Fact {
    let value = String::from_utf8_lossy(value);
    let shown = match is_secret(name) {
        true => HIDDEN.to_owned(),
        // The address of the page that led here.
        false if value.contains("://") => without_secrets(&value),
        false if gives_secret(value.as_bytes()) => HIDDEN.to_owned(),
        false => value.into_owned(),
    };
    Fact { name: text(name), value: short(&shown) }
}

fn field(name: &[u8], value: &[u8]) -> Fact {
    let is_hidden = is_secret(name) || gives_secret(&value[..value.len().min(LONGEST)]);
    Fact { name: text(name), value: if is_hidden { HIDDEN.to_owned() } else { text(value) } }
}

fn text(bytes: &[u8]) -> String {
    // No character has more than four bytes.
    short(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * LONGEST)]))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first of them, and how many are left out.
fn cut(facts: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
    let mut facts = facts.into_iter();
    let mut shown: Vec<Fact> = facts.by_ref().take(MOST).collect();
    match facts.count() {
        0 => {}
        left => shown.push(Fact { name: "…".to_owned(), value: format!("{left} more") }),
    }
    shown
}
