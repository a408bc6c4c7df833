//! Which files are pages, which are sent as they are, and which are neither.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Server, Setup, httpd, with_httpd};

/// The configuration as it is installed, and as `plua serve` starts from it.
const SHIPPED: &str = include_str!("../apache-conf/plua.conf");

/// What configurations before 0.2 had.
const OLD: &str = "AddHandler plua .plua\nDirectoryIndex index.plua index.html\n";

const OLD_WARNING: &str = "AddHandler plua .plua makes pages of files whose names go on";

/// A page that tells that it ran, and its source where it does not.
const PAGE: &str = "<?= 'r' .. 'an' ?>";

/// What became of a file: `ran`, `sent` as it is, or the status.
fn outcome(server: &Server, path: &str) -> String {
    let answer = server.get(path);
    match (answer.status, answer.text().as_str()) {
        (200, "ran") => "ran".to_owned(),
        (200, PAGE) => "sent".to_owned(),
        (200, other) => other.to_owned(),
        (status, text) => {
            assert!(!text.contains("'r'") && !text.contains("ran"), "{path}: {text}");
            status.to_string()
        }
    }
}

/// Asserts what becomes of files of these names, each a page's text.
fn assert_outcomes(server: &Server, expected: &[(&str, &str)]) {
    for (name, outcome) in expected {
        if *outcome == "403" {
            server.expect(&format!("/{name}: "));
        }
    }
    for (name, expected) in expected {
        server.put(name, PAGE);
        assert_eq!(outcome(server, &format!("/{}", name.replace('#', "%23"))), *expected, "{name}");
    }
}

/// Names whose source httpd would send, were it asked alone.
const COPIES: &[&str] = &[
    "page.plua~",
    "page.plua.~1~",
    "#page.plua#",
    ".page.plua.swp",
    ".page.plua.swo",
    ".page.plua.un~",
    ".page.plua.kate-swp",
    ".page.plua.Xy12Zw",
    "page.plua.bak",
    "page.plua.BAK",
    "page.plua.bak2",
    "page.plua.old",
    "page.plua.orig",
    "page.plua.save",
    "page.plua.save.1",
    "page.plua.dist",
    "page.plua.rej",
    "page.plua.tmp",
    "page.plua.1",
    "page.plua.dpkg-dist",
    "page.plua.ucf-old",
    "page.plua.rpmsave",
    "page.plua.filepart",
    "page.plua___jb_tmp___",
    ".plua",
    ".PLUA",
    "PAGE.PLUA",
];

#[test]
fn only_names_that_end_in_plua_are_pages_in_the_configuration_that_is_installed() {
    httpd().first_lines(SHIPPED).run(|server| {
        assert_outcomes(
            server,
            &[
                ("page.plua", "ran"),
                ("page.fr.plua", "ran"),
                ("photo.jpg.plua", "ran"),
                ("photo.plua.jpg", "sent"),
                ("page.plua.fr", "sent"),
                ("page.plua.txt", "sent"),
                ("page.plua.gz", "sent"),
                ("page.pluarc", "sent"),
                ("plua", "sent"),
                ("notes.bak", "sent"),
                ("page~", "sent"),
            ],
        );
        assert_eq!(server.get("/photo.plua.jpg").header("Content-Type"), Some("image/jpeg"));
        assert_outcomes(server, &COPIES.iter().map(|name| (*name, "403")).collect::<Vec<_>>());
    });
}

#[test]
fn a_file_that_a_handler_or_type_was_chosen_for_is_sent_whatever_its_name() {
    let lines = "<Files page.plua.bak>\nSetHandler default-handler\n</Files>\n\
        <Files *.txt>\nForceType text/x-lua\n</Files>";
    httpd().first_lines(SHIPPED).lines(lines).run(|server| {
        assert_outcomes(server, &[("page.plua.bak", "sent"), ("page.plua.txt", "sent"), ("page.plua.old", "403")]);
    });
}

#[test]
fn what_follows_a_file_in_the_path_does_not_make_a_page_of_it() {
    let lines = "<Directory ${DOCROOT}>\nModMimeUsePathInfo On\nAcceptPathInfo On\n</Directory>";
    httpd().first_lines(SHIPPED).lines(lines).pages(&[("photo.jpg", PAGE), ("page.plua", PAGE)]).run(|server| {
        for path in ["/photo.jpg/x.plua", "/photo.jpg/.plua", "/photo.jpg/plua"] {
            assert_eq!(outcome(server, path), "sent", "{path}");
        }
        assert_eq!(outcome(server, "/page.plua/photo.jpg"), "ran");
    });
}

