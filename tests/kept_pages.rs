//! Whole pages that are kept (`plua.cachePage`): made once for all visitors, and what each of those gets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::kept::{NOT_KEPT, PAGE, QUICK, RUNS, ask, expect, is_quick, runs, second, setup};
use common::wait::until;
use common::{Mpm, httpd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_page_runs_once_for_all_visitors_of_its_address() {
    setup("").run(|server| {
        let first = server.get("/page.plua");
        assert_eq!((first.status, first.text().as_str(), is_quick(&first)), (200, "run 1", false));
        let tag = first.header("ETag").unwrap().to_owned();
        let again = server.get("/page.plua");
        assert_eq!((again.status, again.text().as_str(), is_quick(&again)), (200, "run 1", true));
        for (name, value) in [
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("Content-Length", "5"),
            ("Age", "0"),
            ("Accept-Ranges", "bytes"),
            ("ETag", &*tag),
        ] {
            assert_eq!(again.all(name), [value], "{name}: {again:?}");
        }
        assert_eq!(first.header("Accept-Ranges"), Some("bytes"));
        assert_eq!(server.get("/page.plua?x=1").text(), "run 2");
        assert_eq!(server.get("/page.plua?x=1").text(), "run 2");
        assert_eq!(server.get("/page.plua").text(), "run 1");
        until("its age counts", Duration::from_secs(10), || server.get("/page.plua").header("Age") == Some("1"));
        let log = server.httpd().access_log();
        assert!(log.contains("\"GET /page.plua HTTP/1.1\" 200 5"), "{log}");
    });
}

#[test]
fn what_is_for_one_visitor_or_no_answer_of_a_page_is_not_kept() {
    setup("pLuaError Off").run(|server| {
        server.expect("it fails");
        for query in [
            "cookie=1",
            "personal=1",
            "header=Cache-Control&value=max-age=0,%20no-store",
            "header=Cache-Control&value=no-cache=%22x%22",
            "header=Set-Cookie&value=a",
            "header=Vary&value=*",
            "flush=1",
            // More than the store holds.
            "long=2000000",
        ] {
            expect(server, &format!("/page.plua?{query}"), &[], NOT_KEPT);
        }
        for status in ["404", "301", "206", "500"] {
            let path = format!("/page.plua?status={status}");
            let (one, two) = (server.get(&path), server.get(&path));
            assert!(one.text() != two.text() && two.status.to_string() == status, "{path}: {one:?} {two:?}");
        }
        // Every second run fails.
        let failed =
            ["/page.plua?fails=1", "/page.plua?fails=2"].into_iter().filter(|path| server.get(path).status == 500);
        let failed: Vec<&str> = failed.collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(server.get(failed[0]).status, 200);
        for method in ["POST", "PUT", "DELETE"] {
            let ask = || server.request(method, "/page.plua?m=1", &[], b"").text();
            assert_ne!(ask(), ask(), "{method}");
        }
        expect(server, "/page.plua?m=1", &[], QUICK);
        let post = server.request("POST", "/page.plua?m=1", &[], b"").text();
        assert_ne!(post, server.get("/page.plua?m=1").text());
        // A page may show the body of a GET.
        let body = || server.request("GET", "/page.plua?body=1", &[], b"body").text();
        assert_ne!(body(), body());
        // A HEAD keeps nothing.
        server.request("HEAD", "/page.plua?head=1", &[], b"");
        assert_eq!(second(server, "/page.plua?head=1", &[]).0, "kept");
    });
}

#[test]
fn conditions_heads_and_ranges_are_answered_from_what_is_kept() {
    let page = (
        "dated.plua",
        "<? plua.cachePage(100) plua.lastModified(784111777) header('X-Own', 'x') header('Link', '<a>', true) \
         header('Link', '<b>', true) setContentType('text/plain') \
         plua.shared.log:incr('runs', 1, 0) ?><?= ('0123456789'):rep(100) ?>",
    );
    for lines in ["", "pLuaQuick Off"] {
        setup(lines).pages(&[page]).run(|server| {
            let quick = lines.is_empty();
            let first = server.get("/dated.plua");
            let tag = first.header("ETag").unwrap().to_owned();
            let ask = |headers: &[(&str, &str)]| {
                let answer = server.request("GET", "/dated.plua", headers, b"");
                assert_eq!(is_quick(&answer), quick, "{headers:?}: {answer:?}");
                answer
            };
            let whole = ask(&[]);
            assert!(whole.body == first.body && whole.body.len() == 1000);
            assert_eq!((whole.all("X-Own"), whole.all("Link")), (vec!["x"], vec!["<a>", "<b>"]));
            for (name, value, status) in [
                ("If-None-Match", &*tag, 304),
                ("If-None-Match", "*", 304),
                ("If-None-Match", "\"y\"", 200),
                ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 304),
                ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT", 200),
            ] {
                let answer = ask(&[(name, value)]);
                assert_eq!((answer.status, answer.body.is_empty()), (status, status == 304), "{name} {value}");
                assert_eq!(answer.all("ETag"), [&tag], "{name} {value}");
                assert!(answer.header("Age").is_some() && answer.header("X-Own").is_some(), "{answer:?}");
                assert_eq!(answer.header("Content-Type").is_some(), status == 200, "{answer:?}");
            }
            for (name, value) in [("If-Match", "\"y\""), ("If-Unmodified-Since", "Sat, 29 Oct 1994 19:43:31 GMT")] {
                let answer = server.request("GET", "/dated.plua", &[(name, value)], b"");
                assert!(answer.status == 412 && !answer.text().contains("0123456789"), "{name}: {answer:?}");
            }
            let part = ask(&[("Range", "bytes=10-19")]);
            assert_eq!((part.status, part.text().as_str()), (206, "0123456789"));
            assert_eq!(part.header("Content-Range"), Some("bytes 10-19/1000"));
            let last = ask(&[("Range", "bytes=-5"), ("If-Range", &*tag)]);
            assert_eq!((last.status, last.text().as_str()), (206, "56789"));
            assert_eq!(ask(&[("Range", "bytes=0-0"), ("If-Range", "\"other\"")]).status, 200);
            assert_eq!(server.request("GET", "/dated.plua", &[("Range", "bytes=1000-")], b"").status, 416);
            let head = server.request("HEAD", "/dated.plua", &[], b"");
            assert_eq!((head.status, head.header("Content-Length"), is_quick(&head)), (200, Some("1000"), quick));
            assert_eq!(head.header("ETag"), Some(&*tag));
            assert_eq!(server.request("HEAD", "/dated.plua", &[("If-None-Match", &tag)], b"").status, 304);
            // One connection goes on after each of them.
            let mut connection = server.connect();
            for (method, header, status) in [
                ("GET", ("If-None-Match", &*tag), 304),
                ("GET", ("If-Match", "\"y\""), 412),
                ("HEAD", ("X", ""), 200),
                ("GET", ("X", ""), 200),
            ] {
                assert_eq!(connection.request(method, "/dated.plua", &[header], b"").status, status, "{header:?}");
            }
            assert_eq!(runs(server), "1");
        });
    }
}

