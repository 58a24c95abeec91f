//! Orders for all gateways: one at a time, after a look whether there is something to order still, and
//! not while a CA that said no to any of them is to be left alone.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::error::AcmeError;
use super::keeper::Came;
use super::shared::{Pause, Shared};
use super::{Acme, schedule};
use crate::clock::{self, Timestamp};
use crate::tls::pair::Pair;

impl Acme {
    /// Orders where it is this gateway's turn and nothing better is there; `lock` is the folder's.
    pub(super) async fn obtain_in_turn(
        self: &Arc<Self>,
        shared: &Shared,
        (now, before): (Timestamp, Option<&Pair>),
        lock: &File,
    ) -> Result<Came, (AcmeError, Option<Duration>)> {
        if !shared.enter().await.map_err(|error| (error, None))? {
            return Ok(Came::Elsewhere);
        }
        let came = match self.take_stored(shared).await {
            // The loop that follows may have taken it up since this one found an order due.
            Ok(()) if self.holds_another_than(before) => Ok(Came::Found),
            Ok(()) => self.buy_for_all(shared, now, lock).await,
            Err(error) => Err((error, None)),
        };
        shared.leave().await;
        if !matches!(came, Err((AcmeError::Store(_), _))) {
            shared.note("turn", None);
        }
        came
    }

    /// Whether what is held is not what was, and serves to its time.
    fn holds_another_than(&self, before: Option<&Pair>) -> bool {
        let held = self.held().filter(|held| self.is_final(held));
        held.is_some_and(|held| before.is_none_or(|before| !held.same_chain(before)))
    }

    /// Orders while this gateway has the turn, unless the CA is to be left alone.
    async fn buy_for_all(
        self: &Arc<Self>,
        shared: &Shared,
        now: Timestamp,
        lock: &File,
    ) -> Result<Came, (AcmeError, Option<Duration>)> {
        let pause = shared.pause().await.map_err(|error| (error, None))?;
        if let Some(pause) = &pause
            && now < Timestamp::from_unix_seconds(pause.until)
        {
            return Ok(Came::Paused(pause.clone()));
        }
        let came = tokio::select! {
            came = self.buy(now, lock) => came,
            lost = shared.stay() => Err((lost, None)),
        };
        let kept = match &came {
            Err((error, asked)) if error.failure() == schedule::Failure::Refused => {
                let failures = pause.map_or(0, |pause| pause.failures).saturating_add(1);
                let last = schedule::Failure::Refused;
                let wait = schedule::backoff(failures, last, *asked, fastrand::f32());
                let pause = Pause {
                    failures,
                    until: clock::now().saturating_add(wait).unix_seconds(),
                    problem: error.line(),
                };
                shared.keep_pause(&pause, wait).await
            }
            Ok(_) if pause.is_some() => shared.end_pause().await,
            Ok(_) | Err(_) => Ok(()),
        };
        if let Err(error) = kept {
            shared.note("turn", Some(&error));
        }
        came
    }
}
