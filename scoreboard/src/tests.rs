//! Processes, hosts and pages that come and go, as the scoreboard counts them.

use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use crate::table::MOST_SEATS;
use crate::{Board, Gauge, Seat};

#[test]
fn what_a_state_has_counted_stays_with_its_host_when_it_is_gone() {
    let host = Board::new().unwrap().host("a.test");
    let seat = host.state();
    seat.begin();
    seat.set_bytes(1000);
    let now = || host.board().snapshot().hosts.remove(0);
    assert_eq!((now().states, now().busy, now().bytes, now().requests), (1, 1, 1000, 0));
    seat.end(2_000_000_000);
    assert_eq!((now().busy, now().requests, now().seconds), (0, 1, 2.0));
    drop(seat);
    assert_eq!((now().states, now().bytes, now().requests, now().seconds, now().states_made), (0, 0, 1, 2.0, 1));
}

#[test]
fn a_killed_process_leaves_its_counts_and_none_of_its_states() {
    let host = Board::new().unwrap().host("a.test");
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let seat = host.state();
    seat.end(5);
    seat.begin();
    let place = seat.place().unwrap();
    place.owner.store(ended.id(), Relaxed);
    let snapshot = host.board().snapshot();
    assert_eq!((snapshot.hosts[0].states, snapshot.hosts[0].busy, snapshot.hosts[0].requests), (0, 0, 1));
    assert_eq!(snapshot.processes, 0);
    // The process that has the place since loses nothing to the one that had it.
    let next = host.state();
    assert!(std::ptr::eq(next.place().unwrap(), place));
    next.end(5);
    drop(seat);
    assert_eq!(host.board().snapshot().hosts[0].requests, 2);
}

#[test]
fn where_all_seats_are_taken_pages_are_counted_all_the_same() {
    let host = Board::new().unwrap().host("a.test");
    let mut seats: Vec<Seat> = (0..MOST_SEATS).map(|_| host.state()).collect();
    let one_more = host.state();
    assert!(one_more.place().is_none());
    one_more.begin();
    one_more.end(7);
    let pages = Gauge::new(Some(host.pool()));
    pages.fetch_add(3, Relaxed);
    assert_eq!((host.board().snapshot().hosts[0].requests, pages.load(Relaxed)), (1, 3));
    seats.truncate(10);
    assert!(host.state().place().is_some());
}

#[test]
fn hosts_keep_their_rows_and_those_that_left_the_configuration_are_not_told() {
    let board = Board::new().unwrap();
    let (first, _second) = (board.host("a.test"), board.host("b.test"));
    first.count_error(3);
    board.begin_configuration();
    let _ = board.host("b.test");
    let names = |board: Board| board.snapshot().hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(board), ["b.test"]);
    board.begin_configuration();
    let _ = board.host("a.test");
    assert_eq!((names(board), board.snapshot().hosts[0].errors[3]), (vec!["a.test".to_string()], 1));
}

#[test]
fn more_hosts_than_there_are_rows_share_the_last_one() {
    let board = Board::new().unwrap();
    let names: Vec<_> = (0..crate::MOST_HOSTS + 5).map(|host| board.host(&host.to_string()).name()).collect();
    assert_eq!((names[5].as_str(), names[crate::MOST_HOSTS].as_str()), ("5", "all other hosts"));
    let hosts = board.snapshot().hosts;
    assert_eq!((hosts.len(), hosts[crate::MOST_HOSTS - 1].name.as_str()), (crate::MOST_HOSTS, "all other hosts"));
}

#[test]
fn the_slowest_pages_are_remembered_each_with_its_longest_time() {
    let host = Board::new().unwrap().host("a.test");
    for number in 0..40u64 {
        host.note_slow(format!("/{}.plua", number % 20).as_bytes(), number * 1_000_000_000, number);
    }
    host.note_slow(b"/19.plua", 5, 5);
    let slowest = host.board().snapshot().hosts.remove(0).slowest;
    assert_eq!(slowest.len(), 16);
    assert_eq!((slowest[0].page.as_str(), slowest[0].seconds, slowest[0].bytes), ("/19.plua", 39.0, 39));
    assert!(slowest.windows(2).all(|pair| pair[0].seconds > pair[1].seconds));
    // One that ended with the lock leaves nothing that is half written.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    host.row().slow_lock.store(ended.id(), Relaxed);
    assert_eq!(host.board().snapshot().hosts[0].slowest, []);
    host.note_slow(b"/1.plua", 5, 5);
    assert_eq!(host.board().snapshot().hosts[0].slowest.len(), 1);
}
