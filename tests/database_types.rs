//! Rows of PostgreSQL and MariaDB with their types, and procedures that select.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;
mod database_servers;

use common::with_httpd;
use database_servers::{DatabaseServer, MariaDb, PostgreSql};

/// A page that puts out what `code` does with `db` and, with types and json.null, `typed`.
fn page(driver: &str, parameters: &str, code: &str) -> String {
    format!(
        "<?lua local db = assert(dbopen('{driver}', '{parameters}'))
        local typed = assert(dbopen('{driver}', '{parameters}', {{ types = true, null = json.null }}))
        {code} ?>"
    )
}

fn shows(driver: &str, parameters: &str, code: &str, expected: &str) {
    with_httpd("", &[("page.plua", &page(driver, parameters, code))], |server| {
        assert_eq!(server.get("/page.plua").text(), expected);
        assert_eq!(server.get("/page.plua").text(), expected, "a second time");
    });
}

#[test]
fn postgresql_tells_types_of_all_rows_of_pieces_and_of_prepared_statements() {
    let Some(database) = PostgreSql::started() else { return };
    let code = "db:run('DROP TABLE IF EXISTS k')
        assert(db:run('CREATE TABLE k (i INTEGER, b BIGINT, f DOUBLE PRECISION, n NUMERIC(8,2), ok BOOLEAN, t TEXT)'))
        assert(typed:run('INSERT INTO k VALUES (?, ?, ?, ?, ?, ?)', 5, 2^53 - 1, 1/3, '2.50', true, 'x'))
        assert(typed:run('INSERT INTO k VALUES (?, ?, ?, ?, ?, ?)', -1, nil, 2.5, json.null, false, ''))
        echo(json.encode(db:query('SELECT * FROM k ORDER BY i DESC')), '\\n')
        local rows = typed:query('SELECT * FROM k ORDER BY i DESC') echo(json.encode(rows), '\\n')
        echo(rows[1].f == 1/3, rows[1].b == 2^53 - 1, #rows[2], '\\n')
        for row in typed:rows('SELECT i, ok FROM k WHERE i > ? ORDER BY i', -9) do echo(row.i + 1, tostring(row.ok), ' ') end
        local one = typed:prepare('SELECT ok, i FROM k WHERE i = ?') echo(json.encode(one:query(5)), '\\n')
        echo(json.encode(typed:query('SELECT 1 AS a; SELECT 2 AS b, 3 AS c')), #db:query('SELECT 1 WHERE false'))
        echo(tostring(typed:query('SELECT 1; DROP TABLE IF EXISTS none')), '\\n')
        echo(tostring(select(2, db:query('COPY k TO STDOUT')):match('COPY')), db:query('SELECT 7')[1][1])
        echo(tostring(select(2, db:run('COPY k FROM STDIN')):match('COPY')), db:query('SELECT 8')[1][1])
        echo(tostring(db:query('SELECT 1/(i-99) FROM generate_series(1, 100) i')), db:query('SELECT 9')[1][1])";
    let expected = "[{\"i\":\"5\",\"b\":\"9007199254740991\",\"f\":\"0.3333333333333333\",\"n\":\"2.50\",\"ok\":\"t\",\"t\":\"x\"},\
        {\"i\":\"-1\",\"b\":null,\"f\":\"2.5\",\"n\":null,\"ok\":\"f\",\"t\":\"\"}]\n\
        [{\"i\":5,\"b\":9007199254740991,\"f\":0.3333333333333333,\"n\":\"2.50\",\"ok\":true,\"t\":\"x\"},\
        {\"i\":-1,\"b\":null,\"f\":2.5,\"n\":null,\"ok\":false,\"t\":\"\"}]\n\
        truetrue6\n0false 6true [{\"ok\":true,\"i\":5}]\n[{\"b\":2,\"c\":3}]0false\nCOPY7COPY8nil9";
    shows("pgsql", &database.parameters(), code, expected);
}

#[test]
fn mariadb_tells_types_and_reads_all_results_of_a_procedure() {
    let Some(database) = MariaDb::started() else { return };
    let code = "db:run('DROP TABLE IF EXISTS k')
        assert(db:run('CREATE TABLE k (i INTEGER, b BIGINT UNSIGNED, f DOUBLE, n DECIMAL(8,2), ok BOOLEAN, t TEXT, y TINYINT)'))
        assert(typed:run('INSERT INTO k VALUES (?, ?, ?, ?, ?, ?, ?)', 5, 2^53 - 1, 1/3, '2.50', true, 'x', 1))
        assert(typed:run('INSERT INTO k VALUES (?, ?, ?, ?, ?, ?, ?)', -1, nil, 2.5, json.null, false, '', 7))
        assert(db:run('INSERT INTO k (i, b) VALUES (-2, 18446744073709551615)'))
        echo(json.encode(db:query('SELECT * FROM k ORDER BY i DESC LIMIT 2')), '\\n')
        echo(json.encode(typed:query('SELECT * FROM k ORDER BY i DESC')), '\\n')
        for row in typed:rows('SELECT i, ok FROM k WHERE i > ? ORDER BY i', -2) do
          echo(row.i + 1, tostring(row.ok), db:query('SELECT ?', row.i)[1][1], ' ') end";
    let expected = "[{\"i\":\"5\",\"b\":\"9007199254740991\",\"f\":\"0.3333333333333333\",\"n\":\"2.50\",\"ok\":\"1\",\"t\":\"x\",\"y\":\"1\"},\
        {\"i\":\"-1\",\"b\":null,\"f\":\"2.5\",\"n\":null,\"ok\":\"0\",\"t\":\"\",\"y\":\"7\"}]\n\
        [{\"i\":5,\"b\":9007199254740991,\"f\":0.3333333333333333,\"n\":\"2.50\",\"ok\":true,\"t\":\"x\",\"y\":1},\
        {\"i\":-1,\"b\":null,\"f\":2.5,\"n\":null,\"ok\":false,\"t\":\"\",\"y\":7},\
        {\"i\":-2,\"b\":\"18446744073709551615\",\"f\":null,\"n\":null,\"ok\":null,\"t\":null,\"y\":null}]\n\
        0false-1 6true5 ";
    shows("mysql", &database.parameters(), code, expected);
    let code = "db:run('DROP PROCEDURE IF EXISTS two') db:run('DROP PROCEDURE IF EXISTS none') db:run('DROP PROCEDURE IF EXISTS bad')
        assert(db:run([[CREATE PROCEDURE two() BEGIN SELECT 1 AS a UNION SELECT 2; SELECT 'x' AS b; END]]))
        assert(db:run([[CREATE PROCEDURE none() BEGIN SET @a = 1; END]]))
        assert(db:run([[CREATE PROCEDURE bad() BEGIN SELECT 1 AS a; SELECT absent; END]]))
        echo(json.encode(db:query('CALL two()')), db:query('SELECT 7')[1][1], ' ')
        echo(type(db:run('CALL two()')), db:query('SELECT 8')[1][1], tostring(db:query('CALL none()')), ' ')
        for row in db:rows('CALL two()') do echo(row.a, db:query('SELECT 9')[1][1]) end
        for row in db:rows('CALL two()') do echo(' ', row.a) break end
        echo(db:query('SELECT 10')[1][1], ' ', tostring(db:query('CALL bad()')), db:query('SELECT 11')[1][1])
        echo(' ', tostring(db:run('CALL bad()')), db:query('SELECT 12')[1][1], tostring(db:active()))";
    let expected = "[{\"a\":\"1\"},{\"a\":\"2\"}]7 number8false 1929 110 nil11 nil12true";
    shows("mysql", &database.parameters(), code, expected);
}
