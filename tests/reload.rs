//! Pages and configuration that change while they are served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Connection, Mpm, Server, httpd, with_httpd};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

const VERSIONS: usize = 200;
const READERS: usize = 8;

/// Pauses between two versions, in milliseconds: a reader meets files that are just written, and old ones.
const PAUSES: &[u64] = &[1, 30, 5, 45];

/// A file that is empty or half for less than this is never taken for whole.
const PROMPT: Duration = Duration::from_millis(15);

/// A version's two halves, each a page in itself. All versions have one length, so that only their times tell them apart.
fn halves(version: usize) -> [String; 2] {
    let rows = format!("<? for i = 1, 3 do ?>{version:04} <?= {version} ?> <? end ?>.\n").repeat(40);
    [format!("begin {version:04}\n{rows}"), format!("{rows}end {version:04}\n")]
}

/// What a version shows.
fn shown(version: usize) -> String {
    let row = format!("{version:04} {version} ").repeat(3) + ".\n";
    format!("begin {version:04}\n{}end {version:04}\n", row.repeat(80))
}

/// The version a body is, all of it; otherwise the body.
fn version_of(body: String) -> Result<usize, String> {
    let version = body.get(6..10).and_then(|digits| digits.parse().ok());
    version.filter(|version| shown(*version) == body).ok_or(body)
}

/// Writes the next version beside the file and moves it over it.
fn replace(file: &Path, version: usize) -> Duration {
    let beside = file.with_extension("new");
    fs::write(&beside, halves(version).concat()).unwrap();
    fs::rename(&beside, file).unwrap();
    Duration::ZERO
}

/// Empties the file and writes the next version into it, half by half. Returns how long it was empty or half.
fn overwrite(file: &Path, version: usize) -> Duration {
    let emptied = Instant::now();
    let mut file = File::create(file).unwrap();
    let [first, second] = halves(version);
    file.write_all(first.as_bytes()).unwrap();
    // Readers are to find the half.
    thread::sleep(Duration::from_millis(2));
    file.write_all(second.as_bytes()).unwrap();
    emptied.elapsed()
}

/// Rewrites the page, or what it includes, under its readers.
fn readers_see_whole_versions(file: &str, rewrite: fn(&Path, usize) -> Duration) {
    let first = halves(0).concat();
    let setup = httpd().children(2, 25).pages(&[(file, &first), ("outer.plua", "<? include('inner.plua') ?>")]);
    setup.run(|server| {
        let server = &*server;
        let page = if file == "inner.plua" { "/outer.plua" } else { "/page.plua" };
        let done = AtomicBool::new(false);
        let (mut changes, mut torn, mut stalled) = (0, Vec::new(), Vec::new());
        thread::scope(|scope| {
            let read = || {
                let (mut last, mut changes, mut torn) = (0, 0, Vec::new());
                while !done.load(Ordering::Relaxed) {
                    match version_of(server.get(page).text()) {
                        Ok(version) => {
                            assert!(version >= last, "{version} after {last}");
                            changes += usize::from(version > last);
                            last = version;
                        }
                        Err(body) => torn.push(body),
                    }
                }
                (changes, torn)
            };
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
            for version in 1..=VERSIONS {
                if rewrite(&server.docroot().join(file), version) > PROMPT {
                    stalled.push(format!("begin {version:04}\n"));
                }
                thread::sleep(Duration::from_millis(PAUSES[version % PAUSES.len()]));
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                let (seen, bodies) = reader.join().unwrap();
                changes += seen;
                torn.extend(bodies);
            }
        });
        // A busy machine may stop the writer between two halves, and then nothing tells its half from a whole.
        torn.retain(|body| !stalled.iter().any(|begin| body.starts_with(begin) || body.is_empty()));
        assert!(torn.is_empty(), "{} no whole versions: {:?}", torn.len(), torn[0]);
        assert!(stalled.len() < VERSIONS / 2 && changes > VERSIONS, "{} stalled, {changes} seen", stalled.len());
        // Both children, and more than one state of each.
        for _ in 0..20 {
            assert_eq!(version_of(server.get(page).text()), Ok(VERSIONS));
        }
    });
}

#[test]
fn a_page_replaced_under_its_readers_is_always_whole() {
    readers_see_whole_versions("page.plua", replace);
}

#[test]
fn a_page_overwritten_under_its_readers_is_always_whole() {
    readers_see_whole_versions("page.plua", overwrite);
}

#[test]
fn an_included_file_replaced_under_its_readers_is_always_whole() {
    readers_see_whole_versions("inner.plua", replace);
}

#[test]
fn an_included_file_overwritten_under_its_readers_is_always_whole() {
    readers_see_whole_versions("inner.plua", overwrite);
}

#[test]
fn an_edit_of_equal_length_and_time_shows_in_the_next_request() {
    with_httpd("", &[("page.plua", "0000"), ("outer.plua", "<? include('page.plua') ?>")], |server| {
        let time = fs::metadata(server.docroot().join("page.plua")).unwrap().modified().unwrap();
        for edit in 1..20 {
            let text = format!("{edit:04}");
            server.put("page.plua", &text);
            if edit % 2 == 0 {
                File::open(server.docroot().join("page.plua")).unwrap().set_modified(time).unwrap();
            }
            assert_eq!(server.get("/page.plua").text(), text);
            assert_eq!(server.get("/outer.plua").text(), text);
        }
    });
}

