//! What pages that are confined may say of a database's server: parsed by rules of ours and put together again.
//!
//! Client libraries of databases open files that their parameters name (certificates, keys, option files, sockets), and
//! some load libraries. So where `pLuaSandbox` or `pLuaBaseDir` holds, a driver has a list of what may be said, and all else
//! is an error that names it. What is put together holds also what keeps a library from the secrets of httpd's account.

use std::path::Path;

use percent_encoding::percent_decode;

/// What pages may say to PostgreSQL's library, under the names of its manual.
const PGSQL: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "connect_timeout",
    "tcp_user_timeout",
    "sslmode",
    "application_name",
    "client_encoding",
];

/// What is said to it besides: no passwords, certificates and tickets of httpd's account. A file that cannot be there is
/// as good as none; an empty name would mean the one in the account's home.
const PGSQL_ALWAYS: &[(&str, &str)] =
    &[("passfile", "/dev/null/none"), ("sslcert", "/dev/null/none"), ("gssencmode", "disable")];

/// What pages may say to APR's driver of MySQL, under the names of its manual.
const MYSQL: &[&str] = &["host", "port", "user", "pass", "dbname", "flags", "fldsz"];

/// What ends a value in the parameters of that driver.
const MYSQL_ENDS: &[u8] = b" \r\n\t;|,";

/// One thing said: its name and value.
type Said = (String, Vec<u8>);

/// The parameters as the driver gets them. `within` says where a path leads, if pages may open that.
///
/// # Errors
/// A sentence that names what pages may not say.
pub fn confined(
    driver: &str,
    parameters: &[u8],
    within: impl Fn(&Path) -> Result<(), String>,
) -> Result<Vec<u8>, String> {
    if parameters.contains(&0) {
        return Err("the parameters hold a NUL byte".into());
    }
    match driver {
        "pgsql" => {
            let said = match ["postgresql://", "postgres://"].iter().find_map(|scheme| {
                let (start, rest) = parameters.split_at_checked(scheme.len())?;
                (start == scheme.as_bytes()).then_some(rest)
            }) {
                Some(rest) => uri(rest)?,
                None => words(parameters)?,
            };
            pgsql(said, within)
        }
        "mysql" => mysql(parameters, within),
        _ => Err(format!(
            "the database driver '{driver}' is not for pages of this host (pLuaSandbox, pLuaBaseDir): \
             there are sqlite3, pgsql, mysql and mod_dbd"
        )),
    }
}

fn refused(name: &str, driver: &str, known: &[&str]) -> String {
    format!(
        "'{name}' is nothing that pages of this host may tell {driver} (pLuaSandbox, pLuaBaseDir): there are {}",
        known.join(", ")
    )
}

fn no_host() -> String {
    "name the host of the database: what is used without is not for pages of this host (pLuaSandbox, pLuaBaseDir)"
        .into()
}

