//! Directives in httpd's configuration: what is refused and how, what holds where, and what that changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::thread;

use common::{httpd, with_httpd};

/// The lines before those of a test: which files are pages, and `DirectoryIndex`.
const LINES_BEFORE: usize = 4;

/// Asserts that httpd refuses these lines because of line `number` of them, for this reason.
fn assert_refused(lines: &str, number: usize, reason: &str) {
    let Some((status, output)) = httpd().lines(lines).check() else {
        return;
    };
    assert_eq!(status, 1, "{lines}: {output}");
    assert!(output.contains(&format!("Syntax error on line {} of ", number + LINES_BEFORE)), "{lines}: {output}");
    assert!(output.contains("site.conf:") && output.contains(reason), "{lines}: {output}");
}

fn assert_accepted(lines: &str) {
    if let Some((status, output)) = httpd().lines(lines).check() {
        assert_eq!(status, 0, "{lines}: {output}");
    }
}

#[test]
fn a_number_out_of_range_or_none_at_all_is_refused() {
    for (line, reason) in [
        ("pLuaStates -1", "pLuaStates: -1 is out of range: give a whole number from 0 to 10000"),
        ("pLuaStates 10001", "pLuaStates: 10001 is out of range"),
        ("pLuaStates many", "pLuaStates: 'many' is not a whole number from 0 to 10000"),
        ("pLuaRuns 1000000001", "pLuaRuns: 1000000001 is out of range: give a whole number from 0 to 1000000000"),
        ("pLuaRuns 1.5", "pLuaRuns: '1.5' is not a whole number"),
        ("pLuaFiles 0", "pLuaFiles: 0 is out of range: give a whole number from 1 to 1000000"),
        ("pLuaFiles \"\"", "pLuaFiles: takes a value"),
        ("pLuaMemoryLimit 1073741825", "pLuaMemoryLimit: 1073741825 is out of range"),
        ("pLuaMemoryLimit 64M", "pLuaMemoryLimit: '64M' is not a whole number"),
        ("pLuaTimeout 1000001", "pLuaTimeout: 1000001 is out of range: give seconds from 0 to 1000000"),
        ("pLuaTimeout 10s", "pLuaTimeout: '10s' is not a number of seconds"),
        ("pLuaStateWait -0.5", "pLuaStateWait: -0.5 is out of range"),
        ("pLuaStateWait long", "pLuaStateWait: 'long' is not a number of seconds"),
        ("pLuaLogLevel 4", "pLuaLogLevel: 4 is out of range: give a whole number from 0 to 3"),
        ("pLuaLogLevel warn", "pLuaLogLevel: 'warn' is not a whole number"),
    ] {
        assert_refused(line, 1, reason);
    }
}

