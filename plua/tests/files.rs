//! The page functions `file.*`: paths from the page's folder, and files sent in order with the rest.

mod site;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use site::{Site, page};

const LARGE: usize = (1 << 20) + 12_345;

fn large() -> Vec<u8> {
    (0..LARGE).map(|number| (number % 251) as u8).collect()
}

#[test]
fn exists_looks_from_the_pages_folder_and_knows_folders() {
    let site = Site::new(
        "",
        &[
            (
                "sub/page.plua",
                "<?= file.exists('a.txt'), file.exists('../b'), file.exists('../b/'), file.exists('no') ?>",
            ),
            ("sub/a.txt", ""),
            ("b/c", ""),
            ("absolute.plua", "<?= file.exists('/etc'), file.exists('/etc/passwd'), file.exists('/nowhere') ?>"),
        ],
    );
    assert_eq!(site.get("sub/page.plua").text(), "truetruetruefalse");
    assert_eq!(site.get("absolute.plua").text(), "truetruefalse");
}

#[test]
fn a_file_that_cannot_be_read_is_as_if_it_were_not_there() {
    let site = Site::new("", &[("page.plua", "<?= file.exists('secret'), file.send('secret') ?>"), ("secret", "x")]);
    fs::set_permissions(site.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let readable = fs::read(site.path("secret")).is_ok();
    // Root reads everything.
    assert_eq!(site.get("page.plua").text(), if readable { "xtrue1" } else { "falsefalse" });
}

#[test]
fn stat_tells_what_the_system_knows_or_nil() {
    let show = "<? local s = file.stat('a.txt') ?>\
        <?= s.size, ' ', s.created, ' ', s.modified, ' ', s.accessed, ' ', s.mode, ' ', file.stat('no') ?>";
    let site = Site::new("", &[("page.plua", show), ("a.txt", "hello")]);
    fs::set_permissions(site.path("a.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    let found = fs::metadata(site.path("a.txt")).unwrap();
    let expected = format!("5 {} {} {} 33188 nil", found.ctime(), found.mtime(), found.atime());
    assert_eq!(site.get("page.plua").text(), expected);
}

#[test]
fn rename_moves_a_file_and_says_whether_it_could() {
    let site = Site::new("", &[("page.plua", "<?= file.rename('a', 'b'), file.rename('a', 'c') ?>"), ("a", "text")]);
    assert_eq!(site.get("page.plua").text(), "truefalse");
    assert_eq!(fs::read(site.path("b")).unwrap(), b"text");
    assert!(!site.path("a").exists());
}

#[test]
fn unlink_removes_files_and_no_folders() {
    let site = Site::new(
        "",
        &[
            ("page.plua", "<?= file.unlink('a'), file.unlink('a'), file.unlink('folder') ?>"),
            ("a", ""),
            ("folder/b", ""),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "truefalsefalse");
    assert!(!site.path("a").exists() && site.path("folder/b").exists());
}

#[test]
fn a_file_is_sent_in_order_with_echo() {
    let site = Site::new("", &[("page.plua", "A<? local n = file.send('f') ?>B<?= n ?>")]);
    site.write("f", b"x\0\xff<?= 1 ?>");
    assert_eq!(site.get("page.plua").body, b"Ax\0\xff<?= 1 ?>B11");
}

#[test]
fn what_is_no_file_with_bytes_is_sent_as_nothing() {
    let site = Site::new(
        "",
        &[
            (
                "page.plua",
                "<?= file.send('empty'), file.send('no'), file.send('folder'), file.send('/proc/version') ?>",
            ),
            ("device.plua", "<?= file.send('/dev/zero') ?>"),
            ("empty", ""),
            ("folder/a", ""),
        ],
    );
    assert_eq!(site.get("page.plua").text(), "0falsefalse0");
    assert_eq!(site.get("device.plua").text(), "0");
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    site.write("pipe.plua", "<?= file.send('pipe') ?>");
    assert_eq!(site.get("pipe.plua").text(), "0");
}

#[test]
fn a_large_file_is_streamed_after_what_came_before_it() {
    let site =
        Site::new("", &[("page.plua", "<? header('X-A', 1) ?>before<? local n = file.send('f') ?>after<?= n ?>")]);
    site.write("f", large());
    let seen = site.get("page.plua");
    let expected = [b"before", large().as_slice(), format!("after{LARGE}").as_bytes()].concat();
    // Not assert_eq: it would print a million numbers.
    assert!(seen.body == expected, "{} bytes instead of {}", seen.body.len(), expected.len());
    assert_eq!((seen.status, seen.flushes, seen.log.len()), (200, 1, 0));
    assert_eq!(seen.headers, [("X-A".to_string(), "1".to_string())]);
}

#[test]
fn a_file_within_the_buffer_leaves_headers_open() {
    let site = Site::new("", &[("page.plua", "<? file.send('f') setReturnCode(404) header('X-A', 1) ?>")]);
    site.write("f", vec![b'x'; 1 << 20]);
    let seen = site.get("page.plua");
    assert_eq!((seen.status, seen.body.len(), seen.flushes, seen.headers.len()), (404, 1 << 20, 0, 1));
}

#[test]
fn a_large_file_is_sent_no_longer_than_the_time_limit() {
    let site = Site::new("pLuaTimeout 0.2", &[("page.plua", "<? sleep(0.1) while true do file.send('f') end ?>")]);
    site.write("f", large());
    let seen = site.get("page.plua");
    assert!(seen.aborted && seen.log[0].starts_with("Time limit"), "{:?}", seen.log);
}

#[test]
fn names_with_nul_and_names_that_are_no_text_are_refused() {
    for call in [
        "file.exists('a\\0b')",
        "file.stat('a\\0b')",
        "file.send('a\\0b')",
        "file.unlink('a\\0b')",
        "file.rename('a\\0b', 'c')",
        "file.rename('page.plua', 'c\\0d')",
    ] {
        let seen = page(&format!("\n<? {call} ?>"));
        assert!(seen.log[0].contains("a path holds no NUL") && seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
    }
    let seen = page("<? file.send() ?>");
    assert!(seen.log[0].contains("bad argument #1 to 'file.send' (string expected, got "), "{:?}", seen.log);
}
