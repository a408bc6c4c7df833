//! Sessions on a real Redis: who may write is settled there, whatever becomes of the servers and the Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod browser;
#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;
mod site;

use std::thread;
use std::time::{Duration, Instant};

use browser::{Browser, PAGE, asked};
use redis_server::{Cluster, Redis};
use site::wait::{self, until};
use site::{Seen, Site};

/// A page that counts a visitor's clicks.
const CLICK: (&str, &str) =
    ("click.plua", "<? local s = plua.session s.clicks = (s.clicks or 0) + 1 echo(s.clicks) ?>");

/// A page that keeps the session while it waits until it is told to go on.
const HOLDS: (&str, &str) = (
    "holds.plua",
    "<? local s = plua.session s:lock() s.held = 'yes' plua.shared.order:set('locked', true)
    repeat sleep(0.01) until plua.shared.order:get('go') ?>",
);

fn site(redis: &str) -> Site {
    let lines = format!(
        "pLuaShared visitors {redis}\npLuaSession visitors\npLuaShared order 64K\npLuaTimeout 60\npLuaWaitLimit 120"
    );
    Site::new(&lines, &[("page.plua", PAGE), CLICK, HOLDS])
}

/// The key of the one lock, which must be there.
fn lock(redis: &Redis) -> String {
    let keys = redis.command(&["keys", "*:l{*"]);
    assert_eq!(keys.lines().count(), 1, "{keys}");
    keys
}

fn wait_for_lock(site: &Site) {
    let asked = asked("return tostring(plua.shared.order:get('locked'))");
    until("it is locked", Duration::from_secs(10), || site.get(&asked).text() == "true");
}

/// A visitor's page holds the session while `meanwhile` is done with the key of its lock, then goes on; what came of it.
fn while_it_is_held(redis: &Redis, site: &Site, ada: &Browser, meanwhile: impl FnOnce(&str)) -> Seen {
    ada.run(site, "session.clicks = 1");
    thread::scope(|scope| {
        let holds = scope.spawn(|| ada.get(site, "holds.plua"));
        wait_for_lock(site);
        meanwhile(&lock(redis));
        ada.run(site, "plua.shared.order:set('go', true)");
        holds.join().unwrap()
    })
}

#[test]
fn two_servers_serve_one_session_in_turn_and_at_once() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (sites, ada) = ([site(&redis.address()), site(&redis.address())], Browser::default());
    for n in 1..=20 {
        assert_eq!(ada.get(&sites[n % 2], "click.plua").text(), n.to_string());
    }
    thread::scope(|scope| {
        for site in sites.iter().chain(&sites) {
            scope.spawn(|| {
                for _ in 0..25 {
                    let seen = ada.get(site, "click.plua");
                    assert_eq!((seen.status, &seen.log[..]), (200, &[][..]));
                }
            });
        }
    });
    assert_eq!(ada.run(&sites[0], "return session.clicks"), "120");
    // Nobody holds it, and nobody who reads the Redis learns an id.
    let keys = redis.command(&["keys", "*"]);
    assert!(!keys.contains(":l{") && !keys.contains(&ada.id()), "{keys}");
    assert!(keys.contains("plua::visitors:%00plua.sessiontest:s{"), "{keys}");
}

#[test]
fn a_lock_whose_owner_is_gone_ends_by_its_time_alone() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (site, ada) = (site(&redis.address()), Browser::default());
    let mut key = String::new();
    let seen = while_it_is_held(&redis, &site, &ada, |lock| {
        let left: u32 = redis.command(&["pttl", lock]).parse().unwrap();
        assert!((20_000..=30_000).contains(&left), "{left}");
        // No process of this machine is named in it.
        assert_eq!(redis.command(&["get", lock]).len(), 1 + 32);
        key = lock.to_owned();
    });
    assert_eq!(seen.status, 200);
    // As one is left that was lost a while ago.
    assert_eq!(redis.command(&["set", &key, "sx", "px", "2000"]), "OK");
    let begun = Instant::now();
    assert_eq!(ada.get(&site, "click.plua").text(), "2");
    assert!((1..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn a_page_that_keeps_a_session_for_long_keeps_its_lock_alive() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (site, ada) = (site(&redis.address()), Browser::default());
    let mut key = String::new();
    let seen = while_it_is_held(&redis, &site, &ada, |lock| {
        redis.command(&["pexpire", lock, "14000"]);
        until("it is kept", Duration::from_secs(13), || {
            redis.command(&["pttl", lock]).parse::<u32>().unwrap() > 20_000
        });
        key = lock.to_owned();
    });
    assert_eq!(seen.status, 200);
    assert_eq!(redis.command(&["exists", &key]), "0");
    assert_eq!(ada.run(&site, "return session.held"), "yes");
}

#[test]
fn a_page_that_has_lost_its_lock_overwrites_nothing_and_frees_nobody_elses() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (site, ada) = (site(&redis.address()), Browser::default());
    let mut key = String::new();
    let seen = while_it_is_held(&redis, &site, &ada, |lock| {
        redis.command(&["set", lock, "sanother", "px", "30000"]);
        key = lock.to_owned();
    });
    assert_eq!((seen.status, seen.log.len()), (503, 1), "{:?}", seen.log);
    assert!(seen.log[0].contains("another request has changed the session since this page has read it"));
    assert_eq!(redis.command(&["get", &key]), "sanother");
    redis.command(&["del", &key]);
    assert_eq!(ada.run(&site, "return session.clicks .. tostring(session.held)"), "1nil");
}

