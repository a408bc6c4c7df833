//! The chapter for those who come from PHP: what its tables say is true.

use crate::values::{fault, site};

const CHAPTER: &str = include_str!("../../../docs/from-php.md");

/// The Lua of the chapter's first blocks: a module, and what stands before each row.
fn blocks() -> (&'static str, &'static str) {
    let mut blocks = CHAPTER.split("```lua\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    (blocks.next().unwrap(), blocks.next().unwrap())
}

/// A cell that is code and nothing else.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))
}

#[test]
fn each_row_of_the_tables_for_php_gives_what_it_says() {
    let (module, before) = blocks();
    let site = site(&[("lists.lua", module)]);
    let (mut rows, mut faults) = (0, Vec::new());
    for row in CHAPTER.lines().filter(|line| line.starts_with("| `")) {
        let row = row.replace("\\|", "\0");
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect();
        let [_, php, here, gives, _] = cells.as_slice() else { panic!("not three cells: {row}") };
        rows += php.split('`').skip(1).step_by(2).count();
        // What only LuaJIT has is tried there.
        if let Some(code) = code(here).filter(|code| cfg!(feature = "luajit") || !code.contains("bit.")) {
            faults.extend(fault(&site, before, code, &gives.replace('`', "")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(rows >= 150, "{rows} functions");
}
