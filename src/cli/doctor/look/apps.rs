//! Visits each server of each app: finds it, opens it, and asks what a client would ask.
//!
//! One visit asks one question after the other, so that an app is not pressed.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderValue, Method, Uri};

use super::super::app::{self, Answered, Told};
use super::super::clocks::{self, Reading};
use super::super::finding::{Finding, Verdict};
use super::super::probes::{self, Plan};
use super::super::round::Look;
use super::super::{cors, servers};
use super::{QUESTION, Scene};
use crate::clock;
use crate::config::settings::ServerAddress;
use crate::policy::route::UpstreamId;
use crate::tls;
use crate::upstream::look::{Seen, knock};
use crate::upstream::server::{Server, Upstream};

/// Servers of one app that are visited.
const MOST_SERVERS: usize = 16;
/// Links of a page that are tried.
const MOST_LINKS: usize = 4;

/// A visit of every server.
pub(super) fn looks(scene: &Scene) -> Vec<Look<'_>> {
    let known = scene.known_hosts();
    let mut looks = Vec::new();
    for (place, upstream) in scene.upstreams.iter().enumerate() {
        let Some(upstream) = upstream else { continue };
        let id = UpstreamId(place);
        let plan = Arc::new(probes::plan(&scene.policy, &scene.settings, id, &known));
        for server in upstream.servers.iter().take(MOST_SERVERS) {
            let visit = Visit {
                about: format!("upstream {}, {}", upstream.name, server.settings.label),
                upstream: Arc::clone(upstream),
                server: Arc::clone(server),
                plan: Arc::clone(&plan),
            };
            looks.push(Look::new(
                "upstream.answer",
                visit.about.clone(),
                visit.take(),
            ));
        }
        if upstream.servers.len() > MOST_SERVERS {
            let about = format!("upstream {}", upstream.name);
            let why = format!("only the first {MOST_SERVERS} servers are visited");
            let told = vec![Finding::skipped("upstream.answer", &about, &why)];
            looks.extend(super::known(told));
        }
    }
    looks
}

/// One server of one app.
struct Visit {
    about: String,
    upstream: Arc<Upstream>,
    server: Arc<Server>,
    plan: Arc<Plan>,
}

impl Visit {
    async fn take(self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !self.reach(&mut found).await {
            return found;
        }
        if let Some(outcome) = self.upstream.examine(&self.server).await {
            let health = self.upstream.settings.health.as_ref();
            let target = health.map_or_else(String::new, |health| health.target.to_string());
            let problem = outcome.err();
            found.push(servers::healthy(&self.about, &target, problem.as_deref()));
        }
        self.converse(&mut found).await;
        found
    }

    /// Finds and opens it; whether that went well.
    async fn reach(&self, found: &mut Vec<Finding>) -> bool {
        let addresses = self.server.addresses(QUESTION).await;
        found.push(servers::resolved(&self.about, &addresses));
        let Ok(addresses) = addresses else {
            return false;
        };
        let mut knocks = Vec::new();
        for address in addresses {
            let began = clock::monotonic();
            // Each gets its share of the time, so that none takes that of all.
            let limit = self
                .upstream
                .settings
                .connect_timeout
                .min(Duration::from_secs(2));
            let outcome = knock(address, limit).await;
            let took = clock::monotonic().saturating_duration_since(began);
            knocks.push((address, outcome.map(|()| took)));
        }
        let is_open = knocks.iter().any(|(_, outcome)| outcome.is_ok());
        found.extend(servers::connected(&self.about, &knocks));
        let is_tcp = matches!(self.server.settings.address, ServerAddress::Tcp { .. });
        if is_tcp && !is_open {
            return false;
        }
        let greeted = self.server.greet(QUESTION).await;
        let greeted = greeted.map_err(|error| error.chain());
        if !is_tcp && let Err(words) = &greeted {
            let advice = "start the app; the gateway's user needs the right to write to the socket";
            found.push(Finding::problem(
                "upstream.connect",
                &self.about,
                words,
                advice,
            ));
            return false;
        }
        let is_greeted = greeted.is_ok();
        let shown = greeted.map(|shown| shown.and_then(|shown| tls::look_at_peer(&shown)));
        found.extend(servers::greeted(&self.about, &shown, clock::now()));
        is_greeted
    }

