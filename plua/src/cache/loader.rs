//! The pages a state has loaded, and how it gets those it has not: from the host's cache, or compiled.

use std::borrow::Cow;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;
use mlua::chunk::{AsChunk, ChunkMode};
use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use crate::cache::chunk::{self, Chunk, Language, Stamp};
use crate::cache::compiler::Compiler;
use crate::cache::modules::Modules;
use crate::cache::refused::Refused;
use crate::cache::{self, ChunkCache};
use crate::error::injection;
use crate::error::{Error, ErrorKind};
use crate::exchange::facts::Origin;
use crate::language::emit;
use crate::language::kept_functions::KeptFunctions;
use crate::limits::memory_limit::OVER_TIME;
use crate::settings::Settings;

/// Why a file could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read.
    Io(io::Error),
    /// It was read and does not compile.
    Page(Error),
}

impl LoadError {
    /// The error as a report tells it.
    #[must_use]
    pub fn into_error(self, path: &Path) -> Error {
        match self {
            LoadError::Io(error) => Error::new(ErrorKind::Read, format!("{}: {error}", path.display())),
            LoadError::Page(error) => error,
        }
    }
}

/// How often a page is compiled to find out which of its functions can be kept.
const MOST_TRIES: u32 = 10;

struct Loaded {
    chunk: Arc<Chunk>,
    /// The chunk's own, here because each request looks at them: what a page of many needs is in no cache of the processor.
    stamp: Stamp,
    language: Language,
    number: u32,
    /// Whether it was asked for since it was loaded, or since it was its turn to leave.
    is_used: bool,
    /// Whether `identities` has it.
    is_identified: bool,
}

/// Bytes of compiled files that a state keeps at most: what the host's cache keeps of one file. Those in the cache are
/// no others.
const MOST_BYTES: usize = cache::MOST_BYTES / 4;

/// A state's compiled functions by path. When there are too many, one leaves that has not been used for long: their turns come
/// in the order they were loaded in, and one that was used since its last turn stays for another round. The exact order of
/// use would take each request three writes to what is known of other files.
pub struct Loader {
    cache: Arc<ChunkCache>,
    loaded: LruCache<Box<[u8]>, Loaded>,
    /// Of all that are loaded.
    bytes: usize,
    /// Kilobytes a page may have; 0 is no limit.
    memory: u32,
    /// How functions of pages are made.
    form: Form,
    /// What makes copies of a file's function, for [`Form::Makers`].
    maker_of: Option<Function>,
    next: u32,
    /// Where the page's code came from.
    origin: Origin,
    /// What the functions of files find their globals in, whatever the thread has (`setfenv(0, ...)`).
    globals: Table,
    /// Compiled functions by number, as the state's own code sees them.
    pages: Table,
    /// Texts of pages too long to hold them, by number.
    texts: Table,
    /// Which file each page was read from that another has included, by number: two of one identity are one file under
    /// two names.
    identities: Table,
    compiler: Compiler,
    /// The modules that `require` has loaded.
    pub modules: Modules,
}

impl Loader {
    /// A loader for a new state whose code keeps functions in `pages`, texts in `texts` and what [`identity`] makes of
    /// files that others include in `identities`. With `maker_of`, what makes a function of a file's function, `pages` gets what
    /// makes functions, for each request to have one.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a table of the state's own code")]
    pub fn new(
        lua: &Lua,
        settings: &Settings,
        cache: Arc<ChunkCache>,
        pages: Table,
        texts: Table,
        identities: Table,
        compiler: Compiler,
        maker_of: Option<Function>,
    ) -> Loader {
        let files = NonZeroUsize::new(settings.files()).unwrap_or(NonZeroUsize::MIN);
        let form = match (&maker_of, settings.keeps_functions()) {
            (Some(_), _) => Form::Makers,
            (None, true) => Form::Keeping,
            (None, false) => Form::Plain,
        };
        let loaded = LruCache::new(files);
        let (globals, modules) = (lua.globals(), Modules::default());
        Loader {
            cache,
            loaded,
            bytes: 0,
            memory: 0,
            form,
            maker_of,
            next: 0,
            origin: Origin::State,
            globals,
            pages,
            texts,
            identities,
            compiler,
            modules,
        }
    }

    /// Refuses files that are larger than the memory of the next page, in kilobytes; 0 is no limit.
    pub fn limit_memory(&mut self, kilobytes: u32) {
        self.memory = kilobytes;
    }

