//! The engine's own code in Lua: what every state runs before its first page.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib};
use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};

/// A piece of the code.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The name under which prelude.lua finds it.
    pub name: &'static str,
    source: &'static str,
}

/// What a new state runs; it calls the others.
pub const PRELUDE: Part = Part { name: "prelude", source: include_str!("prelude.lua") };

/// What makes `require` ready for C modules.
pub const C_MODULES: Part = Part { name: "c_modules", source: include_str!("c_modules.lua") };

/// The parts of each state.
pub const PARTS: [Part; 23] = [
    Part { name: "calls", source: include_str!("calls.lua") },
    Part { name: "buffer", source: include_str!("../output/buffer.lua") },
    Part { name: "output", source: include_str!("../output/output.lua") },
    Part { name: "at_end", source: include_str!("../api/at_end.lua") },
    Part { name: "light_threads", source: include_str!("../api/light_threads.lua") },
    Part { name: "timers", source: include_str!("../api/timers.lua") },
    Part { name: "events", source: include_str!("../api/events.lua") },
    Part { name: "fetch", source: include_str!("../network/fetch.lua") },
    Part { name: "sockets", source: include_str!("../network/sockets.lua") },
    Part { name: "composition", source: include_str!("../api/composition.lua") },
    Part { name: "environments", source: include_str!("../sandbox/environments.lua") },
    Part { name: "long_calls", source: include_str!("../limits/long_calls.lua") },
    Part { name: "nesting", source: include_str!("../limits/nesting.lua") },
    Part { name: "tracebacks", source: include_str!("../sandbox/tracebacks.lua") },
    Part { name: "patterns", source: include_str!("../limits/patterns.lua") },
    Part { name: "files", source: include_str!("../sandbox/files.lua") },
    Part { name: "working_directory", source: include_str!("../sandbox/working_directory.lua") },
    Part { name: "libraries", source: include_str!("../sandbox/libraries.lua") },
    Part { name: "library_waits", source: include_str!("../limits/library_waits.lua") },
    Part { name: "line_reading", source: include_str!("../limits/line_reading.lua") },
    Part { name: "confinement", source: include_str!("../sandbox/confinement.lua") },
    Part { name: "sandbox", source: include_str!("../sandbox/sandbox.lua") },
    Part { name: "database", source: include_str!("../api/database.lua") },
];

const FILE_FUNCTIONS: Part = Part { name: "file_functions", source: include_str!("../sandbox/file_functions.lua") };

/// Those that let each request have globals and modules of its own.
pub const REQUEST_GLOBALS: [Part; 3] = [
    FILE_FUNCTIONS,
    Part { name: "globals", source: include_str!("../sandbox/globals.lua") },
    Part { name: "modules", source: include_str!("../cache/modules.lua") },
];

/// Those that let each request have globals of its own over the state's.
pub const PAGE_GLOBALS: [Part; 2] =
    [FILE_FUNCTIONS, Part { name: "page_globals", source: include_str!("../sandbox/page_globals.lua") }];

/// What gives pages a time zone of their host's own.
pub const TIME_ZONE: [Part; 1] = [Part { name: "time_zone", source: include_str!("../api/time_zone.lua") }];

/// What a state runs only when a page first asks for it.
pub const LATE: [Part; 4] = [
    Part { name: "shared", source: include_str!("../api/shared.lua") },
    Part { name: "cached", source: include_str!("../api/cached.lua") },
    Part { name: "session", source: include_str!("../api/session.lua") },
    Part { name: "cached_page", source: include_str!("../api/cached_page.lua") },
];

/// What takes the code of a page from a terminal: of no state in a server.
pub const TERMINAL: Part = Part { name: "terminal", source: include_str!("../api/terminal.lua") };

/// Whatever a state in a server may run.
fn all_parts() -> impl Iterator<Item = Part> {
    let of_globals = REQUEST_GLOBALS.into_iter().chain(PAGE_GLOBALS);
    [PRELUDE, C_MODULES].into_iter().chain(PARTS).chain(of_globals).chain(TIME_ZONE).chain(LATE)
}

/// The code's bytecode. States are replaced all the time and compiling would be most of what a new one costs, so each part
/// is compiled once: when a state first needs it, or all of them before, in a process that others are forked from.
#[derive(Debug, Default)]
pub struct OwnCode(Mutex<BTreeMap<&'static str, Arc<[u8]>>>);

impl OwnCode {
    /// Compiles all parts that are not yet compiled.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when Lua runs out of memory.
    pub fn compile(&self) -> Result<(), Error> {
        let compile = || {
            let lua = Lua::new_with(StdLib::NONE, LuaOptions::new())?;
            all_parts().try_for_each(|part| self.function(&lua, part).map(drop))
        };
        compile().map_err(|error: mlua::Error| {
            Error::new(ErrorKind::Internal, format!("the engine's own code cannot be compiled: {error}"))
        })
    }

    /// One of those that run late, as a function of this state.
    ///
    /// # Errors
    /// Lua's, when memory runs out; that there is none of this name.
    pub fn late(&self, lua: &Lua, name: &str) -> mlua::Result<Function> {
        let part = LATE.into_iter().find(|part| part.name == name);
        part.map_or_else(|| Err(mlua::Error::runtime("no such part")), |part| self.function(lua, part))
    }

    /// A part as a function of this state.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn function(&self, lua: &Lua, part: Part) -> mlua::Result<Function> {
        let load = |code: &[u8], mode| lua.load(code).set_name("=plua").set_mode(mode).into_function();
        let compiled = self.0.lock().get(part.name).cloned();
        if let Some(bytecode) = compiled {
            return load(&bytecode, ChunkMode::Binary);
        }
        let function = load(part.source.as_bytes(), ChunkMode::Text)?;
        self.0.lock().insert(part.name, function.dump(false).into());
        Ok(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_finds_every_part_compiled_beforehand() {
        let own_code = OwnCode::default();
        own_code.compile().unwrap();
        let lua = Lua::new();
        for part in all_parts() {
            own_code.function(&lua, Part { source: "is not compiled again", ..part }).unwrap();
        }
    }
}
