//! What came of requests and checks: told to the server's standing, counted, and logged once for
//! each change.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::error::UpstreamError;
use super::health::Change;
use super::server::{Server, Upstream};
use crate::clock;

/// What clients are told to wait where a server is tried again soon.
const SOON: Duration = Duration::from_secs(1);

impl Upstream {
    /// A request that began at `begun` was answered, whatever the app said.
    pub(super) fn note_answer(&self, server: &Server, begun: Instant) {
        if let Some(change) = server.standing.answered(begun) {
            self.report(server, change, &"a request was answered");
        }
    }

    /// A request that began at `begun` came to nothing. `whole`: all of it lay ready to be sent.
    pub(super) fn note_failure(
        &self,
        server: &Server,
        error: &UpstreamError,
        (begun, whole): (Instant, bool),
    ) {
        let blames = match error {
            UpstreamError::Busy { .. } => {
                server.counts.queue_timeouts.inc();
                return;
            }
            UpstreamError::RequestBody(_) | UpstreamError::Down { .. } => return,
            UpstreamError::Unresolved { .. }
            | UpstreamError::Connect { .. }
            | UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Tls { .. } => true,
            // Without another to go to, one that takes connections is asked as ever.
            UpstreamError::Reset { .. } | UpstreamError::Invalid { .. } => self.servers.len() > 1,
            // A client that sends its body slowly must not make a server look slow.
            UpstreamError::Timeout { .. } => self.servers.len() > 1 && whole,
        };
        server.counts.failures.inc();
        if blames && let Some(change) = server.standing.failed(begun) {
            self.report(server, change, &error.chain());
        }
    }

    /// A check of a server has ended; `problem` is what was wrong.
    pub(super) fn note_check(&self, server: &Server, problem: Option<&str>) {
        match problem {
            None => server.counts.checks_passed.inc(),
            Some(_) => server.counts.checks_failed.inc(),
        }
        if let Some(change) = server.standing.checked(problem) {
            self.report(server, change, &problem.unwrap_or("it passes its checks"));
        }
    }

    /// Whether one more request may be tried again; counted where not.
    pub(super) fn may_retry(&self, server: &Server) -> bool {
        let counts = self.servers.iter().map(|server| &server.counts);
        let firsts = counts.fold(0_u64, |sum, counts| {
            let firsts = counts.requests.get().saturating_sub(counts.retries.get());
            sum.saturating_add(firsts)
        });
        let now = clock::monotonic().saturating_duration_since(self.born);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let may = budget.take(now, firsts);
        drop(budget);
        if may {
            server.counts.retries.inc();
        } else {
            server.counts.retries_withheld.inc();
        }
        may
    }

    /// The error where every server is out.
    pub(super) fn down(&self) -> UpstreamError {
        let checked = self.settings.health.as_ref();
        let only_checks = (self.servers.iter()).all(|server| server.standing.waits_for_checks());
        let again = checked.filter(|_| only_checks).map(|check| check.every);
        UpstreamError::Down {
            upstream: Box::from(&*self.name),
            again: again.unwrap_or(SOON).max(SOON),
        }
    }

    fn report(&self, server: &Server, change: Change, why: &dyn std::fmt::Display) {
        let (upstream, label) = (&*self.name, &*server.settings.label);
        match change {
            Change::Ejected(failures, time) => {
                server.counts.ejections.inc();
                tracing::warn!(
                    upstream, server = label, failures, ?time, %why,
                    "a server is left out: requests failed one after another"
                );
            }
            Change::StillOut(time) => {
                server.counts.ejections.inc();
                tracing::debug!(
                    upstream, server = label, ?time, %why,
                    "a server stays out: the request that tried it failed"
                );
            }
            Change::Down => {
                tracing::warn!(upstream, server = label, %why, "a server is left out: its checks fail");
            }
            Change::Back => {
                tracing::info!(upstream, server = label, %why, "a server is back");
            }
        }
    }
}
