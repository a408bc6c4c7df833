//! A page's file that becomes something else, again and again, while visitors ask for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::httpd;
use common::traffic::{Visitor, under_load};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// What the name `page.plua` stands for.
struct Shape {
    name: &'static str,
    make: fn(&Path),
    /// What a request for it is answered, and with which text if that is the page's.
    status: u16,
    text: &'static str,
    /// What `include` of it puts out and returns, and the same of `file.send`.
    included: &'static str,
    sent: &'static str,
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "replaced",
        make: |path| {
            let beside = path.with_extension("new");
            fs::write(&beside, "<?lua= 'replaced' ?>").unwrap();
            fs::rename(beside, path).unwrap();
        },
        status: 200,
        text: "replaced",
        included: "replaced, true",
        sent: "<?lua= 'replaced' ?>20",
    },
    Shape {
        name: "truncated",
        make: |path| {
            fs::write(path, "<?lua= 'whole' ?>").unwrap();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
        },
        status: 200,
        text: "",
        included: ", true",
        sent: "0",
    },
    Shape { name: "removed", make: |_| (), status: 404, text: "", included: ", false", sent: "false" },
    Shape {
        name: "unreadable",
        make: |path| {
            fs::write(path, "hidden").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        },
        status: 403,
        text: "",
        included: ", false",
        sent: "false",
    },
    Shape {
        name: "a directory",
        make: |path| fs::create_dir(path).unwrap(),
        // httpd sends visitors on to the folder.
        status: 301,
        text: "",
        included: ", false",
        sent: "false",
    },
    Shape {
        name: "a FIFO",
        make: |path| {
            mkfifo(path, Mode::S_IRWXU).unwrap();
            // httpd's children run as another account; what they may not open holds nobody.
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        },
        status: 403,
        text: "",
        included: ", false",
        sent: "0",
    },
    Shape {
        name: "a loop of symbolic links",
        make: |path| symlink(path, path).unwrap(),
        status: 403,
        text: "",
        included: ", false",
        sent: "false",
    },
    Shape {
        name: "written",
        make: |path| fs::write(path, "<?lua= 'written' ?>").unwrap(),
        status: 200,
        text: "written",
        included: "written, true",
        sent: "<?lua= 'written' ?>19",
    },
];

const ROUNDS: usize = 3;
const VISITORS: usize = 6;

/// Longer than any answer takes, shorter than what waits for ever.
const PROMPT: Duration = Duration::from_secs(5);

/// Puts the next shape in the place of the last.
fn change(path: &Path, shape: &Shape) {
    // Only a plain file can be replaced without a moment in which nothing is there.
    let replaces = shape.name == "replaced" && path.is_file();
    if !replaces {
        if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.unwrap_or_default();
    }
    (shape.make)(path);
}

#[test]
fn whatever_a_page_becomes_under_load_each_request_is_answered_at_once_and_right() {
    let setup = httpd().children(2, 10).lines("pLuaError 0").pages(&[
        ("outer.plua", "<? local ok = include('page.plua') ?>, <?= ok ?>"),
        ("sent.plua", "<? local sent = file.send('page.plua') ?><?= sent ?>"),
        ("page.plua", "<?lua= 'written' ?>"),
    ]);
    setup.run(|server| {
        for text in [
            "page.plua: not a plain file",
            "AH00037: Symbolic link not allowed or link target not accessible",
            "page.plua: Permission denied",
            "Too many levels of symbolic links",
        ] {
            server.expect(text);
        }
        // httpd's own word, when a file is gone between two of its looks.
        server.tolerate("AH00038: Forbidden");
        let file = server.docroot().join("page.plua");
        // An even number is a shape that stands, an odd one a change under way.
        let moment = AtomicUsize::new(2 * SHAPES.len() - 2);
        let judged = AtomicUsize::new(0);
        let visit = |visitor: &mut Visitor, _, count: usize| {
            let path = ["/page.plua", "/outer.plua", "/sent.plua"][count % 3];
            let (asked, before) = (Instant::now(), moment.load(Ordering::SeqCst));
            let Some(answer) = visitor.get(path) else { return };
            let stood = before.is_multiple_of(2) && moment.load(Ordering::SeqCst) == before;
            let shape = &SHAPES[before / 2 % SHAPES.len()];
            let right = match count % 3 {
                _ if !stood => [200, 301, 403, 404].contains(&answer.status),
                0 => answer.status == shape.status && (shape.status != 200 || answer.text() == shape.text),
                1 => answer.status == 200 && answer.text() == shape.included,
                _ => answer.status == 200 && answer.text() == shape.sent,
            };
            if !right || asked.elapsed() > PROMPT {
                visitor.wrong(&format!("{path}, {}, {:?}", shape.name, asked.elapsed()), &answer);
            }
            judged.fetch_add(usize::from(stood), Ordering::Relaxed);
        };
        let (tally, ()) = under_load(server.httpd().port(), VISITORS, visit, || {
            for _ in 0..ROUNDS {
                for shape in SHAPES {
                    moment.fetch_add(1, Ordering::SeqCst);
                    change(&file, shape);
                    moment.fetch_add(1, Ordering::SeqCst);
                    // For as long it stands.
                    thread::sleep(Duration::from_millis(150));
                }
            }
        });
        tally.tell(&format!("a page of {} shapes, {ROUNDS} times each", SHAPES.len()));
        assert_eq!((tally.wrong, tally.lost, tally.sent), (0, 0, tally.answered), "{tally}");
        let judged = judged.into_inner();
        assert!(judged > tally.sent / 2, "{judged} of {} asked while a shape stood", tally.sent);
    });
}
