//! Certificates and handshakes for the tests of this room: made in temporary folders, shaken in
//! memory.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::provider;
use crate::config::settings::{CertificateFiles, Tls};

/// A CA of a test.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate with its key.
pub(super) struct Issued {
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, KeyPair::generate().unwrap(), |_| {})
    }

    pub(super) fn issue_with(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`.
    pub(super) fn put(&self, folder: &Path, name: &str) -> CertificateFiles {
        let files = files(folder, name);
        fs::write(&files.cert, &self.pem).unwrap();
        fs::write(&files.key, self.key.serialize_pem()).unwrap();
        files
    }
}

pub(super) fn files(folder: &Path, name: &str) -> CertificateFiles {
    CertificateFiles {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

pub(super) fn tls(certificates: Vec<CertificateFiles>) -> Tls {
    Tls {
        certificates,
        ..Tls::default()
    }
}

/// What a test's client is like.
#[derive(Default)]
pub(super) struct Client<'a> {
    /// Whom it believes; anyone where `None`.
    pub(super) ca: Option<&'a CertificateDer<'static>>,
    /// Who it is.
    pub(super) identity: Option<&'a Issued>,
    pub(super) only_tls12: bool,
    pub(super) no_sni: bool,
    pub(super) alpn: &'a [&'a [u8]],
    /// What it can verify; all that the provider can where empty.
    pub(super) schemes: &'a [SignatureScheme],
}

impl Client<'_> {
    pub(super) fn config(&self) -> ClientConfig {
        let versions: &[_] = if self.only_tls12 {
            &[&TLS12]
        } else {
            &[&TLS13, &TLS12]
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap();
        let builder = if let Some(ca) = self.ca {
            let mut roots = RootCertStore::empty();
            roots.add(ca.clone()).unwrap();
            builder.with_root_certificates(roots)
        } else {
            let anyone = Anyone(self.schemes.to_vec());
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(anyone))
        };
        let mut config = if let Some(identity) = self.identity {
            let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![identity.der.clone()], key)
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.enable_sni = !self.no_sni;
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

/// Believes every server.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        if self.0.is_empty() {
            let algorithms = provider().signature_verification_algorithms;
            algorithms.supported_schemes()
        } else {
            self.0.clone()
        }
    }
}

/// Offers every session it has, whatever the name of the server: what rustls' own client never
/// does, and an attacker may.
#[derive(Debug)]
struct Indiscriminate(rustls::client::ClientSessionMemoryCache);

impl Indiscriminate {
    fn name() -> ServerName<'static> {
        ServerName::try_from("one.name.for.all").unwrap()
    }
}

pub(super) fn indiscriminate_resumption() -> Resumption {
    Resumption::store(Arc::new(Indiscriminate(
        rustls::client::ClientSessionMemoryCache::new(8),
    )))
}

impl rustls::client::ClientSessionStore for Indiscriminate {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(
        &self,
        _: ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(
        &self,
        _: ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(
        &self,
        _: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

/// Both ends of a connection, in memory.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
}

impl Ends {
    /// Shakes hands to the end, tickets included.
    pub(super) fn shake(
        server: Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut ends = Self {
            client: ClientConnection::new(Arc::clone(client), name)?,
            server: ServerConnection::new(server)?,
        };
        ends.carry()?;
        assert!(!ends.client.is_handshaking() && !ends.server.is_handshaking());
        Ok(ends)
    }

    /// Carries bytes both ways until neither end has more to say.
    pub(super) fn carry(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut wire = Vec::new();
            self.client.write_tls(&mut wire).unwrap();
            feed(&wire, |rest| self.server.read_tls(rest));
            self.server.process_new_packets()?;
            let mut wire = Vec::new();
            self.server.write_tls(&mut wire).unwrap();
            feed(&wire, |rest| self.client.read_tls(rest));
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// The certificate that the client was shown.
    pub(super) fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().unwrap()[0]
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.server.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

fn feed(wire: &[u8], mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>) {
    let mut rest = wire;
    while !rest.is_empty() {
        read(&mut rest).unwrap();
    }
}
