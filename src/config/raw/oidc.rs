//! `type = "oidc"`: sign-in at an OpenID provider.

use std::time::Duration;

use super::auth::IdentityMap;
use super::decode::table;
use super::shapes::{RawSecret, Strings};

table! {
    /// `type = "oidc"`.
    Oidc {
        issuer: String,
        client_id: String,
        client_secret: RawSecret,
        scopes: Strings,
        identity: IdentityMap,
        userinfo: bool,
        forward_token: String,
        prefix: String,
        post_logout_redirect: String,
        refresh_before: Duration,
        cache: Duration,
        directory: String,
    }
    also { "type" }
}
