//! `plua translate`: the Lua a page becomes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use command::Folder;

#[test]
fn a_page_becomes_lua_of_as_many_lines() {
    let folder = Folder::new(&[("page.plua", "<ul>\n<? for i = 1, 2 do ?>\n<li><?= i ?>\n<? end ?></ul>\n")]);
    let said = folder.plua(&["translate", "page.plua"]);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    let lua = [
        r#"local __plua=... do end __plua.put("<ul>\"#,
        r#"")   for i = 1, 2 do  "#,
        r#"__plua.put("<li>") __plua.echo("", i ) "#,
        r#"  end  __plua.put("</ul>\"#,
        r#"") "#,
    ];
    assert_eq!(said.out, lua.join("\n"));
}

#[test]
fn directives_hold_and_code_that_does_not_compile_is_shown_as_well() {
    let folder = Folder::new(&[("page.plua", "<?= 1 + ?>"), ("tool.lua", "#!/usr/bin/lua\nreturn +\n")]);
    let said = folder.plua(&["translate", "-d", "pLuaAutoEscape=1", "page.plua"]);
    assert_eq!(said.all(), (Some(0), "local __plua=... do end __plua.escape(\"\", 1 + ) ", ""));
    let said = folder.plua(&["translate", "-d", "pLuaRaw=.lua", "tool.lua"]);
    assert_eq!(said.all(), (Some(0), "\nreturn +\n", ""));
}

#[test]
fn a_missing_file_is_one_sentence() {
    let said = Folder::new(&[]).plua(&["translate", "no.plua"]);
    assert_eq!(said.all(), (Some(1), "", "plua: Read error: no.plua: No such file or directory (os error 2)\n"));
}
