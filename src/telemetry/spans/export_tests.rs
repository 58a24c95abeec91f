//! What is exported when, and what is counted and told where the collector does not take it.

use std::sync::Mutex;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest,
};
use tokio::task::JoinHandle;

use super::super::testing::finished;
use super::super::tracer::{QUEUE, Tracer};
use super::*;
use crate::config::settings::Tracing;
use crate::telemetry::cells::Counter;

/// Not so quick that a busy machine is taken for a slow collector.
const QUICK: Pace = Pace {
    gather: Duration::from_millis(200),
    patience: Duration::from_millis(300),
    pauses: [Duration::from_millis(10), Duration::from_millis(20)],
};

type Sizes = Arc<Mutex<Vec<usize>>>;

/// A tracer whose exporter runs against a collector that answers `answer` each time.
struct Bench {
    tracer: Tracer,
    counts: Arc<SpanCounts>,
    sizes: Sizes,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    fn new(answer: impl Fn() -> Posted + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::answering(move || {
            let answer = Arc::clone(&answer);
            Box::pin(async move { answer() })
        })
    }

    fn answering(
        answer: impl Fn() -> Pin<Box<dyn Future<Output = Posted> + Send>> + Send + Sync + 'static,
    ) -> Self {
        let settings = Tracing {
            otlp: "http://127.0.0.1:4318/v1/traces".parse().unwrap(),
            sample: 1.0,
        };
        let (counts, sizes) = (Arc::new(SpanCounts::default()), Sizes::default());
        let tracer = Tracer::at(QUICK, settings, Arc::clone(&counts));
        let (exporter, stop) = (tracer.exporter().unwrap(), CancellationToken::new());
        let seen = Arc::clone(&sizes);
        let post: Post = Box::new(move |url, request| {
            assert_eq!(url.path(), "/v1/traces");
            let sent = ExportTraceServiceRequest::decode(request.into_body()).unwrap();
            let spans = sent
                .resource_spans
                .into_iter()
                .flat_map(|of| of.scope_spans);
            seen.lock()
                .unwrap()
                .push(spans.map(|of| of.spans.len()).sum());
            answer()
        });
        Self {
            tracer,
            counts,
            sizes,
            stop: stop.clone(),
            task: tokio::spawn(exporter.run(post, stop)),
        }
    }

    fn export(&self, count: usize) {
        for _ in 0..count {
            self.tracer.export(finished());
        }
    }

