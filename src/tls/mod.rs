//! TLS at both doors: what clients meet, and how https apps are met.
//!
//! [`TlsState`] is what one configuration makes of `[tls]`: certificates chosen by SNI, protocol
//! versions, ALPN, session tickets, client certificates. Renewed certificates are swapped in whole
//! under living connections; a pair that is not sound is refused and the one before it stays.
//! [`Acme`] orders certificates from a CA and renews them. [`client_config`] is for upstreams. TLS 1.2 with AEAD and forward secrecy, and TLS 1.3; nothing
//! older, no renegotiation, no compression, no 0-RTT.

mod acme;
mod client;
mod development;
mod error;
mod file;
mod keep;
mod look;
mod names;
mod pair;
mod resolver;
mod server;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use acme::{Acme, Challenges, Progress};
pub use client::{client_config, server_name};
pub use error::{FileError, Problem, TlsError};
pub use look::{Known, Looked, Roots, Trust, look, look_at_peer};
pub use names::CertificateNames;
pub use pair::{CertificateInfo, Warning};
pub use resolver::Served;
pub use state::{Outcome, Refreshed, TlsState};

/// The cryptography of every connection: aws-lc-rs with the suites and groups that rustls thinks
/// fit, all of them AEAD with ephemeral keys.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
