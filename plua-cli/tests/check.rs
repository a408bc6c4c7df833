//! `plua check`: the reports, the count and the exit status.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use command::Folder;

#[test]
fn a_page_that_compiles_is_counted_and_not_run() {
    let folder = Folder::new(&[("fine.plua", "<? while true do end ?>")]);
    let said = folder.plua(&["check", "fine.plua"]);
    assert_eq!(said.all(), (Some(0), "1 file, 0 failed\n", ""));
}

#[test]
fn a_syntax_error_names_file_and_line_and_the_others_are_still_checked() {
    let folder = Folder::new(&[
        ("a.plua", "<ul>\n<? x = = 1 ?>\n</ul>"),
        ("b.plua", "<? local x = 1 ?><?= x ?>"),
        ("c.plua", "\n\n<?= 1 + ?>"),
    ]);
    let said = folder.plua(&["check", "a.plua", "b.plua", "c.plua"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), "3 files, 2 failed\n"));
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(lines[0].starts_with("Compiler error: unexpected symbol near "), "{}", said.err);
    assert!(said.err.contains("\n  --> a.plua:2\n"), "{}", said.err);
    assert!(said.err.contains("\n  --> c.plua:3\n"), "{}", said.err);
    assert!(said.err.contains("\n>     3 | <?= 1 + ?>\n"), "{}", said.err);
    assert!(!said.err.contains("b.plua"), "{}", said.err);
}

#[test]
fn what_only_some_builds_take_is_noted_and_does_not_fail() {
    let folder = Folder::new(&[
        ("a.plua", "<ul>\n<? local x = nil -- ?>\n<?= x ?? 1, x?.y ?><?= x ?? 2 ?>\n</ul>"),
        ("b.plua", "<? goto done ?>x<? ::done:: ?><?= '\\x41' ?>"),
        ("c.plua", "a ?? b ?> c -> d<? local x = 1 ?><?= x == 1, 'a ?? b' ?>"),
    ]);
    let said = folder.plua(&["check", "a.plua", "b.plua", "c.plua"]);
    let notes = "Note: no warnings here: the file has Lua that only its compiler knows\n  --> a.plua:1\n\
                 Note: ??: only LuaJIT compiles it, Lua 5.4 and 5.1 do not\n  --> a.plua:3\n\
                 Note: ?.: only LuaJIT compiles it, Lua 5.4 and 5.1 do not\n  --> a.plua:3\n\
                 Note: goto: Lua 5.1 does not compile it, LuaJIT and Lua 5.4 do\n  --> b.plua:1\n\
                 Note: ::: Lua 5.1 does not compile it, LuaJIT and Lua 5.4 do\n  --> b.plua:1\n\
                 Note: \\x: Lua 5.1 leaves out the backslash only, LuaJIT and Lua 5.4 take it for an escape\n  --> b.plua:1\n";
    assert_eq!(said.all(), (Some(0), "3 files, 0 failed\n", notes));
}

#[test]
fn folders_are_walked_for_pages_modules_and_raw_files() {
    let folder = Folder::new(&[
        ("site/index.plua", "<? if ?>"),
        ("site/deep/er/page.plua", "fine"),
        ("site/lib/tool.lua", "return {\n"),
        ("site/style.css", "<? if ?>"),
    ]);
    std::os::unix::fs::symlink(folder.path("site"), folder.path("site/deep/circle")).unwrap();
    let said = folder.plua(&["check", "site"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), "3 files, 2 failed\n"));
    assert!(said.err.contains("  --> site/index.plua:1\n"), "{}", said.err);
    assert!(said.err.contains("  --> site/lib/tool.lua:"), "{}", said.err);

    let said = folder.plua(&["check", "-d", "pLuaRaw=.css", "site"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), "4 files, 3 failed\n"));
    assert!(said.err.contains("  --> site/style.css:1\n"), "{}", said.err);
}

#[test]
fn a_folder_that_cannot_be_read_is_told_and_counted_and_the_others_are_checked() {
    let folder = Folder::new(&[("site/a.plua", "fine"), ("site/closed/b.plua", ""), ("site/z/c.plua", "<? if ?>")]);
    let closed = folder.path("site/closed");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Root reads any folder: there the command runs as nobody, who must be able to get at the folder and the command.
    let mut command = folder.command(&["check", "site"]);
    if nix::unistd::Uid::effective().is_root() {
        let program = folder.path("plua");
        // Not by this process: what another test starts meanwhile would have the file open for writing.
        let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_plua")).arg(&program).status().unwrap();
        assert!(copied.success());
        std::fs::set_permissions(folder.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        command = std::process::Command::new(program);
        command.args(["check", "site"]).current_dir(folder.path("."));
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), out.as_str()), (Some(1), "2 files, 1 failed, 1 folder not read\n"), "{err}");
    assert!(err.starts_with("plua: cannot read site/closed: Permission denied"), "{err}");
    assert!(err.contains("  --> site/z/c.plua:1\n"), "{err}");
}

#[test]
fn a_folder_without_pages_is_an_error() {
    let folder = Folder::new(&[("empty/notes.txt", "")]);
    let said = folder.plua(&["check", "empty"]);
    assert_eq!(said.all(), (Some(1), "", "plua: no page in empty: none of its files ends in .plua or .lua\n"));
}

#[test]
fn a_missing_file_has_failed() {
    let said = Folder::new(&[]).plua(&["check", "no.plua"]);
    assert_eq!(
        said.all(),
        (Some(1), "1 file, 1 failed\n", "Read error: no.plua: No such file or directory (os error 2)\n")
    );
}

#[test]
fn directives_change_what_a_page_is() {
    let folder = Folder::new(&[("page.plua", "<? if ?>"), ("plain.lua", "return 1 < 2")]);
    assert_eq!(folder.plua(&["check", "-d", "pluashorthand=off", "page.plua"]).status, Some(0));
    assert_eq!(folder.plua(&["check", "--directive", "pLuaRaw=.lua", "plain.lua"]).status, Some(0));
}

#[test]
fn a_wrong_directive_is_refused_with_the_engines_own_sentence() {
    let folder = Folder::new(&[("page.plua", "")]);
    for (directive, sentence) in [
        ("pLuaTimeout", "write NAME=VALUE, or 'NAME VALUE'"),
        ("pLuaTimeOff=1", "there is no directive pLuaTimeOff"),
        ("pLuaTimeout=soon", "'soon' is not a number of seconds"),
        ("pLuaTimeout=1 2", "takes one value"),
        ("pLuaTimeout=", "takes a value"),
    ] {
        let said = folder.plua(&["check", "-d", directive, "page.plua"]);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
        assert!(said.err.contains(&format!(": {sentence}\n")), "{}", said.err);
    }
}
