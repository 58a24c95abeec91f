//! Follows the ledger: what ended or was revoked at other gateways ends here too.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::SignIn;
use crate::auth::ledger::{Cursor, Event, Events};
use crate::auth::ports::StoreError;
use crate::auth::words::chain;
use crate::clock;

/// Between two attempts to read what was missed.
const AGAIN: Duration = Duration::from_millis(500);
/// So many numbers are read again after something may have been missed: a server that took over
/// may lack the last ones of the one before, and has given them to others.
const READ_AGAIN: u64 = 4096;
/// Between two sweeps of what is over.
const SWEEP: Duration = Duration::from_mins(1);

impl SignIn {
    /// Follows until cancelled. Without it nothing that others revoke is heard of, and no token
    /// that may be revoked passes.
    pub async fn follow(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.following()).await;
    }

    async fn following(&self) {
        // Followed before it is read, so that nothing falls between.
        let mut events = self.0.ledger.subscribe();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            if let Err(error) = self.catch_up().await {
                tracing::warn!(error = chain(&error), "what was revoked cannot be read");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let mut behind = false;
            while !behind {
                tokio::select! {
                    heard = events.next() => match heard {
                        Some(event) => behind = self.hear(event),
                        None => return,
                    },
                    _ = sweep.tick() => behind = self.sweep(),
                }
            }
        }
    }

    /// Forgets what is over; whether all has to be read again.
    pub(super) fn sweep(&self) -> bool {
        let kept = &self.0.kept;
        let is_read_anew = kept.revoked.sweep(clock::now());
        if is_read_anew {
            let start = Cursor::START.number();
            kept.cursor.store(start, Ordering::Release);
            tracing::warn!(
                "more was revoked than is remembered: no revocable token passes until all of it was read again"
            );
        }
        is_read_anew
    }

    /// Takes an event in; whether some may have been missed.
    fn hear(&self, event: Event) -> bool {
        match event {
            Event::Revoked { revocation, cursor } => {
                self.0.kept.revoked.take(&revocation, clock::now());
                // Not the largest that there was: a log that begins anew counts from the start.
                (self.0.kept.cursor).store(cursor.number(), Ordering::Release);
                false
            }
            Event::Missed => {
                self.0.kept.revoked.ask_anew();
                let at = self.0.kept.cursor.load(Ordering::Acquire);
                let before = at.saturating_sub(READ_AGAIN);
                self.0.kept.cursor.store(before, Ordering::Release);
                true
            }
        }
    }

    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let kept = &self.0.kept;
        loop {
            let now = clock::now();
            let from = Cursor::from_number(kept.cursor.load(Ordering::Acquire));
            let caught = self.0.ledger.revocations_since(from, now).await?;
            for revocation in &caught.revocations {
                kept.revoked.take(revocation, now);
            }
            (kept.cursor).store(caught.cursor.number(), Ordering::Release);
            if !caught.more {
                kept.revoked.caught_up();
                return Ok(());
            }
        }
    }

    /// What ends and is revoked from now on, for those who hold something open.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.ledger.subscribe()
    }
}
