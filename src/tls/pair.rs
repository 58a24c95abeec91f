//! One certificate with its key, read from files and found sound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::TlsError;
use super::file;
use super::names::CertificateNames;
use super::provider;
use crate::clock::Timestamp;
use crate::config::settings::CertificateFiles;

/// What operators and metrics are told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Its file.
    pub path: PathBuf,
    /// Names that it vouches for, sorted.
    pub names: Vec<String>,
    /// Serial number, bytes in hex with colons.
    pub serial: String,
    /// Who issued it.
    pub issuer: String,
    /// Valid from then.
    pub not_before: Timestamp,
    /// Valid until then.
    pub not_after: Timestamp,
}

/// Something about a pair that serves, but should not stay so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Past its end.
    #[error("the certificate in {} for {names} EXPIRED at {not_after}: clients refuse it; renew it now", path.display())]
    Expired {
        /// Its file.
        path: PathBuf,
        /// Names that it vouches for.
        names: String,
        /// Its end.
        not_after: Timestamp,
    },
    /// Nine tenths of its life are over.
    #[error("the certificate in {} for {names} expires soon, at {not_after}; renew it", path.display())]
    ExpiresSoon {
        /// Its file.
        path: PathBuf,
        /// Names that it vouches for.
        names: String,
        /// Its end.
        not_after: Timestamp,
    },
    /// Before its begin.
    #[error("the certificate in {} is not valid before {not_before}: clients refuse it until then; is the clock right?", path.display())]
    NotYetValid {
        /// Its file.
        path: PathBuf,
        /// Its begin.
        not_before: Timestamp,
    },
    /// Only a common name, which browsers do not read.
    #[error("the certificate in {} has no subject alternative names: browsers refuse it", path.display())]
    NoAlternativeNames {
        /// Its file.
        path: PathBuf,
    },
    /// Vouches for no host at all.
    #[error("the certificate in {} names no host: clients refuse it", path.display())]
    Nameless {
        /// Its file.
        path: PathBuf,
    },
    /// Not leaf, its issuer, the issuer's issuer.
    #[error("the chain in {} is out of order: certificate {position} was not issued by the one after it; some clients refuse it", path.display())]
    ChainOrder {
        /// Its file.
        path: PathBuf,
        /// Which one, from 1.
        position: usize,
    },
    /// No certificate yet.
    #[error(
        "there is no certificate yet for {names}: it is ordered from {directory} once the gateway runs; until then handshakes for these names are refused, or served with another certificate"
    )]
    Awaited {
        /// The names.
        names: String,
        /// The CA's directory.
        directory: String,
    },
    /// Any user of the machine can read the key.
    #[error("the key {} can be read by every user of this machine; do `chmod 600` on it", path.display())]
    KeyReadable {
        /// The key's file.
        path: PathBuf,
    },
}

/// A certificate chain and its key, which belong together.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) names: CertificateNames,
    pub(super) info: CertificateInfo,
    /// Warnings that do not depend on the time.
    standing: Vec<Warning>,
}

impl Pair {
    /// Reads and checks a pair.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when a file cannot be read, holds no certificate or no usable key, or when the
    /// key is not the certificate's. An expired certificate is no error but a [`Warning`].
    pub(super) fn load(files: &CertificateFiles) -> Result<Self, TlsError> {
        let chain = file::certificates(&files.cert, file::CHAIN_BYTES, file::CHAIN_LENGTH)?;
        Self::assemble(files, chain, read_key(&files.key)?)
    }

    /// Checks a pair that stands in these files, or is going to.
    ///
    /// # Errors
    ///
    /// Those of [`Pair::load`] that are not about reading.
    pub(super) fn assemble(
        files: &CertificateFiles,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let unusable = |source| TlsError::Key {
            path: files.key.clone(),
            source,
        };
        let (names, info, mut standing) = describe(&files.cert, &chain)?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(unusable)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(TlsError::Mismatch {
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                });
            }
            Err(other) => {
                return Err(TlsError::Certificate {
                    path: files.cert.clone(),
                    position: 1,
                    reason: other.to_string(),
                });
            }
        }
        if readable_by_all(&files.key) {
            standing.push(Warning::KeyReadable {
                path: files.key.clone(),
            });
        }
        Ok(Self {
            certified: Arc::new(certified),
            names,
            info,
            standing,
        })
    }

    /// What is wrong with it at `now`, though it serves.
    pub(super) fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        self.lifetime_warning(now)
            .into_iter()
            .chain(self.standing.iter().cloned())
            .collect()
    }

    fn lifetime_warning(&self, now: Timestamp) -> Option<Warning> {
        let info = &self.info;
        let life = info.not_after.saturating_since(info.not_before);
        let path = info.path.clone();
        let names = self.names.to_string();
        let not_after = info.not_after;
        if now > not_after {
            Some(Warning::Expired {
                path,
                names,
                not_after,
            })
        } else if now < info.not_before {
            let not_before = info.not_before;
            Some(Warning::NotYetValid { path, not_before })
        } else if not_after.saturating_since(now) < life / 10 {
            Some(Warning::ExpiresSoon {
                path,
                names,
                not_after,
            })
        } else {
            None
        }
    }

    /// Whether both send the same chain; the key follows from it.
    pub(super) fn same_chain(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// The private key of a PEM file: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    key_in(path, &file::read(path, file::KEY_BYTES)?)
}

