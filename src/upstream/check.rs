//! Asks servers whether they are well, over a connection of its own each time.
//!
//! One task asks all servers of a snapshot, each at its own pace, and ends with it. What servers
//! answer is kept with them, so that a reload that changes nothing about them forgets nothing.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Upstreams;
use super::http1::ask;
use super::server::{Server, Upstream};
use super::stream::connect;
use crate::clock;
use crate::config::settings::{HealthCheck, UpstreamHost};

/// The first check of a server comes within this part of `every`, and the times between two differ by
/// as much, so that servers and gateways do not fall into step.
const SPREAD: f64 = 0.1;

impl Upstreams {
    /// Checks every server whose upstream says how, until cancelled.
    pub async fn check(&self, cancel: CancellationToken) {
        let mut all = JoinSet::new();
        for upstream in self.iter() {
            let Some(check) = &upstream.settings.health else {
                continue;
            };
            for server in &upstream.servers {
                let (upstream, server) = (Arc::clone(upstream), Arc::clone(server));
                all.spawn(keep_checking(upstream, server, check.clone()));
            }
        }
        // Dropping the set ends them.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = async { while all.join_next().await.is_some() {} } => {}
        }
    }
}

async fn keep_checking(upstream: Arc<Upstream>, server: Arc<Server>, check: HealthCheck) {
    sleep(check.every.mul_f64(fastrand::f64() * SPREAD)).await;
    loop {
        let pause = check
            .every
            .mul_f64((fastrand::f64() - 0.5).mul_add(SPREAD, 1.0));
        let next = Instant::from_std(clock::monotonic()) + pause;
        let problem = examine_in_time(&upstream, &server, &check).await;
        upstream.note_check(&server, problem.as_deref());
        sleep_until(next).await;
    }
}

fn late(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}

/// What is wrong with the server, if something is: no answer in time, too.
pub(super) async fn examine_in_time(
    upstream: &Upstream,
    server: &Server,
    check: &HealthCheck,
) -> Option<String> {
    let found = timeout(check.timeout, examine(upstream, server, check)).await;
    found.unwrap_or_else(|_elapsed| Some(late(check.timeout)))
}

/// What is wrong with the server, if something is.
async fn examine(upstream: &Upstream, server: &Server, check: &HealthCheck) -> Option<String> {
    let host = match (&check.host, upstream.host()) {
        (Some(host), _) | (None, UpstreamHost::Fixed(host)) => host,
        (None, UpstreamHost::Preserve | UpstreamHost::Upstream) => &server.authority,
    };
    let stream = match connect(server, check.timeout).await {
        Ok(reached) => reached.stream,
        Err(error) => return Some(error.chain()),
    };
    match ask::ask(stream, &check.target, host).await {
        Ok(status) => verdict(status, check.host.is_some()),
        Err(error) => Some(format!("no answer that can be read: {error}")),
    }
}

/// What is wrong with an answer of this status, if something is. 2xx and 3xx are well.
fn verdict(status: StatusCode, has_host: bool) -> Option<String> {
    if status.is_success() || status.is_redirection() {
        return None;
    }
    let cure = if status == StatusCode::BAD_REQUEST && !has_host {
        "; an app that takes requests for its own names alone wants `host` in `health`"
    } else {
        ""
    };
    Some(format!("its answer was {}{cure}", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_succeed_or_lead_on_are_well() {
        for status in [200, 204, 301, 399] {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap(), true), None);
        }
        for status in [400, 404, 500, 503] {
            let found = verdict(StatusCode::from_u16(status).unwrap(), true).unwrap();
            assert_eq!(found, format!("its answer was {status}"));
        }
    }

    #[test]
    fn an_app_that_may_not_know_the_host_is_told_of() {
        let found = verdict(StatusCode::BAD_REQUEST, false).unwrap();
        assert!(found.contains("`host` in `health`"), "{found}");
    }
}
