//! Sockets of pages: what they say to servers and hear from them, and what ends them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod servers;
mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use servers::{Certificate, answers, ask, server, tls_server};
use site::Site;

/// Whether a light thread that waits holds those inside which it runs.
const HOLDS_OTHERS: bool = cfg!(feature = "lua51");

/// Sends each line back.
fn echo(connection: TcpStream) {
    let mut lines = BufReader::new(connection.try_clone().unwrap());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
        let _ = (&connection).write_all(&line);
        line.clear();
    }
}

/// Says that, and waits for the other side to close.
fn says(text: &'static [u8]) -> impl Fn(TcpStream) {
    move |mut connection| {
        let _ = connection.write_all(text);
        let _ = connection.read_to_end(&mut Vec::new());
    }
}

/// Says that and closes.
fn says_all(text: &'static [u8]) -> impl Fn(TcpStream) {
    move |mut connection| _ = connection.write_all(text)
}

#[test]
fn a_page_talks_with_a_server() {
    let (address, _) = server(echo);
    let page = "<? local s = assert(plua.connect('ADDRESS')) echo(s:send('one\\r\\ntwo\\n'), ' ', s:receive(), ' ', s:receive('*l'))
        echo(' ', s:send({ 'th', { 're', 3 }, '\\n' }), s:receive(2), s:receive(4), #s:receive(0), ' ', s:close(), s:close()) ?>";
    answers(address, page, "9 one two 6thre3\n0 truenilclosed");
    let page = "<? local s = assert(plua.connect('localhost:PORT')) s:send('x\\n') echo(s:receive()) ?>";
    answers(address, &page.replace("PORT", &address.port().to_string()), "x");
}

#[test]
fn what_is_received_ends_where_the_page_says_or_the_server() {
    let (address, _) = server(says_all(b"head\r\n\r\nbody--x\r\nrest"));
    for (read, wanted) in [
        ("s:receive('*a')", "head\r\n\r\nbody--x\r\nrest"),
        ("#s:receive(), #s:receive(), s:receive(100)", "40nilclosedbody--x\r\nrest"),
        ("s:receiveUntil('\\r\\n\\r\\n')(), s:receiveUntil('--x', { inclusive = true })()", "headbody--x"),
        ("s:receiveUntil('nowhere')()", "nilclosedhead\r\n\r\nbody--x\r\nrest"),
        ("s:receive(4), s:receiveAny(2)", "head\r\n"),
    ] {
        answers(address, &format!("<? local s = assert(plua.connect('ADDRESS')) echo({read}) ?>"), wanted);
    }
    let pieces =
        "<? local s = assert(plua.connect('ADDRESS')) s:receive() s:receive() local read = s:receiveUntil('--x')
        for piece in read, 3 do echo(piece, '|') end echo(s:receive(), s:receive('*a')) ?>";
    answers(address, pieces, "bod|y|rest");
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_what_it_said_is_told() {
    let (address, _) = server(says(b"partial"));
    let page = "<? local s = assert(plua.connect('ADDRESS')) s:settimeouts(1, 1, 0.05) echo(s:receive()) echo(s:receive(1)) ?>";
    let begun = Instant::now();
    answers(address, page, "niltimeoutpartialniltimeout");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_does_not_read_stops_what_is_sent() {
    let (address, _) = server(|connection| {
        thread::sleep(Duration::from_secs(20));
        drop(connection);
    });
    let page = "<? local s = assert(plua.connect('ADDRESS')) s:settimeouts(1, 0.1, 1)
        echo(s:send(('x'):rep(30000000))) echo(s:send('x')) ?>";
    answers(address, page, "niltimeoutnilclosed");
}

#[test]
fn much_goes_both_ways() {
    let (address, _) = server(|mut connection| {
        let mut all = vec![0; 3_000_000];
        connection.read_exact(&mut all).unwrap();
        connection.write_all(&all).unwrap();
    });
    let page = "<? local s = assert(plua.connect('ADDRESS')) local data = ('0123456789'):rep(300000)
        echo(s:send(data), ' ', s:receive('*a') == data) ?>";
    answers(address, page, "3000000 true");
}

#[test]
fn two_threads_share_a_socket_one_in_each_direction() {
    if HOLDS_OTHERS {
        return;
    }
    let (address, _) = server(echo);
    let page = "<? local s = assert(plua.connect('ADDRESS'))
        local reader = plua.spawn(function() return s:receive() end)
        sleep(0.01)
        echo(select(2, s:receive()), ' ', s:send('word\\n'), ' ', plua.wait(reader)) ?>";
    answers(address, page, "socket busy reading 5 word");
}

#[test]
fn waits_for_servers_pass_at_the_same_time() {
    let (address, _) = server(|mut connection| {
        thread::sleep(Duration::from_millis(300));
        let _ = connection.write_all(b"late\n");
    });
    let page = format!(
        "<? local threads = {{}} for i = 1, 10 do threads[i] = function()
            return assert(assert(plua.connect('{address}')):receive()) end end
            echo(plua.parallel((unpack or table.unpack)(threads))) ?>"
    );
    let site = Site::new("", &[("page.plua", &page)]);
    let begun = Instant::now();
    assert_eq!(site.get("page.plua").text(), "late".repeat(10));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn a_connection_that_is_kept_is_handed_on_and_never_one_with_words_left_or_without_a_server() {
    let (address, count) = server(echo);
    let page = format!(
        "<? local s, problem = plua.connect('{address}') s:send('x\\n') s:receive()
            echo(s:reusedTimes(), s:keepalive(5, 2), s:send('y')) ?>"
    );
    let site = Site::new("pLuaStates 1\n", &[("page.plua", &page)]);
    for uses in 0..3 {
        assert_eq!(site.get("page.plua").text(), format!("{uses}truenilclosed"));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Another site's is another connection.
    assert_eq!(Site::new("", &[("page.plua", &page)]).get("page.plua").text(), "0truenilclosed");

    let (address, count) = server(says(b"more than a line\nrest"));
    let page = format!("<? local s = plua.connect('{address}') s:receive() echo(s:keepalive()) ?>");
    let site = Site::new("", &[("page.plua", &page)]);
    for _ in 0..2 {
        assert_eq!(site.get("page.plua").text(), "nilunread data in buffer, or closed by the server");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);

    let (address, count) = server(|connection| {
        let _ = BufReader::new(connection.try_clone().unwrap()).read_line(&mut String::new());
        let _ = (&connection).write_all(b"bye\n");
        thread::sleep(Duration::from_millis(50));
    });
    let page = format!("<? local s = plua.connect('{address}') s:send('x\\n') echo(s:receive(), s:keepalive()) ?>");
    let site = Site::new("", &[("page.plua", &page)]);
    for turn in 1..=2 {
        assert_eq!(site.get("page.plua").text(), "byetrue");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(count.load(Ordering::SeqCst), turn);
    }
}

#[test]
fn a_connection_ends_with_its_page_and_its_thread() {
    let (address, _) = server(|mut connection| {
        let _ = connection.write_all(b"hello\n");
        let begun = Instant::now();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = connection.read_to_end(&mut Vec::new());
        ENDED.fetch_add(usize::from(begun.elapsed() < Duration::from_secs(10)), Ordering::SeqCst);
    });
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let before = "<? s = assert(plua.connect('ADDRESS')) s:receive() ";
    let ends = [
        "?>",
        "exit() ?>",
        "error('x') ?>",
        "while true do end ?>",
        "while true do pcall(s.receive, s) pcall(error) end ?>",
        "s:settimeouts(20, 20, 20) plua.spawn(function() s:receive() end) sleep(0.01) exit() ?>",
    ];
    for (number, end) in ends.iter().enumerate() {
        let page = format!("{before}{end}").replace("ADDRESS", &address.to_string());
        let site = Site::new(
            "pLuaStates 1\npLuaTimeout 0.3",
            &[("page.plua", &page), ("next.plua", "<?= s and s:send('x') ?>")],
        );
        site.get("page.plua");
        site::wait::until(end, Duration::from_secs(10), || ENDED.load(Ordering::SeqCst) == number + 1);
        if number < 2 {
            assert_eq!(site.get("next.plua").text(), "nil", "{end}");
        }
    }
    if HOLDS_OTHERS {
        return;
    }
    let page = format!(
        "{before} local t = plua.spawn(function() return s:receive() end) sleep(0.01) echo(plua.kill(t), s:send('x')) sleep(0.05) ?>"
    );
    answers(address, &page, "truenilclosed");
}

#[test]
fn what_cannot_be_reached_is_told_with_a_kind() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    answers(free, "<?= plua.connect('ADDRESS') ?>", &format!("nil{free}: connection refusedconnect"));
    let seen = ask("", "<? local s, message, kind = plua.connect('no.such.name.invalid:80') echo(kind) ?>");
    assert_eq!(seen.text(), "name");
    // A network for documentation, which nobody has.
    let seen = ask("", "<? local s, message, kind = plua.connect('192.0.2.1:80', { timeout = 0.1 }) echo(kind) ?>");
    assert!(["timeout", "connect"].contains(&seen.text().as_str()), "{}", seen.text());
    for (call, wanted) in [
        ("plua.connect()", "bad argument #1 to 'plua.connect'"),
        ("plua.connect('localhost')", "host:port or unix:/path expected"),
        ("plua.connect('localhost:80', { tmeout = 1 })", "no option 'tmeout': there are timeout and tls"),
        ("plua.connect('localhost:80', { timeout = 0 })", "timeout: seconds above 0 expected"),
        ("plua.connect('localhost:80', { tls = { verify = 1 } })", "verify: true or false expected"),
        ("plua.connect('localhost:80', { tls = { ca = 'missing.pem' } })", "ca: missing.pem: No such file"),
    ] {
        let text = ask("", &format!("<?= select(2, pcall(function() return {call} end)) ?>")).text();
        assert!(text.contains(wanted), "{call}: {text}");
    }
}

#[test]
fn pages_connect_only_where_they_may() {
    let (address, count) = server(echo);
    let port = address.port();
    let site = |words: &str, target: &str| {
        let words = words.replace("PORT", &port.to_string());
        let page = format!(
            "<? local s, message, kind = plua.connect('{target}:{port}') echo(kind or 'open', ' ', message) ?>"
        );
        ask(&words, &page).text()
    };
    for words in [
        "pLuaConnect 127.0.0.1",
        "pLuaConnect 127.0.0.0/8:PORT",
        "pLuaConnect ::1 127.0.0.1:PORT",
        "pLuaConnect any",
        "",
    ] {
        assert_eq!(site(words, "127.0.0.1"), "open nil", "{words}");
        assert_eq!(site(words, "localhost"), "open nil", "{words}");
    }
    assert_eq!(site("pLuaConnect localhost:PORT", "localhost"), "open nil");
    let before = count.load(Ordering::SeqCst);
    for words in [
        "pLuaConnect none",
        "pLuaConnect example.com",
        "pLuaConnect 10.0.0.0/8",
        "pLuaConnect localhost:1 127.0.0.1:1",
        "pLuaSandbox On",
    ] {
        for target in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let told = site(words, target);
            assert!(told.starts_with("refused ") && told.contains("pLuaConnect"), "{words} {target}: {told}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), before);
}

#[test]
fn sockets_of_files_are_reached_within_the_folders_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    for folder in [&folder, &outside] {
        let listener = UnixListener::bind(folder.path().join("server.sock")).unwrap();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = connection.unwrap().write_all(b"by file\n");
            }
        });
    }
    let ask = |configuration: &str, path: &str| {
        let page = format!("<? local s, message, kind = plua.connect('unix:{path}') echo(kind or s:receive()) ?>");
        ask(configuration, &page).text()
    };
    let inside = folder.path().join("server.sock").display().to_string();
    let outside = outside.path().join("server.sock").display().to_string();
    let base = format!("pLuaBaseDir {}", folder.path().display());
    assert_eq!(ask("", &inside), "by file");
    assert_eq!(ask(&base, &inside), "by file");
    assert_eq!(ask(&base, &outside), "refused");
    assert_eq!(ask("pLuaConnect localhost", &inside), "refused");
    assert_eq!(ask(&format!("pLuaConnect unix:{}", folder.path().display()), &inside), "by file");
    assert_eq!(ask("", "/no/such/file.sock"), "connect");
}

#[test]
fn datagrams_come_one_at_a_time() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
            let _ = socket.send_to(b"two\nlines", from);
        }
    });
    let page = "<? local s = assert(plua.connect('udp:ADDRESS')) echo(s:send('one'), s:receive(), ' ', s:receive()) ?>";
    answers(address, page, "3one two\nlines");
}

