//! Page functions for text, digests, secrets and JSON, with the vectors of the standards that define them.

mod site;

use site::{Seen, page};

/// What an expression is, as `<?= ?>` shows it.
fn value(expression: &str) -> String {
    let seen = page(&format!("<?= {expression} ?>"));
    assert_eq!(seen.status, 200, "{expression}: {:?}", seen.log);
    seen.text()
}

/// The first line of the report of a page that fails.
fn failure(expression: &str) -> String {
    let seen: Seen = page(&format!("<? local _ = {expression} ?>"));
    assert_eq!(seen.status, 500, "{expression} should fail");
    seen.log[0].clone()
}

#[test]
fn digests_are_those_of_fips_180_and_rfc_1321() {
    for (expression, digest) in [
        ("string.SHA256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("('abc'):SHA256()", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "string.SHA256('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        ("('a'):rep(1000000):SHA256()", "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ("('abc'):SHA1()", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            "('abc'):SHA512()",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        ("('abc'):md5()", "900150983cd24fb0d6963f7d28e17f72"),
        ("string.md5('')", "d41d8cd98f00b204e9800998ecf8427e"),
        ("string.crc32('123456789')", "3421780262"),
    ] {
        assert_eq!(value(expression), digest, "{expression}");
    }
}

#[test]
fn digests_and_encodings_do_not_stop_at_nul() {
    assert_eq!(value("('a\\0b'):SHA256() == ('a'):SHA256()"), "false");
    assert_eq!(value("('\\0'):SHA256()"), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    assert_eq!(value("('a\\0b'):encode64()"), "YQBi");
    assert_eq!(value("#('a\\0b,c'):explode(',')[1]"), "3");
    assert_eq!(value("table.concat(('a\\0b\\0c'):explode('\\0'), '|')"), "a|b|c");
}

#[test]
fn keyed_digests_are_those_of_rfc_4231_and_rfc_2202() {
    for (expression, digest) in [
        (
            "hmac('sha256', ('\\11'):rep(20), 'Hi There')",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            "hmac('SHA256', ('\\170'):rep(131), 'Test Using Larger Than Block-Size Key - Hash Key First')",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            "hmac('sha512', 'Jefe', 'what do ya want for nothing?')",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        ("hmac('sha1', 'Jefe', 'what do ya want for nothing?')", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("hmac('md5', 'Jefe', 'what do ya want for nothing?')", "750c783e6ab0b503eaa86e310a5db738"),
        ("hmac('md5', 'Jefe', 'what do ya want for nothing?', true):encodeHex()", "750c783e6ab0b503eaa86e310a5db738"),
    ] {
        assert_eq!(value(expression), digest, "{expression}");
    }
    assert!(failure("hmac('sha3', '', '')").contains("the algorithms are sha256, sha512, sha1 and md5"));
}

#[test]
fn base64_is_that_of_rfc_4648_in_one_line() {
    for (text, encoded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(value(&format!("('{text}'):encode64()")), encoded);
        assert_eq!(value(&format!("('{encoded}'):decode64()")), text);
        assert_eq!(value(&format!("('{}'):decode64()", encoded.trim_end_matches('='))), text);
    }
    assert_eq!(value("('x'):rep(3000):encode64():find('\\n')"), "nil");
    assert_eq!(value("('\\251\\255\\254'):encode64url(), ('-__-'):decode64url():byte(1, -1)"), "-__-251255254");
    assert_eq!(value("('a'):encode64url(), ('YQ'):decode64url(), ('YQ=='):decode64url()"), "YQaa");
}

#[test]
fn base64_that_is_decoded_may_hold_line_breaks_and_spaces() {
    for text in ["VGVz\\n", "VG\\r\\nVz", "V G V z", " VGVz \\n\\n"] {
        assert_eq!(value(&format!("('{text}'):decode64()")), "Tes", "{text}");
    }
    assert_eq!(value("#('YQBi'):decode64(), ('YQBi'):decode64():byte(2)"), "30");
}

#[test]
fn what_was_encoded_is_decoded_to_the_same_for_every_length() {
    let seen = page(
        "<? local wrong = 0 for length = 0, 300 do local text = randomBytes(length) \
         if text:encode64():decode64() ~= text or text:encode64url():decode64url() ~= text \
         or text:encodeHex():decodeHex() ~= text then wrong = wrong + 1 end end \
         local large = ('\\0\\255x'):rep(400000) ?><?= wrong, large:encode64():decode64() == large ?>",
    );
    assert_eq!(seen.text(), "0true", "{:?}", seen.log);
}

#[test]
fn text_that_is_not_in_the_encoding_is_nil() {
    for expression in [
        "('a!c='):decode64()",
        "('a'):decode64()",
        "('a_-c'):decode64()",
        "('a+/c'):decode64url()",
        "('abc'):decodeHex()",
        "('zz'):decodeHex()",
    ] {
        assert_eq!(value(expression), "nil", "{expression}");
    }
    assert_eq!(value("('00fF'):decodeHex():byte(1, 2)"), "0255");
}

#[test]
fn explode_keeps_leading_empty_pieces_and_drops_a_trailing_one() {
    for (arguments, pieces) in [
        ("'a,,b', ','", "3:a||b"),
        ("',a', ','", "2:|a"),
        ("'a,b,', ','", "2:a|b"),
        ("'a,b,,', ','", "3:a|b|"),
        ("'', ','", "0:"),
        ("',', ','", "1:"),
        ("'abc', 'x'", "1:abc"),
        ("'abc', ''", "3:a|b|c"),
        ("'a.b%c', '.'", "2:a|b%c"),
        ("'a<>b<>c', '<>'", "3:a|b|c"),
        ("'aaa', 'aa'", "2:|a"),
    ] {
        let shown =
            value(&format!("(function(t) return #t .. ':' .. table.concat(t, '|') end)(string.explode({arguments}))"));
        assert_eq!(shown, pieces, "{arguments}");
    }
    assert_eq!(value("#('x,'):rep(200000):explode(',')"), "200000");
}

#[test]
fn text_functions_refuse_what_is_not_text_with_luas_words() {
    assert!(failure("string.SHA256(5)").contains("bad argument #1 to 'string.SHA256' (string expected, got number)"));
    assert!(failure("string.md5()").contains("(string expected, got no value)"));
    assert!(failure("('x'):explode()").contains("bad argument #2 to 'string.explode' (string expected, got no value)"));
    assert!(failure("string.encode64({})").contains("(string expected, got table)"));
}

#[test]
fn additions_to_string_stay_when_the_library_is_ignored() {
    let site = site::Site::new(
        "pLuaIgnoreLibrary string",
        &[("page.plua", "<?= string.rep, string.md5(''), ('a'):encode64() ?>")],
    );
    assert_eq!(site.get("page.plua").text(), "nild41d8cd98f00b204e9800998ecf8427eYQ==");
}

#[test]
fn html_and_url_escapes_are_safe_and_urls_come_back() {
    assert_eq!(value("escapeHtml('<a href=\"x\">\\'&')"), "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;");
    assert_eq!(value("escapeHtml(5)"), "5");
    assert_eq!(value("escapeUrl('a b/c?d=e&f+g~-._\\0ä%')"), "a%20b%2Fc%3Fd%3De%26f%2Bg~-._%00%C3%A4%25");
    assert_eq!(value("unescapeUrl('a%20b+%2f%zz%')"), "a b+/%zz%");
    assert_eq!(value("unescapeUrl(escapeUrl('\\0\\255 +%')) == '\\0\\255 +%'"), "true");
}

#[test]
fn http_dates_are_written_and_read() {
    assert_eq!(value("httpDate(784111777)"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(value("httpDate(253402300799)"), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_eq!(value("math.abs(parseHttpDate(httpDate()) - os.time()) < 60"), "true");
    for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(value(&format!("parseHttpDate('{date}')")), "784111777", "{date}");
    }
    assert_eq!(value("parseHttpDate('yesterday')"), "nil");
    for seconds in ["-1", "253402300800", "1/0", "0/0"] {
        assert!(failure(&format!("httpDate({seconds})")).contains("bad argument #1 to 'httpDate'"), "{seconds}");
    }
}

#[test]
fn random_bytes_are_as_many_as_asked_and_never_the_same() {
    assert_eq!(value("#randomBytes(0), #randomBytes(16), #randomBytes(1048576)"), "0161048576");
    assert_eq!(value("randomBytes(16) == randomBytes(16)"), "false");
    for count in ["-1", "1.5", "1048577"] {
        assert!(failure(&format!("randomBytes({count})")).contains("a whole number from 0 to 1048576 expected"));
    }
}

#[test]
fn texts_are_compared_as_wholes() {
    assert_eq!(
        value("hashEquals('abc', 'abc'), hashEquals('abc', 'abd'), hashEquals('abc', 'ab'), hashEquals('', '')"),
        "truefalsefalsetrue"
    );
    assert!(failure("hashEquals('a', nil)").contains("bad argument #2 to 'hashEquals'"));
}

#[test]
fn passwords_are_hashed_with_a_salt_and_verified() {
    let seen = page(
        "<? local cheap = { memory = 8, passes = 1 } \
         local one, other = passwordHash('s3cret', cheap), passwordHash('s3cret', cheap) ?>\
         <?= one:sub(1, 27), one == other ?> <?= passwordVerify('s3cret', one), passwordVerify('s3cret', other), \
         passwordVerify('s3creT', one), passwordVerify('', one) ?>",
    );
    assert_eq!(seen.text(), "$argon2id$v=19$m=8,t=1,p=1$false truetruefalsefalse", "{:?}", seen.log);
}

#[test]
fn hashes_that_php_made_are_verified() {
    let bcrypt = "$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq";
    let argon2 = "$argon2id$v=19$m=256,t=1,p=1$RzdYMGwxQUhBdTVQVXNGUg$WgnsVK5fZG+bXeun+q+J1W+eoH3Q3RnarP9HKx3DzgY";
    for hash in [bcrypt, argon2] {
        let answers = value(&format!("passwordVerify('rasmuslerdorf', '{hash}'), passwordVerify('rasmus', '{hash}')"));
        assert_eq!(answers, "truefalse", "{hash}");
    }
}

#[test]
fn a_hash_that_is_none_or_costs_too_much_verifies_nothing() {
    for hash in [
        "",
        "s3cret",
        "$2y$",
        "$2y$10$short",
        "$2y$31$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq",
        "$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$AAAAAAAA",
        "\\255",
    ] {
        assert_eq!(value(&format!("passwordVerify('s3cret', '{hash}')")), "false", "{hash}");
    }
    for options in ["{ memory = 1 }", "{ passes = 0 }", "{ lanes = 17 }", "{ memory = 1.5e9 }", "{ rounds = 1 }", "5"] {
        assert!(failure(&format!("passwordHash('x', {options})")).contains("bad argument #2"), "{options}");
    }
}

#[test]
fn json_is_decoded_to_luas_values() {
    let seen = page(
        r#"<? local v, problem = json.decode('{"a": [1, 2.5, "x\\u0000\\u00e4\\ud83d\\ude00", true, null], "b": {"c": -7}}') ?>
<?= v.a[1], v.a[2], #v.a[3], v.a[4], v.a[5] == json.null, #v.a, v.b.c, problem ?>"#,
    );
    assert_eq!(seen.text(), "12.58truetrue5-7nil");
    assert_eq!(value("(json.decode(' \"text\" '))"), "text");
    assert_eq!(value("json.decode('null') == json.null"), "true");
}

#[test]
fn json_comes_back_as_it_was() {
    for text in [
        "[]",
        "{}",
        "[[],{}]",
        "{\"a\":[],\"b\":{},\"c\":[null,1]}",
        "[0.1,1.7976931348623157e+308,5e-324,-1.5]",
        "[9007199254740992,-9007199254740992,1099511627776]",
        "[\"\\u0000\\n\\\"\\\\é\u{2028}\"]",
        "true",
        "null",
    ] {
        let text = text.replace('\\', "\\\\");
        assert_eq!(value(&format!("json.encode((json.decode('{text}'))) == '{text}'")), "true", "{text}");
    }
}

#[test]
fn json_integers_that_a_number_cannot_hold_become_text() {
    assert_eq!(value("json.decode('12345678901234567891')"), "12345678901234567891");
    assert_eq!(value("json.decode('[9007199254740993]')[1] .. ''"), "9007199254740993");
    let kind = if cfg!(feature = "lua54") { "number" } else { "string" };
    assert_eq!(value("type(json.decode('-9007199254740993'))"), kind);
    assert_eq!(value("type(json.decode('9007199254740992'))"), "number");
    // Whether a double happens to hold one is nothing that a page can count on.
    for digits in
        ["9007199254740993", "9007199254740994", "12345678901234323", "12345678901234324", "-9007199254740994"]
    {
        assert_eq!(
            value(&format!("type(json.decode('{digits}')) .. json.decode('{digits}')")),
            format!("{kind}{digits}")
        );
    }
    for digits in ["18446744073709551614", "18446744073709551615", "9223372036854775808"] {
        assert_eq!(
            value(&format!("type(json.decode('{digits}')) .. json.decode('{digits}')")),
            format!("string{digits}")
        );
    }
}

#[test]
fn a_number_of_any_size_is_one_again_when_it_comes_back_from_json() {
    for number in ["2^53", "2^53 + 2.0", "2^60", "-2^63", "1e17", "2^70", "1e300", "0.1", "1/3"] {
        let again =
            format!("(function(n) local m = json.decode(json.encode(n)) return m == n and type(m) end)({number})");
        assert_eq!(value(&again), "number", "{number}");
    }
}

#[cfg(feature = "luajit")]
#[test]
fn integers_of_64_bits_are_put_out_and_written_to_json_as_digits() {
    for (integer, digits) in [
        ("5LL", "5"),
        ("-9223372036854775807LL", "-9223372036854775807"),
        ("18446744073709551615ULL", "18446744073709551615"),
        ("0LL", "0"),
    ] {
        assert_eq!(value(integer), digits);
        let seen = page(&format!("<?& {integer} ?>,<? echo({integer}, 1) header('X-Id', {integer}) ?>"));
        assert_eq!(seen.text(), format!("{digits},{digits}1"));
        assert_eq!(seen.headers, [("X-Id".to_string(), digits.to_string())]);
        assert_eq!(value(&format!("json.encode({{ {integer} }})")), format!("[{digits}]"));
    }
    let problem = page("<? json.encode({ a = require('ffi').new('int[1]') }) ?>").log.concat();
    assert!(problem.contains("has no JSON, at a"), "{problem}");
}

#[test]
fn json_members_are_sorted_and_tables_are_arrays_when_their_keys_are() {
    for (expression, text) in [
        ("{ b = 1, a = 2, c = { 1, 2, 'x' } }", r#"{"a":2,"b":1,"c":[1,2,"x"]}"#),
        ("{}", "{}"),
        ("json.array()", "[]"),
        ("json.array({})", "[]"),
        ("{ json.null, 1 }", "[null,1]"),
        ("{ 1e15, 1e300, -0.5, 3.0 }", "[1000000000000000,1e+300,-0.5,3]"),
        ("'</script>'", "\"\\u003c/script>\""),
        ("nil", "null"),
    ] {
        assert_eq!(value(&format!("json.encode({expression})")), text, "{expression}");
    }
}

#[test]
fn json_of_a_table_that_stands_for_many_ends_at_64_mb() {
    let shared = "(function() local t = { ('x'):rep(1e6) } for i = 1, 40 do t = { t, t } end return t end)()";
    assert!(failure(&format!("json.encode({shared})")).contains("the text is over 64 MiB"));
}

#[test]
fn what_json_cannot_hold_is_an_error_that_says_where() {
    for (value, problem) in [
        ("{ users = { { name = 'ok' }, { name = 'a\\255' } } }", "not UTF-8 (byte 2) has no JSON, at users[2].name"),
        ("{ a = 0/0 }", "NaN has no JSON, at a"),
        ("{ 1, -1/0 }", "infinity has no JSON, at [2]"),
        ("{ call = print }", "a function has no JSON, at call"),
        ("{ 1, nil, 3 }", "neither all text nor 1, 2, 3 without a gap"),
        ("{ 1, x = 2 }", "neither all text nor 1, 2, 3 without a gap"),
        ("{ [true] = 2 }", "neither all text nor 1, 2, 3 without a gap"),
        ("{ ['\\255'] = 2 }", "not UTF-8 (byte 1)"),
        ("(function() local t = { a = {} } t.a.b = t return t end)()", "a table that holds itself has no JSON, at a.b"),
        ("(function() local t = {} for _ = 1, 127 do t = { t } end return t end)()", "tables nest more than 127 deep"),
    ] {
        let message = failure(&format!("json.encode({value})"));
        assert!(message.contains(problem), "{value}: {message}");
    }
}

#[test]
fn the_same_table_twice_is_no_circle() {
    assert_eq!(value("(function(t) return json.encode({ t, t }) end)({ 1 })"), "[[1],[1]]");
}

#[test]
fn wrong_json_is_nil_and_a_message_with_line_and_column() {
    for (text, problem) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\\n\"a\": tru}", "at line 2 column 9"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("1 2", "trailing characters at line 1 column 3"),
        ("\"\\\\ud800\"", "at line 1 column"),
        ("\"\\255\"", "at line 1 column"),
        ("1e400", "number out of range at line 1 column"),
        ("NaN", "at line 1 column"),
    ] {
        let shown = value(&format!("json.decode('{text}')"));
        assert!(shown.starts_with("nil") && shown.contains(problem), "{text}: {shown}");
    }
}

#[test]
fn json_nests_as_deep_both_ways() {
    let text = "('['):rep(127) .. (']'):rep(127)";
    assert_eq!(value(&format!("json.encode((json.decode({text}))) == {text}")), "true");
    assert!(value("json.decode(('['):rep(128))").contains("recursion limit exceeded at line 1 column 128"));
    assert!(value("json.decode(('{\"a\":'):rep(1e6))").contains("recursion limit exceeded"));
}

#[test]
fn json_that_needs_more_than_the_memory_limit_ends_the_page() {
    let page = "<? local text = '[' .. ('[],'):rep(300000) .. '1]' echo(json.decode(text)) ?>";
    let seen = site::Site::new("pLuaMemoryLimit 8000", &[("page.plua", page)]).get("page.plua");
    assert_eq!(seen.status, 500);
    assert!(seen.log[0].starts_with("Memory limit: Memory limit reached!"), "{:?}", seen.log);
}
