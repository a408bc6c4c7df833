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
                thread::sleep(Duration::from_millis(1000));
                kill(parent, Signal::SIGUSR1).unwrap();
            }
            thread::sleep(Duration::from_millis(1000));
        });
        let places = places.into_inner().unwrap();
        let processes: HashSet<&str> = places.keys().map(|(process, _)| process.as_str()).collect();
        tally.tell(&format!("{mpm:?} MPM: {} processes made {} states", processes.len(), places.len()));
        // httpd itself resets a connection now and then when a child of threads is told to end as it starts, of static
        // files and without our module too: once in 15,000 requests.
        let resets = if mpm == Mpm::Event { 2 } else { 0 };
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
