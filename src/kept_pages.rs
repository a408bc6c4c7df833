//! Where a server keeps pages for other visitors, and under which address a request finds its own.

use std::ffi::c_int;
use std::sync::Arc;

use plua::exchange::KeptPlace;
use plua::kept::KeptPages;
use plua::kept::address::Address;
use plua::kept::near::{Asked, Near};
use shared_store::Store;

use crate::request::{first, header};
use crate::{ffi, pool};

/// Where a server keeps pages.
pub(crate) struct Kept {
    store: Arc<Store>,
    /// Whose they are.
    owner: Vec<u8>,
    pub(crate) pages: KeptPages,
    /// Those for everybody that were sent a moment ago.
    pub(crate) near: Near,
    /// The number of the configuration under which requests are let in.
    pub(crate) generation: u64,
}

impl Kept {
    /// In a store, for the server of this identity.
    pub(crate) fn new(store: Arc<Store>, owner: Vec<u8>, generation: u64) -> Kept {
        let pages = KeptPages::new(store.clone(), &owner);
        Kept { store, owner, pages, near: Near::default(), generation }
    }

    /// Whether it may keep any.
    pub(crate) fn has_any(&self) -> bool {
        self.pages.has_any()
    }

    /// The same for a site of it, which has a document root of its own.
    fn of_site(&self, root: &[u8]) -> KeptPages {
        KeptPages::new(self.store.clone(), &[&self.owner, &b"\0"[..], root].concat())
    }
}

/// Bytes of a `Host` that is part of an address; longer ones have none.
const LONGEST_HOST: usize = 255;

/// What a request asks for. None for one that comes with a body.
///
/// # Safety
/// `r` is a live request, the one that the client sent, whose headers nobody changes as long as this is used.
pub(crate) unsafe fn asked<'a>(r: &ffi::request_rec) -> Option<Asked<'a>> {
    // SAFETY: the caller's promise; texts are C strings of the request's.
    unsafe {
        if header(r, c"Content-Length").is_some_and(|length| length != b"0")
            || header(r, c"Transfer-Encoding").is_some()
        {
            return None;
        }
        // The host as it was sent: the page may show it.
        let host = header(r, c"Host").unwrap_or_default();
        let asked = Asked { scheme: pool::bytes(ffi::ap_run_http_scheme(r)), host, path: pool::bytes(r.unparsed_uri) };
        (host.len() <= LONGEST_HOST).then_some(asked)
    }
}

/// Where its answer is kept; none for one that is too long, or that no client sends.
pub(crate) fn address(asked: &Asked<'_>) -> Option<Address> {
    Address::new(asked.scheme, asked.host, asked.path)
}

/// What is told of a request for which a page may be kept.
///
/// # Safety
/// `r` is the live request of the calling thread, which httpd has let in and mapped to a file.
pub(crate) unsafe fn place(r: *mut ffi::request_rec, kept: &Kept) -> Option<KeptPlace> {
    // SAFETY: the caller's promise; requests that httpd has made of others point to those, which live as long, and so do their
    // texts, which are C strings or null.
    unsafe {
        let request = &*r;
        let sent = first(request);
        // A page that answers an error is another answer each time, and one that is a part of another has no address of its own.
        let is_asked_for = |one: &ffi::request_rec| {
            one.main.is_null() && one.method_number == ffi::M_GET as c_int && one.status == ffi::HTTP_OK as c_int
        };
        if !is_asked_for(request) || !is_asked_for(sent) {
            return None;
        }
        let has_user = !request.user.is_null() || header(request, c"Authorization").is_some();
        let mut file = pool::bytes(request.filename).to_vec();
        if pool::bytes(request.args) != pool::bytes(sent.parsed_uri.query) {
            file.push(b'?');
            file.extend_from_slice(pool::bytes(request.args));
        }
        let pages = match ffi::plua_document_root(r) {
            root if root.is_null() => kept.pages.clone(),
            root => kept.of_site(pool::bytes(root)),
        };
        Some(KeptPlace { pages, address: address(&asked(sent)?)?, file, has_user, making: None })
    }
}
