//! `[directory.NAME]`: one table for every type, told apart when its `type` is known.

use std::time::Duration;

use super::auth::{kind, wrong_kind};
use super::decode::{Decode, table, wrong_type};
use super::shapes::{RawSecret, StringOrStrings};
use crate::config::node::{Data, Node};
use crate::config::problem::Problems;

/// The types of directories.
const TYPES: &[&str] = &["django", "sql", "endpoint"];

/// `[directory.NAME]`.
#[derive(Debug)]
pub(in crate::config) enum Directory {
    Django(DjangoDirectory),
    Sql(SqlDirectory),
    Endpoint(EndpointDirectory),
    /// The type is wrong, and that is noted; the name is known nevertheless.
    Unknown,
}

table! {
    /// `type = "django"`.
    DjangoDirectory {
        database: RawSecret,
        user_table: String,
        roles: StringOrStrings,
        cache: Duration,
    }
    also { "type" }
}

table! {
    /// `type = "sql"`.
    SqlDirectory {
        database: RawSecret,
        query: String,
        cache: Duration,
    }
    also { "type" }
}

table! {
    /// `type = "endpoint"`.
    EndpointDirectory {
        url: String,
        roles: StringOrStrings,
        user: String,
        email: String,
        name: String,
        active: String,
        timeout: Duration,
        cache: Duration,
    }
    also { "type" }
}

impl Decode for Directory {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            return wrong_type(node, key, "a table", problems);
        };
        let Some(kind) = kind(members, key, problems) else {
            return Some(Self::Unknown);
        };
        match kind {
            "django" => Decode::decode(node, key, problems).map(Self::Django),
            "sql" => Decode::decode(node, key, problems).map(Self::Sql),
            "endpoint" => Decode::decode(node, key, problems).map(Self::Endpoint),
            other => {
                problems.error(wrong_kind(key, other, "directory", TYPES));
                Some(Self::Unknown)
            }
        }
    }
}
