//! Panics in the module's own code: each costs its request, and nothing else.
//!
//! Built with the feature `fault-injection` only; `make test-panics` does so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use common::traffic::under_load;
use common::{Mpm, Server, Setup, httpd};
use tempfile::TempDir;

/// Where the next panic is to be.
struct Panic(TempDir);

impl Panic {
    fn none() -> Panic {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Panic(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("place")
    }

    fn at(&self, place: &str) {
        let beside = self.0.path().join("new");
        fs::write(&beside, place).unwrap();
        fs::rename(beside, self.file()).unwrap();
    }

    fn nowhere(&self) {
        self.at("");
    }

    fn setup(&self) -> Setup {
        let file = self.file().to_str().unwrap().to_owned();
        httpd().change(move |httpd| httpd.environment("PLUA_PANIC_AT", file).environment("RUST_BACKTRACE", "0"))
    }
}

/// What Rust prints of each panic, beside the module's own line in the log.
fn announce(server: &Server, place: &str) {
    server.expect(&format!("planted at {place}"));
    server.tolerate("panicked at");
    server.tolerate("note: run with `RUST_BACKTRACE=1`");
}

const PAGES: &[(&str, &str)] = &[
    ("page.plua", "<? count = (count or 0) + 1; local host = getEnv().Host ?>page <?= #host > 0 ?>"),
    ("outer.plua", "<? pcall(include, 'inner.plua') ?>outer"),
    ("inner.plua", "inner "),
    ("pieces.plua", "first <? flush() ?>second"),
    ("count.plua", "<? count = (count or 0) + 1 ?><?= count ?>"),
];

#[test]
fn a_panic_while_a_page_is_served_is_500_and_a_line_in_the_log_and_the_process_goes_on() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        let panic = Panic::none();
        let processes = if mpm == Mpm::Event { 1 } else { 4 };
        let lines = "pLuaError 0\npLuaStates 4\npLuaStateWait 10\npLuaTimeout 10";
        panic.setup().mpm(mpm).children(processes, 10).lines(lines).pages(PAGES).run(|server| {
            let before = server.httpd().children();
            for place in ["request", "load", "include", "page function", "output", "end of page"] {
                announce(server, place);
                let visit = |visitor: &mut common::traffic::Visitor, _, count: usize| {
                    let path = ["/page.plua", "/outer.plua", "/pieces.plua"][count % 3];
                    visitor.expect(path, |answer| match answer.status {
                        200 => ["page true", "inner outer", "first second"][count % 3] == answer.text(),
                        status => status == 500,
                    });
                };
                let (tally, ()) = under_load(server.httpd().port(), 4, visit, || {
                    // Visits before the panics, among them and after them.
                    thread::sleep(Duration::from_millis(50));
                    panic.at(place);
                    thread::sleep(Duration::from_millis(200));
                    // This page catches what its include raises.
                    let answer = server.get(if place == "include" { "/outer.plua" } else { "/page.plua" });
                    assert_eq!(answer.status, 500, "{place}");
                    assert!(!answer.text().contains("planted"), "{place}: visitors are told nothing");
                    panic.nowhere();
                    thread::sleep(Duration::from_millis(100));
                });
                tally.tell(&format!("{mpm:?} MPM, panics at {place}"));
                // An answer whose first piece is out can only be cut off.
                let cut = ["output", "page function", "end of page"].contains(&place);
                assert!(tally.wrong == 0 && (cut || tally.lost == 0), "{place}: {tally}");
                // No state and no turn is lost: all four are to be had.
                for _ in 0..8 {
                    assert_eq!(server.get("/outer.plua").text(), "inner outer", "after panics at {place}");
                }
                assert_eq!(server.httpd().children(), before, "the processes live, after panics at {place}");
            }
            let internal =
                server.error_log().lines().filter(|line| line.contains("[plua:") && line.contains("planted")).count();
            assert!(internal > 20, "{internal} lines in the log");
        });
    }
}

