//! What `make install` puts where, and that httpd serves pages with the files as they are shipped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod common;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Setup, httpd};
use tempfile::TempDir;

/// Stands in for the command, built with this Lua: it has two manual pages, and completes its name.
fn command(lua: &str) -> String {
    format!(
        "#!/bin/sh\n# mod_plua is built with {lua}.\ncase $1 in\nmanual-pages) mkdir \"$2\" && touch \"$2/plua.1\" \
         \"$2/plua-serve.1\" ;;\ncompletions) echo \"plua in $2\" ;;\nesac\n"
    )
}

/// Where installation puts what belongs to the command.
const OF_THE_COMMAND: [(&str, &str); 5] = [
    ("/opt/plua/share/man/man1/plua.1", ""),
    ("/opt/plua/share/man/man1/plua-serve.1", ""),
    ("/opt/plua/share/bash-completion/completions/plua", "plua in bash\n"),
    ("/opt/plua/share/zsh/site-functions/_plua", "plua in zsh\n"),
    ("/opt/plua/share/fish/vendor_completions.d/plua.fish", "plua in fish\n"),
];

/// A build's folder, and the root of the system that is installed to.
struct Place {
    folder: TempDir,
    modules: String,
    configuration: String,
}

impl Place {
    /// None where the machine has no apxs or no make.
    fn new() -> Option<Self> {
        let ask = |name: &str| {
            let answer = Command::new(env::var_os("APXS").unwrap_or("apxs".into())).args(["-q", name]).output().ok()?;
            Some(String::from_utf8(answer.stdout).unwrap().trim().to_owned())
        };
        let found =
            ask("LIBEXECDIR").zip(ask("SYSCONFDIR")).filter(|_| Command::new("make").arg("-v").output().is_ok());
        assert!(found.is_some() || env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "no apxs or no make");
        let (modules, configuration) = found?;
        Some(Self { folder: tempfile::tempdir().unwrap(), modules, configuration })
    }

    fn build(&self) {
        let release = self.folder.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        fs::copy(env::current_exe().unwrap().with_file_name("libmod_plua.so"), release.join("libmod_plua.so")).unwrap();
        self.build_command(plua::LUA);
    }

