//! `plua shell`: entries from a pipe and at a terminal.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod command;
mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use command::{Folder, Said};
use terminal::Terminal;

/// What a shell says to entries from a pipe.
fn piped(folder: &Folder, arguments: &[&str], entries: &str) -> Said {
    let mut command = folder.command(&[&["shell"], arguments].concat());
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(entries.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn the_values_of_expressions_are_shown() {
    let folder = Folder::new(&[]);
    for (entries, shown) in [
        ("1 + 1", "2\n"),
        ("=1 + 1", "2\n"),
        ("nil, false, 'a'", "nil\nfalse\n\"a\"\n"),
        ("x = 5\nx", "5\n"),
        ("local x = 5 return x", "5\n"),
        ("local x = 5\nx", "nil\n"),
        ("-- nothing\n\n  \n2", "2\n"),
        ("'a\\n\"\\\\' .. string.char(7)", "\"a\\n\\\"\\\\\\007\"\n"),
        ("{}", "{}\n"),
        (
            "{1, 'b', {c = true}, [7] = 8, ['d e'] = 9, ['end'] = 0}",
            "{ 1, \"b\", { c = true }, [7] = 8, [\"d e\"] = 9, [\"end\"] = 0 }\n",
        ),
        ("x = {} x.x = x return x", "{ x = <cycle> }\n"),
        ("x = {1} return {x, x}", "{ { 1 }, { 1 } }\n"),
        ("{{{{{{{1}}}}}}}", "{ { { { { { {...} } } } } } }\n"),
        ("{print = print, l = function() end}", "{ l = function, print = function }\n"),
        ("setmetatable({}, {__tostring = function() return 'me' end})", "me\n"),
        ("setmetatable({}, {__tostring = function() error('x') end})", "table whose __tostring fails\n"),
        ("setmetatable({}, {__index = function() error('x') end})", "{}\n"),
        ("{[print] = 1, a = 2}", "{ a = 2, ... 1 more }\n"),
        ("json.decode('[null, {\"a\": 1.5}]')", "{ json.null, { a = 1.5 } }\n"),
    ] {
        let said = piped(&folder, &[], entries);
        assert_eq!(said.all(), (Some(0), shown, ""), "{entries}");
    }
}

#[test]
fn large_values_are_laid_out_in_lines_and_cut() {
    let folder = Folder::new(&[]);
    let said = piped(&folder, &[], "{name = ('x'):rep(50), list = {1, 2, 3}, other = ('y'):rep(50)}");
    let (x, y) = ("x".repeat(50), "y".repeat(50));
    let shown = format!("{{\n  list = {{ 1, 2, 3 }},\n  name = \"{x}\",\n  other = \"{y}\"\n}}\n");
    assert_eq!(said.all(), (Some(0), shown.as_str(), ""));
    let said = piped(&folder, &[], "x = {} for i = 1, 150 do x[i] = i end\nx\n('z'):rep(3000)");
    assert!(said.out.contains("\n  100,\n  ... 50 more\n}\n"), "{}", said.out);
    assert!(said.out.ends_with("zz\" ... (3000 bytes)\n"), "{}", said.out);
    let many = "x = {} for i = 1, 100 do x[i] = {} for j = 1, 100 do x[i][j] = j end end return x";
    let said = piped(&folder, &[], many);
    assert!(said.status == Some(0) && said.out.len() < 20_000, "{}", said.out.len());
}

#[test]
fn an_entry_goes_on_until_it_is_finished() {
    let folder = Folder::new(&[]);
    for (entries, shown) in [
        ("for i = 1, 2 do\n  echo(i)\nend\n3", "12\n3\n"),
        ("1 +\n2", "3\n"),
        ("('a'\n.. 'b')", "\"ab\"\n"),
        ("x = [[a\n\nb]]\nx", "\"a\\n\\nb\"\n"),
        ("x =\n\n4 return x", "4\n"),
    ] {
        assert_eq!(piped(&folder, &[], entries).all(), (Some(0), shown, ""), "{entries}");
    }
    let said = piped(&folder, &[], "for i = 1, 2 do");
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""));
    assert!(said.err.starts_with("Compiler error: 'end' expected near "), "{}", said.err);
}

