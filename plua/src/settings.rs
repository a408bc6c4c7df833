//! Settings: the one table of directives, their values, and how an inner place overrides an outer one.

use std::env;
use std::ffi::CStr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Main server only: it holds for the whole process.
    Process,
    /// Main server and `<VirtualHost>`: it costs memory or guards a limit.
    Host,
    /// Everywhere, `<Directory>`, `<Location>` and `.htaccess` too.
    Directory,
}

/// One row of the table of directives.
pub struct Directive {
    /// As documented; httpd compares names without case.
    pub name: &'static CStr,
    /// Where it may stand.
    pub scope: Scope,
    /// Whether one line may carry several values.
    pub list: bool,
    /// The value that holds when it is not given, as one would write it.
    pub default: &'static str,
    /// One line for httpd's `-L` listing and for the manual.
    pub help: &'static CStr,
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Directive {
    /// Takes the values of one line of configuration.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the value and what is right; httpd puts name, file and line before it.
    pub fn set(&self, settings: &mut Settings, values: &[&str]) -> Result<(), String> {
        match values {
            [] => Err("takes a value".into()),
            [_, _, ..] if !self.list => Err("takes one value".into()),
            _ => values.iter().try_for_each(|value| (self.set)(settings, value)),
        }
    }
}

/// Every directive, in the order of the manual.
pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"pLuaStates",
        scope: Scope::Host,
        list: false,
        default: "50",
        help: c"Lua states of a host at most, 0 to 10000; 0 gives each thread its own",
        set: |settings, value| put(&mut settings.states, whole(value, 0, 10_000)),
    },
    Directive {
        name: c"pLuaRuns",
        scope: Scope::Host,
        list: false,
        default: "1000",
        help: c"Requests a state serves before it is made anew, 0 to 1000000000; 0 is for ever",
        set: |settings, value| put(&mut settings.runs, whole(value, 0, 1_000_000_000)),
    },
    Directive {
        name: c"pLuaFiles",
        scope: Scope::Host,
        list: false,
        default: "50",
        help: c"Compiled files kept for a host, 1 to 1000000",
        set: |settings, value| put(&mut settings.files, whole(value, 1, 1_000_000)),
    },
    Directive {
        name: c"pLuaRaw",
        scope: Scope::Directory,
        list: true,
        default: "none",
        help: c"Extensions, each with its dot, of files that are plain Lua without tags",
        set: add_raw,
    },
    Directive {
        name: c"pLuaMemoryLimit",
        scope: Scope::Host,
        list: false,
        default: "0",
        help: c"Kilobytes a state's Lua may use beyond what a fresh state holds, 0 to 1073741824; 0 is no limit",
        set: |settings, value| put(&mut settings.memory_limit, whole(value, 0, 1 << 30)),
    },
    Directive {
        name: c"pLuaIgnoreLibrary",
        scope: Scope::Host,
        list: true,
        default: "none",
        help: c"Lua libraries that pages do not get, separated by spaces or commas",
        set: add_ignored,
    },
    Directive {
        name: c"pLuaShortHand",
        scope: Scope::Directory,
        list: false,
        default: "1",
        help: c"Whether <? opens a tag as <?lua does",
        set: |settings, value| put(&mut settings.short_hand, switch(value)),
    },
    Directive {
        name: c"pLuaTimeout",
        scope: Scope::Host,
        list: false,
        default: "0",
        help: c"Seconds a page may run, fractions allowed, 0 to 1000000; 0 is no limit",
        set: |settings, value| put(&mut settings.timeout, seconds(value)),
    },
    Directive {
        name: c"pLuaError",
        scope: Scope::Directory,
        list: false,
        default: "1",
        help: c"Whether visitors see the report of a failed page",
        set: |settings, value| put(&mut settings.show_errors, switch(value)),
    },
    Directive {
        name: c"pLuaMultiDomain",
        scope: Scope::Process,
        list: false,
        default: "1",
        help: c"Whether each host has its own pool of states; Off shares one among all hosts",
        set: |settings, value| put(&mut settings.multi_domain, switch(value)),
    },
    Directive {
        name: c"pLuaLogLevel",
        scope: Scope::Host,
        list: false,
        default: "1",
        help: c"0 or 1 logs failed pages, 2 also the making of pools, 3 also that of states",
        set: |settings, value| put(&mut settings.log_level, whole(value, 0, 3)),
    },
    Directive {
        name: c"pLuaAutoEscape",
        scope: Scope::Directory,
        list: false,
        default: "0",
        help: c"Whether <?= escapes HTML as <?& does",
        set: |settings, value| put(&mut settings.auto_escape, switch(value)),
    },
    Directive {
        name: c"pLuaStateWait",
        scope: Scope::Host,
        list: false,
        default: "10",
        help: c"Seconds a request waits for a free state before it is answered 503, fractions allowed",
        set: |settings, value| put(&mut settings.state_wait, seconds(value)),
    },
    Directive {
        name: c"pLuaFields",
        scope: Scope::Host,
        list: false,
        default: "10000",
        help: c"Fields of a query or form at most, files included, 1 to 10000000; more are answered 413",
        set: |settings, value| put(&mut settings.fields, whole(value, 1, 10_000_000)),
    },
    Directive {
        name: c"pLuaUploads",
        scope: Scope::Host,
        list: false,
        default: "20",
        help: c"Files of a form at most, 0 to 10000; more are answered 413",
        set: |settings, value| put(&mut settings.uploads, whole(value, 0, 10_000)),
    },
    Directive {
        name: c"pLuaUploadSize",
        scope: Scope::Host,
        list: false,
        default: "65536",
        help:
            c"Kilobytes of one uploaded file, and of all a form's other fields, 0 to 1073741824; 0 is no limit of ours",
        set: |settings, value| put(&mut settings.upload_size, whole(value, 0, 1 << 30)),
    },
    Directive {
        name: c"pLuaUploadFolder",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Absolute path of the folder for uploaded files and large bodies; otherwise the system's temporary one",
        set: |settings, value| put(&mut settings.upload_folder, absolute(value).map(PathBuf::from)),
    },
    Directive {
        name: c"pLuaPackagePath",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Templates put before package.path, separated by semicolons; relative ones start at the page's folder",
        set: |settings, value| put(&mut settings.package_path, templates(value)),
    },
    Directive {
        name: c"pLuaPackageCPath",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Templates put before package.cpath, in the same way",
        set: |settings, value| put(&mut settings.package_cpath, templates(value)),
    },
    Directive {
        name: c"pLuaInit",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Absolute path of a Lua file that each new state runs before its first page",
        set: |settings, value| put(&mut settings.init, absolute(value)),
    },
    Directive {
        name: c"pLuaPrepend",
        scope: Scope::Directory,
        list: false,
        default: "none",
        help: c"File that runs before each page; none for no file",
        set: |settings, value| put(&mut settings.prepend, file(value)),
    },
    Directive {
        name: c"pLuaAppend",
        scope: Scope::Directory,
        list: false,
        default: "none",
        help: c"File that runs after each page that has not called exit(); none for no file",
        set: |settings, value| put(&mut settings.append, file(value)),
    },
];