#[test]
fn filters_of_the_whole_server_make_of_it_what_each_client_takes() {
    let page = ("long.plua", "<? plua.cachePage(100) plua.shared.log:incr('runs', 1, 0) ?><?= ('text '):rep(1000) ?>");
    // mod_filter leaves a 304 as it is, whoever answers.
    for (lines, tag_of_304) in [("SetOutputFilter DEFLATE", "-gzip"), ("AddOutputFilterByType DEFLATE text/html", "")] {
        setup(lines).module("filter").module("deflate").pages(&[page]).run(|server| {
            let accepts = ("Accept-Encoding", "gzip");
            let plain = server.get("/long.plua");
            let tag = plain.header("ETag").unwrap().trim_matches('"').to_owned();
            for _ in 0..2 {
                let plain = server.get("/long.plua");
                assert_eq!((plain.body.len(), plain.header("Content-Encoding"), is_quick(&plain)), (5000, None, true));
                assert_eq!(plain.header("ETag"), Some(&*format!("\"{tag}\"")));
                let small = ask(server, "/long.plua", &[accepts]);
                assert!(small.body.len() < 500 && is_quick(&small), "{small:?}");
                assert_eq!(small.header("Content-Encoding"), Some("gzip"));
                assert_eq!(small.header("ETag"), Some(&*format!("\"{tag}-gzip\"")));
                for answer in [&plain, &small] {
                    assert_eq!(answer.header("Vary"), Some("Accept-Encoding"));
                }
                let (known, said) = (format!("\"{tag}-gzip\""), format!("\"{tag}{tag_of_304}\""));
                let again = ask(server, "/long.plua", &[accepts, ("If-None-Match", &known)]);
                assert_eq!((again.status, again.header("ETag"), is_quick(&again)), (304, Some(&*said), true));
            }
            assert_eq!(runs(server), "1");
        });
    }
}