    /// The number under which the state's code finds the file's function. `stamp` is the file's present one, if
    /// the caller knows it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&mut self, lua: &Lua, path: &Path, stamp: Option<Stamp>, language: Language) -> Result<u32, LoadError> {
        injection::panic_at("load");
        let stamp = match stamp {
            Some(stamp) => stamp,
            None => Stamp::from(&path.metadata().map_err(LoadError::Io)?),
        };
        self.origin = Origin::State;
        self.loaded_number(lua, path, &stamp, language).map(|(number, _)| number)
    }

    /// Where the code of the page that was loaded last came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The same for a file that another includes, whose identity the state's code then finds too.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load_part(&mut self, lua: &Lua, path: &Path, stamp: &Stamp, language: Language) -> Result<u32, LoadError> {
        injection::panic_at("include");
        let of_page = self.origin;
        let part = self.loaded_number(lua, path, stamp, language);
        self.origin = of_page;
        let (number, is_identified) = part?;
        if !is_identified && let Some(loaded) = self.loaded.peek_mut(path.as_os_str().as_bytes()) {
            self.identities
                .raw_set(number, identity(&loaded.stamp))
                .map_err(|error| LoadError::Page(engine_error(error)))?;
            loaded.is_identified = true;
        }
        Ok(number)
    }

    /// A file's number, and whether `identities` has it.
    fn loaded_number(
        &mut self,
        lua: &Lua,
        path: &Path,
        stamp: &Stamp,
        language: Language,
    ) -> Result<(u32, bool), LoadError> {
        let name = path.as_os_str().as_bytes();
        if let Some(loaded) = self.loaded.peek_mut(name)
            && loaded.stamp == *stamp
            && loaded.language == language
        {
            loaded.is_used = true;
            return Ok((loaded.number, loaded.is_identified));
        }
        Ok((self.read(lua, path, stamp, language)?, false))
    }

    /// The number of a file that is not loaded, or was changed.
    #[inline(never)]
    fn read(&mut self, lua: &Lua, path: &Path, stamp: &Stamp, language: Language) -> Result<u32, LoadError> {
        let (chunk, function) = match self.cache.get(path, stamp, language) {
            Some(chunk) => {
                self.origin = Origin::Host;
                let function =
                    lua.load(Bytecode(&chunk.bytecode)).set_environment(self.globals.clone()).into_function();
                (chunk, function.map_err(|error| LoadError::Page(engine_error(error)))?)
            }
            None => {
                let began = Instant::now();
                let (chunk, function) = compile(&self.compiler, &self.globals, path, language, self.memory, self.form)?;
                let chunk = Arc::new(chunk);
                self.cache.put(path, chunk.clone(), began.elapsed());
                self.origin = Origin::Compiled;
                (chunk, function)
            }
        };
        let function = match &self.maker_of {
            Some(maker_of) if !chunk.makes_function => maker_of.call(function),
            _ => Ok(function),
        };
        function
            .and_then(|function| self.keep(lua, path, chunk, &function))
            .map_err(|error| LoadError::Page(engine_error(error)))
    }

    /// The number of a page that is this Lua, and lies where the name says.
    ///
    /// # Errors
    /// [`LoadError::Page`].
    pub fn load_text(&mut self, lua: &[u8], name: &Path) -> Result<u32, LoadError> {
        let Compiled { function, makes_function, .. } =
            compile_source(&self.compiler, &self.globals, name, lua, Language::Raw, self.form)?;
        let function = match &self.maker_of {
            Some(maker_of) if !makes_function => maker_of.call(function),
            _ => Ok(function),
        };
        self.next = self.next.wrapping_add(1);
        function
            .and_then(|function| self.pages.raw_set(self.next, function))
            .map_err(|error| LoadError::Page(engine_error(error)))?;
        Ok(self.next)
    }

    /// A page that is a text of that name as a function, with the texts outside it, if there are any.
    ///
    /// # Errors
    /// [`LoadError::Page`].
    pub fn compile_text(
        &self,
        lua: &Lua,
        text: &[u8],
        name: &Path,
        language: Language,
    ) -> Result<(Function, Option<Table>), LoadError> {
        let compiled = compile_source(&self.compiler, &self.globals, name, text, language, Form::Plain)?;
        let texts = (!compiled.texts.is_empty()).then(|| groups(lua, text, &compiled.texts)).transpose();
        Ok((compiled.function, texts.map_err(|error| LoadError::Page(engine_error(error)))?))
    }

    /// The source a path was loaded from.
    #[must_use]
    pub fn source(&self, path: &Path) -> Option<&[u8]> {
        self.loaded.peek(path.as_os_str().as_bytes()).map(|loaded| loaded.chunk.source.as_slice())
    }

    fn keep(&mut self, lua: &Lua, path: &Path, chunk: Arc<Chunk>, function: &Function) -> mlua::Result<u32> {
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        if !chunk.texts.is_empty() || chunk.keeps_functions {
            self.texts.raw_set(number, groups(lua, &chunk.source, &chunk.texts)?)?;
        }
        self.pages.raw_set(number, function)?;
        let name = path.as_os_str().as_bytes();
        if let Some(old) = self.loaded.pop(name) {
            self.forget(&old)?;
        }
        let size = chunk.size();
        while self.loaded.len() == self.loaded.cap().get() || self.bytes + size > MOST_BYTES && !self.loaded.is_empty()
        {
            self.forget_one()?;
        }
        self.bytes += size;
        let (stamp, language) = (chunk.stamp, chunk.language);
        self.loaded.push(name.into(), Loaded { chunk, stamp, language, number, is_used: false, is_identified: false });
        Ok(number)
    }

    fn forget(&mut self, old: &Loaded) -> mlua::Result<()> {
        self.bytes -= old.chunk.size();
        self.pages.raw_set(old.number, mlua::Nil)?;
        self.texts.raw_set(old.number, mlua::Nil)?;
        self.identities.raw_set(old.number, mlua::Nil)
    }

    /// Forgets the one whose turn it is.
    fn forget_one(&mut self) -> mlua::Result<()> {
        while let Some((name, mut loaded)) = self.loaded.pop_lru() {
            if !loaded.is_used {
                return self.forget(&loaded);
            }
            loaded.is_used = false;
            self.loaded.push(name, loaded);
        }
        Ok(())
    }

    /// Forgets a file too large to be kept for another page. Whether there was one.
    ///
    /// # Errors
    /// Lua's, when memory runs out.
    pub fn forget_large(&mut self) -> mlua::Result<bool> {
        let any = self.bytes > MOST_BYTES;
        while self.bytes > MOST_BYTES {
            self.forget_one()?;
        }
        Ok(any)
    }
}

