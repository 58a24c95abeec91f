//! Looks at certificates without serving them: what they vouch for, until when, and whether clients
//! that trust what this machine trusts would believe the chain as it is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::acme;
use super::error::TlsError;
use super::names::CertificateNames;
use super::pair::{CertificateInfo, Pair, Warning, describe};
use super::provider;
use super::state::known_files;
use crate::clock::Timestamp;
use crate::config::settings::{CertificateFiles, Tls};

/// What is known of one pair of files.
#[derive(Debug)]
pub struct Looked {
    /// Names, issuer, begin and end.
    pub info: CertificateInfo,
    /// To ask whether a host is covered.
    pub names: CertificateNames,
    /// What should not stay, at the time that was asked for.
    pub warnings: Vec<Warning>,
    /// Whether clients believe the chain.
    pub trust: Trust,
}

/// Whether clients believe a chain, its times left aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It leads to a root of this machine.
    Trusted,
    /// It is signed by itself.
    SelfSigned,
    /// It leads to an authority that this machine does not know: a private one.
    Private {
        /// Who signed the last certificate of the chain.
        issuer: String,
    },
    /// The certificate says where its issuer's is to be had, and the file does not have it.
    Incomplete {
        /// Who signed the last certificate of the chain.
        issuer: String,
    },
    /// Something else is wrong with it.
    Unsound(String),
    /// Nobody can say: this machine has no roots, or the certificate no name.
    Unknown(&'static str),
}

/// A pair of files with its key in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Such as `tls.certificate[0]`.
    pub key: String,
    /// The files.
    pub files: CertificateFiles,
    /// Whether the gateway makes them itself when it starts.
    pub made_here: bool,
}

/// The roots of this machine, read once for many looks.
#[derive(Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Known {
    /// The pairs of a configuration, in its order, and behind them the one that was ordered by ACME,
    /// where it is there. Opens nothing.
    #[must_use]
    pub fn of(settings: &Tls) -> Vec<Self> {
        let made_here = settings.development.is_some() && settings.certificates.is_empty();
        let known = known_files(settings).into_iter();
        let ordered = settings.acme.as_ref().map(acme::files);
        let ordered = ordered.filter(|files| files.cert.exists());
        known
            .map(|(key, files)| Self {
                key,
                files,
                made_here,
            })
            .chain(ordered.map(|files| Self {
                key: "tls.acme".to_owned(),
                files,
                made_here: false,
            }))
            .collect()
    }
}

impl Roots {
    /// Those of this machine. Blocks on files.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(Arc::new(store))
    }
}

/// Looks at one pair of files as it is at `now`. Blocks on files.
///
/// # Errors
///
/// What keeps it from serving.
pub fn look(files: &CertificateFiles, roots: &Roots, now: Timestamp) -> Result<Looked, TlsError> {
    let pair = Pair::load(files)?;
    let warnings = pair.warnings(now);
    let trust = trust(&pair, roots, now);
    Ok(Looked {
        info: pair.info,
        names: pair.names,
        warnings,
        trust,
    })
}

/// What a server's certificate says; `None` where it cannot be read.
#[must_use]
pub fn look_at_peer(certificate: &CertificateDer<'static>) -> Option<CertificateInfo> {
    let chain = [certificate.clone()];
    let (_names, info, _standing) = describe(Path::new("the server's certificate"), &chain).ok()?;
    Some(CertificateInfo {
        path: PathBuf::new(),
        ..info
    })
}