#[test]
fn what_a_server_sends_is_held_within_the_memory_of_the_page() {
    let (address, _) = server(|mut connection| while connection.write_all(&[b'x'; 65_536]).is_ok() {});
    let before = site::memory("VmRSS");
    for read in ["s:receive()", "s:receive('*a')", "s:receive(1e9)", "s:receiveUntil('y')()"] {
        let page = format!("<? local s = plua.connect('{address}') while true do pcall(function() {read} end) end ?>");
        let seen = ask("pLuaMemoryLimit 8192\npLuaTimeout 10", &page);
        assert_eq!(seen.status, 500);
        assert!(seen.log.concat().contains("Memory limit"), "{:?}", seen.log);
    }
    let more = site::memory("VmHWM").saturating_sub(before);
    assert!(more < 250_000, "{more} KB");
}

#[test]
fn a_server_of_tls_is_known_by_its_certificate() {
    let certificate = Certificate::new("localhost");
    let address = tls_server(&certificate, |mut connection| {
        let mut line = [0; 5];
        let _ = connection
            .read_exact(&mut line)
            .and_then(|()| connection.write_all(&line))
            .and_then(|()| connection.flush());
        let _ = connection.read(&mut line);
    });
    let connect = |host: &str, tls: &str| {
        format!(
            "<? local s, message, kind = plua.connect('{host}:{}', {{ tls = {tls} }}) if not s then echo(kind, ' ', message) else
                echo(s:send('word\\n'), s:receive(), s:keepalive()) end ?>",
            address.port()
        )
    };
    let ca = certificate.path.display();
    for (host, tls, wanted) in [
        ("localhost", format!("{{ ca = '{ca}' }}"), "5wordtrue"),
        ("127.0.0.1", format!("{{ ca = '{ca}', server_name = 'localhost' }}"), "5wordtrue"),
        ("localhost", "{ verify = false }".into(), "5wordtrue"),
        ("localhost", format!("{{ ca = [==[{}]==] }}", certificate.pem), "5wordtrue"),
        ("127.0.0.1", format!("{{ ca = '{ca}' }}"), "tls 127.0.0.1"),
        ("localhost", "true".into(), "tls localhost"),
    ] {
        let seen = ask("", &connect(host, &tls));
        assert!(seen.text().starts_with(wanted), "{host} {tls}: {} {:?}", seen.text(), seen.log);
    }
    let (address, _) = server(says_all(b"no words of tls, but quite a lot of them\n"));
    let page = "<? local s, message, kind = plua.connect('ADDRESS', { tls = true }) echo(kind) ?>";
    answers(address, page, "tls");
    let (address, _) = server(says(b""));
    let page = "<? local s, message, kind = plua.connect('ADDRESS', { tls = true, timeout = 0.1 }) echo(kind) ?>";
    answers(address, page, "timeout");
}
