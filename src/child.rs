//! The engine of one child process, and each server's way to it.

use std::cell::Cell;
use std::ffi::CStr;
use std::iter;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::sync::Arc;

use plua::engine::{Engine, Host};
use plua::error::entry::Entry;
use plua::error::injection;
use plua::kept;
use plua::settings::Settings;
use plua::shared::Stores;
use plua::state::compiling;
use plua::state::own_code::OwnCode;

use crate::kept_pages::Kept;
use crate::stores::{self, Wanted};
use crate::{board, ffi, log, names, notes, pool};

/// What mod_plua keeps for a server: the main one or a `<VirtualHost>`.
#[derive(Default)]
pub(crate) struct Server {
    /// What its configuration says, merged with the main server's.
    pub(crate) settings: Settings,
    /// The stores that its configuration names.
    pub(crate) stores: Stores,
    /// Where it keeps pages, while it has a host, if it has a store for them.
    pub(crate) kept: Option<Kept>,
    /// The number of the configuration, which the children of one that comes after it do not have.
    pub(crate) generation: u64,
    /// Where its host counts, once the configuration is read.
    pub(crate) counts: Option<scoreboard::Host>,
    /// Whether a format of the log names what pages have taken.
    pub(crate) wants_facts: bool,
    /// Its host, from the start of a child to its end.
    pub(crate) host: Option<Host>,
    /// The running httpd's version, known as long as the host: `2.4.71`.
    pub(crate) httpd_version: String,
    /// The engine's own code, compiled for all children. Only the main server has it; a static would keep it after the
    /// module is unloaded.
    pub(crate) own_code: Option<Arc<OwnCode>>,
}

impl Server {
    /// The record of `server`, or nothing when httpd made none.
    ///
    /// # Safety
    /// `server` is a live record of httpd's.
    pub(crate) unsafe fn of(server: *const ffi::server_rec) -> Option<NonNull<Server>> {
        // SAFETY: the caller vouches for the server; what is kept there under our module came from `create_server`
        // or `merge_server`.
        let record = unsafe { ffi::ap_get_module_config((*server).module_config, &raw const crate::plua_module) };
        NonNull::new(record.cast())
    }
}

/// Asks the engine about every server's settings, and compiles its own code, before any process starts that would use
/// them. What an administrator should change is logged, but at the first of two readings.
///
/// # Errors
/// A sentence that names the server.
///
/// # Safety
/// `main` is httpd's live main server and `pool` a live one, in a process of one thread that has read its configuration.
pub(crate) unsafe fn check(
    pool: *mut ffi::apr_pool_t,
    main: *mut ffi::server_rec,
    is_first_reading: bool,
) -> Result<(), String> {
    let warn = |entry: Entry, line: &str| {
        if !is_first_reading {
            // SAFETY: the caller's promise.
            unsafe { log::server(main, entry, line) };
        }
    };
    // SAFETY: the caller's promise.
    unsafe { find_stores(main) }?;
    let generation = kept::generation()?;
    // SAFETY: the caller's promise.
    for Named { mut record, .. } in unsafe { servers(main) } {
        // SAFETY: the record is the configuration's, and nobody else looks at it meanwhile.
        unsafe { record.as_mut() }.generation = generation;
    }
    // SAFETY: the caller's promise.
    for (record, _) in unsafe { hosts(&Engine::new(), main) }? {
        // SAFETY: the record is the configuration's; nobody changes it meanwhile.
        let around = unsafe { &record.as_ref().settings }.ways_around_base_folders();
        if !around.is_empty() {
            let line = format!(
                "pLuaBaseDir does not hold pages that have {}: take them away with pLuaIgnoreLibrary or pLuaSandbox",
                around.join(", ")
            );
            warn(Entry::WAYS_AROUND, &line);
        }
    }
    if let Some(warning) = compiling::warning() {
        warn(Entry::NOT_COMPILED, warning);
    }
    // SAFETY: the caller's promise.
    unsafe { find_counts(main) }?;
    // SAFETY: the caller's promise.
    if let Some(warning) = names::warning(&unsafe { names::loose_lines(pool) }) {
        warn(Entry::LOOSE_HANDLER, &warning);
    }
    // SAFETY: the caller's promise.
    if let Some(mut record) = unsafe { Server::of(main) } {
        let own_code = Arc::new(OwnCode::default());
        own_code.compile().map_err(|error| error.message)?;
        // SAFETY: the record is the configuration's, and nobody else looks at it meanwhile.
        unsafe { record.as_mut() }.own_code = Some(own_code);
    }
    Ok(())
}

