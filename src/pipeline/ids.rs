//! What a request is known by from here on: its id, and its place in a trace.

use http::{HeaderMap, HeaderValue};

use super::look::Look;
use crate::clock::Timestamp;
use crate::gateway::Snapshot;

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
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"))
}

fn is_plain_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
    !id.is_empty() && id.len() <= 128 && id.iter().all(plain)
}

/// The client's trace context where it is valid, or a new one (W3C Trace Context §3.2).
pub(crate) fn traceparent(headers: &HeaderMap) -> HeaderValue {
    trace_context(Look::at(headers).traceparent.as_ref())
}

/// The same, of what a look at the headers found.
pub(super) fn trace_context(sent: Option<&HeaderValue>) -> HeaderValue {
    if let Some(theirs) = sent.filter(|theirs| is_traceparent(theirs.as_bytes())) {
        return theirs.clone();
    }
    let (mut trace, mut span) = (uuid::Uuid::encode_buffer(), uuid::Uuid::encode_buffer());
    // Neither may be all zeros: the lowest bits are set.
    let trace = uuid::Uuid::from_u128(fastrand::u128(..) | 1)
        .simple()
        .encode_lower(&mut trace);
    let span = uuid::Uuid::from_u128(u128::from(fastrand::u64(..) | 1))
        .simple()
        .encode_lower(&mut span);
    let span = span.get(16..).unwrap_or_default();
    let mut text = bytes::BytesMut::with_capacity(55);
    for part in ["00-", trace, "-", span, "-00"] {
        text.extend_from_slice(part.as_bytes());
    }
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static("-"))
}

fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split(|byte| *byte == b'-');
    let [version, trace, span, flags] = [parts.next(), parts.next(), parts.next(), parts.next()]
        .map(|part| part.filter(|part| hex(part)).unwrap_or_default());
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    parts.next().is_none()
        && version == b"00"
        && trace.len() == 32
        && span.len() == 16
        && flags.len() == 2
        && !zero(trace)
        && !zero(span)
}
