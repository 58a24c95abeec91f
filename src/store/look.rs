//! Looks at every store as an operator would: does it answer, may we read there, is its clock ours,
//! and what do a few of its newest sessions look like.
//!
//! For `doctor`. Like every other question these are bounded in number, time and size, and read
//! only. What they bring are the app's secrets: nothing of a session is told on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cell::Cell;
use super::desk::Counter;
use super::pool::Pool;
use super::question::{Question, With};
use super::redis::Line;
use super::{Stores, ledger};
use crate::auth::ledger::Told;
use crate::auth::ports::StoreError;
use crate::clock::{self, Timestamp};
use crate::config::settings::{DatabaseKind, LedgerHome};

/// Sessions that are looked at.
pub(super) const SAMPLES: usize = 5;

/// A store that can be looked at.
#[derive(Debug)]
pub struct Place {
    /// For whom it is asked: `auth.NAME`, `directory.NAME` or `session`.
    pub name: Arc<str>,
    /// Which store, without credentials.
    pub shown: Arc<str>,
    /// The look, not begun yet.
    pub look: Look,
}

/// A look that is taken when polled; bounded in time.
pub struct Look(pub(super) Told<Sight>);

/// What was seen of a store that answered.
#[derive(Debug, Default)]
pub struct Sight {
    /// From the question to the answer.
    pub took: Duration,
    /// What its clock said, where it has one that can be asked.
    pub clock: Option<Clock>,
    /// Some of the newest sessions, as they are stored; `None` where they cannot be listed without
    /// rights that the gateway does not need.
    pub sessions: Option<Vec<Vec<u8>>>,
}

/// What another clock said, and when by ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Its time.
    pub theirs: Timestamp,
    /// Our time before it was asked.
    pub before: Timestamp,
    /// Our time when the answer was there.
    pub after: Timestamp,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

impl Look {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// What an authenticator would have got in the place of an answer.
    pub async fn take(self) -> Result<Sight, StoreError> {
        self.0.await
    }
}

impl Stores {
    /// Every store that this configuration asks, once for each who asks it. The home of the
    /// gateway's own sessions is not among them: see [`home`].
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let sessions = self.sessions.iter().flatten();
        let directories = self.directories.iter().flatten();
        sessions
            .flat_map(|one| one.places())
            .chain(directories.map(|one| one.place()))
            .collect()
    }
}

/// The home of the gateway's own sessions, where it stands behind a socket. Makes nothing there.
///
/// # Errors
///
/// What is wrong with its address, in words.
pub fn home(home: &LedgerHome) -> Result<Option<Place>, super::StoreProblem> {
    ledger::look::place(home)
}

/// Begins to count the time of a look.
pub(super) fn begin() -> Instant {
    clock::monotonic()
}

impl Sight {
    /// What a look that began then has seen so far: an answer.
    pub(super) fn since(began: Instant) -> Self {
        Self {
            took: clock::monotonic().saturating_duration_since(began),
            ..Self::default()
        }
    }
}

/// Puts a look at the desk of a store.
pub(super) fn at(
    counter: &Arc<Counter>,
    tally: &Arc<super::desk::Tally>,
    work: impl Future<Output = Result<Sight, StoreError>> + Send + 'static,
) -> Look {
    Look(counter.ask(tally, work))
}

/// The time by a database's clock; `None` where it has none of its own or does not tell.
pub(super) async fn clock_of_database(pool: &Pool) -> Option<Clock> {
    let sql = match pool.kind() {
        DatabaseKind::Postgres => "select clock_timestamp()",
        DatabaseKind::MySql => "select cast(unix_timestamp(now(6)) as char)",
        // A library in this process.
        DatabaseKind::Sqlite => return None,
    };
    let question = Question {
        sql: sql.into(),
        with: With::These(Vec::new()),
        most: 1,
    };
    let before = clock::now();
    let found = pool.ask(&question).await.ok()?;
    let after = clock::now();
    let theirs = match found.rows.first()?.first()? {
        Cell::Moment(micros) => Timestamp::from_unix_micros(*micros),
        Cell::Text(text) => seconds(text)?,
        Cell::Null
        | Cell::Bool(_)
        | Cell::Whole(_)
        | Cell::Real(_)
        | Cell::Bytes(_)
        | Cell::List(_)
        | Cell::Json(_)
        | Cell::Civil(_) => return None,
    };
    Some(Clock {
        theirs,
        before,
        after,
    })
}

/// The time by a Redis' clock; `None` where the user may not ask.
pub(super) async fn clock_of_redis(line: &Line) -> Option<Clock> {
    let before = clock::now();
    let (seconds, micros) = line.time().await?;
    Some(Clock {
        theirs: of_parts(seconds, micros),
        before,
        after: clock::now(),
    })
}

/// Seconds and microseconds, as `TIME` tells them.
pub(super) fn of_parts(seconds: i64, micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// `1767323045.123456`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<6}");
    let micros = digits.get(..6)?.parse().ok()?;
    Some(of_parts(whole.parse().ok()?, micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_decimals_is_read_to_the_microsecond() {
        let read = |text| seconds(text).map(Timestamp::unix_micros);
        assert_eq!(read("1767323045.5"), Some(1_767_323_045_500_000));
        assert_eq!(read("1767323045.123456"), Some(1_767_323_045_123_456));
        assert_eq!(read("1767323045"), Some(1_767_323_045_000_000));
        assert_eq!(read("soon"), None);
        assert_eq!(read("1.x"), None);
    }
}
