//! Requests and latency, now and over the last hour, as numbers.

use std::time::Duration;

use serde::Serialize;

use crate::telemetry::{Durations, History, OpenNow, Tally};

/// Seconds that "now" is made of: one alone would jump.
pub(super) const NOW_S: usize = 10;

/// `/api/traffic`.
#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    pub(super) now: Now,
    /// The last 60 seconds, the oldest first.
    seconds: Vec<Span>,
    /// The last 60 minutes, the oldest first; the last one is not over.
    minutes: Vec<Span>,
}

/// How it is now.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Now {
    /// A second, over the last ten.
    pub(super) requests_per_s: f64,
    /// A second, over the last ten.
    pub(super) refused_per_s: f64,
    /// A second, over the last ten.
    pub(super) server_errors_per_s: f64,
    pub(super) open: OpenNow,
    /// Over the last 60 seconds.
    pub(super) gateway_ms: Latency,
    /// Over the last 60 seconds.
    pub(super) app_ms: Latency,
}

/// What was counted in a second or a minute.
#[derive(Debug, Serialize)]
struct Span {
    requests: u64,
    client_errors: u64,
    server_errors: u64,
    refused: u64,
    gateway_ms: Latency,
    app_ms: Latency,
}

/// Milliseconds that half and that 99 of a hundred requests did not take longer than; `null` where
/// there were none. Estimated within the buckets of the metrics, and never above the last of them:
/// 1 s in the gateway, 60 s in the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

impl Latency {
    pub(super) fn of<const N: usize>(durations: &Durations<N>) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            p50: durations.quantile(50).map(ms),
            p99: durations.quantile(99).map(ms),
        }
    }
}

impl Now {
    pub(super) fn of(history: &History, open: OpenNow) -> Self {
        let (short, long) = (history.last_seconds(NOW_S), history.last_seconds(60));
        Self {
            requests_per_s: per_second(short.requests),
            refused_per_s: per_second(short.refused),
            server_errors_per_s: per_second(short.server_errors),
            open,
            gateway_ms: Latency::of(&long.gateway),
            app_ms: Latency::of(&long.app),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn per_second(count: u64) -> f64 {
    count as f64 / NOW_S as f64
}

impl Traffic {
    pub(super) fn of(history: &History, open: OpenNow) -> Self {
        Self {
            now: Now::of(history, open),
            seconds: history.seconds().map(Span::of).collect(),
            minutes: history.minutes().map(Span::of).collect(),
        }
    }
}

impl Span {
    fn of(tally: &Tally) -> Self {
        Self {
            requests: tally.requests,
            client_errors: tally.client_errors,
            server_errors: tally.server_errors,
            refused: tally.refused,
            gateway_ms: Latency::of(&tally.gateway),
            app_ms: Latency::of(&tally.app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_ten_seconds() {
        let mut history = History::default();
        let total = |requests| {
            let mut total = Tally::default();
            total.requests = requests;
            total
        };
        history.take(total(5), 1);
        history.take(total(10), 2);
        let now = Now::of(&history, OpenNow::default());
        assert!((now.requests_per_s - 1.0).abs() < 1e-9);
        assert_eq!(now.gateway_ms, Latency::default());
        history.take(total(10), 40);
        let now = Now::of(&history, OpenNow::default());
        assert!(now.requests_per_s.abs() < 1e-9);
        let traffic = Traffic::of(&history, OpenNow::default());
        assert_eq!((traffic.seconds.len(), traffic.minutes.len()), (60, 60));
    }
}
