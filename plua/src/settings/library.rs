//! What `pLuaIgnoreLibrary` can take from pages: Lua's libraries and the functions in them, and the global names of page
//! functions.

use crate::language::functions::FUNCTIONS;

/// Libraries, in every build: a name that this Lua does not have is nothing to take away.
pub const LIBRARIES: &[&str] =
    &["bit", "debug", "ffi", "io", "jit", "math", "os", "package", "string", "table", "utf8"];

/// Page functions by the tables they are in, and `page` for the global names of all of them.
pub const PAGE_LIBRARIES: &[&str] = &["file", "json", "page"];

/// What reaches files without asking where they are. C modules are within the folders themselves.
pub const AROUND_FILES: &[&str] = if cfg!(feature = "lua54") || cfg!(feature = "lua51") {
    &["debug", "io.popen", "os.execute"]
} else {
    &["debug", "ffi", "io.popen", "os.execute"]
};

/// Functions that every Lua has: those without a library first. `print` is a page function.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "assert", "collectgarbage", "dofile", "error", "getmetatable", "ipairs", "load", "loadfile", "next", "pairs",
    "pcall", "rawequal", "rawget", "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type",
    "xpcall",
    "coroutine.create", "coroutine.resume", "coroutine.running", "coroutine.status", "coroutine.wrap",
    "coroutine.yield",
    "debug.debug", "debug.gethook", "debug.getinfo", "debug.getlocal", "debug.getmetatable", "debug.getregistry",
    "debug.getupvalue", "debug.sethook", "debug.setlocal", "debug.setmetatable", "debug.setupvalue",
    "debug.traceback",
    "io.close", "io.flush", "io.input", "io.lines", "io.open", "io.output", "io.popen", "io.read", "io.tmpfile",
    "io.type", "io.write",
    "math.abs", "math.acos", "math.asin", "math.atan", "math.ceil", "math.cos", "math.deg", "math.exp", "math.floor",
    "math.fmod", "math.log", "math.max", "math.min", "math.modf", "math.rad", "math.random", "math.randomseed",
    "math.sin", "math.sqrt", "math.tan", "math.atan2", "math.cosh", "math.frexp", "math.ldexp", "math.log10",
    "math.pow", "math.sinh", "math.tanh",
    "os.clock", "os.date", "os.difftime", "os.execute", "os.exit", "os.getenv", "os.remove", "os.rename",
    "os.setlocale", "os.time", "os.tmpname",
    "package.loadlib",
    "string.byte", "string.char", "string.dump", "string.find", "string.format", "string.gmatch", "string.gsub",
    "string.len", "string.lower", "string.match", "string.rep", "string.reverse", "string.sub", "string.upper",
    "table.concat", "table.insert", "table.remove", "table.sort",
];

/// What Lua 5.1 and LuaJIT have beyond those.
#[rustfmt::skip]
const OLD: &[&str] = &[
    "gcinfo", "getfenv", "loadstring", "module", "newproxy", "setfenv", "unpack", "debug.getfenv", "debug.setfenv",
    "package.seeall", "table.foreach", "table.foreachi", "table.getn", "table.maxn",
];

#[rustfmt::skip]
const LUAJIT: &[&str] = &[
    "bit.arshift", "bit.band", "bit.bnot", "bit.bor", "bit.bswap", "bit.bxor", "bit.lshift", "bit.rol", "bit.ror",
    "bit.rshift", "bit.tobit", "bit.tohex",
    "coroutine.isyieldable", "debug.upvalueid", "debug.upvaluejoin",
    "ffi.abi", "ffi.alignof", "ffi.cast", "ffi.cdef", "ffi.copy", "ffi.errno", "ffi.fill", "ffi.gc", "ffi.istype",
    "ffi.load", "ffi.metatype", "ffi.new", "ffi.offsetof", "ffi.sizeof", "ffi.string", "ffi.typeinfo", "ffi.typeof",
    "jit.attach", "jit.flush", "jit.off", "jit.on", "jit.opt", "jit.profile", "jit.security", "jit.status", "jit.util",
    "package.searchpath", "string.buffer", "table.clear", "table.move", "table.new",
];

#[rustfmt::skip]
const LUA51: &[&str] = &["math.mod", "string.gfind", "table.setn"];

#[rustfmt::skip]
const LUA54: &[&str] = &[
    "rawlen", "warn", "coroutine.close", "coroutine.isyieldable", "debug.getuservalue", "debug.setcstacklimit",
    "debug.setuservalue", "debug.upvalueid", "debug.upvaluejoin", "math.tointeger", "math.type", "math.ult",
    "package.searchpath", "string.pack", "string.packsize", "string.unpack", "table.move", "table.pack",
    "table.unpack", "utf8.char", "utf8.codepoint", "utf8.codes", "utf8.len", "utf8.offset",
];

/// The functions, and modules inside libraries, of the Lua in this build.
pub fn functions() -> impl Iterator<Item = &'static str> {
    let more = if cfg!(feature = "lua54") {
        [LUA54, &[]]
    } else if cfg!(feature = "lua51") {
        [LUA51, OLD]
    } else {
        [LUAJIT, OLD]
    };
    [COMMON].into_iter().chain(more).flatten().copied()
}

/// The page functions that have a name outside the table `plua`.
fn page_functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name).filter(|name| !name.starts_with("plua."))
}

/// Characters by which a name may differ from the one that was meant.
const FARTHEST: usize = 2;

/// The table's own copy of a name.
///
/// # Errors
/// A sentence that says that there is nothing of that name, and what may have been meant.
pub fn known(name: &str) -> Result<&'static str, String> {
    let all = || LIBRARIES.iter().chain(PAGE_LIBRARIES).copied().chain(functions()).chain(page_functions());
    if let Some(known) = all().find(|known| *known == name) {
        return Ok(known);
    }
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let meant = all()
        .find(|known| known.eq_ignore_ascii_case(name))
        .or_else(|| all().find(|known| last(known) == last(name)))
        .or_else(|| {
            let near = all().filter(|known| known.len().abs_diff(name.len()) <= FARTHEST);
            near.min_by_key(|known| distance(known, name)).filter(|known| distance(known, name) <= FARTHEST)
        });
    Err(match meant {
        Some(meant) => {
            format!("'{name}' is no library or function that can be left out: did you mean '{meant}'?")
        }
        None => format!(
            "'{name}' is no library or function that can be left out: choose from {}, {} and the \
             functions in them, such as os.execute",
            LIBRARIES.join(", "),
            PAGE_LIBRARIES.join(", ")
        ),
    })
}

/// How many characters must be put in, taken out or changed to make one name the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, wanted) in other.bytes().enumerate() {
            let change = diagonal + usize::from(byte != wanted);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_answered_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("osx", "os"),
            ("execute", "os.execute"),
            ("frobnicate", ""),
            ("OS.Execute", "os.execute"),
            ("io.popn", "io.popen"),
        ] {
            let refused = known(name).unwrap_err();
            match meant {
                "" => assert!(refused.contains("choose from bit, debug"), "{refused}"),
                _ => assert!(refused.ends_with(&format!("did you mean '{meant}'?")), "{refused}"),
            }
        }
        for name in ["string.dump", "string.md5", "header", "page", "json"] {
            assert_eq!(known(name), Ok(name));
        }
    }
}
