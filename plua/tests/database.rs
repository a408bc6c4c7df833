//! Pages and an SQLite database, through APR's driver: everything a handle does.

mod site;

use std::fs;

use site::{Seen, Site};

/// What a page's code puts out that finds `db` open on a fresh database in its folder.
fn run(code: &str) -> String {
    let site = Site::new("", &[]);
    get(&site, code).text()
}

fn get(site: &Site, code: &str) -> Seen {
    site.write("page.plua", format!("<?lua local db = assert(dbopen('sqlite3', 'test.db'))\n{code} ?>"));
    let seen = site.get("page.plua");
    assert_eq!(seen.status, 200, "{code}\n{:?}", seen.log);
    seen
}

fn show(code: &str, expected: &str) {
    assert_eq!(run(code), expected, "{code}");
}

/// A table of three rows; the second has a NULL, the third an empty string.
const TABLE: &str = "assert(db:run('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)'))\n\
    assert(db:run([[INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')]]))\n";

#[test]
fn a_handle_is_a_table_with_its_functions() {
    show(
        "echo(type(db)) for _, name in ipairs{'active', 'close', 'escape', 'query', 'run'} do
           echo(' ', type(db[name])) end",
        "table function function function function function",
    );
}

#[test]
fn run_tells_how_many_rows_it_changed() {
    show(
        "echo(db:run('CREATE TABLE t (a, b)'), ' ', db:run('INSERT INTO t VALUES (1, 2)'), ' ',
           db:run('INSERT INTO t VALUES (3, 4), (5, 6)'), ' ', db:run('UPDATE t SET b = 0'), ' ',
           db:run('CREATE TABLE u (a)'), ' ', db:run('DELETE FROM t WHERE a > 1'))",
        "0 1 2 3 0 2",
    );
}

