//! Where pages may connect to: the words of `pLuaConnect`, and what they say of a name, an address and a socket's file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// What pages of a host may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Connect {
    /// Nothing.
    None,
    /// Whatever there is.
    #[default]
    Any,
    /// What is named, and nothing else.
    Only(Vec<Place>),
}

/// One that is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A host's name, in lower case, at a port or at all of them. One that begins with a dot stands for all names inside it.
    Name(String, Option<u16>),
    /// The addresses that begin with so many bits of this one.
    Network(IpAddr, u8, Option<u16>),
    /// A socket's file, or a folder of them.
    Unix(PathBuf),
}

impl Connect {
    /// Takes one word more.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn add(given: &mut Option<Connect>, word: &str) -> Result<(), String> {
        let single = match word.to_ascii_lowercase().as_str() {
            "none" => Some(Connect::None),
            "any" => Some(Connect::Any),
            _ => None,
        };
        match (single, &mut *given) {
            (Some(single), None) => *given = Some(single),
            (Some(single), Some(before)) if *before == single => {}
            (None, None) => *given = Some(Connect::Only(vec![place(word)?])),
            (None, Some(Connect::Only(places))) => {
                let place = place(word)?;
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            _ => return Err(format!("'{word}' cannot stand beside other words: none and any stand alone")),
        }
        Ok(())
    }

    /// Looks whether pages may ask for this host, by its name or as an address, before the name is resolved.
    ///
    /// # Errors
    /// A sentence for the page.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), String> {
        let Connect::Only(places) = self else { return self.check_any(&format!("{host}:{port}")) };
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.check_address(host, address, port);
        }
        // Or one of its addresses may be.
        let is_open = self.has_name(host, port) || places.iter().any(|place| matches!(place, Place::Network(..)));
        is_open.then_some(()).ok_or_else(|| refusal(&format!("{host}:{port}")))
    }

    /// Looks whether pages may have a proxy ask this host, by its name or as an address: what a name leads to is the proxy's to
    /// find out, so networks allow no name.
    ///
    /// # Errors
    /// A sentence for the page.
    pub fn check_by_proxy(&self, host: &str, port: u16) -> Result<(), String> {
        match self {
            Connect::Only(_) if host.parse::<IpAddr>().is_err() => {
                self.has_name(host, port).then_some(()).ok_or_else(|| refusal(&format!("{host}:{port}")))
            }
            _ => self.check_host(host, port),
        }
    }

    /// Looks whether pages may connect to this address, which the host's name was resolved to.
    ///
    /// # Errors
    /// A sentence for the page.
    pub fn check_address(&self, host: &str, address: IpAddr, port: u16) -> Result<(), String> {
        let Connect::Only(places) = self else { return self.check_any(&format!("{host}:{port}")) };
        let is_named = places.iter().any(|place| match place {
            Place::Network(network, bits, only) => is_within(address, *network, *bits) && is_at(*only, port),
            _ => false,
        });
        let is_of_name = || {
            self.has_name(host, port)
                && (!is_private(address) || host.eq_ignore_ascii_case("localhost") && is_loopback(address))
        };
        if is_named || is_of_name() {
            Ok(())
        } else if is_private(address) && self.has_name(host, port) {
            Err(format!("{host}:{port}: {address} is a private address, which pLuaConnect does not name"))
        } else {
            Err(refusal(&format!("{host}:{port}")))
        }
    }

    /// Looks whether pages may connect to the socket of this file, whose path is resolved.
    ///
    /// # Errors
    /// A sentence for the page.
    pub fn check_unix(&self, path: &Path) -> Result<(), String> {
        let shown = format!("unix:{}", path.display());
        let Connect::Only(places) = self else { return self.check_any(&shown) };
        let is_named = places.iter().any(|place| match place {
            Place::Unix(named) => {
                path.starts_with(named) || named.canonicalize().is_ok_and(|named| path.starts_with(named))
            }
            _ => false,
        });
        is_named.then_some(()).ok_or_else(|| refusal(&shown))
    }

    fn check_any(&self, shown: &str) -> Result<(), String> {
        if *self == Connect::Any { Ok(()) } else { Err(refusal(shown)) }
    }

    fn has_name(&self, host: &str, port: u16) -> bool {
        let Connect::Only(places) = self else { return *self == Connect::Any };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        places.iter().any(|place| match place {
            Place::Name(name, only) => {
                is_at(*only, port) && if name.starts_with('.') { host.ends_with(name.as_str()) } else { host == *name }
            }
            _ => false,
        })
    }
}