/// Finds the stores of every server.
///
/// # Safety
/// As [`check`] asks.
unsafe fn find_stores(main: *mut ffi::server_rec) -> Result<(), String> {
    // SAFETY: the caller's promise.
    let servers = unsafe { servers(main) };
    let wanted = servers.into_iter().map(|Named { name, mut record, .. }| {
        // SAFETY: the record is the configuration's; each server has its own, and nobody else looks at it meanwhile.
        let Server { settings, stores, .. } = unsafe { record.as_mut() };
        Wanted { name, settings, stores }
    });
    // SAFETY: the caller's promise: the process is live, and no other thread uses its pool.
    unsafe { stores::find((*(*main).process).pool, wanted.collect()) }
}

/// Gives every server its row of the scoreboard.
///
/// # Safety
/// As [`check`] asks.
unsafe fn find_counts(main: *mut ffi::server_rec) -> Result<(), String> {
    // SAFETY: the caller's promise: the process is live, and no other thread uses its pool.
    let board = unsafe { board::find((*(*main).process).pool) }?;
    board.begin_configuration();
    // SAFETY: the caller's promise.
    let wants_facts = unsafe { notes::are_wanted() };
    // SAFETY: the caller's promise.
    for Named { name, mut record, .. } in unsafe { servers(main) } {
        // SAFETY: the record is the configuration's, and nobody else looks at it meanwhile.
        let record = unsafe { record.as_mut() };
        let name = if record.settings.multi_domain() { name.to_ascii_lowercase() } else { "all hosts".to_string() };
        record.counts = Some(board.host(&name));
        record.wants_facts = wants_facts;
    }
    Ok(())
}

/// Gives every server its host, until `pool` is cleared.
///
/// # Errors
/// A sentence that names the server; then no server has a host.
///
/// # Safety
/// `pool` is the child's, `main` httpd's live main server, in a process of one thread. Both outlive all requests.
pub(crate) unsafe fn start(pool: *mut ffi::apr_pool_t, main: *mut ffi::server_rec) -> Result<(), String> {
    injection::panic_at("start of child");
    // SAFETY: the caller's promise; the record is the configuration's, and nobody changes it meanwhile.
    let own_code = unsafe { Server::of(main).and_then(|record| record.as_ref().own_code.clone()) };
    let engine = Engine::with(own_code.unwrap_or_default());
    // SAFETY: the caller's promise.
    let hosts = unsafe { hosts(&engine, main) }?;
    // SAFETY: the caller's promise.
    for Named { mut record, identity, .. } in unsafe { servers(main) } {
        // SAFETY: no other thread looks at the record before the first request.
        let record = unsafe { record.as_mut() };
        record.kept = record.stores.cache().map(|store| Kept::new(store.clone(), identity, record.generation));
    }
    let httpd_version = httpd_version();
    let mut servers = Vec::new();
    let mut counts_memory = false;
    for (server, host) in hosts {
        // SAFETY: no other thread looks at the record before the first request.
        let record = unsafe { &mut *server.as_ptr() };
        counts_memory |= record.settings.limits().memory > 0;
        record.host = Some(host);
        record.httpd_version.clone_from(&httpd_version);
        servers.push(server);
    }
    if counts_memory {
        // Before another module uses it. Without its driver there is nothing to count.
        let _ = apr_dbd::load_sqlite();
    }
    // SAFETY: the caller vouches for the pool. It is a child of the configuration's, so the servers outlive it.
    unsafe { pool::put(pool, Child { engine: Some(engine), servers }) };
    Ok(())
}