#[test]
fn a_word_that_is_no_value_of_a_directive_is_refused() {
    for (line, reason) in [
        ("pLuaCharset Off", "pLuaCharset: 'Off' is no charset: give a name such as UTF-8, or none"),
        ("pLuaCharset \"UTF 8\"", "pLuaCharset: 'UTF 8' is not the name of a charset, such as UTF-8 or ISO-8859-1"),
        ("pLuaShortHand 2", "pLuaShortHand: '2' is neither On (or 1) nor Off (or 0)"),
        ("pLuaError yes", "pLuaError: 'yes' is neither On (or 1) nor Off (or 0)"),
        ("pLuaMultiDomain no", "pLuaMultiDomain: 'no' is neither On (or 1) nor Off (or 0)"),
        ("pLuaAutoEscape html", "pLuaAutoEscape: 'html' is neither On (or 1) nor Off (or 0)"),
        ("pLuaTags \"<%\"", "pLuaTags: '<%' is not two marks, one that opens a tag and one that ends it"),
        ("pLuaTags \"<%\" \"%>\" \"x\"", "pLuaTags: '<% %> x' is not two marks"),
        ("pLuaTags \"<?\" \"%>\"", "pLuaTags: '<?' and '%>' cannot be told from each other or from <?"),
        ("pLuaTags \"%%\" \"%%\"", "pLuaTags: '%%' and '%%' cannot be told"),
        ("pLuaTags \"%\" \"%>\"", "pLuaTags: '%' opens no tag: give 2 to 8 of"),
        ("pLuaTags \"<lua\" \"%>\"", "pLuaTags: '<lua' opens no tag"),
        ("pLuaTags \"<%\" \"--\"", "pLuaTags: '--' ends no tag"),
        ("pLuaRaw lua", "pLuaRaw: 'lua' is not an extension with its dot: write '.lua'"),
        ("pLuaRaw .lua .tar.lua", "pLuaRaw: '.tar.lua' is not one extension such as .lua"),
        (
            "pLuaIgnoreLibrary osx",
            "pLuaIgnoreLibrary: 'osx' is no library or function that can be left out: did you mean 'os'?",
        ),
        ("pLuaIgnoreLibrary os \"io coroutine\"", "pLuaIgnoreLibrary: 'coroutine' is no library"),
        ("pLuaIgnoreLibrary os.exec", "did you mean 'os.exit'?"),
        ("pLuaSandbox maybe", "pLuaSandbox: 'maybe' is neither On (or 1) nor Off (or 0)"),
        ("pLuaBaseDir pages", "pLuaBaseDir: 'pages' is not an absolute path: it starts with a slash"),
        (
            "pLuaConnect none localhost",
            "pLuaConnect: 'localhost' cannot stand beside other words: none and any stand alone",
        ),
        ("pLuaSession 1st", "pLuaSession: '1st' is no name"),
        ("pLuaSessionCookie a=b", "pLuaSessionCookie: 'a=b' is no name of a cookie"),
        (
            "pLuaSessionCookie shop shop",
            "pLuaSessionCookie: 'shop' is neither a path, which begins with /, nor Lax nor Strict",
        ),
        ("pLuaSessionTime soon", "pLuaSessionTime: 'soon' is no time: give whole seconds"),
        (
            "pLuaSessionTime 60 30",
            "pLuaSessionTime: a session that may last 60 seconds without being used cannot end after 30",
        ),
        ("pLuaConnect localhost:http", "pLuaConnect: 'localhost:http' has no port from 1 to 65535 after its colon"),
        ("pLuaTimeZone Europe/Berln", "pLuaTimeZone: 'Europe/Berln' is no time zone of this system: write one such as"),
        ("pLuaTimeZone ../../etc/passwd", "pLuaTimeZone: '../../etc/passwd' is no time zone of this system"),
        ("pLuaBaseDir / /nowhere", "pLuaBaseDir: '/nowhere' cannot be used: No such file or directory"),
    ] {
        assert_refused(line, 1, reason);
    }
    assert_refused("# one\n\n<Directory />\npluaerror Maybe\n</Directory>", 4, "pLuaError: 'Maybe' is neither");
}

#[test]
fn each_directive_takes_the_number_of_values_it_documents() {
    let single = [
        "pLuaStates",
        "pLuaRuns",
        "pLuaFiles",
        "pLuaMemoryLimit",
        "pLuaShortHand",
        "pLuaTimeout",
        "pLuaError",
        "pLuaMultiDomain",
        "pLuaLogLevel",
        "pLuaAutoEscape",
        "pLuaStateWait",
    ];
    for name in single.iter().chain(&["pLuaRaw", "pLuaTags", "pLuaIgnoreLibrary"]) {
        assert_refused(name, 1, &format!("{name}: takes a value"));
    }
    for name in ["pLuaStates", "pLuaTimeout", "pLuaError"] {
        assert_refused(&format!("{name} 1 1"), 1, &format!("{name}: takes one value"));
    }
    let all: String = single.iter().map(|name| format!("{name} 1\n")).collect();
    assert_accepted(&(all + "pLuaRaw .lua .foo\npLuaIgnoreLibrary os io\npLuaIgnoreLibrary \"debug, ffi\""));
}

