//! Fields of a query string or form body (`application/x-www-form-urlencoded`, WHATWG URL section 5).

use percent_encoding::percent_decode;

/// The name and value of each field, decoded, in order. Bytes that are no valid encoding stay as they are.
pub fn pairs(encoded: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    encoded.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).map(|field| {
        let (name, value) = match field.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&field[..equals], &field[equals + 1..]),
            None => (field, &[][..]),
        };
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_broken_encodings_stay() {
        for (query, expected) in [
            ("a=1&b=2", "a=1;b=2;"),
            ("a+b=c+d%20e", "a b=c d e;"),
            ("a==b&c=d==", "a==b;c=d==;"),
            ("&a=1&&b", "a=1;b=;"),
            ("a=%zz&b=%&c=%4&d=%2B%2f", "a=%zz;b=%;c=%4;d=+/;"),
            ("a=x%00y", "a=x\0y;"),
            ("=v", "=v;"),
            ("", ""),
        ] {
            let shown: String = pairs(query.as_bytes())
                .map(|(name, value)| format!("{}={};", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value)))
                .collect();
            assert_eq!(shown, expected, "{query}");
        }
    }
}
