//! Databases behind pages of a real httpd: SQLite, PostgreSQL, MariaDB and mod_dbd's pool.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
#![allow(clippy::print_stdout, reason = "the figures are for who asks for a test's output")]

mod common;
mod database_servers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::wait::until;
use common::{Server, httpd, with_httpd};
use database_servers::{DatabaseServer, MariaDb, PostgreSql};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Writes a page that opens `db` and runs `code`.
fn put(server: &Server, name: &str, driver: &str, parameters: &str, code: &str) {
    let open = format!("<?lua local db, problem = dbopen('{driver}', '{parameters}')\n");
    server.put(name, format!("{open}if not db then echo('closed: ', problem) return end\n{code} ?>"));
}

/// Everything that must be the same with each database.
const ALIKE: &str = "
assert(db:run('DROP TABLE IF EXISTS t') == 0)
echo(db:run('CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(100), price NUMERIC(8, 2))'), '\\n')
local evil = [[it's \\ \"%s\" ?; DROP TABLE t; -- ]]
local add = db:prepare('INSERT INTO t VALUES (?, ?, ?)')
echo(add:run(1, evil, 2.5), add:run(2, nil, nil), add:run(3, '', 0), '\\n')
echo(db:run('INSERT INTO t (id) VALUES (4), (5)'), db:run('UPDATE t SET price = ? WHERE id > ?', 1, 3), '\\n')
local rows = db:query('SELECT id, name FROM t WHERE id <= ? ORDER BY id', 3)
echo(#rows, type(rows[1].id), rows[1].name == evil, tostring(rows[2].name), '[', rows[3].name, ']', '\\n')
echo(table.concat(db:columns(rows), ','), #db:query('SELECT id FROM t WHERE id > 9'), '\\n')
echo(#db:query(\"SELECT id FROM t WHERE name = '\" .. db:escape(evil) .. \"'\"), '\\n')
echo(tostring(db:query('DELETE FROM t WHERE id = 5')), '\\n')
local value, message = db:query('SELECT * FROM missing_table')
echo(tostring(value), type(message), message:find('missing_table') ~= nil, '\\n')
value, message = db:run('INSERT INTO t (id) VALUES (1)')
echo(tostring(value), type(message), '\\n')
for row in db:rows('SELECT id FROM t ORDER BY id') do
  echo(row.id, db:query('SELECT count(*) FROM t WHERE id > ?', row.id)[1][1], ' ')
end
echo('\\n')
db:begin() db:run('DELETE FROM t') db:rollback()
echo(db:query('SELECT count(*) FROM t')[1][1])
local ok = pcall(db.transaction, db, function() db:run('DELETE FROM t') error('no') end)
echo(tostring(ok), db:query('SELECT count(*) FROM t')[1][1])
echo(db:transaction(function() return db:run('DELETE FROM t WHERE id = 4') end))
echo(db:query('SELECT count(*) FROM t')[1][1], '\\n')
echo(tostring(db:active()), db:close(), tostring(db:active()), tostring(db:query('SELECT 1')))
";

const ALIKE_ANSWER: &str = "0\n111\n22\n3stringtruenil[]\nid,name0\n1\nfalse\nnilstringtrue\nnilstring\n\
    13 22 31 40 \n4false413\ntrue0falsenil";

fn is_alike(driver: &str, parameters: &str) {
    with_httpd("pLuaError 1", &[], |server| {
        put(server, "alike.plua", driver, parameters, ALIKE);
        assert_eq!(server.get("/alike.plua").text(), ALIKE_ANSWER);
        assert_eq!(server.get("/alike.plua").text(), ALIKE_ANSWER, "a second time");
    });
}

/// Values of every kind and size come back as they went; `binary` is the type of a column for any bytes, which
/// `shown` makes readable as hexadecimal digits.
fn brings_values_back(driver: &str, parameters: &str, binary: &str, shown: &str) {
    let code = "
        db:run('DROP TABLE IF EXISTS v')
        assert(db:run('CREATE TABLE v (n INTEGER PRIMARY KEY, i BIGINT, f DOUBLE PRECISION, t TEXTS, b BINARY)'))
        local add, nul = db:prepare('INSERT INTO v VALUES (?, ?, ?, ?, ?)'), 'a\\0b\\255\\\\'
        local text, long = ('x'):rep(10485760), nul:rep(1048576)
        assert(add:run(1, '9223372036854775807', 0.1, [[it's \\ \"]], nul)) assert(add:run(2, -2^53, -1e300, '', ''))
        assert(add:run(3, nil, nil, nil, nil)) assert(add:run(4, 0, 2.5, text, long))
        local rows = db:query([[SELECT i, f, t, SHOWN AS b FROM v ORDER BY n]])
        local function shown(bytes)
          if 'SHOWN' == 'b' then return bytes end
          return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
        end
        echo(rows[1].i, ' ', rows[1].f, ' ', rows[1].t, ' ', rows[1].b == shown(nul), ' ')
        echo(rows[2].i, ' ', tonumber(rows[2].f) == -1e300, ' [', rows[2].t, '][', rows[2].b, '] ')
        echo(tostring(rows[3].i), tostring(rows[3].f), tostring(rows[3].t), tostring(rows[3].b), ' ')
        echo(rows[4].i, ' ', rows[4].f, ' ', rows[4].t == text, rows[4].b == shown(nul):rep(1048576), #long)
        local n = 0 for row in db:rows([[SELECT t, SHOWN FROM v WHERE n > ?]], 3) do n = n + #row.t end echo(' ', n)";
    let texts = if driver == "mysql" { "LONGTEXT" } else { "TEXT" };
    let code = code.replace("TEXTS", texts).replace("BINARY", binary);
    let code = code.replace("'SHOWN'", if shown == "b" { "'b'" } else { "''" }).replace("SHOWN", shown);
    with_httpd("", &[], |server| {
        put(server, "values.plua", driver, parameters, &code);
        let expected = "9223372036854775807 0.1 it's \\ \" true -9007199254740992 true [][] nilnilnilnil 0 2.5 \
            truetrue5242880 10485760";
        assert_eq!(server.get("/values.plua").text(), expected);
    });
}

/// A large result goes through a page in a child whose memory stays as it was.
fn streams(driver: &str, parameters: &str, fill: &str) {
    with_httpd("pLuaTimeout 0", &[], |server| {
        let code = format!(
            "local function peak()
               for line in io.lines('/proc/self/status') do
                 local size = line:match('^VmHWM:%s*(%d+)') if size then return tonumber(size) end end end
             assert(db:run('CREATE TABLE many (id INTEGER PRIMARY KEY, name VARCHAR(50))')) assert(db:run([[{fill}]]))
             local function all(most)
               local count, length = 0, 0
               for row in db:rows('SELECT id, name FROM many WHERE id <= ?', most) do
                 count, length = count + 1, length + #row.name end
               return count .. ' ' .. length end
             all(1000) local before = peak() local found = all(100000) local value = peak() - before
             for row in db:rows('SELECT id, name FROM many') do break end
             echo(found, ' ', db:run('UPDATE many SET name = ? WHERE id < 3', 'x'), ' ', peak() - before)"
        );
        put(server, "many.plua", driver, parameters, &code);
        let text = server.get("/many.plua").text();
        let (found, grown) = text.rsplit_once(' ').unwrap();
        println!("{driver}: 100,000 rows: the peak rose by {grown} KB");
        assert_eq!(found, "100000 1688895 2");
        assert!(grown.parse::<usize>().unwrap() < 20 * 1024, "{grown} KB");
    });
}

/// A page that keeps its handle, and one that opens it again when it is not active.
fn survives_a_restart(driver: &str, database: &mut dyn DatabaseServer) {
    let parameters = database.parameters();
    with_httpd("pLuaStates 1", &[], |server| {
        server.put(
            "kept.plua",
            format!(
                "<?lua if not (kept and kept:active()) then local problem
                 kept, problem = dbopen('{driver}', '{parameters}') opened = (opened or 0) + 1 end
                 if kept then echo('open ', opened, ' ', kept:query('SELECT 1')[1][1]) else echo('refused') end ?>"
            ),
        );
        server.put("active.plua", "<?= kept and kept:active() or false ?>");
        assert_eq!(server.get("/kept.plua").text(), "open 1 1");
        assert_eq!(server.get("/kept.plua").text(), "open 1 1");
        database.stop();
        assert_eq!(server.get("/active.plua").text(), "false");
        assert_eq!(server.get("/kept.plua").text(), "refused");
        database.start();
        assert_eq!(server.get("/kept.plua").text(), "open 3 1");
        assert_eq!(server.get("/active.plua").text(), "true");
    });
}

/// Requests run all the time while the database's server stops and starts again: each is answered, and as it must be.
fn is_missed_by_no_request(driver: &str, database: &mut dyn DatabaseServer) {
    let parameters = database.parameters();
    httpd().children(2, 8).run(|server| {
        server.put(
            "always.plua",
            format!(
                "<?lua local n, problem = parseGet().n
                 local function missing(where, message)
                   echo(n, type(message) == 'string' and ' nil' or ' no message of ' .. where) exit() end
                 if not (kept and kept:active()) then
                   one = nil kept, problem = dbopen('{driver}', '{parameters}')
                   if not kept then missing('dbopen', problem) end
                 end
                 if not one then one, problem = kept:prepare('SELECT ? AS n') end
                 if not one then missing('prepare', problem) end
                 local rows, message = one:query(n) if not rows then missing('query', message) end
                 local ok, done, failed = pcall(kept.transaction, kept, function(db)
                   for row in assert(db:rows('SELECT 7')) do return row[1] end end)
                 if not ok then missing('loop', done) end
                 if not done then missing('transaction', failed) end
                 echo(n, ' ', rows[1].n, ' ', done) ?>"
            ),
        );
        let children = server.httpd().children();
        let (site, stop) = (&*server, AtomicBool::new(false));
        // Sent, answered with rows, with nil, wrong, lost.
        let counts: [AtomicUsize; 5] = Default::default();
        let count = |which: usize| counts[which].load(Ordering::SeqCst);
        let (rows, nils) = (|| count(1), || count(2));
        let ask = |number: usize| {
            counts[0].fetch_add(1, Ordering::SeqCst);
            let request = format!("GET /always.plua?n={number} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            let answer = String::from_utf8(site.raw(request.as_bytes())).unwrap();
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
            let which = match body {
                Some(body) if body == format!("{number} {number} 7") => 1,
                Some(body) if body == format!("{number} nil") => 2,
                Some(body) => {
                    println!("wrong: {body}");
                    3
                }
                None => 4,
            };
            counts[which].fetch_add(1, Ordering::SeqCst);
        };
        let wait = |what: &dyn Fn() -> usize, more: usize| {
            let enough = what() + more;
            until(&format!("{driver}: {enough} answers"), Duration::from_secs(20), || what() >= enough);
        };
        thread::scope(|scope| {
            for client in 0..6 {
                let (ask, stop) = (&ask, &stop);
                scope.spawn(move || {
                    (0..).take_while(|_| !stop.load(Ordering::SeqCst)).for_each(|n| ask(n * 6 + client))
                });
            }
            let ended = catch_unwind(AssertUnwindSafe(|| {
                for _ in 0..3 {
                    wait(&rows, 100);
                    database.stop();
                    wait(&nils, 100);
                    database.start();
                }
                // No state stays without the database.
                wait(&rows, 300);
                let before = nils();
                wait(&rows, 300);
                assert_eq!(nils(), before);
            }));
            stop.store(true, Ordering::SeqCst);
            ended.unwrap();
        });
        let [sent, rows, nils, wrong, lost] = counts.map(AtomicUsize::into_inner);
        println!("{driver}: {sent} requests: {rows} rows, {nils} nil, {wrong} wrong, {lost} lost");
        assert_eq!((wrong, lost, rows + nils), (0, 0, sent));
        assert_eq!(server.error_log().matches("exit signal").count(), 0);
        assert_eq!(server.httpd().children(), children, "no child has died");
    });
}

#[test]
fn sqlite_serves_pages() {
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    is_alike("sqlite3", folder.path().join("test.db").to_str().unwrap());
    brings_values_back("sqlite3", folder.path().join("values.db").to_str().unwrap(), "BLOB", "b");
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        INSERT INTO many SELECT i, 'the name of ' || i FROM n";
    streams("sqlite3", folder.path().join("many.db").to_str().unwrap(), fill);
}

/// Cursors and prepared statements: what a page sees, and that the server holds none when they are done with.
const POSTGRESQL_HOLDS: &str = "
local function held()
  return db:query('SELECT count(*) FROM pg_cursors')[1][1] .. db:query('SELECT count(*) FROM pg_prepared_statements')[1][1]
end
local many = 'SELECT i, i % ? AS rest FROM generate_series(1, 5000) AS i'
local n = 0
for row in db:rows(many, 7) do n = n + row.rest if row.i == '100' then echo(held(), ' ') end end
echo(n, ' ', held(), '\\n')
for row in db:rows(many, 7) do break end
echo(held(), ' ') collectgarbage() collectgarbage() echo(held(), '\\n')
db:run('DROP TABLE IF EXISTS h') db:run('CREATE TABLE h (a integer, b text)')
local n = 0
for row in db:rows('SELECT * FROM generate_series(1, 3000) AS i -- a comment') do
  n = n + 1
  if row.i == '1' then assert(db:begin()) end
  if row.i == '500' then assert(db:commit()) assert(db:begin()) end
  if row.i == '1000' then assert(not db:run('nonsense')) assert(db:rollback()) end
end
echo(n, ' ', held(), '\\n')
db:begin()
for row in db:rows('SELECT * FROM generate_series(1, 3000)') do db:run('SAVEPOINT s') db:run('ROLLBACK TO s') break end
for row in db:rows('VALUES (1), (2)') do echo(row[1]) end
for row in db:rows('INSERT INTO h VALUES (5, ?) RETURNING a', 'x') do echo(row.a) end
for row in db:rows('SELECT a FROM h FOR UPDATE') do echo(row.a) end
collectgarbage() collectgarbage()
echo(' ', tostring(db:commit()), held(), '\\n')
local add, one = assert(db:prepare('INSERT INTO h VALUES (?, ?)')), assert(db:prepare('SELECT a + 1, b FROM h WHERE b = ?;'))
echo(held(), add:run(7, \"it's \\\\\"), add:run(nil, nil), add:run('8', ''), one:query(\"it's \\\\\")[1][1], one:query('')[1][1])
for row in one:rows('x') do echo(' ', row[1]) end
echo(' ', select(2, add:run('not a number', 1)) ~= nil, add:run(9, 9), held(), '\\n')
db:run('ALTER TABLE h ALTER COLUMN a TYPE bigint') echo(tostring(one:query('x')), one:query('x')[1][1], held(), ' ')
add:close() one = nil collectgarbage() collectgarbage()
echo(held(), ' ', select(2, db:prepare('SELECT absent FROM h')) ~= nil, tostring(db:prepare('DROP TABLE none') ~= nil))
";

const POSTGRESQL_HOLDS_ANSWER: &str = "10 14997 00\n10 00\n3000 00\n1255 true00\n0211189 6 true102\n\
    nil602 00 truetrue";

#[test]
fn postgresql_serves_pages() {
    let Some(mut database) = PostgreSql::started() else { return };
    is_alike("pgsql", &database.parameters());
    with_httpd("", &[], |server| {
        let code = "db:run('CREATE TABLE b (x bytea, y serial)')
            echo(db:run('INSERT INTO b VALUES (?)', 'a\\0\\255\\\\'), db:run('INSERT INTO b VALUES (?)', db:blob('\\\\x')))
            echo(db:query(\"SELECT encode(x, 'hex') AS hex FROM b ORDER BY y\")[1].hex, db:lastId())
            echo(db:query(\"SELECT encode(x, 'hex') FROM b ORDER BY y\")[2][1])
            echo(db:query('SELECT ?::int + 1, $$?$$', 41)[1][1], tostring(db:query('SELECT ?::boolean', true)[1][1]))
            db:begin() db:run('INSERT INTO b (y) VALUES (9)') db:run('nonsense')
            local ok, message = db:commit() echo(tostring(ok), ' ', message:match('^rolled back'))";
        put(server, "own.plua", "pgsql", &database.parameters(), code);
        assert_eq!(server.get("/own.plua").text(), "116100ff5c25c7842tnil rolled back");
    });
    with_httpd("", &[], |server| {
        put(server, "held.plua", "pgsql", &database.parameters(), POSTGRESQL_HOLDS);
        assert_eq!(server.get("/held.plua").text(), POSTGRESQL_HOLDS_ANSWER);
        assert_eq!(server.get("/held.plua").text(), POSTGRESQL_HOLDS_ANSWER, "a second time");
    });
    brings_values_back("pgsql", &database.parameters(), "BYTEA", "encode(b, 'hex')");
    let fill = "INSERT INTO many SELECT i, 'the name of ' || i FROM generate_series(1, 100000) AS i";
    streams("pgsql", &database.parameters(), fill);
    survives_a_restart("pgsql", &mut database);
    is_missed_by_no_request("pgsql", &mut database);
    with_mod_dbd("pgsql", &database.parameters());
    let many = "SELECT * FROM generate_series(1, 1000000)";
    ends_in_time("pgsql", &database, "SELECT pg_sleep(100)", "SELECT pg_terminate_backend(", "pg_backend_pid()", many);
    keeps_no_server_from_stopping("pgsql", &database.parameters(), "SELECT pg_sleep(100)");
}

#[test]
fn mariadb_serves_pages() {
    let Some(mut database) = MariaDb::started() else { return };
    is_alike("mysql", &database.parameters());
    with_httpd("", &[], |server| {
        let code = "db:run('CREATE TABLE b (id INTEGER PRIMARY KEY AUTO_INCREMENT, x LONGBLOB)')
            local all = {} for i = 0, 255 do all[#all + 1] = string.char(i) end all = table.concat(all):rep(8000)
            echo(db:run('INSERT INTO b (x) VALUES (?)', all), db:lastId(), db:query('SELECT x FROM b')[1].x == all)
            local value, message = db:run('SELECT 1') echo(tostring(value), ' ', message, ' ', db:query('SELECT 2')[1][1])
            db:run([[SET sql_mode = 'NO_BACKSLASH_ESCAPES']])
            echo(db:query('SELECT ?', [[a\\'b]])[1][1] == [[a\\'b]])";
        put(server, "own.plua", "mysql", &database.parameters(), code);
        let expected = "11truenil the statement has rows: query() or rows() fetch them 2true";
        assert_eq!(server.get("/own.plua").text(), expected);
    });
    brings_values_back("mysql", &database.parameters(), "LONGBLOB", "b");
    let fill = "INSERT INTO many SELECT seq, concat('the name of ', seq) FROM seq_1_to_100000";
    streams("mysql", &database.parameters(), fill);
    survives_a_restart("mysql", &mut database);
    is_missed_by_no_request("mysql", &mut database);
    with_mod_dbd("mysql", &database.parameters());
    ends_in_time(
        "mysql",
        &database,
        "SELECT sleep(100)",
        "KILL (",
        "connection_id()",
        "SELECT * FROM seq_1_to_1000000",
    );
    keeps_no_server_from_stopping("mysql", &database.parameters(), "SELECT sleep(100)");
}

/// A page that waits in a statement ends with the server, with and without a time limit of its own.
fn keeps_no_server_from_stopping(driver: &str, parameters: &str, waiting: &str) {
    for lines in ["", "pLuaTimeout 50"] {
        with_httpd(lines, &[], |server| {
            put(server, "wait.plua", driver, parameters, &format!("?>waits<? flush() db:query('{waiting}')"));
            let mut connection = server.connect();
            connection.send(b"GET /wait.plua HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.until(b"waits\r\n");
            kill(Pid::from_raw(i32::try_from(server.httpd().pid()).unwrap()), Signal::SIGTERM).unwrap();
            until(&format!("{driver} {lines}"), Duration::from_secs(3), || !server.httpd().is_running());
        });
    }
}

/// A statement that waits in the database's server ends with its page; the handle is gone then, and another one works.
fn ends_in_time(driver: &str, database: &dyn DatabaseServer, sleep: &str, kill: &str, own: &str, many: &str) {
    let parameters = database.parameters();
    let lock =
        "assert(kept:run('DROP TABLE IF EXISTS locked')) assert(kept:run('CREATE TABLE locked AS SELECT 1 AS a'))";
    let open = format!("if not (kept and kept:active()) then kept = assert(dbopen('{driver}', '{parameters}')) end\n");
    let lines = format!("DBDriver {driver}\nDBDParams \"{parameters}\"\npLuaStates 4\npLuaTimeout 0.5\npLuaError 1");
    httpd().module("dbd").lines(&lines).run(|server| {
        server.expect("Time limit");
        // libpq prints what the server said last.
        server.tolerate("terminating connection due to administrator command");
        let pooled = "local kept = assert(dbopen('mod_dbd'))\n";
        server.put("quick.plua", format!("<? {open} echo(kept:query('SELECT 7')[1][1]) ?>"));
        server.put("quick_pooled.plua", format!("<? {pooled} echo(kept:query('SELECT 7')[1][1]) ?>"));
        for (open, quick) in [(open.as_str(), "/quick.plua"), (pooled, "/quick_pooled.plua")] {
            for code in [
                format!("kept:query('{sleep}')"),
                format!("for row in kept:rows('{sleep}') do end"),
                format!("kept:prepare('{sleep}'):query()"),
                format!("kept:begin() kept:query('{sleep}')"),
                format!("while true do pcall(function() kept:query('{sleep}') end) end"),
                // A library that connects anew by itself would wait for a socket that nobody knows.
                format!("kept:query('{kill}{own})') kept:query('{sleep}') kept:query('{sleep}') while true do end"),
                // It knows that the connection is lost before we look.
                format!(
                    "local id = kept:query('SELECT {own}')[1][1]
                    local other = assert(dbopen('{driver}', '{parameters}'))
                    pcall(function()
                        for row in kept:rows('{many}') do
                            if other then other:query('{kill}' .. id .. ')') other = nil end
                        end
                    end)
                    assert(not other) kept:query('{sleep}') while true do end"
                ),
                format!(
                    "{lock} local other = assert(dbopen('{driver}', '{parameters}')) assert(other:begin())
                    assert(other:run('UPDATE locked SET a = 2')) assert(kept:run('UPDATE locked SET a = 3'))"
                ),
            ] {
                server.put("long.plua", format!("<? {open} {code} ?>"));
                let start = Instant::now();
                let seen = server.get("/long.plua");
                let took = start.elapsed();
                assert!(seen.text().contains("Time limit"), "{driver}: {code}: {}", seen.text());
                assert!(took < Duration::from_secs(30), "{driver}: {code}: {took:?}");
                for _ in 0..8 {
                    assert_eq!(server.get(quick).text(), "7", "{driver}: after {code}");
                }
            }
        }
        assert_eq!(server.error_log().matches("exit signal").count(), 0);
    });
}

/// A handle of mod_dbd's pool works without parameters and ends with its request.
fn with_mod_dbd(driver: &str, parameters: &str) {
    httpd().module("dbd").lines(&format!("DBDriver {driver}\nDBDParams \"{parameters}\"\npLuaStates 1")).run(
        |server| {
            server.put(
                "page.plua",
                "<? kept = dbopen('mod_dbd') echo(kept:query('SELECT 7 AS n')[1].n,
            dbopen('mod_dbd'):query('SELECT ?', 'x')[1][1]) ?>",
            );
            server.put("late.plua", "<? echo(tostring(kept:active()), ' ', select(2, kept:query('SELECT 1'))) ?>");
            for _ in 0..3 {
                assert_eq!(server.get("/page.plua").text(), "7x");
            }
            let late = server.get("/late.plua").text();
            assert_eq!(late, "false the database handle of mod_dbd ended with its request: open it in each request");
        },
    );
}

#[test]
fn mod_dbd_lends_its_connections_if_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    with_mod_dbd("sqlite3", folder.path().join("dbd.db").to_str().unwrap());
    with_httpd("", &[("page.plua", "<? echo(select(2, dbopen('mod_dbd'))) ?>")], |server| {
        assert_eq!(server.get("/page.plua").text(), "mod_dbd is not loaded");
    });
}

#[test]
fn hosts_do_not_share_handles() {
    let hosts = "<VirtualHost *:${PORT}>\nServerName one.test\n</VirtualHost>\n<VirtualHost *:${PORT}>\n\
        ServerName two.test\n</VirtualHost>";
    let page = "<? kept = kept or dbopen('sqlite3', ':memory:') kept:run('CREATE TABLE IF NOT EXISTS t (a)')
        kept:run('INSERT INTO t VALUES (1)') echo(kept:query('SELECT count(*) FROM t')[1][1]) ?>";
    with_httpd(hosts, &[("page.plua", page)], |server| {
        assert_eq!(server.get_from("one.test", "/page.plua").text(), "1");
        assert_eq!(server.get_from("one.test", "/page.plua").text(), "2");
        assert_eq!(server.get_from("two.test", "/page.plua").text(), "1");
    });
}

/// httpd's children run as another account than root's tests.
fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}
