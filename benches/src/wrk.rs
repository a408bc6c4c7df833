//! The load: wrk, asking one server as fast as it answers.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// Connections that ask at the same time; a prefork httpd needs a process for each.
pub const CONNECTIONS: u32 = 16;

/// The type of a form's fields in a request's body.
pub const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// What wrk saw.
pub struct Load {
    /// Answers.
    pub requests: f64,
    /// Answers in a second.
    pub requests_per_second: f64,
    /// The time half of the answers took at most.
    pub median: Duration,
    /// The time 99 of 100 answers took at most.
    pub p99: Duration,
}

/// Requests per second that a server answers for so many seconds; each posts `form`, urlencoded, if there is one.
///
/// # Errors
/// As [`load`].
pub fn requests_per_second(url: &str, seconds: u32, form: Option<&str>) -> Result<f64, String> {
    let script = form.map(|form| {
        format!("wrk.method, wrk.body = \"POST\", {form:?}\nwrk.headers[\"Content-Type\"] = {FORM_TYPE:?}\n")
    });
    load(url, seconds, CONNECTIONS, script.as_deref()).map(|load| load.requests_per_second)
}

/// Loads a server for so many seconds from so many connections, with the requests that `script`, in wrk's Lua, makes.
/// A connection that the server closed between two requests counts for nothing: one short of threads may do that.
///
/// # Errors
/// A sentence when wrk is missing or any answer was an error.
pub fn load(url: &str, seconds: u32, connections: u32, script: Option<&str>) -> Result<Load, String> {
    let mut command = Command::new("wrk");
    // Longer than any answer takes where there are too many clients: what comes later counts as an error.
    command.args(["-t1", "--latency", "--timeout", "30s", &format!("-c{connections}"), &format!("-d{seconds}s")]);
    let mut file = tempfile::NamedTempFile::new().map_err(|error| format!("no file for wrk's script: {error}"))?;
    if let Some(script) = script {
        file.write_all(script.as_bytes()).map_err(|error| format!("wrk's script: {error}"))?;
        command.arg("-s").arg(file.path());
    }
    let output = command.arg(url).output().map_err(|error| format!("wrk does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let lost = line("Socket errors:").is_some_and(|errors| {
        !errors.contains("connect 0,") || !errors.contains("write 0,") || !errors.contains("timeout 0")
    });
    if lost || line("Non-2xx or 3xx responses:").is_some() {
        return Err(format!("{url} failed under load:\n{text}"));
    }
    let figures = || {
        Some(Load {
            requests: text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())?,
            requests_per_second: line("Requests/sec:")?.parse().ok()?,
            median: time(line("50%")?)?,
            p99: time(line("99%")?)?,
        })
    };
    figures().ok_or_else(|| format!("wrk gave no figure for {url}:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A time as wrk writes it, such as `1.20ms`.
fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let seconds = match &text[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    text[..unit].parse::<f64>().ok().map(|number| Duration::from_secs_f64(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(time("1.20ms"), Some(Duration::from_micros(1200)));
        assert_eq!(time("35.00us"), Some(Duration::from_micros(35)));
        assert_eq!(time("2.5s"), Some(Duration::from_millis(2500)));
        assert_eq!(time("fast"), None);
    }
}
