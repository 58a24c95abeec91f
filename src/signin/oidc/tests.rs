//! What the unit tests of a provider's sign-in share.

use std::time::Duration;

use crate::config::settings::{
    Algorithm, ForwardedToken, IdentityMap, JwksUrl, Jwt, KeySource, Oidc,
};
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

pub(super) fn settings() -> Oidc {
    let identity = IdentityMap {
        user: "sub".to_owned(),
        roles: vec!["roles".to_owned()],
        email: None,
        name: None,
    };
    Oidc {
        name: "auth.company".into(),
        handler: HandlerId(0),
        issuer: "https://id.example".into(),
        client_id: "gate".into(),
        client_secret: Secret::new("a secret of the client, long enough".to_owned()),
        scopes: vec!["openid".into()],
        identity: identity.clone(),
        userinfo: true,
        forward_token: ForwardedToken::None,
        prefix: "/.portcullis/oidc/company".into(),
        after_logout: "/".into(),
        refresh_before: Duration::from_mins(1),
        cookie: "__Host-portcullis".into(),
        cache: Duration::from_secs(2),
        id_token: Jwt {
            algorithms: vec![Algorithm::ES256],
            keys: KeySource::JwksUrl(JwksUrl {
                url: "https://id.example".parse().unwrap(),
                discovery: true,
                refresh: Duration::from_mins(10),
                stale: Duration::from_hours(24),
            }),
            issuer: vec!["https://id.example".to_owned()],
            audience: vec!["gate".to_owned()],
            leeway: Duration::from_secs(30),
            require: Vec::new(),
            sources: Vec::new(),
            identity,
            csrf_double_submit: false,
            revoke_claim: None,
            revocable: false,
        },
    }
}
