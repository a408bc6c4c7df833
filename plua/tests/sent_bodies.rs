//! Bodies that pages send piece by piece, to servers that take them, leave them, or answer before they have all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod servers;
mod site;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use servers::http::{Asked, Come, answer, http, status};
use servers::http2::http2;
use servers::{Certificate, MODES, answers, ask, server};
use site::Site;
use site::wait::until;

/// Lua 5.1 runs others inside the one that waits.
const HOLDS_OTHERS: bool = cfg!(feature = "lua51");

/// `send(address, pieces, options)` sends what a table holds, or a function gives; what came, in a word. `calls` counts what the
/// table was asked for, and `last` is the answer or what was raised.
const SEND: &str = "local function send(address, body, options)
        options, calls = options or {}, 0
        local function from(list) return function() calls = calls + 1 return list[calls] end end
        options.body = type(body) == 'table' and from(body) or body
        local fine, r, message, kind = pcall(plua.fetch, address, options)
        last = r
        if not fine then return 'raised ' .. tostring(r) end
        return kind and kind .. ': ' .. message or r.status .. ' ' .. tostring(r.body)
    end ";

fn page(text: &str) -> String {
    format!("<? calls = 0 {SEND} {text} ?>")
}

fn shown(asked: &Asked) -> Vec<u8> {
    let said = |name: &str| asked.header(name).unwrap_or("-").to_owned();
    let (length, coding) = (said("content-length"), said("transfer-encoding"));
    let body = if asked.body.len() < 100 { &*String::from_utf8_lossy(&asked.body) } else { "long" };
    let text = format!("{} {} {length} {coding} {:?} {body}", asked.method(), asked.path(), asked.chunks);
    answer("", text)
}

#[test]
fn a_function_gives_the_pieces_of_a_body() {
    let (address, count) = http(shown);
    let text = "
        echo(send('http://ADDRESS/a', { 'one', 'three' }), '|')
        echo(send('http://ADDRESS/b', { 'one', '', 'three' }, { method = 'put', headers = { ['Content-Length'] = 8 } }), '|')
        echo(send('http://ADDRESS/c', {}), ' ', calls, '|')
        echo(send('http://ADDRESS/d', { 'x' }, { method = 'GET' }), '|')
        echo(send('http://ADDRESS/e', { ('x'):rep(3000000), 'y' }), '|')
        echo(send('http://ADDRESS/f', { 'abc' }, { headers = { ['Content-Length'] = 3 } }), ' ', calls, '|')
        echo(send('http://ADDRESS/g', { 'a' }, { headers = { ['Content-Length'] = '0' } }), ' ', calls)";
    let wanted = "200 POST /a - chunked [3, 5] onethree|200 PUT /b 8 - [] onethree|200 POST /c - chunked []  1|\
        200 GET /d - chunked [1] x|200 POST /e - chunked [3000000, 1] long|200 POST /f 3 - [] abc 1|200 POST /g - - []  0";
    answers(address, &page(text), wanted);
    assert_eq!(count.load(Ordering::SeqCst), 3, "one connection for each site");
}

#[test]
fn pieces_are_frames_of_http2() {
    let certificate = Certificate::new("localhost");
    let port = http2(&certificate).port();
    let long = if HOLDS_OTHERS { "0.2" } else { "20" };
    let text = format!(
        "local function said(path, body, options) options = options or {{}} options.ca = '{ca}'
            return send('https://localhost:{port}' .. path, body, options), ' ', calls, '|' end
        echo(said('/a', {{ 'one', 'three' }})) echo(last.version, '|')
        local n = 0 echo(said('/b', function() n = n + 1 return n < 100 and ('x'):rep(30000) or nil end))
        echo(said('/c', {{ 'one', 'two' }}, {{ headers = {{ ['Content-Length'] = 6 }} }}))
        echo(said('/no', function() n = n + 1 if n > 101 then sleep({long}) end return 'x' end))
        n = 0 echo(said('/slow', function() n = n + 1 return ('x'):rep(10000) end, {{ timeout = 0.5 }})) echo(n < 12 or n, '|')
        echo(pcall(said, '/d', function() error('x', 0) end)) echo(said('/e', {{ 'fine' }}))",
        ca = certificate.path.display()
    );
    let wanted = "200 POST /a - 8 3|2|200 POST /b - 2970000 0|200 POST /c 6 6 2|413 POST /no - 0 0|timeout: timeout 0|true|\
        trueraised x 0|200 POST /e - 4 2|";
    answers(([127, 0, 0, 1], port).into(), &page(&text), wanted);
}

