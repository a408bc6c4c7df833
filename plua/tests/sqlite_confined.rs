//! SQLite in a host whose pages are confined: what SQL reaches of native code and of files, and what goes on working.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::fs;
use std::os::unix::fs::symlink;

use site::Site;

/// A sandbox in the folder `site`, beside which there is another.
fn confined() -> Site {
    let folder = tempfile::tempdir().unwrap();
    for name in ["site", "outside"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let base = folder.path().join("site");
    Site::new(&format!("pLuaSandbox On\npLuaBaseDir {}", base.display()), &[]).in_folder(folder)
}

/// What a page in the confined folder puts out; `db` is open there.
fn shown(site: &Site, code: &str) -> String {
    site.write("site/page.plua", format!("<?lua local db = assert(dbopen('sqlite3', 'test.db')) {code} ?>"));
    let seen = site.get("site/page.plua");
    assert_eq!(seen.status, 200, "{code}\n{:?}", seen.log);
    seen.text()
}

#[test]
fn what_reaches_native_code_or_files_is_named_and_refused() {
    let site = confined();
    for (sql, what) in [
        ("SELECT load_extension('nothing')", "the function load_extension"),
        ("SELECT FTS3_Tokenizer('simple')", "the function fts3_tokenizer"),
        ("CREATE VIEW v AS SELECT load_extension('nothing') AS a", ""),
        ("PRAGMA mmap_size = 1000000", "PRAGMA mmap_size"),
        ("PRAGMA writable_schema = on", "PRAGMA writable_schema"),
        ("PRAGMA trusted_schema = on", "PRAGMA trusted_schema"),
        ("PRAGMA temp_store_directory", "PRAGMA temp_store_directory"),
        ("ATTACH 'other.db' AS other", "ATTACH and VACUUM INTO open files"),
        ("CREATE TABLE a (b); ATTACH ? AS other", "ATTACH and VACUUM INTO open files"),
        ("VACUUM INTO 'other.db'", "ATTACH and VACUUM INTO open files"),
    ] {
        let value = if sql.contains('?') { ", 'x.db'" } else { "" };
        let run = if sql.starts_with("CREATE TABLE") { "run" } else { "query" };
        let said = shown(&site, &format!("local _, problem = db:{run}([[{sql}]]{value}) echo(problem)"));
        let expected = format!("not for pages of this host (pLuaSandbox, pLuaBaseDir): {what}");
        // What a schema may hold shows when it is used.
        if what.is_empty() {
            let used = shown(&site, "echo(select(2, db:query('SELECT * FROM v')))");
            assert!(said.contains("load_extension") || used.contains("load_extension"), "{said} {used}");
        } else {
            assert!(said.contains(&expected), "{sql}: {said}");
        }
    }
}

#[test]
fn what_pages_do_with_a_database_goes_on_working() {
    let site = confined();
    let code = "assert(db:run('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP)'))
        assert(db:run('CREATE VIEW v AS SELECT upper(name) AS name FROM t'))
        assert(db:run('CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET name = lower(new.name) WHERE id = new.id; END'))
        assert(db:transaction(function() for i = 1, 2000 do assert(db:run('INSERT INTO t (name) VALUES (?)', 'N' .. i)) end end))
        echo(#db:query('SELECT * FROM t ORDER BY name DESC'), db:query('SELECT name FROM v WHERE name = ?', 'N7')[1].name)
        assert(db:run('CREATE VIRTUAL TABLE five USING fts5(text)')) assert(db:run('CREATE VIRTUAL TABLE four USING fts4(text)'))
        for _, words in ipairs{ 'five' , 'four' } do
          assert(db:run('INSERT INTO ' .. words .. ' VALUES (?), (?)', 'a red house', 'a blue door'))
          echo(' ', assert(db:query('SELECT text FROM ' .. words .. ' WHERE ' .. words .. ' MATCH ?', 'red'))[1].text) end
        assert(db:run('CREATE TEMP TABLE passing (a)')) assert(db:run('INSERT INTO passing SELECT id FROM t'))
        assert(db:run('DELETE FROM t WHERE id > 10')) assert(db:run('VACUUM'))
        echo(' ', 'mapped: ', db:query('PRAGMA mmap_size')[1][1], ' ', db:query('PRAGMA journal_mode')[1][1])
        db:begin() db:run('DELETE FROM t') db:rollback() echo(#db:query('SELECT * FROM t'))";
    assert_eq!(shown(&site, code), "2000N7 a red house a red house mapped: 0 delete10");
}

#[test]
fn there_is_no_log_in_shared_memory() {
    let site = confined();
    let code = "echo(db:query('PRAGMA journal_mode = wal')[1][1]) db:run('CREATE TABLE t (a)') echo(db:run('INSERT INTO t VALUES (1)'))";
    assert_eq!(shown(&site, code), "delete1");
    let mut names: Vec<_> = fs::read_dir(site.path("site")).unwrap().flatten().map(|file| file.file_name()).collect();
    names.sort();
    assert_eq!(names, ["page.plua", "test.db"]);
    let free = Site::new("", &[]);
    let wal = "<? local db = dbopen('sqlite3', parseGet().file) echo(db:query('PRAGMA journal_mode = wal')[1][1]) ?>";
    free.write("page.plua", wal);
    let file = site.path("site/test.db");
    assert_eq!(free.get(&format!("page.plua?file={}", file.display())).text(), "wal", "where nobody is confined");
    let said = shown(&site, "echo(select(2, db:query('SELECT * FROM t')))");
    assert!(said.contains("a database with a write-ahead log is not for pages of this host"), "{said}");
}

#[test]
fn files_beside_a_database_are_within_the_folder_as_well() {
    let site = confined();
    let outside = site.path("outside/kept");
    fs::write(&outside, "kept").unwrap();
    assert_eq!(shown(&site, "echo(db:run('CREATE TABLE t (a)'))"), "0");
    symlink(&outside, site.path("site/test.db-journal")).unwrap();
    let said =
        shown(&site, "local done, problem = db:run('INSERT INTO t VALUES (1)') echo(tostring(done), ' ', problem)");
    assert!(said.starts_with("nil "), "{said}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
    fs::remove_file(site.path("site/test.db-journal")).unwrap();
    assert_eq!(shown(&site, "echo(db:run('INSERT INTO t VALUES (1)'), #db:query('SELECT * FROM t'))"), "11");
}
