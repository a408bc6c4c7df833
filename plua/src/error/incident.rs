//! The number of one failure: what a visitor is shown of it, and what its entry in the error log begins with.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Eight digits of Crockford's base 32, whose letters nobody takes for others when a number is read out: 40 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident(u64);

/// Crockford's digits: without I, L, O and U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Incident {
    /// A new one.
    #[must_use]
    pub fn new() -> Incident {
        // The seed of the standard library's tables stands in where the system gives no random number.
        Incident(getrandom::u64().unwrap_or_else(|_| RandomState::new().build_hasher().finish()))
    }
}

impl Default for Incident {
    fn default() -> Incident {
        Incident::new()
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..8).rev() {
            let digit = self.0 >> (5 * place) & 31;
            write!(formatter, "{}", char::from(DIGITS[digit as usize]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_number_has_eight_digits_that_are_read_out_without_mistakes() {
        assert_eq!(Incident(0).to_string(), "00000000");
        assert_eq!(Incident(31 << 35 | 1).to_string(), "Z0000001");
        assert_eq!(Incident(u64::MAX).to_string(), "ZZZZZZZZ");
        let numbers: HashSet<String> = (0..1000).map(|_| Incident::new().to_string()).collect();
        assert_eq!(numbers.len(), 1000);
        assert!(numbers.iter().all(|number| number.len() == 8 && !number.contains(['I', 'L', 'O', 'U'])));
    }
}