    fn build_command(&self, lua: &str) {
        let file = self.folder.path().join("target/release/plua");
        fs::write(&file, command(lua)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn make_install(&self) -> Output {
        self.make("install", &[format!("DESTDIR={}", self.root().display())])
    }

    fn make(&self, word: &str, further: &[String]) -> Output {
        Command::new("make")
            .args(["-C", env!("CARGO_MANIFEST_DIR"), word, "PREFIX=/opt/plua"])
            .arg(format!("TARGET={}", self.folder.path().join("target").display()))
            .args(further)
            .output()
            .unwrap()
    }

    /// Whether the machine is a Debian, by the folder that its apxs names.
    fn is_debian(&self) -> bool {
        Path::new(&self.configuration).join("mods-available").is_dir()
            || self.configuration == "/etc/apache2" && Path::new("/etc/debian_version").exists()
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Where an absolute path came to lie.
    fn installed(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// The installed configuration, in the order httpd is to read it.
    fn files(&self) -> Vec<PathBuf> {
        let server = self.configuration.trim_end_matches("/conf");
        let files = match () {
            () if self.is_debian() => {
                vec![
                    format!("{}/mods-available/plua.load", self.configuration),
                    format!("{}/mods-available/plua.conf", self.configuration),
                ]
            }
            () if Path::new(server).join("conf.modules.d").is_dir() => {
                vec![format!("{server}/conf.modules.d/10-plua.conf"), format!("{server}/conf.d/plua.conf")]
            }
            () => vec![format!("{}/plua.conf", self.configuration)],
        };
        files.iter().map(|file| self.installed(file)).collect()
    }

    /// An httpd whose configuration includes what was installed; only the root of the system is another.
    fn httpd(&self) -> Setup {
        self.httpd_of("", &self.files(), "", &[])
    }

    /// The same with lines before, the files that are read first, lines between, and the files that are read last.
    fn httpd_of(&self, before: &str, first: &[PathBuf], between: &str, last: &[PathBuf]) -> Setup {
        let module = format!("{}/mod_plua.so", self.modules);
        let mut lines = before.to_owned();
        for (number, file) in first.iter().chain(last).enumerate() {
            if number == first.len() {
                lines += between;
            }
            let text = fs::read_to_string(file).unwrap();
            if text.contains("LoadModule") {
                assert!(text.starts_with(&format!("LoadModule plua_module {module}\n")), "{text}");
                fs::write(file, text.replace(&module, self.installed(&module).to_str().unwrap())).unwrap();
            }
            lines += &format!("Include \"{}\"\n", file.display());
        }
        if !lines.contains(".load") && !lines.contains("10-plua") {
            lines = format!("LoadModule plua_module \"{}\"\n{lines}", self.installed(&module).display());
        }
        httpd().without_plua().lines(&lines)
    }
}

#[test]
fn make_install_without_a_build_says_what_to_do() {
    let Some(place) = Place::new() else {
        return;
    };
    let answer = place.make_install();
    assert!(!answer.status.success());
    let said = String::from_utf8(answer.stderr).unwrap();
    assert!(said.starts_with("nothing is built yet: run make build first\n"), "{said}");
    assert!(!place.root().exists());
}

#[test]
fn who_makes_packages_gets_programs_with_their_lines_and_names() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    let answer = place.make("install", &[format!("DESTDIR={}", place.root().display()), "STRIP=no".into()]);
    assert!(answer.status.success(), "{answer:?}");
    let built = fs::read(place.folder.path().join("target/release/libmod_plua.so")).unwrap();
    assert!(fs::read(place.installed(&format!("{}/mod_plua.so", place.modules))).unwrap() == built);
    assert!(!place.installed("/usr/lib/debug").exists());
}

#[test]
fn the_rpm_packages_have_the_version_of_their_source_and_ask_for_the_rust_that_it_needs() {
    let spec = include_str!("../packaging/rpm/mod_plua.spec");
    for (tag, value) in [("Version", env!("CARGO_PKG_VERSION")), ("BuildRequires", env!("CARGO_PKG_RUST_VERSION"))] {
        let values = spec.lines().filter_map(|line| line.strip_prefix(tag)?.strip_prefix(':'));
        assert!(values.map(str::trim).any(|found| found.trim_start_matches("cargo >= ") == value), "{tag}: {value}");
    }
}

#[test]
fn make_install_puts_files_where_apxs_says_and_httpd_serves_pages_with_them() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    let answer = place.make_install();
    let said = String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success() && said.contains("installed; now"), "{said}");

    let module = fs::metadata(place.installed(&place.modules).join("mod_plua.so")).unwrap();
    assert_eq!(module.permissions().mode() & 0o777, 0o644);
    let lines = place.installed(&format!("/usr/lib/debug/{}/mod_plua.so.debug", place.modules));
    assert!(fs::metadata(lines).unwrap().len() > 1_000);
    // The names of sections are in the file as they are. A build of tests may have neither lines nor names to leave out.
    let sections = fs::read(place.installed(&place.modules).join("mod_plua.so")).unwrap();
    let has = |name: &[u8]| sections.windows(name.len()).any(|bytes| bytes == name);
    assert!(has(b"\0.gnu_debuglink\0") && !has(b"\0.debug_info\0"), "{} bytes are installed", module.len());
    let program = place.installed("/opt/plua/bin/plua");
    assert_eq!(fs::read_to_string(&program).unwrap(), command(plua::LUA));
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    for (path, text) in OF_THE_COMMAND {
        assert_eq!(fs::read_to_string(place.installed(path)).unwrap(), text, "{path}");
        assert_eq!(fs::metadata(place.installed(path)).unwrap().permissions().mode() & 0o777, 0o644, "{path}");
    }

    let pages = [
        ("index.plua", "<?= 'start' ?>"),
        ("folder/index.plua", "<?= 'below' ?>"),
        ("fault.plua", "half <? error('secret') ?>"),
        ("still.html", "<? still ?>"),
    ];
    place.httpd().pages(&pages).run(|server| {
        assert_eq!(server.get("/").text(), "start");
        assert_eq!(server.get("/folder/").text(), "below");
        assert_eq!(server.get("/still.html").text(), "<? still ?>");
        // The visitor gets httpd's own page, the log the report.
        server.expect("secret at ");
        let answer = server.get("/fault.plua");
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("<h1>Internal Server Error</h1>"), "{}", answer.text());
        assert!(!answer.text().contains("secret") && !answer.text().contains("half"), "{}", answer.text());
        // A second installation, over the first one, under a running server.
        assert!(place.make_install().status.success());
        assert_eq!(server.get("/").text(), "start");
    });
}

