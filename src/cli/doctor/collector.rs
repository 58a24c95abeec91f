//! Whether the collector of traces takes what it is sent. PURE.

use super::finding::Finding;

/// The verdict, by what became of a message without spans.
pub(super) fn answers(about: &str, outcome: Result<(), String>) -> Finding {
    const CHECK: &str = "collector.answers";
    let Err(words) = outcome else {
        return Finding::ok(CHECK, about, "took a message without spans");
    };
    let advice = if words.contains("answered 4") || words.contains("not OTLP") {
        "let `otlp` of [tracing] be where the collector takes OTLP over HTTP as Protobuf, by default \
         port 4318; 4317 is gRPC's"
    } else {
        "start the collector, or correct `otlp` of [tracing]; until then traces are lost, and no \
         request waits for it"
    };
    Finding::warning(CHECK, about, &words, advice)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_collector_that_takes_nothing_is_a_warning_for_no_request_fails_by_it() {
        assert_eq!(answers("x", Ok(())).verdict, Verdict::Ok);
        for (words, cure) in [
            ("the collector answered 404 Not Found", "port 4318"),
            ("cannot connect: Connection refused", "start the collector"),
        ] {
            let found = answers("x", Err(words.to_owned()));
            assert_eq!(found.verdict, Verdict::Warning);
            assert!(found.advice.unwrap().contains(cure), "{words}");
        }
    }
}
