//! An app's addresses as a tree of segments, each with what it asks of who comes. Pure.
//!
//! An address is only ever widened: what no route can have as its path stands for all that is below.

use std::collections::BTreeMap;

use super::findings::{Endpoint, Level};
use crate::policy::path::PathPattern;
use crate::policy::pattern::Segment;

/// Which authenticators the file has.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Available {
    /// `[auth.token]`.
    pub(super) token: bool,
    /// `[auth.token]` looks into the app's cookie for tokens as well.
    pub(super) token_cookie: bool,
    /// `[auth.session]`.
    pub(super) session: bool,
    /// An unsafe request by cookie is guarded by the token's own double submit.
    pub(super) double_submit: bool,
}

/// `auth` and `csrf` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) level: Level,
    pub(super) token: bool,
    pub(super) session: bool,
    /// The gateway's own same-site rule.
    pub(super) csrf: bool,
}

impl Gate {
    /// Anyone.
    pub(super) const OPEN: Self = Self {
        level: Level::Public,
        token: false,
        session: false,
        csrf: true,
    };

    /// What an address asks, as far as the gateway can check it.
    pub(super) fn of(endpoint: &Endpoint, available: Available) -> Self {
        let mut gate = Self {
            level: endpoint.level,
            ..Self::OPEN
        };
        let mut is_exempt = false;
        for (place, one) in endpoint.accepts.iter().enumerate() {
            let known = match one.as_str() {
                "token" | "token-stateless" => {
                    gate.token = available.token;
                    available.token
                }
                "token-cookie" => {
                    gate.token = available.token && available.token_cookie;
                    gate.token
                }
                "session" => {
                    gate.session = available.session;
                    available.session
                }
                "session-without-csrf" => {
                    gate.session = available.session;
                    is_exempt = true;
                    available.session
                }
                _ => false,
            };
            // A credential that is not known here may be the one that comes. Behind the first one an
            // optional gate asks for no more.
            if !known && (gate.level == Level::Required || place == 0) {
                return Self::OPEN;
            }
        }
        let mut gate = gate.settled();
        gate.csrf = !(gate.session && is_exempt || gate.token && available.double_submit);
        gate
    }

    /// What takes everything that one of the two takes.
    pub(super) fn with(self, other: Self) -> Self {
        let both = Self {
            level: self.level.min(other.level),
            token: self.token || other.token,
            session: self.session || other.session,
            csrf: self.csrf && other.csrf,
        };
        both.settled()
    }

    /// Optional is for tokens alone: an app takes whose session has ended for a stranger, and a bad
    /// token for a bad token.
    fn settled(mut self) -> Self {
        if self.level == Level::Optional {
            self.session = false;
        }
        if self.level == Level::Public || !(self.token || self.session) {
            return Self::OPEN;
        }
        self
    }

    /// Whether a route with this gate takes all that one with the other takes, and asks as much.
    pub(super) fn covers(self, other: Self) -> bool {
        self.level == other.level
            && (self.token || !other.token)
            && (self.session || !other.session)
            && (!self.csrf || other.csrf)
    }

    /// What takes everything that one of them takes; `None` of none.
    pub(super) fn merged<'d, 'a: 'd>(
        doors: impl IntoIterator<Item = &'d Door<'a>>,
    ) -> Option<Self> {
        let gates = doors.into_iter().map(|door| door.gate);
        gates.reduce(Self::with)
    }
}

/// An address with its gate.
#[derive(Debug)]
pub(super) struct Door<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) gate: Gate,
}

#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    /// By the decoded segment.
    pub(super) below: BTreeMap<String, Node<'a>>,
    /// How the last segment is written.
    pub(super) written: String,
    pub(super) own: Vec<Door<'a>>,
    /// Those that take whatever is below.
    pub(super) rest: Vec<Door<'a>>,
}

/// Stands for a segment that may be anything; no literal has braces.
pub(super) const ANY: &str = "{}";

/// The segments of a path, as far as a route can have them, and whether whatever is below belongs to it.
fn segments(path: &str) -> (Vec<(String, &str)>, bool) {
    let mut parts = Vec::new();
    let mut taken = String::new();
    let body = path.strip_prefix('/').unwrap_or(path);
    let body = body.strip_suffix('/').unwrap_or(body);
    if body.is_empty() {
        return (parts, false);
    }
    for part in body.split('/') {
        if part.starts_with("{*") {
            return (parts, true);
        }
        let is_part = part.starts_with('{') && part.ends_with('}');
        let sample = if is_part { "x" } else { part };
        let longer = format!("{taken}/{sample}");
        // What no route can have is widened to whatever is below.
        let Some(decoded) = last_segment(&longer).filter(|_| !part.is_empty()) else {
            return (parts, true);
        };
        taken = longer;
        parts.push((if is_part { ANY.to_owned() } else { decoded }, part));
    }
    (parts, false)
}

fn last_segment(path: &str) -> Option<String> {
    let pattern = PathPattern::parse(path).ok()?;
    match pattern.segments().last()? {
        Segment::Literal(text) => Some(text.to_string()),
        Segment::Parameter(_) | Segment::Rest(_) => None,
    }
}

impl<'a> Node<'a> {
    /// Puts an address in its place.
    pub(super) fn insert(&mut self, endpoint: &'a Endpoint, gate: Gate) {
        let (parts, is_open) = segments(&endpoint.path);
        let mut node = self;
        for (key, part) in parts {
            node = node.below.entry(key).or_default();
            if node.written.is_empty() {
                part.clone_into(&mut node.written);
            }
        }
        let door = Door { endpoint, gate };
        if is_open {
            node.rest.push(door);
        } else {
            node.own.push(door);
        }
    }

    /// Its addresses and those below.
    pub(super) fn doors(&self) -> Vec<&Door<'a>> {
        let mut all: Vec<_> = self.own.iter().chain(&self.rest).collect();
        for node in self.below.values() {
            all.extend(node.doors());
        }
        all
    }
}
