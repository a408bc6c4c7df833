//! `plua run`: body, head, reports and exit status of one page.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command::Folder;

#[test]
fn the_body_is_what_the_page_puts_out_byte_for_byte() {
    let folder = Folder::new(&[("page.plua", "A\r\n<? for i = 1, 3 do ?><?= i ?>,<? end ?>")]);
    assert_eq!(folder.plua(&["run", "page.plua"]).all(), (Some(0), "A\r\n1,2,3,", ""));
}

#[test]
fn query_method_and_headers_reach_the_page() {
    let folder = Folder::new(&[(
        "deep/page.plua",
        "<? local env = getEnv() ?>
<?= parseGet().a, ' ', env['Request-Method'], ' ', env['X-Name'], ' ', env.URI ?>

<?= env['Unparsed-URI'], ' ', env.REQUEST_METHOD, ' ', env.Request ?>
",
    )]);
    let arguments = ["run", "deep/page.plua", "--query", "a=b%20c&d", "--method", "PUT", "--header", "X-Name:  a: b "];
    let request = "b c PUT a: b /page.plua\n/page.plua?a=b%20c&d PUT PUT /page.plua?a=b%20c&d HTTP/1.1";
    assert_eq!(folder.plua(&arguments).all(), (Some(0), request, ""));
}

#[test]
fn the_standard_input_is_the_body_of_a_method_that_has_one() {
    let folder = Folder::new(&[
        ("form.plua", "<? local form = parsePost() echo(form.a, ' ', form.b) ?>"),
        ("json.plua", "<? echo(getJson().a[2]) ?>"),
        ("body.plua", "<? echo(getRequestBody()) ?>"),
    ]);
    let form = "Content-Type: application/x-www-form-urlencoded";
    for (arguments, body, shown) in [
        (&["run", "--method", "POST", "--header", form, "form.plua"][..], "a=1&b=2", "1 2"),
        (&["run", "--method", "post", "form.plua"], "a=1&b=2", "1 2"),
        (&["run", "--method", "Put", "form.plua"], "a=x%20y&b=", "x y "),
        (&["run", "--method", "PUT", "json.plua"], "{\"a\": [1, \"x\"]}", "x"),
        (&["run", "--method", "PATCH", "body.plua"], "abc", "abc3"),
        (&["run", "--method", "POST", "body.plua"], "", "0"),
        (&["run", "body.plua"], "abc", "nil"),
    ] {
        fs::write(folder.path("body"), body).unwrap();
        let ended = folder.command(arguments).stdin(File::open(folder.path("body")).unwrap()).output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8(ended.stdout).unwrap().as_str()), (Some(0), shown));
    }
}

#[test]
fn a_page_runs_in_its_own_folder() {
    let folder = Folder::new(&[
        ("site/page.plua", "<?= io.open('note.txt'):read('*a'), getEnv().Filename ?><? include('part.plua') ?>"),
        ("site/note.txt", "note "),
        ("site/part.plua", " part"),
    ]);
    assert_eq!(folder.plua(&["run", "site/page.plua"]).all(), (Some(0), "note site/page.plua part", ""));
}

#[test]
fn the_head_comes_first_when_asked_for() {
    let page = "<? setReturnCode(404) header('X-A', '1') header('X-A', '2', true) header('X-B', '3')
        header('x-b', '4') header('X-C', '5') header('X-C', nil) setContentType('text/plain') ?>gone";
    let folder = Folder::new(&[("page.plua", page), ("flushed.plua", "a<? flush() ?>b")]);
    let head = "HTTP/1.1 404 \r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 4\r\nX-A: 1\r\nX-A: 2\r\nx-b: 4\r\n\r\n";
    let said = folder.plua(&["run", "--head", "page.plua"]);
    assert_eq!(said.all(), (Some(0), format!("{head}gone").as_str(), ""));
    let said = folder.plua(&["run", "--head", "--method", "HEAD", "page.plua"]);
    assert_eq!(said.all(), (Some(0), head, ""));
    let said = folder.plua(&["run", "--head", "flushed.plua"]);
    assert_eq!(said.all(), (Some(0), "HTTP/1.1 200 \r\nContent-Type: text/html; charset=UTF-8\r\n\r\nab", ""));
}

#[test]
fn a_status_whose_page_the_server_makes_has_no_body() {
    let folder = Folder::new(&[("page.plua", "half<? header('Location', '/x') httpError(302) ?>")]);
    let said = folder.plua(&["run", "--head", "page.plua"]);
    assert_eq!(said.all(), (Some(0), "HTTP/1.1 302 \r\nLocation: /x\r\n\r\n", ""));
}

