//! Gathers what the dashboard shows.

use std::collections::HashMap;

use serde::Serialize;

use super::AdminState;
use super::causes;
use super::dashboard::{Facts, Section, sections};
use super::inspect::RouteRow;
use super::status::Status;
use crate::clock;
use crate::telemetry::ELSEWHERE;

/// Routes shown on the dashboard; all of them stand under `/api/routes`.
const ROUTES_ON_PAGE: usize = 500;
/// Refusals in the list on the page.
const LISTED_ON_PAGE: usize = 20;
/// Bytes of the configuration on the page; all of it stands under `/api/configuration`.
const CONFIGURATION_ON_PAGE: usize = 64 << 10;

/// A route with its counts.
#[derive(Debug, Serialize)]
pub(super) struct RouteAnswer {
    #[serde(flatten)]
    pub(super) row: RouteRow,
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) observed: u64,
}

/// What stays the same until a reload.
#[derive(Debug, Default)]
pub(super) struct Board {
    serial: Option<u64>,
    routes: Vec<RouteRow>,
    /// How many more there are.
    more_routes: usize,
    configuration: String,
}

impl Board {
    /// The page's sections as things stand now.
    pub(super) fn sections(&mut self, state: &AdminState) -> Vec<Section> {
        self.follow(state);
        let latest = state.metrics.refusals().latest(usize::MAX);
        let history = state.live.history();
        let now = clock::now();
        sections(&Facts {
            status: &status(state),
            open: state.metrics.open_now(),
            history: &history,
            routes: &with_counts(state, self.routes.iter().cloned()),
            more_routes: self.more_routes,
            causes: &causes::find(&history, &latest, now),
            latest: latest.get(..LISTED_ON_PAGE).unwrap_or(&latest),
            configuration: &self.configuration,
        })
    }

    fn follow(&mut self, state: &AdminState) {
        let gate = state.inspect.snapshot();
        let serial = gate.as_ref().map(|gate| gate.serial);
        if serial.is_some() && serial == self.serial {
            return;
        }
        let mut routes = state.inspect.routes();
        self.more_routes = routes.len().saturating_sub(ROUTES_ON_PAGE);
        routes.truncate(ROUTES_ON_PAGE);
        self.routes = routes;
        let text = gate.map(|gate| gate.shown.text(CONFIGURATION_ON_PAGE));
        self.configuration = text.unwrap_or_default();
        self.serial = serial;
    }
}

/// How the gateway stands.
pub(super) fn status(state: &AdminState) -> Status {
    Status::of(&state.metrics, state.inspect.is_draining(), clock::now())
}

/// Every route with its counts, and last what was counted of no route.
pub(super) fn routes(state: &AdminState) -> Vec<RouteAnswer> {
    with_counts(state, state.inspect.routes().into_iter())
}

fn with_counts(state: &AdminState, rows: impl Iterator<Item = RouteRow>) -> Vec<RouteAnswer> {
    let counts = state.metrics.route_counts();
    let by_label: HashMap<&str, _> = counts.iter().map(|count| (&*count.route, count)).collect();
    let elsewhere = RouteRow {
        route: ELSEWHERE.to_owned(),
        to: "refused".to_owned(),
        access: String::new(),
        cors: None,
        rules: Vec::new(),
        observes: false,
    };
    rows.chain([elsewhere])
        .map(|row| {
            let count = by_label.get(row.route.as_str());
            RouteAnswer {
                requests: count.map_or(0, |count| count.requests),
                refused: count.map_or(0, |count| count.refused),
                observed: count.map_or(0, |count| count.observed),
                row,
            }
        })
        .collect()
}