#[test]
fn the_function_may_wait_and_read_from_elsewhere_meanwhile() {
    let (address, _) = http(|asked| match asked.path() {
        "/much" => answer("", vec![b'x'; 3_000_000]),
        "/size" => answer("", asked.body.len().to_string()),
        _ => shown(asked),
    });
    let (talker, _) = server(|mut connection| {
        for word in ["a\n", "b\n"] {
            thread::sleep(Duration::from_millis(50));
            let _ = connection.write_all(word.as_bytes());
        }
    });
    let text = "
        local count = 0
        echo(send('http://ADDRESS/', function() count = count + 1 sleep(0.05) return count < 4 and tostring(count) or nil end), '|')
        local much = assert(plua.fetch('http://ADDRESS/much', { stream = true }))
        echo(send('http://ADDRESS/size', function() return much:read() end, { timeout = 60 }), '|')
        local s = assert(plua.connect('TALKER'))
        echo(send('http://ADDRESS/', function() return (s:receive()) end), '|')
        local done
        echo(send('http://ADDRESS/', function()
            local said = not done and send('http://ADDRESS/inner', { 'in' }) or nil done = true return said end), '|')
        echo((('x'):gsub('x', function() return send('http://ADDRESS/', function()
            sleep(0.01) count = count + 1 return count < 7 and 'z' or nil end) end)))";
    let wanted = "200 POST / - chunked [1, 1, 1] 123|200 3000000|200 POST / - chunked [1, 1] ab|\
        200 POST / - chunked [32] 200 POST /inner - chunked [2] in|200 POST / - chunked [1, 1] zz";
    let text = text.replace("TALKER", &talker.to_string());
    answers(address, &page(&text), wanted);
}

#[test]
fn others_go_on_while_a_body_is_sent_and_what_the_function_puts_out_is_the_pages() {
    if HOLDS_OTHERS {
        return;
    }
    let (address, _) = http(shown);
    let text = "
        local function slow(letter) local n = 0 return function()
            sleep(0.1) n = n + 1 if n == 1 then echo('<', letter, '>') end return n < 4 and letter or nil end end
        echo(plua.parallel(
            function() return (send('http://ADDRESS/', slow('a'))) end, function() return (send('http://ADDRESS/', slow('b'))) end))";
    let page = page(&text.replace("ADDRESS", &address.to_string()));
    let site = Site::new("", &[("page.plua", &page)]);
    let begun = Instant::now();
    let wanted = "<a><b>200 POST / - chunked [1, 1, 1] aaa200 POST / - chunked [1, 1, 1] bbb";
    assert_eq!(site.get("page.plua").text(), wanted);
    assert!(begun.elapsed() < Duration::from_millis(750), "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_reads_slowly_is_given_pieces_as_slowly_and_little_is_held() {
    let (asks, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let may_read = reads.clone();
    let (slow, _) = server(move |mut connection| {
        let mut come = Come::new(&mut connection);
        let _ = come.head();
        until("it may read", Duration::from_secs(20), || may_read.load(Ordering::SeqCst));
        let mut size = 0;
        while let Some(chunk) = come.chunk().filter(|chunk| !chunk.is_empty()) {
            size += chunk.len();
        }
        come.say(&answer("", size.to_string()));
    });
    let asked = asks.clone();
    let (counts, _) = http(move |_| answer("", asked.fetch_add(1, Ordering::SeqCst).to_string()));
    let text = format!(
        "local n = 0
        echo(send('http://{slow}/', function()
            n = n + 1 if n > 60 then return nil end assert(plua.fetch('http://{counts}/')) return ('x'):rep(1000000) end))"
    );
    thread::scope(|scope| {
        let page = page(&text);
        let answered = scope.spawn(move || ask("pLuaMemoryLimit 16384", &page).text());
        // The systems of both sides take some megabytes, which they have done when a while passes without another piece.
        let mut before = usize::MAX;
        until("pieces are given no more", Duration::from_secs(20), || {
            thread::sleep(Duration::from_millis(300));
            let now = asks.load(Ordering::SeqCst);
            now > 0 && std::mem::replace(&mut before, now) == now
        });
        assert!(before < 30, "{before} pieces of a megabyte");
        reads.store(true, Ordering::SeqCst);
        assert_eq!(answered.join().unwrap(), "200 60000000");
    });
}

/// A server that says what it had of each request: `whole` or `broken`.
fn counts_whole() -> (SocketAddr, Arc<Mutex<Vec<&'static str>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let (address, _) = server(move |mut connection| {
        let mut come = Come::new(&mut connection);
        let request = come.request();
        log.lock().push(if request.is_some() { "whole" } else { "broken" });
        come.say(&answer("", "done"));
    });
    (address, seen)
}

