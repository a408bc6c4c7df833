//! Disks that are full when a request's body is to be kept on them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::traffic::{Visitor, visits};
use common::{Server, Setup, httpd};
use tempfile::TempDir;

/// Bytes the disk has, or a file may have.
const ROOM: usize = 4 << 20;

const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");

const PAGES: &[(&str, &str)] = &[
    ("form.plua", "<? local up = uploads() ?><?= #up, ' ', up[1].size ?>"),
    ("body.plua", "<?= select(2, getRequestBody()) ?>"),
    ("caught.plua", "<? if not pcall(uploads) then setReturnCode(507) end ?>caught"),
    ("spill.plua", "<?= getRequestBody('/dev/full') ?>"),
    ("ok.plua", "fine"),
];

/// A form with one file of so many bytes, which is kept twice: as the body and as the file.
fn form(size: usize) -> Vec<u8> {
    let head = "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
    [head.as_bytes(), &vec![b'x'; size], b"\r\n--XX--\r\n"].concat()
}

/// What is to hold on any disk of that room, one request after the other and many at once.
fn full_disk(server: &mut Server, folder: &Path, what: &str) {
    server.expect("cannot be kept in");
    let files = |folder: &Path| fs::read_dir(folder).unwrap().count();
    let status = |path: &str, body: &[u8]| server.request("POST", path, &[MULTIPART], body).status;
    // Fits; fits once but not twice on a disk; does not fit.
    assert_eq!(status("/form.plua", &form(ROOM / 4)), 200);
    assert_eq!(status("/form.plua", &form(ROOM * 2)), 500);
    assert_eq!(status("/body.plua", &vec![b'x'; ROOM * 2]), 500);
    assert_eq!(status("/caught.plua", &form(ROOM * 2)), 507);
    assert_eq!(server.request("POST", "/spill.plua", &[], b"body").text(), "false");
    assert_eq!((files(folder), server.get("/ok.plua").text().as_str()), (0, "fine"));

    let before = server.httpd().children();
    let (small, large) = (form(ROOM / 8), form(ROOM * 3 / 4));
    let visit = |visitor: &mut Visitor, number: usize, _| {
        let (body, size) = if number < 3 { (&large, ROOM * 3 / 4) } else { (&small, ROOM / 8) };
        let Some(answer) = visitor.ask("POST", "/form.plua", &[MULTIPART], body) else { return };
        let kept = answer.status == 200 && answer.text() == format!("1 {size}");
        if !kept && answer.status != 500 {
            visitor.wrong("/form.plua", &answer);
        }
        visitor.expect("/ok.plua", |answer| answer.text() == "fine");
    };
    let tally = visits(server.httpd().port(), 6, 50, visit);
    tally.tell(what);
    assert_eq!((tally.wrong, tally.lost, tally.sent), (0, 0, tally.answered), "{tally}");
    assert!(tally.sent > 10, "{tally}");
    assert_eq!(server.httpd().children(), before, "no process is lost over it");
    assert_eq!((files(folder), status_after(server)), (0, 200));
}

/// The room is there again once the requests are gone.
fn status_after(server: &Server) -> u16 {
    server.request("POST", "/form.plua", &[MULTIPART], &form(ROOM / 4)).status
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn setup(folder: &Path) -> Setup {
    let lines = format!("pLuaError 0\npLuaUploadFolder {}", folder.display());
    httpd().children(1, 10).lines(&lines).pages(PAGES)
}

/// A small file system of its own, which is gone with this.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Disk> {
        let disk = Disk(folder());
        let options = format!("size={ROOM},mode=777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(disk.0.path()).output();
        mounted.is_ok_and(|run| run.status.success()).then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn uploads_on_a_full_disk_fail_each_for_itself_and_leave_nothing() {
    let Some(disk) = Disk::mount() else {
        assert!(!private_httpd::is_root() || env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "root cannot mount a tmpfs");
        return println!("skipped: only root can mount a disk that is soon full");
    };
    setup(disk.0.path()).run(|server| full_disk(server, disk.0.path(), "uploads on a full disk of 4 MB"));
}

#[test]
fn uploads_over_the_systems_limit_for_files_fail_each_for_itself_and_leave_nothing() {
    let folder = folder();
    setup(folder.path()).run(|server| {
        // The next children inherit it.
        let mut limit = Command::new("prlimit");
        limit.args(["--pid", &server.httpd().pid().to_string(), &format!("--fsize={ROOM}")]);
        assert!(limit.status().unwrap().success());
        server.httpd().graceful().unwrap();
        full_disk(server, folder.path(), "uploads over RLIMIT_FSIZE of 4 MB");
    });
}
