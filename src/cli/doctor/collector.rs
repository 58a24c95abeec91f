//! Whether the collector of traces takes what it is sent. PURE.

use super::finding::Finding;
use crate::telemetry::spans::Untaken;

/// The verdict, by what became of a message without spans.
pub(super) fn answers(about: &str, outcome: Result<(), Untaken>) -> Finding {
    const CHECK: &str = "collector.answers";
    let Err(untaken) = outcome else {
        return Finding::ok(CHECK, about, "took a message without spans");
    };
    let advice = if untaken.may_pass() {
        "start the collector, or correct `otlp` of [tracing]; until then traces are lost, and no \
         request waits for it"
    } else {
        "let `otlp` of [tracing] be where the collector takes OTLP over HTTP as Protobuf, by default \
         port 4318; 4317 is gRPC's"
    };
    Finding::warning(CHECK, about, &untaken.why, advice)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Response, StatusCode};

    use super::super::finding::Verdict;
    use super::*;
    use crate::telemetry::spans::taken;

    #[test]
    fn a_collector_that_takes_nothing_is_a_warning_for_no_request_fails_by_it() {
        assert_eq!(answers("x", Ok(())).verdict, Verdict::Ok);
        let answered = |status: u16| {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            taken(&answer).unwrap_err()
        };
        let away = Untaken::for_now("cannot connect: Connection refused".to_owned());
        for (untaken, cure) in [
            (answered(404), "port 4318"),
            (answered(429), "start the collector"),
            (answered(503), "start the collector"),
            (away, "start the collector"),
        ] {
            let found = answers("x", Err(untaken));
            assert_eq!(found.verdict, Verdict::Warning);
            let told = (found.evidence, found.advice.unwrap());
            assert!(told.1.contains(cure), "{told:?}");
        }
    }
}
