//! The one table of what the status tells of each host: the page, JSON and Prometheus have it from here.

use scoreboard::HostCounts;

/// How a number changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up, and begins anew with the server.
    Counter,
}

/// One number.
pub(crate) struct Column {
    /// Its name in JSON, and behind `plua_` in Prometheus.
    pub(crate) name: &'static str,
    /// Its heading on the page.
    pub(crate) heading: &'static str,
    /// What it is.
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) of: fn(&HostCounts) -> f64,
}

const fn gauge(name: &'static str, heading: &'static str, help: &'static str, of: fn(&HostCounts) -> f64) -> Column {
    Column { name, heading, help, kind: Kind::Gauge, of }
}

const fn counter(name: &'static str, heading: &'static str, help: &'static str, of: fn(&HostCounts) -> f64) -> Column {
    Column { name, heading, help, kind: Kind::Counter, of }
}

/// All of them, in the order of the page.
pub(crate) const COLUMNS: [Column; 14] = [
    gauge("states", "states", "Lua states that exist", |host| host.states as f64),
    gauge("states_busy", "busy", "Lua states in which a page runs", |host| host.busy as f64),
    gauge("requests_waiting", "in line", "Requests that wait for a state", |host| host.waiting as f64),
    gauge("pages_parked", "parked", "Pages that wait without a thread", |host| host.parked as f64),
    gauge("lua_bytes", "Lua's memory", "Bytes that Lua holds in the states, as looked at last", |host| {
        host.bytes as f64
    }),
    counter("requests_total", "pages", "Pages that have ended, well or not", |host| host.requests as f64),
    counter("request_seconds_total", "their time", "Seconds that those pages took, with what they waited", |host| {
        host.seconds
    }),
    counter("errors_total", "failed", "Pages that failed", |host| host.errors.iter().sum::<u64>() as f64),
    counter("requests_refused_total", "refused", "Requests that were given no state", |host| host.refused as f64),
    counter("files_compiled_total", "compiled", "Files that were compiled", |host| host.compiled as f64),
    counter("compile_seconds_total", "compiling", "Seconds that compiling took", |host| host.compile_seconds),
    counter("files_taken_total", "taken", "Files that a state took compiled from another", |host| host.taken as f64),
    counter("states_made_total", "made", "Lua states that were made", |host| host.states_made as f64),
    gauge("slowest_page_seconds", "slowest", "Longest time of a page", |host| {
        host.slowest.first().map_or(0.0, |page| page.seconds)
    }),
];
