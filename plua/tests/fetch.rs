//! Requests of pages to servers of HTTP, honest and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod servers;
mod site;

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use servers::http::{answer, http, serve};
use servers::{Certificate, answers, ask, server, tls_server};
use site::Site;

#[test]
fn a_page_asks_a_server_and_has_its_answer() {
    let (address, count) =
        http(|_| answer("X-One: 1\r\nX-Two: a\r\nx-two: b\r\nContent-Type: application/json\r\n", "[1,2]"));
    let page = "<? local r = assert(plua.fetch('http://ADDRESS/path'))
        echo(r.status, r.ok, r.body, r.json()[2], r:json()[1], r.headers['x-ONE'], r.headers['X-Two'][2], tostring(r.headers.none))
        echo(r.url:match('/path$'), r.version, r.headers['content-type']) ?>";
    answers(address, page, "200true[1,2]211bnil/path1.1application/json");
    assert_eq!(count.load(Ordering::SeqCst), 3, "a connection for each site");
}

#[test]
fn a_request_is_made_of_its_options() {
    let (address, _) = http(|asked| answer("", format!("{}{}", asked.head, String::from_utf8_lossy(&asked.body))));
    for (options, wanted, not) in [
        ("", "GET /p HTTP/1.1\r\n", "content-length"),
        ("{ method = 'delete' }", "DELETE /p HTTP/1.1", "content-length"),
        ("{ body = 'text' }", "POST /p HTTP/1.1", "content-type"),
        ("{ body = '' }", "POST /p HTTP/1.1", "content-type"),
        ("{ json = { a = { 1 } } }", "content-type: application/json", "x-www"),
        ("{ json = { a = { 1 } } }", "{\"a\":[1]}", "x-www"),
        ("{ form = { a = 'b c', d = { 1, 2 } } }", "\r\n\r\na=b%20c&d=1&d=2", "json"),
        ("{ form = { a = 'b' } }", "content-type: application/x-www-form-urlencoded", "json"),
        ("{ query = { q = 'a&b', r = 1 } }", "GET /p?q=a%26b&r=1 HTTP/1.1", "json"),
        ("{ headers = { ['X-A'] = 'b', Accept = { 'c', 'd' } } }", "accept: c\r\naccept: d\r\n", "*/*"),
        (
            "{ headers = { ['Content-Type'] = 'x/y' }, json = 1, method = 'PUT' }",
            "content-type: x/y",
            "application/json",
        ),
        ("{ headers = { Host = 'other' } }", "host: other\r\n", "127.0.0.1"),
    ] {
        let seen = ask("", &format!("<?= plua.fetch('http://{address}/p#part', {}).body ?>", options.if_empty("nil")));
        let text = seen.text();
        let lower = text.to_lowercase();
        assert!(lower.contains(&wanted.to_lowercase()) && !lower.contains(not), "{options}: {text} {:?}", seen.log);
    }
    for (options, wanted) in [
        ("{ headrs = {} }", "no option 'headrs'"),
        ("{ headers = { ['Content-Length'] = 5 } }", "Content-Length is said by the client itself"),
        ("{ headers = { ['a b'] = 5 } }", "'a b' is no name"),
        ("{ headers = { a = 'x\\r\\ny: z' } }", "the value of a is none"),
        ("{ headers = { a = {} , b = { {} } } }", "text expected for b, got a table"),
        ("{ body = 'a', json = 1 }", "one of body, json and form expected"),
        ("{ timeout = 0 }", "seconds above 0 expected"),
        ("{ method = 'a b' }", "the name of one expected"),
        ("{ follow = -1 }", "a whole number from 0 to 50 expected"),
        ("5", "table expected, got number"),
    ] {
        let text = ask("", &format!("<?= select(2, pcall(plua.fetch, 'http://{address}/', {options})) ?>")).text();
        assert!(text.contains(wanted), "{options}: {text}");
    }
}

trait IfEmpty {
    fn if_empty<'a>(&'a self, other: &'a str) -> &'a str;
}

impl IfEmpty for str {
    fn if_empty<'a>(&'a self, other: &'a str) -> &'a str {
        if self.is_empty() { other } else { self }
    }
}

#[test]
fn requests_side_by_side_take_as_long_as_the_slowest() {
    let (address, count) = http(|asked| {
        thread::sleep(Duration::from_millis(300));
        answer("", asked.path())
    });
    let page = format!(
        "<? local threads = {{}} for i = 1, 10 do threads[i] = function()
            return assert(plua.fetch('http://{address}/' .. i)).body end end
            echo(plua.parallel((unpack or table.unpack)(threads))) ?>"
    );
    let site = Site::new("pLuaStates 1", &[("page.plua", &page)]);
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(site.get("page.plua").text(), "/1/2/3/4/5/6/7/8/9/10");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
    assert_eq!(count.load(Ordering::SeqCst), 10, "connections are kept");
}

