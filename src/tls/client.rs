//! How https upstreams are met: which roots are believed, and who the gateway says it is.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;

use super::error::TlsError;
use super::pair::{Pair, read_key};
use super::{file, provider, server};
use crate::config::settings::UpstreamTls;

/// The TLS of connections to an upstream: HTTP/1.1 by ALPN, TLS 1.2 and 1.3, sessions resumed.
///
/// The system's roots are read from disk when `settings` name no `ca`, which takes a while: make
/// one for an upstream and keep it. Blocks on files.
///
/// # Errors
///
/// [`TlsError`] when the roots or the client certificate cannot be read, or when a pair does not
/// belong together.
pub fn client_config(settings: &UpstreamTls) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Tls)?
        .with_root_certificates(roots(settings)?);
    let mut config = match &settings.client {
        Some(files) => {
            // Read and checked as a server's pair is, for the words of its errors.
            let pair = Pair::load(files)?;
            builder
                .with_client_auth_cert(pair.certified.cert.clone(), read_key(&files.key)?)
                .map_err(TlsError::Tls)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name to verify and to send as SNI (an address is verified and not sent).
///
/// # Errors
///
/// [`TlsError::ServerName`] when it is neither a DNS name nor an address.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|source| TlsError::ServerName {
        name: name.to_owned(),
        source,
    })
}

fn roots(settings: &UpstreamTls) -> Result<RootCertStore, TlsError> {
    if let Some(path) = &settings.ca {
        let found = file::certificates(path, file::BUNDLE_BYTES, file::BUNDLE_LENGTH)?;
        return server::roots_of(path, &found);
    }
    let mut store = RootCertStore::empty();
    // Broken ones among a system's many roots are left out, as browsers do.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsError::NoSystemRoots);
    }
    Ok(store)
}
