//! What happens in the server, on the terminal: its requests and what it logs.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write, stderr};

use console::{Style, style};
use private_httpd::Httpd;

use crate::put;

/// What httpd logs at every start and end, whatever its log level.
const ROUTINE: &[&str] = &[" AH00489: ", " AH00492: ", " AH00094: ", " AH00491: "];

/// A log of requests for these eyes: clock, request line, status, microseconds. Our own page of events is not of interest.
pub(crate) const CONFIGURATION: &str = "CustomLog \"${ROOT}/requests.log\" \"%{%H:%M:%S}t\\t%r\\t%>s\\t%D\" \
     \"expr=!(%{REQUEST_URI} =~ m#^/\\.plua/#)\"\n";

/// The logs as far as they were shown.
pub(crate) struct Logs {
    requests: Tail,
    errors: Tail,
}

impl Logs {
    /// Those of a server, from their beginning.
    pub(crate) fn open(server: &Httpd) -> io::Result<Logs> {
        let requests = Tail { file: File::open(server.root().join("requests.log"))?, unfinished: Vec::new() };
        let errors = Tail { file: File::open(server.error_log_file())?, unfinished: Vec::new() };
        Ok(Logs { requests, errors })
    }

    /// Shows the lines that came since the last time.
    pub(crate) fn show(&mut self) -> io::Result<()> {
        for line in self.errors.lines()? {
            if !ROUTINE.iter().any(|number| line.contains(number)) {
                let shown = if stderr().is_terminal() { readable(&line) } else { format!("{line}\n") };
                stderr().write_all(shown.as_bytes())?;
            }
        }
        for line in self.requests.lines()? {
            put(request(&line).as_bytes())?;
        }
        Ok(())
    }
}

/// A file that grows.
struct Tail {
    file: File,
    unfinished: Vec<u8>,
}

impl Tail {
    /// The lines that are whole and were not asked for before.
    fn lines(&mut self) -> io::Result<Vec<String>> {
        self.file.read_to_end(&mut self.unfinished)?;
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.unfinished.drain(..end).collect();
        Ok(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect())
    }
}

/// A line of the log of requests, in colours where the terminal has them.
fn request(line: &str) -> String {
    let fields: Vec<&str> = line.split('\t').collect();
    let [time, asked, status, microseconds] = fields[..] else { return format!("{line}\n") };
    let asked = asked.strip_suffix(" HTTP/1.1").unwrap_or(asked);
    let colour = match status.as_bytes().first() {
        Some(b'2') => Style::new().green(),
        Some(b'3') => Style::new().cyan(),
        Some(b'4') => Style::new().yellow(),
        _ => Style::new().red(),
    };
    let milliseconds = microseconds.parse::<f64>().unwrap_or_default() / 1000.0;
    format!(
        "{} {} {asked} {}\n",
        style(time).dim(),
        colour.apply_to(status),
        style(format!("{milliseconds:.1} ms")).dim()
    )
}

/// A line of httpd's error log for a person: its time, how bad it is and what it says, each part of a report on a line of its own.
fn readable(line: &str) -> String {
    let mut rest = line;
    let mut groups = Vec::new();
    while let Some((group, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        groups.push(group);
        rest = after;
    }
    let (Some(time), Some(level)) = (groups.first(), groups.get(1)) else { return format!("{line}\n") };
    let clock = time.split(' ').nth(3).and_then(|clock| clock.split('.').next()).unwrap_or(time);
    let level = level.rsplit(':').next().unwrap_or(level);
    let colour = match level {
        "warn" | "notice" | "info" | "debug" => Style::new().for_stderr().yellow(),
        _ => Style::new().for_stderr().red(),
    };
    let (code, text) = of_ours(rest);
    let text = text.replace(" | ", "\n         ");
    let code = code.map_or_else(String::new, |code| style(format!("\n         {code}")).for_stderr().dim().to_string());
    format!("{} {}{code}\n", style(clock).for_stderr().dim(), colour.apply_to(format!("{level}: {text}")))
}

/// What an entry of the module begins with, its code and the number of a failure, and the rest of it.
fn of_ours(entry: &str) -> (Option<String>, &str) {
    let of_ours = entry.split_once(": ").filter(|(code, _)| {
        code.strip_prefix("PL")
            .is_some_and(|number| number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_digit()))
    });
    let Some((code, text)) = of_ours else { return (None, entry) };
    match text.strip_prefix("incident ").and_then(|rest| rest.split_once(": ")) {
        Some((number, text)) => (Some(format!("{code}, incident {number}")), text),
        None => (Some(code.to_owned()), text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_error_log_is_told_without_what_only_a_server_wants() {
        let line = "[Mon Nov 30 22:02:03.220774 2026] [plua:error] [pid 7783:tid 7783] [client 127.0.0.1:1] x at /a.plua:2 | e() | in main";
        console::set_colors_enabled_stderr(false);
        assert_eq!(readable(line), "22:02:03 error: x at /a.plua:2\n         e()\n         in main\n");
        let line = "[Mon Nov 30 22:02:03.220774 2026] [plua:error] [pid 7783:tid 7783] PL1003: incident 7Q3M9X2K: Run-time error: x | in main";
        assert_eq!(
            readable(line),
            "22:02:03 error: Run-time error: x\n         in main\n         PL1003, incident 7Q3M9X2K\n"
        );
        let line =
            "[Mon Nov 30 22:02:03.220774 2026] [plua:error] [pid 7783:tid 7783] PL3006: /a.plua: not a plain file";
        assert_eq!(readable(line), "22:02:03 error: /a.plua: not a plain file\n         PL3006\n");
        assert_eq!(readable("no such line"), "no such line\n");
    }

    #[test]
    fn a_request_is_a_line() {
        console::set_colors_enabled(false);
        assert_eq!(request("10:00:00\tGET /a.plua?b=1 HTTP/1.1\t404\t1234"), "10:00:00 404 GET /a.plua?b=1 1.2 ms\n");
    }
}
