//! SQL text as far as it must be understood here: where its placeholders are and what its statements begin with.

/// A value for a placeholder.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Text. Bytes that cannot be text, because they hold a NUL or are not UTF-8, go as binary data.
    Text(Vec<u8>),
    /// Binary data.
    Blob(Vec<u8>),
}

impl Value {
    /// How many bytes it has.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Text(bytes) | Value::Blob(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Its bytes if they must go as binary data.
    pub(crate) fn binary(&self) -> Option<&[u8]> {
        match self {
            Value::Blob(bytes) => Some(bytes),
            Value::Text(bytes) if bytes.contains(&0) || str::from_utf8(bytes).is_err() => Some(bytes),
            _ => None,
        }
    }

    /// It as text, None for NULL.
    pub(crate) fn text(&self) -> Option<Vec<u8>> {
        match self {
            Value::Null => None,
            Value::Integer(integer) => Some(integer.to_string().into_bytes()),
            Value::Number(number) => Some(number_text(*number).into_bytes()),
            Value::Text(bytes) | Value::Blob(bytes) => Some(bytes.clone()),
        }
    }
}

/// A number as every database reads it; the shortest text that means exactly this number.
pub(crate) fn number_text(number: f64) -> String {
    match number {
        n if (1e-5..1e15).contains(&n.abs()) => n.to_string(),
        n if n.is_finite() => format!("{n:e}"),
        n if n.is_nan() => "NaN".into(),
        n if n > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    }
}

/// Adds binary data as a literal that SQLite and MySQL share.
pub(crate) fn add_hex_literal(bytes: &[u8], text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.extend_from_slice(b"X'");
    for byte in bytes {
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text.push(b'\'');
}

/// What differs between databases in where strings and comments end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dialect {
    /// A backslash in a string takes the next character with it.
    pub(crate) backslash: bool,
    /// `` `name` `` is a quoted name.
    pub(crate) backtick: bool,
    /// `[name]` is a quoted name.
    pub(crate) bracket: bool,
    /// `#` begins a comment, and `--` only before a space.
    pub(crate) hash: bool,
    /// `$tag$` quotes, `E''` strings and comments within comments.
    pub(crate) dollar: bool,
}

/// A text of SQL, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The text around the placeholders: one piece more than there are of these. `??` has become `?`.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// The first two words of each statement in it, in capitals.
    pub(crate) openings: Vec<[String; 2]>,
    /// A string, name or comment has no end.
    pub(crate) unfinished: bool,
    /// One of the words is [`WRITING`].
    pub(crate) may_write: bool,
}

impl Statement {
    /// Takes a text apart.
    pub(crate) fn new(sql: &[u8], dialect: Dialect) -> Statement {
        let mut statement = Statement { pieces: vec![Vec::new()], ..Statement::default() };
        let mut at = 0;
        let mut words = 0;
        while at < sql.len() {
            let end = match token(sql, at, dialect) {
                Token::Placeholder => {
                    statement.pieces.push(Vec::new());
                    at += 1;
                    continue;
                }
                Token::QuestionMark => {
                    statement.push(b"?");
                    at += 2;
                    continue;
                }
                Token::End => {
                    words = 0;
                    at + 1
                }
                Token::Word(end) => {
                    statement.word(&sql[at..end], words);
                    words += 1;
                    end
                }
                Token::Other(end) => end,
                Token::Unfinished => {
                    statement.unfinished = true;
                    sql.len()
                }
            };
            statement.push(&sql[at..end]);
            at = end;
        }
        statement
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(piece) = self.pieces.last_mut() {
            piece.extend_from_slice(bytes);
        }
    }

    fn word(&mut self, word: &[u8], number: usize) {
        self.may_write |= WRITING.iter().any(|writing| word.eq_ignore_ascii_case(writing.as_bytes()));
        // The statements inside a trigger are its own.
        let has_body = |[first, second]: &[String; 2]| first == "CREATE" && BODIES.contains(&second.as_str());
        if self.openings.last().is_some_and(has_body) {
            return;
        }
        let word = || String::from_utf8_lossy(word).to_ascii_uppercase();
        match (number, self.openings.last_mut()) {
            (0, _) => self.openings.push([word(), String::new()]),
            (1, Some(opening)) => opening[1] = word(),
            _ => {}
        }
    }

    /// How many placeholders it has.
    pub(crate) fn placeholders(&self) -> usize {
        self.pieces.len() - 1
    }

    /// The text with something in place of each placeholder, which is told its number from 0.
    pub(crate) fn with(&self, mut place: impl FnMut(usize) -> Vec<u8>) -> Vec<u8> {
        let mut text = Vec::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 {
                text.extend(place(number - 1));
            }
            text.extend_from_slice(piece);
        }
        text
    }

    /// Whether a statement in it begins with one of these words.
    pub(crate) fn begins_with(&self, words: &[&str]) -> bool {
        self.openings.iter().any(|[first, _]| words.contains(&first.as_str()))
    }
}

/// What follows CREATE where statements may be part of another.
const BODIES: &[&str] = &["TRIGGER", "TEMP", "TEMPORARY", "PROCEDURE", "FUNCTION", "EVENT", "DEFINER", "OR"];

/// Words of a query that does more than read.
const WRITING: &[&str] = &["INTO", "INSERT", "UPDATE", "DELETE", "MERGE"];

enum Token {
    Placeholder,
    QuestionMark,
    End,
    Word(usize),
    Other(usize),
    Unfinished,
}

