//! Lines of files in a sandbox, read as Lua reads them, also where a line has no end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Site, at_once};

/// Shown by a page of a free host and one of a sandboxed host.
fn shown(configuration: &str, files: &[(&str, &str)], code: &str) -> String {
    let site = Site::new(configuration, &[("page.plua", code)]);
    for (name, text) in files {
        site.write(name, text);
    }
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 200, "{configuration}: {code}: {:?}", seen.log);
    seen.text()
}

#[test]
fn lines_of_a_sandbox_are_those_of_lua() {
    let long = format!("{}\n\n{}\nlast", "a".repeat(4095), "b".repeat(10_000));
    let files =
        [("short.txt", "one\n\ntwo 12 x\r\nthree"), ("ended.txt", "one\n"), ("empty.txt", ""), ("long.txt", &long)];
    let show = "local function show(...) echo(select('#', ...), ':') for i = 1, select('#', ...) do \
                local v = (select(i, ...)) echo(type(v) == 'string' and #v > 99 and #v or tostring(v), '|') end echo('\\n') end ";
    for code in [
        "for _, n in ipairs { 'short.txt', 'ended.txt', 'empty.txt', 'long.txt' } do for line in io.lines(n) do show(line) end end",
        "local f = io.open('short.txt') show(f:read()) show(f:read('*l', '*l')) show(f:seek()) show(f:read('*a')) show(f:read('*l')) show(f:read())",
        "local f = io.open('short.txt') show(f:read('*l', 3, '*a')) show(f:read('*a')) show(f:read('*a', '*l', '*a'))",
        "local f = io.open('short.txt') f:read() f:read() show(f:read(4)) show(f:read('*n')) show(f:read('*l')) show(f:read(0))",
        "local f = io.open('long.txt') for line in f:lines() do show(line, f:seek()) end show(f:read(0)) f:close()",
        "io.input('short.txt') show(io.read()) show(io.read('*l', 1)) for line in io.lines() do show(line) end",
        "local f = io.open('made.txt', 'w+') f:write('a\\nb\\n') f:seek('set') show(f:read()) f:seek('cur', 0) f:write('c') \
         f:seek('set') show(f:read('*a'))",
        "show((pcall(io.lines, 'missing.txt')))",
        "local f = io.open('short.txt') f:close() show((pcall(f.read, f))) show((pcall(f.lines, f)))",
        "local f = io.open('short.txt') local l = f:lines() f:close() show((pcall(l)))",
        "local l = io.lines('ended.txt') show(l()) show((l())) show((pcall(l)))",
        "show(pcall(io.open('short.txt').read, io.open('short.txt'), 'x') == false)",
    ] {
        let page = format!("<? {show} {code} ?>");
        assert_eq!(shown("pLuaSandbox On", &files, &page), shown("", &files, &page), "{code}");
    }
}

#[test]
fn a_line_without_end_is_stopped_by_a_limit() {
    at_once(&["read()", "read(0, '*l')", "lines()()"], |code| {
        let site = Site::new(
            "pLuaSandbox On\npLuaMemoryLimit 8000\npLuaTimeout 4",
            &[
                (
                    "page.plua",
                    &format!(
                        "<? local f = io.open('gap', 'w+') f:seek('set', 2 ^ 41) f:write('x') f:seek('set') f:{code} ?>"
                    ),
                ),
                ("next.plua", "fine"),
            ],
        );
        let seen = site.get("page.plua");
        assert!(seen.status == 500 && seen.log.concat().contains("limit"), "{code}: {} {:?}", seen.status, seen.log);
        assert_eq!(site.get("next.plua").text(), "fine");
    });
}
