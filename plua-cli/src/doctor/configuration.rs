//! httpd's configuration as httpd has read it: its files, its modules, and lines that are mistakes for pages.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use private_httpd::Installation;

use super::Finding;

/// What httpd has said of its configuration.
pub(crate) struct Read {
    /// Names of the modules that are loaded: `plua_module`.
    modules: BTreeSet<String>,
    lines: Vec<Line>,
}

/// One line that is no comment.
struct Line {
    file: PathBuf,
    number: usize,
    words: Vec<String>,
}

impl Line {
    fn is(&self, directive: &str) -> bool {
        self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(directive))
    }

    fn value(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.number)
    }
}

/// Modules beside ours that matter, and what there is to know of each.
const BESIDE: [(&str, &str, &str); 4] = [
    ("lua_module", "mod_lua is loaded", "C modules of Lua get the functions of the Lua that they are made for"),
    (
        "php_module",
        "mod_php is loaded, which is made for prefork: there pages that wait keep their process",
        "php-fpm lets httpd run with the event MPM",
    ),
    ("security2_module", "mod_security2 is loaded", "its rules see requests to pages as any other"),
    ("deflate_module", "mod_deflate is loaded", "it compresses pages of the types that AddOutputFilterByType names"),
];

impl Read {
    /// That of this file, or of the one that httpd reads by itself.
    pub(crate) fn of(config: Option<&Path>, installation: &Installation) -> Result<Read, String> {
        // Debian's sets variables that the configuration uses.
        let control =
            ["/usr/sbin/apache2ctl", "/usr/sbin/apachectl"].map(Path::new).into_iter().find(|path| path.is_file());
        let mut command = match (config, control) {
            (None, Some(control)) => Command::new(control),
            _ => Command::new(installation.program()),
        };
        if let Some(config) = config {
            let config = fs::canonicalize(config).map_err(|error| format!("{}: {error}", config.display()))?;
            command.arg("-f").arg(config);
        }
        let answer = command
            .args(["-t", "-D", "DUMP_MODULES", "-D", "DUMP_INCLUDES"])
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        if !answer.status.success() {
            let problem = String::from_utf8_lossy(&answer.stderr).trim().replace('\n', " ");
            return Err(if problem.is_empty() { "httpd -t fails".to_owned() } else { problem });
        }
        let modules = text.lines().filter_map(|line| line.trim().split_once(" (")).map(|(name, _)| name.to_owned());
        // Files stand behind the number of the line that includes them.
        let files = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix('(')?.split_once(") "))
            .map(|(_, file)| file.into());
        let files: BTreeSet<PathBuf> = files.collect();
        Ok(Read { modules: modules.collect(), lines: files.iter().flat_map(|file| lines(file)).collect() })
    }

    /// What there is to tell of it.
    pub(crate) fn findings(&self, findings: &mut Vec<Finding>) {
        if self.modules.contains("plua_module") {
            findings.push(Finding::fine("configuration", "the module is loaded"));
        } else {
            findings.push(Finding::problem(
                "configuration",
                "the module is not loaded",
                "sudo a2enmod plua && sudo systemctl reload apache2, or LoadModule plua_module modules/mod_plua.so",
            ));
        }
        match ["mpm_event_module", "mpm_worker_module", "mpm_prefork_module"]
            .iter()
            .find(|mpm| self.modules.contains(**mpm))
        {
            Some(&"mpm_event_module") => findings.push(Finding::fine("mpm", "event: pages that wait hold no thread")),
            Some(other) => findings.push(Finding::note(
                "mpm",
                format!("{}: pages that wait keep their thread or process", other.trim_end_matches("_module")),
                "sudo a2dismod the other MPMs and a2enmod mpm_event, unless mod_php needs prefork",
            )),
            None => {}
        }
        for (module, message, remedy) in BESIDE {
            if self.modules.contains(module)
                || module == "php_module" && self.modules.iter().any(|name| name.starts_with("php"))
            {
                findings.push(Finding::note("beside", message, remedy));
            }
        }
        self.handlers(findings);
        self.folders(findings);
    }

    /// Lines that decide which files are pages, and what visitors see of a failure.
    fn handlers(&self, findings: &mut Vec<Finding>) {
        let mut has_handler = false;
        for line in &self.lines {
            let names_us = line.words.iter().any(|word| word.eq_ignore_ascii_case("plua"));
            has_handler |= line.is("SetHandler") && names_us;
            if line.is("AddHandler") && line.value().eq_ignore_ascii_case("plua") {
                has_handler = true;
                findings.push(Finding::problem(
                    "handler",
                    format!(
                        "AddHandler plua in {}: photo.plua.jpg is a page as well, which a visitor may have uploaded",
                        line.place()
                    ),
                    "<FilesMatch \"\\.plua$\"> SetHandler plua </FilesMatch>",
                ));
            }
            if line.is("pLuaError") && line.value() != "0" {
                findings.push(Finding::note(
                    "errors",
                    format!("pLuaError {} in {}: visitors see the reports of failed pages", line.value(), line.place()),
                    "pLuaError 0 where the server is public: the log has the reports",
                ));
            }
        }
        if !has_handler && self.modules.contains("plua_module") {
            findings.push(Finding::problem(
                "handler",
                "no file is given to the handler plua: pages would be sent as they are written",
                "<FilesMatch \"\\.plua$\"> SetHandler plua </FilesMatch>, as in plua.conf",
            ));
        }
    }

    /// Folders whose place or rights let visitors or other users of the machine make pages.
    fn folders(&self, findings: &mut Vec<Finding>) {
        let of = |name: &str| {
            self.lines
                .iter()
                .filter(|line| line.is(name))
                .map(|line| (line, PathBuf::from(line.value())))
                .collect::<Vec<_>>()
        };
        let roots = of("DocumentRoot");
        for (line, folder) in of("pLuaUploadFolder") {
            if let Some((_, root)) = roots.iter().find(|(_, root)| folder.starts_with(root)) {
                findings.push(Finding::problem(
                    "uploads",
                    format!(
                        "pLuaUploadFolder {} in {} is inside the document root {}",
                        folder.display(),
                        line.place(),
                        root.display()
                    ),
                    "a folder outside of it: what is uploaded could be asked for",
                ));
            }
        }
        for (line, root) in roots {
            let Ok(found) = fs::metadata(&root) else {
                findings.push(Finding::problem(
                    "files",
                    format!("there is no folder {} (DocumentRoot in {})", root.display(), line.place()),
                    "make it, or name another",
                ));
                continue;
            };
            if found.permissions().mode() & 0o002 != 0 {
                findings.push(Finding::problem(
                    "files",
                    format!("every user of this machine may write pages into {}", root.display()),
                    format!("chmod o-w {}", root.display()),
                ));
            }
        }
    }
}

/// The lines of a file, with their words.
fn lines(file: &Path) -> Vec<Line> {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = |(index, text): (usize, &str)| {
        let text = text.trim();
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| word.trim_matches(|quote| quote == '"' || quote == '\'').to_owned())
            .collect();
        (!text.starts_with('#') && !words.is_empty()).then(|| Line { file: file.to_owned(), number: index + 1, words })
    };
    text.lines().enumerate().filter_map(line).collect()
}
