//! The task that exports: takes what waits, makes OTLP of it, and posts it to the collector.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
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
    pauses: [Duration::from_secs(1), Duration::from_secs(4)],
};
/// Longest pause that a collector may ask for by `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The media type of OTLP (OTLP/HTTP, binary Protobuf).
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How fast spans are exported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a batch is gathered.
    pub(super) gather: Duration,
    /// How long the collector may take for a batch.
    pub(super) patience: Duration,
    /// How long it is left alone before a batch is sent again: so often it may be.
    pub(super) pauses: [Duration; 2],
}

/// Why a collector did not take a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// In words.
    pub why: String,
    /// Whether the same batch may be taken later, and how long the collector wants to be left alone
    /// until then; zero where it says nothing (OTLP 1.x, "Retryable Response Codes").
    again: Option<Duration>,
}

impl Untaken {
    /// Whether it may be well by itself after a while.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        self.again.is_some()
    }

    fn for_good(why: String) -> Self {
        Self { why, again: None }
    }

    /// The collector was not reached, or is busy.
    #[must_use]
    pub fn for_now(why: String) -> Self {
        Self {
            why,
            again: Some(Duration::ZERO),
        }
    }
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
            self.export(&mut batch, &post, &stop).await;
        }
        self.waiting.close();
        while self.waiting.recv_many(&mut batch, BATCH).await > 0 {
            if !self.export(&mut batch, &post, &stop).await {
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
    async fn export(
        &mut self,
        batch: &mut Vec<Finished>,
        post: &Post,
        stop: &CancellationToken,
    ) -> bool {
        if batch.is_empty() {
            return true;
        }
        let spans: u64 = batch.iter().map(Finished::spans).sum();
        let body = Bytes::from(otlp::request(batch).encode_to_vec());
        batch.clear();
        let answer = self.insist(&body, post, stop).await;
        let refused = answer.as_ref().map_or(spans, |refused| spans.min(*refused));
        self.counts.exported.add(spans - refused);
        self.counts.failed.add(refused);
        let whole = match answer {
            Ok(0) => Ok(()),
            Ok(some) => Err(format!("the collector refused {some} of {spans} spans")),
            Err(untaken) => Err(untaken.why),
        };
        let taken = whole.is_ok();
        self.tell(whole);
        taken
    }

    /// Posts a batch, and again where that may help, until `stop` says that there is no time.
    /// Meanwhile others wait in the queue. Gives how many spans of it were refused.
    async fn insist(
        &self,
        body: &Bytes,
        post: &Post,
        stop: &CancellationToken,
    ) -> Result<u64, Untaken> {
        let mut outcome = self.send(body, post).await;
        for pause in self.pace.pauses {
            let Err(Untaken {
                again: Some(wish), ..
            }) = &outcome
            else {
                break;
            };
            let pause = pause.max(*wish).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            outcome = self.send(body, post).await;
        }
        outcome
    }

    async fn send(&self, body: &Bytes, post: &Post) -> Result<u64, Untaken> {
        let patience = self.pace.patience;
        let request = carrying(body.clone());
        match timeout(patience, post(self.url.clone(), request)).await {
            Ok(Ok(answer)) => taken(&answer),
            Ok(Err(why)) => Err(Untaken::for_now(why)),
            // It may have been taken all the same, and would be there twice.
            Err(_elapsed) => Err(Untaken::for_good(format!("no answer within {patience:?}"))),
        }
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

/// The request that carries spans; without any it only asks whether the collector would take some.
#[must_use]
pub fn carrying(body: Bytes) -> Request<Bytes> {
    let length = HeaderValue::from(body.len());
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    // RFC 9110 §8.6: for a body that is empty too, which hyper would say nothing of.
    request.headers_mut().insert(CONTENT_LENGTH, length);
    request.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
    request.headers_mut().insert(ACCEPT, PROTOBUF);
    request
}

/// How many spans the collector refused of those it was sent.
///
/// # Errors
///
/// [`Untaken`]: why it took none.
pub fn taken(answer: &Response<Bytes>) -> Result<u64, Untaken> {
    let status = answer.status();
    if !status.is_success() {
        let why = format!("the collector answered {status}");
        let busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let again = busy.then(|| wished_pause(answer.headers()));
        return Err(Untaken { why, again });
    }
    let body = answer.body();
    // Some answer JSON to everything. What it says of single spans is not looked for.
    if is_json(answer.headers()) {
        return match serde_json::from_slice::<serde_json::Map<_, _>>(body) {
            Ok(_) => Ok(0),
            Err(error) => Err(not_otlp(&error)),
        };
    }
    let told = ExportTraceServiceResponse::decode(body.clone());
    let told = told.map_err(|error| not_otlp(&error))?;
    let part = told.partial_success.map(|part| part.rejected_spans);
    Ok(part
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0))
}

fn not_otlp(error: &dyn std::error::Error) -> Untaken {
    Untaken::for_good(format!("the collector's answer is not OTLP: {error}"))
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); a date there is taken for none.
fn wished_pause(headers: &HeaderMap) -> Duration {
    let wish = headers.get(RETRY_AFTER);
    let seconds = wish.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod export_tests;
