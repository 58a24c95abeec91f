//! Tells a changed secret from an attack: PURE, time is an argument.
//!
//! When a `SECRET_KEY` changes on one side alone, most credentials of an authenticator fail where
//! most held a minute ago. So an alarm wants a step: failures are the majority now and were few
//! before, *and* fewer credentials hold than before. A flood of made-up tokens beside a steady
//! stream of good ones lacks the second, one client that repeats one bad cookie lacks a second
//! credential, and keys that run out slowly lack the step.
//!
//! What cannot be told apart is a site that falls silent in the very minute in which someone tries
//! made-up tokens; the alarm asks, it does not claim.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::denial::Code;

/// Verdicts are added up over so long.
pub(super) const BUCKET: Duration = Duration::from_secs(5);
/// Buckets that are "now": 30 seconds.
const RECENT: usize = 6;
/// Buckets before those, against which "now" is held: two and a half minutes.
const BEFORE: usize = 30;
/// Failures, and good ones before, from which on anything is said.
const ENOUGH: u64 = 5;
/// Different credentials that must fail, about.
const SEVERAL: u32 = 2;
/// Failures are few when there are so many good ones for each.
const FEW: u64 = 4;

/// Whether a refusal is what a changed secret looks like.
///
/// `session_user_changed` is one: Django's session hash is an HMAC by `SECRET_KEY` over the user's
/// password (`AbstractBaseUser._get_session_auth_hash`), and where sessions lie unsigned in a cache
/// nothing else of them depends on the secret. So is `token_key_unknown`: that is how an issuer's
/// changed key looks when keys have names.
#[must_use]
pub const fn is_signature_failure(code: Code) -> bool {
    matches!(
        code,
        Code::TokenSignature
            | Code::TokenKeyUnknown
            | Code::SessionSignature
            | Code::SessionUserChanged
    )
}

/// One bit of 64, chosen by the end of a credential (FNV-1a, folded), where signatures stand. Many
/// credentials set many bits, one that is repeated sets one; nothing about it can be told from its bit.
#[must_use]
pub fn mark(credential: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let end = credential.len().saturating_sub(64);
    let hash = credential
        .iter()
        .skip(end)
        .fold(0xcbf2_9ce4_8422_2325, step);
    1 << ((hash ^ (hash >> 32)) >> 3 & 63)
}

/// Verdicts of one authenticator over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Credentials that held.
    pub(super) good: u64,
    /// Credentials whose signature failed.
    pub(super) bad: u64,
    /// The bits of those that failed.
    pub(super) marks: u64,
}

impl Tally {
    const fn and(self, other: Self) -> Self {
        Self {
            good: self.good + other.good,
            bad: self.bad + other.bad,
            marks: self.marks | other.marks,
        }
    }

    const fn has_few_failures(self) -> bool {
        self.bad * FEW <= self.good
    }
}

/// What a bucket has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A secret seems to have changed.
    Raised {
        /// When, to a bucket.
        since: Timestamp,
        /// What came in the last half minute.
        recent: Tally,
        /// What came in the minutes before.
        before: Tally,
    },
    /// Failures are few again.
    Cleared,
}

/// Watches one authenticator.
#[derive(Debug)]
pub(super) struct Detector {
    /// The last buckets, the newest first.
    buckets: [Tally; RECENT + BEFORE],
    /// How many of them have been.
    filled: usize,
    raised: bool,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            buckets: [Tally::default(); RECENT + BEFORE],
            filled: 0,
            raised: false,
        }
    }
}

impl Detector {
    /// Takes the tally of a bucket that ended `now`. `length` is how long it was, in buckets: more
    /// than 1 where the last look was longer ago.
    pub(super) fn close(&mut self, tally: Tally, length: usize, now: Timestamp) -> Option<Turn> {
        for place in 0..length.clamp(1, self.buckets.len()) {
            self.buckets.rotate_right(1);
            if let Some(newest) = self.buckets.first_mut() {
                *newest = if place == 0 { tally } else { Tally::default() };
            }
            self.filled = (self.filled + 1).min(self.buckets.len());
        }
        let turn = if self.raised {
            self.is_over().then_some(Turn::Cleared)
        } else {
            self.step(now)
        };
        self.raised ^= turn.is_some();
        turn
    }

    fn sum(&self, from: usize, buckets: usize) -> Tally {
        let some = self.buckets.iter().skip(from).take(buckets);
        some.fold(Tally::default(), |sum, one| sum.and(*one))
    }

    fn step(&self, now: Timestamp) -> Option<Turn> {
        let (recent, before) = (self.sum(0, RECENT), self.sum(RECENT, BEFORE));
        let most_fail = recent.bad >= ENOUGH
            && recent.bad > recent.good
            && recent.marks.count_ones() >= SEVERAL;
        let most_held = before.good >= ENOUGH && before.has_few_failures();
        // Less than half as many hold, each time taken for as long as it was.
        let then = self.filled.saturating_sub(RECENT);
        let dropped = recent.good * 2 * count(then) < before.good * count(RECENT);
        (most_fail && most_held && dropped).then(|| Turn::Raised {
            since: now.saturating_sub(BUCKET.saturating_mul(self.age_of_step())),
            recent,
            before,
        })
    }

    /// How many buckets ago failures became the majority.
    fn age_of_step(&self) -> u32 {
        let recent = self.buckets.iter().take(RECENT);
        let failing = recent.zip(1..).filter(|(one, _)| one.bad > one.good);
        failing.map(|(_, age)| age).max().unwrap_or(0)
    }

    /// Failures are few beside good ones, or there was none for as long as is remembered: a site
    /// that has fallen silent after a change of its secret is not in order yet.
    fn is_over(&self) -> bool {
        let (recent, all) = (self.sum(0, RECENT), self.sum(0, RECENT + BEFORE));
        all.bad == 0 || (recent.good > 0 && recent.has_few_failures())
    }
}

const fn count(buckets: usize) -> u64 {
    buckets as u64
}

/// What an operator is asked, and what to do.
#[must_use]
pub fn question(authenticator: &str, since: Timestamp) -> String {
    let time = since.to_string();
    let time = time.get(11..19).unwrap_or(&time);
    format!(
        "[auth.{authenticator}]: most credentials that were good minutes ago fail their signature now: \
         was SECRET_KEY changed at {time} UTC, at the app or here alone? Until the old credentials have \
         ended both keys must be known here: add the old key to `secret` as a list, the new one first \
         (`secret = [NEW, OLD]`); with public keys look at `public_key` or `jwks`"
    )
}

#[cfg(test)]
#[path = "secret_change_tests.rs"]
mod tests;
