//! The names that a certificate vouches for, and whether a host is among them.
//!
//! Pure. RFC 6125 §6.4: a wildcard stands for exactly one leftmost label; an address is matched
//! by address entries alone. Entries that are no host names (a NUL or a blank inside) vouch for
//! nothing.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ahash::HashSet;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// The names of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    exact: HashSet<Box<str>>,
    /// What stands after `*.`.
    wildcards: HashSet<Box<str>>,
    addresses: HashSet<IpAddr>,
}

impl CertificateNames {
    /// From the subject alternative names; from the common name where there are none, as old
    /// self-signed certificates have it.
    #[must_use]
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                names.add(name);
            }
        } else {
            for name in certificate.subject().iter_common_name() {
                if let Ok(text) = name.as_str() {
                    names.add_text(text);
                }
            }
        }
        names
    }

    /// From names and addresses as text; what is neither is left out.
    #[must_use]
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        for text in texts {
            names.add_text(text);
        }
        names
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only DNS names and addresses name a server"
    )]
    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(text) => self.add_dns(text),
            GeneralName::IPAddress(octets) => {
                self.addresses.extend(address(octets));
            }
            _ => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        match text.parse() {
            Ok(address) => {
                self.addresses.insert(address);
            }
            Err(_) => self.add_dns(text),
        }
    }

    fn add_dns(&mut self, text: &str) {
        let name = text.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(rest) if is_host_name(rest) => {
                self.wildcards.insert(rest.into());
            }
            None if is_host_name(&name) => {
                self.exact.insert(name.into());
            }
            Some(_) | None => {}
        }
    }

    /// Whether the certificate vouches for `host`: a name or an address, without a port; an IPv6
    /// address with or without brackets.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(address) = literal(host) {
            return self.addresses.contains(&address);
        }
        let host = lower(host);
        self.exact.contains(&*host)
            || after_first_label(&host).is_some_and(|rest| self.wildcards.contains(rest))
    }

    /// Names without a wildcard.
    pub(super) fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.iter().map(AsRef::as_ref)
    }

    /// What stands after `*.` of names with one.
    pub(super) fn wildcards(&self) -> impl Iterator<Item = &str> {
        self.wildcards.iter().map(AsRef::as_ref)
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty() && self.addresses.is_empty()
    }

    /// All of them as text, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        let mut list: Vec<String> = self
            .exact()
            .map(str::to_owned)
            .chain(self.wildcards().map(|rest| format!("*.{rest}")))
            .chain(self.addresses.iter().map(IpAddr::to_string))
            .collect();
        list.sort_unstable();
        list
    }
}

impl fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list().join(", "))
    }
}

/// In lower case; borrowed where it already is.
pub(super) fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// What a wildcard's `*.` would leave of `host`; `None` where there is no label to stand for.
pub(super) fn after_first_label(host: &str) -> Option<&str> {
    host.split_once('.')
        .filter(|(label, rest)| !label.is_empty() && !rest.is_empty())
        .map(|(_, rest)| rest)
}

/// The address that `host` is, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    // Names end in a letter; a look at the ends spares most hosts the attempt.
    let may_be = bare.contains(':') || bare.ends_with(|end: char| end.is_ascii_digit());
    may_be.then(|| bare.parse().ok()).flatten()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|sixteen| Ipv6Addr::from(sixteen).into())
}

/// RFC 1123 §2.1 with `_`, which is seen in practice: labels of 1 to 63 letters, digits, `-`, `_`.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> CertificateNames {
        CertificateNames::of_texts(of.iter().copied())
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let names = names(&["*.example.com"]);
        assert!(names.covers("a.example.com"));
        assert!(names.covers("A.EXAMPLE.com."));
        for other in [
            "example.com",
            "a.b.example.com",
            ".example.com",
            "aexample.com",
            "a.example.com.evil.com",
            "",
            ".",
        ] {
            assert!(!names.covers(other), "{other}");
        }
    }

    #[test]
    fn an_address_is_covered_by_address_entries_alone() {
        let names = names(&["127.0.0.1", "::1", "*.0.0.1"]);
        assert!(names.covers("127.0.0.1"));
        assert!(names.covers("[::1]"));
        assert!(names.covers("::1"));
        assert!(!names.covers("126.0.0.1"));
    }

    #[test]
    fn entries_that_are_no_host_names_vouch_for_nothing() {
        let names = names(&[
            "bank.com\0.evil.com",
            "a b",
            "*",
            "*.",
            "a.*.com",
            "**.com",
            "",
            ".com",
        ]);
        assert!(names.is_empty(), "{names}");
        assert!(!names.covers("bank.com"));
    }

    #[test]
    fn names_are_listed_in_order() {
        assert_eq!(
            names(&["b.example", "*.a.example", "127.0.0.1"]).to_string(),
            "*.a.example, 127.0.0.1, b.example"
        );
    }
}
