//! A sampled request that has ended, as it waits to be exported.

use std::time::{Duration, Instant};

use http::{Method, Version};

use super::recording::Recording;
use crate::clock::Timestamp;
use crate::policy::denial::Code;

/// The longest path, host and request id that stand in spans, in bytes.
const MOST_TEXT: usize = 1024;

/// A sampled request that has ended. Nothing in it holds on to the request's buffers.
#[derive(Debug)]
pub struct Finished {
    /// What was recorded on its way.
    pub recording: Box<Recording>,
    /// When its head was there.
    pub at: Timestamp,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// When its answer ended.
    pub ended: Instant,
    /// Its id in the log.
    pub request_id: Box<str>,
    /// Method.
    pub method: Method,
    /// Whether the client came by TLS, to the gateway or a trusted proxy.
    pub is_https: bool,
    /// The host that was asked for.
    pub host: Option<Box<str>>,
    /// The path, without the query.
    pub path: Box<str>,
    /// The route's path, as configured.
    pub route: Option<Box<str>>,
    /// The client's protocol.
    pub version: Version,
    /// Status of the answer, or of the refusal that a close frame told.
    pub status: u16,
    /// The refusal.
    pub refused: Option<Code>,
    /// The refusal that a route with `observe` passed over.
    pub overlooked: Option<Code>,
    /// Whether the answer ended before it was complete.
    pub cut_off: bool,
    /// Time spent in the gateway itself.
    pub gateway_time: Duration,
}

impl Finished {
    /// A text of the request, cut where it is too long.
    #[must_use]
    pub fn text(text: &str) -> Box<str> {
        text.get(..text.floor_char_boundary(MOST_TEXT))
            .unwrap_or_default()
            .into()
    }

    /// How many spans it becomes.
    pub(super) fn spans(&self) -> u64 {
        self.recording.steps.len() as u64 + 1
    }
}