/// The texts outside a function, as it takes them.
fn groups(lua: &Lua, source: &[u8], texts: &[Range<usize>]) -> mlua::Result<Table> {
    let groups = lua.create_table()?;
    for group in texts.chunks(emit::GROUP) {
        // One by one: a state keeps only so many strings alive for Rust at a time.
        let texts = lua.create_table_with_capacity(group.len(), 0)?;
        for text in group {
            texts.raw_push(lua.create_string(&source[text.clone()])?)?;
        }
        groups.raw_push(texts)?;
    }
    Ok(groups)
}

/// What tells a file from all others, whatever its names are.
#[must_use]
pub fn identity(stamp: &Stamp) -> String {
    format!("{}:{}", stamp.device, stamp.inode)
}

/// Bytecode of ours. It has its file's name in it; this one is for mlua, which otherwise makes one up, at a fifth of the cost
/// of loading a small page.
struct Bytecode<'c>(&'c [u8]);

impl AsChunk for Bytecode<'_> {
    fn name(&self) -> Option<String> {
        Some("=page".to_string())
    }

    fn mode(&self) -> Option<ChunkMode> {
        Some(ChunkMode::Binary)
    }

    fn source<'a>(&self) -> io::Result<Cow<'a, [u8]>>
    where
        Self: 'a,
    {
        Ok(Cow::Borrowed(self.0))
    }
}

fn load(compiler: &Compiler, globals: &Table, path: &Path, code: &[u8]) -> mlua::Result<Function> {
    let function = compiler.compile(&format!("@{}", path.display()), code)?;
    function.set_environment(globals.clone())?;
    Ok(function)
}

/// Reads and compiles a file of no more than `memory` kilobytes, if that is not 0, without any lock.
///
/// # Errors
/// [`LoadError`].
fn compile(
    compiler: &Compiler,
    globals: &Table,
    path: &Path,
    language: Language,
    memory: u32,
    form: Form,
) -> Result<(Chunk, Function), LoadError> {
    let (source, stamp) = read(path, memory)?;
    let Compiled { function, texts, keeps_functions, makes_function } =
        compile_source(compiler, globals, path, &source, language, form)?;
    let bytecode = function.dump(false);
    Ok((Chunk { stamp, language, source, bytecode, texts, keeps_functions, makes_function }, function))
}

/// How the function of a page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is written.
    Plain,
    /// Functions in it are made once, where they can be kept.
    Keeping,
    /// By another function, which makes as many as are wanted of one prototype: what LuaJIT compiles belongs to that.
    Makers,
}

