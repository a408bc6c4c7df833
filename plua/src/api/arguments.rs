//! The arguments of a page function, checked with the messages Lua's own functions give.

use std::ops::Deref;

use mlua::{BorrowedBytes, LuaString, MultiValue, Value};

/// What a page passed to one of its functions. Positions count from 1.
pub struct Arguments {
    function: &'static str,
    values: MultiValue,
}

impl Arguments {
    /// The arguments of the function of that name.
    #[must_use]
    pub fn new(function: &'static str, values: MultiValue) -> Arguments {
        Arguments { function, values }
    }

    /// How many were given, nil among them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The value at a position; nil where none was given.
    #[must_use]
    pub fn value(&self, position: usize) -> &Value {
        self.values.get(position - 1).unwrap_or(&Value::Nil)
    }

    /// An error about one argument.
    #[must_use]
    pub fn bad(&self, position: usize, what: &str) -> String {
        format!("bad argument #{position} to '{}' ({what})", self.function)
    }

    fn expected(&self, position: usize, expected: &str) -> String {
        let got = match self.values.get(position - 1) {
            None => "no value",
            Some(value) => match value.type_name() {
                "integer" => "number",
                name => name,
            },
        };
        self.bad(position, &format!("{expected} expected, got {got}"))
    }

    /// A string. Numbers are not taken for one.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn string(&self, position: usize) -> Result<&LuaString, String> {
        match self.value(position) {
            Value::String(string) => Ok(string),
            _ => Err(self.expected(position, "string")),
        }
    }

    /// The bytes of a string, or of a number in digits.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn text(&self, position: usize) -> Result<Vec<u8>, String> {
        Ok(match self.bytes(position)? {
            Text::OfLua(bytes) => bytes.to_vec(),
            Text::Digits(digits) => digits,
        })
    }

    /// The same without a copy of what is Lua's, which may be large.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn bytes(&self, position: usize) -> Result<Text, String> {
        match self.value(position) {
            Value::String(string) => Ok(Text::OfLua(string.as_bytes())),
            number @ (Value::Integer(_) | Value::Number(_)) => {
                number.to_string().map(|digits| Text::Digits(digits.into_bytes())).map_err(|error| error.to_string())
            }
            value => match int64(value) {
                Some(digits) => Ok(Text::Digits(digits.into_bytes())),
                None => Err(self.expected(position, "string")),
            },
        }
    }

    /// The same, no longer than `most` bytes.
    ///
    /// # Errors
    /// What Lua says of a bad argument, and that it is longer.
    pub fn short_text(&self, position: usize, most: usize) -> Result<Vec<u8>, String> {
        let text = self.bytes(position)?;
        match text.len() <= most {
            true => Ok(text.to_vec()),
            false => Err(self.bad(position, &format!("no more than {most} bytes expected"))),
        }
    }

    /// A number, or a string that is one.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn number(&self, position: usize) -> Result<f64, String> {
        let number = match self.value(position) {
            Value::Integer(integer) => Some(*integer as f64),
            Value::Number(number) => Some(*number),
            Value::String(string) => string.to_str().ok().and_then(|text| text.trim().parse().ok()),
            _ => None,
        };
        number.filter(|number| !number.is_nan()).ok_or_else(|| self.expected(position, "number"))
    }

    /// A boolean.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn boolean(&self, position: usize) -> Result<bool, String> {
        self.value(position).as_boolean().ok_or_else(|| self.expected(position, "boolean"))
    }

    /// A value that is a number.
    #[must_use]
    pub fn number_of(value: &Value) -> Option<f64> {
        match value {
            Value::Integer(integer) => Some(*integer as f64),
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A whole number within these bounds.
    ///
    /// # Errors
    /// What Lua says of a bad argument.
    pub fn whole(&self, position: usize, least: u32, most: u32) -> Result<u32, String> {
        let number = self.number(position)?;
        let fits = number.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(&number);
        fits.then_some(number as u32)
            .ok_or_else(|| self.bad(position, &format!("a whole number from {least} to {most} expected")))
    }

    /// The fields of a table of options; none for nil.
    ///
    /// # Errors
    /// What Lua says of a bad argument; a field's name that is no text.
    pub fn options(&self, position: usize) -> Result<Option<Vec<(String, Value)>>, String> {
        let table = match self.value(position) {
            Value::Nil => return Ok(None),
            Value::Table(table) => table,
            _ => return Err(self.expected(position, "table")),
        };
        let fields = table.pairs::<Value, Value>().map(|field| match field {
            Ok((Value::String(name), value)) => Ok((name.to_string_lossy(), value)),
            Ok((name, _)) => Err(self.bad(position, &format!("options have names, got a {}", name.type_name()))),
            Err(error) => Err(error.to_string()),
        });
        fields.collect::<Result<_, String>>().map(Some)
    }

    /// Whether a value other than nil and false was given.
    #[must_use]
    pub fn is_true(&self, position: usize) -> bool {
        !matches!(self.value(position), Value::Nil | Value::Boolean(false))
    }
}

/// The bytes of an argument.
pub enum Text {
    /// Those of a string.
    OfLua(BorrowedBytes),
    /// Those of a number.
    Digits(Vec<u8>),
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::OfLua(bytes) => bytes,
            Text::Digits(digits) => digits,
        }
    }
}

/// The digits of LuaJIT's integers of 64 bits, such as `5LL`, which are no numbers to Lua.
#[must_use]
pub fn int64(value: &Value) -> Option<String> {
    let Value::Other(_) = value else { return None };
    let mut shown = value.to_string().ok()?;
    let digits = shown.strip_suffix("ULL").or_else(|| shown.strip_suffix("LL"))?.len();
    shown.truncate(digits);
    shown.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()).then_some(shown)
}

/// Whether numbers of this Lua hold that integer and all between it and 0. What a double holds beyond is a matter of the
/// last digit, and nothing for a page to count on.
pub fn is_exact(integer: i64) -> bool {
    cfg!(feature = "lua54") || integer.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}