#[test]
fn a_query_gives_rows_of_strings_in_which_null_is_a_hole() {
    let code = "local rows = db:query('SELECT id, name FROM t ORDER BY id')
        echo(#rows, ' ', type(rows[1][1]), rows[1][1], rows[1][2], ' ', tostring(rows[2][2]), ' [', rows[3][2], ']')
        local keys = 0 for _ in pairs(rows[1]) do keys = keys + 1 end echo(' ', keys)
        local none = db:query('SELECT * FROM t WHERE id > 9') echo(' ', type(none), #none, tostring(next(none)))";
    show(&format!("{TABLE}{code}"), "3 string1a nil [] 2 table0nil");
}

#[test]
fn a_statement_without_rows_is_false_to_query_and_has_run() {
    show(
        &format!("{TABLE} echo(tostring(db:query('DELETE FROM t WHERE id = 1')), #db:query('SELECT * FROM t'))"),
        "false2",
    );
}

#[test]
fn values_are_found_by_the_names_of_their_columns_too() {
    let code = "local rows = db:query('SELECT id AS number, name, 5 AS id FROM t')
        echo(rows[1].number, rows[1].name, rows[1].id, tostring(rows[2].name), tostring(rows[1].other))
        echo(' ', table.concat(db:columns(rows), ','), ' ', table.concat(db:columns(rows[2]), ','))";
    show(&format!("{TABLE}{code}"), "1a5nilnil number,name,id number,name,id");
}

#[test]
fn errors_are_nil_and_a_message() {
    for (call, message) in [
        ("db:run('nonsense')", "near \"nonsense\": syntax error"),
        ("db:query('SELECT * FROM missing')", "no such table: missing"),
        ("db:rows('SELECT * FROM missing')", "no such table: missing"),
        ("db:run('SELECT 1')", "not an error"),
        ("db:run('')", "not an error"),
        ("db:query('')", "not an error"),
        ("db:query('SELECT 1\\0')", "the statement holds a NUL byte"),
        ("db:query('SELECT ?', 1, 2)", "the statement has 1 placeholders and 2 values"),
        ("db:query('SELECT ?')", "the statement has 1 placeholders and 0 values"),
        ("db:prepare([[SELECT 'a]])", "a string or comment in the statement has no end"),
        ("db:escape('a\\0b')", "the text holds a NUL byte"),
        ("db:commit()", "no transaction is open"),
        ("db:rollback()", "no transaction is open"),
        ("dbopen('sqlite3', '')", "no parameters for the database driver 'sqlite3'"),
        ("dbopen('sqlite3', 'no/such/folder/x.db')", "unable to open database file"),
        ("dbopen('mod_dbd')", "mod_dbd is not available here"),
        (
            "dbopen('../x', 'y')",
            "unknown database driver '../x': there are sqlite3, pgsql, mysql, odbc, oracle, freetds, sqlite2",
        ),
    ] {
        show(&format!("local value, message = {call} echo(tostring(value), ' ', message)"), &format!("nil {message}"));
    }
    let missing = run("local value, message = dbopen('oracle', 'x') echo(tostring(value), ' ', message)");
    assert!(missing.starts_with("nil the database driver 'oracle' is not installed (2"), "{missing}");
    let refused = run("local value, message = dbopen('pgsql', 'host=127.0.0.1 port=1') echo(tostring(value), message)");
    assert!(refused.starts_with("nil") && refused.contains("refused"), "{refused}");
}

#[test]
fn misuse_is_an_error_at_the_page_s_line() {
    for (call, message) in [
        ("db.query('SELECT 1')", "called with a colon: db:query(...)"),
        ("db:query(nil)", "bad argument #1 to 'query' (string expected, got nil)"),
        ("db:run('SELECT ?', {})", "value 1 of the statement is a table: pass strings, numbers"),
        ("db:transaction(5)", "bad argument #1 to 'transaction' (function expected, got number)"),
        ("dbopen()", "bad argument #1 to 'dbopen' (string expected, got no value)"),
    ] {
        let text = run(&format!("\nlocal _, message = pcall(function() {call} end) echo(message)"));
        assert!(text.contains("page.plua:3: ") && text.contains(message), "{call}: {text}");
    }
}

#[test]
fn escape_doubles_quotes() {
    show("echo(db:escape(\"it's\"))", "it''s");
}

#[test]
fn a_closed_handle_says_so() {
    show(
        "echo(tostring(db:active()), db:close(), db:close(), tostring(db:active()))
         for _, name in ipairs{'run', 'query', 'rows', 'prepare'} do
           local value, message = db[name](db, 'SELECT 1') echo('|', tostring(value), ' ', message) end
         echo('|', select(2, db:begin()))",
        &format!("true00false{}|the database handle is closed", "|nil the database handle is closed".repeat(4)),
    );
}

#[test]
fn values_take_the_places_of_question_marks() {
    show(
        &format!(
            "{TABLE} local evil = \"x'); DROP TABLE t; --\"
             echo(db:run('INSERT INTO t (name) VALUES (?)', evil))
             echo(db:query('SELECT name FROM t WHERE name = ?', evil)[1].name == evil)
             echo(#db:query('SELECT * FROM t WHERE id = ? OR id = ?', 1, '3'))
             echo(db:query(\"SELECT '?' || ?, 5-?, count(*) > ? FROM t\", 'x', -3, 3)[1][1])
             echo(tostring(db:query('SELECT ?', nil)[1][1]), db:query('SELECT ? + ?', true, false)[1][1])
             echo(db:query('SELECT ?', 0.1)[1][1], ' ', db:query('SELECT typeof(?)', 2^40)[1][1])
             echo(' ', #db:query('SELECT id FROM t WHERE name LIKE ?', '%')[1], db:query('SELECT 7 % 4')[1][1])"
        ),
        "1true2?xnil10.1 integer 13",
    );
}

#[test]
fn every_byte_goes_into_the_database_and_comes_back() {
    show(
        "local all = {} for i = 0, 255 do all[#all + 1] = string.char(i) end all = table.concat(all)
         db:run('CREATE TABLE b (x)')
         echo(db:run('INSERT INTO b VALUES (?)', all), db:query('SELECT x FROM b')[1].x == all)
         echo(db:query('SELECT typeof(?), ?', db:blob('a'), db:blob(''))[1][1], #db:query('SELECT ?', db:blob(''))[1][1])
         echo(db:query('SELECT ?', 'gr\u{fc}\u{df}e')[1][1])",
        "1trueblob0gr\u{fc}\u{df}e",
    );
}

#[test]
fn a_prepared_statement_serves_again_and_again() {
    show(
        &format!(
            "{TABLE} local add = db:prepare('INSERT INTO t VALUES (?, ?)')
             for i = 4, 6 do assert(add:run(i, 'n' .. i)) end
             local one = db:prepare('SELECT name FROM t WHERE id = ?')
             echo(one:query(4)[1].name, one:query(6)[1].name)
             for row in one:rows(5) do echo(row.name) end"
        ),
        "n4n6n5",
    );
}

#[test]
fn rows_come_one_by_one_and_other_statements_run_meanwhile() {
    show(
        &format!(
            "{TABLE} for row in db:rows('SELECT id, name FROM t ORDER BY id DESC') do
               echo(row.id, '=', tostring(row.name), ' ')
               for other in db:rows('SELECT max(id) FROM t WHERE id < ?', row.id) do echo(tostring(other[1]), ' ') end
             end
             for row in db:rows('SELECT id FROM t') do echo(row.id) break end
             for row in db:rows('DELETE FROM t') do echo('never') end
             echo(#db:query('SELECT * FROM t'))"
        ),
        "3= 2 2=nil 1 1=a nil 10",
    );
}

#[test]
fn a_large_result_does_not_fill_the_page_s_memory() {
    let site = Site::new("pLuaMemoryLimit 4096", &[]);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        SELECT i, hex(zeroblob(500)) AS text FROM n";
    let seen = get(&site, &format!("local n = 0 for row in db:rows([[{many}]]) do n = n + #row.text end echo(n)"));
    assert_eq!(seen.text(), "20000000");
}

#[test]
fn a_transaction_is_committed_or_rolled_back_as_one() {
    show(
        &format!(
            "{TABLE} local function count() return db:query('SELECT count(*) FROM t')[1][1] end
             assert(db:begin()) db:run('DELETE FROM t') echo(count()) assert(db:rollback()) echo(count())
             assert(db:begin()) db:run('DELETE FROM t WHERE id = 1') assert(db:commit()) echo(count())
             echo(db:begin() and select(2, db:begin())) db:rollback()
             echo(' ', db:transaction(function(same) same:run('DELETE FROM t WHERE id = 2') return 'done' end), count())
             local ok, message = pcall(db.transaction, db, function() db:run('DELETE FROM t') error('no', 0) end)
             echo(' ', tostring(ok), message, count())
             echo(tostring(db:transaction(function() end)), db:begin() and db:rollback())"
        ),
        "032a transaction is open already done1 falseno1truetrue",
    );
}

#[test]
fn a_page_that_fails_or_ends_within_a_transaction_leaves_nothing_behind() {
    let site = Site::new("", &[]);
    get(&site, TABLE);
    for code in [
        "db:transaction(function() db:run('DELETE FROM t') error('on purpose') end)",
        "db:begin() db:run('DELETE FROM t') error('on purpose')",
        "kept = db db:begin() db:run('DELETE FROM t')",
        "kept = db db:run('BEGIN') db:run('DELETE FROM t')",
        "db:transaction(function() db:run('DELETE FROM t') exit() end)",
    ] {
        site.write("fail.plua", format!("<?lua local db = dbopen('sqlite3', 'test.db') {code} ?>"));
        let failed = site.get("fail.plua");
        assert_eq!(failed.status == 500, code.contains("error("), "{code}");
        assert_eq!(get(&site, "echo(#db:query('SELECT * FROM t'))").text(), "3", "{code}");
    }
}

#[test]
fn the_last_inserted_number_is_known() {
    show(&format!("{TABLE} db:run('INSERT INTO t (name) VALUES (?)', 'x') echo(db:lastId())"), "4");
}

#[test]
fn a_handle_kept_in_a_global_serves_later_requests() {
    let site = Site::new(
        "",
        &[(
            "page.plua",
            "<? kept = kept or dbopen('sqlite3', ':memory:')
        kept:run('CREATE TABLE IF NOT EXISTS t (a)') kept:run('INSERT INTO t VALUES (?)', 1)
        echo(kept:query('SELECT count(*) FROM t')[1][1], ' ', tostring(kept:active())) ?>",
        )],
    );
    assert_eq!(site.get("page.plua").text(), "1 true");
    assert_eq!(site.get("page.plua").text(), "2 true");
}

#[test]
fn rows_kept_beyond_their_request_say_so() {
    let site = Site::new(
        "",
        &[(
            "page.plua",
            "<? local many = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT i FROM n'
        if not kept then kept = dbopen('sqlite3', ':memory:') more = kept:rows(many) echo(more()[1])
        else echo(select(2, pcall(function() for row in more do end end))) end ?>",
        )],
    );
    assert_eq!(site.get("page.plua").text(), "1");
    let text = site.get("page.plua").text();
    assert!(text.ends_with("these rows are no longer there"), "{text}");
}

#[test]
fn an_sqlite_file_lies_beside_the_page() {
    let site = Site::new("", &[("deep/page.plua", "<? echo(dbopen('sqlite3', 'x.db'):run('CREATE TABLE t (a)')) ?>")]);
    assert_eq!(site.get("deep/page.plua").text(), "0");
    assert!(site.path("deep/x.db").is_file());
}

#[test]
fn handles_nobody_holds_are_closed() {
    let site = Site::new("", &[]);
    let files = || fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let path = site.path("test.db");
    let open = || files().filter(|target| *target == path).count();
    get(
        &site,
        "db:run('CREATE TABLE t (a)') for i = 1, 50 do dbopen('sqlite3', 'test.db'):query('SELECT * FROM t') end
        db = nil collectgarbage() collectgarbage()",
    );
    assert_eq!(open(), 0);
    get(&site, "kept = db kept:query('SELECT * FROM t')");
    assert_eq!(open(), 1);
    drop((site.host, site.engine));
    assert_eq!(files().filter(|target| *target == path).count(), 0, "closed with its state");
}

#[test]
fn a_dropped_loop_over_rows_gives_them_up() {
    show(
        &format!(
            "{TABLE} for i = 1, 3000 do for row in db:rows('SELECT * FROM t') do break end end
             collectgarbage() collectgarbage() echo(#db:query('SELECT * FROM t'))"
        ),
        "3",
    );
}

#[test]
fn databases_work_where_libraries_are_left_out() {
    let site = Site::new("pLuaIgnoreLibrary debug,os,io", &[]);
    assert_eq!(get(&site, "echo(db:query('SELECT 1 AS one')[1].one)").text(), "1");
}

#[test]
fn databases_work_in_a_coroutine() {
    let code = "coroutine.wrap(function() local own = dbopen('sqlite3', ':memory:')
        echo(own:query('SELECT 7')[1][1], ' ', select(2, own:run('nonsense'))) end)()";
    show(code, "7 near \"nonsense\": syntax error");
}

#[test]
fn a_loop_that_is_left_holds_nothing_up() {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, '' FROM n";
    for left in [
        "for row in db:rows('SELECT * FROM t') do break end",
        "pcall(function() for row in db:rows('SELECT * FROM t') do error('on purpose') end end)",
        "coroutine.wrap(function() for row in db:rows('SELECT * FROM t') do coroutine.yield() end end)()",
    ] {
        show(
            &format!(
                "db:run('CREATE TABLE t (id INTEGER, name TEXT)') db:run([[{many}]])
                 {left} echo(db:run('DELETE FROM t WHERE id > 10'))
                 {left} echo(' ', db:run('DROP TABLE t'), #db:query('SELECT name FROM sqlite_master'))"
            ),
            "4990 00",
        );
    }
}

#[test]
fn a_loop_over_rows_does_not_meet_what_is_written_meanwhile() {
    show(
        "db:run('PRAGMA synchronous = off') db:run('CREATE TABLE t (id INTEGER)') for i = 1, 600 do db:run('INSERT INTO t VALUES (?)', i) end
         local n = 0
         for row in db:rows('SELECT id FROM t') do n = n + 1 db:run('INSERT INTO t VALUES (?)', row.id + 1000) end
         echo(n, ' ', #db:query('SELECT * FROM t'), ' ')
         n = 0 for row in db:rows('SELECT id FROM t') do n = n + 1 if n == 1 then db:run('DELETE FROM t') end end echo(n)
         db:begin() for i = 1, 600 do db:run('INSERT INTO t VALUES (?)', i) end
         n = 0 for row in db:rows('SELECT id FROM t') do n = n + 1 if n == 1 then db:rollback() end end echo(' ', n)",
        "600 1200 1200 600",
    );
}

#[test]
fn rows_of_a_statement_that_writes_come_when_all_is_written() {
    show(
        &format!(
            "{TABLE} for row in db:rows('INSERT INTO t (name) VALUES (?), (?) RETURNING id', 'x', 'y') do echo(row.id) break end
             local other = dbopen('sqlite3', 'test.db') echo(' ', #other:query('SELECT * FROM t'))
             echo(' ', db:query('DELETE FROM t WHERE id > 3 RETURNING name')[2].name, #other:query('SELECT * FROM t'))"
        ),
        "4 5 y3",
    );
}

#[test]
fn values_come_back_as_they_went() {
    show(
        "db:run('CREATE TABLE v (i INTEGER, f REAL, t TEXT, b BLOB)')
         local add, nul = db:prepare('INSERT INTO v VALUES (?, ?, ?, ?)'), 'a\\0b\\0'
         local long = (nul .. '\\255'):rep(2097152)
         assert(add:run('9223372036854775807', 0.1, 'a', nul)) assert(add:run(-2^53, -1e300, '', ''))
         assert(add:run(nil, nil, nil, nil)) assert(add:run(0, 1/0, ('x'):rep(#long), long))
         local rows = db:query('SELECT i, f, t, b FROM v')
         echo(rows[1].i, ' ', rows[1].f, ' ', rows[1].t, rows[1].b == nul, ' ')
         echo(rows[2].i, ' ', rows[2].f, ' [', rows[2].t, '][', rows[2].b, '] ')
         echo(tostring(rows[3].i), tostring(rows[3].f), tostring(rows[3].t), tostring(rows[3].b), ' ')
         echo(rows[4].i, rows[4].f, ' ', #long, rows[4].b == long, rows[4].t == ('x'):rep(#long))
         for _, kind in ipairs(db:query('SELECT typeof(i) || typeof(f) || typeof(t) || typeof(b) FROM v')) do
           echo('|', kind[1]) end",
        "9223372036854775807 0.1 atrue -9007199254740992 -1.0e+300 [][] nilnilnilnil 0Inf 10485760truetrue\
         |integerrealtextblob|integerrealtexttext|nullnullnullnull|integerrealtextblob",
    );
}

#[cfg(feature = "luajit")]
#[test]
fn integers_of_64_bits_are_bound_as_integers() {
    show(
        "db:run('CREATE TABLE v (i INTEGER)')
         for _, i in ipairs{ 5LL, -9223372036854775807LL, 9223372036854775807LL, 7ULL, 2^53 } do
           assert(db:run('INSERT INTO v VALUES (?)', i)) end
         for row in db:rows('SELECT i, typeof(i) AS kind FROM v') do echo(row.i, row.kind, ' ') end
         echo(select(2, pcall(db.query, db, 'SELECT ?', require('ffi').new('int[1]'))):match('pass .*'))",
        "5integer -9223372036854775807integer 9223372036854775807integer 7integer 9007199254740992integer \
         pass strings, numbers, booleans, nil, json.null or db:blob(bytes)",
    );
}

#[test]
fn a_prepared_statement_is_looked_at_when_it_is_prepared() {
    show(
        &format!(
            "{TABLE} echo(select(2, db:prepare('SELECT absent FROM t')), '|')
             local one = db:prepare('SELECT name FROM t WHERE id = ?')
             for row in one:rows(1) do for other in one:rows(3) do echo(row.name, '[', other.name, ']') end end
             echo(select(2, one:query()), one:close(), one:close(), select(2, one:query(1)))"
        ),
        "no such column: absent|a[]the statement has 1 placeholders and 0 values00the statement is closed",
    );
}

#[test]
fn a_statement_sees_the_columns_its_table_has_now() {
    show(
        &format!(
            "{TABLE} local all = db:prepare('SELECT * FROM t WHERE id = ?') echo(#db:columns(all:query(1)))
             db:run('ALTER TABLE t ADD COLUMN third DEFAULT 3')
             echo(table.concat(db:columns(all:query(1)), ','), all:query(1)[1].third)
             dbopen('sqlite3', 'test.db'):run('ALTER TABLE t RENAME COLUMN third TO last')
             echo(table.concat(db:columns(all:query(1)), ','), all:query(1)[1].last)"
        ),
        "2id,name,third3id,name,last3",
    );
}

#[test]
fn many_different_statements_serve_in_turns() {
    show(
        "local sum = 0 for round = 1, 3 do for i = 1, 100 do
           for row in db:rows('SELECT ' .. i .. ' + ?', round) do sum = sum + row[1] end end end echo(sum)",
        "15750",
    );
}

#[test]
fn statements_that_take_no_values_get_them_in_their_text() {
    show(
        "db:run('PRAGMA user_version = ?', 7) db:run('CREATE TABLE t (a DEFAULT ?); INSERT INTO t VALUES (?)', \"it's\", 5)
         db:run('INSERT INTO t DEFAULT VALUES ; -- done')
         echo(db:query('PRAGMA user_version')[1][1], db:query('SELECT ?; SELECT 2', 1)[1][1])
         for row in db:rows('SELECT a FROM t') do echo(' ', row.a) end",
        "71 5 it's",
    );
}

#[test]
fn a_locked_file_is_waited_for_and_then_said_to_be_locked() {
    let site = Site::new("", &[]);
    get(&site, TABLE);
    let other = site.path("test.db");
    let started = std::time::Instant::now();
    let code = format!(
        "local other = dbopen('sqlite3', '{}') other:begin() echo(select(2, db:run('DELETE FROM t')))
         other:rollback() echo(' ', db:run('DELETE FROM t'))",
        other.display()
    );
    assert_eq!(get(&site, &code).text(), "database is locked 3");
    assert!(started.elapsed().as_secs() >= 1);
}
