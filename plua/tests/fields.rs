//! Single fields of a query or form as text, and fields whose names make tables.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::Site;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=XX";

/// A form in parts: a text, a file and a text of one name, a file of another, and a file field in which none was chosen.
const PARTS: &str = "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n\
    --XX\r\nContent-Disposition: form-data; name=a; filename=\"x.txt\"\r\n\r\ndata\r\n\
    --XX\r\nContent-Disposition: form-data; name=a\r\n\r\n2\r\n\
    --XX\r\nContent-Disposition: form-data; name=b; filename=\"x\"\r\n\r\nonly a file\r\n\
    --XX\r\nContent-Disposition: form-data; name=c; filename=\"\"\r\n\r\n\r\n\
    --XX--\r\n";

/// Shows tables with their keys in order, numbers as they are and text in quotes.
const SHOW: &str = "<? local function show(value)
  if type(value) ~= 'table' then return tostring(value) end
  local keys, shown = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(one, other)
    if type(one) ~= type(other) then return type(one) == 'number' end
    return one < other
  end)
  for i, key in ipairs(keys) do
    shown[i] = (type(key) == 'string' and '\\'' .. key .. '\\'' or key) .. '=' .. show(value[key])
  end
  return '{' .. table.concat(shown, ',') .. '}'
end ?>";

#[test]
fn a_field_of_a_query_is_one_text_however_often_it_was_sent() {
    let page = "<? local function show(v) return type(v) .. ' ' .. tostring(v) end ?>\
        <?= show(plua.get('name')), '|', show(plua.get('none')), '|', show(plua.get('none', 'x')), '|', \
        show(plua.get('empty', 'x')), '|', show(plua.get('none', false)), '|', show(plua.get('a b')) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for (query, name) in [("name=a", "string a"), ("name=a&name=b&other=c", "string b"), ("name=a&name", "string ")] {
        let seen = site.get(&format!("page.plua?{query}&empty=&a+b=%00%C3%A4"));
        let expected = format!("{name}|nil nil|string x|string |boolean false|string \0\u{e4}");
        assert_eq!(seen.text(), expected, "{query}");
    }
    assert_eq!(site.get("page.plua").text(), "nil nil|nil nil|string x|string x|boolean false|nil nil");
}

#[test]
fn all_fields_of_a_name_are_an_array_however_often_it_was_sent() {
    let page = "<?! json.encode(plua.getAll('a')) ?> <?= #plua.getAll('a'), #plua.getAll('a') ?>";
    let site = Site::new("", &[("page.plua", page)]);
    for (query, shown) in [("", "[] 00"), ("?a=1", "[\"1\"] 11"), ("?a=1&b=2&a&a=3", "[\"1\",\"\",\"3\"] 33")] {
        assert_eq!(site.get(&format!("page.plua{query}")).text(), shown);
    }
}

#[test]
fn fields_of_a_form_are_the_same_and_never_files() {
    let page = "<? for _, name in ipairs { 'a', 'b', 'c', 'd' } do ?>\
        <?= tostring(plua.post(name)), ' ', plua.post(name, 'none'), ' ' ?><?! json.encode(plua.postAll(name)) ?>;<? end ?>";
    let site = Site::new("", &[("page.plua", page)]);
    let seen = site.post("page.plua?a=query&d=query", URLENCODED, "a=1&a=2&b=x+y&c");
    assert_eq!(seen.text(), "2 2 [\"1\",\"2\"];x y x y [\"x y\"];  [\"\"];nil none [];");
    let seen = site.post("page.plua", MULTIPART, PARTS);
    assert_eq!(seen.text(), "2 2 [\"1\",\"2\"];nil none [];  [\"\"];nil none [];");
    assert_eq!(site.get("page.plua").text(), "nil none [];".repeat(4));
}

#[test]
fn single_fields_and_whole_tables_can_be_asked_for_in_any_order_in_every_kind_of_host() {
    let page = "<? local function all() return plua.get('a'), parseGet().a, plua.post('a'), parsePost().a end ?>\
        <?= all() ?> <?= coroutine.wrap(all)() ?>";
    for mode in ["", "pLuaGlobals request", "pLuaSandbox On", "pLuaTimeout 5\npLuaMemoryLimit 5000"] {
        let site = Site::new(mode, &[("page.plua", page)]);
        assert_eq!(site.post("page.plua?a=1", URLENCODED, "a=2").text(), "1122 1122", "{mode}");
    }
}

