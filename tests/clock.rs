//! A system clock that is set back, and far ahead, while pages are served.
//!
//! Debian's libfaketime gives httpd a clock of its own; limits and waits must go by the one that nobody sets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use common::httpd;
use common::traffic::under_load;
use common::wait::until;

/// The library that gives a program with threads a clock of its own.
fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found = folders.map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|file| file.is_file())
}

/// What libfaketime leaves in memory that processes share.
fn left_by_faketime() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("faketime_s")).collect()
}

#[test]
fn a_clock_that_is_set_back_or_ahead_disturbs_no_limit_no_wait_and_no_file() {
    let Some(library) = library() else {
        assert!(env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "libfaketime is missing (Debian: libfaketime)");
        return println!("skipped: libfaketime is missing (Debian: libfaketime)");
    };
    let left_before = left_by_faketime();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let clock = folder.path().join("clock");
    let set = |offset: &str| {
        let beside = folder.path().join("new");
        fs::write(&beside, format!("{offset}\n")).unwrap();
        fs::rename(beside, &clock).unwrap();
    };
    set("+0");
    let setup = httpd().children(1, 10).lines("pLuaError 0\npLuaTimeout 2\npLuaStates 4\npLuaStateWait 5").pages(&[
        ("now.plua", "<?= clock().seconds ?>"),
        ("nap.plua", "<? sleep(0.1) ?>rested"),
        ("endless.plua", "<? while true do end ?>"),
        ("page.plua", "version 0"),
    ]);
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap().to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        // Files keep their real times: seen from the clock set back they are of the future.
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    let setup =
        setup.change(|httpd| variables.into_iter().fold(httpd, |httpd, (name, value)| httpd.environment(name, value)));
    setup.run(|server| {
        server.expect("took too long to execute");
        let port = server.httpd().port();
        let page = server.docroot().join("page.plua");
        let version = std::sync::atomic::AtomicUsize::new(0);
        let real = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let offsets = [("-2h", -7200.0), ("+1d", 86_400.0), ("-30d", -2_592_000.0), ("+0", 0.0)];
        let (tally, ()) = under_load(
            port,
            4,
            |visitor, _, count| {
                let asked = Instant::now();
                if count.is_multiple_of(2) {
                    visitor.expect("/nap.plua", |answer| {
                        answer.text() == "rested" && (0.1..5.0).contains(&asked.elapsed().as_secs_f64())
                    });
                } else {
                    visitor.expect("/page.plua", |answer| answer.text().starts_with("version "));
                }
            },
            || {
                for (offset, seconds) in offsets {
                    set(offset);
                    until(&format!("the clock is set by {offset}"), Duration::from_secs(20), || {
                        let told: f64 = server.get("/now.plua").text().parse().unwrap();
                        (told - real() - seconds).abs() < 60.0
                    });
                    let asked = Instant::now();
                    assert_eq!(server.get("/endless.plua").status, 500);
                    let stopped = asked.elapsed().as_secs_f64();
                    assert!((1.9..60.0).contains(&stopped), "{offset}: stopped after {stopped} s");
                    // An edit shows at once, although its time may be of the future.
                    for _ in 0..3 {
                        let next = version.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                        let beside = page.with_extension("new");
                        fs::write(&beside, format!("version {next}")).unwrap();
                        fs::rename(beside, &page).unwrap();
                        let asked = Instant::now();
                        assert_eq!(server.get("/page.plua").text(), format!("version {next}"), "{offset}");
                        assert!(asked.elapsed() < Duration::from_secs(20), "{offset}: {:?}", asked.elapsed());
                    }
                }
            },
        );
        tally.tell("the clock set back and ahead four times");
        assert_eq!((tally.wrong, tally.lost, tally.sent), (0, 0, tally.answered), "{tally}");
    });
    for left in left_by_faketime().iter().filter(|left| !left_before.contains(left)) {
        fs::remove_file(left).unwrap();
    }
}
