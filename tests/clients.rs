//! Clients that leave in the middle, and clients that take their time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::tls::{certificate, tls};
use common::traffic::visits;
use common::wait::until;
use common::{Connection, Mpm, Server, httpd};

/// How many clients leave at each point.
const LEAVING: usize = 25;

const FORM_HEAD: &str = "POST /form.plua HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\
    Content-Type: multipart/form-data; boundary=XX\r\n\r\n\
    --XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Both states of the host answer at the same time; says how long it took until they did.
fn both_states_are_back(server: &Server) -> Duration {
    let asked = Instant::now();
    thread::scope(|scope| {
        for both in [(); 2].map(|()| scope.spawn(|| server.get("/hold.plua").text())) {
            assert_eq!(both.join().unwrap(), "held");
        }
    });
    asked.elapsed()
}

/// Files of that folder that a process has open, those without a name too.
fn open_files(process: u32, folder: &Path) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return 0 };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

#[test]
fn a_client_that_leaves_gives_its_state_back_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let lines = format!("pLuaStates 2\npLuaStateWait 20\npLuaUploadFolder {}", folder.path().display());
    let setup = httpd().children(1, 10).lines(&lines).pages(&[
        ("endless.plua", "<? while true do echo(('x'):rep(1000)) flush() end ?>"),
        ("caught.plua", "<? while true do pcall(function() echo(('x'):rep(1000)) flush() end) end ?>"),
        ("large.plua", "<? echo(('x'):rep(12e6)) ?>"),
        ("sleep.plua", "<? sleep(0.1) ?>late"),
        ("dots.plua", "<? for i = 1, 20 do echo('.') flush() sleep(0.01) end ?>"),
        ("form.plua", "<?= #uploads() ?>"),
        ("body.plua", "<?= getRequestBody('/dev/null') ?>"),
        ("hold.plua", "<? sleep(0.1) ?>held"),
    ]);
    setup.run(|server| {
        server.expect("the client left before its end");
        both_states_are_back(server);
        let child = server.httpd().children()[0];
        let part = [FORM_HEAD.as_bytes(), &vec![b'x'; 900_000]].concat();
        let body = part[..].strip_prefix(b"POST /form.plua").unwrap();
        let body = [b"POST /body.plua", body].concat();
        let points: [(&str, Vec<u8>, &[u8]); 8] = [
            ("in an endless page", get("/endless.plua"), b"xxx"),
            ("in an endless page that catches errors", get("/caught.plua"), b"xxx"),
            ("between two pieces", get("/dots.plua"), b"1\r\n."),
            ("in a large answer", get("/large.plua"), b"xxx"),
            ("while a page sleeps", get("/sleep.plua"), b""),
            ("in an upload", part, b""),
            ("in a body", body, b""),
            ("in a request's head", b"GET /sleep.plua HTTP/1.1\r\nHo".to_vec(), b""),
        ];
        for (point, request, until) in &points {
            for _ in 0..LEAVING {
                let mut client = server.connect();
                client.send(request);
                client.until(until);
            }
            let back = both_states_are_back(server);
            eprintln!("{LEAVING} clients left {point}: both states are back after {} ms", back.as_millis());
            assert!(back < Duration::from_secs(15), "{point}: {back:?}");
        }
        assert_eq!((fs::read_dir(folder.path()).unwrap().count(), open_files(child, folder.path())), (0, 0));
        assert_eq!(server.httpd().children(), [child]);
    });
}

#[test]
fn what_a_page_runs_at_its_end_runs_when_its_client_has_left() {
    let page = "<? plua.atEnd(function() left = (left or 0) + 1 echo('x') flush() left = left + 10 end) \
                while true do echo(('x'):rep(1000)) flush() end ?>";
    let setup =
        httpd().lines("pLuaStates 1\npLuaStateWait 20").pages(&[("endless.plua", page), ("left.plua", "<?= left ?>")]);
    setup.run(|server| {
        let mut client = server.connect();
        client.send(&get("/endless.plua"));
        client.until(b"xxx");
        drop(client);
        // This waits for the one state.
        assert_eq!(server.get("/left.plua").text(), "1");
    });
}

