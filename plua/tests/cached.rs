//! `plua.cache`: a value is made once for all visitors, and old ones are shown while it is made anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::thread;
use std::time::Duration;

use site::Site;
use site::wait::until;

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

/// A page that makes a value of how often it was made.
const MADE: &str = "<? local log = plua.shared.log
    echo(plua.cache('key', tonumber(plua.get('ttl', '100')), function()
        local n = log:incr('made', 1, 0)
        sleep(tonumber(plua.get('takes', '0')))
        if plua.get('fails') then error('it fails ' .. n) end
        return 'made ' .. n
    end)) ?>";

fn site(mode: &str, page: &str) -> Site {
    Site::new(&format!("pLuaShared cache 1M\npLuaShared log 64K\n{mode}"), &[("page.plua", page)])
}

fn count(site: &Site) -> String {
    site.write_before("count.plua", "<?= plua.shared.log:get('made') or 0 ?>");
    site.get("count.plua").text()
}

#[test]
fn a_value_is_made_once_and_again_when_its_time_is_over() {
    for mode in MODES {
        let site = site(mode, MADE);
        assert_eq!([(); 3].map(|()| site.get("page.plua").text()), ["made 1", "made 1", "made 1"], "{mode}");
    }
    let site = site("", MADE);
    assert_eq!(site.get("page.plua?ttl=0.1").text(), "made 1");
    until("it is made anew", Duration::from_secs(5), || site.get("page.plua?ttl=0.1").text() == "made 2");
}

#[test]
fn many_that_want_it_wait_for_one_that_makes_it() {
    let site = site("", MADE);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(site.get("page.plua?takes=0.3").text(), "made 1"));
        }
    });
    assert_eq!(count(&site), "1");
}

#[test]
fn who_comes_as_it_is_made_does_not_make_it_again() {
    let page = "<? local key = plua.get('key') local log = plua.shared.log
        plua.cache(key, 100, function() log:incr('made', 1, 0) return key end) ?>";
    let site = site("", page);
    const KEYS: usize = 1500;
    for key in 0..KEYS {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| site.get(&format!("page.plua?key={key}")));
            }
        });
    }
    assert_eq!(count(&site), KEYS.to_string());
}

#[test]
fn the_old_value_is_shown_while_it_is_made_anew() {
    let site = site("", MADE);
    assert_eq!(site.get("page.plua?ttl=1").text(), "made 1");
    thread::scope(|scope| {
        // When its time is over, one makes it for longer than the others take.
        let maker = scope.spawn(|| {
            until("somebody makes it", Duration::from_secs(10), || {
                site.get("page.plua?ttl=1&takes=0.5").text() == "made 2"
            });
        });
        until("it is being made", Duration::from_secs(10), || count(&site) == "2");
        assert_eq!(site.get("page.plua?ttl=1&takes=0.5").text(), "made 1");
        maker.join().unwrap();
    });
    assert_eq!((site.get("page.plua?ttl=1").text().as_str(), count(&site).as_str()), ("made 2", "2"));
}

#[test]
fn an_error_is_told_to_all_that_waited_and_not_kept() {
    let site = site("", MADE);
    let failed = |url: &str| {
        let seen = site.get(url);
        assert_eq!(seen.status, 500, "{}", seen.text());
        seen.log.concat()
    };
    thread::scope(|scope| {
        let maker = scope.spawn(|| failed("page.plua?takes=0.5&fails=1"));
        until("it is being made", Duration::from_secs(10), || count(&site) == "1");
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| failed("page.plua"))).collect();
        for ended in waiting.into_iter().chain([maker]) {
            let log = ended.join().unwrap();
            assert!(log.contains("page.plua:5: it fails 1") || log.contains("it fails 1 at"), "{log}");
        }
    });
    assert_eq!(count(&site), "1");
    assert_eq!(site.get("page.plua").text(), "made 2");
}

#[test]
fn a_maker_may_make_nothing_tables_or_call_exit() {
    let text = |code: &str| {
        let site = site("", &format!("<? {code} ?>"));
        let seen = site.get("page.plua");
        assert!(seen.log.is_empty(), "{code}: {:?}", seen.log);
        seen.text()
    };
    let code = "local n = 0 local function make() n = n + 1 return n > 1 and n or nil end
        echo(tostring(plua.cache('k', 10, make)), plua.cache('k', 10, make), plua.cache('k', 10, make), n)";
    assert_eq!(text(code), "nil222");
    assert_eq!(
        text("plua.cache('k', 10, function() return { a = { 1, 2 } } end) echo(#plua.cache('k', 10, print).a)"),
        "2"
    );
    assert_eq!(
        text("plua.cache('k', math.huge, function() return false end) echo(tostring(plua.cache('k', 10, print)))"),
        "false"
    );
    assert_eq!(
        text(
            "plua.cache(7, 10, function() return 'x' end) echo(plua.cache('7', 10, print), #plua.shared.cache:keys())"
        ),
        "x0"
    );
    let exits = site(
        "",
        "<? echo('a') plua.cache('k', 10, function() if plua.get('q') then exit() end return 'made' end) echo('b') ?>",
    );
    assert_eq!([exits.get("page.plua?q=1").text(), exits.get("page.plua").text()], ["a", "ab"]);
}

#[test]
fn what_is_wrong_is_told_at_the_pages_line() {
    for (code, message) in [
        ("plua.cache({}, 1, print)", "bad argument #1 to 'plua.cache' (string expected, got table)"),
        ("plua.cache('k', 0, print)", "bad argument #2 to 'plua.cache' (seconds above 0 expected)"),
        ("plua.cache('k', 1)", "bad argument #3 to 'plua.cache' (function expected, got nil)"),
        ("plua.cache(('k'):rep(1024), 1, print)", "no more than 1023 bytes expected"),
        ("plua.cache('k', 1, function() return print end)", "plua.cache: 'vk': a function cannot be stored"),
        ("plua.cache('k', 1, function() error('mine') end)", "mine"),
    ] {
        let seen = site("", &format!("<? {code} ?>")).get("page.plua");
        assert!(seen.status == 500 && seen.log[0].contains(message), "{code}: {:?}", seen.log);
        assert!(seen.log[0].contains("page.plua:1"), "{code}: {:?}", seen.log);
    }
    let seen = site::page("<? plua.cache('k', 1, print) ?>");
    assert!(
        seen.log[0].contains("keeps values in the store 'cache', which the host has not: pLuaShared cache 10M"),
        "{:?}",
        seen.log
    );
}

#[test]
fn sites_of_a_host_have_their_own() {
    let mut site = site("", MADE);
    let host = site.host.clone();
    let mut made = |root: &[u8]| {
        site.host = host.site(root);
        site.get("page.plua").text()
    };
    assert_eq!([made(b"/one"), made(b"/two"), made(b"/one")], ["made 1", "made 1", "made 1"]);
}
