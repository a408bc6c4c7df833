//! Settings: the values of directives, and how an inner place overrides an outer one.
//!
//! Stands on `exchange` and `language`. Knows no state and no request: it says how they are to be.

pub mod connect;
mod directive;
mod library;
mod limits;
pub mod session;
pub mod shared;
pub(crate) mod time_zone;

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

pub use directive::{DIRECTIVES, Directive, Scope};
pub use library::functions as library_functions;
pub use limits::Limits;

use crate::exchange::Charset;
use crate::language::page::{Marks, Syntax};
use crate::settings::connect::Connect;
use crate::settings::session::Session;
use crate::settings::shared::Shared;
use crate::settings::time_zone::Zone;

/// Whose the globals of pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Globals {
    /// The state's, with its modules.
    Persistent,
    /// The request's, over those of the state, whose modules they use.
    Page,
    /// The request's, with modules of its own.
    Request,
}

/// The directives of one place; what is not given there is unset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    engine: Option<bool>,
    limits: limits::Given,
    states: Option<u32>,
    sites: Option<u32>,
    runs: Option<u32>,
    files: Option<u32>,
    raw: Vec<String>,
    ignored_libraries: Vec<&'static str>,
    short_hand: Option<bool>,
    show_errors: Option<bool>,
    slow_log: Option<Duration>,
    multi_domain: Option<bool>,
    log_level: Option<u32>,
    auto_escape: Option<bool>,
    quick: Option<bool>,
    /// None within is what takes an outer pair back.
    tags: Option<Option<Marks>>,
    state_wait: Option<Duration>,
    parked: Option<u32>,
    upload_folder: Option<PathBuf>,
    package_path: Option<String>,
    package_cpath: Option<String>,
    base_folders: Vec<PathBuf>,
    sandbox: Option<bool>,
    connect: Option<Connect>,
    shared: Vec<Shared>,
    session: session::Given,
    init: Option<String>,
    prepend: Option<String>,
    append: Option<String>,
    globals: Option<Globals>,
    revalidate: Option<Duration>,
    /// None where the place takes back what an outer one says.
    time_zone: Option<Option<Zone>>,
    charset: Charset,
}

impl Settings {
    /// The settings of a directory inside `self`, where `inner` is given: as [`Settings::merged`] says, but a limit only
    /// becomes tighter.
    #[must_use]
    pub fn narrowed(&self, inner: &Settings) -> Settings {
        Settings { limits: self.limits.tightened(&inner.limits), ..self.merged(inner) }
    }