/// Every file below a folder, by its path from there.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let entries: Vec<PathBuf> = entries.unwrap_or_default();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn make_uninstall_takes_away_what_make_install_put_and_leaves_what_was_changed() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    let destination = [format!("DESTDIR={}", place.root().display())];
    assert!(place.make_install().status.success());
    assert!(files_below(&place.root()).len() >= 3 + OF_THE_COMMAND.len());
    let answer = place.make("uninstall", &destination);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    assert_eq!(files_below(&place.root()), Vec::<PathBuf>::new());

    assert!(place.make_install().status.success());
    let conf = place.files().pop().unwrap();
    let own = fs::read_to_string(&conf).unwrap().replace("pLuaTimeout 30", "pLuaTimeout 60");
    fs::write(&conf, &own).unwrap();
    let answer = place.make_install();
    assert!(answer.status.success());
    let said = String::from_utf8(answer.stdout).unwrap();
    assert!(said.contains("/plua.conf was changed and is left"), "{said}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), own);
    assert!(fs::read_to_string(conf.with_extension("conf.new")).unwrap().contains("pLuaTimeout 30"));
    assert!(place.make("uninstall", &destination).status.success());
    assert_eq!(files_below(&place.root()), [conf]);
}

#[test]
fn a_module_and_a_command_of_different_luas_are_not_installed() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    let other = if plua::LUA == "lua54" { "luajit" } else { "lua54" };
    place.build_command(other);
    let answer = place.make_install();
    let said = String::from_utf8(answer.stderr).unwrap();
    let expected = format!("the module has {}, the plua command {other}: ", plua::LUA);
    assert!(!answer.status.success() && said.starts_with(&expected), "{said}");
    assert!(!place.root().exists());
}

#[test]
fn a_debian_without_the_apache2_package_is_told_so_before_anything_is_written() {
    let Some(place) = Place::new().filter(Place::is_debian) else {
        return;
    };
    place.build();
    // An apxs that names folders in which nothing is.
    let (root, apxs) = (place.root(), place.folder.path().join("apxs"));
    fs::create_dir_all(root.join("modules")).unwrap();
    let answers = "#!/bin/sh\ncase $2 in LIBEXECDIR) echo MODULES ;; *) echo /etc/apache2 ;; esac\n";
    fs::write(&apxs, answers.replace("MODULES", root.join("modules").to_str().unwrap())).unwrap();
    fs::set_permissions(&apxs, fs::Permissions::from_mode(0o755)).unwrap();
    if Path::new("/etc/apache2/mods-available").exists() {
        // Here it would install.
        return;
    }
    let answer = place.make("install", &[format!("APXS={}", apxs.display())]);
    let said = String::from_utf8(answer.stderr).unwrap();
    assert!(!answer.status.success() && said.contains("apt-get install apache2"), "{said}");
    assert_eq!(files_below(&root), Vec::<PathBuf>::new());
}

#[test]
fn index_plua_comes_before_the_index_html_that_debian_names() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    assert!(place.make_install().status.success());
    let files = place.files();
    // As Debian includes them: what ends in .load, then its own dir.conf, then plua.conf.
    let (load, conf) = files.split_at(files.len() - 1);
    if load.is_empty() {
        return;
    }
    let names = "DirectoryIndex index.html index.cgi index.php\n";
    let setup = place.httpd_of("DirectoryIndex disabled\n", load, names, conf);
    let pages = [
        ("index.plua", "<?= 'page' ?>"),
        ("index.html", "still"),
        ("html/index.html", "html"),
        ("php/index.php", "php"),
    ];
    setup.pages(&pages).run(|server| {
        assert_eq!(server.get("/").text(), "page");
        assert_eq!(server.get("/html/").text(), "html");
        assert_eq!(server.get("/php/").text(), "php");
    });
}

#[test]
fn the_example_of_a_virtual_host_serves_a_site_within_its_limits() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    assert!(place.make_install().status.success());
    let example =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("apache-conf/vhost.example.conf")).unwrap();
    // A test may neither have port 80 nor write to /var/www.
    let host = example.replace("*:80>", "*:${PORT}>").replace("/var/www/example", "${DOCROOT}/example");
    assert!(host.contains("<VirtualHost *:${PORT}>") && host.contains("DocumentRoot ${DOCROOT}/example\n"), "{host}");
    let pages = [
        ("example/index.plua", "<?= getEnv().ServerName ?>"),
        ("example/greedy.plua", "<? local t = {} for i = 1, 200 do t[i] = ('x'):rep(1e6) .. i end ?>"),
        ("index.plua", "of no host"),
    ];
    let other = "<VirtualHost *:${PORT}>\nServerName other.example.org\n</VirtualHost>\n";
    place.httpd().lines(&(other.to_owned() + &host)).pages(&pages).run(|server| {
        // The harness writes pages when httpd runs.
        server.expect("AH00112: Warning: DocumentRoot");
        assert_eq!(server.get_from("www.example.org", "/").text(), "www.example.org");
        assert_eq!(server.get_from("other.example.org", "/").text(), "of no host");
        server.expect("Memory limit reached!");
        assert_eq!(server.get_from("www.example.org", "/greedy.plua").status, 500);
        assert_eq!(server.get_from("www.example.org", "/").text(), "www.example.org");
    });
}
