//! `[session]`, `[token_handler.NAME]` and `type = "gateway-session"`: the gateway's own sessions.

use std::time::Duration;

use super::decode::table;
use super::shapes::RawSecret;

table! {
    /// `[session]`.
    Session {
        store: RawSecret,
        path: String,
        cookie: String,
        same_site: String,
        idle: Duration,
        lifetime: Duration,
    }
}

table! {
    /// `[token_handler.NAME]`.
    TokenHandler {
        upstream: String,
        login: String,
        refresh: String,
        logout: String,
        access: String,
        refresh_token: String,
        auth: String,
        refresh_by: String,
        refresh_before: Duration,
        keep_body: bool,
    }
}

table! {
    /// `type = "gateway-session"`.
    GatewaySession {
        token_handler: String,
        cache: Duration,
    }
    also { "type" }
}