#[test]
fn a_directive_in_a_place_it_does_not_apply_to_is_refused() {
    let of_hosts =
        ["pLuaStates 5", "pLuaRuns 5", "pLuaFiles 5", "pLuaIgnoreLibrary os", "pLuaLogLevel 1", "pLuaStateWait 1"];
    for line in of_hosts.iter().chain(&["pLuaMultiDomain 1"]) {
        let name = line.split(' ').next().unwrap();
        assert_refused(&format!("<Directory />\n{line}\n</Directory>"), 2, &format!("{name} not allowed"));
    }
    assert_refused("<Location />\npLuaStates 5\n</Location>", 2, "pLuaStates not allowed");
    assert_accepted(&format!("<VirtualHost *:80>\n{}\n</VirtualHost>", of_hosts.join("\n")));
    let reason = "pLuaMultiDomain cannot occur within <VirtualHost> section: it holds for the whole process";
    assert_refused("<VirtualHost *:80>\npLuaMultiDomain 1\n</VirtualHost>", 2, reason);
    let of_directories = "pLuaRaw .lua\npLuaTags <% %>\npLuaShortHand 1\npLuaError 1\npLuaAutoEscape 1\npLuaTimeout 5\n\
        pLuaMemoryLimit 5\npLuaOutputLimit 5\npLuaPatternLimit 5\npLuaFields 5\npLuaUploads 5\npLuaUploadSize 5";
    assert_accepted(&format!(
        "{of_directories}\n<VirtualHost *:80>\n{of_directories}\n<Location />\n{of_directories}\n</Location>\n\
         <Files *.x>\n{of_directories}\n</Files>\n</VirtualHost>"
    ));
}

#[test]
fn other_tags_hold_in_their_folder_with_what_it_includes() {
    let page = "<%= 1 %>,<?= 2 ?>\n<% include('part.plua') %>";
    let lines = "<Directory ${DOCROOT}>\nAllowOverride Options\n</Directory>\n<Directory ${DOCROOT}/cgilua>\npLuaTags \"<%\" \"%>\"\n</Directory>";
    let pages = [
        ("cgilua/page.plua", page),
        ("cgilua/part.plua", "<% for i = 1, 2 do -- ?> %>[<%= i %>]<% end %>"),
        ("page.plua", page),
        ("part.plua", "<%= 3 %>"),
        ("own/.htaccess", "pLuaTags {{ }}"),
        ("own/page.plua", "{{= 4 }}<%= 5 %>"),
        ("cgilua/none/.htaccess", "pLuaTags none"),
        ("cgilua/none/page.plua", "<%= 6 %>"),
    ];
    with_httpd(lines, &pages, |server| {
        for _ in 0..2 {
            assert_eq!(server.get("/cgilua/page.plua").text(), "1,2[1][2]");
            assert_eq!(server.get("/page.plua").text(), "<%= 1 %>,2<% include('part.plua') %>");
            assert_eq!(server.get("/own/page.plua").text(), "4<%= 5 %>");
            assert_eq!(server.get("/cgilua/none/page.plua").text(), "<%= 6 %>");
        }
    });
}

#[test]
fn a_bad_line_in_htaccess_is_a_500_and_a_log_line() {
    let pages = [
        ("place/.htaccess", "\npLuaStates 5"),
        ("place/page.plua", "never"),
        ("value/.htaccess", "pLuaShortHand 2"),
        ("value/page.plua", "never"),
        ("page.plua", "fine"),
    ];
    with_httpd("<Directory ${DOCROOT}>\nAllowOverride Options\n</Directory>", &pages, |server| {
        server.expect("place/.htaccess: pLuaStates not allowed");
        server.expect("value/.htaccess: pLuaShortHand: '2' is neither On (or 1) nor Off (or 0)");
        for path in ["/place/page.plua", "/value/page.plua"] {
            let answer = server.get(path);
            assert!(answer.status == 500 && !answer.text().contains("never"));
        }
        assert_eq!(server.get("/page.plua").text(), "fine");
    });
}

