//! The memory that large values take on their way to a database and back; alone in its program, for the peak is the whole
//! process's.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it measured")]

mod site;

use site::{Site, memory};

/// Kilobytes that a page may have, and those that may be beside them.
const LIMIT: usize = 64 * 1024;
const BESIDE: usize = 32 * 1024;

#[test]
fn large_values_stay_within_the_limit_and_a_little_more() {
    let open = "<?lua local db = assert(dbopen('sqlite3', 'test.db'))
        db:run('PRAGMA synchronous = off') db:run('CREATE TABLE IF NOT EXISTS t (n INTEGER, b BLOB)')
        local function mega(n) return ('x'):rep(n * 1048576) end
        local function places(n) return ('?,'):rep(n - 1) .. '?' end\n";
    let site = Site::new(&format!("pLuaMemoryLimit {LIMIT}\npLuaTimeout 600"), &[]);
    let run = |code: &str| {
        site.write("page.plua", format!("{open}{code} ?>"));
        let seen = site.get("page.plua");
        (seen.status, seen.text())
    };
    for _ in 0..8 {
        assert_eq!(run("echo(db:run('INSERT INTO t VALUES (1, ?)', mega(8)))"), (200, "1".into()));
    }
    assert_eq!(run("echo(#db:query('SELECT b FROM t LIMIT 2')[2].b)"), (200, "8388608".into()));
    let mut highest = 0;
    for code in [
        "local s = mega(30) db:query('SELECT ' .. places(40), s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s,
           s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s)",
        "local s = mega(3) local t = {} for i = 1, 40 do t[i] = s end
           db:run('CREATE TABLE c (a DEFAULT ' .. places(1) .. ')', unpack and unpack(t) or table.unpack(t))",
        "db:query('SELECT * FROM t')",
        "for row in db:rows('SELECT b, b, b, b, b, b, b, b, b, b, b, b FROM t') do end",
        "for row in db:rows('SELECT zeroblob(60000000)') do end",
        "db:query('SELECT hex(zeroblob(30000000)), hex(zeroblob(30000000))')",
        "db:query('SELECT ' .. ('1,'):rep(12000000) .. '1')",
        "db:escape(mega(30))",
        "local s = mega(12) for i = 1, 20 do db:escape(s) end",
        "local all = {} for i = 1, 20 do all[i] = db:query('SELECT b FROM t') end",
        "local b = db:blob(mega(25)) db:query('SELECT ?, ?, ?, ?', b, b, b, b)",
    ] {
        // The peak of what was before does not count.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let (status, text) = run(code);
        let grown = memory("VmHWM").saturating_sub(before);
        println!("{grown:8} kB {status} {}", &code[..code.len().min(60)]);
        assert!(status == 200 || status == 500, "{code}: {text}");
        assert!(grown <= LIMIT + BESIDE, "{code}: {grown} kB");
        highest = highest.max(grown);
        assert_eq!(run("echo(db:query('SELECT count(*) FROM t')[1][1])"), (200, "8".into()), "after {code}");
    }
    assert!(highest > 8 * 1024, "nothing was tried: {highest} kB");
}