#[test]
fn headers_that_an_answer_depends_on_and_a_key_in_the_place_of_the_query_are_its_address() {
    for lines in ["", "pLuaQuick Off"] {
        setup(lines).run(|server| {
            let quick = lines.is_empty();
            let get = |path: &str, language: &str| {
                let headers = [("Accept-Language", language)];
                let answer = ask(server, path, if language.is_empty() { &[] } else { &headers });
                (answer.text(), answer.header("Vary").map(str::to_owned), is_quick(&answer))
            };
            let vary = "/page.plua?vary=Accept-Language";
            let text = |text: &str, quick| (text.to_owned(), Some("Accept-Language".to_owned()), quick);
            assert_eq!(get(vary, "de"), text("run 1", false));
            assert_eq!(get(vary, "en"), text("run 2", false));
            assert_eq!(get(vary, ""), text("run 3", false));
            for (language, run) in [("de", "run 1"), ("en", "run 2"), ("", "run 3")] {
                assert_eq!(get(vary, language), text(run, quick));
            }
            // What a page says of Vary by itself counts as well.
            let own = "/page.plua?header=Vary&value=X-A,%20X-B";
            let own = |a: &str, b: &str| ask(server, own, &[("X-A", a), ("X-B", b)]).text();
            assert_eq!(
                [own("1", "1"), own("1", "2"), own("2", "1"), own("1", "2")],
                ["run 4", "run 5", "run 6", "run 5"]
            );
            // One key for several addresses of one page.
            let key = |more: &str| get(&format!("/page.plua?key=k{more}"), "");
            assert_eq!(key("").0, "run 7");
            assert_eq!(key("&utm=1"), ("run 7".into(), None, false));
            assert_eq!(key("&utm=1"), ("run 7".into(), None, quick));
            assert_eq!(get("/page.plua?key=other", "").0, "run 8");
            // A value that is too long is not kept.
            let long = "x".repeat(1500);
            assert_ne!(get(vary, &long), get(vary, &long));
        });
    }
}

#[test]
fn while_it_is_made_anew_all_others_get_the_old_one() {
    const VISITORS: usize = 50;
    for (mpm, processes, threads, lines) in
        [(Mpm::Event, 3, 25, ""), (Mpm::Event, 3, 25, "pLuaQuick Off"), (Mpm::Prefork, 55, 1, "")]
    {
        setup(lines).mpm(mpm).children(processes, threads).run(|server| {
            let path = "/page.plua?ttl=3&takes=1.5";
            assert_eq!(server.get(path).text(), "run 1");
            // One finds that its time is over.
            thread::scope(|scope| {
                let maker = scope.spawn(|| {
                    until("it is made anew", Duration::from_secs(20), || server.get(path).text() == "run 2");
                });
                until("somebody makes it", Duration::from_secs(20), || runs(server) == "2");
                let visitors: Vec<_> = (0..VISITORS).map(|_| scope.spawn(|| server.get(path).text())).collect();
                let seen: BTreeSet<String> = visitors.into_iter().map(|visitor| visitor.join().unwrap()).collect();
                assert!(seen.iter().all(|text| text == "run 1" || text == "run 2"), "{seen:?}");
                assert!(seen.contains("run 1"), "{seen:?}");
                maker.join().unwrap();
            });
            assert_eq!(runs(server), "2");
        });
    }
}