fn refusal(shown: &str) -> String {
    format!("{shown}: pages may not connect there (pLuaConnect)")
}

fn is_at(only: Option<u16>, port: u16) -> bool {
    only.is_none_or(|only| only == port)
}

/// A word as what it names.
fn place(word: &str) -> Result<Place, String> {
    if let Some(path) = word.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(Place::Unix(path.into())),
            false => Err(format!("'{word}' has no absolute path: write unix:/run/name.sock")),
        };
    }
    let (host, port) =
        host_and_port(word).ok_or_else(|| format!("'{word}' has no port from 1 to 65535 after its colon"))?;
    if let Some((address, bits)) = host.split_once('/') {
        return network(word, address, bits, port);
    }
    if let Ok(address) = host.parse() {
        return Ok(Place::Network(address, all_bits(address), port));
    }
    let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let labels = name.strip_prefix('.').filter(|_| host.starts_with('*')).unwrap_or(name);
    // What ends with a number is an address to everyone, and this is none.
    let is_number = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number || !labels.split('.').all(is_label) {
        return Err(format!(
            "'{word}' is neither none nor any, nor a name, address or network such as api.example.com:443, *.example.com, \
             192.0.2.7, [2001:db8::1]:80 or 10.0.0.0/8, nor unix:/path"
        ));
    }
    Ok(Place::Name(name.to_ascii_lowercase(), port))
}

fn network(word: &str, address: &str, bits: &str, port: Option<u16>) -> Result<Place, String> {
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(format!("'{word}' has no address before its slash, as 10.0.0.0/8 has"));
    };
    let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= all_bits(address));
    let Some(bits) = bits else {
        return Err(format!("'{word}' has no number of bits from 0 to {} after its slash", all_bits(address)));
    };
    Ok(Place::Network(address, bits, port))
}

/// A host, without the brackets of an address, and the port after it. None where there is a colon without a port.
#[must_use]
pub fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(rest) => Some((address, Some(port(rest)?))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        // An address of IPv6 without brackets.
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, rest)) => Some((host, Some(port(rest)?))),
    }
}

fn all_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address.to_canonical(), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            same_bits(address.to_bits().into(), network.to_bits().into(), 32, bits)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => same_bits(address.to_bits(), network.to_bits(), 128, bits),
        _ => false,
    }
}

