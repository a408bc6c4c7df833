//! Names of values that no report shows: those of passwords, tokens and their like.

use percent_encoding::percent_decode;

/// What stands in the place of such a value.
pub const HIDDEN: &str = "(hidden)";

/// Parts of such names, wherever they stand in them.
const PARTS: &[&[u8]] = &[
    b"apikey",
    b"authorization",
    b"card",
    b"cookie",
    b"credential",
    b"csrf",
    b"cvc",
    b"cvv",
    b"key",
    b"passcode",
    b"passphrase",
    b"passw",
    b"pincode",
    b"pwd",
    b"secret",
    b"session",
    b"token",
    b"xsrf",
];

/// Ends of words in such names: what is too short to be looked for inside of others.
const ENDS: &[&[u8]] = &[b"auth", b"iban", b"otp", b"pass", b"pin", b"sid", b"ssn"];

/// Whether a value of this name is secret. Names compare without case.
#[must_use]
pub fn is_secret(name: &[u8]) -> bool {
    let low = name.to_ascii_lowercase();
    if PARTS.iter().any(|part| low.windows(part.len()).any(|window| window == *part)) {
        return true;
    }
    words(name).any(|word| ENDS.iter().any(|end| word.to_ascii_lowercase().ends_with(end)))
}

/// The words of a name: what `_`, `-`, digits and the like part, and in `camelCase` the small letter before a large one.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphabetic())
        .flat_map(|run| run.chunk_by(|before, after| !(before.is_ascii_lowercase() && after.is_ascii_uppercase())))
}

/// Whether a text gives a secret a value, as `password=x` and `{"token": "x"}` do.
#[must_use]
pub fn gives_secret(text: &[u8]) -> bool {
    let is_of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']' | b'%');
    text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'=' | b':')).any(|(at, _)| {
        let before = text[..at].trim_ascii_end();
        let before = before.strip_suffix(b"\"").or(before.strip_suffix(b"'")).unwrap_or(before);
        let start = before.iter().rposition(|byte| !is_of_name(byte)).map_or(0, |last| last + 1);
        is_secret(&percent_decode(&before[start..]).collect::<Vec<u8>>())
    })
}

/// An address without the secrets in its query, and without a user before its host.
#[must_use]
pub fn without_secrets(address: &str) -> String {
    let (path, query) = match address.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (address, None),
    };
    let mut shown = match path.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
            format!("{scheme}://{host}{path}")
        }
        None => path.to_owned(),
    };
    for (number, field) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        match field.split_once('=') {
            Some((name, _)) if is_secret(&percent_decode(name.as_bytes()).collect::<Vec<u8>>()) => {
                shown += &format!("{name}={HIDDEN}");
            }
            _ => shown += field,
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_in_any_case_and_as_parts_of_others() {
        for name in [
            "password",
            "Passwd",
            "user_password",
            "newPassword",
            "PASSWORT",
            "pwd",
            "db_pwd",
            "token",
            "csrfToken",
            "secret",
            "client_secret",
            "key",
            "apiKey",
            "apikey",
            "private-key",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "sessionid",
            "PHPSESSID",
            "csrf",
            "XSRF",
            "credentials",
            "pin",
            "user_pin",
            "userPin",
            "PIN2",
            "pin_code",
            "card",
            "creditcard",
            "cardNumber",
            "cvv",
            "user[password]",
            "pass",
            "dbPass",
            "auth",
            "otp",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in
            ["", "name", "shipping", "opinion", "spinner", "author", "passed", "user", "Host", "i", "inside", "total"]
        {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_text_that_gives_a_secret_is_known_by_the_name_in_it() {
        for text in
            ["a=1&password=x", "{\"user\":\"a\", \"api_token\" : \"x\"}", "Cookie: a", "p%61ssword=1", "token=x"]
        {
            assert!(gives_secret(text.as_bytes()), "{text}");
        }
        for text in ["", "no such key", "a=1&b=2", "the token", "http://a/b", "12:30"] {
            assert!(!gives_secret(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn addresses_lose_their_secrets_and_nothing_else() {
        for (address, shown) in [
            ("/a.plua?n=1&token=x&b", "/a.plua?n=1&token=(hidden)&b"),
            ("/a?p%61ssword=x&user[pin]=1", "/a?p%61ssword=(hidden)&user[pin]=(hidden)"),
            ("https://ada:x@host/b?c=d", "https://(hidden)@host/b?c=d"),
            ("https://host/@me", "https://host/@me"),
            ("/token", "/token"),
            ("/a?", "/a?"),
        ] {
            assert_eq!(without_secrets(address), shown);
        }
    }
}
