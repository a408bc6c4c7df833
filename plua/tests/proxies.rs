//! Requests of pages by proxies: what those are told, what the servers behind them are, and where pages may have them go.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod servers;
mod site;

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use servers::http::{Asked, Come, answer, http, serve, status};
use servers::{Certificate, MODES, ask, server, tls_server};
use site::Site;
use site::wait::until;

/// `user:pass word`, as it is said to a proxy.
const SECRET: &str = "Basic dXNlcjpwYXNzIHdvcmQ=";

/// A proxy, and what it was asked.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// One that asks for the secret, and goes wherever it is sent: all names are this machine's.
    fn new() -> Proxy {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let (address, connections) = server(move |connection| by_proxy(connection, &log));
        Proxy { address, asked, connections }
    }

    fn heads(&self) -> Vec<String> {
        self.asked.lock().drain(..).map(|asked| asked.head).collect()
    }
}

fn by_proxy(mut connection: TcpStream, log: &Mutex<Vec<Asked>>) {
    let mut upstream = None;
    loop {
        let mut reader = connection.try_clone().unwrap();
        let mut come = Come::new(&mut reader);
        let Some(asked) = come.request() else { return };
        log.lock().push(asked.clone());
        if asked.header("proxy-authorization") != Some(SECRET) {
            come.say(&status("407 Proxy Authentication Required", "Proxy-Authenticate: Basic\r\n"));
            continue;
        }
        let there = |authority: &str| {
            let port = authority.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
            TcpStream::connect(("127.0.0.1", port))
        };
        if asked.method() == "CONNECT" {
            let Ok(mut server) = there(asked.path()) else {
                come.say(&status("502 Bad Gateway", ""));
                continue;
            };
            come.say(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n");
            let (mut back, mut away) = (server.try_clone().unwrap(), connection.try_clone().unwrap());
            thread::spawn(move || {
                let _ = copy(&mut back, &mut away);
                let _ = away.shutdown(Shutdown::Both);
            });
            let _ = copy(&mut connection, &mut server);
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
        let (authority, path) = asked.path().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let lines = asked.head.lines().skip(1).filter(|line| !line.to_lowercase().starts_with("proxy-"));
        let head = lines.fold(format!("{} /{path} HTTP/1.1\r\n", asked.method()), |head, line| head + line + "\r\n");
        let server = upstream.get_or_insert_with(|| there(authority).unwrap());
        server.write_all(&[head.as_bytes(), &asked.body].concat()).unwrap();
        let mut upstream = Come::new(server);
        let head = upstream.head().unwrap();
        let body = upstream.bytes(head.header("content-length").unwrap().parse().unwrap()).unwrap();
        come.say(&[head.head.as_bytes(), &body].concat());
    }
}

/// What a server says it was asked.
fn shown(asked: &Asked) -> Vec<u8> {
    answer("", format!("{}{}", asked.head.to_lowercase(), String::from_utf8_lossy(&asked.body)))
}

/// A page that has `get(address, options)`, which asks by the proxy, and shows what came.
fn page(proxy: SocketAddr, rest: &str) -> String {
    format!(
        "<? local function get(address, options) options = options or {{}}
            options.proxy = options.proxy or 'http://user:pass%20word@{proxy}'
            local r, message, kind = plua.fetch(address, options)
            echo(kind or r.status, ' ', message or r.body, '|') return r end
        {rest} ?>"
    )
}

#[test]
fn requests_go_by_a_proxy_in_absolute_form_and_the_server_hears_no_password() {
    let (address, _) = http(shown);
    let proxy = Proxy::new();
    let rest = format!(
        "get('http://{address}/a?b=c', {{ headers = {{ Host = 'elsewhere', ['X-A'] = '1' }} }})
        get('http://{address}/', {{ json = {{ 1 }} }}) get('http://some.name.invalid:{}/d')",
        address.port()
    );
    for mode in MODES {
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[("page.plua", &page(proxy.address, &rest))]);
        let seen = site.get("page.plua");
        let text = seen.text();
        assert!(text.starts_with("200 get /a?b=c http/1.1\r\n"), "{mode}: {text} {:?}", seen.log);
        assert!(text.contains("x-a: 1\r\n") && text.contains("\r\n\r\n[1]|200 get /d http/1.1\r\n"), "{text}");
        assert!(!text.contains("proxy-authorization") && !text.contains("elsewhere"), "{text}");
        let heads = proxy.heads();
        assert!(heads[0].starts_with(&format!("GET http://{address}/a?b=c HTTP/1.1\r\n")), "{heads:?}");
        assert!(heads[0].to_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{heads:?}");
        assert!(heads[1].starts_with(&format!("POST http://{address}/ HTTP/1.1\r\n")), "{heads:?}");
        assert!(heads[2].starts_with("GET http://some.name.invalid:"), "{heads:?}");
        assert_eq!((heads.len(), proxy.connections.swap(0, Ordering::SeqCst)), (3, 2), "{mode}: one for each server");
    }
}

#[test]
fn servers_of_tls_are_asked_through_a_tunnel_that_they_know_nothing_of() {
    let certificate = Certificate::new("localhost");
    let address = tls_server(&certificate, |connection| serve(connection, shown));
    let proxy = Proxy::new();
    let (port, ca) = (address.port(), certificate.path.display().to_string());
    let rest = format!("for _ = 1, 2 do get('https://localhost:{port}/p', {{ ca = '{ca}' }}) end");
    let seen = ask("", &page(proxy.address, &rest));
    let text = seen.text();
    assert_eq!(text.matches("200 get /p http/1.1\r\n").count(), 2, "{text} {:?}", seen.log);
    assert!(!text.contains("proxy-authorization"), "{text}");
    let heads = proxy.heads();
    let wanted =
        format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\nProxy-Authorization: {SECRET}\r\n\r\n");
    assert_eq!(heads, [wanted], "the tunnel is kept");
    // The certificate is the server's, and the proxy no one to vouch for another.
    let rest = format!("get('https://127.0.0.1:{port}/', {{ ca = '{ca}' }}) get('https://localhost:{port}/')");
    let text = ask("", &page(proxy.address, &rest)).text();
    assert!(text.starts_with("tls 127.0.0.1:") && text.contains("|tls localhost:"), "{text}");
}

#[test]
fn bodies_go_by_a_proxy_piece_by_piece() {
    let certificate = Certificate::new("localhost");
    let secure = tls_server(&certificate, |connection| serve(connection, shown));
    let (plain, _) = http(shown);
    let proxy = Proxy::new();
    let rest = format!(
        "local function pieces() local n = 0 return function() n = n + 1 return n < 4 and 'piece' or nil end end
        get('http://{plain}/', {{ body = pieces(), headers = {{ ['Content-Length'] = 15 }} }})
        get('https://localhost:{}/', {{ body = pieces(), verify = false }})
        get('http://{plain}/', {{ body = pieces(), proxy = 'http://user:wrong@{}' }})",
        secure.port(),
        proxy.address
    );
    let text = ask("", &page(proxy.address, &rest)).text();
    let answers: Vec<&str> = text.split('|').collect();
    for answer in &answers[..2] {
        assert!(answer.starts_with("200 post / http/1.1\r\n") && answer.ends_with("\r\n\r\npiecepiecepiece"), "{text}");
    }
    assert!(answers[2].starts_with("proxy ") && answers[2].ends_with("407 Proxy Authentication Required"), "{text}");
}

#[test]
fn a_redirect_takes_no_password_of_the_proxy_along() {
    let certificate = Certificate::new("localhost");
    let (plain, _) = http(shown);
    let secure = tls_server(&certificate, move |connection| {
        serve(connection, |asked| match asked.path() {
            "/on" => status("302 Found", &format!("Location: http://{plain}/end\r\n")),
            _ => shown(asked),
        });
    });
    let (first, _) = http(move |asked| {
        let path = asked.path();
        status("307 Moved", &format!("Location: https://localhost:{}{path}\r\n", secure.port()))
    });
    let proxy = Proxy::new();
    let rest = format!(
        "get('http://{first}/end', {{ body = 'b', verify = false }}) get('http://{first}/on', {{ verify = false }})"
    );
    let text = ask("", &page(proxy.address, &rest)).text();
    assert!(text.starts_with("200 post /end http/1.1\r\n") && text.contains("|200 get /end http/1.1\r\n"), "{text}");
    assert!(!text.contains("proxy-authorization"), "{text}");
    let ways: Vec<String> = proxy.heads().iter().map(|head| head.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(ways, ["POST", "CONNECT", "GET", "GET"]);
}

#[test]
fn what_a_proxy_refuses_or_does_not_understand_is_told_from_answers() {
    let proxy = Proxy::new();
    let (address, _) = http(shown);
    let says = |text: &'static [u8]| {
        server(move |mut connection| {
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(text);
            let _ = connection.read(&mut [0; 1000]);
        })
        .0
    };
    let endless = server(|mut connection| while connection.write_all(&[b'x'; 1000]).is_ok() {}).0;
    let silent = server(|mut connection| _ = connection.read_to_end(&mut Vec::new())).0;
    let closes = server(|mut connection| _ = connection.read(&mut [0; 1000])).0;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |proxy: SocketAddr, secret: &str, address: &str| {
        let rest = format!("get('{address}', {{ proxy = 'http://{secret}{proxy}', timeout = 1 }})");
        ask("", &page(proxy, &rest)).text()
    };
    let (plain, secure) = (format!("http://{address}/"), format!("https://{address}/"));
    for (by, secret, address, wanted) in [
        (proxy.address, "user:wrong@", &plain, "proxy ADDRESS: proxy PROXY: 407 Proxy Authentication Required|"),
        (proxy.address, "", &secure, "proxy ADDRESS: proxy PROXY: 407 Proxy Authentication Required|"),
        (proxy.address, "user:pass%20word@", &format!("https://{free}/"), "proxy FREE: proxy PROXY: 502 Bad Gateway|"),
        (says(b"HTTP/1.0 599 x\r\n\r\n"), "", &secure, "proxy ADDRESS: proxy PROXY: 599|"),
        (says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad"), "", &plain, "502 bad|"),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "", &secure, "protocol ADDRESS: proxy PROXY: what it says is not HTTP|"),
        (
            says(b"HTTP/1.1 200 OK\r\n\r\nmore"),
            "",
            &secure,
            "protocol ADDRESS: proxy PROXY: it says more than it was asked|",
        ),
        (endless, "", &secure, "too large ADDRESS: proxy PROXY: its answer has no end|"),
        (closes, "", &secure, "closed ADDRESS: proxy PROXY: closed before it had answered|"),
        (silent, "", &secure, "timeout timeout|"),
        (silent, "", &plain, "timeout timeout|"),
        (free, "", &plain, "connect ADDRESS: proxy PROXY: connection refused|"),
    ] {
        let wanted = wanted
            .replace("ADDRESS", &plain_of(address))
            .replace("PROXY", &by.to_string())
            .replace("FREE", &free.to_string());
        assert_eq!(with(by, secret, address), wanted, "{address}");
    }
    let text = ask("", &page(free, &format!("get('{plain}', {{ proxy = 'http://no.such.name.invalid:1' }})"))).text();
    assert!(text.starts_with("name no.such.name.invalid: "), "{text}");
    for proxy in ["https://a:1", "a:1", "http://a", "http://a:1/b", ""] {
        let page = format!("<? echo(select(2, pcall(plua.fetch, '{plain}', {{ proxy = '{proxy}' }}))) ?>");
        assert!(ask("", &page).text().contains("proxy: http://[user:password@]host:port expected"), "{proxy}");
    }
    let own = "<? echo(select(2, pcall(plua.fetch, 'http://x/', { headers = { ['proxy-authorization'] = 'x' } }))) ?>";
    assert!(ask("", own).text().contains("proxy-authorization is said by the client itself"));
}

fn plain_of(address: &str) -> String {
    address.split('/').nth(2).unwrap().to_owned()
}

#[test]
fn pages_ask_by_proxies_only_where_they_may() {
    let (address, _) = http(|asked| match asked.path() {
        "/sent" => status("302 Found", "Location: http://other.example:80/\r\n"),
        _ => answer("", "fine"),
    });
    let (proxy, port) = (Proxy::new(), address.port());
    let by = proxy.address.port();
    let told = |words: &str, address: &str| {
        let text = ask(&format!("pLuaConnect {words}"), &page(proxy.address, &format!("get('{address}')"))).text();
        text.split([' ', '|']).next().unwrap().to_owned()
    };
    let (named, literal) = (format!("http://api.example:{port}/"), format!("http://127.0.0.1:{port}/"));
    for (words, address, wanted) in [
        ("127.0.0.1 api.example", named.as_str(), "200"),
        (&format!("127.0.0.1:{by} api.example:{port}"), &named, "200"),
        (&format!("127.0.0.1:{by} *.example"), &named, "200"),
        ("127.0.0.1", &literal, "200"),
        // Both are to be named, the server by its name: what that leads to is not ours to say.
        ("127.0.0.1", &named, "refused"),
        ("127.0.0.0/8 0.0.0.0/0", &named, "refused"),
        ("api.example", &named, "refused"),
        (&format!("127.0.0.1:{by} api.example:{by}"), &named, "refused"),
        (&format!("127.0.0.1:{by} api.example"), &literal, "refused"),
        ("none", &named, "refused"),
        ("any", &named, "200"),
        ("127.0.0.1 api.example", &format!("http://api.example:{port}/sent"), "refused"),
        ("127.0.0.1 api.example", &format!("https://other.example:{port}/"), "refused"),
    ] {
        assert_eq!(told(words, address), wanted, "{words}: {address}");
    }
    assert_eq!(
        ask("pLuaSandbox On", &page(proxy.address, &format!("get('{named}')"))).text().split(' ').next(),
        Some("refused")
    );
    let by_name = format!("get('{literal}', {{ proxy = 'http://user:pass%20word@localhost:{by}' }})");
    let told = |words: &str| ask(&format!("pLuaConnect {words}"), &page(proxy.address, &by_name)).text();
    assert_eq!(told(&format!("localhost:{by} 127.0.0.1:{port}")), "200 fine|");
    assert!(
        told(&format!("10.0.0.0/8 127.0.0.1:{port}")).starts_with("refused localhost:"),
        "its address is not named"
    );
}

#[test]
fn a_tunnel_that_is_being_made_ends_with_its_page() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let (silent, _) = server(|mut connection| {
        let begun = Instant::now();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = connection.read_to_end(&mut Vec::new());
        ENDED.fetch_add(usize::from(begun.elapsed() < Duration::from_secs(10)), Ordering::SeqCst);
    });
    // With Lua 5.1 nothing else of the page goes on before it is over.
    let timeout = if cfg!(feature = "lua51") { "0.3" } else { "20" };
    for (number, end) in ["exit()", "error('x')", "plua.kill(t) sleep(0.05)"].into_iter().enumerate() {
        let page = format!(
            "<? local t = plua.spawn(function()
                plua.fetch('https://localhost/', {{ verify = false, timeout = {timeout}, proxy = 'http://{silent}' }}) end)
            sleep(0.1) {end} ?>"
        );
        ask("", &page);
        until(end, Duration::from_secs(10), || ENDED.load(Ordering::SeqCst) == number + 1);
    }
}
