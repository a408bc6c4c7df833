//! A page's limits hold for its SQLite databases too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use site::{Seen, Site, at_once};

const TIMED_OUT: &str = "Time limit: The script took too long to execute (timed out)!";

/// A statement that never ends.
const ENDLESS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c)";

/// What becomes of a page that opens `db` and runs `code`, and how long that takes.
fn timed(site: &Site, parameters: &str, code: &str) -> (Seen, Duration) {
    site.write(
        "page.plua",
        format!("<?lua local db = assert(dbopen('sqlite3', '{parameters}'))\n{code}\necho('on') ?>"),
    );
    let start = Instant::now();
    (site.get("page.plua"), start.elapsed())
}

/// A page with this code ends at its time limit of half a second.
fn ends_in_time(code: &str) {
    let took = ends_in_time_of(code);
    // Waiting for a lock alone takes 5 seconds.
    assert!(took < Duration::from_millis(4500), "{took:?}: {code}");
}

/// A page with this code ends because its time limit of half a second is over; how long that takes.
fn ends_in_time_of(code: &str) -> Duration {
    let site = Site::new("pLuaTimeout 0.5", &[]);
    let (seen, took) = timed(&site, "x.db", code);
    assert_eq!(seen.status, 500, "{code}: {}", seen.text());
    assert!(seen.log.concat().contains(TIMED_OUT), "{code}: {:?}", seen.log);
    assert_eq!(timed(&site, "x.db", "echo(db:query('select 7')[1][1])").0.text(), "7on", "{code}");
    took
}

#[test]
fn a_statement_that_never_ends_ends_with_its_page() {
    let calls = [
        format!("db:query('{ENDLESS} select count(*) from c')"),
        format!("db:rows('{ENDLESS} select count(*) from c')"),
        format!("db:run('{ENDLESS} insert into t select x from c where x < 0')"),
        format!("db:prepare('{ENDLESS} select count(*) from c'):query()"),
        format!("db:run('drop table t; create table t as {ENDLESS} select x from c where x < 0')"),
        format!("for row in db:rows('{ENDLESS} select x from c where x = 1 or x < 0') do end"),
        format!("for row in db:rows('{ENDLESS} select x from c') do db:run('insert into t values (1)') end"),
        format!("db:begin() db:query('{ENDLESS} select count(*) from c')"),
    ];
    at_once(&calls, |call| {
        ends_in_time(&format!("db:run('create table if not exists t (a)') {call}"));
        ends_in_time(&format!(
            "db:run('create table if not exists t (a)') while true do pcall(function() {call} end) end"
        ));
    });
}

#[test]
fn a_statement_of_long_functions_ends_with_its_page() {
    // Each takes a moment, all of them half a minute.
    let numbers = ENDLESS.replace("from c)", "from c where x < 80)");
    let took =
        ends_in_time_of(&format!("db:query([[{numbers} select sum(length(printf('%.*c', 15000000, x))) from c]])"));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// A message of PostgreSQL's protocol (its manual, 55.7).
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind][..], &(content.len() as u32 + 4).to_be_bytes(), content].concat()
}

/// A server that speaks PostgreSQL's protocol and answers every statement by asking for a copy, again and again.
fn asks_for_copies(mut client: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    loop {
        client.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut packet)?;
        // Whether this is the beginning of a session, or asks for encryption first.
        if packet.starts_with(&[0, 3, 0, 0]) {
            break;
        }
        client.write_all(b"N")?;
    }
    client.write_all(&[message(b'R', &[0; 4]), message(b'Z', b"I")].concat())?;
    loop {
        let mut kind = [0];
        client.read_exact(&mut kind)?;
        client.read_exact(&mut length)?;
        client.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4])?;
        if kind == *b"Q" {
            client.write_all(&message(b'G', &[0; 3]).repeat(5000))?;
        }
    }
}

#[test]
fn a_server_that_asks_for_copies_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(|client| _ = asks_for_copies(client)));
    let site = Site::new("pLuaTimeout 60", &[]);
    site.write(
        "page.plua",
        format!(
            "<? local db = assert(dbopen('pgsql', 'host=127.0.0.1 port={port} user=x dbname=x sslmode=disable')) \
             local rows, problem = db:query('select 1') echo(problem) ?>"
        ),
    );
    let start = Instant::now();
    let seen = site.get("page.plua");
    assert!(seen.text().contains("goes on asking for COPY"), "{} {:?}", seen.text(), seen.log);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn where_pages_are_confined_long_texts_are_searched_in_a_moment() {
    let base = tempfile::tempdir().unwrap();
    let site = Site::new(&format!("pLuaTimeout 20\npLuaBaseDir {}", base.path().display()), &[]);
    let parameters = format!("{}/x.db", base.path().display());
    // Almost found at every place.
    for code in ["instr", "replace", "trim"] {
        let more = if code == "replace" { ", 'y'" } else { "" };
        let sql = format!("select length({code}(hex(zeroblob(1000000)), hex(zeroblob(500000)) || '1'{more}))");
        let (seen, took) = timed(&site, &parameters, &format!("echo(#db:query([[{sql}]]))"));
        assert_eq!(seen.text(), "1on", "{:?}", seen.log);
        assert!(took < Duration::from_secs(5), "{code}: {took:?}");
    }
    let (seen, _) = timed(&site, &parameters, "local _, problem = db:query([[select printf('%d', 1)]]) echo(problem)");
    assert!(seen.text().contains("printf"), "{}", seen.text());
}

