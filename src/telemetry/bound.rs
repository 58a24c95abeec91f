//! What one generation of the configuration counts with, and the one call that ends a request.

use std::sync::Arc;

use crate::policy::route::{AuthenticatorId, RouteId};
use crate::telemetry::access_log;
use crate::telemetry::completed::Completed;
use crate::telemetry::log::Level;
use crate::telemetry::metrics::Shared;
use crate::telemetry::refusals::Refusal;
use crate::telemetry::tables::{AuthenticatorMetrics, MethodClass, RouteMetrics, Tables};

/// Counters resolved for one configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) shared: Arc<Shared>,
    pub(super) tables: Arc<Tables>,
}

impl Bound {
    /// The counters of a route; those of no route for `None` or an id that is not of this
    /// configuration.
    #[must_use]
    pub fn route(&self, id: Option<RouteId>) -> &RouteMetrics {
        let slot = id.and_then(|id| self.tables.routes.get(id.0));
        slot.map_or(&self.tables.elsewhere, |slot| &slot.metrics)
    }

    /// The counters of an authenticator.
    #[must_use]
    pub fn authenticator(&self, id: AuthenticatorId) -> Option<&AuthenticatorMetrics> {
        self.tables.authenticators.get(id.0).map(|known| &**known)
    }

    /// Counts a request as under way, until [`Self::request_ends`].
    pub fn request_begins(&self) {
        self.shared.in_flight.inc();
    }

    /// Counts a request as under way no more.
    pub fn request_ends(&self) {
        self.shared.in_flight.dec();
    }

    /// Ends a request: counts it, writes its log line, and remembers it if it was refused.
    pub fn record(&self, mut completed: Completed<'_>) {
        let route = self.route(completed.route);
        self.count(route, &completed);
        let label = completed.route.map(|_| &route.label);
        access_log::write(&self.shared.log, &completed, label.map(|label| &**label));
        let trace = completed.trace.take();
        if let Some(refusal) = Refusal::of(&completed, label, trace) {
            self.shared.refusals.push(refusal);
        }
    }

    /// Whether [`Self::record`] would tell anybody of a request: a line in the log, or an entry
    /// among the refusals, where there was an objection.
    #[must_use]
    pub fn tells(&self, objected: bool) -> bool {
        objected || self.shared.log.writes_access(Level::Info)
    }

    /// Ends a request of which nobody is told: counts it alone. Its texts may be empty.
    pub fn record_untold(&self, completed: &Completed<'_>) {
        self.count(self.route(completed.route), completed);
    }

    fn count(&self, route: &RouteMetrics, completed: &Completed<'_>) {
        let class = MethodClass::from(completed.method);
        route.requests(class, completed.status).inc();
        route.gateway_seconds.observe(completed.gateway_time);
        if let Some(time) = completed.app_time {
            route.app_seconds.observe(time);
        }
        route.request_bytes.add(completed.request_bytes);
        route.response_bytes.add(completed.response_bytes);
        if completed.cut_off {
            route.cut_off.inc();
        }
        if let Some(denial) = completed.denial {
            route.denials.inc(denial.code());
        }
        if let Some(denial) = completed.overlooked {
            route.observed.inc(denial.code());
        }
        if completed.preflight {
            self.count_preflight(completed);
        }
    }

    fn count_preflight(&self, completed: &Completed<'_>) {
        let slot = completed.route.and_then(|id| self.tables.routes.get(id.0));
        if let Some(rule) = slot.and_then(|slot| slot.preflights.as_ref()) {
            match completed.denial {
                None => rule.allowed.inc(),
                Some(_) => rule.refused.inc(),
            }
        }
    }
}
