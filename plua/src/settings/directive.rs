//! The one table of directives, and how their values are read.

use std::ffi::CStr;
use std::path::PathBuf;
use std::time::Duration;

use super::connect::Connect;
use super::library::known;
use super::shared::Shared;
use super::{Globals, NONE, Settings, union};
use crate::exchange::Charset;
use crate::language::page::{Mark, Marks};
use crate::settings::time_zone::Zone;

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Main server only: it holds for the whole process.
    Process,
    /// Main server and `<VirtualHost>`: it costs memory or guards a limit.
    Host,
    /// Everywhere. Inside a host it can only be made tighter.
    Limit,
    /// Everywhere, `<Directory>`, `<Location>` and `.htaccess` too.
    Directory,
    /// Everywhere, but a `.htaccess`, which may have been uploaded, can only switch it off.
    Guard,
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
            // Values that are one.
            _ if [TAGS, SHARED, SESSION_COOKIE, SESSION_TIME].contains(&self.name) => {
                (self.set)(settings, &values.join(" "))
            }
            _ => values.iter().try_for_each(|value| (self.set)(settings, value)),
        }
    }
}

const TAGS: &CStr = c"pLuaTags";
const SHARED: &CStr = c"pLuaShared";
const SESSION_COOKIE: &CStr = c"pLuaSessionCookie";
const SESSION_TIME: &CStr = c"pLuaSessionTime";