/// Puts something else in the place of `page.plua` and says how the server answers, at once and again.
fn answer_after(server: &Server, change: impl FnOnce(&Path)) -> u16 {
    server.put("page.plua", "page");
    assert_eq!(server.get("/page.plua").text(), "page");
    assert_eq!(server.get("/outer.plua").text(), "page, true");
    let file = server.docroot().join("page.plua");
    fs::remove_file(&file).unwrap();
    change(&file);
    let status = server.get("/page.plua").status;
    assert_eq!(server.get("/page.plua").status, status);
    assert!(server.get("/outer.plua").text().ends_with(", false"));
    if file.is_dir() { fs::remove_dir(&file) } else { fs::remove_file(&file) }.unwrap_or_default();
    status
}

#[test]
fn what_takes_the_place_of_a_page_is_refused_without_waiting() {
    with_httpd("", &[("outer.plua", "<? local ok = include('page.plua') ?>, <?= ok ?>")], |server| {
        assert_eq!(answer_after(server, |_| ()), 404);
        // httpd sends visitors on to the folder.
        assert_eq!(answer_after(server, |file| fs::create_dir(file).unwrap()), 301);
        server.expect("page.plua: not a plain file");
        assert_eq!(answer_after(server, |file| mkfifo(file, Mode::S_IRWXU).unwrap()), 403);
        server.expect("AH00037: Symbolic link not allowed or link target not accessible");
        server.expect("Too many levels of symbolic links");
        assert_eq!(answer_after(server, |file| symlink(file, file).unwrap()), 403);
        server.expect("page.plua: Permission denied");
        let unreadable = |file: &Path| {
            fs::write(file, "page").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
        };
        assert_eq!(answer_after(server, unreadable), 403);
    });
}

/// The lines of a configuration, with the ones that differ.
fn configuration(lines: &str) -> String {
    format!("<FilesMatch \"\\.(plua|raw)$\">\nSetHandler plua\n</FilesMatch>\n{lines}\n")
}

fn a_graceful_restart_loses_no_request(mpm: Mpm, processes: u32) {
    let pages = &[
        ("steady.plua", "<?lua sleep(0.005) echo('steady ') ?><?lua= parseGet().q ?>"),
        ("tags.plua", "<?= 1 ?>"),
        ("counter.plua", "<?lua count = (count or 0) + 1 echo(count) ?>"),
        ("fault.plua", "<?lua error('shown') ?>"),
        ("script.raw", "echo(2)"),
    ];
    let setup = httpd().mpm(mpm).children(processes, 10).lines("<Files *.raw>\nSetHandler plua\n</Files>").pages(pages);
    setup.run(|server| {
        server.expect("shown at ");
        let done = AtomicBool::new(false);
        let served = AtomicUsize::new(0);
        let port = server.httpd().port();
        thread::scope(|scope| {
            for client in 0..4 {
                let (done, served) = (&done, &served);
                scope.spawn(move || {
                    let mut request = 0;
                    while !done.load(Ordering::Relaxed) {
                        let path = format!("/steady.plua?q={client}-{request}");
                        let mut connection = Connection::open(port);
                        let answer = connection.request("GET", &path, &[("Connection", "close")], b"");
                        assert_eq!((answer.status, answer.text()), (200, format!("steady {client}-{request}")));
                        served.fetch_add(1, Ordering::Relaxed);
                        request += 1;
                    }
                });
            }
            for round in 0..2 {
                server.httpd().configure(&configuration("pLuaShortHand 0\npLuaError 0\npLuaRaw .raw")).unwrap();
                server.httpd().graceful().unwrap();
                assert_eq!(server.get("/tags.plua").text(), "<?= 1 ?>");
                assert_eq!(server.get("/script.raw").text(), "2");
                assert!(!server.get("/fault.plua").text().contains("shown"), "{round}");
                // For as long the configuration serves the clients.
                thread::sleep(Duration::from_millis(300));
                server.httpd().configure(&configuration("pLuaError 1")).unwrap();
                server.httpd().graceful().unwrap();
                assert_eq!(server.get("/tags.plua").text(), "1");
                assert_eq!(server.get("/script.raw").text(), "echo(2)");
                assert!(server.get("/fault.plua").text().contains("shown"), "{round}");
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(served.into_inner() > 100);
        // States are made anew, and with them what pages kept.
        server.httpd().graceful().unwrap();
        assert_eq!(server.get("/counter.plua").text(), "1");
    });
}

#[test]
fn a_graceful_restart_of_threads_takes_new_directives_and_loses_no_request() {
    a_graceful_restart_loses_no_request(Mpm::Event, 2);
}

#[test]
fn a_graceful_restart_of_processes_takes_new_directives_and_loses_no_request() {
    a_graceful_restart_loses_no_request(Mpm::Prefork, 6);
}
