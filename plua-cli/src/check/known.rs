//! The names that a page finds without making them: Lua's and mod_plua's.

use plua::language::functions::FUNCTIONS;

/// Lua's own globals, of all the Luas that mod_plua is built with.
const LUA: &[&str] = &[
    "_G",
    "_ENV",
    "_VERSION",
    "assert",
    "bit",
    "bit32",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "error",
    "ffi",
    "gcinfo",
    "getfenv",
    "getmetatable",
    "io",
    "ipairs",
    "jit",
    "load",
    "loadfile",
    "loadstring",
    "math",
    "module",
    "newproxy",
    "next",
    "os",
    "package",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setfenv",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "utf8",
    "warn",
    "xpcall",
];

/// What the table `plua` has beside functions.
const FIELDS: &[&str] = &["session", "shared", "ctx"];

/// The page function that this global is, if it is one.
pub(crate) fn is_page_function(global: &str) -> bool {
    FUNCTIONS.iter().any(|function| function.name == global)
}

/// Whether a page finds this global.
pub(crate) fn is_global(name: &str) -> bool {
    LUA.contains(&name) || is_page_function(name) || is_table(name)
}

/// Whether it is a table of page functions.
fn is_table(name: &str) -> bool {
    FUNCTIONS.iter().any(|function| function.name.split_once('.').is_some_and(|(table, _)| table == name))
}

/// Whether it is one of those tables that have nothing else: pages put their own functions into Lua's.
pub(crate) fn is_closed_table(name: &str) -> bool {
    is_table(name) && !LUA.contains(&name)
}

/// Whether such a table has this field.
pub(crate) fn is_field(table: &str, field: &str) -> bool {
    FUNCTIONS.iter().any(|function| match function.name.split_once('.') {
        Some((its, name)) => its == table && name == field,
        // All functions are in the table plua as well.
        None => table == "plua" && function.name == field,
    }) || table == "plua" && (FIELDS.contains(&field) || is_table(field))
}

/// The function of Lua's or ours, or the other name, that is nearest to a name that is none, as it is written.
pub(crate) fn nearest<'n>(name: &str, others: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let ours = FUNCTIONS.iter().map(|function| function.name);
    nearest_of(name, ours.chain(LUA.iter().copied()).chain(others))
}

/// The same for a field of a table of page functions.
pub(crate) fn nearest_field(table: &str, name: &str) -> Option<String> {
    let names = FUNCTIONS.iter().map(|function| function.name).filter(|known| match known.split_once('.') {
        Some((its, _)) => its == table,
        None => table == "plua",
    });
    let near = nearest_of(name, names)?;
    Some(if near.contains('.') { near.to_owned() } else { format!("{table}.{near}") })
}

fn nearest_of<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let last = |name: &'n str| name.rsplit('.').next().unwrap_or(name);
    // One letter of four may be another one.
    let most = (name.len() / 4).clamp(1, 3);
    let distance = |known| strsim::damerau_levenshtein(&name.to_lowercase(), &last(known).to_lowercase());
    let near = names.map(|known| (distance(known), known)).filter(|(distance, _)| *distance <= most);
    near.min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_one_of_ours_is_told() {
        for (name, expected) in [
            ("ecko", Some("echo")),
            ("escapeHTML", Some("escapeHtml")),
            ("fetsch", Some("plua.fetch")),
            ("paris", Some("pairs")),
            ("setReturncode", Some("setReturnCode")),
            ("renderRow", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, std::iter::empty()), expected, "{name}");
        }
    }

    #[test]
    fn each_page_function_is_known_by_each_of_its_names() {
        for function in FUNCTIONS {
            match function.name.split_once('.') {
                Some((table, field)) => assert!(is_global(table) && (table == "string" || is_field(table, field))),
                None => assert!(is_global(function.name) && is_field("plua", function.name)),
            }
        }
        assert!(is_field("plua", "session") && is_field("plua", "json") && !is_field("plua", "fetsch"));
    }
}