/// Every directive, in the order of the manual.
pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"pLuaEngine",
        scope: Scope::Guard,
        list: false,
        default: "1",
        help: c"Whether pages run here; where it is Off they are answered 403, and neither output nor source is shown",
        set: |settings, value| put(&mut settings.engine, switch(value)),
    },
    Directive {
        name: c"pLuaStates",
        scope: Scope::Host,
        list: false,
        default: "50",
        help: c"Lua states of a host at most, 0 to 10000; 0 gives each thread its own",
        set: |settings, value| put(&mut settings.states, whole(value, 0, 10_000)),
    },
    Directive {
        name: c"pLuaSites",
        scope: Scope::Host,
        list: false,
        default: "100",
        help: c"Document roots of a host (mod_vhost_alias) with states of their own at a time, 1 to 100000",
        set: |settings, value| put(&mut settings.sites, whole(value, 1, 100_000)),
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
        scope: Scope::Limit,
        list: false,
        default: "0",
        help: c"Kilobytes a state's Lua may use beyond what a fresh state holds, 0 to 1073741824; 0 is no limit",
        set: |settings, value| put(&mut settings.limits.memory, whole(value, 0, 1 << 30)),
    },
    Directive {
        name: c"pLuaIgnoreLibrary",
        scope: Scope::Host,
        list: true,
        default: "none",
        help: c"Libraries and single functions that pages do not get, separated by spaces or commas; page: no global page functions",
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
        name: TAGS,
        scope: Scope::Directory,
        list: true,
        default: "none",
        help: c"Two marks, such as \"<%\" \"%>\", that open and end tags as <? and ?> do, beside these; none for no others",
        set: |settings, value| put(&mut settings.tags, tags(value)),
    },
    Directive {
        name: c"pLuaTimeout",
        scope: Scope::Limit,
        list: false,
        default: "0",
        help: c"Seconds a page may run, fractions allowed, 0 to 1000000; 0 is no limit",
        set: |settings, value| put(&mut settings.limits.timeout, seconds(value)),
    },
    Directive {
        name: c"pLuaWaitLimit",
        scope: Scope::Limit,
        list: false,
        default: "60",
        help: c"Seconds a page may wait without a thread, all together, fractions allowed, 0 to 1000000; 0 is no limit",
        set: |settings, value| put(&mut settings.limits.wait, seconds(value)),
    },
    Directive {
        name: c"pLuaParked",
        scope: Scope::Host,
        list: false,
        default: "1000",
        help: c"Pages of a host that may wait without a thread at one time in each process, 0 to 1000000; the others wait in theirs",
        set: |settings, value| put(&mut settings.parked, whole(value, 0, 1_000_000)),
    },
    Directive {
        name: c"pLuaOutputLimit",
        scope: Scope::Limit,
        list: false,
        default: "0",
        help: c"Kilobytes a page may put out, 0 to 1073741824; 0 is no limit",
        set: |settings, value| put(&mut settings.limits.output, whole(value, 0, 1 << 30)),
    },
    Directive {
        name: c"pLuaPatternLimit",
        scope: Scope::Limit,
        list: false,
        default: "none",
        help: c"Steps one call of string.find, match, gmatch or gsub may take, 0 to 1000000000; 0 is no limit; not given, 50000000 for each second of pLuaTimeout",
        set: |settings, value| put(&mut settings.limits.pattern, whole(value, 0, 1_000_000_000)),
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
        name: c"pLuaSlowLog",
        scope: Scope::Directory,
        list: false,
        default: "0",
        help: c"Seconds after which a page that has not ended is told of in the error log, with its calls, fractions allowed, 0 to 1000000; 0 tells of none",
        set: |settings, value| put(&mut settings.slow_log, seconds(value)),
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
        name: c"pLuaCharset",
        scope: Scope::Directory,
        list: false,
        default: "UTF-8",
        help: c"Charset of text whose type names none; none for no charset. AddDefaultCharset holds where it is not given",
        set: |settings, value| {
            settings.charset = charset(value)?;
            Ok(())
        },
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
        scope: Scope::Limit,
        list: false,
        default: "10000",
        help: c"Fields of a query or form at most, files included, 1 to 10000000; more are answered 413",
        set: |settings, value| put(&mut settings.limits.fields, whole(value, 1, 10_000_000)),
    },
    Directive {
        name: c"pLuaUploads",
        scope: Scope::Limit,
        list: false,
        default: "20",
        help: c"Files of a form at most, 0 to 10000; more are answered 413",
        set: |settings, value| put(&mut settings.limits.uploads, whole(value, 0, 10_000)),
    },
    Directive {
        name: c"pLuaUploadSize",
        scope: Scope::Limit,
        list: false,
        default: "65536",
        help:
            c"Kilobytes of one uploaded file, and of all a form's other fields, 0 to 1073741824; 0 is no limit of ours",
        set: |settings, value| put(&mut settings.limits.upload_size, whole(value, 0, 1 << 30)),
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
        name: c"pLuaBaseDir",
        scope: Scope::Host,
        list: true,
        default: "none",
        help: c"Absolute folders that hold all files pages may open, with what is inside them",
        set: add_base_folder,
    },
    Directive {
        name: c"pLuaSandbox",
        scope: Scope::Host,
        list: false,
        default: "0",
        help: c"Whether pages lose what breaks out of Lua: ffi, debug, commands, C modules, bytecode",
        set: |settings, value| put(&mut settings.sandbox, switch(value)),
    },
    Directive {
        name: c"pLuaConnect",
        scope: Scope::Host,
        list: true,
        default: "any",
        help: c"Where pages may connect to: none, any, or names, addresses and networks, each with a port or without; in a sandbox none",
        set: |settings, value| Connect::add(&mut settings.connect, value),
    },
    Directive {
        name: SHARED,
        scope: Scope::Host,
        list: true,
        default: "none",
        help: c"A name and a size, such as: cart 10M, or a name and the address of a Redis; a store in plua.shared that outlives requests, for all processes",
        set: |settings, value| Shared::add(&mut settings.shared, value),
    },
    Directive {
        name: c"pLuaSession",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Name of the store of pLuaShared that sessions are kept in; none for memory of their own, 8 MB",
        set: |settings, value| settings.session.set_store(value),
    },
    Directive {
        name: SESSION_COOKIE,
        scope: Scope::Host,
        list: true,
        default: "plua_session / Lax",
        help: c"Name of the cookie with a session's id, the path it is sent to, and Lax or Strict for requests from other sites",
        set: |settings, value| settings.session.set_cookie(value),
    },
    Directive {
        name: SESSION_TIME,
        scope: Scope::Host,
        list: true,
        default: "1800 86400",
        help: c"Seconds after which a session ends that nobody uses, and those after which it ends in any case, 1 to 1000000000",
        set: |settings, value| settings.session.set_time(value),
    },
    Directive {
        name: c"pLuaQuick",
        scope: Scope::Directory,
        list: false,
        default: "1",
        help: c"Whether pages kept by plua.cachePage that everybody may see are sent before httpd maps and checks a request",
        set: |settings, value| put(&mut settings.quick, switch(value)),
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
    Directive {
        name: c"pLuaGlobals",
        scope: Scope::Host,
        list: false,
        default: "persistent",
        help: c"persistent keeps globals and modules as long as their state; request gives each request its own, page its own globals over the state's modules",
        set: |settings, value| put(&mut settings.globals, globals(value)),
    },
    Directive {
        name: c"pLuaTimeZone",
        scope: Scope::Host,
        list: false,
        default: "none",
        help: c"Time zone of os.date and os.time, such as Europe/Berlin; none is that of the server's process",
        set: |settings, value| put(&mut settings.time_zone, time_zone(value)),
    },
    Directive {
        name: c"pLuaRevalidate",
        scope: Scope::Host,
        list: false,
        default: "0",
        help: c"Seconds for which an included file or a module is taken to be unchanged, fractions allowed; 0 looks each time",
        set: |settings, value| put(&mut settings.revalidate, seconds(value)),
    },
];

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