#[test]
fn a_state_that_a_panic_went_through_runs_no_other_page() {
    let panic = Panic::none();
    panic.setup().children(1, 5).lines("pLuaError 0\npLuaStates 1").pages(PAGES).run(|server| {
        for (visits, place) in [(3, "load"), (4, "page function"), (5, "output"), (2, "end of page")] {
            announce(server, place);
            for visit in 1..=visits {
                assert_eq!(server.get("/count.plua").text(), visit.to_string(), "before a panic at {place}");
            }
            panic.at(place);
            assert_eq!(server.get("/page.plua").status, 500, "{place}");
            panic.nowhere();
        }
        assert_eq!(server.get("/count.plua").text(), "1");
    });
}

#[test]
fn a_page_that_catches_errors_catches_no_panic() {
    let panic = Panic::none();
    let pages = &[("page.plua", "<? pcall(getEnv) pcall(include, 'inner.plua') ?>caught"), ("inner.plua", "")];
    panic.setup().children(1, 5).lines("pLuaError 0").pages(pages).run(|server| {
        announce(server, "page function");
        panic.at("page function");
        assert_eq!(server.get("/page.plua").status, 500);
        panic.nowhere();
        assert_eq!(server.get("/page.plua").text(), "caught");
    });
}

#[test]
fn a_panic_in_a_directive_is_a_sentence_that_stops_the_start_and_leaves_a_running_server_alone() {
    let panic = Panic::none();
    panic.at("directive");
    let (status, output) = panic.setup().lines("pLuaStates 3").check().unwrap();
    assert_ne!(status, 0);
    assert!(
        output.contains("Syntax error on line") && output.contains("internal error: planted at directive"),
        "{output}"
    );
}

#[test]
fn a_panic_in_the_merging_of_settings_costs_the_requests_it_concerns() {
    let panic = Panic::none();
    let lines = "pLuaError 0\nErrorDocument 500 failed\n<Location /page.plua>\npLuaError 1\n</Location>\n\
        <LocationMatch page>\npLuaShortHand 1\n</LocationMatch>";
    panic.setup().children(1, 5).lines(lines).pages(PAGES).run(|server| {
        announce(server, "merge");
        server.expect("the settings of this place could not be put together");
        assert_eq!(server.get("/page.plua").text(), "page true");
        let before = server.httpd().children();
        panic.at("merge");
        assert_eq!(server.get("/page.plua").status, 500);
        panic.nowhere();
        assert_eq!(server.get("/page.plua").text(), "page true");
        assert_eq!(server.httpd().children(), before);
    });
}

#[test]
fn panics_at_a_childs_start_and_at_its_end_leave_the_server_to_the_next_children() {
    let panic = Panic::none();
    panic.setup().children(2, 5).pages(PAGES).run(|server| {
        announce(server, "start of child");
        announce(server, "cleanup");
        server.expect("this process has no engine");
        panic.at("start of child");
        server.httpd().graceful().unwrap();
        let answer = server.get("/page.plua");
        assert_eq!(answer.status, 500);
        panic.at("cleanup");
        for _ in 0..3 {
            server.httpd().graceful().unwrap();
            for _ in 0..10 {
                assert_eq!(server.get("/page.plua").text(), "page true");
            }
        }
        panic.nowhere();
        assert!(server.httpd().is_running());
    });
}

#[test]
fn a_panic_before_a_kept_page_is_sent_costs_that_request_and_the_page_stays() {
    let panic = Panic::none();
    let page = &[("kept.plua", "<? plua.cachePage(100) runs = (runs or 0) + 1 ?>run <?= runs ?>")];
    panic.setup().children(1, 5).lines("pLuaError 0\npLuaShared cache 1M").pages(page).run(|server| {
        announce(server, "quick answer");
        let before = server.httpd().children();
        for _ in 0..3 {
            assert_eq!(server.get("/kept.plua").text(), "run 1");
        }
        panic.at("quick answer");
        assert_eq!(server.get("/kept.plua").status, 500);
        panic.nowhere();
        assert_eq!(server.get("/kept.plua").text(), "run 1");
        assert_eq!(server.httpd().children(), before);
    });
}
