//! What the tests of this room share: a small configuration, and requests that have ended.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode, Version};

use super::tables::RouteRow;
use super::{Bound, Completed, Metrics};
use crate::clock::Timestamp;
use crate::policy::route::RouteId;

/// When the tests take place.
pub(super) const NOW: Timestamp = Timestamp::from_unix_micros(1_767_323_045_067_890);

/// One row of a configuration.
pub(super) struct Row(Arc<str>, Option<Arc<str>>, bool);

/// A route by its label.
pub(super) fn route(label: &str) -> Row {
    Row(label.into(), None, false)
}

impl Row {
    pub(super) fn cors(mut self, name: &str) -> Self {
        self.1 = Some(name.into());
        self
    }

    pub(super) fn observing(mut self) -> Self {
        self.2 = true;
        self
    }
}

/// Counters for routes and authenticators.
pub(super) fn bind(metrics: &Metrics, routes: &[Row], authenticators: &[&str]) -> Bound {
    let names: Vec<Arc<str>> = authenticators.iter().map(|&name| name.into()).collect();
    let rows = routes.iter().map(|Row(label, cors, observes)| RouteRow {
        label,
        cors: cors.as_ref(),
        observes: *observes,
    });
    metrics.bind_rows(rows, names.iter())
}

/// A request to the first route that went well.
pub(super) fn completed() -> Completed<'static> {
    Completed {
        at: NOW,
        request_id: "0192-id",
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        route: Some(RouteId(0)),
        method: &Method::GET,
        host: "app.example.com",
        path: "/api/things",
        status: StatusCode::OK,
        close: None,
        denial: None,
        overlooked: None,
        preflight: false,
        user: Some("42"),
        authenticator: Some("token"),
        gateway_time: Duration::from_micros(123),
        app_time: Some(Duration::from_micros(4_500)),
        total_time: Duration::from_micros(4_700),
        request_bytes: 300,
        response_bytes: 1024,
        cut_off: false,
        server: Some("http://127.0.0.1:8000"),
        retries: 0,
        version: Version::HTTP_2,
        tls: Some("TLSv1.3"),
        trace: None,
    }
}

/// Keeps what is written to it.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