fn trust(pair: &Pair, roots: &Roots, now: Timestamp) -> Trust {
    let chain = &pair.certified.cert;
    let Some((leaf, rest)) = chain.split_first() else {
        return Trust::Unknown("the file is empty");
    };
    let (Ok((_, first)), Some(Ok((_, last)))) = (
        X509Certificate::from_der(leaf),
        chain.last().map(|last| X509Certificate::from_der(last)),
    ) else {
        return Trust::Unknown("it cannot be read");
    };
    if first.issuer() == first.subject() {
        return Trust::SelfSigned;
    }
    if roots.0.is_empty() {
        return Trust::Unknown("this machine has no root certificates");
    }
    let Some(name) = some_name(&pair.names) else {
        return Trust::Unknown("it names no host");
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.0), provider()).build();
    let Ok(verifier) = verifier else {
        return Trust::Unknown("this machine's root certificates cannot be used");
    };
    // Its times are told by themselves.
    let at = now.max(pair.info.not_before).min(pair.info.not_after);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(at.unix_seconds()).unwrap_or(0),
    ));
    match verifier.verify_server_cert(leaf, rest, &name, &[], at) {
        Ok(_) => Trust::Trusted,
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let issuer = last.issuer().to_string();
            if last.issuer() != last.subject() && names_its_issuers_file(&last) {
                Trust::Incomplete { issuer }
            } else {
                Trust::Private { issuer }
            }
        }
        Err(other) => Trust::Unsound(other.to_string()),
    }
}

/// A host that the certificate covers.
fn some_name(names: &CertificateNames) -> Option<ServerName<'static>> {
    let first = names.list().into_iter().next()?;
    let host = match first.strip_prefix("*.") {
        Some(rest) => format!("www.{rest}"),
        None => first,
    };
    ServerName::try_from(host).ok()
}

/// Whether a certificate says where its issuer's is to be had (RFC 5280 §4.2.2.1, `caIssuers`), as
/// those of public authorities do.
fn names_its_issuers_file(certificate: &X509Certificate<'_>) -> bool {
    let issuers = x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
    certificate.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::AuthorityInfoAccess(access)
            if access.accessdescs.iter().any(|one| one.access_method == issuers))
    })
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::super::testing::Authority;
    use super::*;
    use crate::clock;

    fn roots(of: &[&Authority]) -> Roots {
        let mut store = RootCertStore::empty();
        for authority in of {
            let pem = authority.pem.as_bytes();
            store
                .add(CertificateDer::from_pem_slice(pem).unwrap())
                .unwrap();
        }
        Roots(Arc::new(store))
    }

    fn trust_of(pem: &str, key: &rcgen::KeyPair, roots: &Roots) -> Trust {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            cert: folder.path().join("a.pem"),
            key: folder.path().join("a.key"),
        };
        std::fs::write(&files.cert, pem).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        look(&files, roots, clock::now()).unwrap().trust
    }

    #[test]
    fn a_chain_to_a_root_of_this_machine_is_trusted_and_one_to_another_is_private() {
        let (known, other) = (Authority::new("known"), Authority::new("other"));
        let issued = known.issue(&["a.example"]);
        assert_eq!(
            trust_of(&issued.pem, &issued.key, &roots(&[&known])),
            Trust::Trusted
        );
        let by = "CN=known".to_owned();
        assert_eq!(
            trust_of(&issued.pem, &issued.key, &roots(&[&other])),
            Trust::Private { issuer: by }
        );
        let nothing = trust_of(&issued.pem, &issued.key, &roots(&[]));
        assert!(matches!(nothing, Trust::Unknown(_)), "{nothing:?}");
    }

    #[test]
    fn a_chain_without_its_intermediate_is_incomplete_where_the_leaf_says_where_that_is() {
        let root = Authority::new("root");
        // RFC 5280 §4.2.2.1: a list of one access description, `caIssuers` at a URL.
        let url = b"http://ca.example/ca.crt";
        let mut access = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86];
        access.push(u8::try_from(url.len()).unwrap());
        access.extend_from_slice(url);
        let mut der = vec![0x30, u8::try_from(access.len() + 2).unwrap(), 0x30];
        der.push(u8::try_from(access.len()).unwrap());
        der.extend_from_slice(&access);
        let key = rcgen::KeyPair::generate().unwrap();
        let issued = Authority::new("intermediate").issue_with(&["a.example"], key, |params| {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
            let extension = rcgen::CustomExtension::from_oid_content(&oid, der);
            params.custom_extensions.push(extension);
        });
        let found = trust_of(&issued.pem, &issued.key, &roots(&[&root]));
        let by = "CN=intermediate".to_owned();
        assert_eq!(found, Trust::Incomplete { issuer: by });
    }
}
