//! Rows of a database as pages and JSON see them: names, NULL, types.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it measured")]

mod site;

use site::Site;

/// What a page's code puts out on a host of this configuration. `db` is open, `typed` too, with types and json.null.
fn shown(configuration: &str, code: &str) -> String {
    let site = Site::new(configuration, &[]);
    let open = "<?lua local db = assert(dbopen('sqlite3', ':memory:'))
        local typed = assert(dbopen('sqlite3', ':memory:', { types = true, null = json.null }))";
    site.write("page.plua", format!("{open}\n{code} ?>"));
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 200, "{code}\n{:?}", seen.log);
    seen.text()
}

fn show(code: &str, expected: &str) {
    for configuration in ["", "pLuaSandbox On", "pLuaGlobals request", "pLuaMemoryLimit 8192\npLuaTimeout 60"] {
        assert_eq!(shown(configuration, code), expected, "{configuration}\n{code}");
    }
}

#[test]
fn json_of_rows_has_the_names_in_order_and_null_wherever_it_is() {
    show(
        "echo(json.encode(db:query([[SELECT 2 AS zeta, NULL AS middle, 'x' AS alpha, NULL AS last]])))",
        r#"[{"zeta":"2","middle":null,"alpha":"x","last":null}]"#,
    );
    show(
        "echo(json.encode{ rows = db:query('SELECT NULL AS only'), none = db:query('SELECT 1 WHERE 0') })
         for row in db:rows('SELECT 1 AS b, 2 AS a') do echo(json.encode(row)) end
         echo(json.encode(db:prepare('SELECT ? AS v'):query('it')[1]))",
        r#"{"none":[],"rows":[{"only":null}]}{"b":"1","a":"2"}{"v":"it"}"#,
    );
}