#[test]
fn a_compressed_page_is_a_file() {
    let lines = "AddEncoding x-gzip .gz";
    httpd().first_lines(SHIPPED).lines(lines).pages(&[("page.plua.gz", PAGE)]).run(|server| {
        let answer = server.get("/page.plua.gz");
        assert_eq!((answer.text().as_str(), answer.header("Content-Encoding")), (PAGE, Some("x-gzip")));
    });
}

/// A site with MultiViews, which looks for files whose names begin with the one asked for.
fn negotiated() -> Setup {
    let lines = "AddLanguage fr .fr\nAddLanguage en .en\n<Directory ${DOCROOT}>\nOptions +MultiViews\n</Directory>";
    httpd().module("negotiation").first_lines(SHIPPED).lines(lines)
}

#[test]
fn negotiation_finds_pictures_as_pictures_and_pages_as_pages() {
    let pages = [
        ("up.plua.jpg", PAGE),
        ("about.fr.plua", "<?= 'fran' .. 'cais' ?>"),
        ("about.en.plua", "<?= 'eng' .. 'lish' ?>"),
        ("plain.plua", PAGE),
    ];
    negotiated().lines("AddType text/html .plua").pages(&pages).run(|server| {
        let answer = server.get("/up");
        assert_eq!((answer.text().as_str(), answer.header("Content-Type")), (PAGE, Some("image/jpeg")));
        for (language, text) in [("fr", "francais"), ("en", "english")] {
            let headers = [("Accept-Language", language)];
            assert_eq!(server.request("GET", "/about", &headers, b"").text(), text);
        }
        assert_eq!(outcome(server, "/plain"), "ran");
    });
}

#[test]
fn without_a_type_for_plua_negotiation_finds_no_page() {
    negotiated().pages(&[("up.plua.jpg", PAGE), ("plain.plua", PAGE)]).run(|server| {
        server.expect("AH00687: Negotiation: discovered file(s) matching request");
        assert_eq!(outcome(server, "/up"), "404");
        assert_eq!(outcome(server, "/plain"), "404");
    });
}

#[test]
fn an_old_configuration_goes_on_and_is_warned_of_once() {
    httpd().first_lines(OLD).run(|server| {
        server.expect(OLD_WARNING);
        assert_outcomes(
            server,
            &[
                ("page.plua", "ran"),
                ("page.plua.fr", "ran"),
                ("PAGE.PLUA", "ran"),
                ("page.plua~", "403"),
                (".page.plua.swp", "ran"),
                (".plua", "403"),
            ],
        );
        let log = server.error_log();
        assert_eq!(log.matches(OLD_WARNING).count(), 1, "{log}");
        assert!(log.contains("site.conf:1: ") && log.contains("such as photo.plua.jpg: put SetHandler"), "{log}");
    });
}

/// An httpd with our module and no other lines.
fn bare(lines: &str) -> Setup {
    httpd().first_lines(lines.to_owned().leak())
}

#[test]
fn every_line_by_which_names_go_on_is_found_and_no_other() {
    let host = |lines: &str| format!("<VirtualHost *:${{PORT}}>\nServerName a.test\n{lines}\n</VirtualHost>");
    let warned = [
        ("addhandler PLUA plua".to_owned(), "site.conf:1: AddHandler PLUA plua makes pages of"),
        ("AddHandler plua .page .html".to_owned(), "such as photo.page.jpg"),
        (host("AddHandler plua .plua"), "site.conf:3: AddHandler"),
        ("<IfModule plua_module>\nAddHandler plua .plua\n</IfModule>".to_owned(), "site.conf:2: "),
        ("<Directory ${DOCROOT}>\nAddHandler plua .plua\n</Directory>".to_owned(), "site.conf:2: "),
        ("AddHandler plua .plua\nAddHandler plua .page".to_owned(), "such as photo.plua.jpg (so 1 more)"),
        ("<FilesMatch \"\\.plua\">\nSetHandler plua\n</FilesMatch>".to_owned(), "SetHandler plua makes pages of"),
        ("<Files ~ \"\\.plua\">\nSetHandler plua\n</Files>".to_owned(), "SetHandler plua makes pages of"),
        ("<Files *.plua*>\nSetHandler plua\n</Files>".to_owned(), "SetHandler plua makes pages of"),
        ("<LocationMatch \"\\.plua\">\nSetHandler plua\n</LocationMatch>".to_owned(), "SetHandler plua makes pages of"),
    ];
    for (lines, warning) in warned {
        bare(&lines).run(|server| server.expect(warning));
    }
    for lines in [
        "<FilesMatch \"\\.plua$\">\nAddHandler plua .plua\n</FilesMatch>",
        "<FilesMatch \"\\.(plua|lua)$\">\nSetHandler plua\n</FilesMatch>",
        "<Files *.plua>\nSetHandler plua\n</Files>",
        "<LocationMatch \"\\.plua$\">\nSetHandler plua\n</LocationMatch>",
        "<Location /app>\nSetHandler plua\n</Location>",
        "<Directory ${DOCROOT}/app>\nSetHandler plua\n</Directory>",
        "<Files front>\nSetHandler plua\n</Files>",
        "AddHandler other .plua",
        SHIPPED,
    ] {
        bare(lines).run(|_| ());
    }
}

