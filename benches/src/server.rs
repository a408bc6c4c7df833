//! The servers that take turns: how each is configured, and what it answers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use private_httpd::{Configuration, Httpd, Installation, Mpm};

use crate::nginx::Nginx;
use crate::page::Page;
use crate::wrk::{CONNECTIONS, FORM_TYPE};

/// What is to be measured against what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One call of httpd's with bytes that are already there.
    Bare,
    /// Our module with the configuration it is installed with, and included files believed for as long as mod_php does.
    Plua,
    /// The same with every other limit beside the time limit.
    PluaLimits,
    /// The same pages kept whole: the page itself runs once.
    PluaKept,
    /// mod_lua at its fastest: states per thread, scripts never looked at again.
    ModLua,
    /// mod_php as Debian ships it, with opcache.
    ModPhp,
    /// nginx with ngx_lua, its code kept: the same LuaJIT in another server.
    NgxLua,
    /// httpd's own delivery of a file.
    File,
}

impl Kind {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare C handler",
            Self::Plua => "mod_plua",
            Self::PluaLimits => "mod_plua, all limits",
            Self::PluaKept => "mod_plua, kept",
            Self::ModLua => "mod_lua",
            Self::ModPhp => "mod_php with opcache",
            Self::NgxLua => "ngx_lua",
            Self::File => "static file",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Bare | Self::File => "html",
            Self::Plua | Self::PluaLimits | Self::PluaKept => "plua",
            Self::ModLua => "lua",
            Self::ModPhp => "php",
            Self::NgxLua => "ngx",
        }
    }
}

/// One server with one way of making pages.
pub struct Server {
    /// How it makes pages.
    pub kind: Kind,
    /// How it spreads requests; for nginx, the MPM it is compared with.
    pub mpm: Mpm,
    process: Process,
    docroot: PathBuf,
}

/// A running server of a kind of its own.
pub enum Process {
    /// Apache.
    Httpd(Box<Httpd>),
    /// The peer with ngx_lua.
    Nginx(Nginx),
}

impl Process {
    /// The port of 127.0.0.1 it answers on.
    pub fn port(&self) -> u16 {
        match self {
            Process::Httpd(httpd) => httpd.port(),
            Process::Nginx(nginx) => nginx.port(),
        }
    }

    fn error_log(&self) -> String {
        match self {
            Process::Httpd(httpd) => httpd.error_log(),
            Process::Nginx(nginx) => nginx.error_log(),
        }
    }
}

/// An httpd of a folder as every one of a run begins. Distributions look for no .htaccess above the sites; by itself httpd does.
pub fn base(installation: &Installation, mpm: Mpm, docroot: &Path) -> Configuration {
    Configuration::new(installation.clone())
        .mpm(mpm)
        .children(if mpm == Mpm::Prefork { CONNECTIONS } else { 1 }, 25)
        .docroot(docroot)
        .log_level("warn")
        .without_access_log()
        .body("<Directory />\nAllowOverride None\n</Directory>")
}

/// Our module with its configuration as it is installed, on the event MPM.
pub fn plua(built: &Built, docroot: &Path) -> Result<Configuration, String> {
    let installation = Installation::find().map_err(|error| error.to_string())?;
    Ok(base(&installation, Mpm::Event, docroot)
        .module_file("plua", built.plua())
        .body(include_str!("../../apache-conf/plua.conf")))
}

/// The server of a configuration.
pub fn started(configuration: Configuration) -> Result<Httpd, String> {
    configuration.start().map_err(|error| error.to_string())
}

/// For wrk, which keeps its connections: httpd would close them after 100 requests.
pub const KEPT_CONNECTIONS: &str = "MaxKeepAliveRequests 0";

/// The servers of a run; the first of each MPM is the bare handler. mod_php is not made for threads.
pub const SERVERS: &[(Kind, Mpm)] = &[
    (Kind::Bare, Mpm::Event),
    (Kind::Plua, Mpm::Event),
    (Kind::PluaLimits, Mpm::Event),
    (Kind::PluaKept, Mpm::Event),
    (Kind::ModLua, Mpm::Event),
    (Kind::NgxLua, Mpm::Event),
    (Kind::File, Mpm::Event),
    (Kind::Bare, Mpm::Prefork),
    (Kind::Plua, Mpm::Prefork),
    (Kind::ModPhp, Mpm::Prefork),
];

/// The name of an MPM as httpd writes it.
pub fn mpm_name(mpm: Mpm) -> &'static str {
    match mpm {
        Mpm::Event => "event",
        Mpm::Worker => "worker",
        Mpm::Prefork => "prefork",
    }
}

impl Server {
    /// Starts a server of these pages. A sentence if this machine lacks what it needs, or it does not start.
    pub fn start(kind: Kind, mpm: Mpm, docroot: &Path, pages: &[Page], built: &Built) -> Result<Server, String> {
        let server = |process| Server { kind, mpm, process, docroot: docroot.to_owned() };
        let installation = Installation::find().map_err(|error| error.to_string())?;
        let peer = |file: Option<PathBuf>, wanted: &str| file.ok_or(format!("{wanted} is not installed"));
        let base = base(&installation, mpm, docroot).body(KEPT_CONNECTIONS);
        // What opcache.revalidate_freq is by itself.
        let plua = concat!(include_str!("../../apache-conf/plua.conf"), "pLuaRevalidate 2\n");
        let configuration = match kind {
            Kind::Bare => base.module_file("bare", &built.bare).body(bare_locations(docroot, pages)),
            Kind::Plua => base.module_file("plua", &built.plua).body(plua),
            Kind::PluaLimits => base
                .module_file("plua", &built.plua)
                .body(plua)
                .body("pLuaMemoryLimit 65536\npLuaOutputLimit 65536\npLuaPatternLimit 10000000\npLuaFields 1000"),
            Kind::PluaKept => base
                .module_file("plua", &built.plua)
                .body(plua)
                // A page that is to be kept says so itself; here another file says it for all of them.
                .body("pLuaShared cache 10M\npLuaPrepend kept.plua"),
            Kind::ModLua => {
                let file = installation.modules().join("mod_lua.so");
                base.module_file("lua", peer(file.is_file().then_some(file), "mod_lua")?).body(
                    "AddHandler lua-script .lua\nLuaScope thread\nLuaCodeCache forever\n\
                     LuaPackagePath \"${DOCROOT}/?.lua\"",
                )
            }
            Kind::ModPhp => base
                .module_file("php", peer(php_module(installation.modules()), "mod_php")?)
                .body("AddHandler application/x-httpd-php .php"),
            Kind::File => base,
            Kind::NgxLua => return Nginx::start(docroot).map(|nginx| server(Process::Nginx(nginx))),
        };
        configuration.start().map(|httpd| server(Process::Httpd(Box::new(httpd)))).map_err(|error| error.to_string())
    }

