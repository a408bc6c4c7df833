//! `plua.session`: what the requests of one visitor have in common.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod browser;
#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;
mod site;

use std::thread;
use std::time::Duration;

use browser::{Browser, PAGE, asked};
use plua::engine::Engine;
use redis_server::Redis;
use site::wait::{self, until};
use site::{Seen, Site};

/// Where globals are the state's, the page's, the request's, and a sandbox's; and sessions in a store that has a name.
const MODES: [&str; 5] = [
    "",
    "pLuaGlobals page\n",
    "pLuaGlobals request\n",
    "pLuaSandbox On\n",
    "pLuaShared visitors 1M\npLuaSession visitors\n",
];

/// Those, and sessions on a Redis, where there is one.
fn modes(redis: Option<&Redis>) -> Vec<String> {
    let on_redis = redis.map(|redis| format!("pLuaShared visitors {}\npLuaSession visitors\n", redis.address()));
    MODES.into_iter().map(str::to_owned).chain(on_redis).collect()
}

fn site(lines: &str) -> Site {
    Site::new(lines, &[("page.plua", PAGE)])
}

fn cookies(seen: &Seen) -> Vec<&str> {
    seen.headers.iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, value)| value.as_str()).collect()
}

#[test]
fn values_are_there_in_the_next_request_of_the_same_visitor() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        let (site, ada, bob) = (site(mode), Browser::default(), Browser::default());
        ada.run(&site, "session.name = 'Ada' session.age = 36 session.half = 0.5 session.cart = {pears = 2, 'a', 'b'} session.yes = true session.raw = '\\0\\255'");
        let told = "local c = session.cart return session.name .. session.age .. session.half .. c.pears .. #c .. c[2] .. \
                    tostring(session.yes) .. #session.raw .. tostring(session.none)";
        assert_eq!(ada.run(&site, told), "Ada360.522btrue2nil", "{mode}");
        assert_eq!(bob.run(&site, "return tostring(session.name)"), "nil", "{mode}");
        ada.run(&site, "session.name = nil");
        assert_eq!(ada.run(&site, "return tostring(session.name) .. session.age"), "nil36", "{mode}");
        assert_eq!(
            ada.run(&site, "local names = {} for name in pairs(session:values()) do names[#names + 1] = name end table.sort(names) return table.concat(names, ' ')"),
            "age cart half raw yes",
            "{mode}"
        );
    }
}

#[test]
fn a_visitor_who_only_looks_gets_no_session() {
    let site = site("");
    let seen = site.get(&asked(
        "return tostring(session.name) .. tostring(session:verify('x')) .. tostring(session:flash('note'))",
    ));
    assert_eq!((seen.text().as_str(), cookies(&seen)), ("nilfalsenil", vec![]));
    assert!(!seen.headers.iter().any(|(name, _)| name == "Cache-Control"));
}

#[test]
fn the_cookie_is_as_safe_as_browsers_let_it_be() {
    let site = site("");
    let seen = site.get(&asked("session.a = 1 session.b = 2 return session.id"));
    let id = seen.text();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(cookies(&seen), [format!("plua_session={id}; Path=/; HttpOnly; SameSite=Lax")]);
    assert!(seen.headers.contains(&("Cache-Control".into(), "private, no-cache".into())), "{:?}", seen.headers);
    let seen = site.get(&asked("session.a = 1 header('Cache-Control', 'no-store')"));
    let control: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "Cache-Control").collect();
    assert_eq!(control, [&("Cache-Control".to_owned(), "no-store".to_owned())]);
    let site = self::site("pLuaSessionCookie shop /shop/ Strict\n");
    let seen = site.get(&asked("return session.id"));
    assert_eq!(cookies(&seen), [format!("shop={}; Path=/shop/; HttpOnly; SameSite=Strict", seen.text())]);
}

#[test]
fn an_id_that_we_did_not_make_is_none() {
    let site = site("");
    for id in ["0123456789abcdef0123456789abcdef", "", "x", "../../etc/passwd", "0123456789ABCDEF0123456789ABCDEF"] {
        let cookie = format!("plua_session={id}");
        let seen = site.get_with(&asked("session.a = 1 return session.id"), &[("Cookie", &cookie)]);
        assert_eq!(seen.status, 200);
        assert_ne!(seen.text(), id);
        assert_eq!(seen.text().len(), 32);
    }
}

