//! The tree of one host's path patterns: finds the best one for a path, then the route for a method.
//!
//! A segment is one hash lookup, however many routes there are. At each segment a literal is tried
//! before `{name}` and that before `{*rest}`, going back where the deeper way leads nowhere.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use http::{HeaderValue, Method};

use crate::policy::pattern::Segment;
use crate::policy::route::{Route, RouteId};

/// Routes under one host, by path.
#[derive(Debug, Default)]
pub(super) struct PathTree {
    root: Node,
}

#[derive(Debug)]
struct Node {
    literals: Lookup<Self>,
    parameter: Option<Box<Self>>,
    end: Option<Leaf>,
    rest: Option<Leaf>,
}

/// A map that is filled when the configuration is compiled and only looked up afterwards. The
/// hash's seeds are fixed: clients cannot add to it.
pub(super) type Lookup<T> = HashMap<Box<str>, T, RandomState>;

pub(super) fn lookup<T>() -> Lookup<T> {
    HashMap::with_hasher(RandomState::with_seeds(0x51, 0xac, 0x9e, 0x37))
}

impl Default for Node {
    fn default() -> Self {
        Self {
            literals: lookup(),
            parameter: None,
            end: None,
            rest: None,
        }
    }
}

/// The routes at one pattern of one host, by method.
#[derive(Debug)]
pub(super) struct Leaf {
    listed: Vec<(Method, Arc<Route>)>,
    any: Option<Arc<Route>>,
    allow: HeaderValue,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            any: None,
            allow: HeaderValue::from_static(""),
        }
    }
}

impl PathTree {
    /// The routes at the best pattern for a decoded path, if any pattern takes it.
    pub(super) fn find(&self, decoded: &str) -> Option<&Leaf> {
        self.root
            .find(Some(decoded.strip_prefix('/').unwrap_or(decoded)))
    }

    /// Adds a route; gives back the routes that match some of the same requests with equal right.
    pub(super) fn add(&mut self, route: &Arc<Route>) -> Vec<RouteId> {
        let mut node = &mut self.root;
        for segment in route.pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
                Segment::Rest(_) => return node.rest.get_or_insert_default().add(route),
            };
        }
        node.end.get_or_insert_default().add(route)
    }
}

impl Node {
    fn find(&self, path: Option<&str>) -> Option<&Leaf> {
        let Some(path) = path else {
            return self.end.as_ref().or(self.rest.as_ref());
        };
        let (segment, behind) = match path.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (path, None),
        };
        let literal = self.literals.get(segment);
        if let Some(leaf) = literal.and_then(|node| node.find(behind)) {
            return Some(leaf);
        }
        let parameter = self.parameter.as_ref().filter(|_| !segment.is_empty());
        if let Some(leaf) = parameter.and_then(|node| node.find(behind)) {
            return Some(leaf);
        }
        self.rest.as_ref()
    }
}

impl Leaf {
    /// The route for a method: one that lists it, then `GET`'s for `HEAD`, then one that takes all.
    pub(super) fn route(&self, method: &Method) -> Option<&Arc<Route>> {
        self.listing(method)
            .or_else(|| {
                (method == Method::HEAD)
                    .then(|| self.listing(&Method::GET))
                    .flatten()
            })
            .or(self.any.as_ref())
    }

    /// Every route here, whatever its methods.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let listed = self.listed.iter().map(|(_, route)| route);
        listed.chain(&self.any)
    }

    /// The methods that some route here takes, for `Allow` (RFC 9110 §10.2.1).
    pub(super) fn allow(&self) -> &HeaderValue {
        &self.allow
    }

    fn listing(&self, method: &Method) -> Option<&Arc<Route>> {
        self.listed
            .iter()
            .find(|(listed, _)| listed == method)
            .map(|(_, route)| route)
    }

    fn add(&mut self, route: &Arc<Route>) -> Vec<RouteId> {
        let mut rivals = Vec::new();
        match &route.methods {
            None => match &self.any {
                Some(rival) => rivals.push(rival.id),
                None => self.any = Some(Arc::clone(route)),
            },
            Some(methods) => {
                for method in methods {
                    match self.listing(method).map(|rival| rival.id) {
                        None => self.listed.push((method.clone(), Arc::clone(route))),
                        Some(rival) => rivals.push(rival),
                    }
                }
                self.allow = self.allowed_methods();
            }
        }
        rivals.retain(|rival| *rival != route.id);
        rivals.dedup();
        rivals
    }

    fn allowed_methods(&self) -> HeaderValue {
        let mut names: Vec<&str> = self.listed.iter().map(|(m, _)| m.as_str()).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.sort_unstable();
        names.dedup();
        HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}
