//! What is recorded of a sampled request, out of what its steps know.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::Attempt;
use crate::gateway::Snapshot;
use crate::telemetry::spans::Recording;

/// Records that a route's authenticators were asked, where it has any. The last one that was asked decided.
pub(super) fn authentication(
    gate: &Snapshot,
    recording: &Recording,
    began: Instant,
    attempt: &Attempt<'_>,
) {
    let Some(last) = attempt.tries.last() else {
        return;
    };
    let known = gate.settings.authenticators.get(last.authenticator.0);
    let name = known.map(|known| Arc::clone(&known.name));
    recording.authenticated(began, name, (last.outcome.err(), last.reused));
}