const STATES: usize = 4;
const SLOW: usize = 3;

/// How many of the host's states are to be had.
fn free_states(server: &Server) -> usize {
    thread::scope(|scope| {
        let asking: Vec<_> = (0..STATES + 2).map(|_| scope.spawn(|| server.get("/hold.plua").status)).collect();
        let statuses: Vec<u16> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    })
}

/// Others are served while the slow clients are at it; says the longest that one waited.
fn others_are_served(server: &mut Server, what: &str) {
    let tally = visits(server.httpd().port(), 4, 100, |visitor, _, _| {
        let asked = Instant::now();
        visitor.expect("/ok.plua", |answer| answer.text() == "fine" && asked.elapsed() < Duration::from_secs(15));
    });
    tally.tell(&format!("beside {SLOW} {what}"));
    assert_eq!((tally.wrong, tally.lost, tally.answered), (0, 0, tally.sent), "{tally}");
}

/// Clients that send `head` at once and `rest` byte by byte, with a pause after each and the last one only when `meanwhile`
/// has returned.
fn while_clients_trickle(port: u16, head: &[u8], rest: &[u8], meanwhile: impl FnOnce()) -> Vec<Connection> {
    const PAUSE: Duration = Duration::from_millis(50);
    let trickle = |begin: mpsc::Sender<()>, is_over: mpsc::Receiver<()>| {
        let mut client = Connection::open(port);
        client.send(head);
        let (last, first) = rest.split_last().unwrap();
        for (number, byte) in first.iter().enumerate() {
            client.send(&[*byte]);
            if number == 3 {
                begin.send(()).unwrap();
            }
            let _ = is_over.recv_timeout(PAUSE);
        }
        let _ = is_over.recv();
        client.send(&[*last]);
        client
    };
    thread::scope(|scope| {
        let (begin, begun) = mpsc::channel();
        // Nothing is sent here: whoever hears that the other end is dropped need not be slow any more.
        let (ends, waits): (Vec<_>, Vec<_>) = (0..SLOW).map(|_| mpsc::channel()).unzip();
        let start = |is_over| {
            let (begin, trickle) = (begin.clone(), &trickle);
            scope.spawn(move || trickle(begin, is_over))
        };
        let slow: Vec<_> = waits.into_iter().map(start).collect();
        (0..SLOW).for_each(|_| begun.recv().unwrap());
        meanwhile();
        drop(ends);
        slow.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn slow_clients_hold_a_state_only_while_a_page_sends_to_them() {
    let lines = format!("pLuaError 0\npLuaStates {STATES}\npLuaStateWait 0.3");
    let setup = httpd().children(1, 25).lines(&lines).pages(&[
        ("hold.plua", "<? sleep(1.2) ?>held"),
        ("ok.plua", "fine"),
        ("body.plua", "<?= (getRequestBody()) ?>"),
        ("large.plua", "<? for i = 1, 1e6 do ?>0123456789<? end ?>"),
    ]);
    setup.run(|server| {
        server.expect("states were busy");
        let port = server.httpd().port();
        assert_eq!(free_states(server), STATES);

        let slow = while_clients_trickle(port, b"", &get("/ok.plua"), || {
            others_are_served(server, "clients that send their head byte by byte");
            assert_eq!(free_states(server), STATES, "a request whose head is not there needs none");
        });
        for mut client in slow {
            assert_eq!(client.response("GET").text(), "fine");
        }

        let head = b"POST /body.plua HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n";
        let slow = while_clients_trickle(port, head, &[b'x'; 40], || {
            others_are_served(server, "clients that send their body byte by byte");
            assert_eq!(free_states(server), STATES, "a request whose body is not there needs none");
        });
        for mut client in slow {
            assert_eq!(client.response("POST").text(), "x".repeat(40));
        }

        let mut slow: Vec<Connection> = (0..SLOW).map(|_| Connection::open(port)).collect();
        for client in &mut slow {
            client.send(&get("/large.plua"));
            client.until(b"0123456789");
        }
        others_are_served(server, "clients that do not read their 10 MB");
        assert_eq!(free_states(server), STATES - SLOW, "a state is given back when its answer is sent");
        for mut client in slow {
            client.finish_sending();
            let rest = client.rest();
            assert_eq!(rest.len(), 10_000_000 - 10);
        }
        assert_eq!(free_states(server), STATES);
    });
}

/// Works until its visitor has gone or it is told to stop, and leaves word of which it was; before that, of having begun and
/// of having looked for its visitor a while.
const WORK: &str = "<? flush() local function leave(word) local f = io.open('word', 'w') f:write(word) f:close() end \
    io.open('started', 'w'):close() \
    for i = 1, 3000 do if plua.clientGone() then return leave('gone') end \
      if i == 10 then io.open('looked', 'w'):close() end \
      if io.open('stop') then leave('there') echo('done') return end sleep(0.01) end leave('never told') ?>";

/// What the page says after `visit`, which begins before it and may end or leave the visitor.
fn word_of_work(server: &Server, visit: impl FnOnce(&dyn Fn(&str))) -> String {
    let folder = server.docroot();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let patience = Duration::from_secs(20);
    let wait_for = |name: &str| until(name, patience, || folder.join(name).exists());
    visit(&wait_for);
    let mut word = String::new();
    until("word is left", patience, || {
        word = fs::read_to_string(folder.join("word")).unwrap_or_default();
        !word.is_empty()
    });
    for name in ["started", "looked", "word", "stop"] {
        let _ = fs::remove_file(folder.join(name));
    }
    word
}

#[test]
fn a_page_can_ask_whether_its_visitor_is_still_there() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        httpd().mpm(mpm).children(1, 3).pages(&[("work.plua", WORK), ("next.plua", "next")]).run(|server| {
            let gone = word_of_work(server, |wait_for| {
                let mut connection = server.connect();
                connection.send(&get("/work.plua"));
                wait_for("started");
                drop(connection);
            });
            assert_eq!(gone, "gone", "{mpm:?}");
            // What comes meanwhile, a next request or a body that is not read, is no sign of that, and hides none.
            for then_leaves in [false, true] {
                let word = word_of_work(server, |wait_for| {
                    let mut connection = server.connect();
                    connection.send(b"POST /work.plua HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody");
                    connection.send(&get("/next.plua"));
                    wait_for("started");
                    if then_leaves {
                        return;
                    }
                    wait_for("looked");
                    server.put("stop", "");
                    assert_eq!(connection.response("POST").text(), "done");
                    assert_eq!(connection.response("GET").text(), "next");
                });
                assert_eq!(word, if then_leaves { "gone" } else { "there" }, "{mpm:?}");
            }
        });
    }
}

#[test]
fn visitors_who_leave_are_noticed_over_tls_and_http2_too() {
    let certificate = certificate();
    let setup = httpd()
        .module("ssl")
        .module("http2")
        .further_ports(1)
        .lines("Protocols h2 h2c http/1.1")
        .lines(&tls(certificate.path()))
        .pages(&[("work.plua", WORK)]);
    setup.run(|server| {
        let secure = format!("https://127.0.0.1:{}/work.plua", server.httpd().ports()[1]);
        let plain = server.url("/work.plua");
        let ways = [("--http1.1", &secure), ("--http2", &secure), ("--http2-prior-knowledge", &plain)];
        for (version, url) in ways {
            for leaves in [true, false] {
                let word = word_of_work(server, |wait_for| {
                    let mut curl = Command::new("curl");
                    let mut curl = curl.args(["-skN", version, url]).stdout(Stdio::null()).spawn().unwrap();
                    wait_for("started");
                    if leaves {
                        curl.kill().unwrap();
                    } else {
                        wait_for("looked");
                        server.put("stop", "");
                    }
                    curl.wait().unwrap();
                });
                assert_eq!(word, if leaves { "gone" } else { "there" }, "{version} {url}");
            }
        }
    });
}
