//! A mirror of the file: its tables, their keys and types. Decides nothing.
//!
//! A key that is not here is refused.

pub(super) mod auth;
pub(super) mod decode;
pub(super) mod directory;
pub(super) mod doors;
pub(super) mod oidc;
pub(super) mod route;
pub(super) mod session;
pub(super) mod shapes;
pub(super) mod signin;

use std::time::Duration;

use serde_json::Value;

use super::node::{Data, Node};
use super::problem::Problems;
use decode::{At, Decode, RawRate, table, wrong_type};
use shapes::{Named, OrFalse, Strings};

/// The tables of the file, for the names of variables.
pub(super) const TABLES: &[&str] = &[
    "server",
    "tls",
    "upstream",
    "auth",
    "directory",
    "cors",
    "rate_limit",
    "identity",
    "session",
    "token_handler",
    "route",
    "expect",
    "security_headers",
    "log",
    "tracing",
    "admin",
];

table! {
    /// The whole file.
    File {
        server: doors::Server,
        tls: doors::Tls,
        upstream: Named<doors::Upstream>,
        auth: Named<auth::Auth>,
        directory: Named<directory::Directory>,
        cors: Named<Cors>,
        rate_limit: Named<RateLimit>,
        identity: Identity,
        session: signin::Session,
        token_handler: Named<signin::TokenHandler>,
        route: Vec<At<route::Route>>,
        expect: Vec<At<Expect>>,
        security_headers: SecurityHeaders,
        log: Log,
        tracing: Tracing,
        admin: Admin,
    }
}

table! {
    /// `[cors.NAME]`.
    Cors {
        origins: Strings,
        credentials: bool,
        methods: Strings,
        headers: CorsHeaders,
        expose: Strings,
        max_age: Duration,
        private_network: bool,
    }
}

table! {
    /// `[rate_limit.NAME]`.
    RateLimit {
        limit: RawRate,
        burst: u64,
        per: String,
        shared: bool,
    }
}

/// `headers` of a cross-origin rule.
#[derive(Debug)]
pub(super) enum CorsHeaders {
    /// What the preflight asks for is echoed.
    Any,
    /// These alone.
    Listed(Strings),
}

impl Decode for CorsHeaders {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::Text(word), _) if word == "any" => Some(Self::Any),
            (Data::Text(_), None) => wrong_type(node, key, "\"any\" or a list of names", problems),
            _ => Strings::decode(node, key, problems).map(Self::Listed),
        }
    }
}

table! {
    /// `[identity]`.
    Identity {
        preset: String,
        user: OrFalse<String>,
        roles: OrFalse<String>,
        email: OrFalse<String>,
        name: OrFalse<String>,
        authenticator: OrFalse<String>,
        claims: Named<String>,
        strip: Strings,
        assertion: Assertion,
    }
}

table! {
    /// `[identity] assertion`.
    Assertion {
        header: String,
        key: String,
        ttl: Duration,
        audience: String,
    }
}

table! {
    /// `[[expect]]`.
    Expect {
        request: String,
        r#as: ExpectAs,
        headers: Named<String>,
        answer: ExpectAnswer,
    }
}

table! {
    /// `as` of an expectation.
    ExpectAs {
        user: String,
        roles: Vec<At<String>>,
        email: String,
        name: String,
        claims: Named<Value>,
        authenticator: String,
    }
}

table! {
    /// `answer` of an expectation.
    ExpectAnswer {
        status: u64,
        code: String,
        forward: String,
        headers: Named<String>,
    }
}

table! {
    /// `[security_headers]`.
    SecurityHeaders {
        hsts: OrFalse<Duration>,
        hsts_subdomains: bool,
        hsts_preload: bool,
        nosniff: bool,
        frame: OrFalse<String>,
        referrer: OrFalse<String>,
        content_security_policy: OrFalse<String>,
    }
}

table! {
    /// `[log]`.
    Log {
        format: String,
        level: String,
        access: bool,
    }
}

table! {
    /// `[tracing]`.
    Tracing {
        otlp: String,
        sample: f64,
    }
}

table! {
    /// `[admin]`.
    Admin {
        token: shapes::RawSecret,
    }
}
