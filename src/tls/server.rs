//! How the public door speaks TLS: versions, ALPN, tickets, client certificates.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::error::{Problem, TlsError};
use super::resolver::Resolver;
use super::{file, provider};
use crate::config::settings::ClientAuth;

/// Tickets after a full handshake: a client that opens one connection after the other needs one.
const TICKETS: usize = 1;
/// Tickets for a client that asks for several (RFC 9149), as it opens connections side by side.
const TICKETS_ASKED_FOR: usize = 4;

/// Who may show a client certificate, and whether they must. Two of them are equal when a session
/// made under one may be resumed under the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientTrust {
    None,
    Optional(Vec<CertificateDer<'static>>),
    Required(Vec<CertificateDer<'static>>),
}

impl ClientTrust {
    /// Reads the CA of client certificates.
    ///
    /// # Errors
    ///
    /// A [`Problem`] at `tls.client_ca`.
    pub(super) fn load(settings: &ClientAuth) -> Result<Self, Problem> {
        let read = |path| {
            file::certificates(path, file::BUNDLE_BYTES, file::BUNDLE_LENGTH)
                .and_then(|roots| roots_of(path, &roots).map(|_| roots))
                .map_err(|error| Problem::new("tls.client_ca", error))
        };
        Ok(match settings {
            ClientAuth::None => Self::None,
            ClientAuth::Optional(path) => Self::Optional(read(path)?),
            ClientAuth::Required(path) => Self::Required(read(path)?),
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (roots, optional) = match self {
            Self::None => return Ok(WebPkiClientVerifier::no_client_auth()),
            Self::Optional(roots) => (roots, true),
            Self::Required(roots) => (roots, false),
        };
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(TlsError::Tls)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
        let builder = if optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        builder.build().map_err(TlsError::Verifier)
    }
}

/// Roots of trust from certificates of `path`.
pub(super) fn roots_of(
    path: &std::path::Path,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store
            .add(certificate.clone())
            .map_err(|source| TlsError::Root {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(store)
}

/// New ticket keys, replaced every six hours; a ticket lives at most twelve.
pub(super) fn new_ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Tls)
}

/// Puts the parts together.
///
/// rustls resumes a session only under the server name it was made with, so a ticket for one site
/// opens no other. `ticketer` must come with the same `trust` again, for a ticket also carries the
/// client's certificate.
///
/// # Errors
///
/// [`TlsError`] when the verifier of client certificates cannot be made from the roots.
pub(super) fn config(
    only_tls13: bool,
    trust: &ClientTrust,
    resolver: Arc<Resolver>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[_] = if only_tls13 {
        &[&TLS13]
    } else {
        &[&TLS13, &TLS12]
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(TlsError::Tls)?
        .with_client_cert_verifier(trust.verifier()?)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ticketer;
    // Tickets do it all; the store of session ids would be one lock for every handshake.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.max_tls13_tickets = TICKETS_ASKED_FOR;
    config.max_early_data_size = 0;
    Ok(config)
}
