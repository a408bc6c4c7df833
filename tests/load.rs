//! Sixteen visitors who ask for fifty pages at once, 20,000 times each, and hold every byte against what it must be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::{Mpm, Setup, httpd};

const CLIENTS: usize = 16;
const REQUESTS: usize = 20_000;
const PAGES: usize = 50;
/// Queries a page is asked with.
const QUERIES: usize = 20;

/// What one page must answer to one query.
struct Case {
    request: Vec<u8>,
    status: u16,
    /// The value of `X-Page`, where the page sets it.
    header: Option<String>,
    body: Body,
}

enum Body {
    Exactly(Vec<u8>),
    /// `process state count`: how often this state has counted.
    Count,
}

const HEAD: &str = "<title><?= title ?></title>\n<? local hidden = title ?>";
const ROW: &str = "<tr><td><?= row ?></td><td><?& label ?></td></tr>\n\n";
const STYLE: &str = "<style>p { margin: 0 }</style>\r\n";

/// The text of a page. Pages of the same kind differ in their number, and so does what they answer.
fn page(number: usize) -> String {
    match number % 10 {
        0 => format!("<ul>\n<? for i = 1, {number} + 20 do ?>\n<li><?= i * {number} ?></li>\n<? end ?>\n</ul>\n"),
        1 => format!(
            "<? title = 'page {number}'; include('inc/head.plua') ?>\n<table>\n<? for i = 1, 5 do row = i + {number}; \
             label = '<' .. parseGet().q .. '>'; include('inc/row.plua') end ?>\n</table>"
        ),
        2 => "<? local get = parseGet() ?>\nq is <?= get.q ?>, escaped <?& get.text ?>, twice <?= get.two[1], \
              get.two[2] ?>.\n"
            .into(),
        3 => "<? place = place or io.open('/proc/self/stat'):read('*n') .. ' ' .. getEnv()['Lua-State']\n\
              count = (count or 0) + 1 ?>\n<?= place, ' ', count ?>"
            .into(),
        4 => format!(
            "<? local function leave() if parseGet().q ~= 'never' then echo('out of {number}') exit() end end ?>\n\
             before\n<? pcall(leave) ?>after"
        ),
        5 => format!(
            "<? local q = parseGet().q; header('X-Page', '{number} ' .. q); setReturnCode(202); \
             setContentType('text/plain') ?>\naccepted <?= q ?>"
        ),
        6 => format!("page {number}\r\n]===] % \\ \u{1} <?xml version=\"1.0\"?> < ? \u{fc}\r\n\r\n"),
        7 => format!(
            "<? local walk = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i + {number}) end end)\n\
             for i = 1, 9 do ?>\n<?= walk(), i % 2 == 0 and ';' or ',' ?>\n<? end ?>\n<?= parseGet().q:rep(3) ?>"
        ),
        8 => format!(
            "<? local t = {{}} for i = 1, 200 do t[i] = ('%03d'):format((i * 7 + {number}) % 200) end table.sort(t) ?>\n\
             <?= table.concat(t, ' ') ?>\n<? include('inc/style.html') ?>\n<?= ('{number};'):rep(1000) ?>"
        ),
        _ => "<? local q = parseGet().q\nif q == 'q0' then error('asked for') end ?>\nsafe with <?= q ?>".into(),
    }
}

/// What `page(number)` must answer to this query.
fn case(number: usize, query: usize) -> Case {
    let target = format!("/p{number}.plua?q=q{query}&text=%3Ca+{query}%3E&two=%00{query}&two=b%26");
    let mut case = Case {
        request: format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
        status: 200,
        header: None,
        body: Body::Count,
    };
    let list = |count: usize, line: &dyn Fn(usize) -> String| (1..=count).map(line).collect::<String>();
    let text = match number % 10 {
        0 => format!("<ul>\n{}</ul>\n", list(number + 20, &|i| format!("<li>{}</li>\n", i * number))),
        1 => {
            let row = |i| format!("<tr><td>{}</td><td>&lt;q{query}&gt;</td></tr>\n\n", i + number);
            format!("<title>page {number}</title>\n<table>\n{}</table>", list(5, &row))
        }
        2 => format!("q is q{query}, escaped &lt;a {query}&gt;, twice \0{query}b&.\n"),
        3 => return case,
        4 => format!("before\nout of {number}"),
        5 => {
            case.status = 202;
            case.header = Some(format!("{number} q{query}"));
            format!("accepted q{query}")
        }
        6 => page(number),
        7 => {
            let step = |i: usize| format!("{}{}", i + number, if i.is_multiple_of(2) { ';' } else { ',' });
            format!("{}{}", list(9, &step), format!("q{query}").repeat(3))
        }
        8 => {
            let sorted: Vec<String> = (0..200).map(|i| format!("{i:03}")).collect();
            format!("{}{STYLE}{}", sorted.join(" "), format!("{number};").repeat(1000))
        }
        _ if query == 0 => {
            case.status = 500;
            "failed".into()
        }
        _ => format!("safe with q{query}"),
    };
    case.body = Body::Exactly(text.into_bytes());
    case
}