#[test]
fn bodies_that_were_compressed_for_the_way_are_whole_again() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&b"text ".repeat(10_000)).unwrap();
    let compressed = encoder.finish().unwrap();
    let (address, _) = http(move |asked| match asked.path() {
        "/gzip" if asked.header("accept-encoding") == Some("gzip, br") => {
            answer("Content-Encoding: gzip\r\n", &compressed)
        }
        "/gzip" => answer("Content-Encoding: gzip\r\n", b"as it came"),
        "/br" => answer("Content-Encoding: br\r\n", b"\x0b\x02\x80hello\x03"),
        "/half" => answer("Content-Encoding: gzip\r\n", &compressed[..compressed.len() / 2]),
        _ => answer("Content-Encoding: zstd\r\n", b"unknown"),
    });
    let page =
        "<? local function get(path, options) local r, message, kind = plua.fetch('http://ADDRESS/' .. path, options)
            echo(kind or #r.body, ' ', r and tostring(r.headers['content-encoding']), ' ') return r end
        echo(get('gzip').body == ('text '):rep(10000), ' ', get('br').body, ' ')
        get('gzip', { headers = { ['Accept-Encoding'] = 'gzip' } }) get('half') get('other') ?>";
    answers(address, page, "50000 nil 5 nil true hello 10 gzip protocol nil 7 zstd ");
}

#[test]
fn redirects_are_followed_so_far_and_carry_no_secrets_to_others() {
    let (other, _) = http(|asked| {
        let secrets = [asked.header("authorization"), asked.header("cookie"), asked.header("x-mine")];
        answer("", format!("{} {secrets:?}", asked.head.lines().next().unwrap()))
    });
    let (address, _) = http(move |asked| {
        let to = |status: u16, location: &str| {
            format!("HTTP/1.1 {status} Moved\r\nContent-Length: 2\r\nLocation: {location}\r\n\r\nto").into_bytes()
        };
        match asked.path() {
            "/other" => to(307, &format!("http://{other}/x")),
            "/303" => to(303, "seen"),
            "/302" => to(302, "/seen?q=1"),
            "/308" => to(308, "seen"),
            "/round" => to(301, "/round"),
            "/file" => to(301, "file:///etc/passwd"),
            _ => {
                let secrets = (asked.header("authorization"), String::from_utf8_lossy(&asked.body));
                answer("", format!("{} {secrets:?}", asked.head.lines().next().unwrap()))
            }
        }
    });
    let page = "<? local function get(path, follow) local r, message, kind = plua.fetch('http://ADDRESS/' .. path, { body = 'b',
            follow = follow, headers = { Authorization = 'secret', Cookie = 'c', ['X-Mine'] = 'm' } })
            echo(kind or r.status, ' ', r and r.body, '|') end
        get('other') get('303') get('302') get('308') get('round') get('round', 0) get('file') ?>";
    let wanted = "200 POST /x HTTP/1.1 [None, None, Some(\"m\")]|200 GET /seen HTTP/1.1 (Some(\"secret\"), \"\")|\
        200 GET /seen?q=1 HTTP/1.1 (Some(\"secret\"), \"\")|200 POST /seen HTTP/1.1 (Some(\"secret\"), \"b\")|limit nil|301 to|protocol nil|";
    answers(address, page, wanted);
}

#[test]
fn pages_ask_only_where_they_may_also_where_they_are_sent() {
    let (address, _) = http(|asked| match asked.path() {
        "/" => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.2:1/\r\n\r\n".to_vec(),
        "/name" => {
            format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://localhost:{}/ok\r\n\r\n", "PORT")
                .into_bytes()
        }
        _ => answer("", "fine"),
    });
    let page = |path: &str| {
        format!(
            "<? local r, message, kind = plua.fetch('http://{address}{path}') echo(kind or r.body, ' ', message) ?>"
        )
    };
    let told = |words: &str, path: &str| ask(words, &page(path)).text();
    assert_eq!(told("pLuaConnect 127.0.0.1", "/ok"), "fine nil");
    let refused = told("pLuaConnect 127.0.0.1", "/");
    assert!(refused.starts_with("refused 127.0.0.2:1: pages may not"), "{refused}");
    for words in ["pLuaConnect none", "pLuaSandbox On", "pLuaConnect example.com", "pLuaConnect localhost:1"] {
        assert!(told(words, "/ok").starts_with("refused "), "{words}");
    }
    let by_name =
        format!("<? local r, m, kind = plua.fetch('http://localhost:{}/ok') echo(kind or r.body) ?>", address.port());
    assert_eq!(ask("pLuaConnect localhost", &by_name).text(), "fine");
    assert_eq!(ask("pLuaConnect localhost:1 example.com", &by_name).text(), "refused");
    assert_eq!(ask("pLuaConnect 10.0.0.0/8", &by_name).text(), "refused", "its address is not named");
}

