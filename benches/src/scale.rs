//! How mod_plua behaves when there is much of everything: pages, hosts, visitors, and a page nobody has asked for yet.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use private_httpd::{Configuration, Httpd, Installation, Mpm};

use crate::server::{Built, base, php_module, plua, started};
use crate::wrk::CONNECTIONS;
use crate::wrk::{self, Load};

/// Numbers of distinct pages.
const PAGES: [u32; 3] = [1, 100, 10_000];

/// Numbers of hosts.
const HOSTS: [u32; 3] = [1, 100, 1000];

/// Of so many distinct pages each second of the warm-up takes care, and of so many hosts: a page is run some thirty times,
/// by 4 states together, a host asked some three hundred times.
const PAGES_WARM: u32 = 1500;
const HOSTS_WARM: u32 = 90;

/// Threads of the server, and clients for each, where there are too many clients.
const THREADS: u32 = 25;
const OVERLOAD: u32 = 16;

/// Length of the page that is asked for once, in bytes.
const LONG_PAGE: usize = 100_000;

/// Pages asked for once.
const COLD_PAGES: u32 = 20;

/// Starts of the server, each for one first request.
const STARTS: u32 = 11;

/// Measures everything, `seconds` for each figure, and returns the tables in Markdown.
///
/// # Errors
/// A sentence when a server does not start or answers wrongly.
pub fn measure(built: &Built, docroot: &Path, seconds: u32) -> Result<String, String> {
    let mut text = String::new();
    write_sources(docroot).map_err(|error| format!("cannot write the pages: {error}"))?;
    let sections = [many_pages(built, docroot, seconds)?, many_hosts(built, docroot, seconds)?];
    let sections = sections.into_iter().chain([many_clients(built, docroot, seconds)?, cold_pages(built, docroot)?]);
    for section in sections {
        text.push_str(&section);
        text.push('\n');
    }
    Ok(text)
}

fn write_sources(docroot: &Path) -> std::io::Result<()> {
    let pages = docroot.join("pages");
    fs::create_dir(&pages)?;
    for number in 1..=PAGES[PAGES.len() - 1] {
        let file = pages.join(number.to_string());
        fs::write(file.with_extension("plua"), format!("<p>Page <?= {number} ?></p>\n"))?;
        fs::write(file.with_extension("html"), format!("<p>Page {number}</p>\n"))?;
    }
    let mut long = String::new();
    let mut number = 0;
    while long.len() < LONG_PAGE {
        number += 1;
        let _ = writeln!(long, "<p>Row <?= {number} ?>: <? if {number} % 2 == 0 then ?>even<? else ?>odd<? end ?></p>");
    }
    for number in 1..=COLD_PAGES {
        fs::write(docroot.join(format!("long-{number}.plua")), &long)?;
    }
    Ok(())
}

/// A script for wrk that asks for one of `count` addresses after the other, each client thread from a place of its own.
fn in_turn(count: u32, request: &str) -> String {
    format!("local n = 0\nfunction request()\n  n = n % {count} + 1\n  return {request}\nend\n")
}

/// What a server took to answer.
struct Figure {
    requests_per_second: f64,
    /// Processor time of the serving child, in microseconds of each request.
    cpu: f64,
}

/// Figures of `seconds` with these requests, after so many seconds of them.
fn measured(server: &Httpd, script: &str, warm_up: u32, seconds: u32) -> Result<Figure, String> {
    let load = |seconds| wrk::load(&address(server, "/"), seconds, CONNECTIONS, Some(script));
    load(warm_up)?;
    let before = processor_time(server)?;
    let Load { requests, requests_per_second, .. } = load(seconds)?;
    let cpu = (processor_time(server)? - before).as_secs_f64() * 1e6 / requests;
    Ok(Figure { requests_per_second, cpu })
}

/// The configuration of a bare handler that answers for `.html` files of the same folder.
fn bare(built: &Built, docroot: &Path) -> Result<Configuration, String> {
    let pages = docroot.join("pages");
    let body = format!(
        "<Directory \"{}\">\nAddHandler bare .html\nBareBody \"{}\"\n</Directory>",
        pages.display(),
        pages.join("1.html").display()
    );
    Ok(plua(built, docroot)?.module_file("bare", built.bare()).body("MaxKeepAliveRequests 0").body(body))
}

