//! What pages put out arrives byte for byte, whatever it is made of and however long it gets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::Site;

fn shown(code: &str) -> String {
    Site::new("", &[("page.plua", code)]).get("page.plua").text()
}

#[test]
fn numbers_read_as_tostring_makes_them_but_whole_ones_have_all_their_digits() {
    for number in [
        "0",
        "-0.0",
        "7",
        "-1",
        "10",
        "99",
        "100",
        "12345",
        "2147483647",
        "-2147483648",
        "2147483648",
        "-2147483649",
        "1e16",
        "2^63",
        "1e100",
        "0.1",
        "-0.5",
        "1/3",
        "1/0",
        "-1/0",
        "0/0",
        "99999999999999",
        "4104766822976631",
        "-4104766822976631",
        "2^53",
        "-2^53",
        "1e15",
        "3.0",
        "10 / 2",
    ] {
        let page =
            format!("<? local n = {number} ?><?= n ?>|<?= tostring(n) ?>|<?& n ?>|<? echo(n) ?>|<? echo(n, n) ?>");
        let text = shown(&page);
        let parts: Vec<&str> = text.split('|').collect();
        let plain = match number {
            "4104766822976631" | "-4104766822976631" => number,
            "2^53" => "9007199254740992",
            "-2^53" => "-9007199254740992",
            "1e15" => "1000000000000000",
            "3.0" => "3",
            "10 / 2" => "5",
            // What Lua 5.4 calls a float.
            _ => parts[1].strip_suffix(".0").unwrap_or(parts[1]),
        };
        assert_eq!(parts, [plain, parts[1], plain, plain, &plain.repeat(2)], "{number}");
    }
}

#[test]
fn long_outputs_of_small_and_large_pieces_are_whole() {
    let page = "<? local part = ('x'):rep(70000) for i = 1, 3000 do ?>[<?= i * i ?>|<?& '<' .. i ?>]<? \
                if i % 1000 == 0 then echo(part) end end ?>";
    let mut wanted = String::new();
    for i in 1..=3000 {
        wanted += &format!("[{}|&lt;{i}]", i * i);
        if i % 1000 == 0 {
            wanted += &"x".repeat(70_000);
        }
    }
    let site = Site::new("", &[("page.plua", page), ("small.plua", "small <?= 1 ?>")]);
    for _ in 0..5 {
        assert!(site.get("page.plua").text() == wanted);
        assert_eq!(site.get("small.plua").text(), "small 1");
    }
}

#[test]
fn escaped_texts_of_every_length_are_whole() {
    let page = "<? for _, n in ipairs { 0, 1, 7, 4095, 4096, 4097, 100000 } do \
                local text = ('<'):rep(n) ?><?& text ?><?= '\\n' ?><? end ?>";
    let wanted: String = [0, 1, 7, 4095, 4096, 4097, 100_000].iter().map(|n| "&lt;".repeat(*n) + "\n").collect();
    assert!(shown(page) == wanted);
}

#[test]
fn what_is_put_out_while_a_value_is_described_comes_before_it() {
    let page = "<? local object = setmetatable({}, { __tostring = function() echo('first ') return 'object' end }) ?>\
                <?= object ?>, <? echo('then ', object) ?>";
    assert_eq!(shown(page), "first object, first then object");
}

#[test]
fn a_number_that_describes_a_value_is_put_out_as_one() {
    let page = "<? local object = setmetatable({}, { __tostring = function() return 5 end }) ?>\
                <?= object ?>|<?& object ?>|<? echo(object) ?>";
    assert_eq!(shown(page), "5|5|5");
}

#[test]
fn texts_between_values_are_whole_at_every_length() {
    // Lengths around those where another way of copying begins, first in fresh memory, then in kept one.
    let lengths: Vec<usize> = (0..40).chain([63, 64, 65, 127, 128, 129, 255, 256, 1000, 5000, 70_000]).collect();
    let texts: Vec<String> =
        lengths.iter().map(|length| "abcdefghijklmnopqrstuvw".chars().cycle().take(*length).collect()).collect();
    let mut page = String::from("<? local word, markup = ('word'):rep(6), '<&>' for i = 998, 1002 do ?>");
    let mut row = String::new();
    for text in &texts {
        page += &format!("<?= i ?>{text}<?= word ?>{text}<?& markup ?>{text}<?= -i * 70000 ?>{text}<?= i / 4 ?>{text}");
        row +=
            &format!("{{i}}{text}wordwordwordwordwordword{text}&lt;&amp;&gt;{text}-{{large}}{text}{{quarter}}{text}");
    }
    page += "<? end ?>";
    let mut wanted = String::new();
    for i in 998..=1002 {
        let quarter = format!("{}", f64::from(i) / 4.0);
        let row = row.replace("{i}", &i.to_string()).replace("{large}", &(i * 70_000).to_string());
        wanted += &row.replace("{quarter}", &quarter);
    }
    let site = Site::new("", &[("page.plua", &page)]);
    for _ in 0..3 {
        assert!(site.get("page.plua").text() == wanted);
    }
}

#[test]
fn the_functions_of_text_and_echo_take_whatever_a_page_gives_them() {
    let page = "<? __plua.put(1) __plua.put(nil) __plua.put(true) __plua.echo(2, 3) __plua.echo(nil, 'a', 'b') \
                __plua.escape({ } and false, '<') __plua.escape(4) __plua.put('end') ?>";
    assert_eq!(shown(page), "1niltrue32abnil&lt;false4end");
}

