//! One request that has ended, with all that is told of it.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode, Version};

use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::policy::route::RouteId;
use crate::telemetry::trace::Trace;

/// One request that has ended. Its log line, its counters and, where it was refused, its entry
/// among the recent refusals are made from this.
#[derive(Debug)]
pub struct Completed<'a> {
    /// When its head was there.
    pub at: Timestamp,
    /// The request id, as the client and the app got it.
    pub request_id: &'a str,
    /// The trace id of `traceparent`: 32 hex digits. Empty leaves it out.
    pub trace_id: &'a str,
    /// Who the client is, by trusted proxies if need be.
    pub client: IpAddr,
    /// The route, where one was found.
    pub route: Option<RouteId>,
    /// Method.
    pub method: &'a Method,
    /// The host that was asked for. Empty leaves it out.
    pub host: &'a str,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// Status of the answer, or of the refusal that a close frame told.
    pub status: StatusCode,
    /// The number of the close frame that told a refused WebSocket handshake, in the place of the
    /// status.
    pub close: Option<u16>,
    /// The gateway's refusal; `None` where the app or the route itself answered.
    pub denial: Option<&'a Denial>,
    /// The refusal that a route with `observe` passed over.
    pub overlooked: Option<&'a Denial>,
    /// Whether it was a preflight that the gateway answered, either way.
    pub preflight: bool,
    /// The user, where one is known.
    pub user: Option<&'a str>,
    /// The name of the authenticator that knew the user.
    pub authenticator: Option<&'a str>,
    /// Time spent in the gateway itself.
    pub gateway_time: Duration,
    /// Time from sending to the app until the head of its answer; `None` where it was not asked.
    pub app_time: Option<Duration>,
    /// Time from the head of the request to the end of the answer.
    pub total_time: Duration,
    /// Bytes of the request: head and body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Whether the answer ended before it was complete.
    pub cut_off: bool,
    /// The label of the app's server that answered, or was tried last.
    pub server: Option<&'a str>,
    /// Further servers that were tried.
    pub retries: u32,
    /// The client's protocol version.
    pub version: Version,
    /// `TLSv1.2` or `TLSv1.3`; `None` without TLS.
    pub tls: Option<&'static str>,
    /// For `why`; only where `denial` or `overlooked` is there.
    pub trace: Option<Trace>,
}

impl Completed<'_> {
    /// When its answer ended.
    pub(super) fn ended(&self) -> Timestamp {
        self.at.saturating_add(self.total_time)
    }

    /// The refusal, made or passed over.
    pub(super) fn objection(&self) -> Option<&Denial> {
        self.denial.or(self.overlooked)
    }

    /// The protocol as it stands in the log.
    pub(super) const fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        }
    }
}
