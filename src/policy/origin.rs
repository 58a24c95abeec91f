//! Origins that a rule names: exact ones, and whole labels before a suffix.
//!
//! A browser writes an origin in one way only (RFC 6454 §6.2): lower case, no default port, no
//! path. So what a request says is compared byte for byte; nothing in it is repaired.

use std::collections::HashSet;
use std::fmt;

use ahash::RandomState;

use crate::policy::host::{BadHost, HostPattern, HostPatternError, parse_port};

/// One of a rule's `origins`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginPattern {
    /// `*`: everyone, without credentials.
    Any,
    /// One origin, as browsers write it.
    Exact(Box<str>),
    /// `https://*.example.com`: one or more whole labels between the front (`https://`) and the
    /// back (`.example.com`, with the port where it has one).
    Wildcard {
        /// Scheme and `://`.
        front: Box<str>,
        /// `.`, the suffix, and the port where it is not the scheme's own.
        back: Box<str>,
    },
}

/// Why a text is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `null`, which sandboxed frames of any site and local files send.
    #[error("`null` is what every sandboxed frame sends: it cannot be allowed")]
    Null,
    /// No scheme.
    #[error("`{0}` has no scheme: an origin is written like `https://app.example.com`")]
    NoScheme(String),
    /// A scheme that no origin has.
    #[error("`{0}` has a scheme that no origin has: `https`, `http` or an app's own is wanted")]
    Scheme(String),
    /// Something behind the host.
    #[error("`{0}` has a path: an origin ends after its host and port, without `/`")]
    Path(String),
    /// A `*` that is not the whole first label.
    #[error("`{0}`: `*` must stand for whole labels at the front, as in `https://*.example.com`")]
    Star(String),
    /// `https://*.com`.
    #[error("`{0}` would allow every site under that name: name at least a domain of your own")]
    TooWide(String),
    /// No host.
    #[error("`{text}` has no good host: {why}")]
    Host {
        /// As configured.
        text: String,
        /// What is wrong with it.
        why: BadHost,
    },
    /// A name in letters that IDNA does not map.
    #[error("`{0}` has no good host: its letters cannot be written in IDNA (`xn--…`)")]
    Idna(String),
}

/// Names for use inside one machine or network, which nobody else can register (RFC 6761, RFC 6762).
const PRIVATE: &[&str] = &["localhost", "test", "local", "internal"];

impl OriginPattern {
    /// Parses one of a rule's `origins`. Case, a default port and other scripts are written as
    /// browsers write them.
    ///
    /// # Errors
    ///
    /// [`OriginError`]: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let owned = || text.to_owned();
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Err(OriginError::Null),
            _ => {}
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| OriginError::NoScheme(owned()))?;
        let scheme = parse_scheme(scheme).ok_or_else(|| OriginError::Scheme(owned()))?;
        if rest.contains(['/', '?', '#']) {
            return Err(OriginError::Path(owned()));
        }
        let (name, port) =
            split_port(rest).map_err(|why| OriginError::Host { text: owned(), why })?;
        let standard =
            (scheme == "https" && port == Some(443)) || (scheme == "http" && port == Some(80));
        let port = port.filter(|_| !standard);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let host = HostPattern::parse(name).map_err(|why| match why {
            HostPatternError::Everything | HostPatternError::Star(_) => OriginError::Star(owned()),
            HostPatternError::Host { why, .. } => OriginError::Host { text: owned(), why },
            HostPatternError::Idna(_) => OriginError::Idna(owned()),
            HostPatternError::Port(_) => OriginError::Host {
                text: owned(),
                why: BadHost::Port,
            },
            HostPatternError::Url(_) => OriginError::Path(owned()),
        })?;
        match host {
            HostPattern::Exact(host) => Ok(Self::Exact(format!("{scheme}://{host}{port}").into())),
            HostPattern::Wildcard(suffix) => {
                if !suffix.contains('.') && !PRIVATE.contains(&&*suffix) {
                    return Err(OriginError::TooWide(owned()));
                }
                Ok(Self::Wildcard {
                    front: format!("{scheme}://").into(),
                    back: format!(".{suffix}{port}").into(),
                })
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Wildcard { front, back } => write!(f, "{front}*{back}"),
        }
    }
}

/// RFC 3986 §3.1. Local files have no origin.
fn parse_scheme(text: &str) -> Option<String> {
    let scheme = text.to_ascii_lowercase();
    let good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let local = ["file", "data", "blob", "about", "javascript", "ws", "wss"];
    (good && !local.contains(&&*scheme)).then_some(scheme)
}

/// Cuts a port off, which a host pattern has none of.
fn split_port(rest: &str) -> Result<(&str, Option<u16>), BadHost> {
    let Some((name, port)) = rest.rsplit_once(':') else {
        return Ok((rest, None));
    };
    if port.ends_with(']') {
        return Ok((rest, None));
    }
    Ok((name, Some(parse_port(port)?)))
}

/// The origins of one rule, to look a request's up in.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    any: bool,
    exact: HashSet<Box<str>, RandomState>,
    wildcards: Box<[(Box<str>, Box<str>)]>,
    listed: Box<[OriginPattern]>,
}

impl Origins {
    pub(super) fn new(patterns: Vec<OriginPattern>) -> Self {
        let mut exact = HashSet::with_hasher(RandomState::with_seeds(0x6f, 0x72, 0x69, 0x67));
        let mut wildcards = Vec::new();
        let mut any = false;
        for pattern in &patterns {
            match pattern {
                OriginPattern::Any => any = true,
                OriginPattern::Exact(text) => drop(exact.insert(text.clone())),
                OriginPattern::Wildcard { front, back } => {
                    wildcards.push((front.clone(), back.clone()));
                }
            }
        }
        Self {
            any,
            exact,
            wildcards: wildcards.into(),
            listed: patterns.into(),
        }
    }

