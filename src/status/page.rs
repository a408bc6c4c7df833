//! The status for people: one page, without anything from elsewhere, and the part of it in mod_status' own.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use html_escape::encode_double_quoted_attribute as escaped;
use scoreboard::{HostCounts, Snapshot};

use super::About;
use super::column::{COLUMNS, Column};
use super::machine::errors;

const STYLE: &str = include_str!("page.css");

/// All of it. `refresh` is after how many seconds the browser is to ask again, if it is.
pub(crate) fn page(about: &About, snapshot: &Snapshot, refresh: Option<u32>) -> String {
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">");
    if let Some(seconds) = refresh {
        let _ = write!(html, "<meta http-equiv=\"refresh\" content=\"{seconds}\">");
    }
    let _ = write!(html, "<title>mod_plua status</title><style>{STYLE}</style></head><body>");
    let _ = write!(
        html,
        "<header><h1>mod_plua {}</h1><p>{}, in {}. Counted since {}, in {} {} now.</p></header>",
        escaped(about.version),
        escaped(about.lua),
        escaped(&about.server),
        when(snapshot.since),
        snapshot.processes,
        if snapshot.processes == 1 { "process" } else { "processes" },
    );
    cards(&mut html, about, snapshot);
    html.push_str("<h2>Hosts</h2>");
    hosts(&mut html, snapshot);
    failures(&mut html, snapshot);
    slowest(&mut html, snapshot);
    let _ = writeln!(
        html,
        "<form method=\"post\" action=\"{}/reset-cache\"><button>Compile all files anew</button> \
         <span>Each Lua state is made anew before its next page. Done {} {} so far.</span></form>\
         <footer>The same for programs: <a href=\"?json\">JSON</a>, <a href=\"?metrics\">Prometheus</a>. \
         <a href=\"?refresh=5\">Refresh every 5 seconds</a>.</footer></body></html>",
        escaped(&about.path),
        snapshot.resets,
        if snapshot.resets == 1 { "time" } else { "times" },
    );
    html
}

/// The part in mod_status' page.
pub(crate) fn part(snapshot: &Snapshot) -> String {
    let mut html = String::from("<hr />\n<h2>mod_plua</h2>\n");
    hosts(&mut html, snapshot);
    html
}

fn cards(html: &mut String, about: &About, snapshot: &Snapshot) {
    let total = |of: fn(&HostCounts) -> f64| snapshot.hosts.iter().map(of).sum::<f64>();
    let age = about.now.saturating_sub(snapshot.since).max(1) as f64;
    let pages = total(|host| host.requests as f64);
    let cards = [
        ("pages a second", format!("{:.1}", pages / age)),
        ("pages", number(pages)),
        ("failed", number(total(|host| host.errors.iter().sum::<u64>() as f64))),
        ("mean time", seconds(total(|host| host.seconds) / pages.max(1.0))),
        (
            "states busy",
            format!("{} of {}", number(total(|host| host.busy as f64)), number(total(|host| host.states as f64))),
        ),
        ("in line", number(total(|host| host.waiting as f64))),
        ("parked", number(total(|host| host.parked as f64))),
        ("Lua's memory", bytes(total(|host| host.bytes as f64))),
    ];
    html.push_str("<ul class=\"cards\">");
    for (name, value) in cards {
        let _ = write!(html, "<li><b>{value}</b> {name}</li>");
    }
    html.push_str("</ul>");
}

