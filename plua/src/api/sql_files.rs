//! SQL that opens files where the page runs: `ATTACH` and `VACUUM INTO` of SQLite.

/// Whether a text has a statement of that kind, which may be the second or a later one. Strings and comments are read as
/// SQLite reads them, and comments that MySQL runs as code.
#[must_use]
pub fn opens_files(sql: &[u8]) -> bool {
    let (mut rest, mut first, mut is_vacuum) = (sql, true, false);
    while let Some(byte) = rest.first() {
        let length = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => 1,
            b';' => {
                (first, is_vacuum) = (true, false);
                1
            }
            b'#' => line(rest),
            b'-' if rest.starts_with(b"--") => line(rest),
            b'/' if rest.starts_with(b"/*") => match &rest[2..] {
                // MySQL's and MariaDB's code in a comment, after the version it is for.
                [b'!', ..] | [b'M', b'!', ..] => {
                    { 4 + rest.iter().skip(4).take_while(|byte| byte.is_ascii_digit() || **byte == b'!').count() }
                        .min(rest.len())
                }
                inner => inner.windows(2).position(|end| end == b"*/").map_or(rest.len(), |end| end + 4),
            },
            b'*' if rest.starts_with(b"*/") => 2,
            b'\'' | b'"' | b'`' => {
                first = false;
                quoted(rest, *byte)
            }
            b'[' => {
                first = false;
                quoted(rest, b']')
            }
            _ if rest.starts_with(b"\xEF\xBB\xBF") => 3,
            _ if is_word(*byte) => {
                let length = rest.iter().take_while(|byte| is_word(**byte)).count();
                let word = rest[..length].to_ascii_uppercase();
                if first && word == b"ATTACH" || is_vacuum && word == b"INTO" {
                    return true;
                }
                is_vacuum |= first && word == b"VACUUM";
                first = false;
                length
            }
            _ => {
                first = false;
                1
            }
        };
        rest = &rest[length..];
    }
    false
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// The length of a line with its end.
fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
}

/// The length of what a quote opens. A doubled quote begins the next one, which comes to the same.
fn quoted(rest: &[u8], close: u8) -> usize {
    rest.iter().skip(1).position(|byte| *byte == close).map_or(rest.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_open_files_are_found_wherever_they_begin() {
        for sql in [
            "attach 'x' as y",
            " \n\tATTACH DATABASE 'x' AS y",
            "-- c\nattach 'x' as y",
            "/* ; */attach 'x' as y",
            "/**/ATTACH 'x' as y",
            "select 1;attach 'x' as y",
            "select ';''' ; attach 'x' as y",
            "select \"'\"; attach 'x' as y",
            "select [']; attach 'x' as y",
            "\u{feff}attach 'x' as y",
            "VACUUM INTO 'x'",
            "vacuum main into 'x'",
        ] {
            assert!(opens_files(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "",
            "select 1",
            "insert into t values ('; attach')",
            "insert into load values (1)",
            "select attach from t",
            "vacuum",
            "vacuum; insert into t values (1)",
            "-- attach 'x' as y",
            "/* attach */ select 1 /*",
            "select 'open",
            "select \"; attach\", `; attach`, [; attach]",
            "/*!",
            "alter table t attach partition p for values in (1)",
            "detach x",
        ] {
            assert!(!opens_files(sql.as_bytes()), "{sql}");
        }
    }
}
