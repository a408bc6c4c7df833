//! What `plua` says of itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use command::Folder;

/// Without the spaces that some lines end with.
fn help(arguments: &[&str]) -> String {
    let said = Folder::new(&[]).plua(arguments);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    said.out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_command_lists_its_commands() {
    insta::assert_snapshot!(help(&["--help"]), @r"
    Works with .plua pages: HTML with Lua in it

    Usage: plua <COMMAND>

    Commands:
      check         Compile pages and modules without running them, and report what fails or looks wrong; exit status 1 if any file fails
      translate     Show the Lua that a page becomes, line by line; nothing is compiled
      new           Make a folder with a small site that works at once: a page with a form, its layout and a style sheet
      run           Run a page and write its response's body to the standard output
      shell         Try Lua and the page functions at a prompt
      serve         Show the pages of a folder in a browser, on this machine only
      doctor        Look at the httpd of this machine: whether it can run pages, what stands beside the module, and what in its configuration is a mistake for pages. Nothing is changed. Exit status 1 if there is a problem
      definitions   Print the page functions as definitions for editors (lua-language-server): put them into a file of the workspace's library
      completions   Print a script by which a shell completes what is typed after plua
      manual-pages  Write manual pages of plua and of each of its commands into a folder, such as share/man/man1
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    ");
}

#[test]
fn check_says_what_it_takes() {
    insta::assert_snapshot!(help(&["check", "--help"]), @r"
    Compile pages and modules without running them, and report what fails or looks wrong; exit status 1 if any file fails.

    A warning has a name. A line with `plua: ignore NAME` in a comment has none of that name; a plua.toml in the folder or above it switches names off for all files. What one Lua takes and another does not is noted.

    Usage: plua check [OPTIONS] <FILES>...

    Arguments:
      <FILES>...
              Files, and folders in which every .plua file is a page and every .lua file a module

    Options:
          --format <FORMAT>
              How it is told: to a person, or to a program

              Possible values:
              - text:   Lines for a terminal
              - json:   An array of objects
              - sarif:  SARIF 2.1.0, which forges and editors show beside the lines
              - github: Commands that GitHub's runners turn into notes beside the lines

              [default: text]

          --ignore <NAME>
              A warning that is left out; may be repeated

              Possible values:
              - unused:       A local variable or function is never read
              - global:       A global is set that only one file uses, after setting it: a local would do
              - unknown:      A function is called that neither Lua, mod_plua nor the files checked have
              - unescaped:    What the visitor sent is put out without escaping, so he can send HTML
              - shadows:      A variable has the name of a page function and hides it
              - unreachable:  Nothing behind exit(), error() or return is ever run or put out
              - missing-file: A file that is included is not there

          --strict
              Exit with status 1 if there is a warning, too

      -d, --directive <DIRECTIVE>
              A directive as in httpd's configuration, such as pLuaTimeout=5 or 'pLuaRaw .lua'; may be repeated

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn translate_says_what_it_takes() {
    insta::assert_snapshot!(help(&["translate", "--help"]), @r"
    Show the Lua that a page becomes, line by line; nothing is compiled

    Usage: plua translate [OPTIONS] <FILE>

    Arguments:
      <FILE>  The page

    Options:
      -d, --directive <DIRECTIVE>  A directive as in httpd's configuration, such as pLuaTimeout=5 or 'pLuaRaw .lua'; may be repeated
      -h, --help                   Print help
    ");
}

#[test]
fn run_says_what_it_takes() {
    insta::assert_snapshot!(help(&["run", "--help"]), @r#"
    Run a page and write its response's body to the standard output.

    What fails is reported on the standard error output; -d pLuaError=1 also writes what a visitor would see. The exit status is 1 if anything failed or the response's status is 500 or above.

    A status that is not of success is told on the standard error output, with where a redirection leads to.

    With the method POST, PUT or PATCH the standard input is the request's body, read when the page asks for it: a form, such as a=1&b=2, unless a header such as --header "Content-Type: application/json" says what it is. Fields given with --post are such a form, and --body names a file in its place.

    A page whose first line is #!/usr/bin/env -S plua run is a program.

    Usage: plua run [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The page

    Options:
          --query <QUERY>
              The request's query, what would follow ? in the address: a=1&b=2

          --get <NAME=VALUE>
              A field of the query as it is meant, not encoded; may be repeated

          --post <NAME=VALUE>
              A field of a form as it is meant, not encoded; may be repeated. The method is POST unless it is given

          --cookie <NAME=VALUE>
              A cookie; may be repeated

          --method <METHOD>
              The request's method: GET unless there is a body

          --body <FILE>
              A file that is the request's body; - is the standard input. The method is POST unless it is given

          --header <NAME: VALUE>
              A header of the request; may be repeated

      -i, --head
              Write the response's status and headers before its body

      -d, --directive <DIRECTIVE>
              A directive as in httpd's configuration, such as pLuaTimeout=5 or 'pLuaRaw .lua'; may be repeated

      -h, --help
              Print help (see a summary with '-h')
    "#);
}

#[test]
fn serve_says_what_it_takes() {
    insta::assert_snapshot!(help(&["serve", "--help"]), @r"
    Show the pages of a folder in a browser, on this machine only

    Usage: plua serve [OPTIONS] [DIR]

    Arguments:
      [DIR]  The folder of pages [default: .]

    Options:
          --port <PORT>            The port of 127.0.0.1 to answer on; 0 takes a free one [default: 8080]
      -d, --directive <DIRECTIVE>  A directive as in httpd's configuration, such as 'pLuaGlobals request' or pLuaTimeout=5; may be repeated
          --config <FILE>          A file of httpd's configuration to include before those. It may use ${DOCROOT}, ${PORT} and, for LoadModule, ${MODULES}
          --reload                 Have open browser tabs load their page again when a page, a module, a style sheet or a script changes. Pages that end in </body> do
          --open                   Open the folder's first page in the browser
          --module <MODULE>        The httpd module, instead of the one beside this program or the installed one
      -h, --help                   Print help
    ");
}

#[test]
fn shell_says_what_it_takes() {
    insta::assert_snapshot!(help(&["shell", "--help"]), @r"
    Try Lua and the page functions at a prompt.

    Each entry is run at once, and the values of an expression are shown. An entry that is not finished goes on at a second prompt. Globals stay; a local ends with its entry. All entries together are one request, in the folder that the shell was started in.

    Ctrl-C ends what runs, for which pLuaTimeout does not hold, or the line that is typed; Ctrl-D or exit() ends the shell. Entries are kept in $XDG_STATE_HOME/plua/history, or ~/.local/state/plua/history, but for those that begin with a space.

    Entries that come from a pipe are run until one fails; then the exit status is 1.

    Usage: plua shell [OPTIONS]

    Options:
      -d, --directive <DIRECTIVE>
              A directive as in httpd's configuration, such as pLuaTimeout=5 or 'pLuaRaw .lua'; may be repeated

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn manual_pages_says_what_it_takes() {
    insta::assert_snapshot!(help(&["manual-pages", "--help"]), @r"
    Write manual pages of plua and of each of its commands into a folder, such as share/man/man1

    Usage: plua manual-pages <DIR>

    Arguments:
      <DIR>  The folder, which is made if it is not there

    Options:
      -h, --help  Print help
    ");
}