#[test]
fn what_is_no_name_is_an_error_at_the_pages_line() {
    for call in ["plua.get", "plua.getAll", "plua.post", "plua.postAll"] {
        let site = Site::new("", &[("page.plua", &format!("\n<? {call}() ?>"))]);
        let seen = site.get("page.plua?a=1");
        assert_eq!(seen.status, 500);
        let message = format!("bad argument #1 to '{call}' (string expected, got no value)");
        assert!(seen.log[0].contains(&message) && seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
    }
}

#[test]
fn too_many_fields_are_413_for_single_ones_too() {
    let site =
        Site::new("pLuaFields 2", &[("get.plua", "<?= plua.get('a') ?>"), ("post.plua", "<?= #plua.postAll('a') ?>")]);
    assert_eq!(site.get("get.plua?a=1&a=2").text(), "2");
    let seen = site.get("get.plua?a=1&a=2&b=3");
    assert_eq!(seen.status, 413);
    assert!(seen.log[0].contains("the query has more than 2 fields (pLuaFields)"), "{:?}", seen.log);
    assert_eq!(site.post("post.plua", URLENCODED, "a=1&a=2").text(), "2");
    assert_eq!(site.post("post.plua", URLENCODED, "a=1&a=2&b=3").status, 413);
}

#[test]
fn names_with_brackets_make_tables_where_the_page_asks_for_it() {
    let page = format!(
        "{SHOW}<?= show(parseGet()), ' ', show(parseGet{{ nested = true }}), ' ', \
         show(parseGet{{ nested = false }}), ' ', show(parsePost{{ nested = true }}) ?>"
    );
    let site = Site::new("", &[("page.plua", &page)]);
    let body = "line[1][name]=tea&line[2][name]=milk&note=x&note=y";
    let seen = site.post("page.plua?a[b][]=1&a[b][]=2&c=3", URLENCODED, body);
    let (flat, nested) = ("{'a[b][]'={1=1,2=2},'c'=3}", "{'a'={'b'={1=1,2=2}},'c'=3}");
    let posted = "{'line'={1={'name'=tea},2={'name'=milk}},'note'=y}";
    assert_eq!(seen.text(), format!("{flat} {nested} {flat} {posted}"));
    let files = PARTS.replace("name=a", "name=\"a[]\"").replace("name=b", "name=\"b[file]\"");
    let seen = site.post("page.plua", MULTIPART, files);
    let posted = "{'a'={1=1,2={1=x.txt,2=data},3=2},'b'={'file'={1=x,2=only a file}},'c'=}";
    assert_eq!(seen.text(), format!("{{}} {{}} {{}} {posted}"));
}

#[test]
fn names_that_make_too_many_tables_or_nest_too_deep_are_refused() {
    let page = "\n<? parseGet{ nested = true } parsePost{ nested = true } ?>fine";
    let site = Site::new("pLuaFields 3", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua?a[b][c][]=1&a[b][c][]=2&d=3").text(), "\nfine");
    for (status, fields, message) in [
        (413, "a[b][c][d][e]=1".to_string(), "fields make more than 3 tables (pLuaFields)"),
        (400, format!("a{}=1", "[]".repeat(33)), "is in more than 32 tables"),
    ] {
        for seen in [site.get(&format!("page.plua?{fields}")), site.post("page.plua", URLENCODED, &fields)] {
            assert_eq!(seen.status, status, "{fields}");
            assert!(seen.log[0].contains(message) && seen.log[0].contains("page.plua:2"), "{:?}", seen.log);
        }
    }
}

#[test]
fn a_form_of_nested_names_ends_with_the_memory_limit() {
    let page = "<? local n = 0 for _ in pairs(parsePost{ nested = true }.a) do n = n + 1 end echo(n) ?>";
    let body = (0..50_000).map(|n| format!("a[k{n}][]=1")).collect::<Vec<_>>().join("&");
    let site = Site::new("pLuaFields 100000", &[("page.plua", page)]);
    assert_eq!(site.post("page.plua", URLENCODED, &body).text(), "50000");
    let site = Site::new("pLuaFields 100000\npLuaMemoryLimit 2000", &[("page.plua", page)]);
    let seen = site.post("page.plua", URLENCODED, &body);
    assert!(seen.status == 500 && seen.log.concat().starts_with("Memory limit"), "{:?}", seen.log);
    assert_eq!(site.post("page.plua", URLENCODED, "a[b]=1").text(), "1");
}

#[test]
fn an_option_that_is_none_is_an_error() {
    for (call, message) in [
        ("parseGet{ nestd = true }", "bad argument #1 to 'parseGet' (no option is called 'nestd')"),
        ("parsePost{ nested = 1 }", "bad argument #1 to 'parsePost' (nested is true or false)"),
        ("parseGet('nested')", "bad argument #1 to 'parseGet' (table expected, got string)"),
    ] {
        let seen = Site::new("", &[("page.plua", &format!("<? {call} ?>"))]).get("page.plua");
        assert!(seen.status == 500 && seen.log[0].contains(message), "{:?}", seen.log);
    }
}