#[test]
fn what_goes_wrong_in_the_function_ends_the_request_and_is_raised() {
    let (address, seen) = counts_whole();
    for (body, options, wanted) in [
        ("function() n = n + 1 if n == 2 then error('wrong') end return 'a' end", "{}", "raised page.plua: wrong nil"),
        ("function() n = n + 1 if n == 2 then error({ code = 5 }) end return 'a' end", "{}", "raised table 5"),
        ("{ 'a', 5 }", "{}", "raised plua.fetch: body: a string or nil expected of the function, got a number nil"),
        ("{ 'a', {} }", "{}", "raised plua.fetch: body: a string or nil expected of the function, got a table nil"),
        ("function() return nil, 'the reason' end", "{}", "body: body: the reason nil"),
        (
            "{ 'ab', 'cd' }",
            "{ headers = { ['Content-Length'] = 3 } }",
            "raised plua.fetch: the body has more bytes than the 3 of its Content-Length nil",
        ),
        (
            "{ 'ab' }",
            "{ headers = { ['Content-Length'] = 3 } }",
            "raised plua.fetch: the body has fewer bytes than the 3 of its Content-Length nil",
        ),
    ] {
        let text = format!(
            "local n = 0 local said = send('http://{address}/', {body}, {options})
            echo((said:gsub('table: .*', 'table'):gsub(' [^ ]*page%.plua:%d+:', ' page.plua:')), ' ', type(last) == 'table' and last.code or 'nil')"
        );
        let seen = ask("", &page(&text));
        assert_eq!(seen.text(), wanted, "{body} {:?}", seen.log);
    }
    until("all were broken off", Duration::from_secs(10), || seen.lock().len() == 7);
    assert!(seen.lock().iter().all(|what| *what == "broken"), "{:?}", seen.lock());
    for (options, wanted) in [
        ("body = 5", "body: string or function expected, got number"),
        ("body = {}", "body: string or function expected, got table"),
        ("body = print, json = 1", "one of body, json and form expected"),
        ("body = print, headers = { ['Content-Length'] = '1x' }", "a number of bytes expected for Content-Length"),
        ("body = print, headers = { ['Content-Length'] = { 1, 2 } }", "a number of bytes expected for Content-Length"),
        ("body = print, headers = { ['Transfer-Encoding'] = 'x' }", "Transfer-Encoding is said by the client itself"),
    ] {
        let text =
            ask("", &format!("<? echo(select(2, pcall(plua.fetch, 'http://{address}/', {{ {options} }}))) ?>")).text();
        assert!(text.contains(wanted), "{options}: {text}");
    }
    // A piece is held beside the page's own.
    let text = format!("send('http://{address}/', {{ ('x'):rep(10000000) }}) echo(last)");
    let large = ask("pLuaMemoryLimit 16384", &page(&text));
    assert!(large.status == 500 || large.text().contains("memory"), "{} {:?}", large.text(), large.log);
    // Uncaught, it is an error of the page's.
    let seen =
        ask("", &format!("<? plua.fetch('http://{address}/', {{ body = function() error('uncaught') end }}) ?>"));
    assert_eq!(seen.status, 500);
    assert!(seen.log.iter().any(|line| line.contains("uncaught")), "{:?}", seen.log);
}

#[test]
fn a_page_that_has_ended_may_still_send_in_pieces() {
    let (address, seen) = counts_whole();
    let text = format!(
        "plua.atEnd(function() send('http://{address}/', function() sleep(0.01) calls = calls + 1
        return calls < 4 and 'x' or nil end) end)"
    );
    for mode in MODES {
        ask(mode, &page(&text));
    }
    until("all were sent", Duration::from_secs(10), || *seen.lock() == ["whole"; 3]);
}