    /// Waits until `reached` holds, for ten seconds at most.
    async fn until(&self, reached: impl Fn(&SpanCounts) -> bool) {
        let wait = async {
            while !reached(&self.counts) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.unwrap();
    }

    /// Stops; exported, dropped, failed, and the sizes of what was posted.
    async fn end(self) -> ([u64; 3], Vec<usize>) {
        self.stop.cancel();
        self.task.await.unwrap();
        let SpanCounts {
            exported,
            dropped,
            failed,
            ..
        } = &*self.counts;
        let counts = [exported, dropped, failed].map(Counter::get);
        (counts, self.sizes.lock().unwrap().clone())
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
}

fn good() -> Response<Bytes> {
    answer(StatusCode::OK, Bytes::new())
}

#[tokio::test]
async fn what_comes_within_a_second_goes_in_one_batch() {
    let bench = Bench::new(|| Ok(good()));
    bench.export(3);
    tokio::task::yield_now().await;
    bench.export(2);
    bench.until(|counts| counts.exported.get() == 5).await;
    assert_eq!(bench.end().await, ([5, 0, 0], vec![5]));
}

#[tokio::test]
async fn what_waits_is_exported_at_the_end() {
    let bench = Bench::new(|| Ok(good()));
    bench.export(BATCH + 10);
    assert_eq!(bench.end().await.0, [522, 0, 0]);
}

#[tokio::test]
async fn a_collector_that_is_down_costs_spans_and_the_rest_is_not_tried_at_the_end() {
    let bench = Bench::new(|| Err("cannot connect".to_owned()));
    bench.export(1);
    bench.until(|counts| counts.failed.get() == 1).await;
    bench.export(3 * BATCH);
    let (counts, sizes) = bench.end().await;
    assert_eq!(counts, [0, 0, 1 + 3 * 512]);
    // The first was tried again and again; of the rest one batch or two, once each.
    assert!((3..=6).contains(&sizes.len()), "{sizes:?}");
}

/// What becomes of one span where the collector's first answer is `first` and all others are good,
/// and how often it was posted.
async fn after(first: Posted) -> ([u64; 3], usize) {
    let first = Mutex::new(Some(first));
    let bench = Bench::new(move || {
        let first = first.lock().unwrap().take();
        first.unwrap_or_else(|| Ok(good()))
    });
    bench.export(1);
    bench
        .until(|counts| counts.exported.get() + counts.failed.get() == 1)
        .await;
    let (counts, sizes) = bench.end().await;
    (counts, sizes.len())
}

#[tokio::test]
async fn a_collector_that_is_busy_or_away_for_a_moment_costs_nothing() {
    for status in [429, 502, 503, 504] {
        let busy = answer(StatusCode::from_u16(status).unwrap(), "");
        assert_eq!(after(Ok(busy)).await, ([1, 0, 0], 2), "{status}");
    }
    let away = Err("cannot connect".to_owned());
    assert_eq!(after(away).await, ([1, 0, 0], 2));
}

#[tokio::test]
async fn what_a_collector_refuses_for_good_is_not_sent_again() {
    for status in [400, 401, 404, 413, 500] {
        let no = answer(StatusCode::from_u16(status).unwrap(), "");
        assert_eq!(after(Ok(no)).await, ([0, 0, 1], 1), "{status}");
    }
}

#[tokio::test]
async fn a_pause_that_a_collector_asks_for_is_kept_and_the_stop_does_not_wait_for_it() {
    let bench = Bench::new(|| {
        let mut busy = answer(StatusCode::TOO_MANY_REQUESTS, "");
        let wish = HeaderValue::from_static("3600");
        busy.headers_mut().insert(RETRY_AFTER, wish);
        Ok(busy)
    });
    bench.export(1);
    // Longer than all pauses of its own.
    tokio::time::sleep(QUICK.gather + Duration::from_millis(300)).await;
    assert_eq!(*bench.sizes.lock().unwrap(), [1]);
    let ended = timeout(Duration::from_secs(10), bench.end());
    assert_eq!(ended.await.unwrap(), ([0, 0, 1], vec![1]));
}

#[tokio::test]
async fn a_queue_that_is_full_costs_spans_and_nobody_waits() {
    let bench = Bench::answering(|| Box::pin(std::future::pending()));
    bench.export(QUEUE + 100);
    let (counts, _) = bench.end().await;
    assert_eq!(counts[1], 100);
    assert_eq!(counts[1] + counts[2], QUEUE as u64 + 100);
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_given_up() {
    let bench = Bench::answering(|| Box::pin(std::future::pending()));
    bench.export(1);
    bench.until(|counts| counts.failed.get() == 1).await;
}

#[tokio::test]
async fn the_task_ends_with_the_last_who_samples() {
    let bench = Bench::new(|| Ok(good()));
    bench.export(1);
    drop(bench.tracer);
    timeout(Duration::from_secs(10), bench.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bench.counts.exported.get(), 1);
}

#[test]
fn only_an_answer_in_otlp_says_that_spans_were_taken() {
    assert_eq!(taken(&good()), Ok(0));
    for status in [
        StatusCode::FOUND,
        StatusCode::NOT_FOUND,
        StatusCode::BAD_GATEWAY,
    ] {
        assert!(
            taken(&answer(status, ""))
                .unwrap_err()
                .why
                .contains(status.as_str())
        );
    }
    let page = taken(&answer(StatusCode::OK, "<!doctype html>"));
    assert!(page.unwrap_err().why.contains("not OTLP"));
    let part = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 7,
            error_message: "too many".to_owned(),
        }),
    };
    assert_eq!(taken(&answer(StatusCode::OK, part.encode_to_vec())), Ok(7));
}

#[test]
fn a_collector_may_answer_json() {
    let judged = |body: &'static str| {
        let mut posted = answer(StatusCode::OK, body);
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        posted.headers_mut().insert(CONTENT_TYPE, kind);
        taken(&posted)
    };
    assert_eq!(judged("{\"partialSuccess\":{}}"), Ok(0));
    assert!(judged("[1").is_err());
}