/// Counts seen, by process and state.
type Counts = HashMap<String, Vec<u64>>;

/// A visitor's connection: in the unoptimized test program the harness's own takes more time than httpd.
struct Visitor {
    port: u16,
    connection: Option<BufReader<TcpStream>>,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Visitor {
    fn new(port: u16) -> Self {
        Self { port, connection: None, head: Vec::new(), body: Vec::new() }
    }

    /// Asks, and fails unless all of the answer is what it must be.
    fn check(&mut self, case: &Case, counts: &mut Counts) {
        let port = self.port;
        let connection = self.connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            BufReader::with_capacity(16 << 10, stream)
        });
        let asked = || String::from_utf8_lossy(&case.request).into_owned();
        connection.get_mut().write_all(&case.request).unwrap();
        self.head.clear();
        while !self.head.ends_with(b"\r\n\r\n") {
            let read = connection.read_until(b'\n', &mut self.head).unwrap();
            assert!(read > 0, "cut off after {:?}: {}", String::from_utf8_lossy(&self.head), asked());
        }
        let head = str::from_utf8(&self.head).unwrap();
        let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
        assert_eq!(head[9..12].parse(), Ok(case.status), "{}{head}", asked());
        assert_eq!(field("X-Page: "), case.header.as_deref(), "{}{head}", asked());
        self.body.resize(field("Content-Length: ").unwrap().parse().unwrap(), 0);
        connection.read_exact(&mut self.body).unwrap();
        match &case.body {
            Body::Exactly(body) => {
                assert!(*body == self.body, "{}got {:?}", asked(), String::from_utf8_lossy(&self.body));
            }
            Body::Count => {
                let (state, count) = str::from_utf8(&self.body).unwrap().rsplit_once(' ').unwrap();
                counts.entry(state.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        if head.contains("\r\nConnection: close") {
            self.connection = None;
        }
    }
}

fn visit_all(port: u16, client: usize, cases: &[Vec<Case>]) -> Counts {
    let mut visitor = Visitor::new(port);
    let mut counts = Counts::new();
    for request in 0..REQUESTS {
        // Seven has no divisor in common with the number of pages, so each fifty requests are for all of them.
        let page = (request * 7 + client * 3) % PAGES;
        visitor.check(&cases[page][(request / PAGES + client) % QUERIES], &mut counts);
    }
    counts
}

fn without_a_wrong_byte(setup: Setup) {
    let cases: Vec<Vec<Case>> =
        (0..PAGES).map(|number| (0..QUERIES).map(|query| case(number, query)).collect()).collect();
    let pages: Vec<(String, String)> = (0..PAGES).map(|number| (format!("p{number}.plua"), page(number))).collect();
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let setup = setup
        .lines("pLuaError 0\nErrorDocument 500 failed\nMaxKeepAliveRequests 1000\nListenBacklog 511")
        .change(private_httpd::Configuration::without_access_log)
        .pages(&pages)
        .pages(&[("inc/head.plua", HEAD), ("inc/row.plua", ROW), ("inc/style.html", STYLE)]);
    setup.run(|server| {
        server.expect(": asked for at ");
        let port = server.httpd().port();
        let mut all = Counts::new();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let cases = &cases;
                    scope.spawn(move || visit_all(port, client, cases))
                })
                .collect();
            for client in clients {
                for (state, counts) in client.join().unwrap() {
                    all.entry(state).or_default().extend(counts);
                }
            }
        });
        // Each state counts its own visits: none is lost, and none is made by two requests at once.
        for (state, mut counts) in all {
            counts.sort_unstable();
            let last = counts.len() as u64;
            assert!(counts.iter().copied().eq(1..=last), "{state}: {counts:?}");
        }
    });
}

#[test]
fn every_answer_is_right_from_threads_of_several_children() {
    without_a_wrong_byte(httpd().mpm(Mpm::Event).children(3, 25));
}

#[test]
fn every_answer_is_right_from_processes_without_threads() {
    without_a_wrong_byte(httpd().mpm(Mpm::Prefork).children(CLIENTS as u32, 1));
}
