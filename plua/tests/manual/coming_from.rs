//! The chapters for those who come from another system: what their tables say is true.

use crate::site::Site;
use crate::values::{fault, site};

/// The blocks of Lua of a chapter.
fn blocks(chapter: &str) -> Vec<&str> {
    chapter.split("```lua\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A cell that is code and nothing else.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))
}

/// Runs each row of a chapter's tables of three columns behind `before`: what stands there, what to write here, and what
/// that gives. How many names its first column has.
fn hold_true(site: &Site, chapter: &str, before: &str) -> usize {
    let (mut names, mut faults) = (0, Vec::new());
    for row in chapter.lines().filter(|line| line.starts_with("| `")) {
        let row = row.replace("\\|", "\0");
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect();
        let [_, there, here, gives, _] = cells.as_slice() else { continue };
        names += there.split('`').skip(1).step_by(2).count();
        // What only LuaJIT has is tried there.
        if let Some(code) = code(here).filter(|code| cfg!(feature = "luajit") || !code.contains("bit.")) {
            faults.extend(fault(site, before, code, &gives.replace('`', "")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    names
}

#[test]
fn each_row_for_those_who_come_from_php_gives_what_it_says() {
    let chapter = include_str!("../../../docs/from-php.md");
    let [module, before] = blocks(chapter)[..] else { panic!("a module, and what stands before each row") };
    let names = hold_true(&site(&[("lists.lua", module)]), chapter, before);
    assert!(names >= 250, "{names} functions");
}

#[test]
fn each_row_for_those_who_come_from_mod_lua_gives_what_it_says() {
    let names = hold_true(&site(&[]), include_str!("../../../docs/from-mod_lua.md"), "");
    assert!(names >= 50, "{names} functions");
}

#[test]
fn each_row_for_those_who_come_from_openresty_gives_what_it_says() {
    let names = hold_true(&site(&[]), include_str!("../../../docs/from-openresty.md"), "");
    assert!(names >= 70, "{names} functions");
}

#[test]
fn each_row_for_those_who_come_from_cgilua_or_civetweb_gives_what_it_says() {
    let chapter = include_str!("../../../docs/from-cgilua.md");
    let names = hold_true(&site(&[]), chapter, &blocks(chapter).concat());
    assert!(names >= 40, "{names} functions");
}

#[test]
fn marks_of_cgilua_and_civetweb_work_as_their_table_says() {
    let page = "<?lua local a = 1 ?><?lua= a ?><% local b = 2 %><%= b %><? local c = 3 ?><?= c ?><?& '<' ?>$|a|$";
    let site = Site::new("pLuaTags <% %>", &[("page.plua", page)]);
    assert_eq!(site.get("page.plua").text(), "123&lt;$|a|$");
}