#[test]
fn entries_of_a_pipe_end_with_the_first_that_fails() {
    let folder = Folder::new(&[]);
    for (entries, shown, told) in [
        ("1\nx.y\n2", "1\n", "Run-time error: attempt to index "),
        ("echo('a')\nx = = 1\n2", "a\n", "Compiler error: unexpected symbol near '='\n"),
        ("error('broken')\n2", "", "Run-time error: broken\n"),
        ("error({})\n2", "", "Run-time error: error object is a table without __tostring\n"),
    ] {
        let said = piped(&folder, &[], entries);
        assert_eq!((said.status, said.out.as_str()), (Some(1), shown), "{entries}");
        assert!(said.err.starts_with(told) && said.err.lines().count() == 1, "{entries}: {}", said.err);
    }
}

#[test]
fn a_failure_is_told_with_the_calls_of_ones_own_code() {
    let folder = Folder::new(&[("part.lua", "return function()\n  error('deep')\nend")]);
    let entries = "function f(g)\n  g()\n  return 1\nend\nx = function() f(require 'part') return 2 end\nx()";
    let said = piped(&folder, &[], entries).err.replace(&folder.path("").display().to_string(), "");
    insta::assert_snapshot!(said, @r"
    Run-time error: deep
      --> part.lua:2
      in function 'g' at part.lua:2
      in function 'f' at entry 1:2
      in a function at entry 2:1
    ");
}

#[test]
fn page_functions_work_as_in_one_page_of_the_folder() {
    let folder = Folder::new(&[("part.plua", "<p><?= a ?></p>"), ("note.txt", "note")]);
    for (entries, shown) in [
        ("print('a', 1)\necho('b')", "a1b"),
        ("a = 7\ninclude('part.plua')\n1", "<p>7</p>\ntrue\n1\n"),
        ("io.open('note.txt'):read('*a')", "\"note\"\n"),
        ("capture(function() echo('x') end)", "\"x\"\n"),
        ("ob_start()\necho('x')\nob_get_clean()", "true\n\"x\"\n"),
        ("echo('x')\nheader('X-A', '1')\nsetReturnCode(404)\nflush()\n1", "x\n1\n"),
        ("f = io.open('note.txt')\nf:read('*a')", "\"note\"\n"),
        ("plua.ctx.a = 1\nplua.ctx.a", "1\n"),
        ("do io.write('x') end\n1", "x\n1\n"),
        ("plua.atEnd(function() echo('end') end)\n1", "1\nend"),
        ("plua.wait(plua.spawn(function() sleep(0.01) return 3 end))", "3\n"),
        ("pcall(error, 'x')", "false\n\"x\"\n"),
        ("echo('a')\nexit()\necho('b')", "a"),
        ("pcall(exit)\n1", ""),
    ] {
        assert_eq!(piped(&folder, &[], entries).all(), (Some(0), shown, ""), "{entries}");
    }
}

#[test]
fn directives_hold_but_for_the_time() {
    let folder = Folder::new(&[]);
    for directive in ["pLuaGlobals request", "pLuaGlobals page", "pLuaSandbox On", "pLuaTimeout 0.05"] {
        let said = piped(&folder, &["-d", directive], "x = {5}\nfor i = 1, 3 do sleep(0.03) end\nx\necho(x[1])");
        assert_eq!(said.all(), (Some(0), "{ 5 }\n5", ""), "{directive}");
    }
    let said = piped(&folder, &["-d", "pLuaSandbox On"], "os.execute, io.popen");
    assert_eq!(said.all(), (Some(0), "nil\nnil\n", ""));
    let said = piped(&folder, &["-d", "pLuaMemoryLimit 8192"], "x = ('x'):rep(1e8)\n1");
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""), "{}", said.err);
}