#[test]
fn a_row_is_asked_by_name_and_by_position_and_may_be_changed_under_both() {
    show(
        "local row = db:query([[SELECT 1 AS id, NULL AS gone, 'x' AS query, 'y' AS '1', 'z' AS columns, 'k' AS __index]])[1]
         echo(row.id, row[1], tostring(row.gone), row.query, row['1'], row.columns, row.__index, #row, ' ')
         local keys = {} for key in pairs(row) do keys[#keys + 1] = key end
         table.sort(keys) echo(table.concat(keys, ','), ' ')
         row.query = nil row.gone = 'back' row.url = '/1' row[1] = 7
         echo(row.id, tostring(row.query), row[2], ' ', json.encode(row))",
        "11nilxyzk6 1,3,4,5,6 7nilback {\"id\":7,\"gone\":\"back\",\"query\":null,\"1\":\"y\",\"columns\":\"z\",\
         \"__index\":\"k\",\"url\":\"/1\"}",
    );
}

#[test]
fn of_columns_of_the_same_name_the_first_counts() {
    show(
        "local row = db:query('SELECT a.id, b.id, b.name FROM (SELECT 1 AS id) a, (SELECT 2 AS id, 3 AS name) b')[1]
         echo(row.id, row[2], ' ', json.encode(row))",
        r#"12 {"id":"1","name":"3"}"#,
    );
}

#[test]
fn numbers_and_truth_values_come_typed_where_the_handle_asks_for_it() {
    show(
        "typed:run('CREATE TABLE t (i INTEGER, f REAL, ok BOOLEAN, name TEXT, digits TEXT)')
         typed:run('INSERT INTO t VALUES (?, ?, ?, ?, ?)', 5, 2.5, true, 'Ada', '7')
         typed:run('INSERT INTO t VALUES (?, ?, ?, ?, ?)', -1, 1/3, false, json.null, nil)
         local rows = typed:query('SELECT * FROM t')
         echo(json.encode(rows), ' ', rows[1].i + 1, rows[2].f == 1/3, rows[1].ok == true, rows[2].ok == false)
         echo(' ', type(rows[1].digits), #rows[2], rows[2].name == json.null, '[', rows[2].name, ']')
         for row in typed:rows('SELECT ok, count(*) AS n FROM t GROUP BY 1') do echo(type(row.ok), row.n + 0) end",
        "[{\"i\":5,\"f\":2.5,\"ok\":true,\"name\":\"Ada\",\"digits\":\"7\"},\
         {\"i\":-1,\"f\":0.3333333333333333,\"ok\":false,\"name\":null,\"digits\":null}] 6truetruetrue string5true[]\
         boolean1boolean1",
    );
}

#[test]
fn a_whole_number_that_lua_cannot_hold_stays_text() {
    let most = if cfg!(feature = "lua54") { "number" } else { "string" };
    show(
        "local row = typed:query('SELECT 9223372036854775807 AS most, 9007199254740991 AS exact')[1]
         echo(row.most, type(row.most), type(row.exact), row.exact == 2^53 - 1)",
        &format!("9223372036854775807{most}numbertrue"),
    );
}

#[test]
fn a_handle_tells_what_it_cannot_choose() {
    show(
        "for _, options in ipairs{ 5, { type = true }, { null = {} } } do
           echo(select(2, pcall(dbopen, 'sqlite3', ':memory:', options)):match('%(.*'), '|') end",
        "(table expected, got number)|(no option 'type': there are types and null)|\
         (null: json.null, text, a number or a boolean expected, got a table)|",
    );
    show("echo('[', dbopen('sqlite3', ':memory:', { null = '-' }):query('SELECT NULL')[1][1], ']')", "[-]");
}

#[test]
fn json_null_is_bound_as_null_and_shown_as_nothing() {
    show(
        "echo(db:query('SELECT ? IS NULL, typeof(?)', json.null, json.null)[1][2], '[', json.null, ']')
         echo(capture(function() ?><?= json.null ?>[<?& json.null ?>]<? end), json.decode('{\"a\":null}').a)",
        "null[][]",
    );
}

#[test]
fn a_floating_point_number_comes_back_as_the_same_number() {
    show(
        "db:run('CREATE TABLE t (f REAL)')
         for _, f in ipairs{ 1/3, 0.1, 0.1 + 0.2, -2^53 + 1, 1e300, 5e-324, 2.5, 100, 1e22 / 7 } do
           db:run('INSERT INTO t VALUES (?)', f)
           local back = db:query('SELECT f FROM t WHERE rowid = last_insert_rowid()')[1].f
           echo(tonumber(back) == f, ' ', back, '|')
         end",
        "true 0.3333333333333333|true 0.1|true 0.30000000000000004|true -9007199254740991.0|true 1.0e+300|\
         true 4.94065645841247e-324|true 2.5|true 100.0|\
         true 1.4285714285714287e+21|",
    );
}

#[test]
fn what_only_looks_like_a_row_is_a_table() {
    show(
        "local row = db:query('SELECT 1 AS a')[1]
         echo(json.encode(setmetatable({ 1 }, { columns = { 'a' }, __index = function() end })), ' ')
         echo(tostring(getmetatable(getmetatable(row) or row)))",
        // A protected metatable is false, or nothing where it is hidden.
        &shown("", "echo('[1] ', tostring(getmetatable(getmetatable(db:query('SELECT 1 AS a')[1]))))"),
    );
}

#[test]
fn a_million_values_take_no_more_than_their_table() {
    let code = "collectgarbage() local before = collectgarbage('count')
         local rows = db:query([[WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
           SELECT i % 7 AS a, 1 AS b, 2 AS c, 3 AS d, 4 AS e, 5 AS f, 6 AS g, 7 AS h, 8 AS i, 9 AS j FROM n]])
         collectgarbage() local named = collectgarbage('count') - before
         local plain = {} before = collectgarbage('count')
         for i = 1, #rows do local r = rows[i] plain[i] = { r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10] } end
         collectgarbage() echo(named / (collectgarbage('count') - before))";
    let times: f64 = shown("", code).parse().unwrap();
    println!("rows take {times} times the memory of plain tables");
    assert!(times < 1.3, "{times}");
}

#[test]
fn names_of_columns_that_a_page_puts_in_count_before_json_copies_them() {
    let page = "<? local db = assert(dbopen('sqlite3', ':memory:')) local rows = db:query('select 1 as a')
        local names = db:columns(rows[1])
        for i = 1, 400 do names[i] = ('n'):rep(1e5) .. i end
        echo(#json.encode(rows)) ?>";
    let seen = Site::new("pLuaMemoryLimit 64000", &[("page.plua", page)]).get("page.plua");
    assert!(seen.status == 500 && seen.log.concat().contains("Memory limit"), "{} {:?}", seen.status, seen.log);
}
