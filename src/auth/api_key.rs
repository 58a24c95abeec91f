//! API keys: known by their SHA-256 alone, compared in constant time.

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use serde_json::Map;
use subtle::ConstantTimeEq;

use crate::config::settings::{ApiKey, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Caller, Identity, IdentityNames};

/// `type = "api-key"`, ready to ask.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    /// Where keys are looked for.
    pub(crate) sources: Vec<Source>,
    known: Vec<([u8; 32], Arc<Caller>)>,
}

impl ApiKeys {
    /// The keys of an authenticator, each with its caller made beforehand.
    pub(crate) fn new(settings: &ApiKey, authenticator: &Arc<str>, names: &IdentityNames) -> Self {
        let known = settings.keys.iter().map(|entry| {
            let identity = Identity {
                user: entry.user.clone(),
                roles: Vec::new(),
                email: None,
                name: None,
                claims: Map::new(),
                expires_at: None,
                authenticator: Arc::clone(authenticator),
            };
            let identity = identity.with_roles(entry.roles.iter().cloned());
            (entry.sha256, Arc::new(names.introduce(identity)))
        });
        Self {
            sources: settings.sources.clone(),
            known: known.collect(),
        }
    }

    /// Who bears a key.
    ///
    /// # Errors
    ///
    /// `key_unknown`. Every known key is compared, whichever fits, so that time tells nothing.
    pub(crate) fn bearer(&self, key: &str) -> Result<Arc<Caller>, Denial> {
        let digest = digest::digest(&SHA256, key.as_bytes());
        let mut found = None;
        for (known, caller) in &self.known {
            if bool::from(known.as_slice().ct_eq(digest.as_ref())) {
                found = Some(caller);
            }
        }
        found.map(Arc::clone).ok_or_else(|| {
            Denial::new(Code::KeyUnknown, "the api key is not known").challenge(Challenge::Bearer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::ApiKeyEntry;

    #[test]
    fn a_key_is_known_by_its_sha_256_and_by_nothing_else() {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&SHA256, b"s3cret").as_ref());
        let settings = ApiKey {
            sources: Vec::new(),
            keys: vec![ApiKeyEntry {
                sha256,
                user: "ci".to_owned(),
                roles: vec!["deploy".to_owned()],
            }],
        };
        let keys = ApiKeys::new(&settings, &Arc::from("machines"), &IdentityNames::default());
        let caller = keys.bearer("s3cret").unwrap();
        assert_eq!(caller.identity().user, "ci");
        assert!(caller.identity().has_role("deploy"));
        for wrong in ["", "s3cre", "s3cret ", "S3cret"] {
            assert_eq!(keys.bearer(wrong).unwrap_err().code(), Code::KeyUnknown);
        }
    }
}