#[test]
fn captured_output_of_every_size_comes_back_whole_and_leaves_the_outer_one_as_it_was() {
    let page = "<? for i = 1, 200 do ?><?= i ?>:<? local n = #capture(function() for k = 1, i * 50 do echo(k % 10) end end) \
                echo(n) ?> <? end ?>";
    let wanted: String = (1..=200).map(|i| format!("{i}:{} ", i * 50)).collect();
    assert_eq!(shown(page), wanted);
}

#[test]
fn what_is_over_the_output_limit_is_stopped_and_what_is_within_is_whole_however_it_is_put_out() {
    let over = [
        "for i = 1, 2000 do ?>0123456789<? end",
        "echo(('x'):rep(11000))",
        "for i = 1, 11 do ?><?& ('<'):rep(300) ?><? end",
        "echo(('x'):rep(10000)) echo(capture(function() echo(('y'):rep(300)) end))",
        "ob_start() for i = 1, 1100 do echo(1234567890) end",
        "echo(('x'):rep(9000)) flush() echo(('x'):rep(2000))",
    ];
    let within = [
        ("for i = 1, 1000 do ?>0123456789<? end", 10_000),
        ("echo(('x'):rep(10240))", 10_240),
        ("for i = 1, 8 do ?><?& ('<'):rep(300) ?><? end", 9_600),
        ("echo(('x'):rep(5000)) local t = capture(function() echo(('y'):rep(5000)) end) echo(t)", 10_000),
        ("ob_start() for i = 1, 1000 do echo(1234567890) end ob_end_flush()", 10_000),
        ("echo(('x'):rep(9000)) flush() echo(('x'):rep(1000))", 10_000),
    ];
    for code in over {
        let site = Site::new("pLuaOutputLimit 10", &[("page.plua", &format!("<? {code} ?>")), ("next.plua", "fine")]);
        let seen = site.get("page.plua");
        assert!(seen.log.concat().contains("Output limit: "), "{code}: {} {:?}", seen.status, seen.log);
        assert_eq!(site.get("next.plua").text(), "fine", "{code}");
    }
    for (code, length) in within {
        let site = Site::new("pLuaOutputLimit 10", &[("page.plua", &format!("<? {code} ?>"))]);
        for _ in 0..3 {
            let seen = site.get("page.plua");
            assert_eq!((seen.status, seen.text().len()), (200, length), "{code}: {:?}", seen.log);
        }
    }
}

/// Only LuaJIT has finalizers that pages can make, with `ffi`.
#[cfg(feature = "luajit")]
#[test]
fn a_finalizer_that_puts_something_out_between_tags_loses_nothing_of_the_page() {
    let page = "local ffi = require('ffi') collectgarbage('setpause', 10) collectgarbage('setstepmul', 10000)\n\
                local gone, long, word = 0, ('y'):rep(5000), 'word'\n\
                for i = 1001, 4000 do\n\
                  ffi.gc(ffi.new('int[4]'), function() gone = gone + 1 echo(long) end)\n\
                  ?>[<?= i ?>|<?= word ?>|<?& '<' .. i ?>|<?= i * 1.5 ?>]<?\n\
                end\n\
                local _ = collectgarbage() ?>|<?= gone ?>";
    let mut wanted = String::new();
    for i in 1001..=4000 {
        wanted += &format!("[{i}|word|&lt;{i}|{}]", f64::from(i) * 1.5);
    }
    for before in ["", "jit.off() "] {
        let text = shown(&format!("<? {before}{page}"));
        let (body, gone) = text.rsplit_once('|').unwrap();
        let gone: usize = gone.parse().unwrap();
        assert!(gone > 100, "{gone}");
        assert_eq!(body.matches('y').count(), gone * 5000);
        assert!(body.replace('y', "") == wanted);
    }
}

/// Only LuaJIT has finalizers that pages can make, with `ffi`.
#[cfg(feature = "luajit")]
#[test]
fn a_finalizer_that_puts_something_out_loses_nothing_of_the_page() {
    let page = "<? local ffi = require('ffi') collectgarbage('setpause', 10) collectgarbage('setstepmul', 10000)\n\
                local made, gone = 0, 0\n\
                local long = ('y'):rep(5000)\n\
                for i = 1, 3000 do\n\
                  made = made + 1\n\
                  ffi.gc(ffi.new('int[4]'), function() gone = gone + 1 echo(long) end)\n\
                  echo('x', i * 1.5, 'x')\n\
                end\n\
                local _ = collectgarbage() ?>|<?= gone ?>";
    let text = shown(page);
    let (body, gone) = text.rsplit_once('|').unwrap();
    let gone: usize = gone.parse().unwrap();
    assert!(gone > 100, "{gone}");
    assert_eq!(body.matches('y').count(), gone * 5000);
    let rest = body.replace('y', "");
    let mut wanted = String::new();
    for i in 1..=3000 {
        let number = if i % 2 == 0 { format!("{}", i * 3 / 2) } else { format!("{}.5", i * 3 / 2) };
        wanted += &format!("x{number}x");
    }
    assert_eq!(rest, wanted);
}