#[test]
fn more_than_a_hundred_failures_are_told() {
    let folder = Folder::new(&[]);
    let terminal = Terminal::shell(&folder, &[("NO_COLOR", "1")]);
    for number in 0..105 {
        terminal.enters(&format!("error('no {number}')"));
        terminal.shows(&format!("Run-time error: no {number}\r\n"));
    }
}

#[test]
fn a_person_gets_prompts_values_and_names() {
    let folder = Folder::new(&[]);
    let terminal = Terminal::shell(&folder, &[]);
    terminal.enters("1 + 1");
    terminal.shows("2\r\n");
    terminal.enters("for i = 1, 2 do");
    terminal.shows("\u{1b}[K>> ");
    terminal.types("echo(i) end\r");
    terminal.shows("12\r\n");
    // Completed where there is one name only, of tables and of methods.
    terminal.enters("plua.hashEq\t");
    terminal.shows("plua.hashEquals");
    terminal.shows("function");
    terminal.enters("own = { value_of_it = 41 }");
    terminal.shows("\r\n");
    terminal.enters("own.val\t + 1");
    terminal.shows("42\r\n");
    terminal.enters("text = 'abc'");
    terminal.shows("\r\n");
    terminal.enters("text:upp\t()");
    terminal.shows("\"ABC\"\r\n");
    terminal.enters("x.y");
    terminal.shows("\u{1b}[31mRun-time error\u{1b}[0m: attempt to index");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn ctrl_c_ends_a_line_or_what_runs_and_globals_stay() {
    let folder = Folder::new(&[]);
    let terminal = Terminal::shell(&folder, &[]);
    terminal.enters("kept = 6 echo('beg', 'un') while true do pcall(function() while true do end end) end");
    terminal.shows("begun");
    terminal.types("\u{3}");
    terminal.shows("interrupted\r\n");
    terminal.enters("echo('a', 'sleep') sleep(60)");
    terminal.shows("asleep");
    terminal.types("\u{3}");
    terminal.shows("interrupted\r\n");
    // The terminal ends a command by itself, and what runs it goes on.
    terminal.enters("echo('com', 'mand') os.execute('echo begun; exec sleep 60') echo('en', 'ded')");
    terminal.shows("begun\r\n");
    terminal.types("\u{3}");
    terminal.shows("ended");
    terminal.shows("\u{1b}[K> ");
    terminal.types("this is no line\u{3}");
    terminal.enters("for i = 1, 2 do");
    terminal.shows("\u{1b}[K>> ");
    terminal.types("\u{3}");
    terminal.enters("kept * 7");
    terminal.shows("42\r\n");
    terminal.enters("exit()");
    assert_eq!(terminal.has_ended(), Some(0));
}

#[test]
fn entries_are_kept_for_the_next_shell_and_for_nobody_else() {
    let folder = Folder::new(&[]);
    let state = folder.path("state");
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap())];
    let terminal = Terminal::shell(&folder, &environment);
    terminal.enters("'of the ' .. 'first'");
    terminal.shows("\"of the first\"\r\n");
    terminal.enters(" 'a sec' .. 'ret'");
    terminal.shows("\"a secret\"\r\n");
    assert_eq!(terminal.ends(), Some(0));
    let file = state.join("plua/history");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(state.join("plua")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!fs::read_to_string(&file).unwrap().contains("sec"));

    let terminal = Terminal::shell(&folder, &environment);
    // The arrow up.
    terminal.enters("\u{1b}[A");
    terminal.shows("\"of the first\"\r\n");
    assert_eq!(terminal.ends(), Some(0));

    // Where there is no place for it, nothing is kept.
    fs::write(folder.path("file"), "").unwrap();
    let terminal = Terminal::shell(&folder, &[("XDG_STATE_HOME", folder.path("file").to_str().unwrap())]);
    terminal.enters("1 + 1");
    terminal.shows("2\r\n");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn a_terminal_that_wants_no_colours_gets_none() {
    let folder = Folder::new(&[]);
    let terminal = Terminal::shell(&folder, &[("NO_COLOR", "1")]);
    terminal.enters("x.y");
    terminal.shows("\nRun-time error: attempt to index");
}
