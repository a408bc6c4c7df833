//! A page's database handle, and the handles a request must look after when its page has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use apr_dbd::{Bounds, Connection, MemoryUse};
use mlua::UserData;
use parking_lot::Mutex;

use crate::limits::cutoff::Cutting;
use crate::limits::time_limit::TimeLimitHandle;

/// A connection, or why there is none any more.
pub type Line = Result<Connection, &'static str>;

/// Why there is none after the page's time was over while it waited for the database's server.
const CUT_OFF: &str = "the database handle was closed when the page's time was over";

/// What a page's handle holds. It may outlive the request; the connection is closed with the last that holds it.
///
/// Its lock is never held while Lua allocates: that may collect garbage, and dropping [`Rows`] or [`Prepared`] takes the
/// lock.
#[derive(Clone)]
pub struct Handle {
    line: Arc<Mutex<Line>>,
    limit: TimeLimitHandle,
    memory: Arc<MemoryUse>,
}

impl UserData for Handle {}

impl Handle {
    /// A handle over a connection, for pages under this limit. What is held in memory for it is counted there.
    #[must_use]
    pub fn new(mut connection: Connection, limit: TimeLimitHandle, memory: &Arc<MemoryUse>) -> Handle {
        connection.count_in(memory);
        Handle { line: Arc::new(Mutex::new(Ok(connection))), limit, memory: memory.clone() }
    }

    /// Allows what is held in memory for this connection, and for others counted with it, so many kilobytes; 0 is no
    /// limit.
    pub fn allow(&self, kilobytes: u32) {
        allow(&self.memory, kilobytes);
    }

    /// Does something with the connection, no longer than until the page's deadline, or the end of httpd. Where that comes
    /// while a server is waited for, the connection is gone.
    ///
    /// # Errors
    /// What `body` says, or that the connection is gone.
    pub fn with<R>(&self, body: impl FnOnce(&mut Connection) -> Result<R, String>) -> Result<R, String> {
        let mut line = self.line.lock();
        let connection = line.as_mut().map_err(|gone| (*gone).to_string())?;
        let until = self.limit.until();
        let cutting = connection.socket()?.map(|socket| self.limit.cutoff().waiting_for(socket));
        let done = connection.until(until, body);
        if cutting.is_some_and(Cutting::end) {
            connection.is_cut_off();
            *line = Err(CUT_OFF);
        }
        if done.is_err() {
            self.limit.look();
        }
        done
    }

    /// Closes the connection for everyone who holds it.
    pub fn close(&self, gone: &'static str) {
        let mut line = self.line.lock();
        if line.is_ok() {
            *line = Err(gone);
        }
    }

    fn is_open(&self) -> bool {
        self.line.lock().is_ok()
    }
}

/// Threads of one host that may still try to connect for pages that could not wait for them.
const MOST_ABANDONED: usize = 8;

/// How many there are, by host: one that asks servers which never answer takes nothing from the others.
static ABANDONED: Mutex<BTreeMap<Vec<u8>, usize>> = Mutex::new(BTreeMap::new());

fn abandoned(host: &[u8]) -> usize {
    ABANDONED.lock().get(host).copied().unwrap_or(0)
}

fn no_longer_abandoned(host: &[u8]) {
    let mut all = ABANDONED.lock();
    if let Some(count) = all.get_mut(host) {
        *count -= 1;
        if *count == 0 {
            all.remove(host);
        }
    }
}

/// Connects for a page of that host, until that time at most. What is held in memory for the connection
/// is counted; SQLite opens files only within these bounds.
///
/// No library has a way to end its attempt to connect, so with a deadline it is made in a thread that the page can
/// leave alone.
///
/// # Errors
/// A sentence: what [`Connection::open`] says, or that it took too long.
pub fn open(
    driver: &str,
    parameters: Vec<u8>,
    memory: &Arc<MemoryUse>,
    until: Option<Instant>,
    host: &[u8],
    bounds: Option<Bounds>,
) -> Result<Connection, String> {
    let Some(until) = until.filter(|_| !driver.starts_with("sqlite")) else {
        return Connection::open_counted(driver, &parameters, memory, bounds);
    };
    if abandoned(host) >= MOST_ABANDONED {
        return Err("too many of this host's attempts to connect to databases still wait for an answer".into());
    }
    let (opened, result) = mpsc::sync_channel(0);
    let (driver, of_host) = (driver.to_owned(), host.to_vec());
    let attempt = move || {
        let connection = Connection::open(&driver, &parameters);
        if opened.send(connection).is_err() {
            no_longer_abandoned(&of_host);
        }
    };
    thread::Builder::new().name("plua connect".into()).spawn(attempt).map_err(|error| error.to_string())?;
    match result.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(connection) => connection,
        Err(RecvTimeoutError::Disconnected) => Err("the database cannot be opened".into()),
        Err(RecvTimeoutError::Timeout) => {
            // Before the thread can see that nobody waits any more.
            *ABANDONED.lock().entry(host.to_vec()).or_default() += 1;
            Err("the database took too long to answer".into())
        }
    }
}

