//! The memory that SQLite holds for a page; alone in its program, for what other tests hold would count.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use site::{Site, memory};

/// A statement that never ends.
const ENDLESS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c)";

#[test]
fn what_sqlite_holds_for_a_page_stays_below_its_memory_limit() {
    let before = memory("VmRSS");
    let sorted = format!("{ENDLESS}, d(x) as (select * from c limit 3000000) select x from d order by -x");
    let columns = vec!["randomblob(4000000)"; 100].join(", ");
    let nested: String = (0..20).map(|n| format!(", c{} as (select a.x from c{n} a, c{n} b)", n + 1)).collect();
    for (parameters, call) in [
        (":memory:", "db:query('select zeroblob(900000000)')".to_owned()),
        (":memory:", "db:query('select hex(randomblob(100000000))')".to_owned()),
        ("x.db", format!("db:query('select {columns}')")),
        (
            ":memory:",
            format!(
                "db:query('{ENDLESS}, d(x) as (select x from c limit 500000) select group_concat(x || x || x) from d')"
            ),
        ),
        (":memory:", format!("db:run('create table t as {ENDLESS} select x from c')")),
        ("x.db", format!("(function() db:query('PRAGMA temp_store = MEMORY') return db:query('{sorted}') end)()")),
        (
            "x.db",
            format!(
                "(function() db:query('PRAGMA temp_store = MEMORY')
            return db:run('create temp table t as {ENDLESS} select randomblob(100) from c') end)()"
            ),
        ),
        (
            "x.db",
            format!(
                "(function() db:query('PRAGMA cache_size = 100000000') db:query('PRAGMA cache_spill = OFF')
            return db:run('create table t as {ENDLESS} select randomblob(500) from c limit 100000') end)()"
            ),
        ),
        (
            "x.db",
            format!(
                "(function() db:run([[ATTACH ':memory:' AS m]])
            return db:run('create table m.t as {ENDLESS} select randomblob(100) from c') end)()"
            ),
        ),
        (
            "x.db",
            format!(
                "(function() for row in db:rows('{ENDLESS} select x from c') do
            if row.x == '1' then db:run('create table t (a)') end end end)()"
            ),
        ),
        (":memory:", format!("db:query('with c0 as (select 1 x){nested} select count(*) from c20')")),
    ] {
        let page = &format!(
            "<?lua local db = assert(dbopen('sqlite3', '{parameters}'))
            local ok, value, message = pcall(function() return {call} end) echo(tostring(message or value), ' on') ?>"
        );
        let seen = Site::new("pLuaMemoryLimit 8192\npLuaTimeout 20", &[("page.plua", page)]).get("page.plua");
        let text = seen.text();
        assert!(text.contains("memory") && text.ends_with(" on"), "{call}: {text} {:?}", seen.log);
        let grown = memory("VmRSS").saturating_sub(before);
        assert!(grown < 48 * 1024, "{call}: {grown} KB");
    }
}