#[test]
fn a_place_with_its_engine_off_shows_neither_output_nor_source() {
    let lines = "<Directory ${DOCROOT}/off>\npLuaEngine Off\n</Directory>\n\
        <Directory ${DOCROOT}/off/on>\npLuaEngine On\n</Directory>\n\
        <Location /closed>\npLuaEngine off\n</Location>\n\
        <Files closed.plua>\npLuaEngine 0\n</Files>\n\
        <Directory ${DOCROOT}/removed>\npLuaEngine Off\nRemoveHandler .plua\n</Directory>\n\
        <Directory ${DOCROOT}/none>\npLuaEngine Off\nSetHandler None\n</Directory>\n\
        <VirtualHost *:${PORT}>\nServerName on.test\n</VirtualHost>\n\
        <VirtualHost *:${PORT}>\nServerName off.test\npLuaEngine Off\n</VirtualHost>";
    for (first, warns) in [(SHIPPED, false), (OLD, true)] {
        httpd().first_lines(first).lines(lines).run(|server| {
            if warns {
                server.expect(OLD_WARNING);
            }
            assert_outcomes(
                server,
                &[
                    ("page.plua", "ran"),
                    ("off/page.plua", "403"),
                    ("off/index.plua", "403"),
                    ("off/deep/page.plua", "403"),
                    ("off/on/page.plua", "ran"),
                    ("off/page.html", "sent"),
                    ("off/photo.jpg", "sent"),
                    ("off/page.plua~", "403"),
                    ("closed/page.plua", "403"),
                    ("closed.plua", "403"),
                    ("removed/page.plua", "403"),
                    ("none/page.plua", "403"),
                ],
            );
            for method in ["HEAD", "POST", "BREW"] {
                assert_eq!(server.request(method, "/off/page.plua", &[], b"").status, 403, "{method}");
            }
            server.expect("/off/index.plua: pLuaEngine is Off here: not run");
            assert_eq!(outcome(server, "/off/"), "403");
            assert_eq!(outcome(server, "/off/missing.plua"), "404");
            // The picture runs by the old configuration where pages do, and here nowhere.
            server.put("off/photo.plua.jpg", PAGE);
            if warns {
                server.expect("/off/photo.plua.jpg: pLuaEngine is Off here: not run");
            }
            assert_eq!(outcome(server, "/off/photo.plua.jpg"), if warns { "403" } else { "sent" });
            server.expect("/page.plua: pLuaEngine is Off here: not run");
            assert_eq!(server.get_from("off.test", "/page.plua").status, 403);
        });
    }
}

#[test]
fn an_uploaded_htaccess_cannot_switch_the_engine_on() {
    let lines = "<Directory ${DOCROOT}>\nAllowOverride All\n</Directory>\n\
        <Directory ${DOCROOT}/off>\npLuaEngine Off\n</Directory>";
    let pages = [
        ("shut/page.plua", PAGE),
        ("shut/.htaccess", "pLuaEngine Off"),
        ("off/page.plua", PAGE),
        ("off/handler/page.plua", PAGE),
        ("off/handler/.htaccess", "SetHandler plua"),
        ("off/tried/page.plua", PAGE),
        ("off/tried/.htaccess", "pLuaEngine On"),
        ("off/files/page.plua", PAGE),
        ("off/files/.htaccess", "<Files page.plua>\npLuaEngine On\n</Files>"),
    ];
    with_httpd(lines, &pages, |server| {
        for path in ["/shut/page.plua", "/off/page.plua", "/off/handler/page.plua"] {
            server.expect(&format!("{path}: pLuaEngine is Off here: not run"));
            assert_eq!(outcome(server, path), "403", "{path}");
        }
        server.expect("pLuaEngine: a .htaccess can only switch it Off; On is for the server's own configuration");
        for path in ["/off/tried/page.plua", "/off/files/page.plua"] {
            assert_eq!(outcome(server, path), "500", "{path}");
        }
    });
}

