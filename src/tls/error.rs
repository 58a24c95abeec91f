//! What can be wrong with the files that TLS is made from, in words for the operator.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there.
    #[error("{} does not exist; relative paths start at the folder of the configuration file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a folder, a pipe or a device.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It is too large to be what it should be.
    #[error("{} has more than the {limit} bytes that such a file may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        limit: u64,
    },
    /// The system says no.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system says no to writing.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::NotAFile { path }
            | Self::TooLarge { path, .. }
            | Self::Unreadable { path, .. }
            | Self::Unwritable { path, .. } => path,
        }
    }
}

/// Why TLS cannot be made from the files that the configuration names.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// No `BEGIN CERTIFICATE` section.
    #[error("{} has no certificate in it (no \"BEGIN CERTIFICATE\" section){hint}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        hint: &'static str,
    },
    /// Broken PEM.
    #[error("{} is not sound PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Where it breaks.
        source: rustls_pki_types::pem::Error,
    },
    /// More certificates than a chain or bundle may have.
    #[error("{} has more than {limit} certificates", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// Most certificates.
        limit: usize,
    },
    /// PEM whose content is no certificate.
    #[error("{}: certificate {position} is not a sound X.509 certificate: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        position: usize,
        /// What the parser says.
        reason: String,
    },
    /// No private key section.
    #[error("{} has no private key in it (no \"BEGIN PRIVATE KEY\" section){hint}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        hint: &'static str,
    },
    /// A key that cannot be used.
    #[error("{}: the private key cannot be used; RSA of 2048 bits or more, P-256, P-384, P-521 and Ed25519 can", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the cryptography says.
        source: rustls::Error,
    },
    /// The certificate is about another key.
    #[error("{} is not the key of the certificate in {}: their public keys differ", key.display(), cert.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A bundle of CAs that cannot be trusted.
    #[error("{}: a CA certificate cannot be used as a root of trust", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system has no roots.
    #[error(
        "no CA certificates were found on this system; install its ca-certificates package, or name a file with `tls = {{ ca = \"…\" }}`"
    )]
    NoSystemRoots,
    /// A verifier cannot be made.
    #[error("the check of certificates cannot be set up")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Not a DNS name or address.
    #[error("\"{name}\" is not a DNS name or an address that a certificate could bear")]
    ServerName {
        /// As configured.
        name: String,
        /// Why not.
        source: rustls_pki_types::InvalidDnsNameError,
    },
    /// The development CA cannot be made.
    #[error("the development certificate cannot be made")]
    Development(#[source] rcgen::Error),
    /// A certificate for a challenge, or a request for one, cannot be made.
    #[error("what the CA is to see cannot be made")]
    Made(#[source] rcgen::Error),
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// What is wrong, and at which key of the configuration.
#[derive(Debug)]
pub struct Problem {
    /// Path of the key, such as `tls.certificate[0].key`.
    pub key: String,
    /// What is wrong there.
    pub error: TlsError,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, error: impl Into<TlsError>) -> Self {
        Self {
            key: key.into(),
            error: error.into(),
        }
    }

    /// What is wrong and why, in one line without the key.
    #[must_use]
    pub fn message(&self) -> String {
        self.error.line()
    }
}

impl TlsError {
    /// The error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message())
    }
}
