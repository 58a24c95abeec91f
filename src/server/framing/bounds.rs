//! How much of a head there may be, and how long its connection waits.

use std::time::Duration;

use crate::config::settings;

/// Bytes of interim answers that may wait to be written.
pub const MAX_INTERIM: usize = 16 * 1024;

/// The longest target that `http::Uri` can hold.
const MAX_REQUEST_LINE: usize = 65_534;

/// Half of what an `http::HeaderMap` can hold before it panics.
const MAX_HEADER_COUNT: usize = 1 << 14;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line, without its CRLF.
    pub request_line: usize,
    /// Bytes of the head, request line and last empty line included.
    pub headers: usize,
    /// Field lines of the head.
    pub header_count: usize,
}

impl From<&settings::Limits> for Limits {
    fn from(limits: &settings::Limits) -> Self {
        Self {
            request_line: limits.request_line.min(MAX_REQUEST_LINE),
            headers: limits.headers,
            header_count: limits.header_count.min(MAX_HEADER_COUNT),
        }
    }
}

/// The waits that end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection or a head's first byte to the head's end.
    pub request_headers: Duration,
    /// From the end of an answer to the next request's first byte.
    pub keep_alive: Duration,
    /// Between two writes that the client accepts.
    pub response_body: Duration,
}

impl From<&settings::ServerTimeouts> for Timeouts {
    fn from(timeouts: &settings::ServerTimeouts) -> Self {
        Self {
            request_headers: timeouts.request_headers,
            keep_alive: timeouts.keep_alive,
            response_body: timeouts.response_body,
        }
    }
}
