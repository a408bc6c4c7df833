//! What it costs to keep something from one request to the next: stores beside APCu and ngx_lua's, sessions beside PHP's.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use private_httpd::{Installation, Mpm};

use crate::nginx::{Nginx, free_port};
use crate::server::{Built, KEPT_CONNECTIONS, Process, base, mpm_name, php_module};
use crate::wrk::{self, CONNECTIONS};

/// Operations of one request for a page of a store.
const OPERATIONS: f64 = 1000.0;

/// Clients at one time. A prefork httpd has a process for each of [`CONNECTIONS`].
const CLIENTS: [u32; 3] = [1, CONNECTIONS, 50];

/// Sessions that take turns.
const SESSIONS: usize = 64;

/// What is measured: the pages of a group, and what the figure counts.
struct Group {
    title: &'static str,
    pages: &'static [&'static str],
    clients: &'static [u32],
    servers: &'static [Kind],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plua(Mpm),
    PluaRedis,
    Php,
    PhpRedis,
    Ngx,
}

const GROUPS: [Group; 2] = [
    Group {
        title: "Stores: thousands of operations a second, values of 100 bytes, 1,000 operations a request",
        pages: &["get", "set", "incr"],
        clients: &CLIENTS,
        servers: &[Kind::Plua(Mpm::Event), Kind::Ngx, Kind::Plua(Mpm::Prefork), Kind::Php],
    },
    Group {
        title: "Sessions: requests a second, 64 sessions in turn",
        pages: &["read", "write"],
        clients: &[CONNECTIONS],
        servers: &[Kind::Plua(Mpm::Event), Kind::Plua(Mpm::Prefork), Kind::Php, Kind::PluaRedis, Kind::PhpRedis],
    },
];

impl Kind {
    fn name(self) -> String {
        match self {
            Kind::Plua(mpm) => format!("mod_plua, {}", mpm_name(mpm)),
            Kind::PluaRedis => "mod_plua, prefork, Redis".into(),
            Kind::Php => "mod_php (APCu; files)".into(),
            Kind::PhpRedis => "mod_php, Redis".into(),
            Kind::Ngx => "ngx_lua".into(),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Kind::Plua(_) | Kind::PluaRedis => "plua",
            Kind::Php | Kind::PhpRedis => "php",
            Kind::Ngx => "ngx",
        }
    }

    /// Whether it has a thread or process for so many clients.
    fn takes(self, clients: u32) -> bool {
        matches!(self, Kind::Plua(Mpm::Event) | Kind::Ngx) || clients <= CONNECTIONS
    }
}

/// A redis-server of one's own, ended when it is dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Result<Redis, String> {
        let port = free_port().map_err(|error| error.to_string())?;
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server does not run: {error}"))?;
        let redis = Redis { process, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(redis);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("redis-server does not answer".into())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures everything, the median of so many rounds of so many seconds, and returns the tables in Markdown.
///
/// # Errors
/// A sentence when a server does not start, or answers wrongly.
pub fn measure(built: &Built, docroot: &Path, rounds: u32, seconds: u32) -> Result<String, String> {
    for source in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/state")).map_err(|error| error.to_string())? {
        let source = source.map_err(|error| error.to_string())?;
        fs::copy(source.path(), docroot.join(source.file_name())).map_err(|error| error.to_string())?;
    }
    let redis = Redis::start()?;
    let mut text = String::new();
    for group in &GROUPS {
        text += &group.measure(built, docroot, &redis, rounds, seconds)?;
    }
    Ok(text)
}

impl Group {
    fn measure(
        &self,
        built: &Built,
        docroot: &Path,
        redis: &Redis,
        rounds: u32,
        seconds: u32,
    ) -> Result<String, String> {
        let mut servers = Vec::new();
        let mut left_out = String::new();
        for kind in self.servers.iter().copied() {
            match start(kind, built, docroot, redis) {
                Ok(process) => servers.push((kind, process)),
                Err(problem) if matches!(kind, Kind::Php | Kind::PhpRedis | Kind::Ngx) => {
                    let _ = writeln!(left_out, "\n{} is left out: {problem}", kind.name());
                }
                Err(problem) => return Err(format!("{}: {problem}", kind.name())),
            }
        }
        let mut text = format!("## {}\n\n| | Clients |", self.title);
        for (kind, _) in &servers {
            let _ = write!(text, " {} |", kind.name());
        }
        text += &format!("\n|---|---|{}\n", "---|".repeat(servers.len()));
        for page in self.pages {
            for clients in self.clients {
                let _ = write!(text, "| {page} | {clients} |");
                for figure in self.row(&servers, page, *clients, rounds, seconds)? {
                    let _ = match figure {
                        Some(figure) => write!(text, " {figure:.0} |"),
                        None => write!(text, " |"),
                    };
                }
                text.push('\n');
            }
        }
        Ok(text + &left_out + "\n")
    }