    /// Whether everyone is allowed.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Whether an origin is named, exactly or by a wildcard; `*` names none.
    pub(super) fn name(&self, origin: &[u8]) -> bool {
        let Ok(origin) = std::str::from_utf8(origin) else {
            return false;
        };
        self.exact.contains(origin)
            || self.wildcards.iter().any(|(front, back)| {
                origin
                    .strip_prefix(&**front)
                    .and_then(|rest| rest.strip_suffix(&**back))
                    .is_some_and(are_labels)
            })
    }

    /// As configured.
    pub(super) fn listed(&self) -> &[OriginPattern] {
        &self.listed
    }
}

/// Whether a text is one or more whole host labels, as browsers write them.
fn are_labels(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origins(list: &[&str]) -> Origins {
        Origins::new(
            list.iter()
                .map(|text| OriginPattern::parse(text).unwrap())
                .collect(),
        )
    }

    #[test]
    fn origins_are_kept_as_browsers_write_them() {
        for (text, wanted) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("HTTPS://a.example:443", "https://a.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://a.example:80", "http://a.example"),
            ("https://a.example:80", "https://a.example:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[0::1]", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("https://*.Example.com:443", "https://*.example.com"),
            ("*", "*"),
        ] {
            assert_eq!(OriginPattern::parse(text).expect(text).to_string(), wanted);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_cure() {
        for (text, cure) in [
            ("null", "sandboxed"),
            ("app.example.com", "no scheme"),
            ("https://app.example.com/", "without `/`"),
            ("https://app.example.com/x", "without `/`"),
            ("file://", "scheme"),
            ("wss://a.example", "scheme"),
            ("https://", "empty"),
            ("https://a b", "character"),
            ("https://u@a.example", "`@`"),
            ("https://*", "whole labels"),
            ("https://a.*.com", "whole labels"),
            ("https://*a.com", "whole labels"),
            ("https://*.com", "domain of your own"),
            ("https://a.example:x", "port"),
            ("https://a.example:", "port"),
            ("https://*.a.example:*", "port"),
        ] {
            let told = OriginPattern::parse(text).expect_err(text).to_string();
            assert!(told.contains(cure), "{text}: {told}");
        }
    }

    #[test]
    fn no_origin_passes_that_only_looks_like_a_named_one() {
        let rule = origins(&[
            "https://example.com",
            "https://*.example.com",
            "http://localhost:3000",
        ]);
        for good in [
            "https://example.com",
            "https://a.example.com",
            "https://a.b.example.com",
            "http://localhost:3000",
        ] {
            assert!(rule.name(good.as_bytes()), "{good}");
        }
        for trick in [
            "https://example.com.evil.com",
            "https://evil-example.com",
            "https://evilexample.com",
            "https://example.com.",
            "https://example.com:443",
            "https://example.com:8443",
            "http://example.com",
            "https://example.co",
            "https://example.comx",
            "https://xexample.com",
            "https://user@example.com",
            "https://example.com@evil.com",
            "https://evil.com#example.com",
            "https://evil.com/example.com",
            "https://evil.com?.example.com",
            "https://evil.com\\.example.com",
            "https://evil.com/.example.com",
            "https://evil.com#.example.com",
            "https://evil.com`.example.com",
            "https://evil.com_.example.com",
            "https://evil.com%60.example.com",
            "https://.example.com",
            "https://a..example.com",
            "https://..example.com",
            "https://*.example.com",
            "https://a.example.com.",
            "https://a.example.com:443",
            "https://a.example.com:8443",
            "http://a.example.com",
            "null",
            "",
            "*",
            "file://",
            "https://",
            "example.com",
            "//example.com",
            "https:example.com",
            "https://example.com, https://evil.com",
            "https://evil.com https://example.com",
            "https://EXAMPLE.com",
            "HTTPS://example.com",
            "https://ex\u{430}mple.com",
            " https://example.com",
            "https://example.com ",
            "https://example.com/",
            "https://example.com\0",
            "https://a\0.example.com",
            "http://localhost",
            "http://localhost:3001",
            "http://localhost:30000",
            "http://localhost:3000.evil.com",
            "https://localhost:3000",
            "http://127.0.0.1:3000",
            "https://u:p@a.example.com",
            "https://a,b.example.com",
            "https://a!.example.com",
            "https://{a}.example.com",
            "https://xn--a.example.com.evil.com",
        ] {
            assert!(!rule.name(trick.as_bytes()), "{trick:?}");
        }
        assert!(!rule.name(b"https://\xff.example.com"));
        assert!(!origins(&["*"]).name(b"https://example.com"));
    }

    proptest! {
        #[test]
        fn a_wildcard_takes_whole_labels_alone(text in "[a-zA-Z0-9.:/@#?_*,\\\\ -]{0,20}") {
            let rule = origins(&["https://*.example.com"]);
            let origin = format!("https://{text}.example.com");
            let labels = text.split('.').all(|label| {
                !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            });
            prop_assert_eq!(rule.name(origin.as_bytes()), labels);
            let without_dot = format!("https://{text}example.com");
            prop_assert_eq!(rule.name(without_dot.as_bytes()), text.ends_with('.')
                && text.trim_end_matches('.').len() + 1 == text.len()
                && rule.name(format!("https://{}.example.com", text.trim_end_matches('.')).as_bytes()));
            let behind = format!("https://a.example.com{text}");
            prop_assert_eq!(rule.name(behind.as_bytes()), text.is_empty());
        }

        #[test]
        fn what_is_parsed_is_written_and_read_the_same(text in ".{0,30}") {
            if let Ok(pattern) = OriginPattern::parse(&text) {
                prop_assert_eq!(OriginPattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
