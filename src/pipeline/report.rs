//! What is told of a request when its answer has ended: one log line, its counters, and, where it
//! was refused, its entry among the recent refusals.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use super::arrival::Arrival;
use super::judge::{Judged, Peer};
use super::trace;
use crate::clock::{self, Timestamp};
use crate::gateway::Snapshot;
use crate::policy::denial::Denial;
use crate::policy::forwarded::Scheme;
use crate::policy::identity::Caller;
use crate::policy::route::RouteId;
use crate::telemetry::spans::{Finished, Recording};
use crate::telemetry::{Completed, Trace};
use crate::upstream::body::Progress;

/// When the steps of a visit were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    started: Instant,
    sent: Option<Instant>,
    answered: Option<Instant>,
    decided: Option<Instant>,
}

impl Times {
    pub(super) const fn new(started: Instant) -> Self {
        Self {
            started,
            sent: None,
            answered: None,
            decided: None,
        }
    }

    /// When the request's head was there.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// The request goes to the app now.
    pub(super) fn sent(&mut self) -> Instant {
        *self.sent.insert(clock::monotonic())
    }

    /// The head of the app's answer is there, or will not come.
    pub(super) fn answered(&mut self) {
        self.answered = Some(clock::monotonic());
    }

    /// Nobody waits for an answer any more. What was waited for the app is the app's time.
    pub(super) fn given_up(&mut self) {
        if self.sent.is_some() && self.answered.is_none() {
            self.answered();
        }
    }

    fn app(&self) -> Option<Duration> {
        Some(self.answered?.saturating_duration_since(self.sent?))
    }

    /// From the request's head to now; nothing where it is not wanted.
    fn total(&self, wanted: bool) -> Duration {
        if wanted {
            clock::monotonic().saturating_duration_since(self.started)
        } else {
            Duration::ZERO
        }
    }

    /// From the request's head to the answer's, without the app's share.
    fn gateway(&self) -> Duration {
        let decided = self.decided.or(self.answered).unwrap_or(self.started);
        decided
            .saturating_duration_since(self.started)
            .saturating_sub(self.app().unwrap_or_default())
    }
}

/// A request under way, counted as such until this is dropped, and the snapshot that it keeps.
#[derive(Debug)]
#[must_use = "it counts for as long as it is held"]
pub(super) struct UnderWay(Arc<Snapshot>);

impl UnderWay {
    pub(super) fn begin(gate: Arc<Snapshot>) -> Self {
        gate.metrics.request_begins();
        Self(gate)
    }

    /// The snapshot in force when it came.
    pub(super) const fn gate(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.metrics.request_ends();
    }
}

/// What was seen of a request when its answer begins.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) request_id: HeaderValue,
    pub(super) traceparent: HeaderValue,
    pub(super) recording: Option<Box<Recording>>,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) denial: Option<Denial>,
    pub(super) status: StatusCode,
    pub(super) close: Option<u16>,
    pub(super) server: Option<Arc<str>>,
    pub(super) retries: u32,
    pub(super) request_bytes: u64,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) preflight: bool,
}

/// What is told of how a request was judged.
#[derive(Debug)]
pub(super) struct Settled {
    peer: IpAddr,
    tls: Option<&'static str>,
    client: Option<Arc<Arrival>>,
    route: Option<RouteId>,
    caller: Option<Arc<Caller>>,
    overlooked: Option<Denial>,
    trace: Option<Trace>,
}

impl Settled {
    /// Takes what is told out of a judgement, and counts the verdicts of authenticators.
    pub(super) fn of(
        gate: &Snapshot,
        peer: &Peer,
        judged: &mut Judged<'_>,
        denial: Option<&Denial>,
    ) -> Self {
        for one in judged.attempt.iter().flat_map(|attempt| &attempt.tries) {
            if let Some(metrics) = gate.metrics.authenticator(one.authenticator) {
                metrics.verdict(one.outcome, one.reused);
                if one.mark != 0 {
                    metrics.mark(one.mark);
                }
            }
        }
        let objected = denial.or(judged.overlooked.as_ref());
        let trace = objected.map(|denial| trace::of(gate, judged, peer, Some(denial)));
        Self {
            peer: peer.address.ip(),
            tls: peer.tls.as_ref().map(|tls| tls.version),
            client: judged.client.take(),
            route: judged.route.as_ref().map(|route| route.id),
            caller: judged.caller.take(),
            overlooked: judged.overlooked.take(),
            trace,
        }
    }

