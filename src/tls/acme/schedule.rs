//! When to order a certificate, and how long to wait after a failure. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// The first wait after the CA could not be reached: nothing was asked of it that it counts.
const UNREACHED: Duration = Duration::from_secs(5);
/// The first wait after the CA said no. With [`FACTOR`], five tries an hour at most: what Let's
/// Encrypt allows of failed validations of one name.
const REFUSED: Duration = Duration::from_mins(1);
/// Each wait is so many times the one before it.
const FACTOR: u32 = 3;
/// The longest wait of our own choice.
const LONGEST: Duration = Duration::from_hours(6);
/// The longest wait that a CA may ask for.
pub(super) const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// The longest wait for the store that gateways share.
const STORE_LONGEST: Duration = Duration::from_secs(10);

/// How long a certificate is left alone at least, whatever its CA says.
const LEAST_REST: Duration = Duration::from_hours(24);

/// Why an attempt came to nothing, as far as the wait depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no CA to say anything.
    Unreached,
    /// The CA, or this machine, said no.
    Refused,
}

/// When a certificate is renewed: after two thirds of its life, less up to a thirtieth of it, so
/// that gateways that began together do not ask together. `chance` is random, 0 to 1.
pub(super) fn renewal(not_before: Timestamp, not_after: Timestamp, chance: f32) -> Timestamp {
    let life = not_after.saturating_since(not_before);
    let early = (life / 30).mul_f32(chance.clamp(0.0, 1.0));
    let after = (life / 3).saturating_mul(2).saturating_sub(early);
    not_before.saturating_add(after)
}

/// When a CA would have a certificate renewed: at a moment of its window (RFC 9773 §4.2). `chance` is
/// random, 0 to 1.
///
/// Not before a third of the life, or a day, is over: a CA whose window is always past must not be
/// asked for one certificate after the other.
pub(super) fn advised(
    (not_before, not_after): (Timestamp, Timestamp),
    (start, end): (Timestamp, Timestamp),
    chance: f32,
) -> Timestamp {
    let long = end.saturating_since(start);
    let chosen = start.saturating_add(long.mul_f32(chance.clamp(0.0, 1.0)));
    let rest = (not_after.saturating_since(not_before) / 3).min(LEAST_REST);
    chosen.max(not_before.saturating_add(rest))
}

/// The wait after so many failures in a row, the last of them of this kind: longer each time, and a
/// tenth more or less. What the CA `asked` for holds where it is longer, up to a day.
pub(super) fn backoff(
    failures: u32,
    last: Failure,
    asked: Option<Duration>,
    chance: f32,
) -> Duration {
    let first = match last {
        Failure::Unreached => UNREACHED,
        Failure::Refused => REFUSED,
    };
    let factor = FACTOR.saturating_pow(failures.saturating_sub(1));
    let own = first.saturating_mul(factor).min(LONGEST);
    let own = own.mul_f32(chance.clamp(0.0, 1.0).mul_add(0.2, 0.9));
    own.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// The wait after the store that gateways share gave so many times no answer: twice as long each time,
/// up to ten seconds, so that a CA that looks soon after it is back finds its answer.
pub(super) fn store_backoff(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    Duration::from_secs(1)
        .saturating_mul(factor)
        .min(STORE_LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const BEGIN: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let end = BEGIN.saturating_add(DAY * 90);
        assert_eq!(renewal(BEGIN, end, 0.0), BEGIN.saturating_add(DAY * 60));
        assert_eq!(renewal(BEGIN, end, 1.0), BEGIN.saturating_add(DAY * 57));
        // One that ends before it begins is due at once, not never.
        assert_eq!(renewal(end, BEGIN, 0.5), end);
    }

    #[test]
    fn a_ca_has_a_certificate_renewed_early_but_not_at_once_again() {
        let end = BEGIN.saturating_add(DAY * 90);
        let past = (BEGIN.saturating_sub(DAY), BEGIN);
        assert_eq!(advised((BEGIN, end), past, 0.5), BEGIN.saturating_add(DAY));
        let soon = BEGIN.saturating_add(Duration::from_mins(3));
        let at = advised((BEGIN, soon), past, 0.5);
        assert_eq!(at, BEGIN.saturating_add(Duration::from_mins(1)));
        let later = BEGIN.saturating_add(DAY * 9);
        assert_eq!(advised((BEGIN, end), (later, later), 0.5), later);
        // A window that ends before it begins is its begin.
        assert_eq!(advised((BEGIN, end), (later, BEGIN), 1.0), later);
    }

    #[test]
    fn failures_are_tried_again_ever_more_seldom() {
        let waits = |last| {
            let wait = |failures| backoff(failures, last, None, 0.5).as_secs();
            [1, 2, 3, 4, 5, 6, 60].map(wait)
        };
        assert_eq!(
            waits(Failure::Refused),
            [60, 180, 540, 1_620, 4_860, 14_580, 21_600]
        );
        assert_eq!(
            waits(Failure::Unreached),
            [5, 15, 45, 135, 405, 1_215, 21_600]
        );
    }

    #[test]
    fn a_store_that_is_out_is_asked_ever_more_seldom_but_soon() {
        let waits = [1, 2, 3, 4, 5, u32::MAX].map(|failures| store_backoff(failures).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn what_the_ca_asks_for_holds_up_to_a_day() {
        let asked = |asked| backoff(1, Failure::Refused, Some(asked), 0.5);
        assert_eq!(asked(DAY / 2), DAY / 2);
        assert_eq!(asked(Duration::MAX), DAY);
        assert_eq!(asked(Duration::ZERO), Duration::from_mins(1));
    }

    proptest! {
        #[test]
        fn no_wait_is_shorter_than_four_seconds_or_longer_than_a_day(
            failures in any::<u32>(), asked in any::<u64>(), chance in any::<f32>(), refused: bool
        ) {
            let last = if refused { Failure::Refused } else { Failure::Unreached };
            let chance = if chance.is_nan() { 0.0 } else { chance };
            let wait = backoff(failures, last, Some(Duration::from_secs(asked)), chance);
            prop_assert!(wait >= Duration::from_secs(4) && wait <= DAY);
        }

        #[test]
        fn a_renewal_lies_within_the_life(life in 0_u64..1 << 40, chance in 0.0_f32..=1.0) {
            let end = BEGIN.saturating_add(Duration::from_secs(life));
            let at = renewal(BEGIN, end, chance);
            prop_assert!(BEGIN <= at && at <= end);
        }

        #[test]
        fn a_moment_of_a_window_is_in_it(long in 0_u64..1 << 30, chance in 0.0_f32..=1.0) {
            let end = BEGIN.saturating_add(Duration::from_secs(long));
            let past = BEGIN.saturating_sub(DAY * 90);
            let at = advised((past, end), (BEGIN, end), chance);
            // Floats are rounded, by less than a thousandth.
            let slack = Duration::from_secs(long / 1_000 + 1);
            prop_assert!(BEGIN <= at && at <= end.saturating_add(slack));
        }
    }
}