/// A pair of marks.
fn tags(value: &str) -> Result<Option<Marks>, String> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let marks: Vec<&str> = value.split_whitespace().collect();
    let [open, end] = marks[..] else {
        return Err(format!(
            "'{value}' is not two marks, one that opens a tag and one that ends it, such as \"<%\" \"%>\""
        ));
    };
    let mark = |mark: &str, refused: &[char]| {
        let is_fit = mark.bytes().all(|byte| byte.is_ascii_punctuation()) && !mark.contains(refused);
        Mark::new(mark.as_bytes()).filter(|_| is_fit)
    };
    // What Lua, or the name of a folder, could be taken for.
    match (mark(open, &['"', '\'', '\\', '/']), mark(end, &['"', '\'', '\\', '/', '[', '-'])) {
        _ if open.contains("<?") || "<?".contains(open) || open == end => {
            Err(format!("'{open}' and '{end}' cannot be told from each other or from <?"))
        }
        (Some(open), Some(end)) => Ok(Some(Marks { open, end })),
        (None, _) => Err(format!("'{open}' opens no tag: give 2 to 8 of !#$%&()*+,-.:;<=>?@[]^_`{{|}}~")),
        (_, None) => Err(format!("'{end}' ends no tag: give 2 to 8 of !#$%&()*+,.:;<=>?@]^_`{{|}}~")),
    }
}

fn charset(value: &str) -> Result<Charset, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    match value.to_ascii_lowercase().as_str() {
        "none" => Ok(Charset::Unnamed),
        "" | "off" | "on" | "0" | "1" => Err(format!("'{value}' is no charset: give a name such as UTF-8, or none")),
        _ if value.bytes().all(is_name) => Ok(Charset::Named(value.into())),
        _ => Err(format!("'{value}' is not the name of a charset, such as UTF-8 or ISO-8859-1")),
    }
}

fn globals(value: &str) -> Result<Globals, String> {
    match value.to_ascii_lowercase().as_str() {
        "persistent" => Ok(Globals::Persistent),
        "page" => Ok(Globals::Page),
        "request" => Ok(Globals::Request),
        _ => Err(format!("'{value}' is neither persistent nor page nor request")),
    }
}

fn time_zone(value: &str) -> Result<Option<Zone>, String> {
    if value == NONE { Ok(None) } else { Zone::find(value).map(Some) }
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
        true => Err(format!("names no file: write {NONE} for none")),
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
        settings.ignored_libraries = union(&settings.ignored_libraries, &[known(name)?]);
    }
    Ok(())
}

fn add_base_folder(settings: &mut Settings, value: &str) -> Result<(), String> {
    let folder = PathBuf::from(absolute(value)?);
    match folder.metadata() {
        Ok(found) if found.is_dir() => {
            if !settings.base_folders.contains(&folder) {
                settings.base_folders.push(folder);
            }
            Ok(())
        }
        Ok(_) => Err(format!("'{value}' is not a folder")),
        Err(error) => Err(format!("'{value}' cannot be used: {error}")),
    }
}
