//! Finds the one route that fits a request.
//!
//! The most specific wins, whatever the order in the file: an exact host over a wildcard over no
//! host, then at each segment of the path a literal over `{name}` over `{*rest}`, then a route that
//! lists the method over one that takes all. The path is settled before the method is looked at: a
//! method that the best path does not take is refused, never handed to a less specific path.
//!
//! Two routes that could both win are refused when the routes are compiled.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::policy::denial::{Code, Denial};
use crate::policy::host::HostPattern;
use crate::policy::matcher::{Leaf, Lookup, PathTree, lookup};
use crate::policy::path::CanonicalPath;
use crate::policy::pattern::Segment;
use crate::policy::route::{Route, RouteId};

/// Every route, and how to find the one that fits.
#[derive(Debug)]
pub struct Routes {
    /// In the order of the file.
    all: Vec<Arc<Route>>,
    exact: Lookup<PathTree>,
    /// By suffix, without `*.`.
    wildcard: Lookup<PathTree>,
    any_host: PathTree,
}

/// Two routes that match the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that stands first in the file.
    pub first: RouteId,
    /// The other.
    pub second: RouteId,
    /// Their labels, in the same order.
    pub labels: [Arc<str>; 2],
}

/// Why no route fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No path fits.
    NoRoute,
    /// The best path is there, but not for this method.
    Method {
        /// The methods it takes.
        allow: HeaderValue,
    },
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            exact: lookup(),
            wildcard: lookup(),
            any_host: PathTree::default(),
        }
    }
}

impl Routes {
    /// Compiles routes, given in the order of the file.
    ///
    /// # Errors
    ///
    /// Every pair of routes that match the same requests: the same host, the same path but for the
    /// names in braces, and a method in common.
    pub fn compile(routes: Vec<Route>) -> Result<Self, Vec<Conflict>> {
        let mut compiled = Self {
            all: routes.into_iter().map(Arc::new).collect(),
            ..Self::default()
        };
        let mut rivals = Vec::new();
        for route in &compiled.all {
            if route.hosts.is_empty() {
                let found = compiled.any_host.add(route);
                rivals.extend(found.into_iter().map(|first| (first, route.id)));
            }
            for host in &route.hosts {
                let tree = match host {
                    HostPattern::Exact(name) => compiled.exact.entry(name.clone()),
                    HostPattern::Wildcard(suffix) => compiled.wildcard.entry(suffix.clone()),
                };
                let found = tree.or_default().add(route);
                rivals.extend(found.into_iter().map(|first| (first, route.id)));
            }
        }
        rivals.sort_unstable();
        rivals.dedup();
        if rivals.is_empty() {
            return Ok(compiled);
        }
        let conflicts = rivals.into_iter();
        Err(conflicts
            .map(|pair| Conflict::between(pair, &compiled.all))
            .collect())
    }

    /// Finds the route for a request. `host` is as [`crate::policy::host::Authority::host`] gives
    /// it.
    ///
    /// # Errors
    ///
    /// [`Miss`]: no path fits, or the best path does not take the method.
    pub fn find(
        &self,
        host: &str,
        path: &CanonicalPath<'_>,
        method: &Method,
    ) -> Result<&Arc<Route>, Miss> {
        let leaf = self.leaf(host, path.decoded()).ok_or(Miss::NoRoute)?;
        leaf.route(method).ok_or_else(|| Miss::Method {
            allow: leaf.allow().clone(),
        })
    }

    /// The routes that stand where a request would be routed, whatever their methods.
    pub fn beside(
        &self,
        host: &str,
        path: &CanonicalPath<'_>,
    ) -> impl Iterator<Item = &Arc<Route>> {
        self.leaf(host, path.decoded())
            .into_iter()
            .flat_map(Leaf::routes)
    }

