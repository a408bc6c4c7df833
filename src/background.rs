//! What pages have of httpd in work that goes on without a request: its error log.

use std::ffi::CStr;
use std::io;
use std::ptr::NonNull;

use plua::error::entry::Entry;
use plua::exchange::{Exchange, Head, Request};

use crate::{ffi, log, pool};

/// Stands in for a request of one host.
#[derive(Clone)]
pub(crate) struct BackgroundExchange(NonNull<ffi::server_rec>);

// SAFETY: a host's record is there as long as the child process, and nothing changes in it.
unsafe impl Send for BackgroundExchange {}
// SAFETY: as above.
unsafe impl Sync for BackgroundExchange {}

impl BackgroundExchange {
    /// For the host of this record.
    ///
    /// # Safety
    /// It is live as long as the process.
    pub(crate) unsafe fn new(server: NonNull<ffi::server_rec>) -> BackgroundExchange {
        BackgroundExchange(server)
    }
}

impl Exchange for BackgroundExchange {
    fn request(&self) -> Request<'_> {
        // SAFETY: the host's name is a text of its configuration, and the banner one of httpd's.
        let (name, banner) = unsafe {
            (pool::bytes(self.0.as_ref().server_hostname), CStr::from_ptr(ffi::ap_get_server_banner()).to_bytes())
        };
        Request { server_name: name.into(), server_banner: banner.into(), ..Request::default() }
    }

    fn headers(&self, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn variables(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn respond(&mut self, _: &Head, _: &[u8]) -> io::Result<()> {
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

    fn can_park(&self) -> bool {
        true
    }

    fn log(&mut self, entry: Entry, line: &str) {
        // SAFETY: promised to `new`.
        unsafe { log::server(self.0.as_ptr(), entry, line) }
    }
}
