//! Who gets a kept page: sent before httpd looks further where everybody may have it and nobody else has a say, and else in the
//! page's place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::process::Command;

use common::kept::{
    MAPPED, MAPPED_AND_KEPT, NOT_KEPT, PAGE, QUICK, STORES, ask, expect, is_quick, runs, second, setup,
};
use common::{Mpm, Server, Setup, virtual_host};

/// Places below the document root, each with the lines that hold there and what becomes of its page.
const PLACES: [(&str, &str, (&str, bool)); 16] = [
    ("open", "Require all granted", QUICK),
    ("address", "Require ip 127.0.0.1", MAPPED_AND_KEPT),
    ("local", "Require local", MAPPED_AND_KEPT),
    ("method", "Require method GET HEAD", MAPPED_AND_KEPT),
    ("expression", "Require expr \"%{REMOTE_ADDR} == '127.0.0.1'\"", MAPPED_AND_KEPT),
    ("not", "<RequireAll>\nRequire all granted\nRequire not ip 10.0.0.1\n</RequireAll>", MAPPED_AND_KEPT),
    ("any", "<RequireAny>\nRequire ip 127.0.0.1\nRequire all denied\n</RequireAny>", MAPPED_AND_KEPT),
    ("all", "<RequireAny>\nRequire all granted\n</RequireAny>", QUICK),
    ("if", "Require all granted\n<If \"%{REMOTE_ADDR} != '127.0.0.1'\">\nRequire all denied\n</If>", MAPPED_AND_KEPT),
    ("old", "Order allow,deny\nAllow from all", MAPPED_AND_KEPT),
    ("htaccess", "AllowOverride AuthConfig", MAPPED_AND_KEPT),
    ("typed", "AuthType Basic\nAuthName x\nRequire all granted", MAPPED_AND_KEPT),
    ("header", "Header set X-Place here", MAPPED_AND_KEPT),
    ("filter", "SetOutputFilter SUBSTITUTE\nSubstitute s/run/RUN/", MAPPED_AND_KEPT),
    ("off", "pLuaQuick Off", MAPPED_AND_KEPT),
    ("options", "Options Indexes FollowSymLinks\nDirectoryIndex page.plua\npLuaQuick On", QUICK),
];

/// All places as one site.
fn places(also: &str) -> Setup {
    let lines: String = PLACES
        .iter()
        .map(|(name, lines, _)| format!("<Directory \"${{DOCROOT}}/{name}\">\n{lines}\n</Directory>\n"))
        .collect();
    let mut setup = setup(&format!("{lines}{also}"));
    for module in ["authn_core", "authz_host", "authz_user", "access_compat", "substitute"] {
        setup = setup.module(module);
    }
    PLACES.iter().fold(setup, |setup, (name, _, _)| setup.file(&format!("{name}/page.plua"), PAGE.1))
}

#[test]
fn a_page_is_sent_at_once_only_where_everybody_gets_it_and_nothing_else_holds() {
    places("").run(|server| {
        for (name, _, expected) in PLACES {
            expect(server, &format!("/{name}/page.plua"), &[], expected);
        }
        let header = server.get("/header/page.plua");
        assert_eq!(header.header("X-Place"), Some("here"));
        assert!(server.get("/filter/page.plua").text().starts_with("RUN "));
        // A .htaccess that comes later holds at once.
        server.put("htaccess/.htaccess", "Require all denied\n");
        assert_eq!(server.get("/htaccess/page.plua").status, 403);
        server.expect("AH01630: client denied by server configuration");
    });
}

#[test]
fn a_list_of_what_a_htaccess_may_say_is_as_good_as_a_htaccess() {
    // httpd does not tell where it looks for one because of a list.
    places("<Directory \"${DOCROOT}/off\">\nAllowOverrideList Require\n</Directory>").run(|server| {
        expect(server, "/open/page.plua", &[], MAPPED_AND_KEPT);
    });
}

