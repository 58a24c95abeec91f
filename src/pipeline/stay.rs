//! A request while it waits for its answer: one whose client leaves meanwhile is told of too.

use std::sync::Arc;

use http::{Method, StatusCode, Uri, Version};

use super::judge::Judged;
use super::report::{Report, Seen, Settled, UnderWay};
use super::serve::Visit;

/// What the log and the metrics have for a request whose client left before the head of its answer.
/// Nobody is sent it. The number is nginx's.
const CLIENT_LEFT: u16 = 499;

/// A visit until it is answered. Dropped before, it is reported as one whose client left.
pub(super) struct Stay<'s, 'v, 'u> {
    pub(super) visit: &'s mut Visit<'v>,
    pub(super) judged: &'s mut Judged<'u>,
    pub(super) method: &'s Method,
    pub(super) uri: &'s Uri,
    pub(super) version: Version,
    /// Bytes of the head.
    pub(super) head_bytes: u64,
    pub(super) preflight: bool,
    pub(super) is_over: bool,
}

impl Stay<'_, '_, '_> {
    /// It is answered.
    pub(super) fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Stay<'_, '_, '_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let visit = &mut *self.visit;
        let settled = Settled::of(visit.gate, &visit.visitor.peer, self.judged, None);
        let seen = Seen {
            request_id: visit.request_id.clone(),
            traceparent: visit.traceparent.clone(),
            recording: visit.recording.take(),
            method: self.method.clone(),
            version: self.version,
            denial: None,
            status: StatusCode::from_u16(CLIENT_LEFT).unwrap_or(StatusCode::BAD_REQUEST),
            close: None,
            server: visit.server.take(),
            retries: visit.retries,
            request_bytes: self.head_bytes,
            progress: visit.progress.take(),
            preflight: self.preflight,
        };
        visit.times.given_up();
        let under_way = UnderWay::begin(Arc::clone(visit.gate));
        let when = (visit.times, visit.now);
        let mut report = Report::begin(when, under_way, self.uri.clone(), settled, seen);
        report.cut_off();
    }
}
