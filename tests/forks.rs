//! Processes that come and go by the dozen, each with states it made itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::traffic::under_load;
use common::{Mpm, httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs in each state before its first page; tells in which process.
const INIT: &str = "local stat = io.open('/proc/self/stat')\nmade_in = stat:read('*n')\nstat:close()\nvisits = 0\n";

/// Process it runs in, process its state was made in, number of the state, its visits.
const PLACE: &str = "<? local stat = io.open('/proc/self/stat') local pid = stat:read('*n') stat:close()\n\
    visits = visits + 1 ?><?= pid, ' ', made_in, ' ', getEnv()['Lua-State'], ' ', visits ?>";

fn states_belong_to_their_process(mpm: Mpm, processes: u32, threads: u32) {
    let lines = "pLuaInit ${DOCROOT}/init.lua\npLuaTimeout 2\npLuaError 0\nMaxConnectionsPerChild 60\nKeepAlive Off";
    let setup = httpd().mpm(mpm).children(processes, threads).lines(lines).pages(&[
        ("init.lua", INIT),
        ("place.plua", PLACE),
        ("endless.plua", "<? while true do end ?>"),
        ("piped.plua", "<? local p = io.popen('echo piped') ?><?= p:read('*l') ?><? p:close() ?>"),
    ]);
    setup.run(|server| {
        server.expect("took too long to execute");
        let places: Mutex<HashMap<(String, String), HashSet<u32>>> = Mutex::default();
        let visit = |visitor: &mut common::traffic::Visitor, number: usize, count: usize| match count % 20 {
            // What a page starts is a fork of a process with states, threads and a watchdog.
            7 => visitor.expect("/piped.plua", |answer| answer.text() == "piped"),
            9 if number == 0 => visitor.expect("/endless.plua", |answer| answer.status == 500),
            _ => visitor.expect("/place.plua", |answer| {
                let text = answer.text();
                let [process, made_in, state, visits] = text.split(' ').collect::<Vec<_>>()[..] else { return false };
                let (process, Ok(visits)) = (process.to_owned(), visits.parse()) else { return false };
                // Each visit of a state is counted by that state alone.
                process == made_in
                    && places.lock().unwrap().entry((process, state.to_owned())).or_default().insert(visits)
            }),
        };
        let parent = Pid::from_raw(i32::try_from(server.httpd().pid()).unwrap());
        let (tally, ()) = under_load(server.httpd().port(), 6, visit, || {
            for _ in 0..3 {
                // Between two restarts, and after the last one, the processes serve.
                thread::sleep(Duration::from_millis(1000));
                kill(parent, Signal::SIGUSR1).unwrap();
            }
            thread::sleep(Duration::from_millis(1000));
        });
        let places = places.into_inner().unwrap();
        let processes: HashSet<&str> = places.keys().map(|(process, _)| process.as_str()).collect();
        tally.tell(&format!("{mpm:?} MPM: {} processes made {} states", processes.len(), places.len()));
        // httpd itself resets a connection now and then when a child of threads is told to end as it starts, of static
        // files and without our module too: once in 15,000 requests, more often on a machine that has much else to do.
        let resets = if mpm == Mpm::Event { 6 } else { 0 };
        assert!(tally.lost <= resets, "{tally}");
        assert_eq!((tally.wrong, tally.sent), (0, tally.answered + tally.lost), "{tally}");
        assert!(processes.len() > 4, "{} processes", processes.len());
        for (state, visits) in &places {
            assert_eq!(visits.len() as u32, *visits.iter().max().unwrap(), "visits of {state:?} are missing");
        }
    });
}

#[test]
fn states_of_processes_without_threads_are_made_in_them_and_all_limits_hold() {
    states_belong_to_their_process(Mpm::Prefork, 6, 1);
}

#[test]
fn states_of_processes_with_threads_are_made_in_them_and_all_limits_hold() {
    states_belong_to_their_process(Mpm::Event, 2, 5);
}

/// Pages that fork. Debian has the module for Lua 5.1, which LuaJIT takes.
#[cfg(not(feature = "lua54"))]
mod pages {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::common::wait::until;
    use super::common::{Mpm, httpd};

    const FORK: &str = "local posix = require('posix') local pid = posix.fork()
        if pid == 0 then";

    /// What the page's child does, and how it ends, as wait() tells.
    const CHILDREN: [(&str, &str); 8] = [
        ("echo('from the child')", "exited 0"),
        ("echo('from the child') flush() echo('more')", "exited 0"),
        ("file.send('large.bin')", "exited 0"),
        ("setReturnCode(404) exit()", "exited 0"),
        ("httpError(404)", "exited 0"),
        ("error('from the child')", "exited 0"),
        ("pcall(posix.exec, '/nowhere', {})", "exited 0"),
        ("posix.exec('/bin/sh', { '-c', 'exit 7' })", "exited 7"),
    ];

    fn is_gone(process: &str) -> bool {
        // Between its end and the parent's wait a process is a zombie.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
    }

    /// How long a child may take to be gone.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn a_page_that_forks_is_answered_once(mpm: Mpm) {
        assert!(Path::new("/usr/share/lua/5.1/posix").exists(), "install the Debian package lua-posix");
        let mut setup = httpd().mpm(mpm).children(2, 2).lines("pLuaError 0").file("large.bin", vec![b'x'; 3 << 20]);
        for (number, (child, _)) in CHILDREN.iter().enumerate() {
            let page = format!(
                "<? {FORK} {child} else local _, how, code = posix.wait(pid) ?><?= pid, ' ', how, ' ', code ?><? end ?>"
            );
            setup = setup.file(&format!("{number}.plua"), page);
        }
        setup.run(|server| {
            for (number, (child, end)) in CHILDREN.iter().enumerate() {
                let request = format!("GET /{number}.plua HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let answer = String::from_utf8(server.raw(request.as_bytes())).unwrap();
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{child}: {answer}");
                let (_, text) = answer.split_once("\r\n\r\n").unwrap();
                let (process, ended) = text.split_once(' ').unwrap_or_default();
                assert_eq!(ended, *end, "{child}: {answer}");
                until(child, PATIENCE, || is_gone(process));
            }
        });
    }

    #[test]
    fn a_page_that_forks_is_answered_once_by_processes_without_threads() {
        a_page_that_forks_is_answered_once(Mpm::Prefork);
    }

    #[test]
    fn a_page_that_forks_is_answered_once_by_processes_with_threads() {
        a_page_that_forks_is_answered_once(Mpm::Event);
    }

    #[test]
    fn the_child_of_a_page_has_no_more_time_than_the_page_and_a_program_it_executes_has() {
        let page = |child: &str| format!("<? {FORK} {child} else echo(pid) end ?>");
        let endless = page("while true do end");
        let program = page("posix.exec('/bin/sleep', { '2' })");
        httpd().lines("pLuaTimeout 1").pages(&[("endless.plua", &endless), ("program.plua", &program)]).run(|server| {
            let process = server.get("/endless.plua").text();
            until("the child ends", PATIENCE, || is_gone(&process));
            let begun = Instant::now();
            let process = server.get("/program.plua").text();
            until("the program ends", PATIENCE, || is_gone(&process));
            assert!(begun.elapsed() > Duration::from_millis(1900), "it was ended after {:?}", begun.elapsed());
        });
    }
}
