//! The memory that a large result takes; alone in its program, for the peak is the whole process's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Site, memory};

#[test]
fn a_million_rows_pass_through_a_page_in_constant_memory() {
    let page = "<?lua local db = assert(dbopen('sqlite3', 'many.db'))
        assert(db:run('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)'))
        if #db:query('SELECT 1 FROM t LIMIT 1') == 0 then
          assert(db:run([[WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
            INSERT INTO t SELECT i, 'the name of ' || i FROM n]]))
        end
        local count, length = 0, 0
        for row in db:rows('SELECT id, name FROM t WHERE id <= ?', tonumber(parseGet().most)) do
          count, length = count + 1, length + #row.name
        end
        echo(count, ' ', length) ?>";
    let site = Site::new("", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua?most=1000").text(), "1000 14893");
    let before = memory("VmHWM");
    assert_eq!(site.get("page.plua?most=1000000").text(), "1000000 17888896");
    let grown = memory("VmHWM") - before;
    println!("1,000,000 rows: the peak rose from {before} KB by {grown} KB");
    assert!(grown < 20 * 1024, "{grown} KB");
}
