//! Servers that stores are on: slow ones, lost ones, those behind a password, and a cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;
mod site;

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use redis_server::{Cluster, Redis};
use site::wait::{self, until};
use site::{Begun, Site};

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

/// A page that counts, or says why it cannot.
const COUNT: &str = "<? local fine, n = pcall(plua.shared.cart.incr, plua.shared.cart, 'n', 1, 0) echo(fine and ('%d'):format(n) or n) ?>";

fn counting(place: &str) -> Site {
    Site::new(&format!("pLuaShared cart {place}"), &[("count.plua", COUNT)])
}

fn count(site: &Site) -> String {
    let seen = site.get("count.plua");
    assert!(seen.status == 200 && seen.log.is_empty(), "{:?}", seen.log);
    seen.text()
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a page waits in its thread")]
fn a_page_that_waits_for_a_redis_gives_its_thread_up() {
    let Some(redis) = Redis::start(&[]) else { return };
    let site = counting(&redis.address());
    assert_eq!(count(&site), "1");
    redis.pause();
    // One thread holds them all.
    let waiting: Vec<_> = (0..5).map(|_| site.send_parking("count.plua").waits()).collect();
    redis.go_on();
    let mut seen: Vec<String> = waiting.into_iter().map(|page| page.until_it_ends().text()).collect();
    seen.sort();
    assert_eq!(seen, ["2", "3", "4", "5", "6"]);
}

#[test]
fn stores_can_be_asked_wherever_pages_run_lua() {
    let Some(redis) = Redis::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    fs::write(&init, "plua.shared.cart:set('init', 'ready') begun = plua.shared.cart:get('init')").unwrap();
    let page = "<? local cart = plua.shared.cart
        echo(begun or 'none', ' ')
        cart:set('a', 'A') cart:set('b', 'B')
        echo(('ab'):gsub('.', function(key) return cart:get(key) end), ' ')
        local order = { 3, 1, 2 } table.sort(order, function(one, other) cart:incr('compared', 1, 0) return one < other end) echo(table.concat(order), ' ')
        echo(tostring(setmetatable({}, { __tostring = function() return cart:get('a') end })), ' ')
        local wrapped = coroutine.wrap(function() coroutine.yield(cart:get('a')) return cart:get('b') end) echo(wrapped(), wrapped(), ' ')
        local one, other = plua.parallel(function() return cart:get('a') end, function() return cart:get('b') end) echo(one, other, ' ')
        plua.atEnd(function() cart:set('end', 'ended') end) ?>";
    for mode in &MODES[..2] {
        let configuration = format!("{mode}pLuaShared cart {}\npLuaInit {}", redis.address(), init.display());
        let pages = [("page.plua", page), ("end.plua", "<?= plua.shared.cart:get('end') ?>")];
        let site = Site::new(&configuration, &pages);
        let seen = site.get("page.plua");
        assert!(
            seen.text().ends_with("AB 123 A AB AB ") && seen.log.is_empty(),
            "{mode}: {} {:?}",
            seen.text(),
            seen.log
        );
        assert!(seen.text().starts_with("ready ") || !mode.is_empty(), "{mode}: {}", seen.text());
        assert_eq!(site.get("end.plua").text(), "ended");
    }
}

#[test]
fn a_server_that_is_gone_is_an_error_and_one_that_comes_back_is_found_without_a_restart() {
    let kept = ["--appendonly", "yes", "--appendfsync", "always", "--requirepass", "secret"];
    let Some(mut redis) = Redis::start(&kept) else { return };
    let site = counting(&redis.address().replace("redis://", "redis://:secret@"));
    assert_eq!(count(&site), "1");
    for turn in 0..3 {
        redis.stop();
        let gone = format!("plua.shared.cart: {}: connect: connection refused", redis.address());
        let lost = "the connection was lost before the answer came";
        let said = count(&site);
        assert!(said == gone || said.contains(lost), "{said}");
        until("nobody is there", Duration::from_secs(10), || count(&site) == gone);
        redis.start_again();
        assert_eq!(count(&site), (turn + 2).to_string());
    }
}

#[test]
fn a_page_that_is_stopped_while_it_waits_for_a_redis_leaves_the_connection_as_it_was() {
    let Some(redis) = Redis::start(&[]) else { return };
    let configuration = format!("pLuaShared cart {}\npLuaTimeout 0.3", redis.address());
    let slow = Site::new(&configuration, &[("count.plua", "<?= ('%d'):format(plua.shared.cart:incr('n', 1, 0)) ?>")]);
    assert_eq!(slow.get("count.plua").text(), "1");
    redis.pause();
    let begun = Instant::now();
    let seen = slow.get("count.plua");
    assert!(seen.status == 500 && seen.log.concat().contains("took too long"), "{:?}", seen.log);
    assert!(begun.elapsed() < Duration::from_secs(10));
    redis.go_on();
    // What was sent may be done or not; what is asked now is answered as it was asked.
    let next: u32 = slow.get("count.plua").text().parse().unwrap();
    assert!(next == 2 || next == 3, "{next}");
    assert_eq!(slow.get("count.plua").text(), (next + 1).to_string());
}

#[test]
fn a_server_that_does_not_greet_is_not_waited_for_without_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://:secret@127.0.0.1:{}", listener.local_addr().unwrap().port());
    let site = counting(&address);
    let begun = Instant::now();
    // Those that come together wait together.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let said = count(&site);
                assert!(said.contains(": no connection came about in 5 seconds") && !said.contains("secret"), "{said}");
            });
        }
    });
    assert!((4..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(listener);
}

#[test]
fn what_is_no_redis_is_told_from_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = counting(&format!("redis://me:secret@127.0.0.1:{}", listener.local_addr().unwrap().port()));
    for answer in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR unknown command 'AUTH', with args beginning with: 'me' 'secret'\r\n"]
    {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut bytes = [0; 1000];
                let _ = std::io::Read::read(&mut stream, &mut bytes);
                std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
            });
            let said = count(&site);
            assert!(
                said.starts_with("plua.shared.cart: redis://127.0.0.1:") && !said.contains("secret"),
                "{answer}: {said}"
            );
        });
    }
}

