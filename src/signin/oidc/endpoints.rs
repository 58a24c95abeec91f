//! PURE: where a provider is asked what, out of what it tells of itself (OpenID Connect Discovery 1.0
//! §3, RFC 9207, OpenID Connect RP-Initiated Logout 1.0 §2.1).

use serde_json::Value;
use url::Url;

use crate::auth::Document;
use crate::auth::words::quoted;
use crate::config::settings::Oidc;

/// A provider's addresses, and how it wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// Where a browser signs in.
    pub(super) authorization: Url,
    /// Where codes and refresh tokens are exchanged.
    pub(super) token: Url,
    /// Where more is told of a user.
    pub(super) userinfo: Option<Url>,
    /// Where a browser signs out.
    pub(super) end_session: Option<Url>,
    /// Whether the client secret goes in the body, because the provider takes it nowhere else.
    pub(super) secret_in_body: bool,
    /// Whether it says in each answer which issuer it is.
    pub(super) tells_issuer: bool,
}

/// Why what a provider tells of itself cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDocument {
    #[error("it names itself {0}: write `issuer` so")]
    OtherIssuer(String),
    #[error("its configuration has no usable `{0}`: an https:// address is wanted")]
    NoEndpoint(&'static str),
}

impl Endpoints {
    pub(super) fn read(document: &Document, settings: &Oidc) -> Result<Self, BadDocument> {
        let text = |name| document.get(name).and_then(Value::as_str);
        let named = text("issuer").unwrap_or_default();
        // Discovery 1.0 §4.3: exactly. Each ID token is compared with the same text.
        if *named != *settings.issuer {
            return Err(BadDocument::OtherIssuer(quoted(named)));
        }
        let plain_is_safe = settings.issuer.starts_with("http:");
        let url = |name| {
            let url = Url::parse(text(name)?).ok()?;
            let is_safe = match url.scheme() {
                "https" => true,
                // The issuer is on this machine then, as the configuration was checked for.
                "http" => plain_is_safe && is_loopback(&url),
                _ => false,
            };
            let anonymous = url.username().is_empty() && url.password().is_none();
            (is_safe && anonymous && url.has_host() && url.fragment().is_none()).then_some(url)
        };
        let wanted = |name| url(name).ok_or(BadDocument::NoEndpoint(name));
        let methods = document.get("token_endpoint_auth_methods_supported");
        let takes = |wanted: &str| {
            let list = methods.and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(wanted)))
        };
        let tells = document.get("authorization_response_iss_parameter_supported");
        Ok(Self {
            authorization: wanted("authorization_endpoint")?,
            token: wanted("token_endpoint")?,
            userinfo: url("userinfo_endpoint"),
            end_session: url("end_session_endpoint"),
            secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            tells_issuer: tells.and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;
    use crate::signin::oidc::tests::settings;

    fn read(document: &Value) -> Result<Endpoints, BadDocument> {
        Endpoints::read(document.as_object().unwrap(), &settings())
    }

    fn good() -> Value {
        json!({
            "issuer": "https://id.example",
            "authorization_endpoint": "https://id.example/auth?x=1",
            "token_endpoint": "https://tokens.example/",
        })
    }

    #[test]
    fn a_provider_needs_two_addresses_and_may_have_more() {
        let endpoints = read(&good()).unwrap();
        assert_eq!(endpoints.token.as_str(), "https://tokens.example/");
        assert!(endpoints.userinfo.is_none() && endpoints.end_session.is_none());
        assert!(!endpoints.secret_in_body && !endpoints.tells_issuer);
        let mut more = good();
        more["end_session_endpoint"] = json!("https://id.example/out");
        more["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        more["authorization_response_iss_parameter_supported"] = json!(true);
        let endpoints = read(&more).unwrap();
        assert!(endpoints.end_session.is_some());
        assert!(endpoints.secret_in_body && endpoints.tells_issuer);
    }

    #[test]
    fn another_issuer_and_addresses_without_tls_are_refused() {
        for issuer in [
            json!("https://id.example/"),
            json!("https://other"),
            json!(7),
            json!(null),
        ] {
            let mut document = good();
            document["issuer"] = issuer;
            assert!(matches!(read(&document), Err(BadDocument::OtherIssuer(_))));
        }
        for address in [
            json!("http://id.example/auth"),
            json!("http://127.0.0.1/auth"),
            json!("https://user:word@id.example/"),
            json!("javascript:alert(1)"),
            json!("/auth"),
            json!(7),
        ] {
            for name in ["authorization_endpoint", "token_endpoint"] {
                let mut document = good();
                document[name] = address.clone();
                assert_eq!(
                    read(&document),
                    Err(BadDocument::NoEndpoint(name)),
                    "{address}"
                );
            }
        }
    }
}