#[test]
fn a_table_that_is_changed_in_place_is_kept_so() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        let (site, ada) = (site(mode), Browser::default());
        ada.run(&site, "session.cart = {items = {}}");
        ada.run(&site, "local items = session.cart.items items[#items + 1] = 'pear'");
        ada.run(&site, "table.insert(session.cart.items, 'plum')");
        ada.run(&site, "local cart = {n = 1} session.cart2 = cart cart.n = 2");
        assert_eq!(
            ada.run(&site, "return table.concat(session.cart.items, ' ') .. session.cart2.n"),
            "pear plum2",
            "{mode}"
        );
    }
}

#[test]
fn clicks_in_many_tabs_are_all_counted() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        for page in [
            "<? plua.session.clicks = (plua.session.clicks or 0) + 1 echo(plua.session.clicks) ?>",
            "<? local s = plua.session s.cart = s.cart or {clicks = 0} s.cart.clicks = s.cart.clicks + 1 s.clicks = s.cart.clicks ?>",
        ] {
            let site = Site::new(mode, &[("click.plua", page), ("page.plua", PAGE)]);
            let ada = Browser::default();
            ada.run(&site, "session.begun = true");
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..25 {
                            let seen = ada.get(&site, "click.plua");
                            assert_eq!((seen.status, &seen.log[..]), (200, &[][..]));
                        }
                    });
                }
            });
            assert_eq!(ada.run(&site, "return session.clicks"), "100", "{mode}");
        }
    }
}

#[test]
fn tabs_that_change_different_values_lose_none() {
    let (site, ada) = (site(""), Browser::default());
    ada.run(&site, "session.begun = true");
    thread::scope(|scope| {
        for tab in 0..4 {
            let (site, ada) = (&site, &ada);
            scope.spawn(move || {
                for n in 0..20 {
                    ada.run(site, &format!("session.tab{tab}_{n} = {n}"));
                }
            });
        }
    });
    assert_eq!(ada.run(&site, "local n = 0 for _ in pairs(session:values()) do n = n + 1 end return n"), "81");
}

#[test]
fn who_reads_waits_for_nobody_and_who_waits_holds_nobody_up() {
    let site = Site::new(
        "pLuaShared order 64K\n",
        &[
            ("page.plua", PAGE),
            (
                "works.plua",
                "<? local session = plua.session session.a = 1
            plua.shared.order:set('begun', true)
            local start = os.clock()
            while not plua.shared.order:get('end') and os.clock() - start < 30 do end session.b = 2 ?>",
            ),
            (
                "sleeps.plua",
                "<? local session = plua.session session.c = 1
            plua.shared.order:set('sleeps', true)
            repeat sleep(0.01) until plua.shared.order:get('wake') session.d = 2 ?>",
            ),
        ],
    );
    let ada = Browser::default();
    ada.run(&site, "session.begun = 'yes'");
    let flag = |name: &str| {
        until(name, Duration::from_secs(10), || {
            ada.run(&site, &format!("return tostring(plua.shared.order:get('{name}'))")) == "true"
        });
    };
    thread::scope(|scope| {
        let works = scope.spawn(|| ada.get(&site, "works.plua"));
        flag("begun");
        // What it has written is not yet there for others.
        assert_eq!(ada.run(&site, "return session.begun .. tostring(session.a)"), "yesnil");
        ada.run(&site, "plua.shared.order:set('end', true)");
        assert_eq!(works.join().unwrap().status, 200);
        let sleeps = scope.spawn(|| ada.get(&site, "sleeps.plua"));
        flag("sleeps");
        ada.run(&site, "session.e = 1");
        assert_eq!(ada.run(&site, "return session.c"), "1");
        ada.run(&site, "plua.shared.order:set('wake', true)");
        assert_eq!(sleeps.join().unwrap().status, 200);
    });
    assert_eq!(ada.run(&site, "return session.a .. session.b .. session.c .. session.d .. session.e"), "12121");
}

#[test]
fn what_was_read_and_changed_by_another_since_is_no_lost_write_but_a_503() {
    let site = Site::new(
        "pLuaShared order 64K\n",
        &[
            ("page.plua", PAGE),
            (
                "slow.plua",
                "<? local session = plua.session local before = session.count
            plua.shared.order:set('read', true)
            repeat sleep(0.01) until plua.shared.order:get('go')
            session.count = before + 1 ?>done",
            ),
        ],
    );
    let ada = Browser::default();
    ada.run(&site, "session.count = 1");
    thread::scope(|scope| {
        let slow = scope.spawn(|| ada.get(&site, "slow.plua"));
        until("it has read", Duration::from_secs(10), || {
            ada.run(&site, "return tostring(plua.shared.order:get('read'))") == "true"
        });
        ada.run(&site, "session.count = 10 plua.shared.order:set('go', true)");
        let slow = slow.join().unwrap();
        assert_eq!(slow.status, 503);
        assert_eq!(slow.log.len(), 1);
        let words = "Busy: plua.session: another request has changed 'count' since this page has read it";
        assert!(slow.log[0].contains(words), "{:?}", slow.log);
        assert!(!slow.log[0].contains(&ada.id()) && !slow.text().contains(&ada.id()));
    });
    assert_eq!(ada.run(&site, "return session.count"), "10");
}

