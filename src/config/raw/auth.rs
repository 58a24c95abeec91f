//! `[auth.NAME]`: one table for every type, told apart when its `type` is known.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::decode::{At, Decode, Table, table, wrong_type};
use super::oidc::Oidc;
use super::session::{DjangoSession, FlaskCookie, FlaskSession, Forward};
use super::shapes::{Named, Secrets, StringOrStrings, Strings};
use super::signin::GatewaySession;
use crate::config::node::{Data, Node, quote};
use crate::config::problem::{Problem, Problems, nearest};

/// The types of this version.
const TYPES: &[&str] = &[
    "jwt",
    "django-session",
    "flask-session",
    "flask-cookie",
    "forward",
    "gateway-session",
    "oidc",
    "api-key",
    "basic",
    "client-certificate",
];

/// `[auth.NAME]`.
#[derive(Debug)]
pub(in crate::config) enum Auth {
    Jwt(Box<Jwt>),
    ApiKey(ApiKey),
    Basic(Basic),
    ClientCertificate(ClientCertificate),
    DjangoSession(Box<DjangoSession>),
    FlaskSession(Box<FlaskSession>),
    FlaskCookie(Box<FlaskCookie>),
    Forward(Box<Forward>),
    GatewaySession(GatewaySession),
    Oidc(Box<Oidc>),
    /// The type is wrong, and that is noted; the name is known nevertheless.
    Unknown,
}

impl Auth {
    /// The table of one of the type `jwt`.
    pub(in crate::config) fn jwt(&self) -> Option<&Jwt> {
        if let Self::Jwt(jwt) = self {
            Some(jwt)
        } else {
            None
        }
    }
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
        revoke_claim: String,
        revocable: bool,
        directory: String,
    }
    also { "type" }
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
        directory: String,
    }
    also { "type" }
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
        directory: String,
    }
    also { "type" }
}

table! {
    /// `type = "client-certificate"`.
    ClientCertificate {
        user: String,
        roles: Named<Vec<At<String>>>,
        directory: String,
    }
    also { "type" }
}

impl Decode for Auth {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            return wrong_type(node, key, "a table", problems);
        };
        let Some(kind) = kind(members, key, problems) else {
            return Some(Self::Unknown);
        };
        match kind {
            "jwt" => Decode::decode(node, key, problems).map(|jwt| Self::Jwt(Box::new(jwt))),
            "api-key" => Decode::decode(node, key, problems).map(Self::ApiKey),
            "basic" => Decode::decode(node, key, problems).map(Self::Basic),
            "client-certificate" => {
                Decode::decode(node, key, problems).map(Self::ClientCertificate)
            }
            "django-session" => {
                Decode::decode(node, key, problems).map(|raw| Self::DjangoSession(Box::new(raw)))
            }
            "flask-session" => {
                Decode::decode(node, key, problems).map(|raw| Self::FlaskSession(Box::new(raw)))
            }
            "flask-cookie" => {
                Decode::decode(node, key, problems).map(|raw| Self::FlaskCookie(Box::new(raw)))
            }
            "forward" => {
                Decode::decode(node, key, problems).map(|raw| Self::Forward(Box::new(raw)))
            }
            "gateway-session" => Decode::decode(node, key, problems).map(Self::GatewaySession),
            "oidc" => Decode::decode(node, key, problems).map(|raw| Self::Oidc(Box::new(raw))),
            other => {
                problems.error(wrong_kind(key, other, "authenticator", TYPES));
                Some(Self::Unknown)
            }
        }
    }
}

impl Auth {
    /// `directory`, which every type has.
    pub(in crate::config) fn directory(&self) -> Option<&At<String>> {
        match self {
            Self::Jwt(raw) => raw.directory.as_ref(),
            Self::ApiKey(raw) => raw.directory.as_ref(),
            Self::Basic(raw) => raw.directory.as_ref(),
            Self::ClientCertificate(raw) => raw.directory.as_ref(),
            Self::DjangoSession(raw) => raw.directory.as_ref(),
            Self::FlaskSession(raw) => raw.directory.as_ref(),
            Self::FlaskCookie(raw) => raw.directory.as_ref(),
            Self::Forward(raw) => raw.directory.as_ref(),
            Self::Oidc(raw) => raw.directory.as_ref(),
            // Its users are looked up as its jwt authenticator does.
            Self::GatewaySession(_) | Self::Unknown => None,
        }
    }
}

/// Reads `type`, on which the other keys of a table depend. `None` where it is not there or is no
/// text, and that is noted.
pub(super) fn kind<'n>(
    members: &'n BTreeMap<String, Node>,
    key: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    if let Some(Data::Text(kind)) = members.get("type").map(|kind| &kind.data) {
        return Some(kind);
    }
    // Reading the key says what is wrong with it.
    let _: Option<At<String>> = Table { members, key }.required("type", problems);
    None
}

/// A type that is not among those of this version.
pub(super) fn wrong_kind(key: &str, kind: &str, what: &str, types: &[&str]) -> Problem {
    let key = format!("{key}.type");
    Problem::new(key, format!("is not a type of {what}"))
        .found(quote(kind))
        .allowed(types.join(", "))
        .nearest(nearest(kind, types.iter().copied()))
}