/// Libraries that `pLuaIgnoreLibrary` knows.
pub const LIBRARIES: &[&str] = &["bit", "debug", "ffi", "io", "jit", "math", "os", "package", "string", "table"];

/// The directives of one place; what is not given there is unset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    states: Option<u32>,
    runs: Option<u32>,
    files: Option<u32>,
    raw: Vec<String>,
    memory_limit: Option<u32>,
    ignored_libraries: Vec<&'static str>,
    short_hand: Option<bool>,
    timeout: Option<Duration>,
    show_errors: Option<bool>,
    multi_domain: Option<bool>,
    log_level: Option<u32>,
    auto_escape: Option<bool>,
    state_wait: Option<Duration>,
    fields: Option<u32>,
    uploads: Option<u32>,
    upload_size: Option<u32>,
    upload_folder: Option<PathBuf>,
    package_path: Option<String>,
    package_cpath: Option<String>,
    init: Option<String>,
    prepend: Option<String>,
    append: Option<String>,
}

impl Settings {
    /// The settings of a place inside `self`, where `inner` is given.
    #[must_use]
    pub fn merged(&self, inner: &Settings) -> Settings {
        Settings {
            states: inner.states.or(self.states),
            runs: inner.runs.or(self.runs),
            files: inner.files.or(self.files),
            raw: union(&self.raw, &inner.raw),
            memory_limit: inner.memory_limit.or(self.memory_limit),
            ignored_libraries: union(&self.ignored_libraries, &inner.ignored_libraries),
            short_hand: inner.short_hand.or(self.short_hand),
            timeout: inner.timeout.or(self.timeout),
            show_errors: inner.show_errors.or(self.show_errors),
            multi_domain: inner.multi_domain.or(self.multi_domain),
            log_level: inner.log_level.or(self.log_level),
            auto_escape: inner.auto_escape.or(self.auto_escape),
            state_wait: inner.state_wait.or(self.state_wait),
            fields: inner.fields.or(self.fields),
            uploads: inner.uploads.or(self.uploads),
            upload_size: inner.upload_size.or(self.upload_size),
            upload_folder: inner.upload_folder.clone().or_else(|| self.upload_folder.clone()),
            package_path: inner.package_path.as_ref().or(self.package_path.as_ref()).cloned(),
            package_cpath: inner.package_cpath.as_ref().or(self.package_cpath.as_ref()).cloned(),
            init: inner.init.as_ref().or(self.init.as_ref()).cloned(),
            prepend: inner.prepend.as_ref().or(self.prepend.as_ref()).cloned(),
            append: inner.append.as_ref().or(self.append.as_ref()).cloned(),
        }
    }