    /// The limits of a host of these settings.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.limits()
    }

    /// The limits of a host of these settings, in a directory of those.
    #[must_use]
    pub fn limits_in(&self, directory: &Settings) -> Limits {
        if directory.limits == limits::Given::default() {
            return self.limits.limits();
        }
        self.limits.limits_in(&directory.limits)
    }

    /// The settings of a place inside `self`, where `inner` is given.
    #[must_use]
    pub fn merged(&self, inner: &Settings) -> Settings {
        Settings {
            engine: inner.engine.or(self.engine),
            limits: self.limits.overridden(&inner.limits),
            states: inner.states.or(self.states),
            sites: inner.sites.or(self.sites),
            runs: inner.runs.or(self.runs),
            files: inner.files.or(self.files),
            raw: union(&self.raw, &inner.raw),
            ignored_libraries: union(&self.ignored_libraries, &inner.ignored_libraries),
            short_hand: inner.short_hand.or(self.short_hand),
            show_errors: inner.show_errors.or(self.show_errors),
            slow_log: inner.slow_log.or(self.slow_log),
            multi_domain: inner.multi_domain.or(self.multi_domain),
            log_level: inner.log_level.or(self.log_level),
            auto_escape: inner.auto_escape.or(self.auto_escape),
            quick: inner.quick.or(self.quick),
            tags: inner.tags.or(self.tags),
            state_wait: inner.state_wait.or(self.state_wait),
            parked: inner.parked.or(self.parked),
            upload_folder: inner.upload_folder.clone().or_else(|| self.upload_folder.clone()),
            package_path: inner.package_path.as_ref().or(self.package_path.as_ref()).cloned(),
            package_cpath: inner.package_cpath.as_ref().or(self.package_cpath.as_ref()).cloned(),
            base_folders: if inner.base_folders.is_empty() { &self.base_folders } else { &inner.base_folders }.clone(),
            sandbox: inner.sandbox.or(self.sandbox),
            connect: inner.connect.as_ref().or(self.connect.as_ref()).cloned(),
            shared: Shared::merged(&self.shared, &inner.shared),
            session: self.session.overridden(&inner.session),
            init: inner.init.as_ref().or(self.init.as_ref()).cloned(),
            prepend: inner.prepend.as_ref().or(self.prepend.as_ref()).cloned(),
            append: inner.append.as_ref().or(self.append.as_ref()).cloned(),
            globals: inner.globals.or(self.globals),
            revalidate: inner.revalidate.or(self.revalidate),
            time_zone: inner.time_zone.as_ref().or(self.time_zone.as_ref()).cloned(),
            charset: if inner.charset == Charset::OfServer { &self.charset } else { &inner.charset }.clone(),
        }
    }

    /// The settings of one place: `self`, and then what `further` lines of it say.
    #[must_use]
    pub fn followed(&self, further: &Settings) -> Settings {
        let is_new = |shared: &&Shared| !further.shared.iter().any(|other| other.name == shared.name);
        let before = self.shared.iter().filter(is_new).cloned();
        Settings { shared: before.chain(further.shared.iter().cloned()).collect(), ..self.merged(further) }
    }

    /// Whether pages run in this place.
    #[must_use]
    pub fn engine(&self) -> bool {
        self.engine.unwrap_or(true)
    }

    /// States of a host at most; 0 gives each thread its own.
    #[must_use]
    pub fn states(&self) -> u32 {
        self.states.unwrap_or(50)
    }

    /// Document roots, beside the host's own, that have states at a time.
    #[must_use]
    pub fn sites(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.sites.unwrap_or(100) as usize).unwrap_or(NonZeroUsize::MIN)
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
        let dot = file_name.iter().rposition(|byte| *byte == b'.');
        dot.is_some_and(|dot| self.raw.iter().any(|raw| raw.as_bytes() == &file_name[dot..]))
    }

    /// All that decides how files become Lua: the tags of pages, and the extensions of files that are plain Lua.
    #[must_use]
    pub fn reading(&self) -> (Syntax, &[String]) {
        {
            let marks = self.tags.flatten();
            (Syntax { short_hand: self.short_hand(), auto_escape: self.auto_escape(), marks }, &self.raw)
        }
    }

    /// Libraries and functions (`os.execute`) that pages do not get, sorted, each once.
    #[must_use]
    pub fn ignored_libraries(&self) -> &[&'static str] {
        &self.ignored_libraries
    }

    /// Whether `<?` opens a tag.
    #[must_use]
    pub fn short_hand(&self) -> bool {
        self.short_hand.unwrap_or(true)
    }

    /// Whether visitors see the report of a failed page.
    #[must_use]
    pub fn show_errors(&self) -> bool {
        self.show_errors.unwrap_or(true)
    }

    /// Time after which a page is told of in the log; none is zero.
    #[must_use]
    pub fn slow_log(&self) -> Duration {
        self.slow_log.unwrap_or_default()
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

    /// The folder for uploaded files and large bodies.
    #[must_use]
    pub fn upload_folder(&self) -> &Path {
        static TEMPORARY: OnceLock<PathBuf> = OnceLock::new();
        self.upload_folder.as_deref().unwrap_or_else(|| TEMPORARY.get_or_init(env::temp_dir))
    }

    /// Whether `<?=` escapes HTML.
    #[must_use]
    pub fn auto_escape(&self) -> bool {
        self.auto_escape.unwrap_or(false)
    }

    /// Whether kept pages that everybody may see are sent before the server looks further at a request.
    #[must_use]
    pub fn quick(&self) -> bool {
        self.quick.unwrap_or(true)
    }

    /// Time a request waits for a free state.
    #[must_use]
    pub fn state_wait(&self) -> Duration {
        self.state_wait.unwrap_or(Duration::from_secs(10))
    }

    /// Pages that may wait without a thread at one time, in a process.
    #[must_use]
    pub fn parked(&self) -> u32 {
        self.parked.unwrap_or(1000)
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

    /// Folders that hold all files pages may open; none is no limit.
    #[must_use]
    pub fn base_folders(&self) -> &[PathBuf] {
        &self.base_folders
    }

    /// What pages could still use to open files outside [`base_folders`](Settings::base_folders), if there are any.
    #[must_use]
    pub fn ways_around_base_folders(&self) -> Vec<&'static str> {
        if self.base_folders.is_empty() || self.sandbox() {
            return Vec::new();
        }
        let is_ignored = |name: &str| self.ignored_libraries.contains(&name);
        let is_open = |name: &&str| !is_ignored(name) && !name.split('.').next().is_some_and(is_ignored);
        library::AROUND_FILES.iter().copied().filter(is_open).collect()
    }

    /// Whether pages are kept inside Lua.
    #[must_use]
    pub fn sandbox(&self) -> bool {
        self.sandbox.unwrap_or(false)
    }

    /// Where pages may connect to: anywhere, and out of a sandbox nowhere, where nothing is said of it.
    #[must_use]
    pub fn connect(&self) -> &Connect {
        self.connect.as_ref().unwrap_or(if self.sandbox() { &Connect::None } else { &Connect::Any })
    }

    /// The stores that pages reach: in a sandbox those alone that the host itself declares.
    pub fn shared(&self) -> impl Iterator<Item = &Shared> {
        let is_sandboxed = self.sandbox();
        self.shared.iter().filter(move |shared| !(is_sandboxed && shared.is_of_server))
    }

    /// What sessions are like.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session.session()
    }

    /// Absolute path of the Lua file that each new state runs.
    #[must_use]
    pub fn init(&self) -> Option<&str> {
        self.init.as_deref()
    }

    /// File that runs before each page.
    #[must_use]
    pub fn prepend(&self) -> Option<&str> {
        self.prepend.as_deref().filter(|file| *file != NONE)
    }

    /// File that runs after each page.
    #[must_use]
    pub fn append(&self) -> Option<&str> {
        self.append.as_deref().filter(|file| *file != NONE)
    }

    /// Whose the globals of pages are. In a sandbox they are the request's unless they are chosen.
    #[must_use]
    pub fn globals(&self) -> Globals {
        self.globals.unwrap_or(if self.sandbox() { Globals::Request } else { Globals::Persistent })
    }

    /// Whether a state makes functions of a page once and not for each request, which may then see what an earlier one
    /// did to them.
    #[must_use]
    pub fn keeps_functions(&self) -> bool {
        !self.sandbox() && self.globals() == Globals::Persistent
    }

    /// The time zone of `os.date` and `os.time`; none is the process's.
    #[must_use]
    pub fn time_zone(&self) -> Option<&Zone> {
        self.time_zone.as_ref()?.as_ref()
    }

    /// The charset of text whose page names none.
    #[must_use]
    pub fn charset(&self) -> &Charset {
        &self.charset
    }

    /// Time for which an included file is taken to be as it was found; zero looks at it each time.
    #[must_use]
    pub fn revalidate(&self) -> Duration {
        self.revalidate.unwrap_or(Duration::ZERO)
    }
}