#[test]
fn of_many_who_come_at_once_to_a_new_page_one_makes_it() {
    setup("").mpm(Mpm::Event).children(3, 20).run(|server| {
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..40).map(|_| scope.spawn(|| server.get("/page.plua?takes=0.5").text())).collect();
            for visitor in visitors {
                assert_eq!(visitor.join().unwrap(), "run 1");
            }
        });
        assert_eq!(runs(server), "1");
        // What is not kept is waited for once, and then made by each.
        thread::scope(|scope| {
            let visitors: Vec<_> =
                (0..10).map(|_| scope.spawn(|| server.get("/page.plua?takes=0.3&cookie=1").text())).collect();
            let seen: BTreeSet<String> = visitors.into_iter().map(|visitor| visitor.join().unwrap()).collect();
            assert_eq!(seen.len(), 10, "{seen:?}");
        });
    });
}

#[test]
fn who_comes_as_a_page_is_made_does_not_make_it_again() {
    const PAGES: usize = 300;
    setup("").mpm(Mpm::Event).children(2, 10).run(|server| {
        for number in 0..PAGES {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| server.get(&format!("/page.plua?x={number}")));
                }
            });
        }
        assert_eq!(runs(server), PAGES.to_string());
    });
}

#[test]
fn a_maker_that_fails_leaves_the_old_one_and_the_next_visitor_tries_again() {
    setup("").run(|server| {
        server.expect("it fails");
        let path = "/page.plua?ttl=2&fails=1";
        assert_eq!(server.get(path).text(), "run 1");
        until("a maker fails", Duration::from_secs(20), || server.get(path).status == 500);
        until("the next one makes it", Duration::from_secs(20), || server.get(path).text() == "run 3");
        assert_eq!(server.get(path).text(), "run 3");
    });
}