#[test]
fn where_pages_are_confined_instr_and_replace_answer_as_sqlite_does() {
    let base = tempfile::tempdir().unwrap();
    let calls = [
        "instr('abc', 'c')",
        "instr('abc', '')",
        "instr('', 'a')",
        "instr('', '')",
        "instr('äöü', 'ü')",
        "instr(x'00c3a4', x'a4')",
        "instr(null, 'a')",
        "instr('a', null)",
        "instr(12345, 34)",
        "instr('abc', 'x')",
        "instr(x'616263', 'c')",
        "replace('abcabc', 'b', 'xy')",
        "replace('abc', '', 'x')",
        "replace('abc', 'x', 'y')",
        "replace(12321, 2, 'b')",
        "replace('aaaa', 'aa', 'b')",
        "replace(null, 'a', 'b')",
        "replace('a', null, 'b')",
        "replace('a', 'a', null)",
        "trim('xyabcyx', 'xy')",
        "ltrim('xyabcyx', 'xy')",
        "rtrim('xyabcyx', 'xy')",
        "trim('äöabcö', 'öä')",
        "trim('abc', '')",
        "trim('', 'a')",
        "trim(null, 'a')",
        "trim('a', null)",
        "trim('aaa', 'a')",
        "typeof(trim(12, 1))",
        "trim(x'c3a461', x'61')",
        "replace('abc', 'x', null)",
        "typeof(replace(12, 3, 4))",
        "replace(12, '', 4) || ''",
        "replace('äöü', 'ö', '')",
    ];
    let sql = format!("select {}", calls.map(|call| format!("quote({call})")).join(", "));
    let answers = [format!("pLuaBaseDir {}", base.path().display()), String::new()].map(|configuration| {
        let site = Site::new(&configuration, &[]);
        let parameters = format!("{}/x.db", base.path().display());
        timed(&site, &parameters, &format!("echo(table.concat(db:query([[{sql}]])[1], ' '))")).0.text()
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].ends_with("on") && answers[0].contains("axyc"), "{answers:?}");
    let site = Site::new(&format!("pLuaBaseDir {}", base.path().display()), &[]);
    let parameters = format!("{}/x.db", base.path().display());
    let kind = timed(&site, &parameters, "echo(db:query([[select typeof(replace(12, '', 4))]])[1][1])").0.text();
    assert_eq!(kind, "texton", "older SQLites leave a number what it is where nothing is looked for");
}

#[test]
fn where_pages_are_confined_a_value_of_sqlite_has_16_mb_at_most() {
    let base = tempfile::tempdir().unwrap();
    let confined = format!("pLuaBaseDir {}", base.path().display());
    for (configuration, expected) in [(confined.as_str(), "string or blob too big"), ("", "20000000")] {
        let site = Site::new(configuration, &[]);
        let parameters = format!("{}/x.db", base.path().display());
        let code =
            "local rows, problem = db:query('select length(zeroblob(20000000))') echo(rows and rows[1][1] or problem)";
        let (seen, _) = timed(&site, &parameters, code);
        assert!(seen.text().contains(expected), "{configuration}: {} {:?}", seen.text(), seen.log);
    }
}

#[test]
fn a_page_that_ends_right_after_a_cut_off_statement_has_still_gone_over() {
    ends_in_time(&format!("local rows, message = db:query('{ENDLESS} select count(*) from c')"));
}

#[test]
fn compiling_a_statement_that_grows_without_end_ends_with_its_page() {
    let mut sql = "with c0 as (select 1 x)".to_owned();
    for number in 0..26 {
        sql += &format!(", c{} as (select a.x from c{number} a, c{number} b)", number + 1);
    }
    ends_in_time(&format!("db:query('{sql} select count(*) from c26')"));
}

#[test]
fn waiting_for_a_lock_ends_with_its_page() {
    let patience =
        ["", "db:query('PRAGMA busy_timeout = 100000')", "db:run('SELECT 1 WHERE 0; PRAGMA busy_timeout = 9999')"];
    at_once(&patience, |patience| {
        let code = format!(
            "local other = dbopen('sqlite3', 'x.db') other:run('create table if not exists t (a)') assert(other:begin())
             {patience} db:run('insert into t values (1)')"
        );
        ends_in_time(&code);
        ends_in_time(&format!("local first = true while true do pcall(function() {code} end) end"));
    });
    ends_in_time(
        "local other = dbopen('sqlite3', 'x.db') assert(other:begin())
         db:query('PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE') db:run('PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE')
         db:run('SELECT 1 WHERE 0; BEGIN IMMEDIATE')",
    );
}