#[test]
fn a_redis_that_is_gone_is_an_error_of_the_page_and_no_end_of_its_session() {
    let kept = ["--appendonly", "yes", "--appendfsync", "always", "--requirepass", "secret"];
    let Some(mut redis) = Redis::start(&kept) else { return };
    let (site, ada) = (site(&redis.address().replace("redis://", "redis://:secret@")), Browser::default());
    assert_eq!(ada.get(&site, "click.plua").text(), "1");
    redis.stop();
    until("the server is known to be gone", Duration::from_secs(10), || {
        let seen = ada.get(&site, "click.plua");
        assert_eq!((seen.status, seen.log.len()), (503, 1), "{:?}", seen.log);
        let told = &seen.log[0];
        assert!(told.contains(&format!("plua.session: {}: ", redis.address())), "{told}");
        assert!(!told.contains("secret") && !seen.text().contains("secret"), "{told}");
        told.contains("connect: connection refused")
    });
    redis.start_again();
    assert_eq!(ada.get(&site, "click.plua").text(), "2");
    // Pages that ask for no session need no Redis.
    redis.stop();
    assert_eq!(site.get(&asked("return 'none'")).text(), "none");
}

#[test]
fn who_waits_for_a_store_on_a_redis_holds_the_session_meanwhile() {
    let (Some(redis), Some(slow)) = (Redis::start(&[]), Redis::start(&[])) else { return };
    let page =
        "<? local s = plua.session s.a = 1 plua.shared.order:set('locked', true) plua.shared.cart:get('x') s.b = 2 ?>";
    let lines = format!(
        "pLuaShared visitors {}\npLuaSession visitors\npLuaShared order 64K\npLuaShared cart {}",
        redis.address(),
        slow.address()
    );
    let site = Site::new(&lines, &[("page.plua", PAGE), ("asks.plua", page)]);
    let ada = Browser::default();
    ada.run(&site, "session.begun = 'yes' plua.shared.cart:get('x')");
    slow.pause();
    thread::scope(|scope| {
        let asks = scope.spawn(|| ada.get(&site, "asks.plua"));
        wait_for_lock(&site);
        assert_eq!(ada.run(&site, "return session.begun .. tostring(session.a)"), "yesnil");
        assert!(!lock(&redis).is_empty());
        slow.go_on();
        assert_eq!(asks.join().unwrap().status, 200);
    });
    assert_eq!(ada.run(&site, "return session.a .. session.b"), "12");
}

#[test]
fn light_threads_that_change_a_session_at_one_time_lose_no_change() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (site, ada) = (site(&redis.address()), Browser::default());
    let seen = ada.get(
        &site,
        &asked(
            "local threads = {} for t = 1, 8 do threads[t] = function()
            for n = 1, 5 do session.n = (session.n or 0) + 1 if n % 2 == t % 2 then sleep(0.001) end end end end
            plua.parallel((unpack or table.unpack)(threads)) return session.n",
        ),
    );
    assert_eq!((seen.text().as_str(), &seen.log[..]), ("40", &[][..]));
    assert_eq!(ada.run(&site, "return session.n"), "40");
}

#[test]
fn a_cluster_has_all_of_a_session_on_one_of_its_servers() {
    let Some(cluster) = Cluster::start() else { return };
    let site = site(&cluster.address());
    for _ in 0..6 {
        let visitor = Browser::default();
        for n in 1..=3 {
            assert_eq!(visitor.get(&site, "click.plua").text(), n.to_string());
        }
        visitor.run(&site, "session:regenerate() session.user = 'ada'");
        visitor.run(&site, "session:lock() session.user = session.user .. '!'");
        assert_eq!(visitor.run(&site, "return session.user .. session.clicks"), "ada!3");
    }
}