#[test]
fn who_asks_keeps_the_session_while_it_waits() {
    let site = Site::new(
        "pLuaShared order 64K\n",
        &[
            ("page.plua", PAGE),
            ("tenfold.plua", "<? plua.session.count = 10 * plua.session.count ?>"),
            (
                "keeps.plua",
                "<? local session = plua.session session:lock() local before = session.count
            plua.shared.order:set('locked', true)
            sleep(0.3) session.count = before + 1 ?>",
            ),
        ],
    );
    let ada = Browser::default();
    ada.run(&site, "session.count = 1");
    thread::scope(|scope| {
        let keeps = scope.spawn(|| ada.get(&site, "keeps.plua"));
        until("it is locked", Duration::from_secs(10), || {
            ada.run(&site, "return tostring(plua.shared.order:get('locked'))") == "true"
        });
        assert_eq!(ada.get(&site, "tenfold.plua").log, [""; 0]);
        assert_eq!(keeps.join().unwrap().status, 200);
    });
    assert_eq!(ada.run(&site, "return session.count"), "20");
}

#[test]
fn a_session_that_is_held_too_long_is_a_503_for_the_others() {
    let site = Site::new(
        "pLuaShared order 64K\n",
        &[
            ("page.plua", PAGE),
            (
                "holds.plua",
                "<? plua.session:lock() plua.session.a = 1 plua.shared.order:set('locked', true)
            repeat sleep(0.01) until plua.shared.order:get('go') ?>",
            ),
        ],
    );
    let ada = Browser::default();
    ada.run(&site, "session.begun = true");
    thread::scope(|scope| {
        let holds = scope.spawn(|| ada.get(&site, "holds.plua"));
        until("it is locked", Duration::from_secs(10), || {
            ada.run(&site, "return tostring(plua.shared.order:get('locked'))") == "true"
        });
        let seen = ada.get(&site, &asked("session.b = 1"));
        assert_eq!(seen.status, 503);
        assert!(
            seen.log[0].contains("another request of the same visitor has held the session for 10 seconds"),
            "{:?}",
            seen.log
        );
        ada.run(&site, "plua.shared.order:set('go', true)");
        assert_eq!(holds.join().unwrap().status, 200);
    });
    assert_eq!(ada.run(&site, "return session.a .. tostring(session.b)"), "1nil");
}

#[test]
fn a_page_that_fails_keeps_what_it_had_set_before() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        let (site, ada) = (site(&format!("pLuaTimeout 0.3\n{mode}")), Browser::default());
        let failed = ada.get(&site, &asked("session.a = 1 error('no')"));
        assert_eq!((failed.status, failed.log.len()), (500, 1), "{mode}");
        assert_eq!(ada.run(&site, "return session.a"), "1", "{mode}");
        let stopped = ada.get(&site, &asked("session.b = 2 while true do end"));
        assert_eq!((stopped.status, stopped.log.len()), (500, 1), "{mode}");
        ada.get(&site, &asked("session.c = 3 exit()"));
        assert_eq!(ada.run(&site, "return session.b .. session.c"), "23", "{mode}");
    }
}

#[test]
fn a_page_that_is_refused_at_its_end_leaves_the_next_one_none_of_it() {
    for mode in &MODES[..3] {
        let late = "<? local cart = plua.session.cart
            plua.atEnd(function() plua.shared.order:set('late', true) end)
            plua.shared.order:set('read', true)
            repeat sleep(0.01) until plua.shared.order:get('go')
            cart.n = cart.n + 1 ?>";
        let other = "<? plua.atEnd(function() plua.shared.order:incr('ends', 1, 0) end) ?>other";
        let pages = [("page.plua", PAGE), ("late.plua", late), ("other.plua", other)];
        let site = Site::new(&format!("pLuaShared order 64K\npLuaStates 2\n{mode}"), &pages);
        let ada = Browser::default();
        ada.run(&site, "session.cart = {n = 1}");
        thread::scope(|scope| {
            let late = scope.spawn(|| ada.get(&site, "late.plua"));
            until("it has read", Duration::from_secs(10), || {
                ada.run(&site, "return tostring(plua.shared.order:get('read'))") == "true"
            });
            ada.run(&site, "session.cart = {n = 5} plua.shared.order:set('go', true)");
            assert_eq!(late.join().unwrap().status, 503, "{mode}");
        });
        for _ in 0..8 {
            let seen = site.get("other.plua");
            assert_eq!((seen.text().as_str(), &seen.log[..]), ("other", &[][..]), "{mode}");
        }
        let told = "return tostring(plua.shared.order:get('late')) .. ('%d'):format(plua.shared.order:get('ends'))";
        assert_eq!(ada.run(&site, told), "nil8", "{mode}");
    }
}

