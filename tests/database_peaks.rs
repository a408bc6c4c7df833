//! The memory of httpd's child while pages send large values to PostgreSQL and MariaDB and fetch them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]
#![allow(clippy::print_stdout, reason = "the figures are for who asks for a test's output")]

mod common;
mod database_servers;

use std::fs;

use common::httpd;
use database_servers::{DatabaseServer, MariaDb, PostgreSql};

/// Kilobytes that a page may have, and those that may be beside them.
const LIMIT: usize = 64 * 1024;
const BESIDE: usize = 32 * 1024;

fn memory(process: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn stays_within_the_limit(driver: &str, parameters: &str, binary: &str) {
    let lines = format!("pLuaMemoryLimit {LIMIT}\npLuaTimeout 300\npLuaStates 1");
    httpd().children(1, 4).lines(&lines).run(|server| {
        server.tolerate("emory");
        let child = server.httpd().children()[0];
        let run = |code: &str| {
            let open = format!("<?lua local db = assert(dbopen('{driver}', '{parameters}'))");
            let mega = "local function mega(n) return ('x'):rep(n * 1048576) end";
            server.put("page.plua", format!("{open} {mega} {code} ?>"));
            let answer = server.get("/page.plua");
            (answer.status, answer.text())
        };
        let table =
            format!("db:run('DROP TABLE IF EXISTS large') echo(db:run('CREATE TABLE large (n INTEGER, b {binary})'))");
        assert_eq!(run(&table).0, 200);
        for _ in 0..10 {
            assert_eq!(run("echo(db:run('INSERT INTO large VALUES (1, ?)', mega(8)))"), (200, "1".into()));
        }
        assert_eq!(run("echo(#db:query('SELECT b FROM large LIMIT 1')[1].b)"), (200, "8388608".into()));
        let many = ["s"; 20].join(", ");
        let places = ["?"; 20].join(", ");
        for code in [
            format!("local s = mega(20) db:query('SELECT {places}', {many})"),
            format!("local s = mega(2) db:query('SELECT {places}', {many})"),
            format!("local s = mega(2) db:prepare('SELECT {places}'):query({many})"),
            "db:query('SELECT b FROM large')".into(),
            "for row in db:rows('SELECT b FROM large') do end".into(),
            "db:run('SELECT 1 -- ' .. mega(24))".into(),
            "db:escape(mega(30))".into(),
        ] {
            // The peak of what was before does not count.
            fs::write(format!("/proc/{child}/clear_refs"), "5").unwrap();
            let before = memory(child, "VmRSS");
            let (status, _) = run(&code);
            let grown = memory(child, "VmHWM").saturating_sub(before);
            println!("{driver}: {grown:8} kB {status} {}", &code[..code.len().min(60)]);
            assert!(status == 200 || status == 500, "{code}");
            assert!(grown <= LIMIT + BESIDE, "{code}: {grown} kB");
            assert_eq!(run("echo(db:query('SELECT count(*) FROM large')[1][1])"), (200, "10".into()), "after {code}");
        }
    });
}

#[test]
fn values_for_postgresql_stay_within_the_limit() {
    let Some(database) = PostgreSql::started() else { return };
    stays_within_the_limit("pgsql", &database.parameters(), "TEXT");
}

#[test]
fn values_for_mariadb_stay_within_the_limit() {
    let Some(database) = MariaDb::started() else { return };
    stays_within_the_limit("mysql", &database.parameters(), "LONGBLOB");
}
