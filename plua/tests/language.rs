//! The page language as its writers see it: a page, and what it prints.

mod runner;

use plua::language::emit::emit_raw;
use plua::language::page::{Mark, Marks, Syntax};
use runner::{SHORT, run};

/// What a page prints as text, or the error that stops it.
fn answer(page: &str) -> Result<String, String> {
    match run(page.as_bytes(), SHORT) {
        Ok(printed) => Ok(String::from_utf8_lossy(&printed).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn assert_prints(pages: &[(&str, &str)]) {
    for (page, expected) in pages {
        assert_eq!(answer(page).as_deref(), Ok(*expected), "{page:?}");
    }
}

fn assert_refused(page: &str, reason: &str) {
    let error = answer(page).err().unwrap_or_default();
    assert!(error.contains(reason), "{page:?}: {error:?}");
}

#[test]
fn tags_may_be_adjacent_and_mixed() {
    assert_prints(&[
        ("", ""),
        ("<??>", ""),
        ("A<? ?><?lua ?><?=1?><?lua=2?>B", "A12B"),
        ("<?lua x = 5 ?><?= x ?>", "5"),
        ("<?luaecho(1)?>", "1"),
        ("<? echo(1) ?><? echo(2) ?>", "12"),
        ("?> < ?> < ? <b>?", "?> < ?> < ? <b>?"),
    ]);
}

#[test]
fn an_echo_prints_a_list_of_expressions() {
    assert_prints(&[
        ("A<?=1,2,\"x\"?>B", "A12xB"),
        ("<?=(function() return 1, 2, 3 end)()?>", "123"),
        ("<?=?><?= ?><?=\n?><?= -- c ?><?= --[[c]] ?>.", "."),
        ("<?= \n 1 \n + 2 ?>", "3"),
        ("<?= nil, true, false ?>", "niltruefalse"),
        ("<?= '<&>' ?><?& '<&>' ?><?! '<&>' ?>", "<&>&lt;&amp;&gt;<&>"),
        ("<?=1;?><?= 2 ; ?><?& 3;-- c ?><?= 4 -- c ?>", "1234"),
        ("<?= ';' ?><?= [[;]]; ?>", ";;"),
    ]);
}

#[test]
fn auto_escape_escapes_the_plain_echo() {
    let syntax = Syntax { auto_escape: true, ..SHORT };
    let page = b"<b><?= '<' ?><?lua= '<' ?><?& '<' ?><?! '<' ?><? echo('<') ?>";
    assert_eq!(run(page, syntax).unwrap(), b"<b>&lt;&lt;&lt;<<");
}

#[test]
fn without_short_hand_only_long_tags_open() {
    let syntax = Syntax { short_hand: false, ..SHORT };
    for (page, expected) in [
        ("<? a ?>\n<?= b ?>\n<?# c ?>\n<?xml?>\n", "<? a ?>\n<?= b ?>\n<?# c ?>\n<?xml?>\n"),
        ("<?lua echo(1) ?>\n<?lua= 2 ?><?lua& '<' ?><?lua! '<' ?><?lua# c ?>", "12&lt;<"),
    ] {
        assert_eq!(run(page.as_bytes(), syntax).unwrap(), expected.as_bytes());
    }
}

#[test]
fn other_marks_open_tags_that_do_all_that_these_do() {
    let mark = |mark: &str| Mark::new(mark.as_bytes()).unwrap();
    let syntax = Syntax { marks: Some(Marks { open: mark("<%"), end: mark("%>") }), ..SHORT };
    for (page, expected) in [
        ("<%= 1, 2 %><%& '<' %><%! '<' %><%# note %><% echo(3) -- it's %>4", "12&lt;<34"),
        ("<% for i = 1, 2 do %>\n<%= i %>\n\n<% end %>", "1\n2\n"),
        ("<% if true then ?> %>", ""),
        ("<% f = function() %>a<? end ?><% f() f() %>", "aa"),
        ("<% x = 7 % 4 %><%= x %>", "3"),
        ("<%= [[%>]] %>", "%>"),
    ] {
        match run(page.as_bytes(), syntax) {
            Ok(printed) => assert_eq!(printed, expected.as_bytes(), "{page}"),
            Err(error) => assert!(expected.is_empty() && error.to_string().contains("page:1: "), "{page}: {error}"),
        }
    }
    let error = run(b"a\n<% x = \"a %>..echo('text ran') --<%\n%>", syntax).unwrap_err().to_string();
    assert!(error.contains("syntax error: page:2: "), "{error}");
}

#[test]
fn an_equals_sign_apart_from_its_tag_is_refused_by_lua() {
    assert_refused("<? =1?>", "page:1: unexpected symbol near '='");
    assert_refused("<?lua =1?>", "page:1: unexpected symbol near '='");
    assert_refused("\n<?LUA x?>", "page:2: ");
}

#[test]
fn control_structures_span_text() {
    assert_prints(&[
        ("<? if true then ?>yes<? else ?>no<? end ?>", "yes"),
        ("<? for i = 1, 3 do ?><li><?= i ?></li><? end ?>", "<li>1</li><li>2</li><li>3</li>"),
        ("<? local function f(x) ?>[<?= x ?>]<? end f(1) f(2) ?>", "[1][2]"),
        ("<? local x = 1 ?>a<? x = x + 1 ?>b<?= x ?>", "ab2"),
        ("<? f = echo ?>(a)<? f('b') ?>(c)", "(a)b(c)"),
        ("<? local s = {} ?>(a)", "(a)"),
    ]);
}

#[test]
fn one_newline_after_a_tag_is_dropped_and_none_elsewhere() {
    assert_prints(&[
        ("\nA", "\nA"),
        ("<? ?>\nA", "A"),
        ("<? ?>\r\nA", "A"),
        ("<? ?>\n\nA", "\nA"),
        ("<? ?> \nA", " \nA"),
        ("<?=1?>\nA", "1A"),
        ("<?# c ?>\nA", "A"),
        ("A\r\n<? ?>\rB\n\rC\r\n", "A\r\n\rB\n\rC\r\n"),
    ]);
}

#[test]
fn text_is_kept_byte_for_byte() {
    let every_byte: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for page in [
        every_byte.as_slice(),
        b"A]===]);echo(\"inj\");echo([===[B",
        b"]===",
        b"\x001\x00\x001\r\n\n\r\\n\\",
        b" \xEF\xBB\xBF%s %d \"'--",
        b" #!/bin/sh\n",
        b"\x1bLJ",
    ] {
        assert_eq!(run(page, SHORT).unwrap(), page);
        let between = [b"<? ?>".as_slice(), page, b"<? ?>", page].concat();
        let same = [page, page].concat();
        assert_eq!(run(&between, SHORT).unwrap(), same);
    }
}

#[test]
fn a_byte_order_mark_and_a_first_line_for_the_system_are_not_sent() {
    assert_prints(&[
        ("\u{FEFF}a", "a"),
        ("\u{FEFF}<? echo(1) ?>\u{FEFF}", "1\u{FEFF}"),
        ("#!/usr/bin/env plua\n<?= 1 ?>", "1"),
        ("\u{FEFF}#!/usr/bin/env plua\r\n\na", "\na"),
        ("#!/usr/bin/env plua", ""),
        ("a\n#!b\n", "a\n#!b\n"),
    ]);
    assert_refused("\u{FEFF}#!/usr/bin/env plua\n\n<? error('here') ?>", "page:3: ");
}

#[test]
fn an_xml_prolog_is_text() {
    assert_prints(&[
        ("<?xml version=\"1.0\"?>\n<a><?= 1 ?></a>", "<?xml version=\"1.0\"?>\n<a>1</a>"),
        ("<?xml\nversion='<?= 1 ?>'?>\n", "<?xml\nversion='1'?>\n"),
    ]);
}

#[test]
fn a_tag_end_in_a_string_or_long_comment_is_part_of_it() {
    assert_prints(&[
        ("<? echo('?>') ?>B", "?>B"),
        ("<? echo(\"\\\"?>\") ?>B", "\"?>B"),
        ("<?= [==[?> ]] ]==] ?>B", "?> ]] B"),
        ("<? echo('<?') ?>", "<?"),
        ("<?= 'a\\\n?>' ?>", "a\n?>"),
    ]);
}

#[test]
fn a_line_comment_ends_with_its_tag_and_swallows_nothing() {
    assert_prints(&[
        ("A<? -- note ?>B", "AB"),
        ("A<? -- note ?>\nB\nC", "AB\nC"),
        ("A<? x = 1 -- it's ?>B<?= x -- 'c ?>C", "AB1C"),
        ("A<? --?>B<?--[=?>C", "ABC"),
        ("A<? -- one\n echo(1) -- two ?>B", "A1B"),
        ("A<? echo(1) -- open", "A1"),
        ("A<?= 1 -- open", "A1"),
    ]);
}

#[test]
fn a_long_comment_hides_text_and_tags() {
    assert_prints(&[
        ("A<? --[[ ?>hidden<? ]] ?>B", "AB"),
        ("A<? --[[ ?>it's <?= \"x ?>\nhidden<? --]] ?>\nB", "AB"),
        ("A<? --[==[ ?>hidden ]] <?= t[u[1]] ?><? ]==] echo(1) ?>B", "A1B"),
        ("A<? --[[ ?>hidden<? ]] -- and ?>B", "AB"),
    ]);
}

#[test]
fn a_note_ends_at_the_first_tag_end() {
    assert_prints(&[("A<?# it's [[ \" --[[ ?>B", "AB"), ("A<?# 1\n2\n?>\nB", "AB"), ("A<?# open", "A")]);
}

#[test]
fn an_open_last_tag_runs_to_the_end() {
    assert_prints(&[("A<?", "A"), ("A<?lua", "A"), ("A<?=", "A"), ("A<? echo(1)", "A1"), ("A<?= 1, 2\n", "A12")]);
}

#[test]
fn return_ends_the_page_and_break_the_loop_with_text_after_them() {
    assert_prints(&[
        ("A<? return ?>text", "A"),
        ("A<? return; ?>\ntext<?= 1 ?>", "A"),
        ("A<? return -- done ?>text", "A"),
        ("A<? if true then return ?>B<? end ?>C", "A"),
        ("A<? if false then return ?>B<? end ?>C", "AC"),
        ("A<? do return end ?>B", "A"),
        ("A<? if true then return end ?>B", "A"),
        ("<? local function f() return ?>x<? end f() ?>B", "B"),
        ("<? for i = 1, 3 do ?><?= i ?><? break ?>\n\n<? end ?>B", "1B"),
    ]);
}

#[test]
fn text_does_not_depend_on_the_scripts_names() {
    assert_prints(&[("<? local echo, print, out = 5 ?>x<? _G.echo = nil ?>y<?= 1 ?>", "xy1")]);
}

#[test]
fn text_never_becomes_lua_when_a_tag_leaves_a_string_open() {
    for page in [
        "<? x = \"a ?>..echo('text ran') --<?\n?>",
        "<? x = \"a\\ ?>..echo('text ran') --<?\n?>",
        "<? x = \"a\\z ?>..echo('text ran') --<?\n?>",
        "<?= \"a\\z ?>..echo('text ran'))) end --<?\n?>",
        "<? x = 'a ?>b\n'..echo('text ran') --<?\n?>",
        "<? x = 'a' .. 'b ?>c\n'..echo('text ran') --<?\n?>",
    ] {
        assert_refused(page, "syntax error: page:1: ");
    }
    for page in ["<? x = [[a ?>]=]..echo('text ran')..", "<? --[==[ ?>]=]\necho('text ran')"] {
        assert_refused(page, "syntax error: page:");
    }
}

#[test]
fn errors_name_the_pages_line() {
    for lead in [
        "\n\n\n",
        "\r\n\r\n\r\n",
        "<?# a ?>\n<? -- b ?>\n<?= 1 ?>\r\n",
        "<?# a\n\n\n?>",
        "<? --[[ ?>\n\n\n<? ]] ?>",
        "<? local a = [[\n\n]]\n?>",
        "<?= \n -- c\n\n ?>",
        "<?= 'a\\\n', 1; -- c ?>\r\n\n",
        "text \" \\\n]]\n\\\n",
    ] {
        for fault in ["<? error('here') ?>", "a<?= nil + 1 ?>", "<? if true then ?>a<? error() end ?>"] {
            let page = format!("{lead}{fault}\n\n");
            if fault.contains("error()") {
                assert!(run(page.as_bytes(), SHORT).is_err());
            } else {
                assert_refused(&page, "page:4: ");
            }
        }
        assert_refused(&format!("{lead}<? = ?>\n"), "page:4: ");
    }
}

#[test]
fn a_raw_file_runs_with_its_own_lines() {
    let lua = mlua::Lua::new();
    let call = |file: &[u8]| lua.load(emit_raw(file)).set_name("=raw").call::<Option<String>>(());
    for (file, expected) in [
        (b"".as_slice(), None),
        (b"#!/usr/bin/lua", None),
        (b"#!/usr/bin/lua\r\nreturn 'a'", Some("a".to_owned())),
        (b"\xEF\xBB\xBF#!lua\nreturn '<? ?>'", Some("<? ?>".to_owned())),
        (b"return 'a\0b'", Some("a\0b".to_owned())),
    ] {
        assert_eq!(call(file).unwrap(), expected);
    }
    let error = call(b"\xEF\xBB\xBF#!lua\r\nerror('x')").unwrap_err().to_string();
    assert!(error.contains("raw:2: x"), "{error}");
}

#[test]
fn a_long_page_runs() {
    let line = b"A line of text with \"quotes\", \\ and \r\n";
    let mut page = line.repeat(5_000_000 / line.len());
    page.extend_from_slice(b"<?= 1 ?>");
    let expected = [&page[..page.len() - 8], b"1"].concat();
    assert!(run(&page, SHORT).unwrap() == expected);
}

#[test]
fn a_page_of_many_texts_runs_with_its_own_lines() {
    use std::fmt::Write;
    let (mut page, mut expected) = (String::new(), String::new());
    for number in 0..100_000 {
        write!(page, "text {number}\n<?= {} ?>", number % 7).unwrap();
        write!(expected, "text {number}\n{}", number % 7).unwrap();
    }
    assert!(run(page.as_bytes(), SHORT).unwrap() == expected.as_bytes());
    page.push_str("<? error('here') ?>");
    assert_refused(&page, "page:100001: here");
}

/// What LuaJIT compiles beyond Lua 5.1 runs in pages as in any file, with tags and text around it.
#[cfg(feature = "luajit")]
#[test]
fn what_luajit_adds_to_lua_works_in_every_tag_and_beside_text() {
    assert_prints(&[
        ("<? local c = nil ?><?= c ? 1 : 2 ?>,<?=c?1:2?>,<?& c ? '<' : '>' ?>", "2,2,&gt;"),
        ("<?= false ? 1 : true ? 2 : 3; -- c ?>.", "2."),
        ("<?= nil ?? 7 ?>,<?=nil??7?>,<?= nil ?? nil ?? '?>' ?>", "7,7,?>"),
        ("<? t = {x = {y = 5}} ?><?= t?.x?.y, t.z?.y, t?.['x'].y ?>,<?=t?.z?>.", "5nil5,nil."),
        ("<?= 1 != 2, !false, !nil && 1, false || 2 ?>,<?=!1?>,<?!!1?>,<?&!1?>", "truetrue12,false,false,false"),
        ("<? const a, b = 1, 2 ?>x<? const function f() ?>y<? return a end ?>z<?= f(), b ?>", "xzy12"),
        ("<? local n = 1 n += 2 ?>x<? n *= 3 n -= 1 n /= 2 n %= 3 ?><?= n ?>", "x1"),
        ("<? local s = 'a' s ..= 'b' ?>x<?= s ?>", "xab"),
        ("<? local n = 5 n &= 4 n |= 3 n <<= 2 n >>= 1 n ~>>= 1 n ~= 1 ?><?= n ?>", "6"),
        ("<?= 5 & 3, 5 | 3, 5 ~ 3, ~5, 1 << 4, 16 >> 4, -8 ~>> 1 ?>", "176-6161-4"),
        ("<?= (x -> x * 2)(4), (|p, q| -> p + q)(1, 2), (|| -> 3)() ?>", "833"),
        ("<? local f = x -> do ?>[<?= x ?>]<? end ?>a<? f(1) ?>b<? f(2) ?>", "a[1]b[2]"),
        ("<? local f = |...| -> ... ?>x<?= f(1) ?>", "x1"),
        ("<? for i = 1, 3 do if i == 2 then continue end ?><?= i ?><? end ?>", "13"),
        ("<? for i = 1, 3 do if i == 2 then continue ?>never<? end ?><?= i ?><? end ?>", "13"),
        ("<? for i = 1, 3 do if i == 2 then ?>-<? continue -- next ?>\nnever<? end ?><?= i ?><? end ?>", "1-3"),
        ("<? for i = 1, 3 do local x = i ?>x<? continue; ?>never<? end ?>", "xxx"),
        ("<? local i = 0 repeat i += 1 if i == 2 then continue ?>x<? end ?><?= i ?><? until i == 3 ?>", "13"),
        ("<? local continue, const = 1, 2 ?>x<? local a = continue ?>y<?= a, const ?>", "xy12"),
        ("<? const = 1 ?>x<?= const ?>", "x1"),
        ("<?= 1_000, 0b11, '\\x41', '\\u{41}', 'a\\z  b' ?>", "10003AAab"),
        ("<? local x = 2 -- > ?>a<? x = x --> c ?>b<?= x -->?>c", "ab2c"),
        ("<? f = x -> x -- -> ?>a<?= f(1) ?>", "a1"),
    ]);
    assert_refused("<?= 1 ?-- why ?>", "page:1: ");
    assert_refused("a\n<? const x = 1 ?>\n<? x = 2 ?>", "page:3: attempt to assign to const variable 'x'");
    assert_refused("a\n<? x = a ? ?>text", "page:2: unexpected symbol near 'if'");
    assert_refused("a\n<? f = x -> ?>text", "page:2: unexpected symbol near 'if'");
    assert_refused("a\n<? for i = 1, 2 do continue ?>text", "page:2: ");
}

/// Names are names in all of them.
#[test]
fn the_words_that_luajit_adds_are_names_elsewhere() {
    assert_prints(&[
        ("<? local continue = 1 ?>x<? local a = continue ?>y<?= a ?>", "xy1"),
        ("<? const = 2 ?>x<? const = const ?>y<?= const ?>", "xy2"),
        ("<? local t = { continue = 3 } ?><? local a = t.continue ?>x<?= a ?>", "x3"),
    ]);
}