#[test]
fn users_and_passwords_are_said_and_never_shown() {
    let Some(redis) =
        Redis::start(&["--user", "other", "on", ">s@crét/", "~plua:*", "+@all", "--requirepass", "secret"])
    else {
        return;
    };
    let address = |login: &str| redis.address().replace("redis://", &format!("redis://{login}@"));
    assert_eq!(count(&counting(&address(":secret"))), "1");
    assert_eq!(count(&counting(&address("other:s%40cr%C3%A9t%2F"))), "2");
    assert_eq!(count(&counting(&address("other:s@crét/"))), "3");
    for login in [":wrong-secret", "other:wrong-secret", "nobody:wrong-secret"] {
        let said = count(&counting(&address(login)));
        let wanted = format!("plua.shared.cart: {}: it does not take the user and the password", redis.address());
        assert_eq!(said, wanted);
    }
    let said = count(&counting(&redis.address()));
    assert!(said.contains("the server says: NOAUTH Authentication required."), "{said}");
}

#[test]
fn a_socket_and_a_database_of_its_own_are_taken() {
    let Some(redis) = Redis::start(&[]) else { return };
    let socket = redis.socket();
    assert_eq!(count(&counting(&format!("redis+unix://{}?db=3", socket.display()))), "1");
    assert_eq!(count(&counting(&format!("{}/3", redis.address()))), "2");
    assert_eq!(count(&counting(&redis.address())), "1");
    assert_eq!(redis.command(&["-n", "3", "keys", "*"]), "plua::cart::n");
    let said = count(&counting(&format!("{}/99", redis.address())));
    assert!(said.contains(&format!("plua.shared.cart: {}: ", redis.address())) && said.contains("DB index"), "{said}");
    let said = count(&counting("redis+unix:///nowhere/redis.sock"));
    assert_eq!(said, "plua.shared.cart: redis+unix:///nowhere/redis.sock: connect: no such file or directory");
    let said = count(&counting("redis://no.such.name.invalid"));
    assert!(said.starts_with("plua.shared.cart: redis://no.such.name.invalid:6379: "), "{said}");
}

#[test]
fn many_threads_count_what_each_of_them_adds() {
    let Some(redis) = Redis::start(&[]) else { return };
    let page = "<? local cart = plua.shared.cart for i = 1, 200 do cart:incr('n', 1, 0) cart:push('l', i) assert(cart:shift('l')) end ?>";
    let site = Site::new(
        &format!("pLuaShared cart {}", redis.address()),
        &[
            ("page.plua", page),
            ("n.plua", "<?= ('%d %d'):format(plua.shared.cart:get('n'), plua.shared.cart:len('l')) ?>"),
        ],
    );
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(site.get("page.plua").status, 200));
        }
    });
    assert_eq!(site.get("n.plua").text(), "1600 0");
}