fn token(sql: &[u8], at: usize, dialect: Dialect) -> Token {
    let rest = &sql[at..];
    let after = |marker: &[u8], from: usize| find(rest, marker, from).map(|end| at + end + marker.len());
    let to = |end: Option<usize>| end.map_or(Token::Unfinished, Token::Other);
    let line = || Token::Other(after(b"\n", 0).unwrap_or(sql.len()));
    match rest[0] {
        b'?' if rest.get(1) == Some(&b'?') => Token::QuestionMark,
        b'?' => Token::Placeholder,
        b';' => Token::End,
        quote @ (b'\'' | b'"') => to(quoted(sql, at, quote, dialect.backslash)),
        b'`' if dialect.backtick => to(quoted(sql, at, b'`', false)),
        b'[' if dialect.bracket => to(after(b"]", 1)),
        b'#' if dialect.hash => line(),
        b'-' if rest.starts_with(b"--") => match rest.get(2) {
            Some(next) if dialect.hash && !next.is_ascii_whitespace() => Token::Other(at + 1),
            _ => line(),
        },
        b'/' if rest.starts_with(b"/*") => to(comment(sql, at, dialect.dollar)),
        b'e' | b'E' if dialect.dollar && rest.get(1) == Some(&b'\'') => to(quoted(sql, at + 1, b'\'', true)),
        b'$' if dialect.dollar => {
            let tag = rest[1..].iter().position(|byte| !is_word(*byte)).map_or(rest.len(), |length| length + 1);
            match rest.get(tag) {
                Some(b'$') => to(after(&rest[..=tag], tag + 1)),
                _ => Token::Other(at + tag),
            }
        }
        byte if is_word(byte) => {
            Token::Word(at + rest.iter().position(|byte| !is_word(*byte) && *byte != b'$').unwrap_or(rest.len()))
        }
        _ => Token::Other(at + 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn find(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(wanted.len()).position(|part| part == wanted).map(|found| found + from)
}

/// Where a quoted text ends that begins at `start`. A doubled quote is read as two texts side by side.
fn quoted(sql: &[u8], start: usize, quote: u8, backslash: bool) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match sql.get(at)? {
            b'\\' if backslash => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn comment(sql: &[u8], start: usize, nested: bool) -> Option<usize> {
    let (mut at, mut depth) = (start + 2, 1);
    while depth > 0 {
        match sql.get(at..at + 2)? {
            b"*/" => (at, depth) = (at + 2, depth - 1),
            b"/*" if nested => (at, depth) = (at + 2, depth + 1),
            _ => at += 1,
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQLITE: Dialect = Dialect { backslash: false, backtick: true, bracket: true, hash: false, dollar: false };
    const MYSQL: Dialect = Dialect { backslash: true, backtick: true, bracket: false, hash: true, dollar: false };
    const PGSQL: Dialect = Dialect { backslash: false, backtick: false, bracket: false, hash: false, dollar: true };

    fn pieces(sql: &str, dialect: Dialect) -> Vec<String> {
        let statement = Statement::new(sql.as_bytes(), dialect);
        assert!(!statement.unfinished, "{sql}");
        statement.pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect()
    }

    #[test]
    fn a_question_mark_is_a_placeholder_only_outside_of_strings_names_and_comments() {
        let sql = "SELECT '?', 'it''s ?', \"?\" /* ? */ FROM t -- ?\nWHERE a=? AND b = ?";
        let rest = "SELECT '?', 'it''s ?', \"?\" /* ? */ FROM t -- ?\nWHERE a=";
        for dialect in [SQLITE, MYSQL, PGSQL] {
            assert_eq!(pieces(sql, dialect), [rest, " AND b = ", ""]);
        }
        assert_eq!(pieces("SELECT `?`, [?], ?", SQLITE).len(), 2);
        assert_eq!(pieces("SELECT `?` # ?\n, 1--?", MYSQL).len(), 2);
        assert_eq!(pieces("SELECT $$?$$, $a$ $$ ? $a$, E'\\'?', $1, /* /* ? */ ? */ ?", PGSQL).len(), 2);
    }

    #[test]
    fn a_backslash_hides_a_quote_only_where_the_database_says_so() {
        assert_eq!(pieces(r"SELECT 'a\'?'", MYSQL).len(), 1);
        assert_eq!(pieces(r"SELECT 'a\', ?", SQLITE).len(), 2);
        assert_eq!(pieces(r"SELECT 'a\', ?", PGSQL).len(), 2);
    }

    #[test]
    fn two_question_marks_stand_for_the_operator() {
        assert_eq!(pieces("SELECT a ?? 'b' WHERE c = ?", PGSQL), ["SELECT a ? 'b' WHERE c = ", ""]);
    }

    #[test]
    fn a_string_without_an_end_is_noticed() {
        for sql in ["SELECT 'a", "SELECT /* ?", "SELECT \"a"] {
            assert!(Statement::new(sql.as_bytes(), SQLITE).unfinished, "{sql}");
        }
        assert!(Statement::new(b"SELECT $a$ ?", PGSQL).unfinished);
    }

    #[test]
    fn statements_are_known_by_their_first_words() {
        let statement = Statement::new(b" /* x */ insert into t values (';'); Rollback To a;", SQLITE);
        assert_eq!(statement.openings, [["INSERT", "INTO"], ["ROLLBACK", "TO"]]);
        assert!(statement.begins_with(&["ROLLBACK"]) && !statement.begins_with(&["SELECT"]));
        let trigger = Statement::new(b"create trigger t after insert on a begin delete from b; end", SQLITE);
        assert_eq!(trigger.openings, [["CREATE", "TRIGGER"]]);
    }

    #[test]
    fn numbers_are_written_exactly() {
        assert_eq!(number_text(0.1), "0.1");
        assert_eq!(number_text(1e300), "1e300");
        assert_eq!(number_text(-2.5), "-2.5");
        assert_eq!(number_text(1e-7), "1e-7");
    }
}