    /// States of a host at most; 0 gives each thread its own.
    #[must_use]
    pub fn states(&self) -> u32 {
        self.states.unwrap_or(50)
    }

    /// Requests a state serves before it is made anew; 0 is for ever.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs.unwrap_or(1000)
    }

    /// Compiled files kept for a host.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.unwrap_or(50) as usize
    }

    /// Whether a file of this name is plain Lua: its last extension, compared exactly, was given to `pLuaRaw`.
    #[must_use]
    pub fn is_raw(&self, file_name: &[u8]) -> bool {
        !self.raw.is_empty()
            && file_name
                .iter()
                .rposition(|byte| *byte == b'.')
                .is_some_and(|dot| self.raw.iter().any(|raw| raw.as_bytes() == &file_name[dot..]))
    }

    /// Kilobytes a state may use beyond a fresh one; 0 is no limit.
    #[must_use]
    pub fn memory_limit(&self) -> u32 {
        self.memory_limit.unwrap_or(0)
    }

    /// Libraries that pages do not get, sorted, each once.
    #[must_use]
    pub fn ignored_libraries(&self) -> &[&'static str] {
        &self.ignored_libraries
    }

    /// Whether `<?` opens a tag.
    #[must_use]
    pub fn short_hand(&self) -> bool {
        self.short_hand.unwrap_or(true)
    }

    /// Time a page may run; zero is no limit.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::ZERO)
    }

    /// Whether visitors see the report of a failed page.
    #[must_use]
    pub fn show_errors(&self) -> bool {
        self.show_errors.unwrap_or(true)
    }

    /// Whether each host has its own pool.
    #[must_use]
    pub fn multi_domain(&self) -> bool {
        self.multi_domain.unwrap_or(true)
    }

    /// 0 to 3.
    #[must_use]
    pub fn log_level(&self) -> u32 {
        self.log_level.unwrap_or(1)
    }

    /// Fields of a query or form at most.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields.unwrap_or(10_000) as usize
    }

    /// Files of a form at most.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.uploads.unwrap_or(20) as usize
    }

    /// Kilobytes of one uploaded file at most, and of all other fields of a form; 0 is no limit.
    #[must_use]
    pub fn upload_size(&self) -> u32 {
        self.upload_size.unwrap_or(65_536)
    }

    /// The folder for uploaded files and large bodies.
    #[must_use]
    pub fn upload_folder(&self) -> PathBuf {
        self.upload_folder.clone().unwrap_or_else(env::temp_dir)
    }

    /// Whether `<?=` escapes HTML.
    #[must_use]
    pub fn auto_escape(&self) -> bool {
        self.auto_escape.unwrap_or(false)
    }

    /// Time a request waits for a free state.
    #[must_use]
    pub fn state_wait(&self) -> Duration {
        self.state_wait.unwrap_or(Duration::from_secs(10))
    }

    /// Templates put before `package.path`.
    #[must_use]
    pub fn package_path(&self) -> Option<&str> {
        self.package_path.as_deref()
    }

    /// Templates put before `package.cpath`.
    #[must_use]
    pub fn package_cpath(&self) -> Option<&str> {
        self.package_cpath.as_deref()
    }

    /// Absolute path of the Lua file that each new state runs.
    #[must_use]
    pub fn init(&self) -> Option<&str> {
        self.init.as_deref()
    }

    /// File that runs before each page.
    #[must_use]
    pub fn prepend(&self) -> Option<&str> {
        self.prepend.as_deref().filter(|file| *file != NO_FILE)
    }

    /// File that runs after each page.
    #[must_use]
    pub fn append(&self) -> Option<&str> {
        self.append.as_deref().filter(|file| *file != NO_FILE)
    }
}

