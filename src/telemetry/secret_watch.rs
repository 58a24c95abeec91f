//! Looks at the verdicts of every authenticator from time to time, and says aloud when a secret
//! seems to have changed. Belongs to the keeper: workers only count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::secret_change::{BUCKET, Detector, Tally, Turn, question};
use crate::telemetry::tables::AuthenticatorMetrics;

/// A secret that seems to have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretChange {
    /// The authenticator whose credentials fail.
    pub authenticator: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

impl SecretChange {
    /// What an operator is asked, and what to do.
    #[must_use]
    pub fn question(&self) -> String {
        question(&self.authenticator, self.since)
    }
}

/// Watches all authenticators of the configuration in force.
#[derive(Debug)]
pub struct SecretWatch {
    /// When the bucket began that is being filled.
    begun: Instant,
    watched: Vec<Watched>,
}

/// One authenticator, with the counts of the last look.
#[derive(Debug)]
struct Watched {
    metrics: Arc<AuthenticatorMetrics>,
    detector: Detector,
    good: u64,
    bad: u64,
}

impl SecretWatch {
    /// Begins to watch.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            begun: now,
            watched: Vec::new(),
        }
    }

    /// Looks at the counts if it is time to. Cheap, and may be called as often as one likes.
    pub fn look(&mut self, metrics: &Metrics, elapsed: Instant, now: Timestamp) {
        let length = buckets_in(elapsed.saturating_duration_since(self.begun));
        if length == 0 {
            return;
        }
        self.begun = elapsed;
        self.follow(&metrics.authenticators());
        for watched in &mut self.watched {
            watched.look(length, now);
        }
    }

    /// Authenticators that a reload kept go on, those it brought begin.
    fn follow(&mut self, now: &[Arc<AuthenticatorMetrics>]) {
        let mut old = std::mem::take(&mut self.watched);
        let watched = now.iter().map(|metrics| {
            let known = old
                .iter()
                .position(|known| Arc::ptr_eq(&known.metrics, metrics));
            known.map_or_else(|| Watched::new(metrics), |place| old.swap_remove(place))
        });
        self.watched = watched.collect();
    }
}

impl Watched {
    fn new(metrics: &Arc<AuthenticatorMetrics>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            detector: Detector::default(),
            good: 0,
            bad: 0,
        }
    }

    fn look(&mut self, length: usize, now: Timestamp) {
        let (good, bad) = (self.metrics.valid(), self.metrics.signature_failures());
        let tally = Tally {
            good: good.saturating_sub(self.good),
            bad: bad.saturating_sub(self.bad),
            marks: self.metrics.take_marks(),
        };
        (self.good, self.bad) = (good, bad);
        let authenticator = &*self.metrics.label;
        match self.detector.close(tally, length, now) {
            None => {}
            Some(Turn::Raised {
                since,
                recent,
                before,
            }) => {
                self.metrics.suspect(Some(since));
                tracing::error!(
                    authenticator,
                    %since,
                    failed = recent.bad,
                    held = recent.good,
                    held_before = before.good,
                    "{}",
                    question(authenticator, since)
                );
            }
            Some(Turn::Cleared) => {
                self.metrics.suspect(None);
                tracing::info!(
                    authenticator,
                    "credentials of [auth.{authenticator}] are good again, or no more come"
                );
            }
        }
    }
}

/// How many whole buckets fit.
fn buckets_in(time: Duration) -> usize {
    usize::try_from(time.as_secs() / BUCKET.as_secs().max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::policy::denial::Code;
    use crate::policy::route::AuthenticatorId;
    use crate::telemetry::secret_change::mark;
    use crate::telemetry::testing::{NOW, bind};
    use crate::telemetry::{Bound, Log};

    struct Site {
        metrics: Metrics,
        bound: Bound,
        watch: SecretWatch,
        begun: Instant,
        elapsed: Duration,
    }

    impl Site {
        fn new() -> Self {
            let metrics = Metrics::new(Log::none(), NOW);
            let bound = bind(&metrics, &[], &["other", "token"]);
            let begun = clock::monotonic();
            Self {
                metrics,
                bound,
                watch: SecretWatch::new(begun),
                begun,
                elapsed: Duration::ZERO,
            }
        }

        fn seconds(&mut self, seconds: u64, outcome: Result<(), Code>) {
            for second in 0..seconds {
                let token = self.bound.authenticator(AuthenticatorId(1)).unwrap();
                token.verdict(outcome, false);
                if outcome.is_err() {
                    token.mark(mark(&second.to_le_bytes()));
                }
                self.elapsed += Duration::from_secs(1);
                let now = NOW.saturating_add(self.elapsed);
                self.watch
                    .look(&self.metrics, self.begun + self.elapsed, now);
            }
        }

        fn suspected(&self) -> Vec<SecretChange> {
            self.metrics.secret_changes()
        }

        fn shows(&self, line: &str) -> bool {
            self.metrics.render().unwrap().contains(line)
        }
    }

    #[test]
    fn a_changed_secret_is_shown_of_its_authenticator_alone_until_it_is_known_here() {
        for code in [
            Code::TokenSignature,
            Code::TokenKeyUnknown,
            Code::SessionSignature,
            Code::SessionUserChanged,
        ] {
            let mut site = Site::new();
            site.seconds(60, Ok(()));
            assert_eq!(site.suspected(), []);
            site.seconds(40, Err(code));
            let since = Timestamp::from_unix_seconds(NOW.unix_seconds() + 60);
            let authenticator = "token".into();
            assert_eq!(
                site.suspected(),
                [SecretChange {
                    authenticator,
                    since
                }]
            );
            for (name, value) in [("token", 1), ("other", 0)] {
                let metric = "portcullis_auth_secret_change_suspected";
                assert!(site.shows(&format!("{metric}{{authenticator=\"{name}\"}} {value}\n")));
            }
            site.seconds(40, Ok(()));
            assert_eq!(site.suspected(), []);
        }
    }

    #[test]
    fn credentials_that_merely_end_are_no_alarm() {
        let mut site = Site::new();
        site.seconds(60, Ok(()));
        site.seconds(120, Err(Code::TokenExpired));
        assert_eq!(site.suspected(), []);
    }

    #[test]
    fn a_reload_does_not_forget_what_was_before() {
        let mut site = Site::new();
        site.seconds(60, Ok(()));
        site.bound = bind(&site.metrics, &[], &["fresh", "token"]);
        site.seconds(40, Err(Code::TokenSignature));
        assert_eq!(site.suspected().len(), 1);
        site.bound = bind(&site.metrics, &[], &["fresh", "another"]);
        site.seconds(10, Ok(()));
        assert_eq!(site.suspected(), []);
    }
}
