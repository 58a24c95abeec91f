//! The types of `[auth.NAME]` that read the apps' own sessions, or ask the app itself.

use std::time::Duration;

use super::auth::IdentityMap;
use super::decode::table;
use super::shapes::{RawSecret, Secrets, StringOrStrings, Strings};

table! {
    /// `type = "django-session"`.
    DjangoSession {
        secret: Secrets,
        backend: String,
        database: RawSecret,
        redis: RawSecret,
        key_prefix: String,
        key_version: u64,
        cookie: String,
        table: String,
        cache: Duration,
        path: String,
        lifetime: Duration,
        time_zone: String,
        authentication_backends: Strings,
        legacy_sha1: bool,
        directory: String,
    }
    also { "type" }
}

table! {
    /// `type = "flask-session"`.
    FlaskSession {
        store: RawSecret,
        table: String,
        file_names: String,
        key_prefix: String,
        signer: bool,
        secret: Secrets,
        cookie: String,
        cache: Duration,
        identity: SessionIdentity,
        session_protection: String,
        remember_cookie: String,
        directory: String,
    }
    also { "type" }
}

table! {
    /// `type = "flask-cookie"`.
    FlaskCookie {
        secret: Secrets,
        cookie: String,
        lifetime: Duration,
        identity: SessionIdentity,
        session_protection: String,
        remember_cookie: String,
        directory: String,
    }
    also { "type" }
}

table! {
    /// `identity` of a session: which of its keys make the identity.
    SessionIdentity {
        user: StringOrStrings,
        roles: StringOrStrings,
        email: String,
        name: String,
    }
}

table! {
    /// `type = "forward"`.
    Forward {
        url: String,
        send: Strings,
        cache: Duration,
        timeout: Duration,
        identity: IdentityMap,
        identity_headers: IdentityHeaders,
        directory: String,
    }
    also { "type" }
}

table! {
    /// `identity_headers`: which headers of the answer make the identity.
    IdentityHeaders {
        user: String,
        roles: String,
        email: String,
        name: String,
    }
}