#[test]
fn what_was_sent_is_never_sent_again() {
    let other = http(shown).0;
    let (address, _) = server(move |mut connection| {
        let mut come = Come::new(&mut connection);
        // Closes the connection at the second request on it.
        while let Some(asked) = come.head() {
            while !come.chunk().is_some_and(|chunk| chunk.is_empty()) {}
            let to = |status: &str| self::status(status, &format!("Location: http://{other}/there\r\n"));
            let said = match asked.path() {
                "/" => answer("", "first"),
                "/closes" => return,
                path => to(&path[1..]),
            };
            come.say(&said);
        }
    });
    let text = format!(
        "local function said(path, method) return send('http://{address}/' .. path, {{ 'a', 'b' }}, {{ method = method }}), ' ', calls, '|' end
        echo(said('')) echo(said('closes', 'PUT')) echo(said('307', 'PUT')) echo(said('308'))
        echo(said('301', 'PUT')) echo(said('302')) echo(said('303', 'PUT'))"
    );
    let seen = ask("", &page(&text));
    let text = seen.text();
    let closed = text.split('|').nth(1).unwrap();
    assert!(closed.starts_with("closed: ") && closed.ends_with(" 3"), "{text}");
    let text = text.replace(closed, "closed");
    let wanted = "200 first 3|closed|307  3|308  3|301  3|200 GET /there - - []  3|200 GET /there - - []  3|";
    assert_eq!(text, wanted, "{:?}", seen.log);
}

