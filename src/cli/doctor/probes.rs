//! What to ask an app: the hosts, paths and origins that its routes lead there. PURE.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::app::Told;
use super::clocks::USUAL_LEEWAY;
use super::cors;
use crate::config::settings::{Settings, UpstreamHost};
use crate::policy::Policy;
use crate::policy::forwarded::{self, TrustedProxies};
use crate::policy::host::{HostPattern, parse_authority};
use crate::policy::path::CanonicalPath;
use crate::policy::pattern::Segment;
use crate::policy::route::{Action, Forward, Route, UpstreamId};
use crate::upstream::look::Question;

/// Hosts of one app that are tried, and paths of it, and routes with `cors`.
const MOST: usize = 8;

/// What to ask one app.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Hosts that clients ask for; at least one.
    pub(super) hosts: Vec<String>,
    /// Paths, as the app gets them; at least one.
    pub(super) targets: Vec<Uri>,
    /// Routes with `cors`.
    pub(super) cross: Vec<Cross>,
    /// How far its clock may be apart: the least `leeway` of the tokens that its routes take.
    pub(super) leeway: Duration,
    /// Whether clients come by https.
    pub(super) https: bool,
}

/// One route with `cors`.
#[derive(Clone, Debug)]
pub(super) struct Cross {
    /// The route's label.
    pub(super) route: String,
    /// The rule's name.
    pub(super) rule: String,
    /// An origin that it allows.
    pub(super) origin: String,
    /// A path of the route, as the app gets it.
    pub(super) target: Uri,
}

/// What to ask the app at a place of the settings. `known` are hosts for routes that take any.
pub(super) fn plan(policy: &Policy, settings: &Settings, id: UpstreamId, known: &[String]) -> Plan {
    let routes = policy.routes.all().iter();
    let routes: Vec<_> = routes.filter_map(|route| led(route, id)).collect();
    let named = routes.iter().flat_map(|(route, _)| &route.hosts);
    let mut hosts = firsts(named.map(example));
    if hosts.is_empty() {
        hosts = firsts(known.iter().cloned());
    }
    if hosts.is_empty() {
        hosts.push("localhost".to_owned());
    }
    let asked = routes.iter().filter(|(route, _)| takes_get(route));
    let mut targets = firsts(asked.filter_map(|(route, forward)| target(route, forward)));
    if targets.is_empty() {
        targets.push(Uri::from_static("/"));
    }
    let cross = routes.iter().filter_map(|(route, forward)| {
        let rule = route.cors.as_ref()?;
        Some(Cross {
            route: route.label.to_string(),
            rule: rule.name.to_string(),
            origin: cors::example(rule.origins())
                .unwrap_or_else(|| "https://portcullis.example".to_owned()),
            target: target(route, forward)?,
        })
    });
    let ids = routes.iter().flat_map(|(route, _)| &route.authenticators);
    let leeway = ids
        .filter_map(|id| settings.authenticators.get(id.0)?.kind.tokens())
        .map(|jwt| jwt.leeway)
        .min();
    Plan {
        hosts,
        targets,
        cross: cross.take(MOST).collect(),
        leeway: leeway.unwrap_or(USUAL_LEEWAY),
        https: !settings.server.https.is_empty(),
    }
}

/// The first different ones, so many.
fn firsts<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        if kept.len() == MOST {
            break;
        }
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// A host that a pattern takes.
pub(super) fn example(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(host) => host.to_string(),
        HostPattern::Wildcard(suffix) => format!("www.{suffix}"),
    }
}

/// A route that leads to an app, and how.
fn led(route: &Route, id: UpstreamId) -> Option<(&Route, &Forward)> {
    match &route.action {
        Action::Forward(forward) if forward.upstream == id => Some((route, forward)),
        Action::Forward(_)
        | Action::Respond { .. }
        | Action::Redirect { .. }
        | Action::Files(_)
        | Action::Provider(_) => None,
    }
}

fn takes_get(route: &Route) -> bool {
    let methods = route.methods.as_ref();
    methods.is_none_or(|methods| methods.contains(&Method::GET))
}

/// A path of a route: up to what stands for something.
pub(super) fn path(route: &Route) -> String {
    let literal = |segment: &&Segment| matches!(segment, Segment::Literal(_));
    let fixed = route
        .pattern
        .segments()
        .iter()
        .all(|segment| literal(&segment));
    let text = route.pattern.as_str();
    if fixed {
        return text.to_owned();
    }
    let end = text.find('{').unwrap_or(text.len());
    text.get(..end).unwrap_or("/").to_owned()
}

/// The same as the app gets it.
fn target(route: &Route, forward: &Forward) -> Option<Uri> {
    let path = path(route);
    let path = CanonicalPath::parse(&path, false).ok()?;
    let (strip, add) = (&forward.strip_prefix, &forward.add_prefix);
    let sent = path.rewritten(strip.as_deref(), add.as_deref());
    sent.parse().ok()
}

