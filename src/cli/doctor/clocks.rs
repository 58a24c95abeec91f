//! Whether another clock goes as ours does. PURE.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;

use super::finding::Finding;
use crate::clock::Timestamp;

/// Clocks that are so far apart are worth a word.
const WORTH_A_WORD: Duration = Duration::from_secs(5);
/// What is borne where nothing else is configured: `leeway` of a jwt by default.
pub(super) const USUAL_LEEWAY: Duration = Duration::from_secs(30);

/// Another clock's time, and ours around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What it said.
    pub(super) theirs: Timestamp,
    /// How exact that is: `Date` tells whole seconds, and servers may keep one for a while.
    pub(super) exact: Duration,
    /// Our time before it was asked.
    pub(super) before: Timestamp,
    /// Our time when the answer was there.
    pub(super) after: Timestamp,
}

impl Reading {
    /// That of an answer's `Date`, if it has one that can be read.
    pub(super) fn of_answer(
        headers: &HeaderMap,
        before: Timestamp,
        after: Timestamp,
    ) -> Option<Self> {
        let text = headers.get(DATE)?.to_str().ok()?;
        let date = httpdate::parse_http_date(text).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        let seconds = i64::try_from(since.as_secs()).ok()?;
        Some(Self {
            theirs: Timestamp::from_unix_seconds(seconds),
            exact: Duration::from_secs(2),
            before,
            after,
        })
    }

    /// By how much it is apart at least, and whether it is ahead.
    fn apart(&self) -> (Duration, bool) {
        let ahead = self.theirs.saturating_since(self.after);
        let behind = self
            .before
            .saturating_since(self.theirs.saturating_add(self.exact));
        if behind > ahead {
            (behind, false)
        } else {
            (ahead, true)
        }
    }
}

/// The verdict on a clock. Over five seconds is worth a word; over `leeway`, which tokens are given,
/// good ones are refused.
pub(super) fn verdict(
    check: &'static str,
    about: &str,
    reading: &Reading,
    leeway: Duration,
) -> Finding {
    let (apart, ahead) = reading.apart();
    if apart <= WORTH_A_WORD {
        return Finding::ok(check, about, "its clock goes with ours");
    }
    let side = if ahead { "ahead of" } else { "behind" };
    let evidence = format!(
        "its clock is {} s {side} ours: it says {}, here it is {}",
        apart.as_secs(),
        reading.theirs,
        reading.after
    );
    if apart <= leeway {
        return Finding::warning(
            check,
            about,
            &evidence,
            "set both machines' clocks by NTP (`timedatectl` says whether one is)",
        );
    }
    let allowed = leeway.as_secs();
    Finding::problem(
        check,
        about,
        &evidence,
        &format!(
            "set both machines' clocks by NTP; {allowed} s are borne, beyond them good tokens and \
             sessions are refused as expired or not yet valid"
        ),
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::finding::Verdict;
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    fn told(theirs: i64, leeway: u64) -> (Verdict, String) {
        let reading = Reading {
            theirs: Timestamp::from_unix_seconds(NOW.unix_seconds() + theirs),
            exact: Duration::from_secs(2),
            before: NOW,
            after: NOW.saturating_add(Duration::from_millis(20)),
        };
        let found = verdict("clock.app", "x", &reading, Duration::from_secs(leeway));
        (found.verdict, found.evidence)
    }

    #[test]
    fn clocks_that_go_together_are_well_however_little_is_borne() {
        for theirs in [-7, -1, 0, 5] {
            assert_eq!(told(theirs, 0).0, Verdict::Ok, "{theirs}");
        }
    }

    #[test]
    fn clocks_apart_are_worth_a_word_and_beyond_what_is_borne_a_problem() {
        for theirs in [20, -20] {
            assert_eq!(told(theirs, 30).0, Verdict::Warning);
            assert_eq!(told(theirs, 10).0, Verdict::Problem);
        }
        assert!(
            told(90, 30).1.contains("89 s ahead of ours"),
            "{:?}",
            told(90, 30)
        );
        assert!(
            told(-90, 30).1.contains("88 s behind ours"),
            "{:?}",
            told(-90, 30)
        );
    }

    #[test]
    fn a_date_that_is_none_says_nothing() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static(text))]);
            Reading::of_answer(&headers, NOW, NOW)
        };
        assert!(read("soon").is_none());
        let reading = read("Fri, 02 Jan 2026 03:04:05 GMT").unwrap();
        assert_eq!(reading.theirs, NOW);
    }
}
