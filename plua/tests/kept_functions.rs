//! Functions of a page that a state makes once: pages cannot tell, but for a function being the same one in each request.

mod site;

use site::{Seen, Site};

fn three(site: &Site, page: &str) -> [Seen; 3] {
    let get = |who| {
        let seen = site.get(&format!("{page}?who={who}"));
        assert_eq!((seen.status, seen.log.as_slice()), (200, &[] as &[String]), "{}", seen.text());
        seen
    };
    [get("a"), get("b"), get("c")]
}

fn texts(site: &Site, page: &str) -> [String; 3] {
    three(site, page).map(|seen| seen.text())
}

#[test]
fn functions_see_the_globals_and_put_out_the_text_of_each_request() {
    for configuration in ["pLuaStates 1", "pLuaStates 1\npLuaGlobals request", "pLuaStates 1\npLuaSandbox On"] {
        let site = Site::new(
            configuration,
            &[(
                "page.plua",
                "<? who = parseGet().who
                    local function depth(n) if n == 0 then return 0 end return 1 + depth(n - 1) end
                    function row(text) ?>[<?= who ?>:<?& text ?>:<?= depth(3) ?>]<? end
                    local function rows(...) for i = 1, select('#', ...) do row((select(i, ...))) end end
                    local count = 2
                    local function counted() count = count + 1 return count end
                    rows('<', who) ?> <?= capture(rows, 'x') ?> <?= counted(), counted() ?>",
            )],
        );
        let expected = ["a", "b", "c"].map(|who| format!("[{who}:&lt;:3][{who}:{who}:3] [{who}:x:3] 34"));
        assert_eq!(texts(&site, "page.plua"), expected, "{configuration}");
    }
}

/// What a page shows in each of three requests when its functions are kept, which PUC Lua would gain nothing from.
const KEPT: [&str; 3] = if cfg!(feature = "luajit") { ["false", "true", "true"] } else { ["false"; 3] };

/// What a page of this code shows where `f` is the same function in each request.
fn is_kept(code: &str) -> bool {
    let site = Site::new("pLuaStates 1", &[("page.plua", &format!("<? {code} ?><?= last == f ?><? last = f ?>"))]);
    texts(&site, "page.plua") == KEPT
}

#[test]
fn only_where_globals_stay_with_their_state_is_a_function_the_same_in_each_request() {
    let same = "<? local function f() end function g() end ?><?= last == f, others == g ?><? last = f others = g ?>";
    for (configuration, expected) in [
        ("pLuaStates 1", KEPT.map(|seen| seen.repeat(2))),
        ("pLuaStates 1\npLuaSandbox On\npLuaGlobals persistent", ["false"; 3].map(|seen| seen.repeat(2))),
        ("pLuaStates 1\npLuaGlobals request", ["false"; 3].map(|seen| seen.repeat(2))),
    ] {
        assert_eq!(texts(&Site::new(configuration, &[("page.plua", same)]), "page.plua"), expected, "{configuration}");
    }
}

#[test]
fn a_function_of_an_included_file_sees_the_variables_of_its_call() {
    let site = Site::new(
        "pLuaStates 1",
        &[
            (
                "page.plua",
                "<? who = 'all' for i = 1, 2 do include('part.plua', { who = i }) include('part.plua') end ?>",
            ),
            (
                "part.plua",
                "<? local function mine() return who end function ours() return mine() end ?><?= mine(), ours() ?> ",
            ),
        ],
    );
    assert_eq!(texts(&site, "page.plua"), ["11 allall 22 allall "; 3]);
}

#[test]
fn a_file_that_includes_itself_has_its_functions_too() {
    let site = Site::new(
        "pLuaStates 1",
        &[(
            "page.plua",
            "<? function name() return depth or 0 end ?><?= name() ?><? if name() < 3 then \
             depth = name() + 1 include('page.plua') depth = nil end ?><?= name() ?>",
        )],
    );
    assert_eq!(texts(&site, "page.plua"), ["01233000"; 3]);
}

#[test]
fn an_error_in_a_function_is_reported_alike_in_every_request() {
    let site = Site::new(
        "pLuaStates 1\npLuaError 1",
        &[(
            "page.plua",
            "a\n<?\nlocal function fails(n)\n  return n.field.name\nend\nfunction calls()\n  fails({})\nend\ncalls() ?>",
        )],
    );
    let seen = [(); 3].map(|()| site.get("page.plua"));
    assert_eq!(seen[0].status, 500);
    for part in ["<mark>    4 |", "in function 'fails'", "in function 'calls' at", "page.plua:7<", "in main page at"] {
        assert!(seen[0].text().contains(part), "{}", seen[0].text());
    }
    // Each has a number of its own, at the page's end.
    let without_incident = |text: String| text.split("<footer>").next().map(str::to_owned);
    for later in &seen[1..] {
        assert_eq!(without_incident(later.text()), without_incident(seen[0].text()));
        assert_eq!(later.log, seen[0].log);
    }
}

#[test]
fn a_changed_file_has_its_new_functions() {
    let site = Site::just_written("pLuaStates 1", &[("page.plua", "<? local function f() return 1 end ?><?= f() ?>")]);
    assert_eq!(site.get("page.plua").text(), "1");
    site.write("page.plua", "<? local function f() return 'two' end ?><?= f() ?>");
    assert_eq!(site.get("page.plua").text(), "two");
}