/// The limits a host works with, as its pages see them.
const LIMITS: (&str, &str) = (
    "limits.plua",
    "<? local e = getEnv() ?><?= e['pLua-States'], ' ', e['pLua-Runs'], ' ', e['pLua-Files'], ' ', \
     e['pLua-Memory-Limit'], ' [', e['pLua-Disabled-Libraries'], ']' ?>",
);

#[test]
fn what_is_not_given_has_its_default() {
    let pages = [LIMITS, ("short.plua", "<?= '<' ?><? echo(1) ?>"), ("raw.lua", "<?= 1 ?>"), ("bad.plua", "<? x() ?>")];
    with_httpd("<Files *.lua>\nSetHandler plua\n</Files>", &pages, |server| {
        server.expect("bad.plua:1");
        assert_eq!(server.get("/limits.plua").text(), "50 1000 50 0 []");
        assert_eq!(server.get("/short.plua").text(), "<1");
        assert_eq!(server.get("/raw.lua").text(), "1");
        assert!(server.get("/bad.plua").text().contains("attempt to call"));
    });
}

#[test]
fn names_are_compared_without_case_and_a_host_overrides_the_main_server() {
    let lines = "PLUASTATES 5\npluaruns 6\npLuAfIlEs 7\npLuaMemoryLimit 80000\npluaignorelibrary ffi\n\
        <VirtualHost *:${PORT}>\nServerName main.test\n</VirtualHost>\n\
        <VirtualHost *:${PORT}>\nServerName own.test\npLuaStates 9\npLuaIgnoreLibrary \"os io\"\n\
        pLuaMemoryLimit 0\n</VirtualHost>";
    with_httpd(lines, &[LIMITS], |server| {
        assert_eq!(server.get_from("main.test", "/limits.plua").text(), "5 6 7 80000 [ffi]");
        assert_eq!(server.get_from("own.test", "/limits.plua").text(), "9 6 7 0 [ffi io os]");
    });
}

#[test]
fn inner_places_override_outer_ones_in_tags_and_escaping() {
    let lines = "<VirtualHost *:${PORT}>\nServerName one.test\npLuaAutoEscape On\n\
        <Directory ${DOCROOT}/inner>\nAllowOverride Options\npLuaAutoEscape Off\npLuaShortHand Off\n</Directory>\n\
        <Location /inner/deep>\npLuaShortHand On\n</Location>\n</VirtualHost>\n\
        <VirtualHost *:${PORT}>\nServerName two.test\n</VirtualHost>";
    let page = "<?lua= '&' ?><?= '<' ?>";
    let pages = [
        ("page.plua", page),
        ("inner/page.plua", page),
        ("inner/own/page.plua", page),
        ("inner/own/.htaccess", "pLuaAutoEscape 1\npLuaShortHand 1"),
        ("inner/deep/page.plua", page),
        ("outer.plua", "<? include('inner/page.plua') ?>"),
    ];
    with_httpd(lines, &pages, |server| {
        let get = |host: &str, path: &str| server.get_from(host, path).text();
        // Twice: the second time from the cache.
        for _ in 0..2 {
            assert_eq!(get("one.test", "/page.plua"), "&amp;&lt;");
            assert_eq!(get("one.test", "/inner/page.plua"), "&<?= '<' ?>");
            assert_eq!(get("one.test", "/inner/own/page.plua"), "&amp;&lt;");
            assert_eq!(get("one.test", "/inner/deep/page.plua"), "&<");
            assert_eq!(get("two.test", "/page.plua"), "&<");
            assert_eq!(get("two.test", "/inner/page.plua"), "&<");
            // What is included follows the page that was asked for.
            assert_eq!(get("one.test", "/outer.plua"), "&amp;&lt;");
        }
    });
}

