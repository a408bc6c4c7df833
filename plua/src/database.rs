//! A page's database handle, and the handles a request must look after when its page has ended.

use std::sync::Arc;

use apr_dbd::Connection;
use mlua::UserData;
use parking_lot::Mutex;

/// A connection, or why there is none any more.
pub type Line = Result<Connection, &'static str>;

/// What a page's handle holds. It may outlive the request; the connection is closed with the last that holds it.
///
/// Its lock is never held while Lua allocates: that may collect garbage, and dropping [`Rows`] or [`Prepared`] takes the
/// lock.
#[derive(Clone)]
pub struct Handle(pub Arc<Mutex<Line>>);

impl UserData for Handle {}

impl Handle {
    /// A handle over a connection.
    #[must_use]
    pub fn new(connection: Connection) -> Handle {
        Handle(Arc::new(Mutex::new(Ok(connection))))
    }

    /// Does something with the connection.
    ///
    /// # Errors
    /// What `body` says, or that the connection is gone.
    pub fn with<R>(&self, body: impl FnOnce(&mut Connection) -> Result<R, String>) -> Result<R, String> {
        match &mut *self.0.lock() {
            Ok(connection) => body(connection),
            Err(gone) => Err((*gone).to_string()),
        }
    }

    /// Closes the connection for everyone who holds it.
    pub fn close(&self, gone: &'static str) {
        let mut line = self.0.lock();
        if line.is_ok() {
            *line = Err(gone);
        }
    }
}

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
        if let Ok(connection) = &mut *self.handle.0.lock() {
            connection.give_up(self.number);
        }
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
        if let Ok(connection) = &mut *self.handle.0.lock() {
            connection.release(&self.sql);
        }
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
        if !self.used.iter().any(|used| Arc::ptr_eq(&used.0, &handle.0)) {
            self.used.push(handle.clone());
        }
    }

    /// The handle over the server's own connection, if the page has opened it.
    #[must_use]
    pub fn lent(&self) -> Option<Handle> {
        self.lent.clone().filter(|lent| lent.0.lock().is_ok())
    }

    /// Takes over a handle that ends with the request.
    pub fn lend(&mut self, handle: Handle) {
        self.lent = Some(handle);
    }

    /// Rolls back what was left open and takes the server's connection away.
    pub fn end(&mut self) {
        for handle in self.used.drain(..) {
            if let Ok(connection) = &mut *handle.0.lock() {
                connection.tidy();
            }
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