fn many_pages(built: &Built, docroot: &Path, seconds: u32) -> Result<String, String> {
    let mut text = String::from(
        "| distinct pages | mod_plua, requests/s | static files, requests/s | CPU of a request, µs: mod_plua | \
         mod_plua, pLuaRuns 10000 | bare C handler | static files |\n|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let settings = "MaxKeepAliveRequests 0\npLuaFiles 10000\npLuaStates 4";
    let installed = started(plua(built, docroot)?.body(settings))?;
    let kept = started(plua(built, docroot)?.body(settings).body("pLuaRuns 0"))?;
    let bare = started(bare(built, docroot)?)?;
    for count in PAGES {
        let script = |extension: &str| in_turn(count, &format!("wrk.format(nil, '/pages/' .. n .. '.{extension}')"));
        let pages = |server| measured(server, &script("plua"), 1 + count / PAGES_WARM, seconds);
        let files = |server| measured(server, &script("html"), 1, seconds);
        let (kept, installed, bare, html) = (pages(&kept)?, pages(&installed)?, files(&bare)?, files(&kept)?);
        let _ = writeln!(
            text,
            "| {count} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} |",
            kept.requests_per_second, html.requests_per_second, kept.cpu, installed.cpu, bare.cpu, html.cpu
        );
    }
    text.push_str(
        "\nWarm: each of the 4 states has run each page several times before. States are kept (`pLuaRuns 0`) but in the \
         column that says otherwise: a state that is replaced after 10,000 requests runs each of 10,000 pages once, and \
         has to load it for that. The bare handler answers for the same files with bytes it holds: what it takes is \
         httpd's own.\n",
    );
    Ok(text)
}

fn hosts(count: u32, settings: &str) -> String {
    (1..=count).map(|n| format!("<VirtualHost *:*>\nServerName h{n}.test\n{settings}\n</VirtualHost>\n")).collect()
}

fn many_hosts(built: &Built, docroot: &Path, seconds: u32) -> Result<String, String> {
    let mut text = String::from(
        "| hosts | start, s | memory of the child, KB | after each was asked, KB | mod_plua, requests/s | \
         static files, requests/s | CPU of a request, µs: mod_plua | bare C handler | static files |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for count in HOSTS {
        let configuration = plua(built, docroot)?.body("MaxKeepAliveRequests 0").body(hosts(count, "pLuaRuns 0"));
        let begun = Instant::now();
        let server = started(configuration)?;
        let start = begun.elapsed().as_secs_f64();
        let fresh = memory(&server)?;
        for host in 1..=count {
            ask(&server, &format!("h{host}.test"), "/pages/1.plua")?;
        }
        let asked = memory(&server)?;
        let script = |extension: &str| {
            in_turn(count, &format!("wrk.format(nil, '/pages/1.{extension}', {{ Host = 'h' .. n .. '.test' }})"))
        };
        let pages = measured(&server, &script("plua"), 1 + count / HOSTS_WARM, seconds)?;
        let files = measured(&server, &script("html"), 1, seconds)?;
        drop(server);
        let bare = started(bare(built, docroot)?.body(hosts(count, "")))?;
        let bare = measured(&bare, &script("html"), 1, seconds)?;
        let _ = writeln!(
            text,
            "| {count} | {start:.2} | {fresh} | {asked} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
            pages.requests_per_second, files.requests_per_second, pages.cpu, bare.cpu, files.cpu
        );
    }
    text.push_str(
        "\nWarm: each host was asked some hundred times before, which is when LuaJIT has compiled what it compiles. httpd \
         finds the host of a name by looking at one after the other: that is what the bare handler's column shows.\n",
    );
    Ok(text)
}

fn many_clients(built: &Built, docroot: &Path, seconds: u32) -> Result<String, String> {
    let clients = THREADS * OVERLOAD;
    let mut text = format!(
        "| {clients} clients for {THREADS} threads or processes | requests/s | median, ms | p99, ms |\n\
         |---|---:|---:|---:|\n"
    );
    let mut row = |name: &str, server: &Httpd, page: &str| -> Result<(), String> {
        wrk::load(&address(server, page), 1, CONNECTIONS, None)?;
        let Load { requests_per_second, median, p99, .. } = wrk::load(&address(server, page), seconds, clients, None)?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let (median, p99) = (milliseconds(median), milliseconds(p99));
        let _ = writeln!(text, "| {name} | {requests_per_second:.0} | {median:.1} | {p99:.1} |");
        Ok(())
    };
    row("mod_plua (event)", &started(plua(built, docroot)?)?, "/table.plua")?;
    row("mod_plua (prefork)", &started(plua(built, docroot)?.mpm(Mpm::Prefork).children(THREADS, 1))?, "/table.plua")?;
    let installation = Installation::find().map_err(|error| error.to_string())?;
    if let Some(php) = php_module(installation.modules()) {
        let php = base(&installation, Mpm::Prefork, docroot)
            .children(THREADS, 1)
            .module_file("php", php)
            .body("AddHandler application/x-httpd-php .php");
        row("mod_php with opcache (prefork)", &started(php)?, "/table.php")?;
    }
    Ok(text)
}

fn cold_pages(built: &Built, docroot: &Path) -> Result<String, String> {
    let first = |number: u32| -> Result<Duration, String> {
        let server = started(plua(built, docroot)?)?;
        ask(&server, "localhost", &format!("/long-{number}.plua"))
    };
    let after_start: Vec<Duration> = (1..=STARTS).map(first).collect::<Result<_, _>>()?;
    let server = started(plua(built, docroot)?)?;
    ask(&server, "localhost", "/pages/1.plua")?;
    let new_page = |number| ask(&server, "localhost", &format!("/long-{number}.plua"));
    let new: Vec<Duration> = (1..=COLD_PAGES).map(new_page).collect::<Result<_, _>>()?;
    let again: Vec<Duration> = (1..=COLD_PAGES).map(new_page).collect::<Result<_, _>>()?;
    let mut text = String::from("| page of 100 KB | median, ms | longest, ms |\n|---|---:|---:|\n");
    for (name, mut times) in
        [("first request after start", after_start), ("first request for a page", new), ("asked again", again)]
    {
        times.sort_unstable();
        let milliseconds = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
        let (median, longest) = (milliseconds(times.get(times.len() / 2)), milliseconds(times.last()));
        let _ = writeln!(text, "| {name} | {median:.2} | {longest:.2} |");
    }
    Ok(text)
}

fn address(server: &Httpd, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", server.port())
}

/// Asks once and returns the time from the connection to the end of the answer, which must be 200.
fn ask(server: &Httpd, host: &str, path: &str) -> Result<Duration, String> {
    let failed = |error: std::io::Error| format!("{host}{path}: {error}");
    let begun = Instant::now();
    let mut connection = TcpStream::connect(("127.0.0.1", server.port())).map_err(failed)?;
    connection.set_read_timeout(Some(Duration::from_secs(20))).map_err(failed)?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).map_err(failed)?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(begun.elapsed()),
        false => Err(format!("{host}{path} is answered:\n{}", String::from_utf8_lossy(&answer))),
    }
}

fn child(server: &Httpd) -> Result<u32, String> {
    server.children().first().copied().ok_or_else(|| "httpd has no child".to_owned())
}

/// Time that processors have spent on the serving child.
fn processor_time(server: &Httpd) -> Result<Duration, String> {
    let folder = format!("/proc/{}/task", child(server)?);
    let threads = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let file = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        file.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(Duration::from_nanos(nanoseconds.sum()))
}

/// Kilobytes of memory that are the serving child's own.
fn memory(server: &Httpd) -> Result<u64, String> {
    let child = child(server)?;
    let file = format!("/proc/{child}/smaps_rollup");
    let rollup = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let own = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(own("Private_Clean:").unwrap_or(0) + own("Private_Dirty:").unwrap_or(0))
}