#[test]
fn an_answer_that_comes_before_the_body_is_all_sent_is_given_at_once_if_it_wants_no_more() {
    let gone = Arc::new(AtomicUsize::new(0));
    let left = gone.clone();
    let (address, _) = server(move |mut connection| {
        let mut come = Come::new(&mut connection);
        let Some(asked) = come.head() else { return };
        let _ = come.chunk();
        match asked.path() {
            "/no" => come.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch"),
            "/closes" => {
                come.say(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch");
                return;
            }
            "/enough" => come.say(&answer("", "done")),
            _ => {
                // Answers as it reads.
                come.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nit:\r\n");
                while let Some(chunk) = come.chunk() {
                    let text = String::from_utf8(chunk).unwrap().to_uppercase();
                    come.say(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
                    if text.is_empty() {
                        return;
                    }
                }
                false
            }
        };
        while come.chunk().is_some() {}
        left.fetch_add(1, Ordering::SeqCst);
    });
    // The function would wait for long; with Lua 5.1 nothing ends it but itself.
    let long = if HOLDS_OTHERS { "0.2" } else { "20" };
    let text = "
        local function endless() local n = 0 return function() n = n + 1 if n > 2 then sleep(LONG) end return 'piece' end end
        echo(send('http://ADDRESS/no', endless()), '|')
        echo(send('http://ADDRESS/closes', endless()), '|')
        echo(send('http://ADDRESS/enough', endless()), '|')
        echo(send('http://ADDRESS/echo', { 'one', 'two', 'three' }), '|')
        send('http://ADDRESS/no', endless(), { stream = true }) echo(last.status, last:read(9), '|')
        send('http://ADDRESS/echo', { 'one', 'two' }, { stream = true }) echo(last.status, last:read(9))";
    let begun = Instant::now();
    let wanted = "413 much|413 much|200 done|200 it:TWOTHREE|413much|200it:TWO";
    answers(address, &page(&text.replace("LONG", long)), wanted);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Such a connection is of no use to anybody.
    until("they hang up", Duration::from_secs(10), || gone.load(Ordering::SeqCst) == 18);
}

#[test]
fn a_body_that_goes_on_for_too_long_is_given_up() {
    let silent = server(|mut connection| _ = connection.read_to_end(&mut Vec::new())).0;
    let stalls = server(|connection| {
        thread::sleep(Duration::from_secs(20));
        drop(connection);
    })
    .0;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let long = if HOLDS_OTHERS { "0.6" } else { "20" };
    for (what, wanted) in [
        (format!("send('http://{silent}/', {{ 'a' }}, {{ timeout = 0.3 }})"), "timeout: timeout"),
        (format!("send('http://{silent}/', {{ 'a' }}, {{ timeout = 0.3, stream = true }})"), "timeout: timeout"),
        (
            format!("send('http://{silent}/', function() sleep({long}) return 'x' end, {{ timeout = 0.3 }})"),
            "timeout: timeout",
        ),
        (
            format!("send('http://{stalls}/', function() return ('x'):rep(1000000) end, {{ timeout = 0.5 }})"),
            "timeout: timeout",
        ),
        (
            format!(
                "send('http://{stalls}/', function() return ('x'):rep(1000000) end, {{ timeout = 0.5, stream = true }})"
            ),
            "timeout: timeout",
        ),
        // Each piece has its time, and so has the answer.
        (
            format!(
                "send('http://{silent}/', function() calls = calls + 1 sleep(0.2) return calls < 5 and 'x' or nil end,
                {{ timeout = 0.8, stream = true }}), ' ', calls"
            ),
            "timeout: timeout 5",
        ),
        (format!("send('http://{free}/', {{ 'a' }}, {{ timeout = 9 }}), ' ', calls"), "connect"),
    ] {
        let begun = Instant::now();
        let seen = ask("", &page(&format!("echo({what})")));
        let text = seen.text();
        assert!(
            text == wanted || wanted == "connect" && text.starts_with("connect: ") && text.ends_with(" 0"),
            "{what}: {text} {:?}",
            seen.log
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
    }
    for body in ["while true do end", "return ''", "sleep(20)", "plua.fetch('http://SILENT/')"] {
        let body = body.replace("SILENT", &silent.to_string());
        let begun = Instant::now();
        let text = format!("pcall(send, 'http://{silent}/', function() {body} end) echo('went on')");
        let seen = ask("pLuaTimeout 0.5", &page(&text));
        assert_eq!(seen.status, 500, "{body}: {}", seen.text());
        assert!(seen.log.iter().any(|line| line.contains("Time limit")), "{body}: {:?}", seen.log);
        assert!(begun.elapsed() < Duration::from_secs(5), "{body}: {:?}", begun.elapsed());
    }
}

#[test]
fn what_a_page_sends_ends_with_it_and_its_thread() {
    let (begun, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begins, breaks) = (begun.clone(), broken.clone());
    let (address, _) = server(move |mut connection| {
        let mut come = Come::new(&mut connection);
        if come.head().is_some() {
            begins.fetch_add(1, Ordering::SeqCst);
            while come.chunk().is_some_and(|chunk| !chunk.is_empty()) {}
            // The end of the connection, and not of the body.
            breaks.fetch_add(usize::from(come.bytes(1).is_none()), Ordering::SeqCst);
        }
    });
    let (waits, stalls) = ("sleep(20) return 'x'", "return ('x'):rep(100)");
    let fetch = format!(
        "plua.fetch('http://{address}/', {{ body = function() n = n + 1 if n == 1 then return 'a' end BODY end }})"
    );
    let mut wanted = 0;
    for (body, end) in [
        (waits, "exit()"),
        (waits, "error('x')"),
        (waits, "while true do end"),
        (waits, "plua.kill(t) sleep(0.3)"),
        (stalls, "plua.kill(t) sleep(0.3)"),
        ("exit()", "plua.wait(t)"),
        ("sleep(0.1) plua.kill(t) return 'x'", "pcall(plua.wait, t) sleep(0.1)"),
        ("local r = plua.fetch('http://SILENT/') return r.body", "plua.kill(t) sleep(0.3)"),
    ] {
        if HOLDS_OTHERS && body != "exit()" {
            continue;
        }
        let silent = server(|mut connection| _ = connection.read_to_end(&mut Vec::new())).0;
        let fetch = fetch.replace("BODY", &body.replace("SILENT", &silent.to_string()));
        let page = format!("<? local n, t = 0 t = plua.spawn(function() {fetch} end) sleep(0.2) {end} echo('end') ?>");
        let at = Instant::now();
        let seen = ask("pLuaTimeout 3", &page);
        wanted += 1;
        until(end, Duration::from_secs(10), || broken.load(Ordering::SeqCst) == wanted);
        assert!(at.elapsed() < Duration::from_secs(5), "{body} {end}: {:?} {:?}", at.elapsed(), seen.log);
        assert!(
            !end.contains("kill") && !body.contains("kill") || seen.text().ends_with("end"),
            "{body} {end}: {:?}",
            seen.log
        );
    }
    assert_eq!(begun.load(Ordering::SeqCst), wanted);
}
