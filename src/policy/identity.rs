//! Who is calling, and how the app is told.
//!
//! An [`Identity`] comes from exactly one credential. A [`Caller`] is an identity with the header
//! values that tell the app about it, made once when the credential is verified and reused with it.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::policy::written::Written;

/// What a valid credential says about its bearer.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The user's id or name. Never empty.
    pub user: String,
    /// Roles, sorted, each once.
    pub roles: Vec<String>,
    /// E-mail address, where the credential tells one.
    pub email: Option<String>,
    /// A name to show, where the credential tells one.
    pub name: Option<String>,
    /// Everything else it says, for rules and headers.
    pub claims: Map<String, Value>,
    /// When it ends; `None` when it does not.
    pub expires_at: Option<Timestamp>,
    /// The name of the authenticator that made it.
    pub authenticator: Arc<str>,
}

impl Identity {
    /// Sorts the roles and drops repeated and empty ones.
    #[must_use]
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = String>) -> Self {
        self.roles = roles.into_iter().filter(|role| !role.is_empty()).collect();
        self.roles.sort_unstable();
        self.roles.dedup();
        self
    }

    /// Whether the caller has this role, compared byte for byte.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|have| have == role)
    }

    /// Whether the identity has ended at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// The claim at a dotted path: `realm_access.roles`. A claim whose own name has the dots wins.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        claim_at(&self.claims, path)
    }
}

/// Looks up a dotted path in claims. A member whose whole name is `path` wins.
#[must_use]
pub fn claim_at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = claims.get(parts.next()?)?;
    for part in parts {
        value = value.as_object()?.get(part)?;
    }
    Some(value)
}

/// The headers that tell the app who is calling. `None` turns one off.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityNames {
    /// The user's id.
    pub user: Option<HeaderName>,
    /// The roles, sorted, comma-separated.
    pub roles: Option<HeaderName>,
    /// The e-mail address.
    pub email: Option<HeaderName>,
    /// The name to show.
    pub name: Option<HeaderName>,
    /// The authenticator's name.
    pub authenticator: Option<HeaderName>,
    /// Further headers, each from the claim at a dotted path.
    pub claims: Vec<(HeaderName, String)>,
    /// The signed assertion.
    pub assertion: Option<HeaderName>,
    /// Further names that no client may send.
    pub strip: Vec<HeaderName>,
}

impl Default for IdentityNames {
    fn default() -> Self {
        Self {
            user: Some(HeaderName::from_static("x-auth-user")),
            roles: Some(HeaderName::from_static("x-auth-roles")),
            email: Some(HeaderName::from_static("x-auth-email")),
            name: Some(HeaderName::from_static("x-auth-name")),
            authenticator: Some(HeaderName::from_static("x-auth-method")),
            claims: Vec::new(),
            assertion: None,
            strip: vec![HeaderName::from_static("remote-user")],
        }
    }
}

impl IdentityNames {
    /// Every name that no client may send.
    pub fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        [
            &self.user,
            &self.roles,
            &self.email,
            &self.name,
            &self.authenticator,
            &self.assertion,
        ]
        .into_iter()
        .flatten()
        .chain(self.claims.iter().map(|(name, _)| name))
        .chain(&self.strip)
    }

    /// Renders the headers for an identity.
    #[must_use]
    pub fn introduce(&self, identity: Identity) -> Caller {
        let mut headers = Vec::with_capacity(6);
        let mut tell = |name: &Option<HeaderName>, text: Option<String>| {
            let value = text.and_then(|text| HeaderValue::try_from(text).ok());
            if let (Some(name), Some(value)) = (name, value) {
                headers.push((name.clone(), value));
            }
        };
        tell(&self.user, Some(encode(&identity.user, VALUE)));
        if !identity.roles.is_empty() {
            tell(&self.roles, Some(join_roles(&identity.roles)));
        }
        tell(
            &self.email,
            identity.email.as_deref().map(|email| encode(email, VALUE)),
        );
        tell(
            &self.name,
            identity.name.as_deref().map(|name| encode(name, VALUE)),
        );
        tell(
            &self.authenticator,
            Some(encode(&identity.authenticator, VALUE)),
        );
        for (name, path) in &self.claims {
            tell(
                &Some(name.clone()),
                identity.claim(path).and_then(claim_text),
            );
        }
        Caller {
            identity,
            headers: Written::new(headers),
            bond: None,
            endings: None,
        }
    }
}

/// An identity and the header values that tell the app about it.
#[derive(Debug)]
pub struct Caller {
    identity: Identity,
    headers: Written,
    bond: Option<Bond>,
    endings: Option<Endings>,
}

/// Under which names others may say that a sign-in is over: all of a name that began before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endings {
    /// The names, each a hash.
    pub names: Vec<Box<str>>,
    /// When the sign-in began.
    pub began: Timestamp,
}

/// What let a caller in, where that can be revoked: by its hash, and never itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// A token.
    Token(Issue),
    /// A session of the gateway's own.
    Session {
        /// The hash that its store knows it by.
        key: [u8; 32],
        /// Its access token, where that can be revoked by itself.
        token: Option<Issue>,
    },
}

