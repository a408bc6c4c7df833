//! Which values hold what the visitor sent, so that he could put HTML into a page with them.

/// What is known of a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Value {
    /// Whether it may hold HTML of the visitor's.
    pub is_sent: bool,
    /// Whether it surely holds none, whatever it was made of.
    pub is_clean: bool,
    /// The name by which it is known everywhere: `plua.get`.
    pub path: Option<String>,
    /// Whether it is the table of `getEnv`.
    pub is_environment: bool,
}

impl Value {
    /// A value that surely holds nothing of the visitor's.
    pub(crate) fn clean() -> Value {
        Value { is_clean: true, ..Value::default() }
    }

    fn sent(is_sent: bool) -> Value {
        Value { is_sent, ..Value::default() }
    }

    /// Whether it is the page function of that name.
    pub(crate) fn is_page_function(&self, name: &str) -> bool {
        self.path.as_deref().is_some_and(|path| path == name || path.strip_prefix("plua.") == Some(name))
    }
}

/// Functions that give what the visitor sent.
const SENT: &[&str] = &[
    "plua.get",
    "plua.getAll",
    "plua.post",
    "plua.postAll",
    "plua.requestHeaders",
    "plua.bodyPieces",
    "parseGet",
    "parsePost",
    "getCookie",
    "getCookies",
    "getRequestBody",
    "getJson",
    "uploads",
];

/// Keys of `getEnv` that the visitor has no say in.
const OF_SERVER: &[&str] = &[
    "Request-Time",
    "Remote-Address",
    "ServerName",
    "Server-Banner",
    "Server-Version",
    "Filename",
    "Working-Directory",
    "Lua-Version",
    "Lua-State",
    "Clock-Offset",
    "Request-Method",
    "REQUEST_METHOD",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REMOTE_USER",
    "SERVER_NAME",
    "SERVER_ADDR",
    "SERVER_PORT",
    "SERVER_ADMIN",
    "SERVER_SOFTWARE",
    "DOCUMENT_ROOT",
    "REQUEST_SCHEME",
];

/// Functions whose result holds what they are given.
const CARRIERS: &[&str] = &[
    "tostring",
    "assert",
    "select",
    "unpack",
    "table.unpack",
    "table.concat",
    "ipairs",
    "pairs",
    "next",
    "rawget",
    "unescapeUrl",
    "string.sub",
    "string.lower",
    "string.upper",
    "string.rep",
    "string.reverse",
    "string.format",
    "string.explode",
    "string.decode64",
    "string.decode64url",
];

/// Functions of patterns: what they give depends on the pattern.
const MATCHERS: &[&str] = &["string.match", "string.gmatch"];

/// What a function gives, by its name, for values of which the second is this text.
pub(crate) fn result(function: &str, values: &[Value], second: Option<&str>) -> Value {
    let is_any_sent = values.iter().any(|value| value.is_sent);
    match function {
        "getEnv" => Value { is_sent: true, is_environment: true, ..Value::default() },
        name if SENT.contains(&name) => Value::sent(true),
        name if CARRIERS.contains(&name) => Value::sent(is_any_sent),
        // Who replaces what HTML is made of means to escape.
        "string.gsub" => {
            Value::sent(is_any_sent && !second.is_some_and(|pattern| holds_markup(pattern) && pattern != "."))
        }
        name if MATCHERS.contains(&name) => Value::sent(is_any_sent && second.is_none_or(holds_markup)),
        _ => Value::clean(),
    }
}

/// Whether what a pattern finds may have `<` in it.
fn holds_markup(pattern: &str) -> bool {
    let mut before = ' ';
    for character in pattern.chars() {
        let is_class = before == '%';
        let finds = match character {
            '<' | '&' => true,
            '.' if !is_class => true,
            'S' | 'W' | 'D' | 'A' | 'L' | 'U' | 'X' | 'p' if is_class => true,
            '^' if before == '[' => true,
            _ => false,
        };
        if finds {
            return true;
        }
        before = if is_class { ' ' } else { character };
    }
    false
}

/// What two values give together.
pub(crate) fn joined(operator: &str, left: &Value, right: &Value) -> Value {
    match operator {
        ".." | "or" => Value::sent(left.is_sent || right.is_sent),
        "and" => Value::sent(right.is_sent),
        _ => Value::clean(),
    }
}

/// A field of a value.
pub(crate) fn field(value: &Value, key: &str) -> Value {
    let path = value.path.as_ref().map(|path| format!("{path}.{key}"));
    let is_of_server = OF_SERVER.contains(&key) || key.starts_with("pLua-");
    let is_sent = value.is_sent && !(value.is_environment && is_of_server);
    Value { is_sent, path, ..Value::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_tells_whether_it_finds_markup() {
        for (pattern, expected) in [
            ("^%d+$", false),
            ("^[%w_]+", false),
            ("%.%a", false),
            (".*", true),
            ("[^,]+", true),
            ("%S+", true),
            ("[<>&]", true),
            ("%%S", false),
        ] {
            assert_eq!(holds_markup(pattern), expected, "{pattern}");
        }
    }
}
