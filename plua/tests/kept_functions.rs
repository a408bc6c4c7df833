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

#[test]
fn only_where_globals_stay_with_their_state_is_a_function_the_same_in_each_request() {
    let same = "<? local function f() end function g() end ?><?= last == f, others == g ?><? last = f others = g ?>";
    for (configuration, expected) in [
        ("pLuaStates 1", ["falsefalse", "truetrue", "truetrue"]),
        ("pLuaStates 1\npLuaSandbox On\npLuaGlobals persistent", ["falsefalse"; 3]),
        ("pLuaStates 1\npLuaGlobals request", ["falsefalse"; 3]),
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
    for later in &seen[1..] {
        assert_eq!((later.text(), &later.log), (seen[0].text(), &seen[0].log));
    }
}

#[test]
fn a_changed_file_has_its_new_functions() {
    let site = Site::new("pLuaStates 1", &[("page.plua", "<? local function f() return 1 end ?><?= f() ?>")]);
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