fn pgsql(said: Vec<Said>, within: impl Fn(&Path) -> Result<(), String>) -> Result<Vec<u8>, String> {
    let mut has_host = false;
    for (name, value) in &said {
        if !PGSQL.contains(&name.as_str()) {
            return Err(refused(name, "pgsql", PGSQL));
        }
        if name == "host" || name == "hostaddr" {
            for host in value.split(|byte| *byte == b',') {
                has_host = true;
                check_host(host, &within)?;
            }
        }
    }
    if !has_host {
        return Err(no_host());
    }
    let mut text = Vec::new();
    let always = PGSQL_ALWAYS.iter().map(|(name, value)| (*name, value.as_bytes()));
    for (name, value) in said.iter().map(|(name, value)| (name.as_str(), value.as_slice())).chain(always) {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"='");
        for byte in value {
            if matches!(byte, b'\'' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.extend_from_slice(b"' ");
    }
    Ok(text)
}

/// A host: a socket of this machine is a file, and a nameless one is in no folder.
fn check_host(host: &[u8], within: impl Fn(&Path) -> Result<(), String>) -> Result<(), String> {
    match host.first() {
        None => Err(no_host()),
        Some(b'@') => Err("a socket without a file is not for pages of this host (pLuaSandbox, pLuaBaseDir)".into()),
        Some(b'/') => {
            let path = str::from_utf8(host).map_err(|_| "the host's path is not UTF-8")?;
            within(Path::new(path))
        }
        Some(_) => Ok(()),
    }
}

/// `name=value`, as libpq reads it: spaces between, values in quotes where needed, a backslash before any byte.
fn words(text: &[u8]) -> Result<Vec<Said>, String> {
    let (mut said, mut rest) = (Vec::new(), text.trim_ascii());
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'=' || byte.is_ascii_whitespace()).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let missing = || format!("'=' is missing behind '{name}' in the parameters");
        rest = rest[end..].trim_ascii_start().strip_prefix(b"=").ok_or_else(missing)?.trim_ascii_start();
        let (mut value, mut at) = (Vec::new(), 0);
        let is_quoted = rest.first() == Some(&b'\'');
        at += usize::from(is_quoted);
        loop {
            match rest.get(at) {
                None if is_quoted => return Err(format!("the value of '{name}' has no end")),
                None => break,
                Some(b'\'') if is_quoted => {
                    at += 1;
                    break;
                }
                Some(byte) if !is_quoted && byte.is_ascii_whitespace() => break,
                Some(b'\\') => {
                    value.extend(rest.get(at + 1));
                    at = (at + 2).min(rest.len());
                }
                Some(byte) => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        said.push((name, value));
        rest = rest[at..].trim_ascii_start();
    }
    Ok(said)
}

/// The part of a URI behind `postgresql://`: user and password, hosts with their ports, database, further names.
fn uri(rest: &[u8]) -> Result<Vec<Said>, String> {
    let (rest, query) = match rest.iter().position(|byte| *byte == b'?') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[..0]),
    };
    let (authority, database) = match rest.iter().position(|byte| *byte == b'/') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[..0]),
    };
    let mut said = Vec::new();
    let mut add = |name: &str, value: &[u8]| -> Result<(), String> {
        let value: Vec<u8> = percent_decode(value).collect();
        if value.contains(&0) {
            return Err("the parameters hold a NUL byte".into());
        }
        if !value.is_empty() {
            said.push((name.to_owned(), value));
        }
        Ok(())
    };
    let hosts = match authority.iter().position(|byte| *byte == b'@') {
        Some(at) => {
            let mut account = authority[..at].splitn(2, |byte| *byte == b':');
            add("user", account.next().unwrap_or_default())?;
            add("password", account.next().unwrap_or_default())?;
            &authority[at + 1..]
        }
        None => authority,
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(|byte| *byte == b',') {
        // A colon inside of brackets is of an IPv6 address.
        let (name, rest) = match host.strip_prefix(b"[") {
            Some(inner) => match inner.iter().position(|byte| *byte == b']') {
                Some(end) => (&inner[..end], &inner[end + 1..]),
                None => return Err("']' is missing in the URI's host".into()),
            },
            None => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
        };
        let port = match rest {
            [] => rest,
            [b':', port @ ..] => port,
            _ => return Err("the URI's host has something behind ']'".into()),
        };
        names.push(name);
        ports.push(port);
    }
    add("host", &names.join(&b','))?;
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", &ports.join(&b','))?;
    }
    add("dbname", database)?;
    for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').ok_or("'=' is missing in the URI's parameters")?;
        let name = percent_decode(&pair[..at]).decode_utf8_lossy().into_owned();
        // What JDBC calls it, which libpq takes too.
        match (name.as_str(), &pair[at + 1..]) {
            ("ssl", b"true") => add("sslmode", b"require")?,
            (name, value) => add(name, value)?,
        }
    }
    Ok(said)
}

