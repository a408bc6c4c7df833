//! The status for programs: JSON, Prometheus' text format, and the lines of mod_status' `?auto`.

use std::fmt::Write;

use plua::error::ErrorKind;
use scoreboard::{HostCounts, Snapshot};
use serde_json::{Map, Value, json};

use super::About;
use super::column::{COLUMNS, Kind};

/// The media type of [`metrics`] (Prometheus, Exposition formats, text format 0.0.4).
pub(crate) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of it as one object.
pub(crate) fn json(about: &About, snapshot: &Snapshot) -> String {
    let hosts: Vec<Value> = snapshot.hosts.iter().map(host).collect();
    let mut all = json!({
        "version": about.version,
        "lua": about.lua,
        "since": snapshot.since,
        "now": about.now,
        "processes": snapshot.processes,
        "cache_resets": snapshot.resets,
        "hosts": hosts,
    })
    .to_string();
    all.push('\n');
    all
}

fn host(host: &HostCounts) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), host.name.as_str().into());
    for column in &COLUMNS {
        let value = (column.of)(host);
        let is_whole = value.fract() == 0.0 && !column.name.contains("seconds");
        fields.insert(column.name.into(), if is_whole { json!(value as u64) } else { json!(value) });
    }
    let errors: Map<String, Value> =
        errors(host).map(|(kind, count)| (kind.word().to_string(), json!(count))).collect();
    fields.insert("errors".into(), errors.into());
    let slowest = host
        .slowest
        .iter()
        .map(|page| json!({ "page": page.page, "seconds": page.seconds, "lua_bytes": page.bytes, "at": page.at }));
    fields.insert("slowest_pages".into(), slowest.collect());
    fields.into()
}

/// The kinds of errors that pages of a host had, with how often.
pub(crate) fn errors(host: &HostCounts) -> impl Iterator<Item = (ErrorKind, u64)> + '_ {
    let all = ErrorKind::ALL.into_iter();
    all.filter_map(|kind| host.errors.get(kind as usize).filter(|count| **count > 0).map(|count| (kind, *count)))
}

/// All of it for Prometheus.
pub(crate) fn metrics(about: &About, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: Kind, help: &str, samples: &mut dyn Iterator<Item = (String, f64)>| {
        let kind = if kind == Kind::Gauge { "gauge" } else { "counter" };
        let _ = writeln!(text, "# HELP plua_{name} {help}.\n# TYPE plua_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "plua_{name}{labels} {value}");
        }
    };
    let mut one = |name, kind, help, labels: &str, value| {
        family(name, kind, help, &mut [(labels.to_string(), value)].into_iter());
    };
    let labels = format!("{{version={},lua={}}}", quoted(about.version), quoted(about.lua));
    one("info", Kind::Gauge, "What is running", &labels, 1.0);
    one("start_time_seconds", Kind::Gauge, "When counting began, in seconds since 1970", "", snapshot.since as f64);
    one("processes", Kind::Gauge, "Processes that have a Lua state or a pool of them", "", snapshot.processes as f64);
    one(
        "cache_resets_total",
        Kind::Counter,
        "How often compiled files were given up on demand",
        "",
        snapshot.resets.into(),
    );
    for column in COLUMNS.iter().filter(|column| column.name != "errors_total") {
        let labels = |host: &HostCounts| format!("{{host={}}}", quoted(&host.name));
        let mut samples = snapshot.hosts.iter().map(|host| (labels(host), (column.of)(host)));
        family(column.name, column.kind, column.help, &mut samples);
    }
    let mut samples = snapshot.hosts.iter().flat_map(|host| {
        let name = quoted(&host.name);
        ErrorKind::ALL.into_iter().map(move |kind| {
            let count = host.errors.get(kind as usize).copied().unwrap_or(0);
            (format!("{{host={name},kind={}}}", quoted(kind.word())), count as f64)
        })
    });
    family("errors_total", Kind::Counter, "Pages that failed, by what they failed with", &mut samples);
    text
}

/// A value of a label.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Lines for mod_status' `?auto`: of all hosts together.
pub(crate) fn lines(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for column in COLUMNS.iter().filter(|column| column.name != "slowest_page_seconds") {
        let total: f64 = snapshot.hosts.iter().map(column.of).sum();
        let words = column.name.split('_').map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        });
        let _ = writeln!(text, "Plua{}: {total}", words.collect::<String>());
    }
    text
}
