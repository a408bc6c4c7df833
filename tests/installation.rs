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

const COMMAND: &str = "#!/bin/sh\necho stands in for plua\n";

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
        fs::write(release.join("plua"), COMMAND).unwrap();
    }

    fn make_install(&self) -> Output {
        Command::new("make")
            .args(["-C", env!("CARGO_MANIFEST_DIR"), "install", "PREFIX=/opt/plua"])
            .arg(format!("TARGET={}", self.folder.path().join("target").display()))
            .arg(format!("DESTDIR={}", self.root().display()))
            .output()
            .unwrap()
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
            () if Path::new(&self.configuration).join("mods-available").is_dir() => {
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
        let module = format!("{}/mod_plua.so", self.modules);
        let mut lines = String::new();
        for file in self.files() {
            let text = fs::read_to_string(&file).unwrap();
            if text.contains("LoadModule") {
                assert_eq!(text, format!("LoadModule plua_module {module}\n"));
                fs::write(&file, text.replace(&module, self.installed(&module).to_str().unwrap())).unwrap();
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
fn make_install_puts_files_where_apxs_says_and_httpd_serves_pages_with_them() {
    let Some(place) = Place::new() else {
        return;
    };
    place.build();
    let answer = place.make_install();
    let said = String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success() && said.contains("installed; now"), "{said}");

    let module = place.installed(&place.modules).join("mod_plua.so");
    assert_eq!(fs::metadata(module).unwrap().permissions().mode() & 0o777, 0o644);
    let command = place.installed("/opt/plua/bin/plua");
    assert_eq!(fs::read_to_string(&command).unwrap(), COMMAND);
    assert_eq!(fs::metadata(&command).unwrap().permissions().mode() & 0o777, 0o755);

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