/// Takes back what an outer place says of `pLuaPrepend` or `pLuaAppend`.
const NO_FILE: &str = "none";

fn union<T: Clone + Ord>(outer: &[T], inner: &[T]) -> Vec<T> {
    let mut all = [outer, inner].concat();
    all.sort();
    all.dedup();
    all
}

fn put<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

fn whole(value: &str, least: u32, most: u32) -> Result<u32, String> {
    match value.parse::<i128>() {
        Ok(number) if (i128::from(least)..=i128::from(most)).contains(&number) => Ok(number as u32),
        Ok(_) => Err(format!("{value} is out of range: give a whole number from {least} to {most}")),
        Err(_) => Err(format!("'{value}' is not a whole number from {least} to {most}")),
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    match value.parse::<f64>() {
        Ok(number) if (0.0..=1_000_000.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        Ok(_) => Err(format!("{value} is out of range: give seconds from 0 to 1000000")),
        Err(_) => Err(format!("'{value}' is not a number of seconds")),
    }
}

fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" => Ok(true),
        "0" | "off" => Ok(false),
        _ => Err(format!("'{value}' is neither On (or 1) nor Off (or 0)")),
    }
}

fn templates(value: &str) -> Result<String, String> {
    let templates: Vec<&str> = value.split(';').filter(|template| !template.is_empty()).collect();
    match templates.iter().find(|template| !template.contains('?')) {
        _ if templates.is_empty() => Err("names no template such as /srv/lua/?.lua".into()),
        Some(template) => Err(format!("'{template}' has no ? where the module's name goes, as in /srv/lua/?.lua")),
        None => Ok(templates.join(";")),
    }
}

fn absolute(value: &str) -> Result<String, String> {
    match value.starts_with('/') {
        true => Ok(value.into()),
        false => Err(format!("'{value}' is not an absolute path: it starts with a slash")),
    }
}

fn file(value: &str) -> Result<String, String> {
    match value.is_empty() {
        true => Err(format!("names no file: write {NO_FILE} for none")),
        false => Ok(value.into()),
    }
}

fn add_raw(settings: &mut Settings, value: &str) -> Result<(), String> {
    match value.strip_prefix('.') {
        None => Err(format!("'{value}' is not an extension with its dot: write '.{value}'")),
        Some(rest) if rest.is_empty() || rest.contains(['.', '/']) => {
            Err(format!("'{value}' is not one extension such as .lua: only what follows a file's last dot counts"))
        }
        Some(_) => {
            settings.raw = union(&settings.raw, &[value.to_string()]);
            Ok(())
        }
    }
}

