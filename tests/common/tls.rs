//! A host that speaks TLS, with a certificate made for the test.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A certificate for localhost and its key, made now, valid for a day.
pub fn certificate() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

/// A host at `${PORT2}` that speaks TLS with the certificate of this folder.
pub fn tls(folder: &Path) -> String {
    // mod_ssl warns of an OpenSSL other than the one it was built with, and of certificates such as ours.
    format!(
        "LogLevel info ssl:error\n<VirtualHost *:${{PORT2}}>\nServerName localhost\nSSLEngine On\nSSLOptions +StdEnvVars\n\
         SSLCertificateFile {0}/certificate.pem\nSSLCertificateKeyFile {0}/key.pem\n</VirtualHost>",
        folder.display()
    )
}
