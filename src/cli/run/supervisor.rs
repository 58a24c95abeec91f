//! What systemd, or another service manager that speaks `sd_notify`, is told. Without one nothing
//! is told to anybody.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Everything listens, or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] tells its end, whatever came of it.
pub(super) fn reloading() {
    // From version 253 on the time has to be with it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => untold(&error),
    }
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the gateway now.
pub(super) fn main_process(number: u32) {
    tell(&[NotifyState::MainPid(number)]);
}

/// Says that this process is alive, where that is asked for (`WatchdogSec=`), until cancelled.
pub(super) async fn beat(cancel: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return;
    };
    // Twice in the time, as systemd advises.
    let every = (within / 2).max(Duration::from_millis(1));
    let beats = async {
        let mut tick = tokio::time::interval(every);
        loop {
            tick.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    };
    cancel.run_until_cancelled(beats).await;
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        untold(&error);
    }
}

fn untold(error: &io::Error) {
    tracing::warn!(%error, "the service manager cannot be told");
}
