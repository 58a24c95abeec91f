//! Client certificates: which name is the user, which subject has which roles.
//!
//! TLS has verified the chain and the key; here the names are read, once per connection. A name
//! with a NUL or another control character is refused, so that no two readers differ.

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use serde_json::{Map, Value};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Timestamp;
use crate::config::settings::{CertificateUser, ClientCertificate};
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::{Caller, Identity, IdentityNames};

/// Why a certificate cannot be used as a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is not a certificate.
    #[error("the client certificate cannot be read")]
    Unreadable,
    /// One of its names has control characters or is not text.
    #[error("a name in the client certificate is not plain text")]
    BadName,
}

/// The names of a client certificate that TLS has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    subject: String,
    parts: Vec<(String, String)>,
    emails: Vec<String>,
    dns: Vec<String>,
    uris: Vec<String>,
    not_after: Timestamp,
    print: [u8; 32],
}

impl PeerCertificate {
    /// Reads the leaf's DER.
    ///
    /// # Errors
    ///
    /// [`BadCertificate`] when it cannot be read in one way.
    pub fn parse(der: &[u8]) -> Result<Self, BadCertificate> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_why| BadCertificate::Unreadable)?;
        let mut parts = Vec::new();
        for attribute in certificate.subject().iter_attributes() {
            let value = plain(attribute.as_str().map_err(|_why| BadCertificate::BadName)?)?;
            parts.push((short_name(&attribute.attr_type().to_id_string()), value));
        }
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&SHA256, der).as_ref());
        let mut peer = Self {
            print,
            subject: written(&parts),
            parts,
            emails: Vec::new(),
            dns: Vec::new(),
            uris: Vec::new(),
            not_after: Timestamp::from_unix_seconds(certificate.validity().not_after.timestamp()),
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|_why| BadCertificate::Unreadable)?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::RFC822Name(email) => peer.emails.push(plain(email)?),
                GeneralName::DNSName(dns) => peer.dns.push(plain(dns)?),
                GeneralName::URI(uri) => peer.uris.push(plain(uri)?),
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_)
                | GeneralName::Invalid(..) => {}
            }
        }
        Ok(peer)
    }

    /// The subject as `CN=ci, O=Shop`, in the certificate's order, commas in values escaped.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-256 of the whole certificate.
    pub(crate) fn print(&self) -> &[u8; 32] {
        &self.print
    }

    fn user(&self, wanted: CertificateUser) -> Option<&str> {
        match wanted {
            CertificateUser::SanEmail => self.emails.first().map(String::as_str),
            CertificateUser::SanDns => self.dns.first().map(String::as_str),
            CertificateUser::SanUri => self.uris.first().map(String::as_str),
            CertificateUser::CommonName => {
                let mut names = self.parts.iter().filter(|(kind, _)| kind == "CN");
                // Of two common names, which is the user is anyone's guess.
                match (names.next(), names.next()) {
                    (Some((_, name)), None) => Some(name),
                    _ => None,
                }
            }
        }
    }

    fn is(&self, subject: &str) -> bool {
        let one = |(kind, value): &(String, String)| {
            subject
                .split_once('=')
                .is_some_and(|(k, v)| k.trim() == kind && v.trim() == value)
        };
        self.subject == subject || self.parts.iter().any(one)
    }
}

fn plain(text: &str) -> Result<String, BadCertificate> {
    if text.chars().any(char::is_control) {
        return Err(BadCertificate::BadName);
    }
    Ok(text.to_owned())
}

/// The short names of RFC 4514 §3; others keep their number.
fn short_name(oid: &str) -> String {
    let known = match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    known.to_owned()
}

