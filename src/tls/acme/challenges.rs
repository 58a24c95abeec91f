//! What a CA that looks whether a name leads here is answered, while an order is under way.
//!
//! Nothing stands here before a challenge is taken on or after it is over: a handshake or request
//! that claims to be a CA's gets nothing then. Other handshakes are asked about it by one flag.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::home::Shown;
use crate::tls::error::TlsError;
use crate::tls::provider;

/// The protocol of a handshake that only looks (RFC 8737 §4).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// Everything that is answered now.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Whether any handshake is to be looked at.
    in_handshakes: AtomicBool,
    pending: ArcSwap<Pending>,
    turn: Mutex<()>,
    /// Numbers the answers.
    next: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Pending {
    /// By number and the name that is looked at.
    handshakes: Vec<(u64, Box<str>, Arc<ServerConfig>)>,
    /// Number, token, and what is answered for it.
    requests: Vec<(u64, Box<str>, Arc<str>)>,
}

/// One answer. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Standing {
    challenges: Arc<Challenges>,
    number: u64,
    /// The same for gateways beside this one.
    shown: Option<Shown>,
}

impl Standing {
    /// Ends together with what others see.
    pub(super) fn beside(mut self, shown: Shown) -> Self {
        self.shown = Some(shown);
        self
    }
}

impl Challenges {
    /// Whether a handshake may be a CA's, and is worth a look.
    #[must_use]
    pub fn in_handshakes(&self) -> bool {
        self.in_handshakes.load(Ordering::Acquire)
    }

    /// How a handshake is to go on that only looks at a name; `None` for every other one.
    ///
    /// RFC 8737 §3: it names this protocol alone, and the name.
    #[must_use]
    pub fn handshake(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(ACME_TLS) || protocols.next().is_some() {
            return None;
        }
        let name = hello.server_name()?;
        let pending = self.pending.load();
        // The last: one of before may stand there still.
        let mut found = pending.handshakes.iter().rev();
        let found = found.find(|(_, of, _)| of.eq_ignore_ascii_case(name));
        found.map(|(_, _, config)| Arc::clone(config))
    }

    /// What is answered for a token, where one is expected.
    #[must_use]
    pub fn request(&self, token: &str) -> Option<Arc<str>> {
        let pending = self.pending.load();
        let mut found = pending.requests.iter();
        let found = found.find(|(_, of, _)| **of == *token);
        found.map(|(_, _, answer)| Arc::clone(answer))
    }

    /// Answers handshakes that look at `name` with the digest of the key authorization.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the certificate for it cannot be made.
    pub(super) fn in_handshake(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8],
    ) -> Result<Standing, TlsError> {
        let config = Arc::new(looked_at(name, digest)?);
        Ok(self.stand(|pending, number| pending.handshakes.push((number, name.into(), config))))
    }

    /// Answers requests for `token` with the key authorization.
    pub(super) fn in_request(self: &Arc<Self>, token: &str, answer: &str) -> Standing {
        self.stand(|pending, number| pending.requests.push((number, token.into(), answer.into())))
    }

    fn stand(self: &Arc<Self>, put: impl FnOnce(&mut Pending, u64)) -> Standing {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.change(|pending| put(pending, number));
        Standing {
            challenges: Arc::clone(self),
            number,
            shown: None,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pending)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pending = Pending::clone(&self.pending.load());
        change(&mut pending);
        let any = !pending.handshakes.is_empty();
        self.pending.store(Arc::new(pending));
        self.in_handshakes.store(any, Ordering::Release);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.challenges.change(|pending| {
            pending
                .handshakes
                .retain(|(number, ..)| *number != self.number);
            pending
                .requests
                .retain(|(number, ..)| *number != self.number);
        });
    }
}

/// The one certificate of a handshake that only looks.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// RFC 8737 §3: a self-signed certificate with the name alone, and the digest in a critical
/// extension.
fn looked_at(name: &str, digest: &[u8]) -> Result<ServerConfig, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Made)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(TlsError::Made)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(TlsError::Made)?;
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    let signer = provider().key_provider;
    let signer = signer.load_private_key(PrivateKeyDer::Pkcs8(der));
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::new(chain, signer.map_err(TlsError::Tls)?);
    // Without client certificates, which a CA has none of, and without tickets.
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(Arc::new(certified))));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
