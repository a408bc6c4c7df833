//! Fields of a query string or form body (`application/x-www-form-urlencoded`, WHATWG URL section 5).

/// Fields that there is room for at first.
const FEW: usize = 32;

/// Names and values, decoded, in order. They stand in one text, so that many fields cost no more allocations than one.
#[derive(Default)]
pub struct Fields {
    text: Vec<u8>,
    /// Where each name and each value ends in the text.
    ends: Vec<(usize, usize)>,
}

impl Fields {
    /// Decodes all fields; none if there are more than `most`. Bytes that are no valid encoding stay as they are.
    #[must_use]
    pub fn decode(encoded: &[u8], most: usize) -> Option<Fields> {
        // Decoding makes nothing longer.
        let (mut text, mut size) = (vec![0; encoded.len()], 0);
        let mut ends = Vec::with_capacity(encoded.len().min(FEW));
        let mut bytes = encoded;
        while let [first, rest @ ..] = bytes {
            if *first == b'&' {
                bytes = rest;
                continue;
            }
            if ends.len() == most {
                return None;
            }
            let mut name_end = None;
            // Not with `percent_encoding`: with it `parseGet` took a third longer for a long text with escapes in it, and
            // the plus signs a copy of all fields beside.
            while let [byte, rest @ ..] = bytes {
                bytes = rest;
                let decoded = match byte {
                    b'&' => break,
                    b'=' if name_end.is_none() => {
                        name_end = Some(size);
                        continue;
                    }
                    b'+' => b' ',
                    b'%' => match escaped(rest) {
                        Some(byte) => {
                            bytes = &rest[2..];
                            byte
                        }
                        None => b'%',
                    },
                    byte => *byte,
                };
                if let Some(place) = text.get_mut(size) {
                    *place = decoded;
                    size += 1;
                }
            }
            ends.push((name_end.unwrap_or(size), size));
        }
        Some(Fields { text, ends })
    }

    /// How many there are; names that are repeated count each time.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The value of each field of that name.
    pub fn values_of(&self, wanted: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
    }

    /// The name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(name_end, end)| {
            let pair = (&self.text[start..*name_end], &self.text[*name_end..*end]);
            start = *end;
            pair
        })
    }
}

/// The byte of two hexadecimal digits.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(query: &[u8]) -> String {
        let fields = Fields::decode(query, usize::MAX).unwrap();
        let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|(name, value)| format!("{}={};", shown(name), shown(value))).collect()
    }

    #[test]
    fn names_and_values_are_decoded_and_broken_encodings_stay() {
        for (query, expected) in [
            ("a=1&b=2", "a=1;b=2;"),
            ("a+b=c+d%20e", "a b=c d e;"),
            ("a==b&c=d==", "a==b;c=d==;"),
            ("&a=1&&b", "a=1;b=;"),
            ("a=%zz&b=%&c=%4&d=%2B%2f", "a=%zz;b=%;c=%4;d=+/;"),
            ("a=%%41%2&b=%4%41", "a=%A%2;b=%4A;"),
            ("a=x%00y", "a=x\0y;"),
            ("=v", "=v;"),
            ("", ""),
        ] {
            assert_eq!(decoded(query.as_bytes()), expected, "{query}");
        }
    }

    #[test]
    fn as_many_fields_as_are_allowed_are_decoded_and_one_more_is_refused() {
        assert_eq!(Fields::decode(b"a=1&&b=2&", 2).map(|fields| fields.count()), Some(2));
        assert!(Fields::decode(b"a=1&&b=2&c", 2).is_none());
        assert!(Fields::decode(b"&", 0).is_some());
    }
}
