//! `[auth.NAME]`: one table for every type, told apart when its `type` is known.

use std::time::Duration;

use serde_json::Value;

use super::decode::{At, Decode, Table, not_yet, table, wrong_type};
use super::shapes::{Named, Secrets, StringOrStrings, Strings};
use crate::config::node::{Data, Node, quote};
use crate::config::problem::{Problem, Problems, nearest};

/// The types of this version.
const TYPES: &[&str] = &["jwt", "api-key", "basic", "client-certificate"];

/// The types that come later.
const LATER: &[&str] = &[
    "django-session",
    "flask-session",
    "flask-cookie",
    "forward",
    "gateway-session",
    "oidc",
];

/// `[auth.NAME]`.
#[derive(Debug)]
pub(in crate::config) enum Auth {
    Jwt(Box<Jwt>),
    ApiKey(ApiKey),
    Basic(Basic),
    ClientCertificate(ClientCertificate),
    /// The type is wrong, and that is noted; the name is known nevertheless.
    Unknown,
}

table! {
    /// `type = "jwt"`.
    Jwt {
        preset: String,
        algorithms: StringOrStrings,
        secret: Secrets,
        public_key: StringOrStrings,
        jwks: String,
        jwks_refresh: Duration,
        jwks_stale: Duration,
        issuer: StringOrStrings,
        audience: StringOrStrings,
        leeway: Duration,
        require: Named<Value>,
        sources: Strings,
        identity: IdentityMap,
    }
    also { "type" }
    later { "directory", "revocable" }
}

table! {
    /// `identity`: which claims make the identity.
    IdentityMap {
        user: String,
        roles: StringOrStrings,
        email: String,
        name: String,
    }
}

table! {
    /// `type = "api-key"`.
    ApiKey {
        sources: Strings,
        keys: Vec<At<Key>>,
        file: String,
    }
    also { "type" }
    later { "directory" }
}

table! {
    /// One api key.
    Key {
        sha256: String,
        user: String,
        roles: Vec<At<String>>,
    }
}

table! {
    /// `type = "basic"`.
    Basic {
        htpasswd: String,
    }
    also { "type" }
    later { "directory" }
}

table! {
    /// `type = "client-certificate"`.
    ClientCertificate {
        user: String,
        roles: Named<Vec<At<String>>>,
    }
    also { "type" }
    later { "directory" }
}

impl Decode for Auth {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            return wrong_type(node, key, "a table", problems);
        };
        let Some(Data::Text(kind)) = members.get("type").map(|kind| &kind.data) else {
            // Reading the key says what is wrong with it.
            let _: Option<At<String>> = Table { members, key }.required("type", problems);
            return Some(Self::Unknown);
        };
        match kind.as_str() {
            "jwt" => Decode::decode(node, key, problems).map(|jwt| Self::Jwt(Box::new(jwt))),
            "api-key" => Decode::decode(node, key, problems).map(Self::ApiKey),
            "basic" => Decode::decode(node, key, problems).map(Self::Basic),
            "client-certificate" => {
                Decode::decode(node, key, problems).map(Self::ClientCertificate)
            }
            other => {
                problems.error(wrong_kind(key, other));
                Some(Self::Unknown)
            }
        }
    }
}

fn wrong_kind(key: &str, kind: &str) -> Problem {
    let key = format!("{key}.type");
    if LATER.contains(&kind) {
        return Problem::new(key, not_yet(&format!("the type {}", quote(kind))))
            .allowed(TYPES.join(", "));
    }
    Problem::new(key, "is not a type of authenticator")
        .found(quote(kind))
        .allowed(TYPES.join(", "))
        .nearest(nearest(kind, TYPES.iter().chain(LATER).copied()))
}
