//! Servers on loopback for pages to connect to.

// Each test program uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

pub mod http;
pub mod http2;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::site::{Seen, Site};

/// Where globals are the state's, the request's, and a sandbox's.
pub const MODES: [&str; 3] = ["", "pLuaGlobals request\n", "pLuaSandbox On\npLuaConnect any\n"];

/// A server that does that with each connection, in a thread of its own; and how many it has had.
pub fn server(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count, talk) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(talk));
    let counted = count.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let talk = talk.clone();
            thread::spawn(move || talk(connection.unwrap()));
        }
    });
    (address, count)
}

/// What is both read and written.
pub trait Talk: Read + Write {}
impl<T: Read + Write> Talk for T {}

/// The same behind TLS.
pub fn tls_server(certificate: &Certificate, talk: impl Fn(Box<dyn Talk>) + Send + Sync + 'static) -> SocketAddr {
    let config = certificate.server(&[]);
    let (address, _) = server(move |connection| {
        let tls = ServerConnection::new(config.clone()).unwrap();
        talk(Box::new(StreamOwned::new(tls, connection)));
    });
    address
}

/// A certificate that is its own authority, made now, valid for a day.
pub struct Certificate {
    folder: TempDir,
    pub path: PathBuf,
    pub pem: String,
}

impl Certificate {
    /// For that name.
    pub fn new(name: &str) -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
            .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = folder.path().join("certificate.pem");
        let pem = fs::read_to_string(&path).unwrap();
        Certificate { folder, path, pem }
    }

    /// What a server is known by with it, which speaks these protocols.
    pub fn server(&self, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates = CertificateDer::pem_slice_iter(self.pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.folder.path().join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// What a page of this text answers under these lines.
pub fn ask(configuration: &str, page: &str) -> Seen {
    Site::new(&format!("pLuaStates 1\n{configuration}"), &[("page.plua", page)]).get("page.plua")
}

/// What the page answers, in every mode, twice.
pub fn answers(address: SocketAddr, page: &str, wanted: &str) {
    let page = page.replace("ADDRESS", &address.to_string());
    for mode in MODES {
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[("page.plua", &page)]);
        for _ in 0..2 {
            let seen = site.get("page.plua");
            assert_eq!((seen.text().as_str(), seen.status), (wanted, 200), "{mode}: {page}: {:?}", seen.log);
            assert_eq!(seen.log, [""; 0], "{mode}: {page}");
        }
    }
}