fn add_ignored(settings: &mut Settings, value: &str) -> Result<(), String> {
    for name in value.split([' ', ',', '\t']).filter(|name| !name.is_empty()) {
        let Some(known) = LIBRARIES.iter().find(|library| **library == name) else {
            return Err(format!(
                "'{name}' is no library of Lua that can be left out: choose from {}",
                LIBRARIES.join(", ")
            ));
        };
        settings.ignored_libraries = union(&settings.ignored_libraries, &[*known]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, values: &[&str]) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let row = DIRECTIVES.iter().find(|row| row.name.to_str() == Ok(name)).unwrap();
        row.set(&mut settings, values).map(|()| settings)
    }

    #[test]
    fn the_documented_default_of_each_directive_is_what_holds_when_it_is_not_given() {
        for row in DIRECTIVES.iter().filter(|row| row.default != "none") {
            let mut settings = Settings::default();
            row.set(&mut settings, &[row.default]).unwrap();
            let values = |settings: &Settings| {
                format!(
                    "{:?}",
                    (
                        (settings.states(), settings.runs(), settings.files(), settings.memory_limit()),
                        (settings.short_hand(), settings.timeout(), settings.show_errors(), settings.multi_domain()),
                        (settings.log_level(), settings.auto_escape(), settings.state_wait()),
                        (settings.fields(), settings.uploads(), settings.upload_size()),
                    )
                )
            };
            assert_ne!(settings, Settings::default(), "{:?} sets nothing", row.name);
            assert_eq!(values(&settings), values(&Settings::default()), "{:?}", row.name);
        }
    }

    #[test]
    fn an_inner_place_overrides_and_lists_add_up() {
        let outer = given("pLuaRuns", &["5"]).unwrap().merged(&given("pLuaRaw", &[".lua"]).unwrap());
        let inner = given("pLuaRuns", &["7"]).unwrap().merged(&given("pLuaRaw", &[".foo"]).unwrap());
        let both = outer.merged(&inner);
        assert_eq!(both.runs(), 7);
        assert!(both.is_raw(b"/a/b.lua") && both.is_raw(b"c.foo"));
        assert!(!both.is_raw(b"/a.lua/b") && !both.is_raw(b"b.LUA") && !both.is_raw(b"lua"));
        assert_eq!(outer.merged(&Settings::default()), outer);
    }

    #[test]
    fn none_takes_back_the_file_of_an_outer_place() {
        let outer = given("pLuaPrepend", &["top.plua"]).unwrap();
        assert_eq!(outer.merged(&Settings::default()).prepend(), Some("top.plua"));
        assert_eq!(outer.merged(&given("pLuaPrepend", &["none"]).unwrap()).prepend(), None);
    }

    #[test]
    fn libraries_are_whole_names_and_accumulate() {
        let settings = given("pLuaIgnoreLibrary", &["os debug", "io,os"]).unwrap();
        assert_eq!(settings.ignored_libraries(), ["debug", "io", "os"]);
        let refused = given("pLuaIgnoreLibrary", &["osx"]).unwrap_err();
        assert!(refused.starts_with("'osx' is no library"), "{refused}");
    }

    #[test]
    fn a_bad_value_is_refused_with_a_sentence() {
        for (name, value, sentence) in [
            ("pLuaStates", "-1", "-1 is out of range: give a whole number from 0 to 10000"),
            ("pLuaRuns", "ten", "'ten' is not a whole number from 0 to 1000000000"),
            ("pLuaTimeout", "NaN", "NaN is out of range: give seconds from 0 to 1000000"),
            ("pLuaError", "2", "'2' is neither On (or 1) nor Off (or 0)"),
            ("pLuaUploadFolder", "uploads", "'uploads' is not an absolute path: it starts with a slash"),
            ("pLuaPackagePath", "/a/?.lua;/b", "'/b' has no ? where the module's name goes, as in /srv/lua/?.lua"),
            ("pLuaPackageCPath", ";", "names no template such as /srv/lua/?.lua"),
            ("pLuaInit", "init.lua", "'init.lua' is not an absolute path: it starts with a slash"),
            ("pLuaAppend", "", "names no file: write none for none"),
            ("pLuaRaw", "lua", "'lua' is not an extension with its dot: write '.lua'"),
        ] {
            assert_eq!(given(name, &[value]).unwrap_err(), sentence);
        }
        assert_eq!(given("pLuaRuns", &["1", "2"]).unwrap_err(), "takes one value");
        assert_eq!(given("pLuaRuns", &[]).unwrap_err(), "takes a value");
    }
}
