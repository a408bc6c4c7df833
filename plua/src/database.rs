//! A page's database handle, and the handles a request must look after when its page has ended.

use std::sync::Arc;

use apr_dbd::{Connection, MemoryUse};
use mlua::UserData;
use parking_lot::Mutex;

use crate::time_limit::{Cutting, TimeLimitHandle};

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

    /// Does something with the connection, no longer than until the page's deadline. Where that passes while a server
    /// is waited for, the connection is gone.
    ///
    /// # Errors
    /// What `body` says, or that the connection is gone.
    pub fn with<R>(&self, body: impl FnOnce(&mut Connection) -> Result<R, String>) -> Result<R, String> {
        let mut line = self.line.lock();
        let connection = line.as_mut().map_err(|gone| (*gone).to_string())?;
        let Some(until) = self.limit.until() else {
            return connection.until(None, body);
        };
        let cutting = connection.socket()?.map(|socket| self.limit.cutting(socket));
        let done = connection.until(Some(until), body);
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