    /// The address of a page.
    pub fn url(&self, page: &Page) -> String {
        format!("http://127.0.0.1:{}{}", self.process.port(), self.path(page))
    }

    /// The server as the report names it: httpd's MPM, or another server's name.
    pub fn host(kind: Kind, mpm: Mpm) -> &'static str {
        if kind == Kind::NgxLua { "nginx" } else { mpm_name(mpm) }
    }

    /// Whether it is to be asked for this page: it has one, and a static file is a peer only where nearly all is text.
    pub fn takes_part(&self, page: &Page) -> bool {
        match self.kind {
            Kind::File => page.name == "text",
            Kind::PluaKept => ["hello", "table"].contains(&page.name),
            kind => self.docroot.join(page.name).with_extension(kind.extension()).is_file(),
        }
    }

    /// Asks for a page once and compares it, for a fast wrong answer is none.
    ///
    /// # Errors
    /// A sentence when the answer is not 200 with the page's bytes.
    pub fn check(&self, page: &Page) -> Result<(), String> {
        let answer =
            self.get(&self.path(page), page.form.as_deref()).map_err(|error| format!("{}: {error}", self.url(page)))?;
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| &answer[at + 4..]);
        if answer.starts_with(b"HTTP/1.1 200 ") && body == Some(&page.body) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(600)]).into_owned();
        let log = self.process.error_log();
        Err(format!("{} answers {} with other bytes than expected:\n{shown}\n{log}", self.kind.name(), self.url(page)))
    }

    /// The version of PHP, if opcache works in it.
    ///
    /// # Errors
    /// A sentence when it does not.
    pub fn php_version(&self, docroot: &Path) -> Result<String, String> {
        let script = "<?= PHP_VERSION, function_exists('opcache_get_status') && opcache_get_status() ? ' on' : ' off';";
        fs::write(docroot.join("version.php"), script).map_err(|error| error.to_string())?;
        let answer = self.get("/version.php", None).map_err(|error| error.to_string())?;
        let answer = String::from_utf8_lossy(&answer);
        match answer.lines().last().and_then(|line| line.strip_suffix(" on")) {
            Some(version) => Ok(version.to_owned()),
            None => Err("opcache is not on; install the package php-opcache".to_owned()),
        }
    }

    fn path(&self, page: &Page) -> String {
        format!("/{}.{}{}", page.name, self.kind.extension(), page.query)
    }

    /// An HTTP/1.0 request, a POST if there is a form: its answer comes in one piece, without chunks.
    fn get(&self, path: &str, form: Option<&str>) -> std::io::Result<Vec<u8>> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.process.port()))?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        let request = match form {
            None => format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"),
            Some(form) => format!(
                "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            ),
        };
        connection.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// The modules that were built for this run.
pub struct Built {
    bare: PathBuf,
    plua: PathBuf,
}

impl Built {
    /// Our module.
    pub fn plua(&self) -> &Path {
        &self.plua
    }

    /// The bare handler's.
    pub fn bare(&self) -> &Path {
        &self.bare
    }

    /// Compiles the bare handler into `folder` and finds our module, built before, next to this program.
    ///
    /// # Errors
    /// A sentence when either is not to be had.
    pub fn make(folder: &Path) -> Result<Built, String> {
        let plua = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("libmod_plua.so");
        if !plua.is_file() {
            return Err(format!("there is no {}: run make bench, which builds it", plua.display()));
        }
        // apxs puts what it makes next to the source.
        let source = folder.join("mod_bare.c");
        fs::write(&source, include_str!("../bare/mod_bare.c")).map_err(|error| error.to_string())?;
        let apxs = std::env::var_os("APXS").unwrap_or_else(|| "apxs".into());
        let made = Command::new(apxs)
            .args(["-c", "-o", "mod_bare.so", "mod_bare.c"])
            .current_dir(folder)
            .output()
            .map_err(|error| format!("apxs does not run: {error}"))?;
        if !made.status.success() {
            return Err(format!("apxs cannot build mod_bare: {}", String::from_utf8_lossy(&made.stderr)));
        }
        Ok(Built { bare: folder.join(".libs/mod_bare.so"), plua })
    }
}

fn bare_locations(docroot: &Path, pages: &[Page]) -> String {
    let location = |page: &Page| {
        let name = page.name;
        let file = docroot.join(name).with_extension("html");
        format!("<Location /{name}.html>\nSetHandler bare\nBareBody \"{}\"\n</Location>\n", file.display())
    };
    pages.iter().map(location).collect()
}

/// The newest mod_php among httpd's modules.
pub fn php_module(modules: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(modules).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with("libphp") && name.ends_with(".so")).max()?;
    Some(modules.join(newest))
}
