//! The entries of the error log: what each is about is told by its code, which docs/errors.md explains.

use std::fmt;

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server does not start, or a fault of ours.
    Critical,
    /// A page failed, or a request was refused.
    Error,
    /// Something an administrator should change.
    Warning,
    /// Work of the engine worth seeing, where a setting asks for it.
    Information,
    /// What only somebody who looks for it wants to know: httpd's `LogLevel plua:info`.
    Detail,
}

/// One kind of entry. There are no others than those of the table: a log takes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    code: u16,
    level: Level,
    title: &'static str,
}

impl Entry {
    /// How much it matters.
    #[must_use]
    pub fn level(self) -> Level {
        self.level
    }

    /// What it is about, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.title
    }
}

/// Puts each entry into [`ENTRIES`] and gives it a name.
macro_rules! entries {
    ($($name:ident = $code:literal, $level:ident, $title:literal;)*) => {
        impl Entry {
            $(
                #[doc = $title]
                pub const $name: Entry = Entry { code: $code, level: Level::$level, title: $title };
            )*
        }

        /// All entries, by code.
        pub static ENTRIES: &[Entry] = &[$(Entry::$name),*];
    };
}

// 10: pages that failed; 11: that a limit stopped; 12: what came with a request; 13: what a page waits for in vain; 14: the server;
// 20: pages that go on all the same; 21: pools and states; 30: files that are kept back; 31: the configuration; 32: processes; 33: the
// status page.
entries! {
    READ = 1001, Error, "Read error";
    COMPILE = 1002, Error, "Compiler error";
    RUN_TIME = 1003, Error, "Run-time error";
    INTERNAL = 1004, Error, "Internal error";
    TIME_LIMIT = 1101, Error, "Time limit";
    MEMORY_LIMIT = 1102, Error, "Memory limit";
    OUTPUT_LIMIT = 1103, Error, "Output limit";
    PATTERN_LIMIT = 1104, Error, "Pattern limit";
    DEPTH_LIMIT = 1105, Error, "Depth limit";
    TOO_LARGE = 1201, Error, "Request too large";
    BAD_REQUEST = 1202, Error, "Bad request";
    SILENT_CLIENT = 1203, Error, "Request timeout";
    NO_STATE = 1301, Error, "No free state";
    BUSY = 1302, Error, "Busy";
    NO_SESSIONS = 1303, Error, "No sessions";
    SERVER_STOP = 1401, Information, "Server stop";
    MANY_REPORTS = 2001, Error, "Further reports left out";
    AT_END = 2002, Error, "Failure at the end of a failed page";
    OVERRUN = 2003, Warning, "Ended late";
    STATE_CHANGED = 2004, Error, "Changed state";
    NO_BACKGROUND = 2005, Warning, "Nothing runs without a request";
    SLOW_PAGE = 2006, Warning, "Takes long";
    POOL_MADE = 2101, Information, "Pool made";
    STATE_MADE = 2102, Information, "State made";
    UNREADABLE = 3001, Error, "Page not readable";
    ENGINE_OFF = 3002, Error, "pLuaEngine is Off";
    ONLY_EXTENSION = 3003, Error, "Name without a name";
    NEARLY_PAGE = 3004, Error, "Name of a page";
    COPY_OF_PAGE = 3005, Error, "Copy of a page";
    NOT_PLAIN = 3006, Error, "Not a plain file";
    PATH_INFO = 3007, Detail, "Path behind a page";
    REFUSED_CONFIGURATION = 3101, Critical, "Configuration refused";
    WAYS_AROUND = 3102, Warning, "Ways around pLuaBaseDir";
    LOOSE_HANDLER = 3103, Warning, "Pages by accident";
    UNKNOWN_AUTHORITY = 3104, Detail, "Kept pages are asked for";
    NOT_COMPILED = 3105, Warning, "Pages are interpreted";
    NO_ENGINE_MADE = 3201, Critical, "Process without engine";
    NO_ENGINE = 3202, Error, "No engine";
    NO_SETTINGS = 3203, Error, "No settings";
    PANIC = 3204, Critical, "Panic";
    STATUS_REFUSED = 3301, Error, "Status refused";
}

/// The code: `PL1003`. Those of one hundred are about one thing.
impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PL{:04}", self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_each_title_is_of_one_entry() {
        assert!(ENTRIES.windows(2).all(|pair| pair[0].code < pair[1].code), "in order, and none twice");
        let mut titles: Vec<&str> = ENTRIES.iter().map(|entry| entry.title).collect();
        titles.sort_unstable();
        assert!(titles.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(Entry::RUN_TIME.to_string(), "PL1003");
    }
}
