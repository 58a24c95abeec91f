//! Who decides what is sampled, and the queue of what is to be exported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use tokio::sync::mpsc;

use super::context::TraceContext;
use super::export::{Exporter, PACE, Pace};
use super::finished::Finished;
use super::recording::Recording;
use crate::config::settings::Tracing;
use crate::telemetry::cells::Counter;

/// Requests that may wait to be exported; what comes beyond is lost.
pub(super) const QUEUE: usize = 4096;

/// What became of spans, over all configurations.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub(in crate::telemetry) exported: Counter,
    /// Lost because the queue was full.
    pub(in crate::telemetry) dropped: Counter,
    /// Lost because the collector did not take them.
    pub(in crate::telemetry) failed: Counter,
    /// Whether any were ever wanted.
    pub(in crate::telemetry) wanted: AtomicBool,
}

/// One `[tracing]`, running.
#[derive(Debug)]
pub struct Tracer {
    settings: Tracing,
    /// A trace is sampled where half of its id's lower half is below this.
    below: u64,
    queue: mpsc::Sender<Finished>,
    counts: Arc<SpanCounts>,
    exporter: Mutex<Option<Exporter>>,
}

impl Tracer {
    /// Ready to sample. Nothing leaves before the [`Exporter`] is run.
    #[must_use]
    pub fn new(settings: Tracing, counts: Arc<SpanCounts>) -> Self {
        Self::at(PACE, settings, counts)
    }

    pub(super) fn at(pace: Pace, settings: Tracing, counts: Arc<SpanCounts>) -> Self {
        counts.wanted.store(true, Ordering::Relaxed);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(settings.otlp.clone(), waiting, Arc::clone(&counts), pace);
        Self {
            below: threshold(settings.sample),
            settings,
            queue,
            counts,
            exporter: Mutex::new(Some(exporter)),
        }
    }

    /// What it was made from.
    #[must_use]
    pub const fn settings(&self) -> &Tracing {
        &self.settings
    }

    /// What exports; given once, to whoever runs it.
    pub fn exporter(&self) -> Option<Exporter> {
        let mut exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        exporter.take()
    }

    /// Begins a trace, recorded or not by the ratio.
    #[must_use]
    pub fn begin(&self) -> (TraceContext, Option<Box<Recording>>) {
        let context = TraceContext::begin();
        if !is_below(context.trace, self.below) {
            return (context, None);
        }
        let context = context.sampled();
        (context, Some(Box::new(Recording::root(context))))
    }

    /// Goes on with the sender's trace: recorded where the sender says that it is.
    #[must_use]
    pub fn follow(
        &self,
        context: TraceContext,
        state: Option<&HeaderValue>,
    ) -> Option<Box<Recording>> {
        let record = || Box::new(Recording::child(context, state));
        context.is_sampled().then(record)
    }

    /// Takes what is to be exported. Never waits.
    pub fn export(&self, finished: Finished) {
        if let Err(full) = self.queue.try_send(finished) {
            self.counts.dropped.add(full.into_inner().spans());
        }
    }
}

/// Of 2⁶³ numbers, how many are below a ratio.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ratio is 0 to 1, so that the product is 0 to 2⁶³"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * 9_223_372_036_854_775_808.0) as u64
}

/// The lower half of a trace's id is random, and the same at every gateway: OpenTelemetry's ratio
/// sampler (`TraceIdRatioBased`) decides by it too.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn is_below(trace: u128, below: u64) -> bool {
    (trace as u64) >> 1 < below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(sample: f64) -> Tracer {
        let settings = Tracing {
            otlp: "http://127.0.0.1:4318/v1/traces".parse().unwrap(),
            sample,
        };
        Tracer::new(settings, Arc::default())
    }

    fn recorded(sample: f64) -> usize {
        let tracer = tracer(sample);
        let begun = (0..10_000).map(|_| tracer.begin());
        begun
            .inspect(|(context, recording)| assert_eq!(context.is_sampled(), recording.is_some()))
            .filter(|(_, recording)| recording.is_some())
            .count()
    }

    #[test]
    fn the_ratio_is_held() {
        assert_eq!(recorded(0.0), 0);
        assert_eq!(recorded(1.0), 10_000);
        // Ten standard deviations.
        assert!((700..=1_300).contains(&recorded(0.1)));
    }

    #[test]
    fn the_same_trace_is_judged_alike_everywhere() {
        assert!(is_below(0, threshold(0.1)) && is_below(u128::MAX, threshold(1.0)));
        assert!(!is_below(u128::MAX, threshold(0.999)) && !is_below(0, threshold(0.0)));
        assert!(!is_below(u64::MAX.into(), threshold(0.5)));
        assert!(is_below((u64::MAX / 4).into(), threshold(0.5)));
    }

    #[test]
    fn the_sender_decides_where_there_is_one() {
        for sample in [0.0, 1.0] {
            let tracer = tracer(sample);
            let sent = TraceContext::begin();
            assert!(tracer.follow(sent, None).is_none());
            let recording = tracer.follow(sent.sampled(), None).unwrap();
            assert_eq!(recording.context().trace, sent.trace);
        }
    }

    #[test]
    fn the_exporter_is_given_once() {
        let tracer = tracer(1.0);
        assert!(tracer.exporter().is_some());
        assert!(tracer.exporter().is_none());
    }
}
