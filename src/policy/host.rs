//! Host names: one reading of `Host` and `:authority`, and the patterns that routes match.
//!
//! Everything that asks for the host (routes, certificates, origins, forwarding headers) asks the
//! same [`Authority`], so no two of them can see two hosts in one request.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::denial::{Code, Denial};

/// A host and, where it was told, a port (RFC 3986 §3.2, without userinfo).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    host: Cow<'a, str>,
    port: Option<u16>,
}

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// Nothing is there.
    #[error("the host is empty")]
    Empty,
    /// `user@host`.
    #[error("the host has an `@` in it: a name before the host is not taken")]
    UserInfo,
    /// A character that no host name has.
    #[error("the host has a character that no host name has, at byte {at}")]
    Character {
        /// Offset in bytes.
        at: usize,
    },
    /// An empty label, one over 63 bytes, one with `-` at its edge, or a name over 253 bytes.
    #[error("the host's labels must have 1 to 63 bytes without `-` at the edge, 253 in all")]
    Label,
    /// Digits at the end, but no IPv4 address in its usual form.
    #[error("the host looks like an IPv4 address but is none in the form 192.0.2.1")]
    Ipv4,
    /// Brackets without an IPv6 address in them.
    #[error("the host has brackets without an IPv6 address in them")]
    Ipv6,
    /// No number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl From<BadHost> for Denial {
    fn from(why: BadHost) -> Self {
        Self::new(Code::BadRequest, why.to_string())
    }
}

/// Reads a `Host` header or an `:authority`.
///
/// The host is lower-cased and loses one trailing dot; an IPv6 address keeps its brackets and is
/// written in its shortest form (RFC 5952). A name that needs no change is borrowed.
///
/// # Errors
///
/// [`BadHost`]: what is wrong with it.
pub fn parse_authority(text: &str) -> Result<Authority<'_>, BadHost> {
    if let Some(rest) = text.strip_prefix('[') {
        return parse_ipv6(rest);
    }
    let (name, port) = match text.split_once(':') {
        None => (text, None),
        Some((name, port)) => (name, Some(port)),
    };
    let host = parse_name(name)?;
    let port = port.map(parse_port).transpose()?;
    Ok(Authority { host, port })
}

fn parse_ipv6(rest: &str) -> Result<Authority<'_>, BadHost> {
    let (address, behind) = rest.split_once(']').ok_or(BadHost::Ipv6)?;
    let address: Ipv6Addr = address.parse().or(Err(BadHost::Ipv6))?;
    let port = match behind {
        "" => None,
        _ => Some(parse_port(behind.strip_prefix(':').ok_or(BadHost::Port)?)?),
    };
    Ok(Authority {
        host: Cow::Owned(format!("[{address}]")),
        port,
    })
}

/// Digits alone, no sign, no leading zero: what every server reads alike.
pub(super) fn parse_port(text: &str) -> Result<u16, BadHost> {
    let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.starts_with('0') {
        return Err(BadHost::Port);
    }
    text.parse().or(Err(BadHost::Port))
}

