//! Where a browser may be sent back to: a page of the host that it came to, and nothing else.
//!
//! The text goes into `Location` as it is. So it has to be a path in one reading: of this gateway, of
//! apps, and of browsers, which take `\` for `/` and drop tabs and line breaks (URL Standard §4.4).

use crate::policy::path::CanonicalPath;

/// The paths of the gateway's own, to which nobody is sent back: a sign-in that ends at a sign-out
/// would never end.
pub const OWN: &str = "/.portcullis/oidc/";
/// Longest page that is remembered, in bytes.
const LONGEST: usize = 1024;

/// A page of the host that a browser came to: a path and perhaps a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnPath<'a>(&'a str);

impl<'a> ReturnPath<'a> {
    /// The first page of a host.
    pub const FIRST: ReturnPath<'static> = ReturnPath("/");

    /// Takes a text for a page; `None` where it could lead anywhere else, is too long, or is one of
    /// the gateway's own.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
        if text.len() > LONGEST || !text.bytes().all(plain) {
            return None;
        }
        let path = text.split('?').next().unwrap_or_default();
        // One slash at its start and none doubled anywhere: `//host` names another host.
        let path = CanonicalPath::parse(path, false).ok()?;
        (!path.decoded().starts_with(OWN)).then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    #[test]
    fn a_page_of_the_host_is_taken_as_it_is() {
        for page in [
            "/",
            "/a/b",
            "/a?b=c&d=//evil.example",
            "/%C3%A9?x=%2F",
            "/a?b=https://x/",
        ] {
            assert_eq!(ReturnPath::parse(page).map(ReturnPath::as_str), Some(page));
        }
    }

    #[test]
    fn what_leads_elsewhere_or_nowhere_is_refused() {
        for page in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a//b",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2fevil.example",
            "/%5cevil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /a",
            "/a b",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=1",
            "/a#b",
            "/é",
            "@evil.example",
            ".evil.example",
            "/.portcullis/oidc/x/logout",
            "/%2eportcullis/oidc/x/logout",
        ] {
            assert_eq!(ReturnPath::parse(page), None, "{page:?}");
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        assert_eq!(ReturnPath::parse(&long), None);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_at_the_origin_it_was_asked_at(
            text in r"[/\\.%:@?#a-zA-Z0-9\t\r\n 2f5c]{0,24}|/.{0,24}|(/|//|\\|https?:)[/\\]{0,3}evil\.example[/\\]?"
        ) {
            if let Some(page) = ReturnPath::parse(&text) {
                let base = Url::parse("https://app.example:8443/x/y?z").unwrap();
                let there = base.join(page.as_str()).unwrap();
                prop_assert_eq!(there.origin(), base.origin());
                prop_assert!(there.username().is_empty() && there.password().is_none());
            }
        }
    }
}