fn written(parts: &[(String, String)]) -> String {
    let one = |(kind, value): &(String, String)| {
        let value = value.replace('\\', "\\\\").replace(',', "\\,");
        format!("{kind}={value}")
    };
    parts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `type = "client-certificate"`, ready to ask.
#[derive(Debug)]
pub(crate) struct CertificateReader {
    settings: ClientCertificate,
    authenticator: Arc<str>,
}

impl CertificateReader {
    /// A reader for an authenticator.
    pub(crate) fn new(settings: ClientCertificate, authenticator: Arc<str>) -> Self {
        Self {
            settings,
            authenticator,
        }
    }

    /// The caller that a certificate names.
    ///
    /// # Errors
    ///
    /// `key_unknown` when the certificate has not the name that is the user, or has ended.
    pub(crate) fn read(
        &self,
        peer: &PeerCertificate,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Result<Caller, Denial> {
        if peer.not_after <= now {
            return Err(Denial::new(
                Code::KeyUnknown,
                "the client certificate has expired",
            ));
        }
        let Some(user) = peer
            .user(self.settings.user)
            .filter(|name| !name.trim().is_empty())
        else {
            return Err(Denial::new(
                Code::KeyUnknown,
                "the client certificate does not name a user",
            )
            .note(format!(
                "the certificate of {} has not the one name that `user` asks for",
                peer.subject
            )));
        };
        let roles = self
            .settings
            .roles
            .iter()
            .filter(|(subject, _)| peer.is(subject))
            .flat_map(|(_, roles)| roles.clone());
        let mut claims = Map::new();
        claims.insert("subject".to_owned(), Value::String(peer.subject.clone()));
        let identity = Identity {
            user: user.to_owned(),
            roles: Vec::new(),
            email: peer.emails.first().cloned(),
            name: None,
            claims,
            expires_at: Some(peer.not_after),
            authenticator: Arc::clone(&self.authenticator),
        };
        Ok(names.introduce(identity.with_roles(roles)))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair as Pair, SanType};

    use super::*;
    use crate::auth::testing::NOW;

    fn certificate(shape: impl FnOnce(&mut CertificateParams)) -> PeerCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        shape(&mut params);
        let made = params.self_signed(&Pair::generate().unwrap()).unwrap();
        PeerCertificate::parse(made.der()).unwrap()
    }

    fn read(user: CertificateUser, peer: &PeerCertificate) -> Result<Identity, Code> {
        let settings = ClientCertificate {
            user,
            roles: vec![
                ("CN=ci".to_owned(), vec!["deploy".to_owned()]),
                ("CN=ci, O=Shop".to_owned(), vec!["shop".to_owned()]),
            ],
        };
        CertificateReader::new(settings, Arc::from("machines"))
            .read(peer, &IdentityNames::default(), NOW)
            .map(|caller| caller.identity().clone())
            .map_err(|denial| denial.code())
    }

    fn ci() -> PeerCertificate {
        certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "ci");
            params
                .distinguished_name
                .push(DnType::OrganizationName, "Shop");
            params.subject_alt_names = vec![
                SanType::DnsName("ci.example".try_into().unwrap()),
                SanType::Rfc822Name("ci@example.com".try_into().unwrap()),
                SanType::URI("spiffe://example/ci".try_into().unwrap()),
            ];
        })
    }

    #[test]
    fn the_configured_name_is_the_user() {
        for (wanted, user) in [
            (CertificateUser::CommonName, "ci"),
            (CertificateUser::SanDns, "ci.example"),
            (CertificateUser::SanEmail, "ci@example.com"),
            (CertificateUser::SanUri, "spiffe://example/ci"),
        ] {
            assert_eq!(read(wanted, &ci()).unwrap().user, user);
        }
    }

    #[test]
    fn roles_go_by_one_part_of_the_subject_or_the_whole_and_not_by_its_text() {
        let identity = read(CertificateUser::CommonName, &ci()).unwrap();
        assert_eq!(identity.roles, ["deploy", "shop"]);
        let sly = certificate(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "x, CN=ci");
        });
        let identity = read(CertificateUser::CommonName, &sly).unwrap();
        assert!(identity.roles.is_empty());
        assert_eq!(sly.subject(), "CN=x\\, CN=ci");
    }

    #[test]
    fn a_certificate_without_the_name_names_nobody() {
        let bare = certificate(|_| {});
        for wanted in [CertificateUser::CommonName, CertificateUser::SanEmail] {
            assert_eq!(read(wanted, &bare), Err(Code::KeyUnknown));
        }
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        assert_eq!(
            PeerCertificate::parse(b"x"),
            Err(BadCertificate::Unreadable)
        );
        assert_eq!(plain("a\0b"), Err(BadCertificate::BadName));
    }
}