#[test]
fn what_the_visitor_would_get_instead_of_the_page_is_told() {
    for (code, told) in [
        ("httpError(404)", "status 404"),
        ("redirect('/x?a=1')", "status 302, and leads to /x?a=1"),
        ("redirect('http://b.example/', 303)", "status 303, and leads to http://b.example/"),
        ("header('Location', '/x') httpError(302)", "status 302, and leads to /x"),
    ] {
        let folder = Folder::new(&[("page.plua", &format!("half<? {code} ?>"))]);
        let said = folder.plua(&["run", "page.plua"]);
        assert_eq!((said.status, said.err), (Some(0), format!("plua: the page answers with {told}\n")), "{code}");
    }
}

#[test]
fn a_failed_page_is_reported_in_full_and_its_half_page_thrown_away() {
    let folder = Folder::new(&[("page.plua", "half\n<?\nlocal function f() error('broken') end\nf() ?>")]);
    let said = folder.plua(&["run", "page.plua"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""));
    insta::assert_snapshot!(said.err, @r"
    Run-time error: broken
      --> page.plua:3
          1 | half
          2 | <?
    >     3 | local function f() error('broken') end
          4 | f() ?>
      in function 'f' at page.plua:3
      in main page at page.plua:4
    ");
    let said = folder.plua(&["run", "--head", "-d", "pLuaError=1", "page.plua"]);
    assert!(said.out.starts_with("HTTP/1.1 500 \r\n"), "{}", said.out);
    assert!(said.out.contains("<h1>broken</h1>"), "{}", said.out);
    assert!(said.err.contains("Run-time error: broken\n"), "{}", said.err);
}

#[test]
fn a_page_that_does_not_compile_is_reported_with_file_and_line() {
    let folder = Folder::new(&[("page.plua", "one\n<? x = = 1 ?>\n")]);
    let said = folder.plua(&["run", "page.plua"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""));
    assert!(said.err.starts_with("Compiler error: unexpected symbol near "), "{}", said.err);
    assert!(said.err.contains("\n  --> page.plua:2\n"), "{}", said.err);
}

#[test]
fn an_included_files_error_has_its_chain_and_the_page_goes_on() {
    let folder = Folder::new(&[
        ("page.plua", "before\n<? include('part.plua') ?>after"),
        ("part.plua", "<ul>\n<li>\n<? error('broken') ?>"),
    ]);
    let said = folder.plua(&["run", "page.plua"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), "before\n<ul>\n<li>\nafter"));
    insta::assert_snapshot!(said.err, @r"
    Run-time error: broken
      --> part.plua:3
          1 | <ul>
          2 | <li>
    >     3 | <? error('broken') ?>
      in file at part.plua:3
      in main page at page.plua:2
    ");
}

#[test]
fn a_status_of_the_servers_own_failing_is_exit_status_1() {
    let folder = Folder::new(&[("page.plua", "<? setReturnCode(tonumber(parseGet().status)) ?>x")]);
    for (status, exit) in [(499, 0), (500, 1)] {
        let said = folder.plua(&["run", "page.plua", "--query", &format!("status={status}")]);
        assert_eq!(said.all(), (Some(exit), "x", &*format!("plua: the page answers with status {status}\n")));
    }
}

#[test]
fn a_time_limit_ends_the_page() {
    let folder = Folder::new(&[("page.plua", "<? while true do end ?>")]);
    let said = folder.plua(&["run", "-d", "pLuaTimeout=0.2", "page.plua"]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""));
    assert!(said.err.starts_with("Time limit: The script took too long to execute"), "{}", said.err);
}