fn hosts(html: &mut String, snapshot: &Snapshot) {
    html.push_str("<div class=\"wide\"><table><thead><tr><th>host</th><th>now</th>");
    for column in &COLUMNS {
        let _ = write!(html, "<th title=\"{}\">{}</th>", escaped(column.help), escaped(column.heading));
    }
    html.push_str("</tr></thead><tbody>");
    for host in &snapshot.hosts {
        let _ = write!(html, "<tr><th>{}</th><td>{}</td>", escaped(&host.name), chart(host));
        for column in &COLUMNS {
            let _ = write!(html, "<td>{}</td>", cell(column, (column.of)(host)));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n");
}

/// States that are busy and free, and pages that are parked, as lengths.
fn chart(host: &HostCounts) -> String {
    let free = host.states.saturating_sub(host.busy);
    let all = (host.states + host.parked + host.waiting).max(1) as f64;
    let mut x = 0.0;
    let mut svg = String::new();
    for (class, count) in [("busy", host.busy), ("free", free), ("waiting", host.waiting), ("parked", host.parked)] {
        let width = 100.0 * count as f64 / all;
        let _ = write!(svg, "<rect class=\"{class}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"10\"/>");
        x += width;
    }
    format!(
        "<svg width=\"100\" height=\"10\" role=\"img\"><title>{} busy, {free} free, {} in line, {} parked</title>{svg}</svg>",
        host.busy, host.waiting, host.parked
    )
}

fn failures(html: &mut String, snapshot: &Snapshot) {
    let rows: Vec<_> = snapshot.hosts.iter().flat_map(|host| errors(host).map(move |error| (host, error))).collect();
    if rows.is_empty() {
        return;
    }
    let most = rows.iter().map(|(_, (_, count))| *count).max().unwrap_or(1) as f64;
    html.push_str("<h2>Failed pages</h2><div class=\"wide\"><table><thead><tr><th>host</th><th>kind</th><th>pages</th><th></th></tr></thead><tbody>");
    for (host, (kind, count)) in rows {
        let width = 200.0 * count as f64 / most;
        let _ = write!(
            html,
            "<tr><th>{}</th><td class=\"text\">{}</td><td>{}</td><td><svg width=\"200\" height=\"10\"><rect class=\"failed\" width=\"{width:.1}\" height=\"10\"/></svg></td></tr>",
            escaped(&host.name),
            kind.title(),
            number(count as f64),
        );
    }
    html.push_str("</tbody></table></div>");
}

fn slowest(html: &mut String, snapshot: &Snapshot) {
    let mut rows: Vec<_> =
        snapshot.hosts.iter().flat_map(|host| host.slowest.iter().map(move |page| (host, page))).collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|(_, one), (_, other)| other.seconds.total_cmp(&one.seconds));
    rows.truncate(50);
    let most = rows[0].1.seconds.max(1e-9);
    html.push_str(
        "<h2>Slowest pages</h2><div class=\"wide\"><table><thead><tr><th>page</th><th>host</th><th>longest time</th>\
         <th></th><th>Lua's memory then</th><th>when</th></tr></thead><tbody>",
    );
    for (host, page) in rows {
        let width = 200.0 * page.seconds / most;
        let _ = write!(
            html,
            "<tr><th>{}</th><td class=\"text\">{}</td><td>{}</td><td><svg width=\"200\" height=\"10\"><rect class=\"busy\" width=\"{width:.1}\" height=\"10\"/></svg></td><td>{}</td><td>{}</td></tr>",
            escaped(&page.page),
            escaped(&host.name),
            seconds(page.seconds),
            bytes(page.bytes as f64),
            when(page.at),
        );
    }
    html.push_str("</tbody></table></div>");
}

fn cell(column: &Column, value: f64) -> String {
    match column.name {
        name if name.contains("seconds") => seconds(value),
        name if name.contains("bytes") => bytes(value),
        _ => number(value),
    }
}

/// A whole number with spaces between its thousands.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn seconds(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        value if value < 0.001 => format!("{:.0}\u{202f}us", value * 1e6),
        value if value < 1.0 => format!("{:.1}\u{202f}ms", value * 1e3),
        value if value < 100.0 => format!("{value:.2}\u{202f}s"),
        value => format!("{}\u{202f}s", number(value)),
    }
}

fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{value:.0}\u{202f}B"),
        value if value < 1_048_576.0 => format!("{:.0}\u{202f}KB", value / 1024.0),
        value => format!("{:.1}\u{202f}MB", value / 1_048_576.0),
    }
}

fn when(at: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at))
}
