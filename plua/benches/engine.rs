//! What the parts of the engine take: splitting, translating, compiling and loading a page, running it, echo, threads.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start says why by panicking")]

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mlua::Lua;
use mlua::chunk::ChunkMode;
use plua::cache::chunk::Stamp;
use plua::engine::{Engine, Host, PageFile};
use plua::error::entry::Entry;
use plua::exchange::{Answer, Exchange, Head, Request};
use plua::language::emit::{emit, keeping};
use plua::language::page::{Syntax, split};
use plua::settings::{DIRECTIVES, Settings};

const SYNTAX: Syntax = Syntax { short_hand: true, auto_escape: false, marks: None };

/// Echoes of one run of an echo page.
const ECHOES: u64 = 1000;

/// Files that the page `includes` includes.
const INCLUDES: u64 = 20;

const ALL_LIMITS: &[(&str, &str)] = &[
    ("pLuaTimeout", "30"),
    ("pLuaMemoryLimit", "65536"),
    ("pLuaOutputLimit", "65536"),
    ("pLuaPatternLimit", "10000000"),
];

/// The folder of the pages that `make bench` measures.
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/pages");

/// A visitor who wants nothing but the length.
#[derive(Clone, Copy)]
struct Null;

impl Exchange for Null {
    fn request(&self) -> Request<'_> {
        Request { query: Some(b"a=1&b=2".into()), ..Request::default() }
    }

    fn headers(&self, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn variables(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn respond(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(body));
        black_box(body.len());
        Ok(())
    }

    fn send_head(&mut self, _: &Head) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn log(&mut self, _: Entry, _: &str) {}
}

/// A host of these settings, and one of its pages with the `stat` that httpd makes for each request.
struct Site {
    host: Host,
    settings: Arc<Settings>,
    path: PathBuf,
    stamp: Stamp,
}

impl Site {
    fn new(lines: &[(&str, &str)], path: PathBuf) -> Site {
        let mut settings = Settings::default();
        for (name, value) in lines {
            let row = DIRECTIVES.iter().find(|row| row.name.to_str() == Ok(name)).unwrap();
            row.set(&mut settings, &[value]).unwrap();
        }
        let stamp = Stamp::from(&fs::metadata(&path).unwrap());
        Site { host: Engine::new().host("bench", &settings).unwrap(), settings: Arc::new(settings), path, stamp }
    }

    fn serve(&self) -> Answer {
        let file = PageFile { path: &self.path, stamp: Some(self.stamp), settings: &self.settings };
        self.host.serve(file, Box::new(Null))
    }
}

fn table() -> Vec<u8> {
    fs::read(Path::new(PAGES).join("table.plua")).unwrap()
}

/// A page of many tags: the parts are linear in them.
fn long_page() -> Vec<u8> {
    b"<li class=\"item\"><?= fields.name ?>: <? if fields.price then ?><b><?& fields.price ?></b><? end ?></li>\n"
        .repeat(1000)
}

fn language(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("language");
    let functions: String = (0..100)
        .map(|number| {
            format!("<? local function row{number}(item) ?><li><?= item.name ?>: <?& item.price ?></li><? end ?>\n")
        })
        .collect();
    for (name, page) in [("table", table()), ("5000 tags", long_page()), ("100 functions", functions.into_bytes())] {
        let lua = Lua::new();
        let emitted = emit(&page, SYNTAX);
        let source = &emitted.source;
        let bytecode = lua.load(source).into_function().unwrap().dump(false);
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(format!("split {name}"), |bench| bench.iter(|| split(black_box(&page), SYNTAX)));
        group.bench_function(format!("emit {name}"), |bench| bench.iter(|| emit(black_box(&page), SYNTAX)));
        group.bench_function(format!("keep functions {name}"), |bench| {
            bench.iter(|| emitted.functions_to_keep().and_then(|functions| keeping(&functions)))
        });
        group.bench_function(format!("compile {name}"), |bench| {
            bench.iter(|| lua.load(black_box(source)).set_mode(ChunkMode::Text).into_function().unwrap());
        });
        group.bench_function(format!("load {name}"), |bench| {
            bench.iter(|| lua.load(black_box(&bytecode)).set_mode(ChunkMode::Binary).into_function().unwrap());
        });
    }
    group.finish();
}

fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    for name in ["hello", "table", "cpu"] {
        for (limits, lines) in [
            ("", &[][..]),
            (", time limit", &[("pLuaTimeout", "30")][..]),
            (", all limits", ALL_LIMITS),
            (", globals of its own", &[("pLuaGlobals", "request")][..]),
        ] {
            let site = Site::new(lines, Path::new(PAGES).join(name).with_extension("plua"));
            group.bench_function(format!("{name}{limits}"), |bench| bench.iter(|| site.serve()));
        }
    }
    let site = Site::new(&[("pLuaRuns", "1")], Path::new(PAGES).join("hello.plua"));
    group.bench_function("hello in a new state", |bench| bench.iter(|| site.serve()));
    // Strings and tables that Rust makes, as for the rows of a query.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.plua");
    fs::write(&path, "<? for i = 1, 50 do json.decode('[[1,\"one\"],[2,\"two\"],[3,\"three\"]]') end ?>").unwrap();
    for (limits, lines) in [("", &[][..]), (", all limits", ALL_LIMITS)] {
        let site = Site::new(lines, path.clone());
        group.bench_function(format!("values{limits}"), |bench| bench.iter(|| site.serve()));
    }
    group.finish();
}

fn echo(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("echo");
    group.throughput(Throughput::Elements(ECHOES));
    for (name, tag) in [
        ("strings", "<?= names[i % 4 + 1] ?>"),
        ("integers", "<?= i ?>"),
        ("fractions", "<?= i + 0.25 ?>"),
        ("escaped", "<?& names[i % 4 + 1] ?>"),
        ("escaped markup", "<?& marked[i % 2 + 1] ?>"),
        ("text", "text"),
        ("calls of echo", "<? echo(names[i % 4 + 1]) ?>"),
        ("nothing", "<? -- ?>"),
    ] {
        let path = folder.path().join(name).with_extension("plua");
        let values = "local names, marked = { 'a', 'bc', 'def', 'ghij' }, { '<b>', 'a & b' }";
        fs::write(&path, format!("<? {values} for i = 1, {ECHOES} do ?>{tag}<? end ?>")).unwrap();
        let site = Site::new(&[], path);
        group.bench_function(name, |bench| bench.iter(|| site.serve()));
    }
    group.finish();
}

fn includes(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("includes.plua");
    fs::copy(Path::new(PAGES).join("includes.plua"), &path).unwrap();
    fs::create_dir(folder.path().join("parts")).unwrap();
    for number in 1..=INCLUDES {
        fs::write(folder.path().join(format!("parts/{number}.plua")), "<h2>Part <?= number ?></h2>\n").unwrap();
    }
    let mut group = criterion.benchmark_group("includes");
    group.throughput(Throughput::Elements(INCLUDES));
    for (name, lines) in [
        ("looked at each time", &[][..]),
        ("believed for 2 seconds", &[("pLuaRevalidate", "2")]),
        ("believed, globals of its own", &[("pLuaRevalidate", "2"), ("pLuaGlobals", "request")]),
    ] {
        let site = Site::new(lines, path.clone());
        group.bench_function(name, |bench| bench.iter(|| site.serve()));
    }
    group.finish();
}

/// Threads that share a host's pool and do nothing else but run its smallest page. While no lock holds them up, a page
/// takes the time it takes one thread, divided by the processors. No state is replaced: making one takes longer.
fn pool(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    let site = Site::new(&[("pLuaRuns", "0")], Path::new(PAGES).join("hello.plua"));
    for threads in [1, 2, 10, 50] {
        group.bench_function(format!("{threads} threads"), |bench| {
            bench.iter_custom(|pages| {
                let started = Instant::now();
                thread::scope(|scope| {
                    for number in 0..threads {
                        let share = pages / threads + u64::from(number < pages % threads);
                        let site = &site;
                        scope.spawn(move || {
                            for _ in 0..share {
                                site.serve();
                            }
                        });
                    }
                });
                started.elapsed()
            });
        });
    }
    group.finish();
}

/// Criterion with its results in the target folder, wherever the thread is by then: a page runs in its own folder, and a
/// name below the working folder would put them among the pages.
fn results_in_target() -> Criterion {
    Criterion::default().output_directory(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion"))
}

criterion_group! {
    name = benches;
    config = results_in_target();
    targets = language, run, echo, includes, pool
}
criterion_main!(benches);
