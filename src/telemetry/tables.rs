//! The counters that one configuration needs, by place in it: nothing is looked up by label while
//! requests are served.
//!
//! A route, authenticator or rule that was there before a reload keeps its counters; what the new
//! configuration does not name is gone from the metrics with the old one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};

use crate::clock::Timestamp;
use crate::policy::denial::Code;
use crate::policy::route::Route;
use crate::telemetry::cells::{CodeCounters, Counter, Gauge, Histogram};
use crate::telemetry::secret_change::is_signature_failure;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Upper ends of the buckets for time in the gateway.
pub(super) const GATEWAY_BOUNDS: [u64; 8] = [
    50 * US,
    100 * US,
    250 * US,
    MS,
    5 * MS,
    25 * MS,
    100 * MS,
    1_000 * MS,
];

/// Upper ends of the buckets for time in the app.
pub(super) const APP_BOUNDS: [u64; 11] = [
    MS,
    5 * MS,
    25 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    2_500 * MS,
    5_000 * MS,
    10_000 * MS,
    60_000 * MS,
];

/// What a method does to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    /// `GET`, `HEAD`.
    Read,
    /// `POST`, `PUT`, `PATCH`, `DELETE`.
    Write,
    /// Any other.
    Other,
}

impl From<&Method> for MethodClass {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            Method::POST | Method::PUT | Method::PATCH | Method::DELETE => Self::Write,
            _ => Self::Other,
        }
    }
}

/// Requests of one method class, by status class.
#[derive(Debug, Default)]
pub struct ByStatus {
    informational: Counter,
    success: Counter,
    redirection: Counter,
    client_error: Counter,
    server_error: Counter,
}

impl ByStatus {
    fn of(&self, status: StatusCode) -> &Counter {
        match status.as_u16() {
            ..200 => &self.informational,
            200..300 => &self.success,
            300..400 => &self.redirection,
            400..500 => &self.client_error,
            500.. => &self.server_error,
        }
    }

    /// Status class and count. Empty while nothing was counted, unless `always`; all classes after
    /// that, so that the first failure is seen as a step from 0.
    pub(super) fn read(&self, always: bool) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("1xx", self.informational.get()),
            ("2xx", self.success.get()),
            ("3xx", self.redirection.get()),
            ("4xx", self.client_error.get()),
            ("5xx", self.server_error.get()),
        ];
        let used = always || all.iter().any(|(_, count)| *count > 0);
        let seldom = |name: &str, count: u64| name == "1xx" && count == 0;
        all.into_iter()
            .filter(move |(name, count)| used && !seldom(name, *count))
    }
}

/// Counters of one route, or of requests that no route was found for.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) label: Arc<str>,
    read: ByStatus,
    write: ByStatus,
    other: ByStatus,
    /// Refusals by code.
    pub denials: CodeCounters,
    /// Refusals that were passed over, by code.
    pub observed: CodeCounters,
    /// Time in the gateway.
    pub gateway_seconds: Histogram<8>,
    /// Time in the app.
    pub app_seconds: Histogram<11>,
    /// Bytes from clients.
    pub request_bytes: Counter,
    /// Bytes of answers' bodies.
    pub response_bytes: Counter,
    /// Answers that were not complete.
    pub cut_off: Counter,
}

impl RouteMetrics {
    fn new(label: Arc<str>) -> Self {
        Self {
            label,
            read: ByStatus::default(),
            write: ByStatus::default(),
            other: ByStatus::default(),
            denials: CodeCounters::default(),
            observed: CodeCounters::default(),
            gateway_seconds: Histogram::new(&GATEWAY_BOUNDS),
            app_seconds: Histogram::new(&APP_BOUNDS),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            cut_off: Counter::default(),
        }
    }

    /// The counter of requests of a method and status class.
    #[must_use]
    pub fn requests(&self, method: MethodClass, status: StatusCode) -> &Counter {
        match method {
            MethodClass::Read => &self.read,
            MethodClass::Write => &self.write,
            MethodClass::Other => &self.other,
        }
        .of(status)
    }

    /// Whether a request was counted.
    pub(super) fn is_used(&self) -> bool {
        let by_method = self.by_method();
        (by_method.iter()).any(|(_, by_status)| by_status.read(false).next().is_some())
    }

    /// Method class and its requests by status.
    pub(super) fn by_method(&self) -> [(&'static str, &ByStatus); 3] {
        [
            ("read", &self.read),
            ("write", &self.write),
            ("other", &self.other),
        ]
    }
}

/// Counters of one authenticator.
#[derive(Debug)]
pub struct AuthenticatorMetrics {
    pub(super) label: Arc<str>,
    pub(super) verified: Counter,
    pub(super) refused: CodeCounters,
    pub(super) reused: Counter,
    /// Bits of the credentials whose signature failed since the last look.
    marks: AtomicU64,
    /// Since when its secret seems to have changed, in seconds since 1970; 0 while it does not.
    suspected: Gauge,
}

impl AuthenticatorMetrics {
    /// Counts one verdict; `reused` when it was known from before.
    pub fn verdict(&self, outcome: Result<(), Code>, reused: bool) {
        match outcome {
            Ok(()) if reused => self.reused.inc(),
            Ok(()) => self.verified.inc(),
            Err(code) => self.refused.inc(code),
        }
    }

    /// Credentials that held, whether known from before or not.
    pub(super) fn valid(&self) -> u64 {
        self.verified.get() + self.reused.get()
    }

