//! Leases where one process alone keeps the sessions; who gets one is decided by an argument's time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::{Clerk, ready};
use crate::auth::ledger::{Holder, Lease, SessionKey, Told};
use crate::clock;

/// Most leases at a time; those that are over do not count.
const MOST: usize = 65_536;

/// The leases of a home, behind their lock, by the clock of the process.
#[derive(Debug, Default)]
pub(super) struct Leased(Mutex<Leases>);

impl Leased {
    /// Answers [`crate::auth::ledger::Ledger::lease`].
    pub(super) fn lease(
        &self,
        clerk: &Clerk,
        key: SessionKey,
        holder: Holder,
        time: Duration,
    ) -> Told<Lease> {
        let lease = self.lock().take(key, holder, time, clock::monotonic());
        ready(lease.ok_or_else(|| clerk.refused("too many leases are held at a time")))
    }

    /// Answers [`crate::auth::ledger::Ledger::release`].
    pub(super) fn release(&self, key: SessionKey, holder: Holder) -> Told<()> {
        self.lock().give_back(key, holder);
        ready(Ok(()))
    }

    /// Forgets what is over.
    pub(super) fn sweep(&self) {
        self.lock().sweep(clock::monotonic());
    }

    /// Whether nobody holds one.
    pub(super) fn are_free(&self) -> bool {
        self.lock().are_free(clock::monotonic())
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who holds what until when.
#[derive(Debug, Default)]
struct Leases(HashMap<SessionKey, (Holder, Instant), ahash::RandomState>);

impl Leases {
    /// Gives a lease to the first who asks, or to its holder anew; `None` where too many are held.
    fn take(
        &mut self,
        key: SessionKey,
        holder: Holder,
        time: Duration,
        now: Instant,
    ) -> Option<Lease> {
        let held = self.0.get(&key).copied();
        if held.is_some_and(|(other, until)| now < until && !same(other, holder)) {
            return Some(Lease::Held);
        }
        if held.is_none() && self.0.len() >= MOST {
            self.sweep(now);
            if self.0.len() >= MOST {
                return None;
            }
        }
        self.0.insert(key, (holder, now.checked_add(time)?));
        Some(Lease::Yours)
    }

    /// Takes a lease back from its holder.
    fn give_back(&mut self, key: SessionKey, holder: Holder) {
        let held = self.0.get(&key);
        if held.is_some_and(|(other, _)| same(*other, holder)) {
            self.0.remove(&key);
        }
    }

    /// Whether nobody holds one.
    fn are_free(&self, now: Instant) -> bool {
        self.0.values().all(|(_, until)| *until <= now)
    }

    /// Forgets what is over.
    fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, (_, until)| now < *until);
    }
}

fn same(one: Holder, other: Holder) -> bool {
    one.ct_eq(&other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = SessionKey::from_bytes([7; 32]);
    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn a_lease_has_one_holder_until_it_is_given_back_or_over() {
        let (mut leases, now) = (Leases::default(), clock::monotonic());
        let take = |leases: &mut Leases, holder, now| leases.take(KEY, holder, TIME, now);
        assert_eq!(take(&mut leases, [1; 16], now), Some(Lease::Yours));
        assert_eq!(take(&mut leases, [2; 16], now), Some(Lease::Held));
        assert_eq!(take(&mut leases, [1; 16], now), Some(Lease::Yours));
        leases.give_back(KEY, [2; 16]);
        assert_eq!(take(&mut leases, [2; 16], now), Some(Lease::Held));
        assert_eq!(take(&mut leases, [2; 16], now + TIME), Some(Lease::Yours));
        leases.give_back(KEY, [2; 16]);
        assert_eq!(take(&mut leases, [3; 16], now + TIME), Some(Lease::Yours));
    }

    #[test]
    fn leases_are_bounded_and_those_that_are_over_make_room() {
        let (mut leases, now) = (Leases::default(), clock::monotonic());
        let key = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            SessionKey::from_bytes(bytes)
        };
        for number in 0..MOST {
            assert!(leases.take(key(number), [1; 16], TIME, now).is_some());
        }
        assert_eq!(leases.take(KEY, [1; 16], TIME, now), None);
        assert!(leases.take(KEY, [1; 16], TIME, now + TIME).is_some());
    }
}