/// Takes back what an outer place says of `pLuaPrepend`, `pLuaAppend` or `pLuaTimeZone`.
const NONE: &str = "none";

fn union<T: Clone + Ord>(outer: &[T], inner: &[T]) -> Vec<T> {
    let mut all = [outer, inner].concat();
    all.sort();
    all.dedup();
    all
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
                        (settings.states(), settings.runs(), settings.files()),
                        (settings.short_hand(), settings.show_errors(), settings.multi_domain()),
                        (settings.log_level(), settings.auto_escape(), settings.quick(), settings.state_wait()),
                        settings.limits(),
                        settings.globals(),
                        (settings.sandbox(), settings.connect().clone()),
                        settings.revalidate(),
                        (settings.engine(), settings.sites(), settings.session()),
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
    fn a_limit_in_a_directory_is_the_smaller_one_and_zero_is_none() {
        let place = |name: &str, values: [&str; 3]| {
            let [host, outer, inner] = values.map(|value| given(name, &[value]).unwrap());
            host.limits_in(&outer.narrowed(&inner))
        };
        assert_eq!(place("pLuaTimeout", ["5", "2.5", "9"]).timeout.as_secs_f64(), 2.5);
        assert_eq!(place("pLuaTimeout", ["5", "0", "0"]).timeout.as_secs_f64(), 5.0);
        assert_eq!(place("pLuaMemoryLimit", ["0", "0", "800"]).memory, 800);
        assert_eq!(place("pLuaOutputLimit", ["100", "200", "0"]).output, 100);
        assert_eq!(place("pLuaPatternLimit", ["100", "30", "20"]).pattern, 20);
        assert_eq!(place("pLuaPatternLimit", ["0", "0", "0"]).pattern, 0);
        assert_eq!(place("pLuaFields", ["100", "300", "200"]).fields, 100);
        assert_eq!(place("pLuaUploads", ["3", "0", "2"]).uploads, 0);
        assert_eq!(place("pLuaUploadSize", ["0", "7", "0"]).upload_size, 7);
        let host = given("pLuaTimeout", &["1"]).unwrap().merged(&given("pLuaTimeout", &["9"]).unwrap());
        assert_eq!(host.limits().timeout.as_secs(), 9, "a host overrides the server");
        assert_eq!(host.limits_in(&Settings::default()), host.limits());
    }

    #[test]
    fn a_time_limit_bounds_patterns_too_where_the_host_does_not_say_otherwise() {
        let limits = |host: &[(&str, &str)], directory: &[(&str, &str)]| {
            let all = |rows: &[(&str, &str)]| {
                let each = rows.iter().map(|(name, value)| given(name, &[value]).unwrap());
                each.fold(Settings::default(), |all, one| all.merged(&one))
            };
            all(host).limits_in(&all(directory)).pattern
        };
        let (time, steps) = ("pLuaTimeout", "pLuaPatternLimit");
        assert_eq!(limits(&[], &[]), 0);
        assert_eq!(limits(&[(time, "2")], &[]), 100_000_000);
        assert_eq!(limits(&[(time, "1000000")], &[]), u32::MAX);
        assert_eq!(limits(&[(time, "2"), (steps, "0")], &[]), 0);
        assert_eq!(limits(&[(time, "2"), (steps, "1000000000")], &[]), 1_000_000_000);
        assert_eq!(limits(&[], &[(time, "2")]), 100_000_000);
        assert_eq!(limits(&[(time, "2")], &[(time, "1")]), 50_000_000);
        assert_eq!(limits(&[(time, "2")], &[(steps, "0")]), 100_000_000);
        assert_eq!(limits(&[(time, "2")], &[(steps, "1000000000")]), 100_000_000);
        assert_eq!(limits(&[(time, "2")], &[(steps, "7")]), 7);
        assert_eq!(limits(&[], &[(steps, "7")]), 7);
        assert_eq!(limits(&[(steps, "0")], &[(time, "2")]), 0);
    }

    #[test]
    fn none_takes_back_the_file_of_an_outer_place() {
        let outer = given("pLuaPrepend", &["top.plua"]).unwrap();
        assert_eq!(outer.merged(&Settings::default()).prepend(), Some("top.plua"));
        assert_eq!(outer.merged(&given("pLuaPrepend", &["none"]).unwrap()).prepend(), None);
    }

    #[test]
    fn a_host_has_the_time_zone_of_the_server_unless_it_says_another_one_or_none() {
        let zone = |settings: &Settings| settings.time_zone().map(|zone| zone.name().to_string());
        let outer = given("pLuaTimeZone", &["Europe/Berlin"]).unwrap();
        assert_eq!(zone(&outer.merged(&Settings::default())).as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone(&outer.merged(&given("pLuaTimeZone", &["UTC"]).unwrap())).as_deref(), Some("UTC"));
        assert_eq!(zone(&outer.merged(&given("pLuaTimeZone", &["none"]).unwrap())), None);
        let refused = given("pLuaTimeZone", &["Europe/Berln"]).unwrap_err();
        assert!(refused.starts_with("'Europe/Berln' is no time zone of this system"), "{refused}");
    }

    #[test]
    fn libraries_are_whole_names_and_accumulate() {
        let settings = given("pLuaIgnoreLibrary", &["os debug", "io,os"]).unwrap();
        assert_eq!(settings.ignored_libraries(), ["debug", "io", "os"]);
        let settings = given("pLuaIgnoreLibrary", &["os.execute,load"]).unwrap();
        assert_eq!(settings.ignored_libraries(), ["load", "os.execute"]);
        let refused = given("pLuaIgnoreLibrary", &["osx"]).unwrap_err();
        assert!(refused.starts_with("'osx' is no library"), "{refused}");
    }

    #[test]
    fn the_folders_of_an_inner_place_take_the_place_of_the_outer_ones() {
        let outer = given("pLuaBaseDir", &["/", "/usr"]).unwrap();
        let inner = given("pLuaBaseDir", &["/tmp"]).unwrap();
        assert_eq!(outer.merged(&Settings::default()).base_folders(), [PathBuf::from("/"), PathBuf::from("/usr")]);
        assert_eq!(outer.merged(&inner).base_folders(), [PathBuf::from("/tmp")]);
    }

    #[test]
    fn a_folder_that_is_given_twice_is_kept_once() {
        assert_eq!(
            given("pLuaBaseDir", &["/usr", "/", "/usr"]).unwrap().base_folders(),
            [PathBuf::from("/usr"), PathBuf::from("/")]
        );
    }

    #[test]
    fn a_sandbox_implies_globals_of_each_requests_own_unless_they_are_chosen() {
        let sandbox = given("pLuaSandbox", &["On"]).unwrap();
        assert_eq!(sandbox.globals(), Globals::Request);
        let outer = given("pLuaGlobals", &["persistent"]).unwrap();
        assert_eq!(sandbox.merged(&outer).globals(), Globals::Persistent);
        assert_eq!(outer.merged(&sandbox).globals(), Globals::Persistent);
    }

    #[test]
    fn ways_around_the_folders_are_told_while_they_are_open() {
        let around = |ignored: &[&str]| {
            let settings = given("pLuaBaseDir", &["/"]).unwrap();
            settings.merged(&given("pLuaIgnoreLibrary", ignored).unwrap()).ways_around_base_folders()
        };
        assert_eq!(around(&["math"]).first(), Some(&"debug"));
        assert!(around(&["debug ffi io.popen os.execute"]).is_empty());
        assert!(around(&["debug ffi io os"]).is_empty());
        assert_eq!(given("pLuaIgnoreLibrary", &["io"]).unwrap().ways_around_base_folders(), [""; 0]);
        let sandbox = given("pLuaBaseDir", &["/"]).unwrap().merged(&given("pLuaSandbox", &["On"]).unwrap());
        assert_eq!(sandbox.ways_around_base_folders(), [""; 0]);
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
            ("pLuaBaseDir", "pages", "'pages' is not an absolute path: it starts with a slash"),
            ("pLuaBaseDir", "/etc/passwd", "'/etc/passwd' is not a folder"),
            ("pLuaBaseDir", "/nowhere", "'/nowhere' cannot be used: No such file or directory (os error 2)"),
            ("pLuaInit", "init.lua", "'init.lua' is not an absolute path: it starts with a slash"),
            ("pLuaAppend", "", "names no file: write none for none"),
            ("pLuaGlobals", "pages", "'pages' is neither persistent nor page nor request"),
            ("pLuaConnect", "10.0.0.0/33", "'10.0.0.0/33' has no number of bits from 0 to 32 after its slash"),
            ("pLuaShared", "cart", "'cart' is not a name and a size, such as: sessions 10M"),
            ("pLuaRaw", "lua", "'lua' is not an extension with its dot: write '.lua'"),
        ] {
            assert_eq!(given(name, &[value]).unwrap_err(), sentence);
        }
        assert_eq!(given("pLuaRuns", &["1", "2"]).unwrap_err(), "takes one value");
        assert_eq!(given("pLuaRuns", &[]).unwrap_err(), "takes a value");
    }
}
