//! What is told of a request when its answer has ended: one log line, its counters, and, where it
//! was refused, its entry among the recent refusals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use super::judge::{Judged, Peer};
use super::trace;
use crate::clock::{self, Timestamp};
use crate::gateway::Snapshot;
use crate::policy::denial::Denial;
use crate::policy::forwarded::Scheme;
use crate::policy::identity::Caller;
use crate::policy::route::RouteId;
use crate::telemetry::spans::{Finished, Recording};
use crate::telemetry::{Completed, Held, Trace};
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

/// What was seen of a request when its answer begins.
#[derive(Debug)]
pub(super) struct Seen<'a, 'j> {
    pub(super) request_id: HeaderValue,
    pub(super) traceparent: HeaderValue,
    pub(super) recording: Option<Box<Recording>>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) peer: &'a Peer,
    pub(super) judged: &'a Judged<'j>,
    pub(super) denial: Option<Denial>,
    pub(super) status: StatusCode,
    pub(super) close: Option<u16>,
    pub(super) server: Option<Arc<str>>,
    pub(super) retries: u32,
    pub(super) request_bytes: u64,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) preflight: bool,
    pub(super) held: Held,
}

/// A request whose answer is on its way. The report is made when this is dropped.
#[derive(Debug)]
pub(super) struct Report {
    gate: Arc<Snapshot>,
    at: Timestamp,
    times: Times,
    request_id: HeaderValue,
    traceparent: HeaderValue,
    recording: Option<Box<Recording>>,
    is_https: bool,
    client: std::net::IpAddr,
    route: Option<RouteId>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    status: StatusCode,
    close: Option<u16>,
    denial: Option<Denial>,
    overlooked: Option<Denial>,
    preflight: bool,
    caller: Option<Arc<Caller>>,
    request_bytes: u64,
    progress: Option<Arc<Progress>>,
    response_bytes: u64,
    cut_off: bool,
    server: Option<Arc<str>>,
    retries: u32,
    version: Version,
    tls: Option<&'static str>,
    trace: Option<Trace>,
    /// Counts the request as under way.
    _held: Held,
}

impl Report {
    /// Begins the report of a request whose answer's head is settled. Counts the verdicts of
    /// authenticators, which are settled too.
    pub(super) fn begin(
        mut times: Times,
        at: Timestamp,
        gate: Arc<Snapshot>,
        seen: Seen<'_, '_>,
    ) -> Box<Self> {
        // What comes after the app's answer is too short to read the clock for.
        if times.answered.is_none() {
            times.decided = Some(clock::monotonic());
        }
        let judged = seen.judged;
        for one in judged.attempt.iter().flat_map(|attempt| &attempt.tries) {
            if let Some(metrics) = gate.metrics.authenticator(one.authenticator) {
                metrics.verdict(one.outcome, one.reused);
                if one.mark != 0 {
                    metrics.mark(one.mark);
                }
            }
        }
        let objected = seen.denial.as_ref().or(judged.overlooked.as_ref());
        let trace = objected.map(|denial| trace::of(&gate, judged, seen.peer, Some(denial)));
        Box::new(Self {
            at,
            times,
            request_id: seen.request_id,
            traceparent: seen.traceparent,
            recording: seen.recording,
            is_https: judged
                .client
                .as_ref()
                .map_or(seen.peer.tls.is_some(), |client| {
                    client.scheme == Scheme::Https
                }),
            client: judged
                .client
                .as_ref()
                .map_or(seen.peer.address.ip(), |client| client.ip),
            route: judged.route.as_ref().map(|route| route.id),
            method: seen.method,
            uri: seen.uri,
            host: judged
                .client
                .as_ref()
                .map(|client| client.authority.clone()),
            status: seen.status,
            close: seen.close,
            denial: seen.denial,
            overlooked: judged.overlooked.clone(),
            preflight: seen.preflight,
            caller: judged.caller.clone(),
            request_bytes: seen.request_bytes,
            progress: seen.progress,
            response_bytes: 0,
            cut_off: false,
            server: seen.server,
            retries: seen.retries,
            version: seen.version,
            tls: seen.peer.tls.as_ref().map(|tls| tls.version),
            trace,
            _held: seen.held,
            gate,
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
        let (Some(recording), Some(tracer)) = (self.recording.take(), &self.gate.traces) else {
            return;
        };
        let routes = &self.gate.policy.routes;
        let route = self.route.and_then(|id| routes.get(id));
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        tracer.export(Finished {
            recording,
            at: self.at,
            started: self.times.started,
            ended: clock::monotonic(),
            request_id: Finished::text(text(&self.request_id, true)),
            method: self.method.clone(),
            is_https: self.is_https,
            host: host.map(Finished::text),
            path: Finished::text(self.uri.path()),
            route: route.map(|route| route.pattern.as_str().into()),
            version: self.version,
            status: self.status.as_u16(),
            refused: self.denial.as_ref().map(Denial::code),
            overlooked: self.overlooked.as_ref().map(Denial::code),
            cut_off: self.cut_off,
            gateway_time: self.times.gateway(),
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.recording.is_some() {
            self.export();
        }
        // Texts that nobody will read are not made, and the clock is not read for them.
        let told = (self.gate.metrics).tells(self.denial.is_some() || self.overlooked.is_some());
        let identity = self.caller.as_ref().map(|caller| caller.identity());
        let completed = Completed {
            at: self.at,
            request_id: text(&self.request_id, told),
            trace_id: text(&self.traceparent, told).get(3..35).unwrap_or_default(),
            client: self.client,
            route: self.route,
            method: &self.method,
            host: self.host.as_ref().map_or("", |host| text(host, told)),
            path: self.uri.path(),
            status: self.status,
            close: self.close,
            denial: self.denial.as_ref(),
            overlooked: self.overlooked.as_ref(),
            preflight: self.preflight,
            user: identity.map(|identity| &*identity.user),
            authenticator: identity.map(|identity| &*identity.authenticator),
            gateway_time: self.times.gateway(),
            app_time: self.times.app(),
            total_time: self.times.total(told),
            request_bytes: self.request_bytes
                + self
                    .progress
                    .as_ref()
                    .map_or(0, |progress| progress.bytes()),
            response_bytes: self.response_bytes,
            cut_off: self.cut_off,
            server: self.server.as_deref(),
            retries: self.retries,
            version: self.version,
            tls: self.tls,
            trace: self.trace.take(),
        };
        if told {
            self.gate.metrics.record(completed);
        } else {
            self.gate.metrics.record_untold(&completed);
        }
    }
}