fn same_bits(one: u128, other: u128, all: u8, bits: u8) -> bool {
    (one ^ other).checked_shr(u32::from(all - bits)).unwrap_or(0) == 0
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address is of the machine itself, of a network that the world cannot reach, or of none at all.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    const NETWORKS: [(Ipv4Addr, u8); 12] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
    ];
    NETWORKS.iter().any(|(network, bits)| is_within(address.into(), (*network).into(), *bits))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, fourth, fifth, sixth, seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| is_private_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (first, second) {
        // What is in the world begins with these three bits, but for what carries an address of IPv4 in it.
        (0x2002, _) => embedded(second, third),
        (0x2001, 0) => true,
        (0x64, 0xff9b) if [third, fourth, fifth, sixth] == [0; 4] => embedded(seventh, eighth),
        _ => first & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &str) -> Result<Connect, String> {
        let mut given = None;
        words.split_whitespace().try_for_each(|word| Connect::add(&mut given, word))?;
        Ok(given.unwrap_or_default())
    }

    #[test]
    fn names_and_addresses_are_allowed_as_they_are_named() {
        let connect =
            given("api.example.com:443 *.example.org localhost:6379 192.0.2.7 10.0.0.0/8:5432 [2001:db8::]/32")
                .unwrap_err();
        assert!(connect.contains("[2001:db8::]/32"), "{connect}");
        let connect =
            given("api.example.com:443 *.example.org localhost:6379 192.0.2.7 10.0.0.0/8:5432 2001:db8::/32").unwrap();
        let host = |host: &str, port| connect.check_host(host, port).is_ok();
        assert!(host("api.example.com", 443) && host("API.example.com.", 443) && host("a.b.example.org", 80));
        assert!(
            host("192.0.2.7", 80) && host("10.1.2.3", 5432) && host("2001:db8::1", 80) && host("::ffff:10.1.2.3", 5432)
        );
        assert!(!host("10.1.2.3", 80) && !host("192.0.2.8", 80) && !host("127.0.0.1", 6379));
        let address = |host: &str, address: &str, port| connect.check_address(host, address.parse().unwrap(), port);
        assert!(address("api.example.com", "93.184.216.34", 443).is_ok());
        assert!(address("api.example.com", "93.184.216.34", 80).is_err());
        assert!(address("example.org", "93.184.216.34", 80).is_err());
        assert!(address("x.example.org", "10.0.0.1", 5432).is_ok());
        assert!(address("other.example.net", "10.0.0.1", 5432).is_ok(), "its address is named");
        assert!(address("localhost", "::1", 6379).is_ok() && address("localhost", "10.0.0.1", 6379).is_err());
        assert_eq!(
            address("api.example.com", "10.0.0.1", 443).unwrap_err(),
            "api.example.com:443: 10.0.0.1 is a private address, which pLuaConnect does not name"
        );
    }

    #[test]
    fn networks_allow_no_name_that_a_proxy_looks_up() {
        let connect = given("10.0.0.0/8 api.example.com:443 *.example.org").unwrap();
        let by_proxy = |host: &str, port| connect.check_by_proxy(host, port).is_ok();
        assert!(by_proxy("api.example.com", 443) && by_proxy("a.example.org", 80) && by_proxy("10.1.2.3", 80));
        for (host, port) in [("api.example.com", 80), ("other.example.com", 443), ("127.1", 80), ("192.0.2.1", 80)] {
            assert!(!by_proxy(host, port), "{host}:{port}");
        }
        assert!(Connect::Any.check_by_proxy("whoever", 80).is_ok());
        assert!(Connect::None.check_by_proxy("api.example.com", 443).is_err());
    }

    #[test]
    fn addresses_that_the_world_cannot_reach_are_private_in_every_spelling() {
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::5db8:d822",
            "::ffff:93.184.216.34",
            "2002:5db8:d822::1",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn files_of_sockets_are_named_themselves_or_by_their_folder() {
        let connect = given("unix:/run/redis unix:/run/a.sock").unwrap();
        let unix = |path: &str| connect.check_unix(Path::new(path)).is_ok();
        assert!(unix("/run/redis/redis.sock") && unix("/run/a.sock"));
        assert!(!unix("/run/b.sock") && !unix("/run/redis-other/x") && connect.check_host("localhost", 80).is_err());
        assert!(given("any").unwrap().check_unix(Path::new("/x")).is_ok());
        assert!(given("none").unwrap().check_unix(Path::new("/x")).is_err());
        assert!(given("none").unwrap().check_host("example.com", 80).is_err());
        assert!(given("localhost").unwrap().check_unix(Path::new("/x")).is_err());
    }

    #[test]
    fn a_bad_word_is_refused_with_a_sentence() {
        for (words, sentence) in [
            ("any localhost", "'localhost' cannot stand beside other words: none and any stand alone"),
            ("localhost none", "'none' cannot stand beside other words: none and any stand alone"),
            ("localhost:0", "'localhost:0' has no port from 1 to 65535 after its colon"),
            ("localhost:http", "'localhost:http' has no port from 1 to 65535 after its colon"),
            ("10.0.0.0/33", "'10.0.0.0/33' has no number of bits from 0 to 32 after its slash"),
            ("example.com/8", "'example.com/8' has no address before its slash, as 10.0.0.0/8 has"),
            ("unix:redis.sock", "'unix:redis.sock' has no absolute path: write unix:/run/name.sock"),
        ] {
            assert_eq!(given(words).unwrap_err(), sentence);
        }
        for word in ["10.0.0", "1.2.3.4.5", "http://example.com/", "a..b", "*", "*.", "-*.a", "a,b"] {
            assert!(given(word).is_err(), "{word}");
        }
        assert_eq!(given("a a").unwrap(), given("a").unwrap());
    }
}
