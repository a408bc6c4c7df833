//! Pages that wait in libraries written in C: for a peer that never answers, under a time limit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use site::{Seen, Site, at_once};

const VERSION: &str = if cfg!(feature = "lua54") { "5.4" } else { "5.1" };

/// A page that asks for the library of LuaSocket and the port of a peer that takes connections and sends nothing.
fn page(code: &str) -> String {
    format!(
        "<? local socket = require('socket') local port = tonumber(parseGet().port)
            local function connect() return assert(socket.connect('127.0.0.1', port)) end ?><?lua {code} ?>"
    )
}

fn silent_peer() -> (TcpListener, u16) {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port();
    (peer, port)
}

fn site(configuration: &str, code: &str) -> Site {
    let file = format!("/usr/lib/{}-linux-gnu/lua/{VERSION}/socket/core.so", std::env::consts::ARCH);
    assert!(Path::new(&file).exists(), "{file} is missing: install the Debian packages lua-socket and lua-curl");
    Site::new(&format!("pLuaStates 1\n{configuration}"), &[("page.plua", &page(code))])
}

fn get(site: &Site, port: u16) -> Seen {
    site.get(&format!("page.plua?port={port}"))
}

const WAITS: [&str; 13] = [
    "connect():receive()",
    "pcall(function() connect():receive('*a') end) while true do end",
    "local c = connect() c:settimeout(60) c:receive()",
    "local c = connect() c:settimeout(60, 't') c:settimeout(nil) c:receive()",
    "local c = connect() while true do c:send(('x'):rep(1e6)) end",
    "assert(socket.bind('127.0.0.1', 0)):accept()",
    "local u = socket.udp() u:setsockname('127.0.0.1', 0) u:receivefrom()",
    "local u = socket.udp() u:setpeername('127.0.0.1', port) u:settimeout(60) while true do u:receive() end",
    "socket.sleep(60)",
    "require('socket.core').sleep(60)",
    "socket.select({ connect() })",
    "socket.select({ connect() }, nil, 60)",
    "require('socket.http').request('http://127.0.0.1:' .. port .. '/')",
];

#[test]
fn no_wait_of_luasocket_outlasts_the_time_limit() {
    let (_peer, port) = silent_peer();
    for configuration in ["", "pLuaGlobals request", "pLuaIgnoreLibrary debug ffi", "pLuaBaseDir / /usr"]
        .map(|more| format!("pLuaTimeout 0.5\n{more}"))
    {
        let all = if configuration.ends_with('\n') { WAITS.len() } else { 1 };
        at_once(&WAITS[WAITS.len() - all..], |code| {
            let begun = Instant::now();
            let seen = get(&site(&configuration, code), port);
            assert!(begun.elapsed() < Duration::from_secs(30), "{code}: {:?}", begun.elapsed());
            assert_eq!(seen.status, 500, "{code}");
            assert!(seen.log[0].starts_with("Time limit: "), "{code}: {:?}", seen.log);
        });
    }
}

#[cfg(not(feature = "lua54"))]
#[test]
fn no_transfer_of_lua_curl_outlasts_the_time_limit() {
    let (_peer, port) = silent_peer();
    for code in
        ["", "c:setopt(curl.OPT_TIMEOUT, 60)", "c:setopt(curl.OPT_TIMEOUT_MS, 60000)", "c:setopt(curl.OPT_TIMEOUT, 0)"]
    {
        let code = format!(
            "local curl = require('curl') local c = curl.easy_init()
             c:setopt(curl.OPT_URL, 'http://127.0.0.1:' .. port .. '/') {code} pcall(c.perform, c) while true do end"
        );
        let begun = Instant::now();
        let seen = get(&site("pLuaTimeout 0.5", &code), port);
        assert!(begun.elapsed() < Duration::from_secs(30), "{code}: {:?}", begun.elapsed());
        assert!(seen.status == 500 && seen.log[0].starts_with("Time limit: "), "{code}: {:?}", seen.log);
    }
}

#[test]
fn times_that_a_page_asks_for_hold_with_a_limit_and_without() {
    let (_peer, port) = silent_peer();
    let code = "local c = connect() c:settimeout(5) c:settimeout(0.1, 't') echo(select(2, c:receive()), ' ')
        echo(select(2, c:receive()), ' ') echo(c:gettimeout()) echo(' ', #socket.select({ c }, nil, 0.05), ' ') socket.sleep(0.01) c:settimeout(0) echo(select(2, c:receive()))
        ?> <?lua local u = socket.udp() u:setsockname('127.0.0.1', 0) u:sendto('hello', u:getsockname())
        echo((u:receivefrom()))";
    for configuration in ["", "pLuaTimeout 20", "pLuaTimeout 20\npLuaGlobals request"] {
        let seen = get(&site(configuration, code), port);
        let shown = seen.text().replace("0.10000000000000001", "0.1");
        assert_eq!(shown, "timeout timeout 50.1 0 timeout hello", "{:?}", seen.log);
    }
}

/// A connection that a module keeps may be used by a request with a limit, and then by one without.
#[test]
fn a_kept_connection_has_its_own_time_again_where_there_is_no_limit() {
    let (_peer, port) = silent_peer();
    let code = "kept = kept or connect() kept:settimeout(2, 't') kept:settimeout(tonumber(parseGet().block))
        echo(select(2, kept:receive(1)))";
    let site = site("", code);
    let limited = site::Sent { directory: "pLuaTimeout 1", ..site::Sent::default() };
    assert_eq!(site.send(&format!("page.plua?port={port}&block=0.1"), limited).text(), "timeout");
    let begun = Instant::now();
    assert_eq!(get(&site, port).text(), "timeout");
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn what_http_waits_at_most_is_set_back_for_each_request() {
    let code = "local http = require('socket.http') echo(http.TIMEOUT, ' ') http.TIMEOUT = 1 echo(http.TIMEOUT)";
    let (_peer, port) = silent_peer();
    let texts = |site: &Site| [(); 3].map(|()| get(site, port).text());
    assert_eq!(texts(&site("", code)), ["60 1"; 3]);
    assert_eq!(texts(&site("pLuaIgnoreLibrary debug ffi", code)), ["60 1"; 3]);
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init.lua");
    std::fs::write(&init, "require('socket.http').TIMEOUT = 7").unwrap();
    assert_eq!(texts(&site(&format!("pLuaInit {}", init.display()), code)), ["7 1"; 3]);
}