    fn leaf(&self, host: &str, decoded: &str) -> Option<&Leaf> {
        if let Some(leaf) = self.exact.get(host).and_then(|tree| tree.find(decoded)) {
            return Some(leaf);
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                let tree = self.wildcard.get(suffix);
                if let Some(leaf) = tree.and_then(|tree| tree.find(decoded)) {
                    return Some(leaf);
                }
                rest = suffix;
            }
        }
        self.any_host.find(decoded)
    }

    /// Every route, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Arc<Route>] {
        &self.all
    }

    /// The route at a place of the file.
    #[must_use]
    pub fn get(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.all.get(id.0)
    }

    /// Every host of every route with the route, in the order in which they win.
    #[must_use]
    pub fn ordered(&self) -> Vec<(Option<&HostPattern>, &Arc<Route>)> {
        let mut rows = Vec::with_capacity(self.all.len());
        for route in &self.all {
            if route.hosts.is_empty() {
                rows.push((None, route));
            }
            rows.extend(route.hosts.iter().map(|host| (Some(host), route)));
        }
        rows.sort_by(|(host, route), (other_host, other)| {
            by_host(*host, *other_host)
                .then_with(|| by_path(route, other))
                .then_with(|| route.methods.is_none().cmp(&other.methods.is_none()))
                .then_with(|| route.id.cmp(&other.id))
        });
        rows
    }
}

/// The more specific host first.
fn by_host(one: Option<&HostPattern>, other: Option<&HostPattern>) -> Ordering {
    let rank = |host: Option<&HostPattern>| match host {
        Some(HostPattern::Exact(_)) => (0, 0),
        Some(HostPattern::Wildcard(suffix)) => (1, usize::MAX - suffix.split('.').count()),
        None => (2, 0),
    };
    let text = |host: Option<&HostPattern>| host.map(ToString::to_string);
    rank(one)
        .cmp(&rank(other))
        .then_with(|| text(one).cmp(&text(other)))
}