    /// Asks what clients ask, under each of their hosts.
    async fn converse(&self, found: &mut Vec<Finding>) {
        let plan = &self.plan;
        let (Some(first), Some(host)) = (plan.targets.first(), plan.hosts.first()) else {
            return;
        };
        let (before, began) = (clock::now(), clock::monotonic());
        let answer = self.ask(Method::GET, first, host).await;
        let took = clock::monotonic().saturating_duration_since(began);
        let (told, answer) = match answer {
            Ok(answer) => answer,
            Err(words) => {
                found.push(servers::answered(&self.about, Err(&words)));
                return;
            }
        };
        let status = answer.seen.status.as_u16();
        let outcome = Ok((status, took, answer.target.as_str()));
        found.push(servers::answered(&self.about, outcome));
        if let Some(reading) = Reading::of_answer(&answer.seen.headers, before, clock::now()) {
            let leeway = plan.leeway;
            found.push(clocks::verdict("clock.app", &self.about, &reading, leeway));
        }
        let takes_host = self.host(&told, &answer, found).await;
        for other in plan.hosts.iter().skip(1) {
            if let Ok((told, answer)) = self.ask(Method::GET, first, other).await {
                self.host(&told, &answer, found).await;
            }
        }
        if takes_host {
            self.scheme(told, answer, found).await;
            self.cross(host, found).await;
        }
    }

    /// Whether the app takes a host; asked for once more by the server's own name where it may not.
    async fn host(&self, told: &Told, answer: &Answered, found: &mut Vec<Finding>) -> bool {
        let own_name = String::from_utf8_lossy(self.server.own_host().as_bytes()).into_owned();
        let mut own = None;
        if answer.seen.status.is_client_error()
            && let Ok(target) = answer.target.parse::<Uri>()
        {
            let asked = self.ask(Method::GET, &target, &own_name).await;
            own = asked.ok().map(|(_, answer)| answer.seen);
        }
        let finding = app::host(&self.about, told, answer, own.as_ref());
        let is_taken = finding.verdict != Verdict::Problem;
        found.push(finding);
        is_taken
    }

    /// What the app believes of the scheme, by every path that its routes lead to, and by links of
    /// its first page.
    async fn scheme(&self, told: Told, first: Answered, found: &mut Vec<Finding>) {
        let plan = &self.plan;
        let links = app::unslashed_links(&first.seen, MOST_LINKS);
        let mut answers = vec![first];
        for target in plan.targets.iter().skip(1) {
            if let Ok((_, answer)) = self.ask(Method::GET, target, &told.host).await {
                answers.push(answer);
            }
        }
        let unslashed = plan.targets.iter().filter_map(|target| {
            let path = target.path().strip_suffix('/')?;
            (!path.is_empty()).then(|| path.to_owned())
        });
        let mut tried: Vec<String> = unslashed.chain(links).collect();
        tried.sort_unstable();
        tried.dedup();
        for path in tried {
            let Ok(target) = path.parse::<Uri>() else {
                continue;
            };
            if let Ok((_, answer)) = self.ask(Method::HEAD, &target, &told.host).await {
                answers.push(answer);
            }
        }
        found.push(app::scheme(&self.about, &told, &answers));
        found.push(app::links(&self.about, &told, &answers));
    }

    /// Whether the app answers CORS itself, on each route that has `cors`.
    async fn cross(&self, host: &str, found: &mut Vec<Finding>) {
        for cross in &self.plan.cross {
            let about = format!("{}, route {}", self.about, cross.route);
            let mut answers = Vec::new();
            for method in [Method::GET, Method::OPTIONS] {
                let asked = self
                    .ask_from(&cross.origin, method, &cross.target, host)
                    .await;
                answers.extend(asked);
            }
            if !answers.is_empty() {
                found.push(cors::verdict(&about, &cross.rule, &cross.origin, &answers));
            }
        }
    }

    async fn ask_from(
        &self,
        origin: &str,
        method: Method,
        target: &Uri,
        host: &str,
    ) -> Option<Seen> {
        let is_preflight = method == Method::OPTIONS;
        let seen_as = &self.upstream.settings.host;
        let own = self.server.own_host();
        let https = self.plan.https;
        let (mut question, _told) =
            probes::question((method, target), (host, https), (seen_as, own))?;
        let origin = HeaderValue::try_from(origin).ok()?;
        question.headers.insert(ORIGIN, origin);
        if is_preflight {
            let get = HeaderValue::from_static("GET");
            question.headers.insert(ACCESS_CONTROL_REQUEST_METHOD, get);
        }
        self.server.ask(&question, QUESTION).await.ok()
    }

    /// One question, and what the app was told with it.
    async fn ask(
        &self,
        method: Method,
        target: &Uri,
        host: &str,
    ) -> Result<(Told, Answered), String> {
        let seen_as = &self.upstream.settings.host;
        let own = self.server.own_host();
        let https = self.plan.https;
        let made = probes::question((method, target), (host, https), (seen_as, own));
        let (question, told) = made.ok_or_else(|| format!("{host} is no host"))?;
        let seen = self.server.ask(&question, QUESTION).await;
        let seen = seen.map_err(|error| error.chain())?;
        let target = target.to_string();
        Ok((told, Answered { target, seen }))
    }
}