#[test]
fn raw_extensions_add_up_from_place_to_place_and_stay_there() {
    let lines = "<FilesMatch \"\\.(aa|bb|cc|dd)$\">\nSetHandler plua\n</FilesMatch>\npLuaRaw .aa\n\
        <Directory ${DOCROOT}>\nAllowOverride Options\n</Directory>\n\
        <VirtualHost *:${PORT}>\nServerName one.test\npLuaRaw .bb\n\
        <Directory ${DOCROOT}/inner>\npLuaRaw .cc\n</Directory>\n</VirtualHost>\n\
        <VirtualHost *:${PORT}>\nServerName two.test\n</VirtualHost>";
    let mut setup = httpd().lines(lines).file("inner/own/.htaccess", "pLuaRaw .dd");
    for folder in ["", "inner/", "inner/own/"] {
        for extension in ["aa", "bb", "cc", "dd"] {
            setup = setup.file(&format!("{folder}x.{extension}"), "echo('raw')");
        }
    }
    setup.run(|server| {
        let raw = |host: &str, folder: &str| -> String {
            let is_raw = |extension: &&str| server.get_from(host, &format!("{folder}x.{extension}")).text() == "raw";
            ["aa", "bb", "cc", "dd"].into_iter().filter(is_raw).collect::<Vec<_>>().join(" ")
        };
        for _ in 0..2 {
            assert_eq!(raw("one.test", "/inner/own/"), "aa bb cc dd");
            assert_eq!(raw("one.test", "/inner/"), "aa bb cc");
            assert_eq!(raw("one.test", "/"), "aa bb");
            assert_eq!(raw("two.test", "/inner/"), "aa");
            assert_eq!(raw("two.test", "/inner/own/"), "aa dd");
        }
    });
}

#[test]
fn errors_are_shown_where_the_innermost_place_says_so() {
    let lines = "pLuaError Off\n<VirtualHost *:${PORT}>\nServerName one.test\n</VirtualHost>\n\
        <VirtualHost *:${PORT}>\nServerName two.test\npLuaError On\n\
        <Location /hidden>\npLuaError 0\n</Location>\n</VirtualHost>";
    with_httpd(
        lines,
        &[("page.plua", "<? error('reason') ?>"), ("hidden/page.plua", "<? error('reason') ?>")],
        |server| {
            server.expect("reason at ");
            let shown = |host, path| server.get_from(host, path).text().contains("reason");
            assert!(!shown("one.test", "/page.plua"));
            assert!(shown("two.test", "/page.plua"));
            assert!(!shown("two.test", "/hidden/page.plua"));
        },
    );
}

/// Two hosts, the first with these lines.
fn two_hosts(lines: &str) -> String {
    format!(
        "<VirtualHost *:${{PORT}}>\nServerName strict.test\n{lines}\n</VirtualHost>\n\
         <VirtualHost *:${{PORT}}>\nServerName free.test\n</VirtualHost>"
    )
}

#[test]
fn libraries_left_out_of_one_host_are_there_in_the_other() {
    let page = "<?= os and 'os ' or '', io and 'io ' or '', math and 'math ' or '', \
        (pcall(require, 'os')), ' ', (pcall(require, 'io')), ' ', package.loaded.os ~= nil ?>";
    with_httpd(&two_hosts("pLuaIgnoreLibrary \"os, io\""), &[("page.plua", page)], |server| {
        assert_eq!(server.get_from("strict.test", "/page.plua").text(), "math false false false");
        assert_eq!(server.get_from("free.test", "/page.plua").text(), "os io math true true true");
        assert_eq!(server.get_from("strict.test", "/page.plua").text(), "math false false false");
    });
}

