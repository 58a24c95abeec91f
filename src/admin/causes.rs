//! The refusals of the last minutes, by code: how many, when last, and one of them explained.
//!
//! The counts are the metrics' own and exact; examples are found among those that are remembered, so
//! that a flood of one code may leave another without one.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::policy::denial::Code;
use crate::telemetry::{History, Refusal};

/// Minutes that are looked back.
pub(super) const MINUTES: usize = 15;

/// Refusals with one code.
#[derive(Debug, Serialize)]
pub(super) struct Cause {
    pub(super) code: &'static str,
    pub(super) status: u16,
    /// What the code says.
    pub(super) title: &'static str,
    /// Requests that were refused.
    pub(super) refused: u64,
    /// Requests that a route with `observe` let pass.
    pub(super) observed: u64,
    /// When the last one came, as far as is remembered.
    pub(super) last_seen: Option<String>,
    /// The last one.
    #[serde(serialize_with = "plain")]
    pub(super) example: Option<Arc<Refusal>>,
    /// What `portcullis why` says of it.
    pub(super) explanation: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn plain<S: serde::Serializer>(example: &Option<Arc<Refusal>>, to: S) -> Result<S::Ok, S::Error> {
    example.as_deref().serialize(to)
}

/// The codes of the last minutes, the most frequent first. `latest` is what is remembered, the newest
/// first.
pub(super) fn find(history: &History, latest: &[Arc<Refusal>], now: Timestamp) -> Vec<Cause> {
    let counted = history.last_minutes(MINUTES);
    let since = now.saturating_sub(std::time::Duration::from_secs(60 * MINUTES as u64));
    let recent = || latest.iter().filter(|known| known.at >= since);
    let mut causes: Vec<_> = (Code::ALL.iter())
        .filter_map(|code| {
            let mut same = recent().filter(|known| &*known.code == code.as_str());
            let example = same.next();
            // What came since the counters were read last is not among the counts yet.
            let known = example.into_iter().chain(same);
            let (passed, refused): (Vec<_>, Vec<_>) = known.partition(|known| known.observed);
            let refused = counted.refused_with(*code).max(refused.len() as u64);
            let observed = counted.observed_with(*code).max(passed.len() as u64);
            (refused + observed > 0).then(|| Cause {
                code: code.as_str(),
                status: code.status().as_u16(),
                title: code.title(),
                refused,
                observed,
                last_seen: example.map(|known| known.at.to_string()),
                example: example.map(Arc::clone),
                explanation: example.map(ToString::to_string),
            })
        })
        .collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.refused + cause.observed));
    causes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    /// A refusal as it is remembered.
    pub(in crate::admin) fn refusal(
        id: &str,
        code: &str,
        seconds_ago: i64,
        path: &str,
    ) -> Arc<Refusal> {
        let at = Timestamp::from_unix_seconds(NOW.unix_seconds() - seconds_ago);
        let json = serde_json::json!({
            "request_id": id, "time": at.to_string(), "client": "192.0.2.7", "method": "GET",
            "host": "app.example.com", "path": path, "route": "/api/{*rest}", "status": 403,
            "code": code, "detail": "no role", "note": "wanted: staff", "user": "tara",
            "observed": false,
            "steps": [{ "name": "roles", "verdict": "refused", "words": "wanted one of: staff" }],
        });
        Arc::new(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn refusals_are_grouped_by_code_with_the_last_one_explained() {
        let latest = [
            refusal("c", "role_missing", 5, "/c"),
            refusal("b", "no_route", 10, "/b"),
            refusal("a", "role_missing", 20, "/a"),
        ];
        let causes = find(&History::default(), &latest, NOW);
        let seen: Vec<_> = causes
            .iter()
            .map(|cause| (cause.code, cause.refused))
            .collect();
        assert_eq!(seen, [("role_missing", 2), ("no_route", 1)]);
        let first = causes.first().unwrap();
        assert_eq!(&*first.example.as_ref().unwrap().request_id, "c");
        assert!(
            first
                .explanation
                .as_ref()
                .unwrap()
                .contains("no  roles  wanted one of: staff")
        );
        assert_eq!(first.last_seen.as_deref(), Some("2026-01-02T03:04:00Z"));
        assert_eq!((first.status, first.title), (403, "A role is missing"));
    }

    #[test]
    fn what_was_long_ago_is_no_cause_of_now() {
        let latest = [refusal("a", "role_missing", 60 * 15 + 1, "/a")];
        assert!(find(&History::default(), &latest, NOW).is_empty());
    }
}