fn parse_name(text: &str) -> Result<Cow<'_, str>, BadHost> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(BadHost::Empty);
    }
    let mut upper = false;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'@' => return Err(BadHost::UserInfo),
            _ => return Err(BadHost::Character { at }),
        }
    }
    judge_labels(name)?;
    Ok(if upper {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

fn judge_labels(name: &str) -> Result<(), BadHost> {
    let bad = |label: &str| {
        label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-')
    };
    if name.len() > 253 || name.split('.').any(bad) {
        return Err(BadHost::Label);
    }
    // WHATWG URL §3.5: a name whose last label is a number is read as an IPv4 address, in forms
    // (`127.1`, `0x7f.1`) that not every server reads alike.
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if number && name.parse::<Ipv4Addr>().is_err() {
        return Err(BadHost::Ipv4);
    }
    Ok(())
}

impl Authority<'_> {
    /// The host: lower case, no trailing dot, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without an IPv6 address's brackets, as certificates and resolvers want it.
    #[must_use]
    pub fn bare_host(&self) -> &str {
        let inner = self.host.strip_prefix('[');
        inner
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// The address, where the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.bare_host().parse().ok()
    }

    /// The port, where it was told.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this is how the authority is written, byte for byte.
    #[must_use]
    pub fn is_written(&self, text: &str) -> bool {
        let port = text.strip_prefix(&*self.host);
        port.is_some_and(|port| match self.port {
            None => port.is_empty(),
            Some(wanted) => {
                let told = port.strip_prefix(':').map(parse_port);
                told.is_some_and(|told| told == Ok(wanted))
            }
        })
    }

    /// The same, holding its own text.
    #[must_use]
    pub fn into_owned(self) -> Authority<'static> {
        Authority {
            host: Cow::Owned(self.host.into_owned()),
            port: self.port,
        }
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A host that a route takes: `app.example.com` or `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One name or address, lower case, without a port.
    Exact(Box<str>),
    /// One or more whole labels before this suffix (kept without `*.`), lower case.
    Wildcard(Box<str>),
}

/// Why a text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A `*` that is not the whole first label.
    #[error("`{0}`: `*` must stand alone at the front, as in `*.example.com`")]
    Star(String),
    /// `*` and nothing else.
    #[error("`*` takes every host: leave `hosts` out instead")]
    Everything,
    /// A port behind the name.
    #[error("`{0}`: a host pattern has no port; a route takes every port of its hosts")]
    Port(String),
    /// A scheme before the name, or a path behind it.
    #[error("`{0}` is a URL; only its host is wanted here, as in `app.example.com`")]
    Url(String),
    /// Something else that no host has.
    #[error("`{text}` is no host name: {why}")]
    Host {
        /// As configured.
        text: String,
        /// What is wrong with it.
        why: BadHost,
    },
    /// A name in letters that IDNA does not map.
    #[error("`{0}` is no host name: its letters cannot be written in IDNA (`xn--…`)")]
    Idna(String),
}

impl HostPattern {
    /// Parses one of a route's `hosts`. Names in other scripts are written in IDNA first.
    ///
    /// # Errors
    ///
    /// [`HostPatternError`]: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Err(HostPatternError::Everything);
        }
        if text.contains('/') {
            return Err(HostPatternError::Url(text.to_owned()));
        }
        let suffix = text.strip_prefix("*.");
        let name = suffix.unwrap_or(text);
        if name.contains('*') {
            return Err(HostPatternError::Star(text.to_owned()));
        }
        let ascii = if name.is_ascii() {
            Cow::Borrowed(name)
        } else {
            let mapped = idna::domain_to_ascii_strict(name).ok();
            Cow::Owned(mapped.ok_or_else(|| HostPatternError::Idna(text.to_owned()))?)
        };
        let read = parse_authority(&ascii).map_err(|why| HostPatternError::Host {
            text: text.to_owned(),
            why,
        })?;
        if read.port().is_some() {
            return Err(HostPatternError::Port(text.to_owned()));
        }
        if suffix.is_none() {
            return Ok(Self::Exact(read.host().into()));
        }
        if read.ip().is_some() {
            return Err(HostPatternError::Star(text.to_owned()));
        }
        Ok(Self::Wildcard(read.host().into()))
    }

    /// Whether it takes a host as [`Authority::host`] gives it. A wildcard takes one or more whole
    /// labels before its suffix, not the suffix alone.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == &**name,
            Self::Wildcard(suffix) => host
                .strip_suffix(&**suffix)
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> String {
        parse_authority(text).expect(text).host().to_owned()
    }

    #[test]
    fn a_lower_case_name_is_borrowed() {
        let read = parse_authority("app.example.com:8443").unwrap();
        assert!(matches!(read.host, Cow::Borrowed("app.example.com")));
        assert_eq!(read.port(), Some(8443));
    }

    #[test]
    fn case_and_a_trailing_dot_do_not_make_another_host() {
        assert_eq!(host("App.Example.COM."), "app.example.com");
        assert_eq!(host("app.example.com.:443"), "app.example.com");
        assert_eq!(host("localhost"), "localhost");
        assert_eq!(host("my_service:8000"), "my_service");
    }

    #[test]
    fn addresses_are_read_in_their_one_usual_form() {
        assert_eq!(host("127.0.0.1:80"), "127.0.0.1");
        assert_eq!(host("[::1]"), "[::1]");
        assert_eq!(host("[0:0:0:0:0:0:0:1]:443"), "[::1]");
        assert_eq!(host("[FE80::A]"), "[fe80::a]");
        assert_eq!(parse_authority("[::1]:443").unwrap().bare_host(), "::1");
        for text in [
            "127.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "127.0.0.01",
            "1.2.3.4.5",
        ] {
            assert!(
                matches!(parse_authority(text), Err(BadHost::Ipv4)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a b",
            " a",
            "a ",
            "a\t",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "user@a",
            "user:pw@a",
            "a@b@c",
            "a:b",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:80 ",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a,b",
            "a:80,b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[::1%25eth0]",
            "[127.0.0.1]",
            "[]",
            "%61",
            "a%00",
            "é.example",
            "a\0",
            "-a",
            "a-",
            "a.-b.c",
            "*",
            "*.a",
            "a;b",
            "a|b",
            "`a`",
            "{a}",
            "a..",
            "[v1.a]",
        ] {
            assert!(parse_authority(text).is_err(), "{text:?}");
        }
        assert!(parse_authority(&"a".repeat(64)).is_err());
        assert!(parse_authority(&"a.".repeat(127)).is_ok());
        assert!(parse_authority(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn a_wildcard_takes_whole_labels_only() {
        let wild = HostPattern::parse("*.Example.com").unwrap();
        for taken in ["a.example.com", "a.b.example.com"] {
            assert!(wild.matches(taken), "{taken}");
        }
        for left in [
            "example.com",
            "aexample.com",
            "example.com.evil",
            ".example.com",
        ] {
            assert!(!wild.matches(left), "{left}");
        }
        assert_eq!(wild.to_string(), "*.example.com");
    }

    #[test]
    fn an_exact_pattern_takes_one_host() {
        let exact = HostPattern::parse("App.example.com.").unwrap();
        assert!(exact.matches("app.example.com"));
        assert!(!exact.matches("b.app.example.com"));
        assert_eq!(
            HostPattern::parse("bücher.example").unwrap(),
            HostPattern::Exact("xn--bcher-kva.example".into())
        );
        assert!(HostPattern::parse("[::1]").unwrap().matches("[::1]"));
    }

    #[test]
    fn a_bad_pattern_is_told_with_its_cure() {
        let told = |text| HostPattern::parse(text).unwrap_err().to_string();
        assert!(told("*").contains("leave `hosts` out"));
        assert!(told("a.*.com").contains("at the front"));
        assert!(told("*a.com").contains("at the front"));
        assert!(told("*.10.0.0.1").contains("at the front"));
        assert!(told("a.com:443").contains("no port"));
        assert!(told("https://a.com").contains("only its host"));
        assert!(told("a b").contains("character"));
        assert!(told("").contains("empty"));
    }

    proptest! {
        #[test]
        fn reading_a_host_twice_changes_nothing(text in "[a-zA-Z0-9.:@\\[\\]_ -]{0,24}") {
            if let Ok(once) = parse_authority(&text) {
                let again = once.to_string();
                prop_assert_eq!(&parse_authority(&again).expect("a host"), &once);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            let _ = parse_authority(&text);
            let _ = HostPattern::parse(&text);
        }
    }
}