/// Allows connections that are counted together so many kilobytes; 0 is no limit.
pub fn allow(memory: &MemoryUse, kilobytes: u32) {
    memory.allow((kilobytes > 0).then_some((kilobytes as usize).max(LEAST) * 1024));
}

/// Kilobytes that databases may have under any limit: SQLite keeps up to 2 MB of a file at hand.
const LEAST: usize = 4096;

/// Rows on their way to a page; what was not fetched is given up when this is dropped.
pub struct Rows {
    /// Where they come from.
    pub handle: Handle,
    /// What the connection knows them by.
    pub number: u64,
}

impl UserData for Rows {}

impl Drop for Rows {
    fn drop(&mut self) {
        let _ = self.handle.with(|connection| {
            connection.give_up(self.number);
            Ok(())
        });
    }
}

/// A statement that a page prepared; the database lets go of it when this is dropped.
pub struct Prepared {
    /// Where it is prepared.
    pub handle: Handle,
    /// Its text, by which the connection knows it.
    pub sql: Vec<u8>,
}

impl UserData for Prepared {}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.handle.with(|connection| {
            connection.release(&self.sql);
            Ok(())
        });
    }
}

/// The handles a page used in one request.
#[derive(Default)]
pub struct Databases {
    used: Vec<Handle>,
    lent: Option<Handle>,
}

impl Databases {
    /// Notes that a handle was used.
    pub fn note(&mut self, handle: &Handle) {
        if !self.used.iter().any(|used| Arc::ptr_eq(&used.line, &handle.line)) {
            self.used.push(handle.clone());
        }
    }

    /// The handle over the server's own connection, if the page has opened it.
    #[must_use]
    pub fn lent(&self) -> Option<Handle> {
        self.lent.clone().filter(Handle::is_open)
    }

    /// Takes over a handle that ends with the request.
    pub fn lend(&mut self, handle: Handle) {
        self.lent = Some(handle);
    }

    /// Whether the page has used none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Rolls back what was left open and takes the server's connection away.
    pub fn end(&mut self) {
        if self.used.is_empty() && self.lent.is_none() {
            return;
        }
        for handle in self.used.drain(..) {
            // What takes back a page's work is not to fail for want of memory.
            handle.memory.allow(None);
            let _ = handle.with(|connection| {
                connection.tidy();
                Ok(())
            });
        }
        if let Some(lent) = self.lent.take() {
            lent.close("the database handle of mod_dbd ended with its request: open it in each request");
        }
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::wait::until;

    #[test]
    fn attempts_that_wait_for_ever_are_counted_by_host() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let memory = Arc::default();
        let attempt = |host: &[u8]| {
            let parameters = format!("host=127.0.0.1 port={port} sslmode=disable").into_bytes();
            let until = Some(Instant::now() + Duration::from_millis(50));
            open("pgsql", parameters, &memory, until, host, None).err().unwrap_or_default()
        };
        if attempt(b"one").contains("not installed") {
            return;
        }
        for _ in 1..MOST_ABANDONED {
            assert_eq!(attempt(b"one"), "the database took too long to answer");
        }
        assert!(attempt(b"one").starts_with("too many of this host's attempts"));
        assert_eq!(attempt(b"other"), "the database took too long to answer");
        drop(silent);
        until("they end", Duration::from_secs(60), || abandoned(b"one") + abandoned(b"other") == 0);
        assert!(ABANDONED.lock().is_empty());
    }
}