#[test]
fn an_id_is_changed_and_a_session_ended_by_one_call() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        let (site, ada) = (site(mode), Browser::default());
        ada.run(&site, "session.user = 'guest' session:csrf()");
        let (before, token) = (ada.id(), ada.run(&site, "return session:csrf()"));
        let attacker = ada.clone_cookies();
        let after = ada.run(&site, "session:regenerate() session.user = 'ada' return session.id");
        assert_eq!(ada.id(), after);
        assert_ne!(before, after);
        assert_eq!(ada.run(&site, "return session.user"), "ada", "{mode}");
        assert_ne!(ada.run(&site, "return session:csrf()"), token);
        let seen = attacker.get(&site, &asked("return tostring(session.user)"));
        assert_eq!(seen.status, 503, "{mode}");
        assert!(seen.log[0].contains("the session has got another id meanwhile"), "{:?}", seen.log);
        let thief = ada.clone_cookies();
        let seen = ada.get(&site, &asked("session:destroy() return tostring(session.user)"));
        assert_eq!(
            (seen.text().as_str(), cookies(&seen)),
            ("nil", vec!["plua_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"])
        );
        assert_eq!(ada.id(), "");
        assert_eq!(thief.run(&site, "return tostring(session.user)"), "nil", "{mode}");
        // Out and in again in one page.
        ada.run(&site, "session.a = 1");
        let seen = ada.get(&site, &asked("session:destroy() session.b = 2 return session.id"));
        assert_eq!((cookies(&seen).len(), ada.id()), (1, seen.text()), "{mode}");
        assert_eq!(ada.run(&site, "return tostring(session.a) .. session.b"), "nil2");
    }
}

#[test]
fn a_flash_is_there_once() {
    let (site, ada) = (site(""), Browser::default());
    ada.run(&site, "session:flash('note', {text = 'saved'}) session:flash('other', 1)");
    assert_eq!(ada.run(&site, "return session:flash('note').text .. tostring(session:flash('note'))"), "savednil");
    assert_eq!(ada.run(&site, "return tostring(session:flash('note')) .. session:flash('other')"), "nil1");
}

#[test]
fn a_form_of_another_site_is_told_from_ours() {
    let (site, ada, eve) = (site(""), Browser::default(), Browser::default());
    let field = ada.run(&site, "return session:csrfField()");
    let token = ada.run(&site, "return session:csrf()");
    assert_eq!(field, format!("<input type=\"hidden\" name=\"csrf\" value=\"{token}\">"));
    let verify = |token: &str| ada.run(&site, &format!("return tostring(session:verify({token}))"));
    assert_eq!(verify(&format!("'{token}'")), "true");
    assert_eq!([verify("'x'"), verify("nil"), verify("42"), verify("{}")], ["false"; 4]);
    let foreign = eve.run(&site, "return session:csrf()");
    assert_eq!(verify(&format!("'{foreign}'")), "false");
    let seen = ada.get_with(&site, &asked("return tostring(session:verify())"), &[("X-CSRF-Token", &token)]);
    assert_eq!(seen.text(), "true");
    site.write_before("posted.plua", "<?= tostring(plua.session:verify()) ?>");
    let cookie = format!("plua_session={}", ada.id());
    let posted = |body: String| {
        let headers = vec![("Cookie".to_string(), cookie.clone())];
        let body = Box::new(std::io::Cursor::new(body.into_bytes()));
        let sent = site::Sent {
            method: "POST",
            content_type: Some("application/x-www-form-urlencoded"),
            body,
            headers,
            ..site::Sent::default()
        };
        site.send("posted.plua", sent).text()
    };
    assert_eq!(posted(format!("csrf={token}")), "true");
    assert_eq!(posted("csrf=x".into()), "false");
    assert_eq!(posted(String::new()), "false");
}

