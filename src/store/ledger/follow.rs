//! Following a home that others share: what is told is read from its log, in order, behind a
//! cursor. A message of the home only says that it is worth a look; a look every half second
//! finds what no message told, as on a connection that looks alive and is not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::auth::ledger::{Catch, Cursor, Event, Told};

/// Between two looks where no message came.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The log of a home that others share.
pub(super) trait Shared: Send + Sync + 'static {
    /// Where the log ends.
    fn last(&self) -> Told<Cursor>;

    /// What is behind a cursor.
    fn since(&self, cursor: Cursor) -> Told<Catch>;
}

/// Tells all who follow what comes, as long as it is polled.
pub(super) async fn follow(log: impl Shared, wake: Arc<Notify>, events: broadcast::Sender<Event>) {
    let mut follower = Follower {
        log,
        events,
        cursor: None,
        lost: true,
    };
    loop {
        follower.look().await;
        // Whether by a message or by time is the same.
        let _ = tokio::time::timeout(LOOK_EVERY, wake.notified()).await;
    }
}

struct Follower<L> {
    log: L,
    events: broadcast::Sender<Event>,
    cursor: Option<Cursor>,
    /// Whether the last look failed: those who follow hear it when the next does not.
    lost: bool,
}

impl<L: Shared> Follower<L> {
    async fn look(&mut self) {
        loop {
            let Some(cursor) = self.cursor else {
                match self.log.last().await {
                    Ok(last) => self.cursor = Some(last),
                    Err(_) => self.lost = true,
                }
                if self.cursor.is_none() {
                    return;
                }
                continue;
            };
            let Ok(catch) = self.log.since(cursor).await else {
                self.lost = true;
                return;
            };
            if std::mem::take(&mut self.lost) {
                self.tell(Event::Missed);
            }
            let more = self.pass_on(catch);
            if !more {
                return;
            }
        }
    }

    /// Of several that came together, the last alone moves the cursor of those who follow: who
    /// missed some of them catches up from before.
    fn pass_on(&mut self, catch: Catch) -> bool {
        let mut left = catch.revocations.len();
        let before = self.cursor.replace(catch.cursor).unwrap_or_default();
        for revocation in catch.revocations {
            left -= 1;
            let cursor = if left == 0 { catch.cursor } else { before };
            self.tell(Event::Revoked { revocation, cursor });
        }
        catch.more
    }

    fn tell(&self, event: Event) {
        // Nobody may follow.
        let _ = self.events.send(event);
    }
}
