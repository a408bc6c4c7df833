//! The table of page functions against what a page finds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::collections::BTreeSet;

use mlua::Lua;
use plua::language::functions::FUNCTIONS;
use site::{Site, page};

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
    // Those of the table `plua` that have another name too are in the table by that.
    let has_other_name = |name: &&str| name.strip_prefix("plua.").is_some_and(|name| table.contains(name));
    let additions: BTreeSet<&str> = seen.difference(&plain).copied().filter(|name| !has_other_name(name)).collect();
    let unlisted: Vec<_> = additions.difference(&table).collect();
    assert_eq!(unlisted, [] as [&&str; 0], "found by a page, but not listed");
    // `print` stands in both: the page's own replaces Lua's.
    assert_eq!(table.difference(&additions).collect::<Vec<_>>(), [&"print"]);
}

/// The names of all page functions, as Lua writes them in a list.
fn quoted_names() -> String {
    FUNCTIONS.iter().map(|function| format!("'{}',", function.name)).collect()
}

/// Lua that puts the value under a dotted name in `plua` into `own`, and the global one into `global`.
const LOOK_UP: &str = "
    local function look_up(name)
        local own, global = plua, _G
        for part in name:gmatch('[^.]+') do
            if part ~= 'plua' then own = own[part] end
            if global ~= nil then global = global[part] end
        end
        return own, global
    end
";

/// Where globals are the state's, the request's, and a sandbox's.
const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\n"];

#[test]
fn the_table_plua_has_every_page_function() {
    let names = quoted_names();
    let code = format!(
        "<? {LOOK_UP} for _, name in ipairs{{ {names} }} do
            local own, global = look_up(name)
            if type(own) ~= 'function' or own ~= global then echo(name, ' ') end
        end
        echo(require 'plua' == plua, plua.json.null == json.null) ?>"
    );
    for mode in MODES {
        assert_eq!(Site::new(mode, &[("page", &code)]).get("page").text(), "truetrue", "{mode}");
    }
}

#[test]
fn a_host_can_leave_out_the_global_names_of_page_functions_and_keeps_the_table_plua() {
    let names = quoted_names();
    let code = format!(
        "<? {LOOK_UP} for _, name in ipairs{{ {names} }} do
            local own, global = look_up(name)
            if type(own) ~= 'function' then plua.echo('-', name, ' ') end
            if global ~= nil and not name:find('^plua') then plua.echo('+', name, ' ') end
        end
        plua.echo(tostring(json), tostring(file), type(string.format)) ?>"
    );
    for mode in MODES {
        let seen = Site::new(&format!("{mode}pLuaIgnoreLibrary page"), &[("page", &code)]).get("page");
        assert_eq!(seen.text(), "nilnilfunction", "{mode}: {:?}", seen.log);
    }
}

#[test]
fn a_host_can_leave_out_single_page_functions() {
    let code = "<? echo(tostring(header), tostring(json), type(file.exists), tostring(file.unlink), tostring(string.md5), \
                type(plua.header), type(plua.json.encode), type(plua.file.unlink), type(plua.string.md5)) ?>";
    for mode in MODES {
        let site = Site::new(&format!("{mode}pLuaIgnoreLibrary header,json,file.unlink string.md5"), &[("page", code)]);
        let expected = "nilnilfunctionnilnilfunctionfunctionfunctionfunction";
        assert_eq!(site.get("page").text(), expected, "{mode}");
    }
}

#[test]
fn what_a_page_does_to_the_table_plua_ends_with_its_request() {
    let page =
        "<? echo(plua.mine, plua.json.mine, type(plua.header)) plua.mine, plua.json.mine, plua.header = 1, 2, nil ?>";
    for mode in &MODES[1..] {
        let site = Site::new(mode, &[("page", page)]);
        for _ in 0..2 {
            assert_eq!(site.get("page").text(), "nilnilfunction", "{mode}");
        }
    }
}
