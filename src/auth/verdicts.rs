//! What was verified, and until when: no token is verified twice while its verdict holds.
//!
//! The key is the authenticator's epoch and the SHA-256 of the whole credential, so that no two
//! credentials share an entry. An epoch has numbers that are never used twice in a process: when
//! an authenticator's settings or keys change it takes new ones, and what was verified before is
//! not found any more. Only positive verdicts are kept; a flood of bad tokens leaves no trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{self, SHA256};

use crate::auth::bounded::Bounded;
use crate::clock::Timestamp;
use crate::policy::identity::Caller;

/// Bytes that all verdicts may hold, about: those of some thousand users are found again.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Verdicts at most.
const MAX_ENTRIES: usize = 16_384;

/// One state of one authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Epoch {
    /// Of its settings.
    pub(crate) settings: u64,
    /// Of its keys; 0 where those are part of the settings.
    pub(crate) keys: u64,
}

/// A number that this process has not given out before; never 0.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Names one credential at one authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VerdictKey {
    epoch: Epoch,
    digest: [u8; 32],
}

impl VerdictKey {
    /// The key of a credential.
    pub(crate) fn of(epoch: Epoch, credential: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&SHA256, credential).as_ref());
        Self { epoch, digest }
    }

    /// The key of a credential whose SHA-256 is known.
    pub(crate) const fn of_digest(epoch: Epoch, digest: [u8; 32]) -> Self {
        Self { epoch, digest }
    }

    /// The key of a credential of several parts: another division of the same bytes is another
    /// key, and so is every credential in one, none of which begins with a NUL.
    pub(crate) fn of_parts(epoch: Epoch, parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&SHA256);
        context.update(&[0]);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self { epoch, digest }
    }
}

#[derive(Clone, Debug)]
struct Verdict {
    caller: Arc<Caller>,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

/// The verdicts of all authenticators, bounded by count and bytes.
#[derive(Debug)]
pub(crate) struct Verdicts(Bounded<VerdictKey, Verdict>);

impl Default for Verdicts {
    fn default() -> Self {
        Self(Bounded::new(MAX_ENTRIES, MAX_BYTES))
    }
}

impl Verdicts {
    /// Whoever a credential was verified to be, if that still holds. Allocates nothing.
    pub(crate) fn recall(&self, key: &VerdictKey, now: Timestamp) -> Option<Arc<Caller>> {
        let verdict = self.0.get(key)?;
        // Both ends, so that a clock that is set back is followed at once.
        if verdict.valid_until <= now || verdict.valid_from > now {
            self.0.remove(key);
            return None;
        }
        Some(verdict.caller)
    }

    /// Keeps a verdict; `bytes` is about what the caller holds.
    pub(crate) fn keep(
        &self,
        key: VerdictKey,
        caller: Arc<Caller>,
        valid_from: Timestamp,
        valid_until: Timestamp,
        bytes: usize,
    ) {
        let verdict = Verdict {
            caller,
            valid_from,
            valid_until,
        };
        self.0.insert(key, verdict, bytes);
    }

    /// Forgets a verdict.
    pub(crate) fn forget(&self, key: &VerdictKey) {
        self.0.remove(key);
    }

    /// How many verdicts are kept now.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a token of 800 bytes with its caller is taken for.
    const WEIGHT: usize = 4_000;

    #[test]
    fn two_thousand_users_that_come_in_turn_are_all_found_again() {
        let verdicts = Bounded::new(MAX_ENTRIES, MAX_BYTES);
        for number in 0_u32..2_000 {
            verdicts.insert(number, (), WEIGHT);
        }
        for round in 0..5 {
            for number in 0..2_000 {
                assert!(verdicts.get(&number).is_some(), "{number} in round {round}");
            }
        }
    }
}
