//! The machine of a run, without which its figures mean little.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;

use private_httpd::Installation;

/// What the figures were measured on.
pub struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    httpd: String,
    php: Option<String>,
    date: String,
}

impl Machine {
    /// This machine, now.
    pub fn look_at(installation: &Installation, php: Option<String>) -> Machine {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let httpd = said(Command::new(installation.program()).arg("-v"));
        let version = httpd.lines().next().and_then(|line| line.split_once(": "));
        Machine {
            processor: model.map_or("unknown processor", |(_, model)| model).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: said(Command::new("uname").args(["-s", "-r"])),
            httpd: version.map_or(String::new(), |(_, version)| version.to_owned()),
            php,
            date: said(Command::new("date").arg("+%Y-%m-%d")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, kernel, httpd, php, date } = self;
        write!(f, "{processor}, {cores} cores, {kernel}, {httpd}")?;
        if let Some(php) = php {
            write!(f, ", PHP {php}")?;
        }
        write!(f, ", {date}")
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