#[test]
fn a_session_ends_when_nobody_uses_it_and_in_any_case() {
    let redis = Redis::start(&[]);
    for place in modes(redis.as_ref()).iter().skip(MODES.len() - 1) {
        let (site, ada) = (site(&format!("{place}pLuaSessionTime 1 3\n")), Browser::default());
        ada.run(&site, "session.a = 1");
        // Reading it keeps it, as long as that may be.
        let begun = std::time::Instant::now();
        until("its time is over", Duration::from_secs(20), || {
            thread::sleep(Duration::from_millis(200));
            ada.run(&site, "return tostring(session.a)") == "nil"
        });
        assert!(begun.elapsed() > Duration::from_millis(2500), "{:?}", begun.elapsed());
        ada.run(&site, "session.a = 1");
        thread::sleep(Duration::from_millis(1200));
        assert_eq!(ada.run(&site, "return tostring(session.a)"), "nil");
    }
}

#[test]
fn what_is_wrong_is_told_at_the_pages_line() {
    for (code, words) in [
        ("session.f = print", "plua.session: 'f': a function cannot be stored"),
        ("session.t = {a = {print}}", "plua.session: 't': a function cannot be stored"),
        ("session.flash = 1", "plua.session.flash is a function of sessions: give the value another name"),
        ("session.id = 1", "plua.session.id is a function of sessions: give the value another name"),
        ("session[1] = 1", "plua.session has values by name: a string is expected, not a number"),
        ("session.regenerate()", "call regenerate with a colon: plua.session:regenerate()"),
        ("session:flash(1)", "bad argument #1 to 'flash' (string expected, got number)"),
        ("echo('x') flush() session.a = 1", "plua.session: its beginning comes too late"),
        ("plua.session = 1", "plua.session is the visitor's: give it values by name"),
        ("session.big = ('x'):rep(2000000)", "plua.session: "),
    ] {
        let seen = site("").get(&asked(code));
        assert_eq!(seen.log.len(), 1, "{code}: {:?}", seen.log);
        assert!(seen.log[0].contains(words), "{code}: {:?}", seen.log);
    }
    let seen = site("").get(&asked("session.ok = 1 session.t = {} session.t.f = print"));
    assert!(seen.log[0].contains("plua.session: 't': a function cannot be stored"), "{:?}", seen.log);
    let refused = Engine::new().host("test", &site::given("pLuaSession visitors")).err().unwrap();
    assert!(refused.contains("'visitors' (pLuaSession), which the host has not: pLuaShared visitors 10M"), "{refused}");
}

#[test]
fn pages_of_one_state_that_wait_keep_their_visitors_apart() {
    for mode in
        ["pLuaGlobals page\npLuaStates 1\n", "pLuaGlobals request\npLuaStates 1\n", "pLuaSandbox On\npLuaStates 1\n"]
    {
        let site = Site::new(
            mode,
            &[(
                "page.plua",
                "<? local s = plua.session s.n = plua.get('n') sleep(0.01) s.m = s.n .. '!' sleep(0.01) echo(s.n, s.m) ?>",
            )],
        );
        let urls: Vec<_> = (0..20).map(|n| format!("page.plua?n={n}")).collect();
        let seen = site.get_interleaved(&urls, |ready| ready - 1);
        for (n, seen) in seen.iter().enumerate() {
            assert_eq!((seen.text(), &seen.log[..]), (format!("{n}{n}!"), &[][..]), "{mode}");
            assert_eq!(cookies(seen).len(), 1);
        }
    }
}

#[test]
fn light_threads_have_the_session_of_their_page() {
    let redis = Redis::start(&[]);
    for mode in &modes(redis.as_ref()) {
        let (site, ada) = (site(mode), Browser::default());
        ada.run(&site, "plua.parallel(function() session.a = 1 sleep(0.01) session.b = session.a + 1 end, function() session.c = 3 end)");
        assert_eq!(ada.run(&site, "return session.a .. session.b .. session.c"), "123", "{mode}");
    }
}

#[test]
fn no_page_gets_hold_of_what_the_session_is_made_of() {
    let redis = Redis::start(&[]);
    for place in modes(redis.as_ref()).iter().skip(MODES.len() - 1) {
        let (site, ada) = (site(place), Browser::default());
        ada.run(&site, "session.a = 1");
        // The store is a page's too, and its sessions are not.
        assert_eq!(
            ada.run(
                &site,
                "return #plua.shared.visitors:keys() .. tostring(getmetatable(session)) .. tostring(session)"
            ),
            "0falseplua.session"
        );
        assert_eq!(ada.run(&site, "plua.shared.visitors:clear() return session.a"), "1");
    }
}