    fn is_https(&self) -> bool {
        let client = self.client.as_ref();
        client.map_or(self.tls.is_some(), |client| client.scheme == Scheme::Https)
    }

    fn client_ip(&self) -> IpAddr {
        self.client.as_ref().map_or(self.peer, |client| client.ip)
    }

    fn host(&self) -> Option<&HeaderValue> {
        self.client.as_ref().map(|client| &client.authority)
    }
}

/// A request whose answer is on its way. The report is made when this is dropped.
#[derive(Debug)]
pub(super) struct Report {
    under_way: UnderWay,
    at: Timestamp,
    times: Times,
    uri: Uri,
    settled: Settled,
    seen: Seen,
    response_bytes: u64,
    cut_off: bool,
}

impl Report {
    /// Begins the report of a request whose answer's head is settled.
    pub(super) fn begin(
        (mut times, at): (Times, Timestamp),
        under_way: UnderWay,
        uri: Uri,
        settled: Settled,
        seen: Seen,
    ) -> Box<Self> {
        // What comes after the app's answer is too short to read the clock for.
        if times.answered.is_none() {
            times.decided = Some(clock::monotonic());
        }
        Box::new(Self {
            under_way,
            at,
            times,
            uri,
            settled,
            seen,
            response_bytes: 0,
            cut_off: false,
        })
    }

    /// So many bytes of the answer's body were taken.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// The answer ended before it was complete.
    pub(super) fn cut_off(&mut self) {
        self.cut_off = true;
    }
}

/// What a value says, where anybody is told of it.
fn text(value: &HeaderValue, told: bool) -> &str {
    if told {
        value.to_str().unwrap_or_default()
    } else {
        ""
    }
}

impl Report {
    /// Hands a sampled request over to be exported.
    fn export(&mut self) {
        let gate = self.under_way.gate();
        let (Some(recording), Some(tracer)) = (self.seen.recording.take(), &gate.traces) else {
            return;
        };
        let route = self.settled.route.and_then(|id| gate.policy.routes.get(id));
        let host = self.settled.host().and_then(|host| host.to_str().ok());
        tracer.export(Finished {
            recording,
            at: self.at,
            started: self.times.started,
            ended: clock::monotonic(),
            request_id: Finished::text(text(&self.seen.request_id, true)),
            method: self.seen.method.clone(),
            is_https: self.settled.is_https(),
            host: host.map(Finished::text),
            path: Finished::text(self.uri.path()),
            route: route.map(|route| route.pattern.as_str().into()),
            version: self.seen.version,
            status: self.seen.status.as_u16(),
            refused: self.seen.denial.as_ref().map(Denial::code),
            overlooked: self.settled.overlooked.as_ref().map(Denial::code),
            cut_off: self.cut_off,
            gateway_time: self.times.gateway(),
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.seen.recording.is_some() {
            self.export();
        }
        let metrics = &self.under_way.gate().metrics;
        let (settled, seen) = (&mut self.settled, &self.seen);
        let trace = settled.trace.take();
        // Texts that nobody will read are not made, and the clock is not read for them.
        let told = metrics.tells(seen.denial.is_some() || settled.overlooked.is_some());
        let identity = settled.caller.as_ref().map(|caller| caller.identity());
        let uploaded = seen.progress.as_ref();
        let completed = Completed {
            at: self.at,
            request_id: text(&seen.request_id, told),
            trace_id: text(&seen.traceparent, told).get(3..35).unwrap_or_default(),
            client: settled.client_ip(),
            route: settled.route,
            method: &seen.method,
            host: settled.host().map_or("", |host| text(host, told)),
            path: self.uri.path(),
            status: seen.status,
            close: seen.close,
            denial: seen.denial.as_ref(),
            overlooked: settled.overlooked.as_ref(),
            preflight: seen.preflight,
            user: identity.map(|identity| &*identity.user),
            authenticator: identity.map(|identity| &*identity.authenticator),
            gateway_time: self.times.gateway(),
            app_time: self.times.app(),
            total_time: self.times.total(told),
            request_bytes: seen.request_bytes + uploaded.map_or(0, |progress| progress.bytes()),
            response_bytes: self.response_bytes,
            cut_off: self.cut_off,
            server: seen.server.as_deref(),
            retries: seen.retries,
            version: seen.version,
            tls: settled.tls,
            trace,
        };
        if told {
            metrics.record(completed);
        } else {
            metrics.record_untold(&completed);
        }
    }
}