#[test]
fn a_page_chooses_how_long_it_waits_for_a_lock() {
    let site = Site::new("", &[]);
    let code = "local other = dbopen('sqlite3', 'x.db') assert(other:begin())
        db:query('PRAGMA busy_timeout = 200') echo(select(2, db:begin()), ' ')";
    let (seen, took) = timed(&site, "x.db", code);
    assert_eq!(seen.text(), "database is locked on");
    assert!((Duration::from_millis(190)..Duration::from_millis(4500)).contains(&took), "{took:?}");
}

#[test]
fn a_kept_handle_has_the_time_of_each_page_that_uses_it() {
    let site = Site::new("pLuaTimeout 1\npLuaStates 1", &[]);
    let long = "kept = kept or dbopen('sqlite3', ':memory:')
        echo(kept:query([[with recursive c(x) as (select 1 union all select x + 1 from c limit 20000) select count(*) from c]])[1][1])";
    site.write("page.plua", format!("<?lua {long} ?>"));
    assert_eq!(site.get("page.plua").text(), "20000");
    // The first page's time passes.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(site.get("page.plua").text(), "20000");
}

#[test]
fn connecting_to_a_server_that_never_answers_ends_with_its_page() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for (driver, parameters) in [
        ("pgsql", format!("host=127.0.0.1 port={port} user=x dbname=x")),
        ("mysql", format!("host=127.0.0.1,port={port},user=x,dbname=x")),
    ] {
        ends_in_time(&format!("dbopen('{driver}', '{parameters}')"));
    }
}

/// What a page under a memory limit of 8 MB puts out.
fn within_memory(parameters: &str, code: &str) -> String {
    let site = Site::new("pLuaMemoryLimit 8192\npLuaTimeout 100", &[]);
    let (seen, _) = timed(&site, parameters, code);
    assert_eq!(seen.status, 200, "{code}: {:?}", seen.log);
    seen.text()
}

#[test]
fn many_databases_in_memory_share_one_limit() {
    let text = within_memory(
        ":memory:",
        "local all = {}
         for number = 1, 100 do
           local one, message = dbopen('sqlite3', ':memory:')
           if one then _, message = one:run('create table t as select randomblob(400000) as a') end
           if message then echo(number > 10 and number < 40, ' ', message, ' ') break end
           all[number] = one
         end
         for _, one in ipairs(all) do one:close() end
         echo(dbopen('sqlite3', ':memory:'):run('create table t as select randomblob(2000000) as a'))",
    );
    assert!(text.starts_with("true ") && text.contains("memory") && text.ends_with(" 0on"), "{text}");
}

#[test]
fn memory_that_databases_give_back_can_be_taken_again() {
    let text = within_memory(
        "x.db",
        "db:run('create table if not exists t (a)')
         for number = 1, 300 do
           local one = assert(dbopen('sqlite3', ':memory:'))
           assert(one:run('create table t as select randomblob(1500000) as a'))
           assert(#one:query('select a from t')[1][1] == 1500000)
           for row in one:rows('select 1 union select 2') do break end
           one:close()
           assert(db:run('insert into t values (?)', number)) assert(#db:query('select * from t') >= number)
         end",
    );
    assert_eq!(text, "on");
}

#[test]
fn sqlite_works_in_the_thread_of_its_page_where_its_memory_is_counted() {
    let text = within_memory(
        "x.db",
        "db:query('PRAGMA threads = 8') db:run('PRAGMA main.THREADS(4)') echo(db:query('PRAGMA threads')[1][1], ' ')",
    );
    assert_eq!(text, "0 on");
}

#[test]
fn a_database_works_on_after_it_ran_out_of_memory() {
    let text = within_memory(
        "x.db",
        "assert(db:run('create table if not exists t (a)')) assert(db:begin()) assert(db:run('insert into t values (1)'))
         echo(tostring(db:query('select zeroblob(900000000)')), ' ')
         assert(db:run('insert into t values (2)')) assert(db:commit())
         echo(db:query('select count(*) from t')[1][1], ' ')",
    );
    assert_eq!(text, "nil 2 on");
}

#[test]
fn without_a_memory_limit_sqlite_takes_what_it_needs() {
    let site = Site::new("", &[]);
    let code = "assert(db:run('create table t as select randomblob(30000000) as a'))
        echo(db:query('select length(a) from t')[1][1], ' ')";
    assert_eq!(timed(&site, ":memory:", code).0.text(), "30000000 on");
}
