//! `[tls.acme]`: certificates that a CA issues by ACME (RFC 8555).

use std::path::PathBuf;

/// `[tls.acme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// DNS names in lower case, international ones in their ASCII form; at least one, in one
    /// certificate.
    pub domains: Vec<String>,
    /// Whom the CA may write to, as `mailto:` addresses.
    pub contact: Vec<String>,
    /// The https address of the CA's directory.
    pub directory: String,
    /// PEM roots that the directory's own certificate is checked with; the system's where `None`.
    pub ca: Option<PathBuf>,
    /// The folder that keeps account and certificates.
    pub cache: PathBuf,
    /// How the CA is shown that the names lead here.
    pub challenge: AcmeChallenge,
}

/// `challenge` of `[tls.acme]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// In a handshake at the https door (RFC 8737).
    TlsAlpn01,
    /// In an answer of the http door (RFC 8555 §8.3).
    Http01,
}

impl AcmeChallenge {
    /// Its name in the file and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }
}
