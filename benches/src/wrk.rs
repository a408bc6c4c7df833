//! The load: wrk, asking one server for one page as fast as it answers.

use std::process::Command;

use crate::server::CONNECTIONS;

/// Requests per second that a server answers for so many seconds.
///
/// # Errors
/// A sentence when wrk is missing or any answer was an error.
pub fn requests_per_second(url: &str, seconds: u32) -> Result<f64, String> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), url])
        .output()
        .map_err(|error| format!("wrk does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start));
    if line("Non-2xx or 3xx responses:").is_some() || line("Socket errors:").is_some() {
        return Err(format!("{url} failed under load:\n{text}"));
    }
    line("Requests/sec:")
        .and_then(|figure| figure.trim().parse().ok())
        .ok_or_else(|| format!("wrk gave no figure for {url}:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}