    /// Each server's median, in the unit of the group.
    fn row(
        &self,
        servers: &[(Kind, Process)],
        page: &str,
        clients: u32,
        rounds: u32,
        seconds: u32,
    ) -> Result<Vec<Option<f64>>, String> {
        let of_sessions = self.pages.contains(&"read");
        let mut figures = vec![Vec::new(); servers.len()];
        let scripts = servers
            .iter()
            .map(|(kind, process)| {
                let path = |page| format!("/{page}.{}", kind.extension());
                ask(process.port(), &path(if of_sessions { "write" } else { "set" }), None)?;
                let cookies = if of_sessions { cookies(process.port(), &path("write"))? } else { Vec::new() };
                ask(process.port(), &path(page), cookies.first().map(String::as_str))?;
                Ok((!cookies.is_empty()).then(|| in_turn(&cookies)))
            })
            .collect::<Result<Vec<_>, String>>()?;
        for round in 0..=rounds {
            for (number, (kind, process)) in servers.iter().enumerate().filter(|(_, (kind, _))| kind.takes(clients)) {
                let url = format!("http://127.0.0.1:{}/{page}.{}", process.port(), kind.extension());
                let time = if round == 0 { 1 } else { seconds };
                let load = wrk::load(&url, time, clients, scripts[number].as_deref())?;
                if round > 0 {
                    figures[number].push(load.requests_per_second);
                }
            }
        }
        let unit = if of_sessions { 1.0 } else { OPERATIONS / 1000.0 };
        Ok(figures.into_iter().map(|figures| median(figures).map(|median| median * unit)).collect())
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn start(kind: Kind, built: &Built, docroot: &Path, redis: &Redis) -> Result<Process, String> {
    let installation = Installation::find().map_err(|error| error.to_string())?;
    let base = |mpm| base(&installation, mpm, docroot).body(KEPT_CONNECTIONS);
    // Clients in number need threads of their own.
    let plua = |mpm| {
        let base = if mpm == Mpm::Event { base(mpm).children(1, 64) } else { base(mpm) };
        base.module_file("plua", built.plua()).body(include_str!("../../apache-conf/plua.conf"))
    };
    let php = || {
        let file = php_module(installation.modules()).ok_or("mod_php is not installed")?;
        Ok::<_, String>(base(Mpm::Prefork).module_file("php", file).body("AddHandler application/x-httpd-php .php"))
    };
    let configuration = match kind {
        Kind::Plua(mpm) => plua(mpm).body("pLuaShared bench 32M"),
        Kind::PluaRedis => {
            plua(Mpm::Prefork).body(format!("pLuaShared bench redis://127.0.0.1:{}/1\npLuaSession bench", redis.port))
        }
        Kind::Php => php()?.body("php_value session.save_path ${ROOT}\nphp_admin_value session.gc_probability 0"),
        Kind::PhpRedis => php()?.body(format!(
            "php_admin_value session.save_handler redis\n\
             php_value session.save_path \"tcp://127.0.0.1:{}?database=2\"\n",
            redis.port
        )),
        Kind::Ngx => return Nginx::start(docroot).map(Process::Nginx),
    };
    let httpd = configuration.start().map_err(|error| error.to_string())?;
    // Where PHP keeps its files, its processes write.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(httpd.root(), open).map_err(|error| error.to_string())?;
    Ok(Process::Httpd(Box::new(httpd)))
}

/// The answer to a request, which must be 200.
fn ask(port: u16, path: &str, cookie: Option<&str>) -> Result<String, String> {
    let asked = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        connection.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{cookie}\r\n").as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().map_err(|error: std::io::Error| format!("{path}: {error}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    let is_right = ["100000", "Hello, Ada!"].contains(&body);
    if answer.starts_with("HTTP/1.1 200 ") && is_right { Ok(answer) } else { Err(format!("{path}: {answer}")) }
}

/// The cookies of sessions that a server has begun.
fn cookies(port: u16, path: &str) -> Result<Vec<String>, String> {
    (0..SESSIONS)
        .map(|_| {
            let answer = ask(port, path, None)?;
            let set = answer.lines().find_map(|line| line.strip_prefix("Set-Cookie: "));
            let cookie = set.and_then(|set| set.split(';').next()).ok_or(format!("{path} sets no cookie: {answer}"))?;
            Ok(cookie.to_owned())
        })
        .collect()
}

/// A script for wrk that comes with each of these cookies in turn.
fn in_turn(cookies: &[String]) -> String {
    let list: String = cookies.iter().map(|cookie| format!("{cookie:?},")).collect();
    format!(
        "local cookies, n = {{{list}}}, 0\nfunction request()\n  n = n % #cookies + 1\n  wrk.headers[\"Cookie\"] = cookies[n]\n  \
         return wrk.format()\nend\n"
    )
}
