//! The table of page functions against what a page finds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::collections::BTreeSet;

use mlua::Lua;
use plua::api::FUNCTIONS;
use site::page;

/// Lua that lists the global functions, and those in global tables as `table.name`, in `found`.
const LIST: &str = "
    local found = {}
    for name, value in pairs(_G) do
        if type(value) == 'function' then
            found[#found + 1] = name
        elseif type(value) == 'table' and value ~= _G then
            for inner, member in pairs(value) do
                if type(member) == 'function' then found[#found + 1] = name .. '.' .. inner end
            end
        end
    end
    found = table.concat(found, ' ')
";

fn names(list: &str) -> BTreeSet<&str> {
    // Plain Lua is made here without its unsafe libraries; pages have this one.
    list.split_whitespace().filter(|name| !name.starts_with("debug.")).collect()
}

#[test]
fn a_page_finds_the_functions_of_the_table_beside_luas_own_and_no_others() {
    let plain: String = Lua::new().load(format!("{LIST} return found")).eval().unwrap();
    let seen = page(&format!("<?{LIST} echo(found) ?>")).text();
    let (plain, seen) = (names(&plain), names(&seen));
    let table: BTreeSet<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    assert_eq!(table.len(), FUNCTIONS.len(), "a name is listed twice");
    assert_eq!(table.difference(&seen).collect::<Vec<_>>(), [] as [&&str; 0], "listed, but not found by a page");
    let additions: BTreeSet<&str> = seen.difference(&plain).copied().collect();
    let unlisted: Vec<_> = additions.difference(&table).collect();
    assert_eq!(unlisted, [] as [&&str; 0], "found by a page, but not listed");
    // `print` stands in both: the page's own replaces Lua's.
    assert_eq!(table.difference(&additions).collect::<Vec<_>>(), [&"print"]);
}
