//! Who may sign in to the demo's app, and the tokens that it issues to them.
//!
//! The tokens look like SimpleJWT's, with the roles in them.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// One user of the demo's app.
#[derive(Debug)]
pub(super) struct Person {
    /// The name to sign in with, also the user's id.
    pub(super) name: &'static str,
    /// No secret: it is printed.
    pub(super) password: &'static str,
    /// What the user may do.
    pub(super) role: &'static str,
}

/// Everyone there is.
pub(super) const PEOPLE: [Person; 3] = [
    Person {
        name: "hana",
        password: "hana-opens",
        role: "host",
    },
    Person {
        name: "tara",
        password: "tara-repairs",
        role: "technician",
    },
    Person {
        name: "sina",
        password: "sina-decides",
        role: "supervisor",
    },
];

/// How long an access token is good.
const ACCESS: Duration = Duration::from_hours(1);
/// How long a refresh token is good.
const REFRESH: Duration = Duration::from_hours(24 * 7);

/// Finds who signs in with a name and a password.
pub(super) fn sign_in(name: &str, password: &str) -> Option<&'static Person> {
    let mut found = None;
    for person in &PEOPLE {
        let same_name = person.name.as_bytes().ct_eq(name.as_bytes());
        let same_password = person.password.as_bytes().ct_eq(password.as_bytes());
        if (same_name & same_password).into() {
            found = Some(person);
        }
    }
    found
}

/// The key that signs the app's tokens (HS256).
#[derive(Debug)]
pub(super) struct Signer(Secret<String>);

impl Signer {
    /// Signs with this secret.
    pub(super) fn new(secret: Secret<String>) -> Self {
        Self(secret)
    }

    /// An access token.
    ///
    /// # Errors
    ///
    /// What the cryptographic library says when it cannot sign.
    pub(super) fn access(
        &self,
        person: &Person,
        now: Timestamp,
    ) -> jsonwebtoken::errors::Result<String> {
        self.token(person, "access", ACCESS, now)
    }

    /// A refresh token.
    ///
    /// # Errors
    ///
    /// As [`Self::access`].
    pub(super) fn refresh(
        &self,
        person: &Person,
        now: Timestamp,
    ) -> jsonwebtoken::errors::Result<String> {
        self.token(person, "refresh", REFRESH, now)
    }

    fn token(
        &self,
        person: &Person,
        kind: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> jsonwebtoken::errors::Result<String> {
        let claims = json!({
            "token_type": kind,
            "iat": now.unix_seconds(),
            "exp": now.saturating_add(lifetime).unix_seconds(),
            "jti": uuid::Uuid::new_v4().simple().to_string(),
            "user_id": person.name,
            "roles": [person.role],
        });
        let key = EncodingKey::from_secret(self.0.expose().as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_the_same_person_signs_in() {
        assert_eq!(
            sign_in("tara", "tara-repairs").map(|who| who.role),
            Some("technician")
        );
        assert!(sign_in("tara", "sina-decides").is_none());
        assert!(sign_in("tara", "").is_none());
        assert!(sign_in("", "").is_none());
    }

    #[test]
    fn a_token_names_its_user_and_role() {
        use base64::Engine as _;
        let signer = Signer::new(Secret::new("k".repeat(64)));
        let now = Timestamp::from_unix_seconds(1_000_000);
        let token = signer.access(&PEOPLE[2], now).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(claims)
            .unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["user_id"], "sina");
        assert_eq!(claims["roles"], json!(["supervisor"]));
        assert_eq!(claims["token_type"], "access");
        assert_eq!(claims["exp"], 1_003_600);
    }
}
