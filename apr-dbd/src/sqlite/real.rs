//! SQLite's floating-point numbers as text that is exactly the same number.

/// The shortest text that reads as this number, laid out as SQLite does. SQLite itself writes 15 digits, which can be
/// another number's.
pub(crate) fn text(number: f64) -> String {
    let digits = format!("{number:e}");
    let Some((mantissa, exponent)) = digits.split_once('e') else { return digits };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{point}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_laid_out_as_sqlite_does_and_read_as_themselves() {
        for (number, shown) in [
            (1.0 / 3.0, "0.3333333333333333"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-9_007_199_254_740_991.0, "-9007199254740991.0"),
            (1e300, "1.0e+300"),
            (-1.25e-7, "-1.25e-07"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (12_345_678_901_234_567.0, "12345678901234568.0"),
        ] {
            assert_eq!(text(number), shown);
            assert_eq!(shown.parse(), Ok(number));
        }
    }
}