#[test]
fn a_server_of_tls_is_known_by_its_certificate() {
    let certificate = Certificate::new("localhost");
    let address = tls_server(&certificate, |connection| serve(connection, |_| answer("", "safe")));
    let get = |host: &str, options: &str| {
        let page = format!(
            "<? local r, message, kind = plua.fetch('https://{host}:{}/', {{ {options} }}) echo(kind or r.body, ' ', message) ?>",
            address.port()
        );
        ask("", &page).text()
    };
    let ca = format!("ca = '{}'", certificate.path.display());
    assert_eq!(get("localhost", &ca), "safe nil");
    assert_eq!(get("localhost", "verify = false"), "safe nil");
    assert!(get("127.0.0.1", &ca).starts_with("tls 127.0.0.1:"), "{}", get("127.0.0.1", &ca));
    assert!(get("localhost", "").starts_with("tls localhost:"));
    let (plain, _) = server(|mut connection| {
        let _ = connection.write_all(b"no words of tls, but some all the same\r\n");
        let _ = std::io::Read::read_to_end(&mut connection, &mut Vec::new());
    });
    let page = format!("<? local r, message, kind = plua.fetch('https://{plain}/') echo(kind) ?>");
    assert_eq!(ask("", &page).text(), "tls");
}

#[test]
fn hostile_servers_are_told_from_others_by_a_kind() {
    let endless = |piece: &'static [u8], head: &'static [u8]| {
        move |mut connection: std::net::TcpStream| {
            let _ = std::io::Read::read(&mut connection, &mut [0; 1000]);
            let _ = connection.write_all(head);
            while connection.write_all(piece).is_ok() {}
        }
    };
    let once = |text: &'static [u8], pause: u64| {
        move |mut connection: std::net::TcpStream| {
            let _ = std::io::Read::read(&mut connection, &mut [0; 1000]);
            let _ = connection.write_all(text);
            thread::sleep(Duration::from_secs(pause));
        }
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        ("endless headers", server(endless(b"a: b\r\n", b"HTTP/1.1 200 OK\r\n")).0, "too large"),
        ("an endless header", server(endless(&[b'x'; 1000], b"HTTP/1.1 200 OK\r\na: ")).0, "too large"),
        ("an endless body", server(endless(&[b'x'; 65_536], b"HTTP/1.1 200 OK\r\n\r\n")).0, "too large"),
        ("no HTTP", server(once(b"SSH-2.0-OpenSSH_9.6\r\n", 1)).0, "protocol"),
        ("nothing", server(once(b"", 0)).0, "closed"),
        ("half a head", server(once(b"HTTP/1.1 200 OK\r\nConte", 0)).0, "closed"),
        ("half a body", server(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0)).0, "closed"),
        ("a slow head", server(once(b"HTTP/1.1 200 OK\r\n", 20)).0, "timeout"),
        ("a slow body", server(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 20)).0, "timeout"),
        ("nobody", free, "connect"),
    ];
    for (name, address, wanted) in cases {
        let page = format!(
            "<? local r, message, kind = plua.fetch('http://{address}/', {{ timeout = 3 }}) echo(kind, ' ', message) ?>"
        );
        let configuration = if wanted == "too large" { "pLuaMemoryLimit 16384" } else { "" };
        let text = ask(configuration, &page).text();
        let kind = text.split(" 127").next().unwrap();
        assert!(
            kind == wanted
                || wanted == "too large" && text.starts_with("too large")
                || text == "timeout timeout" && wanted == "timeout",
            "{name}: {text}"
        );
    }
    for (url, wanted) in [
        ("ftp://x/", "protocol"),
        ("http://", "protocol"),
        ("x", "protocol"),
        ("http://a:b@c/", "protocol"),
        ("http://no.such.name.invalid/", "name"),
    ] {
        let text = ask("", &format!("<? local r, message, kind = plua.fetch('{url}') echo(kind) ?>")).text();
        assert_eq!(text, wanted, "{url}");
    }
}