#[test]
fn a_page_with_as_many_locals_as_lua_allows_still_compiles() {
    let locals: Vec<_> = (1..199).map(|number| format!("local v{number} = {number} ")).collect();
    let page = format!("<? {} local function f() return 1 end ?><?= f() + v198 ?>", locals.concat());
    let site = Site::new("pLuaStates 1", &[("page.plua", &page)]);
    assert_eq!(texts(&site, "page.plua"), ["199"; 3]);
}

#[test]
fn what_follows_a_function_is_never_read_as_its_call() {
    let site = Site::new(
        "pLuaStates 1",
        &[(
            "page.plua",
            "<? local function f() return 1 end (print)(2) function g() return 3 end; (print)(f() + g()) ?>",
        )],
    );
    assert_eq!(texts(&site, "page.plua"), ["24"; 3]);
}

#[test]
fn a_function_is_kept_that_sees_none_of_the_pages_locals_but_functions_that_are_kept() {
    for code in [
        "function f() return a end",
        "local function f(n) return n == 0 and 0 or f(n - 1) end",
        "local function g() return 1 end local function f() return g() end",
        "local a function f(a) return a, b.a, b:a(), '..a' end",
        "local function f(...) local a = ... return function() return a end end local a",
        "for a in pairs({}) do local c = a end local function f() return a, c end",
        "local function f() ?>text<? end",
        "local function f() end local x = {} x.f = 1 x = {f, f} print(f == f and '' or f)",
    ] {
        assert!(is_kept(code), "{code}");
    }
    for code in [
        "local a local function f() return a end",
        "local a local function f() return function() return a end end",
        "local a = 1 function f() a = a + 1 end",
        "local a local function g() return a end local function f() return g() end",
        "local g = 1 local function f() return g end local function g() end",
        "local function f() end if false then f = 1 end",
        "local function f() end if false then f, b = 1 end",
        "local function f() end if false then b, f = 1 end",
        "local function f() if false then f = 1 end end",
        "local f function f() return f end",
        "local __plua = __plua function f() return __plua end",
        "local __texts = __texts function f() return __texts end",
        "if true then function f() end end",
        "f = function() end",
    ] {
        assert_eq!(is_kept(code), !cfg!(feature = "luajit"), "{code}");
    }
}

/// What LuaJIT compiles beyond Lua 5.1: however a page has come by a value, no function shows it to the next visitor.
#[cfg(feature = "luajit")]
#[test]
fn no_function_shows_what_an_earlier_request_was_sent() {
    for page in [
        r#"<? local who = parseGet().who local function f(c) return c ? "-" : who end ?><?= f(false) ?>"#,
        r#"<? local who = parseGet().who local function f(c) return c ?? who end ?><?= f(nil) ?>"#,
        r#"<? local who = parseGet() local function f() return who?.who end ?><?= f() ?>"#,
        r#"<? local who = parseGet() local function f() return who?.["who"] end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who local function f() return string?.format(who) end ?><?= f() ?>"#,
        r#"<? const who = parseGet().who local function f() return who end ?><?= f() ?>"#,
        r#"<? const who = parseGet().who const function f() return who end ?><?= f() ?>"#,
        r#"<? const a, who = 1, parseGet().who function f() return who end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who function f() return false || who end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who function f() return true && who end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who function f(x) return x != who && who end ?><?= f(1) ?>"#,
        r#"<? local who = parseGet().who function f() return !who ? 1 : who end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who local function f() local s = "" s ..= who return s end ?><?= f() ?>"#,
        r#"<? local shown = "" local function f(s) shown ..= s return shown end ?><?= f(parseGet().who) ?>"#,
        r#"<? local n = 0 local function f() n += 1 return n end ?><?= f() == 1 and parseGet().who ?>"#,
        r#"<? local n = 1 function f() n |= 2 n <<= 1 return n end ?><?= f() == 6 and parseGet().who ?>"#,
        r#"<? local who = parseGet().who local function f() return (x -> who)(1) end ?><?= f() ?>"#,
        r#"<? local who = parseGet().who local function f() return |x| -> do return who end end ?><?= f()() ?>"#,
        r#"<? local f = |x| -> parseGet().who function g() return f() end ?><?= g() ?>"#,
        r#"<? local function f() return 1 end f = || -> parseGet().who function g() return f() end ?><?= g() ?>"#,
        r#"<? const function f() return 1 end local g = f g = (x -> parseGet().who) function h() return g() end ?><?= h() ?>"#,
        r#"<? local who = parseGet().who function f() for i = 1, 2 do if i == 1 then continue end return who end end ?><?= f() ?>"#,
        r#"<? local continue = parseGet().who function f() return continue end ?><?= f() ?>"#,
        r#"<? local const = parseGet().who function f() return const end ?><?= f() ?>"#,
        r#"<? local __plua, w = __plua, parseGet().who local function f() return w end ?><?= f() ?>"#,
    ] {
        let site = Site::new("pLuaStates 1", &[("page.plua", page)]);
        assert_eq!(texts(&site, "page.plua"), ["a", "b", "c"], "{page}");
    }
}
