//! Requests and latency: what is now, and the last minute and hour as charts.

use super::Facts;
use super::chart::{Chart, Series, Shape};
use super::html::{Html, grouped};
use crate::admin::traffic::{Latency, Now};
use crate::telemetry::Tally;

/// Numbers of now.
pub(super) fn now(facts: &Facts<'_>, page: &mut Html) {
    let now = Now::of(facts.history, facts.open);
    page.markup("<dl class=\"tiles\">");
    let tone = |rate: f64, tone| if rate > 0.0 { tone } else { "" };
    for (name, value, tone) in [
        ("Requests a second", rate(now.requests_per_s), ""),
        (
            "Refused a second",
            rate(now.refused_per_s),
            tone(now.refused_per_s, "warning"),
        ),
        (
            "5xx a second",
            rate(now.server_errors_per_s),
            tone(now.server_errors_per_s, "bad"),
        ),
        ("Gateway: half within", time(now.gateway_ms.p50), ""),
        ("Gateway: 99 % within", time(now.gateway_ms.p99), ""),
        ("Under way", grouped(now.open.requests), ""),
        ("WebSockets", grouped(now.open.websockets), ""),
        ("Connections", grouped(now.open.connections), ""),
        ("App: half within", time(now.app_ms.p50), ""),
        ("App: 99 % within", time(now.app_ms.p99), ""),
    ] {
        tile(page, name, &value, tone);
    }
    page.markup(
        "</dl><p class=\"note\">Rates over the last 10 seconds, times over the last 60.</p>",
    );
}

fn tile(page: &mut Html, name: &'static str, value: &str, tone: &'static str) {
    page.markup("<div class=\"tile ")
        .text(tone)
        .markup("\"><dt>")
        .text(name)
        .markup("</dt><dd>")
        .text(value)
        .markup("</dd></div>");
}

/// The last minute and the last hour.
pub(super) fn charts(facts: &Facts<'_>, page: &mut Html) {
    let seconds: Vec<_> = facts.history.seconds().collect();
    let minutes: Vec<_> = facts.history.minutes().collect();
    page.markup("<div class=\"charts\">");
    requests("Requests each second", "60 s ago", "minute", &seconds).draw(page);
    requests("Requests each minute", "60 min ago", "hour", &minutes).draw(page);
    times("Time in the gateway", &minutes, |tally| {
        Latency::of(&tally.gateway)
    })
    .draw(page);
    times("Time in the app", &minutes, |tally| Latency::of(&tally.app)).draw(page);
    page.markup("</div>");
}

fn requests(title: &'static str, from: &'static str, span: &str, tallies: &[&Tally]) -> Chart {
    let series = |name, class, of: fn(&Tally) -> u64| Series {
        name,
        class,
        values: tallies.iter().map(|tally| Some(float(of(tally)))).collect(),
    };
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).sum::<u64>();
    let most = tallies
        .iter()
        .map(|tally| tally.requests)
        .max()
        .unwrap_or_default();
    Chart {
        title,
        shape: Shape::Bars,
        sentence: format!(
            "{title} over the last {span}: {} in all, at most {most} in one, {} answered with 4xx, {} with 5xx, {} refused",
            sum(|tally| tally.requests),
            sum(|tally| tally.client_errors),
            sum(|tally| tally.server_errors),
            sum(|tally| tally.refused),
        ),
        // The worst at the ground, where it is compared best.
        series: vec![
            series("5xx", "bad", |tally| tally.server_errors),
            series("4xx", "warning", |tally| tally.client_errors),
            series("2xx, 3xx", "plain", |tally| {
                tally
                    .requests
                    .saturating_sub(tally.server_errors + tally.client_errors)
            }),
        ],
        from,
        unit: |value| format!("{value}"),
    }
}

fn times(title: &'static str, tallies: &[&Tally], of: fn(&Tally) -> Latency) -> Chart {
    let latencies: Vec<_> = tallies.iter().map(|tally| of(tally)).collect();
    let highest = |which: fn(&Latency) -> Option<f64>| {
        let highest = latencies.iter().filter_map(which).reduce(f64::max);
        highest.map_or_else(|| "none".to_owned(), millis)
    };
    Chart {
        title,
        shape: Shape::Lines,
        sentence: format!(
            "{title} by minute over the last hour: half of the requests took at most {}, 99 of a hundred at most {}",
            highest(|latency| latency.p50),
            highest(|latency| latency.p99),
        ),
        series: vec![
            Series {
                name: "99 %",
                class: "high",
                values: latencies.iter().map(|latency| latency.p99).collect(),
            },
            Series {
                name: "half",
                class: "plain",
                values: latencies.iter().map(|latency| latency.p50).collect(),
            },
        ],
        from: "60 min ago",
        unit: millis,
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn float(count: u64) -> f64 {
    count as f64
}

fn rate(rate: f64) -> String {
    if rate >= 100.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.1}")
    }
}

fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), millis)
}

/// Milliseconds in the unit that fits.
fn millis(ms: f64) -> String {
    match ms {
        ..0.9995 => format!("{:.0} µs", ms * 1e3),
        ..9.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_unit_that_fits() {
        for (ms, text) in [
            (0.05, "50 µs"),
            (1.0, "1.0 ms"),
            (42.4, "42 ms"),
            (1_000.0, "1.0 s"),
            (60_000.0, "60.0 s"),
        ] {
            assert_eq!(millis(ms), text);
        }
        assert_eq!(time(None), "–");
    }
}
