//! The metrics of the process: what is counted whatever the configuration, and the registry.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use prometheus::{Registry, TextEncoder};

use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::policy::Policy;
use crate::telemetry::bound::Bound;
use crate::telemetry::cells::{Counter, Gauge};
use crate::telemetry::collect::Collect;
use crate::telemetry::doors::{Door, Refused};
use crate::telemetry::history::Tally;
use crate::telemetry::last_reload::LastReload;
use crate::telemetry::log::Log;
use crate::telemetry::reading::{Probe, Reading};
use crate::telemetry::refusals::Refusals;
use crate::telemetry::secret_watch::SecretChange;
use crate::telemetry::spans::SpanCounts;
use crate::telemetry::tables::{AuthenticatorMetrics, RouteMetrics, RouteRow, Tables};

/// What is counted at one kind of listener.
#[derive(Debug, Default)]
pub(super) struct DoorMetrics {
    pub(super) open: Gauge,
    pub(super) accepted: Counter,
}

/// What is counted whatever the configuration.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) started: Timestamp,
    pub(super) https: DoorMetrics,
    pub(super) plain: DoorMetrics,
    pub(super) http: DoorMetrics,
    pub(super) admin: DoorMetrics,
    pub(super) over_limit: Counter,
    pub(super) over_limit_per_ip: Counter,
    pub(super) bad_tls: Counter,
    pub(super) bad_proxy_protocol: Counter,
    pub(super) too_slow: Counter,
    pub(super) in_flight: Gauge,
    pub(super) websockets: Gauge,
    pub(super) websockets_opened: Counter,
    pub(super) reloads_ok: Counter,
    pub(super) reloads_failed: Counter,
    pub(super) last_reload_failed: Gauge,
    /// Seconds since 1970.
    pub(super) loaded_at: Gauge,
    pub(super) last_reload: Mutex<Option<LastReload>>,
    pub(super) refusals: Refusals,
    pub(super) spans: Arc<SpanCounts>,
    /// The tables in force.
    pub(super) tables: ArcSwap<Tables>,
    pub(super) probe: Mutex<Option<Weak<dyn Probe>>>,
}

impl std::fmt::Debug for dyn Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

impl Shared {
    pub(super) const fn door(&self, door: Door) -> &DoorMetrics {
        match door {
            Door::Https => &self.https,
            Door::Plain => &self.plain,
            Door::Http => &self.http,
            Door::Admin => &self.admin,
        }
    }

    pub(super) const fn refused(&self, reason: Refused) -> &Counter {
        match reason {
            Refused::Limit => &self.over_limit,
            Refused::LimitPerIp => &self.over_limit_per_ip,
            Refused::Tls => &self.bad_tls,
            Refused::ProxyProtocol => &self.bad_proxy_protocol,
            Refused::Timeout => &self.too_slow,
        }
    }

    pub(super) fn reading(&self) -> Reading {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = probe.as_ref().and_then(Weak::upgrade);
        probe.map(|probe| probe.read()).unwrap_or_default()
    }
}

/// The metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    shared: Arc<Shared>,
}

impl Metrics {
    /// The metrics of a process that started at `now` and logs to `log`. The first configuration
    /// counts as loaded then.
    #[must_use]
    pub fn new(log: Log, now: Timestamp) -> Self {
        let shared = Arc::new(Shared {
            log,
            started: now,
            https: DoorMetrics::default(),
            plain: DoorMetrics::default(),
            http: DoorMetrics::default(),
            admin: DoorMetrics::default(),
            over_limit: Counter::default(),
            over_limit_per_ip: Counter::default(),
            bad_tls: Counter::default(),
            bad_proxy_protocol: Counter::default(),
            too_slow: Counter::default(),
            in_flight: Gauge::default(),
            websockets: Gauge::default(),
            websockets_opened: Counter::default(),
            reloads_ok: Counter::default(),
            reloads_failed: Counter::default(),
            last_reload_failed: Gauge::default(),
            loaded_at: Gauge::default(),
            last_reload: Mutex::default(),
            refusals: Refusals::default(),
            spans: Arc::default(),
            tables: ArcSwap::default(),
            probe: Mutex::new(None),
        });
        shared.loaded_at.set(now.unix_seconds());
        let registry = Registry::new();
        if let Err(error) = registry.register(Box::new(Collect::new(Arc::clone(&shared)))) {
            // Only a mistake in the table of names can get here, and the tests would see it.
            tracing::error!(%error, "the metrics cannot be registered");
        }
        Self { registry, shared }
    }

    /// Resolves the counters of a configuration. From now on `/metrics` shows these and no others:
    /// call it last, when the configuration is sure to come into force.
    #[must_use]
    pub fn bind(&self, settings: &Settings, policy: &Policy) -> Bound {
        let routes = policy.routes.all().iter().map(RouteRow::from);
        let authenticators = settings.authenticators.iter().map(|known| &known.name);
        self.bind_rows(routes, authenticators)
    }