#[test]
fn a_maker_that_is_killed_lets_the_next_visitor_try() {
    for (mpm, processes, threads) in [(Mpm::Event, 2, 5), (Mpm::Prefork, 4, 1)] {
        let who = (
            "who.plua",
            "<? plua.cachePage(100) plua.shared.log:incr('runs', 1, 0) \
            if plua.shared.log:get('runs') == 1 then plua.shared.log:set('pid', io.open('/proc/self/stat'):read('n')) sleep(60) end ?>made",
        );
        let pid = ("pid.plua", "<?= plua.shared.log:get('pid') or '' ?>");
        setup("").mpm(mpm).children(processes, threads).pages(&[who, pid]).run(|server| {
            thread::scope(|scope| {
                scope.spawn(|| server.connect().until(b"x".get(..0).unwrap()));
                let mut connection = server.connect();
                connection.send(b"GET /who.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let mut maker = 0;
                until("it is being made", Duration::from_secs(20), || {
                    maker = server.get("/pid.plua").text().parse().unwrap_or(0);
                    maker != 0
                });
                kill(Pid::from_raw(maker), Signal::SIGKILL).unwrap();
            });
            // Those who come wait until it is taken to be gone.
            assert_eq!(server.get("/who.plua").text(), "made");
            assert_eq!(runs(server), "2");
        });
    }
}

#[test]
fn a_full_store_keeps_those_that_were_asked_for_last() {
    httpd().lines("pLuaShared cache 128K\npLuaShared log 64K").pages(&[PAGE, RUNS]).run(|server| {
        let get = |number: u32| server.get(&format!("/page.plua?long=5000&n={number}")).text();
        for number in 1..=60 {
            assert!(get(number).starts_with(&format!("run {number}.")));
        }
        assert!(get(60).starts_with("run 60."));
        assert!(get(1).starts_with("run 61."), "the oldest has made room");
    });
}

#[test]
fn it_is_kept_for_http_2_and_1_alike() {
    setup("Protocols h2c http/1.1").module("http2").run(|server| {
        let fetch = |arguments: &[&str]| {
            let url = server.url("/page.plua?long=100000");
            let output =
                Command::new("curl").args(["--silent", "--max-time", "20"]).args(arguments).arg(url).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let first = fetch(&["--http2-prior-knowledge"]);
        assert!(first.starts_with("run 1.") && first.len() == 100_005);
        for protocol in ["--http2-prior-knowledge", "--http1.1"] {
            assert_eq!(fetch(&[protocol]), first);
            let head = fetch(&[protocol, "--head"]).to_ascii_lowercase();
            assert!(head.contains("content-length: 100005") && !head.contains("x-mapped"), "{head}");
            assert_eq!(fetch(&[protocol, "--range", "0-4"]), "run 1");
        }
        assert_eq!(runs(server), "1");
    });
}

#[test]
fn it_goes_beside_httpds_own_cache_and_its_firewall() {
    let page = (
        "both.plua",
        "<? plua.cachePage(100) header('Cache-Control', 'max-age=60') plua.shared.log:incr('runs', 1, 0) ?>both",
    );
    let lines = "CacheEnable socache /both.plua\nCacheSocache shmcb";
    let setup = setup(lines).module("socache_shmcb").module("cache").module("cache_socache");
    setup.pages(&[page]).run(|server| {
        for _ in 0..4 {
            let answer = server.get("/both.plua");
            assert_eq!((answer.status, answer.text().as_str()), (200, "both"));
        }
        let fresh = ask(server, "/both.plua", &[("Cache-Control", "max-age=0")]);
        assert_eq!((fresh.status, fresh.text().as_str()), (200, "both"));
        assert_eq!(runs(server), "1");
    });
}

#[test]
fn a_page_with_a_session_is_never_kept() {
    let reads = (
        "reads.plua",
        "<? plua.cachePage(100) ?><?= tostring(plua.session.user), plua.shared.log:incr('runs', 1, 0) ?>",
    );
    let first = (
        "first.plua",
        "<? local user = plua.session.user plua.cachePage(100) header('Cache-Control', 'max-age=60') \
         ?><?= tostring(user), plua.shared.log:incr('runs', 1, 0) ?>",
    );
    let begins = (
        "begins.plua",
        "<? plua.cachePage(100) plua.session.user = randomBytes(4):gsub('.', string.byte) \
         header('Cache-Control', 'max-age=60') ?><?= plua.session.user ?>",
    );
    let token = ("token.plua", "<? plua.cachePage(100) ?><?= plua.session:csrf() ?>");
    // Whoever asks for the table of sessions alone has not looked into his own.
    let opens =
        ("opens.plua", "<? plua.cachePage(100) local s = plua.session ?><?= plua.shared.log:incr('runs', 1, 0) ?>");
    setup("").pages(&[reads, first, begins, token, opens]).run(|server| {
        for page in ["reads", "first", "begins", "token"] {
            let path = format!("/{page}.plua");
            let (one, two) = (server.get(&path), server.get(&path));
            assert!(one.status == 200 && one.text() != two.text(), "{page}: {one:?} {two:?}");
            assert!(!is_quick(&two), "{page}");
        }
        let answer = server.get("/begins.plua");
        let cookie = answer.header("Set-Cookie").unwrap().split(';').next().unwrap().to_owned();
        let mine = ask(server, "/reads.plua", &[("Cookie", &cookie)]);
        assert!(mine.text().starts_with(&answer.text()), "{mine:?}");
        assert!(server.get("/reads.plua").text().starts_with("nil"));
        expect(server, "/opens.plua", &[], QUICK);
    });
}

#[test]
fn pages_of_a_sandbox_and_with_globals_of_their_own_are_kept_as_others_are() {
    for lines in ["pLuaSandbox On", "pLuaGlobals request", "pLuaGlobals page"] {
        for mpm in [Mpm::Event, Mpm::Prefork] {
            setup(lines).mpm(mpm).run(|server| {
                expect(server, "/page.plua?n=1", &[], QUICK);
                expect(server, "/page.plua?n=2&key=k", &[], QUICK);
                expect(server, "/page.plua?n=3&cookie=1", &[], NOT_KEPT);
            });
        }
    }
}