/// APR's driver looks for names by how they end and takes a beginning for the whole; here they are whole. It splits texts
/// at spaces, commas and the like.
fn mysql(text: &[u8], within: impl Fn(&Path) -> Result<(), String>) -> Result<Vec<u8>, String> {
    let (mut parts, mut has_host) = (Vec::new(), false);
    for part in text.split(|byte| MYSQL_ENDS.contains(byte)).filter(|part| !part.is_empty()) {
        let shown = String::from_utf8_lossy(part).into_owned();
        let at = part.iter().position(|byte| *byte == b'=');
        let at = at.ok_or_else(|| format!("'{shown}' in the parameters is no name=value, without spaces"))?;
        let (name, mut value) = (String::from_utf8_lossy(&part[..at]).into_owned(), &part[at + 1..]);
        if !MYSQL.contains(&name.as_str()) {
            return Err(refused(&name, "mysql", MYSQL));
        }
        if name == "host" {
            check_host(value, &within)?;
            has_host = true;
            // By that name the library means a socket, where the server may take httpd's account for who connects.
            if value.eq_ignore_ascii_case(b"localhost") {
                value = b"127.0.0.1";
            }
        }
        parts.push([name.as_bytes(), b"=", value].concat());
    }
    match has_host {
        true => Ok(parts.join(&b',')),
        false => Err(no_host()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(driver: &str, parameters: &str) -> Result<String, String> {
        let within = |path: &Path| match path.starts_with("/srv/site") {
            true => Ok(()),
            false => Err(format!("{}: not within pLuaBaseDir", path.display())),
        };
        confined(driver, parameters.as_bytes(), within).map(|text| String::from_utf8(text).unwrap())
    }

    const ALWAYS: &str = "passfile='/dev/null/none' sslcert='/dev/null/none' gssencmode='disable' ";

    #[test]
    fn both_spellings_of_postgresql_are_put_together_again() {
        for (parameters, expected) in [
            ("host=db.example port=5433 user=me", "host='db.example' port='5433' user='me' "),
            (" host = db\tpassword='it\\'s \\\\' ", "host='db' password='it\\'s \\\\' "),
            ("host=db password=a\\ b user=''", "host='db' password='a b' user='' "),
            (
                "postgresql://me:s%65cret@db.example:5433/shop",
                "user='me' password='secret' host='db.example' port='5433' dbname='shop' ",
            ),
            (
                "postgres://[::1]/shop?sslmode=verify-full&connect_timeout=3",
                "host='::1' dbname='shop' sslmode='verify-full' connect_timeout='3' ",
            ),
            ("postgresql://one:1,two:2/x", "host='one,two' port='1,2' dbname='x' "),
            ("postgresql:///x?host=db&ssl=true", "dbname='x' host='db' sslmode='require' "),
            ("host=/srv/site/run", "host='/srv/site/run' "),
            ("hostaddr=127.0.0.1", "hostaddr='127.0.0.1' "),
        ] {
            assert_eq!(told("pgsql", parameters), Ok(format!("{expected}{ALWAYS}")), "{parameters}");
        }
    }

    #[test]
    fn what_opens_files_or_asks_the_account_s_own_is_named_and_refused() {
        for (driver, parameters, named) in [
            ("pgsql", "host=db sslkey=/x", "'sslkey' is nothing that pages of this host may tell pgsql"),
            ("pgsql", "host=db service=other", "'service' is nothing"),
            ("pgsql", "host=db passfile=/x", "'passfile' is nothing"),
            ("pgsql", "host=db options='-c x'", "'options' is nothing"),
            ("pgsql", "postgresql://db/x?sslcert=%2Fx", "'sslcert' is nothing"),
            ("pgsql", "postgresql://db/x?ssl%63ert=%2Fx", "'sslcert' is nothing"),
            ("pgsql", "host=db Host=db", "'Host' is nothing"),
            ("pgsql", "host=/run/postgresql", "/run/postgresql: not within pLuaBaseDir"),
            ("pgsql", "host=db,/run/postgresql", "/run/postgresql: not within pLuaBaseDir"),
            ("pgsql", "postgresql://%2Frun%2Fpostgresql/x", "/run/postgresql: not within pLuaBaseDir"),
            ("pgsql", "host=@nameless", "a socket without a file"),
            ("pgsql", "user=me", "name the host"),
            ("pgsql", "host=db,", "name the host"),
            ("pgsql", "postgresql:///x", "name the host"),
            ("pgsql", "host", "'=' is missing behind 'host'"),
            ("pgsql", "host='db", "the value of 'host' has no end"),
            ("pgsql", "postgresql://[::1/x", "']' is missing"),
            ("pgsql", "postgresql://db/x?host=%00", "a NUL byte"),
            ("mysql", "host=db,sock=/x", "'sock' is nothing that pages of this host may tell mysql"),
            ("mysql", "host=db;group=client", "'group' is nothing"),
            ("mysql", "host=db,reconnect=1", "'reconnect' is nothing"),
            ("mysql", "host=db xsock=/x", "'xsock' is nothing"),
            ("mysql", "host=db,s=/x", "'s' is nothing"),
            ("mysql", "host=db,sock = /x", "'sock' in the parameters is no name=value"),
            ("mysql", "user=me", "name the host"),
            ("odbc", "DSN=x", "'odbc' is not for pages of this host"),
        ] {
            let said = told(driver, parameters).unwrap_err();
            assert!(said.contains(named), "{driver} {parameters}: {said}");
        }
    }

    #[test]
    fn parameters_of_mysql_are_put_together_again() {
        for (parameters, expected) in [
            ("host=db,user=me,pass=a=b,dbname=shop", "host=db,user=me,pass=a=b,dbname=shop"),
            ("host=LocalHost port=3306;pass=", "host=127.0.0.1,port=3306,pass="),
        ] {
            assert_eq!(told("mysql", parameters), Ok(expected.into()));
        }
    }
}
