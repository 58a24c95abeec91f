//! From an app's addresses to few routes. Pure.
//!
//! The addresses make a tree of segments. A branch whose addresses ask the same of who comes is one
//! route, `/branch/{*rest}`; where they differ, the branch gets what most of them ask, and those that
//! ask less get routes of their own. An address is only ever widened, so nothing that the app lets in
//! is refused: what is not known for sure is public, and the app checks it as it always did.

use std::collections::BTreeMap;

use super::findings::{Endpoint, Kind, Level};
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
        for (place, one) in endpoint.accepts.iter().enumerate() {
            let known = match one.as_str() {
                "token" | "token-stateless" => {
                    gate.token = available.token;
                    gate.csrf &= !available.double_submit;
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
                    gate.csrf = false;
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
        gate.settled()
    }

    /// What takes everything that one of the two takes.
    fn with(self, other: Self) -> Self {
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
    fn covers(self, other: Self) -> bool {
        self.level == other.level
            && (self.token || !other.token)
            && (self.session || !other.session)
            && (!self.csrf || other.csrf)
    }

    fn merged<'a>(doors: impl IntoIterator<Item = &'a Door<'a>>) -> Option<Self> {
        let gates = doors.into_iter().map(|door| door.gate);
        gates.reduce(Self::with)
    }
}

/// A route to be written.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// A path that a route can have.
    pub(super) path: String,
    pub(super) gate: Gate,
    /// The app's cross-origin rule is for it.
    pub(super) cors: bool,
    /// The views behind it, some of them.
    pub(super) views: Vec<String>,
    /// How many addresses are behind it.
    pub(super) count: usize,
    /// A path that this route alone takes, where one is known.
    pub(super) example: Option<String>,
}

/// An address with its gate.
#[derive(Debug)]
struct Door<'a> {
    endpoint: &'a Endpoint,
    gate: Gate,
}

#[derive(Debug, Default)]
struct Node<'a> {
    /// By the decoded segment.
    below: BTreeMap<String, Node<'a>>,
    /// How the last segment is written.
    written: String,
    own: Vec<Door<'a>>,
    /// Those that take whatever is below.
    rest: Vec<Door<'a>>,
}

/// Stands for a segment that may be anything; no literal has braces.
const ANY: &str = "{}";
/// How many views are named.
const NAMED: usize = 6;

/// The routes of an app beside the one for `/{*rest}`, which is public. `complete` tells that every
/// address of the app is among these.
pub(super) fn plan(endpoints: &[Endpoint], available: Available, complete: bool) -> Vec<Planned> {
    let mut root = Node::default();
    for endpoint in endpoints {
        let gate = Gate::of(endpoint, available);
        root.insert(endpoint, gate);
    }
    let mut routes = Vec::new();
    let walk = Walk { complete };
    walk.mixed(&root, "", Gate::OPEN, &mut routes);
    routes
}

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
    fn insert(&mut self, endpoint: &'a Endpoint, gate: Gate) {
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

    fn doors(&self) -> Vec<&Door<'a>> {
        let mut all: Vec<_> = self.own.iter().chain(&self.rest).collect();
        for node in self.below.values() {
            all.extend(node.doors());
        }
        all
    }
}

struct Walk {
    complete: bool,
}

impl Walk {
    /// A branch below a route with the gate `around`.
    fn branch(&self, node: &Node<'_>, path: &str, around: Gate, out: &mut Vec<Planned>) {
        let doors = node.doors();
        let Some(gate) = Gate::merged(doors.iter().copied()) else {
            return;
        };
        if doors.iter().any(|door| door.gate.level != gate.level) {
            let usual = self.usual(node, &doors).unwrap_or(gate);
            if !around.covers(usual) {
                out.push(planned(rest_of(path), usual, &doors));
            }
            return self.mixed(node, path, usual, out);
        }
        if !around.covers(gate) {
            let mut route = planned(rest_of(path), gate, &doors);
            route.example = Some(format!("{path}/")).filter(|path| !path.contains('{'));
            out.push(route);
        }
    }

    /// What stands at a branch whose addresses differ, below a route with the gate `usual`.
    fn mixed(&self, node: &Node<'_>, path: &str, usual: Gate, out: &mut Vec<Planned>) {
        let here: Vec<_> = node.own.iter().collect();
        if let Some(gate) = Gate::merged(here.iter().copied())
            && !usual.covers(gate)
        {
            let both = if path.is_empty() {
                vec!["/".to_owned()]
            } else {
                vec![path.to_owned(), format!("{path}/")]
            };
            out.extend(both.into_iter().map(|path| planned(path, gate, &here)));
        }
        for (key, below) in &node.below {
            let segment = if key == ANY {
                part_name(path, &below.written)
            } else {
                below.written.clone()
            };
            self.branch(below, &format!("{path}/{segment}"), usual, out);
        }
    }

    /// What most addresses of a branch ask; `None` for what all of them let in.
    fn usual(&self, node: &Node<'_>, doors: &[&Door<'_>]) -> Option<Gate> {
        let strict = doors
            .iter()
            .filter(|door| door.gate.level == Level::Required);
        let counted = doors
            .iter()
            .filter(|door| door.endpoint.kind != Kind::Login);
        let most = strict.clone().count() * 2 >= counted.count();
        if !node.rest.is_empty() {
            return Gate::merged(&node.rest);
        }
        if !self.complete || !most {
            return None;
        }
        Gate::merged(strict.copied())
    }
}

fn rest_of(path: &str) -> String {
    format!("{path}/{{*rest}}")
}

/// `{name}`, under a name that the path does not have yet, and that is not the rest's.
fn part_name(path: &str, name: &str) -> String {
    let kept = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_');
    let name: String = kept.take(40).collect();
    let is_good =
        |name: &str| !name.is_empty() && name != "rest" && !path.contains(&format!("{{{name}}}"));
    if is_good(&name) {
        return format!("{{{name}}}");
    }
    let numbered = (1..).map(|number| format!("part{number}"));
    let free = numbered.take(1000).find(|name| is_good(name));
    format!("{{{}}}", free.unwrap_or_default())
}

fn planned(path: String, gate: Gate, doors: &[&Door<'_>]) -> Planned {
    let mut views: Vec<_> = doors
        .iter()
        .filter(|door| door.gate.level == gate.level)
        .map(|door| door.endpoint.view.clone())
        .filter(|view| !view.is_empty())
        .collect();
    views.dedup();
    views.truncate(NAMED);
    Planned {
        path,
        gate,
        cors: doors.iter().any(|door| door.endpoint.cors),
        views,
        count: doors.len(),
        example: None,
    }
}