#[test]
fn one_visitor_makes_what_plua_cache_keeps_for_all() {
    let Some(redis) = Redis::start(&[]) else { return };
    let page = "<?= plua.cache('key', 100, function()
        local n = plua.shared.log:incr('made', 1, 0) sleep(0.3) return ('made %d'):format(n) end) ?>";
    let configuration = format!("pLuaShared cache {0}\npLuaShared log {0}", redis.address());
    // Two servers that have it in common.
    let sites = [Site::new(&configuration, &[("page.plua", page)]), Site::new(&configuration, &[("page.plua", page)])];
    thread::scope(|scope| {
        for number in 0..8 {
            let site = &sites[number % 2];
            scope.spawn(|| assert_eq!(site.get("page.plua").text(), "made 1"));
        }
    });
}

#[test]
fn the_servers_of_a_cluster_are_one_store() {
    let Some(mut cluster) = Cluster::start() else { return };
    let page = "<? local cart = plua.shared.cart
        cart:clear()
        for i = 1, 300 do cart:set('key' .. i, i) end
        local sum = 0 for i = 1, 300 do sum = sum + cart:get('key' .. i) end
        for i = 1, 50 do cart:incr('n' .. i, 2, 1) cart:push('l' .. i, i) end
        local info = cart:info()
        echo(('%d %d %d %d %d'):format(sum, #cart:keys(1e9), cart:incr('n7'), cart:shift('l9'), info.entries)) ?>";
    let site =
        Site::new(&format!("pLuaShared cart {}", cluster.address()), &[("page.plua", page), ("count.plua", COUNT)]);
    for _ in 0..2 {
        let seen = site.get("page.plua");
        assert_eq!(seen.text(), "45150 400 4 9 400", "{:?}", seen.log);
    }
    assert!(cluster.servers.iter().all(|server| server.command(&["dbsize"]).parse::<u32>().unwrap() > 50));
    // A server of a cluster alone is told from one.
    let said = count(&counting(&cluster.servers[1].address()));
    let other = count(&counting(&cluster.servers[2].address()));
    assert!(
        said.contains("declare it as redis+cluster://") || other.contains("declare it as redis+cluster://"),
        "{said} {other}"
    );
    // Slots go to another server while pages count.
    let before: u32 = count(&site).parse().unwrap();
    cluster.move_slots();
    for n in 1..20 {
        assert_eq!(count(&site), (before + n).to_string());
    }
    // One server is lost: its keys are an error, and found again when it is back.
    let keys = "<? local fine, lost = 0, 0 for i = 1, 60 do
        local ok, why = pcall(plua.shared.cart.set, plua.shared.cart, 'x' .. i, i) if ok then fine = fine + 1 else lost = lost + 1 echo(why, '\\n') end end
        echo(fine, ' ', lost) ?>";
    site.write_before("keys.plua", keys);
    cluster.servers[0].stop();
    let seen = site.get("keys.plua").text();
    assert!(seen.contains("plua.shared.cart: redis://127.0.0.1:"), "{seen}");
    cluster.servers[0].start_again();
    until("all are there", Duration::from_secs(60), || site.get("keys.plua").text() == "60 0");
}

#[test]
#[cfg_attr(feature = "lua51", ignore = "there a page waits in its thread")]
fn a_light_thread_that_is_ended_while_it_waits_leaves_the_others_their_answers() {
    let Some(redis) = Redis::start(&[]) else { return };
    let page = "<? local cart = plua.shared.cart cart:set('a', 'A')
        local thread = plua.spawn(function() for i = 1, 1000 do cart:get('a') end end)
        sleep(0.01) plua.kill(thread) echo(cart:get('a')) ?>";
    let site = Site::new(&format!("pLuaShared cart {}", redis.address()), &[("page.plua", page)]);
    for _ in 0..10 {
        match site.send_parking("page.plua") {
            Begun::Ended(seen) => assert_eq!(seen.text(), "A"),
            Begun::Waits(page) => assert_eq!(page.until_it_ends().text(), "A"),
        }
    }
}