    /// Keeps the bit of a credential whose signature failed
    /// ([`mark`](crate::telemetry::secret_change::mark)).
    pub fn mark(&self, mark: u64) {
        self.marks.fetch_or(mark, Ordering::Relaxed);
    }

    /// The bits kept since they were last taken.
    pub(super) fn take_marks(&self) -> u64 {
        self.marks.swap(0, Ordering::Relaxed)
    }

    /// Refusals that look like a changed secret.
    pub(super) fn signature_failures(&self) -> u64 {
        let codes = Code::ALL.iter().filter(|code| is_signature_failure(**code));
        codes.map(|code| self.refused.get(*code)).sum()
    }

    /// Keeps since when the secret seems to have changed.
    pub(super) fn suspect(&self, since: Option<Timestamp>) {
        self.suspected.set(since.map_or(0, Timestamp::unix_seconds));
    }

    /// Since when the secret seems to have changed.
    pub(super) fn suspected(&self) -> Option<Timestamp> {
        let since = self.suspected.get();
        (since != 0).then(|| Timestamp::from_unix_seconds(since))
    }
}

/// Preflights by one cross-origin rule.
#[derive(Debug)]
pub struct PreflightMetrics {
    pub(super) label: Arc<str>,
    pub(super) allowed: Counter,
    pub(super) refused: Counter,
}

/// One route as a request finds it.
#[derive(Debug)]
pub(super) struct RouteSlot {
    pub(super) metrics: Arc<RouteMetrics>,
    pub(super) preflights: Option<Arc<PreflightMetrics>>,
    pub(super) observes: bool,
}

/// Every counter of one configuration.
#[derive(Debug)]
pub(super) struct Tables {
    /// In the order of `RouteId`.
    pub(super) routes: Vec<RouteSlot>,
    /// Requests that no route was found for.
    pub(super) elsewhere: Arc<RouteMetrics>,
    /// In the order of `AuthenticatorId`.
    pub(super) authenticators: Vec<Arc<AuthenticatorMetrics>>,
    /// In the order of their first route.
    pub(super) preflights: Vec<Arc<PreflightMetrics>>,
}

/// The `route` label of requests that no route was found for; no route's label looks like this.
pub const ELSEWHERE: &str = "(none)";

impl Default for Tables {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            elsewhere: Arc::new(RouteMetrics::new(Arc::from(ELSEWHERE))),
            authenticators: Vec::new(),
            preflights: Vec::new(),
        }
    }
}

/// What the tables need to know of one route.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteRow<'a> {
    pub(super) label: &'a Arc<str>,
    /// The name of its cross-origin rule.
    pub(super) cors: Option<&'a Arc<str>>,
    pub(super) observes: bool,
}

impl<'a> From<&'a Arc<Route>> for RouteRow<'a> {
    fn from(route: &'a Arc<Route>) -> Self {
        Self {
            label: &route.label,
            cors: route.cors.as_ref().map(|rule| &rule.name),
            observes: route.requirement.observe,
        }
    }
}

impl Tables {
    /// The tables of a configuration: its routes in the order of `RouteId`, the names of its
    /// authenticators in the order of `AuthenticatorId`. What `before` has under the same label
    /// goes on counting.
    pub(super) fn build<'a>(
        routes: impl Iterator<Item = RouteRow<'a>>,
        authenticators: impl Iterator<Item = &'a Arc<str>>,
        before: &Self,
    ) -> Self {
        let mut known: HashMap<Arc<str>, Arc<RouteMetrics>> = (before.routes.iter())
            .map(|slot| (Arc::clone(&slot.metrics.label), Arc::clone(&slot.metrics)))
            .collect();
        let mut preflights = Vec::new();
        let slots = routes.map(|route| {
            let metrics = known
                .entry(Arc::clone(route.label))
                .or_insert_with(|| Arc::new(RouteMetrics::new(Arc::clone(route.label))));
            let rule = route
                .cors
                .map(|name| preflights_of(name, &mut preflights, before));
            RouteSlot {
                metrics: Arc::clone(metrics),
                preflights: rule,
                observes: route.observes,
            }
        });
        let routes = slots.collect();
        let authenticators = authenticators.map(|name| {
            let mut old = before.authenticators.iter();
            let fresh = || Arc::new(AuthenticatorMetrics::new(Arc::clone(name)));
            old.find(|old| old.label == *name)
                .map_or_else(fresh, Arc::clone)
        });
        Self {
            routes,
            elsewhere: Arc::clone(&before.elsewhere),
            authenticators: authenticators.collect(),
            preflights,
        }
    }
}

impl AuthenticatorMetrics {
    fn new(label: Arc<str>) -> Self {
        Self {
            label,
            verified: Counter::default(),
            refused: CodeCounters::default(),
            reused: Counter::default(),
            marks: AtomicU64::new(0),
            suspected: Gauge::default(),
        }
    }
}

fn preflights_of(
    name: &Arc<str>,
    known: &mut Vec<Arc<PreflightMetrics>>,
    before: &Tables,
) -> Arc<PreflightMetrics> {
    let same = |rule: &&Arc<PreflightMetrics>| rule.label == *name;
    if let Some(rule) = known.iter().find(same) {
        return Arc::clone(rule);
    }
    let rule = before.preflights.iter().find(same).map_or_else(
        || {
            Arc::new(PreflightMetrics {
                label: Arc::clone(name),
                allowed: Counter::default(),
                refused: Counter::default(),
            })
        },
        Arc::clone,
    );
    known.push(Arc::clone(&rule));
    rule
}