/// The more specific path first. Literals stand by their text, so the order is a reader's too.
fn by_path(one: &Route, other: &Route) -> Ordering {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Parameter(_) => 1,
        Segment::Rest(_) => 2,
    };
    let compare = |a: &Segment, b: &Segment| match (a, b) {
        (Segment::Literal(a), Segment::Literal(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    };
    let (ours, theirs) = (one.pattern.segments(), other.pattern.segments());
    let differing = ours.iter().zip(theirs).map(|(a, b)| compare(a, b));
    differing
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or_else(|| ours.len().cmp(&theirs.len()))
}

impl Conflict {
    fn between((first, second): (RouteId, RouteId), all: &[Arc<Route>]) -> Self {
        let label = |id: RouteId| {
            let route = all.iter().find(|route| route.id == id);
            route.map_or_else(|| Arc::from(""), |route| Arc::clone(&route.label))
        };
        Self {
            first,
            second,
            labels: [label(first), label(second)],
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RouteId(first), RouteId(second)) = (self.first, self.second);
        let [one, other] = &self.labels;
        write!(
            f,
            "route[{first}] ({one}) and route[{second}] ({other}) match the same requests: give \
             them different hosts, paths or methods"
        )
    }
}

impl From<Miss> for Denial {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NoRoute => Self::new(Code::NoRoute, "no route matches this host and path"),
            Miss::Method { allow } => Self::new(
                Code::MethodNotAllowed,
                "this path is served, but not with this method",
            )
            .allow(allow),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::pattern::PathPattern;
    use crate::policy::requirement::Requirement;
    use crate::policy::route::{Action, HeaderEdits, Unauthenticated, WebSocketRule};
    use crate::policy::websocket::close::Refuse;

    fn route(id: usize, hosts: &[&str], path: &str, methods: &[&str]) -> Route {
        let methods: Vec<Method> = methods.iter().map(|m| m.parse().unwrap()).collect();
        Route {
            id: RouteId(id),
            label: format!("{path} {hosts:?}").into(),
            pattern: PathPattern::parse(path).expect(path),
            hosts: hosts
                .iter()
                .map(|h| HostPattern::parse(h).unwrap())
                .collect(),
            methods: (!methods.is_empty()).then_some(methods),
            action: Action::Respond {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: Bytes::new(),
            },
            authenticators: Vec::new(),
            requirement: Requirement::PUBLIC,
            cors: None,
            csrf: true,
            limits: Vec::new(),
            unauthenticated: Unauthenticated::Status,
            body_limit: 0,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            websocket: WebSocketRule {
                refuse: Refuse::Auto,
                allowed: true,
                idle: Duration::from_mins(10),
                close_on_expiry: true,
                forward_token: true,
            },
        }
    }

    fn compiled(rows: &[(&[&str], &str, &[&str])]) -> Routes {
        let rows = rows.iter().enumerate();
        Routes::compile(rows.map(|(id, (h, p, m))| route(id, h, p, m)).collect()).unwrap()
    }

    fn find(routes: &Routes, method: &str, host: &str, raw: &str) -> Result<usize, Miss> {
        let path = CanonicalPath::parse(raw, false).unwrap();
        let found = routes.find(host, &path, &method.parse().unwrap());
        found.map(|route| route.id.0)
    }

    #[test]
    fn a_literal_beats_a_name_beats_a_rest_whatever_the_order() {
        let routes = compiled(&[
            (&[], "/{*rest}", &[]),
            (&[], "/users/{id}", &[]),
            (&[], "/users/me", &[]),
            (&[], "/users/{*rest}", &[]),
        ]);
        assert_eq!(find(&routes, "GET", "x", "/users/me"), Ok(2));
        assert_eq!(find(&routes, "GET", "x", "/users/%6De"), Ok(2));
        assert_eq!(find(&routes, "GET", "x", "/users/7"), Ok(1));
        assert_eq!(find(&routes, "GET", "x", "/users/7/a"), Ok(3));
        assert_eq!(find(&routes, "GET", "x", "/users"), Ok(3));
        assert_eq!(find(&routes, "GET", "x", "/users/"), Ok(3));
        assert_eq!(find(&routes, "GET", "x", "/usersx"), Ok(0));
    }

    #[test]
    fn a_way_that_leads_nowhere_is_gone_back() {
        let routes = compiled(&[
            (&[], "/a/b/c", &[]),
            (&[], "/a/{x}/d", &[]),
            (&[], "/{*r}", &[]),
        ]);
        assert_eq!(find(&routes, "GET", "x", "/a/b/d"), Ok(1));
        assert_eq!(find(&routes, "GET", "x", "/a/b/e"), Ok(2));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let routes = compiled(&[(&[], "/admin/{*rest}", &[])]);
        for inside in ["/admin", "/admin/", "/admin/x"] {
            assert_eq!(find(&routes, "GET", "x", inside), Ok(0), "{inside}");
        }
        for outside in ["/administrator", "/Admin", "/adm", "/x/admin"] {
            assert_eq!(
                find(&routes, "GET", "x", outside),
                Err(Miss::NoRoute),
                "{outside}"
            );
        }
    }

    #[test]
    fn an_exact_host_beats_a_longer_wildcard_beats_a_shorter_beats_none() {
        let routes = compiled(&[
            (&[], "/{*r}", &[]),
            (&["*.example.com"], "/{*r}", &[]),
            (&["*.b.example.com"], "/{*r}", &[]),
            (&["a.b.example.com"], "/{*r}", &[]),
        ]);
        assert_eq!(find(&routes, "GET", "a.b.example.com", "/x"), Ok(3));
        assert_eq!(find(&routes, "GET", "c.b.example.com", "/x"), Ok(2));
        assert_eq!(find(&routes, "GET", "b.example.com", "/x"), Ok(1));
        assert_eq!(find(&routes, "GET", "example.com", "/x"), Ok(0));
        assert_eq!(find(&routes, "GET", "notexample.com", "/x"), Ok(0));
    }

    #[test]
    fn a_host_whose_paths_do_not_fit_leaves_the_request_to_the_next() {
        let routes = compiled(&[(&["a.example"], "/only", &[]), (&[], "/{*r}", &[])]);
        assert_eq!(find(&routes, "GET", "a.example", "/only"), Ok(0));
        assert_eq!(find(&routes, "GET", "a.example", "/other"), Ok(1));
    }

    #[test]
    fn a_method_rule_cannot_be_dodged_by_a_less_specific_path() {
        let routes = compiled(&[(&[], "/admin", &["GET", "POST"]), (&[], "/{*r}", &[])]);
        let allow = HeaderValue::from_static("GET, HEAD, POST");
        assert_eq!(
            find(&routes, "DELETE", "x", "/admin"),
            Err(Miss::Method { allow })
        );
        assert_eq!(find(&routes, "DELETE", "x", "/else"), Ok(1));
    }

    #[test]
    fn a_listed_method_beats_a_route_for_all() {
        let routes = compiled(&[(&[], "/a", &[]), (&[], "/a", &["POST"])]);
        assert_eq!(find(&routes, "POST", "x", "/a"), Ok(1));
        assert_eq!(find(&routes, "PUT", "x", "/a"), Ok(0));
    }

    #[test]
    fn head_goes_where_get_goes_unless_it_is_listed_itself() {
        let routes = compiled(&[(&[], "/a", &["GET"]), (&[], "/a", &[])]);
        assert_eq!(find(&routes, "HEAD", "x", "/a"), Ok(0));
        let routes = compiled(&[(&[], "/a", &["GET"]), (&[], "/a", &["HEAD"])]);
        assert_eq!(find(&routes, "HEAD", "x", "/a"), Ok(1));
    }

    #[test]
    fn two_routes_for_the_same_requests_are_refused_and_both_are_named() {
        let conflict = |one: Route, other: Route| {
            let found =
                Routes::compile(vec![one, other]).map_err(|all| (all[0].first, all[0].second));
            found.is_err_and(|pair| pair == (RouteId(0), RouteId(1)))
        };
        assert!(conflict(
            route(0, &[], "/a/{x}", &[]),
            route(1, &[], "/a/{y}", &[])
        ));
        assert!(conflict(
            route(0, &[], "/a", &["GET", "PUT"]),
            route(1, &[], "/a", &["PUT"])
        ));
        assert!(conflict(
            route(0, &["a.b", "c.d"], "/a", &[]),
            route(1, &["C.D"], "/%61", &[])
        ));
        assert!(!conflict(
            route(0, &[], "/a", &["GET"]),
            route(1, &[], "/a", &["PUT"])
        ));
        assert!(!conflict(
            route(0, &["a.b"], "/a", &[]),
            route(1, &["*.b"], "/a", &[])
        ));
        assert!(!conflict(
            route(0, &[], "/a", &[]),
            route(1, &[], "/a/", &[])
        ));
    }

    #[test]
    fn a_host_named_twice_in_one_route_is_no_conflict() {
        assert!(Routes::compile(vec![route(0, &["a.b", "A.b"], "/a", &["GET", "GET"])]).is_ok());
    }

    #[test]
    fn routes_are_told_in_the_order_they_win() {
        let routes = compiled(&[
            (&[], "/{*r}", &[]),
            (&["*.b.c", "a.b.c"], "/{x}", &[]),
            (&[], "/a", &[]),
            (&[], "/a", &["GET"]),
            (&["*.x.b.c"], "/", &[]),
        ]);
        let order: Vec<_> = routes
            .ordered()
            .iter()
            .map(|(_, route)| route.id.0)
            .collect();
        assert_eq!(order, [1, 4, 1, 3, 2, 0]);
    }

    /// The best match as the documentation words it, route by route.
    fn naive(
        routes: &[Route],
        host: &str,
        path: &CanonicalPath<'_>,
        method: &Method,
    ) -> Result<RouteId, &'static str> {
        let ranks = |route: &Route| -> Vec<u8> {
            let rank = |segment: &Segment| match segment {
                Segment::Literal(_) => 0,
                Segment::Parameter(_) => 1,
                Segment::Rest(_) => 2,
            };
            route.pattern.segments().iter().map(rank).collect()
        };
        let mut best: Option<((u8, isize), Vec<u8>)> = None;
        let mut fitting = Vec::new();
        for route in routes.iter().filter(|route| route.pattern.matches(path)) {
            let mut ways: Vec<(u8, isize)> = Vec::new();
            if route.hosts.is_empty() {
                ways.push((2, 0));
            }
            for host_pattern in route.hosts.iter().filter(|pattern| pattern.matches(host)) {
                ways.push(match host_pattern {
                    HostPattern::Exact(_) => (0, 0),
                    HostPattern::Wildcard(suffix) => (1, -isize::try_from(suffix.len()).unwrap()),
                });
            }
            for way in ways {
                fitting.push(((way, ranks(route)), route));
            }
        }
        fitting.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some((key, _)) = fitting.first() {
            best = Some(key.clone());
        }
        let best = best.ok_or("no path")?;
        let there: Vec<_> = fitting
            .iter()
            .filter(|(key, _)| *key == best)
            .map(|(_, r)| *r)
            .collect();
        let listing = |wanted: &Method| {
            let lists = |route: &&Route| route.methods.as_ref().is_some_and(|m| m.contains(wanted));
            there.iter().copied().find(lists)
        };
        let head = (method == Method::HEAD)
            .then(|| listing(&Method::GET))
            .flatten();
        let all = there.iter().copied().find(|route| route.methods.is_none());
        let found = listing(method).or(head).or(all);
        found.map(|route| route.id).ok_or("no method")
    }

    fn any_route() -> impl Strategy<Value = (Vec<&'static str>, String, Vec<&'static str>)> {
        let host = prop_oneof![
            Just("a.b.c"),
            Just("b.c"),
            Just("*.b.c"),
            Just("*.c"),
            Just("*.a.b.c")
        ];
        let segment = prop_oneof![Just("a"), Just("b"), Just("{x}"), Just("")];
        let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD")];
        (
            proptest::collection::vec(host, 0..3),
            proptest::collection::vec(segment, 1..4),
            any::<bool>(),
            proptest::collection::vec(method, 0..3),
        )
            .prop_map(|(hosts, segments, rest, methods)| {
                let mut path = String::new();
                for (n, segment) in segments.iter().enumerate() {
                    let last = n + 1 == segments.len();
                    if segment.is_empty() && (!last || rest) {
                        continue;
                    }
                    path.push('/');
                    path.push_str(&segment.replace('x', &format!("x{n}")));
                }
                if rest {
                    path.push_str("/{*rest}");
                }
                if path.is_empty() {
                    path.push('/');
                }
                (hosts, path, methods)
            })
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_look_at_every_route_finds(
            rows in proptest::collection::vec(any_route(), 1..12),
            host in prop_oneof![
                Just("a.b.c"), Just("b.c"), Just("x.b.c"), Just("y.a.b.c"), Just("c"), Just("z")
            ],
            path in "(/[abc]){0,4}/?",
            method in prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("PUT")],
        ) {
            let mut kept: Vec<Route> = Vec::new();
            for (id, (hosts, path, methods)) in rows.iter().enumerate() {
                let new = route(id, hosts, path, methods);
                let mut trial = kept.clone();
                trial.push(new.clone());
                if Routes::compile(trial).is_ok() {
                    kept.push(new);
                }
            }
            let raw = if path.is_empty() { "/".to_owned() } else { path };
            let path = CanonicalPath::parse(&raw, false).expect("clean");
            let method: Method = method.parse().unwrap();
            let routes = Routes::compile(kept.clone()).unwrap();
            let wanted = naive(&kept, host, &path, &method);
            let found = match routes.find(host, &path, &method) {
                Ok(route) => Ok(route.id),
                Err(Miss::Method { .. }) => Err("no method"),
                Err(Miss::NoRoute) => Err("no path"),
            };
            prop_assert_eq!(found, wanted);
        }
    }
}