#[test]
fn a_page_that_is_off_is_off_for_what_httpd_makes_of_pages_too() {
    let lines = "<Directory ${DOCROOT}/off>\npLuaEngine Off\n</Directory>\nErrorDocument 404 /off/error.plua\n\
        <Files *.shtml>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Files>";
    let pages = [
        ("off/error.plua", PAGE),
        ("off/part.plua", PAGE),
        ("page.shtml", "[<!--#include virtual=\"/off/part.plua\" -->]"),
    ];
    httpd().module("include").lines(lines).pages(&pages).run(|server| {
        server.expect("/off/error.plua: pLuaEngine is Off here: not run");
        server.expect("/off/part.plua: pLuaEngine is Off here: not run");
        server.expect("unable to include");
        assert_eq!(outcome(server, "/missing"), "404");
        let text = server.get("/page.shtml").text();
        assert!(text.starts_with('[') && !text.contains("ran") && !text.contains("'r'"), "{text}");
    });
}

#[test]
fn users_of_the_system_run_no_pages_in_the_configuration_that_is_installed() {
    assert!(SHIPPED.contains("<Directory /home/*/public_html>"));
    let lines = "UserDir ${ROOT}/home/*/public_html\n\
        <Directory ${ROOT}/home/*/public_html>\nRequire all granted\n</Directory>";
    let shipped = SHIPPED.replace("/home/*/", "${ROOT}/home/*/").leak();
    httpd().module("userdir").first_lines(shipped).lines(lines).run(|server| {
        let folder = server.httpd().root().join("home/bob/public_html");
        fs::create_dir_all(&folder).unwrap();
        for name in ["page.plua", "page.html"] {
            fs::write(folder.join(name), PAGE).unwrap();
        }
        server.expect("bob/public_html/page.plua: pLuaEngine is Off here: not run");
        assert_eq!(outcome(server, "/~bob/page.plua"), "403");
        assert_eq!(outcome(server, "/~bob/page.html"), "sent");
    });
}

#[test]
fn the_upload_example_of_the_manual_keeps_pictures_under_names_of_its_own() {
    let manual = include_str!("../docs/functions.md");
    let examples = manual.split("```html\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let page = examples.into_iter().find(|example| example.contains("uploads()")).unwrap();
    let lines = "<Directory ${DOCROOT}/pictures>\npLuaEngine Off\n</Directory>";
    let picture = format!("\u{0}{PAGE}");
    httpd().first_lines(SHIPPED).lines(lines).pages(&[("upload.plua", page), ("pictures/.keep", "")]).run(|server| {
        let pictures = server.docroot().join("pictures");
        fs::set_permissions(&pictures, fs::Permissions::from_mode(0o777)).unwrap();
        let jpeg = [b"\xff\xd8\xff", picture.as_bytes()].concat();
        for (name, bytes) in
            [("photo.plua.jpg", &jpeg), ("photo.plua", &jpeg), ("page.plua", &PAGE.as_bytes().to_vec())]
        {
            let head = format!("--XX\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"{name}\"\r\n\r\n");
            let body = [head.as_bytes(), bytes, b"\r\n--XX--\r\n"].concat();
            let headers = [("Content-Type", "multipart/form-data; boundary=XX")];
            assert_eq!(server.request("POST", "/upload.plua", &headers, &body).status, 200, "{name}");
        }
        let kept: Vec<String> =
            fs::read_dir(&pictures).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let kept: Vec<&String> = kept.iter().filter(|name| *name != ".keep").collect();
        assert_eq!(kept.len(), 2, "{kept:?}");
        for name in kept {
            assert!(name.len() == 36 && name.ends_with(".jpg"), "{name}");
            assert_eq!(server.get(&format!("/pictures/{name}")).body, jpeg);
        }
    });
}