#[test]
fn a_time_limit_stops_pages_of_its_host_alone() {
    let pages = [
        ("loop.plua", "half<? while true do end ?>"),
        ("caught.plua", "<? while true do pcall(function() while true do end end) end ?>"),
        ("flushed.plua", "half<? flush() local i = 0 while true do i = i + 1 end ?>"),
        ("busy.plua", "<? local until_ = os.clock() + 1 while os.clock() < until_ do end ?>done"),
        ("ok.plua", "fine"),
    ];
    with_httpd(&two_hosts("pLuaTimeout 0.5\npLuaStates 4"), &pages, |server| {
        for page in ["loop", "caught", "flushed"] {
            server.expect(&format!("{page}.plua:1"));
        }
        let server = &*server;
        thread::scope(|scope| {
            let busy = scope.spawn(|| server.get_from("free.test", "/busy.plua"));
            for page in ["/loop.plua", "/caught.plua"] {
                let answer = server.get_from("strict.test", page);
                assert_eq!(answer.status, 500, "{page}");
                assert!(
                    answer.text().contains("The script took too long to execute") && !answer.text().contains("half<")
                );
                assert_eq!(server.get_from("strict.test", "/ok.plua").text(), "fine");
            }
            assert!(!server.get_from("strict.test", "/flushed.plua").complete);
            assert_eq!(busy.join().unwrap().text(), "done");
        });
        assert_eq!(server.get_from("strict.test", "/ok.plua").text(), "fine");
    });
}

#[test]
fn a_memory_limit_stops_pages_of_its_host_alone() {
    let pages = [
        ("grow.plua", "<? local s = 'x' while true do s = s .. s end ?>"),
        ("table.plua", "<? local t = {} for i = 1, 1e8 do t[i] = {i} end ?>"),
        ("large.plua", "<? local s = ('x'):rep(2^25) ?><?= #s ?>"),
        ("ok.plua", "fine"),
    ];
    with_httpd(&two_hosts("pLuaMemoryLimit 16384"), &pages, |server| {
        for page in ["grow", "table", "large"] {
            server.expect(&format!("{page}.plua"));
        }
        for page in ["/grow.plua", "/table.plua", "/large.plua"] {
            let answer = server.get_from("strict.test", page);
            assert_eq!(answer.status, 500, "{page}");
            assert!(answer.text().contains("Memory limit reached!"), "{page}: {}", answer.text());
            assert_eq!(server.get_from("strict.test", "/ok.plua").text(), "fine");
            assert_eq!(server.get_from("free.test", "/large.plua").text(), "33554432");
        }
    });
}

#[test]
fn runs_of_a_state_end_it_in_the_host_that_says_so() {
    let pages = [("count.plua", "<? n = (n or 0) + 1 ?><?= n, getEnv()['pLua-Sessions'] ?>")];
    with_httpd(&two_hosts("pLuaRuns 2"), &pages, |server| {
        let counts = |host| [(); 5].map(|()| server.get_from(host, "/count.plua").text());
        assert_eq!(counts("strict.test"), ["11", "22", "11", "22", "11"]);
        assert_eq!(counts("free.test"), ["11", "22", "33", "44", "55"]);
    });
}

