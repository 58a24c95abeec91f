//! Any text as what a browser brings back from an OpenID provider, its query and its cookie: an answer
//! or a reason, no panic; and no cookie opens that was not sealed here.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis::config::settings::{
    Algorithm, ForwardedToken, IdentityMap, JwksUrl, Jwt, KeySource, Oidc,
};
use portcullis::policy::return_path::ReturnPath;
use portcullis::policy::sign_in::HandlerId;
use portcullis::secret::Secret;
use portcullis::signin::oidc::{FLOW_COOKIE, Flow, Returned};

static PROVIDER: LazyLock<Oidc> = LazyLock::new(|| {
    let identity = IdentityMap {
        user: "sub".to_owned(),
        roles: Vec::new(),
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
        refresh_before: Duration::from_secs(60),
        cookie: "__Host-portcullis".into(),
        cache: Duration::from_secs(2),
        id_token: Jwt {
            algorithms: vec![Algorithm::ES256],
            keys: KeySource::JwksUrl(JwksUrl {
                url: "https://id.example".parse().unwrap(),
                discovery: true,
                refresh: Duration::from_secs(600),
                stale: Duration::from_secs(86_400),
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
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(returned) = Returned::parse(text) {
        assert!(!returned.state.expose().is_empty());
    }
    let name = format!("{FLOW_COOKIE}AAAAAAAAAAAAAAAA");
    assert!(Flow::open(&PROVIDER, &name, text).is_none());
    if let Some(page) = ReturnPath::parse(text) {
        let base = url::Url::parse("https://app.example/x/").unwrap();
        let there = base.join(page.as_str()).unwrap();
        assert_eq!(there.origin(), base.origin());
    }
});
