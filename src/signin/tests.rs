//! What the unit tests of this room share.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use crate::config::settings::{
    GatewaySessions, LedgerHome, Pointer, RefreshBy, SameSite, TokenHandler,
};
use crate::policy::route::{AuthenticatorId, UpstreamId};

/// A token whose payload says so; nobody here looks at its signature.
pub(super) fn jwt(expires: i64, user: &str) -> String {
    let payload = serde_json::json!({ "exp": expires, "sub": user, "jti": "7f3" });
    let header = BASE64.encode(r#"{"alg":"HS256"}"#);
    format!("{header}.{}.c2ln", BASE64.encode(payload.to_string()))
}

pub(super) fn sessions() -> GatewaySessions {
    GatewaySessions {
        home: LedgerHome::Memory,
        cookie: "__Host-portcullis".into(),
        same_site: SameSite::Lax,
        idle: Duration::from_hours(1),
        lifetime: Duration::from_hours(1),
    }
}

pub(super) fn handler() -> TokenHandler {
    TokenHandler {
        name: "app".into(),
        upstream: UpstreamId(0),
        login: "/login/".into(),
        refresh: Some("/refresh/".into()),
        logout: Some("/logout/".into()),
        access: Pointer(vec!["access".into()]),
        refresh_token: Pointer(vec!["refresh".into()]),
        auth: AuthenticatorId(0),
        refresh_by: RefreshBy::Body,
        refresh_before: Duration::from_mins(1),
        keep_body: false,
    }
}