/// The same for text that was read; `path` is for errors.
pub(super) fn key_in(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|source| {
        let path = path.to_owned();
        if matches!(source, pem::Error::NoItemsFound) {
            let hint = file::key_hint(text);
            TlsError::NoKey { path, hint }
        } else {
            TlsError::Pem { path, source }
        }
    })
}

/// Reads what there is to know of a chain; at least one certificate, all of them sound.
pub(super) fn describe(
    path: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<(CertificateNames, CertificateInfo, Vec<Warning>), TlsError> {
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse(path, index.saturating_add(1), der))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(leaf) = parsed.first() else {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
            hint: "",
        });
    };
    let names = CertificateNames::of(leaf);
    let info = CertificateInfo {
        path: path.to_owned(),
        names: names.list(),
        serial: leaf.raw_serial_as_string(),
        issuer: leaf.issuer().to_string(),
        not_before: Timestamp::from_unix_seconds(leaf.validity().not_before.timestamp()),
        not_after: Timestamp::from_unix_seconds(leaf.validity().not_after.timestamp()),
    };
    let mut standing = Vec::new();
    if names.is_empty() {
        standing.push(Warning::Nameless {
            path: path.to_owned(),
        });
    } else if !matches!(leaf.subject_alternative_name(), Ok(Some(_))) {
        standing.push(Warning::NoAlternativeNames {
            path: path.to_owned(),
        });
    }
    let out_of_order = parsed
        .windows(2)
        .position(|two| matches!(two, [one, next] if one.issuer() != next.subject()));
    if let Some(index) = out_of_order {
        standing.push(Warning::ChainOrder {
            path: path.to_owned(),
            position: index.saturating_add(1),
        });
    }
    Ok((names, info, standing))
}

fn parse<'a>(
    path: &Path,
    position: usize,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, TlsError> {
    let unsound = |reason: String| TlsError::Certificate {
        path: path.to_owned(),
        position,
        reason,
    };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(unsound("bytes follow its end".to_owned())),
        Err(error) => Err(unsound(error.to_string())),
    }
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::KeyPair;

    use super::super::testing::{Authority, files};
    use super::*;

    fn refusal(files: &CertificateFiles) -> String {
        Pair::load(files).unwrap_err().line()
    }

    #[test]
    fn keys_of_every_usual_kind_serve() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("ca");
        let kinds = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ];
        for kind in kinds {
            let key = KeyPair::generate_for(kind).unwrap();
            let files = ca
                .issue_with(&["a.example"], key, |_| {})
                .put(folder.path(), "a");
            let pair = Pair::load(&files).unwrap();
            assert_eq!(pair.info.names, ["a.example"]);
            assert!(!pair.info.serial.is_empty());
        }
    }

    #[test]
    fn a_key_file_that_cannot_serve_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let issued = Authority::new("ca").issue(&["a.example"]);
        let files = issued.put(folder.path(), "a");
        let pem = issued.key.serialize_pem();
        let der = issued.key.serialize_der();
        let cases: [(Vec<u8>, &str); 7] = [
            (Vec::new(), "has no private key in it"),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                    .to_vec(),
                "it is encrypted with a password",
            ),
            (der, "it seems to be DER"),
            (issued.pem.into_bytes(), "are `cert` and `key` swapped?"),
            (pem.replace("-----END", "-----").into_bytes(), "is not sound PEM"),
            (
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
                "the private key cannot be used",
            ),
            (vec![b'x'; 70_000], "has more than the 65536 bytes"),
        ];
        for (content, expected) in cases {
            fs::write(&files.key, content).unwrap();
            let refusal = refusal(&files);
            assert!(refusal.contains(expected), "{refusal}");
            assert!(refusal.contains("a.key"), "{refusal}");
        }
    }

    #[test]
    fn a_certificate_file_that_cannot_serve_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let issued = Authority::new("ca").issue(&["a.example"]);
        let files = issued.put(folder.path(), "a");
        let broken_second = format!(
            "{}-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n",
            issued.pem
        );
        let cases: [(Vec<u8>, &str); 6] = [
            (Vec::new(), "has no certificate in it"),
            (issued.der.to_vec(), "it seems to be DER"),
            (
                b"-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----\n".to_vec(),
                "is not sound PEM",
            ),
            (
                broken_second.into_bytes(),
                "certificate 2 is not a sound X.509 certificate",
            ),
            (
                issued.pem.repeat(17).into_bytes(),
                "has more than 16 certificates",
            ),
            (vec![b'x'; 1_100_000], "has more than the 1048576 bytes"),
        ];
        for (content, expected) in cases {
            fs::write(&files.cert, content).unwrap();
            let refusal = refusal(&files);
            assert!(refusal.contains(expected), "{refusal}");
            assert!(refusal.contains("a.pem"), "{refusal}");
        }
        fs::remove_file(&files.cert).unwrap();
        fs::create_dir(&files.cert).unwrap();
        assert!(refusal(&files).contains("a.pem is not a file"));
    }

    #[test]
    fn an_error_never_repeats_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("ca");
        ca.issue(&["a.example"]).put(folder.path(), "a");
        let other = ca.issue(&["a.example"]);
        let pem = other.key.serialize_pem();
        fs::write(files(folder.path(), "a").key, &pem).unwrap();
        let error = Pair::load(&files(folder.path(), "a")).unwrap_err();
        let told = format!("{error:?} {}", error.line());
        let body = pem.lines().nth(1).unwrap();
        assert!(!told.contains(body.get(..20).unwrap()));
    }
}