#[test]
fn flushed_output_is_there_while_the_page_still_runs() {
    let folder = Folder::new(&[("page.plua", "first<? flush() sleep(20) ?>")]);
    let started = Instant::now();
    let mut page = folder.command(&["run", "page.plua"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 5];
    page.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let running = page.try_wait().unwrap().is_none();
    page.kill().unwrap();
    page.wait().unwrap();
    assert_eq!((&first, running), (b"first", true));
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_reader_that_leaves_ends_the_page_quietly() {
    let folder = Folder::new(&[("page.plua", "<? while true do echo(('x'):rep(65536)) flush() end ?>")]);
    let mut page = folder.command(&["run", "page.plua"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    page.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let ended = page.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let folder = Folder::new(&[("page.plua", "text")]);
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return };
    for command in ["run", "check", "translate"] {
        let ended = folder.command(&[command, "page.plua"]).stdout(full.try_clone().unwrap()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), said.as_str()), (Some(1), "plua: No space left on device (os error 28)\n"));
    }
}

#[test]
fn what_is_no_page_is_one_sentence() {
    let folder = Folder::new(&[("folder/x", "")]);
    let said = folder.plua(&["run", "no.plua"]);
    assert_eq!(said.all(), (Some(1), "", "plua: cannot run no.plua: No such file or directory (os error 2)\n"));
    let said = folder.plua(&["run", "folder"]);
    assert_eq!(said.all(), (Some(1), "", "plua: cannot run folder: it is not a plain file\n"));
    let said = folder.plua(&["run", "folder/x", "--header", "no colon"]);
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
    assert!(said.err.contains(": write NAME: VALUE\n"), "{}", said.err);
}

#[test]
fn a_page_has_the_stores_that_its_directives_name_in_a_sandbox_too() {
    let page =
        "<? local cart = plua.shared.cart cart:set('k', { 1, 2 }) echo(#cart:get('k'), type(plua.shared.log)) ?>";
    let folder = Folder::new(&[("page.plua", page)]);
    for (first, last) in [("pLuaShared cart 1M", "pLuaSandbox On"), ("pLuaSandbox On", "pLuaShared cart 1M")] {
        let said = folder.plua(&["run", "-d", first, "-d", "pLuaShared log 64K", "-d", last, "page.plua"]);
        assert_eq!(said.all(), (Some(0), "2userdata", ""));
    }
}

#[test]
fn fields_cookies_and_a_body_are_given_as_they_are_meant() {
    let folder = Folder::new(&[
        (
            "a.plua",
            "<? local env = getEnv() ?><?= env['Request-Method'], '|', plua.get('q'), '|', env.QUERY_STRING, '|' ?><?= \
                    plua.post('name'), '|', getCookie('a'), getCookie('b'), '|', (getRequestBody()) ?>",
        ),
        ("body.txt", "name=file"),
    ]);
    for (arguments, shown) in [
        (&["--get", "q=a b&c=\u{e9}"][..], "GET|a b&c=\u{e9}|q=a%20b%26c%3D%C3%A9|||"),
        (&["--query", "x=1", "--get", "q=", "--get", "r=2"], "GET||x=1&q=&r=2|||"),
        (&["--post", "name=A&B = C", "--post", "x=1"], "POST|||A&B = C||name=A%26B%20%3D%20C&x=1"),
        (&["--cookie", "a=1", "--cookie", "b=2"], "GET||||12|"),
        (&["--body", "body.txt"], "POST|||file||name=file"),
        (&["--body", "body.txt", "--method", "put"], "PUT|||file||name=file"),
    ] {
        let said = folder.plua(&[&["run", "a.plua"], arguments].concat());
        let nothing = |text: &str| text.replace("nil", "");
        assert_eq!(
            (said.status, nothing(&said.out).as_str(), said.err.as_str()),
            (Some(0), shown, ""),
            "{arguments:?}"
        );
    }
    for (arguments, problem) in [
        (&["--post", "a"][..], "write NAME=VALUE"),
        (&["--post", "a=1", "--body", "body.txt"], "cannot be used with"),
        (&["--body", "none.txt"], "cannot read none.txt: No such file"),
    ] {
        let said = folder.plua(&[&["run", "a.plua"], arguments].concat());
        assert!(said.status != Some(0) && said.err.contains(problem), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn a_page_can_be_a_program() {
    let folder = Folder::new(&[("hello", "#!/usr/bin/env -S plua run\nHello <?= 6 * 7 ?>\n")]);
    fs::set_permissions(folder.path("hello"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_plua")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // As cron does: no terminal, hardly an environment.
    let ended = std::process::Command::new("env")
        .args(["-i", &format!("PATH={path}"), folder.path("hello").to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "Hello 42", "{:?}", ended.stderr);
}

#[test]
fn a_report_links_to_the_editor_that_the_environment_names() {
    let folder = Folder::new(&[("a \"b.plua", "<? error('x') ?>")]);
    let report = |editor: Option<&str>| {
        let mut command = folder.command(&["run", "-d", "pLuaError=1", "a \"b.plua"]);
        editor.map(|editor| command.env("PLUA_EDITOR", editor));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!report(None).contains("<a "), "{}", report(None));
    let shown = report(Some("vscode://file/%f:%l"));
    let link = "/a%20%22b.plua:1\">";
    assert!(shown.contains("href=\"vscode://file/") && shown.matches(link).count() == 2, "{shown}");
}