#[test]
fn bodies_are_held_within_the_memory_of_the_page() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    (0..70).for_each(|_| encoder.write_all(&vec![b'x'; 1 << 20]).unwrap());
    let compressed = encoder.finish().unwrap();
    let (address, _) = http(move |asked| match asked.path() {
        "/bomb" => answer("Content-Encoding: gzip\r\n", &compressed),
        _ => answer("", vec![b'x'; 3_000_000]),
    });
    let bomb = format!("<? local r, message, kind = plua.fetch('http://{address}/bomb') echo(kind) ?>");
    for limit in ["pLuaMemoryLimit 16384", ""] {
        assert_eq!(ask(limit, &bomb).text(), "too large", "{limit}");
    }
    let fits = format!("<? for i = 1, 20 do echo(#assert(plua.fetch('http://{address}/')).body / 1000000) end ?>");
    assert_eq!(ask("pLuaMemoryLimit 16384", &fits).text(), "3".repeat(20));
    let many = format!(
        "<? local threads = {{}} for i = 1, 20 do threads[i] = function()
            local r, message, kind = plua.fetch('http://{address}/') return kind or 'fine' end end
            echo((plua.parallel((unpack or table.unpack)(threads)))) ?>"
    );
    let seen = ask("pLuaMemoryLimit 16384", &many);
    assert!(["fine", "too large"].contains(&seen.text().as_str()), "{} {:?}", seen.text(), seen.log);
}

#[test]
fn an_answer_is_read_piece_by_piece() {
    let (address, _) = http(|asked| match asked.path() {
        "/much" => answer("", vec![b'x'; 5_000_000]),
        _ => {
            let mut chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for word in ["one", "two", "three"] {
                chunks.extend_from_slice(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes());
            }
            chunks.extend_from_slice(b"0\r\n\r\n");
            chunks
        }
    });
    let page = "<? local r = assert(plua.fetch('http://ADDRESS/', { stream = true })) echo(r.status, r.body, r:read(4), '|', r:read(3), '|', r:read(100), r:read())
        local r, count = assert(plua.fetch('http://ADDRESS/much', { stream = true })), 0
        repeat local piece = r:read() count = count + #(piece or '') until not piece
        echo(count)
        local r = assert(plua.fetch('http://ADDRESS/much', { stream = true })) r:read(10) r:close() echo(r:read() == nil or 'rest') ?>";
    let page = page.replace("r:close() echo(r:read() == nil or 'rest')", "r:close()");
    answers(address, &page, "200nilonet|wot|hreenil5000000");
}

#[test]
fn what_a_page_asked_for_ends_with_it() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let (address, _) = server(|mut connection| {
        let begun = Instant::now();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = std::io::Read::read_to_end(&mut connection, &mut Vec::new());
        ENDED.fetch_add(usize::from(begun.elapsed() < Duration::from_secs(10)), Ordering::SeqCst);
    });
    let ends = [
        "sleep(0.05) exit()",
        "sleep(0.05) error('x')",
        "sleep(0.05) while true do end",
        "sleep(0.05) plua.kill(t) sleep(0.05)",
        "plua.wait(t)",
        "plua.parallel(function() plua.fetch('http://ADDRESS/') end, function() sleep(0.05) error('x') end)",
    ];
    let mut wanted = 0;
    for end in ends {
        let page = format!(
            "<? local t = plua.spawn(function() plua.fetch('http://ADDRESS/', {{ timeout = 0.2 }}) end) {end} ?>"
        );
        ask("pLuaTimeout 0.5", &page.replace("ADDRESS", &address.to_string()));
        wanted += if end.contains("parallel") { 2 } else { 1 };
        site::wait::until(end, Duration::from_secs(10), || ENDED.load(Ordering::SeqCst) == wanted);
    }
}

#[test]
fn a_page_may_ask_more_often_than_it_may_have_open() {
    let (address, _) = http(|_| answer("", "x"));
    let page = format!(
        "<? local count = 0 for i = 1, 1500 do count = count + #assert(plua.fetch('http://{address}/')).body end echo(count) ?>"
    );
    assert_eq!(ask("", &page).text(), "1500");
}

#[test]
fn a_connection_that_the_server_has_closed_is_made_anew_where_asking_twice_does_no_harm() {
    // Answers once on each connection, and closes it when it is asked again.
    let (address, count) = server(|connection| {
        let turns = AtomicUsize::new(0);
        serve(connection, |asked| match turns.fetch_add(1, Ordering::SeqCst) {
            0 => answer("", asked.head.split(' ').next().unwrap()),
            _ => Vec::new(),
        });
    });
    let page = "<? for _, method in ipairs { 'GET', 'GET', 'PUT', 'POST', 'POST', 'GET' } do
            local r, message, kind = plua.fetch('http://ADDRESS/', { method = method })
            echo(kind or r.body, ' ')
        end ?>";
    let seen = ask("", &page.replace("ADDRESS", &address.to_string()));
    assert_eq!(seen.text(), "GET GET PUT closed POST GET ", "{:?}", seen.log);
    assert_eq!(count.load(Ordering::SeqCst), 5);
}