/// The question for a path as the gateway would put it for a client that asks for `host`, and what
/// the app is told with it. `own` is the name of the server itself.
pub(super) fn question(
    (method, target): (Method, &Uri),
    (host, https): (&str, bool),
    (seen_as, own): (&UpstreamHost, &HeaderValue),
) -> Option<(Question, Told)> {
    let authority = parse_authority(host).ok()?;
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let nobody = TrustedProxies::new(Vec::new());
    let client = forwarded::resolve(&nobody, here, https, &authority, &HeaderMap::new());
    let sent = match seen_as {
        UpstreamHost::Preserve => client.authority.clone(),
        UpstreamHost::Upstream => own.clone(),
        UpstreamHost::Fixed(host) => host.clone(),
    };
    let agent = concat!("portcullis-doctor/", env!("CARGO_PKG_VERSION"));
    let mut headers: HeaderMap = forwarded::fields(&client)
        .fields()
        .iter()
        .cloned()
        .collect();
    headers.insert(HOST, sent.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("text/html, */*;q=0.8"));
    let told = Told {
        host: host.to_owned(),
        sent: String::from_utf8_lossy(sent.as_bytes()).into_owned(),
        https,
    };
    let question = Question {
        method,
        target: target.clone(),
        headers,
    };
    Some((question, told))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config;

    const FILE: &str = r#"
[server]
https = "127.0.0.1:8443"
[tls]
development = true
[upstream.app]
servers = ["http://127.0.0.1:8000"]
[upstream.other]
servers = ["http://127.0.0.1:8001"]
[auth.strict]
type = "jwt"
preset = "simplejwt"
secret = "0123456789abcdef0123456789abcdef"
[cors.web]
origins = ["https://*.a.example"]
[[route]]
path = "/api/{*rest}"
hosts = ["shop.example", "*.shop.example"]
upstream = "app"
auth = ["strict"]
cors = "web"
strip_prefix = "/api"
[[route]]
path = "/users/{id}/"
upstream = "app"
auth = "public"
[[route]]
path = "/upload"
methods = ["POST"]
upstream = "app"
auth = "public"
[[route]]
path = "/elsewhere/"
upstream = "other"
auth = "public"
"#;

    fn planned(place: usize, known: &[&str]) -> Plan {
        let loaded = config::load_text(Path::new("gateway.toml"), FILE, &BTreeMap::new()).unwrap();
        let known: Vec<_> = known.iter().map(|&host| host.to_owned()).collect();
        plan(&loaded.policy, &loaded.settings, UpstreamId(place), &known)
    }

    #[test]
    fn an_app_is_asked_for_what_its_routes_lead_there() {
        let plan = planned(0, &["known.example"]);
        assert_eq!(plan.hosts, ["shop.example", "www.shop.example"]);
        assert_eq!(plan.targets, ["/", "/users/"].map(Uri::from_static));
        assert_eq!((plan.leeway, plan.https), (Duration::ZERO, true));
        let cross = &plan.cross[0];
        assert_eq!(
            (cross.rule.as_str(), cross.origin.as_str()),
            ("web", "https://www.a.example")
        );
    }

    #[test]
    fn routes_for_any_host_are_asked_by_a_name_that_is_known() {
        let plan = planned(1, &["known.example"]);
        assert_eq!(plan.hosts, ["known.example"]);
        assert_eq!(plan.targets, [Uri::from_static("/elsewhere/")]);
        assert_eq!(plan.leeway, USUAL_LEEWAY);
        assert_eq!(planned(1, &[]).hosts, ["localhost"]);
    }

    #[test]
    fn a_question_says_what_the_gateway_would_say_and_carries_no_credential() {
        let own = HeaderValue::from_static("127.0.0.1:8000");
        let target = Uri::from_static("/");
        let asked = |seen_as: &UpstreamHost| {
            question(
                (Method::GET, &target),
                ("shop.example", true),
                (seen_as, &own),
            )
            .unwrap()
        };
        let (question, told) = asked(&UpstreamHost::Preserve);
        let text = |name: &str| question.headers[name].to_str().unwrap().to_owned();
        assert_eq!(text("host"), "shop.example");
        assert_eq!(text("x-forwarded-host"), "shop.example");
        assert_eq!(text("x-forwarded-proto"), "https");
        assert_eq!(text("x-forwarded-port"), "443");
        assert_eq!(told.sent, "shop.example");
        for name in ["authorization", "cookie"] {
            assert!(!question.headers.contains_key(name));
        }
        let (question, told) = asked(&UpstreamHost::Upstream);
        assert_eq!(question.headers["host"], "127.0.0.1:8000");
        assert_eq!(question.headers["x-forwarded-host"], "shop.example");
        assert_eq!(told.sent, "127.0.0.1:8000");
    }
}
