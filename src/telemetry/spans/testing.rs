//! What the tests of spans share: a sampled request that has ended.

use std::time::Duration;

use http::{Method, Version};

use super::{Finished, Recording, TraceContext};
use crate::clock;
use crate::telemetry::testing::NOW;

/// A request that went well, with nothing recorded on its way.
pub(super) fn finished() -> Finished {
    let started = clock::monotonic();
    Finished {
        recording: Box::new(Recording::root(TraceContext::begin().sampled())),
        at: NOW,
        started,
        ended: started + Duration::from_millis(4),
        request_id: "0192-id".into(),
        method: Method::GET,
        is_https: true,
        host: Some("app.example.com".into()),
        path: "/api/things".into(),
        route: Some("/api/{*rest}".into()),
        version: Version::HTTP_2,
        status: 200,
        refused: None,
        overlooked: None,
        cut_off: false,
        gateway_time: Duration::from_micros(123),
    }
}