/// Stops the pages that run in this process.
///
/// # Safety
/// `main` is httpd's live main server, whose child was started. Not in a signal's handler.
pub(crate) unsafe fn end_pages(main: *mut ffi::server_rec) {
    // SAFETY: the caller's promise; the record does not change while pages run.
    let host = unsafe { Server::of(main).and_then(|record| record.as_ref().host.as_ref()) };
    if let Some(host) = host {
        host.end_pages();
    }
}

/// Each server that has a record, with its host in `engine`.
///
/// # Safety
/// As [`start`] asks of `main`.
unsafe fn hosts(engine: &Engine, main: *mut ffi::server_rec) -> Result<Vec<(NonNull<Server>, Host)>, String> {
    let mut hosts = Vec::new();
    // SAFETY: the caller's promise.
    for Named { name, record, .. } in unsafe { servers(main) } {
        // SAFETY: the record is the configuration's; nobody changes it meanwhile.
        let Server { settings, stores, counts, .. } = unsafe { record.as_ref() };
        let host = engine
            .host_with(&name, settings, stores, *counts)
            .map_err(|sentence| format!("server {name}: {sentence}"))?;
        hosts.push((record, host));
    }
    Ok(hosts)
}

/// A server that has a record.
struct Named {
    name: String,
    /// What no other server of the configuration has: its name, and where its lines begin.
    identity: Vec<u8>,
    record: NonNull<Server>,
}

/// Each server that has a record, the main one first.
///
/// # Safety
/// As [`start`] asks of `main`.
unsafe fn servers(main: *mut ffi::server_rec) -> Vec<Named> {
    let all = iter::successors(NonNull::new(main), |server| {
        // SAFETY: the list of servers is httpd's, and complete when this runs.
        NonNull::new(unsafe { server.as_ref().next })
    });
    let named = all.filter_map(|server| {
        // SAFETY: a live server of httpd's list.
        let record = unsafe { Server::of(server.as_ptr()) }?;
        // SAFETY: a live server; httpd gives it a name that is a C string, or none.
        let name = match unsafe { server.as_ref().server_hostname } {
            name if name.is_null() => String::new(),
            // SAFETY: as above.
            name => unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(),
        };
        // SAFETY: as above, and so is the name of the file, or none.
        let (file, line) = unsafe { (pool::bytes(server.as_ref().defn_name), server.as_ref().defn_line_number) };
        let identity = [name.to_ascii_lowercase().as_bytes(), b" ", line.to_string().as_bytes(), b" ", file].concat();
        Some(Named { name, identity, record })
    });
    named.collect()
}

fn httpd_version() -> String {
    // SAFETY: zeros are a valid value of this record of numbers and a text; httpd fills it in.
    let version = unsafe {
        let mut version = mem::zeroed::<ffi::ap_version_t>();
        ffi::ap_get_server_revision(&raw mut version);
        version
    };
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}

/// Owner of the engine: dropped when the child's pool is cleared, after the last request.
struct Child {
    engine: Option<Engine>,
    servers: Vec<NonNull<Server>>,
}

impl Drop for Child {
    fn drop(&mut self) {
        // A prefork child that is told to stop clears its pool inside the signal handler, with the page it interrupted
        // still on this thread's stack. Taking the engine from under it could hang or crash; the process ends anyway.
        let interrupted = Serving::depth() > 0;
        for server in &mut self.servers {
            // SAFETY: the records outlive the child's pool, and no request looks at them any more.
            let server = unsafe { server.as_mut() };
            if interrupted {
                let _ = ManuallyDrop::new(server.host.take());
            }
            server.host = None;
            server.kept = None;
        }
        if interrupted {
            let _ = ManuallyDrop::new(self.engine.take());
        }
    }
}

thread_local! {
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// A page is being served on this thread until this is dropped. One can run inside another: an SSI filter on the output
/// of a page may include the next.
#[must_use]
pub(crate) struct Serving(());

impl Serving {
    /// From here on.
    pub(crate) fn begin() -> Serving {
        PAGES.set(PAGES.get() + 1);
        Serving(())
    }

    /// How many pages are being served on this thread, one inside the other.
    pub(crate) fn depth() -> u32 {
        PAGES.get()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        PAGES.set(PAGES.get() - 1);
    }
}
