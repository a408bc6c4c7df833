//! Server-sent events: what a page sends, as a browser gets it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::Site;

#[test]
fn events_have_the_form_that_browsers_read() {
    for mode in ["", "pLuaGlobals request\n", "pLuaSandbox On\n"] {
        let site = Site::new(mode, &[]);
        for (send, stream) in [
            ("'one'", "data: one\n\n"),
            ("1.5", "data: 1.5\n\n"),
            ("''", "data: \n\n"),
            ("'two\\nlines\\r\\nand a third\\r'", "data: two\ndata: lines\ndata: and a third\ndata: \n\n"),
            ("{ event = 'news', id = 7, data = 'x' }", "event: news\nid: 7\ndata: x\n\n"),
            ("{ data = { a = 1 } }", "data: {\"a\":1}\n\n"),
            ("{ 1, 2 }", "data: [1,2]\n\n"),
            ("{ retry = 2.5 }", "retry: 2500\n\n"),
        ] {
            site.write("page.plua", format!("<? plua.events():send({send}) ?>"));
            let seen = site.get("page.plua");
            assert_eq!((seen.text().as_str(), seen.log.len()), (stream, 0), "{mode}{send}: {:?}", seen.log);
            assert_eq!((seen.content_type.as_str(), seen.flushes), ("text/event-stream", 1), "{send}");
            assert!(seen.headers.contains(&("Cache-Control".into(), "no-cache".into())), "{:?}", seen.headers);
        }
    }
}

#[test]
fn what_would_break_the_stream_is_an_error() {
    let site = Site::new("pLuaError 0", &[]);
    for (code, problem) in [
        ("plua.events():send({ data = 1, event = 'a\\nb' })", "plua.events: event has a line break or a NUL in it"),
        ("plua.events():send({ data = 1, id = 'a\\0' })", "plua.events: id has a line break or a NUL in it"),
        ("plua.events():send({ retry = 'soon' })", "plua.events: retry is a number of seconds"),
        ("plua.events():send()", "bad argument #1 to 'send' (an event expected, got nil)"),
        ("plua.events().send({})", "call send with a colon, on what plua.events has made"),
        ("plua.events({ heartbeat = 0 })", "plua.events: heartbeat is a number of seconds above 0"),
        ("plua.events(1)", "bad argument #1 to 'plua.events' (table expected, got number)"),
        ("plua.events():wait(-1)", "bad argument #1 to 'wait' (seconds from 0 on expected)"),
    ] {
        site.write("page.plua", format!("<? {code} ?>"));
        let seen = site.get("page.plua");
        assert!(seen.log.len() == 1 && seen.log[0].contains(problem), "{code}: {:?}", seen.log);
    }
}

#[test]
fn a_stream_that_waits_sends_something_now_and_then_and_knows_where_it_was() {
    let page = "<? local e = plua.events({ heartbeat = 0.02 }) e:send({ id = (e:lastId() or 0) + 1, data = 'a' }) e:wait(0.05) e:send('b') ?>";
    let site = Site::new("", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text(), "id: 1\ndata: a\n\n:\n\n:\n\ndata: b\n\n");
    let again = site.get_with("page.plua", &[("last-event-id", "41")]);
    assert!(again.text().starts_with("id: 42\n"), "{}", again.text());
}