/// A compiled source.
struct Compiled {
    /// The page's, or what makes that.
    function: Function,
    /// Texts outside it.
    texts: Vec<Range<usize>>,
    /// Whether it keeps functions beside them.
    keeps_functions: bool,
    /// Whether it makes the page's function.
    makes_function: bool,
}

/// Compiles a source. Not every page can be in a function that makes its own: then it is the function itself.
fn compile_source(
    compiler: &Compiler,
    globals: &Table,
    path: &Path,
    source: &[u8],
    language: Language,
    form: Form,
) -> Result<Compiled, LoadError> {
    let translated = translated(source, language);
    let maker = |code: &[u8]| {
        let is_fit = cfg!(feature = "luajit") && translated.is_fit_for_function();
        is_fit.then(|| emit::as_function(code)).flatten().map(|code| load(compiler, globals, path, &code))
    };
    // What does not compile that way is compiled as it was written, for its error or because of a limit of Lua's.
    let load = |code: &[u8]| {
        let whole = maker(code).map(|maker| maker?.call(()));
        whole.filter(is_compiled).unwrap_or_else(|| load(compiler, globals, path, code))
    };
    let maker = if form == Form::Makers { maker(&translated.source).filter(is_compiled) } else { None };
    let makes_function = maker.is_some();
    let functions = if form == Form::Keeping { translated.functions_to_keep() } else { None };
    let keeping = functions.and_then(|functions| load_keeping(functions, load));
    let keeps_functions = keeping.is_some();
    let function = maker.or(keeping).unwrap_or_else(|| load(&translated.source)).map_err(|error| {
        LoadError::Page(match error {
            mlua::Error::SyntaxError { message, .. } => {
                let syntax = if let Language::Page(syntax) = language { Some(syntax) } else { None };
                Refused { compiler, path, source, code: &translated.source }.error(syntax, message)
            }
            error => engine_error(error),
        })
    })?;
    Ok(Compiled { function, texts: translated.texts, keeps_functions, makes_function })
}

/// The function of a page that keeps all of these that can be kept, if there are any.
fn load_keeping(
    mut functions: KeptFunctions,
    load: impl Fn(&[u8]) -> mlua::Result<Function>,
) -> Option<mlua::Result<Function>> {
    for _ in 0..MOST_TRIES {
        let dropped = match load(&emit::keeping(&functions)?) {
            Ok(function) if !functions.drop_unproven(&function.dump(false)) => return Some(Ok(function)),
            Ok(_) => true,
            Err(mlua::Error::SyntaxError { message, .. }) => functions.drop_refused(message.as_bytes()),
            Err(error) => return Some(Err(error)),
        };
        if !dropped {
            break;
        }
    }
    None
}

/// Whether code compiled, whatever else went wrong: a limit can strike then.
fn is_compiled(function: &mlua::Result<Function>) -> bool {
    !matches!(function, Err(mlua::Error::SyntaxError { .. }))
}

/// Reads and compiles a file in a Lua of its own, to see whether it compiles.
///
/// # Errors
/// [`LoadError`].
pub fn check(path: &Path, language: Language) -> Result<(), LoadError> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::new()).map_err(|error| LoadError::Page(engine_error(error)))?;
    let compiler = Compiler::new(&lua, None).map_err(|error| LoadError::Page(engine_error(error)))?;
    compile(&compiler, &lua.globals(), path, language, 0, Form::Plain).map(|_| ())
}

/// Reads a file and gives the Lua it becomes.
///
/// # Errors
/// [`LoadError`].
pub fn translate(path: &Path, language: Language) -> Result<Vec<u8>, LoadError> {
    Ok(translated(&read(path, 0)?.0, language).source)
}

fn translated(source: &[u8], language: Language) -> emit::Lua {
    match language {
        Language::Page(syntax) => emit::emit(source, syntax),
        Language::Raw => emit::Lua::raw(source),
    }
}

fn read(path: &Path, memory: u32) -> Result<(Vec<u8>, Stamp), LoadError> {
    chunk::read(path, memory).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            LoadError::Page(Error::new(ErrorKind::Read, format!("{}: {error}", path.display())))
        }
        _ => LoadError::Io(error),
    })
}

/// A failure of Lua itself while code is loaded.
fn engine_error(error: mlua::Error) -> Error {
    match error {
        mlua::Error::MemoryError(_) => Error::new(ErrorKind::MemoryLimit, "Memory limit reached!"),
        error if error.to_string().contains(OVER_TIME) => Error::new(ErrorKind::TimeLimit, OVER_TIME),
        error => Error::new(ErrorKind::Internal, error.to_string()),
    }
}
