//! `[tls.acme]`: certificates that a CA issues by ACME (RFC 8555).

use std::path::PathBuf;

use super::LedgerHome;
use crate::secret::Secret;

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
    /// The account at the CA's own site that a new ACME account belongs to, where the CA wants one.
    pub external_account: Option<ExternalAccount>,
    /// Where all gateways have account and certificate, where they order together.
    pub shared: Option<SharedAcme>,
}

/// `shared` and `secret` of `[tls.acme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAcme {
    /// The home of `[session]`: one that gateways share.
    pub home: LedgerHome,
    /// What is kept there is sealed with the first, and opens with any; at least one.
    pub secrets: Vec<Secret<Vec<u8>>>,
}

/// `eab_key_id` and `eab_key` of `[tls.acme]` (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// What the CA knows the key by.
    pub key_id: String,
    /// The key of HMAC-SHA256.
    pub key: Secret<Vec<u8>>,
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