#[test]
fn an_inner_place_tightens_a_limit_and_loosens_none() {
    let lines = "pLuaTimeout 90\npLuaMemoryLimit 80000\npLuaOutputLimit 100\npLuaFields 8\n\
        <Directory ${DOCROOT}>\nAllowOverride Options\n</Directory>\n\
        <Directory ${DOCROOT}/inner>\npLuaTimeout 0.5\npLuaMemoryLimit 8000\npLuaOutputLimit 10\npLuaFields 4\n</Directory>";
    let loose = "pLuaTimeout 0\npLuaMemoryLimit 0\npLuaOutputLimit 1000\npLuaFields 1000";
    let mut setup =
        httpd().lines(lines).file("inner/loose/.htaccess", loose).file("own/.htaccess", "pLuaPatternLimit 9999");
    for folder in ["", "inner/", "inner/loose/", "own/"] {
        for (name, page) in [
            ("time", "<? local t = os.clock() while os.clock() < t + 0.8 do end ?>fine"),
            ("memory", "<? local t = {} for i = 1, 2e6 do t[i] = i end ?>fine"),
            ("output", "<? for i = 1, 50 do echo(('x'):rep(1024)) end ?>"),
            ("fields", "<? parseGet() ?>fine"),
            ("pattern", "<? (('a'):rep(30)):find('.-.-.-b') ?>fine"),
        ] {
            setup = setup.file(&format!("{folder}{name}.plua"), page);
        }
    }
    setup.run(|server| {
        let statuses = |folder: &str| {
            ["time.plua", "memory.plua", "output.plua", "fields.plua?a&b&c&d&e", "pattern.plua"]
                .map(|page| server.get(&format!("/{folder}{page}")).status)
        };
        for kind in ["Time limit", "Memory limit", "Output limit", "Request too large", "Pattern limit"] {
            server.expect(kind);
        }
        for _ in 0..2 {
            assert_eq!(statuses(""), [200, 200, 200, 200, 200]);
            assert_eq!(statuses("inner/"), [500, 500, 500, 413, 200]);
            assert_eq!(statuses("inner/loose/"), [500, 500, 500, 413, 200]);
            assert_eq!(statuses("own/"), [200, 200, 200, 200, 500]);
        }
    });
}

#[test]
fn a_host_with_folders_and_a_sandbox_holds_its_pages_beside_a_free_one() {
    let pages = [
        (
            "page.plua",
            "<?= (pcall(require, 'ffi')), ' ', io.popen ~= nil, ' ', debug.getregistry ~= nil, ' ', \
             io.open('/etc/passwd') ~= nil, ' ', io.open('inner/text'):read('*a'), ' ', \
             io.open('link/passwd') ~= nil, ' ', package.loadlib ~= nil, ' ', load('return 1')() ?>",
        ),
        ("included.plua", "<? include('/etc/passwd') ?>"),
        ("prepend/page.plua", "page"),
        ("prepend/.htaccess", "pLuaPrepend /etc/passwd"),
        ("inner/text", "text"),
    ];
    let lines = format!(
        "<Directory ${{DOCROOT}}>\nAllowOverride Options\n</Directory>\n{}",
        two_hosts("pLuaBaseDir ${DOCROOT}\npLuaSandbox On")
    );
    with_httpd(&lines, &pages, |server| {
        for _ in 0..2 {
            server.expect("/etc/passwd: not within pLuaBaseDir");
        }
        std::os::unix::fs::symlink("/etc", server.docroot().join("link")).unwrap();
        let free = if cfg!(feature = "luajit") { "true" } else { "false" };
        for _ in 0..2 {
            let held = server.get_from("strict.test", "/page.plua").text();
            assert_eq!(held, "false false false false text false false 1");
            let text = server.get_from("free.test", "/page.plua").text();
            assert_eq!(text, format!("{free} true true true text true true 1"));
        }
        let included = server.get_from("strict.test", "/included.plua");
        assert!(included.status == 500 && !included.text().contains("root:"), "{}", included.text());
        assert!(server.get_from("free.test", "/included.plua").text().contains("root:"));
        let prepended = server.get_from("strict.test", "/prepend/page.plua");
        assert!(prepended.status == 500 && !prepended.text().contains("root:"), "{}", prepended.text());
        assert!(server.get_from("free.test", "/prepend/page.plua").text().contains("root:"));
    });
}

#[test]
fn folders_that_pages_can_still_get_out_of_are_told_at_the_start() {
    with_httpd("pLuaBaseDir ${DOCROOT}\npLuaIgnoreLibrary ffi os.execute", &[("page.plua", "fine")], |server| {
        server.expect("pLuaBaseDir does not hold pages that have debug, io.popen");
        assert_eq!(server.get("/page.plua").text(), "fine");
    });
}
