//! Whom pages trust: certificates of the system's, or those that a page names.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use lru::LruCache;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::network::{Failure, words};

/// How one side of a connection by TLS is to be known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Whether the server is to be known at all.
    pub verify: bool,
    /// The name its certificate is to be for, where that is not the host's.
    pub server_name: Option<String>,
    /// Certificates that are trusted instead of the system's, as PEM.
    pub ca: Option<Arc<[u8]>>,
    /// Whether HTTP is to be spoken, of whatever version the server knows.
    pub http: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { verify: true, server_name: None, ca: None, http: false }
    }
}

/// What was made of wishes, which pages have again and again.
pub struct Trust(Mutex<LruCache<Kind, Arc<ClientConfig>>>);

/// Whether servers are known, by which certificates, and whether they speak HTTP.
type Kind = (bool, Option<Arc<[u8]>>, bool);

/// As many kinds of connections a site's pages make with one another, most of them.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

impl Default for Trust {
    fn default() -> Trust {
        Trust(Mutex::new(LruCache::new(MOST)))
    }
}

impl Trust {
    /// What a connection of that wish is made with.
    ///
    /// # Errors
    /// Kind `tls`: certificates that are none.
    pub fn config(&self, wish: &Wish) -> Result<Arc<ClientConfig>, Failure> {
        let key = (wish.verify, wish.ca.clone(), wish.http);
        if let Some(config) = self.0.lock().get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(make(wish)?);
        self.0.lock().put(key, config.clone());
        Ok(config)
    }
}

fn make(wish: &Wish) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(&error))?;
    let mut config = match (wish.verify, &wish.ca) {
        (false, _) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
        }
        (true, None) => builder.with_root_certificates(of_the_system()?).with_no_client_auth(),
        (true, Some(ca)) => builder.with_root_certificates(of_pem(ca)?).with_no_client_auth(),
    };
    if wish.http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// What TLS says of an error.
#[must_use]
pub fn failure(error: &rustls::Error) -> Failure {
    let words = error.to_string();
    Failure::new("tls", words)
}

/// What TLS says where it looks like an error of the system's.
#[must_use]
pub fn failure_of(error: &io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(failure)
}

/// Those of the system, which a process reads once.
fn of_the_system() -> Result<Arc<RootCertStore>, Failure> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let problem = loaded.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Failure::new("tls", format!("the system has no certificates to trust (ca-certificates){problem}")));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}

fn of_pem(pem: &[u8]) -> Result<Arc<RootCertStore>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Failure::new("tls", format!("ca: {error}")))?;
        roots.add(certificate).map_err(|error| Failure::new("tls", format!("ca: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Failure::new("tls", "ca: no certificate in PEM is there"));
    }
    Ok(Arc::new(roots))
}

/// The name that a server's certificate is to be for.
///
/// # Errors
/// Kind `tls`, for what is no name.
pub fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    let known = ServerName::try_from(name.trim_end_matches('.').to_owned());
    known.map_err(|_| Failure::new("tls", format!("'{name}' is not a name that a certificate can be for")))
}

/// What a connection that failed says: who it was not, or what the system says.
#[must_use]
pub fn handshake_failure(error: &io::Error) -> Failure {
    match failure_of(error) {
        Some(failure) => failure,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::new("tls", "closed before the handshake was done")
        }
        None => Failure::new("tls", words(error)),
    }
}

/// Takes whoever is there for whom a page asked for.
struct Anybody(Arc<CryptoProvider>);

impl fmt::Debug for Anybody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