#[test]
fn a_way_to_let_requests_in_that_is_not_known_lets_none_be_answered_before_it_is_asked() {
    places("<AuthzProviderAlias ip here 127.0.0.1>\n</AuthzProviderAlias>").run(|server| {
        expect(server, "/open/page.plua", &[], MAPPED_AND_KEPT);
    });
}

#[test]
fn a_page_that_is_closed_by_a_restart_is_closed_to_those_it_was_kept_for() {
    for (mpm, processes, threads) in [(Mpm::Event, 2, 5), (Mpm::Prefork, 4, 1)] {
        let lines = |rule: &str| format!("<Location /page.plua>\n{rule}\n</Location>\n");
        let with = |server: &mut Server, rule: &str| {
            let usual = "<FilesMatch \"\\.plua$\">\nSetHandler plua\n</FilesMatch>";
            server.httpd().configure(&format!("{usual}\n{STORES}{MAPPED}{}", lines(rule))).unwrap();
            server.httpd().graceful().unwrap();
        };
        let setup = setup(&lines("Require all granted")).module("authz_host").mpm(mpm);
        setup.children(processes, threads).run(|server| {
            expect(server, "/page.plua", &[], QUICK);
            with(server, "Require ip 10.0.0.1");
            for _ in 0..6 {
                assert_eq!(server.get("/page.plua").status, 403);
            }
            server.expect("AH01630: client denied by server configuration");
            with(server, "Require all granted");
            // It is there still, and looked at once before it is sent at once again.
            assert_eq!(runs(server), "1");
            expect(server, "/page.plua", &[], QUICK);
            assert_eq!(runs(server), "1");
            // A thread that still has a connection may find that the child's listener is gone.
            server.tolerate("apr_pollset_add failure");
            server.httpd().restart().unwrap();
            expect(server, "/page.plua", &[], QUICK);
            assert_eq!(runs(server), "1");
        });
    }
}

#[test]
fn what_comes_with_a_users_name_is_kept_only_where_the_page_says_so_and_for_those_who_are_let_in() {
    let place = |name: &str, rule: &str| {
        format!(
            "<Location /{name}>\nAuthType Basic\nAuthName x\nAuthBasicProvider file\nAuthUserFile ${{DOCROOT}}/users\n\
             {rule}\n</Location>\n"
        )
    };
    let lines = place("closed", "Require valid-user");
    // "u" and "w", with the password "p".
    let digest = Command::new("openssl").args(["passwd", "-apr1", "p"]).output().unwrap().stdout;
    let digest = String::from_utf8(digest).unwrap();
    let users = format!("u:{0}\nw:{0}\n", digest.trim());
    let mut setup = setup(&lines).pages(&[("users", &users), ("closed/page.plua", PAGE.1)]);
    for module in ["authn_core", "authn_file", "auth_basic", "authz_user"] {
        setup = setup.module(module);
    }
    setup.run(|server| {
        let [u, w] = ["dTpw", "dzpw"].map(|word| format!("Basic {word}"));
        let (u, w) = ([("Authorization", &*u)], [("Authorization", &*w)]);
        expect(server, "/closed/page.plua", &u, NOT_KEPT);
        expect(server, "/closed/page.plua?users=1", &u, MAPPED_AND_KEPT);
        assert_eq!(
            ask(server, "/closed/page.plua?users=1", &w).text(),
            ask(server, "/closed/page.plua?users=1", &u).text()
        );
        let none = server.get("/closed/page.plua?users=1");
        assert!(none.status == 401 && !none.text().contains("run"), "{none:?}");
        let wrong = ask(server, "/closed/page.plua?users=1", &[("Authorization", "Basic dTpx")]);
        assert_eq!(wrong.status, 401);
        server.expect("AH01617: user u: authentication failure");
        // In an open place a name is the page's to look at.
        expect(server, "/page.plua?open=1", &[], QUICK);
        let kept = server.get("/page.plua?open=1").text();
        assert_ne!(ask(server, "/page.plua?open=1", &u).text(), kept);
        assert_eq!(server.get("/page.plua?open=1").text(), kept);
        expect(server, "/page.plua?users=1", &u, MAPPED_AND_KEPT);
    });
}

