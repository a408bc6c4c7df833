//! Where a Redis is, as the configuration says it, with a password that nobody is shown.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// The port where none is given.
const PORT: u16 = 6379;

/// What an address that begins otherwise is told.
const FORMS: &str = "a Redis is redis://[[user]:password@]host[:port][/database], rediss:// where it speaks TLS, \
    redis+unix:///path[?db=database], or redis+cluster://host:port,host:port";

/// The longest name of a host: no name in the DNS is as long.
const LONGEST_HOST: usize = 255;

/// The longest path that the system takes for a socket.
const LONGEST_PATH: usize = 107;

/// One server, or those of a cluster that are known before it is asked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub(crate) nodes: Vec<Node>,
    pub(crate) is_cluster: bool,
    pub(crate) speaks_tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
}

/// Where one server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// At a port of a host.
    Host(String, u16),
    /// The file of a socket.
    Socket(PathBuf),
}

impl Address {
    /// Whether a text looks like the address of something.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains("://")
    }

    /// What a text such as `redis://:secret@cache.example:6379/1` says.
    ///
    /// # Errors
    /// What is wrong with it, without a word of who is to be let in.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").ok_or(FORMS)?;
        let (is_cluster, speaks_tls) = match scheme {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis+cluster" => (true, false),
            "rediss+cluster" => (true, true),
            "redis+unix" => return Address::of_socket(rest),
            _ => return Err(FORMS.into()),
        };
        // What is before the last one may have been written as it is.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = login.map_or(Ok((None, None)), parse_login)?;
        let (hosts, database) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), 0),
            Some((_, given)) if is_cluster => {
                return Err(format!("a cluster has no database but 0: leave '/{given}' out"));
            }
            Some((hosts, given)) => (hosts, parse_database(given)?),
        };
        let nodes: Vec<Node> = match is_cluster {
            true => hosts.split(',').map(parse_host).collect::<Result<_, _>>()?,
            false if hosts.contains(',') => {
                return Err("several servers are those of a cluster: redis+cluster://host:port,host:port".into());
            }
            false => vec![parse_host(hosts)?],
        };
        Ok(Address { nodes, is_cluster, speaks_tls, user, password, database })
    }

    fn of_socket(rest: &str) -> Result<Address, String> {
        let (login, rest) = match rest.split_once("@/") {
            Some((login, _)) if !rest.starts_with('/') => (Some(login), &rest[login.len() + 1..]),
            _ => (None, rest),
        };
        let (user, password) = login.map_or(Ok((None, None)), parse_login)?;
        let (path, database) = match rest.split_once('?') {
            None => (rest, 0),
            Some((path, query)) => {
                let given = query.strip_prefix("db=").ok_or("after the path stands ?db=database or nothing")?;
                (path, parse_database(given)?)
            }
        };
        if !path.starts_with('/') || path.len() > LONGEST_PATH || path.contains('\0') {
            return Err(format!(
                "the path of a socket begins with / and has {LONGEST_PATH} bytes at most: redis+unix:///path"
            ));
        }
        let nodes = vec![Node::Socket(path.into())];
        Ok(Address { nodes, is_cluster: false, speaks_tls: false, user, password, database })
    }

    /// How errors call one of its servers.
    pub(crate) fn shown(&self, node: &Node) -> String {
        let scheme = if self.speaks_tls { "rediss" } else { "redis" };
        match node {
            Node::Host(host, port) if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
            Node::Host(host, port) => format!("{scheme}://{host}:{port}"),
            Node::Socket(path) => format!("redis+unix://{}", path.display()),
        }
    }
}

fn parse_login(login: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = login.split_once(':').ok_or("before the @ stand user:password or :password")?;
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| "user and password are no UTF-8")
    };
    if password.is_empty() {
        return Err("before the @ stand user:password or :password".into());
    }
    let user = decoded(user)?;
    Ok((Some(user).filter(|user| !user.is_empty()), Some(decoded(password)?)))
}

fn parse_database(given: &str) -> Result<u32, String> {
    given.parse().map_err(|_| format!("'{given}' is no number of a database"))
}

fn parse_host(text: &str) -> Result<Node, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':').unwrap_or(""))),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.len() > LONGEST_HOST || host.contains(['/', '\0', '?', '#', '[', ']']) {
        return Err(format!("'{text}' is no host with a port, such as cache.example:6379 or [::1]:6379"));
    }
    let port = match port {
        None => PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("'{port}' is no port of '{host}': give a number from 1 to 65535"))?,
    };
    Ok(Node::Host(host.into(), port))
}

/// Without the user and the password.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, node) in self.nodes.iter().enumerate() {
            formatter.write_str(if number == 0 { "" } else { "," })?;
            formatter.write_str(&self.shown(node))?;
        }
        match self.database {
            0 => Ok(()),
            database => write!(formatter, "/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>, Option<String>) {
        let address = Address::parse(text).unwrap();
        let kind = match (address.is_cluster, address.speaks_tls) {
            (true, true) => "cluster, TLS: ",
            (true, false) => "cluster: ",
            _ => "",
        };
        (format!("{kind}{address}"), address.user, address.password)
    }

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("redis://cache.example", "redis://cache.example:6379"),
            ("redis://127.0.0.1:1234/", "redis://127.0.0.1:1234"),
            ("rediss://[::1]:1234/15", "rediss://[::1]:1234/15"),
            ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
            ("redis+unix:///run/r@edis.sock?db=2", "redis+unix:///run/r@edis.sock/2"),
            ("redis+cluster://one:1,two", "cluster: redis://one:1,redis://two:6379"),
            ("rediss+cluster://one:1", "cluster, TLS: rediss://one:1"),
        ] {
            assert_eq!(read(text), (shown.into(), None, None), "{text}");
        }
        let own = |text: &str| Some(text.to_owned());
        for (text, user, password) in [
            ("redis://:secret@host", None, own("secret")),
            ("redis://me:a%40b%2Fc@host", own("me"), own("a@b/c")),
            ("redis://me:a@b:/c@host", own("me"), own("a@b:/c")),
            ("redis+unix://me:secret@/run/x", own("me"), own("secret")),
        ] {
            let seen = read(text);
            assert_eq!((seen.1, seen.2), (user, password), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, reason) in [
            ("http://:secret@host", FORMS),
            ("redis://:secret@", "'' is no host"),
            ("redis://:secret@host:0", "'0' is no port of 'host'"),
            ("redis://:secret@host:99999", "'99999' is no port of 'host'"),
            ("redis://:secret@host:1/x", "'x' is no number of a database"),
            ("redis://secret@host", "before the @ stand user:password or :password"),
            ("redis://user:@host", "before the @ stand user:password or :password"),
            ("redis://:secret@one,two", "several servers are those of a cluster"),
            ("redis+cluster://:secret@one/1", "a cluster has no database but 0"),
            ("redis+unix://run/redis.sock", "the path of a socket begins with /"),
            ("redis+unix://:secret@/run/x?database=1", "after the path stands ?db=database"),
        ] {
            let problem = Address::parse(text).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains("secret"), "{text}: {problem}");
        }
        assert!(!format!("{:?}", Address::parse("redis://me:secret@host/1").unwrap()).contains("secret"));
    }
}