/// A token that can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The hash that a revocation of it names.
    pub mark: [u8; 32],
    /// When it was issued.
    pub issued: Timestamp,
}

impl Bond {
    /// The token that was checked, where it can be revoked.
    #[must_use]
    pub const fn token(self) -> Option<Issue> {
        match self {
            Self::Token(token) => Some(token),
            Self::Session { token, .. } => token,
        }
    }
}

impl Caller {
    /// Who is calling.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, whose app gets a bearer token that the gateway keeps. It takes the place of
    /// whatever the client sent.
    #[must_use]
    pub fn bearing(self, token: &str) -> Self {
        let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) else {
            return self;
        };
        value.set_sensitive(true);
        let mut headers = self.headers.fields().to_vec();
        headers.push((AUTHORIZATION, value));
        Self {
            headers: Written::new(headers),
            ..self
        }
    }

    /// The same, let in by what can be revoked.
    #[must_use]
    pub fn bound(mut self, bond: Option<Bond>) -> Self {
        self.bond = bond;
        self
    }

    /// The same, whose sign-in others may end.
    #[must_use]
    pub fn ended_by(mut self, endings: Option<Endings>) -> Self {
        self.endings = endings;
        self
    }

    /// Under which names others may end the sign-in.
    #[must_use]
    pub const fn endings(&self) -> Option<&Endings> {
        self.endings.as_ref()
    }

    /// What let the caller in, where that can be revoked.
    #[must_use]
    pub const fn bond(&self) -> Option<Bond> {
        self.bond
    }

    /// The headers that the app gets, each name once.
    #[must_use]
    pub const fn headers(&self) -> &Written {
        &self.headers
    }
}

/// What is percent-encoded in a header value: everything outside printable ASCII, and `%`.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');
/// In a roles list also the comma, so that no role can read as two.
const ROLE: &AsciiSet = &VALUE.add(b',');

/// Percent-encodes what a header cannot carry, and blanks at the ends, which servers trim.
fn encode(text: &str, set: &'static AsciiSet) -> String {
    let body = text.trim_matches(' ');
    if body.len() == text.len() {
        return utf8_percent_encode(text, set).to_string();
    }
    let before = text.len() - text.trim_start_matches(' ').len();
    let after = text.len() - before - body.len();
    format!(
        "{}{}{}",
        "%20".repeat(before),
        utf8_percent_encode(body, set),
        "%20".repeat(after)
    )
}

fn join_roles(roles: &[String]) -> String {
    let mut list = String::with_capacity(roles.iter().map(|role| role.len() + 1).sum());
    for role in roles {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&encode(role, ROLE));
    }
    list
}

/// A claim as header text: strings, numbers and booleans as they are, lists of those with commas.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => Some(encode(text, VALUE)),
        Value::Array(items) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) => Some(encode(text, ROLE)),
                Value::Bool(_) | Value::Number(_) => Some(item.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            });
            texts.collect::<Option<Vec<_>>>().map(|list| list.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(user: &str, roles: &[&str]) -> Identity {
        Identity {
            user: user.to_owned(),
            roles: Vec::new(),
            email: None,
            name: None,
            claims: Map::new(),
            expires_at: None,
            authenticator: Arc::from("token"),
        }
        .with_roles(roles.iter().map(|role| (*role).to_owned()))
    }

    fn told(caller: &Caller, name: &str) -> Option<String> {
        let found = caller
            .headers()
            .fields()
            .iter()
            .find(|(have, _)| have == name);
        found.map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn roles_are_told_sorted_and_once() {
        let caller = IdentityNames::default().introduce(identity("7", &["b", "a", "b", ""]));
        assert_eq!(told(&caller, "x-auth-roles").as_deref(), Some("a,b"));
    }

    #[test]
    fn a_comma_in_a_role_never_makes_a_second_role() {
        let caller = IdentityNames::default().introduce(identity("7", &["a,admin"]));
        assert_eq!(told(&caller, "x-auth-roles").as_deref(), Some("a%2Cadmin"));
    }

    #[test]
    fn no_two_users_are_told_alike() {
        let names = [
            "a",
            " a",
            "a ",
            "a%20",
            "é",
            "%C3%A9",
            "a\r\nX: y",
            "a\0",
            "a\tb",
        ];
        let told: std::collections::HashSet<_> = names
            .iter()
            .map(|name| {
                told(
                    &IdentityNames::default().introduce(identity(name, &[])),
                    "x-auth-user",
                )
            })
            .collect();
        assert_eq!(told.len(), names.len());
        assert!(!told.contains(&None));
    }

    #[test]
    fn a_dotted_path_finds_a_nested_claim_and_a_literal_name_wins() {
        let mut who = identity("7", &[]);
        who.claims = json!({"a": {"b": 1}, "https://x.example/roles": 2})
            .as_object()
            .unwrap()
            .clone();
        assert_eq!(who.claim("a.b"), Some(&json!(1)));
        assert_eq!(who.claim("https://x.example/roles"), Some(&json!(2)));
        assert_eq!(who.claim("a.c"), None);
    }
}
