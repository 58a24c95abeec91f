//! `[[route]]`.

use std::time::Duration;

use serde_json::Value;

use super::decode::{At, Decode, Size, Table, table, wrong_type};
use super::shapes::{Named, OneOrMany, OrFalse, Strings};
use crate::config::node::{Data, Node};
use crate::config::problem::Problems;

table! {
    /// `[[route]]`.
    Route {
        path: String,
        hosts: Strings,
        methods: Strings,
        upstream: String,
        respond: Respond,
        redirect: Redirect,
        files: Files,
        auth: Auth,
        roles: Roles,
        users: Strings,
        claims: Named<OneOrManyValues>,
        cors: String,
        csrf: bool,
        unauthenticated: Unauthenticated,
        strip_prefix: String,
        add_prefix: String,
        timeout: Duration,
        body_limit: Size,
        observe: bool,
        request_headers: HeaderEdits,
        response_headers: HeaderEdits,
        rate_limit: OneOrMany<String>,
        websocket: WebSocket,
    }
}

table! {
    /// `respond`.
    Respond {
        status: u64,
        body: String,
        headers: Named<String>,
    }
}

table! {
    /// `redirect`.
    Redirect {
        to: String,
        status: u64,
    }
}

table! {
    /// `files`.
    Files {
        dir: String,
        index: String,
        fallback: OrFalse<String>,
    }
}

table! {
    /// `request_headers` and `response_headers`.
    HeaderEdits {
        set: Named<String>,
        remove: Strings,
    }
}

/// `auth` of a route.
#[derive(Debug)]
pub(in crate::config) enum Auth {
    /// A word; only `public` is right.
    Word(String),
    Required(Vec<At<String>>),
    Optional(At<Vec<At<String>>>),
}

impl Decode for Auth {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        const EXPECTED: &str = "\"public\", a list of authenticators, or { optional = [\"NAME\"] }";
        match &node.data {
            Data::Text(word) => Some(Self::Word(word.clone())),
            Data::List(_) => Decode::decode(node, key, problems).map(Self::Required),
            Data::Table(_) => {
                let table = Table::open(node, key, &["optional"], problems)?;
                table.required("optional", problems).map(Self::Optional)
            }
            Data::Whole(_) | Data::Float(_) | Data::Bool(_) => {
                wrong_type(node, key, EXPECTED, problems)
            }
        }
    }
}

/// `roles` of a route.
#[derive(Debug, Default)]
pub(in crate::config) struct Roles {
    pub(in crate::config) any: Option<At<Strings>>,
    pub(in crate::config) all: Option<At<Strings>>,
    pub(in crate::config) none: Option<At<Strings>>,
}

impl Decode for Roles {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            let list = Strings::decode(node, key, problems)?;
            return Some(Self::any_of(key, list));
        };
        if members.contains_key("env") {
            let list = Strings::decode(node, key, problems)?;
            return Some(Self::any_of(key, list));
        }
        let table = Table::open(node, key, &["any", "all", "none"], problems)?;
        Some(Self {
            any: table.take("any", problems),
            all: table.take("all", problems),
            none: table.take("none", problems),
        })
    }
}

impl Roles {
    fn any_of(key: &str, value: Strings) -> Self {
        let any = At {
            key: key.to_owned(),
            value,
        };
        Self {
            any: Some(any),
            ..Self::default()
        }
    }
}

/// The values of which a claim must have one.
#[derive(Debug)]
pub(in crate::config) struct OneOrManyValues(pub(in crate::config) Vec<Value>);

impl Decode for OneOrManyValues {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let value = Value::decode(node, key, problems)?;
        if let Value::Array(list) = value {
            return Some(Self(list));
        }
        Some(Self(vec![value]))
    }
}

/// `unauthenticated` of a route.
#[derive(Debug)]
pub(in crate::config) enum Unauthenticated {
    /// A word; only `status` is right.
    Word(String),
    Redirect(At<String>),
}

impl Decode for Unauthenticated {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if !matches!(node.data, Data::Table(_)) {
            return String::decode(node, key, problems).map(Self::Word);
        }
        let table = Table::open(node, key, &["redirect"], problems)?;
        table.required("redirect", problems).map(Self::Redirect)
    }
}

/// `websocket` of a route.
#[derive(Debug, Default)]
pub(in crate::config) struct WebSocket {
    pub(in crate::config) off: bool,
    pub(in crate::config) refuse: Option<At<String>>,
    pub(in crate::config) idle: Option<At<Duration>>,
    pub(in crate::config) close_on_expiry: Option<bool>,
    pub(in crate::config) forward_token: Option<bool>,
}

impl Decode for WebSocket {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        const KEYS: &[&str] = &["refuse", "close_on_expiry", "idle", "forward_token"];
        match &node.data {
            Data::Bool(on) => {
                return Some(Self {
                    off: !on,
                    ..Self::default()
                });
            }
            Data::Table(_) => {}
            Data::Text(_) | Data::Whole(_) | Data::Float(_) | Data::List(_) => {
                return wrong_type(node, key, "true, false or a table", problems);
            }
        }
        let table = Table::open(node, key, KEYS, problems)?;
        Some(Self {
            off: false,
            refuse: table.take("refuse", problems),
            idle: table.take("idle", problems),
            close_on_expiry: table.take("close_on_expiry", problems).map(|at| at.value),
            forward_token: table.take("forward_token", problems).map(|at| at.value),
        })
    }
}
