//! Servers of databases in a host whose pages are confined: what they may say of them, and files that these ask for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;
mod database_servers;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::with_httpd;
use database_servers::{DatabaseServer, MariaDb, PostgreSql};

const CONFINED: &str = "pLuaSandbox On\npLuaError On\npLuaBaseDir /usr/share";

/// What a page of a confined host gets that opens this and asks for 7.
fn opened(driver: &str, parameters: &str) -> String {
    let page = format!(
        "<?lua local db, problem = dbopen('{driver}', [[{parameters}]])
        echo(db and db:query('SELECT 7')[1][1] or problem) ?>"
    );
    let mut text = String::new();
    with_httpd(CONFINED, &[("page.plua", &page)], |server| text = server.get("/page.plua").text());
    text
}

#[test]
fn postgresql_is_told_what_is_on_the_list_in_both_spellings() {
    let Some(database) = PostgreSql::started() else { return };
    let parameters = database.parameters();
    let port = parameters.split_whitespace().find_map(|word| word.strip_prefix("port=")).unwrap();
    assert_eq!(opened("pgsql", &format!("{parameters} connect_timeout=5 sslmode=prefer")), "7");
    assert_eq!(opened("pgsql", &format!("postgresql://plua:x@127.0.0.1:{port}/postgres?sslmode=disable")), "7");
    assert!(opened("pgsql", &format!("{parameters} service=x")).starts_with("'service' is nothing"));
    assert!(opened("pgsql", &parameters.replace("127.0.0.1", "/run/postgresql")).contains("not within pLuaBaseDir"));
    assert!(opened("pgsql", "user=plua").starts_with("name the host"));
    assert!(opened("odbc", "DSN=x").contains("'odbc' is not for pages of this host"));
}

#[test]
fn mariadb_gets_no_file_of_a_confined_host() {
    let Some(database) = MariaDb::started() else { return };
    let parameters = database.parameters();
    assert_eq!(opened("mysql", &parameters), "7");
    assert!(opened("mysql", &format!("{parameters},group=client")).starts_with("'group' is nothing"));
    assert!(opened("mysql", &format!("{parameters},sock=/x")).starts_with("'sock' is nothing"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    fs::write(&file, "one\ntwo\n").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let page = format!(
        "<?lua local db = assert(dbopen('mysql', [[{parameters}]]))
        db:run('CREATE TABLE IF NOT EXISTS files (line TEXT)')
        local _, problem = db:run([[LOAD DATA LOCAL INFILE '{0}' INTO TABLE files]])
        echo(problem or 'sent', ' ', #db:query('SELECT * FROM files'))
        db:run('DROP TABLE files') ?>",
        file.display()
    );
    with_httpd(CONFINED, &[("page.plua", &page)], |server| {
        // MariaDB's library says it in words of its own.
        let text = server.get("/page.plua").text();
        assert!(text.ends_with(" 0") && !text.starts_with("sent"), "{text}");
    });
    with_httpd("", &[("page.plua", &page)], |server| {
        assert_eq!(server.get("/page.plua").text(), "sent 2");
    });
}
