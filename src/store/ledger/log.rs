//! The log of revocations where one process alone keeps it, in memory: bounded and in order.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::auth::ledger::{Catch, Cursor, Revocation};
use crate::clock::Timestamp;

/// Most revocations that are remembered.
pub(super) const MOST: usize = 262_144;
/// Most revocations of one answer.
pub(super) const AT_ONCE: usize = 1000;

/// Revocations by their number.
#[derive(Debug, Default)]
pub(super) struct Log {
    last: u64,
    entries: BTreeMap<u64, Revocation>,
}

impl Log {
    /// Takes a revocation in; `None` where no more fit.
    pub(super) fn push(&mut self, revocation: Revocation, now: Timestamp) -> Option<Cursor> {
        if self.entries.len() >= MOST {
            self.sweep(now);
            if self.entries.len() >= MOST {
                return None;
            }
        }
        self.last += 1;
        self.entries.insert(self.last, revocation);
        Some(Cursor::from_number(self.last))
    }

    /// What still counts behind a cursor.
    pub(super) fn since(&self, cursor: Cursor, now: Timestamp) -> Catch {
        let cursor = cursor.within(Cursor::from_number(self.last));
        let behind = (Bound::Excluded(cursor.number()), Bound::Unbounded);
        let mut catch = Catch {
            cursor,
            ..Catch::default()
        };
        for (number, revocation) in self.entries.range(behind) {
            if revocation.until() <= now {
                continue;
            }
            if catch.revocations.len() == AT_ONCE {
                catch.more = true;
                return catch;
            }
            catch.revocations.push(revocation.clone());
            catch.cursor = Cursor::from_number(*number);
        }
        catch.cursor = Cursor::from_number(self.last);
        catch
    }

    /// Forgets what does not count any more; how many there were.
    pub(super) fn sweep(&mut self, now: Timestamp) -> u64 {
        let before = self.entries.len();
        self.entries
            .retain(|_, revocation| revocation.until() > now);
        (before - self.entries.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ledger::TokenMark;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    #[test]
    fn a_full_log_refuses_and_forgets_nothing_that_counts() {
        let mut log = Log::default();
        let until = NOW.saturating_add(std::time::Duration::from_secs(10));
        let one = Revocation::of_token(TokenMark::from_bytes([7; 32]), until);
        for _ in 0..MOST {
            assert!(log.push(one.clone(), NOW).is_some());
        }
        assert_eq!(log.push(one.clone(), NOW), None);
        assert_eq!(log.since(Cursor::START, NOW).revocations.len(), AT_ONCE);
        // When they are over there is room, and the numbers go on.
        let cursor = log.push(one, until).unwrap();
        assert_eq!(cursor.number(), MOST as u64 + 1);
    }
}
