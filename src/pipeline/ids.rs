//! What a request is known by from here on: its id, and its place in a trace.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use uuid::fmt::Hyphenated;

use super::look::Look;
use crate::clock::Timestamp;
use crate::gateway::Snapshot;
use crate::telemetry::spans::{Recording, TraceContext, Tracer};

/// The id of a trusted proxy, or a new one (`UUIDv7`, RFC 9562 §5.7).
pub(crate) fn request_id(
    gate: &Snapshot,
    trusted: bool,
    headers: &HeaderMap,
    now: Timestamp,
) -> HeaderValue {
    let theirs = trusted
        .then(|| headers.get(&gate.policy.request_id))
        .flatten();
    if let Some(id) = theirs.filter(|id| is_plain_id(id.as_bytes())) {
        return id.clone();
    }
    // Ids need to differ, not to be secret: a fast generator will do.
    let millis = now.unix_micros().max(0).unsigned_abs() / 1_000;
    let (high, low) = (
        fastrand::u16(..).to_le_bytes(),
        fastrand::u64(..).to_le_bytes(),
    );
    let mut random = [0; 10];
    for (byte, drawn) in random.iter_mut().zip(high.into_iter().chain(low)) {
        *byte = drawn;
    }
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    let id = id.hyphenated().encode_lower(&mut text);
    <[u8; Hyphenated::LENGTH]>::try_from(id.as_bytes())
        .ok()
        .and_then(|id| HeaderValue::from_maybe_shared(Bytes::from_owner(id)).ok())
        .unwrap_or(HeaderValue::from_static("-"))
}

fn is_plain_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
    !id.is_empty() && id.len() <= 128 && id.iter().all(plain)
}

/// The client's trace context where it is valid, or a new one (W3C Trace Context §3.2).
pub(crate) fn traceparent(headers: &HeaderMap) -> HeaderValue {
    Place::of(&Look::at(headers), None).traceparent
}

/// A request's place in a trace.
#[derive(Debug)]
pub(super) struct Place {
    /// What the log and the app are told.
    pub(super) traceparent: HeaderValue,
    /// What is recorded, where the trace is sampled.
    pub(super) recording: Option<Box<Recording>>,
    /// Whether a `tracestate` came that belongs to no trace, and must not go on (§3.3).
    pub(super) has_stray_state: bool,
}

impl Place {
    /// The place of a request by what its headers say. Without a tracer nothing is sampled here;
    /// what others sample keeps its flag.
    pub(super) fn of(look: &Look, tracer: Option<&Tracer>) -> Self {
        let sent = look.traceparent.as_ref();
        let sent = sent.and_then(|sent| Some((sent, TraceContext::parse(sent.as_bytes())?)));
        let (traceparent, recording) = match (sent, tracer) {
            (Some((sent, context)), Some(tracer)) => {
                let recording = tracer.follow(context, look.tracestate.as_ref());
                (sent.clone(), recording)
            }
            (Some((sent, _)), None) => (sent.clone(), None),
            (None, Some(tracer)) => {
                let (context, recording) = tracer.begin();
                (context.header(), recording)
            }
            (None, None) => (TraceContext::begin().header(), None),
        };
        let told = recording.as_ref().filter(|_| sent.is_some());
        Self {
            traceparent: told.map_or(traceparent, |child| child.context().header()),
            recording,
            has_stray_state: sent.is_none() && look.tracestate.is_some(),
        }
    }
}