    pub(super) fn bind_rows<'a>(
        &self,
        routes: impl Iterator<Item = RouteRow<'a>>,
        authenticators: impl Iterator<Item = &'a Arc<str>>,
    ) -> Bound {
        let before = self.shared.tables.load_full();
        let tables = Arc::new(Tables::build(routes, authenticators, &before));
        self.shared.tables.store(Arc::clone(&tables));
        Bound {
            shared: Arc::clone(&self.shared),
            tables,
        }
    }

    /// Sets who is asked how things stand, when that is to be shown. Held weakly.
    pub fn ask(&self, probe: Weak<dyn Probe>) {
        let mut known = self
            .shared
            .probe
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(probe);
    }

    /// How things stand now, by who is asked.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.shared.reading()
    }

    /// The last refusals.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.shared.refusals
    }

    /// What is counted of spans.
    #[must_use]
    pub fn spans(&self) -> &Arc<SpanCounts> {
        &self.shared.spans
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Counts a connection accepted, and as open until what is given back is dropped.
    pub fn connection(&self, door: Door) -> Held {
        self.shared.door(door).accepted.inc();
        Held::new(&self.shared, Counts::Connection(door))
    }

    /// Counts a connection that was closed before it was served.
    pub fn refused_connection(&self, reason: Refused) {
        self.shared.refused(reason).inc();
    }

    /// Counts a WebSocket as open until what is given back is dropped.
    pub fn websocket(&self) -> Held {
        self.shared.websockets_opened.inc();
        Held::new(&self.shared, Counts::WebSocket)
    }

    /// Counts a reload that worked.
    pub fn reload_succeeded(&self, now: Timestamp) {
        self.shared.reloads_ok.inc();
        self.shared.last_reload_failed.set(0);
        self.shared.loaded_at.set(now.unix_seconds());
    }

    /// Counts a reload that changed nothing, because there was something wrong.
    pub fn reload_failed(&self) {
        self.shared.reloads_failed.inc();
        self.shared.last_reload_failed.set(1);
    }

    /// Whether the last reload worked, or there was none.
    #[must_use]
    pub fn last_reload_worked(&self) -> bool {
        self.shared.last_reload_failed.get() == 0
    }

    /// Keeps what a reload came to, beside the count of it.
    pub fn tell_reload(&self, told: LastReload) {
        let mut last = (self.shared.last_reload.lock()).unwrap_or_else(PoisonError::into_inner);
        *last = Some(told);
    }

    /// What the last reload came to; `None` where there was none.
    #[must_use]
    pub fn last_reload(&self) -> Option<LastReload> {
        let last = (self.shared.last_reload.lock()).unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// When the configuration in force was loaded.
    #[must_use]
    pub fn loaded_at(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.shared.loaded_at.get())
    }

    /// When the process started.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.shared.started
    }

    /// What was counted of all requests since the start, but of routes that are no more.
    #[must_use]
    pub fn totals(&self) -> Tally {
        let tables = self.shared.tables.load();
        let mut all = Tally::default();
        let routes = tables.routes.iter().map(|slot| &slot.metrics);
        for route in routes.chain([&tables.elsewhere]) {
            all.add_route(route);
        }
        all
    }

    /// Requests under way, open WebSockets, and open connections but for those to the admin address.
    #[must_use]
    pub fn open_now(&self) -> OpenNow {
        let open = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or_default();
        let doors = Door::ALL.into_iter().filter(|door| *door != Door::Admin);
        OpenNow {
            requests: open(&self.shared.in_flight),
            websockets: open(&self.shared.websockets),
            connections: doors.map(|door| open(&self.shared.door(door).open)).sum(),
        }
    }

    /// Requests, refusals and refusals passed over, by route, in the order of the configuration.
    #[must_use]
    pub fn route_counts(&self) -> Vec<RouteCounts> {
        let tables = self.shared.tables.load();
        let count = |metrics: &RouteMetrics, observes| RouteCounts {
            route: Arc::clone(&metrics.label),
            requests: (metrics.by_method().iter())
                .flat_map(|(_, by_status)| by_status.read(false))
                .map(|(_, count)| count)
                .sum(),
            refused: metrics.denials.read().map(|(_, count)| count).sum(),
            observes,
            observed: metrics.observed.read().map(|(_, count)| count).sum(),
        };
        (tables.routes.iter())
            .map(|slot| count(&slot.metrics, slot.observes))
            .chain([count(&tables.elsewhere, false)])
            .collect()
    }

    /// The authenticators of the configuration in force.
    pub(super) fn authenticators(&self) -> Vec<Arc<AuthenticatorMetrics>> {
        self.shared.tables.load().authenticators.clone()
    }

    /// The authenticators whose secret seems to have changed.
    #[must_use]
    pub fn secret_changes(&self) -> Vec<SecretChange> {
        let tables = self.shared.tables.load();
        let suspected = tables.authenticators.iter().filter_map(|known| {
            Some(SecretChange {
                authenticator: Arc::clone(&known.label),
                since: known.suspected()?,
            })
        });
        suspected.collect()
    }

    /// Everything in Prometheus's text format.
    ///
    /// # Errors
    ///
    /// Only for a mistake in the table of names.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// What is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OpenNow {
    /// Requests under way.
    pub requests: u64,
    /// WebSockets.
    pub websockets: u64,
    /// Connections of clients.
    pub connections: u64,
}

/// What was counted of one route.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RouteCounts {
    /// The route's label, `(none)` for requests that no route was found for.
    #[serde(serialize_with = "crate::telemetry::reading::as_text")]
    pub route: Arc<str>,
    /// Requests answered.
    pub requests: u64,
    /// Requests refused by the gateway.
    pub refused: u64,
    /// Whether the route refuses nobody.
    pub observes: bool,
    /// Requests that would have been refused.
    pub observed: u64,
}

/// Something that is counted as open until this is dropped.
#[derive(Debug)]
#[must_use = "it counts for as long as it is held"]
pub struct Held {
    shared: Arc<Shared>,
    what: Counts,
}

#[derive(Clone, Copy, Debug)]
enum Counts {
    Connection(Door),
    WebSocket,
}

impl Held {
    fn new(shared: &Arc<Shared>, what: Counts) -> Self {
        let held = Self {
            shared: Arc::clone(shared),
            what,
        };
        held.gauge().inc();
        held
    }

    fn gauge(&self) -> &Gauge {
        match self.what {
            Counts::Connection(door) => &self.shared.door(door).open,
            Counts::WebSocket => &self.shared.websockets,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge().dec();
    }
}
