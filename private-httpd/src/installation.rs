//! The httpd installed on this machine: its program, its modules and what is compiled into it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// An installed httpd.
#[derive(Debug, Clone)]
pub struct Installation {
    program: PathBuf,
    modules: PathBuf,
    /// Source names as `httpd -l` prints them: `mod_so.c`, `event.c`.
    compiled_in: Vec<String>,
}

impl Installation {
    /// Finds httpd through the variable `HTTPD`, then apxs (or the program named in `APXS`), then the usual places.
    ///
    /// # Errors
    /// [`Error::NoHttpd`] and [`Error::NoModuleFolder`] when one is not found; [`Error::Io`] when httpd does not run.
    pub fn find() -> Result<Self, Error> {
        let apxs = env::var_os("APXS").unwrap_or_else(|| "apxs".into());
        let ask = |key: &str| {
            let answer =
                Command::new(&apxs).args(["-q", key]).output().ok().filter(|answer| answer.status.success())?;
            Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let program = env::var_os("HTTPD")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&ask("SBINDIR")?).join(ask("PROGNAME")?)))
            .into_iter()
            .chain(["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd"].map(PathBuf::from))
            .find(|program| program.is_file())
            .ok_or(Error::NoHttpd)?;
        let modules = ask("LIBEXECDIR")
            .map(PathBuf::from)
            .into_iter()
            .chain(
                ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/local/apache2/modules"]
                    .map(PathBuf::from),
            )
            .find(|folder| folder.is_dir())
            .ok_or(Error::NoModuleFolder)?;
        let listing = Command::new(&program)
            .arg("-l")
            .output()
            .map_err(Error::io(format!("cannot run {}", program.display())))?;
        let compiled_in = String::from_utf8_lossy(&listing.stdout)
            .lines()
            .map(str::trim)
            .filter(|line| line.ends_with(".c"))
            .map(str::to_owned)
            .collect();
        Ok(Self { program, modules, compiled_in })
    }

    /// The httpd program itself.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The folder of loadable modules.
    #[must_use]
    pub fn modules(&self) -> &Path {
        &self.modules
    }

    /// Whether a module, as `unixd` or `mpm_event`, needs no `LoadModule`.
    #[must_use]
    pub fn is_compiled_in(&self, name: &str) -> bool {
        let source = match name.strip_prefix("mpm_") {
            Some(mpm) => format!("{mpm}.c"),
            None => format!("mod_{name}.c"),
        };
        self.compiled_in.contains(&source)
    }

    /// Whether a module of httpd's own can be used, be it compiled in or a file.
    #[must_use]
    pub fn has_module(&self, name: &str) -> bool {
        self.is_compiled_in(name) || self.module_file(name).is_file()
    }

    pub(crate) fn module_file(&self, name: &str) -> PathBuf {
        self.modules.join(format!("mod_{name}.so"))
    }
}
