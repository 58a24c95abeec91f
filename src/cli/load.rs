//! What the commands that serve nothing need of the configuration: it, or the gateway it makes.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::writable::{self, Written};
use crate::clock;
use crate::config::settings::LedgerHome;
use crate::config::{self, Loaded, Places, Problem, ProcessEnvironment};
use crate::gateway::Snapshot;
use crate::reload;
use crate::telemetry::{Log, Metrics};

/// How long a command waits for the keys that the configuration names by URL.
const KEYS: Duration = Duration::from_secs(5);
/// How often it looks whether they are there.
const LOOK: Duration = Duration::from_millis(20);

/// Reads the file. Prints every mistake where there is one, and gives the exit code.
pub(super) fn configuration(file: &Path, err: &mut dyn Write) -> Result<Loaded, ExitCode> {
    config::load(file, &ProcessEnvironment).map_err(|report| {
        super::print(err, &format_args!("{report}\n"));
        ExitCode::FAILURE
    })
}

/// A gateway that serves nothing.
#[derive(Debug)]
pub(super) struct Built {
    /// The gateway.
    pub(super) gate: Snapshot,
    /// What works and should not stay.
    pub(super) warnings: Vec<Problem>,
    /// Where each key stands.
    pub(super) places: Places,
    /// What a gateway that serves would write.
    pub(super) written: Vec<Written>,
}

/// Builds the gateway that the file asks for, without serving. Prints every mistake where there is
/// one, and gives the exit code.
pub(super) fn gateway(file: &Path, err: &mut dyn Write) -> Result<Built, ExitCode> {
    let mut loaded = configuration(file, err)?;
    let written = writable::places(&loaded.settings);
    if let Some(sessions) = &mut loaded.settings.sessions
        && matches!(sessions.home, LedgerHome::File(_))
    {
        // The running gateway has the file, and nobody else may open it.
        sessions.home = LedgerHome::Memory;
    }
    let warnings = std::mem::take(&mut loaded.warnings);
    let places = loaded.places.clone();
    let metrics = Metrics::new(Log::default(), clock::now());
    let gate = reload::build(loaded, None, &metrics)
        .map_err(|problems| super::problems(&problems, err))?;
    Ok(Built {
        gate,
        warnings,
        places,
        written,
    })
}

/// Runs a future to its end, while the keys that stand behind URLs are fetched.
pub(super) fn fetching_keys<T>(
    gate: &Snapshot,
    work: impl Future<Output = T>,
) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(beside_keys(gate, work));
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done)
}

/// The same on a runtime that is there already.
pub(super) async fn beside_keys<T>(gate: &Snapshot, work: impl Future<Output = T>) -> T {
    let cancel = CancellationToken::new();
    let keeper = Arc::clone(&gate.authenticators).keep_fresh(cancel.clone());
    let keeper = tokio::spawn(keeper);
    if let Some(sign_in) = &gate.sign_in {
        sign_in.only_look().await;
    }
    let done = work.await;
    cancel.cancel();
    keeper.abort();
    done
}

/// Waits until every JWKS is loaded or has failed to load, in bounded time.
pub(super) async fn keys_are_there(gate: &Snapshot) {
    let waits = || {
        let known = gate.authenticators.jwks();
        known
            .iter()
            .any(|set| set.age.is_none() && set.failures == 0)
    };
    let look = async {
        while waits() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Whatever is not there by then is told as missing.
    let _late = tokio::time::timeout(KEYS, look).await;
}