fn host(name: &str, lines: &str) -> String {
    virtual_host("PORT", name, &format!("ServerAlias *.{name}\n{lines}"))
}

#[test]
fn no_host_gets_what_was_made_for_another_name() {
    let page = ("host.plua", "<? plua.cachePage(100) ?><?= getEnv().Host, ' ', getEnv().ServerName ?>");
    let lines = host("one.test", "") + &host("two.test", "") + &host("own.test", "pLuaShared cache 1M");
    setup(&lines).pages(&[page]).run(|server| {
        for _ in 0..2 {
            for name in ["one.test", "two.test", "own.test", "a.one.test", "b.one.test", "one.test:80", "evil"] {
                let server_name = ["one.test", "two.test", "own.test"]
                    .into_iter()
                    .find(|known| name.trim_end_matches(":80").ends_with(known));
                let expected = format!("{name} {}", server_name.unwrap_or("one.test"));
                assert_eq!(server.get_from(name, "/host.plua").text(), expected);
            }
        }
        assert_eq!(server.get_from("ONE.test", "/host.plua").text(), "one.test one.test");
        // A whole address in the request line names the host another time.
        let sent = |host: &str| {
            let request =
                format!("GET http://two.test/host.plua HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            String::from_utf8(server.raw(request.as_bytes())).unwrap()
        };
        assert!(sent("evil.two.test").ends_with("two.test"), "{}", sent("evil.two.test"));
        assert_eq!(server.get_from("two.test", "/host.plua").text(), "two.test two.test");
    });
}

#[test]
fn sites_have_their_own_which_are_sent_when_their_root_is_known() {
    let lines = "VirtualDocumentRoot ${DOCROOT}/%0\nUseCanonicalName Off";
    let mut setup = setup(lines).module("vhost_alias");
    for name in ["a.test", "b.test"] {
        setup = setup.file(
            &format!("{name}/page.plua"),
            format!("<? plua.cachePage(100) ?>{name} <?= randomBytes(9):gsub('.', string.byte) ?>"),
        );
    }
    setup.run(|server| {
        let get = |name: &str| server.get_from(name, "/page.plua");
        let first = ["a.test", "b.test"].map(|name| get(name).text());
        assert!(first[0].starts_with("a.test ") && first[1].starts_with("b.test "), "{first:?}");
        for (number, name) in ["a.test", "b.test"].iter().enumerate() {
            let again = get(name);
            assert_eq!((again.text(), is_quick(&again)), (first[number].clone(), false));
        }
    });
}

#[test]
fn an_index_is_kept_under_its_folder_and_other_ways_to_a_page_under_what_was_asked() {
    let lines = "FallbackResource /page.plua\nErrorDocument 404 /page.plua?y=1\n\
        <Location /none>\nFallbackResource disabled\n</Location>\n\
        <Files *.shtml>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Files>";
    let pages = [("index.plua", PAGE.1), ("part.shtml", "[<!--#include virtual=\"/page.plua?part=1\" -->]")];
    setup(lines).module("include").pages(&pages).run(|server| {
        expect(server, "/", &[], QUICK);
        expect(server, "/?a=1", &[], QUICK);
        expect(server, "/index.plua", &[], QUICK);
        let (text, _) = second(server, "/pretty/address", &[]);
        assert_eq!(text, "kept");
        let missing = || server.get("/none/at/all").text();
        assert_ne!(missing(), missing());
        let part = || server.get("/part.shtml").text();
        assert_ne!(part(), part());
    });
}

/// Modules and lines of theirs that refuse a robot before a page runs, whatever page it asks for.
const GUARDS: [(&[&str], &str); 5] = [
    (&["rewrite"], "RewriteEngine On\nRewriteCond %{HTTP_USER_AGENT} robot\nRewriteRule ^ - [F]"),
    (&["lua"], "LuaHookAccessChecker ${DOCROOT}/guard.lua guard"),
    (&["lua"], "LuaHookFixups ${DOCROOT}/guard.lua guard"),
    (&["lua"], "LuaHookTranslateName ${DOCROOT}/guard.lua guard"),
    (
        &["unique_id", "security2"],
        "SecRuleEngine On\nSecRule REQUEST_HEADERS:User-Agent robot \"id:1,phase:2,deny,nolog,status:403\"",
    ),
];

#[test]
fn who_is_refused_by_another_module_gets_no_kept_page() {
    let guard = "require 'apache2' function guard(r) \
        if (r.headers_in['User-Agent'] or ''):find('robot') then return 403 end return apache2.DECLINED end";
    for (modules, lines) in GUARDS {
        let setup = modules.iter().fold(setup(lines), |setup, module| setup.module(module));
        setup.file("guard.lua", guard).run(|server| {
            expect(server, "/page.plua", &[], MAPPED_AND_KEPT);
            assert_eq!(ask(server, "/page.plua", &[("User-Agent", "robot")]).status, 403, "{lines}");
            assert_eq!(server.get("/page.plua").text(), "run 1", "{lines}");
            let log = server.httpd().output();
            assert!(log.contains("may have a say"), "{lines}: {log}");
        });
    }
}

#[test]
fn lines_for_a_place_hold_there_alone() {
    let guarded = "RewriteEngine On\nRewriteCond %{HTTP_USER_AGENT} robot\nRewriteRule ^ - [F]";
    let lines = format!(
        "<Directory \"${{DOCROOT}}/guarded\">\n{guarded}\n</Directory>\n\
         <Location /named>\nRequestHeader set X-User nobody\n</Location>\nRequestHeader unset Proxy early"
    );
    let pages = [("guarded/page.plua", PAGE.1), ("named/page.plua", PAGE.1)];
    setup(&lines).module("rewrite").pages(&pages).run(|server| {
        expect(server, "/page.plua", &[], QUICK);
        expect(server, "/guarded/page.plua", &[], MAPPED_AND_KEPT);
        assert_eq!(ask(server, "/guarded/page.plua", &[("User-Agent", "robot")]).status, 403);
        expect(server, "/named/page.plua?vary=X-User", &[("X-User", "root")], MAPPED_AND_KEPT);
    });
}

#[test]
fn nobody_gets_by_a_header_what_the_server_puts_there_for_another() {
    let named = "RequestHeader set X-User admin \"expr=%{QUERY_STRING} =~ /admin/\"\n\
        RequestHeader set X-User nobody \"expr=! %{QUERY_STRING} =~ /admin/\"";
    let page = (
        "user.plua",
        "<? plua.cachePage(100, { vary = { 'X-User' }, key = 'all' }) ?><?= plua.requestHeaders()['x-user'] or '' ?>",
    );
    setup(named).pages(&[page]).run(|server| {
        assert_eq!(server.get("/user.plua?admin").text(), "admin");
        for _ in 0..2 {
            assert_eq!(ask(server, "/user.plua", &[("X-User", "admin")]).text(), "nobody");
        }
    });
}

#[test]
fn what_is_chosen_among_several_files_is_chosen_for_each_visitor() {
    let lines = "<Directory \"${DOCROOT}\">\nOptions +MultiViews\n</Directory>\n\
        AddType text/html .plua\nAddLanguage de .de\nAddLanguage en .en";
    let text = |text: &str| format!("<? plua.cachePage(100) ?>{text}");
    let pages = [
        ("page.de.plua", &*text("Seite")),
        ("page.en.plua", &*text("page")),
        ("index.de.plua", &*text("Anfang")),
        ("index.en.plua", &*text("start")),
    ];
    // One of the usual ones would be there under the very name.
    let setup = setup(&format!("{lines}\nDirectoryIndex index")).module("negotiation");
    setup.pages(&pages).run(|server| {
        let get = |path: &str, language: &str| ask(server, path, &[("Accept-Language", language)]).text();
        for _ in 0..3 {
            assert_eq!((get("/page", "de"), get("/page", "en")), ("Seite".into(), "page".into()));
            assert_eq!((get("/", "de"), get("/", "en")), ("Anfang".into(), "start".into()));
        }
    });
}
