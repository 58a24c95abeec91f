//! From the tree of an app's addresses to few routes. Pure.
//!
//! A branch whose addresses ask the same of who comes is one route, `/branch/{*rest}`; where they
//! differ, the branch gets what most of them ask, and those that ask something else get routes of their
//! own. Nothing that the app lets in is refused: what is not known for sure is public, and the app
//! checks it as it always did.
//!
//! The gateway takes the most specific route, while an app tries its addresses one after the other:
//! `/users/about` may be the page `/{page}/about` although there is a `/users/`. So each branch knows the
//! nodes that its requests could also lead to.

use super::findings::{Endpoint, Kind, Level};
use super::tree::{ANY, Available, Door, Gate, Node};

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
    let mut walk = Walk {
        complete,
        cors: everywhere(endpoints),
        routes: Vec::new(),
    };
    // What takes every address of an app is under the last route, and casts no shadow on the others:
    // it is the page of a front end, or a "not found" of the app's own.
    let none = Shadow::default();
    walk.exact(&root, "", Gate::OPEN, &none);
    walk.below(&root, "", Gate::OPEN, &none);
    walk.routes
}

/// Whether the app's cross-origin rule is for all that it serves.
pub(super) fn everywhere(endpoints: &[Endpoint]) -> bool {
    !endpoints.is_empty() && endpoints.iter().all(|one| one.cors)
}

/// What else a request to a branch could lead to.
#[derive(Clone, Debug, Default)]
struct Shadow<'n, 'a> {
    /// Nodes that the same segments lead to by parts that take anything.
    nodes: Vec<&'n Node<'a>>,
    /// Addresses further up that take whatever is below.
    rest: Vec<&'n Door<'a>>,
}

impl<'n, 'a> Shadow<'n, 'a> {
    /// That of a branch below `node`.
    fn of_branch(&self, node: &'n Node<'a>, key: &str, is_root: bool) -> Self {
        let mut inner = Self::default();
        for other in &self.nodes {
            inner.nodes.extend(other.below.get(key));
            inner.rest.extend(&other.rest);
            if key != ANY {
                inner.nodes.extend(other.below.get(ANY));
            }
        }
        if key != ANY {
            inner.nodes.extend(node.below.get(ANY));
        }
        inner.rest.extend(&self.rest);
        if !is_root {
            inner.rest.extend(&node.rest);
        }
        inner
    }

    /// What the branch's own address asks, where no view of the branch has it.
    fn here(&self) -> Option<Gate> {
        Gate::merged(self.nodes.iter().flat_map(|node| &node.own))
    }

    /// What addresses below the branch ask, where no view of the branch has them.
    fn deeper(&self) -> Option<Gate> {
        let below = self.nodes.iter().flat_map(|node| {
            let branches = node.below.values().flat_map(Node::doors);
            branches.chain(&node.rest)
        });
        Gate::merged(below.chain(self.rest.iter().copied()))
    }
}

struct Walk {
    complete: bool,
    /// The last route has the app's cross-origin rule.
    cors: bool,
    routes: Vec<Planned>,
}

impl Walk {
    /// A branch. `around` is the gate of the route that takes it if it gets none of its own; `None` where
    /// a part that takes anything stands beside it, whose routes would.
    fn branch(
        &mut self,
        node: &Node<'_>,
        path: &str,
        around: Option<Gate>,
        shadow: &Shadow<'_, '_>,
    ) {
        let doors = node.doors();
        let Some(least) = Gate::merged(doors.iter().copied()) else {
            return;
        };
        let is_mixed = doors.iter().any(|door| door.gate.level != least.level);
        let own = if is_mixed {
            self.usual(node, &doors).unwrap_or(least)
        } else {
            least
        };
        let usual = match shadow.deeper() {
            Some(other) if other.level < own.level => own.with(other),
            Some(_) | None => own,
        };
        let is_lowered = usual.level != own.level;
        // Whom the app lets read its API shall not read its pages.
        let is_first = path.rfind('/') == Some(0);
        let reads = is_first && doors.iter().any(|door| door.endpoint.cors) != self.cors;
        if reads || around.is_none_or(|around| !around.covers(usual)) {
            let mut route = planned(rest_of(path), usual, &doors);
            let is_whole = !is_mixed && !is_lowered && !path.contains('{');
            route.example = is_whole.then(|| format!("{path}/"));
            self.routes.push(route);
        }
        let has_shadow = node.own.is_empty() && shadow.here().is_some();
        if is_mixed || is_lowered || has_shadow {
            self.exact(node, path, usual, shadow);
            self.below(node, path, usual, shadow);
        }
    }

    /// The address of a branch itself, under a route with the gate `usual`.
    fn exact(&mut self, node: &Node<'_>, path: &str, usual: Gate, shadow: &Shadow<'_, '_>) {
        let here: Vec<_> = node.own.iter().collect();
        let gate = Gate::merged(here.iter().copied()).or_else(|| shadow.here());
        let reads = path.is_empty() && here.iter().any(|door| door.endpoint.cors) != self.cors;
        let Some(gate) = gate.filter(|gate| reads || !usual.covers(*gate)) else {
            return;
        };
        if path.is_empty() {
            return self.routes.push(planned("/".to_owned(), gate, &here));
        }
        for path in [path.to_owned(), format!("{path}/")] {
            self.routes.push(planned(path, gate, &here));
        }
    }

    /// The branches below a route with the gate `usual`.
    fn below(&mut self, node: &Node<'_>, path: &str, usual: Gate, shadow: &Shadow<'_, '_>) {
        // Only a route that asks something else would be missed.
        let differs = |any: &Node<'_>| any.doors().iter().any(|door| !usual.covers(door.gate));
        let has_any = node.below.get(ANY).is_some_and(differs);
        for (key, below) in &node.below {
            let segment = if key == ANY {
                part_name(path, &below.written)
            } else {
                below.written.clone()
            };
            let around = (!has_any || key == ANY).then_some(usual);
            let inner = shadow.of_branch(node, key, path.is_empty());
            self.branch(below, &format!("{path}/{segment}"), around, &inner);
        }
    }

    /// What most addresses of a branch ask; `None` for what all of them let in.
    fn usual(&self, node: &Node<'_>, doors: &[&Door<'_>]) -> Option<Gate> {
        let strict = doors
            .iter()
            .filter(|door| door.gate.level == Level::Required);
        let counted = doors
            .iter()
            .filter(|door| !matches!(door.endpoint.kind, Kind::Login | Kind::Static));
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
    let mut seen = Vec::new();
    views.retain(|view| {
        let fresh = !seen.contains(view);
        seen.push(view.clone());
        fresh
    });
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
