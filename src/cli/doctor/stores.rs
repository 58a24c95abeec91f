//! Whether databases and caches answer, and whether what they hold fits the secrets. PURE.

use http::StatusCode;

use super::finding::Finding;
use crate::auth::ports::StoreError;
use crate::policy::denial::Code;
use crate::store::look::Sight;

/// What became of the sessions that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    /// Signed with a key that is configured.
    pub(super) held: usize,
    /// Signed with another.
    pub(super) others: usize,
    /// Not to be read.
    pub(super) unread: usize,
}

impl Samples {
    /// Counts outcomes.
    pub(super) fn of(outcomes: impl Iterator<Item = Result<(), Code>>) -> Self {
        let mut samples = Self::default();
        for outcome in outcomes {
            match outcome {
                Ok(()) => samples.held += 1,
                Err(Code::SessionSignature) => samples.others += 1,
                Err(_) => samples.unread += 1,
            }
        }
        samples
    }
}

/// The verdict on a store, by what became of a question that every authenticator would put.
pub(super) fn answers(about: &str, outcome: &Result<Sight, StoreError>) -> Finding {
    const CHECK: &str = "store.answers";
    let error = match outcome {
        Ok(sight) => {
            let words = format!("answers in {} ms, and may be read", sight.took.as_millis());
            return Finding::ok(CHECK, about, &words);
        }
        Err(error) => error,
    };
    let evidence = chain(error);
    match error {
        StoreError::Unreachable { .. } | StoreError::TimedOut { .. } | StoreError::Busy { .. } => {
            Finding::problem(
                CHECK,
                about,
                &evidence,
                "start it, or correct the address; see whether a firewall stands between",
            )
        }
        StoreError::Refused { what, .. } => {
            // What is to be done stands behind what was found, where both are told.
            let advice = what.split_once("; ").map_or(&**what, |(_, cure)| cure);
            Finding::problem(CHECK, about, &evidence, advice)
        }
        StoreError::Unreadable { what, .. } => Finding::problem(
            CHECK,
            about,
            &evidence,
            &format!("see whether the table or key is the app's own: {what}"),
        ),
    }
}

fn chain(error: &StoreError) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        told = format!("{told}: {inner}");
        cause = inner.source();
    }
    told
}

/// The verdict on a secret, by sessions that the app has stored.
pub(super) fn secret(about: &str, samples: Samples) -> Finding {
    const CHECK: &str = "secret.sessions";
    let Samples {
        held,
        others,
        unread,
    } = samples;
    let signed = held + others;
    match (held, others) {
        (0, 0) if unread == 0 => Finding::skipped(
            CHECK,
            about,
            "no session is stored yet: sign in to the app, then ask again; or give a cookie by --cookie",
        ),
        (0, 0) => Finding::warning(
            CHECK,
            about,
            &format!("none of the newest {unread} sessions can be read"),
            "see whether the app has a session class or serializer of its own",
        ),
        (0, _) => Finding::problem(
            CHECK,
            about,
            &format!("none of the newest {signed} sessions was signed with this secret"),
            "give `secret` the app's SECRET_KEY as it is now, to the last character (quotes and line \
             ends of an environment file are part of it for some)",
        ),
        (_, 0) => Finding::ok(
            CHECK,
            about,
            &format!("signed the newest {held} sessions that are stored"),
        ),
        (_, _) => Finding::warning(
            CHECK,
            about,
            &format!("signed {held} of the newest {signed} sessions; the others have another key"),
            "if SECRET_KEY was changed, list the old one behind the new one, as in SECRET_KEY_FALLBACKS",
        ),
    }
}

/// The verdict on an endpoint that is asked who is calling, by its answer to a question without a
/// credential.
pub(super) fn endpoint(about: &str, answer: &Result<StatusCode, StoreError>) -> Finding {
    const CHECK: &str = "endpoint.answers";
    let status = match answer {
        Ok(status) => *status,
        Err(error) => {
            let advice = "start the app, or correct `url`";
            return Finding::problem(CHECK, about, &chain(error), advice);
        }
    };
    let words = format!("{} to a question without a credential", status.as_u16());
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Finding::ok(CHECK, about, &words);
    }
    if status.is_success() {
        return Finding::warning(
            CHECK,
            about,
            &words,
            "it should answer 401 to nobody: see that `url` is what tells who is signed in",
        );
    }
    Finding::problem(
        CHECK,
        about,
        &words,
        "401 or 403 belongs there, and 2xx for who is signed in; everything else counts as out of \
         order. Correct `url`: a page that redirects to a login page is none",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::finding::Verdict;
    use super::*;

    fn samples(held: usize, others: usize, unread: usize) -> Verdict {
        let samples = Samples {
            held,
            others,
            unread,
        };
        secret("x", samples).verdict
    }

    #[test]
    fn a_secret_that_signed_nothing_that_is_stored_is_wrong() {
        assert_eq!(samples(5, 0, 0), Verdict::Ok);
        assert_eq!(samples(0, 5, 0), Verdict::Problem);
        assert_eq!(samples(0, 1, 4), Verdict::Problem);
        assert_eq!(samples(2, 3, 0), Verdict::Warning);
        assert_eq!(samples(0, 0, 2), Verdict::Warning);
        assert_eq!(samples(0, 0, 0), Verdict::Skipped);
    }

    #[test]
    fn outcomes_are_counted_by_what_they_say_of_the_key() {
        let outcomes = [
            Ok(()),
            Err(Code::SessionSignature),
            Err(Code::SessionMalformed),
        ];
        let counted = Samples::of(outcomes.into_iter());
        assert_eq!((counted.held, counted.others, counted.unread), (1, 1, 1));
    }

    #[test]
    fn a_missing_right_is_told_with_the_grant_to_run() {
        let store: Arc<str> = "PostgreSQL at db:5432/shop".into();
        let what = "permission denied for table auth_user; the user needs to read and nothing more: \
                    GRANT SELECT ON auth_user TO \"reader\"";
        let refused = StoreError::Refused {
            store: Arc::clone(&store),
            what: what.into(),
        };
        let found = answers("x", &Err(refused));
        assert_eq!(found.verdict, Verdict::Problem);
        let advice = found.advice.unwrap();
        assert!(
            advice.ends_with("GRANT SELECT ON auth_user TO \"reader\""),
            "{advice}"
        );
        assert!(!advice.contains("permission denied"), "{advice}");
        let limit = Duration::from_secs(2);
        let late = answers("x", &Err(StoreError::TimedOut { store, limit }));
        assert_eq!(late.verdict, Verdict::Problem);
    }

    #[test]
    fn an_endpoint_must_refuse_who_shows_nothing() {
        let told = |status: u16| endpoint("x", &Ok(StatusCode::from_u16(status).unwrap())).verdict;
        assert_eq!(told(401), Verdict::Ok);
        assert_eq!(told(200), Verdict::Warning);
        for status in [302, 404, 500] {
            assert_eq!(told(status), Verdict::Problem, "{status}");
        }
    }
}
