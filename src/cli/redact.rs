//! Headers and addresses as they may be shown: credentials are left out, all else stays.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderName, HeaderValue};

use crate::config::settings::{AuthenticatorKind, Settings, Source};

/// Stands for what is left out.
const HIDDEN: &str = "…";
/// Query parameters that hold a token in every app.
const TOKENS: [&str; 4] = ["token", "access", "access_token", "api_key"];

/// Knows where credentials stand.
#[derive(Debug)]
pub(super) struct Redact {
    headers: Vec<HeaderName>,
    parameters: Vec<Box<str>>,
}

impl Redact {
    /// For a configuration: what its authenticators read is left out, and what apps commonly use.
    pub(super) fn new(settings: &Settings) -> Self {
        let mut redact = Self {
            headers: vec![
                HeaderName::from_static("x-csrftoken"),
                HeaderName::from_static("x-csrf-token"),
                HeaderName::from_static("sec-websocket-protocol"),
                HeaderName::from_static("x-api-key"),
            ],
            parameters: TOKENS.map(Box::from).to_vec(),
        };
        if let Some(assertion) = &settings.assertion {
            redact.headers.push(assertion.header.clone());
        }
        for authenticator in &settings.authenticators {
            let sources = match &authenticator.kind {
                AuthenticatorKind::Jwt(jwt) => &jwt.sources,
                AuthenticatorKind::ApiKey(keys) => &keys.sources,
                AuthenticatorKind::Forward(forward) => {
                    redact.headers.extend(forward.send.iter().cloned());
                    continue;
                }
                // Cookies are never shown.
                AuthenticatorKind::Basic(_)
                | AuthenticatorKind::ClientCertificate(_)
                | AuthenticatorKind::DjangoSession(_)
                | AuthenticatorKind::FlaskSession(_)
                | AuthenticatorKind::FlaskCookie(_)
                | AuthenticatorKind::GatewaySession(_)
                | AuthenticatorKind::Oidc(_) => continue,
            };
            for source in sources {
                match source {
                    Source::Header(name) => redact.headers.push(name.clone()),
                    Source::Query(name) | Source::WebSocketQuery(name) => {
                        redact.parameters.push(name.clone());
                    }
                    Source::Cookie(_) | Source::WebSocketProtocol => {}
                }
            }
        }
        redact
    }

    /// A header's value as it may be shown.
    pub(super) fn value(&self, name: &HeaderName, value: &HeaderValue) -> String {
        let text = String::from_utf8_lossy(value.as_bytes());
        if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION {
            // The scheme tells Bearer from Basic; anything longer may be the credential itself.
            return match text.split_once(' ') {
                Some((scheme, _)) if scheme.len() <= 10 => format!("{scheme} {HIDDEN}"),
                Some(_) | None => HIDDEN.to_owned(),
            };
        }
        if *name == COOKIE {
            return cookies(&text);
        }
        if *name == SET_COOKIE || self.headers.contains(name) {
            return HIDDEN.to_owned();
        }
        text.escape_debug().to_string()
    }

    /// A path and query as it may be shown.
    pub(super) fn target(&self, target: &str) -> String {
        let Some((path, query)) = target.split_once('?') else {
            return target.to_owned();
        };
        let pairs = query.split('&').map(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            let secret = self.parameters.iter().any(|known| **known == *decoded);
            if secret {
                format!("{name}={HIDDEN}")
            } else {
                pair.to_owned()
            }
        });
        format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

/// The names of cookies, without their values.
fn cookies(text: &str) -> String {
    let pairs = text
        .split(';')
        .map(|pair| match pair.trim().split_once('=') {
            Some((name, _)) => format!("{}={HIDDEN}", name.escape_debug()),
            // Without a name it is all value.
            None => HIDDEN.to_owned(),
        });
    pairs.collect::<Vec<_>>().join("; ")
}

/// `x-auth-user` as people write it: `X-Auth-User`.
pub(super) fn title(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact() -> Redact {
        Redact {
            headers: vec![HeaderName::from_static("x-api-key")],
            parameters: vec!["token".into()],
        }
    }

    fn shown(name: &'static str, value: &'static str) -> String {
        let name = HeaderName::from_static(name);
        redact().value(&name, &HeaderValue::from_static(value))
    }

    #[test]
    fn credentials_are_never_shown() {
        assert_eq!(shown("authorization", "Bearer s3cret"), "Bearer …");
        assert_eq!(shown("authorization", "s3cret"), "…");
        assert_eq!(shown("authorization", "eyJ.long.token and more"), "…");
        assert_eq!(shown("cookie", "sessionid=s3cret; a=b"), "sessionid=…; a=…");
        assert_eq!(shown("cookie", "s3cret"), "…");
        assert_eq!(shown("x-api-key", "s3cret"), "…");
        assert_eq!(shown("x-auth-user", "tara"), "tara");
    }

    #[test]
    fn what_an_endpoint_is_asked_with_is_never_shown() {
        let text = "[tls]\ndevelopment = true\n[auth.app]\ntype = \"forward\"\nurl = \"http://h/me\"\n\
                    send = [\"x-session\"]\nidentity = { user = \"id\" }\n\
                    [[route]]\npath = \"/\"\nauth = [\"app\"]\nrespond = { status = 200 }\n";
        let file = std::path::Path::new("gateway.toml");
        let environment = std::collections::BTreeMap::new();
        let loaded = crate::config::load_text(file, text, &environment).unwrap();
        let redact = Redact::new(&loaded.settings);
        let name = HeaderName::from_static("x-session");
        let value = HeaderValue::from_static("s3cret");
        assert_eq!(redact.value(&name, &value), "…");
    }

    #[test]
    fn a_token_in_a_query_is_not_shown_however_its_name_is_spelt() {
        let shown = redact().target("/ws/?a=1&token=s3cret&%74oken=s3cret&b");
        assert_eq!(shown, "/ws/?a=1&token=…&%74oken=…&b");
        assert_eq!(redact().target("/x"), "/x");
    }

    #[test]
    fn names_read_as_people_write_them() {
        assert_eq!(
            title(&HeaderName::from_static("x-auth-user")),
            "X-Auth-User"
        );
        assert_eq!(title(&HeaderName::from_static("host")), "Host");
    }
}
