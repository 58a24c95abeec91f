//! The task that exports: takes what waits, makes OTLP of it, and posts it to the collector.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::finished::Finished;
use super::otlp;
use super::tracer::SpanCounts;
use crate::clock;

/// Requests in one batch at most.
const BATCH: usize = 512;
/// How fast it goes.
pub(super) const PACE: Pace = Pace {
    gather: Duration::from_secs(1),
    patience: Duration::from_secs(5),
};
/// The media type of OTLP (OTLP/HTTP, binary Protobuf).
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How fast spans are exported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a batch is gathered.
    pub(super) gather: Duration,
    /// How long the collector may take for a batch.
    pub(super) patience: Duration,
}

/// What came of asking the collector, or why there is no answer.
pub type Posted = Result<Response<Bytes>, String>;

/// Posts a request to an address.
pub type Post =
    Box<dyn Fn(Url, Request<Bytes>) -> Pin<Box<dyn Future<Output = Posted> + Send>> + Send + Sync>;

/// Exports what a tracer samples.
#[derive(Debug)]
pub struct Exporter {
    url: Url,
    waiting: mpsc::Receiver<Finished>,
    counts: Arc<SpanCounts>,
    pace: Pace,
    /// How many were dropped when that was last looked at.
    dropped: u64,
    /// Whether the log knows that spans are lost.
    told: bool,
}

impl Exporter {
    pub(super) fn new(
        url: Url,
        waiting: mpsc::Receiver<Finished>,
        counts: Arc<SpanCounts>,
        pace: Pace,
    ) -> Self {
        let dropped = counts.dropped.get();
        Self {
            url,
            waiting,
            counts,
            pace,
            dropped,
            told: false,
        }
    }

    /// Exports until nobody samples any more or `stop` says so, and then what still waits.
    pub async fn run(mut self, post: Post, stop: CancellationToken) {
        let mut batch = Vec::new();
        let mut goes_on = true;
        while goes_on {
            goes_on = self.gather(&mut batch, &stop).await && !stop.is_cancelled();
            self.export(&mut batch, &post).await;
        }
        self.waiting.close();
        while self.waiting.recv_many(&mut batch, BATCH).await > 0 {
            if !self.export(&mut batch, &post).await {
                break;
            }
        }
        self.give_up();
    }

    /// Waits for a batch. Says whether there may be another.
    async fn gather(&mut self, batch: &mut Vec<Finished>, stop: &CancellationToken) -> bool {
        let all = async {
            if self.waiting.recv_many(batch, BATCH).await == 0 {
                return false;
            }
            let until = Instant::from_std(clock::monotonic() + self.pace.gather);
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                match timeout_at(until, self.waiting.recv_many(batch, room)).await {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(_over) => break,
                }
            }
            true
        };
        tokio::select! {
            goes_on = all => goes_on,
            () = stop.cancelled() => false,
        }
    }

    /// Posts a batch and counts what came of it. Says whether the collector took it.
    async fn export(&mut self, batch: &mut Vec<Finished>, post: &Post) -> bool {
        if batch.is_empty() {
            return true;
        }
        let spans: u64 = batch.iter().map(Finished::spans).sum();
        let body = otlp::request(batch).encode_to_vec();
        batch.clear();
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
        request.headers_mut().insert(ACCEPT, PROTOBUF);
        let patience = self.pace.patience;
        let answer = match timeout(patience, post(self.url.clone(), request)).await {
            Ok(Ok(answer)) => taken(&answer),
            Ok(Err(why)) => Err(why),
            Err(_elapsed) => Err(format!("no answer within {patience:?}")),
        };
        let refused = answer.as_ref().map_or(spans, |refused| spans.min(*refused));
        self.counts.exported.add(spans - refused);
        self.counts.failed.add(refused);
        let whole = answer.and_then(|refused| match refused {
            0 => Ok(()),
            some => Err(format!("the collector refused {some} of {spans} spans")),
        });
        let taken = whole.is_ok();
        self.tell(whole);
        taken
    }

    /// Tells the log where that changes.
    fn tell(&mut self, outcome: Result<(), String>) {
        let dropped = self.counts.dropped.get();
        let full = dropped > self.dropped;
        self.dropped = dropped;
        let outcome = outcome.and_then(|()| {
            let words = "more is sampled than the collector takes: lower `sample`";
            if full { Err(words.to_owned()) } else { Ok(()) }
        });
        match outcome {
            Ok(()) if self.told => {
                self.told = false;
                tracing::info!(collector = %self.url, "traces are taken again");
            }
            Err(problem) if !self.told => {
                self.told = true;
                tracing::warn!(collector = %self.url, problem, "traces are lost");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Counts what still waits as lost.
    fn give_up(&mut self) {
        while let Ok(left) = self.waiting.try_recv() {
            self.counts.failed.add(left.spans());
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// How many spans the collector refused of those it was sent, or why it took none.
fn taken(answer: &Response<Bytes>) -> Result<u64, String> {
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("the collector answered {status}"));
    }
    let body = answer.body();
    // Some answer JSON to everything. What it says of single spans is not looked for.
    if is_json(answer.headers()) {
        return match serde_json::from_slice::<serde_json::Map<_, _>>(body) {
            Ok(_) => Ok(0),
            Err(error) => Err(format!("the collector's answer is not OTLP: {error}")),
        };
    }
    let told = ExportTraceServiceResponse::decode(body.clone());
    let told = told.map_err(|error| format!("the collector's answer is not OTLP: {error}"))?;
    let part = told.partial_success.map(|part| part.rejected_spans);
    Ok(part
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod export_tests;
